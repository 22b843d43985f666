"""The attribute of an order's item with the id of the request that created the order."""

from __future__ import annotations

import pytest

from ordering.book.correlation import correlation_of, kept
from ordering.sizes import stored_bytes

ID = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72"


def test_kept() -> None:
    """An id is kept as it is, in 47 bytes."""
    assert correlation_of(kept(ID)) == ID
    assert stored_bytes(kept(ID)) == 47


@pytest.mark.parametrize("text", [None, "", "of-my-own", ID.upper(), f"{ID}\n", f" {ID}", ID.replace("-", "")])
def test_not_kept(text: str | None) -> None:
    """No id, and an id that a caller chose in another form, leave no attribute."""
    assert kept(text) == {}
    assert correlation_of({}) is None
