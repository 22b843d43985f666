"""The order book on every engine, one step at a time: normal operations, and the effects of each fault and crash."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from engine.book.book_under_test import BookUnderTest
from engine.book.oracle import place
from engine.engines import Engine
from ordering.aws.dynamodb import Check, NoAnswer, Put, Reason, Send, ServiceFault, TransactionRefused, _item
from ordering.book.orderbook import Collision, Draft, OrderBook
from ordering.book.positions import Layout
from ordering.errors import Unavailable
from support.aws.faults import (
    Crash,
    Fault,
    Faulty,
    answer_lost,
    conflict,
    cut,
    failed,
    interrupted,
    late,
    lost,
    refused,
    throttled,
)
from support.aws.memory import Memory


@pytest.fixture
def subject(engine: Engine) -> BookUnderTest:
    return BookUnderTest(engine)


def test_placed_orders_are_listed(subject: BookUnderTest) -> None:
    """Orders are listed oldest first with an exact total, whatever part of them is settled."""
    for number in range(7):
        subject.place()
        if number == 3:
            subject.book().settle()

    assert subject.listed() == (subject.names, 7)
    assert subject.listed(2, 3) == (subject.names[2:5], 7)
    assert subject.listed(6, 3) == (subject.names[6:], 7)
    assert [*subject.contents().violations()] == []


def test_pages_with_some_attributes(subject: BookUnderTest) -> None:
    """A book whose pages need one attribute has the same pages, and settled entries have no others but their keys."""
    for number in range(5):
        subject.crash() if number == 1 else subject.place()
    subject.time.grace()
    subject.listed()
    subject.book().settle()
    subject.place()

    book = OrderBook(subject.table(), subject.name, now=subject.time, shown=["order"])

    page = book.page(0, 10)
    assert ([entry["order"] for entry in page.entries], page.total) == (subject.names, 5)
    assert [entry.keys() for entry in page.entries[:4]] == [{"sk", "order"}] * 4


def test_replay(subject: BookUnderTest) -> None:
    """A create with a used key returns the order of that key, and places none."""
    key = subject.new_key()
    first = subject.place(key=key)
    again = subject.place(key=key)

    assert again == first
    assert subject.listed() == ([first[0]], 1)
    assert [*subject.contents().violations()] == []


def test_refused_fill(subject: BookUnderTest) -> None:
    """A create that met another order's write is refused, places nothing and leaves no open position."""
    name = subject.new_name()
    obstacle = f"ORDER#{name}", "LINE#1"
    subject.table().put(Put({"pk": obstacle[0], "sk": obstacle[1]}))
    with pytest.raises(Collision) as raised:
        place(subject.book(), name)
    later, _ = subject.place()

    assert [*raised.value.items] == [obstacle]
    assert subject.listed() == ([later], 1)
    assert subject.contents().slots == (None, later)
    assert subject.contents().orders == {later: 2}


def test_abandoned_tickets(subject: BookUnderTest) -> None:
    """What died between ticket and fill hides what lies behind it for the grace time, and is void then."""
    subject.place()
    subject.crash()
    subject.crash()
    subject.place()
    hidden = subject.listed()
    subject.time.grace()

    assert hidden == (subject.names[:1], 1)
    assert subject.listed() == (subject.names, 2)
    subject.book().settle()
    assert subject.listed(1, 1) == (subject.names[1:], 2)
    assert [*subject.contents().violations()] == []


def test_removals(engine: Engine) -> None:
    """With orders removed at random and positions void, every page of every size is that of a plain list."""
    subject = BookUnderTest(engine, layout=Layout(segment=7, segments=2, block=3, lanes=4))
    draw = random.Random(5)
    left: list[tuple[str, int]] = []
    for _ in range(24):
        if draw.random() < 0.2:
            subject.crash()
        left.append(subject.place())
    subject.time.grace()
    subject.listed()
    subject.book().settle()
    for _ in range(9):
        assert subject.remove(*left.pop(draw.randrange(len(left))))
    subject.place()
    subject.book().settle()

    expected = [name for name, _ in left] + [subject.names[-1]]
    pages = [(first, count) for count in (1, 4, 50) for first in range(0, len(expected) + 1, 3)]
    assert [(expected[first : first + count], len(expected)) for first, count in pages] == [
        subject.listed(*page) for page in pages
    ]
    assert [*subject.contents().violations()] == []


