"""The order book on moto, one step at a time: what it does when nothing interferes, and when something does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering.aws.dynamodb import ABSENT, Delete, NoAnswer, Put, Send, ServiceFault, Table, Write
from ordering.book import orderbook
from ordering.book.orderbook import Collision, Draft, OrderBook, Ticket
from ordering.clock import Deadline
from ordering.errors import Unavailable
from support.services import Services

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Wire:
    """The calls of a table, to be counted, failed and interrupted by what happens elsewhere."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Exception] = {}

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        if interruption := self.before.pop(operation, None):
            interruption()
        answer = self._send(operation, request)
        if failure := self.after.pop(operation, None):
            raise failure
        return answer

    def take(self) -> list[str]:
        """Return the calls since the last time."""
        taken, self.calls = self.calls, []
        return taken


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wire(services: Services) -> Wire:
    return Wire(services.send)


@pytest.fixture
def table(wire: Wire) -> Table:
    return Table(wire, "OrdersTable", deadline=Deadline.after(30), first_pause=0.0)


@pytest.fixture
def book(table: Table, time: Time) -> OrderBook:
    return OrderBook(table, "test#1", now=time, removals=True)


def draft(name: str, writes: Sequence[Write] = ()) -> Callable[[Ticket], Draft]:
    return lambda _: Draft({"order": name}, [Put({"pk": f"ORDER#{name}", "sk": "ORDER"}, ABSENT), *writes])


def names(book: OrderBook, first: int = 0, count: int = 1_000) -> list[str]:
    return [entry["order"] for entry in book.page(first, count).entries]


def abandon(table: Table, book_name: str = "test#1", at: datetime = START) -> None:
    """Take a ticket and die."""
    OrderBook(table, book_name, now=lambda: at)._take_ticket()


def test_empty_book(book: OrderBook) -> None:
    """A book that was never written to has an empty first page and a total of 0."""
    page = book.page(0, 10)

    assert (page.entries, page.total) == ([], 0)


def test_oldest_first(book: OrderBook) -> None:
    """Orders are listed in the order in which they were placed."""
    for name in "abc":
        book.place(draft(name))

    assert names(book) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [(0, 2, ["a", "b"]), (1, 2, ["b", "c"]), (2, 5, ["c", "d", "e"]), (4, 2, ["e"]), (5, 2, []), (900, 10, [])],
)
@pytest.mark.parametrize("settled", [0, 1, 3, 5], ids="settled to {}".format)
def test_page_wherever_the_head_stands(
    book: OrderBook, settled: int, first: int, count: int, expected: list[str]
) -> None:
    """A page is the same whether its orders lie below the head, above it, or on both sides."""
    for position, name in enumerate("abcde", 1):
        book.place(draft(name))
        if position == settled:
            book.settle()

    page = book.page(first, count)

    assert (expected, 5) == ([entry["order"] for entry in page.entries], page.total)


def back(book: OrderBook, first: int, count: int, up_to: int | None = None) -> tuple[list[str], int]:
    page = book.page(first, count, newest_first=True, up_to=up_to)
    return [entry["order"] for entry in page.entries], page.total


@pytest.mark.parametrize("settled", [0, 1, 3, 5], ids="settled to {}".format)
def test_page_from_the_end(book: OrderBook, settled: int) -> None:
    """A page from the end is the same wherever the head stands, and so is one that leaves out what is newer."""
    for position, name in enumerate("abcdef", 1):
        book.place(draft(name))
        if position == settled:
            book.settle()
    pages = {(0, 2): "ed", (1, 2): "dc", (3, 5): "ba", (4, 2): "a", (5, 2): "", (900, 10): ""}

    assert {page: back(book, *page, up_to=5) for page in pages} == {page: ([*pages[page]], 5) for page in pages}
    assert [back(book, first + 1, count) for first, count in pages] == [([*names], 6) for names in pages.values()]


def test_removal_behind_where_a_page_counts_from(book: OrderBook, wire: Wire) -> None:
    """When the only newer order is removed while a page is read, the page is none of it and shows no order again."""
    for name in "abcd":
        book.place(draft(name))
    book.settle()
    first = back(book, 0, 1, up_to=3)

    def meanwhile() -> None:
        book.remove(4)

    wire.before["Query"] = meanwhile
    second = back(book, 1, 1, up_to=3)

    assert (first, second) == ((["c"], 3), (["b"], 3))


