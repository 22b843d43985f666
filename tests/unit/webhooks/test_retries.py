"""Webhooks without a network: which ones are notified of an event, and how often and when it is retried."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ordering.events.types import MailMomentType
from ordering.mail.history import MailMoment, name_of_mails, next_moments
from ordering.webhooks.delivery import Message
from ordering.webhooks.registrations import announcer
from support.endpoint import START, Endpoint
from support.partners import PARTNER

NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.mark.parametrize("wanted", [[], [NEW], [COMPLETED], [NEW, COMPLETED]])
def test_notified_of_one_type_among_several(endpoint: Endpoint, wanted: list[str]) -> None:
    """A webhook is notified if it wants one of the events that happened together, not only if it wants all."""
    webhook = endpoint.register(*wanted)
    announcer(endpoint.webhooks, endpoint.deliverer.signal)(PARTNER.id, "training#7", {NEW: START, COMPLETED: START})

    assert endpoint.queue == [Message(PARTNER.id, webhook.id, "training#7")]


def test_not_notified_of_other_types(endpoint: Endpoint) -> None:
    """A webhook is not notified if it wants none of the events."""
    endpoint.register(COMPLETED)
    announcer(endpoint.webhooks, endpoint.deliverer.signal)(PARTNER.id, "training#7", {NEW: START})

    assert endpoint.queue == []


def test_a_replay_is_tried_ten_times(endpoint: Endpoint) -> None:
    """A replayed event that always fails is tried ten times, then parked again with the time of the last try."""
    webhook = endpoint.register()
    event = endpoint.park(webhook)
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert endpoint.queue == []
    assert [(event, endpoint.now)] == [
        (one.event, one.at) for one in endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)
    ]


def test_a_replay_answered_410_disables(endpoint: Endpoint) -> None:
    """A 410 to a replayed event disables the webhook; the event is not retried and stays parked."""
    webhook = endpoint.register()
    event = endpoint.park(webhook)
    endpoint.status = 410
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.run()

    assert endpoint.webhooks.get(PARTNER.id, webhook.id).disabled == "The endpoint responded with status 410."
    assert (len(endpoint.posted), endpoint.queue) == (1, [])
    assert [event] == [one.event for one in endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)]


@pytest.mark.parametrize(
    ("spread", "first", "last"),
    [
        (0.0, 7.2, timedelta(hours=19, minutes=40, seconds=55)),
        (0.5, 8.0, timedelta(hours=21, minutes=52, seconds=8)),
        (1.0, 8.8, timedelta(hours=24, minutes=3, seconds=21)),
    ],
)
def test_pauses_are_shorter_or_longer(endpoint: Endpoint, spread: float, first: float, last: timedelta) -> None:
    """Jitter shortens or lengthens pauses by up to a tenth, so that ten tries take about 20 to 24 hours."""
    endpoint.spread = spread
    webhook = endpoint.register()
    endpoint.deliverer.signal(PARTNER.id, webhook.id, endpoint.order)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert (endpoint.posted[1] - START).total_seconds() == pytest.approx(first, abs=0.001)
    assert (endpoint.posted[-1] - START).total_seconds() == pytest.approx(last.total_seconds(), abs=1)


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
def test_retry_after_is_respected(endpoint: Endpoint, status: int, asked: float | None, pause: float) -> None:
    """`Retry-After` of 429 and 503 puts the retry off, up to an hour, and never brings it forward."""
    endpoint.status, endpoint.retry_after = status, asked
    webhook = endpoint.register()
    endpoint.deliverer.signal(PARTNER.id, webhook.id, endpoint.order)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert (endpoint.posted[1] - endpoint.posted[0]).total_seconds() == pytest.approx(pause, abs=0.001)


def test_a_replay_respects_retry_after(endpoint: Endpoint) -> None:
    """The retries of a replayed event respect `Retry-After`, and are as many as without it."""
    webhook = endpoint.register()
    event = endpoint.park(webhook)
    endpoint.status, endpoint.retry_after = 429, 600.0
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert (endpoint.posted[1] - endpoint.posted[0]).total_seconds() == pytest.approx(630, abs=0.001)


def record_bounce(endpoint: Endpoint, reason: str) -> str:
    """Record that a mail of the endpoint's order bounced; returns the name of the history of its mails."""
    moment = MailMoment(MailMomentType.BOUNCED, endpoint.now, 1, "", reason)
    endpoint.deliverer.orders.transact(next_moments(endpoint.deliverer.orders, endpoint.order, [moment]))
    return name_of_mails(endpoint.order)


def test_mails_do_not_hold_up_their_order(endpoint: Endpoint) -> None:
    """An order's events are sent while one of its mails is retried, and the other way around."""
    webhook = endpoint.register()
    mails = record_bounce(endpoint, "one")
    endpoint.signal(webhook, mails)
    endpoint.run(timedelta(seconds=1))
    endpoint.status = 200
    endpoint.signal(webhook)
    endpoint.run(timedelta(seconds=1))
    assert (len(endpoint.posted), endpoint.received) == (2, [endpoint.order])
    endpoint.run()

    assert (len(endpoint.posted), endpoint.received) == (3, [endpoint.order] * 2)


def test_a_parked_mails_event_is_replayed(endpoint: Endpoint) -> None:
    """An event about a mail is parked after ten tries, replayed, and does not keep the next one from being sent."""
    webhook = endpoint.register()
    mails = record_bounce(endpoint, "one")
    endpoint.signal(webhook, mails)
    endpoint.run()
    (parked,) = endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)
    endpoint.status = 200
    record_bounce(endpoint, "two")
    endpoint.signal(webhook, mails)
    endpoint.run()
    endpoint.deliverer.replay(PARTNER.id, webhook.id, parked.event)
    endpoint.run()

    assert (parked.type, parked.order) == ("ordering.training_order.mail_bounced", mails)
    assert (len(endpoint.posted), endpoint.received) == (12, [endpoint.order] * 2)
    assert endpoint.deliverer.parked(PARTNER.id, webhook.id, 10) == []
