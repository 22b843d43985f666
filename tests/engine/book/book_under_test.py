"""A new book on an engine that several tests share, with all that a test reads of it."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from engine.book.oracle import LINES, BookContents, once_key, place, removal
from engine.engines import Engine
from ordering.aws.dynamodb import Item, Key, Send, Table
from ordering.book.orderbook import OrderBook
from ordering.book.positions import LAST_POSITION, LAYOUT, BookKeys, Layout
from ordering.clock import Deadline, system_clock
from support.scheduler import START


class Time:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def grace(self) -> None:
        self.now += timedelta(seconds=3)


class BookUnderTest:
    """One new book, its clock, and every name and key that a test used in it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] | None = None, layout: Layout = LAYOUT) -> None:
        self.engine = engine
        self.layout = layout
        self.run = secrets.token_hex(6)
        self.name = f"test#{self.run}"
        self.time = Time()
        self._now = now or self.time
        self._numbers = itertools.count(1)
        self.names: list[str] = []
        self.keys: list[str] = []

    def table(self, send: Send | None = None, *, seconds: float = 30, first_pause: float = 0.0) -> Table:
        deadline = Deadline.after(seconds)
        return Table(send or self.engine.send, self.engine.table, deadline=deadline, first_pause=first_pause)

    def book(self, send: Send | None = None, *, settle_after: int = 25, seconds: float = 30) -> OrderBook:
        # Without faults nothing waits; with them the pauses are those of production.
        table = self.table(send, seconds=seconds, first_pause=0.0 if send is None else 0.02)
        return OrderBook(table, self.name, now=self._now, settle_after=settle_after, removals=True, layout=self.layout)

    def new_name(self) -> str:
        self.names.append(f"{self.run}-{next(self._numbers)}")
        return self.names[-1]

    def new_key(self) -> str:
        self.keys.append(f"{self.run}-key-{next(self._numbers)}")
        return self.keys[-1]

    def place(self, book: OrderBook | None = None, key: str | None = None) -> tuple[str, int]:
        return place(book or self.book(), self.new_name(), key)

    def remove(self, name: str, position: int, book: OrderBook | None = None) -> bool:
        return (book or self.book()).remove(position, removal(name))

    def crash(self) -> None:
        """Take a ticket and place no order, as a client that crashed in between."""
        self.book()._take_ticket()

    def listed(self, first: int = 0, count: int = 10_000) -> tuple[list[str], int]:
        page = self.book().page(first, count)
        return [entry["order"] for entry in page.entries], page.total

    def contents(self) -> BookContents:
        """Everything of this book that the engine holds."""
        return BookContents.of(self._items(), self.name, self.layout)

    def _items(self) -> Iterator[Item]:
        table = self.table()
        keys_of_book = BookKeys(self.name, self.layout)
        for span in [*keys_of_book.entries(1, LAST_POSITION), keys_of_book.voids]:
            yield from table.query(*span)
        keys: list[Key] = [(f"{kind}#{self.name}", "-") for kind in ("HEAD", "TICKETS")]
        for name in self.names:
            keys += [(f"ORDER#{name}", "ORDER"), (f"TOMBSTONE#{name}", "-")]
            keys += [(f"ORDER#{name}", f"LINE#{number}") for number in range(1, LINES + 1)]
        keys += [once_key(key) for key in self.keys]
        yield from table.batch_get(keys).values()


def book_on_system_time(engine: Engine) -> BookUnderTest:
    """A new book on the system clock, with sizes of which some dozens of orders fill several each."""
    return BookUnderTest(engine, now=system_clock, layout=Layout(segment=8, segments=3, block=4, lanes=5))
