"""What a program sees that uses the official client: results, distinguishable errors and complete lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from operator import itemgetter
from typing import Any

import pytest

from client.deals import Deals, a_deal
from client.official_client import OfficialClient
from ordering_tools.demo import deals as demo_deals

pytestmark = pytest.mark.gateway

WRONG_TOKEN = "0" * 64
KNOWN_PARAMETERS = {"page", "per_page", "ids", "sort_by", "deal_id"}
PRODUCT = {
    "name": "Enterprise Plan",
    "max_discount": 4,
    "max_markup": 2.5,
    "prices": [{"amount": "1599.99", "currency": "USD"}, {"amount": "3599.99", "currency": "PLN"}],
}


@pytest.fixture
def order(crm: OfficialClient) -> int:
    order_id: int = crm.call("orders.create", deal_id=a_deal())["id"]
    return order_id


@pytest.fixture
def product(crm: OfficialClient) -> int:
    product_id: int = crm.call("products.create", PRODUCT)["id"]
    return product_id


def pages(client: OfficialClient, per_page: int, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Read page by page until one is empty, as users of the client do."""
    for page in range(1, 100):
        if not (found := client.call("orders.list", page=page, per_page=per_page, **query)):
            return
        yield found


# Errors.


def test_missing_attribute(crm: OfficialClient) -> None:
    """Creating an order without a deal raises a ResourceError that names the attribute and the request."""
    refusal = crm.refusal("orders.create", discount=4)
    (error,) = refusal.errors

    assert (refusal.raised, refusal.http_status) == ("ResourceError", 422)
    assert (error["resource"], error["field"], error["code"]) == ("order", "/data/deal_id", "missing")
    assert (error["message"], error["details"]) == ("attribute is missing", "This field is required.")
    assert refusal.logref == refusal.headers["X-Request-Id"]


def test_second_order_of_a_deal(crm: OfficialClient) -> None:
    """Creating a deal's second order raises a ResourceError; after the first is destroyed it succeeds."""
    deal = a_deal()
    first = crm.call("orders.create", deal_id=deal)
    refusal = crm.refusal("orders.create", deal_id=deal)
    (error,) = refusal.errors

    assert (refusal.raised, refusal.http_status) == ("ResourceError", 422)
    assert (error["resource"], error["field"], error["code"]) == ("order", "/data/deal_id", "already_exists")
    assert refusal.logref == refusal.headers["X-Request-Id"]
    assert crm.call("orders.destroy", first["id"]) is True
    assert crm.call("orders.create", deal_id=deal)["id"] > first["id"]


@pytest.mark.parametrize("variation", [-4.01, 2.51, "-4.01"])
def test_variation_beyond_the_limits(crm: OfficialClient, order: int, product: int, variation: object) -> None:
    """A variation beyond the product's limits raises a ResourceError."""
    refusal = crm.refusal("line_items.create", order, product_id=product, currency="USD", variation=variation)
    (error,) = refusal.errors

    assert (refusal.raised, refusal.http_status) == ("ResourceError", 422)
    assert (error["resource"], error["field"], error["code"]) == ("line_item", "/data/variation", "incorrect_value")
    assert refusal.logref == refusal.headers["X-Request-Id"]


@pytest.mark.parametrize("variation", [-4, 2.5])
def test_variation_at_the_limits(crm: OfficialClient, order: int, product: int, variation: float) -> None:
    """A variation at the product's limits is accepted."""
    line = crm.call("line_items.create", order, product_id=product, currency="USD", variation=variation)

    assert Decimal(line["variation"]) == Decimal(str(variation))


def test_several_faults(crm: OfficialClient) -> None:
    """All invalid attributes are reported together."""
    refusal = crm.refusal("products.create", max_discount=101, prices=[{"amount": "-1", "currency": "US"}])

    assert sorted((error["field"], error["code"]) for error in refusal.errors) == [
        ("/data/max_discount", "incorrect_value"),
        ("/data/name", "missing"),
        ("/data/prices/0/amount", "incorrect_value"),
        ("/data/prices/0/currency", "incorrect_value"),
    ]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"per_page": 501}, "per_page"),
        ({"page": 0}, "page"),
        ({"sort_by": "colour"}, "colour"),
        ({"sort_by": "id:up"}, "sort_by"),
        ({"ids": "1;2"}, "ids"),
    ],
)
def test_wrong_parameter(crm: OfficialClient, query: dict[str, object], named: str) -> None:
    """An unknown or invalid query parameter raises a RequestError with 400 that names it."""
    refusal = crm.refusal("orders.list", **query)
    (error,) = refusal.errors

    assert (refusal.raised, refusal.http_status, error["code"]) == ("RequestError", 400, "invalid_param")
    assert f"'{named}'" in error["details"]
    assert ("Unknown parameter" in error["details"]) == (named in query and named not in KNOWN_PARAMETERS)
    assert refusal.logref == refusal.headers["X-Request-Id"]


