"""The order book: every interleaving of a few clients, with lost responses and crashes anywhere.

`support/scheduler.py` describes the steps, and `oracle.py` the promises. `ORDERING_EXPLORE=deep` explores more clients,
time and lost responses (minutes instead of seconds). The counts are printed at the end of pytest's output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from engine.book.oracle import (
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
from engine.explored import Case, every_interleaving, every_mutant
from ordering.aws.dynamodb import ConditionFailed, Item, Put, Update, Write
from ordering.book import orderbook
from ordering.book.orderbook import Draft, Guard, OrderBook, Ticket
from ordering.values import replace
from support.scheduler import Script, Setup


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of two positions, so that a few orders fill several."""
    monkeypatch.setattr(orderbook, "SEGMENT", 2)


def case(
    clients: Sequence[Script],
    before: Sequence[str] = (),
    *,
    lost: int = 0,
    ticks: int = 1,
    removals: bool = False,
    torn: bool = False,
    settle_after: int = 1,
    deep: Mapping[str, Any] | None = None,
) -> Case:
    """A case of a book after some steps; `torn` makes each item of a read a call of its own."""
    pages = {"query_page": 1, "batch_page": 1} if torn else {}
    setup = Setup(partial(build_book, settle_after=settle_after, removals=removals))
    checker = BookChecker(removals=removals)
    return Case(clients, partial(contents, *before, **pages), setup, checker, lost, ticks, deep=deep or {})


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
        [creates("a"), reads_forward(2), settles()], ["x", "crash"], deep={"lost": 1, "ticks": 2}
    ),
    "a create, a page and a settler, with a lost response": case(
        [creates("a"), reads((0, 2)), settles()], ["x", "crash"], lost=1
    ),
    "readers that never settle": case(
        [creates("a"), creates("b"), reads((0, 2), (1, 2))], ["crash"], settle_after=99, deep={"lost": 1}
    ),
    "torn reads": case(
        [creates("a"), reads((0, 2)), settles()], ["x", "crash"], torn=True, deep={"lost": 1, "ticks": 2}
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
        lost=2,
        removals=True,
    ),
    "removals around a void": case(
        [removes("x", 1), removes("z", 4), reads((1, 1))],
        ["x", "crash", "y", "z", "settle"],
        lost=1,
        removals=True,
    ),
    "a removal before the head, and a settler": case(
        [removes("x", 1), settles(), reads((0, 2))], ["x", "crash", "y"], removals=True, deep={"lost": 1}
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


class SegmentsNotCompared(OrderBook):
    """Trusts segments that were read after an older head, and what it finds between two positions."""

    def _settled_entries(self, head: Any, first: int, last: int, *, confirm: bool) -> list[Item] | None:  # noqa: ARG002 - as it is called
        if first >= last:
            return []
        spots = [head.locate(first), head.locate(last - 1)]
        voids = self._marks()
        start, end = (orderbook._skip(at, voids[of]) if of is not None else at for at, of in spots)
        return [entry for entry in self._entries(start, end) if not orderbook.is_void(entry)]

    def _marks(self) -> dict[int, list[int]]:
        found = self._table.batch_get([self._segment_key(segment) for segment in range(10)])
        marks = {int(sort): sorted(item["positions"]) for (_, sort), item in found.items()}
        return {segment: marks.get(segment, []) for segment in range(10)}


class SegmentsBeforeHead(SegmentsNotCompared):
    """Reads the segments before the head, and trusts them."""

    def _read(self) -> Any:
        self._early = super()._marks()
        return super()._read()

    def _marks(self) -> dict[int, list[int]]:
        return self._early


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
        issued = (self._table.get(self._tickets_key()) or {"issued": 0})["issued"]
        super()._settle(head, [*tail, *[{"order": "?"}] * (issued - head.settled - len(tail))])


class SettlesUnconditionally(OrderBook):
    """Moves the head wherever it stands."""

    def _settle(self, head: Any, tail: Sequence[Item]) -> None:
        to = head.settled + len(tail)
        self._table.update(Update(self._head_key(), "SET settled = :to", values={":to": to}))


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
        head, put, segment = super()._removal(position, void, guard)
        assert isinstance(segment, Update)
        return [head, put, replace(segment, values={":voids": {999}})]


class RemovesUnsettled(OrderBook):
    """Removes what is not settled yet."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, *others = super()._removal(position, void, guard)
        assert isinstance(head, Update)
        return [replace(head, condition=None, values={":one": 1}), *others]


class RemovesTwice(OrderBook):
    """Removes what another has removed."""

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        head, put, segment = super()._removal(position, void, guard)
        assert isinstance(put, Put)
        return [head, replace(put, condition="attribute_exists(pk)", names={}), segment]


def _with(table: Any, **methods: Any) -> Any:
    """Return a table with some of its methods replaced."""
    kept = {name: getattr(table, name) for name in dir(table) if not name.startswith("_")}
    return SimpleNamespace(**{**kept, **methods})


MUTANTS = {
    SegmentsNotCompared.__name__: planted(CASES["removals around a void"], SegmentsNotCompared),
    SegmentsBeforeHead.__name__: planted(
        case([settles(), reads((2, 1))], ["x", "y", "crash", "z"], settle_after=99), SegmentsBeforeHead
    ),
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
