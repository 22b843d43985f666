"""The services of the functions of training orders, over the connections of their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordering.aws.connections import Connections
from ordering.cache import Cache
from ordering.clock import Deadline
from ordering.errors import NotFound
from ordering.identity.accounts import Accounts
from ordering.training.catalogue import Catalogue, CatalogueCache
from ordering.training.orders import OrderIds, TrainingOrders

if TYPE_CHECKING:
    from ordering.sealing import Sealer


_NAMES_KEPT = 60.0
"""Seconds for which a warm process keeps the name of a business unit."""


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
        self._unit_names: Cache[tuple[str, str], str | None] = Cache(_NAMES_KEPT)

    def orders(self, unit: str, deadline: Deadline) -> TrainingOrders:
        """Return the training orders of a business unit, by its id."""
        connections = self._connections
        return TrainingOrders(
            connections.orders(deadline), unit, sequence=self._ids, now=connections.now, grace=connections.grace
        )

    def catalogue(self, unit: str, deadline: Deadline) -> Catalogue:
        """Return the catalogue of a business unit, by its id."""
        return Catalogue(self._connections.catalogue(deadline), unit, self._cache)

    def unit_name(self, partner: str, unit: str, deadline: Deadline) -> str:
        """Return the name of a partner's business unit, at most a minute old: one call to DynamoDB if it is not cached.

        Raises:
            NotFound: The partner no longer has the unit.
            Unavailable: The deadline passed.
        """
        accounts = self.accounts(deadline)
        name = self._unit_names.read((partner, unit), lambda: accounts.unit_name(partner, unit))
        if name is None:
            raise NotFound("business unit", unit)
        return name

    def accounts(self, deadline: Deadline) -> Accounts:
        """Return the accounts, for the names and contacts of business units."""
        return Accounts(self._connections.accounts(deadline))

    def sealer(self, deadline: Deadline) -> Sealer:
        """Return the sealer of access keys."""
        from ordering.aws.sealer import EnvelopeSealer

        return EnvelopeSealer(
            self._connections.kms_until(deadline), self._connections.settings.get("ACCESS_KEYS_KEY", "")
        )
