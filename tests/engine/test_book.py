"""The order book on every engine, one step at a time: the normal ways, and what comes of each fault and crash."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.engines import Engine
from engine.oracle import place
from engine.shelf import Shelf
from ordering import orderbook
from ordering.errors import Unavailable
from ordering.orderbook import Collision, OrderBook
from ordering.table import NoAnswer, Put, Send, ServiceFault, _item
from support.faults import (
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
from support.memory import Memory


@pytest.fixture
def shelf(engine: Engine) -> Shelf:
    return Shelf(engine)


def test_placed_orders_are_listed(shelf: Shelf) -> None:
    """Orders are listed oldest first with an exact total, whatever part of them is settled."""
    for number in range(7):
        shelf.place()
        if number == 3:
            shelf.book().settle()

    assert shelf.listed() == (shelf.names, 7)
    assert shelf.listed(2, 3) == (shelf.names[2:5], 7)
    assert shelf.listed(6, 3) == (shelf.names[6:], 7)
    assert [*shelf.contents().wrongs()] == []


def test_replay(shelf: Shelf) -> None:
    """A key that comes again is answered with the order it stands for, and places nothing."""
    key = shelf.new_key()
    first = shelf.place(key=key)
    again = shelf.place(key=key)

    assert again == first
    assert shelf.listed() == ([first[0]], 1)
    assert [*shelf.contents().wrongs()] == []


def test_refused_fill(shelf: Shelf) -> None:
    """A create that met another order's write is refused, places nothing and leaves no open position."""
    name = shelf.new_name()
    obstacle = f"ORDER#{name}", "LINE#1"
    shelf.table().put(Put({"pk": obstacle[0], "sk": obstacle[1]}))
    with pytest.raises(Collision) as raised:
        place(shelf.book(), name)
    later, _ = shelf.place()

    assert [*raised.value.items] == [obstacle]
    assert shelf.listed() == ([later], 1)
    assert shelf.contents().slots == (None, later)
    assert shelf.contents().orders == {later: 2}


def test_abandoned_tickets(shelf: Shelf) -> None:
    """What died between ticket and fill hides what lies behind it for the grace time, and is void then."""
    shelf.place()
    shelf.die()
    shelf.die()
    shelf.place()
    hidden = shelf.listed()
    shelf.time.grace()

    assert hidden == (shelf.names[:1], 1)
    assert shelf.listed() == (shelf.names, 2)
    shelf.book().settle()
    assert shelf.listed(1, 1) == (shelf.names[1:], 2)
    assert [*shelf.contents().wrongs()] == []


