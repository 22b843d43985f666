"""The contract's products: `/v2/products` and `/v2/products/:id`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.deals import Crm, Watch, fault, faults, price

FIELDS = [
    "id",
    "name",
    "description",
    "sku",
    "active",
    "max_discount",
    "max_markup",
    "cost",
    "cost_currency",
    "prices",
    "updated_at",
    "created_at",
]
NOTHING: dict[str, Any] = {
    "description": None,
    "sku": None,
    "active": True,
    "max_discount": None,
    "max_markup": None,
    "cost": None,
    "cost_currency": None,
    "prices": [],
}
EVERYTHING = {
    "name": "Enterprise plan",
    "description": "Includes more\nstorage options",
    "sku": "enterprise-plan",
    "active": False,
    "max_discount": 4,
    "max_markup": 4.5,
    "cost": "2.00",
    "cost_currency": "USD",
    "prices": [price("1599.99", "PLN"), price("3599.90", "USD")],
}
TIMES = {"created_at": "2015-07-06T16:32:56Z", "updated_at": "2015-07-06T16:32:56Z"}

THIRTY_ONE_PRICES = [{"amount": 1, "currency": f"A{a}{b}"} for a in "ABCDEF" for b in "ABCDEF"][:31]


def test_only_a_name_is_required(crm: Crm) -> None:
    """A product needs only a name; by default it is active, without limits, cost or prices."""
    reply = crm.post("/v2/products", {"data": {"name": "Licence"}})

    assert (reply.status, reply.json["meta"]) == (200, {"type": "product"})
    assert list(reply.json["data"]) == FIELDS
    assert reply.json["data"] == {"id": 1, "name": "Licence", **NOTHING, **TIMES}


def test_everything_is_kept(crm: Crm) -> None:
    """All attributes are read as they were sent, in the answer, by id and in the list."""
    reply = crm.post("/v2/products", {"data": EVERYTHING, "meta": {"type": "product"}})

    assert reply.json["data"] == {"id": 1, **EVERYTHING, **TIMES}
    assert reply.text == crm.get("/v2/products/1").text
    assert [reply.json] == crm.get("/v2/products").json["items"]


def test_ids_rise(crm: Crm, stranger: Crm) -> None:
    """Ids are integers that rise within the account."""
    assert [crm.product()["id"], crm.product()["id"], stranger.product()["id"]] == [1, 2, 1]


def test_decimals_are_kept(crm: Crm) -> None:
    """Amounts are text with the decimals that were sent, never with an exponent."""
    sent = {
        "AAA": '"1599.90"',
        "BBB": "1599.90",
        "CCC": "0.10",
        "DDD": "100",
        "EEE": '"0"',
        "FFF": "1e3",
        "GGG": "1.50E+1",
        "HHH": "1e-6",
        "III": '"9999999999999999.999999"',
        "JJJ": "9999999999999999.999999",
        "KKK": "0.00",
    }
    prices = ",".join(f'{{"currency": "{currency}", "amount": {amount}}}' for currency, amount in sent.items())

    reply = crm.send_json("POST", "/v2/products", f'{{"data": {{"name": "x", "cost": 2.50, "prices": [{prices}]}}}}')

    assert reply.json["data"]["cost"] == "2.50"
    assert [one["amount"] for one in reply.json["data"]["prices"]] == [
        "1599.90",
        "1599.90",
        "0.10",
        "100",
        "0",
        "1000",
        "15.0",
        "0.000001",
        "9999999999999999.999999",
        "9999999999999999.999999",
        "0.00",
    ]
    assert crm.get("/v2/products/1").text == reply.text


def test_limits_are_json_numbers(crm: Crm) -> None:
    """Limits are JSON numbers without trailing zeros."""
    text = crm.post("/v2/products", {"data": {"name": "x", "max_discount": "4.50", "max_markup": "1000"}}).text

    assert '"max_discount":4.5,"max_markup":1000,' in text


def test_prices_are_sorted_by_currency(crm: Crm) -> None:
    """Prices are sorted by currency."""
    prices = [price("3", "USD"), price("1", "EUR"), price("2", "PLN")]

    assert sorted(prices, key=lambda one: one["currency"]) == crm.product(prices=prices)["prices"]


def test_prices_are_replaced_as_a_set(crm: Crm) -> None:
    """An update with prices replaces all of them; one without leaves them."""
    crm.product(prices=[price("1", "EUR"), price("2", "PLN")])

    without = crm.put("/v2/products/1", {"data": {"name": "Other"}}).json["data"]
    replaced = crm.put("/v2/products/1", {"data": {"prices": [price("4", "USD"), price("3", "PLN")]}}).json["data"]
    emptied = crm.put("/v2/products/1", {"data": {"prices": []}}).json["data"]

    assert [price("1", "EUR"), price("2", "PLN")] == without["prices"]
    assert [price("3", "PLN"), price("4", "USD")] == replaced["prices"]
    assert (emptied["prices"], crm.get("/v2/products/1").json["data"]["name"]) == ([], "Other")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Other"),
        ("description", None),
        ("sku", "other"),
        ("active", True),
        ("max_discount", None),
        ("max_markup", 0),
        ("cost", None),
        ("cost", "3.10"),
        ("cost_currency", None),
    ],
)
def test_update_of_one_attribute(crm: Crm, watch: Watch, name: str, value: Any) -> None:
    """An update changes only the attributes it has, null included, and `updated_at`."""
    before = crm.product(**EVERYTHING)
    watch.pass_(3600)

    reply = crm.put("/v2/products/1", {"data": {name: value}})

    assert {**before, name: value, "updated_at": "2015-07-06T17:32:56Z"} == reply.json["data"]
    assert reply.text == crm.get("/v2/products/1").text


def test_update_without_attributes_or_with_those_read(crm: Crm) -> None:
    """An update without attributes, or with those that were read, changes nothing."""
    crm.product(**EVERYTHING)
    read = crm.get("/v2/products/1").json

    assert crm.put("/v2/products/1", {"data": {}}).json == read
    assert crm.put("/v2/products/1", read).json == read


def test_delete(crm: Crm) -> None:
    """A deleted product is neither listed nor found, and cannot be changed or deleted again."""
    crm.product()
    crm.product()

    reply = crm.delete("/v2/products/1")

    assert (reply.status, reply.text) == (204, "")
    assert "Content-Type" not in reply.headers
    assert crm.ids("/v2/products") == [2]
    for again in (crm.get("/v2/products/1"), crm.put("/v2/products/1", {"data": {}}), crm.delete("/v2/products/1")):
        assert fault(again, 404) == ("not_found",)
        assert "Resource of the type 'product' with the id '1' was not found." in again.text


@pytest.mark.parametrize("product_id", ["2", "0", "-1", "01", "x", "1.0", "9" * 30])
def test_no_such_product(crm: Crm, product_id: str) -> None:
    """An unknown or malformed product id is 404."""
    crm.product()

    for reply in (
        crm.get(f"/v2/products/{product_id}"),
        crm.put(f"/v2/products/{product_id}", {"data": {"name": "x"}}),
        crm.delete(f"/v2/products/{product_id}"),
    ):
        assert fault(reply, 404) == ("not_found",)
        assert f"Resource of the type 'product' with the id '{product_id}' was not found." in reply.text


FAULTS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"name": None}, [("blank", "/data/name")]),
    ({"name": ""}, [("blank", "/data/name")]),
    ({"name": " \t\n"}, [("blank", "/data/name")]),
    ({"name": 5}, [("invalid_type", "/data/name")]),
    ({"name": ["x"]}, [("invalid_type", "/data/name")]),
    ({"name": "x" * 1_001}, [("incorrect_value", "/data/name")]),
    ({"description": 5}, [("invalid_type", "/data/description")]),
    ({"description": "x" * 2_001}, [("incorrect_value", "/data/description")]),
    ({"description": "a\x01b"}, [("incorrect_value", "/data/description")]),
    ({"prices": THIRTY_ONE_PRICES}, [("incorrect_value", "/data/prices")]),
    ({"sku": 5}, [("invalid_type", "/data/sku")]),
    ({"sku": "a\nb"}, [("incorrect_value", "/data/sku")]),
    ({"active": None}, [("blank", "/data/active")]),
    ({"active": "true"}, [("invalid_type", "/data/active")]),
    ({"active": 1}, [("invalid_type", "/data/active")]),
    ({"max_discount": -1}, [("incorrect_value", "/data/max_discount")]),
    ({"max_discount": 101}, [("incorrect_value", "/data/max_discount")]),
    ({"max_discount": "x"}, [("invalid_type", "/data/max_discount")]),
    ({"max_markup": -1}, [("incorrect_value", "/data/max_markup")]),
    ({"max_markup": 10**16}, [("incorrect_value", "/data/max_markup")]),
    ({"max_markup": True}, [("invalid_type", "/data/max_markup")]),
    ({"cost": -1}, [("incorrect_value", "/data/cost")]),
    ({"cost": "1,5"}, [("invalid_type", "/data/cost")]),
    ({"cost": {}}, [("invalid_type", "/data/cost")]),
    ({"cost": 10**16}, [("incorrect_value", "/data/cost")]),
    ({"cost": "1.1234567"}, [("incorrect_value", "/data/cost")]),
    ({"cost_currency": "usd"}, [("incorrect_value", "/data/cost_currency")]),
    ({"cost_currency": "USD\n"}, [("incorrect_value", "/data/cost_currency")]),
    ({"cost_currency": "US"}, [("incorrect_value", "/data/cost_currency")]),
    ({"cost_currency": 840}, [("invalid_type", "/data/cost_currency")]),
    ({"prices": None}, [("blank", "/data/prices")]),
    ({"prices": price("1")}, [("invalid_type", "/data/prices")]),
    ({"prices": [5]}, [("invalid_type", "/data/prices/0")]),
    ({"prices": [{}]}, [("missing", "/data/prices/0/amount"), ("missing", "/data/prices/0/currency")]),
    ({"prices": [price("1"), price("x", "PLN")]}, [("invalid_type", "/data/prices/1/amount")]),
    ({"prices": [{"amount": None, "currency": "EUR"}]}, [("blank", "/data/prices/0/amount")]),
    ({"prices": [{"amount": 1, "currency": None}]}, [("blank", "/data/prices/0/currency")]),
    ({"prices": [price("-0.01")]}, [("incorrect_value", "/data/prices/0/amount")]),
    ({"prices": [{**price("1"), "tax": 1}]}, [("unknown", "/data/prices/0/tax")]),
    ({"prices": [price("1"), price("2")]}, [("incorrect_value", "/data/prices")]),
    ({"prices": [price("1")] * 201}, [("incorrect_value", "/data/prices")]),
    ({"colour": "red"}, [("unknown", "/data/colour")]),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "expected"), FAULTS, ids=lambda value: repr(value)[:40])
def test_faults(crm: Crm, attributes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each invalid attribute of a create or update is reported by code and place, and nothing changes."""
    before = crm.product()
    reported = [(code, "product", field) for code, field in expected]

    assert reported == faults(crm.post("/v2/products", {"data": {"name": "x", **attributes}}), 422)
    assert reported == faults(crm.put("/v2/products/1", {"data": attributes}), 422)
    assert [before] == crm.pages("/v2/products")


