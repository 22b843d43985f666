"""Assigns certificates from stock to orders, parks orders whose stock is short, and returns those of cancelled orders.

An order gets all its certificates in one transaction, or is parked for the first stock that is short. The transaction
that parks it requires that this stock is unchanged since it was read. So a search for parked orders, made after a
load, finds every order that was parked without seeing that load. Every operation here can be repeated at any time, by
any process, and continues where a crash left it.

An order for more than `STOCKS_AT_ONCE` stocks takes two transactions, more of them if the stocks' items are large. All
orders take from stocks in the same order, so that no two orders can each hold the stock that the other one waits for.

An order whose item could not list all the ranges of its certificates waits for the stock with the most of them, as if
that were short, until a load or a compaction leaves longer ranges there.

Key of the table: `PARKED#<card>#<face value>` the orders that wait for that stock, oldest first over all companies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ordering import clock
from ordering.aws.dynamodb import ABSENT, Delete, Key, Put, Table, Write
from ordering.book.lifecycle import Actor
from ordering.clock import Clock
from ordering.ecards.certificates import RANGE_BYTES, Fragmented, Stock, StockLevel, read_stock_levels
from ordering.ecards.records import EcardOrder, EcardRecords, HeldCertificates, about_ecards, fits
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict
from ordering.sizes import LARGEST_ITEM, LARGEST_TRANSACTION
from ordering.values import Value, replace

STOCKS_AT_ONCE = 90
"""Stocks that one transaction takes from: it may have 100 writes, and some of them are the order's own."""

_STOCK_BYTES = 2 * 1024
"""Most bytes of a stock's item without its ranges: key and names."""

_ROOM = LARGEST_TRANSACTION - LARGEST_ITEM
"""Bytes of the stocks' items in one transaction, beside the order."""

_log = logging.getLogger("ordering")

_ASSIGNABLE = frozenset({EcardStatus.PAYED, EcardStatus.AWAITING})
_LAST = "\U0010ffff"


class _Step(Value):
    """An order's next state, the writes that are atomic with it, and whether it is the last step."""

    after: EcardOrder
    effects: Sequence[Write]
    last: bool


