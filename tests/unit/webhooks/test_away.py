"""Webhooks of partners that are switched off or lost a grant: nothing is sent, and what was missed comes later."""

from __future__ import annotations

import itertools
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ordering.contexts import may_see
from ordering.ecards import contract as ecards
from ordering.errors import Forbidden
from ordering.identity.accounts import Partner
from ordering.principal import PaymentTerms
from ordering.training import contract as training
from ordering.values import replace
from ordering.webhooks.delivery import LOOK_AGAIN, MISSED_KEPT, Message
from ordering.webhooks.health import health_key
from support.aws.faults import Crash, interrupted, lost, refused
from support.endpoint import Endpoint
from support.partners import CALLER, PARTNER

OFF = replace(PARTNER, active=False)
AWAY = {
    "off": OFF,
    "no grant": replace(PARTNER, grants=frozenset({"ecards"})),
    "card payment": replace(PARTNER, payment_terms="card"),
}


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(status=204)


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY.keys())
def test_nothing_is_sent_while_the_partner_is_away(endpoint: Endpoint, away: Partner) -> None:
    """A partner that is off or lacks the grant gets nothing; what it missed comes within an hour of its return."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(away)
    endpoint.signal(webhook)
    endpoint.run(timedelta(days=3))
    assert endpoint.posted == []
    endpoint.partners.save_partner(PARTNER)
    endpoint.run(timedelta(seconds=LOOK_AGAIN + 1))

    assert endpoint.received == [endpoint.order]
    assert endpoint.queue == []


def test_what_was_missed_comes_at_once(endpoint: Endpoint) -> None:
    """Resuming a partner's webhooks sends what each of them missed, at once and only once."""
    webhooks = [endpoint.register(), endpoint.register()]
    orders = [endpoint.order, endpoint.place(), endpoint.place()]
    endpoint.partners.set_active(PARTNER.id, active=False)
    for webhook in webhooks:
        endpoint.signal(webhook, *orders)
    endpoint.run(timedelta(minutes=5))
    endpoint.partners.set_active(PARTNER.id, active=True)
    endpoint.deliverer.resume(PARTNER.id)
    endpoint.run(timedelta(seconds=1))
    endpoint.deliverer.resume(PARTNER.id)
    endpoint.run()

    assert sorted(endpoint.received) == sorted([*orders, *orders])
    assert endpoint.queue == []


def test_a_deleted_partner(endpoint: Endpoint) -> None:
    """A webhook without a partner's record gets nothing."""
    webhook = endpoint.register()
    endpoint.accounts.delete_all([(f"PARTNER#{PARTNER.id}", "PARTNER")])
    endpoint.signal(webhook)
    endpoint.run()

    assert endpoint.posted == []


def test_a_look_once_an_hour(endpoint: Endpoint) -> None:
    """A partner that stays away costs one look an hour for each webhook, however many orders it misses, for 30 days."""
    webhook = endpoint.register()
    orders = [endpoint.place() for _ in range(20)]
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook, *orders)
    endpoint.run(timedelta(minutes=1))
    handled = endpoint.handled
    endpoint.run(timedelta(hours=10))
    assert endpoint.handled == handled + 10
    assert len(endpoint.queue) == 1
    endpoint.run(MISSED_KEPT + timedelta(hours=2))

    assert endpoint.queue == []
    assert endpoint.posted == []


def test_a_retry_that_comes_while_the_partner_is_away(endpoint: Endpoint) -> None:
    """The retry of an event is not lost if it comes while the partner is away: it continues with the next try."""
    webhook = endpoint.register()
    endpoint.status = 500
    endpoint.signal(webhook)
    endpoint.run(timedelta(seconds=20))
    endpoint.partners.save_partner(OFF)
    endpoint.run(timedelta(hours=5))
    assert len(endpoint.posted) == 2
    endpoint.partners.save_partner(PARTNER)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert len(endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)) == 1


