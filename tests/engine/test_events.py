"""Published events: every interleaving of publishers, order moves and deliverers, with lost responses and crashes.

Requests to the bus, messages to the queue and posts to a webhook are steps as well. In every state the consumers have
seen a beginning of each order's history. After a crash of all clients in any state, another look at the orders and the
redelivery of the queue's messages must lead to consumers that have seen all of it. `ORDERING_EXPLORE=deep` loses more
responses.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from unittest import mock

import pytest

from engine.engines import Engine
from engine.explored import (
    ANYHOW,
    Case,
    Mutant,
    ReadableSealer,
    TableAndServices,
    every_interleaving,
    every_mutant,
    service,
)
from ordering import values
from ordering.aws.dynamodb import ConditionFailed, Item, Put, Table, Update, _item, plain_item
from ordering.aws.eventbridge import EventBus
from ordering.book.names import key_of
from ordering.book.unfinished import PROGRESS, PUBLISHED, is_marked, mark
from ordering.clock import to_text
from ordering.contexts import read_history
from ordering.errors import Unavailable
from ordering.events.history import Finish, OrderHistory
from ordering.events.publisher import Publisher, one_by_one
from ordering.identity.accounts import Accounts
from ordering.webhooks import delivery as webhook_delivery
from ordering.webhooks import registrations
from ordering.webhooks import slots as webhook_slots
from ordering.webhooks.delivery import Deliverer, Message
from ordering.webhooks.health import Health, health_key
from ordering.webhooks.registrations import Recipient, SealedSecret, Webhook, Webhooks, _context, _write, announcer
from ordering.webhooks.slots import FAILURES, SLOTS, Slot
from ordering.webhooks.transport import NotPosted, Response
from support.aws.memory import Memory
from support.partners import JOHN, PARTNER, SOURCE, UK
from support.scheduler import START, TABLE, Checker, Result, Script, Setup, operations

MOMENTS = ("New", "Completed", "Cancelled")
"""No real order has all of them; one move can overtake another only if there are two."""

SEALER = ReadableSealer()
HOOK = Webhook(
    "hook",
    "northwind",
    "https://example.com/",
    frozenset(),
    START,
    (SealedSecret(SEALER.seal(b"key", _context("northwind", "hook"))),),
)


DELIVERIES = f"DELIVERIES#{HOOK.partner}#{HOOK.id}"


# The table, the bus, the queue and the receiver, in one memory -------------------------------------------------------


class SimulatedServices(TableAndServices):
    """The table, the events of an order that each consumer has seen, and the messages of a queue."""

    extra: ClassVar[Mapping[str, str]] = {
        "PutEvents": "_put_events",
        "Post": "_post",
        "SendMessage": "_send_message",
        "ReceiveMessage": "_receive_message",
        "DeleteMessage": "_delete_message",
    }
    operations: ClassVar[Mapping[str, str]] = {**Memory.operations, **extra}

    def _see(self, consumer: str, text: str) -> None:
        """Note an event that was not seen before; consumers drop duplicates."""
        event = json.loads(text)
        order = f"training#{event['data']['order']['id']}"
        seen = self.read(consumer, order).get("seen", [])
        if event["sequence"] not in seen:
            self.write(consumer, order, seen=[*seen, event["sequence"]])

    def _fails(self, service: str) -> bool:
        left: int = self.read("FAILS", service).get("left", 0)
        if left:
            self.write("FAILS", service, left=left - 1)
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
        copy = self.read("COPIES", request["MessageBody"]).get("count", 0)
        self.write("COPIES", request["MessageBody"], count=copy + 1)
        self.write("QUEUE", f"{copy}#{request['MessageBody']}")
        return {}

    def _receive_message(self, request: dict[str, Any]) -> dict[str, Any]:
        """Deliver one message; another client can receive the same."""
        names = sorted(sort for (partition, sort), _ in self.scan(TABLE) if partition == "QUEUE")
        return {"Message": names[request["Which"]]} if names else {}

    def _delete_message(self, request: dict[str, Any]) -> dict[str, Any]:
        self._remove((TABLE, "QUEUE", request["Message"]))
        return {}


class EventServices:
    """The code of events and webhooks, as one process has it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.call = service(table)
        webhooks = Webhooks(table, SEALER, now=lambda: START)
        self.deliverer = Deliverer(
            table, table, webhooks, self._post, self._send, now=lambda: START, spread=lambda: 0.5
        )
        announce = announcer(webhooks, self.deliverer.signal)
        self.publisher = Publisher(
            table, EventBus(self.call, "bus", table.pauses), announce, one_by_one(table, read_history)
        )

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

    def work(self, which: int, at: datetime = START) -> bool:
        """Handle a message of the queue at a time; returns whether there was one."""
        message = self.call("ReceiveMessage", {"Which": which}).get("Message")
        if message:
            values.replace(self.deliverer, now=lambda: at).handle(message.partition("#")[2])
            self.call("DeleteMessage", {"Message": message})
        return bool(message)


