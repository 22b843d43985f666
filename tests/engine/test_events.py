"""Every order of the steps of publishers, movers and deliverers of events, with mishaps and with deaths anywhere.

Steps, mishaps and crashes are those of `support/scheduler.py`; requests to the bus, messages to the queue and posts to
a webhook are steps as well. At every state, what consumers have seen must be the beginning of each order's history, and
when everybody died there, another look at the orders and the queue's messages coming again must lead to their having
seen all of it. `ORDERING_EXPLORE=deep` takes more mishaps.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest

from engine.engines import Engine
from ordering.aws.dynamodb import ConditionFailed, Item, NoAnswer, Put, Table, Update, _item, plain_item
from ordering.aws.eventbridge import EventBus
from ordering.clock import Clock, to_text
from ordering.contexts import read_history
from ordering.errors import Unavailable
from ordering.events.history import OrderHistory
from ordering.events.publisher import Publisher
from ordering.webhooks import delivery as webhook_delivery
from ordering.webhooks.delivery import Deliverer, Message
from ordering.webhooks.registrations import SealedSecret, Webhook, Webhooks, _write, announcer
from ordering.webhooks.transport import NotPosted, Response
from support import scheduler
from support.aws.memory import Memory
from support.partners import JOHN, SOURCE, UK
from support.scheduler import START, TABLE, Client, Event, Explored, Explorer, Log, Setting, Violation

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
MOMENTS = ("New", "Completed", "Cancelled")
"""No real order has all of them; two moves are needed for one to overtake another."""

HOOK = Webhook("hook", "northwind", "https://example.com/", frozenset(), START, (SealedSecret(b"key"),))
Act = Callable[["World", Log], None]


# The world: a table, a bus, a queue and a receiver, all in one memory ------------------------------------------------


class Broker(Memory):
    """A table, and what else is called: what each consumer sees of an order, and the messages of a queue."""

    extra: ClassVar[Mapping[str, str]] = {
        "PutEvents": "_put_events",
        "Post": "_post",
        "SendMessage": "_send_message",
        "ReceiveMessage": "_receive_message",
        "DeleteMessage": "_delete_message",
    }
    operations: ClassVar[Mapping[str, str]] = {**Memory.operations, **extra}

    def found(self, partition: str, sort: str) -> Item:
        raw = self._find((TABLE, partition, sort))
        return plain_item(raw) if raw else {}

    def keep(self, partition: str, sort: str, **more: Any) -> None:
        self.load(TABLE, _item({"pk": partition, "sk": sort, **more}))

    def _see(self, consumer: str, text: str) -> None:
        """Drop what was seen, as consumers do."""
        event = json.loads(text)
        order = f"training#{event['data']['order']['id']}"
        seen = self.found(consumer, order).get("seen", [])
        if event["sequence"] not in seen:
            self.keep(consumer, order, seen=[*seen, event["sequence"]])

    def _fails(self, what: str) -> bool:
        left: int = self.found("FAILS", what).get("left", 0)
        if left:
            self.keep("FAILS", what, left=left - 1)
        return left > 0

    def _put_events(self, request: dict[str, Any]) -> dict[str, Any]:
        refused = self._fails("bus")
        for entry in request["Entries"][int(refused) :]:
            self._see("BUS", entry["Detail"])
        results: list[dict[str, str]] = [{"EventId": "1"} for _ in request["Entries"]]
        if refused:
            results[0] = {"ErrorCode": "InternalFailure"}
        return {"FailedEntryCount": int(refused), "Entries": results}

    def _post(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._fails("hook"):
            return {"Status": 500}
        self._see("HOOK", request["Body"])
        return {"Status": 200}

    def _send_message(self, request: dict[str, Any]) -> dict[str, Any]:
        copy = self.found("COPIES", request["MessageBody"]).get("count", 0)
        self.keep("COPIES", request["MessageBody"], count=copy + 1)
        self.keep("QUEUE", f"{copy}#{request['MessageBody']}")
        return {}

    def _receive_message(self, request: dict[str, Any]) -> dict[str, Any]:
        """Hand out one message; nothing keeps another client from getting the same."""
        names = sorted(sort for (partition, sort), _ in self.scan(TABLE) if partition == "QUEUE")
        return {"Message": names[request["Which"]]} if names else {}

    def _delete_message(self, request: dict[str, Any]) -> dict[str, Any]:
        self._remove((TABLE, "QUEUE", request["Message"]))
        return {}


class Labels:
    """A sealer that hides nothing."""

    def seal(self, plain: bytes, context: bytes) -> bytes:  # noqa: ARG002 - as every sealer
        return plain

    def open(self, sealed: bytes, context: bytes) -> bytes:  # noqa: ARG002 - as every sealer
        return sealed


class World:
    """What a client has in its hands."""

    def __init__(self, table: Table) -> None:
        self.table = table
        webhooks = Webhooks(table, Labels(), now=lambda: START)
        self.deliverer = Deliverer(
            table, table, webhooks, self._post, self._send, now=lambda: START, spread=lambda: 0.5
        )
        announce = announcer(webhooks, self.deliverer.signal)
        self.publisher = Publisher(table, EventBus(self.call, "bus", table.pauses), announce, read_history)

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.table.send(operation, request)
        except NoAnswer as error:
            raise Unavailable from error

    def _send(self, body: str, delay_seconds: int) -> None:
        self.call("SendMessage", {"MessageBody": body, "DelaySeconds": delay_seconds})

    def _post(self, url: str, headers: Mapping[str, str], body: bytes, /) -> Response:
        try:
            status: int = self.call("Post", {"Url": url, "Id": headers["webhook-id"], "Body": body.decode()})["Status"]
        except Unavailable as error:
            raise NotPosted("lost") from error
        return Response(status)

    def publish(self, *orders: int) -> int:
        failed = self.publisher.publish([f"training#{order}" for order in orders])
        if failed:
            raise Unavailable
        return 0

    def work(self, which: int) -> bool:
        """Handle a message of the queue; returns whether there was one."""
        message = self.call("ReceiveMessage", {"Which": which}).get("Message")
        if message:
            self.deliverer.handle(message.partition("#")[2])
            self.call("DeleteMessage", {"Message": message})
        return bool(message)


class EventsSetting(Setting):
    """Gives scripts a world in place of a book."""

    def book(self, table: Table, now: Clock) -> Any:  # noqa: ARG002 - as it is called
        return World(table)


# What clients do -----------------------------------------------------------------------------------------------------


def order_item(order: int, moments: int) -> Item:
    history = [{"status": status, "at": to_text(START)} for status in MOMENTS[:moments]]
    return {
        "pk": f"ORDER#training#{order}",
        "sk": "ORDER",
        "order": {
            "id": order,
            "position": order,
            "partner": HOOK.partner,
            "unit": {"id": UK.id, "name": UK.name},
            "user": {"id": JOHN.id},
            "source": {"id": SOURCE.id},
            "reference": "PO",
            "contact": {"forename": "J", "surname": "S", "email": "j@example.com"},
            "emailKeys": False,
            "created": to_text(START),
            "status": MOMENTS[moments - 1],
            "version": moments,
            "history": history,
        },
    }


def acts(*steps: tuple[str, Callable[[World], Any]]) -> Act:
    def script(world: Any, log: Log) -> None:
        for kind, act in steps:
            with log.operation(kind) as told:
                told(act(world))

    return script


def publishes(*orders: int) -> Act:
    return acts(("publish", lambda world: world.publish(*orders)))


def moves(order: int, moments: int) -> tuple[str, Callable[[World], Any]]:
    def move(world: World) -> None:
        condition = Put(
            order_item(order, moments), "#order.version = :read", {"#order": "order"}, {":read": moments - 1}
        )
        with suppress(ConditionFailed):  # an earlier try has done it
            world.table.put(condition)

    return "move", move


def moves_and_publishes(order: int, *moments: int) -> Act:
    publish = ("publish", lambda world: world.publish(order))
    return acts(*[step for count in moments for step in (moves(order, count), publish)])


def moves_and_signals(order: int, moments: int) -> Act:
    name = f"training#{order}"
    return acts(moves(order, moments), ("signal", lambda world: world.deliverer.signal(HOOK.partner, HOOK.id, name)))


def works(which: int, times: int = 1) -> Act:
    return acts(*[("work", lambda world: world.work(which))] * times)


def broker(
    orders: Mapping[int, int],
    *,
    hook: bool = False,
    bus_fails: int = 0,
    hook_fails: int = 0,
    published: bool = False,
    signals: int = 0,
) -> Broker:
    """A world in which orders have come so far."""
    found = Broker()
    for order, moments in orders.items():
        found.load(TABLE, _item(order_item(order, moments)))
        if published:
            found.keep(f"EVENTS#training#{order}", "-", published=moments)
            found.keep("BUS", f"training#{order}", seen=list(range(1, moments + 1)))
        for _ in range(signals):
            found("SendMessage", {"MessageBody": Message("northwind", "hook", f"training#{order}").to_text()})
    if hook:
        found.load(TABLE, _item(_write(HOOK)))
    found.keep("FAILS", "bus", left=bus_fails)
    found.keep("FAILS", "hook", left=hook_fails)
    return found


# What must hold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a world shows: by order, how far it has come, its cursor, and what was seen of it."""

    moments: dict[str, int] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    bus: dict[str, list[int]] = field(default_factory=dict)
    hook: dict[str, list[int]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    parked: dict[str, set[int]] = field(default_factory=dict)
    hooked: bool = False

    @classmethod
    def of(cls, memory: Memory) -> Seen:
        seen, hooked = cls(), False
        for (partition, sort), raw in memory.scan(TABLE):
            item, (kind, _, name) = plain_item(raw), partition.partition("#")
            match kind:
                case "ORDER":
                    seen.moments[name] = len(item["order"]["history"])
                case "EVENTS":
                    seen.cursors[name] = item["published"]
                case "BUS":
                    seen.bus[sort] = item["seen"]
                case "HOOK":
                    seen.hook[sort] = item["seen"]
                case "WEBHOOKS":
                    hooked = True
                case "DELIVERIES" if sort.startswith("AT#"):
                    seen.positions[sort[3:]] = item["delivered"]
                case "DELIVERIES":
                    seen.parked.setdefault(item["order"], set()).add(item["index"] + 1)
        return replace(seen, hooked=hooked)

    def wrongs(self) -> Iterator[str]:
        """Tell what no moment of any history may show."""
        for consumer, all_seen in (("bus", self.bus), ("hook", self.hook)):
            for order, numbers in all_seen.items():
                # What was given up can come any time.
                seen = [one for one in numbers if consumer == "bus" or one not in self.parked.get(order, set())]
                if seen != sorted(seen) or (seen and seen[-1] > self.moments[order]):
                    yield f"{consumer} saw {seen} of {order}"
        for order, cursor in self.cursors.items():
            if self.bus.get(order, [])[:cursor] != list(range(1, cursor + 1)):
                yield f"{order} is published up to {cursor}, seen {self.bus.get(order)}"
        for order, position in self.positions.items():
            done = {*self.hook.get(order, [])} | self.parked.get(order, set())
            if not done.issuperset(range(1, position + 1)):
                yield f"{order} is delivered up to {position}, done {done}"

    def unfinished(self) -> Iterator[str]:
        for order, moments in self.moments.items():
            whole = list(range(1, moments + 1))
            if self.bus.get(order) != whole or self.cursors.get(order) != moments:
                yield f"the bus saw {self.bus.get(order)} of {order}, its cursor is {self.cursors.get(order)}"
            done = {*self.hook.get(order, [])} | self.parked.get(order, set())
            if self.hooked and done != {*whole}:
                yield f"the webhook saw {self.hook.get(order)} of {order}, parked are {self.parked.get(order)}"


class EventsJudge:
    """What is promised of events."""

    def reads(self, running: tuple[str, Any]) -> bool:  # noqa: ARG002 - as it is called
        return False

    def view(self, memory: Memory) -> Seen:
        return Seen.of(memory)

    def summary(self, view: Seen) -> Hashable:  # noqa: ARG002 - as it is called
        return None

    def contents(self, view: Seen) -> Iterator[str]:
        yield from view.wrongs()

    def step(self, before: Seen, after: Seen) -> Iterator[str]:
        for kind, then, now in (
            ("cursor", before.cursors, after.cursors),
            ("position", before.positions, after.positions),
        ):
            for order, count in then.items():
                if now.get(order, 0) < count:
                    yield f"the {kind} of {order} went from {count} to {now.get(order)}"

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """When everybody died, the stream's records and the queue's messages come again."""
        later = memory.fork()
        world = World(Table(later, TABLE, first_pause=0.0))
        world.publisher.publish(Seen.of(later).moments)
        for _ in range(30):
            if not world.work(0):
                break
        else:
            yield "the queue never gets empty"
        finished = Seen.of(later)
        for wrong in (*finished.wrongs(), *finished.unfinished()):
            yield f"after everything came again: {wrong}"

    def told(
        self,
        event: Event,
        earlier: Sequence[Event],  # noqa: ARG002 - as it is called
        witnessed: Sequence[Any],  # noqa: ARG002 - as it is called
        view: Seen,  # noqa: ARG002 - as it is called
    ) -> Iterator[str]:
        if isinstance(event.value, str) and event.value != "Unavailable":
            yield f"{event}"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries, and nothing is logged, which takes longer than all the rest."""
    monkeypatch.setattr(webhook_delivery, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)
    monkeypatch.setattr(scheduler, "json", SimpleNamespace(dumps=partial(json.dumps, default=repr)))


@dataclass(frozen=True)
class Case:
    """Clients, what they find, and what may happen to them."""

    scripts: Sequence[Act]
    start: Callable[[], Broker]
    mishaps: int = 1
    tries: int = 2

    def explore(self, mishaps: int | None = None) -> Explored:
        with mock.patch.object(webhook_delivery, "TRIES", self.tries):
            return self._explorer(self.mishaps if mishaps is None else mishaps).run()

    def _explorer(self, mishaps: int) -> Explorer[Seen]:
        return Explorer(
            [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)],  # type: ignore[arg-type] # the setting gives it a world
            EventsJudge(),
            start=self.start(),
            setting=EventsSetting(retries=30),
            mishaps=mishaps,
        )


hooked = partial(broker, hook=True, published=True)
CASES = {
    "two publishers": Case([publishes(1), publishes(1)], partial(broker, {1: 2}), 2),
    "two publishers, two orders, refused entries": Case(
        [publishes(1, 2), publishes(2, 1)], partial(broker, {1: 2, 2: 1}, bus_fails=2), 0
    ),
    "a publisher while the order moves on": Case([publishes(1), moves_and_publishes(1, 2, 3)], partial(broker, {1: 1})),
    "three publishers": Case([publishes(1)] * 3, partial(broker, {1: 2}), 0),
    "two publishers and a webhook": Case([publishes(1), publishes(1)], partial(broker, {1: 2}, hook=True)),
    "one message twice": Case([works(0), works(-1)], partial(hooked, {1: 2}, signals=2)),
    "one message twice, failing": Case(
        [works(0, 2), works(-1, 2)], partial(hooked, {1: 2}, signals=2, hook_fails=2), 0, tries=3
    ),
    "failing while the order moves on": Case(
        [works(0, 2), moves_and_signals(1, 2), works(-1)],
        partial(hooked, {1: 1}, signals=1, hook_fails=1),
        0,
    ),
    "parked while the order moves on": Case(
        [works(0, 2), moves_and_signals(1, 2)], partial(hooked, {1: 1}, signals=1, hook_fails=2)
    ),
    "a delivery whose responses are lost": Case([works(0, 3)], partial(hooked, {1: 2}, signals=1, hook_fails=1)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, and wherever clients die, each consumer sees every event, in its order's order."""
    began = time.monotonic()
    explored = case.explore(case.mishaps + 1 if DEEP else None)

    report(f"events, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 5


# The checker can fail: what has one thing wrong each.


def moves_first(
    self: Publisher, pending: Sequence[tuple[OrderHistory, int]], put: Callable[..., frozenset[str]] = Publisher._put
) -> frozenset[str]:
    for story, _ in pending:
        self._move(story.order, len(story))
    return put(self, pending)


def moves_anyhow(self: Publisher, order: str, count: int) -> None:
    self.table.update(Update((f"EVENTS#{order}", "-"), "SET published = :count", values={":count": count}))


def overlooks_refusals(self: EventBus, batch: Sequence[Any], send: Any = EventBus._send) -> list[None]:
    send(self, batch)
    return [None] * len(batch)


def announces_nothing(self: Publisher, story: OrderHistory, first: int) -> None:
    """Leave it to the order's next move."""


class Stop(Exception):
    """The mutant looks no further."""


def looks_once(
    self: Deliverer, webhook: Webhook, message: Message, deliver: Callable[..., None] = Deliverer._deliver
) -> None:
    with suppress(Stop):
        deliver(self, webhook, message)


def stops_after(self: Deliverer, *arguments: Any, move: Callable[..., None] = Deliverer._move) -> None:
    move(self, *arguments)
    raise Stop


def forgets_the_next_try(self: Deliverer, message: Message, queue: Callable[..., None] = Deliverer._queue) -> None:
    if not message.tries:
        queue(self, message)


def delivers_anyhow(
    self: Deliverer,
    webhook: Webhook,
    order: str,
    at: Any,
    index: int,
    tries: int = 0,
    move: Callable[..., None] = Deliverer._move,
) -> None:
    key = (f"DELIVERIES#{webhook.partner}#{webhook.id}", f"AT#{order}")
    self.accounts.delete_all([key])
    move(self, webhook, order, replace(at, written=False), index, tries)


MUTANTS: dict[str, tuple[str, list[tuple[Any, str, Any]]]] = {
    "the cursor moves first": ("two publishers", [(Publisher, "_put", moves_first)]),
    "the cursor moves anyhow": ("a publisher while the order moves on", [(Publisher, "_move", moves_anyhow)]),
    "refused entries are overlooked": (
        "two publishers, two orders, refused entries",
        [(EventBus, "_send", overlooks_refusals)],
    ),
    "the queue does not know": ("two publishers and a webhook", [(Publisher, "_announce", announces_nothing)]),
    "no second look": (
        "failing while the order moves on",
        [(Deliverer, "_deliver", looks_once), (Deliverer, "_move", stops_after)],
    ),
    "no next try": ("a delivery whose responses are lost", [(Deliverer, "_queue", forgets_the_next_try)]),
    "the position moves anyhow": ("one message twice", [(Deliverer, "_move", delivers_anyhow)]),
}


@pytest.mark.parametrize(("case", "changes"), MUTANTS.values(), ids=MUTANTS.keys())
def test_the_checker_can_fail(case: str, changes: list[tuple[Any, str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Code with one thing wrong breaks a promise somewhere."""
    for owner, name, mutant in changes:
        monkeypatch.setattr(owner, name, mutant)

    with pytest.raises((Violation, AssertionError)):
        CASES[case].explore()


# A real engine takes what is written --------------------------------------------------------------------------------


def test_on_every_engine(engine: Engine) -> None:
    """From placing to the second move, cursor and position are kept as every engine understands it."""
    side = Broker()
    side.keep("FAILS", "hook", left=1)

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return (side if operation in side.extra else engine.send)(operation, request)

    world = World(Table(send, engine.table))
    world.table.put(Put(_write(HOOK)))
    for order, moments in ((7001, 1), (7001, 2), (7002, 1)):
        world.table.put(Put(order_item(order, moments)))
        world.publish(order)
        world.publish(order)
    while world.work(0):
        pass
    seen = Seen.of(side)

    assert seen.bus == seen.hook == {"training#7001": [1, 2], "training#7002": [1]}
    assert world.table.get(("EVENTS#training#7001", "-")) == {
        "pk": "EVENTS#training#7001",
        "sk": "-",
        "published": 2,
    }
