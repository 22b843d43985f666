"""The contract's orders: `/v2/orders` and `/v2/orders/:id`."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.identifiers import LARGEST_SAFE_NUMBER
from support.aws.faults import Faulty, interrupted
from support.aws.memory import Memory
from support.deals import ACCOUNT, Crm, Watch, fault, faults, price, services_over

FIELDS = ["id", "deal_id", "discount", "updated_at", "created_at"]


def test_fields(crm: Crm, watch: Watch) -> None:
    """An order has these fields in this order, with times in UTC to the second."""
    watch.set("2024-02-29T23:59:59.999999Z")

    reply = crm.post("/v2/orders", {"data": {"deal_id": 7}})

    assert list(reply.json["data"]) == FIELDS
    assert {"id": 1, "deal_id": 7, "discount": 0, **dict.fromkeys(FIELDS[3:], "2024-02-29T23:59:59Z")} == (
        reply.json["data"]
    )


def test_ids_rise(crm: Crm, stranger: Crm) -> None:
    """Ids are integers that rise within an account from 1, and are never reused."""
    first = [crm.order(deal_id)["id"] for deal_id in (30, 20, 10)]
    crm.delete("/v2/orders/3")

    assert first == [1, 2, 3]
    assert (crm.order(10)["id"], stranger.order(10)["id"]) == (4, 1)


ROUNDED = ["33.333333", "66.666667", "0", "0", "100"]


def test_discount_is_a_json_number(crm: Crm) -> None:
    """The discount is a JSON number of at most 6 decimals, without trailing zeros."""
    sent = {1: "50", 2: "12.50", 3: "0.00", 4: "100", 5: "33.333333", 6: "5e1", 7: "1E-2", 8: "1.250e1"}
    sent |= {9: "33.333333333333336", 10: "66.66666666666667", 11: "2.2e-313", 12: "1e-999999", 13: "99.9999999"}
    texts = []
    for deal_id, discount in sent.items():
        reply = crm.send_json("POST", "/v2/orders", f'{{"data": {{"deal_id": {deal_id}, "discount": {discount}}}}}')
        assert reply.text.split(',"updated_at"')[0] == crm.get(f"/v2/orders/{deal_id}").text.split(',"updated_at"')[0]
        texts.append(reply.text.split('"discount":')[1].split(",")[0])

    assert texts == ["50", "12.5", "0", "100", "33.333333", "50", "0.01", "12.5", *ROUNDED]


@pytest.mark.parametrize("deal_id", ["12", 12, "12.0", 12.0], ids=repr)
@pytest.mark.parametrize("discount", ["50", 50, "50.0", 50.0], ids=repr)
def test_numbers_as_text(crm: Crm, deal_id: Any, discount: Any) -> None:
    """Numbers may be sent as text, as in the reference."""
    created = crm.order(deal_id, discount=discount)

    assert (created["deal_id"], created["discount"]) == (12, 50)
    assert [int, int] == [type(created["deal_id"]), type(created["discount"])]


@pytest.mark.parametrize("deal_id", [1, LARGEST_SAFE_NUMBER])
def test_deal_ids_at_their_limits(crm: Crm, deal_id: int) -> None:
    """A deal id can be any integer that JSON readers represent exactly."""
    assert crm.order(deal_id)["deal_id"] == deal_id
    assert crm.ids(f"/v2/orders?deal_id={deal_id}") == [1]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [("missing", "/data/deal_id")]),
        ({"discount": 5}, [("missing", "/data/deal_id")]),
        ({"deal_id": None}, [("blank", "/data/deal_id")]),
        ({"deal_id": ""}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": "twelve"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": True}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": [12]}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": {}}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": 1.5}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": " 12"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": "+12"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": "1_2"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": "١٢"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": "12\n"}, [("invalid_type", "/data/deal_id")]),
        ({"deal_id": 0}, [("incorrect_value", "/data/deal_id")]),
        ({"deal_id": -1}, [("incorrect_value", "/data/deal_id")]),
        ({"deal_id": LARGEST_SAFE_NUMBER + 1}, [("incorrect_value", "/data/deal_id")]),
        ({"deal_id": 10**400}, [("incorrect_value", "/data/deal_id")]),
        ({"deal_id": 1, "discount": None}, [("blank", "/data/discount")]),
        ({"deal_id": 1, "discount": "half"}, [("invalid_type", "/data/discount")]),
        ({"deal_id": 1, "discount": "NaN"}, [("invalid_type", "/data/discount")]),
        ({"deal_id": 1, "discount": "Infinity"}, [("invalid_type", "/data/discount")]),
        ({"deal_id": 1, "discount": "1e1"}, [("invalid_type", "/data/discount")]),
        ({"deal_id": 1, "discount": False}, [("invalid_type", "/data/discount")]),
        ({"deal_id": 1, "discount": -1}, [("incorrect_value", "/data/discount")]),
        ({"deal_id": 1, "discount": 100.01}, [("incorrect_value", "/data/discount")]),
        ({"deal_id": 1, "discount": "100.0000001"}, [("incorrect_value", "/data/discount")]),
        ({"deal_id": 1, "discount": "-0.0000001"}, [("incorrect_value", "/data/discount")]),
        ({"deal_id": 1, "value": 3}, [("unknown", "/data/value")]),
        ({"deal_id": 1, "Discount": 3}, [("unknown", "/data/Discount")]),
        ({"deal_id": 1, "a/b~c": 3}, [("unknown", "/data/a~1b~0c")]),
        (
            {"discount": "x", "foo": 1},
            [("missing", "/data/deal_id"), ("invalid_type", "/data/discount"), ("unknown", "/data/foo")],
        ),
    ],
    ids=repr,
)
def test_faults_of_a_create(crm: Crm, attributes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """All invalid attributes are reported by code, resource and field, and nothing is created."""
    reply = crm.post("/v2/orders", {"data": attributes})

    assert [(code, "order", field) for code, field in expected] == faults(reply, 422)
    assert crm.ids("/v2/orders") == []


def test_text_for_a_missing_attribute(crm: Crm) -> None:
    """A missing attribute is reported in the published words."""
    (error,) = crm.post("/v2/orders", {"data": {}}).json["errors"]

    assert error["error"] == {
        "resource": "order",
        "field": "/data/deal_id",
        "code": "missing",
        "message": "attribute is missing",
        "details": "This field is required.",
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e99999999999999999999", f"1{'0' * 5_000}"])
def test_numbers_that_json_does_not_have(crm: Crm, number: str) -> None:
    """NaN, infinities and numbers of thousands of digits are 400 `invalid_payload`."""
    reply = crm.send_json("POST", "/v2/orders", f'{{"data": {{"deal_id": 1, "discount": {number}}}}}')

    assert fault(reply, 400) == ("invalid_payload",)


def test_read_only_attributes_are_ignored(crm: Crm) -> None:
    """Read-only attributes in a request are ignored."""
    created = crm.order(5, id=77, created_at="1999-01-01T00:00:00Z", updated_at=None)

    assert (created["id"], created["created_at"]) == (1, "2015-07-06T16:32:56Z")


@pytest.mark.parametrize("meta", [{"type": "order"}, {"type": "nonsense"}, None, 5, "x"], ids=repr)
def test_meta_is_optional_and_ignored(crm: Crm, meta: Any) -> None:
    """`meta` in a request is ignored, whatever it is."""
    assert crm.post("/v2/orders", {"data": {"deal_id": 3}, "meta": meta}).status == 200


def test_one_order_per_deal(crm: Crm, stranger: Crm) -> None:
    """A second create for a deal is refused and changes nothing; the same deal id in another account is free."""
    crm.order(12, discount=5)

    reply = crm.post("/v2/orders", {"data": {"deal_id": "12", "discount": 9}})

    assert fault(reply, 422) == ("already_exists", "order", "/data/deal_id")
    assert [order["discount"] for order in crm.pages("/v2/orders")] == [5]
    assert stranger.order(12)["id"] == 1


def test_two_creates_for_a_deal_at_once(watch: Watch) -> None:
    """Of two concurrent creates for one deal, one is refused."""
    memory = Memory()
    faulty = Faulty(memory)
    slow, fast = Crm(services_over(faulty, watch), ACCOUNT), Crm(services_over(memory, watch), ACCOUNT)
    faulty.meet("TransactWriteItems", interrupted(lambda: fast.order(12, discount=1)))

    reply = slow.post("/v2/orders", {"data": {"deal_id": 12, "discount": 2}})

    assert fault(reply, 422) == ("already_exists", "order", "/data/deal_id")
    assert [order["discount"] for order in fast.pages("/v2/orders")] == [1]


def test_ids_go_on_after_a_refused_create(crm: Crm) -> None:
    """A refused create may use up an id, without a gap in the list."""
    crm.order(1)
    crm.post("/v2/orders", {"data": {"deal_id": 1}})
    crm.order(2)

    first, second = crm.ids("/v2/orders")
    assert first < second
    assert crm.get("/v2/orders?per_page=1").json["meta"]["links"].keys() == {"self", "next_page"}


def test_update(crm: Crm, watch: Watch) -> None:
    """An update changes the discount and `updated_at`, and returns the order."""
    before = crm.order(12, discount=5)
    watch.pass_(90)

    reply = crm.put("/v2/orders/1", {"data": {"discount": "7.5"}})

    assert reply.status == 200
    assert {"data": {**before, "discount": 7.5, "updated_at": "2015-07-06T16:34:26Z"}, "meta": {"type": "order"}} == (
        reply.json
    )
    assert crm.get("/v2/orders/1").text == reply.text
    assert crm.get("/v2/orders").json["items"] == [reply.json]


@pytest.mark.parametrize("deal_id", [12, 13, "13", None, "nonsense", {}], ids=repr)
def test_update_ignores_the_deal(crm: Crm, deal_id: Any) -> None:
    """A deal id in an update is ignored."""
    crm.order(12)
    crm.order(13)

    reply = crm.put("/v2/orders/1", {"data": {"deal_id": deal_id, "discount": 3}})

    assert (reply.status, reply.json["data"]["deal_id"], reply.json["data"]["discount"]) == (200, 12, 3)
    assert [crm.ids("/v2/orders?deal_id=12"), crm.ids("/v2/orders?deal_id=13")] == [[1], [2]]


def test_update_without_attributes(crm: Crm) -> None:
    """An update without attributes changes nothing."""
    before = crm.order(12, discount=5)

    reply = crm.put("/v2/orders/1", {"data": {}})

    assert (200, before) == (reply.status, reply.json["data"])


def test_update_with_an_order_as_read(crm: Crm) -> None:
    """Sending back an order as it was read changes nothing."""
    crm.order(12, discount=5)
    read = crm.get("/v2/orders/1").json

    assert crm.put("/v2/orders/1", read).json == read


@pytest.mark.parametrize(
    ("attributes", "code", "field"),
    [
        ({"discount": None}, "blank", "/data/discount"),
        ({"discount": "x"}, "invalid_type", "/data/discount"),
        ({"discount": 101}, "incorrect_value", "/data/discount"),
        ({"discount": -0.5}, "incorrect_value", "/data/discount"),
        ({"total": 1}, "unknown", "/data/total"),
    ],
    ids=repr,
)
def test_faults_of_an_update(crm: Crm, attributes: dict[str, Any], code: str, field: str) -> None:
    """An invalid attribute in an update is refused, and nothing changes."""
    before = crm.order(12, discount=5)

    assert fault(crm.put("/v2/orders/1", {"data": attributes}), 422) == (code, "order", field)
    assert crm.get("/v2/orders/1").json["data"] == before


def test_delete_removes_the_line_items(crm: Crm) -> None:
    """After an order's deletion every call for its line items is 404."""
    crm.product(prices=[price("10")])
    crm.order(12)
    line = crm.line(1, 1)["id"]

    assert crm.delete("/v2/orders/1").status == 204

    for method, path, body in [
        ("GET", "line_items", None),
        ("GET", f"line_items/{line}", None),
        ("DELETE", f"line_items/{line}", None),
        ("POST", "line_items", {"data": {"product_id": 1, "currency": "EUR"}}),
    ]:
        reply = crm.request(method, f"/v2/orders/1/{path}", body=body)
        assert fault(reply, 404) == ("not_found",)
        assert "'order' with the id '1'" in reply.text


