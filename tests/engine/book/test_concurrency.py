"""The order book under real concurrency: 32 threads that create, others that page, settle and remove.

`ORDERING_EXPLORE=deep` has each thread create 500 orders instead of 50.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from engine.book.book_under_test import BookUnderTest, book_on_system_time
from engine.engines import Engine, in_threads
from ordering.book.orderbook import OrderBook
from ordering.clock import Deadline
from ordering.errors import Unavailable
from support.aws.faults import answer_lost, conflict, throttled, unreliable

THREADS = 32
EACH = 500 if os.environ.get("ORDERING_EXPLORE") == "deep" else 50
SECONDS = 60.0
GRACE = 2.1
"""A little more than it is: after so long nothing that died is in the way."""

pytestmark = pytest.mark.engine

Books = Callable[[], OrderBook]


def creator(subject: BookUnderTest, books: Books, started: threading.Barrier) -> list[tuple[str, int]]:
    started.wait()
    return [subject.place(books()) for _ in range(EACH)]


def read_forward(books: Books, over: threading.Event) -> list[str]:
    """Page forward until everything was created, and for the grace time more."""
    seen: list[str] = []
    totals = [0]
    end: float | None = None
    while True:
        if end is None and over.is_set():
            end = time.monotonic() + GRACE
        last = end is not None and time.monotonic() > end
        page = books().page(len(seen), 100)
        seen += [entry["order"] for entry in page.entries]
        totals.append(page.total)
        assert totals[-1] >= totals[-2], "a total went down"
        assert page.total >= len(seen), "fewer orders than were seen"
        if last and len(seen) == page.total:
            return seen
        time.sleep(0.05)


def settle(books: Books, over: threading.Event) -> None:
    while not over.wait(0.1):
        books().settle()


def check(subject: BookUnderTest, acknowledged: list[tuple[str, int]], removed: set[str]) -> None:
    """Everything acknowledged is there exactly once, at its position, and nothing else is."""
    time.sleep(GRACE)  # for tickets whose answer was lost
    listed, total = subject.listed()
    subject.book().settle()
    contents = subject.contents()

    assert [*contents.violations()] == []
    assert (listed, total) == subject.listed()
    assert total == len(listed) == len(set(listed))
    assert len({position for _, position in acknowledged}) == len({name for name, _ in acknowledged})
    assert [name for name, _ in sorted(acknowledged, key=lambda order: order[1]) if name not in removed] == listed
    assert removed <= contents.tombstones


def books_of(subject: BookUnderTest, faults: float) -> Books:
    if not faults:
        return lambda: subject.book(seconds=SECONDS)
    send = unreliable(subject.engine.send, faults, [conflict, throttled, answer_lost], seed=7)
    return lambda: subject.book(send, seconds=SECONDS)


@pytest.mark.parametrize("faults", [0.0, 0.2], ids=["without faults", "with 20 % faults"])
def test_creates_while_others_read_forward(
    concurrent_engine: Engine, faults: float, report: Callable[[str], None]
) -> None:
    """While 32 threads create, forward readers miss nothing and see nothing twice, and every total is exact."""
    subject = book_on_system_time(concurrent_engine)
    books = books_of(subject, faults)
    started, over = threading.Barrier(THREADS), threading.Event()
    creating = [lambda: creator(subject, books, started) for _ in range(THREADS)]

    def create_all() -> list[tuple[str, int]]:
        try:
            return [order for orders in in_threads(creating) for order in orders]
        finally:
            over.set()

    began = time.monotonic()
    acknowledged, *seen, _ = in_threads(
        [create_all, lambda: read_forward(books, over), lambda: read_forward(books, over), lambda: settle(books, over)]
    )
    took = time.monotonic() - began - GRACE

    assert len(acknowledged) == THREADS * EACH
    assert [subject.listed()[0]] * 2 == seen
    check(subject, acknowledged, set())
    report(f"{concurrent_engine.name}, {faults:.0%} faults: {len(acknowledged) / took:,.0f} creates/s, 2 readers")


@pytest.mark.parametrize("faults", [0.0, 0.2], ids=["without faults", "with 20 % faults"])
def test_creates_while_others_remove(concurrent_engine: Engine, faults: float) -> None:
    """While threads create and others remove what they see, what was acknowledged is there exactly once or removed."""
    subject = book_on_system_time(concurrent_engine)
    books = books_of(subject, faults)
    creators = THREADS // 4
    started, over = threading.Barrier(creators), threading.Event()
    removed: list[str] = []

    def create_all() -> list[tuple[str, int]]:
        try:
            works = [lambda: creator(subject, books, started) for _ in range(creators)]
            return [order for orders in in_threads(works) for order in orders]
        finally:
            over.set()

    def remove_some(seed: int) -> None:
        draw = random.Random(seed)
        end = Deadline.after(60)
        # Creates can be over before anything was removed.
        while not (over.is_set() and (removed or end.passed())):
            page = books().page(draw.randrange(30), 5)
            if page.entries and subject.remove(page.entries[0]["order"], int(page.entries[0]["sk"]), books()):
                removed.append(page.entries[0]["order"])

    acknowledged, *_ = in_threads([create_all, lambda: remove_some(1), lambda: remove_some(2)])

    assert removed
    assert len(removed) == len(set(removed)), "an order was removed twice"
    check(subject, acknowledged, set(removed))


def test_one_key_in_many_threads(concurrent_engine: Engine) -> None:
    """Of 32 creates with one key, one places the order, and all return it."""
    subject = book_on_system_time(concurrent_engine)
    books = books_of(subject, 0.2)
    key = subject.new_key()

    returned = in_threads([lambda: subject.place(books(), key)] * THREADS)

    assert len(set(returned)) == 1
    time.sleep(GRACE)
    assert subject.listed() == ([returned[0][0]], 1)
    subject.book().settle()
    assert [*subject.contents().violations()] == []


def test_engine_that_goes_away(concurrent_engine: Engine) -> None:
    """When every call fails from some moment on, creates end at their deadline, and none is there by half."""
    subject = book_on_system_time(concurrent_engine)
    gone = threading.Event()
    slow = unreliable(concurrent_engine.send, 1.0, [conflict, throttled], seed=3)
    acknowledged: list[tuple[str, int]] = []
    overdue: list[float] = []

    def send(operation: str, request: dict[str, object]) -> dict[str, object]:
        return (slow if gone.is_set() else concurrent_engine.send)(operation, request)

    def create() -> None:
        while True:
            began = time.monotonic()
            try:
                acknowledged.append(subject.place(subject.book(send, seconds=0.5)))
            except Unavailable:
                overdue.append(time.monotonic() - began)
                return

    threading.Timer(1.0, gone.set).start()
    in_threads([create] * 8)

    assert len(overdue) == 8
    assert max(overdue) < 0.5 + timedelta(seconds=1).total_seconds()
    check(subject, acknowledged, set())
