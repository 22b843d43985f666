"""The order book: every interleaving of a few clients, with lost responses and crashes anywhere.

`support/scheduler.py` describes the steps, and `oracle.py` the promises. `ORDERING_EXPLORE=deep` explores more clients,
time and lost responses (minutes instead of seconds). The counts are printed at the end of pytest's output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from engine.book.oracle import (
    SMALL,
    BookChecker,
    build_book,
    contents,
    creates,
    planted,
    reads,
    reads_forward,
    removes,
    removes_what_it_sees,
    settles,
)
from engine.explored import Case, Mutant, every_interleaving, every_mutant
from ordering.aws.dynamodb import ConditionFailed, Item, Put, Update, Write
from ordering.book import orderbook
from ordering.book.orderbook import Draft, Guard, OrderBook, Ticket
from ordering.book.positions import Layout, segment_counts
from ordering.errors import Unavailable
from ordering.values import replace
from support.scheduler import Script, Setup

ONE_LANE = replace(SMALL, block=9)
"""Most cases need one lane: a call for each of several would be one more step to put into order."""


def case(
    clients: Sequence[Script],
    before: Sequence[str] = (),
    *,
    lost: int = 0,
    ticks: int = 1,
    removals: bool = False,
    torn: bool = False,
    settle_after: int = 1,
    layout: Layout = ONE_LANE,
    deep: Mapping[str, Any] | None = None,
) -> Case:
    """A case of a book after some steps; `torn` makes each item of a read a call of its own."""
    pages = {"query_page": 1, "batch_page": 1} if torn else {}
    setup = Setup(partial(build_book, settle_after=settle_after, removals=removals, layout=layout))
    checker = BookChecker(removals=removals, layout=layout)
    start = partial(contents, *before, layout=layout, **pages)
    return Case(clients, start, setup, checker, lost, ticks, deep=deep or {})


CASES = {
    "two creates": case([creates("a"), creates("b")], lost=2, deep={"lost": 3, "ticks": 2}),
    "three creates": case([creates("a"), creates("b"), creates("c")], lost=1, deep={"lost": 2}),
    "one key twice": case([creates("a", "k"), creates("b", "k")], lost=2, deep={"lost": 3}),
    "one key twice, and a reader": case(
        [creates("a", "k"), creates("b", "k"), reads_forward(2)], deep={"lost": 1, "ticks": 2}
    ),
    "two creates and a forward reader": case(
        [creates("a"), creates("b"), reads_forward(2)], deep={"lost": 1, "ticks": 2}
    ),
    "two creates and a page, with a lost response": case([creates("a"), creates("b"), reads((0, 2))], lost=1),
    "a create, a forward reader and a settler": case(
        [creates("a"), reads_forward(2), settles()], ["x", "crash"], layout=SMALL, deep={"lost": 1, "ticks": 2}
    ),
    "a create, a page and a settler, with a lost response": case(
        [creates("a"), reads((0, 2)), settles()], ["x", "crash"], lost=1
    ),
    "readers that never settle": case(
        [creates("a"), creates("b"), reads((0, 2), (1, 2))], ["crash"], settle_after=99, deep={"lost": 1}
    ),
    "torn reads": case(
        [creates("a"), reads((0, 2)), settles()], ["x", "crash"], torn=True, layout=SMALL, deep={"lost": 1, "ticks": 2}
    ),
    "two settlers and a reader": case(
        [settles(2), settles(), reads((0, 2))], ["x", "crash", "y"], lost=1, deep={"lost": 2}
    ),
    "two removals of one order": case(
        [removes("x", 1), removes("x", 1), reads((0, 2))], ["x", "y", "settle"], lost=2, removals=True
    ),
    "two removals and a reader": case(
        [removes("x", 1), removes("y", 2), reads((0, 1), (1, 1))],
        ["x", "y", "z", "settle"],
        lost=1,
        removals=True,
        deep={"lost": 2},
    ),
    "removals around a void": case(
        [removes("x", 1), removes("z", 4), reads((1, 1))],
        ["x", "crash", "y", "z", "settle"],
        lost=1,
        removals=True,
    ),
    "a removal before the head, and a settler": case(
        [removes("x", 1), settles(), reads((0, 2))], ["x", "crash", "y"], removals=True, layout=SMALL, deep={"lost": 1}
    ),
    "removals in two ranges and a reader": case(
        [removes("x", 1), removes("v", 5), reads((0, 2), (2, 2))],
        ["x", "crash", "y", "z", "v", "w", "settle"],
        removals=True,
    ),
    "two pages over three blocks": case(
        [creates("a"), reads((0, 4), (3, 4))],
        ["x", "y", "z", "v", "settle", "w"],
        layout=SMALL,
        deep={"lost": 1},
    ),
    "a removal, a create and a reader": case(
        [removes("x", 1), creates("a"), reads((0, 1), (1, 1))], ["x", "settle"], lost=1, removals=True
    ),
    "a removal of what was just created": case(
        [creates("a"), removes_what_it_sees(), reads((0, 2))], lost=1, removals=True, deep={"ticks": 2}
    ),
}


test_every_interleaving = every_interleaving(
    "book", CASES, "In every interleaving no promise of the order book is broken at any moment.", at_least=100
)


# Mutants -------------------------------------------------------------------------------------------------------------


class SumsNotCompared(OrderBook):
    """Trusts ranges and segments that were read after an older head, and what it finds between two positions."""

    def _settled_entries(self, head: Any, first: int, last: int, *, confirm: bool) -> list[Item] | None:
        positions = self._positions(head, [first, last - 1] if first < last else [], confirm=confirm) or ()
        found = self._entries(positions[0], positions[-1]) if positions else []
        return [entry for entry in found if not orderbook.is_void(entry)]

    def _segment_counts(self, head: Any, ranges: Iterable[int], *, confirm: bool) -> Any:  # noqa: ARG002 - as it is called
        counts, _ = self._marks()
        return {number: counts.get(number, {}) for number in ranges}

    def _void_positions(self, head: Any, counts: Mapping[int, int], *, confirm: bool) -> Any:  # noqa: ARG002 - as it is called
        _, voids = self._marks()
        return {segment: voids.get(segment, []) for segment in counts}

    def _marks(self) -> tuple[dict[int, dict[int, int]], dict[int, list[int]]]:
        """The counts of all ranges, and the voids of all segments."""
        keys, layout = self._keys, self._layout
        found = self._table.batch_get(
            [key for number in range(5) for key in (keys.range(number), keys.segment(number))]
        )
        counts = {number: segment_counts(found.get(keys.range(number), {}), number, layout) for number in range(5)}
        return counts, {one: sorted(found.get(keys.segment(one), {}).get("positions", ())) for one in range(5)}


class VoidsBeforeHead(SumsNotCompared):
    """Reads ranges and segments before the head, and trusts them."""

    def _read(self) -> Any:
        self._early = super()._marks()
        return super()._read()

    def _marks(self) -> Any:
        return self._early


class RangesNotCompared(OrderBook):
    """Trusts a range that was read after an older head."""

    _segment_counts = SumsNotCompared._segment_counts
    _marks = SumsNotCompared._marks


class SegmentsNotCompared(OrderBook):
    """Trusts a segment that was read after an older range."""

    _void_positions = SumsNotCompared._void_positions
    _marks = SumsNotCompared._marks


class AlwaysInTheFirstSegment(OrderBook):
    """Takes all voids of a range for those of its first segment."""

    def _only_segment(self, head: Any, number: int) -> dict[int, int]:
        return {number * self._layout.segments: head.voids[number]}


class ReadsOneLane(OrderBook):
    """Reads all entries from the lane of the first one."""

    def _entries(self, first: int, last: int, attributes: Sequence[str] = ()) -> list[Item]:  # noqa: ARG002 - as it is called
        return [*self._table.query(*self._keys.entries(first, last)[0])] if first <= last else []


class ReadsLaneByLane(OrderBook):
    """Lists the entries of one lane behind those of another."""

    def _entries(self, first: int, last: int, attributes: Sequence[str] = ()) -> list[Item]:  # noqa: ARG002 - as it is called
        return [entry for part in self._table.query_all(self._keys.entries(first, last)) for entry in part]


class LanesOffByOne(Layout):
    """Counts positions from 0 where it computes the lane."""

    def lane_of(self, position: int) -> int:
        return position // self.block % self.lanes


class RangeNotWrittenByRemoval(OrderBook):
    """Removes without counting in the range."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, put, number, segment = super()._removal(position, void, guard)
        assert isinstance(number, Update)
        return [head, put, replace(number, values={":one": 0}), segment]


