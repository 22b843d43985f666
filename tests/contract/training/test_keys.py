"""The contract's access keys: which are shown, to whom, and the answers when there are none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ordering import values
from ordering.aws.calls import unavailable
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline
from ordering.principal import BusinessUnit, Principal
from ordering_tools.documents import openapi
from support.aws.faults import Faulty, interrupted
from support.aws.kms import MemoryKms
from support.gateway import Client
from support.orders import new_item, new_order, target
from support.partners import CALLER, IRELAND, OTHER_PARTNER, UK
from support.services import Services
from support.training import KEY_ID, READER, Steps

KMS = MemoryKms()


@pytest.fixture(scope="module")
def issuing(services: Services) -> Services:
    """The services of functions that reach KMS."""
    return replace(services, kms=KMS, access_keys_key=KEY_ID)


@pytest.fixture
def reader(issuing: Services) -> Client:
    """A caller who may read access keys."""
    return Client(issuing, READER)


def placed(client: Client, *quantities: int, unit: BusinessUnit = UK) -> int:
    items = [new_item(quantity=quantity) for quantity in quantities or (1,)]
    order_id: int = client.post(target("orders", unit), new_order(orderItems=items)).json["id"]
    return order_id


def issued(client: Client, *quantities: int, unit: BusinessUnit = UK) -> int:
    """Place an order and issue its keys, as fulfilment does."""
    order_id = placed(client, *quantities, unit=unit)
    deadline = Deadline.after(60)
    orders = client.services.training_orders(unit, deadline)
    assert orders.issue_keys(order_id, client.services.access_keys_sealer(), deadline)
    return order_id


def path(order_id: object, unit: BusinessUnit = UK, **query: object) -> str:
    return target(f"orders/{order_id}/keys", unit, **query)


def seats(page: dict[str, Any]) -> list[tuple[int, int]]:
    return [(item["orderItemId"], item["seat"]) for item in page["items"]]


def test_a_key_for_each_seat(reader: Client) -> None:
    """A completed order shows one key per seat, by item and seat, with exactly four fields."""
    order = issued(reader, 2, 1)
    reply = reader.get(path(order))

    assert (reply.status, list(reply.json)) == (200, ["items", "_pageInfo", "_links"])
    assert seats(reply.json) == [(1, 1), (1, 2), (2, 1)]
    assert all(list(item) == ["orderId", "orderItemId", "seat", "key"] for item in reply.json["items"])
    assert {item["orderId"] for item in reply.json["items"]} == {order}
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){4}", i["key"]) for i in reply.json["items"])
    assert len({item["key"] for item in reply.json["items"]}) == 3
    assert reader.get(f"/api/v2/orders/{order}?businessUnitId={UK.id}").json["orderStatus"] == "Completed"


def test_by_the_schema(reader: Client) -> None:
    """An answer is valid for the reference's schema."""
    document = openapi.document()
    schema = {"$ref": "#/components/schemas/TrainingAccessKeyList", "components": document["components"]}

    assert [*Draft202012Validator(schema).iter_errors(reader.get(path(issued(reader))).json)] == []
    responses = {place: part["get"]["responses"] for place, part in document["paths"].items() if "get" in part}
    assert [place for place, one in responses.items() if place.startswith("/api/v2") and "409" in one] == [
        "/api/v2/orders/{orderId}/keys"
    ]


def test_keys_stay_the_same(reader: Client) -> None:
    """Reading the keys again shows the same keys."""
    order = issued(reader, 3)

    assert reader.get(path(order)).json == reader.get(path(order)).json


def test_pages(reader: Client) -> None:
    """Following `next` reads each key once, with the exact total on every page."""
    order = issued(reader, 120, 3)
    found: list[dict[str, Any]] = []
    next_one: str | None = path(order, _pageSize=50)
    infos = []
    while next_one:
        page = reader.get(next_one).json
        found += page["items"]
        infos.append(page["_pageInfo"])
        next_one = page["_links"].get("next")

    assert found == reader.get(path(order, _pageSize=500)).json["items"]
    assert [info["totalItemCount"] for info in infos] == [123, 123, 123]
    assert (infos[-1]["firstItemOnPage"], infos[-1]["lastItemOnPage"], infos[-1]["isLastPage"]) == (101, 123, True)
    behind = reader.get(path(order, _page=99)).json
    assert (behind["items"], behind["_pageInfo"]["totalItemCount"], behind["_links"]) == ([], 123, {})


@pytest.mark.parametrize("query", [{"_page": 0}, {"_pageSize": 501}, {"_pageSize": "x"}])
def test_invalid_pages(reader: Client, query: dict[str, Any]) -> None:
    """An invalid page is refused by the parameter's name."""
    reply = reader.get(path(issued(reader), **query))

    assert (reply.status, [where for where, _ in reply.faults]) == (400, [*query])


def test_answers_must_not_be_cached(reader: Client) -> None:
    """No answer may be cached, whatever its status."""
    replies = [reader.get(path(issued(reader))), reader.get(path(placed(reader))), reader.get(path(0))]

    assert {"no-store"} == {reply.headers["Cache-Control"] for reply in replies}


