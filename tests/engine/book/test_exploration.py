"""Every order of the steps of a few clients of the real order book, with mishaps, judged at every state.

See `support/scheduler.py` for what a step is and `oracle.py` for what must hold. `ORDERING_EXPLORE=deep` explores more
clients, time and mishaps (minutes instead of seconds). How much was explored stands at the end of pytest's output.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from engine.book.oracle import (
    BookJudge,
    creates,
    prepared,
    reads,
    reads_forward,
    removes,
    removes_what_it_sees,
    settles,
)
from ordering.aws.dynamodb import ConditionFailed, Item, Put, Update, Write
from ordering.book import orderbook
from ordering.book.orderbook import Draft, OrderBook, Ticket
from support.scheduler import Client, Explored, Explorer, Script, Setting, Violation

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of two positions, so that a few orders fill several."""
    monkeypatch.setattr(orderbook, "SEGMENT", 2)


@dataclass(frozen=True)
class Case:
    """Clients, what they find, and what may happen to them."""

    scripts: Sequence[Script]
    found: Sequence[str] = ()
    passes: int = 1
    mishaps: int = 0
    removals: bool = False
    torn: bool = False
    settle_after: int = 1
    retries: int = 3
    more: dict[str, Any] = field(default_factory=dict)
    """What else is so where more is to be explored."""

    def explore(self, make_book: Callable[..., OrderBook] = OrderBook) -> Explored:
        clients = [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)]
        pages = {"query_page": 1, "batch_page": 1} if self.torn else {}
        return Explorer(
            clients,
            BookJudge(removals=self.removals),
            start=prepared(*self.found, **pages),
            setting=Setting(make_book, self.settle_after, self.retries, self.removals),
            passes=self.passes,
            mishaps=self.mishaps,
        ).run()


