"""The pause of a webhook whose endpoint fails in a row: when it begins, what is missed in it, and how it ends."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Update
from ordering.errors import Unavailable
from ordering.events.types import MailMomentType
from ordering.mail.history import MailMoment, name_of_mails, next_moments
from ordering.values import replace
from ordering.webhooks.delivery import TRIES, Message, Progress, Withheld
from ordering.webhooks.health import Health, health_key, read_health
from ordering.webhooks.registrations import Edit, Webhook
from ordering.webhooks.slots import FAILURES, LEASE, SLOTS
from ordering.webhooks.transport import Response
from ordering_tools.template import Template
from support.aws.faults import Crash, answer_lost, interrupted, lost, refused
from support.endpoint import Endpoint
from support.gateway import ROOT
from support.partners import PARTNER

SECOND = timedelta(seconds=1)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(status=500)


def health(endpoint: Endpoint, webhook: Webhook) -> Health:
    return read_health(endpoint.accounts.get(health_key(PARTNER.id, webhook.id)))


def pause_left(endpoint: Endpoint, webhook: Webhook) -> float:
    """The seconds until the pause ends."""
    return health(endpoint, webhook).paused_until / 1000 - endpoint.now.timestamp()


def place(endpoint: Endpoint, count: int) -> list[str]:
    return [endpoint.place() for _ in range(count)]


def pause(endpoint: Endpoint, webhook: Webhook, orders: int = 3) -> list[str]:
    """Fail events of a few orders, the last of them as the twentieth in a row; returns the orders."""
    failing = place(endpoint, orders)
    for number, order in enumerate(failing, 1):
        if number == orders:
            fail_before(endpoint, webhook, FAILURES - 1)
        endpoint.handle(Message(PARTNER.id, webhook.id, order))
    endpoint.posted.clear()
    return failing


def fail_before(endpoint: Endpoint, webhook: Webhook, times: int) -> None:
    """Note failures in a row."""
    update = Update(health_key(PARTNER.id, webhook.id), "SET failures = :times", values={":times": times})
    endpoint.accounts.update(update)


def look(webhook: Webhook) -> Message:
    return Message(PARTNER.id, webhook.id, "", missed=True)


def bounce_twice(endpoint: Endpoint) -> str:
    """Record that two mails of the endpoint's order bounced; returns the name of the history of its mails."""
    for reason in ("one", "two"):
        moment = MailMoment(MailMomentType.BOUNCED, endpoint.now, 1, "", reason)
        endpoint.deliverer.orders.transact(next_moments(endpoint.deliverer.orders, endpoint.order, [moment]))
    return name_of_mails(endpoint.order)


def accept(endpoint: Endpoint, accepts: Callable[[str], bool]) -> None:
    """Accept the events of some orders only."""

    def post(_: str, __: Mapping[str, str], body: bytes) -> Response:
        order = f"training#{json.loads(body)['data']['order']['id']}"
        endpoint.posted.append(endpoint.now)
        if not accepts(order):
            return Response(500)
        endpoint.received.append(order)
        return Response(204)

    endpoint.deliverer = replace(endpoint.deliverer, post=post)


