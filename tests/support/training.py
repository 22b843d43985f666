"""Training orders whose access keys are issued: callers who may read them, orders by their seats, time in steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import force_setattr

from ordering.aws.dynamodb import Send
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Clock, Deadline, system_clock
from ordering.training import contract as training
from ordering.training.orders import TrainingOrders
from ordering.values import replace
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import Client
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.services import Services

READER = replace(CALLER, grants=(training.NAME, training.KEYS_GRANT))
"""A caller who may read access keys."""

KEY_ID = "alias/AccessKeysKey"


class Steps(Deadline):
    """A deadline that leaves time for `at` steps of an issuer."""

    def remaining(self) -> float:
        left = self.at
        force_setattr(self, "at", left - 1)
        return left

    def passed(self) -> bool:
        return False


@dataclass
class School:
    """A business unit's orders on an engine, and what happens to them behind the API."""

    send: Send = field(default_factory=Memory)
    kms: MemoryKms = field(default_factory=MemoryKms)
    now: Clock = system_clock
    _begun: bool = False
    """Whether there are a catalogue and a partner."""

    @property
    def services(self) -> Services:
        return Services(
            self.send,
            "OrdersTable",
            "CatalogueTable",
            "AccountsTable",
            kms=self.kms,
            now=self.now,
            access_keys_key=KEY_ID,
        )

    @property
    def sealer(self) -> EnvelopeSealer:
        return self.services.access_keys_sealer()

    @property
    def client(self) -> Client:
        return Client(self.services, READER)

    def orders(self, unit: str = UK.id) -> TrainingOrders:
        return self.services.training.orders(unit, Deadline.after(60))

    def place(self, *quantities: int) -> int:
        """Place an order with so many seats on each line."""
        if not self._begun:
            publish(self.services, UK, [(AZ_300, [STANDARD])])
            self.services.accounts(Deadline.after(60)).save_partner(PARTNER)
            self._begun = True
        items = [new_item(quantity=quantity) for quantity in quantities]
        order_id: int = self.client.post(target("orders"), new_order(orderItems=items)).json["id"]
        return order_id

    def issue(self, order_id: int, until: Deadline | None = None) -> bool:
        return self.orders().issue_keys(order_id, self.sealer, until or Deadline.after(60))

    def keys(self, order_id: int, first: int = 0, count: int = 100_000) -> list[tuple[int, int, str]]:
        """Read keys, each with its line and seat."""
        found = self.orders().keys(order_id, first, count, self.sealer).items
        return [(one.line, one.seat, one.key) for one in found]