def test_wrong_token(crm: OfficialClient) -> None:
    """An unknown token raises a RequestError with 401."""
    refusal = OfficialClient(crm.process, WRONG_TOKEN).refusal("orders.list")

    assert (refusal.raised, refusal.http_status) == ("RequestError", 401)
    assert refusal.errors[0]["code"] == "unauthorized"
    assert refusal.logref == refusal.headers["X-Request-Id"]


@pytest.mark.parametrize("method", ["orders.list", "products.list", "orders.retrieve"])
def test_basic_plan(crm: OfficialClient, deals: Deals, method: str) -> None:
    """An account on the basic plan gets a RequestError with 403, even for reads."""
    basic = OfficialClient(crm.process, deals.demo_file["tokens"]["dealsBasicPlan"])
    refusal = basic.refusal(method, *([1] if method.endswith("retrieve") else []))

    assert (refusal.raised, refusal.http_status) == ("RequestError", 403)
    assert refusal.errors[0]["code"] == "plan_required"
    assert refusal.logref == refusal.headers["X-Request-Id"]


def test_changes_disabled(crm: OfficialClient, deals: Deals) -> None:
    """An account with changes disabled can read everything, and gets a RequestError with 403 for any change."""
    read_only = OfficialClient(crm.process, deals.demo_file["tokens"]["dealsChangesDisabled"])
    orders = read_only.call("orders.list")
    lines = [line for order in orders for line in read_only.call("line_items.list", order["id"])]
    refusals = [
        read_only.refusal("orders.create", deal_id=a_deal()),
        read_only.refusal("orders.update", 1, discount=1),
        read_only.refusal("orders.destroy", 1),
        read_only.refusal("products.destroy", 1),
    ]

    assert (len(orders), len(lines)) == (3, 0 + 1 + 2)
    assert {(refusal.raised, refusal.http_status) for refusal in refusals} == {("RequestError", 403)}
    assert {refusal.errors[0]["code"] for refusal in refusals} == {"changes_disabled"}
    assert all(refusal.logref == refusal.headers["X-Request-Id"] for refusal in refusals)
    assert read_only.call("orders.list") == orders


@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("orders.retrieve", [999_999], "order"),
        ("orders.destroy", [999_999], "order"),
        ("orders.retrieve", ["none"], "order"),
        ("products.retrieve", [999_999], "product"),
        ("line_items.list", [999_999], "order"),
        ("line_items.retrieve", [999_999, 1], "order"),
    ],
)
def test_not_found(crm: OfficialClient, method: str, arguments: list[object], kind: str) -> None:
    """An unknown id raises a RequestError with 404 that names it."""
    refusal = crm.refusal(method, *arguments)
    (error,) = refusal.errors

    assert (refusal.raised, refusal.http_status, error["code"]) == ("RequestError", 404, "not_found")
    assert error["details"] == f"Resource of the type '{kind}' with the id '{arguments[0]}' was not found."
    assert refusal.logref == refusal.headers["X-Request-Id"]


def test_unsupported_service(crm: OfficialClient) -> None:
    """A service of the client that this API lacks raises a RequestError with 404."""
    refusal = crm.refusal("contacts.list")

    assert (refusal.raised, refusal.http_status) == ("RequestError", 404)
    assert refusal.errors[0]["code"] == "incorrect_path"


def test_too_many_requests(crm: OfficialClient, deals: Deals) -> None:
    """A request beyond the rate raises a RateLimitError; after a second the next one succeeds."""
    account = deals.account()
    claims = deals.claims(account)
    jwt = deals.installation.signer.issue(claims)
    client = OfficialClient(crm.process, deals.reference_tokens.issue(jwt, claims.expires))
    assert client.call("orders.list") == []
    seconds = range(int(time.time()), int(time.time()) + 2)
    for second in seconds:
        for _ in range(10):
            deals.accounts.count_request(claims.token_id, second)
    refusal = client.refusal("orders.list")
    time.sleep(max(0.0, seconds.stop - time.time()))

    assert (refusal.raised, refusal.headers["Retry-After"]) == ("RateLimitError", "1")
    assert client.call("orders.list") == []


