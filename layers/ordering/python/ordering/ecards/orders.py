"""E-card orders of one company: places, pays, hands over, cancels and reads them.

An order that the balance covers is paid in the transaction that creates it. An order that the balance does not cover
is created only while that is so, together with an item that marks it as waiting. Every rise of the balance is followed
by a search for waiting orders, also after a crash. The search finds every order that was created without seeing the
rise.

Key of the table: `WAITING#<company>` the orders that wait for money, by their number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

from ordering import clock
from ordering.aws.dynamodb import ABSENT, Check, Delete, Item, Key, Put, Table, Write
from ordering.book.lifecycle import Actor, Operator
from ordering.book.listing import Listing
from ordering.book.orderbook import GRACE, Collision, Draft, Ticket
from ordering.book.search import SearchedBy, searchable
from ordering.clock import Clock
from ordering.ecards.assignment import Assignment, unpark
from ordering.ecards.balance import Balance, hundredths_of, to_hundredths
from ordering.ecards.catalogue import EcardCatalogue, PricedLine, RequestedCard
from ordering.ecards.certificates import Certificates, Fragmented, Ranges, Stock, merge
from ordering.ecards.records import (
    EcardOrder,
    EcardParticipant,
    EcardRecords,
    EcardSummary,
    HeldCertificates,
    about_ecards,
    ecards_name,
    read_order,
    read_summary,
    write_summary,
)
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict, KeyReused, Unavailable
from ordering.logs import note
from ordering.sealing import Sealer
from ordering.values import Value, asdict, replace

_DIGITS = 10
"""Stored format: orders' numbers in keys are padded to so many digits."""


class EcardRequest(Value):
    """A request for an order, already valid by the contract; the id is a canonical UUID that the client generated."""

    order_id: str
    participant: EcardParticipant
    cards: Sequence[RequestedCard]

    @property
    def fingerprint(self) -> str:
        """A hash that tells a retry from another request under the same id.

        Stored format: retries are compared with it for as long as the order exists. A field added later must have a
        default, so that earlier requests keep their fingerprints.
        """
        cards = [_meaning(card, "card_id", "face_value", "quantity") for card in self.cards]
        known = [*_meaning(self.participant, "email", "name", "phone"), cards]
        added = _meaning(self, "order_id", "participant", "cards")[3:]
        return hashlib.sha256(json.dumps([*known, *added], default=str).encode()).hexdigest()


class HandedCertificate(Value):
    """A certificate that was handed over: of which card and face value, and its code. `repr` leaves the code out."""

    unprinted: ClassVar = frozenset({"code"})

    card_id: int
    name: str
    face_value: str
    code: str


class NotHandedOver(Conflict):
    """No certificate of an order was handed over yet."""

    def __init__(self, order_id: str, status: EcardStatus) -> None:
        """Name the order and its status."""
        super().__init__(f"No certificate of order {order_id} was handed over yet: it is {status}.")


class NeverHandedOver(Conflict):
    """An order was cancelled before any of its certificates was handed over."""

    def __init__(self, order_id: str) -> None:
        """Name the order."""
        super().__init__(f"Order {order_id} was cancelled before any of its certificates was handed over.")


