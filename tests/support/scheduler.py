"""A scheduler that runs clients one step (a call to DynamoDB) at a time, and can run every order of steps.

The clients are the real code. There are no threads: a client is a function from the answers it got so far to the call
that it makes next, found by running it from its start with the recorded answers until it asks for one more. So a state
is a value: what the tables hold, the time, and for each client its answers, or its results if it has ended. Two orders
of steps that lead to the same value have the same future, and all of them are explored by visiting each value once.

Beside the clients' calls the steps are: time passes (by more than the grace time); a client reads the clock before or
after that; a response is lost, after which its client goes on as its code does, and the call itself takes effect at
once, at any later step, or never. A client that takes no further step is one that crashed before its call; one whose
response was lost, and that takes no further step, crashed after it. Every state is checked for both: the check of
recovery assumes that each client that has not ended crashed in that state.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

from msgspec.structs import force_setattr

from ordering.aws import dynamodb
from ordering.aws.dynamodb import NoAnswer, ServiceFault, Table, TableError
from ordering.book import orderbook
from ordering.clock import Clock, Deadline
from ordering.errors import OrderingError
from support.aws.memory import Memory

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
TICK = timedelta(seconds=3)
"""How much time passes in one step: more than the grace time."""

TABLE = "OrdersTable"

View = TypeVar("View")

Call = tuple[str, dict[str, Any]]
Script = Callable[[Any, "Log"], None]
"""What a client does with the code under test; it logs its operations and their results."""


@dataclass(frozen=True)
class Result:
    """The value of a completed operation, or the name of the error that it raised."""

    operation: str
    argument: Any
    value: Any


@dataclass
class Log:
    """The operation that a client is in, and the results of those before it."""

    results: list[Result] = field(default_factory=list)
    running: tuple[str, Any] | None = None
    calls: int = 0

    @contextmanager
    def operation(self, name: str, argument: Any = None) -> Iterator[Callable[[Any], None]]:
        """Begin an operation; yields a function that records its result."""
        self.running, self.calls = (name, argument), 0

        def record(value: Any) -> None:
            self.results.append(Result(name, argument, value))

        try:
            yield record
        except (OrderingError, TableError) as error:
            self.results.append(Result(name, argument, type(error).__name__))
            raise _OperationFailed from error
        self.running = None


def operations(*steps: tuple[str, Any, Callable[[Any], Any]]) -> Script:
    """A script of operations, one after another, each with its name, its argument and its function."""

    def script(code: Any, log: Log) -> None:
        for name, argument, act in steps:
            with log.operation(name, argument) as record:
                record(act(code))

    return script


@dataclass(frozen=True)
class Client:
    """A script with a unique name."""

    name: str
    script: Script


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call: an answer, an error of the service, or no response."""

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
    """Where a client stands: its results, and whether it waits for a call, for the clock, or has ended."""

    results: tuple[Result, ...]
    running: tuple[str, Any] | None
    call: Call | None
    reads_clock: bool
    begins: bool
    """Whether the call is the first of an operation."""

    @property
    def ended(self) -> bool:
        return self.call is None and not self.reads_clock


class _Waits(BaseException):
    """The client needs an answer that is not recorded yet."""


class _OperationFailed(BaseException):
    """An operation of the client failed; the client ends there."""


class _RetryLimit(Deadline):
    """A deadline after `at` retries, instead of a time."""

    def remaining(self) -> float:
        left = self.at
        force_setattr(self, "at", left - 1)
        return left - 0.5

    def passed(self) -> bool:
        # A table asks before each call, which is no retry. A client that makes no further call is one that crashed.
        return False


@dataclass(frozen=True)
class Setup:
    """How the code under test is built for each client."""

    build: Callable[[Table, Clock], Any]
    retries: int = 3
    modules: Sequence[ModuleType] = ()
    """Modules beside `orderbook` whose `secrets` are replaced, so that each replay draws the same values."""

    def over(self, memory: Memory, now: Clock = lambda: START) -> Any:
        """Build it over a table that answers at once."""
        return self.build(Table(memory, TABLE, first_pause=0.0), now)


