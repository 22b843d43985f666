"""Sends events to webhooks: each until the endpoint accepts it, and the events of an order one after another.

A message of the queue only says that a webhook may have undelivered events of an order. The events themselves come from
the order's history, from the stored position of this webhook in this order on. The position moves past an event when
the endpoint accepted it, when the webhook does not receive its type, or when it was parked after the last try. So an
event is never sent before the earlier events of its order, and a duplicate or late message does no harm.

The retry of an event is a message of its own. It is put on the queue before the position records the try, and messages
that arrive before the recorded retry are dropped. After the position has moved, the history is read again, so that an
event whose message was dropped is still sent.

An event that is replayed arrives after later events of its order. So can an event whose every response came too late:
it is parked here, while the endpoint may still be processing it. No other event arrives out of order.

While a webhook is disabled or paused, or while its partner may not see an order (it is switched off, or lost the
grant), the orders with new events are recorded as missed. A look at the recorded orders puts a message on the queue for
each order that may be sent by then, so that missed events are sent even if nothing more happens to the orders. Enabling
a webhook queues a look. So does switching a partner on, and because a partner's record can change in other ways too, a
look every hour is queued for as long as orders are recorded that may not be sent. The order is recorded first, then
webhook and partner are read again; the look comes after the change, and then reads the records. Whichever of the two is
second sees the other.

Of one webhook, a few messages are handled at a time, each in a slot (`slots`). A message that finds none free is put
back on the queue as a new message, with a delay that grows: it is never redelivered, so it cannot end among the dead
letters.

After failed tries in a row the webhook is paused (`slots`): no retry is made, no event is parked, and each order with
events is recorded as missed. The look for them is due when the pause ends. It puts `SLOTS` of the recorded orders on
the queue, and begins one order after the look before it, so that an event that the endpoint never accepts does not
stand for all. The first message that takes the probe sends an event; the orders of the others are recorded again. A
failed probe is not a try of its event. It prolongs the pause, and a look is queued again for as long as orders are
recorded. A successful one queues a look at all recorded orders. A replay that the partner asked for is sent even so,
and ends the pause if it is accepted.

A message costs 3 read units for the webhook, its partner and its health, in one call, and 2 write units for the slot,
in two calls. An event costs another read of its order's history and of the position, one call of KMS, and 1 write unit
for the position. An order that is recorded as missed costs 4 read and 2 write units, and a look at a webhook 4 read and
2 write units, more with more than 30 recorded orders. A webhook whose endpoint is down for long has about one probe an
hour, which costs two looks and up to `SLOTS` messages.

Keys of the accounts table: `DELIVERIES#<partner>#<webhook>` with `AT#<order>` the position in an order's history,
`PARKED#<event>` an event that was given up, and `MISSED#<order>` an order with events that may have been missed.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

from ordering import clock, stored
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Item, Put, Table, Update
from ordering.aws.sqs import LONGEST_DELAY, Enqueue
from ordering.clock import Clock, Deadline
from ordering.contexts import read_history
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.events.history import Event, OrderHistory, event_id, order_of_mails
from ordering.logs import about, correlate
from ordering.metrics import measured
from ordering.values import Value, asdict, replace
from ordering.webhooks.health import HEALTH_KEPT, Health, health_key
from ordering.webhooks.registrations import Disabled, Edit, Recipient, Webhook, Webhooks
from ordering.webhooks.slots import JITTER, LEASE, SLOTS, ProbeTaken, Slot, Slots
from ordering.webhooks.transport import WITHIN, NotPosted, Post

FIRST_PAUSE = 8.0
FACTOR = 3.0
TRIES = 10
"""Ten tries, with pauses of 8 s, 24 s, 72 s, … 14.6 h between them: 20 to 24 hours in all, with the jitter."""

LONGEST_RETRY_AFTER = 3600.0
"""Most seconds by which an endpoint's `Retry-After` can put off a retry. It never brings one forward."""

