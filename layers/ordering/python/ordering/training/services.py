"""The services of the functions of training orders, over the connections of their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordering.aws.connections import Connections
from ordering.clock import Deadline
from ordering.identity.accounts import Accounts
from ordering.principal import BusinessUnit
from ordering.training.catalogue import Catalogue, CatalogueCache
from ordering.training.orders import OrderIds, TrainingOrders

if TYPE_CHECKING:
    from ordering.sealing import Sealer


class TrainingServices:
    """Opens a business unit's orders and catalogue for one request; caches live as long as the process.

    Args:
        cache: The cache of catalogues.
        ids: The order ids that are reserved for the process.
    """

    def __init__(
        self, connections: Connections, *, cache: CatalogueCache | None = None, ids: OrderIds | None = None
    ) -> None:
        self._connections = connections
        self._cache = cache or CatalogueCache()
        self._ids = ids or OrderIds()

    def orders(self, unit: BusinessUnit, deadline: Deadline) -> TrainingOrders:
        """Return the training orders of a business unit."""
        connections = self._connections
        return TrainingOrders(
            connections.orders(deadline), unit, sequence=self._ids, now=connections.now, grace=connections.grace
        )

    def catalogue(self, unit: BusinessUnit, deadline: Deadline) -> Catalogue:
        """Return the catalogue of a business unit."""
        return Catalogue(self._connections.catalogue(deadline), unit.id, self._cache)

    def accounts(self, deadline: Deadline) -> Accounts:
        """Return the accounts, for the contacts of a business unit."""
        return Accounts(self._connections.accounts(deadline))

    def sealer(self) -> Sealer:
        """Return the sealer of access keys."""
        from ordering.aws.sealer import EnvelopeSealer

        return EnvelopeSealer(self._connections.kms, self._connections.settings.get("ACCESS_KEYS_KEY", ""))