class RangeNotWrittenBySettling(OrderBook):
    """Settles without counting in ranges."""

    def _settle(self, head: Any, tail: Sequence[Item]) -> None:
        transact, table = self._table.transact, self._table
        ranges = {self._keys.range(number) for number in range(5)}
        kept = _with(table, transact=lambda writes: transact([one for one in writes if one.key not in ranges]))
        self._table = kept
        super()._settle(head, tail)
        self._table = table


class HeadNotConfirmed(OrderBook):
    """Counts a head and a tail together between which an order was removed."""

    def _settled_entries(self, head: Any, first: int, last: int, *, confirm: bool) -> list[Item] | None:  # noqa: ARG002 - as it is called
        return super()._settled_entries(head, first, last, confirm=False)


class RemovesTheWriter(OrderBook):
    """Removes without keeping who wrote the entry."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        return super()._removal(position, {**void, "writer": "?"}, guard)


class ShowsBehindOpenPositions(OrderBook):
    """Shows everything that is there."""

    def _page(self, head: Any, tail: Sequence[Item], settled: Sequence[Item], low: int, high: int) -> Any:
        super()._page(head, tail, settled, low, high)
        self._settle_after = 1_000
        return super()._page(head, [*self._entries(head.settled + 1, 99)], settled, low, high)


class SettlesOverOpenPositions(OrderBook):
    """Moves the head to the last ticket that was given out."""

    def _settle(self, head: Any, tail: Sequence[Item]) -> None:
        issued = (self._table.get(self._keys.tickets) or {"issued": 0})["issued"]
        super()._settle(head, [*tail, *[{"order": "?"}] * (issued - head.settled - len(tail))])


class SettlesUnconditionally(OrderBook):
    """Moves the head wherever it stands."""

    def _settle(self, head: Any, tail: Sequence[Item]) -> None:
        to = head.settled + len(tail)
        self._table.update(Update(self._keys.head, "SET settled = :to", values={":to": to}))


class SettlesInTwoSteps(OrderBook):
    """Moves the head first and marks the voids then."""

    def _settle(self, head: Any, tail: Sequence[Item]) -> None:
        transact, table = self._table.transact, self._table

        def one_by_one(writes: Sequence[Write]) -> None:
            for write in writes:
                transact([write])

        self._table = _with(table, transact=one_by_one)
        super()._settle(head, tail)
        self._table = table


class CountsVoidsOfTheTail(OrderBook):
    """Counts a tail's voids as orders."""

    def _page(self, head: Any, tail: Sequence[Item], settled: Sequence[Item], low: int, high: int) -> Any:
        page = super()._page(head, tail, settled, low, high)
        return replace(page, total=head.live + len(tail))


