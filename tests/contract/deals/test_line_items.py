"""The contract's line items: `/v2/orders/:order_id/line_items` and `…/:id`."""

from __future__ import annotations

from typing import Any

import pytest

from ordering.deals import orders as deal_orders
from support.aws.faults import Faulty, interrupted
from support.aws.memory import Memory
from support.deals import ACCOUNT, Crm, Watch, fault, faults, price, services_over

FIELDS = [
    "id",
    "name",
    "sku",
    "description",
    "price",
    "currency",
    "variation",
    "value",
    "quantity",
    "updated_at",
    "created_at",
]
PATH = "/v2/orders/1/line_items"


@pytest.fixture
def shop(crm: Crm) -> Crm:
    """An account with an order, and a product with prices in three currencies."""
    crm.order(12)
    crm.product(
        name="Licence",
        sku="lic-1",
        description="For a year",
        prices=[price("1599.90", "PLN"), price("3599.99", "USD"), price("0.005", "EUR")],
    )
    return crm


def test_fields(shop: Crm, watch: Watch) -> None:
    """A line item copies its product's fields at the price of the requested currency, without the product's id."""
    watch.pass_(4)

    reply = shop.post(PATH, {"data": {"product_id": 1, "currency": "PLN"}, "meta": {"type": "line_item"}})

    assert (reply.status, reply.json["meta"]) == (200, {"type": "line_item"})
    assert list(reply.json["data"]) == FIELDS
    assert {name: value for name, value in reply.json["data"].items() if name != "id"} == {
        "name": "Licence",
        "sku": "lic-1",
        "description": "For a year",
        "price": "1599.90",
        "currency": "PLN",
        "variation": "0",
        "value": "1599.90",
        "quantity": 1,
        "created_at": "2015-07-06T16:33:00Z",
        "updated_at": "2015-07-06T16:33:00Z",
    }


def test_read_back(shop: Crm) -> None:
    """A line item is read as it was created, by id and in the list."""
    reply = shop.post(PATH, {"data": {"product_id": "1", "currency": "USD", "variation": -1.5, "quantity": "3"}})

    assert (reply.json["data"]["quantity"], reply.json["data"]["variation"]) == (3, "-1.5")
    assert shop.get(f"{PATH}/{reply.json['data']['id']}").text == reply.text
    assert shop.get(PATH).json["items"] == [reply.json]


@pytest.mark.parametrize(
    ("currency", "variation", "value"),
    [
        ("USD", 2, "3671.99"),
        ("USD", "2", "3671.99"),
        ("USD", -2, "3527.99"),
        ("USD", "-2.00", "3527.99"),
        ("USD", 0, "3599.99"),
        ("USD", -100, "0.00"),
        ("USD", "0.0001", "3599.99"),
        ("USD", "1000000", "36003499.99"),
        ("PLN", -2, "1567.90"),
        ("EUR", 0, "0.01"),
        ("EUR", "-0.000001", "0.00"),
        ("EUR", 100, "0.01"),
    ],
)
def test_value(shop: Crm, currency: str, variation: Any, value: str) -> None:
    """The value is the varied price to 2 places, halves rounded away from zero, as in the published examples."""
    line = shop.line(1, 1, currency, variation=variation)

    assert (value, str(variation)) == (line["value"], line["variation"])


def test_value_does_not_depend_on_the_quantity(shop: Crm) -> None:
    """The value does not depend on the quantity."""
    assert shop.line(1, 1, "PLN", quantity=1_000)["value"] == "1599.90"


def test_ids_are_unique_within_the_account(shop: Crm) -> None:
    """Ids rise within an order and are unique within the account."""
    shop.order(13)
    ids = [shop.line(order, 1)["id"] for order in (1, 2, 1, 2, 1)]

    assert len(set(ids)) == 5
    assert ids[0] < ids[2] < ids[4]
    assert ids[1] < ids[3]
    assert max(ids) < 2**53
    assert [shop.ids(PATH), shop.ids("/v2/orders/2/line_items")] == [ids[::2], ids[1::2]]


def test_another_orders_line_item(shop: Crm) -> None:
    """A line item is 404 under another order."""
    shop.order(13)
    line = shop.line(1, 1)["id"]

    for reply in (shop.get(f"/v2/orders/2/line_items/{line}"), shop.delete(f"/v2/orders/2/line_items/{line}")):
        assert fault(reply, 404) == ("not_found",)
        assert f"Resource of the type 'line_item' with the id '{line}' was not found." in reply.text
    assert shop.get(f"{PATH}/{line}").status == 200


@pytest.mark.parametrize("line_id", ["1", "0", "1000002", "1000000", "2000001", "-1", "x", "1e6", "01000001", "9" * 25])
def test_no_such_line_item(shop: Crm, line_id: str) -> None:
    """An unknown or malformed line item id is 404."""
    shop.line(1, 1)

    for reply in (shop.get(f"{PATH}/{line_id}"), shop.delete(f"{PATH}/{line_id}")):
        assert fault(reply, 404) == ("not_found",)
        assert f"Resource of the type 'line_item' with the id '{line_id}' was not found." in reply.text


