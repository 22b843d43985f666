"""`ordering book convert` and the local run convert books of an earlier format, however often they are interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ordering.aws.dynamodb import Item, Send, Table, plain_item
from ordering.book.orderbook import OrderBook
from ordering.deals.orders import DealOrders
from ordering.deals.products import DealProducts
from ordering_tools.installation import Installation
from ordering_tools.operations.books import TableCheck, _faults_of_book
from ordering_tools.operations.conversion import convert_books
from support.aws.faults import Crash, Faulty, lost, refused
from support.aws.memory import Memory
from support.commands import Run

STORED = json.loads(Path(__file__).with_name("earlier_books.json").read_text(encoding="utf-8"))
"""Two tables as the release before lanes left them, after creates, crashes, removals and settling."""

ECARDS = [number for number in range(1, 125) if number % 20 or number > 121]
"""The positions that have an order in the book of e-cards."""


def tables() -> Memory:
    memory = Memory()
    for table, items in STORED.items():
        for item in items:
            memory.load(table, item)
    return memory


def contents(memory: Memory) -> dict[str, dict[tuple[str, str], Any]]:
    return {name: dict(memory.scan(name)) for name in STORED}


def convert(send: Send) -> list[int]:
    return [convert_books(Table(send, name, first_pause=0.0)) for name in STORED]


def test_converted_books_list_what_they_listed() -> None:
    """Orders, line items and products are listed at their positions, with exact totals, and the books keep promises."""
    memory = tables()
    converted = convert(memory)
    orders, catalogue = (Table(memory, name) for name in STORED)
    deals, products = DealOrders(orders, "crm"), DealProducts(catalogue, "crm")
    ecards = OrderBook(orders, "ecards#granite")
    page = ecards.page(95, 10)

    assert converted == [133 + 3, 3 + 1]
    assert [entry["order"]["number"] for entry in page.entries] == ECARDS[95:105]
    assert page.total == len(ECARDS)
    assert [deals.order(number).deal_id for number in (1, 3, 4, 6)] == [1, 3, 4, 6]
    assert deals.book.page(0, 10).total == 4
    assert [line.quantity for line in deals.lines(1).all()] == [1, 3]
    assert products.product(3).name == "Product 2"
    assert [*TableCheck(catalogue).faults()] == []
    assert list(_faults_of_book(orders, "deals#crm", lambda _: None)) == []
    assert list(_faults_of_book(orders, "deal-lines#crm#1", lambda _: None)) == []
    assert ecards.settle() == 124


def test_nothing_is_left_of_the_earlier_format() -> None:
    """Entries and counts of the earlier format are gone, other items are as before; a repetition changes nothing."""
    memory = tables()
    convert(memory)
    once = contents(memory)
    again = convert(memory)
    items = once["OrdersTable"]
    kept = {key: item for key, item in contents(tables())["OrdersTable"].items() if key[0].startswith(("TICK", "DEAL"))}

    assert (again, contents(memory)) == ([0, 0], once)
    assert {pk for pk, _ in items if pk.startswith("BOOK#ecards")} == {
        "BOOK#ecards#granite#L00",
        "BOOK#ecards#granite#L01",
    }
    assert [name for item in items.values() for name in item if name.startswith("voids")] == []
    assert kept.items() <= items.items()


def test_interrupted_conversions() -> None:
    """A conversion that crashes before or after any call is completed by the next one."""
    whole = tables()
    counted = Faulty(whole)
    convert(counted)
    crashes = [refused(Crash()), lost(Crash())]
    for call in range(len(counted.calls)):
        for crash in crashes:
            memory = tables()
            faulty = Faulty(memory)
            faulty.meet(None, crash, after=call)
            with pytest.raises(Crash):
                convert(faulty)
            convert(memory)

            assert contents(memory) == contents(whole)


def test_counts_by_range() -> None:
    """Counts of segments become those of their ranges, and the head counts ranges."""
    table = Table(Memory(), "Table")
    old: Item = {"pk": "HEAD#b", "sk": "-", "settled": 600_000, "voids0": 2, "voids499": 3, "voids500": 4}
    table.put_all([{"pk": "TICKETS#b", "sk": "-", "issued": 600_000, "at": "2026-01-01T12:00:00.000000Z"}, old])
    convert_books(table)

    assert table.get(("HEAD#b", "-")) == {"pk": "HEAD#b", "sk": "-", "settled": 600_000, "r0": 5, "r1": 4}
    assert [*table.query("VOIDS#b", "R", "S")] == [
        {"pk": "VOIDS#b", "sk": "R0000000000", "s0": 2, "s499": 3},
        {"pk": "VOIDS#b", "sk": "R0000000001", "s0": 4},
    ]


def test_command(run: Run, installation: Installation) -> None:
    """The command converts both tables, says how much that was, and can be repeated."""
    for name, table in zip(STORED, (installation.orders, installation.catalogue), strict=True):
        table.put_all(map(plain_item, STORED[name]))

    assert run("book", "convert", "--reason", "ticket 17").output == "140 entries and heads were converted\n"
    assert run("book", "convert", "--reason", "ticket 17").output == "0 entries and heads were converted\n"
