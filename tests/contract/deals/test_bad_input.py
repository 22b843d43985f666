"""Any input to deal orders is accepted, or refused in the contract's error shape, and never causes a 500."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.aws.memory import Memory
from support.deals import ACCOUNT, Crm, Watch, faults, price, services_over
from support.gateway import Reply

FEW = settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
ANY_TEXT = st.text(st.characters(), max_size=12)
"""Any text, including lone surrogates and control characters."""

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.decimals(allow_nan=True).map(str)
    | st.sampled_from([0, 1, "1", "-2", "EUR", "0.00", 10**400, -0.0, 1e308, "1e5", "NaN", "", "\ud800"])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "deal_id", "discount", "product_id", "currency", "variation", "quantity", "name", "sku", "description", "active",
    "max_discount", "max_markup", "cost", "cost_currency", "prices", "id", "created_at",
]  # fmt: skip
PRICES = st.lists(
    st.fixed_dictionaries({"amount": SCALARS, "currency": st.sampled_from(["EUR", "PLN"]) | SCALARS}), max_size=3
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={**dict.fromkeys(NAMES, ANYTHING), "prices": PRICES | ANYTHING},
) | st.fixed_dictionaries({"name": ANY_TEXT, "deal_id": SCALARS, "product_id": st.just(1), "currency": st.just("EUR")})
CHANGES = [
    ("POST", "/v2/orders"),
    ("PUT", "/v2/orders/1"),
    ("POST", "/v2/orders/1/line_items"),
    ("POST", "/v2/products"),
    ("PUT", "/v2/products/1"),
]
LISTS = ["/v2/orders", "/v2/orders/1/line_items", "/v2/products"]


@cache
def stock() -> Memory:
    """An account with one of everything."""
    memory = Memory()
    crm = Crm(services_over(memory, Watch()), ACCOUNT)
    crm.order(12)
    crm.product(prices=[price("10")])
    crm.line(1, 1)
    return memory


def stocked() -> Crm:
    return Crm(services_over(stock().fork(), Watch()), ACCOUNT)


def assert_answered(reply: Reply, *, also: int = 400) -> None:
    """Check that a request succeeded or was refused in the contract's error shape."""
    assert reply.status in {200, 404, 422, also}
    if reply.status != 200:
        assert faults(reply, reply.status)
    else:
        assert json.dumps(reply.json, allow_nan=False)


@FEW
@given(call=st.sampled_from(CHANGES), attributes=ATTRIBUTES)
def test_any_attributes(call: tuple[str, str], attributes: dict[str, Any]) -> None:
    """Any attributes are either stored, and can be read, or refused."""
    method, path = call
    crm = stocked()

    assert_answered(crm.send_json(method, path, json.dumps({"data": attributes})))

    for listed in LISTS:
        assert crm.get(listed).status == 200


@FEW
@given(call=st.sampled_from(CHANGES), body=ANYTHING | st.fixed_dictionaries({"data": ANYTHING, "meta": ANYTHING}))
def test_any_json(call: tuple[str, str], body: Any) -> None:
    """Any JSON is accepted or refused."""
    method, path = call

    assert_answered(stocked().send_json(method, path, json.dumps(body)))


@FEW
@given(call=st.sampled_from(CHANGES), body=st.text(max_size=60))
def test_any_text(call: tuple[str, str], body: str) -> None:
    """Random text as a body is refused."""
    method, path = call
    reply = stocked().send_json(method, path, body)

    assert reply.status in {400, 422}
    assert faults(reply, reply.status)


@FEW
@given(
    path=st.sampled_from([*LISTS, "/v2/orders/1", "/v2/products/1"]),
    query=st.lists(
        st.tuples(
            st.sampled_from(["page", "per_page", "ids", "deal_id", "sort_by"]) | st.text(max_size=5),
            st.sampled_from(["1", "2", "500", "", "id:desc", "name", "1,2"])
            | st.integers().map(str)
            | st.text(max_size=12),
        ),
        max_size=4,
    ),
)
def test_any_query(path: str, query: list[tuple[str, str]]) -> None:
    """Any query of a read is accepted or refused."""
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)

    assert_answered(stocked().get(f"{path}?{text}"))


@FEW
@given(segment=st.text(st.characters(exclude_characters="?#/", exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_any_id(segment: str) -> None:
    """Any malformed id is answered with 404."""
    crm = stocked()
    for path in (
        f"orders/x{segment}",
        f"orders/x{segment}/line_items",
        f"orders/1/line_items/x{segment}",
        f"products/x{segment}",
    ):
        reply = crm.get(f"/v2/{path}")
        assert reply.status == 404
        assert faults(reply, 404)
