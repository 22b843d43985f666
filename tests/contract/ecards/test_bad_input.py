"""Any input to e-card orders is accepted, or refused in the contract's error shape, and never causes a 500."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.aws.memory import Memory
from support.deals import Watch
from support.ecards import COMPANY, Rewards, invalid, new_order, order_id, refused, services_over
from support.gateway import Reply

FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
ANY_TEXT = st.text(st.characters(), max_size=12)
"""Any text, including lone surrogates and control characters."""

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
    | st.sampled_from([0, 1, "1", "-2", 10**400, -0.0, 1e308, "NaN", "", "\ud800", "100 ₽", order_id(1), "a@b.cd"])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def mostly(value: Any) -> st.SearchStrategy[Any]:
    return st.just(value) | ANYTHING


CARD = st.fixed_dictionaries(
    {}, optional={"id": mostly(1), "quantity": mostly(2), "faceValue": mostly("100 ₽"), "more": ANYTHING}
)
PARTICIPANT = st.fixed_dictionaries(
    {}, optional={"email": mostly("a@b.cd"), "name": mostly("J"), "phone": mostly("7"), "more": ANYTHING}
)
ORDER = st.fixed_dictionaries(
    {},
    optional={
        "orderId": st.sampled_from([order_id(1), order_id(2)]) | ANYTHING,
        "participant": PARTICIPANT | ANYTHING,
        "ecards": st.lists(CARD | ANYTHING, max_size=3) | ANYTHING,
        "more": ANYTHING,
    },
)


@cache
def stock() -> Memory:
    """A company with an order."""
    memory = Memory()
    company = Rewards(services_over(memory, Watch()), COMPANY)
    company.publish()
    company.place()
    return memory


def stocked() -> Rewards:
    return Rewards(services_over(stock().fork(), Watch()), COMPANY)


def assert_refused(reply: Reply, *statuses: int) -> None:
    """Check that a request was refused in the contract's error shape with one of these statuses."""
    assert reply.status in statuses
    if reply.status == 400:
        assert invalid(reply)
    else:
        assert refused(reply, reply.status)


@FEW
@given(body=ORDER | ANYTHING)
def test_any_json(body: Any) -> None:
    """Any JSON either creates an order, which can be read, or is refused."""
    company = stocked()
    reply = company.send_json(json.dumps(body))

    if reply.status == 200:
        assert company.read(f"/v1/orders/{reply.json['id']}")["number"] in {1, 2}
    else:
        assert_refused(reply, 400, 409)
    assert company.get("/v1/orders").status == 200


@FEW
@given(field=st.sampled_from(["email", "name", "phone"]), text=st.text(max_size=300))
def test_any_participant(field: str, text: str) -> None:
    """Any participant is either shown as sent or refused."""
    company = stocked()
    body = new_order(2)
    body["participant"][field] = text
    reply = company.post("/v1/orders", body)

    if reply.status == 200:
        assert company.read(f"/v1/orders/{order_id(2)}")["participant"][field] == text
    else:
        assert_refused(reply, 400)


@FEW
@given(body=st.text(max_size=60))
def test_any_text(body: str) -> None:
    """Random text as a body is refused."""
    assert_refused(stocked().send_json(body), 400)


@FEW
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(["page", "Page", "pageSize"]) | st.text(max_size=5),
            st.sampled_from(["1", "2", "-1", ""]) | st.integers().map(str) | st.text(max_size=12),
        ),
        max_size=4,
    ),
)
def test_any_query(query: list[tuple[str, str]]) -> None:
    """Any query of a list is accepted, or refused for its page or for each unknown parameter."""
    reply = stocked().get("/v1/orders?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query))

    unknown = {name[:1].upper() + name[1:] for name, _ in query if name != "page"}
    assert reply.status == 200 or unknown <= set(invalid(reply)) <= {"Page", *unknown}
    assert reply.status == 400 or not unknown


@FEW
@given(
    segment=st.text(st.characters(exclude_characters="?#/", exclude_categories=["Cs"]), min_size=1, max_size=12),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
)
def test_any_path(segment: str, method: str) -> None:
    """Any unknown path is 404 or 405."""
    company = stocked()
    for path in (f"orders/x{segment}", f"orders/x{segment}/status", f"orders/{order_id(1)}/x{segment}", f"x{segment}"):
        reply = company.request(method, f"/v1/{path}", body={})
        assert reply.status in {404, 405}
        assert method == "HEAD" or refused(reply, reply.status)
