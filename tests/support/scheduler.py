"""A scheduler that runs clients one step (a call to DynamoDB) at a time, and can run every order of steps.

The clients are the real code. There are no threads: a client is a function from the answers it got so far to the call
that it makes next, found by running it from its start with the recorded answers until it asks for one more. So a state
is a value: what the engine holds, the time, and for each client its answers. Two orders of steps that lead to the same
value have the same future, and all of them are explored by visiting each value once.

Beside the clients' calls the steps are: time passes (by more than the grace time); a client reads the clock before or
after that; a call's answer is lost, after which its client goes on as its code has it, and the call itself takes effect
at once, at any later step, or never. A crash before a call is a client that takes no further step, and a crash after it
is one whose answer nobody sees: every state is judged as though each client that has not ended died there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Generic, Protocol, TypeVar
from unittest import mock

from ordering.aws.dynamodb import NoAnswer, ServiceFault, Table, TableError
from ordering.book import orderbook
from ordering.book.orderbook import OrderBook
from ordering.clock import Deadline
from ordering.errors import OrderingError
from support.aws.memory import Memory

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
TICK = timedelta(seconds=3)
"""How much time passes in one step: more than the grace time."""

TABLE = "OrdersTable"
BOOK = "test#1"

View = TypeVar("View")

Call = tuple[str, dict[str, Any]]
Script = Callable[[OrderBook, "Log"], None]
"""What a client does, and tells its log."""


@dataclass(frozen=True)
class Event:
    """Something that a client was told by the book, or None as its `value` where it was told nothing."""

    kind: str
    detail: Any
    value: Any


@dataclass
class Log:
    """What a client began and what it was told."""

    events: list[Event] = field(default_factory=list)
    running: tuple[str, Any] | None = None
    calls: int = 0

    @contextmanager
    def operation(self, kind: str, detail: Any = None) -> Iterator[Callable[[Any], None]]:
        """Begin an operation; what it yields takes the result."""
        self.running, self.calls = (kind, detail), 0

        def told(value: Any) -> None:
            self.events.append(Event(kind, detail, value))

        try:
            yield told
        except (OrderingError, TableError) as error:
            self.events.append(Event(kind, detail, type(error).__name__))
            raise _GaveUp from error
        self.running = None


@dataclass(frozen=True)
class Client:
    """A script with a name that is its own."""

    name: str
    script: Script


@dataclass(frozen=True)
class Outcome:
    """What came of a call: an answer, an error of the service, or nothing."""

    answer: dict[str, Any] | None = None
    fault: tuple[str, Any, Any] | None = None

    def give(self) -> dict[str, Any]:
        if self.fault:
            code, item, reasons = self.fault
            raise ServiceFault(code, item=item, reasons=reasons)
        if self.answer is None:
            raise NoAnswer("lost")
        return self.answer


LOST = Outcome()


@dataclass(frozen=True)
class Point:
    """Where a client stands: what it was told, and whether it waits for a call, for the time, or for nothing more."""

    events: tuple[Event, ...]
    running: tuple[str, Any] | None
    call: Call | None
    wants_time: bool
    begins: bool
    """Whether the call is the first of an operation."""


class _Waits(BaseException):
    """The client wants something that is not recorded yet."""


class _GaveUp(BaseException):
    """An operation of the client's failed; a client ends there."""


class _Patience(Deadline):
    """A deadline that counts the retries instead of the seconds."""

    __slots__ = ("left",)

    def __init__(self, retries: int) -> None:
        super().__init__(0.0)
        object.__setattr__(self, "left", retries)

    def remaining(self) -> float:
        left: int = object.__getattribute__(self, "left")
        object.__setattr__(self, "left", left - 1)
        return float(left) - 0.5


@dataclass(frozen=True)
class Setting:
    """How the clients' books are made."""

    make_book: Callable[..., OrderBook] = OrderBook
    settle_after: int = 1
    retries: int = 3
    removals: bool = False

    def book(self, table: Table, now: Callable[[], datetime]) -> OrderBook:
        return self.make_book(table, BOOK, now=now, settle_after=self.settle_after, removals=self.removals)