POSITIONS_KEPT = timedelta(days=365)
PARKED_KEPT = timedelta(days=30)
MISSED_KEPT = timedelta(days=30)

LOOK_AGAIN = 3600
"""Seconds between two looks at the missed events of a webhook whose partner may not see all of their orders."""

_LOOK_LOST = 6 * 3600
"""Seconds after which a look that was due must be among the dead letters, so that another one is queued."""

_GONE = 410
_BUSY = frozenset({429, 503})
"""The statuses whose `Retry-After` counts."""
_SLACK = 5.0
"""Seconds that sending one event takes at most, in addition to the post itself."""

_log = logging.getLogger("ordering")


class Withheld(Conflict):
    """The partner is switched off, or lacks the grant for an event's order, so the event is not sent."""

    def __init__(self, event: str) -> None:
        """Name the event."""
        super().__init__(
            f"Event {event} is not sent now: the partner is switched off or lacks the grant for the event's order."
        )


class Message(Value):
    """A message of the queue: a webhook may have undelivered events of an order. Not handled before `due` (Unix time).

    With `tries`, it is the retry of the event with this index, after so many tries. With `again`, it is the replay of
    that event, whatever the position is. With `missed`, it is a look at the orders whose names sort after `order` and
    whose events may have been missed. With `resumed`, the order was among them, so the recorded retry may be lost.
    `waits` counts how often it found all slots of the webhook taken.
    """

    partner: str
    webhook: str
    order: str
    index: int = 0
    tries: int = 0
    due: float = 0.0
    again: bool = False
    missed: bool = False
    resumed: bool = False
    waits: int = 0

    def to_text(self) -> str:
        """Convert it to the body of a queue's message."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Message:
        """Convert back from `to_text`."""
        return stored.read(cls, json.loads(text))


class _Failure(Value):
    """A try that failed: the status or the reason for no response, and the seconds until a retry is welcome."""

    reason: str | int
    wait: float = 0.0


class Parked(Value):
    """An event that a webhook did not accept in any try."""

    event: str
    type: str
    order: str
    index: int
    at: datetime
    why: str


class Progress(Value):
    """How far a webhook has got with the events of a history."""

    done: int
    """Events that were sent, parked, or not meant for the webhook."""
    tries: int
    """Failed tries of the next event."""
    parked: Sequence[Parked]
    missed: bool
    """Whether events wait until the webhook is enabled, its pause ends, or its partner may see the order again."""


class _Position(Value):
    """The number of events of an order that are settled, and the tries of the next one in an epoch of the webhook."""

    done: int = 0
    tries: int = 0
    epoch: int = 0
    written: bool = True


class Deliverer(Value):
    """Sends events to the webhooks of all partners, for one invocation.

    Args:
        orders: The orders table.
        accounts: The accounts table.
        spread: Returns a random number from 0 to 1, for the jitter.
    """

    orders: Table
    accounts: Table
    webhooks: Webhooks
    post: Post
    send: Enqueue
    deadline: Deadline | None = None
    now: Clock = clock.system_clock
    # The operating system's, so that processes that start from one snapshot do not all draw the same numbers.
    spread: Callable[[], float] = random.SystemRandom().random

    def signal(self, partner: str, webhook_id: str, order: str) -> None:
        """Queue the delivery of an order's undelivered events to a webhook."""
        self._queue(Message(partner, webhook_id, order))

    def handle(self, body: str) -> None:
        """Handle a message of the queue. After an error, the queue must deliver the message again.

        Raises:
            ChangedMeanwhile: The webhook was to be disabled, and another request changed it at the same time.
            Unavailable: The deadline passed.
        """
        message = Message.from_text(body)
        keys = {"order": order_of_mails(message.order)} if message.order else {}
        with about(partner=message.partner, webhook=message.webhook, **keys):
            self._handle(message)

    def _handle(self, message: Message) -> None:
        if message.due > self.now().timestamp():
            self._queue(message)
            return
        recipient = self.webhooks.recipient(message.partner, message.webhook)
        if recipient is None:
            self._drop()
        elif message.missed:
            self._look(recipient, message)
        elif recipient.webhook.disabled or not recipient.may_receive(message.order):
            if message.again:
                self._drop()  # the event stays parked
            else:
                self._record_missed(recipient.webhook, message.order)
        elif recipient.health.is_paused(self.now()) and not message.again:
            self._record_missed(recipient.webhook, message.order)
        else:
            self._in_slot(recipient, message)

    def enable(self, partner: str, webhook_id: str, expected: Collection[str] | None = None) -> Webhook:
        """Enable a webhook, end its pause, and queue the delivery of the events that it missed.

        For one that is enabled and not paused it does no harm.

        Args:
            expected: The versions that may be enabled; None for any.

        Raises:
            NotFound: The partner has no webhook with this id.
            VersionMismatch: It has another version.
            ChangedMeanwhile: Another request changed it at the same time.
            Unavailable: The deadline passed. It may be enabled, but the events that it missed may not be queued: call
                again.
        """
        webhook = self.webhooks.enable(partner, webhook_id, expected)
        self.end_pause(partner, webhook_id)
        return webhook

    def change(
        self,
        partner: str,
        webhook_id: str,
        edit: Edit,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
    ) -> Webhook:
        """Change a webhook's URL or types as `Webhooks.change`, and end its pause.

        Raises:
            As `Webhooks.change`.
        """
        webhook = self.webhooks.change(partner, webhook_id, edit, url=url, types=types)
        self.end_pause_if_possible(partner, webhook_id)
        return webhook

    def end_pause_if_possible(self, partner: str, webhook_id: str) -> None:
        """End the pause of a webhook that was changed. If the deadline passes, it ends by itself."""
        with suppress(Unavailable):
            self.end_pause(partner, webhook_id)

    def end_pause(self, partner: str, webhook_id: str) -> None:
        """End the pause of a webhook, and queue the delivery of the events that it missed: 1 write unit, two calls.

        Raises:
            Unavailable: The deadline passed. Without another call, the pause ends by itself.
        """
        self._slots(partner, webhook_id).end_pause()
        self._look_now(partner, webhook_id)

    def resume(self, partner: str) -> None:
        """Queue the delivery of the events that a partner's webhooks missed while it was off or lacked a grant.

        Without it, they are sent within `LOOK_AGAIN`.

        Raises:
            Unavailable: The deadline passed. Call again.
        """
        for webhook in self.webhooks.all(partner):
            self._look_now(partner, webhook.id)

    def parked(self, partner: str, webhook_id: str, count: int, after: str = "") -> list[Parked]:
        """List up to `count` parked events of a webhook, sorted by id, from the first id after `after` on.

        Raises:
            NotFound: The partner has no webhook with this id.
        """
        self.webhooks.get(partner, webhook_id)
        # The blank sorts before every character of an id, so the query begins behind `after` itself.
        found = self.accounts.query(_partition(partner, webhook_id), f"PARKED#{after} ", "PARKED$")
        return [_read_parked(item) for item in islice((item for item in found if self._is_kept(item)), count)]

    def progress(self, webhook: Webhook, history: str, events: int) -> Progress:
        """Read how far a webhook has got with a history, in one call.

        Args:
            history: Its name: the order's, or that of its mail history.
            events: How many events it has.
        """
        partition = _partition(webhook.partner, webhook.id)
        at, missed = (partition, f"AT#{history}"), (partition, f"MISSED#{history}")
        parked = [(partition, f"PARKED#{event_id(history, index)}") for index in range(events)]
        found = self.accounts.batch_get([at, missed, *parked])
        position, record = found.get(at, {}), found.get(missed, {})
        return Progress(
            done=position.get("delivered", 0),
            tries=position.get("tries", 0) if position.get("epoch") == webhook.epoch else 0,
            parked=[_read_parked(found[key]) for key in parked if key in found and self._is_kept(found[key])],
            missed=bool(record) and record.get("recorded", 0) > record.get("settled", -1) and self._is_kept(record),
        )

    def replay(self, partner: str, webhook_id: str, event: str) -> None:
        """Queue a parked event for another delivery with all its tries. It stays parked until it is accepted.

        Raises:
            NotFound: The partner has no webhook with this id, or the webhook has no parked event with this id.
            Disabled: The webhook is disabled.
            Withheld: The partner is switched off, or lacks the grant for the event's order.
        """
        recipient = self.webhooks.recipient(partner, webhook_id)
        if recipient is None:
            raise NotFound("webhook", webhook_id)
        if recipient.webhook.disabled:
            raise Disabled(webhook_id)
        item = self.accounts.get((_partition(partner, webhook_id), f"PARKED#{event}"))
        if item is None or not self._is_kept(item):
            raise NotFound("parked event", event)
        if not recipient.may_receive(item["order"]):
            raise Withheld(event)
        self._queue(Message(partner, webhook_id, item["order"], item["index"], again=True))

    def _in_slot(self, recipient: Recipient, message: Message) -> None:
        """Deliver or replay in a slot of the webhook, or put the message back on the queue if none is free."""
        webhook = recipient.webhook
        try:
            slot = self._slots(webhook.partner, webhook.id).take(recipient.health, despite_pause=message.again)
        except ProbeTaken:
            self._record_missed(webhook, message.order)
            return
        if slot is None:
            pause = min(2.0 ** min(message.waits, 10), LONGEST_DELAY) * (0.5 + self.spread())
            due = self.now().timestamp() + pause
            self._queue(replace(message, due=due, waits=message.waits + 1))
            return
        try:
            (self._replay if message.again else self._deliver)(webhook, replace(message, waits=0), slot)
        except Exception:
            self._leave(webhook, slot)
            raise
        self._leave(webhook, slot)

    def _leave(self, webhook: Webhook, slot: Slot) -> None:
        """Free a slot, and if the pause is over, queue the delivery of the orders that were recorded in it."""
        if self._slots(webhook.partner, webhook.id).free(slot):
            # After a crash in between, the look that was queued for them sends them when it is due.
            self._look_now(webhook.partner, webhook.id)

    def _slots(self, partner: str, webhook_id: str) -> Slots:
        return Slots(self.accounts, partner, webhook_id, self.now, self.spread)

    def _deliver(self, webhook: Webhook, message: Message, slot: Slot) -> None:
        """Send the undelivered events of an order, until a try fails."""
        while True:
            at = self._position(webhook, message.order)
            if at.tries and not message.resumed and (message.index, message.tries) < (at.done, at.tries):
                return  # the recorded retry is on the queue
            history = read_history(self.orders, message.order)
            if history is None:
                return
            correlate(history.correlation)
            index = _next_event(history, webhook, at.done)
            if index >= len(history):
                if index == at.done:
                    return
                self._move(webhook, message.order, at, index)
                continue
            if self._is_late():
                self._queue(message)
                return
            event = history.event(index)
            # A retry ahead of the position comes from a process that has not moved the position yet, or has crashed.
            tried = 1 + max(at.tries if index == at.done else 0, message.tries if index == message.index else 0)
            failure = self._attempt(webhook, event, tried, slot)
            if failure and (failure.reason == _GONE or slot.is_probing):
                self._record_missed(webhook, message.order)
                return
            if failure and tried < TRIES:
                retry = Message(webhook.partner, webhook.id, message.order, index, tried, self._due(tried, failure))
                self._queue(retry)
                self._move(webhook, message.order, at, index, tried)
                return
            if failure:
                self._park(webhook, event, index, failure)
            self._move(webhook, message.order, at, index + 1)

    def _drop(self) -> None:
        _log.info("webhook message dropped")

    def _record_missed(self, webhook: Webhook, order: str) -> None:
        """Record an order of which a webhook misses events: it is disabled or paused, or its partner may not see them.

        The record counts how often the order was recorded, so that a look settles only what it has read.
        """
        values = {":one": 1, ":expires": int((self.now() + MISSED_KEPT).timestamp())}
        key = (_partition(webhook.partner, webhook.id), f"MISSED#{order}")
        self.accounts.update(Update(key, "ADD recorded :one SET expires = :expires", values=values))
        after = self.webhooks.recipient(webhook.partner, webhook.id)
        if after is None or after.webhook.disabled:
            return  # enabling it queues a look
        if after.may_receive(order) and not after.health.is_paused(self.now()):
            # The look that followed the change may have read the records before this one was written.
            self._resume(after.webhook, order)
        else:
            self._ensure_look(after)

    def _look(self, recipient: Recipient, message: Message) -> None:
        """Look at the orders that were recorded as missed, and queue the delivery of those that may be sent."""
        webhook, health = recipient.webhook, recipient.health
        paused = health.is_paused(self.now()) and not webhook.disabled
        if message.due:
            if health.look > message.due:
                return  # two looks were queued at the same time; the later one goes on
            if paused:
                self._look_later(webhook, self._next_look(health), message.order)
                return
            # Cleared before the records are read: an order recorded afterwards queues another look.
            self._note_look(webhook, 0)
        if webhook.disabled:
            self._drop()  # enabling it queues a look
        elif paused:
            self._ensure_look(recipient)
        elif health.paused_until:
            self._signal_a_few(recipient, message)
        elif self._signal_missed(recipient, message):
            self._look_later(webhook, self._next_look(health))

    def _signal_missed(self, recipient: Recipient, message: Message) -> bool:
        """Queue the delivery of recorded orders; returns whether there are some that may not be sent.

        An order without missed events, or one that is queued twice, does no harm.
        """
        # The look of a pause that has ended meanwhile: the looks before it queued only a few of the orders.
        held, last = False, "" if message.due else message.order
        for order, recorded in self._recorded(recipient.webhook, last):
            if self._is_late():
                self._queue(replace(message, order=last, due=0.0))
                break
            last = order
            if recipient.may_receive(order):
                self._send_missed(recipient.webhook, order, recorded)
            else:
                held = True
        return held

    def _signal_a_few(self, recipient: Recipient, message: Message) -> None:
        """Queue the delivery of a few recorded orders, one of which will take the probe, and the look at the next ones.

        Each look begins one order after the look before it, and goes round: each order is the first one of a look.
        """
        webhook, held, found = recipient.webhook, False, list[str]()
        for order, recorded in self._recorded(webhook, message.order):
            if recipient.may_receive(order):
                self._send_missed(webhook, order, recorded)
                found.append(order)
            else:
                held = True
            if len(found) == SLOTS:
                break
        now = int(self.now().timestamp())
        if found or message.order:
            self._look_later(webhook, now + int(LEASE), found[0] if len(found) > 1 else "")
        elif held:
            self._look_later(webhook, now + LOOK_AGAIN)

    def _recorded(self, webhook: Webhook, after: str) -> Iterator[tuple[str, int]]:
        """Yield the orders after `after` that may have missed events, each with the number of times it was recorded."""
        for item in self.accounts.query(_partition(webhook.partner, webhook.id), f"MISSED#{after} ", "MISSED$"):
            # Releases before the two counts recorded an order once, and never settled the record.
            recorded = item.get("recorded", 0)
            if recorded > item.get("settled", -1) and self._is_kept(item):
                yield item["sk"].partition("#")[2], recorded

    def _send_missed(self, webhook: Webhook, order: str, recorded: int) -> None:
        """Queue the delivery of a recorded order, and settle its record unless it is recorded again meanwhile."""
        self._resume(webhook, order)
        key = (_partition(webhook.partner, webhook.id), f"MISSED#{order}")
        self.accounts.update(Update(key, "SET settled = :recorded", values={":recorded": recorded}))

    def _resume(self, webhook: Webhook, order: str) -> None:
        self._queue(Message(webhook.partner, webhook.id, order, resumed=True))

    def _look_now(self, partner: str, webhook_id: str) -> None:
        self._queue(Message(partner, webhook_id, order="", missed=True))

    def _ensure_look(self, recipient: Recipient) -> None:
        """Queue a look at the missed events, unless one is noted that is not due later, and not lost."""
        due, noted = self._next_look(recipient.health), recipient.health.look
        if noted > due or noted + _LOOK_LOST < self.now().timestamp():
            self._look_later(recipient.webhook, due)

    def _next_look(self, health: Health) -> int:
        """Return when to look at orders that may not be sent now (Unix time): at the end of the pause or in an hour."""
        if health.is_paused(self.now()):
            return -(-health.paused_until // 1000)
        return int(self.now().timestamp()) + LOOK_AGAIN

    def _look_later(self, webhook: Webhook, due: int, after: str = "") -> None:
        """Queue a look at the missed events. It is noted afterwards: after a crash, two looks may be queued."""
        self._queue(Message(webhook.partner, webhook.id, order=after, due=due, missed=True))
        self._note_look(webhook, due)

    def _note_look(self, webhook: Webhook, due: int) -> None:
        values = {":due": due, ":expires": int((self.now() + HEALTH_KEPT).timestamp())}
        key = health_key(webhook.partner, webhook.id)
        self.accounts.update(Update(key, "SET look = :due, expires = :expires", values=values))

    def _replay(self, webhook: Webhook, message: Message, slot: Slot) -> None:
        if self._is_late():
            self._queue(message)
            return
        history = read_history(self.orders, message.order)
        if history is None:
            return
        correlate(history.correlation)
        event, tried = history.event(message.index), message.tries + 1
        failure = self._attempt(webhook, event, tried, slot)
        if failure is None:
            self.accounts.delete_all([(_partition(webhook.partner, webhook.id), f"PARKED#{event.id}")])
        elif failure.reason == _GONE:
            return
        elif tried < TRIES:
            self._queue(replace(message, tries=tried, due=self._due(tried, failure)))
        else:
            self._park(webhook, event, message.index, failure)

    def _attempt(self, webhook: Webhook, event: Event, tried: int, slot: Slot) -> _Failure | None:
        """Send an event once and note the result; returns the failure, None if the endpoint accepted it.

        Raises:
            ChangedMeanwhile: The endpoint is gone, and another request changed the webhook at the same time.
        """
        body = event.to_text().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ordering-webhooks",
            **self.webhooks.sign(webhook, event.id, self.now(), body),
        }
        failure: _Failure | None
        try:
            response = self.post(webhook.url, headers, body)
            wait = response.retry_after if response.status in _BUSY else None
            failure = None if 200 <= response.status < 300 else _Failure(response.status, wait or 0.0)
        except NotPosted as error:
            failure = _Failure(str(error))
        if failure:
            slot.note_failed(self._asked(failure))
        else:
            slot.note_accepted()
        reason = failure.reason if failure else None
        details = {"event": event.id, "type": event.type, "try": tried, "failure": reason}
        if failure:
            _log.info("event not accepted", extra=details)
        else:
            contract = order_of_mails(event.order).partition("#")[0]
            lag = (self.now() - event.time).total_seconds()
            _log.info("event accepted", extra={**details, **measured(contract, WebhookLagSeconds=lag)})
        if reason == _GONE:
            self.webhooks.disable(webhook, _failure_text(_GONE))
        return failure

    def _is_late(self) -> bool:
        """Return whether too little time is left to send an event."""
        return self.deadline is not None and self.deadline.remaining() < WITHIN + _SLACK

    def _due(self, tried: int, failure: _Failure) -> float:
        """Return when the next try is due (Unix time): by the schedule, or later if the endpoint asks for it."""
        pause: float = FIRST_PAUSE * FACTOR ** (tried - 1)
        jitter = 1 + JITTER * (2 * self.spread() - 1)
        return self.now().timestamp() + max(pause * jitter, self._asked(failure))

    def _asked(self, failure: _Failure) -> float:
        """Return the seconds by which the endpoint puts off a retry, longer by jitter, so that not all come at once."""
        return min(failure.wait, LONGEST_RETRY_AFTER) * (1 + JITTER * self.spread())

    def _queue(self, message: Message) -> None:
        """Put a message on the queue. If it is due after the queue's longest delay, `handle` queues it again."""
        wait = math.ceil(max(message.due - self.now().timestamp(), 0))
        self.send(message.to_text(), min(wait, LONGEST_DELAY))

    def _position(self, webhook: Webhook, order: str) -> _Position:
        item = self.accounts.get((_partition(webhook.partner, webhook.id), f"AT#{order}"))
        if item is None:
            return _Position(epoch=webhook.epoch, written=False)
        position = _Position(item["delivered"], item["tries"], item["epoch"])
        # Retries of an earlier epoch do not count: the webhook was disabled in between.
        return position if position.epoch == webhook.epoch else replace(position, tries=0)

    def _move(self, webhook: Webhook, order: str, at: _Position, index: int, tries: int = 0) -> None:
        """Write a position if it is unchanged since it was read. Otherwise the process that changed it continues."""
        item = self._kept(webhook, f"AT#{order}", POSITIONS_KEPT)
        item |= {"delivered": index, "tries": tries, "epoch": webhook.epoch}
        condition, values = ABSENT, dict[str, int]()
        if at.written:
            condition = "delivered = :delivered AND epoch = :epoch"
            values = {":delivered": at.done, ":epoch": at.epoch}
            if at.epoch == webhook.epoch:
                condition, values = f"{condition} AND tries = :tries", {**values, ":tries": at.tries}
        try:
            self.accounts.put(Put(item, condition, values=values))
        except ConditionFailed:
            _log.info("position moved by another process")

    def _park(self, webhook: Webhook, event: Event, index: int, failure: _Failure) -> None:
        item = self._kept(webhook, f"PARKED#{event.id}", PARKED_KEPT)
        item |= {
            "type": event.type,
            "order": event.order,
            "index": index,
            "at": clock.to_text(self.now()),
            "why": _failure_text(failure.reason),
        }
        self.accounts.put(Put(item))
        _log.warning("event parked", extra={"event": event.id, "type": event.type})

    def _kept(self, webhook: Webhook, sort: str, period: timedelta) -> Item:
        """Return an item of a webhook's deliveries with its key and its expiry, for further attributes."""
        partition = _partition(webhook.partner, webhook.id)
        return {"pk": partition, "sk": sort, "expires": int((self.now() + period).timestamp())}

    def _is_kept(self, item: Item) -> bool:
        """Return whether an item has not expired yet: DynamoDB deletes expired items late."""
        expires: int = item["expires"]
        return expires > self.now().timestamp()


def _next_event(history: OrderHistory, webhook: Webhook, first: int) -> int:
    """Return the index of the next event that a webhook receives, or the number of events if there is none."""
    for index in range(first, len(history)):
        if webhook.receives(history.type(index), history.moments[index].at):
            return index
    return max(len(history), first)


def _read_parked(item: Item) -> Parked:
    at = clock.from_text(item["at"])
    return Parked(item["sk"].partition("#")[2], item["type"], item["order"], item["index"], at, item["why"])


def _failure_text(reason: str | int) -> str:
    """Return a failure in the words that partners read: of a status, or of the reason for no response."""
    if isinstance(reason, int):
        return f"The endpoint responded with status {reason}."
    return f"There was no response: {reason}."


def _partition(partner: str, webhook_id: str) -> str:
    return f"DELIVERIES#{partner}#{webhook_id}"
