"""Long random histories of many clients of the real order book, with crashes, lost answers and removals.

Where `test_exploration.py` takes every order of a few steps, this takes some orders of many. The steps are the same.
What reads otherwise than forward is judged here, so that every order of its steps is also taken here.
`ORDERING_EXPLORE=deep` takes twenty times as many histories.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.book.oracle import (
    OPEN,
    VOID,
    BookJudge,
    Contents,
    Slots,
    changes_wrongly,
    creates,
    prepared,
    reads,
    reads_forward,
    removes,
    settles,
)
from ordering.aws.dynamodb import Item
from ordering.book import orderbook
from ordering.book.orderbook import OrderBook, Page
from support.scheduler import (
    LOST,
    Call,
    Client,
    Event,
    Explored,
    Explorer,
    Log,
    Outcome,
    Point,
    Script,
    Setting,
    Violation,
    carry_out,
    replay,
)

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
AT_ONCE = 4
STEPS = st.integers(0, 4)


# What reads otherwise than forward -----------------------------------------------------------------------------------


def reads_backward(pages: int, count: int = 1) -> Script:
    """Page from the newest order back; what is placed behind the first page's newest is not counted."""

    def script(book: OrderBook, log: Log) -> None:
        first, up_to = 0, None
        for _ in range(pages):
            with log.operation("page back", (first, count, up_to)) as told:
                page = book.page(first, count, newest_first=True, up_to=up_to)
                told((_names(page.entries), page.total))
            first += len(page.entries)
            if up_to is None and page.entries:
                up_to = int(page.entries[0]["sk"])

    return script


def walks() -> Script:
    def script(book: OrderBook, log: Log) -> None:
        with log.operation("walk") as told:
            told(_names(book.walk()))

    return script


def finds(*positions: int) -> Script:
    def script(book: OrderBook, log: Log) -> None:
        with log.operation("find", positions) as told:
            told(_names(book.find(positions).values()))

    return script


def _names(entries: Iterable[Item]) -> tuple[tuple[int, str], ...]:
    return tuple((int(entry["sk"]), entry["order"]) for entry in entries)


class ReaderJudge(BookJudge):
    """Judges these readers too."""

    def reads(self, running: tuple[str, Any]) -> bool:
        return running[0] in {"page", "page back", "walk", "find"}

    def told(self, event: Event, earlier: Sequence[Event], witnessed: Sequence[Any], view: Contents) -> Iterator[str]:
        began: Slots = witnessed[0] if witnessed else ()
        least = began.index(OPEN) if OPEN in began else len(began)
        match event:
            case Event("page back", part, (tuple(listed), total)):
                if not any(_shows_back(slots, least, part, (listed, total)) for slots in _ended(witnessed, view)):
                    yield f"page back {part} is {listed} of {total}; there was {witnessed}"
                yield from self._back([*earlier, event])
            case Event("walk", _, tuple(listed)):
                kept = [(at, name) for at, name in enumerate(began[:least], 1) if _always(at, name, witnessed)]
                if [*listed] != sorted(set(listed)) or not set(kept) <= set(listed) or not _ever(listed, witnessed):
                    yield f"walked over {listed}; there was {witnessed}"
            case Event("find", positions, tuple(found)):
                kept = [
                    (at, began[at - 1]) for at in positions if at <= len(began) and began[at - 1] not in {VOID, OPEN}
                ]
                missed = {one for one in kept if _always(*one, witnessed)} - set(found)
                if missed or not {at for at, _ in found} <= set(positions) or not _ever(found, witnessed):
                    yield f"found {found} at {positions}; there was {witnessed}"
            case _:
                yield from super().told(event, earlier, witnessed, view)

    def _back(self, events: Sequence[Event]) -> Iterator[str]:
        """A reader that goes back sees nothing twice."""
        pages = [event.value[0] for event in events if event.kind == "page back" and isinstance(event.value, tuple)]
        positions = [position for page in pages for position, _ in page]
        if positions != sorted(set(positions), reverse=True):
            yield f"a reader going back saw {pages}"


def _always(position: int, name: str | None, witnessed: Sequence[Slots]) -> bool:
    return name not in {VOID, OPEN} and all(slots[position - 1] == name for slots in witnessed)


