"""Deal orders of a CRM account, and their line items.

An order is an entry in its account's book, and its id is its position there. A line item is an entry in a book of its
order, `deal-lines#<account>#<order>`. Its id combines the order's id and its position, so it is unique within the
account.

An order is removed in one transaction. From then on its line items cannot be reached: every call on a line item reads
the order first, and a line item is added in a transaction that checks that the order exists. `sweep` deletes the line
items afterwards; until then the removed order's void has a mark (`book.unfinished`).

Keys of the table, beside those of the books `deals#<account>` and `deal-lines#…`: `DEAL#<account>#<deal>` the id of a
deal's order; `ONCE#<account>#…` the idempotency records (see `book.idempotency`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from ordering import clock, money
from ordering.aws.dynamodb import ABSENT, Check, ConditionFailed, Delete, Item, Key, Put, Table, Update
from ordering.book.idempotency import Create, CreateResult, IdempotencyRecords
from ordering.book.orderbook import GRACE, Collision, Draft, OrderBook, Ticket
from ordering.book.search import SearchedBy, searchable
from ordering.book.sorted_lists import Field, ListPart, ListRequest, SortedList
from ordering.book.unfinished import UNMARK, mark
from ordering.clock import Clock
from ordering.deals.products import DealProduct
from ordering.deals.versions import FIRST, Versioned, version_of
from ordering.errors import NotFound, OrderingError, VersionMismatch
from ordering.logs import note
from ordering.values import Value, replace

_ORDER = "order"
_LINE = "line"
_BOOK = "deals#"
_EXISTS = "attribute_exists(#order)"
"""Holds while an order exists: the entry of a removed order has no such attribute."""
_NAMES = {"#order": _ORDER}
"""`order` is a reserved word of DynamoDB."""

KIND = "deal-order"
LINE_KIND = "deal-line"
"""The kinds of resources in idempotency records. Stored format."""

LINES = 1_000_000
"""An order has fewer line items than this, removed ones included.

Stored format: a line item's id is its order's id times this, plus its position.
"""


class DealTaken(OrderingError):
    """The deal already has an order."""


class OrderFull(OrderingError):
    """The order has reached its limit of line items; see `LINES`."""

    def __init__(self, order_id: int) -> None:
        """Name the order."""
        super().__init__(f"Order {order_id} has reached its limit of line items.")


class DealOrder(Value):
    """An order. `discount` is a percentage of the whole order; times are whole seconds, as the API shows them."""

    id: int
    deal_id: int
    discount: Decimal
    created: datetime
    updated: datetime
    version: int = FIRST


class NewLine(Value):
    """A line item to be added. `price` is the product's price in `currency`; `variation` is a percentage of it."""

    product: DealProduct
    price: Decimal
    currency: str
    variation: Decimal
    quantity: int


class LineItem(Value):
    """A line item, with a copy of its product's data from when it was added."""

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
        """The price of one after the variation, rounded to 2 decimals."""
        return money.varied(self.price, self.variation)


SORTABLE: Mapping[str, Field] = {
    "id": Field(),
    "deal_id": Field(("deal",)),
    "discount": Field(("discount",), money.parse_amount),
    "value": Field(),
    "created_at": Field(("created",)),
    "updated_at": Field(("updated",)),
}
"""The fields by which orders are sorted, by the contract's names. Stored times sort as the times do (`clock.to_text`).

`value` is in the reference's example, `sort_by=value:desc`. Orders have none, so the next field or the id decides.
"""