def test_removed_once(subject: BookUnderTest) -> None:
    """Only one of several removals of an order takes place, and what is not there cannot be removed."""
    order = subject.place()

    assert [subject.remove(*order), subject.remove(*order), subject.remove("nothing", 9)] == [True, False, False]
    assert subject.listed() == ([], 0)


def test_settling(subject: BookUnderTest) -> None:
    """The head moves over what is filled or void and stops before what is open and young."""
    subject.place()
    subject.crash()
    subject.time.grace()
    subject.crash()
    subject.place()
    young = subject.book().settle()
    subject.time.grace()

    assert (young, subject.book().settle()) == (1, 4)
    assert [*subject.contents().violations()] == []


# From the end, by position, all at once, and away.


def newest(
    subject: BookUnderTest, first: int = 0, count: int = 10_000, up_to: int | None = None
) -> tuple[list[str], int]:
    page = subject.book().page(first, count, newest_first=True, up_to=up_to)
    return [entry["order"] for entry in page.entries], page.total


def with_gaps(subject: BookUnderTest) -> list[tuple[str, int]]:
    """A book with orders removed, positions void, and a tail; returns what is listed, and at which positions."""
    draw = random.Random(7)
    left: list[tuple[str, int]] = []
    for _ in range(10):
        if draw.random() < 0.4:
            subject.crash()
        left.append(subject.place())
    subject.time.grace()
    subject.book().settle()
    for _ in range(3):
        assert subject.remove(*left.pop(draw.randrange(len(left))))
    left.append(subject.place())
    subject.crash()
    left.append(subject.place())
    subject.time.grace()
    return left


def test_newest_first(engine: Engine) -> None:
    """With orders removed, positions void and a tail, every page from any position back is that of a plain list."""
    subject = BookUnderTest(engine, layout=Layout(segment=5, segments=2, block=4, lanes=3))
    left = with_gaps(subject)
    last = left[-1][1]
    pages: list[tuple[int, int, int | None]] = [(first, 4, None) for first in range(0, len(left) + 2, 3)]
    pages += [(first, 50, up_to) for first, up_to in enumerate(range(1, last + 3, 3))]
    expected = []
    for first, count, up_to in pages:
        names = [name for name, position in left if position <= (up_to or last)][::-1]
        expected.append((names[first : first + count], len(names)))
    pages_back = [newest(subject, *page) for page in pages]
    subject.book().settle()

    assert expected == pages_back
    assert expected == [newest(subject, *page) for page in pages]


def test_going_back_while_others_go_on(subject: BookUnderTest) -> None:
    """Pages counted from the first page's newest order ignore orders that are placed and removed after it."""
    for _ in range(5):
        subject.place()
    subject.book().settle()
    first, total = newest(subject, 0, 2)
    subject.place()
    removed = subject.place()
    subject.remove(*removed)
    second = newest(subject, 2, 2, up_to=5)
    subject.place()
    third = newest(subject, 4, 2, up_to=5)
    subject.remove(subject.names[0], 1)

    assert (first, total) == (subject.names[3:5][::-1], 5)
    assert second == (subject.names[1:3][::-1], 5)
    assert third == (subject.names[:1], 5)
    assert newest(subject, 4, 2, up_to=5) == ([], 4)


def test_calls_of_pages_from_the_end(engine: Engine) -> None:
    """The last page from the end takes the calls that the first one takes, wherever it counts from."""
    subject = BookUnderTest(engine)
    for _ in range(6):
        subject.place()
    subject.book().settle()
    settled = [calls_of_back(subject, first) for first in (0, 2, 4)]
    at_end = [calls_of_back(subject, first, up_to=6) for first in (0, 2, 4)]
    up_to = [calls_of_back(subject, first, up_to=4) for first in (0, 2)]
    subject.remove(subject.names[0], 1)
    removed = [calls_of_back(subject, first) for first in (0, 2, 3)]
    subject.place()
    tail = [calls_of_back(subject, first, up_to=6) for first in (0, 3)]

    assert settled == [["BatchGetItem", "Query"]] * 3
    assert at_end == settled
    assert up_to == [["BatchGetItem", "Query", "BatchGetItem", "Query"]] * 2  # what is newer, and the head again
    assert removed == [["BatchGetItem", "BatchGetItem", "Query"]] * 3
    assert tail == [["BatchGetItem", "Query", "BatchGetItem", "Query"]] * 2


