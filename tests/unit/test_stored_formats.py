"""Numbers and texts that stored items depend on: a release that changed one would misread existing items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import ABSENT, Check, Item, Put, Table
from ordering.book.orderbook import OrderBook
from ordering.book.positions import LAYOUT, BookKeys
from ordering.book.sorted_lists import ListRequest
from ordering.clock import Deadline
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProduct
from ordering.ecards.certificates import Certificates, Stock
from ordering.ecards.incoming import sealing_context
from ordering.events.history import event_id
from ordering.training.access_keys import AccessKeys
from ordering.training.orders import find_order
from ordering.webhooks.registrations import Webhooks
from support.aws.memory import Memory
from support.ecards import order_id
from support.training import School

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class PlainSealer:
    """A sealer that does not encrypt, and records the encryption contexts."""

    contexts: list[str] = field(default_factory=list)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        self.contexts.append(context.decode())
        return plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        self.contexts.append(context.decode())
        return sealed


@pytest.fixture
def table() -> Table:
    return Table(Memory(), "Table")


def book_of(table: Table, head: Item, live: list[int], voids: dict[int, set[int]]) -> OrderBook:
    """Write a settled book with some of its entries as it is stored; returns the book."""
    table.put(Put({"pk": "HEAD#b", "sk": "-", **head}))
    table.put(Put({"pk": "TICKETS#b", "sk": "-", "issued": head["settled"], "at": "2026-01-01T12:00:00.000000Z"}))
    for segment, positions in voids.items():
        table.put(Put({"pk": "VOIDS#b", "sk": f"{segment:010}", "positions": positions}))
    keys = BookKeys("b")
    for position in live:
        partition, sort = keys.entry(position)
        table.put(Put({"pk": partition, "sk": sort, "order": position}))
    return OrderBook(table, "b", removals=True)


@pytest.mark.parametrize(
    ("position", "segment"), [(1, 0), (999, 0), (1_000, 0), (1_001, 1), (2_000, 1), (2_001, 2), (1_000_000, 999)]
)
def test_segments(position: int, segment: int) -> None:
    """A segment covers 1,000 positions, starting at position 1."""
    assert segment == LAYOUT.segment_of(position)


@pytest.mark.parametrize(("segment", "number"), [(0, 0), (499, 0), (500, 1), (999, 1), (1_000, 2), (99_999, 199)])
def test_ranges(segment: int, number: int) -> None:
    """A range covers 500 segments."""
    assert number == LAYOUT.range_of(segment)


@pytest.mark.parametrize(
    ("position", "partition"),
    [
        (1, "BOOK#b#L00"),
        (100, "BOOK#b#L00"),
        (101, "BOOK#b#L01"),
        (1_600, "BOOK#b#L15"),
        (1_601, "BOOK#b#L00"),
        (99_999_999, "BOOK#b#L15"),
        (100_000_001, "BOOK#b#L00"),
    ],
)
def test_lanes(position: int, partition: str) -> None:
    """Blocks of 100 positions take 16 lanes in turn; a position has ten digits, so that keys sort as positions do."""
    assert OrderBook(Table(Memory(), "Table"), "b").entry_key(position) == (partition, f"{position:010}")


def test_voids_are_counted(table: Table) -> None:
    """A void is counted in its range in the head, in its segment in the range's item, and is one of its segment."""
    book = book_of(table, {"settled": 500_001}, [1_000, 1_001, 500_000, 500_001], {})
    for position in (1_000, 1_001, 500_000, 500_001):
        assert book.remove(position)

    assert table.get(("HEAD#b", "-")) == {"pk": "HEAD#b", "sk": "-", "settled": 500_001, "r0": 3, "r1": 1}
    assert {item["sk"]: {**item, "sk": ""} for item in table.query("VOIDS#b", "0", "S")} == {
        "0000000000": {"pk": "VOIDS#b", "sk": "", "positions": {1_000}},
        "0000000001": {"pk": "VOIDS#b", "sk": "", "positions": {1_001}},
        "0000000499": {"pk": "VOIDS#b", "sk": "", "positions": {500_000}},
        "0000000500": {"pk": "VOIDS#b", "sk": "", "positions": {500_001}},
        "R0000000000": {"pk": "VOIDS#b", "sk": "", "s0": 1, "s1": 1, "s499": 1},
        "R0000000001": {"pk": "VOIDS#b", "sk": "", "s0": 1},
    }


def test_stored_voids_are_read(table: Table) -> None:
    """Stored counts and segments lead from ranks to positions on both sides of a range's end."""
    head, voids = {"settled": 500_004, "r0": 2, "r1": 1}, {1: {1_001}, 499: {500_000}, 500: {500_002}}
    table.put(Put({"pk": "VOIDS#b", "sk": "R0000000000", "s1": 1, "s499": 1}))
    table.put(Put({"pk": "VOIDS#b", "sk": "R0000000001", "s0": 1}))
    book = book_of(table, head, [499_999, 500_001, 500_003, 500_004], voids)

    pages = [book.page(rank, 1) for rank in range(499_997, 500_001)]

    assert [page.total for page in pages] == [500_001] * 4
    assert [entry["order"] for page in pages for entry in page.entries] == [499_999, 500_001, 500_003, 500_004]


