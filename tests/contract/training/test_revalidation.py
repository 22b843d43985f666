"""Catalogue reads with an `ETag`: callers ask whether their copies are current."""

from __future__ import annotations

import pytest

from support.gateway import Client
from support.orders import target
from support.partners import AZ_300, STANDARD

PATHS = [
    "products",
    f"products/{AZ_300.id}",
    f"products/{AZ_300.id}/feature_sets",
    f"products/{AZ_300.id}/feature_sets/{STANDARD.id}",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_copy(client: Client, path: str, method: str) -> None:
    """A read that names the response's `ETag` is 304, with the same header fields except those of a body."""
    first = client.get(target(path))
    again = client.request(method, target(path), headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.text) == (304, "")
    assert {**again.headers, "Content-Type": "application/json"} == first.headers


@pytest.mark.parametrize("field", ["*", '"other", {tag}', "{strong}", ["{tag}", '"x"'], ' {tag} , "y"'])
def test_named(client: Client, field: str | list[str]) -> None:
    """The tag may be one of a list, on several lines, or strong, and `*` names every one."""
    tag = client.get(target("products")).headers["ETag"]
    lines = [
        one.format(tag=tag, strong=tag.removeprefix("W/")) for one in ([field] if isinstance(field, str) else field)
    ]

    assert client.get(target("products"), headers={"If-None-Match": lines}).status == 304


@pytest.mark.parametrize("field", ["", '"other"', "{bare}", "w/{strong}", '"*"', '"{tag}"', "{strong}x"])
def test_not_named(client: Client, field: str) -> None:
    """A field that does not name the tag, or breaks the grammar, gets the whole response."""
    reply = client.get(target("products"))
    strong = reply.headers["ETag"].removeprefix("W/")
    sent = field.format(tag=reply.headers["ETag"], strong=strong, bare=strong.strip('"'))

    assert client.get(target("products"), headers={"If-None-Match": sent}) == reply


def test_another_response(client: Client) -> None:
    """Other pages have other tags."""
    tags = {client.get(target("products", _pageSize=1, _page=page)).headers["ETag"] for page in (1, 2)}

    assert len(tags) == 2


def test_errors_and_orders_have_no_tag(client: Client) -> None:
    """Errors are never 304, and orders have no tag."""
    error = client.get(target("products/x"), headers={"If-None-Match": "*"})
    orders = client.get(target("orders"), headers={"If-None-Match": "*"})

    assert (error.status, orders.status) == (404, 200)
    assert "ETag" not in {*error.headers, *orders.headers}