def _ever(found: Iterable[tuple[int, str]], witnessed: Sequence[Slots]) -> bool:
    return all(any(at <= len(slots) and slots[at - 1] == name for slots in witnessed) for at, name in found)


def _ended(witnessed: Sequence[Slots], view: Contents) -> Iterator[Slots]:
    """When an open position became void does not matter."""
    for slots in witnessed:
        yield tuple(
            VOID if name == OPEN and last is VOID else name for name, last in zip(slots, view.slots, strict=False)
        )


def _shows_back(slots: Slots, least: int, part: tuple[int, int, int | None], told: tuple[Any, int]) -> bool:
    """Whether a page is one of the list as it stood at one instant, up to some position that was not open."""
    first, count, up_to = part
    listed, total = told
    counted = slots if up_to is None else slots[:up_to]
    ends = range(min(least, len(counted)), len(counted) + 1)
    for end in (end for end in ends if OPEN not in counted[:end]):
        live = [(at, name) for at, name in enumerate(counted[:end], 1) if name is not VOID][::-1]
        if (live[first : first + count], len(live)) == ([*listed], total):
            return True
    return False


# Every order of a few steps ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Clients, what they find, and what may happen to them."""

    scripts: Sequence[Script]
    found: Sequence[str] = ("x", "y", "z", "settle")
    mishaps: int = 0
    settle_after: int = 99

    def explore(self, make_book: Callable[..., OrderBook] = OrderBook) -> Explored:
        return Explorer(
            [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)],
            ReaderJudge(removals=True),
            start=prepared(*self.found),
            setting=Setting(make_book, self.settle_after, removals=True),
            mishaps=self.mishaps + DEEP,
        ).run()