def test_paused_after_failures_in_a_row(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """After twenty failed tries in a row nothing is sent for a minute, and one warning names the webhook."""
    webhook = endpoint.register()
    orders = place(endpoint, FAILURES)
    for order in orders[:-1]:
        endpoint.handle(Message(PARTNER.id, webhook.id, order))
    assert (health(endpoint, webhook).failures, health(endpoint, webhook).paused_until) == (FAILURES - 1, 0)
    endpoint.handle(Message(PARTNER.id, webhook.id, orders[-1]))
    assert pause_left(endpoint, webhook) == pytest.approx(60)
    endpoint.run(timedelta(seconds=59))

    assert len(endpoint.posted) == FAILURES
    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert (warning.message, warning.webhook, warning.failures) == ("webhook paused", webhook.id, FAILURES)  # type: ignore[attr-defined]


def test_an_accepted_event_starts_the_count_again(endpoint: Endpoint) -> None:
    """Failures count only if no event is accepted in between."""
    webhook = endpoint.register()
    first, second, third = place(endpoint, 3)
    accept(endpoint, lambda order: order == second)
    fail_before(endpoint, webhook, FAILURES - 2)
    for order in (first, second, third):
        endpoint.handle(Message(PARTNER.id, webhook.id, order))

    assert health(endpoint, webhook) == Health(failures=1)


def test_a_failure_after_an_accepted_event_of_the_same_order(endpoint: Endpoint) -> None:
    """A probe whose first event is accepted ends the pause, though the order's next event fails."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    mails = bounce_twice(endpoint)
    endpoint.now += timedelta(minutes=2)
    accept(endpoint, lambda _: len(endpoint.posted) == 1)
    endpoint.handle(Message(PARTNER.id, webhook.id, mails))
    assert len(endpoint.posted) == 2
    assert replace(health(endpoint, webhook), look=0) == Health(failures=1)
    assert [one.index for one in endpoint.queue if one.order == mails and one.tries == 1] == [1]
    accept(endpoint, lambda _: True)
    endpoint.run(timedelta(minutes=1))

    assert {*endpoint.received} == {endpoint.order, *orders}
    assert len(endpoint.received) == 2 + len(orders)


def test_an_event_accepted_after_one_that_was_parked(endpoint: Endpoint) -> None:
    """A message that parks an event and whose next event is accepted leaves no failure."""
    webhook = endpoint.register()
    mails = bounce_twice(endpoint)
    accept(endpoint, lambda _: len(endpoint.posted) == 2)
    endpoint.handle(Message(PARTNER.id, webhook.id, mails, tries=TRIES - 1))

    assert len(endpoint.posted) == 2
    assert health(endpoint, webhook) == Health()


def test_two_events_that_are_never_accepted(endpoint: Endpoint) -> None:
    """Two events that the endpoint never accepts are parked after ten tries each, and pause nothing before."""
    webhook = endpoint.register()
    orders = place(endpoint, 2)
    endpoint.signal(webhook, *orders)
    assert endpoint.deliverer.progress(webhook, orders[0], 1) == Progress(0, 0, [], missed=False)
    endpoint.run()

    assert len(endpoint.posted) == FAILURES
    parked = endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)
    assert len(parked) == 2
    own = [one for one in parked if one.order == orders[0]]
    assert endpoint.deliverer.progress(webhook, orders[0], 1) == Progress(1, 0, own, missed=False)


def test_what_a_dead_endpoint_costs(endpoint: Endpoint) -> None:
    """An endpoint that is down for days gets a probe an hour; no event is parked, and all arrive when it is back."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook, 8)
    endpoint.run(timedelta(hours=24))
    assert 24 <= len(endpoint.posted) <= 32
    handled = endpoint.handled
    endpoint.run(timedelta(hours=24))
    assert endpoint.handled - handled <= 24 * (SLOTS + 2)
    later = place(endpoint, 10)
    endpoint.signal(webhook, *later)
    endpoint.run(SECOND)
    assert endpoint.deliverer.parked(PARTNER.id, webhook.id, 10) == []
    endpoint.status = 204
    endpoint.run(timedelta(hours=1, minutes=7))

    assert sorted(endpoint.received) == sorted([*orders, *later])
    assert endpoint.queue == []
    assert health(endpoint, webhook) == Health()


def test_pauses_double(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed probe doubles the pause, up to an hour; a second warning comes when it lasts an hour."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    pauses = []
    for _ in range(10):
        pauses.append(pause_left(endpoint, webhook))
        endpoint.now += timedelta(seconds=pauses[-1])
        endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert pauses == pytest.approx([60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600], abs=0.01)
    assert len(endpoint.posted) == 10
    warnings = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == ["webhook paused", "webhook paused for an hour"]


def test_the_alarm_counts_the_second_warning() -> None:
    """The alarm's metric counts the lines of the log that say that a webhook has been paused for an hour."""
    resources = Template.load(ROOT / "template.yaml").document["Resources"]

    assert resources["WebhooksPaused"]["Properties"]["FilterPattern"] == '{ $.message = "webhook paused for an hour" }'


@pytest.mark.parametrize(("spread", "seconds"), [(0.0, 54.0), (1.0, 66.0)])
def test_pauses_are_shorter_or_longer(endpoint: Endpoint, spread: float, seconds: float) -> None:
    """A pause is shorter or longer by up to a tenth, so that the probes of many webhooks do not come together."""
    webhook = endpoint.register()
    endpoint.spread = spread
    pause(endpoint, webhook, 1)

    assert pause_left(endpoint, webhook) == pytest.approx(seconds, abs=0.01)


def test_a_pause_respects_retry_after(endpoint: Endpoint) -> None:
    """A pause is not shorter than the `Retry-After` of the failure that began or prolonged it."""
    webhook = endpoint.register()
    endpoint.status, endpoint.retry_after = 503, 1800.0
    pause(endpoint, webhook)

    assert pause_left(endpoint, webhook) == pytest.approx(1890)


def test_a_failed_probe_is_no_try_of_its_event(endpoint: Endpoint) -> None:
    """However many probes fail, the event that each of them sent has as many tries left as before."""
    webhook = endpoint.register()
    (order,) = pause(endpoint, webhook, 1)
    endpoint.run(timedelta(days=2))
    assert len(endpoint.posted) > 48
    position = endpoint.accounts.get((f"DELIVERIES#{PARTNER.id}#{webhook.id}", f"AT#{order}"))

    assert position
    assert (position["delivered"], position["tries"]) == (0, 1)


def test_one_probe_among_concurrent_messages(endpoint: Endpoint) -> None:
    """While the probe is under way, other messages send nothing, and their orders are recorded as missed."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.queue.clear()
    endpoint.now += timedelta(minutes=2)
    others = place(endpoint, SLOTS)
    posts: list[str] = []

    def post(*_: Any) -> Response:
        posts.append("")
        for order in others:
            endpoint.handle(Message(PARTNER.id, webhook.id, order))
        return Response(500)

    sound = endpoint.deliverer
    endpoint.deliverer = replace(sound, post=post)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    assert len(posts) == 1
    assert pause_left(endpoint, webhook) == pytest.approx(120)
    endpoint.deliverer, endpoint.status = sound, 204
    endpoint.run(timedelta(minutes=3))

    assert sorted(endpoint.received) == sorted([endpoint.order, *others])


def test_a_probe_that_another_message_took_after_the_read(endpoint: Endpoint) -> None:
    """A message that read the webhook before another one took the probe sends nothing, and its order is recorded."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.queue.clear()
    endpoint.now += timedelta(minutes=2)
    recipient = endpoint.webhooks.recipient(PARTNER.id, webhook.id)
    assert recipient
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    other = endpoint.place()
    endpoint.deliverer._in_slot(recipient, Message(PARTNER.id, webhook.id, other))
    assert len(endpoint.posted) == 1
    assert [one.missed for one in endpoint.queue] == [True]
    endpoint.status = 204
    endpoint.run(timedelta(minutes=3))

    assert sorted(endpoint.received) == sorted([endpoint.order, other])


def test_a_probe_with_nothing_to_send_is_given_back(endpoint: Endpoint) -> None:
    """A message that takes the probe and has nothing to send gives it back, so that the next message takes it."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    before = health(endpoint, webhook)
    endpoint.handle(Message(PARTNER.id, webhook.id, "training#999999"))
    assert health(endpoint, webhook) == before
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert len(endpoint.posted) == 1


def test_a_probe_with_nothing_to_send_while_the_pause_is_ended(endpoint: Endpoint) -> None:
    """A probe that is given back after the pause was ended by hand frees its slot and begins no pause."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    ended = interrupted(lambda: endpoint.deliverer.end_pause(PARTNER.id, webhook.id))
    endpoint.faulty.meet("GetItem", ended)
    endpoint.handle(Message(PARTNER.id, webhook.id, "training#999999"))

    assert replace(health(endpoint, webhook), look=0) == Health()


def test_a_probe_whose_slot_another_message_took_after_the_read(endpoint: Endpoint) -> None:
    """A message whose slot a replay took after it read the webhook takes the probe with the next slot."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    endpoint.status = 204
    update = Update(health_key(PARTNER.id, webhook.id), "SET slot2 = :until", values={":until": 2**53})
    endpoint.faulty.meet("UpdateItem", interrupted(lambda: endpoint.accounts.update(update)))
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert endpoint.received == [endpoint.order]
    assert health(endpoint, webhook) == Health(slots={"slot2": 2**53})


def test_a_change_whose_end_of_the_pause_fails(endpoint: Endpoint) -> None:
    """A change of a webhook succeeds even if the end of its pause fails: the pause ends by itself."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)

    def send(_: str, __: int) -> None:
        raise Unavailable

    sound = endpoint.deliverer
    endpoint.deliverer = replace(sound, send=send)
    changed = endpoint.deliverer.change(PARTNER.id, webhook.id, Edit(), url="https://example.org/")
    assert changed.url == "https://example.org/"
    endpoint.deliverer, endpoint.status = sound, 204
    endpoint.run(timedelta(minutes=2))

    assert sorted(endpoint.received) == sorted(orders)


def test_an_error_on_our_side_gives_the_probe_back(endpoint: Endpoint) -> None:
    """A probe that fails on our side before the endpoint is tried is given back, and is no failure of the endpoint."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    before = health(endpoint, webhook)
    sound = endpoint.deliverer

    def fail(*_: Any) -> Response:
        raise Unavailable

    endpoint.deliverer = replace(sound, post=fail)
    with pytest.raises(Unavailable):
        endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert health(endpoint, webhook) == before


def test_a_probe_that_crashed(endpoint: Endpoint) -> None:
    """The probe of a process that crashed is free again after the lease, and everything arrives."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    sound = endpoint.deliverer

    def crash(*_: Any) -> Response:
        raise Crash

    endpoint.deliverer = replace(sound, post=crash)
    message = Message(PARTNER.id, webhook.id, endpoint.order)
    with pytest.raises(Crash):
        endpoint.handle(message)
    endpoint.deliverer, endpoint.status = sound, 204
    endpoint.handle(message)
    assert endpoint.posted == []
    endpoint.run(timedelta(seconds=LEASE + 1))

    assert sorted(endpoint.received) == sorted([endpoint.order, *orders])


def test_probes_go_round(endpoint: Endpoint) -> None:
    """Each probe sends an event of other orders, so that one event that is accepted among many ends the pause."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook, SLOTS + 2)
    last = max(orders)
    accept(endpoint, lambda order: order == last)
    endpoint.run(timedelta(hours=3))

    assert endpoint.received == [last]


def test_a_look_goes_round(endpoint: Endpoint) -> None:
    """After the last recorded order, the next look begins with the first one again."""
    webhook = endpoint.register()
    (order,) = pause(endpoint, webhook, 1)
    endpoint.handle(Message(PARTNER.id, webhook.id, order))
    endpoint.queue.clear()
    endpoint.now += timedelta(minutes=2)
    endpoint.handle(replace(look(webhook), order=order, due=endpoint.now.timestamp()))

    assert [(one.missed, one.order) for one in endpoint.queue] == [(True, "")]


def test_a_look_after_the_end_of_the_pause(endpoint: Endpoint) -> None:
    """The look that was queued in a pause finds all orders after it, though looks before it found some of them."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    for order in orders:
        endpoint.handle(Message(PARTNER.id, webhook.id, order))
    endpoint.deliverer.end_pause(PARTNER.id, webhook.id)
    endpoint.queue.clear()
    endpoint.status = 204
    endpoint.now += timedelta(minutes=2)
    endpoint.handle(replace(look(webhook), order=max(orders), due=endpoint.now.timestamp()))
    endpoint.run(SECOND)

    assert sorted(endpoint.received) == sorted(orders)


@pytest.mark.parametrize("act", ["enable", "end_pause"])
def test_a_pause_that_the_partner_ends(endpoint: Endpoint, act: str) -> None:
    """Enabling a paused webhook, or changing it, sends what was missed at once."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.run(timedelta(hours=5))
    endpoint.status = 204
    getattr(endpoint.deliverer, act)(PARTNER.id, webhook.id)
    assert health(endpoint, webhook).failures == health(endpoint, webhook).paused_until == 0
    endpoint.run(SECOND)

    assert sorted(endpoint.received) == sorted(orders)


def test_a_probe_under_way_while_the_pause_is_ended(endpoint: Endpoint) -> None:
    """A probe that fails after the pause was ended by hand does not begin it again."""
    webhook = endpoint.register()
    pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)

    def post(*_: Any) -> Response:
        endpoint.deliverer.end_pause(PARTNER.id, webhook.id)
        return Response(500)

    sound = endpoint.deliverer
    endpoint.deliverer = replace(sound, post=post)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    assert replace(health(endpoint, webhook), look=0) == Health(failures=1)
    endpoint.deliverer, endpoint.status = sound, 204
    endpoint.run(SECOND)

    assert endpoint.order in endpoint.received


def test_an_event_accepted_while_the_pause_began(endpoint: Endpoint) -> None:
    """A slow response that accepts an event ends a pause that began meanwhile, and what was missed comes at once."""
    webhook = endpoint.register()
    missed = endpoint.place()
    sound = endpoint.deliverer

    def post(*_: Any) -> Response:
        endpoint.deliverer = sound
        pause(endpoint, webhook)
        endpoint.handle(Message(PARTNER.id, webhook.id, missed))
        endpoint.status = 204
        return Response(204)

    endpoint.deliverer = replace(sound, post=post)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    endpoint.run(SECOND)

    assert missed in endpoint.received
    assert health(endpoint, webhook).paused_until == 0


def test_a_pause_does_not_begin_if_an_event_was_accepted_meanwhile(endpoint: Endpoint) -> None:
    """The twentieth failure pauses nothing if another message's event was accepted while it was under way."""
    webhook = endpoint.register()
    fail_before(endpoint, webhook, FAILURES - 1)
    other, sound = endpoint.place(), endpoint.deliverer

    def post(*_: Any) -> Response:
        endpoint.deliverer, endpoint.status = sound, 204
        endpoint.handle(Message(PARTNER.id, webhook.id, other))
        return Response(500)

    endpoint.deliverer = replace(sound, post=post)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert health(endpoint, webhook) == Health(failures=1)


def park_one(endpoint: Endpoint, webhook: Webhook) -> str:
    event = endpoint.park(webhook)
    endpoint.deliverer.end_pause(PARTNER.id, webhook.id)
    endpoint.run()
    return event


def test_a_replay_passes(endpoint: Endpoint) -> None:
    """A replay is sent while the webhook is paused; if it is accepted, the pause ends and what was missed comes."""
    webhook = endpoint.register()
    event = park_one(endpoint, webhook)
    orders = pause(endpoint, webhook)
    endpoint.run(timedelta(minutes=30))
    endpoint.status = 204
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.run(SECOND)

    assert sorted(endpoint.received) == sorted([endpoint.order, *orders])
    assert endpoint.deliverer.parked(PARTNER.id, webhook.id, 10) == []


def test_a_replay_that_fails_prolongs_nothing(endpoint: Endpoint) -> None:
    """A replay that fails while the webhook is paused leaves the pause as it is."""
    webhook = endpoint.register()
    event = park_one(endpoint, webhook)
    pause(endpoint, webhook)
    before = health(endpoint, webhook)
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.run(SECOND)

    assert len(endpoint.posted) == 1
    assert health(endpoint, webhook) == replace(before, failures=before.failures + 1)


def test_a_probe_answered_410_disables(endpoint: Endpoint) -> None:
    """A 410 to a probe disables the webhook; enabling it ends the pause too, and sends what was missed."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.status = 410
    endpoint.run(timedelta(minutes=5))
    assert endpoint.webhooks.get(PARTNER.id, webhook.id).disabled
    assert len(endpoint.posted) == 1
    endpoint.status = 204
    endpoint.deliverer.enable(PARTNER.id, webhook.id)
    endpoint.run()

    assert sorted(endpoint.received) == sorted(orders)


def test_paused_and_away(endpoint: Endpoint) -> None:
    """What a paused webhook missed waits for its partner too, and comes once both are back."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.run(timedelta(minutes=10))
    endpoint.partners.set_active(PARTNER.id, active=False)
    endpoint.run(timedelta(hours=5))
    endpoint.posted.clear()
    endpoint.run(timedelta(hours=5))
    assert endpoint.posted == []
    endpoint.partners.set_active(PARTNER.id, active=True)
    endpoint.status = 204
    endpoint.run(timedelta(hours=2))

    assert sorted(endpoint.received) == sorted(orders)
    assert endpoint.queue == []


def test_a_look_that_is_due_too_late(endpoint: Endpoint) -> None:
    """A pause of a minute does not wait for the hourly look at the orders that the partner may not see."""
    webhook = endpoint.register()
    endpoint.handle(Message(PARTNER.id, webhook.id, "ecards#1"))
    endpoint.partners.save_partner(replace(PARTNER, grants=frozenset({"training"})))
    endpoint.handle(Message(PARTNER.id, webhook.id, "ecards#1"))
    pause(endpoint, webhook)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    endpoint.status = 204
    endpoint.run(timedelta(seconds=62))

    assert endpoint.order in endpoint.received


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("back", [False, True])
def test_crashes(fault: Any, *, back: bool) -> None:
    """Wherever a process crashes while a probe fails or ends the pause, or in a look, every event arrives in time."""
    for call in itertools.count():
        endpoint = Endpoint(status=204 if back else 500)
        webhook = endpoint.register()
        recorded = endpoint.place()
        begin_pause(endpoint, webhook)
        endpoint.handle(Message(PARTNER.id, webhook.id, recorded))
        endpoint.now += timedelta(minutes=1)
        endpoint.signal(webhook)
        crashes = crash_at(endpoint, fault, call)
        endpoint.run(timedelta(minutes=1))
        endpoint.status = 204
        endpoint.run(timedelta(minutes=10))
        assert {*endpoint.received} == {endpoint.order, recorded}, call
        assert endpoint.queue == [], call
        if not crashes:
            break

    assert call > 10


def begin_pause(endpoint: Endpoint, webhook: Webhook) -> None:
    """Note a pause of a minute."""
    values = {":times": FAILURES, ":until": int(endpoint.now.timestamp() + 60) * 1000, ":one": 1}
    expression = "SET failures = :times, pausedUntil = :until, pauses = :one"
    endpoint.accounts.update(Update(health_key(PARTNER.id, webhook.id), expression, values=values))


def crash_at(endpoint: Endpoint, fault: Any, call: int) -> list[Message]:
    """Crash at a call of DynamoDB or of the queue, by its number from now on; returns the messages that are retried."""
    retried: list[Message] = []
    handle, queue, send = endpoint.handle, endpoint.deliverer.send, endpoint.faulty._send
    left = itertools.count(call, -1)

    def calls(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return fault(Crash())(send, operation, request) if next(left) == 0 else send(operation, request)

    def queues(body: str, seconds: int) -> None:
        crashes = next(left) == 0
        if not crashes or fault is lost:
            queue(body, seconds)
        if crashes:
            raise Crash

    def handles(message: Message) -> None:
        try:
            handle(message)
        except Crash:
            retried.append(message)
            endpoint.queue.append(replace(message, due=message.due or endpoint.now.timestamp() + 180))

    endpoint.faulty._send = calls
    endpoint.deliverer = replace(endpoint.deliverer, send=queues)
    endpoint.handle = handles  # type: ignore[method-assign] # the queue's retries
    return retried


def test_a_probe_whose_response_is_lost(endpoint: Endpoint) -> None:
    """A process whose response to taking the probe was lost has the probe."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    endpoint.status = 204
    endpoint.faulty.meet("UpdateItem", answer_lost)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    assert endpoint.received == [endpoint.order]
    endpoint.run(SECOND)

    assert sorted(endpoint.received) == sorted([endpoint.order, *orders])


def test_an_end_whose_response_is_lost(endpoint: Endpoint) -> None:
    """If the response to the end of a pause is lost, what was missed comes at once even so."""
    webhook = endpoint.register()
    orders = pause(endpoint, webhook)
    endpoint.now += timedelta(minutes=2)
    endpoint.status = 204
    endpoint.faulty.meet("UpdateItem", answer_lost, after=1)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    endpoint.run(SECOND)

    assert sorted(endpoint.received) == sorted([endpoint.order, *orders])


def test_costs(endpoint: Endpoint) -> None:
    """The breaker costs no call: neither a try that fails, nor the one that pauses, nor a probe that ends a pause."""
    webhook = endpoint.register()
    calls = []
    for failures in (0, FAILURES - 1):
        fail_before(endpoint, webhook, failures)
        order = endpoint.place()
        endpoint.accounts.usage.take()
        endpoint.handle(Message(PARTNER.id, webhook.id, order))
        calls.append(endpoint.accounts.usage.take().calls)
    assert calls == [5, 5]  # webhook, slot, position twice, slot
    endpoint.now += timedelta(minutes=2)
    endpoint.status = 204
    endpoint.accounts.usage.take()
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert endpoint.accounts.usage.take().calls <= 6


def test_a_replay_of_an_order_that_the_partner_may_not_see(endpoint: Endpoint) -> None:
    """A replay is refused while the partner is off or lacks the grant for the order, and its event stays parked."""
    webhook = endpoint.register()
    event = endpoint.park(webhook)
    for away in (replace(PARTNER, active=False), replace(PARTNER, grants=frozenset({"ecards"}))):
        endpoint.partners.save_partner(away)
        with pytest.raises(Withheld):
            endpoint.deliverer.replay(PARTNER.id, webhook.id, event)

    assert endpoint.queue == []
    assert [one.event for one in endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)] == [event]