def test_a_resumed_event_whose_retry_is_still_queued(endpoint: Endpoint) -> None:
    """An event that is resumed while its retry is queued has ten tries in all, by one chain of retries."""
    webhook = endpoint.register()
    endpoint.status = 500
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=10))
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(seconds=1))
    endpoint.partners.save_partner(PARTNER)
    endpoint.deliverer.resume(PARTNER.id)
    endpoint.run()

    assert len(endpoint.posted) == 10
    assert endpoint.queue == []


def test_a_replay_while_the_partner_is_away(endpoint: Endpoint) -> None:
    """A replay that comes while the partner is away sends nothing, and its event stays parked."""
    webhook = endpoint.register()
    endpoint.status = 500
    event = endpoint.park(webhook)
    endpoint.deliverer.replay(PARTNER.id, webhook.id, event)
    endpoint.partners.save_partner(OFF)
    endpoint.run()

    assert endpoint.posted == []
    assert [one.event for one in endpoint.deliverer.parked(PARTNER.id, webhook.id, 10)] == [event]


def test_other_orders_are_sent(endpoint: Endpoint) -> None:
    """A partner that lost one grant gets the events of its other orders, and the held ones are looked at again."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(replace(PARTNER, grants=frozenset({"training"})))
    endpoint.signal(webhook, "ecards#1", endpoint.order)
    endpoint.run(timedelta(minutes=1))

    assert endpoint.received == [endpoint.order]
    assert [one.missed for one in endpoint.queue] == [True]


@pytest.mark.parametrize("operation", ["UpdateItem", "BatchGetItem"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("fault", [refused, lost])
def test_crashes_while_an_order_is_recorded(endpoint: Endpoint, operation: str, after: int, fault: Any) -> None:
    """Wherever the recording of a missed order crashes, its events arrive within an hour of the partner's return."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(OFF)
    message = Message(PARTNER.id, webhook.id, endpoint.order)
    endpoint.faulty.meet(operation, fault(Crash()), after=after)
    with pytest.raises(Crash):
        endpoint.handle(message)
    endpoint.handle(message)
    endpoint.partners.save_partner(PARTNER)
    endpoint.run(timedelta(seconds=LOOK_AGAIN + 1))

    assert endpoint.received == [endpoint.order]
    assert endpoint.queue == []


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(
    ("operation", "after"), [("BatchGetItem", 0), ("UpdateItem", 0), ("Query", 0), ("UpdateItem", 1)]
)
@pytest.mark.parametrize("fault", [refused, lost])
def test_crashes_during_a_look(endpoint: Endpoint, operation: str, after: int, fault: Any, *, back: bool) -> None:
    """Wherever a look at missed events crashes, the events arrive, and one chain of looks is left at most."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))
    (look,) = endpoint.queue
    endpoint.now += timedelta(hours=1)
    if back:
        endpoint.partners.save_partner(PARTNER)
    endpoint.faulty.meet(operation, fault(Crash()), after=after)
    with pytest.raises(Crash):
        endpoint.handle(look)
    endpoint.run(timedelta(hours=4))
    assert len(endpoint.queue) == (0 if back else 1)
    endpoint.partners.save_partner(PARTNER)
    endpoint.run(timedelta(hours=1, minutes=1))

    assert {*endpoint.received} == {endpoint.order}
    assert endpoint.queue == []


@pytest.mark.parametrize("operation", ["UpdateItem", "BatchGetItem", "Query"])
def test_recorded_while_a_look_ends(endpoint: Endpoint, operation: str) -> None:
    """An order that is recorded while the last look runs is not lost, wherever in the look that happens."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))
    (look,) = endpoint.queue
    endpoint.queue.clear()
    endpoint.now += timedelta(hours=1)
    endpoint.partners.save_partner(PARTNER)
    other = endpoint.place()

    def miss() -> None:
        endpoint.partners.save_partner(OFF)
        endpoint.handle(Message(PARTNER.id, webhook.id, other))

    endpoint.faulty.meet(operation, interrupted(miss), after=int(operation == "UpdateItem"))
    endpoint.handle(look)
    endpoint.run(timedelta(minutes=1))
    endpoint.partners.save_partner(PARTNER)
    endpoint.run(timedelta(hours=2))

    assert {*endpoint.received} == {endpoint.order, other}
    assert endpoint.queue == []


