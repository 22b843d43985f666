"""Webhooks without a network: which ones are notified of an event, and how often and when it is retried."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.webhooks.delivery import Deliverer, Message
from ordering.webhooks.registrations import Webhook, Webhooks, announcer
from ordering.webhooks.transport import Response
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.partners import CALLER
from support.training import School

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PARTNER = CALLER.partner
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"


@dataclass
class Receiver:
    """A webhook of a partner that has an order, and the queue of its messages."""

    status: int = 500
    retry_after: float | None = None
    spread: float = 0.5
    now: datetime = START
    posted: list[datetime] = field(default_factory=list)
    queue: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        school = School(Memory(), now=lambda: self.now)
        self.order = f"training#{school.place(1)}"
        accounts = Table(school.send, "AccountsTable")
        self.webhooks = Webhooks(accounts, EnvelopeSealer(MemoryKms(), "alias/Key"), now=lambda: self.now)
        self.deliverer = Deliverer(
            Table(school.send, "OrdersTable"),
            accounts,
            self.webhooks,
            self._post,
            lambda body, _: self.queue.append(Message.from_text(body)),
            now=lambda: self.now,
            spread=lambda: self.spread,
        )

    def _post(self, *_: object) -> Response:
        self.posted.append(self.now)
        return Response(self.status, self.retry_after)

    def register(self, *types: str) -> Webhook:
        return self.webhooks.register(PARTNER, "https://example.com/hook", types)[0]

    def run(self) -> None:
        """Handle messages when they are due, at most a hundred."""
        for _ in range(100):
            if not self.queue:
                return
            message = self.queue.pop(0)
            # A microsecond later, because Unix time as a float may have been rounded down.
            self.now = max(self.now, datetime.fromtimestamp(message.due, UTC) + timedelta(microseconds=1))
            self.deliverer.handle(message.to_text())

    def park(self, webhook: Webhook) -> str:
        """Fail the order's event until it is parked; returns its id."""
        self.deliverer.signal(PARTNER, webhook.id, self.order)
        self.run()
        self.posted.clear()
        (parked,) = self.deliverer.parked(PARTNER, webhook.id, 10)
        return parked.event


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.mark.parametrize("wanted", [[], [NEW], [COMPLETED], [NEW, COMPLETED]])
def test_notified_of_one_type_among_several(receiver: Receiver, wanted: list[str]) -> None:
    """A webhook is notified if it wants one of the events that happened together, not only if it wants all."""
    webhook = receiver.register(*wanted)
    announcer(receiver.webhooks, receiver.deliverer.signal)(PARTNER, "training#7", {NEW: START, COMPLETED: START})

    assert receiver.queue == [Message(PARTNER, webhook.id, "training#7")]


def test_not_notified_of_other_types(receiver: Receiver) -> None:
    """A webhook is not notified if it wants none of the events."""
    receiver.register(COMPLETED)
    announcer(receiver.webhooks, receiver.deliverer.signal)(PARTNER, "training#7", {NEW: START})

    assert receiver.queue == []


def test_a_replay_is_tried_ten_times(receiver: Receiver) -> None:
    """A replayed event that always fails is tried ten times, then parked again with the time of the last try."""
    webhook = receiver.register()
    event = receiver.park(webhook)
    receiver.deliverer.replay(PARTNER, webhook.id, event)
    receiver.run()

    assert len(receiver.posted) == 10
    assert receiver.queue == []
    assert [(event, receiver.now)] == [
        (one.event, one.at) for one in receiver.deliverer.parked(PARTNER, webhook.id, 10)
    ]


def test_a_replay_answered_410_disables(receiver: Receiver) -> None:
    """A 410 to a replayed event disables the webhook; the event is not retried and stays parked."""
    webhook = receiver.register()
    event = receiver.park(webhook)
    receiver.status = 410
    receiver.deliverer.replay(PARTNER, webhook.id, event)
    receiver.run()

    assert receiver.webhooks.get(PARTNER, webhook.id).disabled == "The endpoint responded with status 410."
    assert (len(receiver.posted), receiver.queue) == (1, [])
    assert [event] == [one.event for one in receiver.deliverer.parked(PARTNER, webhook.id, 10)]


@pytest.mark.parametrize(
    ("spread", "first", "last"),
    [
        (0.0, 7.2, timedelta(hours=19, minutes=40, seconds=55)),
        (0.5, 8.0, timedelta(hours=21, minutes=52, seconds=8)),
        (1.0, 8.8, timedelta(hours=24, minutes=3, seconds=21)),
    ],
)
def test_pauses_are_shorter_or_longer(receiver: Receiver, spread: float, first: float, last: timedelta) -> None:
    """Jitter shortens or lengthens pauses by up to a tenth, so that ten tries take about 20 to 24 hours."""
    receiver.spread = spread
    webhook = receiver.register()
    receiver.deliverer.signal(PARTNER, webhook.id, receiver.order)
    receiver.run()

    assert len(receiver.posted) == 10
    assert (receiver.posted[1] - START).total_seconds() == pytest.approx(first, abs=0.001)
    assert (receiver.posted[-1] - START).total_seconds() == pytest.approx(last.total_seconds(), abs=1)


@pytest.mark.parametrize(
    ("status", "asked", "pause"),
    [
        (503, 120.0, 126.0),
        (429, 120.0, 126.0),
        (429, 3.0, 8.0),
        (503, 10**9, 3780.0),
        (503, None, 8.0),
        (500, 120.0, 8.0),
        (301, 120.0, 8.0),
    ],
)
def test_retry_after_is_respected(receiver: Receiver, status: int, asked: float | None, pause: float) -> None:
    """`Retry-After` of 429 and 503 puts the retry off, up to an hour, and never brings it forward."""
    receiver.status, receiver.retry_after = status, asked
    webhook = receiver.register()
    receiver.deliverer.signal(PARTNER, webhook.id, receiver.order)
    receiver.run()

    assert len(receiver.posted) == 10
    assert (receiver.posted[1] - receiver.posted[0]).total_seconds() == pytest.approx(pause, abs=0.001)


def test_a_replay_respects_retry_after(receiver: Receiver) -> None:
    """The retries of a replayed event respect `Retry-After`, and are as many as without it."""
    webhook = receiver.register()
    event = receiver.park(webhook)
    receiver.status, receiver.retry_after = 429, 600.0
    receiver.deliverer.replay(PARTNER, webhook.id, event)
    receiver.run()

    assert len(receiver.posted) == 10
    assert (receiver.posted[1] - receiver.posted[0]).total_seconds() == pytest.approx(630, abs=0.001)
