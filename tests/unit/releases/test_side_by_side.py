"""While a release takes over, its functions and those of the release before it serve the same tables.

Each runs in a process of its own, from its own commit, over the same tables in memory. What one has written, the other
reads and changes, so that a release can be taken back at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ordering.book.names import key_of
from ordering.clock import Deadline
from ordering.values import replace
from support.aws.memory import Memory
from support.aws.served import _encoded, served
from support.deals import ACCOUNT
from support.ecards import COMPANY, Rewards, card, new_order, order_id, services_over
from support.gateway import REQUEST_ID, ROOT, Client, Reply, _reply, _route
from support.orders import new_item, publish, target
from support.orders import new_order as new_training_order
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.releases import Host, Missing, hosted, previous_release
from support.training import READER

FUNCTIONS = (
    *("training/orders", "training/order_items", "training/products"),
    *("deals/orders", "deals/line_items", "deals/products"),
    *("ecards/orders", "ecards/balance"),
    *("training/order_keys", "fulfilment/stream"),
)
BOTH = [("old", "new"), ("new", "old")]
"""The release that writes, and the one that reads and changes what it has written."""


@dataclass
class Caller(Client):
    """A caller whose requests the functions of one release handle."""

    host: Host | None = None

    def request(self, method: str, target: str, *, body: Any = None, **more: Any) -> Reply:
        path, _, query = target.partition("?")
        headers = {**(more.get("headers") or {}), **({"Content-Type": "application/json"} if body is not None else {})}
        event = self.event(method, path, query, headers, body, base64=False)
        function, event["resource"] = _route(path)
        assert self.host
        return _reply(self.host.call(function, event), method)


MEMORY = Memory()
"""The tables of all tests of this file."""


def changed(since: set[tuple[str, str]]) -> dict[str, Any]:
    """The records of the orders table's stream for the items that are new since then, as a function's event."""
    records = []
    for key, item in MEMORY.scan("OrdersTable"):
        # As the filter of the event source has it.
        if key not in since and (key[0].startswith("BOOK#") or key[1] == "ORDER"):
            image = json.loads(json.dumps(_encoded(item)))
            change = {"Keys": {"pk": {"S": key[0]}, "sk": {"S": key[1]}}, "NewImage": image, "SequenceNumber": "1"}
            records.append({"eventName": "INSERT", "eventSource": "aws:dynamodb", "dynamodb": change})
    return {"Records": records}


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    """Both releases over tables with a catalogue of each kind, and a balance."""
    try:
        previous = previous_release()
    except Missing as error:
        pytest.skip(str(error))
    services = services_over(MEMORY)
    publish(services, UK, [(AZ_300, [STANDARD])])
    services.accounts(Deadline.after(60)).save_partner(PARTNER)
    rewards = Rewards(services, COMPANY)
    rewards.publish()
    rewards.top_up(10_000)
    with ExitStack() as stack:
        tables = stack.enter_context(served(MEMORY))
        yield {
            "old": stack.enter_context(hosted(previous, tables, FUNCTIONS)),
            "new": stack.enter_context(hosted(ROOT, tables, FUNCTIONS)),
        }


def callers(hosts: dict[str, Host], writer: str, reader: str, caller: Any) -> tuple[Caller, Caller]:
    services = services_over(Memory())
    return Caller(services, caller, host=hosts[writer]), Caller(services, caller, host=hosts[reader])


def same(one: Caller, other: Caller, path: str) -> Any:
    """Check that both read the same; returns it."""
    replies = [caller.get(path) for caller in (one, other)]

    assert [reply.status for reply in replies] == [200, 200], replies[1].text
    assert json.loads(replies[0].text) == json.loads(replies[1].text)
    return replies[0].json


@pytest.mark.parametrize(("writer", "reader"), BOTH)
def test_training_orders(hosts: dict[str, Host], writer: str, reader: str) -> None:
    """A training order of one release is read and listed by the other, which answers its retry with the same order."""
    one, other = callers(hosts, writer, reader, CALLER)
    headers = {"Idempotency-Key": f"key-of-{writer}"}
    made = one.post(target("orders"), new_training_order(), headers=headers)
    again = other.post(target("orders"), new_training_order(), headers=headers)
    after = other.post(target("orders"), new_training_order())

    assert (made.status, again.status, after.status) == (201, 201, 201), (made.text, again.text)
    assert again.json == made.json
    assert after.json["id"] != made.json["id"]
    for path in ("orders", f"orders/{made.json['id']}", f"orders/{made.json['id']}/items", "products"):
        same(one, other, target(path))
    assert {made.json["id"], after.json["id"]} <= {order["id"] for order in one.get(target("orders")).json["items"]}


def correlation(order: str) -> str | None:
    """The id of the request that created an order, as the order's item has it."""
    items = dict(MEMORY.scan("OrdersTable"))
    found: str | None = items[key_of(order)].get("correlation", {}).get("S")
    return found


