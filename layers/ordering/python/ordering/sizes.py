"""Counts bytes as AWS counts them."""

from __future__ import annotations

import json
from typing import Any


def bytes_within_json(value: Any) -> int:
    """Return the bytes of a value as JSON within a JSON text, as in a function's response or an event's detail.

    There a quotation mark of a text takes four bytes, and a character outside the Basic Multilingual Plane as well.
    """
    return len(json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False).encode())