def test_a_lost_look_is_replaced(endpoint: Endpoint) -> None:
    """A look that ended among the dead letters does not keep later missed events from being found."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))
    endpoint.queue.clear()
    endpoint.now += timedelta(hours=8)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))

    assert [one.missed for one in endpoint.queue] == [True]


def test_disabled_and_away(endpoint: Endpoint) -> None:
    """A disabled webhook of an absent partner is not looked at; once it is enabled, it waits for the partner."""
    webhook = endpoint.register()
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))
    endpoint.webhooks.disable(webhook, "by hand")
    endpoint.run(timedelta(hours=3))
    assert endpoint.queue == []
    endpoint.deliverer.enable(PARTNER.id, webhook.id)
    endpoint.run(timedelta(hours=3))
    assert endpoint.posted == []
    endpoint.partners.save_partner(PARTNER)
    endpoint.run(timedelta(hours=2))

    assert endpoint.received == [endpoint.order]
    assert endpoint.queue == []


def test_a_record_of_an_earlier_release(endpoint: Endpoint) -> None:
    """An order that an earlier release recorded as missed is sent once, and can be missed again."""
    webhook = endpoint.register()
    key = (f"DELIVERIES#{PARTNER.id}#{webhook.id}", f"MISSED#{endpoint.order}")
    expires = int((endpoint.now + MISSED_KEPT).timestamp())
    endpoint.accounts.put_all([{"pk": key[0], "sk": key[1], "expires": expires}])
    endpoint.deliverer.enable(PARTNER.id, webhook.id)
    endpoint.run()
    endpoint.deliverer.enable(PARTNER.id, webhook.id)
    assert endpoint.received == [endpoint.order]
    endpoint.run()
    assert endpoint.handled == 3
    endpoint.partners.save_partner(OFF)
    endpoint.signal(webhook)
    endpoint.run(timedelta(minutes=1))
    assert len(endpoint.queue) == 1
    endpoint.partners.save_partner(PARTNER)
    endpoint.run()

    assert endpoint.handled == 6


def test_costs(endpoint: Endpoint) -> None:
    """Webhook, partner and health are read in one call; recording a missed order takes four calls."""
    webhook = endpoint.register()
    endpoint.accounts.usage.take()
    endpoint.webhooks.recipient(PARTNER.id, webhook.id)
    assert endpoint.accounts.usage.take().calls == 1
    endpoint.partners.save_partner(OFF)
    endpoint.accounts.usage.take()
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))

    assert endpoint.accounts.usage.take().calls == 4
    assert endpoint.accounts.get(health_key(PARTNER.id, webhook.id))


@pytest.mark.parametrize(("contract", "order"), [(training.CONTRACT, "training#1"), (ecards.CONTRACT, "ecards#1")])
def test_as_the_contract_admits(contract: Any, order: str) -> None:
    """A partner may receive the events of the orders that its contract lets it read, and no others."""
    both: list[PaymentTerms] = ["invoice", "card"]
    for grants, terms, company in itertools.product([(), ("training",), ("ecards",)], both, [None, "G"]):
        partner = replace(PARTNER, grants=frozenset(grants), payment_terms=terms, company=company)
        caller = replace(CALLER, grants=grants, payment_terms=terms, company=company)
        try:
            contract.admit(SimpleNamespace(caller=caller))
            admitted = True
        except Forbidden:
            admitted = False

        assert may_see(partner, order) == may_see(partner, f"mails#{order}") == admitted
        assert not may_see(replace(partner, active=False), order)
