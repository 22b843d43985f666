"""E-card orders in the table: an order is one item, and its entry in the book is what the company's list shows.

All fields of an order are written at once, in one transaction with its entry and with all other effects of the change.
The transaction requires that the order's version is the one that was read. It leaves alone how many events were passed
on, which the publisher counts in the same item.

Keys of the table, beside those of the order book `ecards#<company>`: `ORDER#ecards#<company>#<order>`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ordering import clock, money, stored
from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused, Update, Write
from ordering.book.correlation import correlation_of, kept
from ordering.book.lifecycle import Actor, Operator, State
from ordering.book.orderbook import GRACE, OrderBook
from ordering.book.search import SearchedBy, searchable
from ordering.book.unfinished import PUBLISHED, mark
from ordering.clock import Clock
from ordering.ecards.catalogue import PricedLine
from ordering.ecards.certificates import Ranges, Stock, read_ranges, size, skip
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict, NotFound
from ordering.logs import about, correlate
from ordering.sizes import LARGEST_ITEM, stored_bytes
from ordering.values import Value, replace

KIND = "ecards"
"""The kind in the names of e-card orders; see `book.names`."""

_ORDERS = f"ORDER#{KIND}#"
_ORDER = "ORDER"
_log = logging.getLogger("ordering")
_RESERVED = 8 * 1024
"""Bytes of an order's item that its certificates leave free: for its key, its history and the stock it waits for."""

_WRITERS = 8
"""Writers that an order remembers: more than write it while one of them retries after a lost response."""


class EcardParticipant(Value):
    """The person who gets the certificates."""

    email: str
    name: str
    phone: str


class HeldCertificates(Value):
    """Certificates of one stock that belong to an order."""

    stock: Stock
    ranges: Ranges


class EcardSummary(Value):
    """The part of an order that lists show."""

    id: str
    number: int
    created: datetime
    status: EcardStatus
    login: str
    total: Decimal


class EcardOrder(Value, kw_only=True):
    """An order of one company. Its id is a canonical UUID; its number is its position in the company's book."""

    id: str
    company: str
    number: int
    created: datetime
    state: State[EcardStatus]
    participant: EcardParticipant
    login: str
    lines: tuple[PricedLine, ...]
    total: Decimal
    fingerprint: str
    """Hash of the request that created it; see `EcardRequest.fingerprint`."""
    debited: Decimal = Decimal(0)
    assigned: tuple[HeldCertificates, ...] = ()
    """Its certificates, in the order in which they are handed over."""
    delivered: int = 0
    """The number of certificates that were handed over: the first ones of `assigned`."""
    in_transit: int = 0
    """The number of next certificates in a mail that may have been sent; stored as `handing`."""
    parked: Stock | None = None
    """The stock that it waits for."""
    returning: tuple[HeldCertificates, ...] = ()
    """Certificates that a cancelled order has yet to return to stock."""
    writers: tuple[str, ...] = ()
    """Tokens of the latest writes, by which a writer whose response was lost recognizes its own write."""
    correlation: str | None = None
    """The id of the request that created it; None if it is not known."""

    @property
    def status(self) -> EcardStatus:
        """The current status."""
        return self.state.status

    @property
    def quantity(self) -> int:
        """The number of certificates ordered."""
        return sum(line.quantity for line in self.lines)

    def needs(self) -> list[tuple[Stock, int]]:
        """List the stocks, with counts, that it still needs certificates from, in an order that all orders share."""
        wanted: dict[Stock, int] = {}
        for line in self.lines:
            stock = Stock(line.card_id, line.face_value)
            wanted[stock] = wanted.get(stock, 0) + line.quantity
        assigned = {held.stock for held in self.assigned}
        return sorted((stock, count) for stock, count in wanted.items() if stock not in assigned)

    def certificates(self, first: int, count: int) -> tuple[HeldCertificates, ...]:
        """Return up to `count` of its certificates from rank `first` (from 0), in the order of their hand-over."""
        chosen = []
        for held in self.assigned:
            ranges = skip(held.ranges, first)
            first -= size(held.ranges) - size(ranges)
            ranges = _begin(ranges, count)
            count -= size(ranges)
            chosen += [HeldCertificates(held.stock, ranges)] if ranges else []
        return tuple(chosen)

    def certificates_in_transit(self) -> tuple[HeldCertificates, ...]:
        """Return the certificates that are in transit to the participant."""
        return self.certificates(self.delivered, self.in_transit)

    def moved(
        self, target: EcardStatus, by: Actor, at: datetime, operator: Operator | None = None, **changes: Any
    ) -> EcardOrder:
        """Return the order after a move to another status.

        Args:
            operator: Who moves it by a command; None for all other moves.
            changes: What else changes, by field.

        Raises:
            Conflict: The lifecycle does not allow the move.
        """
        return replace(self, state=ECARDS.move(self.id, self.state, target, by, at, operator=operator), **changes)

    def changed(self, **changes: Any) -> EcardOrder:
        """Return the order after a change that leaves its status as it is."""
        return replace(self, state=self.state.touched(), **changes)