def test_removal_while_newer_orders_are_counted(book: OrderBook, wire: Wire) -> None:
    """When one of two newer orders is removed while a page is read, the page is read again."""
    for name in "abcde":
        book.place(draft(name))
    book.settle()

    def meanwhile() -> None:
        book.remove(4)

    wire.before["Query"] = meanwhile

    assert back(book, 1, 1, up_to=3) == (["b"], 3)


def test_find(book: OrderBook, table: Table) -> None:
    """Orders are found by their positions; what is removed, open or not given out is not there."""
    for name in "abc":
        book.place(draft(name))
    abandon(table)
    book.remove(2)

    assert {at: entry["order"] for at, entry in book.find([5, 4, 3, 2, 1]).items()} == {1: "a", 3: "c"}


def test_walk(book: OrderBook, table: Table, time: Time) -> None:
    """A walk shows everything before the first open position, oldest first, removed orders left out."""
    for name in "abc":
        book.place(draft(name))
    book.remove(2)
    abandon(table)
    book.place(draft("d"))
    young = [entry["order"] for entry in book.walk()]
    time.pass_by(3)

    assert young == ["a", "c"]
    assert [entry["order"] for entry in book.walk()] == ["a", "c", "d"]


def test_destroy(book: OrderBook, table: Table, time: Time) -> None:
    """A destroyed book has nothing in the table, and every other one has what it had."""
    other = OrderBook(table, "test#10", now=time)
    other.place(draft("z"))
    for name in "abc":
        book.place(draft(name))
    book.remove(2)
    book.destroy()

    kinds = ("BOOK", "VOIDS", "HEAD", "TICKETS")
    assert [item for kind in kinds for item in table.query(f"{kind}#test#1", "-", "9" * 10)] == []
    assert names(other) == ["z"]


def test_create_is_two_round_trips(book: OrderBook, wire: Wire) -> None:
    """A create that nothing interferes with is a ticket and a fill."""
    book.place(draft("a"))

    assert wire.take() == ["UpdateItem", "TransactWriteItems"]


def test_page_of_a_settled_book_is_two_round_trips(book: OrderBook, wire: Wire) -> None:
    """Any page of a settled book is one read of head and tickets and one query."""
    for name in "abcde":
        book.place(draft(name))
    book.settle()
    wire.take()

    costs = []
    for first in (0, 2, 4):
        book.page(first, 2)
        costs.append(wire.take())

    assert costs == [["BatchGetItem", "Query"]] * 3


def test_books_are_apart(table: Table, time: Time, book: OrderBook) -> None:
    """What one book holds is in no other."""
    other = OrderBook(table, "test#2", now=time)
    book.place(draft("a"))
    other.place(draft("b"))

    assert (names(book), names(other)) == (["a"], ["b"])


def test_everything_or_nothing(book: OrderBook, table: Table) -> None:
    """When a write of an order is refused, none of its writes took place, and what stood in the way is told."""
    obstacle = {"pk": "ONCE#k", "sk": "-", "answer": "first"}
    table.put(Put(obstacle))

    with pytest.raises(Collision) as caught:
        book.place(draft("a", [Put({"pk": "ONCE#k", "sk": "-"}, ABSENT)]))

    assert {("ONCE#k", "-"): obstacle} == caught.value.items
    assert table.get(("ORDER#a", "ORDER")) is None
    assert names(book) == []


def test_refused_fill_leaves_no_open_position(book: OrderBook, table: Table) -> None:
    """A writer whose fill was refused voids its own ticket, so nobody waits for its grace to pass."""
    table.put(Put({"pk": "ORDER#a", "sk": "ORDER"}))
    with pytest.raises(Collision):
        book.place(draft("a"))
    book.place(draft("b"))

    assert names(book) == ["b"]


def test_nothing_behind_an_open_position(book: OrderBook, table: Table) -> None:
    """While a ticket is open and young, what lies behind it is not shown and not counted."""
    book.place(draft("a"))
    abandon(table)
    book.place(draft("b"))

    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_open_position_is_voided_after_its_grace(book: OrderBook, table: Table, time: Time) -> None:
    """A reader voids an open ticket older than the grace time and shows what lies behind it."""
    book.place(draft("a"))
    abandon(table)
    book.place(draft("b"))
    time.pass_by(2.1)

    assert names(book) == ["a", "b"]