def replay(client: Client, history: Sequence[Outcome | int], setting: Setting) -> Point:
    """Run a client with recorded answers and times until it wants one more."""
    recorded = iter(history)
    log = Log()
    wanted: list[Call | None] = []

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        outcome = next(recorded, None)
        if outcome is None:
            wanted.append((operation, request))
            raise _Waits
        log.calls += 1
        assert isinstance(outcome, Outcome)
        return outcome.give()

    def now() -> datetime:
        time = next(recorded, None)
        if time is None:
            wanted.append(None)
            raise _Waits
        assert isinstance(time, int)
        return START + time * TICK

    numbers = itertools.count(1)
    tokens = SimpleNamespace(token_hex=lambda _: f"{client.name}/{next(numbers)}")
    table = Table(send, TABLE, deadline=_Patience(setting.retries), first_pause=0.0)
    with mock.patch.object(orderbook, "secrets", tokens):
        try:
            client.script(setting.book(table, now), log)
        except _Waits:
            (want,) = wanted
            return Point(tuple(log.events), log.running, want, want is None, log.calls == 0)
        except _GaveUp:
            pass
    return Point(tuple(log.events), None, None, wants_time=False, begins=False)


def carry_out(memory: Memory, call: Call) -> Outcome:
    """Carry out a call and keep what came of it."""
    try:
        return Outcome(memory(*call))
    except ServiceFault as fault:
        return Outcome(fault=(fault.code, fault.item, fault.reasons))


class Violation(AssertionError):
    """A promise was broken; the message says which, and by which history."""


class Judge(Protocol[View]):
    """Says what must hold. A view is what it sees of the contents of an engine."""

    def view(self, memory: Memory) -> View:
        """Look at the contents of an engine."""

    def summary(self, view: View) -> Hashable:
        """What readers of these contents are measured against."""

    def contents(self, view: View) -> Iterator[str]:
        """What is wrong with contents."""

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:
        """What is wrong with what comes of contents when nobody does anything more."""

    def step(self, before: View, after: View) -> Iterator[str]:
        """What is wrong with a change of contents."""

    def told(self, event: Event, earlier: Sequence[Event], witnessed: Sequence[Any], view: View) -> Iterator[str]:
        """What is wrong with what a client was told; `witnessed` are the summaries since the operation began."""

    def reads(self, running: tuple[str, Any]) -> bool:
        """Whether the operation's result is measured against what it witnessed."""


@dataclass(frozen=True)
class Explored:
    """How much was explored."""

    states: int
    histories: int
    steps: int

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.steps:,} steps, {self.histories:,} interleavings"


_Key = tuple[int, int, tuple[int, ...], tuple[tuple[int, ...], ...], int, tuple[int, ...]]