class EcardRecords:
    """The orders of one company in the table."""

    def __init__(
        self, table: Table, company: str, *, now: Clock = clock.system_clock, grace: timedelta = GRACE
    ) -> None:
        self._table = table
        self._company = company
        self.book = OrderBook(table, f"ecards#{company}", now=now, grace=grace, shown=["order"])

    def key(self, order_id: str) -> Key:
        """Return the key of an order's item."""
        return _key(self._company, order_id)

    def read(self, order_id: str) -> EcardOrder:
        """Read one order.

        Raises:
            NotFound: The company has no order with this id.
        """
        item = self._table.get(self.key(order_id))
        if item is None:
            raise NotFound("order", order_id)
        correlate(correlation_of(item))
        return read_order(item)

    def new(self, order: EcardOrder) -> Put:
        """Return the write that creates an order's item."""
        return Put(self._item(order), ABSENT)

    def unchanged(self, order: EcardOrder) -> Check:
        """Return a check that holds only while an order is unchanged since it was read."""
        return Check(self.key(order.id), *as_read(order))

    def write(self, before: EcardOrder, after: EcardOrder, effects: Sequence[Write] = ()) -> EcardOrder:
        """Write an order's new state, with all effects in the same transaction.

        Args:
            before: The order as it was read.
            effects: Further writes of the transaction. At most 98 of them.

        Returns:
            The order as it was written.

        Raises:
            Conflict: The order has changed since it was read, or an effect was refused; nothing was written.
            Unavailable: The deadline passed. It may have been written.
        """
        writer = secrets.token_hex(8)
        after = replace(after, writers=(*before.writers, writer)[-_WRITERS:])
        writes = [self._update(before, after), *effects]
        if after.status is not before.status:
            writes.append(self._show(after))
        try:
            self._table.transact(writes)
        except TransactionRefused as refusal:
            met = refusal.reasons[0]
            # If the writer is known, an earlier attempt took effect; only its response was lost.
            if not (met and met.item and writer in met.item["writers"]):
                raise Conflict(
                    f"Order {before.id} has changed since it was {before.status}; read it again."
                ) from refusal
        if after.status is not before.status:
            with about_ecards(self._company, before.id):
                correlate(before.correlation)
                _log.info("order moved", extra={"status": str(after.status)})
        return after

    def _update(self, before: EcardOrder, after: EcardOrder) -> Update:
        """Return the write of all fields, and of the order's mark where its work is another from now on."""
        fields = write_order(after)
        if _waits(before) is not _waits(after) or (after.returning and not before.returning):
            fields |= mark_of(after)
        condition, names, values = as_read(before)
        return Update(
            self.key(after.id),
            "SET " + ", ".join(f"#{name} = :{name}" for name in fields),
            condition,
            {**names, **{f"#{name}": name for name in fields}},
            {**values, **{f":{name}": value for name, value in fields.items()}},
        )

    def _show(self, order: EcardOrder) -> Update:
        return Update(
            self.book.entry_key(order.number),
            "SET #order.#status = :status",
            names={"#order": "order", "#status": "status"},
            values={":status": str(order.status)},
        )

    def _item(self, order: EcardOrder) -> Item:
        partition, sort = self.key(order.id)
        found = searchable(SearchedBy.ID, order.id, order.created)
        left = {PUBLISHED: 0, **mark_of(order)}
        return {"pk": partition, "sk": sort, **found, **write_order(order), **left, **kept(order.correlation)}


def _key(company: str, order_id: str) -> Key:
    return f"{_ORDERS}{company}#{order_id}", _ORDER


def fits(order: EcardOrder) -> bool:
    """Return whether an order's item can list its certificates, also if all of them are to be returned to stock."""
    cancelled = replace(order, returning=order.assigned)
    return stored_bytes(write_order(cancelled)) <= LARGEST_ITEM - _RESERVED


def order_of(partition: str) -> tuple[str, str] | None:
    """Return the company and the id of the order that a partition holds, None if it holds something else."""
    if not partition.startswith(_ORDERS):
        return None
    company, _, order_id = partition.removeprefix(_ORDERS).rpartition("#")
    return company, order_id


def about_ecards(company: str, order_id: str) -> AbstractContextManager[None]:
    """Return the block of log lines about an order; see `logs.about`."""
    return about(order=ecards_name(company, order_id), partner=company)


def ecards_name(company: str, order_id: str) -> str:
    """Return the name of an order; see `book.names`."""
    return f"{KIND}#{company}#{order_id}"


def status_of(item: Item) -> str:
    """Return the status in an order's item."""
    status: str = item["status"]
    return status


