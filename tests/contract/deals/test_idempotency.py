"""`Idempotency-Key` on the creates of deal orders, line items and products: a retried create is one resource."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ordering.aws.dynamodb import NoAnswer
from support.aws.fake_connections import Recorder, failing
from support.deals import Crm, Watch
from support.gateway import Reply
from support.services import Services

KEY = "key-1"


@dataclass(frozen=True)
class Kind:
    """One create: its path, a body, another body that is valid too, and a body that is refused."""

    path: str
    attributes: dict[str, Any]
    other: dict[str, Any]
    refused: dict[str, Any]

    def create(self, crm: Crm, attributes: dict[str, Any] | None = None, key: str | None = KEY) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return crm.post(self.path, {"data": attributes or self.attributes}, headers=headers)

    def count(self, crm: Crm) -> int:
        count: int = crm.get(self.path).json["meta"]["count"]
        return count


KINDS = {
    "orders": Kind("/v2/orders", {"deal_id": 12, "discount": 50}, {"deal_id": 13}, {"deal_id": 0}),
    "line items": Kind(
        "/v2/orders/1/line_items",
        {"product_id": 1, "currency": "EUR", "quantity": 2},
        {"product_id": 1, "currency": "EUR"},
        {"product_id": 99, "currency": "EUR"},
    ),
    "products": Kind("/v2/products", {"name": "Licence"}, {"name": "Support"}, {"name": ""}),
}


@pytest.fixture
def stocked(crm: Crm) -> Crm:
    """An account with an order and a product."""
    crm.order(1)
    crm.product(prices=[{"amount": 10, "currency": "EUR"}])
    return crm


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each create."""
    found: Kind = request.param
    return found


def test_replay_is_the_first_answer_byte_for_byte(stocked: Crm, watch: Watch, kind: Kind) -> None:
    """A retry with the same key and body gets the first answer, marked as replayed, and creates nothing."""
    before = kind.count(stocked)
    first = kind.create(stocked)
    watch.pass_(3_600)

    again = kind.create(stocked, dict(reversed(kind.attributes.items())))

    assert "Idempotent-Replayed" not in first.headers
    assert (again.status, again.text) == (200, first.text)
    assert dict(again.headers) == {**first.headers, "Idempotent-Replayed": "true"}
    assert kind.count(stocked) == before + 1


def test_answers_are_those_without_a_key(stocked: Crm, kind: Kind) -> None:
    """A create with a key has the same fields as one without."""
    plain = kind.create(stocked, key=None).json
    keyed = kind.create(stocked, kind.other).json

    assert list(plain["data"]) == list(keyed["data"])
    assert plain["meta"] == keyed["meta"]


def test_without_a_key_each_create_is_new(stocked: Crm) -> None:
    """Without a key, two equal creates are two resources."""
    ids = {KINDS["products"].create(stocked, key=None).json["data"]["id"] for _ in range(2)}

    assert len(ids) == 2


def test_other_body_is_422(stocked: Crm, kind: Kind) -> None:
    """The same key with another body is 422 `idempotency_key_reused`, creates nothing, and the first still works."""
    first = kind.create(stocked)
    before = kind.count(stocked)

    refused = kind.create(stocked, kind.other)

    (error,) = refused.json["errors"]
    assert (refused.status, error["error"]["code"]) == (422, "idempotency_key_reused")
    assert "new key" in error["error"]["details"]
    assert kind.count(stocked) == before
    assert kind.create(stocked).text == first.text


def test_same_body_for_another_order_is_422(stocked: Crm) -> None:
    """The same key and line item for another order is 422."""
    other = stocked.order(2)["id"]
    lines = KINDS["line items"]
    lines.create(stocked)

    assert replace(lines, path=f"/v2/orders/{other}/line_items").create(stocked).status == 422
    assert stocked.get(f"/v2/orders/{other}/line_items").json["items"] == []


def test_keys_of_each_kind_are_separate(stocked: Crm) -> None:
    """An order, a line item and a product can have the same key."""
    replies = [kind.create(stocked) for kind in KINDS.values()]

    assert [(reply.status, "Idempotent-Replayed" in reply.headers) for reply in replies] == [(200, False)] * 3


def test_keys_are_an_account_s_own(stocked: Crm, stranger: Crm) -> None:
    """The same key of two accounts makes two products."""
    KINDS["products"].create(stocked)

    assert "Idempotent-Replayed" not in KINDS["products"].create(stranger, KINDS["products"].other).headers


def test_nothing_is_stored_for_a_refused_body(stocked: Crm, kind: Kind) -> None:
    """A key whose body was refused can be used for the corrected body."""
    assert kind.create(stocked, kind.refused).status == 422

    assert "Idempotent-Replayed" not in kind.create(stocked).headers


