"""The services of the functions of e-card orders, over the connections of their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordering.aws.connections import Connections
from ordering.clock import Deadline
from ordering.ecards.balance import Balance
from ordering.ecards.catalogue import COMPANIES_REMEMBERED, FRESH_FOR, EcardCache, EcardCatalogue

if TYPE_CHECKING:
    from ordering.ecards.orders import EcardOrders
    from ordering.sealing import Sealer


class EcardServices:
    """Opens a company's orders, balance and catalogue for one request; catalogues are cached across requests."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._cache = EcardCache(FRESH_FOR, COMPANIES_REMEMBERED)

    def orders(self, company: str, deadline: Deadline) -> EcardOrders:
        """Return the e-card orders of a company."""
        from ordering.ecards.orders import EcardOrders

        connections = self._connections
        return EcardOrders(connections.orders(deadline), company, now=connections.now, grace=connections.grace)

    def balance(self, company: str, deadline: Deadline) -> Balance:
        """Return the balance of a company."""
        return Balance(self._connections.orders(deadline), company)

    def catalogue(self, company: str, deadline: Deadline) -> EcardCatalogue:
        """Return the e-cards that a company can order."""
        return EcardCatalogue(self._connections.catalogue(deadline), company, self._cache)

    def sealer(self, deadline: Deadline) -> Sealer:
        """Return the sealer of certificates."""
        from ordering.aws.sealer import EnvelopeSealer

        return EnvelopeSealer(
            self._connections.kms_until(deadline), self._connections.settings.get("CERTIFICATES_KEY", "")
        )