def test_no_such_order(shop: Crm) -> None:
    """Every call for line items of an unknown order is 404, naming the order."""
    for reply in (
        shop.get("/v2/orders/9/line_items"),
        shop.get("/v2/orders/9/line_items/9000001"),
        shop.delete("/v2/orders/9/line_items/9000001"),
        shop.post("/v2/orders/9/line_items", {"data": {"product_id": 1, "currency": "USD"}}),
    ):
        assert fault(reply, 404) == ("not_found",)
        assert "Resource of the type 'order' with the id '9' was not found." in reply.text


def test_delete(shop: Crm) -> None:
    """A deleted line item is gone, and others stay."""
    first, second = shop.line(1, 1)["id"], shop.line(1, 1)["id"]

    reply = shop.delete(f"{PATH}/{first}")

    assert (reply.status, reply.text) == (204, "")
    assert "Content-Type" not in reply.headers
    assert shop.ids(PATH) == [second]
    assert [fault(shop.get(f"{PATH}/{first}"), 404), fault(shop.delete(f"{PATH}/{first}"), 404)] == [
        ("not_found",),
        ("not_found",),
    ]
    assert shop.line(1, 1)["id"] > second


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_line_item_cannot_be_changed(shop: Crm, method: str) -> None:
    """A line item has no method for updates."""
    line = shop.line(1, 1)

    reply = shop.request(method, f"{PATH}/{line['id']}", body={"data": {"quantity": 2}})

    assert fault(reply, 404) == ("incorrect_path",)
    assert shop.pages(PATH) == [line]


def test_line_items_keep_their_copy(shop: Crm) -> None:
    """Changing or deleting a product leaves its line items unchanged."""
    line = shop.line(1, 1, "PLN")

    shop.put("/v2/products/1", {"data": {"name": "Other", "sku": None, "active": False, "prices": []}})
    assert shop.pages(PATH) == [line]
    shop.delete("/v2/products/1")

    assert shop.pages(PATH) == [line]
    assert shop.get(f"{PATH}/{line['id']}").json["data"] == line


