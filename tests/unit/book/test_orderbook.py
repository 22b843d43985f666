"""The order book on moto: single calls without interference, and with faults and concurrent calls at chosen points."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering.aws.dynamodb import ABSENT, Delete, NoAnswer, Put, Send, ServiceFault, Table, Write
from ordering.book.orderbook import Collision, Draft, OrderBook, Ticket
from ordering.book.positions import LAST_POSITION, BookKeys, Layout
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.values import replace
from support.services import Services

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Time:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Wire:
    """Wraps a table's `Send`: counts its calls, and runs a callback before or raises an error after a chosen one."""

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
        """The operations called since the last `take`."""
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
    """Take a ticket and never fill it, as a writer that crashed."""
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


def test_newest(table: Table, time: Time, wire: Wire) -> None:
    """For operators, orders are read newest first over several queries, without voids and open positions or a write."""
    book = OrderBook(table, "test#1", now=time, removals=True, layout=Layout(block=2))
    for name in "abcde":
        book.place(draft(name))
    book.remove(2)
    abandon(table)
    wire.take()

    assert [entry["order"] for entry in book.newest()] == ["e", "d", "c", "a"]
    assert wire.take() == ["GetItem", "Query", "Query", "Query"]  # of positions 5 and 6, 3 and 4, 1 and 2
    assert [*OrderBook(table, "empty").newest()] == []


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
    """A page from the end is the same wherever the head stands, with and without an upper limit on positions."""
    for position, name in enumerate("abcdef", 1):
        book.place(draft(name))
        if position == settled:
            book.settle()
    pages = {(0, 2): "ed", (1, 2): "dc", (3, 5): "ba", (4, 2): "a", (5, 2): "", (900, 10): ""}

    assert {page: back(book, *page, up_to=5) for page in pages} == {page: ([*pages[page]], 5) for page in pages}
    assert [back(book, first + 1, count) for first, count in pages] == [([*names], 6) for names in pages.values()]


def test_newer_order_removed_while_a_page_is_read(book: OrderBook, wire: Wire) -> None:
    """If the only order newer than a page's limit is removed during the read, the page is still right."""
    for name in "abcd":
        book.place(draft(name))
    book.settle()
    first = back(book, 0, 1, up_to=3)

    def interrupt() -> None:
        book.remove(4)

    wire.before["Query"] = interrupt
    second = back(book, 1, 1, up_to=3)

    assert (first, second) == ((["c"], 3), (["b"], 3))


def test_one_of_two_newer_orders_removed_while_a_page_is_read(book: OrderBook, wire: Wire) -> None:
    """If one of two orders newer than a page's limit is removed during the read, the page is still right."""
    for name in "abcde":
        book.place(draft(name))
    book.settle()

    def interrupt() -> None:
        book.remove(4)

    wire.before["Query"] = interrupt

    assert back(book, 1, 1, up_to=3) == (["b"], 3)


def test_find(book: OrderBook, table: Table) -> None:
    """Orders are found by position; removed orders, open tickets and positions never given out are not."""
    for name in "abc":
        book.place(draft(name))
    abandon(table)
    book.remove(2)

    assert {at: entry["order"] for at, entry in book.find([5, 4, 3, 2, 1]).items()} == {1: "a", 3: "c"}


def test_walk(book: OrderBook, table: Table, time: Time) -> None:
    """A walk yields all orders before the first open ticket, oldest first, without removed ones."""
    for name in "abc":
        book.place(draft(name))
    book.remove(2)
    abandon(table)
    book.place(draft("d"))
    young = [entry["order"] for entry in book.walk().entries()]
    time.pass_by(3)

    assert young == ["a", "c"]
    assert [entry["order"] for entry in book.walk().entries()] == ["a", "c", "d"]


def test_destroy(book: OrderBook, table: Table, time: Time) -> None:
    """Destroying a book deletes all its items and none of another book's."""
    other = OrderBook(table, "test#10", now=time)
    other.place(draft("z"))
    for name in "abc":
        book.place(draft(name))
    book.remove(2)
    book.destroy()

    keys = BookKeys("test#1")
    spans = [*keys.entries(1, LAST_POSITION), keys.voids, (keys.head[0], "-", "-"), (keys.tickets[0], "-", "-")]
    assert [item for span in spans for item in table.query(*span)] == []
    assert names(other) == ["z"]