def calls_of_back(subject: BookUnderTest, first: int, up_to: int | None = None) -> list[str]:
    watched = Faulty(subject.engine.send)
    subject.book(watched).page(first, 2, newest_first=True, up_to=up_to)
    return watched.calls


def test_find(subject: BookUnderTest) -> None:
    """Positions are found whatever is settled, once each; what is void, open, removed or not given out is not."""
    for _ in range(3):
        subject.place()
    subject.remove(subject.names[1], 2)
    subject.crash()
    subject.time.grace()
    subject.listed()
    subject.crash()
    subject.place()
    found = subject.book().find([9, 6, 5, 4, 3, 2, 1, 3])

    assert {position: entry["order"] for position, entry in found.items()} == {
        1: subject.names[0],
        3: subject.names[2],
        6: subject.names[3],
    }
    assert subject.book().find([]) == {}


def test_find_many(subject: BookUnderTest) -> None:
    """More positions than one call takes are found in as few calls as they need."""
    for _ in range(3):
        subject.place()
    watched = Faulty(subject.engine.send)
    found = subject.book(watched).find(range(1, 251))

    assert found.keys() == {1, 2, 3}
    assert watched.calls == ["BatchGetItem"] * 3


def test_walk(subject: BookUnderTest) -> None:
    """A walk shows what a list shows: all of it, oldest first, and nothing behind a position that is open."""
    for _ in range(3):
        subject.place()
    subject.remove(subject.names[1], 2)
    subject.place()
    subject.crash()
    subject.place()
    hidden = [entry["order"] for entry in subject.book().walk().entries()]
    subject.time.grace()
    watched = Faulty(subject.engine.send)
    walked = [(entry["order"], int(entry["sk"])) for entry in subject.book(watched, settle_after=1).walk().entries()]

    assert hidden == [subject.names[0], *subject.names[2:4]]
    assert walked == [*zip([subject.names[0], *subject.names[2:]], [1, 3, 4, 6], strict=True)]
    assert watched.calls[-1] == "TransactWriteItems"  # it settles what it found
    assert newest(subject) == ([name for name, _ in walked][::-1], 4)


def test_walk_over_nothing(subject: BookUnderTest) -> None:
    """A book that was never written to is walked over in a call or two."""
    assert list(subject.book().walk().entries()) == []
    assert subject.book().find([1]) == {}
    assert newest(subject, up_to=3) == ([], 0)


def test_destroy(subject: BookUnderTest) -> None:
    """Nothing is left of a book that was destroyed, once or again, and all of every other one."""
    for _ in range(3):
        subject.place()
    subject.remove(subject.names[1], 2)
    subject.crash()
    subject.place()
    other = BookUnderTest(subject.engine)
    other.place()
    subject.book().destroy()
    subject.book().destroy()

    contents = subject.contents()
    assert (contents.entries, contents.segments, contents.issued, contents.settled) == ({}, {}, 0, 0)
    assert subject.listed() == ([], 0)
    assert other.listed() == (other.names, 1)


def test_check(engine: Engine) -> None:
    """A transaction takes effect only if its checks hold, and its error names the check that failed."""
    table = BookUnderTest(engine).table()
    name = secrets.token_hex(6)
    there, written = (f"THERE#{name}", "-"), {"pk": f"WRITTEN#{name}", "sk": "-"}
    check = Check(there, "#state = :open", {"#state": "state"}, {":open": "open"})
    with pytest.raises(TransactionRefused) as without:
        table.transact([Put(written), check])
    shut = {"pk": there[0], "sk": "-", "state": "shut"}
    table.put(Put(shut))
    with pytest.raises(TransactionRefused) as against:
        table.transact([Put(written), check])
    nothing = table.get((written["pk"], "-"))
    table.put(Put({**shut, "state": "open"}))
    table.transact([Put(written), check])

    assert without.value.reasons == (None, Reason(None))
    assert against.value.reasons == (None, Reason(shut))
    assert nothing is None
    assert table.get((written["pk"], "-")) == written
    assert table.get(there) == {**shut, "state": "open"}