# Results.


def test_destroy(crm: OfficialClient, order: int, product: int) -> None:
    """Destroying returns True, for which the answer must have neither a body nor a content type."""
    line = crm.call("line_items.create", order, product_id=product, currency="USD")["id"]
    for method, arguments in (
        ("line_items.destroy", [order, line]),
        ("orders.destroy", [order]),
        ("products.destroy", [product]),
    ):
        outcome = crm.outcome(method, *arguments)
        headers = {name.lower() for name in outcome["answer"]["headers"]}

        assert (outcome["result"], outcome["answer"]["status"], outcome["answer"]["body"]) == (True, 204, "")
        assert "content-type" not in headers
        assert crm.refusal(method, *arguments).http_status == 404


def test_update_with_an_order_as_read(crm: OfficialClient) -> None:
    """An order that was read can be sent back with a change, and keeps its deal."""
    made = crm.call("orders.create", deal_id=a_deal(), discount="4.5")
    changed = crm.call("orders.update", made["id"], {**made, "discount": 12.25, "deal_id": a_deal()})

    assert (made["discount"], changed["discount"], changed["deal_id"]) == (4.5, 12.25, made["deal_id"])
    assert crm.call("orders.retrieve", made["id"]) == changed


def test_product_sent_back(crm: OfficialClient, product: int) -> None:
    """A product sent back as it was read stays unchanged."""
    read = crm.call("products.retrieve", product)
    updated = crm.call("products.update", product, read)

    assert {**updated, "updated_at": None} == {**read, "updated_at": None}


@pytest.mark.parametrize("amount", ["1599.99", "1599.90", "0.01", "0", "9999999999999999.999999"])
def test_money_is_text(crm: OfficialClient, order: int, amount: str) -> None:
    """Amounts are returned as text, digit for digit as they were sent."""
    sent = {**PRODUCT, "cost": amount, "prices": [{"amount": amount, "currency": "USD"}]}
    made = crm.call("products.create", sent)
    line = crm.call("line_items.create", order, product_id=made["id"], currency="USD")

    assert (made["cost"], made["prices"]) == (amount, [{"amount": amount, "currency": "USD"}])
    assert (line["price"], crm.call("line_items.list", order)) == (amount, [line])


def test_money_sent_as_a_number(crm: OfficialClient) -> None:
    """An amount sent as a JSON number, as the client does with a Decimal, is returned as exact text."""
    made = crm.call("products.create", name="One", cost=2, prices=[{"amount": 1599.99, "currency": "USD"}])

    assert (made["cost"], made["prices"]) == ("2", [{"amount": "1599.99", "currency": "USD"}])


def test_value_of_a_line_item(crm: OfficialClient, order: int, product: int) -> None:
    """A line item has its product's price in the requested currency, and the varied value to 2 places."""
    line = crm.call("line_items.create", order, product_id=product, currency="PLN", variation="-2", quantity=3)

    assert (line["price"], line["currency"], line["variation"], line["value"]) == ("3599.99", "PLN", "-2", "3527.99")
    assert (line["quantity"], line["name"]) == (3, "Enterprise Plan")
    assert crm.call("products.destroy", product) is True
    assert crm.call("line_items.retrieve", order, line["id"]) == line


# Lists.


@pytest.mark.parametrize(
    ("sort_by", "keys"),
    [
        (None, []),
        ("id:desc", [("id", True)]),
        ("deal_id:desc", [("deal_id", True)]),
        ("discount", [("discount", False)]),
        ("discount:desc,created_at", [("discount", True), ("created_at", False)]),
        ("discount:asc,deal_id:desc", [("discount", False), ("deal_id", True)]),
        ("updated_at:desc,discount:asc,id:desc", [("updated_at", True), ("discount", False), ("id", True)]),
    ],
)
def test_sorted_pages(demo_crm: OfficialClient, sort_by: str | None, keys: list[tuple[str, bool]]) -> None:
    """Read page by page in any sort order, all orders are returned once and in that order."""
    everything = demo_crm.call("orders.list", per_page=500)
    expected = sorted(everything, key=itemgetter("id"))
    for key, descending in reversed(keys):
        expected.sort(key=itemgetter(key), reverse=descending)
    read = list(pages(demo_crm, 8, **({"sort_by": sort_by} if sort_by else {})))

    assert len(everything) >= demo_deals.ORDERS
    assert [order for page in read for order in page] == expected
    assert {len(page) for page in read[:-1]} == {8}


