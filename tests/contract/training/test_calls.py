"""The contract's "Calls": the answer of each call, and the business unit it is about."""

from __future__ import annotations

import pytest

from ordering.principal import BusinessUnit
from ordering.values import replace
from support.gateway import Client
from support.orders import new_order, target
from support.partners import AZ_300, FOREIGN, IRELAND, SINGLE_UNIT, STANDARD, UK
from support.services import Services

UNKNOWN = "99999999-0000-4000-8000-000000000009"


@pytest.fixture(scope="module")
def order_id(services: Services) -> int:
    """An order of the UK's."""
    created: int = Client(services, SINGLE_UNIT).post("/api/v2/orders", new_order()).json["id"]
    return created


@pytest.fixture
def paths(order_id: int) -> list[str]:
    return [
        "products",
        f"products/{AZ_300.id}",
        f"products/{AZ_300.id}/feature_sets",
        f"products/{AZ_300.id}/feature_sets/{STANDARD.id}",
        "orders",
        f"orders/{order_id}",
        f"orders/{order_id}/items",
    ]


def test_reads_are_answered_with_json(client: Client, paths: list[str]) -> None:
    """Every read is answered with 200, as JSON, with the request's id."""
    replies = [client.get(target(path)) for path in paths]

    assert [200] * len(paths) == [reply.status for reply in replies]
    assert {"application/json"} == {reply.headers["Content-Type"] for reply in replies}
    assert all(reply.headers["X-Request-Id"] for reply in replies)


def test_create_is_answered_with_201_and_location(client: Client) -> None:
    """A create is answered with 201 and the `Location` of the order."""
    created = client.post(target("orders"), new_order())

    assert created.status == 201
    assert f"/api/v2/orders/{created.json['id']}?businessUnitId={UK.id}" == created.headers["Location"]
    assert created.json["id"] == client.get(created.headers["Location"]).json["id"]


def test_only_unit_may_be_left_out(services: Services, paths: list[str]) -> None:
    """Without `businessUnitId` a call is about the token's only business unit."""
    client = Client(services, SINGLE_UNIT)

    for path in paths:
        assert client.get(target(path)).text == client.get(f"/api/v2/{path}").text
    assert UK.id == client.post("/api/v2/orders", new_order()).json["businessUnitId"]


@pytest.mark.parametrize("units", [(), (UK.id, IRELAND.id)], ids=["none", "two"])
def test_unit_is_required_unless_there_is_one(services: Services, paths: list[str], units: tuple[str, ...]) -> None:
    """Without `businessUnitId`, a token for no or several units gets 400, which names the parameter."""
    client = Client(services, replace(SINGLE_UNIT, business_units=units))

    replies = [client.get(f"/api/v2/{path}") for path in paths] + [client.post("/api/v2/orders", new_order())]

    assert {400} == {reply.status for reply in replies}
    assert all(reply.faults == [("businessUnitId", "required")] for reply in replies)


def test_foreign_and_unknown_units_are_indistinguishable(client: Client, paths: list[str]) -> None:
    """A unit that the token does not cover is 404, in the same words whether it exists or not."""

    def answers(unit: str) -> list[tuple[int, str]]:
        query = f"?businessUnitId={unit}"
        replies = [client.get(f"/api/v2/{path}{query}") for path in paths]
        replies.append(client.post(f"/api/v2/orders{query}", new_order()))
        return [(reply.status, reply.text.replace(unit, "UNIT")) for reply in replies]

    assert answers(UNKNOWN) == answers(FOREIGN.id)
    assert {404} == {status for status, _ in answers(FOREIGN.id)}


def test_units_are_written_in_any_case(client: Client) -> None:
    """A unit's UUID is case-insensitive."""
    upper = f"?businessUnitId={UK.id.upper()}"

    assert client.get(f"/api/v2/products/{AZ_300.id.upper()}{upper}").status == 200
    assert UK.id == client.post(f"/api/v2/orders{upper}", new_order()).json["businessUnitId"]


@pytest.mark.parametrize(
    "unit",
    ["", "UK", UK.id[:-1], UK.id + "0", UK.id.replace("-", ""), f"{{{UK.id}}}", f" {UK.id}", f"{UK.id}\n", "null"],
)
def test_unit_must_be_a_uuid(client: Client, unit: str) -> None:
    """A `businessUnitId` that is not a UUID is refused by name."""
    reply = client.get(target("orders", businessUnitId=unit))

    assert (reply.status, reply.faults) == (400, [("businessUnitId", "invalid_format")])


def test_units_are_apart(client: Client) -> None:
    """An order is listed only in the unit that it was created for."""
    created = client.post(target("orders", IRELAND), new_order()).json["id"]

    def ids(unit: BusinessUnit) -> list[int]:
        items = client.get(target("orders", unit, _pageSize=500)).json["items"]
        return [item["id"] for item in items]

    assert created in ids(IRELAND)
    assert created not in ids(UK)