SETUP = Setup(lambda table, _: EventServices(table), 30, [registrations])


# Operations ----------------------------------------------------------------------------------------------------------


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
        PUBLISHED: 0,
        **mark((f"ORDER#training#{order}", "ORDER"), START),
    }


def publishes(*orders: int) -> Script:
    return operations(("publish", None, lambda events: events.publish(*orders)))


Step = tuple[str, Any, Callable[[EventServices], Any]]


def move(order: int, moments: int) -> Step:
    """Give an order its next status, unless an earlier try has done it."""

    def act(events: EventServices) -> None:
        names, values = {"#order": "order"}, {":read": moments - 1, ":order": order_item(order, moments)["order"]}
        key = f"ORDER#training#{order}", "ORDER"
        with suppress(ConditionFailed):
            events.table.update(Update(key, "SET #order = :order", "#order.version = :read", names, values))

    return "move", None, act


def moves_and_publishes(order: int, *moments: int) -> Script:
    publish: Step = ("publish", None, lambda events: events.publish(order))
    return operations(*[step for count in moments for step in (move(order, count), publish)])


def moves_and_signals(order: int, moments: int) -> Script:
    name = f"training#{order}"
    signal: Step = ("signal", None, lambda events: events.deliverer.signal(HOOK.partner, HOOK.id, name))
    return operations(move(order, moments), signal)


def switches(*states: str) -> Script:
    """Switch the partner on or off, one after another."""

    def switch(state: str) -> Step:
        return "switch", None, lambda events: Accounts(events.table).set_active(HOOK.partner, active=state == "on")

    return operations(*[switch(state) for state in states])


def works(which: int, times: int = 1, at: datetime = START) -> Script:
    """Handle messages, by a clock that stands still."""
    return operations(*[("work", None, lambda events: events.work(which, at))] * times)


def ends_the_pause() -> Script:
    """The partner ends the pause of its webhook."""
    return operations(("end", None, lambda events: events.deliverer.end_pause(HOOK.partner, HOOK.id)))