def replay(
    client: Client,
    history: Sequence[Outcome | int],
    setup: Setup,
    more: Callable[[Point], Outcome | int | None] = lambda _: None,
) -> Point:
    """Run a client with recorded answers and times, and then with `more` of them, until it needs one that is None."""
    recorded = iter(history)
    log = Log()
    stopped: list[Point] = []

    def answer(call: Call | None) -> Outcome | int:
        given = next(recorded, None)
        if given is None:
            point = Point(tuple(log.results), log.running, call, call is None, log.calls == 0)
            given = more(point)
            if given is None:
                stopped.append(point)
                raise _Waits
        return given

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        outcome = answer((operation, request))
        log.calls += 1
        assert isinstance(outcome, Outcome)
        return outcome.give()

    def now() -> datetime:
        time = answer(None)
        assert isinstance(time, int)
        return START + time * TICK

    table = Table(send, TABLE, deadline=_RetryLimit(setup.retries), first_pause=0.0)
    with _drawing(client.name, setup):
        try:
            client.script(setup.build(table, now), log)
        except _Waits:
            (point,) = stopped
            return point
        except _OperationFailed:
            pass
    return Point(tuple(log.results), None, None, reads_clock=False, begins=False)


@contextmanager
def _drawing(name: str, setup: Setup) -> Iterator[None]:
    """Replace random values by numbered ones of each module, which each replay draws again, and no other client."""
    kept = [(module, vars(module)["secrets"]) for module in (dynamodb, orderbook, *setup.modules)]
    for module, _ in kept:
        vars(module)["secrets"] = _numbered(f"{name}/{module.__name__}")
    try:
        yield
    finally:
        for module, real in kept:
            vars(module)["secrets"] = real


def _numbered(name: str) -> SimpleNamespace:
    numbers = itertools.count(1)

    def token_hex(_: int | None = None) -> str:
        return f"{name}/{next(numbers)}"

    def token_bytes(count: int) -> bytes:
        return hashlib.shake_128(token_hex().encode()).digest(count)

    return SimpleNamespace(token_hex=token_hex, token_bytes=token_bytes)


def complete(memory: Memory, setup: Setup, *scripts: Script, apart: timedelta = timedelta()) -> Memory:
    """Run scripts to their ends, one after another and with random values, and return the memory.

    Args:
        apart: How much time passes after each of them; after the last one it is `START`.
    """
    for number, script in enumerate(scripts):
        now, log = START - (len(scripts) - number) * apart, Log()
        script(setup.over(memory, lambda now=now: now), log)  # type: ignore[misc] # a clock
        assert log.running is None
    return memory


class Running:
    """A client in the middle of its script, whose steps a test takes one by one."""

    def __init__(self, client: Client, setup: Setup) -> None:
        self._client = client
        self._setup = setup
        self._history: list[Outcome | int] = []
        self.witnessed: list[Any] = []
        """Summaries of the contents since its operation began."""
        self.point: Point = replay(client, (), setup)

    def proceed(self, answer: Outcome | int) -> None:
        """Give it an outcome, or the time that it reads."""
        self._history.append(answer)
        self.point = replay(self._client, self._history, self._setup)

    def next_call(self, time: int = 0) -> Call | None:
        """Let it read the clock as often as it does, and return its next call; None if it has ended."""
        while self.point.reads_clock:
            self.proceed(time)
        return self.point.call


def carry_out(memory: Memory, call: Call) -> Outcome:
    """Carry out a call and keep its outcome."""
    try:
        return Outcome(memory(*call))
    except ServiceFault as fault:
        return Outcome(fault=(fault.code, fault.item, fault.reasons))


class Violation(AssertionError):
    """A promise was broken; the message names it, and the history that broke it."""


