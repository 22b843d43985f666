"""The training orders of one batch of records: each is read once, for the keys that it gets and for its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ordering.aws.dynamodb import Table
from ordering.events.history import OrderHistory
from ordering.events.publisher import each_history
from ordering.training.events import history_of
from ordering.training.orders import WholeOrder, id_of, read_whole_orders
from ordering.values import Struct, field


class OrdersOfBatch(Struct):
    """Orders that were read for one task and are used by the next, for one invocation.

    Args:
        table: The orders table.
    """

    table: Table
    _read: dict[int, WholeOrder] = field(default_factory=dict)

    def read(self, order_ids: Sequence[int]) -> Mapping[int, WholeOrder]:
        """Read orders, and keep them until they are used; those that do not exist are left out.

        Raises:
            Unavailable: The deadline passed.
        """
        self._read = read_whole_orders(self.table, order_ids)
        return dict(self._read)

    def keep(self, order_id: int, whole: WholeOrder | None) -> None:
        """Keep an order as it is after a change; None if that is not known."""
        if whole:
            self._read[order_id] = whole
        else:
            self._read.pop(order_id, None)

    def histories(self, names: Sequence[str]) -> Mapping[str, OrderHistory | None]:
        """Return the histories of orders, by the orders' names; see `publisher.ReadHistories`.

        What was kept is used once: the cursor moves with it.

        Raises:
            Unavailable: The deadline passed.
        """
        ids = {name: id_of(name) for name in names}
        found = read_whole_orders(self.table, [one for one in ids.values() if one not in self._read])
        found |= {one: self._read.pop(one) for one in ids.values() if one in self._read}

        def history(name: str) -> OrderHistory | None:
            whole = found.get(ids[name])
            return history_of(name, whole.item, whole.lines) if whole else None

        return each_history(names, history)