def test_a_deal_can_have_another_order(crm: Crm) -> None:
    """After its order's deletion a deal can have a new one, with another id and no line items."""
    crm.product(prices=[price("10")])
    crm.order(12, discount=5)
    crm.line(1, 1)
    crm.delete("/v2/orders/1")

    again = crm.order(12)

    assert (again["id"], again["discount"]) == (2, 0)
    assert crm.ids("/v2/orders?deal_id=12") == [2]
    assert crm.ids("/v2/orders/2/line_items") == []


def test_deleted_twice(crm: Crm) -> None:
    """Deleting or updating a deleted order is 404, and no list has it."""
    crm.order(12)
    crm.order(13)
    crm.delete("/v2/orders/1")

    assert [fault(crm.delete("/v2/orders/1"), 404), fault(crm.put("/v2/orders/1", {"data": {"discount": 1}}), 404)] == [
        ("not_found",),
        ("not_found",),
    ]
    assert crm.ids("/v2/orders") == [2]
    assert crm.ids("/v2/orders?deal_id=12") == []
    assert crm.ids("/v2/orders?ids=1,2") == [2]


def test_delete_needs_no_type_and_reads_no_body(crm: Crm) -> None:
    """A DELETE needs no content type, and its body is ignored."""
    crm.order(12)

    assert crm.request("DELETE", "/v2/orders/1", body="{", headers={"Content-Type": "text/plain"}).status == 204


