"""The metrics in log lines: which line publishes which metric, in CloudWatch's embedded metric format."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.orderbook import Draft, OrderBook
from ordering.metrics import measured
from ordering.webhooks.delivery import Message
from support.aws.faults import Faulty, failed, throttled
from support.aws.memory import Memory
from support.cloudwatch import Metrics, Name
from support.ecards import COMPANY, Rewards, card, services_over
from support.ecards import new_order as new_ecard_order
from support.endpoint import Endpoint
from support.gateway import Client
from support.orders import new_order, target
from support.partners import JOHN, PARTNER, UK
from support.services import Services

COUNTS = {"OrdersCreated", "OrdersReplayed", "Conflicts"}


@pytest.fixture
def published(caplog: pytest.LogCaptureFixture) -> Any:
    """Returns the values of all metrics that lines have published since it was last asked, by name and contract."""
    caplog.set_level(logging.INFO, logger="ordering")

    def read() -> dict[tuple[str, str], list[float]]:
        metrics = Metrics()
        for record in caplog.records:
            metrics.read_embedded(json.loads(json.dumps(vars(record), default=str)), 0)
        caplog.clear()
        return {_short(name): [one.value for one in samples] for name, samples in metrics.samples.items()}

    return read


def _short(name: Name) -> tuple[str, str]:
    return name[1], dict(name[2]).get("contract", "")


def test_a_line_has_the_format() -> None:
    """A line with metrics says their namespace, dimension and units, and has their values."""
    line = measured("deals", Voids=1, OldestOpenTicketSeconds=2.5)

    assert line.pop("_aws")["CloudWatchMetrics"] == [
        {
            "Namespace": "ordering",
            "Dimensions": [["contract"]],
            "Metrics": [{"Name": "Voids", "Unit": "Count"}, {"Name": "OldestOpenTicketSeconds", "Unit": "Seconds"}],
        }
    ]
    assert line == {"contract": "deals", "Voids": 1, "OldestOpenTicketSeconds": 2.5}


def test_creates_of_training(client: Client, published: Any) -> None:
    """A create counts as created, and its retry as replayed; other requests count nothing."""
    order, headers = new_order(contactEmail="someone@example.com"), {"Idempotency-Key": "k"}
    results = []
    for body in (order, order):
        client.post(target("orders"), body, headers=headers)
        # The ticket of a create that is refused or replayed is voided at once.
        results.append({name: values for name, values in published().items() if name[0] in COUNTS})
    client.get(target("orders"))

    assert results[0] == {("OrdersCreated", "training"): [1]}
    assert results[1] == {("OrdersReplayed", "training"): [1]}
    assert published() == {}


def test_creates_of_ecards(published: Any) -> None:
    """An order with a new id counts as created, the same order again as replayed, another with the id as a conflict."""
    rewards = Rewards(services_over(Memory()), COMPANY)
    rewards.publish()
    results = []
    for quantity in (1, 1, 2):
        rewards.post("/v1/orders", new_ecard_order(1, card(quantity=quantity)))
        results.append(published())

    assert results == [
        {("OrdersCreated", "ecards"): [1]},
        {("OrdersReplayed", "ecards"): [1]},
        {("Conflicts", "ecards"): [1]},
    ]


def test_retries_at_the_tables(client: Client, published: Any) -> None:
    """Each attempt at DynamoDB that failed counts, also if a later one succeeded."""
    faulty = Faulty(client.services.send)
    client.services = Services(faulty, "OrdersTable", "CatalogueTable", "AccountsTable")
    faulty.meet("Query", throttled)
    faulty.meet("Query", failed, after=1)

    assert client.get(target("products")).status == 200
    assert published() == {("StoreRetries", "training"): [2]}


def test_voids(published: Any) -> None:
    """A voided position counts once, with the age of its ticket."""
    times = [datetime(2026, 1, 1, 12, tzinfo=UTC)]
    table = Table(Memory(), "OrdersTable", first_pause=0.0)
    book = OrderBook(table, "deals#acme", now=lambda: times[-1])
    book._take_ticket()  # its writer crashes now
    book.place(lambda _: Draft({"order": "b"}, []))
    times.append(times[-1] + timedelta(seconds=90))
    for _ in range(2):
        book.settle()

    assert published() == {("Voids", "deals"): [1], ("OldestOpenTicketSeconds", "deals"): [90]}


def test_the_lag_of_webhooks(published: Any) -> None:
    """An accepted event counts the seconds since it happened; one that was not accepted counts nothing."""
    endpoint = Endpoint(status=500)
    webhook = endpoint.register()
    endpoint.now += timedelta(seconds=30)
    endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.order))
    before = published()
    endpoint.status = 204
    endpoint.now += timedelta(seconds=20)
    endpoint.handle(endpoint.queue.pop())

    assert ("WebhookLagSeconds", "training") not in before
    assert published() == {("WebhookLagSeconds", "training"): [50]}


def test_the_line_of_a_request(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A request's line has its unit, user and trace, for a create whether it was replayed, for a refusal the codes."""
    caplog.set_level(logging.INFO, logger="ordering")
    trace = {"X-Amzn-Trace-Id": "Self=1-2-3;Root=1-69f1-ab;Sampled=1"}
    client.post(target("orders"), new_order(contactEmail="someone@example.com"), headers=trace)
    client.get(target("orders/99"))
    client.get(target("orders", _page="x"))
    created, missing, invalid = (vars(one) for one in caplog.records if one.getMessage() == "request")

    assert [created[name] for name in ("unit", "user", "trace", "replayed")] == [UK.id, JOHN.id, "1-69f1-ab", False]
    assert "refusal" not in created
    assert (missing["refusal"], missing["status"]) == ("NotFound", 404)
    assert (invalid["refusal"], len(invalid["faults"])) == ("Invalid", 1)
