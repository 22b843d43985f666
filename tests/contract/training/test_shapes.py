"""The contract's "Shapes": every answer, field by field, against the published samples."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordering import values
from ordering.clock import Deadline
from ordering.money import Money, parse_amount
from ordering.training.statuses import TrainingStatus
from support.gateway import Client
from support.orders import client_of_new_unit, new_item, new_order, publish, target
from support.partners import AZ_300, CALLER, LINUX, ON_LINUX, STANDARD, UK, feature_set
from support.services import Services

SAMPLES = Path(__file__).parent / "samples"
FIRST = datetime(2019, 2, 24, 20, 4, 30, 473999, tzinfo=UTC)
SECOND = datetime(2023, 4, 21, 12, 49, 24, 761340, tzinfo=UTC)


def text_of(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text()


def sample(name: str) -> Any:
    return json.loads(text_of(name))


def shape(value: Any) -> Any:
    """The structure of a value: its names in order, and types."""
    match value:
        case dict():
            return [(name, shape(part)) for name, part in value.items()]
        case list():
            return [shape(part) for part in value[:1]]
    return type(value).__name__


def minified(text: str) -> str:
    """JSON without whitespace between tokens, with its numbers as they are written."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|\s+', lambda match: match.group(1) or "", text)


@pytest.fixture(scope="module", autouse=True)
def first_order(services: Services) -> None:
    """The published order: id 1, placed by John Smith for the UK and cancelled; and a second one."""
    client = Client(replace(services, now=partial(_same, FIRST)), CALLER)
    order = new_order(purchaseOrderReference="423432432", contactEmail="johnsmith@example.com")
    client.post(target("orders"), {**order, "orderItems": [new_item(featureSetId=ON_LINUX.id)]})
    services.training_orders(UK, Deadline.after(60)).cancel(1)
    client.post(target("orders"), new_order())


def _same(moment: datetime) -> datetime:
    return moment


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("products", "products"),
        ("product", f"products/{AZ_300.id}"),
        ("feature_sets", f"products/{AZ_300.id}/feature_sets"),
        ("feature_set", f"products/{AZ_300.id}/feature_sets/{STANDARD.id}"),
        ("orders", "orders"),
        ("order", "orders/1"),
        ("order_items", "orders/1/items"),
    ],
)
def test_fields_are_the_reference_s_in_its_order(client: Client, name: str, path: str) -> None:
    """An answer has exactly the published fields, in order, with the published types."""
    sent = target(path, _pageSize=1) if name.endswith("s") else target(path)

    assert shape(sample(name)) == shape(client.get(sent).json)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("product", f"products/{AZ_300.id}"),
        ("feature_set", f"products/{AZ_300.id}/feature_sets/{STANDARD.id}"),
        ("order", "orders/1"),
    ],
)
def test_one_thing_is_the_published_sample(client: Client, name: str, path: str) -> None:
    """The published product, feature set and order are identical but for whitespace."""
    assert minified(text_of(name)) == client.get(target(path)).text


@pytest.mark.parametrize(("name", "path"), [("products", "products"), ("orders", "orders")])
def test_first_entry_is_the_published_sample(client: Client, name: str, path: str) -> None:
    """The first entries of the published lists are identical field by field."""
    assert sample(name)["items"][0] == client.get(target(path)).json["items"][0]


def test_feature_sets_are_the_published_sample(client: Client) -> None:
    """The published list of feature sets is identical but for whitespace."""
    path = f"/api/v2/products/{AZ_300.id}/feature_sets?businessUnitId={UK.id}"

    assert minified(text_of("feature_sets")) == client.get(path).text


def test_items_are_the_published_sample(client: Client) -> None:
    """The items of the published order are as documented, for the ordered feature set."""
    published = sample("order_items")
    published["items"][0]["featureSetId"] = ON_LINUX.id

    assert published == client.get(target("orders/1/items")).json


def test_created_order_is_the_published_sample(services: Services) -> None:
    """The published created order is identical field by field, with seven decimals of a second."""
    client = Client(replace(services, now=partial(_same, SECOND)), CALLER)

    created = client.post(target("orders"), new_order(purchaseOrderReference="123456"))

    link = f"/api/v2/orders/{created.json['id']}"
    changed = {"id": created.json["id"], "created": "2023-04-21T12:49:24.7613400Z", "_links": {"self": link}}
    published = {**sample("created_order"), **changed}
    assert list(published.items()) == list(created.json.items())
    assert shape(sample("created_order")) == shape(created.json)


def test_published_request_is_accepted(client: Client) -> None:
    """The published request is accepted once its placeholders are filled in."""
    body = sample("create_order")
    body["contactEmail"] = "johnsmith@example.com"
    body["orderItems"][0] |= {"featureSetId": STANDARD.id, "feedbackLinkUri": "https://example.com/feedback"}

    created = client.post(target("orders"), body)
    item = client.get(target(f"orders/{created.json['id']}/items")).json["items"][0]

    assert created.status == 201
    assert body["purchaseOrderReference"] == created.json["purchasingOrderReference"]
    assert (item["quantity"], item["enableFeedbackLink"]) == (1, True)