CASES = {
    "back, while one is created and removed": Case([reads_backward(3), creates("a"), removes("a", 4)]),
    "back, while one is created and one further on removed": Case(
        [reads_backward(3), creates("a"), removes("x", 1)], settle_after=1
    ),
    "back, while two are created": Case([reads_backward(3), creates("a"), creates("b")], ["x", "y"], settle_after=1),
    "back from behind a void, while one is removed": Case(
        [reads_backward(2), creates("a"), removes("y", 3)], ["x", "die", "y", "settle"]
    ),
    "a walk, while one is created and one removed": Case([walks(), creates("a"), removes("y", 2)], mishaps=1),
    "a look, while one is created and removed": Case([finds(4, 2, 9), creates("a"), removes("a", 4)], mishaps=1),
}


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orderbook, "SEGMENT", 2)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, a reader is shown what was there at one instant, and no order twice."""
    began = time.monotonic()
    explored = case.explore()

    report(f"{request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 100


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

    def walk(self) -> list[Item]:
        return super().walk()[: self._read()[0].live]


class FindsVoids(OrderBook):
    """Finds whatever there is."""

    def find(self, positions: Iterable[int]) -> dict[int, Item]:
        found = self._table.batch_get([self.entry_key(position) for position in positions])
        return {int(entry["sk"]): {"order": "(void)", **entry} for entry in found.values()}


MUTANTS: dict[type[OrderBook], Case] = {
    CountsUnconfirmed: CASES["back, while one is created and one further on removed"],
    CountsFromTheEnd: CASES["back, while two are created"],
    WalksWithoutTheTail: CASES["a walk, while one is created and one removed"],
    FindsVoids: CASES["a look, while one is created and removed"],
}


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mistakes_are_found(mutant: type[OrderBook]) -> None:
    """The checker finds one mistake of a reader, and nothing in the same case without it."""
    case = MUTANTS[mutant]
    case.explore()

    with pytest.raises(Violation):
        case.explore(mutant)


# Some orders of many -------------------------------------------------------------------------------------------------


class Running:
    """A client on its way: what it got so far, where it stands, and what it has witnessed."""

    def __init__(self, client: Client, setting: Setting) -> None:
        self._client = client
        self._setting = setting
        self._history: list[Outcome | int] = []
        self.witnessed: list[Any] = []
        self.point: Point = replay(client, (), setting)

    def go_on(self, got: Outcome | int) -> None:
        self._history.append(got)
        self.point = replay(self._client, self._history, self._setting)

    def wants(self, time: int) -> Call | None:
        """Read the clock as often as it wants, and return the call that it makes next."""
        while self.point.wants_time:
            self.go_on(time)
        return self.point.call


class Book(RuleBasedStateMachine):
    """A book, some clients, and the time."""

    @initialize(
        found=st.lists(st.sampled_from(["place", "place", "die", "settle"]), max_size=8),
        segment=st.integers(1, 4),
        settle_after=st.integers(1, 6),
        removals=st.booleans(),
        torn=st.booleans(),
    )
    def begin(self, found: list[str], segment: int, settle_after: int, removals: bool, torn: bool) -> None:  # noqa: FBT001 - drawn
        self._segment, orderbook.SEGMENT = orderbook.SEGMENT, segment
        # Torn reads across a removal promise less than what is judged here.
        pages = {"query_page": 1, "batch_page": 1} if torn and not removals else {}
        steps = [f"found {number}" if step == "place" else step for number, step in enumerate(found)]
        self.memory = prepared(*steps, **pages)
        self.setting = Setting(settle_after=settle_after, retries=20, removals=removals)
        self.removals = removals
        self.judge = ReaderJudge(removals=removals)
        self.running: list[Running] = []
        self.flying: list[Call] = []
        self.contents = Contents.of_memory(self.memory)
        self.time = 1
        self.clients = 0

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.judge.future(self.memory, self.setting)] == []
            orderbook.SEGMENT = self._segment

    def start(self, script: Script, steps: int) -> None:
        self.clients += 1
        running = Running(Client(f"client {self.clients}", script), self.setting)
        self.running.append(running)
        self.advance(running, steps)

    def carry_out(self, call: Call) -> Outcome:
        outcome = carry_out(self.memory, call)
        before, self.contents = self.contents, Contents.of_memory(self.memory)
        assert [*changes_wrongly(before, self.contents)] == []
        for running in self.running:
            running.witnessed.append(self.contents.slots)
        return outcome

    def some(self, number: int) -> Running:
        return self.running[number % len(self.running)]

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(key=st.none() | st.sampled_from(["k", "l", "m"]), steps=STEPS)
    def create(self, key: str | None, steps: int) -> None:
        # A key that stands for an order which was removed would bring up what the contracts say of that, not the book.
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
            told = len(running.point.events)
            call = running.wants(self.time)
            self.hear(running, told)  # it may have come to an end with a look at the clock
            if call is None:
                break
            if running.point.begins:
                running.witnessed = [self.contents.slots]
            told = len(running.point.events)
            running.go_on(self.carry_out(call))
            self.hear(running, told)
        if running.point.call is None and not running.point.wants_time:
            self.running.remove(running)

    def hear(self, running: Running, told: int) -> None:
        events = running.point.events
        for index in range(told, len(events)):
            witnessed = [*dict.fromkeys(running.witnessed)]
            assert [*self.judge.told(events[index], events[:index], witnessed, self.contents)] == []

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1))
    def lose_an_answer(self, number: int) -> None:
        """The call takes effect now or later, or never."""
        running = self.some(number)
        if call := running.wants(self.time):
            if running.point.begins:
                running.witnessed = [self.contents.slots]
            self.flying.append(call)
            running.go_on(LOST)
            if running.point.call is None and not running.point.wants_time:
                self.running.remove(running)

    @precondition(lambda self: self.flying)
    @rule(number=st.integers(0, 9))
    def land(self, number: int) -> None:
        self.carry_out(self.flying.pop(number % len(self.flying)))

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1), after=st.booleans())
    def crash(self, number: int, after: bool) -> None:  # noqa: FBT001 - drawn
        """A client dies before or after its next call."""
        running = self.some(number)
        call = running.wants(self.time)
        self.running.remove(running)
        if after and call:
            self.carry_out(call)

    @rule()
    def pass_time(self) -> None:
        self.time += 1

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.contents.wrongs()] == []


TestRandomHistories = Book.TestCase
TestRandomHistories.settings = settings(
    max_examples=2_000 if DEEP else 100,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
)
