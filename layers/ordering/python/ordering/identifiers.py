"""Identifiers from outside, made canonical before any of them reaches a key of a table."""

from __future__ import annotations

import re

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST_NUMBER = 2**31 - 1


def canonical_uuid(text: str) -> str | None:
    """Return a hyphenated UUID in lower case; None if the text is none."""
    return text.lower() if _UUID.fullmatch(text) else None


def canonical_number(text: str) -> int | None:
    """Return a positive number of 32 bits written without sign or leading zeros; None if the text is none."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= _LARGEST_NUMBER else None
