"""What DynamoDB charges, by the sizes of items as its developer guide gives them.

An item is as large as its names and values; a write costs a unit for every KB begun and twice that in a transaction, a
strongly consistent read a unit for every 4 KB begun and an eventually consistent one half of that.
(Developer guide: "DynamoDB item sizes and formats", "Read and write operations".)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Raw = Mapping[str, Any]
"""An item or an attribute in the service's own notation."""

KB = 1024
READ_UNIT = 4 * KB


def item_bytes(item: Raw) -> int:
    """Size an item."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def write_units(size: int, *, transactional: bool = False) -> float:
    """Charge a write of an item of so many bytes, the larger of before and after."""
    return max(1, -(-size // KB)) * (2.0 if transactional else 1.0)


def read_units(size: int, *, consistent: bool) -> float:
    """Charge a read of so many bytes: of one item, or of all that a query went over."""
    return max(1, -(-size // READ_UNIT)) * (1.0 if consistent else 0.5)


def _value_bytes(attribute: Raw) -> int:  # noqa: PLR0911 - one return for each kind of value
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return len(value.encode())
        case "B":
            return len(value)
        case "N" | "NS":
            return sum(map(_number_bytes, [value] if kind == "N" else value))
        case "SS":
            return sum(len(text.encode()) for text in value)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_bytes(part) for name, part in value.items())
        case "L":
            return 3 + sum(1 + _value_bytes(part) for part in value)
    return 1


def _number_bytes(text: str) -> int:
    """A byte for two digits, without the zeros in front, and one more; the sign takes another."""
    digits = text.lstrip("-").lstrip("0")
    return 1 + (len(digits) + 1) // 2 + text.startswith("-")
