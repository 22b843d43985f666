"""The book as it must be: a plain list, and what follows from it for everything that is stored and told.

An order is known here by a name. Beside its entry it writes its own item, two lines, and what an idempotency key
stands for; a removal takes the order and its lines away and leaves a gravestone, so that nothing can come back unseen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ordering.aws.dynamodb import ABSENT, Delete, Item, Key, Put, Table, Write, plain_item
from ordering.book import orderbook
from ordering.book.orderbook import Collision, Draft, OrderBook, Ticket
from support.aws.memory import Memory
from support.scheduler import BOOK, START, TABLE, TICK, Event, Log, Script, Setting

LINES = 2
VOID = None
OPEN = "(open)"
Slots = tuple[str | None, ...]
"""What each position that was given out holds: an order's name, VOID, or OPEN."""

LONG_AFTER = START + 1_000 * TICK


# What clients do -----------------------------------------------------------------------------------------------------


def once_key(key: str) -> Key:
    return f"ONCE#{key}", "-"


def draft(name: str, key: str | None = None) -> Callable[[Ticket], Draft]:
    """Compose an order with everything that is atomic with it."""

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
    """Place an order, or find what its key stands for; returns name and position."""
    try:
        return name, book.place(draft(name, key)).position
    except Collision as collision:
        if key is None or not (record := collision.items.get(once_key(key))):
            raise
        return record["order"], record["position"]


def burial(name: str) -> list[Write]:
    """Write what a removal writes beside the entry."""
    order = f"ORDER#{name}"
    lines = [Delete((order, f"LINE#{number}")) for number in range(1, LINES + 1)]
    return [Delete((order, "ORDER")), *lines, Put({"pk": f"GRAVE#{name}", "sk": "-"}, ABSENT)]


def creates(name: str, key: str | None = None) -> Script:
    def script(book: OrderBook, log: Log) -> None:
        with log.operation("create", (name, key)) as told:
            told(place(book, name, key))

    return script


def reads(*pages: tuple[int, int]) -> Script:
    def script(book: OrderBook, log: Log) -> None:
        for first, count in pages:
            with log.operation("page", (first, count)) as told:
                page = book.page(first, count)
                told((tuple(entry["order"] for entry in page.entries), page.total))

    return script


def reads_forward(pages: int, count: int = 1) -> Script:
    """Page forward: each page begins where the ones before it ended."""

    def script(book: OrderBook, log: Log) -> None:
        first = 0
        for _ in range(pages):
            with log.operation("page", (first, count)) as told:
                page = book.page(first, count)
                told((tuple(entry["order"] for entry in page.entries), page.total))
            first += len(page.entries)

    return script


def settles(times: int = 1) -> Script:
    def script(book: OrderBook, log: Log) -> None:
        for _ in range(times):
            with log.operation("settle") as told:
                told(book.settle())

    return script


def removes(name: str, position: int) -> Script:
    def script(book: OrderBook, log: Log) -> None:
        with log.operation("remove", (name, position)) as told:
            told(book.remove(position, burial(name)))

    return script


def removes_what_it_sees(rank: int = 0) -> Script:
    """Look the order up in the list first, as its id is known to nobody before."""

    def script(book: OrderBook, log: Log) -> None:
        entries = book.page(rank, 1).entries
        for entry in entries:
            with log.operation("remove", (entry["order"], int(entry["sk"]))) as told:
                told(book.remove(int(entry["sk"]), burial(entry["order"])))

    return script


def prepared(*steps: str, query_page: int | None = None, batch_page: int | None = None) -> Memory:
    """An engine on which some steps were taken: `die`, `settle`, or the name of an order to place."""
    memory = Memory(query_page=query_page, batch_page=batch_page)
    table = Table(memory, TABLE, first_pause=0.0)
    for step in steps:
        book = OrderBook(table, BOOK, now=lambda: START)
        if step == "die":
            book._take_ticket()
        elif step == "settle":
            OrderBook(table, BOOK, now=lambda: START + TICK).settle()
        else:
            place(book, step)
    return memory