NEW = {"product_id": 1, "currency": "USD"}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"product_id": ...}, [("missing", "/data/product_id")]),
        ({"currency": ...}, [("missing", "/data/currency")]),
        (
            {"product_id": ..., "currency": ...},
            [("missing", "/data/product_id"), ("missing", "/data/currency")],
        ),
        ({"product_id": None}, [("blank", "/data/product_id")]),
        ({"product_id": "x"}, [("invalid_type", "/data/product_id")]),
        ({"product_id": 0}, [("incorrect_value", "/data/product_id")]),
        ({"product_id": 2}, [("incorrect_value", "/data/product_id")]),
        ({"product_id": 9_999_999_999_999_999}, [("incorrect_value", "/data/product_id")]),
        ({"currency": None}, [("blank", "/data/currency")]),
        ({"currency": "usd"}, [("incorrect_value", "/data/currency")]),
        ({"currency": 5}, [("invalid_type", "/data/currency")]),
        ({"currency": "GBP"}, [("incorrect_value", "/data/currency")]),
        ({"variation": None}, [("blank", "/data/variation")]),
        ({"variation": "x"}, [("invalid_type", "/data/variation")]),
        ({"variation": -100.01}, [("incorrect_value", "/data/variation")]),
        ({"variation": 1_000_001}, [("incorrect_value", "/data/variation")]),
        ({"quantity": None}, [("blank", "/data/quantity")]),
        ({"quantity": 0}, [("incorrect_value", "/data/quantity")]),
        ({"quantity": -1}, [("incorrect_value", "/data/quantity")]),
        ({"quantity": 1.5}, [("invalid_type", "/data/quantity")]),
        ({"quantity": 2**31}, [("incorrect_value", "/data/quantity")]),
        ({"discount": 5}, [("unknown", "/data/discount")]),
        ({"order_id": 1}, [("unknown", "/data/order_id")]),
    ],
    ids=repr,
)
def test_faults(shop: Crm, attributes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each invalid attribute is reported by code and place, and nothing is added."""
    sent = {name: value for name, value in {**NEW, **attributes}.items() if value is not ...}

    reply = shop.post(PATH, {"data": sent})

    assert [(code, "line_item", field) for code, field in expected] == faults(reply, 422)
    assert shop.ids(PATH) == []


def test_read_only_attributes_are_ignored(shop: Crm) -> None:
    """Copied and computed attributes in a request are ignored."""
    line = shop.line(1, 1, "PLN", name="Cheap", sku="x", description="x", price="1", value="1", id=5, created_at="x")

    assert (line["name"], line["sku"], line["price"], line["value"]) == ("Licence", "lic-1", "1599.90", "1599.90")


def test_an_inactive_product(shop: Crm) -> None:
    """A line item for an inactive product is refused, until the product is active again."""
    shop.put("/v2/products/1", {"data": {"active": False}})

    reply = shop.post(PATH, {"data": NEW})
    assert fault(reply, 422) == ("incorrect_value", "line_item", "/data/product_id")
    shop.put("/v2/products/1", {"data": {"active": True}})

    assert shop.post(PATH, {"data": NEW}).status == 200


def test_a_deleted_product(shop: Crm) -> None:
    """A line item for a deleted product is refused."""
    shop.delete("/v2/products/1")

    assert fault(shop.post(PATH, {"data": NEW}), 422) == ("incorrect_value", "line_item", "/data/product_id")


def test_another_accounts_product(shop: Crm, stranger: Crm) -> None:
    """The answer for another account's product is identical to the one for an unknown product."""
    for _ in range(2):
        stranger.product(prices=[price("1", "USD")])

    foreign = shop.post(PATH, {"data": {**NEW, "product_id": 2}})
    unknown = shop.post(PATH, {"data": {**NEW, "product_id": 3}})

    assert (422, foreign.text) == (foreign.status, unknown.text)


@pytest.mark.parametrize(
    ("limits", "variation", "taken"),
    [
        ({"max_discount": 4}, -4, True),
        ({"max_discount": 4}, "-4.00", True),
        ({"max_discount": 4}, "-4.000001", False),
        ({"max_discount": 4}, 50, True),
        ({"max_discount": 0}, "-0.01", False),
        ({"max_discount": 0}, 0, True),
        ({"max_markup": "4.5"}, "4.5", True),
        ({"max_markup": "4.5"}, "4.51", False),
        ({"max_markup": 4}, -50, True),
        ({"max_markup": 0}, 1, False),
        ({"max_discount": 0, "max_markup": 0}, 0, True),
        ({"max_discount": None, "max_markup": None}, -100, True),
    ],
)
def test_limits(crm: Crm, limits: dict[str, Any], variation: Any, taken: bool) -> None:  # noqa: FBT001 - a parameter
    """A variation is accepted up to and including the product's limits."""
    crm.order(12)
    crm.product(prices=[price("10", "USD")], **limits)

    reply = crm.post(PATH, {"data": {**NEW, "variation": variation}})

    if taken:
        assert reply.status == 200
    else:
        assert fault(reply, 422) == ("incorrect_value", "line_item", "/data/variation")


def test_no_price_and_beyond_the_limit(crm: Crm) -> None:
    """A missing price and an exceeded limit are reported together."""
    crm.order(12)
    crm.product(prices=[price("10", "EUR")], max_markup=1)

    assert (faults(crm.post(PATH, {"data": {**NEW, "variation": 2}}), 422)) == [
        ("incorrect_value", "line_item", "/data/currency"),
        ("incorrect_value", "line_item", "/data/variation"),
    ]


def test_an_order_that_is_full(shop: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line item for a full order is refused, and the existing ones stay."""
    monkeypatch.setattr(deal_orders, "LINES", 2)
    line = shop.line(1, 1)

    assert fault(shop.post(PATH, {"data": NEW}), 422) == ("incorrect_payload",)
    assert shop.pages(PATH) == [line]


def test_an_order_deleted_at_once(watch: Watch) -> None:
    """A line item for an order that is deleted concurrently is 404."""
    memory = Memory()
    faulty = Faulty(memory)
    slow, fast = Crm(services_over(faulty, watch), ACCOUNT), Crm(services_over(memory, watch), ACCOUNT)
    fast.order(12)
    fast.product(prices=[price("10", "USD")])
    faulty.meet("TransactWriteItems", interrupted(lambda: fast.delete("/v2/orders/1")))

    reply = slow.post(PATH, {"data": NEW})

    assert fault(reply, 404) == ("not_found",)
    assert "'order' with the id '1'" in reply.text


@pytest.mark.parametrize("zero", ["-0", "-0.0", '"-0"'])
def test_zero_has_no_sign(shop: Crm, zero: str) -> None:
    """A negative zero is refused, or written without its sign."""
    reply = shop.send_json("POST", PATH, f'{{"data": {{"product_id": 1, "currency": "PLN", "variation": {zero}}}}}')

    assert reply.status in {200, 422}
    assert reply.status == 422 or not reply.json["data"]["variation"].startswith("-")


@pytest.mark.parametrize("zero", ["0e-300000", "0e-7"])
def test_decimals_of_zero_are_limited(shop: Crm, zero: str) -> None:
    """A zero has the same limit of decimals as any other variation."""
    reply = shop.send_json("POST", PATH, f'{{"data": {{"product_id": 1, "currency": "PLN", "variation": {zero}}}}}')

    assert reply.status in {200, 422}
    assert reply.status == 422 or len(reply.json["data"]["variation"]) <= len("0.000000")
