"""The products that a CRM account can put on its deal orders.

Products are stored in a book, as orders are: a product's id is its position, so ids ascend and every page of a list
costs the same. The book `deal-products#<account>` is in the catalogue table. That table has no stream whose consumer
would settle the book, so readers settle it.

Key of the table, beside those of the book: `ONCE#<account>#…` the idempotency records (see `book.idempotency`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ordering import clock, money, stored
from ordering.aws.dynamodb import Item, Put, Table
from ordering.book.idempotency import Create, CreateResult, IdempotencyRecords
from ordering.book.orderbook import GRACE, Draft, OrderBook, Ticket
from ordering.book.sorted_lists import Field, ListPart, ListRequest, SortedList
from ordering.clock import Clock
from ordering.deals.versions import FIRST, Versioned, version_of
from ordering.errors import NotFound
from ordering.money import Money
from ordering.values import Value, replace

_PRODUCT = "product"

KIND = "deal-product"
"""The kind of resource in idempotency records. Stored format."""


class NewProduct(Value, kw_only=True):
    """A product to be added. `max_discount` and `max_markup` are percentages of its price, None for no limit."""

    name: str
    description: str | None = None
    sku: str | None = None
    active: bool = True
    max_discount: Decimal | None = None
    max_markup: Decimal | None = None
    cost: Decimal | None = None
    cost_currency: str | None = None
    prices: tuple[Money, ...] = ()


class DealProduct(NewProduct, kw_only=True):
    """A product. Times are whole seconds, as the API shows them."""

    id: int
    created: datetime
    updated: datetime
    version: int = FIRST

    def price_in(self, currency: str) -> Decimal | None:
        """Return its price in a currency, None if it has no price in it."""
        return next((price.value for price in self.prices if price.currency == currency), None)


def _read_prices(stored: Sequence[Item] | None) -> tuple[Money, ...]:
    return tuple(Money(price["currency"], money.parse_amount(price["value"])) for price in stored or ())


SORTABLE: Mapping[str, Field] = {
    "id": Field(),
    "name": Field(("name",)),
    "description": Field(("description",)),
    "sku": Field(("sku",)),
    "active": Field(("active",), lambda active: active is not False),
    "max_discount": Field(("max_discount",), money.from_stored),
    "max_markup": Field(("max_markup",), money.from_stored),
    "cost": Field(("cost",), money.from_stored),
    "cost_currency": Field(("cost_currency",)),
    "prices": Field(("prices",), lambda prices: [(price.currency, price.value) for price in _read_prices(prices)]),
    "created_at": Field(("created",)),
    "updated_at": Field(("updated",)),
}
"""The fields by which products are sorted and filtered, by the contract's names."""


class DealProducts:
    """The products of one account."""

    def __init__(self, table: Table, account: str, now: Clock = clock.system_clock, grace: timedelta = GRACE) -> None:
        self.table = table
        self.account = account
        self.now = now
        self._book = OrderBook(table, self._name, now=now, grace=grace, settle_after=1, removals=True)

    @property
    def _name(self) -> str:
        return f"deal-products#{self.account}"

    def add(self, new: NewProduct) -> DealProduct:
        """Add a product.

        Raises:
            Unavailable: The deadline passed. The product may still have been added.
        """
        return self._add(new, lambda _: ())

    def create(self, new: NewProduct, create: Create[DealProduct]) -> CreateResult:
        """Add a product; a retry with the same idempotency key gets the first response.

        Raises:
            KeyReused: The key was used for another request.
            Unavailable: The deadline passed. The same call with the same key is safe.
        """
        records = IdempotencyRecords(self.table, self.account, self.now, KIND)
        return records.create(create, partial(self._add, new))

    def _add(self, new: NewProduct, more: Callable[[DealProduct], Sequence[Put]]) -> DealProduct:
        def compose(ticket: Ticket) -> Draft:
            product = _made(new, ticket)
            return Draft({_PRODUCT: _write(product)}, more(product))

        return _made(new, self._book.place(compose))

    def part(self, wanted: ListRequest, reader: str) -> ListPart[DealProduct]:
        """Read a part of the list.

        Args:
            reader: The user whose later pages continue the sort order of the first page.
        """
        return SortedList(self.table, self._book, self._name, _PRODUCT, _read, SORTABLE, reader, self.now).part(wanted)

    def product(self, product_id: int) -> DealProduct:
        """Read one product.

        Raises:
            NotFound: The account has no product with this id.
        """
        found = self.find(product_id)
        if found is None:
            raise NotFound(_PRODUCT, str(product_id))
        return found

    def find(self, product_id: int) -> DealProduct | None:
        """Read one product; None if the account has no product with this id."""
        entry = self._book.find([product_id]).get(product_id)
        return _read(entry) if entry else None

    def change(
        self, product_id: int, changes: Mapping[str, Any], expected: Collection[str] | None = None
    ) -> DealProduct:
        """Change some attributes of a product, by their names in `NewProduct`; returns the changed product.

        Args:
            expected: The versions that may be changed, in decimal; None for any.

        Raises:
            NotFound: The account has no product with this id.
            VersionMismatch: The product has another version.
        """
        now = clock.whole_second(self.now())
        texts = {name: value for name, value in _attributes(changes).items() if name in changes}
        parts = {**texts, "updated": clock.to_text(now)}
        return _read(self._versioned(product_id).change(self.table, parts, expected))

    def remove(self, product_id: int, expected: Collection[str] | None = None) -> None:
        """Remove a product. Line items that were made from it do not change.

        Args:
            expected: The versions that may be removed, in decimal; None for any.

        Raises:
            NotFound: The account has no product with this id.
            VersionMismatch: The product has another version.
        """
        if not self._book.remove(product_id, guard=self._versioned(product_id).guard(expected)):
            raise NotFound(_PRODUCT, str(product_id))

    def _versioned(self, product_id: int) -> Versioned:
        return Versioned(self._book.entry_key(product_id), _PRODUCT, product_id)


def _made(new: NewProduct, ticket: Ticket) -> DealProduct:
    created = clock.whole_second(ticket.issued)
    return DealProduct(
        id=ticket.position,
        created=created,
        updated=created,
        **{name: getattr(new, name) for name in NewProduct.__struct_fields__},
    )


def _attributes(values: Mapping[str, Any]) -> Item:
    """Convert attributes to their stored form."""
    return {name: _STORED.get(name, lambda value: value)(value) for name, value in values.items()}


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else money.format_amount(value)


_STORED: Mapping[str, Any] = {
    "max_discount": _amount,
    "max_markup": _amount,
    "cost": _amount,
    "prices": lambda prices: [{"currency": price.currency, "value": _amount(price.value)} for price in prices],
}


def _write(product: DealProduct) -> Item:
    values = {name: getattr(product, name) for name in NewProduct.__struct_fields__}
    times = {"created": clock.to_text(product.created), "updated": clock.to_text(product.updated)}
    return {"id": product.id, **_attributes(values), **times}


def _read(entry: Item) -> DealProduct:
    item = entry[_PRODUCT]
    times = {name: clock.from_text(item[name]) for name in ("created", "updated")}
    return replace(
        stored.read(DealProduct, {**item, **times}),
        max_discount=money.from_stored(item.get("max_discount")),
        max_markup=money.from_stored(item.get("max_markup")),
        cost=money.from_stored(item.get("cost")),
        version=version_of(entry),
        prices=_read_prices(item.get("prices")),
    )
