"""Deal orders of a CRM account, and their line items.

An order is the entry in its account's book, and its id is the position there. So are line items, in a book of their
order's own: `deal-lines#<account>#<order>`; a line item's id is unique within the account because it is made of the
order's id and the position.

Removing an order is one transaction, after which nothing leads to its line items any more: whatever reads or adds one
looks at the order first, and an item is only added in a transaction that checks that the order is there. What is left
of them is deleted behind it, by `sweep`, which any number of tries may have to finish.

Keys of the table, beside those of the books `deals#<account>` and `deal-lines#…`: `DEAL#<account>#<deal>` which order a
deal has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ordering import clock, money
from ordering.aws.dynamodb import ABSENT, Check, ConditionFailed, Delete, Item, Key, Put, Table, Update
from ordering.book.orderbook import GRACE, Collision, Draft, OrderBook, Ticket
from ordering.book.sorted_lists import ListPart, ListRequest, SortedList
from ordering.clock import Clock
from ordering.deals.products import DealProduct
from ordering.errors import NotFound, OrderingError

_ORDER = "order"
_LINE = "line"
_BOOK = "deals#"
_THERE = "attribute_exists(#order)"
_NAMES = {"#order": _ORDER}
"""`order` is a reserved word. A void entry has none, so that its presence says that the order is there."""

LINES = 1_000_000
"""Line items that an order can ever have had. Stored format: a line item's id is made of it and of the order's id."""


class DealTaken(OrderingError):
    """The deal has an order already."""


class OrderFull(OrderingError):
    """The order has had as many line items as an order can have."""


@dataclass(frozen=True, slots=True)
class DealOrder:
    """An order; `discount` is a percentage of the whole order, the times are whole seconds, as they are shown."""

    id: int
    deal_id: int
    discount: Decimal
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line item as it was asked for: so many of a product, at its price in a currency, varied by some percent."""

    product: DealProduct
    price: Decimal
    currency: str
    variation: Decimal
    quantity: int


@dataclass(frozen=True, slots=True)
class LineItem:
    """A line item, with what its product was when it was added."""

    id: int
    name: str
    sku: str | None
    description: str | None
    price: Decimal
    currency: str
    variation: Decimal
    quantity: int
    created: datetime
    updated: datetime

    @property
    def value(self) -> Decimal:
        """What one costs after the variation, to 2 places."""
        return money.varied(self.price, self.variation)


SORTABLE: dict[str, Callable[[DealOrder], Any]] = {
    "id": lambda one: one.id,
    "deal_id": lambda one: one.deal_id,
    "discount": lambda one: one.discount,
    "created_at": lambda one: one.created,
    "updated_at": lambda one: one.updated,
}
"""How orders compare, by the contract's names of their fields."""

SORTABLE_LINES: dict[str, Callable[[LineItem], Any]] = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "sku": lambda one: one.sku,
    "description": lambda one: one.description,
    "price": lambda one: one.price,
    "currency": lambda one: one.currency,
    "variation": lambda one: one.variation,
    "value": lambda one: one.value,
    "quantity": lambda one: one.quantity,
    "created_at": lambda one: one.created,
    "updated_at": lambda one: one.updated,
}
"""How line items compare, likewise."""