def test_create_is_two_round_trips(book: OrderBook, wire: Wire) -> None:
    """A create without interference takes two calls: one takes a ticket, one fills it."""
    book.place(draft("a"))

    assert wire.take() == ["UpdateItem", "TransactWriteItems"]


def test_page_of_a_settled_book_is_two_round_trips(book: OrderBook, wire: Wire) -> None:
    """Any page of a settled book takes two calls: one reads the head and tickets, one queries entries."""
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
    """An order in one book is not in another."""
    other = OrderBook(table, "test#2", now=time)
    book.place(draft("a"))
    other.place(draft("b"))

    assert (names(book), names(other)) == (["a"], ["b"])


def test_everything_or_nothing(book: OrderBook, table: Table) -> None:
    """If one write of an order is refused, none takes effect, and the error carries the item that was in the way."""
    obstacle = {"pk": "ONCE#k", "sk": "-", "answer": "first"}
    table.put(Put(obstacle))

    with pytest.raises(Collision) as caught:
        book.place(draft("a", [Put({"pk": "ONCE#k", "sk": "-"}, ABSENT)]))

    assert {("ONCE#k", "-"): obstacle} == caught.value.items
    assert table.get(("ORDER#a", "ORDER")) is None
    assert names(book) == []


def test_refused_fill_leaves_no_open_position(book: OrderBook, table: Table) -> None:
    """A writer whose fill was refused voids its own ticket, so the next order is listed without delay."""
    table.put(Put({"pk": "ORDER#a", "sk": "ORDER"}))
    with pytest.raises(Collision):
        book.place(draft("a"))
    book.place(draft("b"))

    assert names(book) == ["b"]


def test_nothing_behind_an_open_position(book: OrderBook, table: Table) -> None:
    """While a ticket is open and within its grace, orders behind it are neither listed nor counted."""
    book.place(draft("a"))
    abandon(table)
    book.place(draft("b"))

    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_open_position_is_voided_after_its_grace(book: OrderBook, table: Table, time: Time) -> None:
    """A reader voids an open ticket older than the grace time and lists the orders behind it."""
    book.place(draft("a"))
    abandon(table)
    book.place(draft("b"))
    time.pass_by(2.1)

    assert names(book) == ["a", "b"]


def test_ticket_age_follows_from_older_entries_behind_it(book: OrderBook, table: Table, time: Time) -> None:
    """An open ticket is voided if an entry behind it is older than the grace, even if newer entries follow."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    book.place(draft("b"))

    assert names(book) == ["a", "b"]


def test_open_ticket_without_entries_behind_it(book: OrderBook, table: Table, time: Time) -> None:
    """An open ticket is not voided if no entry behind it proves its age."""
    abandon(table)
    time.pass_by(3)
    abandon(table, at=time.now)

    page = book.page(0, 10)

    assert (page.entries, page.total) == ([], 0)
    assert table.get(book.entry_key(1)) is None


def test_slow_writer_takes_another_ticket(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """A writer whose ticket is voided before its fill places its order once, at a later position."""

    def interrupt() -> None:
        time.pass_by(3)
        names(OrderBook(table, "test#1", now=time))

    wire.before["TransactWriteItems"] = interrupt
    ticket = book.place(draft("a"))

    assert (ticket.position, names(book)) == (2, ["a"])


def test_void_loses_against_fill(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """A reader lists an order whose position was filled just before the reader's void."""
    abandon(table)
    time.pass_by(3)
    partition, sort = book.entry_key(1)
    wire.before["PutItem"] = lambda: table.put(
        Put({"pk": partition, "sk": sort, "order": "late", "at": "2026-01-01T12:00:00.000000Z"})
    )

    assert names(book) == ["late"]


@pytest.mark.parametrize("lost", ["UpdateItem", "TransactWriteItems"])
def test_lost_answer(book: OrderBook, wire: Wire, time: Time, lost: str) -> None:
    """If the answer to a call that took effect is lost, the order is placed exactly once."""
    wire.after[lost] = NoAnswer("cut")
    book.place(draft("a"))
    time.pass_by(3)

    assert names(book) == ["a"]