CASES = {
    "two creates": Case([creates("a"), creates("b")], mishaps=2, more={"mishaps": 3, "passes": 2}),
    "three creates": Case([creates("a"), creates("b"), creates("c")], mishaps=1, more={"mishaps": 2}),
    "one key twice": Case([creates("a", "k"), creates("b", "k")], mishaps=2, more={"mishaps": 3}),
    "one key twice, and a reader": Case(
        [creates("a", "k"), creates("b", "k"), reads_forward(2)], more={"mishaps": 1, "passes": 2}
    ),
    "two creates and a forward reader": Case(
        [creates("a"), creates("b"), reads_forward(2)], more={"mishaps": 1, "passes": 2}
    ),
    "two creates and a page, with a mishap": Case([creates("a"), creates("b"), reads((0, 2))], mishaps=1),
    "a create, a forward reader and a settler": Case(
        [creates("a"), reads_forward(2), settles()], ["x", "die"], more={"mishaps": 1, "passes": 2}
    ),
    "a create, a page and a settler, with a mishap": Case(
        [creates("a"), reads((0, 2)), settles()], ["x", "die"], mishaps=1
    ),
    "readers that never settle": Case(
        [creates("a"), creates("b"), reads((0, 2), (1, 2))], ["die"], settle_after=99, more={"mishaps": 1}
    ),
    "torn reads": Case(
        [creates("a"), reads((0, 2)), settles()], ["x", "die"], torn=True, more={"mishaps": 1, "passes": 2}
    ),
    "two settlers and a reader": Case(
        [settles(2), settles(), reads((0, 2))], ["x", "die", "y"], mishaps=1, more={"mishaps": 2}
    ),
    "two removals of one order": Case(
        [removes("x", 1), removes("x", 1), reads((0, 2))], ["x", "y", "settle"], mishaps=2, removals=True
    ),
    "two removals and a reader": Case(
        [removes("x", 1), removes("y", 2), reads((0, 1), (1, 1))],
        ["x", "y", "z", "settle"],
        mishaps=2,
        removals=True,
    ),
    "removals around a void": Case(
        [removes("x", 1), removes("z", 4), reads((1, 1))],
        ["x", "die", "y", "z", "settle"],
        mishaps=1,
        removals=True,
    ),
    "a removal before the head, and a settler": Case(
        [removes("x", 1), settles(), reads((0, 2))], ["x", "die", "y"], removals=True, more={"mishaps": 1}
    ),
    "a removal, a create and a reader": Case(
        [removes("x", 1), creates("a"), reads((0, 1), (1, 1))], ["x", "settle"], mishaps=1, removals=True
    ),
    "a removal of what was just created": Case(
        [creates("a"), removes_what_it_sees(), reads((0, 2))], mishaps=1, removals=True, more={"passes": 2}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, no promise is broken at any moment."""
    began = time.monotonic()
    explored = (replace(case, **case.more) if DEEP else case).explore()

    report(f"{request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 100


# The checker can fail: the protocol with one thing wrong each.


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

    def _removal(self, position: int, entry: Item, remover: str) -> list[Write]:
        return super()._removal(position, {**entry, "writer": "?"}, remover)


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

    def _void(self, position: int) -> Item:
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

    def _void(self, position: int) -> Item:
        return {name: value for name, value in super()._void(position).items() if name != "writer"}


class RemovesUncounted(OrderBook):
    """Removes without counting in the head."""

    def _removal(self, position: int, entry: Item, remover: str) -> list[Write]:
        head, *others = super()._removal(position, entry, remover)
        assert isinstance(head, Update)
        return [replace(head, values={**head.values, ":one": 0}), *others]


class RemovesUnmarked(OrderBook):
    """Removes without marking the void in its segment."""

    def _removal(self, position: int, entry: Item, remover: str) -> list[Write]:
        head, put, segment = super()._removal(position, entry, remover)
        assert isinstance(segment, Update)
        return [head, put, replace(segment, values={":voids": {999}})]


class RemovesUnsettled(OrderBook):
    """Removes what is not settled yet."""

    def _removal(self, position: int, entry: Item, remover: str) -> list[Write]:
        head, *others = super()._removal(position, entry, remover)
        assert isinstance(head, Update)
        return [replace(head, condition=None, values={":one": 1}), *others]


class RemovesTwice(OrderBook):
    """Removes what another has removed."""

    def _removal(self, position: int, entry: Item, remover: str) -> list[Write]:
        head, put, segment = super()._removal(position, entry, remover)
        assert isinstance(put, Put)
        return [head, replace(put, condition="attribute_exists(pk)", names={}), segment]


def _with(table: Any, **methods: Any) -> Any:
    """Return a table with some of its methods replaced."""
    kept = {name: getattr(table, name) for name in dir(table) if not name.startswith("_")}
    return SimpleNamespace(**{**kept, **methods})


MUTANTS: dict[type[OrderBook], Case] = {
    SegmentsNotCompared: CASES["removals around a void"],
    SegmentsBeforeHead: Case([settles(), reads((2, 1))], ["x", "y", "die", "z"], settle_after=99),
    ShowsBehindOpenPositions: CASES["two creates and a forward reader"],
    SettlesOverOpenPositions: CASES["a create, a forward reader and a settler"],
    SettlesUnconditionally: Case([settles(), settles(), creates("a")], ["x"]),
    SettlesInTwoSteps: Case([settles()], ["x", "die", "y"]),
    CountsVoidsOfTheTail: Case([creates("a"), reads((0, 9))], ["die"]),
    VoidsUnconditionally: Case([creates("a"), creates("b"), reads((0, 9))]),
    FillsUnconditionally: Case([creates("a"), reads((0, 9))]),
    FillsInTwoSteps: Case([creates("a")]),
    IdempotencyApart: Case([creates("a", "k"), creates("b", "k")]),
    ForgetsWhatItWrote: Case([creates("a")], mishaps=1),
    HeadNotConfirmed: Case([removes("x", 1), creates("a"), reads((1, 1))], ["x", "settle"], removals=True),
    RemovesTheWriter: Case([creates("a"), removes_what_it_sees()], passes=0, mishaps=1, removals=True),
    RemovesUncounted: Case([removes("x", 1)], ["x", "settle"], removals=True),
    RemovesUnmarked: Case([removes("x", 1)], ["x", "settle"], removals=True),
    RemovesUnsettled: Case([removes("x", 1), settles()], ["x"], removals=True),
    RemovesTwice: Case([removes("x", 1), removes("x", 1)], ["x", "settle"], removals=True),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mistakes_are_found(mutant: type[OrderBook]) -> None:
    """The checker finds what is wrong with a protocol that has one mistake, and nothing in the same case without it."""
    case = MUTANTS[mutant]
    case.explore()

    with pytest.raises(Violation):
        case.explore(mutant)