class DealOrders:
    """The orders of one account."""

    def __init__(self, table: Table, account: str, now: Clock = clock.system_clock, grace: timedelta = GRACE) -> None:
        self.table = table
        self.account = account
        self.now = now
        self.grace = grace
        self.book = OrderBook(table, f"{_BOOK}{account}", now=now, grace=grace, removals=True)

    def place(self, deal_id: int, discount: Decimal) -> DealOrder:
        """Place an order for a deal.

        Raises:
            DealTaken: The deal has one.
            Unavailable: The deadline passed. The order may still have been placed.
        """

        def compose(ticket: Ticket) -> Draft:
            partition, sort = self._deal_key(deal_id)
            claim = Put({"pk": partition, "sk": sort, _ORDER: ticket.position}, ABSENT)
            return Draft({_ORDER: _write(_made(deal_id, discount, ticket))}, [claim])

        try:
            return _made(deal_id, discount, self.book.place(compose))
        except Collision as collision:
            raise DealTaken(f"Deal {deal_id} has an order.") from collision

    def part(self, wanted: ListRequest, reader: str, deal_id: int | None = None) -> ListPart[DealOrder]:
        """Read a part of the list, or of the list of the one order that a deal has."""
        if deal_id is not None:
            claim = self.table.get(self._deal_key(deal_id))
            has = frozenset([claim[_ORDER]] if claim else [])
            wanted = replace(wanted, only=has if wanted.only is None else has & wanted.only)
        name = f"{_BOOK}{self.account}"
        return SortedList(self.table, self.book, name, _read, SORTABLE, reader, self.now).part(wanted)

    def order(self, order_id: int) -> DealOrder:
        """Return one order.

        Raises:
            NotFound: The account has none of that id.
        """
        entry = self.book.find([order_id]).get(order_id)
        if entry is None:
            raise NotFound(_ORDER, str(order_id))
        return _read(entry)

    def change(self, order_id: int, discount: Decimal | None) -> DealOrder:
        """Change an order's discount, unless it is None, and return the order as it then is.

        Raises:
            NotFound: The account has no such order.
        """
        changes = {"updated": clock.to_text(clock.whole_second(self.now()))}
        if discount is not None:
            changes["discount"] = money.format_amount(discount)
        update = Update(
            self.book.entry_key(order_id),
            "SET " + ", ".join(f"#order.{name} = :{name}" for name in changes),
            condition=_THERE,
            names=_NAMES,
            values={f":{name}": value for name, value in changes.items()},
        )
        try:
            return _read(self.table.update(update))
        except ConditionFailed as failure:
            raise NotFound(_ORDER, str(order_id)) from failure

    def remove(self, order_id: int) -> None:
        """Remove an order with its line items; its deal can have another one.

        Raises:
            NotFound: The account has no such order.
            Unavailable: The deadline passed. The order may still have been removed.
        """
        order = self.order(order_id)
        release = Delete(self._deal_key(order.deal_id), "#order = :id", _NAMES, {":id": order_id})
        if not self.book.remove(order_id, [release]):
            raise NotFound(_ORDER, str(order_id))

    def lines(self, order_id: int) -> Lines:
        """Return the line items of an order, whether there is such an order or not."""
        return Lines(self, order_id)

    def _deal_key(self, deal_id: int) -> Key:
        return f"DEAL#{self.account}#{deal_id}", "-"