def test_age_is_told_by_what_lies_behind(book: OrderBook, table: Table, time: Time) -> None:
    """An old open ticket is known for old by an old entry behind it, although tickets are taken all the time."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    book.place(draft("b"))

    assert names(book) == ["a", "b"]


def test_young_tickets_behind_an_old_one(book: OrderBook, table: Table, time: Time) -> None:
    """An open ticket of which nothing tells the age is left open."""
    abandon(table)
    time.pass_by(3)
    abandon(table, at=time.now)

    page = book.page(0, 10)

    assert (page.entries, page.total) == ([], 0)
    assert table.get(book.entry_key(1)) is None


def test_slow_writer_takes_another_ticket(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """A writer that was voided between ticket and fill places its order once, at a later position."""

    def meanwhile() -> None:
        time.pass_by(3)
        names(OrderBook(table, "test#1", now=time))

    wire.before["TransactWriteItems"] = meanwhile
    ticket = book.place(draft("a"))

    assert (ticket.position, names(book)) == (2, ["a"])


def test_void_loses_against_fill(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """A reader that wants to void a position that was filled meanwhile shows its order."""
    abandon(table)
    time.pass_by(3)
    partition, sort = book.entry_key(1)
    wire.before["PutItem"] = lambda: table.put(
        Put({"pk": partition, "sk": sort, "order": "late", "at": "2026-01-01T12:00:00.000000Z"})
    )

    assert names(book) == ["late"]


@pytest.mark.parametrize("lost", ["UpdateItem", "TransactWriteItems"])
def test_lost_answer(book: OrderBook, wire: Wire, time: Time, lost: str) -> None:
    """When an answer is lost after the call took effect, the order is there exactly once."""
    wire.after[lost] = NoAnswer("cut")
    book.place(draft("a"))
    time.pass_by(3)

    assert names(book) == ["a"]


def test_lost_answer_of_a_void(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """When the answer to a void is lost, the position is void all the same."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    wire.after["PutItem"] = NoAnswer("cut")

    assert names(book) == ["a"]


def test_conflict_is_tried_again(book: OrderBook, wire: Wire) -> None:
    """A transaction that met another one is tried again with the same ticket."""

    def conflict() -> None:
        raise ServiceFault("TransactionCanceledException", reasons=[{"Code": "TransactionConflict"}, {"Code": "None"}])

    wire.before["TransactWriteItems"] = conflict
    ticket = book.place(draft("a"))

    assert (ticket.position, names(book)) == (1, ["a"])


def test_deadline(table: Table, time: Time) -> None:
    """A create that cannot be carried out before the deadline is given up, and leaves nothing half done."""

    def throttled(_: str, __: dict[str, Any]) -> dict[str, Any]:
        raise ServiceFault("ThrottlingException")

    slow = replace(table, send=throttled, deadline=Deadline.after(0.05))
    with pytest.raises(Unavailable):
        OrderBook(slow, "test#1", now=time).place(draft("a"))

    assert names(OrderBook(table, "test#1", now=time)) == []


def test_readers_settle_a_long_tail(table: Table, time: Time, wire: Wire) -> None:
    """A reader that finds a long tail moves the head, so that the next one finds none."""
    book = OrderBook(table, "test#1", now=time, settle_after=3)
    for name in "abc":
        book.place(draft(name))
    names(book)
    wire.take()

    assert names(book) == ["a", "b", "c"]
    assert wire.take() == ["BatchGetItem", "Query"]


