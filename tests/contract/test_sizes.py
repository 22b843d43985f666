"""What may be written can be read: no response or event within the contracts' limits is larger than AWS carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.eventbridge import BYTES_AT_MOST, Entry
from ordering.clock import Deadline
from ordering.contexts import read_history
from ordering.ecards.catalogue import LARGEST_NAME as LARGEST_CARD_NAME
from ordering.ecards.catalogue import LONGEST_NAME as LONGEST_CARD_NAME
from ordering.ecards.catalogue import Ecard, FaceValue
from ordering.money import Money
from ordering.principal import DealTerms
from ordering.training.catalogue import LARGEST_ENTRY, TrainingFeatureSet, TrainingProduct
from ordering.values import replace
from ordering_tools.local.runtime.functions import RESPONSE_LIMIT
from support.aws.memory import Memory
from support.ecards import Rewards, order_id
from support.ecards import new_order as ecard_order
from support.gateway import Client
from support.orders import new_item, new_order, target
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.services import Services

WORST = '"'
"""The character that takes the most bytes of a response: escaped in the body, which is escaped in Lambda's result."""

WIDE = "\U0001f600"
"""A character that takes four bytes in UTF-8."""

Write = Callable[[Client, int], None]
"""Writes the largest resources of a kind, as many as that."""


def new_client() -> Client:
    """A caller of all contracts, over tables in memory."""
    services = Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable")
    grants = (*CALLER.grants, "deals", "ecards")
    services.accounts(Deadline.after(60)).save_partner(PARTNER)
    return Client(services, replace(CALLER, grants=grants, deals=DealTerms("enterprise"), company="Granite"))


def made(client: Client, path: str, body: Any) -> Any:
    reply = client.post(path, body)
    assert reply.status in {200, 201}, reply.text
    return reply.json


def prices(count: int) -> list[dict[str, str]]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [
        {"amount": "9" * 16 + "." + "9" * 6, "currency": f"{first}{second}A"} for first in letters for second in letters
    ][:count]


def largest_product() -> dict[str, Any]:
    return {
        "name": WORST * 255,
        "sku": WORST * 255,
        "description": WORST * 2_000,
        "prices": prices(30),
        "max_discount": "99.999999",
        "max_markup": "9" * 16 + ".999999",
        "cost": "9" * 16 + ".999999",
        "cost_currency": "EUR",
    }


def write_products(client: Client, count: int) -> None:
    for _ in range(count):
        made(client, "/v2/products", {"data": largest_product()})


def write_line_items(client: Client, count: int) -> None:
    product = made(client, "/v2/products", {"data": largest_product()})["data"]["id"]
    order = made(client, "/v2/orders", {"data": {"deal_id": 2**53 - 1}})["data"]["id"]
    assert order == 1
    line = {"product_id": product, "currency": "AAA", "quantity": 2**31 - 1, "variation": "-99.999999"}
    for _ in range(count):
        made(client, "/v2/orders/1/line_items", {"data": line})


def write_deal_orders(client: Client, count: int) -> None:
    for number in range(count):
        made(client, "/v2/orders", {"data": {"deal_id": 2**53 - 1 - number, "discount": "99.999999"}})


def write_training_orders(client: Client, count: int) -> None:
    client.services.catalogue(UK, Deadline.after(60)).publish([(AZ_300, [STANDARD])])
    address = f"{'a' * 64}@{'b' * 60}.{'b' * 60}.{'b' * 60}.com"
    for _ in range(count):
        made(client, target("orders"), new_order(purchaseOrderReference=WORST * 100, contactEmail=address))


LARGEST_PRODUCT = TrainingProduct(AZ_300.id, WORST * 200, WORST * 900, (WORST * 600, WORST * 600))
LARGEST_SET = TrainingFeatureSet(
    STANDARD.id, AZ_300.id, WORST * 1_100, WORST * 900, 10**9, 10**9, (Money("GBP", Decimal("9999.9999")),) * 20
)


def write_training_products(client: Client, count: int) -> None:
    products = [replace(LARGEST_PRODUCT, id=f"{number:08x}{AZ_300.id[8:]}") for number in range(count)]
    client.services.catalogue(UK, Deadline.after(60)).publish([(one, []) for one in products])


def write_feature_sets(client: Client, count: int) -> None:
    sets = [replace(LARGEST_SET, id=f"{number:08x}{STANDARD.id[8:]}") for number in range(count)]
    client.services.catalogue(UK, Deadline.after(60)).publish([(AZ_300, sets)])


def write_order_items(client: Client, count: int) -> None:
    client.services.catalogue(UK, Deadline.after(60)).publish([(AZ_300, [LARGEST_SET])])
    item = new_item(achievementCode=WORST * 255, feedbackLinkText=WORST * 255, sourceReference=WORST * 255)
    made(client, target("orders"), new_order(orderItems=[item] * count))