def services(
    orders: Mapping[int, int],
    *,
    hook: bool = False,
    bus_fails: int = 0,
    hook_fails: int = 0,
    published: bool = False,
    signals: int = 0,
    off: bool = False,
    failures: int = 0,
    paused: bool = False,
    missed: Sequence[int] = (),
    delivered: Sequence[int] = (),
    earlier: bool = False,
) -> SimulatedServices:
    """Orders with so many moments each, and services that fail so often.

    Args:
        failures: Of the webhook, in a row.
        paused: Whether the webhook was paused until now, and a look at the missed orders is due.
        missed: Orders that were recorded as missed.
        delivered: Orders whose events the webhook has accepted.
        earlier: Whether an earlier release created the orders.
    """
    found = SimulatedServices()
    for order, moments in orders.items():
        item = order_item(order, moments)
        if earlier:
            item = {name: value for name, value in item.items() if name not in PROGRESS}
        found.load(TABLE, _item({**item, **({PUBLISHED: moments} if published else {})}))
        if published:
            found.write("BUS", f"training#{order}", seen=list(range(1, moments + 1)))
        for _ in range(signals):
            found("SendMessage", {"MessageBody": Message("northwind", "hook", f"training#{order}").to_text()})
    if hook:
        found.load(TABLE, _item(_write(HOOK)))
        Accounts(Table(found, TABLE)).save_partner(values.replace(PARTNER, active=not off))
    now = int(START.timestamp())
    if failures:
        notes: dict[str, Any] = {"pausedUntil": now * 1000, "pauses": 1, "look": now} if paused else {}
        found.write(*health_key(HOOK.partner, HOOK.id), failures=failures, expires=now * 2, **notes)
    if paused:
        found("SendMessage", {"MessageBody": Message(HOOK.partner, HOOK.id, "", due=now, missed=True).to_text()})
    for order in missed:
        found.write(DELIVERIES, f"MISSED#training#{order}", recorded=1, expires=now * 2)
    for order in delivered:
        found.write(DELIVERIES, f"AT#training#{order}", delivered=orders[order], tries=0, epoch=1, expires=now * 2)
        found.write("HOOK", f"training#{order}", seen=list(range(1, orders[order] + 1)))
    found.write("FAILS", "bus", left=bus_fails)
    found.write("FAILS", "hook", left=hook_fails)
    return found


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventContents:
    """By order: its moments, its cursors, and the events that consumers have seen."""

    moments: dict[str, int] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    cursors: dict[str, int] = field(default_factory=dict)
    bus: dict[str, list[int]] = field(default_factory=dict)
    hook: dict[str, list[int]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    parked: dict[str, set[int]] = field(default_factory=dict)
    hooked: bool = False

    @classmethod
    def of(cls, memory: Memory) -> EventContents:
        seen, hooked = cls(), False
        for (partition, sort), raw in memory.scan(TABLE):
            item, (kind, _, name) = plain_item(raw), partition.partition("#")
            match kind:
                case "ORDER":
                    seen.note_order(name, item)
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
                case "DELIVERIES" if sort.startswith("PARKED#"):
                    seen.parked.setdefault(item["order"], set()).add(item["index"] + 1)
        return replace(seen, hooked=hooked)

    def note_order(self, name: str, item: Item) -> None:
        self.moments[name] = len(item["order"]["history"])
        if PUBLISHED in item:
            self.cursors[name] = item[PUBLISHED]
        if is_marked(item):
            self.marked.add(name)

    def violations(self) -> Iterator[str]:
        for consumer, all_seen in (("bus", self.bus), ("hook", self.hook)):
            for order, numbers in all_seen.items():
                # A parked event can be delivered at any time.
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
            if order in self.marked and moments > 1:
                yield f"{order} is never finished"
            done = {*self.hook.get(order, [])} | self.parked.get(order, set())
            if self.hooked and done != {*whole}:
                yield f"the webhook saw {self.hook.get(order)} of {order}, parked are {self.parked.get(order)}"


class EventChecker(Checker[EventContents]):
    def view(self, memory: Memory) -> EventContents:
        return EventContents.of(memory)

    def state(self, view: EventContents) -> Iterator[str]:
        return view.violations()

    def step(self, before: EventContents, after: EventContents) -> Iterator[str]:
        for kind, then, now in (
            ("cursor", before.cursors, after.cursors),
            ("position", before.positions, after.positions),
        ):
            for order, count in then.items():
                if now.get(order, 0) < count:
                    yield f"the {kind} of {order} went from {count} to {now.get(order)}"
        for order in before.marked - after.marked:
            if after.cursors[order] != after.moments[order] or after.moments[order] == 1:
                yield f"{order} is finished with {after.moments[order]} moments, {after.cursors[order]} passed on"

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """After a look at all orders, and the redelivery of the queue's messages, consumers have seen everything."""
        later = memory.fork()
        events: EventServices = setup.over(later)
        # The partner is on in the end, by its record alone: a look must find the events that it missed.
        with suppress(ConditionFailed):
            Accounts(events.table).set_active(HOOK.partner, active=True)
        events.publisher.publish(self.view(later).moments)
        for hours in range(1, 40):
            # Longer than any pause, so that each message that waits is handled.
            if not events.work(0, START + timedelta(hours=2 * hours)):
                break
        else:
            yield "the queue never gets empty"
        after = self.view(later)
        for violation in (*after.violations(), *after.unfinished()):
            yield f"after recovery: {violation}"

    def accepts(self, result: Result, view: EventContents) -> bool:  # noqa: ARG002 - as it is called
        return not isinstance(result.value, str) or result.value == "Unavailable"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between retries, and no logs, which would take most of the time."""
    monkeypatch.setattr(webhook_delivery, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(webhook_delivery, "LOOK_AGAIN", 0)
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)


def case(
    clients: Sequence[Script], start: Callable[[], Memory], lost: int = 1, tries: int = 2, *, slots: int = SLOTS
) -> Case:
    """A case; with 0 slots there are none, if their steps would multiply its interleavings: other cases have them."""
    patches: list[tuple[Any, str, Any]] = [
        (webhook_delivery, "TRIES", tries),
        (webhook_delivery, "SLOTS", slots),
        (webhook_slots, "SLOTS", slots),
    ]
    if not slots:
        patches.append((Deliverer, "_in_slot", without_slots))
    return Case(clients, start, SETUP, EventChecker(), lost, patches=patches)


def without_slots(self: Deliverer, recipient: Recipient, message: Message) -> None:
    self._deliver(recipient.webhook, message, Slot("", 0, Health()))


hooked = partial(services, hook=True, published=True)
paused = partial(hooked, failures=FAILURES, paused=True)
LATER = START + timedelta(minutes=3)
CASES = {
    "two publishers": case([publishes(1), publishes(1)], partial(services, {1: 2}), 2),
    "two publishers, two orders, refused entries": case(
        [publishes(1, 2), publishes(2, 1)], partial(services, {1: 2, 2: 1}, bus_fails=2), 0
    ),
    "a publisher while the order moves on": case(
        [publishes(1), moves_and_publishes(1, 2, 3)], partial(services, {1: 1})
    ),
    "a publisher while the order moves twice": case(
        [publishes(1), operations(move(1, 2), move(1, 3))], partial(services, {1: 1})
    ),
    "two publishers of an order of an earlier release": case(
        [publishes(1), moves_and_publishes(1, 2)], partial(services, {1: 1}, earlier=True)
    ),
    "three publishers": case([publishes(1)] * 3, partial(services, {1: 2}), 0),
    "two publishers and a webhook": case([publishes(1), publishes(1)], partial(services, {1: 2}, hook=True)),
    "one message twice": case([works(0), works(-1)], partial(hooked, {1: 2}, signals=2), slots=0),
    "one message twice, failing": case(
        [works(0, 2), works(-1, 2)], partial(hooked, {1: 2}, signals=2, hook_fails=2), 0, tries=3, slots=0
    ),
    "failing while the order moves on": case(
        [works(0, 2), moves_and_signals(1, 2), works(-1)],
        partial(hooked, {1: 1}, signals=1, hook_fails=1),
        0,
        slots=0,
    ),
    "parked while the order moves on": case(
        [works(0, 2), moves_and_signals(1, 2)], partial(hooked, {1: 1}, signals=1, hook_fails=2)
    ),
    "a partner that is switched on": case([works(0, 2), switches("on")], partial(hooked, {1: 2}, signals=1, off=True)),
    "a partner that is switched on, and two messages": case(
        [works(0), works(-1), switches("on")], partial(hooked, {1: 1}, signals=2, off=True)
    ),
    "a partner that is switched off and on": case(
        [works(0, 3), switches("off", "on")], partial(hooked, {1: 2}, signals=1)
    ),
    "a partner that is switched off and on, failing": case(
        [works(0, 3), switches("off", "on")], partial(hooked, {1: 1}, signals=1, hook_fails=1), 0, tries=3
    ),
    "a delivery whose responses are lost": case([works(0, 3)], partial(hooked, {1: 2}, signals=1, hook_fails=1)),
    "more messages than slots": case(
        [works(0), works(-1)], partial(hooked, {1: 1, 2: 1}, signals=1, hook_fails=1), slots=1
    ),
    "a pause that begins": case(
        [works(0, 2), works(-1, 1, LATER)],
        partial(hooked, {1: 2}, signals=1, failures=FAILURES - 1, hook_fails=1),
        0,
        tries=3,
    ),
    "a pause that begins while an event is accepted": case(
        [works(0), works(-1)], partial(hooked, {1: 1, 2: 1}, signals=1, failures=FAILURES - 1, hook_fails=1), 0
    ),
    "a probe and another message": case(
        [works(0), works(-1, 2)], partial(paused, {1: 1, 2: 1}, signals=1, hook_fails=1), 0
    ),
    "a probe, and another one after its lease": case(
        [works(0), works(-1, 1, LATER)], partial(paused, {1: 1, 2: 1}, signals=1, hook_fails=1), 0
    ),
    "a probe whose responses are lost": case([works(0, 2)], partial(paused, {1: 2}, signals=1, hook_fails=1)),
    "a probe while the partner ends the pause": case(
        [works(0, 2), ends_the_pause()], partial(paused, {1: 1}, signals=1, hook_fails=1), 0
    ),
    "a look at the end of a pause": case(
        [works(0, 2), works(-1, 1, LATER)],
        partial(paused, {1: 1, 2: 1, 3: 1}, missed=[1, 2, 3], delivered=[1]),
        0,
        slots=1,
    ),
}


test_every_interleaving = every_interleaving(
    "events",
    CASES,
    "In every interleaving, with crashes anywhere, each consumer sees each event of an order, in the order's order.",
    at_least=5,
)


# Mutants -------------------------------------------------------------------------------------------------------------


def moves_first(
    self: Publisher,
    pending: Sequence[OrderHistory],
    first: Mapping[str, int],
    put: Callable[..., frozenset[str]] = Publisher._put,
) -> frozenset[str]:
    for story in pending:
        self._move_in_order(story, story.finish)
    return put(self, pending, first)


def moves_anyhow(self: Publisher, story: OrderHistory, _: object) -> None:
    self.table.update(Update(key_of(story.order), "SET published = :count", values={":count": len(story)}))


def finishes_anyhow(
    self: Publisher,
    story: OrderHistory,
    finish: Finish | None,
    move: Callable[..., None] = Publisher._move_in_order,
) -> None:
    anyhow = values.replace(finish, condition=ANYHOW, names={}, values={}) if finish else None
    move(self, story, anyhow)


def finishes_early(
    self: Publisher, story: OrderHistory, _: object, move: Callable[..., None] = Publisher._move_in_order
) -> None:
    move(self, story, Finish(ANYHOW, {}, {}, mails=False))


def overlooks_refusals(self: EventBus, batch: Sequence[Any], send: Any = EventBus._send) -> list[None]:
    send(self, batch)
    return [None] * len(batch)


def announces_nothing(self: Publisher, story: OrderHistory, first: int) -> None:
    """Leave the event to the order's next move."""


class Stop(Exception):
    """The mutant stops here."""


def looks_once(
    self: Deliverer, webhook: Webhook, message: Message, slot: Slot, deliver: Callable[..., None] = Deliverer._deliver
) -> None:
    with suppress(Stop):
        deliver(self, webhook, message, slot)


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
    move(self, webhook, order, values.replace(at, written=False), index, tries)


def looks_no_more(self: Deliverer, webhook: Webhook, due: int, after: str = "") -> None:
    """Rely on the command that switches the partner on."""


def forgets_the_lost_retry(self: Deliverer, webhook: Webhook, order: str) -> None:
    self.signal(webhook.partner, webhook.id, order)


def records_and_forgets(self: Deliverer, _: Webhook, order: str) -> None:
    """Record an order, and rely on a look that is queued."""
    key = (DELIVERIES, f"MISSED#{order}")
    values = {":one": 1, ":expires": int(START.timestamp()) * 2}
    self.accounts.update(Update(key, "ADD recorded :one SET expires = :expires", values=values))


def looks_no_more_at_a_pause(self: Deliverer, recipient: Recipient) -> None:
    """Rely on the messages that are under way."""


def looks_at_a_few(
    self: Deliverer,
    recipient: Recipient,
    message: Message,
    signal: Callable[..., None] = Deliverer._signal_a_few,
) -> None:
    with mock.patch.object(Deliverer, "_look_later", looks_no_more):
        signal(self, recipient, message)


def drops_what_has_no_slot(self: Deliverer, message: Message, queue: Callable[..., None] = Deliverer._queue) -> None:
    if not message.waits:
        queue(self, message)


def records_nothing(self: Deliverer, webhook: Webhook, order: str) -> None:
    """Rely on the next event of the order."""


MUTANTS = {
    "a message without a slot is dropped": Mutant(
        CASES["more messages than slots"], [(Deliverer, "_queue", drops_what_has_no_slot)]
    ),
    "no look in a pause": Mutant(CASES["a pause that begins"], [(Deliverer, "_ensure_look", looks_no_more_at_a_pause)]),
    "a failed probe is not recorded": Mutant(
        CASES["a probe and another message"], [(Deliverer, "_record_missed", records_nothing)]
    ),
    "a record that the end of the pause does not see": Mutant(
        CASES["a probe and another message"], [(Deliverer, "_record_missed", records_and_forgets)]
    ),
    "no look at the others": Mutant(
        CASES["a look at the end of a pause"], [(Deliverer, "_signal_a_few", looks_at_a_few)]
    ),
    "the cursor moves first": Mutant(CASES["two publishers"], [(Publisher, "_put", moves_first)]),
    "the cursor moves anyhow": Mutant(
        CASES["a publisher while the order moves on"], [(Publisher, "_move_in_order", moves_anyhow)]
    ),
    "the work ends although the order has changed": Mutant(
        CASES["a publisher while the order moves twice"], [(Publisher, "_move_in_order", finishes_anyhow)]
    ),
    "the work ends before the order is final": Mutant(
        CASES["a publisher while the order moves twice"], [(Publisher, "_move_in_order", finishes_early)]
    ),
    "refused entries are overlooked": Mutant(
        CASES["two publishers, two orders, refused entries"], [(EventBus, "_send", overlooks_refusals)]
    ),
    "no signal to the queue": Mutant(
        CASES["two publishers and a webhook"], [(Publisher, "_announce", announces_nothing)]
    ),
    "no second check": Mutant(
        CASES["failing while the order moves on"],
        [(Deliverer, "_deliver", looks_once), (Deliverer, "_move", stops_after)],
    ),
    "no next try": Mutant(CASES["a delivery whose responses are lost"], [(Deliverer, "_queue", forgets_the_next_try)]),
    "no look is queued": Mutant(CASES["a partner that is switched on"], [(Deliverer, "_look_later", looks_no_more)]),
    "a resumed order waits for a retry that is gone": Mutant(
        CASES["a partner that is switched off and on, failing"], [(Deliverer, "_resume", forgets_the_lost_retry)]
    ),
    "the position moves anyhow": Mutant(CASES["one message twice"], [(Deliverer, "_move", delivers_anyhow)]),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)


# On every engine -----------------------------------------------------------------------------------------------------


def test_on_every_engine(engine: Engine) -> None:
    """From placing to the second move, every engine keeps cursor and position."""
    side = SimulatedServices()
    side.write("FAILS", "hook", left=1)

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return (side if operation in side.extra else engine.send)(operation, request)

    events = EventServices(Table(send, engine.table))
    events.table.put(Put(_write(HOOK)))
    Accounts(events.table).save_partner(PARTNER)
    for order, moments in ((7001, 1), (7001, 2), (7002, 1)):
        if moments == 1:
            events.table.put(Put(order_item(order, moments)))
        else:
            move(order, moments)[2](events)
        events.publish(order)
        events.publish(order)
    while events.work(0):
        pass
    seen = EventContents.of(side)

    assert seen.bus == seen.hook == {"training#7001": [1, 2], "training#7002": [1]}
    first, second = (events.table.get((f"ORDER#training#{order}", "ORDER")) or {} for order in (7001, 7002))
    assert (first[PUBLISHED], is_marked(first), second[PUBLISHED], is_marked(second)) == (2, False, 1, True)