def test_settlers_do_not_count_twice(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """When two settle the same tail, voids and all, it is counted once."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    names(book)

    def meanwhile() -> None:
        book.settle()

    wire.before["TransactWriteItems"] = meanwhile
    book.settle()
    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_lost_answer_of_a_settle(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """When the answer to a settle is lost, its voids are counted once."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    names(book)
    wire.after["TransactWriteItems"] = NoAnswer("cut")
    book.settle()
    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_voids_cost_one_more_read(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """Where orders were voided, a page costs one small read more, and elsewhere none."""
    abandon(table)
    for name in "ab":
        book.place(draft(name))
    time.pass_by(3)
    names(book)
    book.settle()
    wire.take()

    assert names(book, 1, 1) == ["b"]
    assert wire.take() == ["BatchGetItem", "BatchGetItem", "Query"]


def test_head_and_segment_that_do_not_fit_are_read_again(book: OrderBook, table: Table, time: Time) -> None:
    """A page whose segment changed after its head was read is read again, until the deadline."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    names(book)
    book.settle()
    table.put(Put({"pk": "VOIDS#test#1", "sk": "0000000000", "positions": {1, 2}}))
    hasty = replace(table, deadline=Deadline.after(0.05))

    with pytest.raises(Unavailable):
        names(OrderBook(hasty, "test#1", now=time))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(st.sampled_from(["place", "die", "wait", "settle", "read"]), max_size=25),
    segment=st.integers(1, 5),
    first=st.integers(0, 12),
    count=st.integers(1, 6),
)
def test_like_a_plain_list(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    history: list[str],
    segment: int,
    first: int,
    count: int,
) -> None:
    """Whatever is placed, abandoned, settled and read in whatever order, the book lists what a plain list would."""
    monkeypatch.setattr(orderbook, "SEGMENT", segment)
    time = Time()
    table = Table(services.send, "OrdersTable", deadline=Deadline.after(30))
    run = secrets.token_hex(8)  # examples share the tables, so each needs a book of its own
    name = f"test#{run}"
    book = OrderBook(table, name, now=time, settle_after=4)
    placed: list[str] = []
    for step, action in enumerate(history):
        time.pass_by(0.001)
        if action == "place":
            order = f"{run}-{step}"
            book.place(draft(order))
            placed.append(order)
        elif action == "die":
            abandon(table, name, at=time.now)
        elif action == "wait":
            time.pass_by(3)
        elif action == "settle":
            book.settle()
        else:
            seen = names(book)
            assert placed[: len(seen)] == seen
    time.pass_by(3)
    page = book.page(first, count)

    assert placed[first : first + count] == [entry["order"] for entry in page.entries]
    assert len(placed) == page.total


def test_removed(book: OrderBook) -> None:
    """A removed order is in no list and no total, and those behind it move up."""
    for name in "abc":
        book.place(draft(name))
    removed = book.remove(2)
    page = book.page(0, 10)

    assert removed
    assert ([entry["order"] for entry in page.entries], page.total) == (["a", "c"], 2)


def test_removed_once(book: OrderBook) -> None:
    """Only one of several removals of the same order takes place, and nothing there is nothing to remove."""
    book.place(draft("a"))

    assert [book.remove(1), book.remove(1), book.remove(7)] == [True, False, False]


def test_removal_and_its_writes(book: OrderBook, table: Table) -> None:
    """What else a removal writes happens with it, or the order stays."""
    book.place(draft("a"))
    table.put(Put({"pk": "OBSTACLE", "sk": "-"}))
    with pytest.raises(Collision):
        book.remove(1, [Put({"pk": "OBSTACLE", "sk": "-"}, ABSENT)])
    kept = names(book)
    book.remove(1, [Delete(("ORDER#a", "ORDER"))])

    assert (kept, names(book)) == (["a"], [])
    assert table.get(("ORDER#a", "ORDER")) is None


def test_lost_answer_of_a_removal(book: OrderBook, wire: Wire) -> None:
    """When the answer to a removal is lost, the order is removed and counted once, and its caller is told so."""
    for name in "ab":
        book.place(draft(name))
    book.settle()
    wire.after["TransactWriteItems"] = NoAnswer("cut")
    removed = book.remove(1)
    page = book.page(0, 10)

    assert removed
    assert ([entry["order"] for entry in page.entries], page.total) == (["b"], 1)


def test_removal_between_head_and_segment(book: OrderBook, wire: Wire) -> None:
    """A page that was being read while an order was removed is one of the two lists, never a mix."""
    for name in "abcd":
        book.place(draft(name))
    book.settle()

    def meanwhile() -> None:
        book.remove(2)

    wire.before["Query"] = meanwhile
    page = book.page(0, 2)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a", "c"], 3)


def test_nothing_is_removed_where_nothing_may_be(table: Table, time: Time) -> None:
    """A book that was not opened for removals refuses them."""
    with pytest.raises(TypeError, match="nothing is ever removed"):
        OrderBook(table, "test#1", now=time).remove(1)