def test_prices_keep_their_decimals(services: Services) -> None:
    """A price is a JSON number with all the decimals it was given."""
    amounts = ["48.0000", "0.1000", "12345678901234567890.1234", "0.0000"]
    prices = tuple(Money("GBP", parse_amount(value)) for value in amounts)
    client, _ = client_of_new_unit(services, [(AZ_300, [values.replace(STANDARD, prices=prices)])])

    one = client.get(f"/api/v2/products/{AZ_300.id}/feature_sets/{STANDARD.id}").text
    listed = client.get(f"/api/v2/products/{AZ_300.id}/feature_sets").text

    assert amounts == re.findall(r'"value":([^}]+)}', one)
    assert amounts == re.findall(r'"value":([^}]+)}', listed)


def test_several_prices(services: Services) -> None:
    """A feature set shows all its prices, or an empty list."""
    prices = (Money("GBP", parse_amount("48.0000")), Money("EUR", parse_amount("56.5000")))
    free = feature_set(AZ_300, 9, "Free")
    client, _ = client_of_new_unit(
        services, [(AZ_300, [values.replace(STANDARD, prices=prices), values.replace(free, prices=())])]
    )

    listed = client.get(f"/api/v2/products/{AZ_300.id}/feature_sets").json["items"]

    assert [item["prices"] for item in listed] == [
        [],
        [{"currency": "GBP", "value": 48.0}, {"currency": "EUR", "value": 56.5}],
    ]


def test_course_ids(client: Client) -> None:
    """A product shows the ids of its courses."""
    assert client.get(target(f"products/{LINUX.id}")).json["courseIds"] == ["c-1", "c-2"]


def test_description_is_fixed_when_ordered(services: Services) -> None:
    """An item's description keeps the product's and feature set's names at the time of the order."""
    client, unit = client_of_new_unit(services)
    order = client.post("/api/v2/orders", new_order()).json["id"]
    publish(
        services,
        unit,
        [(values.replace(AZ_300, name="New"), [values.replace(STANDARD, product_name="New", name="Renamed")])],
    )

    item = client.get(f"/api/v2/orders/{order}/items").json["items"][0]

    assert item["description"] == "AZ-300 (Packaged Set) - (Azure Pass) (Standard - 180 days)"


def test_items_link_to_their_collection(client: Client) -> None:
    """An item's `self` is its order's items."""
    order = client.post(target("orders"), new_order(orderItems=[new_item(), new_item()])).json["id"]

    items = client.get(target(f"orders/{order}/items")).json["items"]

    assert [{"self": f"/api/v2/orders/{order}/items"}] * 2 == [item["_links"] for item in items]
    assert [(order, 1), (order, 2)] == [(item["orderId"], item["id"]) for item in items]


def test_instants_in_both_notations(services: Services) -> None:
    """`created` has truncated milliseconds and no zone when read, and seven decimals and Z when created."""
    now = datetime(2024, 1, 2, 3, 4, 5, 9_999, tzinfo=UTC)
    client, _ = client_of_new_unit(replace(services, now=partial(_same, now)))

    created = client.post("/api/v2/orders", new_order()).json

    assert created["created"] == "2024-01-02T03:04:05.0099990Z"
    assert client.get(f"/api/v2/orders/{created['id']}").json["created"] == "2024-01-02T03:04:05.009"
    assert client.get("/api/v2/orders").json["items"][0]["created"] == "2024-01-02T03:04:05.009"


def test_order_ids_are_unique_over_the_installation(services: Services, client: Client, stranger: Client) -> None:
    """Order ids are positive 32-bit integers, unique across units, partners and processes."""
    elsewhere = Client(Services(services.send, "OrdersTable", "CatalogueTable", "AccountsTable"), CALLER)
    foreign = new_order(orderItems=[new_item(featureSetId="00000003-43b3-4969-a8a0-48e4915e6df0")])

    ids = [
        identifier
        for _ in range(6)
        for identifier in (
            client.post(target("orders"), new_order()).json["id"],
            elsewhere.post(target("orders"), new_order()).json["id"],
            stranger.post("/api/v2/orders", foreign).json["id"],
        )
    ]

    assert len(set(ids)) == 18
    assert all(type(identifier) is int and 0 < identifier < 2**31 for identifier in ids)


def test_statuses_are_the_contract_s() -> None:
    """An order is `New`, `Completed` or `Cancelled`."""
    assert {"New", "Completed", "Cancelled"} == {status.value for status in TrainingStatus}


def test_cancelled_is_shown_everywhere(services: Services) -> None:
    """A cancelled order is shown as such alone and in the list, and is neither editable nor cancellable."""
    client, unit = client_of_new_unit(services)
    order = client.post("/api/v2/orders", new_order()).json["id"]
    services.training_orders(unit, Deadline.after(60)).cancel(order)

    one = client.get(f"/api/v2/orders/{order}").json
    listed = client.get("/api/v2/orders").json["items"][0]

    assert "Cancelled" == one["orderStatus"] == listed["orderStatus"]
    assert [one["editable"], one["cancellable"], listed["editable"], listed["cancellable"]] == [False] * 4
