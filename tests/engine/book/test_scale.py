"""A book of 100,000 orders of which a tenth was removed: what a page costs, and that it is right.

On the engine in memory. Entries, tickets and head of all but the last hundred orders are written in bulk, as the code
would have left them; the last hundred are placed and settled by the code, and each removal is its own.
`ORDERING_EXPLORE=deep` takes a million orders.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from engine.book.oracle import BOOK
from ordering.aws.dynamodb import Table, _item
from ordering.book.orderbook import Draft, OrderBook
from ordering.book.positions import BookKeys
from ordering.clock import to_text
from support.aws.memory import Memory
from support.scheduler import START, TABLE

ORDERS = 1_000_000 if os.environ.get("ORDERING_EXPLORE") == "deep" else 100_000
REMOVED = ORDERS // 10


class Counted:
    """A connection that counts its calls."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.calls: list[str] = []

    def __call__(self, operation: str, request: dict[str, object]) -> dict[str, object]:
        self.calls.append(operation)
        return self._memory(operation, request)

    def take(self) -> list[str]:
        taken, self.calls = self.calls, []
        return taken


Shop = tuple[OrderBook, Counted, list[str]]


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The book, its calls, and the names of what is left in it."""
    memory = Memory()
    keys = BookKeys(BOOK)
    stamp = to_text(START)
    bulk = ORDERS - 100
    for position in range(1, bulk + 1):
        partition, sort = keys.entry(position)
        entry = {"pk": partition, "sk": sort, "order": f"o{position}", "at": stamp, "writer": "w"}
        memory.load(TABLE, _item(entry))
    memory.load(TABLE, _item({"pk": f"TICKETS#{BOOK}", "sk": "-", "issued": bulk, "at": stamp}))
    memory.load(TABLE, _item({"pk": f"HEAD#{BOOK}", "sk": "-", "settled": bulk}))
    counted = Counted(memory)
    book = OrderBook(Table(counted, TABLE, first_pause=0.0), BOOK, now=lambda: START, removals=True)
    for position in range(bulk + 1, ORDERS + 1):
        book.place(lambda ticket: Draft({"order": f"o{ticket.position}"}, []))
        if position % 50 == 0:
            book.settle()
    gone = set(random.Random(11).sample(range(1, ORDERS + 1), REMOVED))
    for position in sorted(gone):
        assert book.remove(position)
    return book, counted, [f"o{position}" for position in range(1, ORDERS + 1) if position not in gone]


@pytest.mark.parametrize(("count", "most"), [(10, 2), (500, 7)])
def test_pages_of_a_large_book(shop: Shop, count: int, most: int, report: Callable[[str], None]) -> None:
    """Any page is two small reads more than in a book without voids, and is what a plain list has there."""
    book, counted, left = shop
    last = (len(left) - 1) // count * count
    firsts = [0, count, last // 2 // count * count, last - count, last, len(left)]
    firsts += [page * count for page in random.Random(3).sample(range(len(left) // count), 60)]
    counted.take()
    costs, began = set(), time.monotonic()
    for first in firsts:
        page = book.page(first, count)
        costs.add(tuple(counted.take()))

        assert [entry["order"] for entry in page.entries] == left[first : first + count]
        assert page.total == len(left)

    report(f"{ORDERS:,} orders, {REMOVED:,} removed, {len(firsts)} pages of {count}: {time.monotonic() - began:.1f} s")
    # Head and tickets, the ranges and then the segments of the page's first and last position, and the page, whose
    # queries go out together; behind the end just the first.
    lanes = {len(cost) - 3 for cost in costs - {("BatchGetItem",)}}
    assert costs - {("BatchGetItem",)} == {("BatchGetItem",) * 3 + ("Query",) * number for number in lanes}
    assert max(lanes) <= most


def test_a_removal_more(shop: Shop) -> None:
    """A removal costs one look and one transaction, and the next page is right."""
    book, counted, left = shop
    middle = len(left) // 2
    position = int(left[middle].removeprefix("o"))
    counted.take()
    book.remove(position)
    cost = counted.take()
    del left[middle]
    page = book.page(middle, 3)

    assert cost == ["GetItem", "TransactWriteItems"]
    assert ([entry["order"] for entry in page.entries], page.total) == (left[middle : middle + 3], len(left))