NO_IDS = ["2", "0", "-1", "01", "+1", "1.0", "1e0", "x", "1x", "%2031", "2147483648", "9" * 300, "null", " 1"]


@pytest.mark.parametrize("order_id", NO_IDS)
def test_no_such_order(crm: Crm, order_id: str) -> None:
    """An unknown or malformed order id is 404 in the published words."""
    crm.order(12)

    for reply in (
        crm.get(f"/v2/orders/{order_id}"),
        crm.put(f"/v2/orders/{order_id}", {"data": {"discount": 1}}),
        crm.delete(f"/v2/orders/{order_id}"),
        crm.get(f"/v2/orders/{order_id}/line_items"),
    ):
        assert fault(reply, 404) == ("not_found",)
        assert reply.json["errors"][0]["error"]["details"] == (
            f"Resource of the type 'order' with the id '{order_id}' was not found."
        )
    assert crm.ids("/v2/orders") == [1]


def test_faults_of_an_update_come_before_its_order(crm: Crm) -> None:
    """An invalid update of an unknown order reports the invalid attribute."""
    assert fault(crm.put("/v2/orders/9", {"data": {"discount": "x"}}), 422)[0] == "invalid_type"


def test_duplicated_names_the_last_counts(crm: Crm) -> None:
    """Of a duplicate name in JSON the last value counts."""
    reply = crm.send_json("POST", "/v2/orders", '{"data": {"deal_id": 1, "deal_id": 2}, "meta": 1}')

    assert reply.json["data"]["deal_id"] == 2