def write_ecard_orders(client: Client, count: int) -> None:
    rewards = Rewards(client.services, client.caller)
    rewards.publish()
    participant = {"email": f"{'a' * 64}@example.com", "name": WORST * 250, "phone": WORST * 32}
    for number in range(count):
        made(client, "/v1/orders", ecard_order(number + 1, participant=participant))


LISTS: dict[str, tuple[Write, str, int]] = {
    "deal products": (write_products, "/v2/products?per_page=500", 500),
    "deal line items": (write_line_items, "/v2/orders/1/line_items?per_page=500", 500),
    "deal orders": (write_deal_orders, "/v2/orders?per_page=500", 500),
    "training orders": (write_training_orders, target("orders", _pageSize=500), 500),
    "training products": (write_training_products, target("products", _pageSize=500), 500),
    "training feature sets": (write_feature_sets, target(f"products/{AZ_300.id}/feature_sets", _pageSize=500), 500),
    "training order items": (write_order_items, target("orders/1/items", _pageSize=500), 500),
    "e-card orders": (write_ecard_orders, "/v1/orders", 20),
}
"""By list: how its largest resources are written, its largest page, and how many that page has."""


def size_of(client: Client, path: str) -> int:
    """Return the bytes of the result that Lambda's runtime for Python 3.13 makes of a response."""
    reply = client.get(path)
    assert reply.status == 200, reply.text
    headers = {name: [value] for name, value in reply.headers.items()}
    result = {"statusCode": 200, "body": reply.text, "isBase64Encoded": False, "multiValueHeaders": headers}
    return len(json.dumps(result, ensure_ascii=False).encode())


def size_with(kind: str, count: int) -> int:
    """Return the bytes of a list with so many of its largest resources."""
    write, path, _ = LISTS[kind]
    client = new_client()
    write(client, count)
    return size_of(client, path)


@pytest.mark.parametrize("kind", LISTS)
def test_the_largest_page_fits(kind: str) -> None:
    """The largest page of the largest resources that can be written fits the response of a function."""
    _, _, page = LISTS[kind]
    one, three = size_with(kind, 1), size_with(kind, 3)
    each = (three - one) // 2

    assert each > 100
    assert three + page * each < RESPONSE_LIMIT


def test_a_product_that_would_not_fit_is_refused() -> None:
    """A catalogue with a product or a feature set that is too large for a page is refused, and nothing is written."""
    client = new_client()
    catalogue = client.services.catalogue(UK, Deadline.after(60))
    catalogue.publish([(AZ_300, [STANDARD])])
    too_large = replace(LARGEST_PRODUCT, name=WORST * LARGEST_ENTRY)

    with pytest.raises(ValueError, match=f"larger than 10,000 bytes: {AZ_300.id}"):
        catalogue.publish([(too_large, [STANDARD])])
    with pytest.raises(ValueError, match=STANDARD.id):
        catalogue.publish([(AZ_300, [replace(STANDARD, name=WORST * LARGEST_ENTRY)])])

    assert [*client.services.catalogue(UK, Deadline.after(60)).products(0, 9).items] == [AZ_300]


@pytest.mark.parametrize("character", [WORST, WIDE])
def test_the_largest_events_fit_the_bus(character: str) -> None:
    """The events of the largest orders fit one entry of the bus."""
    client = new_client()
    named = character * min(LONGEST_CARD_NAME, LARGEST_CARD_NAME // len(character.encode()))
    cards = tuple(
        Ecard(number, named, "", "ruble", (FaceValue(named, Decimal("9999.99")),)) for number in range(1, 101)
    )
    rewards = Rewards(client.services, client.caller)
    rewards.publish(cards)
    participant = {"email": f"{'a' * 64}@example.com", "name": character * 250, "phone": character * 32}
    lines = [{"id": number, "quantity": 1_000, "faceValue": named} for number in range(1, 101)]
    made(client, "/v1/orders", ecard_order(1, *lines, participant=participant))
    client.services.catalogue(UK, Deadline.after(60)).publish([(AZ_300, [LARGEST_SET])])
    item = new_item(achievementCode=character * 255, feedbackLinkText=character * 255, sourceReference=character * 255)
    order = new_order(purchaseOrderReference=character * 100, orderItems=[item] * 100)
    training = made(client, target("orders"), order)["id"]

    for name in (f"ecards#{client.caller.partner}#{order_id(1)}", f"training#{training}"):
        history = read_history(client.services.orders(Deadline.after(60)), name)
        assert history
        event = history.event(0)
        entry = Entry(name, "ordering", event.type, event.time, event.to_text())
        assert 10_000 < entry.size < BYTES_AT_MOST