class Explorer(Generic[View]):
    """All orders of the steps of some clients.

    Args:
        passes: How often time passes.
        mishaps: How many answers are lost in one history.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        judge: Judge[View],
        *,
        start: Memory | None = None,
        setting: Setting | None = None,
        passes: int = 0,
        mishaps: int = 0,
        most_states: int = 5_000_000,
    ) -> None:
        self._clients = clients
        self._judge = judge
        self._setting = setting or Setting()
        self._passes = passes
        self._mishaps = mishaps
        self._most_states = most_states
        self._stores: list[Memory] = []
        self._views: list[View] = []
        self._store_ids: dict[frozenset[tuple[Any, str]], int] = {}
        self._summaries: list[int] = []
        self._summary_values: list[Hashable] = []
        self._summary_ids: dict[Hashable, int] = {}
        self._calls: list[Call] = []
        self._call_ids: dict[str, int] = {}
        self._outcomes: list[Outcome] = [LOST]
        self._outcome_ids: dict[str, int] = {}
        self._effects: dict[tuple[int, int], tuple[int, int]] = {}
        self._points: list[Point] = []
        self._point_calls: list[int | None] = []
        self._histories: list[tuple[int, tuple[Outcome | int, ...]]] = []
        self._children: dict[tuple[int, str, int], int] = {}
        self._path: list[str] = []
        self._steps = 0
        self._begin = self._store(start or Memory())

    # Values are numbered, so that states are tuples of small numbers and each call is carried out once per contents.

    def _store(self, memory: Memory) -> int:
        key = frozenset((key, json.dumps(item, sort_keys=True, default=repr)) for key, item in memory.scan(TABLE))
        if (known := self._store_ids.get(key)) is not None:
            return known
        number = self._store_ids[key] = len(self._stores)
        self._stores.append(memory)
        view = self._judge.view(memory)
        self._views.append(view)
        summary = self._judge.summary(view)
        if summary not in self._summary_ids:
            self._summary_ids[summary] = len(self._summary_values)
            self._summary_values.append(summary)
        self._summaries.append(self._summary_ids[summary])
        self._complain(self._judge.contents(view))
        self._complain(self._judge.future(memory, self._setting))
        return number

    def _call(self, call: Call) -> int:
        key = json.dumps(call, sort_keys=True, default=repr)
        if key not in self._call_ids:
            self._call_ids[key] = len(self._calls)
            self._calls.append(call)
        return self._call_ids[key]

    def _outcome(self, outcome: Outcome) -> int:
        key = json.dumps([outcome.answer, outcome.fault], sort_keys=True, default=repr)
        if key not in self._outcome_ids:
            self._outcome_ids[key] = len(self._outcomes)
            self._outcomes.append(outcome)
        return self._outcome_ids[key]

    def _effect(self, store: int, call: int) -> tuple[int, int]:
        if (known := self._effects.get((store, call))) is not None:
            return known
        memory = self._stores[store].fork()
        outcome = self._outcome(carry_out(memory, self._calls[call]))
        after = self._store(memory)
        self._complain(self._judge.step(self._views[store], self._views[after]))
        self._effects[store, call] = after, outcome
        return after, outcome

    def _node(self, client: int, history: tuple[Outcome | int, ...]) -> int:
        point = replay(self._clients[client], history, self._setting)
        self._points.append(point)
        self._point_calls.append(self._call(point.call) if point.call else None)
        self._histories.append((client, history))
        return len(self._points) - 1

    def _answered(self, node: int, outcome: int) -> int:
        key = (node, "answer", outcome)
        if key not in self._children:
            client, history = self._histories[node]
            self._children[key] = self._node(client, (*history, self._outcomes[outcome]))
        return self._children[key]

    def _timed(self, node: int, time: int) -> int:
        while self._points[node].wants_time:
            key = (node, "time", time)
            if key not in self._children:
                client, history = self._histories[node]
                self._children[key] = self._node(client, (*history, time))
            node = self._children[key]
        return node

    # The exploration itself.

    def run(self) -> Explored:
        """Explore, and say how much there was.

        Raises:
            Violation: A promise is broken.
        """
        nodes = tuple(self._node(client, ()) for client in range(len(self._clients)))
        first: _Key = (self._begin, 0, nodes, ((),) * len(nodes), self._mishaps, ())
        seen: dict[_Key, int] = {}
        # Depth first without recursion: each entry is a state, its steps that are left, and the histories through it.
        stack: list[tuple[_Key, Iterator[tuple[str, _Key]], list[int]]] = [(first, self._moves(first), [0, 0])]
        while stack:
            state, moves, counted = stack[-1]
            move = next(moves, None)
            if move is None:
                stack.pop()
                seen[state] = counted[0] if counted[1] else 1
                if stack:
                    stack[-1][2][0] += seen[state]
                    self._path.pop()
                continue
            label, following = move
            self._steps += 1
            counted[1] += 1
            if following in seen:
                counted[0] += seen[following]
                continue
            if len(seen) > self._most_states:
                raise MemoryError(f"more than {self._most_states:,} states")
            self._path.append(label)
            stack.append((following, self._moves(following), [0, 0]))
        return Explored(len(seen), seen[first], self._steps)

    def _moves(self, state: _Key) -> Iterator[tuple[str, _Key]]:
        store, time, nodes, witnessed, mishaps, flying = state
        for client, stands in enumerate(nodes):
            node = self._timed(stands, time)
            self._judge_after_the_clock(stands, node, witnessed[client], store)
            call = self._point_calls[node]
            if call is None:
                continue
            begun = self._begin_witness(node, client, witnessed, store)
            label = f"{self._clients[client].name}: {self._calls[call][0]}"
            self._path.append(label)
            after, outcome = self._effect(store, call)
            yield self._popped(
                label, self._advance((after, time, nodes, begun, mishaps, flying), client, node, outcome)
            )
            if mishaps:
                lost = f"{label}, answer lost"
                self._path.append(lost)
                up = (*flying, call) if after != store else flying
                following = (store, time, nodes, begun, mishaps - 1, tuple(sorted(up)))
                yield self._popped(lost, self._advance(following, client, node, 0))
        for index, call in enumerate(flying):
            label = f"{self._calls[call][0]} of before takes effect"
            self._path.append(label)
            after, _ = self._effect(store, call)
            landed = (
                after,
                time,
                nodes,
                self._witness(witnessed, after),
                mishaps,
                flying[:index] + flying[index + 1 :],
            )
            yield self._popped(label, landed)
        if time < self._passes:
            yield from self._time_passes(state)

    def _judge_after_the_clock(self, stands: int, node: int, witnessed: Any, store: int) -> None:
        """Judge what a client was told right after it read the clock, without a call in between."""
        told, events = len(self._points[stands].events), self._points[node].events
        seen = [self._summary_values[summary] for summary in witnessed]
        for index in range(told, len(events)):
            self._complain(self._judge.told(events[index], events[:index], seen, self._views[store]))

    def _popped(self, label: str, following: _Key) -> tuple[str, _Key]:
        """The path grows again when the state is entered."""
        self._path.pop()
        return label, following

    def _time_passes(self, state: _Key) -> Iterator[tuple[str, _Key]]:
        store, time, nodes, witnessed, mishaps, flying = state
        asking = [client for client, node in enumerate(nodes) if self._points[node].wants_time]
        for asked in itertools.chain.from_iterable(itertools.combinations(asking, n) for n in range(len(asking) + 1)):
            read = tuple(self._timed(node, time) if client in asked else node for client, node in enumerate(nodes))
            yield "time passes", (store, time + 1, read, witnessed, mishaps, flying)

    def _begin_witness(
        self, node: int, client: int, witnessed: tuple[tuple[int, ...], ...], store: int
    ) -> tuple[tuple[int, ...], ...]:
        point = self._points[node]
        if not (point.begins and point.running and self._judge.reads(point.running)):
            return witnessed
        return (*witnessed[:client], (self._summaries[store],), *witnessed[client + 1 :])

    def _witness(self, witnessed: tuple[tuple[int, ...], ...], store: int) -> tuple[tuple[int, ...], ...]:
        summary = self._summaries[store]
        # What came first is kept first: it is what stood when the operation began.
        return tuple(
            seen if not seen or summary in seen else (seen[0], *sorted((*seen[1:], summary))) for seen in witnessed
        )

    def _advance(self, state: _Key, client: int, node: int, outcome: int) -> _Key:
        store, time, nodes, witnessed, mishaps, flying = state
        witnessed = self._witness(witnessed, store)
        after = self._answered(node, outcome)
        before_events, events = self._points[node].events, self._points[after].events
        if len(events) > len(before_events):
            seen = [self._summary_values[summary] for summary in witnessed[client]]
            for index in range(len(before_events), len(events)):
                self._complain(self._judge.told(events[index], events[:index], seen, self._views[store]))
            witnessed = (*witnessed[:client], (), *witnessed[client + 1 :])
        return store, time, (*nodes[:client], after, *nodes[client + 1 :]), witnessed, mishaps, flying

    def _complain(self, wrongs: Iterator[str]) -> None:
        if wrong := next(wrongs, None):
            steps = "".join(f"\n  {number}. {label}" for number, label in enumerate(self._path, 1))
            raise Violation(f"{wrong}{steps}")