SORTABLE_LINES: Mapping[str, Field] = {
    "id": Field(),
    "name": Field(("name",)),
    "sku": Field(("sku",)),
    "description": Field(("description",)),
    "price": Field(("price",), money.parse_amount),
    "currency": Field(("currency",)),
    "variation": Field(("variation",), money.parse_amount),
    "value": Field(
        ("price", "variation"),
        lambda price, variation: money.varied(money.parse_amount(price), money.parse_amount(variation)),
    ),
    "quantity": Field(("quantity",)),
    "created_at": Field(("created",)),
    "updated_at": Field(("updated",)),
}
"""The fields by which line items are sorted and filtered, by the contract's names."""


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
            DealTaken: The deal already has an order.
            Unavailable: The deadline passed. The order may still have been placed.
        """
        try:
            return self._place(deal_id, discount, lambda _: ())
        except Collision as collision:
            raise DealTaken(f"Deal {deal_id} has an order.") from collision

    def create(self, deal_id: int, discount: Decimal, create: Create[DealOrder]) -> CreateResult:
        """Place an order for a deal; a retry with the same idempotency key gets the first response.

        Raises:
            DealTaken: The deal already has an order.
            KeyReused: The key was used for another request.
            Unavailable: The deadline passed. The same call with the same key is safe.
        """
        records = IdempotencyRecords(self.table, self.account, self.now, KIND)
        try:
            result = records.create(create, partial(self._place, deal_id, discount))
        except Collision as collision:
            raise DealTaken(f"Deal {deal_id} has an order.") from collision
        self._note(result.resource_id)
        note(replayed=result.replayed)
        return result

    def _place(self, deal_id: int, discount: Decimal, more: Callable[[DealOrder], Sequence[Put]]) -> DealOrder:
        def compose(ticket: Ticket) -> Draft:
            order = _made(deal_id, discount, ticket)
            partition, sort = self._deal_key(deal_id)
            claim = Put({"pk": partition, "sk": sort, _ORDER: ticket.position}, ABSENT)
            found = searchable(SearchedBy.DEAL, str(deal_id))
            return Draft({_ORDER: _write(order), **found}, [claim, *more(order)])

        return _made(deal_id, discount, self.book.place(compose))

    def part(self, wanted: ListRequest, reader: str, deal_id: int | None = None) -> ListPart[DealOrder]:
        """Read a part of the list; with `deal_id`, only the order of that deal is in the list.

        Args:
            reader: The user whose later pages continue the sort order of the first page.
        """
        if deal_id is not None:
            claim = self.table.get(self._deal_key(deal_id))
            has = frozenset([claim[_ORDER]] if claim else [])
            wanted = replace(wanted, only=has if wanted.only is None else has & wanted.only)
        name = f"{_BOOK}{self.account}"
        return SortedList(self.table, self.book, name, _ORDER, read_order, SORTABLE, reader, self.now).part(wanted)

    def order(self, order_id: int) -> DealOrder:
        """Read one order.

        Raises:
            NotFound: The account has no order with this id.
        """
        entry = self.book.find([order_id]).get(order_id)
        if entry is None:
            raise NotFound(_ORDER, str(order_id))
        self._note(order_id)
        return read_order(entry)

    def change(self, order_id: int, discount: Decimal | None, expected: Collection[str] | None = None) -> DealOrder:
        """Set an order's discount, unless it is None, and the time of its last change; returns the changed order.

        Args:
            expected: The versions that may be changed, in decimal; None for any.

        Raises:
            NotFound: The account has no order with this id.
            VersionMismatch: The order has another version.
        """
        changes = {"updated": clock.to_text(clock.whole_second(self.now()))}
        if discount is not None:
            changes["discount"] = money.format_amount(discount)
        changed = self._versioned(order_id).change(self.table, changes, expected)
        self._note(order_id)
        return read_order(changed)

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        """Remove an order with its line items. Its deal can then have another order.

        Args:
            expected: The versions that may be removed, in decimal; None for any.

        Raises:
            NotFound: The account has no order with this id.
            VersionMismatch: The order has another version.
            Unavailable: The deadline passed. The order may still have been removed.
        """
        order = self.order(order_id)
        release = Delete(self._deal_key(order.deal_id), "#order = :id", _NAMES, {":id": order_id})
        left = mark(self.book.entry_key(order_id), self.now())
        if not self.book.remove(order_id, [release], self._versioned(order_id).guard(expected), left):
            raise NotFound(_ORDER, str(order_id))

    def lines(self, order_id: int) -> Lines:
        """Return the line items of an order, without checking that the order exists."""
        return Lines(self, order_id)

    def _note(self, order_id: int) -> None:
        note(order=f"{_BOOK}{self.account}#{order_id}")

    def _versioned(self, order_id: int) -> Versioned:
        return Versioned(self.book.entry_key(order_id), _ORDER, order_id)

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
            NotFound: The account has no order with this id.
            OrderFull: The order has reached its limit of line items.
            Unavailable: The deadline passed. The item may still have been added.
        """
        try:
            return self._add(lambda: new, lambda _: ())
        except Collision as collision:
            raise NotFound(_ORDER, str(self.order_id)) from collision

    def create(self, new: Callable[[], NewLine], create: Create[LineItem]) -> CreateResult:
        """Add a line item; a retry with the same idempotency key gets the first response.

        Args:
            new: Returns the line item, or raises the reason against it. A retry gets the first response even so: the
                product may have changed since.

        Raises:
            NotFound: The account has no order with this id.
            OrderFull: The order has reached its limit of line items.
            KeyReused: The key was used for another request.
            Unavailable: The deadline passed. The same call with the same key is safe.
        """
        orders = self.orders
        records = IdempotencyRecords(orders.table, orders.account, orders.now, LINE_KIND)
        try:
            return records.create(create, partial(self._add, new))
        except Collision as collision:
            raise NotFound(_ORDER, str(self.order_id)) from collision

    def _add(self, new: Callable[[], NewLine], more: Callable[[LineItem], Sequence[Put]]) -> LineItem:
        wanted = new()
        self.orders.order(self.order_id)
        order_key = self.orders.book.entry_key(self.order_id)

        def compose(ticket: Ticket) -> Draft:
            if ticket.position >= LINES:
                raise OrderFull(self.order_id)
            line = _made_line(self.order_id, wanted, ticket)
            return Draft({_LINE: _write_line(line)}, [Check(order_key, _EXISTS, _NAMES), *more(line)])

        return _made_line(self.order_id, wanted, self._book.place(compose))

    def part(self, wanted: ListRequest, reader: str) -> ListPart[LineItem]:
        """Read a part of the list. `wanted.only` contains ids of line items, not positions.

        Args:
            reader: The user whose later pages continue the sort order of the first page.

        Raises:
            NotFound: The account has no order with this id.
        """
        self.orders.order(self.order_id)
        orders, read = self.orders, self._read
        listed = SortedList(
            orders.table, self._book, self._name, _LINE, read, SORTABLE_LINES, reader, orders.now, self.position
        )
        return listed.part(wanted)

    def all(self) -> list[LineItem]:
        """Read all line items, oldest first, for operators; nothing is written."""
        return [self._read(entry) for entry in self._book.newest()][::-1]

    def line(self, line_id: int) -> LineItem:
        """Read one line item.

        Raises:
            NotFound: The account has no such order, or the order has no such line item.
        """
        self.orders.order(self.order_id)
        position = self.position(line_id)
        entry = self._book.find([position]).get(position) if position else None
        if entry is None:
            raise NotFound("line_item", str(line_id))
        return self._read(entry)

    def remove(self, line_id: int, expected: Collection[str] | None = None) -> None:
        """Remove a line item.

        Args:
            expected: The versions that may be removed, in decimal; None for any. A line item never changes: it has
                `FIRST`.

        Raises:
            NotFound: The account has no such order, or the order has no such line item.
            VersionMismatch: The line item has another version.
            Unavailable: The deadline passed. The item may still have been removed.
        """
        self.line(line_id)
        if expected is not None and str(FIRST) not in expected:
            raise VersionMismatch("line_item", str(line_id))
        if not self._book.remove(self.position(line_id)):
            raise NotFound("line_item", str(line_id))

    def sweep(self) -> None:
        """Delete the line items of a removed order, then the mark of its void. After a crash, call it again."""
        self._book.destroy()
        with suppress(ConditionFailed):  # a void of an earlier release has no mark
            self.orders.table.update(Update(self.orders.book.entry_key(self.order_id), UNMARK, "attribute_exists(due)"))

    def position(self, line_id: int) -> int:
        """Return the position of a line item in its order; 0 if the id does not belong to this order."""
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


def read_order(entry: Item) -> DealOrder:
    """Read an order from its entry in the book."""
    item = entry[_ORDER]
    return DealOrder(
        id=item["id"],
        deal_id=item["deal"],
        discount=money.parse_amount(item["discount"]),
        created=clock.from_text(item["created"]),
        updated=clock.from_text(item["updated"]),
        version=version_of(entry),
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