def test_a_create_without_a_name(crm: Crm) -> None:
    """A product without a name is refused."""
    assert fault(crm.post("/v2/products", {"data": {"sku": "x"}}), 422) == ("missing", "product", "/data/name")


@pytest.mark.parametrize("zero", ["-0", "-0.0", '"-0"', '"-0.00"'])
@pytest.mark.parametrize("name", ["cost", "max_discount", "max_markup"])
def test_zero_has_no_sign(crm: Crm, name: str, zero: str) -> None:
    """A negative zero is refused, or written without its sign."""
    reply = crm.send_json("POST", "/v2/products", f'{{"data": {{"name": "x", "{name}": {zero}}}}}')

    assert reply.status in {200, 422}
    assert reply.status == 422 or str(reply.json["data"][name]) in {"0", "0.0", "0.00"}
    assert f'"{name}":-' not in reply.text


@pytest.mark.parametrize("number", ["0e-300000", "0e-7", "0E-5000", '"0.0000000000000000000"'])
def test_zero_has_no_endless_places(crm: Crm, number: str) -> None:
    """A zero has the same limit of decimals as any other amount."""
    reply = crm.send_json("POST", "/v2/products", f'{{"data": {{"name": "x", "cost": {number}}}}}')

    assert reply.status in {200, 422}
    assert reply.status == 422 or len(reply.json["data"]["cost"]) <= len("0.000000")


@pytest.mark.parametrize("field", ["name", "description", "sku", "cost_currency"])
def test_text_that_is_no_unicode(crm: Crm, field: str) -> None:
    """Text with a lone surrogate is refused in every field."""
    body = json.dumps({"data": {"name": "x", field: "\ud800"}})

    assert fault(crm.send_json("POST", "/v2/products", body), 400) == ("invalid_payload",)


@pytest.mark.parametrize("name", ["李 Зоя ü €", "\U0001f600", '"\\/', " padded ", "x" * 255])
def test_names_come_back_as_they_are(crm: Crm, name: str) -> None:
    """Names of any script are unchanged."""
    assert crm.product(name=name)["name"] == name
    assert crm.get("/v2/products/1").json["data"]["name"] == name