def test_not_issued_yet(reader: Client) -> None:
    """Until the order is Completed the answer is 409 with `Retry-After`."""
    reply = reader.get(path(placed(reader)))

    assert (reply.status, reply.json["type"].rpartition("#")[2]) == (409, "keys-not-issued")
    assert (reply.json["status"], reply.json["title"]) == (409, "Conflict")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert int(reply.headers["Retry-After"]) > 0
    assert "Retry-After" in reply.json["detail"]


def test_cancelled(reader: Client) -> None:
    """A cancelled order shows no keys, and its answer has no `Retry-After`."""
    order = placed(reader)
    reader.services.training_orders(UK, Deadline.after(60)).cancel(order)
    reply = reader.get(path(order))

    assert (reply.status, reply.json["type"].rpartition("#")[2]) == (409, "order-cancelled")
    assert "Retry-After" not in reply.headers


def test_issued_in_steps(reader: Client) -> None:
    """While some keys are missing none is shown, and later steps' keys come after earlier ones."""
    order = placed(reader, 1_500, 700)
    orders = reader.services.training_orders(UK, Deadline.after(60))
    answers = [
        (reader.get(path(order)).status, orders.issue_keys(order, EnvelopeSealer(KMS, KEY_ID), Steps(steps)))
        for steps in (1, 2, 3)
    ]
    page = reader.get(path(order, _page=4, _pageSize=500)).json

    assert answers == [(409, False), (409, False), (409, True)]
    assert (page["_pageInfo"]["totalItemCount"], seats(page)[0], seats(page)[-1]) == (2_200, (2, 1), (2, 500))


def test_cancelled_while_keys_are_issued(services: Services, reader: Client) -> None:
    """An order cancelled between two calls of the issuer stays Cancelled."""
    order = placed(reader, 1_001)
    faulty = Faulty(services.send)
    cancel = reader.services.training_orders(UK, Deadline.after(60)).cancel
    faulty.meet("TransactWriteItems", interrupted(lambda: cancel(order)), after=1)
    issuer = replace(reader.services, send=faulty).training_orders(UK, Deadline.after(60))

    assert issuer.issue_keys(order, EnvelopeSealer(KMS, KEY_ID), Deadline.after(60))
    assert faulty.calls == ["BatchGetItem", "TransactWriteItems", "TransactWriteItems"]
    assert reader.get(target(f"orders/{order}")).json["orderStatus"] == "Cancelled"


@pytest.mark.parametrize("grants", [("training",), ("training", "deals", "ecards")])
def test_only_with_the_grant(issuing: Services, reader: Client, grants: tuple[str, ...]) -> None:
    """A token that does not cover `training-keys` gets 403, whether or not the order exists."""
    narrow = Client(issuing, values.replace(CALLER, grants=grants))
    replies = [narrow.get(path(order)) for order in (issued(reader), placed(reader), 0, "x")]

    assert {(403, "keys-not-granted")} == {(one.status, one.json["type"].rpartition("#")[2]) for one in replies}
    assert narrow.get(target("orders")).status == 200


@pytest.mark.parametrize(
    ("caller", "kind"),
    [
        (values.replace(READER, grants=("training-keys",)), "not-granted"),
        (values.replace(READER, payment_terms="card"), "card-payment-terms"),
    ],
)
def test_the_rules_of_training_orders_hold_too(issuing: Services, caller: Principal, kind: str) -> None:
    """A partner who may not use training orders cannot read keys either."""
    reply = Client(issuing, caller).get(path(1))

    assert (reply.status, reply.json["type"].rpartition("#")[2]) == (403, kind)


def test_another_unit_s_order(issuing: Services, reader: Client) -> None:
    """An order of another unit or partner is 404, Completed or not."""
    stranger = Client(issuing, values.replace(OTHER_PARTNER, grants=READER.grants))
    orders = [issued(reader, unit=IRELAND), placed(reader, unit=IRELAND), 2_147_000_000]
    replies = [reader.get(path(order)) for order in orders] + [stranger.get(f"/api/v2/orders/{orders[0]}/keys")]

    assert {404} == {reply.status for reply in replies}
    assert reader.get(path(orders[0], IRELAND)).status == 200


def test_the_unit_must_be_named(reader: Client) -> None:
    """A token for two units must name one, as on every call."""
    reply = reader.get(f"/api/v2/orders/{issued(reader)}/keys")

    assert (reply.status, reply.faults) == (400, [("businessUnitId", "required")])


def test_head_and_other_methods(reader: Client) -> None:
    """HEAD is GET without its body; callers cannot create or change keys."""
    order = issued(reader)
    head, other = reader.request("HEAD", path(order)), reader.post(path(order), {})

    assert (head.status, head.text) == (200, "")
    assert (other.status, other.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_unavailable(issuing: Services, reader: Client) -> None:
    """If KMS does not answer, the answer is 503 with `Retry-After`."""
    order = issued(reader)
    reply = Client(replace(issuing, kms=unavailable), READER).get(path(order))

    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


def test_keys_are_in_no_log(reader: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The log line of a call has no key."""
    with caplog.at_level("INFO", "ordering"):
        page = reader.get(path(issued(reader, 3))).json
    logged = caplog.text + repr([vars(one) for one in caplog.records])

    assert "order" in logged
    assert not [item for item in page["items"] if item["key"] in logged]
