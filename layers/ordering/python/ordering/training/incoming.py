"""Inbound events of training orders: cancellations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Table
from ordering.clock import Deadline
from ordering.errors import NotFound
from ordering.events.incoming import Number, Receiver, cancel_once
from ordering.training.orders import KIND, TrainingOrders, find_order
from ordering.training.services import TrainingServices
from ordering.training.statuses import TRAINING, TrainingStatus
from ordering.values import Value


class TrainingOrderNamed(TypedDict):
    """A training order."""

    kind: Literal["training"]
    id: Number


class TrainingEvents(Value):
    """Carries out inbound events of training orders, for one invocation.

    Args:
        table: The orders table.
        open_orders: Opens the orders of a business unit, by its id.
    """

    table: Table
    open_orders: Callable[[str], TrainingOrders]

    def receiver(self) -> Receiver:
        """Return the handlers of all types."""
        return Receiver(KIND, self.cancel)

    def cancel(self, order: TrainingOrderNamed) -> None:
        """Cancel an order.

        Raises:
            EventRefused: It can no longer be cancelled.
            NotFound: The order does not exist, or not yet.
            Conflict: It changed concurrently. A retry is safe.
            Unavailable: The deadline passed. A retry is safe.
        """
        number = order["id"]
        orders = self.open_orders(self._unit_of(number))
        cancel_once(
            lambda: orders.cancel(number), lambda: orders.order(number).status, TRAINING, TrainingStatus.CANCELLED
        )

    def _unit_of(self, number: int) -> str:
        found = find_order(self.table, number)
        if found is None:
            raise NotFound("order", str(number))
        order, _ = found
        return order.business_unit.id


def receiver(connections: Connections, deadline: Deadline) -> Receiver:
    """Return the handlers of inbound events of training orders, for one invocation."""
    services = TrainingServices(connections)
    return TrainingEvents(connections.orders(deadline), lambda unit: services.orders(unit, deadline)).receiver()