def test_create_that_fails_a_check(subject: BookUnderTest) -> None:
    """A create whose check does not hold is refused with what was there, and leaves no open position."""
    key = f"GATE#{subject.run}", "-"
    name = subject.new_name()
    with pytest.raises(Collision) as raised:
        subject.book().place(lambda _: Draft({"order": name}, [Check(key, "attribute_exists(pk)")]))
    later, _ = subject.place()

    assert raised.value.items == {key: None}
    assert subject.listed() == ([later], 1)


def test_delete_all(engine: Engine) -> None:
    """More items than one call takes are gone, with some among them that were not there, and no others."""
    table = BookUnderTest(engine).table()
    partition = f"MANY#{secrets.token_hex(6)}"
    table.put_all({"pk": partition, "sk": f"{number:03}"} for number in range(60))
    table.delete_all((partition, f"{number:03}") for number in range(0, 120, 2))
    table.delete_all([])

    left = [int(item["sk"]) for item in table.query(partition, "0", "9")]
    assert left == [*range(1, 60, 2)]


# Faults and crashes: each kind at each call of each operation.


def creates(subject: BookUnderTest, book: OrderBook) -> object:
    return subject.place(book)


def replays(subject: BookUnderTest, book: OrderBook) -> object:
    return subject.place(book, subject.keys[0])


def removes(subject: BookUnderTest, book: OrderBook) -> object:
    return subject.remove(subject.names[0], 1, book)


def settles(_: BookUnderTest, book: OrderBook) -> object:
    return book.settle()


def lists(_: BookUnderTest, book: OrderBook) -> object:
    return book.page(0, 10).total


def goes_back(_: BookUnderTest, book: OrderBook) -> object:
    return book.page(0, 10, newest_first=True, up_to=1).total


def walks(_: BookUnderTest, book: OrderBook) -> object:
    return len(list(book.walk().entries()))


Operation = Callable[[BookUnderTest, OrderBook], object]
CALLS: dict[str, tuple[Operation, int]] = {
    "create": (creates, 2),
    "replay": (replays, 3),
    "remove": (removes, 8),
    "settle": (settles, 4),
    "void by a reader": (lists, 5),
}
READS: dict[str, tuple[Operation, int]] = {"page from the end": (goes_back, 5), "walk": (walks, 4)}
"""Their calls are those of the list above, so faults are tried on one engine only."""
PASSING: dict[str, Fault] = {
    "conflict": conflict,
    "throttled": throttled,
    "failed": failed,
    "cut before": cut,
    "cut after": answer_lost,
    "timeout after": lost(NoAnswer("read timeout")),
    "late answer": late(0.01),
    "interrupted": interrupted(lambda: None),
}
CRASHES: dict[str, Fault] = {"before": refused(Crash()), "after": lost(Crash())}


def every_call(operations: Mapping[str, tuple[Operation, int]]) -> list[Any]:
    return [
        pytest.param(operation, number, id=f"{name}, call {number + 1}")
        for name, (operation, calls) in operations.items()
        for number in range(calls)
    ]


EVERY_CALL = every_call(CALLS)


def furnished(engine: Engine) -> BookUnderTest:
    """A book with an order, a void to be made, an order with a key, and nothing settled."""
    subject = BookUnderTest(engine)
    subject.place()
    subject.crash()
    subject.place(key=subject.new_key())
    subject.time.grace()
    return subject


def test_number_of_calls(engine: Engine) -> None:
    """The faults below meet every call that the operations make."""
    made = {}
    for name, (operation, _) in {**CALLS, **READS}.items():
        subject = furnished(engine)
        faulty = Faulty(engine.send)
        operation(subject, subject.book(faulty, settle_after=1))
        made[name] = len(faulty.calls)

    assert {name: calls for name, (_, calls) in {**CALLS, **READS}.items()} == made


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize(("operation", "number"), [*EVERY_CALL, *every_call(READS)])
def test_passing_fault(operation: Operation, number: int, fault: Fault) -> None:
    """A fault that passes changes nothing of what an operation comes to, whichever call it meets."""
    met_and_survived(Engine("memory", Memory()), operation, number, fault)


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
def test_lost_answer(engine: Engine, operation: Operation, number: int) -> None:
    """The one fault that leaves its mark on an engine, a call that took effect unseen, changes nothing."""
    met_and_survived(engine, operation, number, answer_lost)


