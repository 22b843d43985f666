"""If the request's path begins with the stage's name, so does every link, so that it can be followed."""

from __future__ import annotations

import re

import pytest

from ordering.values import replace
from support.gateway import Client
from support.orders import new_order, target
from support.partners import AZ_300, CALLER, IRELAND, STANDARD, UK
from support.services import Services


@pytest.fixture
def staged(services: Services) -> Client:
    """A caller without a custom domain."""
    client = Client(services, CALLER, stage="live")
    client.post(target("orders"), new_order())
    client.post(target("orders"), new_order())
    return client


def test_every_link_of_a_read(staged: Client, client: Client) -> None:
    """`self` and `next` begin with the stage and are otherwise unchanged."""
    for sent in (
        target("products", _pageSize=1),
        target(f"products/{AZ_300.id}"),
        target(f"products/{AZ_300.id}/feature_sets", _pageSize=1),
        target(f"products/{AZ_300.id}/feature_sets/{STANDARD.id}"),
        target("orders", _pageSize=1),
        target("orders/1/items", _pageSize=1),
    ):
        text = staged.get(sent).text
        links = re.findall(r'"(?:self|next)":"([^"]+)"', text)

        assert links
        assert all(link.startswith("/live/api/v2/") for link in links)
        assert client.get(sent).text == text.replace('"/live/api', '"/api')


def test_next_can_be_followed(staged: Client) -> None:
    """`next` of a list leads to its next page."""
    first = staged.get(target("products", _pageSize=1)).json

    second = staged.get(first["_links"]["next"].removeprefix("/live")).json

    assert second["_pageInfo"]["pageNumber"] == 2
    assert first["items"] != second["items"]


def test_location(staged: Client) -> None:
    """`Location` and `self` of a create begin with the stage, also on a retry."""
    for _ in range(2):
        created = staged.post(target("orders"), new_order(), headers={"Idempotency-Key": "staged"})
        link = f"/live/api/v2/orders/{created.json['id']}"

        assert created.json["_links"]["self"] == link
        assert created.headers["Location"] == f"{link}?businessUnitId={UK.id}"


def test_location_can_be_followed(services: Services) -> None:
    """`Location` names the business unit only for a token that covers several, and can be followed as it is."""
    for units, query in (((UK.id, IRELAND.id), f"?businessUnitId={UK.id}"), ((UK.id,), "")):
        client = Client(services, replace(CALLER, business_units=units))
        created = client.post(target("orders"), new_order())

        assert created.headers["Location"] == f"/api/v2/orders/{created.json['id']}{query}"
        assert client.get(created.headers["Location"]).json["id"] == created.json["id"]


def test_a_stage_named_like_a_path(services: Services) -> None:
    """A stage with the name of a path's first segment is recognised."""
    client = Client(services, CALLER, stage="api")

    assert "/api/api/v2/products?" in client.get(target("products", _pageSize=1)).json["_links"]["next"]