@pytest.mark.parametrize("sort_by", ["id", "id:desc", "created_at:desc", "updated_at,id:desc"])
def test_lists_of_a_new_account(crm: OfficialClient, sort_by: str) -> None:
    """The lists of a new account are empty, and new items are listed at once, in any sort order."""
    before = [crm.call(f"{service}.list", sort_by=sort_by) for service in ("orders", "products")]
    order = crm.call("orders.create", deal_id=a_deal())
    product = crm.call("products.create", PRODUCT)
    lines = crm.call("line_items.list", order["id"], sort_by=sort_by)
    line = crm.call("line_items.create", order["id"], product_id=product["id"], currency="USD")

    assert (before, lines) == ([[], []], [])
    assert crm.call("orders.list", sort_by=sort_by) == [order]
    assert crm.call("products.list", sort_by=sort_by) == [product]
    assert crm.call("line_items.list", order["id"], sort_by=sort_by) == [line]


def test_pages_while_orders_come_and_go(crm: OfficialClient, deals: Deals) -> None:
    """Orders that stay are listed once, even if others are added and removed between two pages."""
    account = deals.account()
    reader = OfficialClient(crm.process, deals.token(account))
    writer = OfficialClient(crm.process, deals.token(account))
    made = [writer.call("orders.create", deal_id=a_deal(), discount=number % 3)["id"] for number in range(8)]
    reading = pages(reader, 3, sort_by="discount:desc")
    read = next(reading)
    writer.call("orders.destroy", read[0]["id"])
    writer.call("orders.create", deal_id=a_deal(), discount=50)
    read += [order for page in reading for order in page]

    assert [order["id"] for order in read] == [*made[2::3], *made[1::3], *made[0::3]]


@pytest.mark.parametrize(
    ("query", "deal_numbers"),
    [
        ({"ids": "3"}, [2]),
        ({"ids": "5,2,3,4444444"}, [1, 2, 4]),
        ({"ids": "2,3,5", "sort_by": "deal_id:desc"}, [4, 2, 1]),
        ({"ids": "2,3,5", "per_page": 2, "page": 2}, [4]),
        ({"deal_id": demo_deals.FIRST_DEAL}, [0]),
        ({"deal_id": demo_deals.FIRST_DEAL, "ids": "2"}, []),
        ({"deal_id": 999_999_999}, []),
    ],
)
def test_filters(demo_crm: OfficialClient, query: dict[str, object], deal_numbers: list[int]) -> None:
    """A list can be filtered by ids and by deal."""
    found = demo_crm.call("orders.list", **query)

    assert [order["deal_id"] for order in found] == [demo_deals.FIRST_DEAL + 7 * number for number in deal_numbers]


def test_filters_of_the_other_lists(crm: OfficialClient, order: int, product: int) -> None:
    """Products and line items can be filtered by ids and by the values that the client offers."""
    lines = [crm.call("line_items.create", order, product_id=product, currency="USD")["id"] for _ in range(3)]
    other = crm.call("products.create", PRODUCT)["id"]
    listed = crm.call("line_items.list", order, ids=f"{lines[2]},{lines[0]}")

    assert [line["id"] for line in listed] == [lines[0], lines[2]]
    assert [one["id"] for one in crm.call("products.list", ids=str(other))] == [other]
    for wanted in ({"name": PRODUCT["name"]}, {"active": True}, {"name": PRODUCT["name"], "active": True}):
        assert other in [one["id"] for one in crm.call("products.list", per_page=100, sort_by="id:desc", **wanted)]
    assert crm.call("products.list", name="no such name") == []
    assert [one["id"] for one in crm.call("line_items.list", order, quantity=1)] == lines
    assert [one["id"] for one in crm.call("line_items.list", order, value=float(listed[0]["value"]))] == lines
    assert crm.call("line_items.list", order, quantity=2) == []