@pytest.mark.parametrize(("writer", "reader"), BOTH)
def test_fulfilment(hosts: dict[str, Host], writer: str, reader: str) -> None:
    """An order of one release is fulfilled by the other, which tries again what it has done, and both show its keys."""
    one, other = callers(hosts, writer, reader, READER)
    before = {key for key, _ in MEMORY.scan("OrdersTable")}
    made = one.post(target("orders"), new_training_order(orderItems=[new_item(quantity=3)]))
    answers = [hosts[release].call("fulfilment/stream", changed(before)) for release in (reader, writer)]
    path = f"orders/{made.json['id']}"

    if writer == "new":
        assert correlation(f"training#{made.json['id']}") == REQUEST_ID
    assert answers == [{"batchItemFailures": []}] * 2
    assert same(one, other, target(path))["orderStatus"] == "Completed"
    assert len({key["key"] for key in same(one, other, target(f"{path}/keys"))["items"]}) == 3


@pytest.mark.parametrize(("writer", "reader"), BOTH)
def test_deal_orders(hosts: dict[str, Host], writer: str, reader: str) -> None:
    """A deal order and its lines are read, changed and removed by the other release, which both then see."""
    one, other = callers(hosts, writer, reader, replace(ACCOUNT, partner=f"crm-{writer}"))
    product = one.post("/v2/products", {"data": {"name": "Licence", "prices": [{"amount": "10", "currency": "EUR"}]}})
    order = one.post("/v2/orders", {"data": {"deal_id": 7, "discount": 4}})
    assert (product.status, order.status) == (200, 200), (product.text, order.text)
    path = f"/v2/orders/{order.json['data']['id']}"
    line = {"product_id": product.json["data"]["id"], "value": "10", "currency": "EUR", "quantity": 2}
    lines = [caller.post(f"{path}/line_items", {"data": line}) for caller in (one, other)]

    assert [made.status for made in lines] == [200, 200], lines[1].text
    assert other.put(path, {"data": {"discount": 5}}).status == 200
    assert same(one, other, path)["data"]["discount"] == 5
    assert len(same(one, other, f"{path}/line_items")["items"]) == 2
    same(one, other, "/v2/orders")
    same(one, other, "/v2/products")
    assert other.delete(f"{path}/line_items/{lines[0].json['data']['id']}").status == 204
    assert len(same(one, other, f"{path}/line_items")["items"]) == 1
    assert other.delete(path).status == 204
    assert [caller.get(path).status for caller in (one, other)] == [404, 404]


@pytest.mark.parametrize(("writer", "reader"), BOTH)
def test_ecard_orders(hosts: dict[str, Host], writer: str, reader: str) -> None:
    """An e-card order of one release is read, listed and paid for once by the other, which answers its retry."""
    one, other = callers(hosts, writer, reader, COMPANY)
    number = 1 + BOTH.index((writer, reader))
    before = one.get("/v1/balance").json
    made = one.post("/v1/orders", new_order(number, card()))
    after = one.get("/v1/balance").json
    again = other.post("/v1/orders", new_order(number, card()))

    assert (made.status, again.status) == (200, 200), (made.text, again.text)
    assert again.json == made.json
    assert same(one, other, "/v1/balance") == after != before
    for path in ("", f"/{order_id(number)}", f"/{order_id(number)}/status"):
        same(one, other, f"/v1/orders{path}")
