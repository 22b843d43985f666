"""Long random histories of many clients of the real order book, with crashes, lost answers and removals.

Where `test_exploration.py` takes every order of a few steps, this takes some orders of many. The steps are the same.
`ORDERING_EXPLORE=deep` takes twenty times as many histories.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.oracle import (
    BookJudge,
    Contents,
    changes_wrongly,
    creates,
    prepared,
    reads,
    reads_forward,
    removes,
    settles,
)
from ordering import orderbook
from support.scheduler import LOST, Call, Client, Outcome, Point, Script, Setting, carry_out, replay

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
AT_ONCE = 4
STEPS = st.integers(0, 4)


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
        self.judge = BookJudge(removals=removals)
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
            call = running.wants(self.time)
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
