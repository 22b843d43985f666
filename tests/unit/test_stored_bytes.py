"""The sizes of items are counted as DynamoDB counts them."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.aws.dynamodb import _item
from ordering.sizes import stored_bytes
from support.aws.sizes import item_bytes


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"pk": "STOCK#1#100 ₽", "sk": "-"},
        {"n": 0, "m": 7, "o": -1234567890, "p": 100},
        {"yes": True, "no": False, "none": None},
        {"code": b"\x00\xff", "positions": {1, 22, 333}, "names": {"a", "😀"}},
        {"unassigned": [[1, 2], [40, 9_999_999_999]], "empty": [], "cards": {"3": {"face_value": "1 month"}, "4": {}}},
    ],
)
def test_items(item: dict[str, Any]) -> None:
    """An item of plain values has the size that its form in DynamoDB's notation has."""
    assert stored_bytes(item) == item_bytes(_item(item))


def test_what_no_table_holds() -> None:
    """A value that no table can hold has no size."""
    with pytest.raises(TypeError):
        stored_bytes({"half": 0.5})