class Lines:
    """The line items of one order."""

    def __init__(self, orders: DealOrders, order_id: int) -> None:
        self.orders = orders
        self.order_id = order_id
        self._book = OrderBook(orders.table, self._name, now=orders.now, grace=orders.grace, removals=True)

    @property
    def _name(self) -> str:
        return f"deal-lines#{self.orders.account}#{self.order_id}"

    def add(self, new: NewLine) -> LineItem:
        """Add a line item.

        Raises:
            NotFound: The account has no such order.
            OrderFull: The order can have no more.
            Unavailable: The deadline passed. The item may still have been added.
        """
        self.orders.order(self.order_id)
        order_key = self.orders.book.entry_key(self.order_id)

        def compose(ticket: Ticket) -> Draft:
            if ticket.position >= LINES:
                raise OrderFull(f"Order {self.order_id} has reached its limit of line items.")
            line = _made_line(self.order_id, new, ticket)
            return Draft({_LINE: _write_line(line)}, [Check(order_key, _THERE, _NAMES)])

        try:
            return _made_line(self.order_id, new, self._book.place(compose))
        except Collision as collision:
            raise NotFound(_ORDER, str(self.order_id)) from collision

    def part(self, wanted: ListRequest, reader: str) -> ListPart[LineItem]:
        """Read a part of the list; ids to choose from are those of line items.

        Raises:
            NotFound: The account has no such order.
        """
        self.orders.order(self.order_id)
        orders, read = self.orders, self._read
        listed = SortedList(
            orders.table, self._book, self._name, read, SORTABLE_LINES, reader, orders.now, self.position
        )
        return listed.part(wanted)

    def line(self, line_id: int) -> LineItem:
        """Return one line item.

        Raises:
            NotFound: The account has no such order, or the order no such item.
        """
        self.orders.order(self.order_id)
        position = self.position(line_id)
        entry = self._book.find([position]).get(position) if position else None
        if entry is None:
            raise NotFound("line_item", str(line_id))
        return self._read(entry)

    def remove(self, line_id: int) -> None:
        """Remove a line item.

        Raises:
            NotFound: The account has no such order, or the order no such item.
            Unavailable: The deadline passed. The item may still have been removed.
        """
        self.line(line_id)
        if not self._book.remove(self.position(line_id)):
            raise NotFound("line_item", str(line_id))

    def sweep(self) -> None:
        """Delete the line items of an order that was removed; to be repeated until it returns."""
        self._book.destroy()

    def position(self, line_id: int) -> int:
        """Return the position of a line item in its order, 0 if the id is no item's of this order."""
        order_id, position = divmod(line_id, LINES)
        return position if order_id == self.order_id else 0

    def _read(self, entry: Item) -> LineItem:
        return _read_line(self.order_id, entry)


def account_of(book: str) -> str | None:
    """Return the account whose orders a book holds, None if it holds something else."""
    return book.removeprefix(_BOOK) if book.startswith(_BOOK) else None


def _made(deal_id: int, discount: Decimal, ticket: Ticket) -> DealOrder:
    created = clock.whole_second(ticket.issued)
    return DealOrder(ticket.position, deal_id, discount, created, created)


def _write(order: DealOrder) -> Item:
    return {
        "id": order.id,
        "deal": order.deal_id,
        "discount": money.format_amount(order.discount),
        "created": clock.to_text(order.created),
        "updated": clock.to_text(order.updated),
    }


def _read(entry: Item) -> DealOrder:
    item = entry[_ORDER]
    return DealOrder(
        id=item["id"],
        deal_id=item["deal"],
        discount=money.parse_amount(item["discount"]),
        created=clock.from_text(item["created"]),
        updated=clock.from_text(item["updated"]),
    )


def _made_line(order_id: int, new: NewLine, ticket: Ticket) -> LineItem:
    created = clock.whole_second(ticket.issued)
    return LineItem(
        id=order_id * LINES + ticket.position,
        name=new.product.name,
        sku=new.product.sku,
        description=new.product.description,
        price=new.price,
        currency=new.currency,
        variation=new.variation,
        quantity=new.quantity,
        created=created,
        updated=created,
    )


def _write_line(line: LineItem) -> Item:
    return {
        "position": line.id % LINES,
        "name": line.name,
        "sku": line.sku,
        "description": line.description,
        "price": money.format_amount(line.price),
        "currency": line.currency,
        "variation": money.format_amount(line.variation),
        "quantity": line.quantity,
        "created": clock.to_text(line.created),
        "updated": clock.to_text(line.updated),
    }


def _read_line(order_id: int, entry: Item) -> LineItem:
    item = entry[_LINE]
    return LineItem(
        id=order_id * LINES + item["position"],
        name=item["name"],
        sku=item.get("sku"),
        description=item.get("description"),
        price=money.parse_amount(item["price"]),
        currency=item["currency"],
        variation=money.parse_amount(item["variation"]),
        quantity=item["quantity"],
        created=clock.from_text(item["created"]),
        updated=clock.from_text(item["updated"]),
    )