class VoidsUnconditionally(OrderBook):
    """Voids a position that it found open, whatever it holds by now."""

    def _void(self, position: int, _: str) -> Item:
        partition, sort = self.entry_key(position)
        void = {"pk": partition, "sk": sort, "void": True, "at": "2026-01-01T12:00:00.000000Z"}
        self._table.put(Put(void))
        return void


class FillsUnconditionally(OrderBook):
    """Fills its position, whatever it holds by now."""

    def place(self, compose: Callable[[Ticket], Draft]) -> Ticket:
        transact, table = self._table.transact, self._table
        self._table = _with(table, transact=lambda writes: transact([replace(writes[0], condition=None), *writes[1:]]))
        return super().place(compose)


class FillsInTwoSteps(OrderBook):
    """Writes the entry first and the order then."""

    def place(self, compose: Callable[[Ticket], Draft]) -> Ticket:
        placed: list[Draft] = []

        def kept(ticket: Ticket) -> Draft:
            placed.append(compose(ticket))
            return replace(placed[-1], writes=[])

        ticket = super().place(kept)
        self._table.transact(placed[-1].writes)
        return ticket


class IdempotencyApart(OrderBook):
    """Looks a key up first and writes what it stands for afterwards, each atomic with nothing."""

    def place(self, compose: Callable[[Ticket], Draft]) -> Ticket:
        records: list[Put] = []

        def without(ticket: Ticket) -> Draft:
            draft = compose(ticket)
            records[:] = [put for put in draft.writes if isinstance(put, Put) and put.item["pk"].startswith("ONCE#")]
            return replace(draft, writes=[write for write in draft.writes if write not in records])

        ticket = super().place(without)
        for record in records:
            with suppress(ConditionFailed):
                self._table.put(record)
        return ticket


class ForgetsWhatItWrote(OrderBook):
    """Takes its own fill, whose answer was lost, for another's."""

    def _void(self, position: int, given_out_by: str) -> Item:
        return {name: value for name, value in super()._void(position, given_out_by).items() if name != "writer"}


class RemovesUncounted(OrderBook):
    """Removes without counting in the head."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, *others = super()._removal(position, void, guard)
        assert isinstance(head, Update)
        return [replace(head, values={**head.values, ":one": 0}), *others]


class RemovesUnmarked(OrderBook):
    """Removes without marking the void in its segment."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        *others, segment = super()._removal(position, void, guard)
        assert isinstance(segment, Update)
        return [*others, replace(segment, values={":voids": {999}})]


