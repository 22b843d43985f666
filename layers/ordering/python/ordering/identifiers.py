"""Converts identifiers from outside to one canonical form, before they become part of a key of a table."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,128}")

LARGEST_NUMBER = 2**31 - 1
"""The largest signed number of 32 bits."""

LARGEST_SAFE_NUMBER = 2**53 - 1
"""The largest integer that all JSON parsers read exactly (RFC 8259, section 6)."""


def canonical_uuid(text: str) -> str | None:
    """Return a hyphenated UUID in lower case; None if the text is not a hyphenated UUID."""
    return text.lower() if _UUID.fullmatch(text) else None


def canonical_number(text: str, largest: int = LARGEST_NUMBER) -> int | None:
    """Return a positive number from its decimal digits, without sign or leading zeros.

    None if the text has another form, or the number is larger than `largest`.
    """
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= largest else None


def is_plain_id(value: Any) -> TypeGuard[str]:
    """Return whether a value is an id of 1 to 128 letters, digits, dots, hyphens, underscores and tildes."""
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None