class Assignment:
    """Assigns certificates to the orders of all companies."""

    def __init__(self, table: Table, *, now: Clock = clock.system_clock) -> None:
        self._table = table
        self._now = now

    def assign(self, company: str, order_id: str, *, read: EcardOrder | None = None) -> EcardOrder:
        """Assign a paid order its certificates, or park it if stock is short. Other orders are returned unchanged.

        Args:
            read: The order as it was read, if only that state may be the one before the first write.

        Returns:
            The order after the call.

        Raises:
            NotFound: The company has no order with this id.
            Conflict: The order has changed since it was read.
            Unavailable: The deadline passed. The same call again is safe.
        """
        records = EcardRecords(self._table, company)
        pauses = self._table.pauses()
        order = read or records.read(order_id)
        while step := self._next_step(order):
            try:
                order = records.write(order, step.after, step.effects)
            except Conflict:
                next(pauses)
                unwritten, order = order, records.read(order_id)
                if unwritten == read != order:
                    raise
            else:
                if step.last:
                    break
        return order

    def assign_parked(self, stock: Stock) -> None:
        """Assign certificates to the orders that are parked for a stock, oldest first.

        An order that needs more than is free does not block the orders behind it: new orders overtake it as well.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        left = self._level(stock).count
        for parked in self._table.query(f"PARKED#{stock}", " ", _LAST) if left else ():
            if parked["need"] <= left:
                with about_ecards(parked["company"], parked["orderId"]):
                    self.assign(parked["company"], parked["orderId"])
                left = self._level(stock).count

    def return_certificates(self, company: str, order_id: str) -> EcardOrder:
        """Return a cancelled order's certificates, one stock after another, and assign them to parked orders.

        Raises:
            NotFound: The company has no order with this id.
            Fragmented: A stock has too many separate free ranges. The same call again, after they were compacted,
                returns the rest.
            Unavailable: The deadline passed. The same call again is safe.
        """
        records = EcardRecords(self._table, company)
        pauses = self._table.pauses()
        order = records.read(order_id)
        full: dict[Stock, Fragmented] = {}
        while waiting := [held.stock for held in order.returning if held.stock not in full]:
            stock = waiting[0]
            level = self._level(stock)
            # Read after the stock: certificates that the order has yet to return now were not free there then.
            order = records.read(order_id)
            back = [held for held in order.returning if held.stock == stock]
            if not back:
                continue  # another process has returned them
            after = order.changed(returning=tuple(held for held in order.returning if held.stock != stock))
            try:
                order = records.write(order, after, [level.put_back(held.ranges) for held in back])
            except Fragmented as error:
                full[stock] = error  # the other stocks are returned first
            except Conflict:
                next(pauses)
            else:
                self.assign_parked(stock)
        if full:
            raise next(iter(full.values()))
        return order

    def _level(self, stock: Stock) -> StockLevel:
        return read_stock_levels(self._table, [stock])[stock]

    def _next_step(self, order: EcardOrder) -> _Step | None:
        """Return an order's next step; None if there is none for now."""
        if order.status not in _ASSIGNABLE:
            return None
        wanted = order.needs()
        levels = read_stock_levels(self._table, [stock for stock, _ in wanted])
        short = next(((stock, need) for stock, need in wanted if levels[stock].count < need), None)
        if short is None:
            return self._take(order, wanted, levels)
        stock, need = short
        return self._wait(order, stock, need, levels[stock])

    def _wait(self, order: EcardOrder, stock: Stock, need: int, level: StockLevel) -> _Step | None:
        """Return the step that parks an order for a stock; None if it waits for that stock already."""
        return None if order.parked == stock else self._park(order, stock, need, level)

    def _take(
        self, order: EcardOrder, wanted: list[tuple[Stock, int]], levels: dict[Stock, StockLevel]
    ) -> _Step | None:
        taken, effects = list[HeldCertificates](), list[Write]()
        now, later = _at_once(wanted, levels)
        for stock, need in now:
            ranges, update = levels[stock].take(need)
            taken.append(HeldCertificates(stock, ranges))
            effects.append(update)
        assigned = (*order.assigned, *taken)
        if not fits(replace(order, assigned=assigned)):
            worst = max(taken, key=lambda held: len(held.ranges))
            _log.warning("stock too fragmented for an order", extra={"stock": str(worst.stock)})
            return self._wait(order, worst.stock, dict(now)[worst.stock], levels[worst.stock])
        if not later:
            after = order.moved(EcardStatus.READY, Actor.SYSTEM, self._now(), assigned=assigned, parked=None)
            return _Step(after, [*effects, *unpark(order)], last=True)
        # An order that was parked stays parked until its last step, so that a retry after a crash finds it.
        stock, need = later[0]
        parked = stock if order.parked else None
        after = order.changed(assigned=assigned, parked=parked)
        return _Step(after, [*effects, *_parking(order, parked, need)], last=False)

    def _park(self, order: EcardOrder, stock: Stock, need: int, level: StockLevel) -> _Step:
        effects = [*_parking(order, stock, need), level.unchanged()]
        if order.status is EcardStatus.AWAITING:
            return _Step(order.changed(parked=stock), effects, last=True)
        after = order.moved(EcardStatus.AWAITING, Actor.SYSTEM, self._now(), parked=stock)
        return _Step(after, effects, last=True)


def _at_once(
    wanted: list[tuple[Stock, int]], levels: dict[Stock, StockLevel]
) -> tuple[list[tuple[Stock, int]], list[tuple[Stock, int]]]:
    """Split stocks into those that fit the next transaction, at least one, and those for later."""
    room, count = _ROOM, 0
    for stock, _ in wanted[:STOCKS_AT_ONCE]:
        room -= _STOCK_BYTES + RANGE_BYTES * len(levels[stock].free)
        if count and room < 0:
            break
        count += 1
    return wanted[:count], wanted[count:]


def unpark(order: EcardOrder) -> list[Write]:
    """Return the writes that end an order's wait for stock; none if it is not parked."""
    return [*_parking(order, None, 0)]


def _parking(order: EcardOrder, stock: Stock | None, need: int) -> Iterator[Write]:
    """Yield the writes that park an order for another stock than now, or for none."""
    if order.parked == stock:
        return
    if order.parked:
        yield Delete(_parked_key(order, order.parked))
    if stock:
        partition, sort = _parked_key(order, stock)
        item = {"pk": partition, "sk": sort, "company": order.company, "orderId": order.id, "need": need}
        yield Put(item, ABSENT)


def _parked_key(order: EcardOrder, stock: Stock) -> Key:
    return f"PARKED#{stock}", f"{clock.to_text(order.created)}#{order.company}#{order.id}"
