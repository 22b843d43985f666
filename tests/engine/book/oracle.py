"""The promises of an order book, checked against a plain list of its orders.

An order has a name here. Beside its entry it writes its own item, two lines, and the record of its idempotency key, if
it has one. A removal deletes the order and its lines and leaves a tombstone, so that a reappearing order is detected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from engine.explored import Case, Mutant
from ordering.aws.dynamodb import ABSENT, Delete, Item, Key, Put, Table, Write, plain_item
from ordering.book.orderbook import Collision, Draft, OrderBook, Ticket
from ordering.book.positions import Layout, book_of
from ordering.clock import Clock
from support.aws.memory import Memory
from support.scheduler import START, TABLE, TICK, Checker, Log, Result, Script, Setup, operations

BOOK = "test#1"
LINES = 2
VOID = None
OPEN = "(open)"
Slots = tuple[str | None, ...]
"""The content of each position that a ticket was issued for: an order's name, VOID, or OPEN."""

SMALL = Layout(segment=2, segments=2, block=2, lanes=2)
"""Sizes with which a few orders fill several segments, ranges and lanes."""

LONG_AFTER = START + 1_000 * TICK


def build_book(
    table: Table,
    now: Clock,
    *,
    make_book: Callable[..., OrderBook] = OrderBook,
    settle_after: int = 1,
    removals: bool = False,
    layout: Layout = SMALL,
) -> OrderBook:
    return make_book(table, BOOK, now=now, settle_after=settle_after, removals=removals, layout=layout)


def planted(case: Case, fault: type[OrderBook]) -> Mutant:
    """A mutant that is a book with a fault, made as the case makes its books."""
    build: Callable[..., OrderBook] = case.setup.build
    return Mutant(case, build=partial(build, make_book=fault))


# Operations ----------------------------------------------------------------------------------------------------------


def once_key(key: str) -> Key:
    return f"ONCE#{key}", "-"


def draft(name: str, key: str | None = None) -> Callable[[Ticket], Draft]:
    """Compose an order with all items that are written atomically with it."""

    def compose(ticket: Ticket) -> Draft:
        order = f"ORDER#{name}"
        writes: list[Write] = [Put({"pk": order, "sk": "ORDER", "position": ticket.position, "key": key}, ABSENT)]
        writes += [Put({"pk": order, "sk": f"LINE#{number}"}, ABSENT) for number in range(1, LINES + 1)]
        if key is not None:
            partition, sort = once_key(key)
            writes.append(Put({"pk": partition, "sk": sort, "order": name, "position": ticket.position}, ABSENT))
        return Draft({"order": name}, writes)

    return compose


def place(book: OrderBook, name: str, key: str | None = None) -> tuple[str, int]:
    """Place an order, or find the order of its key; returns name and position."""
    try:
        return name, book.place(draft(name, key)).position
    except Collision as collision:
        if key is None or not (record := collision.items.get(once_key(key))):
            raise
        return record["order"], record["position"]


def removal(name: str) -> list[Write]:
    """The writes of a removal beside the entry."""
    order = f"ORDER#{name}"
    lines = [Delete((order, f"LINE#{number}")) for number in range(1, LINES + 1)]
    return [Delete((order, "ORDER")), *lines, Put({"pk": f"TOMBSTONE#{name}", "sk": "-"}, ABSENT)]


def creates(name: str, key: str | None = None) -> Script:
    return operations(("create", (name, key), lambda book: place(book, name, key)))


def _page(book: OrderBook, first: int, count: int) -> tuple[tuple[str, ...], int]:
    page = book.page(first, count)
    return tuple(entry["order"] for entry in page.entries), page.total


def reads(*pages: tuple[int, int]) -> Script:
    return operations(*[("page", page, lambda book, page=page: _page(book, *page)) for page in pages])


def reads_forward(pages: int, count: int = 1) -> Script:
    """Page forward: each page begins where the one before it ended."""

    def script(book: OrderBook, log: Log) -> None:
        first = 0
        for _ in range(pages):
            with log.operation("page", (first, count)) as record:
                names, total = _page(book, first, count)
                record((names, total))
            first += len(names)

    return script


def settles(times: int = 1) -> Script:
    return operations(*[("settle", None, OrderBook.settle)] * times)


def removes(name: str, position: int) -> Script:
    return operations(("remove", (name, position), lambda book: book.remove(position, removal(name))))


def removes_what_it_sees(rank: int = 0) -> Script:
    """Read the order's position in the list first, and remove it then."""

    def script(book: OrderBook, log: Log) -> None:
        entries = book.page(rank, 1).entries
        for entry in entries:
            with log.operation("remove", (entry["order"], int(entry["sk"]))) as record:
                record(book.remove(int(entry["sk"]), removal(entry["order"])))

    return script


