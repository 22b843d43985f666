"""Long random histories of many clients of the order book, with crashes, lost responses and removals.

`test_exploration.py` takes every order of a few steps, this takes some orders of many. The readers that do not page
forward are defined here, so every interleaving of theirs is explored here too. `ORDERING_EXPLORE=deep` takes twenty
times as many histories.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.book.oracle import (
    OPEN,
    VOID,
    BookChecker,
    BookContents,
    Slots,
    build_book,
    contents,
    creates,
    planted,
    reads,
    reads_forward,
    removes,
    settles,
)
from engine.explored import DEEP, Case, every_interleaving, every_mutant
from ordering.aws.dynamodb import Item
from ordering.book.orderbook import OrderBook, Page, Walk
from ordering.book.positions import Layout
from support.scheduler import (
    LOST,
    Call,
    Client,
    Log,
    Outcome,
    Result,
    Running,
    Script,
    Setup,
    carry_out,
    operations,
)

AT_ONCE = 4
STEPS = st.integers(0, 4)


# Operations of other readers -----------------------------------------------------------------------------------------


def reads_backward(pages: int, count: int = 1) -> Script:
    """Page from the newest order back; orders placed after the newest of the first page are not counted."""

    def script(book: OrderBook, log: Log) -> None:
        first, up_to = 0, None
        for _ in range(pages):
            with log.operation("page back", (first, count, up_to)) as record:
                page = book.page(first, count, newest_first=True, up_to=up_to)
                record((_names(page.entries), page.total))
            first += len(page.entries)
            if up_to is None and page.entries:
                up_to = int(page.entries[0]["sk"])

    return script


def walks() -> Script:
    return operations(("walk", None, lambda book: _names(book.walk().entries())))


def finds(*positions: int) -> Script:
    return operations(("find", positions, lambda book: _names(book.find(positions).values())))


def _names(entries: Iterable[Item]) -> tuple[tuple[int, str], ...]:
    return tuple((int(entry["sk"]), entry["order"]) for entry in entries)


class ReaderChecker(BookChecker):
    """Checks the results of these readers too."""

    def witnesses(self, operation: str) -> bool:
        return operation in {"page", "page back", "walk", "find"}

    def result(
        self, result: Result, earlier: Sequence[Result], witnessed: Sequence[Any], view: BookContents
    ) -> Iterator[str]:
        began: Slots = witnessed[0] if witnessed else ()
        least = began.index(OPEN) if OPEN in began else len(began)
        match result:
            case Result("page back", part, (tuple(listed), total)):
                if not any(_shows_back(slots, least, part, (listed, total)) for slots in _ended(witnessed, view)):
                    yield f"page back {part} is {listed} of {total}; there was {witnessed}"
                yield from self._back([*earlier, result])
            case Result("walk", _, tuple(listed)):
                kept = [(at, name) for at, name in enumerate(began[:least], 1) if _always(at, name, witnessed)]
                if [*listed] != sorted(set(listed)) or not set(kept) <= set(listed) or not _ever(listed, witnessed):
                    yield f"walked over {listed}; there was {witnessed}"
            case Result("find", positions, tuple(found)):
                kept = [
                    (at, began[at - 1]) for at in positions if at <= len(began) and began[at - 1] not in {VOID, OPEN}
                ]
                missed = {one for one in kept if _always(*one, witnessed)} - set(found)
                if missed or not {at for at, _ in found} <= set(positions) or not _ever(found, witnessed):
                    yield f"found {found} at {positions}; there was {witnessed}"
            case _:
                yield from super().result(result, earlier, witnessed, view)

    def _back(self, results: Sequence[Result]) -> Iterator[str]:
        """A reader that pages back sees no order twice."""
        pages = [one.value[0] for one in results if one.operation == "page back" and isinstance(one.value, tuple)]
        positions = [position for page in pages for position, _ in page]
        if positions != sorted(set(positions), reverse=True):
            yield f"a reader going back saw {pages}"


def _always(position: int, name: str | None, witnessed: Sequence[Slots]) -> bool:
    return name not in {VOID, OPEN} and all(slots[position - 1] == name for slots in witnessed)


def _ever(found: Iterable[tuple[int, str]], witnessed: Sequence[Slots]) -> bool:
    return all(any(at <= len(slots) and slots[at - 1] == name for slots in witnessed) for at, name in found)


def _ended(witnessed: Sequence[Slots], view: BookContents) -> Iterator[Slots]:
    """It does not matter when an open position became void."""
    for slots in witnessed:
        yield tuple(
            VOID if name == OPEN and last is VOID else name for name, last in zip(slots, view.slots, strict=False)
        )


def _shows_back(slots: Slots, least: int, part: tuple[int, int, int | None], page: tuple[Any, int]) -> bool:
    """Whether a page shows the list as it was at one instant, up to some position that was not open."""
    first, count, up_to = part
    listed, total = page
    counted = slots if up_to is None else slots[:up_to]
    ends = range(min(least, len(counted)), len(counted) + 1)
    for end in (end for end in ends if OPEN not in counted[:end]):
        live = [(at, name) for at, name in enumerate(counted[:end], 1) if name is not VOID][::-1]
        if (live[first : first + count], len(live)) == ([*listed], total):
            return True
    return False


# Every order of a few steps ------------------------------------------------------------------------------------------


def case(
    clients: Sequence[Script],
    before: Sequence[str] = ("x", "y", "z", "settle"),
    lost: int = 0,
    settle_after: int = 99,
) -> Case:
    setup = Setup(partial(build_book, settle_after=settle_after, removals=True))
    return Case(clients, partial(contents, *before), setup, ReaderChecker(removals=True), lost)


CASES = {
    "back, while one is created and removed": case([reads_backward(3), creates("a"), removes("a", 4)]),
    "back, while one is created and one further on removed": case(
        [reads_backward(3), creates("a"), removes("x", 1)], settle_after=1
    ),
    "back, while two are created": case([reads_backward(3), creates("a"), creates("b")], ["x", "y"], settle_after=1),
    "back from behind a void, while one is removed": case(
        [reads_backward(2), creates("a"), removes("y", 3)], ["x", "crash", "y", "settle"]
    ),
    "a walk, while one is created and one removed": case([walks(), creates("a"), removes("y", 2)], lost=1),
    "a look, while one is created and removed": case([finds(4, 2, 9), creates("a"), removes("a", 4)], lost=1),
}


test_every_interleaving = every_interleaving(
    "book",
    CASES,
    "In every interleaving a reader is shown what was there at one instant, and no order twice.",
    at_least=100,
)


class CountsUnconfirmed(OrderBook):
    """Counts what is newer, and the rest, without seeing whether an order was removed in between."""

    def _settled_entries(self, head: Any, first: int, last: int, *, confirm: bool) -> list[Item] | None:  # noqa: ARG002 - as it is called
        return super()._settled_entries(head, first, last, confirm=False)


class CountsFromTheEnd(OrderBook):
    """Counts every page from where the book ends by now."""

    def page(self, first: int, count: int, *, newest_first: bool = False, up_to: int | None = None) -> Page:  # noqa: ARG002 - as it is called
        return super().page(first, count, newest_first=newest_first)


class WalksWithoutTheTail(OrderBook):
    """Walks over what is settled."""

    def walk(self) -> Walk:
        settled, walk = self._read()[0].live, super().walk()
        return Walk(settled, lambda: itertools.islice(walk.entries(), settled))


class FindsVoids(OrderBook):
    """Finds whatever there is."""

    def find(self, positions: Iterable[int]) -> dict[int, Item]:
        found = self._table.batch_get([self.entry_key(position) for position in positions])
        return {int(entry["sk"]): {"order": "(void)", **entry} for entry in found.values()}


MUTANTS = {
    CountsUnconfirmed.__name__: planted(
        CASES["back, while one is created and one further on removed"], CountsUnconfirmed
    ),
    CountsFromTheEnd.__name__: planted(CASES["back, while two are created"], CountsFromTheEnd),
    WalksWithoutTheTail.__name__: planted(CASES["a walk, while one is created and one removed"], WalksWithoutTheTail),
    FindsVoids.__name__: planted(CASES["a look, while one is created and removed"], FindsVoids),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)


# Some orders of many -------------------------------------------------------------------------------------------------


class Book(RuleBasedStateMachine):
    """A book, some clients, and the time."""

    @initialize(
        before=st.lists(st.sampled_from(["place", "place", "crash", "settle"]), max_size=8),
        layout=st.builds(Layout, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
        settle_after=st.integers(1, 6),
        removals=st.booleans(),
        torn=st.booleans(),
    )
    def begin(self, before: list[str], layout: Layout, settle_after: int, removals: bool, torn: bool) -> None:  # noqa: FBT001 - drawn
        self.layout = layout
        # Torn reads across a removal promise less than what is checked here.
        pages = {"query_page": 1, "batch_page": 1} if torn and not removals else {}
        steps = [f"before {number}" if step == "place" else step for number, step in enumerate(before)]
        self.memory = contents(*steps, **pages, layout=layout)
        build = partial(build_book, settle_after=settle_after, removals=removals, layout=layout)
        self.setup = Setup(build, retries=20)
        self.removals = removals
        self.checker = ReaderChecker(removals=removals, layout=layout)
        self.running: list[Running] = []
        self.in_flight: list[Call] = []
        self.contents = self.checker.view(self.memory)
        self.time = 1
        self.clients = 0

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.checker.recovery(self.memory, self.setup)] == []

    def start(self, script: Script, steps: int) -> None:
        self.clients += 1
        running = Running(Client(f"client {self.clients}", script), self.setup)
        self.running.append(running)
        self.advance(running, steps)

    def carry_out(self, call: Call) -> Outcome:
        outcome = carry_out(self.memory, call)
        before, self.contents = self.contents, self.checker.view(self.memory)
        assert [*self.checker.step(before, self.contents)] == []
        for running in self.running:
            running.witnessed.append(self.contents.slots)
        return outcome

    def some(self, number: int) -> Running:
        return self.running[number % len(self.running)]

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(key=st.none() | st.sampled_from(["k", "l", "m"]), steps=STEPS)
    def create(self, key: str | None, steps: int) -> None:
        # What a removed order's key stands for is a matter of the contracts, not of the book.
        self.start(creates(f"order {self.clients + 1}", None if self.removals else key), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(first=st.integers(0, 6), count=st.integers(1, 4), steps=STEPS)
    def page(self, first: int, count: int, steps: int) -> None:
        self.start(reads((first, count)), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(pages=st.integers(2, 4), count=st.integers(1, 3), steps=STEPS)
    def page_forward(self, pages: int, count: int, steps: int) -> None:
        self.start(reads_forward(pages, count), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(pages=st.integers(1, 4), count=st.integers(1, 3), steps=STEPS)
    def page_back(self, pages: int, count: int, steps: int) -> None:
        self.start(reads_backward(pages, count), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(steps=STEPS)
    def walk(self, steps: int) -> None:
        self.start(walks(), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(positions=st.sets(st.integers(1, 9), min_size=1), steps=STEPS)
    def find(self, positions: set[int], steps: int) -> None:
        self.start(finds(*sorted(positions)), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(steps=STEPS)
    def settle(self, steps: int) -> None:
        self.start(settles(), steps)

    @precondition(lambda self: len(self.running) < AT_ONCE and self.removals and self.contents.live)
    @rule(number=st.integers(0, 9), steps=STEPS)
    def remove(self, number: int, steps: int) -> None:
        name = self.contents.live[number % len(self.contents.live)]
        self.start(removes(name, self.contents.slots.index(name) + 1), steps)

    @precondition(lambda self: self.running)
    @rule(turns=st.lists(st.tuples(st.integers(0, AT_ONCE - 1), STEPS), min_size=1, max_size=6))
    def step(self, turns: list[tuple[int, int]]) -> None:
        for number, steps in turns:
            if self.running:
                self.advance(self.some(number), steps)

    def advance(self, running: Running, steps: int) -> None:
        for _ in range(steps):
            before = len(running.point.results)
            call = running.next_call(self.time)
            self.check_results(running, before)  # it may have ended by reading the clock
            if call is None:
                break
            if running.point.begins:
                running.witnessed = [self.contents.slots]
            before = len(running.point.results)
            running.proceed(self.carry_out(call))
            self.check_results(running, before)
        if running.point.ended:
            self.running.remove(running)

    def check_results(self, running: Running, first: int) -> None:
        results = running.point.results
        for index in range(first, len(results)):
            witnessed = [*dict.fromkeys(running.witnessed)]
            assert [*self.checker.result(results[index], results[:index], witnessed, self.contents)] == []

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1))
    def lose_a_response(self, number: int) -> None:
        """The call takes effect now or later, or never."""
        running = self.some(number)
        if call := running.next_call(self.time):
            if running.point.begins:
                running.witnessed = [self.contents.slots]
            self.in_flight.append(call)
            running.proceed(LOST)
            if running.point.ended:
                self.running.remove(running)

    @precondition(lambda self: self.in_flight)
    @rule(number=st.integers(0, 9))
    def land(self, number: int) -> None:
        self.carry_out(self.in_flight.pop(number % len(self.in_flight)))

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1), after=st.booleans())
    def crash(self, number: int, after: bool) -> None:  # noqa: FBT001 - drawn
        """A client crashes before or after its next call."""
        running = self.some(number)
        call = running.next_call(self.time)
        self.running.remove(running)
        if after and call:
            self.carry_out(call)

    @rule()
    def pass_time(self) -> None:
        self.time += 1

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.contents.violations()] == []


TestRandomHistories = Book.TestCase
TestRandomHistories.settings = settings(
    max_examples=2_000 if DEEP else 100,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
)