# What must hold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """What an engine holds of one book, as plain values."""

    issued: int
    settled: int
    counts: dict[int, int]
    segments: dict[int, set[int]]
    entries: dict[int, Item]
    orders: dict[str, int]
    keys: dict[str, str]
    """The idempotency key of each order that was placed with one."""
    lines: Counter[str]
    once: dict[str, Item]
    graves: set[str]

    @classmethod
    def of(cls, items: Iterator[Item], book: str = BOOK) -> Contents:  # noqa: C901 - one case for each kind of item
        contents = cls(0, 0, {}, {}, {}, {}, {}, Counter(), {}, set())
        issued = settled = 0
        counts: dict[int, int] = {}
        for item in items:
            kind, _, name = item["pk"].partition("#")
            if kind in {"BOOK", "TICKETS", "HEAD", "VOIDS"} and name != book:
                continue
            match kind:
                case "BOOK":
                    contents.entries[int(item["sk"])] = item
                case "TICKETS":
                    issued = item["issued"]
                case "HEAD":
                    settled = item.get("settled", 0)
                    counts = {int(m[1]): item[m[0]] for m in (re.match(r"voids(\d+)", name) for name in item) if m}
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
                case "GRAVE":
                    contents.graves.add(name)
        return replace(contents, issued=issued, settled=settled, counts=counts)

    @classmethod
    def of_memory(cls, memory: Memory) -> Contents:
        return cls.of(plain_item(item) for _, item in memory.scan(TABLE))

    @cached_property
    def slots(self) -> Slots:
        return tuple(
            OPEN if (entry := self.entries.get(position)) is None else VOID if "void" in entry else entry["order"]
            for position in range(1, self.issued + 1)
        )

    @cached_property
    def live(self) -> list[str]:
        return [name for name in self.slots if name is not VOID and name != OPEN]

    def wrongs(self) -> Iterator[str]:
        """Tell what no moment of any history may show."""
        live = {name: position for position, name in enumerate(self.slots, 1) if name not in {VOID, OPEN}}
        if len(live) != len(self.live):
            yield f"an order stands at two positions: {self.slots}"
        if set(self.entries) - set(range(1, self.issued + 1)):
            yield f"entries {sorted(self.entries)} with {self.issued} tickets issued"
        if live != self.orders or Counter(dict.fromkeys(live, LINES)) != self.lines:
            yield f"half an order: entries {live}, orders {self.orders}, lines {dict(self.lines)}"
        if back := self.graves & set(live):
            yield f"removed and there again: {back}"
        for key, record in self.once.items():
            if record["order"] not in self.graves and live.get(record["order"]) != record["position"]:
                yield f"key {key} stands for {record['order']}, which is not at {record['position']}: {self.slots}"
        for order, key in self.keys.items():
            if key not in self.once or self.once[key]["order"] != order:
                yield f"{order} was placed with key {key}, which stands for {self.once.get(key)}"
        yield from self._settled_wrongly()

    def _settled_wrongly(self) -> Iterator[str]:
        settled = self.slots[: self.settled]
        if self.settled > self.issued or OPEN in settled:
            yield f"settled up to {self.settled} over something open: {self.slots}"
        voids: dict[int, set[int]] = {}
        for position, name in enumerate(settled, 1):
            if name is VOID:
                voids.setdefault(orderbook.segment_of(position), set()).add(position)
        if voids != self.segments:
            yield f"segments hold {self.segments}, void and settled are {voids}"
        if {segment: len(positions) for segment, positions in voids.items()} != self.counts:
            yield f"the head counts {self.counts}, void and settled are {voids}"


def changes_wrongly(before: Contents, after: Contents) -> Iterator[str]:
    """Tell what no step may do."""
    if after.settled < before.settled or after.issued < before.issued:
        yield f"moved back: {before.settled, before.issued} to {after.settled, after.issued}"
    for position, entry in before.entries.items():
        now = after.entries.get(position)
        removed = now is not None and "remover" in now and "void" not in entry
        if entry != now and not removed:
            yield f"position {position} held {entry}, now {now}"
        if entry != now and position > before.settled:
            yield f"position {position} was removed before it was settled"