class Checker(Generic[View]):
    """What must hold. Each method yields what is wrong. A view is the contents of the tables as plain values."""

    def view(self, memory: Memory) -> View:
        """Read the contents."""
        raise NotImplementedError

    def state(self, view: View) -> Iterator[str]:
        """Check the contents, which any moment may show."""
        raise NotImplementedError

    def step(self, before: View, after: View) -> Iterator[str]:
        """Check a change of contents by one call."""
        raise NotImplementedError

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """Check how contents develop after every client has crashed: retries and consumers run, on a fork."""
        raise NotImplementedError

    def result(self, result: Result, earlier: Sequence[Result], witnessed: Sequence[Any], view: View) -> Iterator[str]:  # noqa: ARG002 - for subclasses
        """Check a result; `earlier` are the client's results before, `witnessed` the summaries since it began."""
        if not self.accepts(result, view):
            yield f"{result}: there is {view}"

    def accepts(self, result: Result, view: View) -> bool:
        """Whether a result fits the contents at the moment of the operation's last call."""
        raise NotImplementedError

    def witnesses(self, operation: str) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the results of an operation are compared with all contents since it began."""
        return False

    def summary(self, view: View) -> Hashable:  # noqa: ARG002 - for subclasses
        """The part of the contents that results are compared with."""
        return None

    def end(self, began: View, view: View, results: Sequence[Result]) -> Iterator[str]:  # noqa: ARG002 - for subclasses
        """Check the contents after every client has come to its end, and the sum of their results."""
        return iter(())


@dataclass(frozen=True)
class Explored:
    """The extent of an exploration."""

    states: int
    histories: int
    steps: int

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.steps:,} steps, {self.histories:,} interleavings"


_State = tuple[int, int, tuple[int, ...], tuple[tuple[int, ...], ...], int, tuple[int, ...]]


class Explorer(Generic[View]):
    """All orders of the steps of some clients.

    Args:
        ticks: How often time passes.
        lost: How many responses are lost in one history.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        checker: Checker[View],
        *,
        setup: Setup,
        start: Memory | None = None,
        ticks: int = 0,
        lost: int = 0,
        most_states: int = 5_000_000,
    ) -> None:
        self._clients = clients
        self._checker = checker
        self._setup = setup
        self._ticks = ticks
        self._lost = lost
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
        self._answers: dict[tuple[int, int], int] = {}
        self._times: dict[tuple[int, int], int] = {}
        self._ends: dict[tuple[int, str], int] = {}
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
        view = self._checker.view(memory)
        self._views.append(view)
        summary = self._checker.summary(view)
        if summary not in self._summary_ids:
            self._summary_ids[summary] = len(self._summary_values)
            self._summary_values.append(summary)
        self._summaries.append(self._summary_ids[summary])
        self._fail_if(self._checker.state(view))
        self._fail_if(self._checker.recovery(memory, self._setup))
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
        self._fail_if(self._checker.step(self._views[store], self._views[after]))
        self._effects[store, call] = after, outcome
        return after, outcome

    def _node(self, client: int, history: tuple[Outcome | int, ...], store: int, time: int) -> int:
        """Number the point of a client after a history, and the points after that if it now runs alone.

        One run finds them all, where each would take a run of its own.
        """
        memory = self._stores[store].fork()
        passed: list[tuple[Point, Outcome | int]] = []

        def more(point: Point) -> Outcome | int | None:
            try:
                given = carry_out(memory, point.call) if point.call else time
            except Exception:  # noqa: BLE001 - the exploration comes to this call too, and fails outside of the client
                return None
            passed.append((point, given))
            return given

        last = replay(self._clients[client], history, self._setup, more)
        history = (*history, *(given for _, given in passed))
        node = self._point(client, history, last)
        for point, given in reversed(passed):
            after, history = node, history[:-1]
            node = self._point(client, history, point)
            if isinstance(given, Outcome):
                self._answers[node, self._outcome(given)] = after
            else:
                self._times[node, given] = after
        return node

    def _point(self, client: int, history: tuple[Outcome | int, ...], point: Point) -> int:
        number = len(self._points)
        # All ends with the same results are one, whatever led there.
        if point.ended and (known := self._ends.setdefault((client, repr(point.results)), number)) != number:
            return known
        self._points.append(point)
        self._point_calls.append(self._call(point.call) if point.call else None)
        self._histories.append((client, history))
        return number

    def _answered(self, node: int, outcome: int, store: int, time: int) -> int:
        if (known := self._answers.get((node, outcome))) is not None:
            return known
        client, history = self._histories[node]
        after = self._answers[node, outcome] = self._node(client, (*history, self._outcomes[outcome]), store, time)
        return after

    def _timed(self, node: int, store: int, time: int) -> int:
        while self._points[node].reads_clock:
            key = (node, time)
            if key not in self._times:
                client, history = self._histories[node]
                self._times[key] = self._node(client, (*history, time), store, time)
            node = self._times[key]
        return node

    # The exploration itself.

    def run(self) -> Explored:
        """Explore, and count.

        Raises:
            Violation: A promise is broken.
        """
        nodes = tuple(self._node(client, (), self._begin, 0) for client in range(len(self._clients)))
        first: _State = (self._begin, 0, nodes, ((),) * len(nodes), self._lost, ())
        seen: dict[_State, int] = {}
        # Depth first without recursion: each entry is a state, its remaining steps, and the histories through it.
        stack: list[tuple[_State, Iterator[tuple[str, _State]], list[int]]] = [(first, self._moves(first), [0, 0])]
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

    def _moves(self, state: _State) -> Iterator[tuple[str, _State]]:
        store, time, nodes, witnessed, lost, in_flight = state
        current = [self._timed(node, store, time) for node in nodes]
        calls = [self._point_calls[node] for node in current]
        if calls.count(None) == len(calls):
            self._check_end(current, store)
        for client, (stands, node, call) in enumerate(zip(nodes, current, calls, strict=True)):
            if stands != node:
                self._check_results(stands, node, witnessed[client], store)
            if call is None:
                continue
            begun = self._begin_witness(node, client, witnessed, store)
            label = f"{self._clients[client].name}: {self._calls[call][0]}"
            self._path.append(label)
            after, outcome = self._effect(store, call)
            following = (after, time, nodes, begun, lost, in_flight)
            yield self._popped(label, self._advance(following, client, node, outcome))
            if lost:
                label = f"{label}, response lost"
                self._path.append(label)
                late = (*in_flight, call) if after != store else in_flight
                following = (store, time, nodes, begun, lost - 1, tuple(sorted(late)))
                yield self._popped(label, self._advance(following, client, node, 0))
        for index, call in enumerate(in_flight):
            label = f"{self._calls[call][0]}, whose response was lost, takes effect"
            self._path.append(label)
            after, _ = self._effect(store, call)
            left = in_flight[:index] + in_flight[index + 1 :]
            yield self._popped(label, (after, time, nodes, self._witness(witnessed, after), lost, left))
        if time < self._ticks:
            yield from self._time_passes(state)

    def _check_end(self, nodes: Sequence[int], store: int) -> None:
        """Check the contents after every client has come to its end."""
        results = [result for node in nodes for result in self._points[node].results]
        self._fail_if(self._checker.end(self._views[self._begin], self._views[store], results))

    def _check_results(self, before: int, after: int, witnessed: Sequence[int], store: int) -> bool:
        """Check the results of a client between two of its points; returns whether there were any."""
        first, results = len(self._points[before].results), self._points[after].results
        if first == len(results):
            return False
        seen = [self._summary_values[summary] for summary in witnessed]
        for index in range(first, len(results)):
            self._fail_if(self._checker.result(results[index], results[:index], seen, self._views[store]))
        return True

    def _popped(self, label: str, following: _State) -> tuple[str, _State]:
        # The path grows again when the state is entered.
        self._path.pop()
        return label, following

    def _time_passes(self, state: _State) -> Iterator[tuple[str, _State]]:
        store, time, nodes, witnessed, lost, in_flight = state
        asking = [client for client, node in enumerate(nodes) if self._points[node].reads_clock]
        for asked in itertools.chain.from_iterable(itertools.combinations(asking, n) for n in range(len(asking) + 1)):
            read = tuple(
                self._timed(node, store, time) if client in asked else node for client, node in enumerate(nodes)
            )
            yield "time passes", (store, time + 1, read, witnessed, lost, in_flight)

    def _begin_witness(
        self, node: int, client: int, witnessed: tuple[tuple[int, ...], ...], store: int
    ) -> tuple[tuple[int, ...], ...]:
        point = self._points[node]
        if not (point.begins and point.running and self._checker.witnesses(point.running[0])):
            return witnessed
        return (*witnessed[:client], (self._summaries[store],), *witnessed[client + 1 :])

    def _witness(self, witnessed: tuple[tuple[int, ...], ...], store: int) -> tuple[tuple[int, ...], ...]:
        summary = self._summaries[store]
        if not any(witnessed):
            return witnessed
        # The first summary stays first: it is the one of the operation's beginning.
        return tuple(
            seen if not seen or summary in seen else (seen[0], *sorted((*seen[1:], summary))) for seen in witnessed
        )

    def _advance(self, state: _State, client: int, node: int, outcome: int) -> _State:
        store, time, nodes, witnessed, lost, in_flight = state
        witnessed = self._witness(witnessed, store)
        after = self._answered(node, outcome, store, time)
        if self._check_results(node, after, witnessed[client], store):
            witnessed = (*witnessed[:client], (), *witnessed[client + 1 :])
        return store, time, (*nodes[:client], after, *nodes[client + 1 :]), witnessed, lost, in_flight

    def _fail_if(self, violations: Iterator[str]) -> None:
        if violation := next(violations, None):
            steps = "".join(f"\n  {number}. {label}" for number, label in enumerate(self._path, 1))
            raise Violation(f"{violation}{steps}")
