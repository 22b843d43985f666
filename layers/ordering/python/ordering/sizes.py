"""Counts bytes as AWS counts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LARGEST_ITEM = 400 * 1024
"""Bytes of an item of DynamoDB, its key included."""

LARGEST_TRANSACTION = 4 * 1024 * 1024
"""Bytes of the items of one transaction of DynamoDB."""


def stored_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item as DynamoDB counts it, given as plain values as `Table` takes them.

    Names and texts count as UTF-8. A number takes a byte for two digits and one more. A list or a map takes three bytes
    and one for each entry. (Developer guide, "DynamoDB item sizes and formats".)
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Any) -> int:
    match value:
        case None | bool():
            return 1
        case int():
            return 1 + (len(str(abs(value)).lstrip("0")) + 1) // 2 + (value < 0)
        case str() | bytes():
            return len(value.encode() if isinstance(value, str) else value)
        case set() | frozenset():
            return sum(map(_value_bytes, value))
        case list():
            return 3 + len(value) + sum(map(_value_bytes, value))
        case dict():
            return 3 + len(value) + stored_bytes(value)
    raise TypeError(type(value))


def bytes_within_json(value: Any) -> int:
    """Return the bytes of a value as JSON within a JSON text, as in a function's response or an event's detail.

    There a quotation mark of a text takes four bytes, and a character outside the Basic Multilingual Plane as well.
    """
    return len(json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False).encode())