def test_removals(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """With orders removed at random and positions void, every page of every size is that of a plain list."""
    monkeypatch.setattr(orderbook, "SEGMENT", 7)
    draw = random.Random(5)
    left: list[tuple[str, int]] = []
    for _ in range(24):
        if draw.random() < 0.2:
            shelf.die()
        left.append(shelf.place())
    shelf.time.grace()
    shelf.listed()
    shelf.book().settle()
    for _ in range(9):
        assert shelf.remove(*left.pop(draw.randrange(len(left))))
    shelf.place()
    shelf.book().settle()

    expected = [name for name, _ in left] + [shelf.names[-1]]
    pages = [(first, count) for count in (1, 4, 50) for first in range(0, len(expected) + 1, 3)]
    assert [(expected[first : first + count], len(expected)) for first, count in pages] == [
        shelf.listed(*page) for page in pages
    ]
    assert [*shelf.contents().wrongs()] == []


def test_removed_once(shelf: Shelf) -> None:
    """Only one of several removals of an order takes place, and what is not there cannot be removed."""
    order = shelf.place()

    assert [shelf.remove(*order), shelf.remove(*order), shelf.remove("nothing", 9)] == [True, False, False]
    assert shelf.listed() == ([], 0)


def test_settling(shelf: Shelf) -> None:
    """The head moves over what is filled or void and stops before what is open and young."""
    shelf.place()
    shelf.die()
    shelf.time.grace()
    shelf.die()
    shelf.place()
    young = shelf.book().settle()
    shelf.time.grace()

    assert (young, shelf.book().settle()) == (1, 4)
    assert [*shelf.contents().wrongs()] == []


# Faults and crashes: each kind at each call of each operation.


def creates(shelf: Shelf, book: OrderBook) -> object:
    return shelf.place(book)


def replays(shelf: Shelf, book: OrderBook) -> object:
    return shelf.place(book, shelf.keys[0])


def removes(shelf: Shelf, book: OrderBook) -> object:
    return shelf.remove(shelf.names[0], 1, book)


def settles(_: Shelf, book: OrderBook) -> object:
    return book.settle()


def lists(_: Shelf, book: OrderBook) -> object:
    return book.page(0, 10).total


Operation = Callable[[Shelf, OrderBook], object]
CALLS: dict[str, tuple[Operation, int]] = {
    "create": (creates, 2),
    "replay": (replays, 3),
    "remove": (removes, 8),
    "settle": (settles, 4),
    "void by a reader": (lists, 5),
}
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
EVERY_CALL = [
    pytest.param(operation, number, id=f"{name}, call {number + 1}")
    for name, (operation, calls) in CALLS.items()
    for number in range(calls)
]


def furnished(engine: Engine) -> Shelf:
    """A book with an order, a void to be made, an order with a key, and nothing settled."""
    shelf = Shelf(engine)
    shelf.place()
    shelf.die()
    shelf.place(key=shelf.new_key())
    shelf.time.grace()
    return shelf


def test_number_of_calls(engine: Engine) -> None:
    """The faults below meet every call that the operations make."""
    made = {}
    for name, (operation, _) in CALLS.items():
        shelf = furnished(engine)
        faulty = Faulty(engine.send)
        operation(shelf, shelf.book(faulty, settle_after=1))
        made[name] = len(faulty.calls)

    assert {name: calls for name, (_, calls) in CALLS.items()} == made


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
def test_passing_fault(operation: Operation, number: int, fault: Fault) -> None:
    """A fault that passes changes nothing of what an operation comes to, whichever call it meets."""
    met_and_survived(Engine("memory", Memory()), operation, number, fault)


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
def test_lost_answer(engine: Engine, operation: Operation, number: int) -> None:
    """The one fault that leaves its mark on an engine, a call that took effect unseen, changes nothing."""
    met_and_survived(engine, operation, number, answer_lost)


def met_and_survived(engine: Engine, operation: Operation, number: int, fault: Fault) -> None:
    undisturbed, shelf = furnished(engine), furnished(engine)
    expected = operation(undisturbed, undisturbed.book(settle_after=1))
    faulty = Faulty(engine.send)
    faulty.meet(None, fault, after=number)
    result = operation(shelf, shelf.book(faulty, settle_after=1))
    shelf.time.grace()

    if not isinstance(expected, tuple):  # names and positions are each book's own
        assert result == expected
    assert shelf.listed()[1] == undisturbed.listed()[1]
    shelf.book().settle()
    assert [*shelf.contents().wrongs()] == []


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
def test_crash(engine: Engine, operation: Operation, number: int, crash: Fault) -> None:
    """A crash before or after any call leaves everything or nothing, and the next ones go on from there."""
    shelf = furnished(engine)
    faulty = Faulty(engine.send)
    faulty.meet(None, crash, after=number)
    with pytest.raises(Crash):
        operation(shelf, shelf.book(faulty, settle_after=1))
    assert [*shelf.contents().wrongs()] == []
    shelf.place()
    shelf.time.grace()
    listed, total = shelf.listed()
    shelf.book().settle()

    assert shelf.names[-1] in listed
    assert len(set(listed)) == len(listed) == total
    assert (listed, total) == shelf.listed()
    assert shelf.contents().live == listed
    assert [*shelf.contents().wrongs()] == []


@pytest.mark.parametrize("fault", [conflict, throttled, failed, cut], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("operation", [creates, removes, settles], ids=lambda operation: operation.__name__)
def test_fault_that_does_not_pass(operation: Operation, fault: Fault) -> None:
    """What goes on failing until the deadline is unavailable, and nothing is half written."""
    engine = Engine("memory", Memory())
    shelf = furnished(engine)
    before = shelf.contents()

    def send(kind: str, request: dict[str, Any]) -> dict[str, Any]:
        if kind in {"TransactWriteItems", "PutItem"}:
            return fault(engine.send, kind, request)
        return engine.send(kind, request)

    with pytest.raises(Unavailable):
        operation(shelf, shelf.book(send, seconds=0.2))

    after = shelf.contents()
    assert (after.entries, after.settled, after.orders) == (before.entries, before.settled, before.orders)
    assert [*after.wrongs()] == []


def test_conflict_with_its_own_first_try() -> None:
    """A create whose first try took effect, while the service still holds one of its items, is placed."""
    shelf = Shelf(Engine("memory", Memory()))
    faulty = Faulty(shelf.engine.send)

    def half_released(_: Send, __: str, request: dict[str, Any]) -> dict[str, Any]:
        order = _item(shelf.table().get((f"ORDER#{shelf.names[0]}", "ORDER")) or {})
        met = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": order}]
        rest = [{"Code": "None"} for _ in request["TransactItems"][2:]]
        raise ServiceFault("TransactionCanceledException", reasons=[*met, *rest])

    faulty.meet("TransactWriteItems", answer_lost)
    faulty.meet("TransactWriteItems", half_released)
    name, position = shelf.place(shelf.book(faulty))

    assert (name, position) == (shelf.names[0], 1)


def test_voided_again_and_again() -> None:
    """A create whose every ticket is voided ends at its deadline."""
    shelf = Shelf(Engine("memory", Memory()))
    fills = 0

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal fills
        if operation == "TransactWriteItems":
            fills += 1
            assert fills < 1_000, "it goes on"
            time.sleep(0.001)
            shelf.time.grace()
            shelf.listed()
        return shelf.engine.send(operation, request)

    with pytest.raises(Unavailable):
        shelf.place(shelf.book(send, seconds=0.1))
