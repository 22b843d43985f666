"""Orders placed and read through the real code: one business unit, its catalogue of one feature set, its caller."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.service import Service
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Item, Key, Send, SendTogether, Table
from ordering.book.idempotency import CreateResult, IdempotencyKey
from ordering.book.listing import Listing
from ordering.clock import Deadline
from ordering.identity.accounts import Partner
from ordering.money import Money, parse_amount
from ordering.principal import BusinessUnit, OrderSource, Principal, User
from ordering.training.catalogue import CatalogueCache, TrainingFeatureSet, TrainingProduct
from ordering.training.orders import OrderIds, RequestedLine, TrainingOrder, TrainingOrders, TrainingRequest
from ordering.training.services import TrainingServices

ORDERS = "OrdersTable"
PATIENCE = 60.0
"""Seconds that everything here goes on trying: what takes long is to be seen, not cut off."""

UNIT = BusinessUnit("0bb7a818-cecb-4c5a-9822-22e62f85589a", "UK")
BOOK = f"training#{UNIT.id}"
"""The name of the unit's book."""

_USER = User("8ed28eef-a8a6-4f29-8723-6d759746b141", "John", "Smith", "johnsmith@example.com")
_SOURCE = OrderSource("41ff59ab-a364-4c01-a92f-2271d709a1f1", "go deploy", invoiceable=True)
CALLER = Principal("northwind", _USER, (UNIT.id,), _SOURCE, "invoice", ("training",))
PARTNER = Partner(
    id="northwind",
    active=True,
    payment_terms="invoice",
    grants=frozenset({"training"}),
    order_source=_SOURCE,
    business_units=(UNIT,),
    users={_USER.id: _USER},
)
_PRODUCT = TrainingProduct("7c237dbf-c10c-466a-b867-f23fe48bf5cf", "M10999A", "M10999A - SQL Server on Linux")
OFFER = TrainingFeatureSet(
    id="a6c1cb36-43b3-4969-a8a0-48e4915e6df0",
    product_id=_PRODUCT.id,
    product_name=_PRODUCT.name,
    name="Standard - 180 days",
    course_access_period_days=180,
    module_save_period_days=1,
    prices=(Money("GBP", parse_amount("48.0000")),),
)


@dataclass(slots=True)
class Cost:
    """What calls took: how many there were one after the other, capacity units, and seconds."""

    calls: int = 0
    units: float = 0.0
    seconds: float = 0.0


@dataclass
class Counted:
    """A connection that counts what passes; operations that go out at once count as one call."""

    send: Send
    cost: Cost = field(default_factory=Cost)

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Pass a call on."""
        began = time.perf_counter()
        self.cost.calls += 1
        answer = self.send(operation, request)
        self._count([answer], began)
        return answer

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> Sequence[Callable[[], dict[str, Any]]]:
        """Pass on what goes out at once, as one call where the connection can do that."""
        together: SendTogether | None = getattr(self.send, "send_all", None)
        if together is None:
            return [partial(self, *request) for request in requests]
        began = time.perf_counter()
        self.cost.calls += 1
        attempts = together(requests)
        self._count([attempt() for attempt in attempts], began)
        return attempts

    def _count(self, answers: Sequence[dict[str, Any]], began: float) -> None:
        consumed = [answer.get("ConsumedCapacity") or [] for answer in answers]
        parts = itertools.chain.from_iterable([one] if isinstance(one, dict) else one for one in consumed)
        self.cost.units += sum(part["CapacityUnits"] for part in parts)
        self.cost.seconds += time.perf_counter() - began

    def take(self) -> Cost:
        """Return what there was since the last time."""
        taken, self.cost = self.cost, Cost()
        return taken


class Shop:
    """A process of the deployed function, as far as it remembers anything: a new one is cold."""

    def __init__(self, send: Send, ids: Iterable[int] = (), seconds: Callable[[], float] = time.monotonic) -> None:
        """Start with some order ids reserved already, or with none as a new process does."""
        self.calls = Counted(send)
        settings = {
            "ORDERS_TABLE": ORDERS,
            "CATALOGUE_TABLE": "CatalogueTable",
            "ACCOUNTS_TABLE": "AccountsTable",
            "GRACE_SECONDS": "2",
        }
        self.services = TrainingServices(
            Connections(settings, self.calls), cache=CatalogueCache(seconds=seconds), ids=OrderIds(list(ids))
        )

    @property
    def orders(self) -> TrainingOrders:
        """The unit's orders, for one request."""
        return self.services.orders(UNIT.id, Deadline.after(PATIENCE))

    def open(self) -> None:
        """Write the partner, and publish the catalogue."""
        self.services.accounts(Deadline.after(PATIENCE)).save_partner(PARTNER)
        self.services.catalogue(UNIT.id, Deadline.after(PATIENCE)).publish([(_PRODUCT, [OFFER])])

    def place(self, key: str, lines: int = 1, contact: str | None = None) -> CreateResult:
        """Place an order of so many lines under an idempotency key."""
        deadline = Deadline.after(PATIENCE)
        requested = [
            RequestedLine(feature_set_id=OFFER.id, quantity=1 + line % 25, source_reference=f"S-{line:04}")
            for line in range(lines)
        ]
        return self.orders.place(
            CALLER,
            TrainingRequest(f"PO-{key}", email_keys=False, contact_email=contact, lines=requested),
            answer=_answer,
            once=IdempotencyKey(key, f"{lines} lines"),
            catalogue=self.services.catalogue(UNIT.id, deadline),
            unit_name=self.services.unit_name(PARTNER.id, UNIT.id, deadline),
            accounts=self.services.accounts(deadline),
        )

    def page(self, number: int, size: int = 10) -> Listing[TrainingOrder]:
        """List a page of the unit's orders, counted from 1."""
        return self.orders.page((number - 1) * size, size)


def written_items(lines: int) -> list[Item]:
    """The items that the real code writes for an order: entry, order, lines and idempotency record."""
    service = Service()
    keys: list[Key] = []

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "TransactWriteItems":
            items = (write["Put"]["Item"] for write in request["TransactItems"])
            keys.extend((item["pk"]["S"], item["sk"]["S"]) for item in items)
        return service(operation, request)

    shop = Shop(send)
    shop.open()
    keys.clear()
    shop.place("sample", lines)
    found = Table(service, ORDERS).batch_get(keys)
    return [found[key] for key in keys]


def _answer(order: TrainingOrder) -> bytes:
    return json.dumps({"orderId": order.id, "reference": order.reference, "status": order.status}).encode()
