"""The slots of a webhook: how many of its messages are handled at a time, and what happens to the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ordering.errors import Unavailable
from ordering.values import replace
from ordering.webhooks.delivery import Message
from ordering.webhooks.health import health_key
from ordering.webhooks.registrations import Webhook
from ordering.webhooks.slots import LEASE, SLOTS
from ordering.webhooks.transport import Response
from ordering_tools.template import Template
from support.aws.faults import Crash, answer_lost, refused
from support.endpoint import Endpoint
from support.gateway import ROOT
from support.partners import PARTNER


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(status=204)


def taken(endpoint: Endpoint, webhook: Webhook) -> list[str]:
    """The slots that are taken."""
    item = endpoint.accounts.get(health_key(PARTNER.id, webhook.id)) or {}
    return sorted(name for name in item if name.startswith("slot"))


def while_posting(endpoint: Endpoint, act: Callable[[], object]) -> None:
    """Do something while the endpoint has not responded yet."""

    def post(*_: Any) -> Response:
        act()
        return Response(204)

    endpoint.deliverer = replace(endpoint.deliverer, post=post)


def test_as_many_at_a_time_as_there_are_slots(endpoint: Endpoint) -> None:
    """A slow endpoint has five deliveries at a time; a further message goes back to the queue and comes later."""
    webhook, orders = endpoint.register(), [endpoint.place() for _ in range(SLOTS + 1)]
    at_a_time: list[int] = []

    def another() -> None:
        at_a_time.append(len(taken(endpoint, webhook)))
        if orders:
            endpoint.handle(Message(PARTNER.id, webhook.id, orders.pop()))

    while_posting(endpoint, another)
    endpoint.handle(Message(PARTNER.id, webhook.id, orders.pop()))
    assert at_a_time == [1, 2, 3, 4, 5]
    (back,) = endpoint.queue
    assert (back.waits, back.due) == (1, endpoint.now.timestamp() + 1.0)
    assert taken(endpoint, webhook) == []
    endpoint.run()

    assert at_a_time == [1, 2, 3, 4, 5, 1]


def test_other_webhooks_have_slots_of_their_own(endpoint: Endpoint) -> None:
    """A webhook whose slots are all taken does not hold up another one."""
    slow, quick = endpoint.register(), endpoint.register()
    take_all(endpoint, slow)
    endpoint.handle(Message(PARTNER.id, slow.id, endpoint.order))
    endpoint.handle(Message(PARTNER.id, quick.id, endpoint.order))

    assert [one.webhook for one in endpoint.queue] == [slow.id]
    assert endpoint.received == [endpoint.order]


def take_all(endpoint: Endpoint, webhook: Webhook) -> None:
    partition, sort = health_key(PARTNER.id, webhook.id)
    until = int((endpoint.now.timestamp() + LEASE) * 1000)
    endpoint.accounts.put_all([{"pk": partition, "sk": sort, **{f"slot{number}": until for number in range(SLOTS)}}])


def test_pauses_grow(endpoint: Endpoint) -> None:
    """A message that finds no slot waits longer each time, up to a quarter of an hour, and keeps what it is about."""
    webhook = endpoint.register()
    message = Message(PARTNER.id, webhook.id, endpoint.order, index=1, tries=3)
    pauses = []
    for waits in range(15):
        take_all(endpoint, webhook)
        endpoint.handle(message)
        message = endpoint.queue.pop()
        pauses.append(message.due - endpoint.now.timestamp())
        assert message == Message(PARTNER.id, webhook.id, endpoint.order, 1, 3, message.due, waits=waits + 1)
        endpoint.now += timedelta(seconds=pauses[-1], microseconds=1)

    assert pauses[:4] == pytest.approx([1, 2, 4, 8], abs=0.001)
    assert max(pauses) == pytest.approx(900, abs=0.001)
    assert endpoint.posted == []


def test_a_message_that_waited_for_weeks(endpoint: Endpoint) -> None:
    """However often a message found no slot, it waits for a quarter of an hour and not longer."""
    webhook = endpoint.register()
    take_all(endpoint, webhook)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order, waits=100_000))

    assert endpoint.queue[0].due - endpoint.now.timestamp() == pytest.approx(900, abs=0.001)


def test_leases_outlive_the_function() -> None:
    """A lease is longer than an invocation can take, and a webhook has a small part of the function's concurrency."""
    function = Template.load(ROOT / "template.yaml").document["Resources"]["WebhookDeliveryFunction"]["Properties"]
    scaling = function["Events"]["Signalled"]["Properties"]["ScalingConfig"]

    assert function["Timeout"] < LEASE
    assert scaling["MaximumConcurrency"] >= SLOTS * 10


def test_a_crash_frees_the_slot(endpoint: Endpoint) -> None:
    """The slots of processes that crashed are free again after the lease, and the events are delivered."""
    webhook = endpoint.register()
    orders = [endpoint.place() for _ in range(SLOTS)]

    def crash() -> None:
        raise Crash

    sound = endpoint.deliverer
    while_posting(endpoint, crash)
    for order in orders:
        with pytest.raises(Crash):
            endpoint.handle(Message(PARTNER.id, webhook.id, order))
    assert len(taken(endpoint, webhook)) == SLOTS
    endpoint.deliverer = sound
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    assert endpoint.received == []
    endpoint.now += timedelta(seconds=LEASE, milliseconds=1)
    endpoint.run()

    assert endpoint.received == [endpoint.order]


@pytest.mark.parametrize("error", [Unavailable(), ValueError()])
def test_an_error_frees_the_slot(endpoint: Endpoint, error: Exception) -> None:
    """A delivery that fails on our side frees its slot at once."""
    webhook = endpoint.register()

    def fail() -> None:
        raise error

    while_posting(endpoint, fail)
    with pytest.raises(type(error)):
        endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert taken(endpoint, webhook) == []


def test_a_slot_whose_response_is_lost(endpoint: Endpoint) -> None:
    """A process whose response to taking a slot was lost has that slot, and frees it."""
    webhook = endpoint.register()
    endpoint.faulty.meet("UpdateItem", answer_lost)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert endpoint.received == [endpoint.order]
    assert taken(endpoint, webhook) == []


def test_a_slot_that_cannot_be_freed(endpoint: Endpoint) -> None:
    """An event that was accepted is not sent again because freeing its slot failed."""
    webhook = endpoint.register()
    endpoint.faulty.meet("UpdateItem", refused(Unavailable()), after=1)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    assert len(taken(endpoint, webhook)) == 1
    endpoint.now += timedelta(seconds=LEASE, milliseconds=1)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert endpoint.received == [endpoint.order]