class BookJudge:
    """What is promised of a book.

    Args:
        removals: Whether orders are removed, so that pages may shift and a key's order may be gone.
    """

    def __init__(self, *, removals: bool = False) -> None:
        self._removals = removals

    def reads(self, running: tuple[str, Any]) -> bool:
        return running[0] == "page"

    def view(self, memory: Memory) -> Contents:
        return Contents.of_memory(memory)

    def summary(self, view: Contents) -> Slots:
        return view.slots

    def contents(self, view: Contents) -> Iterator[str]:
        yield from view.wrongs()

    def step(self, before: Contents, after: Contents) -> Iterator[str]:
        yield from changes_wrongly(before, after)

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:
        """When everybody died and the grace time is over, everything that is there is listed."""
        expected = Contents.of_memory(memory).live
        later = memory.fork()
        book = setting.book(Table(later, TABLE, first_pause=0.0), lambda: LONG_AFTER)
        for attempt in ("at first", "settled"):
            page = book.page(0, 1_000)
            listed = [entry["order"] for entry in page.entries]
            if (listed, page.total) != (expected, len(expected)):
                yield f"after the grace time, {attempt}, listed {listed} of {page.total}, there are {expected}"
            book.settle()
            yield from Contents.of_memory(later).wrongs()

    def told(  # noqa: C901 - one case for each kind of event
        self, event: Event, earlier: Sequence[Event], witnessed: Sequence[Any], view: Contents
    ) -> Iterator[str]:
        match event:
            case Event(_, _, "Unavailable"):
                pass
            case Event("create", (name, key), (placed, position)):
                if view.slots[position - 1] != placed and placed not in view.graves:
                    yield f"{name} was told {placed} at {position}: {view.slots}"
                if key is None and name != placed:
                    yield f"{name} was told {placed}"
            case Event("remove", (name, position), bool(removed)):
                if removed and view.slots[position - 1] is not VOID:
                    yield f"{name} was removed: {view.slots}"
            case Event("settle", _, int()):
                pass
            case Event("page", (first, count), (listed, total)):
                if not self._fits(witnessed, view.slots, (first, count), (listed, total)):
                    yield f"page {first, count} is {listed} of {total}; there was {witnessed}"
                if not self._removals:
                    yield from self._forward([*earlier, event], view)
            case _:
                yield f"unexpected: {event}"

    def _forward(self, events: Sequence[Event], view: Contents) -> Iterator[str]:
        """A reader that goes forward has seen exactly the beginning of the list."""
        seen: list[str] = []
        for event in events:
            match event:
                case Event("page", (first, _), (listed, _)) if first == len(seen):
                    seen += listed
        if seen != view.live[: len(seen)]:
            yield f"a reader going forward saw {seen} of {view.live}"

    def _fits(self, witnessed: Sequence[Slots], ended: Slots, part: tuple[int, int], told: tuple[Any, int]) -> bool:
        """Whether a page is one of the list as it stood at one instant, up to some position.

        Up to which one is the reader's choice, as what comes later is being placed while it reads; but what could be
        seen when it began must be in it. When an open position became void does not matter.
        """
        began = witnessed[0]
        least = began.index(OPEN) if OPEN in began else len(began)
        views = [
            tuple(VOID if name == OPEN and last is VOID else name for name, last in zip(slots, ended, strict=False))
            for slots in witnessed
        ]
        return any(_shows(slots, least, part, told) for slots in views)


def _shows(slots: Slots, least: int, part: tuple[int, int], told: tuple[Any, int]) -> bool:
    (first, count), (listed, total) = part, told
    live: list[str] = []
    for upto, name in enumerate((*slots, OPEN)):
        if upto >= least and (live[first : first + count], len(live)) == ([*listed], total):
            return True
        if name == OPEN:
            return False
        if name is not VOID:
            live.append(name)
    return False
