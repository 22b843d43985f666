"""Sends events to webhooks: each until it is taken, those of an order one after another.

The queue only says that a webhook may have something to get of an order. What that is, the order's history says, beyond
the position that is kept for the webhook and the order. The position moves when an event was taken, is not wanted, or
was parked after the last try. So an event is never sent before those of its order that come before it were, and a
message that comes twice, or too late, does no harm.

While an event is being tried again, its next try is on the queue: it is put there before the position counts the try,
and messages that come before the one counted are dropped. Who moves the position looks at the order once more, so that
what happened meanwhile is not missed although its message was dropped.

A receiver that takes a message but does not say so in time, as often as there are tries, has an event that is parked
here; it can come to that event late. Nothing else comes out of order.

While a webhook is disabled, the orders are kept that something happened to. Whoever enables it has a message say that
they are to be looked at, so that what was missed comes although nothing more happens to those orders. An order is kept
before it is looked whether the webhook is disabled still, and the message is sent once it is not, so that one of them
finds the other.

Keys of the accounts table: `DELIVERIES#<partner>#<webhook>` with `AT#<order>` the position in an order's history,
`PARKED#<event>` an event that was given up, and `MISSED#<order>` an order of which something may have been missed.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from ordering import clock, stored
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Item, Put, Table
from ordering.aws.sqs import LONGEST_DELAY, Send
from ordering.clock import Clock, Deadline
from ordering.contexts import read_history
from ordering.errors import NotFound
from ordering.events.history import Event, OrderHistory
from ordering.webhooks.registrations import Disabled, Webhook, Webhooks
from ordering.webhooks.transport import WITHIN, NotPosted, Post

FIRST_PAUSE = 8.0
FACTOR = 3.0
TRIES = 10
"""Pauses of 8 s, 24 s, 72 s, … 14.6 h between ten tries: with their jitter 20 to 24 hours in all."""

JITTER = 0.1
"""The share by which a pause is longer or shorter than that."""

POSITIONS_KEPT = timedelta(days=365)
PARKED_KEPT = timedelta(days=30)
MISSED_KEPT = timedelta(days=30)

_GONE = 410
_SLACK = 5.0
"""Seconds beside those of a post that sending one event takes at most."""

_log = logging.getLogger("ordering")


@dataclass(frozen=True, slots=True)
class Message:
    """What the queue says: that a webhook may have something to get of an order, not before `due` (Unix time).

    With `tries`, that the event of that index is to be tried once more. With `again`, that the event is to be sent
    whatever else was. With `missed`, that it may have missed something of all orders behind that one.
    """

    partner: str
    webhook: str
    order: str
    index: int = 0
    tries: int = 0
    due: float = 0.0
    again: bool = False
    missed: bool = False

    def to_text(self) -> str:
        """Write it as the body of a message."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Message:
        """Read back what `to_text` wrote."""
        return stored.read(cls, json.loads(text))


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that a webhook did not take."""

    event: str
    type: str
    order: str
    index: int
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class _Position:
    """How many events of an order are done with, and how often the next one was tried, in which epoch."""

    done: int = 0
    tries: int = 0
    epoch: int = 0
    written: bool = True


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends events to the webhooks of all partners, for one invocation.

    Args:
        orders: The orders table.
        accounts: The accounts table.
        spread: Draws a number from 0 to 1, for the jitter.
    """

    orders: Table
    accounts: Table
    webhooks: Webhooks
    post: Post
    send: Send
    deadline: Deadline | None = None
    now: Clock = clock.system_clock
    spread: Callable[[], float] = random.random

    def signal(self, partner: str, webhook_id: str, order: str) -> None:
        """Let a webhook get what it has not got of an order."""
        self._queue(Message(partner, webhook_id, order))

    def handle(self, body: str) -> None:
        """Do what a message of the queue says.

        Raises:
            ChangedMeanwhile: A webhook that is to be disabled was changed. The message must come again.
            Unavailable: The deadline passed. Likewise.
        """
        message = Message.from_text(body)
        if message.due > self.now().timestamp():
            self._queue(message)
            return
        webhook = self.webhooks.find(message.partner, message.webhook)
        if webhook is None or (webhook.disabled and (message.again or message.missed)):
            # What is parked stays so, and what is missed is looked at when it is enabled once more.
            _log.info("dropped", extra={"webhook": message.webhook, "order": message.order})
        elif webhook.disabled:
            self._miss(webhook, message.order)
        elif message.missed:
            self._make_up(webhook, message)
        elif message.again:
            self._send_again(webhook, message)
        else:
            self._go_on(webhook, message)

    def enable(self, partner: str, webhook_id: str) -> Webhook:
        """Send to a webhook again, also what it has missed; where it was not disabled, this does no harm.

        Raises:
            NotFound: The partner has none of that id.
            ChangedMeanwhile: It was changed by another request at the same time.
            Unavailable: The deadline passed. It may be enabled, and what it has missed comes only after another call.
        """
        webhook = self.webhooks.enable(partner, webhook_id)
        self._queue(Message(partner, webhook_id, order="", missed=True))
        return webhook

    def parked(self, partner: str, webhook_id: str, count: int, after: str = "") -> list[Parked]:
        """Return the events that a webhook did not take, by their ids: so many of those behind `after`.

        Raises:
            NotFound: The partner has no webhook of that id.
        """
        self.webhooks.get(partner, webhook_id)
        # Where an id ends, nothing comes before the blank.
        found = self.accounts.query(_partition(partner, webhook_id), f"PARKED#{after} ", "PARKED$")
        return [
            Parked(
                item["sk"].partition("#")[2],
                item["type"],
                item["order"],
                item["index"],
                clock.from_text(item["at"]),
                item["why"],
            )
            for item in islice((item for item in found if self._is_kept(item)), count)
        ]

    def replay(self, partner: str, webhook_id: str, event: str) -> None:
        """Send a parked event once more, with all its tries; it stays parked until it is taken.

        Raises:
            NotFound: The partner has no webhook of that id, or no such event is parked.
            Disabled: Nothing is sent to the webhook now.
        """
        if self.webhooks.get(partner, webhook_id).disabled:
            raise Disabled(webhook_id)
        item = self.accounts.get((_partition(partner, webhook_id), f"PARKED#{event}"))
        if item is None or not self._is_kept(item):
            raise NotFound("parked event", event)
        self._queue(Message(partner, webhook_id, item["order"], item["index"], again=True))

    def _go_on(self, webhook: Webhook, message: Message) -> None:
        """Send all that a webhook has not got of an order, until one is not taken."""
        while True:
            at = self._position(webhook, message.order)
            if at.tries and (message.index, message.tries) < (at.done, at.tries):
                return  # the next try is on its way
            story = read_history(self.orders, message.order)
            if story is None:
                return
            index = _next_wanted(story, webhook, at.done)
            if index >= len(story):
                if index == at.done:
                    return
                self._move(webhook, message.order, at, index)
                continue
            if self._is_late():
                self._queue(message)
                return
            event = story.event(index)
            # A message that is ahead was sent by somebody who has not moved the position yet, or never will.
            tried = 1 + max(at.tries if index == at.done else 0, message.tries if index == message.index else 0)
            failure = self._attempt(webhook, event, tried)
            if failure == _GONE:
                self.webhooks.disable(webhook, f"It answered {_GONE}.")
                self._miss(webhook, message.order)
                return
            if failure is not None and tried < TRIES:
                self._queue(replace(message, index=index, tries=tried, due=self._due(tried)))
                self._move(webhook, message.order, at, index, tried)
                return
            if failure is not None:
                self._park(webhook, event, index, failure)
            self._move(webhook, message.order, at, index + 1)

    def _miss(self, webhook: Webhook, order: str) -> None:
        """Keep an order of which a disabled webhook gets nothing."""
        self.accounts.put(Put(self._kept(webhook, f"MISSED#{order}", MISSED_KEPT)))
        after = self.webhooks.find(webhook.partner, webhook.id)
        if after and not after.disabled:
            # Whoever enabled it may have looked before the order was kept.
            self.signal(webhook.partner, webhook.id, order)

    def _make_up(self, webhook: Webhook, message: Message) -> None:
        """Let a webhook get what it has missed of orders; those that it has missed nothing of do no harm."""
        last = message.order
        partition = _partition(webhook.partner, webhook.id)
        for item in self.accounts.query(partition, f"MISSED#{last} ", "MISSED$"):
            if self._is_late():
                self._queue(replace(message, order=last))
                return
            last = item["sk"].partition("#")[2]
            self.signal(webhook.partner, webhook.id, last)

    def _send_again(self, webhook: Webhook, message: Message) -> None:
        if self._is_late():
            self._queue(message)
            return
        story = read_history(self.orders, message.order)
        if story is None:
            return
        event, tried = story.event(message.index), message.tries + 1
        failure = self._attempt(webhook, event, tried)
        if failure is None:
            self.accounts.delete_all([(_partition(webhook.partner, webhook.id), f"PARKED#{event.id}")])
        elif failure == _GONE:
            self.webhooks.disable(webhook, f"It answered {_GONE}.")
        elif tried < TRIES:
            self._queue(replace(message, tries=tried, due=self._due(tried)))
        else:
            self._park(webhook, event, message.index, failure)

    def _attempt(self, webhook: Webhook, event: Event, tried: int) -> str | int | None:
        """Send an event; returns what was wrong with the answer, None if it was taken."""
        body = event.to_text().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ordering-webhooks",
            **self.webhooks.sign(webhook, event.id, self.now(), body),
        }
        failure: str | int | None
        try:
            status = self.post(webhook.url, headers, body)
            failure = None if 200 <= status < 300 else status
        except NotPosted as error:
            failure = str(error)
        told = {"webhook": webhook.id, "event": event.id, "try": tried, "failure": failure}
        _log.info("not taken" if failure else "taken", extra=told)
        return failure

    def _is_late(self) -> bool:
        """Tell whether there is too little time left to send an event."""
        return self.deadline is not None and self.deadline.remaining() < WITHIN + _SLACK

    def _due(self, tried: int) -> float:
        pause: float = FIRST_PAUSE * FACTOR ** (tried - 1)
        return self.now().timestamp() + pause * (1 + JITTER * (2 * self.spread() - 1))

    def _queue(self, message: Message) -> None:
        """Put a message onto the queue; one that is due later than the queue can wait comes back before."""
        wait = math.ceil(max(message.due - self.now().timestamp(), 0))
        self.send(message.to_text(), min(wait, LONGEST_DELAY))

    def _position(self, webhook: Webhook, order: str) -> _Position:
        item = self.accounts.get((_partition(webhook.partner, webhook.id), f"AT#{order}"))
        if item is None:
            return _Position(epoch=webhook.epoch, written=False)
        position = _Position(item["delivered"], item["tries"], item["epoch"])
        # When it was enabled anew, nothing is on its way any more.
        return position if position.epoch == webhook.epoch else replace(position, tries=0)

    def _move(self, webhook: Webhook, order: str, at: _Position, index: int, tries: int = 0) -> None:
        """Move a position if it still is what was read; who has moved it meanwhile takes care of the rest."""
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
            _log.info("moved by another", extra={"webhook": webhook.id, "order": order})

    def _park(self, webhook: Webhook, event: Event, index: int, failure: str | int) -> None:
        why = f"It answered {failure}." if isinstance(failure, int) else f"There was no answer: {failure}."
        item = self._kept(webhook, f"PARKED#{event.id}", PARKED_KEPT)
        item |= {"type": event.type, "order": event.order, "index": index, "at": clock.to_text(self.now()), "why": why}
        self.accounts.put(Put(item))
        _log.warning("parked", extra={"webhook": webhook.id, "event": event.id})

    def _kept(self, webhook: Webhook, sort: str, period: timedelta) -> Item:
        """Begin an item of a webhook's deliveries, which is kept for so long."""
        partition = _partition(webhook.partner, webhook.id)
        return {"pk": partition, "sk": sort, "expires": int((self.now() + period).timestamp())}

    def _is_kept(self, item: Item) -> bool:
        """Tell whether an item is to be there still: the service deletes late."""
        expires: int = item["expires"]
        return expires > self.now().timestamp()


def _next_wanted(story: OrderHistory, webhook: Webhook, first: int) -> int:
    """Return the index of the next event that a webhook wants, or how many there are."""
    indexes = range(first, len(story))
    return next((n for n in indexes if webhook.wants(story.type(n), story.moments[n].at)), max(len(story), first))


def _partition(partner: str, webhook_id: str) -> str:
    return f"DELIVERIES#{partner}#{webhook_id}"