def contents(
    *steps: str, query_page: int | None = None, batch_page: int | None = None, layout: Layout = SMALL
) -> Memory:
    """A table after some steps: `crash` with a ticket, `settle`, or the name of an order to place."""
    memory = Memory(query_page=query_page, batch_page=batch_page)
    table = Table(memory, TABLE, first_pause=0.0)
    for step in steps:
        book = OrderBook(table, BOOK, now=lambda: START, layout=layout)
        if step == "crash":
            book._take_ticket()
        elif step == "settle":
            OrderBook(table, BOOK, now=lambda: START + TICK, layout=layout).settle()
        else:
            place(book, step)
    return memory


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BookContents:
    """One book as it is stored, as plain values."""

    layout: Layout
    issued: int
    settled: int
    counts: dict[int, int]
    """The head's, by range."""
    ranges: dict[int, dict[int, int]]
    """The counts of each range, by the segment's number in it."""
    segments: dict[int, set[int]]
    entries: dict[int, Item]
    orders: dict[str, int]
    keys: dict[str, str]
    """The idempotency key of each order that was placed with one."""
    lines: Counter[str]
    once: dict[str, Item]
    tombstones: set[str]

    @classmethod
    def of(cls, items: Iterator[Item], book: str = BOOK, layout: Layout = SMALL) -> BookContents:  # noqa: C901 - one case for each kind of item
        contents = cls(layout, 0, 0, {}, {}, {}, {}, {}, {}, Counter(), {}, set())
        issued = settled = 0
        counts: dict[int, int] = {}
        for item in items:
            kind, _, name = item["pk"].partition("#")
            name = (book_of(item["pk"]) or "") if kind == "BOOK" else name
            if kind in {"BOOK", "TICKETS", "HEAD", "VOIDS"} and name != book:
                continue
            match kind:
                case "BOOK":
                    contents.entries[int(item["sk"])] = item
                case "TICKETS":
                    issued = item["issued"]
                case "HEAD":
                    settled = item.get("settled", 0)
                    counts = _numbered(_OF_HEAD, item)
                case "VOIDS" if item["sk"].startswith("R"):
                    contents.ranges[int(item["sk"][1:])] = _numbered(_OF_RANGE, item)
                case "VOIDS":
                    contents.segments[int(item["sk"])] = item["positions"]
                case "ORDER" if item["sk"] == "ORDER":
                    contents.orders[name] = item["position"]
                    if item["key"] is not None:
                        contents.keys[name] = item["key"]
                case "ORDER":
                    contents.lines[name] += 1
                case "ONCE":
                    contents.once[name] = item
                case "TOMBSTONE":
                    contents.tombstones.add(name)
        return replace(contents, issued=issued, settled=settled, counts=counts)

    @classmethod
    def of_memory(cls, memory: Memory, layout: Layout = SMALL) -> BookContents:
        return cls.of((plain_item(item) for _, item in memory.scan(TABLE)), layout=layout)

    @cached_property
    def slots(self) -> Slots:
        return tuple(
            OPEN if (entry := self.entries.get(position)) is None else VOID if "void" in entry else entry["order"]
            for position in range(1, self.issued + 1)
        )

    @cached_property
    def live(self) -> list[str]:
        return [name for name in self.slots if name is not VOID and name != OPEN]

    def violations(self) -> Iterator[str]:
        live = {name: position for position, name in enumerate(self.slots, 1) if name not in {VOID, OPEN}}
        if len(live) != len(self.live):
            yield f"an order stands at two positions: {self.slots}"
        if set(self.entries) - set(range(1, self.issued + 1)):
            yield f"entries {sorted(self.entries)} with {self.issued} tickets issued"
        if live != self.orders or Counter(dict.fromkeys(live, LINES)) != self.lines:
            yield f"half an order: entries {live}, orders {self.orders}, lines {dict(self.lines)}"
        if back := self.tombstones & set(live):
            yield f"removed and there again: {back}"
        for key, record in self.once.items():
            if record["order"] not in self.tombstones and live.get(record["order"]) != record["position"]:
                yield f"key {key} stands for {record['order']}, which is not at {record['position']}: {self.slots}"
        for order, key in self.keys.items():
            if key not in self.once or self.once[key]["order"] != order:
                yield f"{order} was placed with key {key}, which stands for {self.once.get(key)}"
        yield from self.settling_violations()

    def settling_violations(self) -> Iterator[str]:
        """Yield where head, ranges and segments disagree with the entries."""
        settled = self.slots[: self.settled]
        if self.settled > self.issued or OPEN in settled:
            yield f"settled up to {self.settled} over something open: {self.slots}"
        voids: dict[int, set[int]] = {}
        for position, name in enumerate(settled, 1):
            if name is VOID:
                voids.setdefault((position - 1) // self.layout.segment, set()).add(position)
        if voids != self.segments:
            yield f"segments hold {self.segments}, void and settled are {voids}"
        ranges: dict[int, dict[int, int]] = {}
        for segment, positions in voids.items():
            number, index = divmod(segment, self.layout.segments)
            ranges.setdefault(number, {})[index] = len(positions)
        if ranges != self.ranges:
            yield f"ranges count {self.ranges}, void and settled are {voids}"
        if {number: sum(counts.values()) for number, counts in ranges.items()} != self.counts:
            yield f"the head counts {self.counts}, void and settled are {voids}"


_OF_HEAD, _OF_RANGE = re.compile(r"r(\d+)"), re.compile(r"s(\d+)")


def _numbered(names: re.Pattern[str], item: Item) -> dict[int, int]:
    """The attributes of an item with such names, by the number in each."""
    matches = map(names.fullmatch, item)
    return {int(match[1]): item[match[0]] for match in matches if match}


class BookChecker(Checker[BookContents]):
    """The promises of a book.

    Args:
        removals: Whether orders are removed, so that pages may shift and the order of a key may be gone.
    """

    def __init__(self, *, removals: bool = False, layout: Layout = SMALL) -> None:
        self._removals = removals
        self._layout = layout

    def view(self, memory: Memory) -> BookContents:
        return BookContents.of_memory(memory, self._layout)

    def state(self, view: BookContents) -> Iterator[str]:
        return view.violations()

    def step(self, before: BookContents, after: BookContents) -> Iterator[str]:
        if after.settled < before.settled or after.issued < before.issued:
            yield f"moved back: {before.settled, before.issued} to {after.settled, after.issued}"
        for position, entry in before.entries.items():
            now = after.entries.get(position)
            removed = now is not None and "remover" in now and "void" not in entry
            if entry != now and not removed:
                yield f"position {position} held {entry}, now {now}"
            if entry != now and position > before.settled:
                yield f"position {position} was removed before it was settled"

    def witnesses(self, operation: str) -> bool:
        return operation == "page"

    def summary(self, view: BookContents) -> Slots:
        return view.slots

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """After the grace time every stored order is listed."""
        expected = self.view(memory).live
        later = memory.fork()
        book: OrderBook = setup.over(later, lambda: LONG_AFTER)
        for attempt in ("at first", "settled"):
            page = book.page(0, 1_000)
            listed = [entry["order"] for entry in page.entries]
            if (listed, page.total) != (expected, len(expected)):
                yield f"after the grace time, {attempt}, listed {listed} of {page.total}, there are {expected}"
            book.settle()
            yield from self.view(later).violations()

    def result(  # noqa: C901 - one case for each operation
        self, result: Result, earlier: Sequence[Result], witnessed: Sequence[Any], view: BookContents
    ) -> Iterator[str]:
        match result:
            case Result(_, _, "Unavailable"):
                pass
            case Result("create", (name, key), (placed, position)):
                if view.slots[position - 1] != placed and placed not in view.tombstones:
                    yield f"{name} was placed as {placed} at {position}: {view.slots}"
                if key is None and name != placed:
                    yield f"{name} was placed as {placed}"
            case Result("remove", (name, position), bool(removed)):
                if removed and view.slots[position - 1] is not VOID:
                    yield f"{name} was removed: {view.slots}"
            case Result("settle", _, int()):
                pass
            case Result("page", (first, count), (listed, total)):
                if not self._fits(witnessed, view.slots, (first, count), (listed, total)):
                    yield f"page {first, count} is {listed} of {total}; there was {witnessed}"
                if not self._removals:
                    yield from self._forward([*earlier, result], view)
            case _:
                yield f"unexpected: {result}"

    def _forward(self, results: Sequence[Result], view: BookContents) -> Iterator[str]:
        """A reader that pages forward has seen exactly the beginning of the list."""
        seen: list[str] = []
        for result in results:
            match result:
                case Result("page", (first, _), (listed, _)) if first == len(seen):
                    seen += listed
        if seen != view.live[: len(seen)]:
            yield f"a reader going forward saw {seen} of {view.live}"

    def _fits(self, witnessed: Sequence[Slots], ended: Slots, part: tuple[int, int], page: tuple[Any, int]) -> bool:
        """Whether a page shows the list as it was at one instant, up to some position.

        The position is the reader's choice, since later orders are being placed while it reads, but it includes every
        order that was visible when the reader began. It does not matter when an open position became void.
        """
        began = witnessed[0]
        least = began.index(OPEN) if OPEN in began else len(began)
        views = [
            tuple(VOID if name == OPEN and last is VOID else name for name, last in zip(slots, ended, strict=False))
            for slots in witnessed
        ]
        return any(_shows(slots, least, part, page) for slots in views)


def _shows(slots: Slots, least: int, part: tuple[int, int], page: tuple[Any, int]) -> bool:
    (first, count), (listed, total) = part, page
    live: list[str] = []
    for upto, name in enumerate((*slots, OPEN)):
        if upto >= least and (live[first : first + count], len(live)) == ([*listed], total):
            return True
        if name == OPEN:
            return False
        if name is not VOID:
            live.append(name)
    return False