class EcardOrders:
    """The e-card orders of one company."""

    def __init__(
        self, table: Table, company: str, *, now: Clock = clock.system_clock, grace: timedelta = GRACE
    ) -> None:
        self._table = table
        self._company = company
        self._now = now
        self._records = EcardRecords(table, company, now=now, grace=grace)
        self._assignment = Assignment(table, now=now)
        self.balance = Balance(table, company)

    def place(
        self, request: EcardRequest, *, company_name: str, catalogue: EcardCatalogue, correlation: str | None = None
    ) -> EcardOrder:
        """Place an order. A retry returns the order that was placed before, in its current state.

        Args:
            correlation: The id of the API request that places it; see `book.correlation`.

        Raises:
            NotOnOffer: A card or a face value is not in the company's catalogue.
            KeyReused: The id was used for a request with different contents.
            Unavailable: The deadline passed. The same call again is safe.
        """
        pauses = self._table.pauses()
        while True:
            key = self._records.key(request.order_id)
            found = self._table.batch_get([key, self.balance.key])
            if item := found.get(key):
                note(order=ecards_name(self._company, request.order_id))
                replayed = _replay(item, request)
                note(replayed=True)
                return replayed
            lines = catalogue.price(request.cards)
            covered = hundredths_of(found.get(self.balance.key)) >= to_hundredths(_total(lines))
            status = EcardStatus.PAYED if covered else EcardStatus.CREATED
            login = f"{request.participant.email}_{company_name}"
            if order := self._create(partial(self._order, request, lines, login, status), correlation):
                note(order=ecards_name(self._company, order.id), replayed=False)
                return order
            next(pauses)  # another request used the id at the same time, or the balance has changed

    def page(self, first: int, count: int) -> Listing[EcardSummary]:
        """List up to `count` orders from rank `first` (from 0), newest first.

        Raises:
            Unavailable: The deadline passed.
        """
        page = self._records.book.page(first, count, newest_first=True)
        return Listing([read_summary(entry["order"]) for entry in page.entries], page.total)

    def order(self, order_id: str) -> EcardOrder:
        """Read one order.

        Raises:
            NotFound: The company has no order with this id.
        """
        order = self._records.read(order_id)
        note(order=ecards_name(self._company, order.id), partner=self._company)
        return order

    def certificates(self, order_id: str, first: int, count: int, sealer: Sealer) -> Listing[HandedCertificate]:
        """List up to `count` certificates that were handed over, from rank `first` (from 0), in that order.

        Certificates in transit are not listed: their mail may not have been sent. It takes one read of the order, one
        read for every 100 certificates, and one `Decrypt` of KMS for each load that they come from.

        Raises:
            NotFound: The company has no order with this id.
            NotHandedOver: No certificate of the order was handed over yet.
            NeverHandedOver: The order was cancelled before any certificate was handed over.
            Unavailable: The deadline passed.
        """
        order = self.order(order_id)
        if not order.delivered and order.status is EcardStatus.CANCELLED:
            raise NeverHandedOver(order.id)
        if not order.delivered:
            raise NotHandedOver(order.id, order.status)
        names = {Stock(line.card_id, line.face_value): line.name for line in order.lines}
        held = order.certificates(first, max(0, min(count, order.delivered - first)))
        opened = Certificates(self._table, sealer).open_all((one.stock, one.ranges) for one in held)
        shown = [
            HandedCertificate(one.stock.card_id, names[one.stock], one.stock.face_value, one.code) for one in opened
        ]
        return Listing(shown, order.delivered)

    def top_up(self, operation: str, amount: Decimal, *, by: str = "", reason: str = "") -> bool:
        """Raise the balance, once per operation, and pay for waiting orders; see `Balance.top_up`.

        Returns:
            Whether this call raised it, and no earlier one.

        Raises:
            ValueError: The amount is not positive or has more than two decimals, or the name is empty or too long.
            KeyReused: The operation was a top-up of another amount.
            Unavailable: The deadline passed. The same call again is safe.
        """
        booked = self.balance.top_up(operation, amount, self._now(), by=by, reason=reason)
        self.pay_waiting()
        return booked

    def correct_balance(self, operation: str, amount: Decimal, *, by: str, reason: str) -> bool:
        """Raise or lower the balance by hand, once per operation, and pay for waiting orders; see `Balance.correct`.

        Returns:
            Whether this call changed it, and no earlier one.

        Raises:
            ValueError: The amount is zero or has more than two decimals, or the name is empty or too long.
            KeyReused: The operation was a correction by another amount.
            NotCovered: The balance would become negative.
            Unavailable: The deadline passed. The same call again is safe.
        """
        booked = self.balance.correct(operation, amount, self._now(), by=by, reason=reason)
        self.pay_waiting()
        return booked

    def pay_waiting(self) -> None:
        """Pay for the orders that wait for money, oldest first, with what remains of the balance.

        An order that it does not cover does not block the orders behind it: new orders overtake it as well.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        left = self.balance.hundredths()
        first, last = self._waiting_key(0), self._waiting_key(10**_DIGITS - 1)
        for waiting in self._table.query(first[0], first[1], last[1]) if left else ():
            if waiting["total"] <= left:
                with about_ecards(self._company, waiting["orderId"]):
                    paid = self._pay(waiting["orderId"])
                left = left - waiting["total"] if paid else self.balance.hundredths()

    def pay_order(self, order_id: str) -> None:
        """Pay for one order if it waits for money and the balance covers it, whatever other orders wait.

        It finds an order that the search for all waiting orders has missed, at the cost of two reads.

        Raises:
            NotFound: The company has no order with this id.
            Unavailable: The deadline passed. The same call again is safe.
        """
        with about_ecards(self._company, order_id):
            if self.balance.hundredths() >= to_hundredths(self.order(order_id).total):
                self._pay(order_id)

    def advance(self, order_id: str) -> EcardOrder:
        """Assign an order's certificates, or return those of a cancelled one to stock; see `Assignment`.

        Raises:
            NotFound: The company has no order with this id.
            Unavailable: The deadline passed. The same call again is safe.
        """
        with about_ecards(self._company, order_id):
            order = self._assignment.assign(self._company, order_id)
            return self._assignment.return_certificates(self._company, order_id) if order.returning else order

    def assign(self, order: EcardOrder) -> EcardOrder:
        """Assign an order its certificates if it is as it was read; see `Assignment.assign`.

        Raises:
            Conflict: The order has changed since it was read.
            Unavailable: The deadline passed. The same call again is safe.
        """
        return self._assignment.assign(self._company, order.id, read=order)

    def hand_over(self, order: EcardOrder, count: int, operator: Operator | None = None) -> EcardOrder:
        """Record that the next certificates of an order were handed to its participant.

        Args:
            order: The order as it was read before the hand-over.
            operator: Who records it by a command; None for all others.

        Raises:
            ValueError: The count is not positive.
            Conflict: The order has fewer certificates left, its status does not allow a hand-over, some are in
                transit, or it has changed since it was read.
            Unavailable: The deadline passed. It may have been recorded: read the order.
        """
        return self._records.write(order, self._handed(order, count, operator))

    def begin_hand_over(self, order: EcardOrder, count: int) -> EcardOrder:
        """Record that the next certificates of an order are in transit: from now on they are out of stock.

        Raises:
            ValueError: The count is not positive.
            Conflict: As for `hand_over`.
            Unavailable: The deadline passed. It may have been recorded: read the order.
        """
        self._handed(order, count)
        return self._records.write(order, order.changed(in_transit=count))

    def end_hand_over(self, order: EcardOrder) -> EcardOrder:
        """Record that the certificates in transit were handed over, even if the order was cancelled in the meantime.

        Raises:
            Conflict: The order has changed since it was read.
            Unavailable: The deadline passed. It may have been recorded: read the order.
        """
        home = replace(order, in_transit=0)
        if order.status is EcardStatus.CANCELLED:
            return self._records.write(order, home.changed(delivered=order.delivered + order.in_transit))
        return self._records.write(order, self._handed(home, order.in_transit))

    def undo_hand_over(self, order: EcardOrder, unsent: Check) -> EcardOrder:
        """Take the certificates in transit back: to the order, or to stock if it was cancelled in the meantime.

        Args:
            unsent: A check that holds only while their mail was surely not sent, and is not in flight.

        Raises:
            Conflict: The order has changed since it was read, or `unsent` does not hold.
            Unavailable: The deadline passed. It may have been done: read the order.
        """
        after = order.changed(in_transit=0)
        if order.status is not EcardStatus.CANCELLED:
            return self._records.write(order, after, [unsent])
        returning = _together(order.returning, order.certificates_in_transit())
        self._records.write(order, replace(after, returning=returning), [unsent])
        return self._assignment.return_certificates(self._company, order.id)

    def unchanged(self, order: EcardOrder) -> Check:
        """Return a check that holds only while an order is unchanged since it was read."""
        return self._records.unchanged(order)

    def cancel(self, order_id: str, operator: Operator | None = None, *, read: EcardOrder | None = None) -> EcardOrder:
        """Cancel an order, for support: refund its debit, and return undelivered certificates to stock.

        Certificates in transit are not returned: they may have arrived.

        Args:
            operator: Who cancels it by a command; None if an event asks for it.
            read: The order as it was read, if only that state may be cancelled.

        Raises:
            NotFound: The company has no order with this id.
            Conflict: The order can no longer be cancelled, or was changed at the same time or since it was read.
            Unavailable: The deadline passed. The order may have been cancelled.
        """
        order, at = read or self.order(order_id), self._now()
        returning = order.certificates(order.delivered + order.in_transit, order.quantity)
        after = order.moved(EcardStatus.CANCELLED, Actor.SUPPORT, at, operator, parked=None, returning=returning)
        effects = [*self.balance.refund(order.id, order.debited, at), *unpark(order)]
        if order.status is EcardStatus.CREATED:
            effects.append(Delete(self._waiting_key(order.number)))
        cancelled = self._records.write(order, after, effects)
        with suppress(Unavailable, Fragmented):  # it is cancelled; the consumer of the table's stream does the rest
            cancelled = self._assignment.return_certificates(self._company, order_id)
            self.pay_waiting()
        return cancelled

    def settle(self) -> int:
        """Settle the company's book, and return the position up to which it is settled; see `OrderBook.settle`."""
        return self._records.book.settle()

    def _handed(self, order: EcardOrder, count: int, operator: Operator | None = None) -> EcardOrder:
        """Return an order as it is after the next `count` certificates were handed over."""
        if count <= 0:
            raise ValueError(f"{count} certificates")
        delivered = order.delivered + count
        status = EcardStatus.DELIVERED if delivered >= order.quantity else EcardStatus.PARTIALLY_DELIVERED
        after = order.moved(status, Actor.DELIVERY, self._now(), operator, delivered=delivered)
        if order.in_transit:
            raise Conflict(
                f"Order {order.id} has {order.in_transit} certificates in transit; wait for the outcome of their mail."
            )
        if delivered > order.quantity:
            left = order.quantity - order.delivered
            raise Conflict(f"Order {order.id} has {left} certificates left to hand over, not {count}.")
        return after

    def _create(self, order: Callable[[Ticket], EcardOrder], correlation: str | None) -> EcardOrder | None:
        """Create an order; None if its id was used at the same time, or the balance has changed."""

        def correlated(ticket: Ticket) -> EcardOrder:
            return replace(order(ticket), correlation=correlation)

        try:
            ticket = self._records.book.place(lambda ticket: self._compose(correlated(ticket)))
        except Collision:
            return None
        return correlated(ticket)

    def _order(
        self, request: EcardRequest, lines: tuple[PricedLine, ...], login: str, status: EcardStatus, ticket: Ticket
    ) -> EcardOrder:
        total = _total(lines)
        return EcardOrder(
            id=request.order_id,
            company=self._company,
            number=ticket.position,
            created=ticket.issued,
            state=ECARDS.begin(request.order_id, status, Actor.PARTNER, ticket.issued),
            participant=request.participant,
            login=login,
            lines=lines,
            total=total,
            fingerprint=request.fingerprint,
            debited=total if status is EcardStatus.PAYED else Decimal(0),
        )

    def _compose(self, order: EcardOrder) -> Draft:
        writes: list[Write] = [self._records.new(order)]
        if order.status is EcardStatus.PAYED:
            writes += self.balance.debit(order.id, order.total, order.created)
        else:
            partition, sort = self._waiting_key(order.number)
            waiting = {"pk": partition, "sk": sort, "orderId": order.id, "total": to_hundredths(order.total)}
            writes += [Put(waiting, ABSENT), self.balance.insufficient(order.total)]
        return Draft({"order": write_summary(order), **searchable(SearchedBy.EMAIL, order.participant.email)}, writes)

    def _pay(self, order_id: str) -> bool:
        """Pay for an order if it still waits and the balance covers it, and return whether it was paid."""
        order, at = self.order(order_id), self._now()
        if order.status is not EcardStatus.CREATED:
            return False
        after = order.moved(EcardStatus.PAYED, Actor.SYSTEM, at, debited=order.total)
        effects = [*self.balance.debit(order.id, order.total, at), Delete(self._waiting_key(order.number))]
        try:
            self._records.write(order, after, effects)
        except Conflict:
            return False
        return True

    def _waiting_key(self, number: int) -> Key:
        return f"WAITING#{self._company}", f"{number:0{_DIGITS}}"