def met_and_survived(engine: Engine, operation: Operation, number: int, fault: Fault) -> None:
    undisturbed, subject = furnished(engine), furnished(engine)
    expected = operation(undisturbed, undisturbed.book(settle_after=1))
    faulty = Faulty(engine.send)
    faulty.meet(None, fault, after=number)
    result = operation(subject, subject.book(faulty, settle_after=1))
    subject.time.grace()

    if not isinstance(expected, tuple):  # names and positions are each book's own
        assert result == expected
    assert subject.listed()[1] == undisturbed.listed()[1]
    subject.book().settle()
    assert [*subject.contents().violations()] == []


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
def test_crash(engine: Engine, operation: Operation, number: int, crash: Fault) -> None:
    """A crash before or after any call leaves everything or nothing, and the next ones go on from there."""
    subject = furnished(engine)
    faulty = Faulty(engine.send)
    faulty.meet(None, crash, after=number)
    with pytest.raises(Crash):
        operation(subject, subject.book(faulty, settle_after=1))
    assert [*subject.contents().violations()] == []
    subject.place()
    subject.time.grace()
    listed, total = subject.listed()
    subject.book().settle()

    assert subject.names[-1] in listed
    assert len(set(listed)) == len(listed) == total
    assert (listed, total) == subject.listed()
    assert subject.contents().live == listed
    assert [*subject.contents().violations()] == []


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
@pytest.mark.parametrize("number", range(5))
def test_crash_of_a_destruction(number: int, crash: Fault) -> None:
    """A destruction that crashed at any call is brought to its end by the next one."""
    subject = furnished(Engine("memory", Memory()))
    subject.book().settle()
    faulty = Faulty(subject.engine.send)
    faulty.meet(None, crash, after=number)
    with pytest.raises(Crash):
        subject.book(faulty).destroy()
    subject.book().destroy()

    contents = subject.contents()
    assert (contents.entries, contents.segments, contents.issued, contents.settled) == ({}, {}, 0, 0)


@pytest.mark.parametrize("fault", [conflict, throttled, failed, cut], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("operation", [creates, removes, settles], ids=lambda operation: operation.__name__)
def test_fault_that_does_not_pass(operation: Operation, fault: Fault) -> None:
    """What goes on failing until the deadline is unavailable, and nothing is half written."""
    engine = Engine("memory", Memory())
    subject = furnished(engine)
    before = subject.contents()

    def send(kind: str, request: dict[str, Any]) -> dict[str, Any]:
        if kind in {"TransactWriteItems", "PutItem"}:
            return fault(engine.send, kind, request)
        return engine.send(kind, request)

    with pytest.raises(Unavailable):
        operation(subject, subject.book(send, seconds=0.2))

    after = subject.contents()
    assert (after.entries, after.settled, after.orders) == (before.entries, before.settled, before.orders)
    assert [*after.violations()] == []


def test_conflict_with_its_own_first_try() -> None:
    """A create whose first try took effect, while the service still holds one of its items, is placed."""
    subject = BookUnderTest(Engine("memory", Memory()))
    faulty = Faulty(subject.engine.send)

    def half_released(_: Send, __: str, request: dict[str, Any]) -> dict[str, Any]:
        order = _item(subject.table().get((f"ORDER#{subject.names[0]}", "ORDER")) or {})
        met = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": order}]
        rest = [{"Code": "None"} for _ in request["TransactItems"][2:]]
        raise ServiceFault("TransactionCanceledException", reasons=[*met, *rest])

    faulty.meet("TransactWriteItems", answer_lost)
    faulty.meet("TransactWriteItems", half_released)
    name, position = subject.place(subject.book(faulty))

    assert (name, position) == (subject.names[0], 1)


def test_voided_again_and_again() -> None:
    """A create whose every ticket is voided ends at its deadline."""
    subject = BookUnderTest(Engine("memory", Memory()))
    fills = 0

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal fills
        if operation == "TransactWriteItems":
            fills += 1
            assert fills < 1_000, "it goes on"
            time.sleep(0.001)
            subject.time.grace()
            subject.listed()
        return subject.engine.send(operation, request)

    with pytest.raises(Unavailable):
        subject.place(subject.book(send, seconds=0.1))