class RemovesUnsettled(OrderBook):
    """Removes what is not settled yet."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, *others = super()._removal(position, void, guard)
        assert isinstance(head, Update)
        return [replace(head, condition=None, values={":one": 1}), *others]


class RemovesTwice(OrderBook):
    """Removes what another has removed."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, put, *others = super()._removal(position, void, guard)
        assert isinstance(put, Put)
        return [head, replace(put, condition="attribute_exists(pk)", names={}), *others]


def _with(table: Any, **methods: Any) -> Any:
    """Return a table with some of its methods replaced."""
    kept = {name: getattr(table, name) for name in dir(table) if not name.startswith("_")}
    return SimpleNamespace(**{**kept, **methods})


SETTLED = ["x", "crash", "y", "z", "w", "settle"]
"""An order, a void, and two orders more, which fill a range; and an order in the next one."""

MUTANTS = {
    SumsNotCompared.__name__: planted(CASES["removals around a void"], SumsNotCompared),
    VoidsBeforeHead.__name__: planted(
        case([settles(), reads((2, 1))], ["x", "y", "crash", "z"], settle_after=99), VoidsBeforeHead
    ),
    RangesNotCompared.__name__: planted(
        case([removes("x", 1), reads((1, 1))], SETTLED, ticks=0, removals=True), RangesNotCompared
    ),
    SegmentsNotCompared.__name__: planted(
        case([removes("x", 1), reads((0, 1))], SETTLED, ticks=0, removals=True), SegmentsNotCompared
    ),
    AlwaysInTheFirstSegment.__name__: dataclasses.replace(
        planted(
            case([removes("y", 3), reads((2, 1))], ["x", "v", "y", "z", "settle"], removals=True),
            AlwaysInTheFirstSegment,
        ),
        found_by=Unavailable,
    ),
    ReadsOneLane.__name__: dataclasses.replace(
        planted(CASES["two pages over three blocks"], ReadsOneLane), found_by=Unavailable
    ),
    ReadsLaneByLane.__name__: planted(CASES["two pages over three blocks"], ReadsLaneByLane),
    LanesOffByOne.__name__: Mutant(
        CASES["two pages over three blocks"], build=partial(build_book, layout=LanesOffByOne(2, 2, 2, 2))
    ),
    RangeNotWrittenByRemoval.__name__: planted(
        case([removes("x", 1)], ["x", "settle"], removals=True), RangeNotWrittenByRemoval
    ),
    RangeNotWrittenBySettling.__name__: planted(case([settles()], ["x", "crash", "y"]), RangeNotWrittenBySettling),
    ShowsBehindOpenPositions.__name__: planted(CASES["two creates and a forward reader"], ShowsBehindOpenPositions),
    SettlesOverOpenPositions.__name__: planted(
        CASES["a create, a forward reader and a settler"], SettlesOverOpenPositions
    ),
    SettlesUnconditionally.__name__: planted(case([settles(), settles(), creates("a")], ["x"]), SettlesUnconditionally),
    SettlesInTwoSteps.__name__: planted(case([settles()], ["x", "crash", "y"]), SettlesInTwoSteps),
    CountsVoidsOfTheTail.__name__: planted(case([creates("a"), reads((0, 9))], ["crash"]), CountsVoidsOfTheTail),
    VoidsUnconditionally.__name__: planted(case([creates("a"), creates("b"), reads((0, 9))]), VoidsUnconditionally),
    FillsUnconditionally.__name__: planted(case([creates("a"), reads((0, 9))]), FillsUnconditionally),
    FillsInTwoSteps.__name__: planted(case([creates("a")]), FillsInTwoSteps),
    IdempotencyApart.__name__: planted(case([creates("a", "k"), creates("b", "k")]), IdempotencyApart),
    ForgetsWhatItWrote.__name__: planted(case([creates("a")], lost=1), ForgetsWhatItWrote),
    HeadNotConfirmed.__name__: planted(
        case([removes("x", 1), creates("a"), reads((1, 1))], ["x", "settle"], removals=True), HeadNotConfirmed
    ),
    RemovesTheWriter.__name__: planted(
        case([creates("a"), removes_what_it_sees()], ticks=0, lost=1, removals=True), RemovesTheWriter
    ),
    RemovesUncounted.__name__: planted(case([removes("x", 1)], ["x", "settle"], removals=True), RemovesUncounted),
    RemovesUnmarked.__name__: planted(case([removes("x", 1)], ["x", "settle"], removals=True), RemovesUnmarked),
    RemovesUnsettled.__name__: planted(case([removes("x", 1), settles()], ["x"], removals=True), RemovesUnsettled),
    RemovesTwice.__name__: planted(
        case([removes("x", 1), removes("x", 1)], ["x", "settle"], removals=True), RemovesTwice
    ),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)