def _meaning(part: EcardRequest | EcardParticipant | RequestedCard, *first: str) -> list[Any]:
    """List the values of the named fields, then one mapping of the other fields that differ from their defaults."""
    added = {name: value for name, value in asdict(part).items() if name not in first}
    # The last of the fields have the defaults.
    defaults = dict(zip(reversed(part.__struct_fields__), reversed(part.__struct_defaults__), strict=False))
    changed = {name: value for name, value in added.items() if name not in defaults or value != defaults[name]}
    return [*(getattr(part, name) for name in first), *([changed] if changed else [])]


def _total(lines: Sequence[PricedLine]) -> Decimal:
    return sum((line.price * line.quantity for line in lines), Decimal(0))


def _together(some: Sequence[HeldCertificates], others: Sequence[HeldCertificates]) -> tuple[HeldCertificates, ...]:
    """Join certificates, so that each stock occurs once."""
    ranges: dict[Stock, Ranges] = {}
    for held in (*some, *others):
        ranges[held.stock] = merge(ranges.get(held.stock, ()), held.ranges)
    return tuple(HeldCertificates(stock, joined) for stock, joined in ranges.items())


def _replay(item: Item, request: EcardRequest) -> EcardOrder:
    order = read_order(item)
    if order.fingerprint != request.fingerprint:
        raise KeyReused(f"Order {order.id} was created by a request with different contents.")
    return order
