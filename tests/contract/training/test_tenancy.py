"""The answer for another partner's id is identical to the one for an unknown id."""

from __future__ import annotations

import re

import pytest

from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.gateway import Client
from support.orders import new_item, new_order, target
from support.partners import AZ_300, CALLER, FOREIGN, FOREIGN_ONLY, IRELAND, LINUX, STANDARD, UK
from support.services import Services

UNKNOWN = "99999999-0000-4000-8000-000000000009"
NO_ORDER = 2_147_000_000


@pytest.fixture
def foreign_order(stranger: Client) -> int:
    """An order of the other partner."""
    created: int = stranger.post("/api/v2/orders", new_order(orderItems=[new_item(featureSetId=FOREIGN_ONLY.id)])).json[
        "id"
    ]
    return created


def same_but_for_the_id(client: Client, path: str, theirs: object, unknown: object) -> None:
    """Check that two ids get 404 in the same words."""
    one, other = client.get(target(path.format(theirs))), client.get(target(path.format(unknown)))

    assert (one.status, other.status) == (404, 404)
    assert other.text == re.sub(rf"\b{theirs}\b", str(unknown), one.text)
    assert other.headers == one.headers


@pytest.mark.parametrize("path", ["orders/{}", "orders/{}/items"])
def test_foreign_orders(client: Client, stranger: Client, foreign_order: int, path: str) -> None:
    """Another partner's order is indistinguishable from an unknown one."""
    assert stranger.get(f"/api/v2/{path.format(foreign_order)}").status == 200
    same_but_for_the_id(client, path, foreign_order, NO_ORDER)


@pytest.mark.parametrize("rest", ["items", "keys"])
def test_time_tells_nothing_of_foreign_orders(
    services: Services, stranger: Client, watched: Recorder, rest: str
) -> None:
    """For another unit's order of many lines the same is read as for an unknown one: the order's own item."""
    lines = [new_item(featureSetId=FOREIGN_ONLY.id, sourceReference="r" * 255) for _ in range(500)]
    theirs = stranger.post("/api/v2/orders", new_order(orderItems=lines)).json["id"]
    client = Client(services, replace(CALLER, grants=("training", "training-keys")))
    read = []
    for number in (theirs, NO_ORDER):
        watched.calls.clear()
        assert client.get(target(f"orders/{number}/{rest}")).status == 404
        read.append([(operation, request.get("Key", {}).get("sk")) for operation, request in watched.calls])

    assert read == [[("GetItem", {"S": "ORDER"})]] * 2


@pytest.mark.parametrize("path", ["products/{}", "products/{}/feature_sets"])
def test_foreign_products(stranger: Client, client: Client, path: str) -> None:
    """A product of another unit's catalogue is indistinguishable from an unknown one."""
    assert client.get(target(path.format(AZ_300.id))).status == 200
    same_but_for_the_id_of(stranger, path, AZ_300.id)


def same_but_for_the_id_of(client: Client, path: str, theirs: str) -> None:
    one, other = client.get(f"/api/v2/{path.format(theirs)}"), client.get(f"/api/v2/{path.format(UNKNOWN)}")

    assert (one.status, other.status) == (404, 404)
    assert other.text == one.text.replace(theirs, UNKNOWN)


def test_foreign_feature_sets(client: Client, stranger: Client) -> None:
    """A feature set of another unit's catalogue looks like an unknown one, even under a product of both units."""
    assert stranger.get(f"/api/v2/products/{LINUX.id}/feature_sets/{FOREIGN_ONLY.id}").status == 200
    same_but_for_the_id(client, f"products/{LINUX.id}/feature_sets/{{}}", FOREIGN_ONLY.id, UNKNOWN)


def test_feature_sets_of_another_product(client: Client) -> None:
    """A feature set is found only under its own product."""
    same_but_for_the_id(client, f"products/{LINUX.id}/feature_sets/{{}}", STANDARD.id, UNKNOWN)


def test_foreign_feature_sets_cannot_be_ordered(client: Client) -> None:
    """Ordering another unit's feature set is refused in the same words as ordering an unknown one."""
    theirs, unknown = (
        client.post(target("orders"), new_order(orderItems=[new_item(featureSetId=one)]))
        for one in (FOREIGN_ONLY.id, UNKNOWN)
    )

    assert (theirs.status, unknown.status) == (400, 400)
    assert unknown.text == theirs.text


@pytest.mark.parametrize("rest", ["", "/items"])
def test_orders_of_the_partner_s_other_unit(client: Client, rest: str) -> None:
    """An order is found only under its own business unit, even if the token covers both."""
    created = client.post(target("orders", IRELAND), new_order()).json["id"]

    assert client.get(target(f"orders/{created}{rest}", IRELAND)).status == 200
    same_but_for_the_id(client, f"orders/{{}}{rest}", created, NO_ORDER)


def test_narrowed_tokens_see_their_units_only(services: Services, client: Client) -> None:
    """A token for one unit cannot use the partner's other units."""
    created = client.post(target("orders", IRELAND), new_order()).json["id"]
    narrowed = Client(services, replace(client.caller, business_units=(UK.id,)))

    assert narrowed.get(target(f"orders/{created}", IRELAND)).status == 404
    assert narrowed.get(f"/api/v2/orders/{created}").status == 404
    assert narrowed.post(target("orders", IRELAND), new_order()).status == 404


def test_foreign_units_are_not_created_in(client: Client, stranger: Client) -> None:
    """A create for another partner's unit is 404 and creates nothing."""
    before = stranger.get("/api/v2/orders").json["_pageInfo"]["totalItemCount"]

    refused = client.post(target("orders", FOREIGN), new_order(orderItems=[new_item(featureSetId=FOREIGN_ONLY.id)]))

    assert refused.status == 404
    assert before == stranger.get("/api/v2/orders").json["_pageInfo"]["totalItemCount"]


def test_lists_of_another_partner(client: Client, stranger: Client, foreign_order: int) -> None:
    """No list has orders of another partner."""
    mine = client.post(target("orders"), new_order()).json["id"]

    own = [order["id"] for order in client.get(target("orders", _pageSize=500)).json["items"]]
    theirs = [order["id"] for order in stranger.get("/api/v2/orders?_pageSize=500").json["items"]]

    assert mine in own
    assert foreign_order in theirs
    assert not {*own} & {*theirs}
