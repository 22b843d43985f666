"""Loads stock as operators and events do: for face values that a catalogue has, with a complete register of codes.

The register is complete once the codes of all loads of earlier releases are in it (`stock.upkeep`). Until then no load
is accepted, because one of its codes may be in stock already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordering import clock
from ordering.aws.dynamodb import Table
from ordering.clock import Clock
from ordering.ecards.assignment import Assignment
from ordering.ecards.catalogue import is_offered
from ordering.ecards.certificates import Certificates, LoadResult, Stock, hide_progress
from ordering.ecards.stock.codes import DIGEST_KEY, NotIndexed, is_complete
from ordering.errors import OrderingError
from ordering.sealing import Sealer
from ordering.values import Value


class UnknownStock(OrderingError):
    """No company's catalogue has a card with the face value."""

    def __init__(self, stock: Stock) -> None:
        """Take the stock."""
        super().__init__(f"no catalogue has card {stock.card_id} with the face value {stock.face_value!r}")


class StockLoader(Value):
    """Loads certificates and assigns them to the orders that wait for them.

    Args:
        orders: The orders table.
        catalogue: The catalogue table.
        sealer: Encrypts codes, and decrypts the key of their digests.
    """

    orders: Table
    catalogue: Table
    sealer: Sealer
    now: Clock = clock.system_clock

    def load(
        self,
        stock: Stock,
        batch: str,
        codes: Sequence[str],
        *,
        force: bool = False,
        advance: Callable[[int], None] = hide_progress,
    ) -> LoadResult:
        """Load certificates; see `Certificates.load`.

        Besides the load itself it takes one query of the catalogue table, and a read of one catalogue.

        Args:
            force: Whether to load stock that no catalogue has, and codes that another card has.
            advance: Takes how many more codes are done.

        Raises:
            NotIndexed: The register of codes is not complete.
            UnknownStock: No catalogue has the card and face value, and `force` is false.
            ValueError, InvalidCodes, Duplicates, KnownElsewhere, KeyReused: As in `Certificates.load`.
            Unavailable: The deadline passed. The same call again is safe.
        """
        if not force and not is_offered(self.catalogue, stock.card_id, stock.face_value):
            require_index(self.orders)  # which also records what the catalogues of earlier releases have
            raise UnknownStock(stock)
        result = Certificates(self.orders, self.sealer).load(
            stock, batch, codes, force=force, indexed=True, advance=advance
        )
        Assignment(self.orders, now=self.now).assign_parked(stock)
        return result


def require_index(orders: Table) -> None:
    """Check that the register of codes is complete.

    Raises:
        NotIndexed: It is not.
    """
    if not is_indexed(orders):
        raise NotIndexed


def is_indexed(orders: Table) -> bool:
    """Return whether the register of codes is complete."""
    return is_complete(orders.get(DIGEST_KEY))
