"""The services of the functions of deal orders, over the connections of their process."""

from __future__ import annotations

from ordering.aws.connections import Connections
from ordering.clock import Deadline
from ordering.deals.orders import DealOrders
from ordering.deals.products import DealProducts


class DealServices:
    """Opens the orders and products of a CRM account for one request."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def orders(self, account: str, deadline: Deadline) -> DealOrders:
        """Return the deal orders of an account."""
        connections = self._connections
        return DealOrders(connections.orders(deadline), account, connections.now, connections.grace)

    def products(self, account: str, deadline: Deadline) -> DealProducts:
        """Return the products of an account."""
        connections = self._connections
        return DealProducts(connections.catalogue(deadline), account, connections.now, connections.grace)
