"""Every function ends before its timeout, even if each of its calls takes as long as its connection lets it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ordering import clock
from ordering.aws import calls, dynamodb, kms, ses
from ordering.aws.calls import ServiceCall
from ordering.aws.dynamodb import NoAnswer
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.principal import DealTerms
from ordering.values import replace
from ordering.webhooks import transport
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.simulated_aws import Do, Step, declared
from support.ecards import Rewards, card
from support.ecards import new_order as ecard_order
from support.gateway import Client, LambdaContext
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.scenarios import Day
from support.services import Services

LONGEST = {
    "dynamodb": calls.LONGEST_CALL,
    "events": calls.LONGEST_CALL,
    "kms": kms.LONGEST_CHAIN,
    "ses": ses.LONGEST_CALL,
    "sqs": calls.LONGEST_CALL,
    "webhook": transport.WITHIN,
}
"""Seconds that a call to a service takes at most, with the retries that its connection makes by itself."""

Fault = Callable[[int], bool]
"""Whether the call of a number, from 1, is lost after its longest time."""

FAULTS: dict[str, Fault] = {
    "each call is slow": lambda _: False,
    "each call is lost": lambda _: True,
    "every other call is lost": lambda number: number % 2 == 0,
    "two of three calls are lost": lambda number: number % 3 != 0,
}


def timeout(function: str) -> float:
    """Return the seconds after which Lambda stops a function, by its folder."""
    shared: float = declared().document["Globals"]["Function"]["Timeout"]
    (properties,) = (
        resource["Properties"]
        for resource in declared().document["Resources"].values()
        if resource.get("Properties", {}).get("CodeUri") == f"functions/{function}"
    )
    return float(properties.get("Timeout", shared))


def service_of(step: Step) -> str:
    """Return the service that a step of the simulation calls."""
    return "ses" if step.operation == "SendEmail" else step.service


@pytest.mark.parametrize("fault", FAULTS)
def test_consumers_end_before_their_timeouts(fault: str) -> None:
    """No invocation of a consumer lasts longer than the template lets it, whatever its calls do."""
    day = Day()
    world = day.world
    day.begin()
    took: dict[str, float] = defaultdict(float)
    invoke, slow = world._invoke, 400

    def timed(name: str, batch: list[dict[str, Any]]) -> list[str] | None:
        began = world.now
        failed = invoke(name, batch)
        took[name] = max(took[name], (world.now - began).total_seconds())
        return failed

    def mishap(step: Step, do: Do) -> dict[str, Any]:
        if step.number > slow:
            return do()
        world.wait(LONGEST[service_of(step)])
        if FAULTS[fault](step.number):
            raise NoAnswer("lost") if step.service == "dynamodb" else Unavailable
        return do()

    world._invoke = timed  # type: ignore[method-assign] # it is watched
    world.mishap = mishap
    world.run()

    assert took.keys() >= {"fulfilment/stream", "fulfilment/incoming"}
    assert {name: seconds for name, seconds in took.items() if seconds > timeout(name)} == {}


class SlowServices:
    """Tables and KMS, each call of which takes its longest time once `fault` is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fault: Fault | None = None
        self.calls = 0

    def slow(self, service: str, call: ServiceCall, error: Exception) -> ServiceCall:
        """Return a service that takes its longest time, and then responds or loses the response."""

        def slowly(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            if self.fault:
                self.calls += 1
                self.now += LONGEST[service]
                if self.fault(self.calls):
                    raise error
            return call(operation, request)

        return slowly

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowServices:
    """Slow services, and their clock instead of the machine's."""
    services = SlowServices()
    hands = SimpleNamespace(monotonic=lambda: services.now, sleep=services.sleep)
    monkeypatch.setattr(clock, "time", hands)
    monkeypatch.setattr(dynamodb, "time", hands)
    return services


REQUESTS: dict[str, list[tuple[str, str, str, Any]]] = {
    "training": [
        ("training/orders", "POST", target("orders"), new_order(orderItems=[new_item(quantity=2)] * 200)),
        ("training/orders", "GET", target("orders"), None),
        ("training/order_items", "GET", target("orders/1/items"), None),
        ("training/order_keys", "GET", target("orders/1/keys"), None),
        ("training/products", "GET", target("products"), None),
        ("training/feature_sets", "GET", target(f"products/{AZ_300.id}/feature_sets"), None),
    ],
    "deals": [
        ("deals/orders", "POST", "/v2/orders", {"data": {"deal_id": 2}}),
        ("deals/orders", "GET", "/v2/orders?sort_by=discount&page=2&per_page=1", None),
        ("deals/orders", "PUT", "/v2/orders/1", {"data": {"discount": 3}}),
        ("deals/line_items", "POST", "/v2/orders/1/line_items", {"data": {"product_id": 1, "currency": "USD"}}),
        ("deals/line_items", "GET", "/v2/orders/1/line_items", None),
        ("deals/products", "POST", "/v2/products", {"data": {"name": "x"}}),
        ("deals/products", "PUT", "/v2/products/1", {"data": {"name": "y"}}),
        ("deals/orders", "DELETE", "/v2/orders/1", None),
    ],
    "ecards": [
        ("ecards/orders", "POST", "/v1/orders", ecard_order(2, card(quantity=2))),
        ("ecards/orders", "GET", "/v1/orders", None),
        ("ecards/balance", "GET", "/v1/balance", None),
        ("ecards/catalogue", "GET", "/v1/ecards", None),
    ],
    "webhooks": [
        ("webhooks/registrations", "POST", "/webhooks", {"url": "https://example.com/two"}),
        ("webhooks/registrations", "GET", "/webhooks", None),
    ],
}
"""Requests of each contract that make the most calls, in this order."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("contract", REQUESTS)
def test_api_functions_end_before_their_timeouts(slow: SlowServices, contract: str, fault: str) -> None:
    """No function of the API lasts longer than the template lets it, and it responds, whatever its calls do."""
    memory = Memory()
    sealing = MemoryKms()
    services = Services(
        slow.slow("dynamodb", memory, NoAnswer("lost")),
        "OrdersTable",
        "CatalogueTable",
        "AccountsTable",
        kms=slow.slow("kms", sealing, Unavailable()),
        access_keys_key="alias/AccessKeysKey",
        webhook_secrets_key="alias/WebhookSecretsKey",
    )
    caller = replace(
        CALLER, partner="granite", grants=(*CALLER.grants, "ecards", "deals", "training-keys"), company="Granite"
    )
    client = Client(services, replace(caller, deals=DealTerms("enterprise")))
    prepare(client)
    for function, method, path, body in REQUESTS[contract]:
        slow.fault, began = FAULTS[fault], slow.now
        reply = client.request(method, path, body=body, context=LambdaContext(int(timeout(function) * 1000)))
        slow.fault = None

        assert slow.now - began <= timeout(function), (method, path)
        assert reply.status < 400 or reply.status == 503, reply.text
    assert slow.calls >= len(REQUESTS[contract])


def prepare(client: Client) -> None:
    """Write what the requests read."""
    services = client.services
    publish(services, UK, [(AZ_300, [STANDARD])])
    services.accounts(Deadline.after(60)).save_partner(replace(PARTNER, id=client.caller.partner))
    assert client.post(target("orders"), new_order(orderItems=[new_item(quantity=150)])).status == 201
    services.training_orders(UK, Deadline.after(60)).issue_keys(
        client.get(target("orders")).json["items"][0]["id"], services.access_keys_sealer(), Deadline.after(60)
    )
    prices = [{"amount": "5", "currency": "USD"}]
    for path, data in [("/v2/products", {"name": "a", "prices": prices}), ("/v2/orders", {"deal_id": 1})]:
        assert client.post(path, {"data": data}).status == 200
    rewards = Rewards(services, client.caller)
    rewards.publish()
    rewards.top_up(1_000)
    rewards.place(1)