def test_a_seat_s_key_is_found_in_its_pack(table: Table) -> None:
    """A seat's access key is 25 characters of the pack of 100 that the seat belongs to."""
    packs = ["".join(f"{seat:025}" for seat in range(first, first + 100)) for first in (0, 100)]
    for number, pack in enumerate(packs):
        table.put(Put({"pk": "KEYS#training#7", "sk": f"00000{number}", "keys": pack.encode()}))
    keys = AccessKeys(table, "training#7", [150, 50], PlainSealer())

    assert [one.key for one in keys.page(99, 2)] == ["00000-00000-00000-00000-00099", "00000-00000-00000-00000-00100"]
    assert [(one.line, one.seat, one.key[-3:]) for one in keys.page(149, 2)] == [(1, 150, "149"), (2, 1, "150")]


@pytest.mark.parametrize("size", [1, 1_000, 2**20])
def test_lines_are_read_however_they_are_packed(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """An order's lines are read in order, whatever the pack size was when they were written."""
    monkeypatch.setattr("ordering.training.orders.PACK_BYTES", size)
    school = School()
    order = school.place(*range(1, 21))
    found = find_order(Table(school.send, "OrdersTable"), order)

    assert found
    assert [(number, number) for number in range(1, 21)] == [(line.number, line.quantity) for line in found[1]]


@pytest.mark.parametrize(
    ("order", "index", "expected"),
    [
        ("training#7", 0, "e0ce3e10-c594-5e6f-8a2c-f3607774bc68"),
        (f"ecards#granite#{order_id(1)}", 1, "6a7c12ff-b818-5d14-9999-0e21b691b880"),
    ],
)
def test_event_ids(order: str, index: int, expected: str) -> None:
    """An event's id equals the one that consumers received from earlier releases."""
    assert event_id(order, index) == expected


def test_ids_of_line_items(table: Table) -> None:
    """A line item's id is the order's id times a million plus its position; another order's id has position 0."""
    orders = DealOrders(table, "crm", lambda: NOW)
    product = DealProduct(id=1, name="Licence", created=NOW, updated=NOW)
    for order in (1, 2):
        orders.place(order, Decimal(0))
        for _ in range(2):
            orders.lines(order).add(NewLine(product, Decimal(10), "EUR", Decimal(0), 1))
    lines = orders.lines(2)

    assert [line.id for line in lines.part(ListRequest(0, 9), "reader").items] == [2_000_001, 2_000_002]
    assert (lines.position(2_000_002), lines.position(1_000_002)) == (2, 0)


def issue_keys(table: Table, sealer: PlainSealer) -> None:
    AccessKeys(table, "training#7", [101], sealer).issue(Check(("pk", "sk"), ABSENT), Deadline.after(60))


def load_certificates(table: Table, sealer: PlainSealer) -> None:
    Certificates(table, sealer).load(Stock(1, "100 ₽"), "b1", ["code"])


def open_certificates(table: Table, sealer: PlainSealer) -> None:
    table.put(Put({"pk": "CERTIFICATES#1#100 ₽", "sk": "0000000001", "code": b"code"}))
    Certificates(table, sealer).open(Stock(1, "100 ₽"), ((1, 1),))


def register_a_webhook(table: Table, sealer: PlainSealer) -> None:
    webhook, _ = Webhooks(table, sealer).register("northwind", "https://example.com/hook")
    sealer.contexts[:] = [context.replace(webhook.id, "<id>") for context in sealer.contexts]


@pytest.mark.parametrize(
    ("act", "contexts"),
    [
        (issue_keys, ["KEYS#training#7/000000", "KEYS#training#7/000001"]),
        (
            load_certificates,
            [
                "DIGEST_KEY/-",
                "DIGEST_KEY/-",
                "LOADS#1#100 ₽/b1",
                "LOADS#1#100 ₽/b1",
                "CERTIFICATES#1#100 ₽/0000000001",
            ],
        ),
        (open_certificates, ["CERTIFICATES#1#100 ₽/0000000001"]),
        (register_a_webhook, ["WEBHOOKS#northwind/<id>"]),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_sealing_contexts(table: Table, act: Callable[[Table, PlainSealer], None], contexts: list[str]) -> None:
    """Each secret is encrypted in the context of its item's key."""
    sealer = PlainSealer()
    act(table, sealer)

    assert sealer.contexts == contexts


def test_sealing_context_of_incoming_codes() -> None:
    """The encryption context of incoming codes is the event's type, the card, the face value and the batch."""
    assert sealing_context(1, "100 ₽", "b1").decode() == "ordering.stock.loaded\n1\n100 ₽\nb1"