def test_a_refused_void_without_the_entry(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """If the refusal of a void does not say what is at the position, no order is counted as a void."""
    abandon(table)
    time.pass_by(3)
    partition, sort = book.entry_key(1)

    def refuse() -> None:
        table.put(Put({"pk": partition, "sk": sort, "order": "late", "at": "2026-01-01T12:00:00.000000Z"}))
        raise ServiceFault("ConditionalCheckFailedException")

    wire.before["PutItem"] = refuse

    with pytest.raises(Unavailable):
        names(book)

    assert names(book) == ["late"]


def test_lost_answer_of_a_void(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """If the answer to a void is lost, the position counts as void."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    wire.after["PutItem"] = NoAnswer("cut")

    assert names(book) == ["a"]


def test_conflict_is_retried(book: OrderBook, wire: Wire) -> None:
    """A transaction that conflicts with another one is retried with the same ticket."""

    def conflict() -> None:
        raise ServiceFault("TransactionCanceledException", reasons=[{"Code": "TransactionConflict"}, {"Code": "None"}])

    wire.before["TransactWriteItems"] = conflict
    ticket = book.place(draft("a"))

    assert (ticket.position, names(book)) == (1, ["a"])


def test_deadline(table: Table, time: Time) -> None:
    """A create that does not succeed before the deadline raises Unavailable and leaves no order."""

    def throttled(_: str, __: dict[str, Any]) -> dict[str, Any]:
        raise ServiceFault("ThrottlingException")

    slow = replace(table, send=throttled, deadline=Deadline.after(0.05))
    with pytest.raises(Unavailable):
        OrderBook(slow, "test#1", now=time).place(draft("a"))

    assert names(OrderBook(table, "test#1", now=time)) == []


def test_readers_settle_a_long_tail(table: Table, time: Time, wire: Wire) -> None:
    """A reader that finds a long tail settles it, so the next page takes two calls."""
    book = OrderBook(table, "test#1", now=time, settle_after=3)
    for name in "abc":
        book.place(draft(name))
    names(book)
    wire.take()

    assert names(book) == ["a", "b", "c"]
    assert wire.take() == ["BatchGetItem", "Query"]


def test_settlers_do_not_count_twice(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """If two processes settle the same tail at once, its voids are counted once."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    names(book)

    def interrupt() -> None:
        book.settle()

    wire.before["TransactWriteItems"] = interrupt
    book.settle()
    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_lost_answer_of_a_settle(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """If the answer to a settle is lost, its voids are counted once."""
    abandon(table)
    book.place(draft("a"))
    time.pass_by(3)
    names(book)
    wire.after["TransactWriteItems"] = NoAnswer("cut")
    book.settle()
    page = book.page(0, 10)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a"], 1)


def test_voids_cost_one_more_read(book: OrderBook, table: Table, wire: Wire, time: Time) -> None:
    """A page of a segment with voids takes one more small read while its range has one segment."""
    abandon(table)
    for name in "ab":
        book.place(draft(name))
    time.pass_by(3)
    names(book)
    book.settle()
    wire.take()

    assert names(book, 1, 1) == ["b"]
    assert wire.take() == ["BatchGetItem", "BatchGetItem", "Query"]


def test_voids_of_a_larger_book_cost_two_more_reads(table: Table, wire: Wire, time: Time) -> None:
    """A page of a range of several segments takes one more small read for the range, none where nothing is void."""
    book = OrderBook(table, "test#1", now=time, removals=True, layout=Layout(segment=2, segments=2))
    for name in "abcdefg":
        book.place(draft(name))
    book.settle()
    book.remove(2)
    wire.take()
    costs = []
    for rank, name in enumerate("acdefg"):
        assert names(book, rank, 1) == [name]
        costs.append(len(wire.take()))

    # "a" is in the segment with the void, "c" and "d" in another one of its range, the others in the next range.
    assert costs == [4, 3, 3, 2, 2, 2]


def test_page_over_several_blocks(table: Table, wire: Wire, time: Time) -> None:
    """A page queries each lane that it touches once, and is in the order of positions."""
    book = OrderBook(table, "test#1", now=time, layout=Layout(block=2, lanes=3))
    for name in "abcdefghijk":
        book.place(draft(name))
    book.settle()
    wire.take()
    pages = {(0, 2): 1, (0, 3): 2, (1, 3): 2, (3, 4): 3, (1, 10): 3, (0, 11): 3}
    for (first, count), queries in pages.items():
        assert names(book, first, count) == [*"abcdefghijk"[first : first + count]]
        assert wire.take() == ["BatchGetItem", *["Query"] * queries]


def test_head_and_segment_that_do_not_fit_are_read_again(book: OrderBook, table: Table, time: Time) -> None:
    """A page is read again while its head and segment disagree, and raises Unavailable at the deadline."""
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
    history=st.lists(st.sampled_from(["place", "crash", "wait", "settle", "read"]), max_size=25),
    layout=st.builds(Layout, st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    first=st.integers(0, 12),
    count=st.integers(1, 6),
)
def test_like_a_plain_list(
    services: Services,
    history: list[str],
    layout: Layout,
    first: int,
    count: int,
) -> None:
    """After any sequence of placing, abandoning, settling and reading, the book lists what a plain list would."""
    time = Time()
    table = Table(services.send, "OrdersTable", deadline=Deadline.after(30))
    run = secrets.token_hex(8)  # examples share the tables, so each needs a book of its own
    name = f"test#{run}"
    book = OrderBook(table, name, now=time, settle_after=4, layout=layout)
    placed: list[str] = []
    for step, action in enumerate(history):
        time.pass_by(0.001)
        if action == "place":
            order = f"{run}-{step}"
            book.place(draft(order))
            placed.append(order)
        elif action == "crash":
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
    """A removed order is neither listed nor counted, and the orders behind it move up."""
    for name in "abc":
        book.place(draft(name))
    removed = book.remove(2)
    page = book.page(0, 10)

    assert removed
    assert ([entry["order"] for entry in page.entries], page.total) == (["a", "c"], 2)


def test_removed_once(book: OrderBook) -> None:
    """Of several removals of one order only the first succeeds; removing an order that does not exist fails."""
    book.place(draft("a"))

    assert [book.remove(1), book.remove(1), book.remove(7)] == [True, False, False]


def test_removal_and_its_writes(book: OrderBook, table: Table) -> None:
    """A removal and its other writes all take effect, or none does."""
    book.place(draft("a"))
    table.put(Put({"pk": "OBSTACLE", "sk": "-"}))
    with pytest.raises(Collision):
        book.remove(1, [Put({"pk": "OBSTACLE", "sk": "-"}, ABSENT)])
    kept = names(book)
    book.remove(1, [Delete(("ORDER#a", "ORDER"))])

    assert (kept, names(book)) == (["a"], [])
    assert table.get(("ORDER#a", "ORDER")) is None


def test_lost_answer_of_a_removal(book: OrderBook, wire: Wire) -> None:
    """If the answer to a removal is lost, the order is removed and counted once, and the caller gets True."""
    for name in "ab":
        book.place(draft(name))
    book.settle()
    wire.after["TransactWriteItems"] = NoAnswer("cut")
    removed = book.remove(1)
    page = book.page(0, 10)

    assert removed
    assert ([entry["order"] for entry in page.entries], page.total) == (["b"], 1)


def test_removal_between_head_and_segment(book: OrderBook, wire: Wire) -> None:
    """A page that is read while an order is removed shows the list before or after, never a mix."""
    for name in "abcd":
        book.place(draft(name))
    book.settle()

    def interrupt() -> None:
        book.remove(2)

    wire.before["Query"] = interrupt
    page = book.page(0, 2)

    assert ([entry["order"] for entry in page.entries], page.total) == (["a", "c"], 3)


def test_books_without_removals(table: Table, time: Time) -> None:
    """A book that was opened without removals refuses them."""
    with pytest.raises(TypeError, match="nothing is ever removed"):
        OrderBook(table, "test#1", now=time).remove(1)