def gives_back(item: Item) -> bool:
    """Return whether the order in an item has certificates to return to stock."""
    return bool(item.get("returning"))


def is_over(item: Item) -> bool:
    """Return whether nothing but events and a mail in transit can be left to do about the order in an item."""
    return not ECARDS.targets(EcardStatus(status_of(item))) and not gives_back(item)


def in_transit(item: Item) -> bool:
    """Return whether certificates of the order in an item are in a mail that may have been sent."""
    return bool(item.get("handing"))


def write_summary(order: EcardOrder) -> Item:
    """Convert the part of an order that lists show to its stored form."""
    return {
        "id": order.id,
        "number": order.number,
        "created": clock.to_text(order.created),
        "status": str(order.status),
        "login": order.login,
        "total": money.format_amount(order.total),
    }


def read_summary(item: Item) -> EcardSummary:
    """Convert back from `write_summary`."""
    return EcardSummary(
        id=item["id"],
        number=item["number"],
        created=clock.from_text(item["created"]),
        status=EcardStatus(item["status"]),
        login=item["login"],
        total=money.parse_amount(item["total"]),
    )


def write_order(order: EcardOrder) -> Item:
    """Convert an order to its stored form, without what is written once: when its item is created."""
    participant = order.participant
    return {
        **write_summary(order),
        **order.state.to_item(),
        "company": order.company,
        "participant": {"email": participant.email, "name": participant.name, "phone": participant.phone},
        "lines": [_write_line(line) for line in order.lines],
        "fingerprint": order.fingerprint,
        "debited": money.format_amount(order.debited),
        "assigned": [_write_held(held) for held in order.assigned],
        "delivered": order.delivered,
        "handing": order.in_transit,
        "parked": _write_stock(order.parked) if order.parked else None,
        "returning": [_write_held(held) for held in order.returning],
        "writers": [*order.writers],
    }


def read_order(item: Item) -> EcardOrder:
    """Convert back from `write_order`. Older items may lack fields for which `EcardOrder` has defaults."""
    return EcardOrder(
        id=item["id"],
        company=item["company"],
        number=item["number"],
        created=clock.from_text(item["created"]),
        state=ECARDS.read(item),
        participant=stored.read(EcardParticipant, item["participant"]),
        login=item["login"],
        lines=tuple(_read_line(line) for line in item["lines"]),
        total=money.parse_amount(item["total"]),
        fingerprint=item["fingerprint"],
        debited=money.parse_amount(item.get("debited", "0")),
        assigned=tuple(_read_held(held) for held in item.get("assigned", ())),
        delivered=item.get("delivered", 0),
        in_transit=item.get("handing", 0),
        parked=_read_stock(parked) if (parked := item.get("parked")) else None,
        returning=tuple(_read_held(held) for held in item.get("returning", ())),
        writers=tuple(item.get("writers", ())),
        correlation=correlation_of(item),
    )


def _waits(order: EcardOrder) -> bool:
    """Return whether an order waits for its partner's money, or for stock."""
    return order.status in {EcardStatus.CREATED, EcardStatus.AWAITING}


def mark_of(order: EcardOrder) -> Item:
    """Return the mark of an order that is unfinished; see `book.unfinished`. Its work began with its status."""
    return mark(_key(order.company, order.id), order.state.history[-1].at, waits=_waits(order))


def as_read(order: EcardOrder) -> tuple[str, dict[str, str], dict[str, int]]:
    """Return the condition that an order's version is the one that was read, with its names and values."""
    return "version = :read", {}, {":read": order.state.version}


def _begin(ranges: Ranges, count: int) -> Ranges:
    """Return the first `count` positions of ranges."""
    chosen = []
    for first, last in ranges:
        end = min(last, first + count - 1)
        count -= max(end - first + 1, 0)
        chosen += [(first, end)] if first <= end else []
    return tuple(chosen)


def _write_line(line: PricedLine) -> Item:
    return {
        **_write_stock(Stock(line.card_id, line.face_value)),
        "quantity": line.quantity,
        "name": line.name,
        "price": money.format_amount(line.price),
    }


def _read_line(item: Item) -> PricedLine:
    price = money.parse_amount(item["price"])
    return PricedLine(item["cardId"], item["faceValue"], item["quantity"], item["name"], price)


def _write_stock(stock: Stock) -> Item:
    return {"cardId": stock.card_id, "faceValue": stock.face_value}


def _read_stock(item: Item) -> Stock:
    return Stock(item["cardId"], item["faceValue"])


def _write_held(held: HeldCertificates) -> Item:
    ranges: list[list[int]] = [[*one] for one in held.ranges]
    return {**_write_stock(held.stock), "ranges": ranges}


def _read_held(item: Item) -> HeldCertificates:
    return HeldCertificates(_read_stock(item), read_ranges(item["ranges"]))