def test_taken_deal_is_not_a_replay(stocked: Crm) -> None:
    """A deal that has an order is refused under a new key, and the key can be used again."""
    orders = KINDS["orders"]

    refused = orders.create(stocked, {"deal_id": 1})

    assert refused.json["errors"][0]["error"]["code"] == "already_exists"
    assert orders.create(stocked).status == 200


def test_replay_outlives_the_product(stocked: Crm) -> None:
    """A line item's retry is answered even if its product is inactive, while a new line item is refused."""
    lines = KINDS["line items"]
    first = lines.create(stocked)
    stocked.put("/v2/products/1", {"data": {"active": False}})

    assert lines.create(stocked).text == first.text
    assert lines.create(stocked, key="key-2").status == 422
    assert lines.create(stocked, lines.other).json["errors"][0]["error"]["code"] == "idempotency_key_reused"


def test_replay_outlives_the_resource(stocked: Crm, kind: Kind) -> None:
    """A retry gets the first answer even if the resource was deleted since."""
    first = kind.create(stocked)
    stocked.delete(f"{kind.path}/{first.json['data']['id']}")
    stocked.delete("/v2/orders/1")

    assert kind.create(stocked).text == first.text


def test_keys_are_kept_for_24_hours(stocked: Crm, watch: Watch, kind: Kind) -> None:
    """A key is kept for at least 24 hours, and can be used anew after it expired."""
    first = kind.create(stocked)
    watch.pass_(24 * 3_600 + 1)
    kept = kind.create(stocked)
    watch.pass_(7 * 24 * 3_600)
    anew = kind.create(stocked, kind.other)

    assert kept.text == first.text
    assert (anew.status, "Idempotent-Replayed" in anew.headers) == (200, False)


@pytest.mark.parametrize("headers", [{"Idempotency-Key": ""}, {"Idempotency-Key": ["a", "b"]}], ids=["empty", "two"])
def test_invalid_keys(stocked: Crm, recorder: Recorder, kind: Kind, headers: dict[str, Any]) -> None:
    """An invalid key is 400 `invalid_header`, and nothing is written."""
    recorder.calls.clear()
    refused = stocked.post(kind.path, {"data": kind.attributes}, headers=headers)

    (error,) = refused.json["errors"]
    assert (refused.status, error["error"]["code"]) == (400, "invalid_header")
    assert "Idempotency-Key" in error["error"]["details"]
    assert recorder.writes == []


def test_lost_answer_is_one_resource(stocked: Crm, services: Services, kind: Kind) -> None:
    """If the table's answer to a create is lost, one resource is made, and a retry gets its answer."""
    lost = 0

    def lose_first(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal lost
        answer = services.send(operation, request)
        if operation == "TransactWriteItems" and not lost:
            lost += 1
            raise NoAnswer("cut")
        return answer

    before = kind.count(stocked)
    stocked.services = replace(services, send=lose_first)
    first = kind.create(stocked)
    stocked.services = services

    assert (lost, first.status) == (1, 200)
    assert kind.create(stocked).text == first.text
    assert kind.count(stocked) == before + 1


def test_failed_create_can_be_sent_again(stocked: Crm, services: Services, watch: Watch, kind: Kind) -> None:
    """A create that failed half way can be retried under its key and makes one resource."""
    before = kind.count(stocked)
    stocked.services = replace(services, send=failing(OSError("gone"), services.send, "TransactWriteItems"))
    assert kind.create(stocked).status == 500
    stocked.services = services

    assert kind.create(stocked).status == 200
    watch.pass_(60)
    assert kind.count(stocked) == before + 1


def test_calls(stocked: Crm, recorder: Recorder, kind: Kind) -> None:
    """A key adds no call to a create."""
    counts = []
    for key, attributes in ((None, kind.other), (KEY, kind.attributes)):
        recorder.calls.clear()
        assert kind.create(stocked, attributes, key).status == 200
        counts.append(len(recorder.calls))

    assert counts[0] == counts[1]


def test_spacing_of_a_body(stocked: Crm) -> None:
    """The spacing of a body, and a slash at the end of its path, do not matter to a retry."""
    headers = {"Idempotency-Key": KEY, "Content-Type": "application/json"}
    indented = json.dumps({"data": {"name": "x"}}, indent=2)
    first = stocked.request("POST", "/v2/products", body='{"data":{"name":"x"}}', headers=headers)
    again = stocked.request("POST", "/v2/products/", body=indented, headers=headers)

    assert first.text == again.text
