"""Deal orders, `/v2`: the models of requests and responses, and how they map to the domain.

The shapes are those of the published reference and of the API's official clients. A rule that neither
states is this API's own; the description of its field or operation documents it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import MAX_EMAX, ROUND_HALF_EVEN, Context, Decimal
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast
from urllib.parse import urlencode

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    InstanceOf,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering import clock, money
from ordering.book.idempotency import Create, CreateResult, IdempotencyKey
from ordering.book.sorted_lists import MOST_SORTED, ListPart, ListRequest, SortKey
from ordering.deals import orders as deal_orders
from ordering.deals import products as deal_products
from ordering.deals.errors import (
    ERRORS,
    MESSAGES,
    RESOURCES,
    STATUSES,
    DealError,
    DealErrorEnvelope,
    DealErrors,
    DealErrorsMeta,
    DealResource,
)
from ordering.deals.orders import DealOrder, DealTaken, LineItem, NewLine
from ordering.deals.products import DealProduct, NewProduct
from ordering.deals.versions import FIRST
from ordering.errors import Fault, Forbidden, InsufficientScope, Invalid, NotFound, VersionMismatch
from ordering.identifiers import LARGEST_NUMBER, LARGEST_SAFE_NUMBER, canonical_number
from ordering.money import Money
from ordering.web.documents import (
    A_NUMBER,
    AN_AMOUNT,
    ContractDocument,
    Documented,
    DocumentedAsNumber,
    ShownAmount,
    ShownDecimal,
    ShownMoment,
)
from ordering.web.guides import error_guide
from ordering.web.header_fields import accepts_json
from ordering.web.http import (
    A_FILLED_LINE,
    Answer,
    Body,
    Call,
    MethodNotAllowed,
    NoQuery,
    NoSuchPath,
    NotAcceptable,
    Request,
    Tagged,
    Text,
    WholeNumber,
    encode,
    is_blank,
    read_exact_body,
    whole_number,
)
from ordering.web.idempotent_creates import CreateHeaders, fingerprint, replayed_header
from ordering.web.preconditions import tagged
from ordering.web.problems import MOST_FAULTS, pointer

NAME = "deals"

MOST_IDS = 500
"""The most ids that one list request can name: as many as the largest page."""

T = TypeVar("T")
R = TypeVar("R", DealOrder, LineItem, DealProduct)


# Requests: numbers, which may be numeric strings, as in the reference.


def _number(value: object) -> Decimal:
    """Accept a number or a numeric string, but no boolean, and at most as many digits as money has."""
    exact = _exact(value)
    places = -int(exact.as_tuple().exponent)
    if not exact:
        return exact.copy_abs() if 0 <= places <= _PLACES else Decimal(0)
    if exact.adjusted() >= _WHOLE_DIGITS or places > _PLACES:
        raise PydanticCustomError(
            "out_of_range", f"Must have at most {_WHOLE_DIGITS} digits before the decimal point and {_PLACES} after it"
        )
    return exact


def _rounded(percent: Decimal) -> Decimal:
    """Round to 6 decimals, and drop trailing zeros: 50.0 becomes 50.

    Clients compute percentages as floats: a third is 33.333333333333336.
    """
    rounded = percent.quantize(_SMALLEST, ROUND_HALF_EVEN, _ROUNDING)
    return Decimal(f"{rounded.normalize(_ROUNDING):f}") if rounded else Decimal(0)


def _exact(value: object) -> Decimal:
    if value is None:
        raise PydanticCustomError("blank", "Must not be null")
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise PydanticCustomError("invalid_type", "Must be a number or a numeric string")
    return Decimal(value)


_WHOLE_DIGITS = 16
_PLACES = 6
_SMALLEST = Decimal(1).scaleb(-_PLACES)
_ROUNDING = Context(prec=2 * _WHOLE_DIGITS, Emin=-MAX_EMAX, Emax=MAX_EMAX)
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


_DECIMALS = r"(\.[0-9]{1,6})?"
_AMOUNT = rf"[0-9]{{1,{_WHOLE_DIGITS}}}{_DECIMALS}"
_VARIATION = rf"-100(\.0{{1,6}})?|-?[0-9]{{1,2}}{_DECIMALS}|[0-9]{{3,6}}{_DECIMALS}|1000000(\.0{{1,6}})?"

# The document has the type that responses have, so that a client can send back what it has read.
Discount = Annotated[
    Decimal, Field(ge=0, le=100), BeforeValidator(_exact), AfterValidator(_rounded), DocumentedAsNumber()
]
Markup = Annotated[
    Decimal,
    Field(ge=0, lt=10**_WHOLE_DIGITS),
    BeforeValidator(_exact),
    AfterValidator(_rounded),
    DocumentedAsNumber(),
]
Amount = Annotated[
    Decimal,
    Field(ge=0),
    BeforeValidator(_number),
    WithJsonSchema({**AN_AMOUNT, "pattern": f"^{_AMOUNT}$"}),
]
Variation = Annotated[
    Decimal,
    Field(ge=-100, le=1_000_000),
    BeforeValidator(_number),
    WithJsonSchema({**AN_AMOUNT, "pattern": f"^({_VARIATION})$"}),
]


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise PydanticCustomError("invalid_type", "Must be a whole number")
    return int(number)


ResourceId = Annotated[int, Field(ge=1, le=LARGEST_SAFE_NUMBER), BeforeValidator(_whole)]
Quantity = Annotated[int, Field(ge=1, le=LARGEST_NUMBER), BeforeValidator(_whole)]


# Requests: query parameters.


def _ids(text: object) -> object:
    if not isinstance(text, str):
        return text
    found = [canonical_number(part, LARGEST_SAFE_NUMBER) for part in text.split(",")]
    if None in found or len(found) > MOST_IDS:
        raise PydanticCustomError("invalid_format", f"Must be 1 to {MOST_IDS} ids separated by commas")
    return frozenset(found)


def _order(text: object) -> object:
    """Parse `field[:asc|:desc]`, separated by commas."""
    if not isinstance(text, str):
        return text
    found = [_BY.fullmatch(part) for part in text.split(",")]
    if not all(found):
        raise PydanticCustomError(
            "invalid_format", "Must be field names separated by commas, each optionally followed by :asc or :desc"
        )
    return tuple(SortKey(match[1], descending=match[2] == ":desc") for match in found if match)


_BY = re.compile(r"([a-z_]+)(:asc|:desc)?")


class SortedListQuery(NoQuery):
    """The page and the order of a list."""

    sortable: ClassVar[Iterable[str]] = ()
    filters: ClassVar[Iterable[str]] = ()

    page: WholeNumber = Field(1, ge=1, le=LARGEST_NUMBER, description="The page to return; the first is 1.")
    per_page: WholeNumber = Field(25, ge=1, le=500, description="The number of items on a page.")
    ids: (
        Annotated[
            frozenset[int],
            BeforeValidator(_ids),
            WithJsonSchema(
                {"type": "string", "pattern": f"^[1-9][0-9]{{0,14}}(,[1-9][0-9]{{0,14}}){{0,{MOST_IDS - 1}}}$"}
            ),
        ]
        | None
    ) = Field(None, description=f"Return only items with these ids: up to {MOST_IDS}, separated by commas.")
    sort_by: Annotated[
        tuple[InstanceOf[SortKey], ...],
        BeforeValidator(_order),
        WithJsonSchema({"type": "string"}),
    ] = Field(
        "id:asc",
        validate_default=True,
        description="Fields to sort by, separated by commas, each with `:asc` (the default) or `:desc`; `id:asc` by "
        "default. Missing values come first, or last if descending. Ties are broken by id. In another order than by "
        "id, the pages of a user are for a minute those of its latest page 1: two readers of the same list at the same "
        f"time need a user each. A list of more than {MOST_SORTED:,} items, removed ones included, can be sorted by "
        "other fields, or filtered by their values, only with `ids`.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema with the grammar of `sort_by` for the fields of this resource."""
        schema = handler(core)
        one = f"({'|'.join(cls.sortable)})(:asc|:desc)?"
        handler.resolve_ref_schema(schema)["properties"]["sort_by"]["pattern"] = f"^{one}(,{one})*$"
        return schema

    @field_validator("sort_by")
    @classmethod
    def _sorts_by_fields(cls, order: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
        if unknown := [by.field for by in order if by.field not in cls.sortable]:
            raise PydanticCustomError("invalid_format", f"'{unknown[0]}' is not a field of this resource")
        return order

    @property
    def wanted(self) -> ListRequest:
        """The requested part of the list, for the domain."""
        where = tuple((name, value) for name in self.filters if (value := getattr(self, name)) is not None)
        return ListRequest((self.page - 1) * self.per_page, self.per_page, self.sort_by, self.ids, where)


def _switch(text: object) -> object:
    if not isinstance(text, str):
        return text
    # Clients write booleans as their languages do: Python's `True`, Java's `true`, PHP's `1`.
    found = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if found is None:
        raise PydanticCustomError("invalid_format", "Must be true or false")
    return found


class OrderQuery(SortedListQuery):
    """Query parameters of a list of orders."""

    sortable: ClassVar[Iterable[str]] = deal_orders.SORTABLE

    deal_id: Annotated[int, Field(ge=1, le=LARGEST_SAFE_NUMBER), BeforeValidator(whole_number)] | None = Field(
        None, description="Return only the order of this deal."
    )


class LineItemQuery(SortedListQuery):
    """Query parameters of a list of line items."""

    sortable: ClassVar[Iterable[str]] = deal_orders.SORTABLE_LINES
    filters: ClassVar[Iterable[str]] = ("quantity", "value")

    quantity: Annotated[int, Field(ge=1, le=LARGEST_NUMBER), BeforeValidator(whole_number)] | None = Field(
        None, description="Return only line items with this quantity."
    )
    value: (
        Annotated[Decimal, BeforeValidator(_number), WithJsonSchema({**AN_AMOUNT, "pattern": f"^-?{_AMOUNT}$"})] | None
    ) = Field(None, description="Return only line items with this value, however many decimals it is written with.")


class ProductQuery(SortedListQuery):
    """Query parameters of a list of products."""

    sortable: ClassVar[Iterable[str]] = deal_products.SORTABLE
    filters: ClassVar[Iterable[str]] = ("name", "sku", "active")

    name: Text | None = Field(None, description="Return only products with exactly this name.")
    sku: Text | None = Field(None, description="Return only products with exactly this SKU.")
    active: Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"type": "boolean"})] | None = Field(
        None, description="Return only products that are active, or only those that are not: `true` or `false`."
    )


# Requests: bodies.


def _not_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("blank", "Must not be null")
    return value


def _not_blank(value: object) -> object:
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise PydanticCustomError("blank", "Must not be blank")
    return value


def _no_control_characters_but_breaks(text: str) -> str:
    if _CONTROL_BUT_BREAKS.search(text):
        raise PydanticCustomError("control_character", "Must not contain control characters but tabs and line breaks")
    return text


_CONTROLS_BUT_BREAKS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_CONTROL_BUT_BREAKS = re.compile(f"[{_CONTROLS_BUT_BREAKS}]")


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise PydanticCustomError("invalid_format", "Must be three capital letters (ISO 4217)")
    return text


Name = Annotated[Text, Field(max_length=255), BeforeValidator(_not_blank), Documented(A_FILLED_LINE)]
Currency = Annotated[
    str,
    AfterValidator(_currency),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217, three capital letters."}),
]
LongText = Annotated[
    str,
    Field(max_length=2_000),
    AfterValidator(_no_control_characters_but_breaks),
    Documented({"pattern": f"^[^{_CONTROLS_BUT_BREAKS}]*$"}),
]
"""Text of several lines. 500 resources on a page must fit Lambda's response, where a character can take 4 bytes."""

MOST_PRICES = 30
"""The most prices of a product, for the same reason."""

Ignored = Annotated[Any, Field(description="Read-only. Accepted and ignored, as clients send back what they read.")]


_ROUNDED = "At most 6 decimals are kept. A numeric string is taken as well."
_TEXT_OR_NUMBER = "A decimal number of up to 16 digits and 6 decimals, as in responses. A JSON number is taken as well."
_OF_DISCOUNT = f"The discount on the whole order in percent, 0 to 100. {_ROUNDED}"


def _without_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults of a create: an attribute that a change does not send stays the same."""
    for attribute in schema["properties"].values():
        attribute.pop("default", None)


class Attributes(Body):
    """Attributes of a resource. An unknown attribute is an error, a read-only one is ignored."""

    id: Ignored = None
    created_at: Ignored = None
    updated_at: Ignored = None


class DealOrderRequestData(Attributes):
    """An order to be created."""

    deal_id: ResourceId = Field(description="The deal of the order. A deal can have only one order.")
    discount: Discount = Field(Decimal(0), description=_OF_DISCOUNT, json_schema_extra={"default": 0})


class DealOrderChangesData(Attributes):
    """Changes to an order. Attributes that are not sent stay the same."""

    deal_id: Ignored = None
    discount: Discount = Field(default_factory=Decimal, description=_OF_DISCOUNT)

    @property
    def new_discount(self) -> Decimal | None:
        """The discount that was sent; None if none was."""
        return self.discount if "discount" in self.model_fields_set else None


class DealLineItemRequestData(Attributes):
    """A line item to be added. `value` is computed from price and variation, so it is ignored here."""

    product_id: ResourceId = Field(description="An active product of the account.")
    currency: Annotated[Currency, BeforeValidator(_not_null)] = Field(
        description="The currency of one of the product's prices. The price is copied."
    )
    variation: Variation = Field(
        Decimal(0),
        description="A markup on the price in percent, or a discount if negative, within the product's limits: "
        f"-100 to 1,000,000. {_TEXT_OR_NUMBER}",
    )
    quantity: Quantity = 1
    """How many of the product; 1 by default."""
    value: Ignored = None
    price: Ignored = None
    name: Ignored = None
    sku: Ignored = None
    description: Ignored = None


class DealPriceRequest(Body):
    """A price of a product in one currency."""

    amount: Amount = Field(description=_TEXT_OR_NUMBER)
    currency: Annotated[Currency, BeforeValidator(_not_null)]
    """The currency (ISO 4217), which no other price of the product has."""


def _once_each(prices: list[DealPriceRequest]) -> list[DealPriceRequest]:
    if len({price.currency for price in prices}) < len(prices):
        raise PydanticCustomError("repeated", "Must have only one price per currency")
    return prices


Prices = Annotated[
    list[DealPriceRequest], BeforeValidator(_not_null), Field(max_length=MOST_PRICES), AfterValidator(_once_each)
]


class ProductAttributes(Attributes):
    """Attributes that a new product and a change have in common."""

    description: LongText | None = None
    """What the product is, also in several lines."""
    sku: Annotated[Text, Field(max_length=255)] | None = None
    """Your stock-keeping unit."""
    active: Annotated[bool, BeforeValidator(_not_null)] = Field(
        default=True, description="Whether line items can be added for the product."
    )
    max_discount: Discount | None = Field(
        None, description=f"The largest discount of a line item, in percent; null for no limit. {_ROUNDED}"
    )
    max_markup: Markup | None = Field(
        None, description=f"The largest markup of a line item, in percent; null for no limit. {_ROUNDED}"
    )
    cost: Amount | None = Field(None, description=_TEXT_OR_NUMBER)
    cost_currency: Currency | None = None
    """The currency of `cost` (ISO 4217)."""
    prices: Prices = Field(default_factory=list, description="One price per currency; a change replaces all prices.")

    def given(self) -> dict[str, Any]:
        """Return the attributes that were sent, for the domain."""
        sent = {name: getattr(self, name) for name in self.model_fields_set & {*NewProduct.__struct_fields__}}
        if "prices" in sent:
            prices = [Money(price.currency, price.amount) for price in self.prices]
            sent["prices"] = tuple(sorted(prices, key=lambda price: price.currency))
        return sent


class DealProductRequestData(ProductAttributes):
    """A product to be created."""

    name: Name
    """The product's name, not blank."""


class DealProductChangesData(ProductAttributes):
    """Changes to a product. Attributes that are not sent stay the same."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = ""
    """The product's name, not blank."""


class Envelope(Body, Generic[T]):
    """A request's body: its attributes are in `data`."""

    data: T
    """The attributes."""
    meta: Any = Field(None, description="Ignored.")


# Responses.


class DealMeta(TypedDict):
    """The type of the object."""

    type: Literal["order", "line_item", "product"]
    """What `data` is."""


class Times(TypedDict):
    """When a resource was created and last changed, in UTC."""

    created_at: ShownMoment
    updated_at: ShownMoment


class ShownDealOrder(TypedDict):
    """An order; `discount` is a percentage, times are UTC."""

    id: int
    """The order's id."""
    deal_id: int
    """The deal of the order."""
    discount: ShownDecimal
    """The discount on the whole order, in percent."""
    created_at: ShownMoment
    """When the order was created."""
    updated_at: ShownMoment
    """When the order was last changed."""


class DealLineItem(TypedDict):
    """A line item, with a copy of its product's data from when it was added. Decimals are strings."""

    id: int
    """The line item's id."""
    name: str
    """The product's name when the line item was added."""
    sku: str | None
    """The product's stock-keeping unit when the line item was added."""
    description: str | None
    """The product's description when the line item was added."""
    price: ShownAmount
    """The product's price in this currency when the line item was added."""
    currency: str
    """The currency of price and value (ISO 4217)."""
    variation: ShownAmount
    """The markup on the price in percent, or the discount if negative."""
    value: ShownAmount
    """The price of one after the variation, with two decimals."""
    quantity: int
    """How many of the product."""
    created_at: ShownMoment
    """When the line item was added."""
    updated_at: ShownMoment
    """The same time: a line item never changes."""


class DealPrice(TypedDict):
    """A price of a product in one currency; the amount is a string."""

    amount: ShownAmount
    """The price, a decimal as text."""
    currency: str
    """The currency (ISO 4217)."""


class ShownDealProduct(TypedDict):
    """A product. Limits are percentages, cost and amounts are strings, and prices are sorted by currency."""

    id: int
    """The product's id."""
    name: str
    """The product's name."""
    description: str | None
    """What the product is."""
    sku: str | None
    """Your stock-keeping unit."""
    active: bool
    """Whether line items can be added for the product."""
    max_discount: ShownDecimal | None
    """The largest discount of a line item, in percent; null for no limit."""
    max_markup: ShownDecimal | None
    """The largest markup of a line item, in percent; null for no limit."""
    cost: ShownAmount | None
    """What the product costs you, a decimal as text."""
    cost_currency: str | None
    """The currency of `cost` (ISO 4217)."""
    prices: list[DealPrice]
    """The product's prices, one for each currency."""
    created_at: ShownMoment
    """When the product was created."""
    updated_at: ShownMoment
    """When the product was last changed."""


class DealOrderEnvelope(TypedDict):
    """An order in its envelope."""

    data: ShownDealOrder
    meta: DealMeta


class DealLineItemEnvelope(TypedDict):
    """A line item in its envelope."""

    data: DealLineItem
    meta: DealMeta


class DealProductEnvelope(TypedDict):
    """A product in its envelope."""

    data: ShownDealProduct
    meta: DealMeta


class DealPageLinks(TypedDict, total=False):
    """Absolute links to this page and others. A link to a page that does not exist is absent."""

    self: str
    """This page."""
    first_page: str
    """The first page; absent on the first."""
    prev_page: str
    """The page before; absent on the first."""
    next_page: str
    """The page after; absent on the last."""


class DealListMeta(TypedDict):
    """The number of items on this page, and links to other pages."""

    type: Literal["collection"]
    """The type of the object."""
    count: int
    """The number of items on this page."""
    links: DealPageLinks


class DealOrderList(TypedDict):
    """A page of orders."""

    items: list[DealOrderEnvelope]
    """The orders of this page."""
    meta: DealListMeta


class DealLineItemList(TypedDict):
    """A page of an order's line items."""

    items: list[DealLineItemEnvelope]
    """The line items of this page."""
    meta: DealListMeta


class DealProductList(TypedDict):
    """A page of products."""

    items: list[DealProductEnvelope]
    """The products of this page."""
    meta: DealListMeta


# Conversions.


def id_in_path(kind: str, text: str) -> int:
    """Return an order's or a product's id from the path.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_number(text)) is None:
        raise NotFound(kind, text)
    return found


def line_item_id_in_path(text: str) -> int:
    """Return a line item's id from the path.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_number(text, LARGEST_SAFE_NUMBER)) is None:
        raise NotFound("line_item", text)
    return found


def reader_of(call: Call) -> str:
    """Return the user whose later pages continue the sort order of the first page."""
    return call.caller.user.id


def creation(
    call: Call,
    headers: CreateHeaders,
    body: BaseModel,
    show: Callable[[R], DealOrderEnvelope | DealLineItemEnvelope | DealProductEnvelope],
) -> Create[R]:
    """Return how a create is answered, and its idempotency key.

    Args:
        show: Converts the new resource to its envelope.
    """
    key = headers.idempotency_key
    once = IdempotencyKey(key, fingerprint(call.request.path.rstrip("/"), body)) if key is not None else None
    return Create(lambda made: encode(show(made)), once)


def created_envelope(placed: CreateResult) -> Tagged[Any]:
    """Build the response to a create, or to its replay, which shows the resource as it was when it was created."""
    return tagged(placed.answer, FIRST, headers=replayed_header(replayed=placed.replayed))


def one_order(one: DealOrder) -> Tagged[DealOrderEnvelope]:
    """Build the response with one order."""
    return tagged(order_envelope(one), one.version)


def one_line_item(one: LineItem) -> Tagged[DealLineItemEnvelope]:
    """Build the response with one line item, which never changes."""
    return tagged(line_item_envelope(one), FIRST)


def one_product(one: DealProduct) -> Tagged[DealProductEnvelope]:
    """Build the response with one product."""
    return tagged(product_envelope(one), one.version)


def order_envelope(one: DealOrder, *, listed: bool = False) -> DealOrderEnvelope:
    """Show an order, alone or in a list."""
    return {
        "data": {
            "id": one.id,
            "deal_id": one.deal_id,
            "discount": one.discount,
            **_times(one, listed=listed),
        },
        "meta": {"type": "order"},
    }


def line_item_envelope(one: LineItem, *, listed: bool = False) -> DealLineItemEnvelope:
    """Show a line item, alone or in a list."""
    return {
        "data": {
            "id": one.id,
            "name": one.name,
            "sku": one.sku,
            "description": one.description,
            "price": money.format_amount(one.price),
            "currency": one.currency,
            "variation": money.format_amount(one.variation),
            "value": money.format_amount(one.value),
            "quantity": one.quantity,
            **_times(one, listed=listed),
        },
        "meta": {"type": "line_item"},
    }


def product_envelope(one: DealProduct, *, listed: bool = False) -> DealProductEnvelope:
    """Show a product, alone or in a list."""
    return {
        "data": {
            "id": one.id,
            "name": one.name,
            "description": one.description,
            "sku": one.sku,
            "active": one.active,
            "max_discount": one.max_discount,
            "max_markup": one.max_markup,
            "cost": None if one.cost is None else money.format_amount(one.cost),
            "cost_currency": one.cost_currency,
            "prices": [
                {"amount": money.format_amount(price.value), "currency": price.currency} for price in one.prices
            ],
            **_times(one, listed=listed),
        },
        "meta": {"type": "product"},
    }


def orders(call: Call, query: OrderQuery, part: ListPart[DealOrder]) -> DealOrderList:
    """Show a page of orders."""
    return {"items": [order_envelope(one, listed=True) for one in part.items], "meta": _collection(call, query, part)}


def line_items(call: Call, query: LineItemQuery, part: ListPart[LineItem]) -> DealLineItemList:
    """Show a page of an order's line items."""
    return {
        "items": [line_item_envelope(one, listed=True) for one in part.items],
        "meta": _collection(call, query, part),
    }


def products(call: Call, query: ProductQuery, part: ListPart[DealProduct]) -> DealProductList:
    """Show a page of products."""
    return {"items": [product_envelope(one, listed=True) for one in part.items], "meta": _collection(call, query, part)}


def new_line(body: DealLineItemRequestData, found: DealProduct | None) -> NewLine:
    """Convert a new line item to the domain's.

    Raises:
        Invalid: The product does not exist, is inactive, or does not allow the currency or the variation.
    """
    if found is None or not found.active:
        raise Invalid([_fault("product_id", "incorrect_value", "The account has no active product with this id.")])
    price = found.price_in(body.currency)
    faults = list(_beyond_limits(body.variation, found))
    if price is None:
        detail = f"The product has no price in {body.currency}."
        raise Invalid([_fault("currency", "incorrect_value", detail), *faults])
    if faults:
        raise Invalid(faults)
    return NewLine(found, price, body.currency, body.variation, body.quantity)


def _beyond_limits(variation: Decimal, found: DealProduct) -> Iterator[Fault]:
    if found.max_discount is not None and -variation > found.max_discount:
        yield _fault(
            "variation", "incorrect_value", f"The product allows a discount of at most {found.max_discount:f} percent."
        )
    if found.max_markup is not None and variation > found.max_markup:
        yield _fault(
            "variation", "incorrect_value", f"The product allows a markup of at most {found.max_markup:f} percent."
        )


def _fault(name: str, code: str, detail: str) -> Fault:
    return Fault("body", ("data", name), code, detail)


def _times(one: DealOrder | LineItem | DealProduct, *, listed: bool) -> Times:
    """Show the times in the reference's order, which is another in lists."""
    created, updated = _instant(one.created), _instant(one.updated)
    if listed:
        return {"created_at": created, "updated_at": updated}
    return {"updated_at": updated, "created_at": created}


def _instant(instant: Any) -> str:
    return clock.without_zone(instant, "seconds") + "Z"


def _collection(call: Call, query: SortedListQuery, part: ListPart[Any]) -> DealListMeta:
    def link(page: int) -> str:
        filters = {name: values for name, values in call.request.query.items() if name not in {"page", "per_page"}}
        parameters = urlencode({"page": page, "per_page": query.per_page, **filters}, doseq=True, errors="replace")
        return f"{call.request.origin}{call.request.link(call.request.path)}?{parameters}"

    links: DealPageLinks = {"self": link(query.page)}
    if query.page > 1:
        links["first_page"] = link(1)
        links["prev_page"] = link(query.page - 1)
    if part.more:
        links["next_page"] = link(query.page + 1)
    return {"type": "collection", "count": len(part.items), "links": links}


# The contract, and its errors.


class _Deals:
    """The contract, for the adapter."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({"Content-Language": "en", "Vary": "Content-Language"})
    content_type = "application/json; charset=utf-8"
    errors = ERRORS
    document = ContractDocument(
        "Deal orders",
        "`/v2`: the orders of a CRM's deals, their line items, and the products of the line items.",
        {
            "Deal orders": "Orders of a CRM account, at most one for each deal.",
            "Deal line items": "The products of an order, with quantities and prices.",
            "Deal products": "The products that line items refer to.",
        },
        counted=("RateLimit", "RateLimit-Policy"),
        ids={
            "order_id": (A_NUMBER, "The `id` of an order of the account."),
            "id": (
                A_NUMBER,
                "The `id` of the resource: an order or product of the account, or a line item of the order.",
            ),
        },
    )
    body = staticmethod(read_exact_body)

    def admit(self, call: Call) -> None:
        """Admit accounts on the Enterprise plan; if changes are disabled, only GET and HEAD."""
        terms = call.caller.deals
        if NAME not in call.caller.grants or terms is None:
            raise InsufficientScope(
                "insufficient_scope", "This account does not have the grant for deal orders. Ask support for it."
            )
        if terms.plan != "enterprise":
            detail = (
                "Orders, line items and products are available on the Enterprise plan only. Upgrade the account first."
            )
            raise Forbidden("plan_required", detail)
        if terms.changes_disabled and call.request.method not in {"GET", "HEAD"}:
            detail = (
                "An administrator disabled changes, so the account is read-only. Ask the administrator to enable "
                "changes."
            )
            raise Forbidden("changes_disabled", detail)
        if not accepts_json(call.request.headers.get("accept")):
            raise NotAcceptable("Responses are JSON. Send 'Accept: application/json'.")

    def owner(self, call: Call, query: Any) -> str:  # noqa: ARG002 - the same signature in every contract
        """Return the account of a call."""
        return call.caller.partner

    def refuse(self, error: Exception, request: Request) -> Answer[DealErrors]:
        """Convert an error to the contract's error envelope."""
        if isinstance(error, Invalid):
            return _invalid(request, error.faults)
        found = ERRORS.answer(error)
        if isinstance(error, (NotFound, VersionMismatch)) and error.kind in RESOURCES:
            kind = cast("DealResource", error.kind)
            return _errors(request, found.status, [_error(request, found.code, found.detail, kind)], found.headers)
        if isinstance(error, (NoSuchPath, MethodNotAllowed)):
            detail = f"Requested path at '{request.path}' was not found using the HTTP method '{request.method}'."
            return _refused(request, found.status, found.code, detail, found.headers)
        if isinstance(error, DealTaken):
            return _resource_errors(request, found.status, [(_fault("deal_id", "", found.detail), found.code)])
        # `switched-off`, for instance, is not a code of this contract.
        code = found.code if found.code in MESSAGES else "insufficient_scope"
        return _refused(request, found.status, code, found.detail, found.headers)


CONTRACT = _Deals()


def _invalid(request: Request, faults: Sequence[Fault]) -> Answer[DealErrors]:
    """Report faults outside the body; if there are none, the body's as a whole; else those of its attributes."""
    outside = [fault for fault in faults if fault.part != "body"]
    if outside:
        codes = {"query": "invalid_param", "header": "invalid_header"}
        return _errors(request, 400, [_error(request, codes[fault.part], _of_parameter(fault)) for fault in outside])
    whole = [fault for fault in faults if len(fault.place) < 2 or fault.place[0] != "data"]
    if any(fault.code in {"malformed_json", "required"} and not fault.place for fault in whole):
        return _refused(request, 400, "invalid_payload", f'{whole[0].detail} Send {{"data": {{…}}}}.')
    if whole:
        detail = (
            'The body must be an object with the attributes in "data": {"data": {…}}. Only "meta" is allowed '
            'beside "data".'
        )
        return _refused(request, 422, "incorrect_payload", detail)
    return _resource_errors(request, 422, [(fault, _code(fault)) for fault in faults])


def _of_parameter(fault: Fault) -> str:
    if fault.code == "unknown_parameter":
        return fault.detail
    return f"'{fault.place[0]}': {fault.detail}"


def _code(fault: Fault) -> str:
    return _CODES.get(fault.code, "incorrect_value")


_CODES = {
    "blank": "blank",
    "invalid_type": "invalid_type",
    "required": "missing",
    "unknown_field": "unknown",
}


def _resource_errors(request: Request, status: int, faults: Iterable[tuple[Fault, str]]) -> Answer[DealErrors]:
    resource = resource_of(request.path)
    errors = [
        _error(
            request,
            code,
            "This field is required." if code == "missing" else fault.detail,
            resource,
            pointer(fault.place),
        )
        for fault, code in itertools.islice(faults, MOST_FAULTS)
    ]
    return _errors(request, status, errors)


def resource_of(path: str) -> DealResource:
    """Return the type of resource at a path."""
    match path.split("/")[2:]:
        case ["products", *_]:
            return "product"
        case ["orders", _, "line_items", *_]:
            return "line_item"
    return "order"


def _refused(
    request: Request, status: int, code: str, details: str, headers: Mapping[str, str] | None = None
) -> Answer[DealErrors]:
    return _errors(request, status, [_error(request, code, details)], headers)


def _error(
    request: Request,
    code: str,
    details: str,
    resource: DealResource | None = None,
    field: str | None = None,
) -> DealErrorEnvelope:
    place: DealError = {"resource": resource} if resource else {}
    if field is not None:
        place["field"] = field
    return {
        "error": {**place, "code": code, "message": MESSAGES[code], "details": details},
        "meta": {"type": "error", "links": {"more_info": more_info(request, code)}},
    }


def more_info(request: Request, code: str) -> str:
    """Return the address of a kind of error in the guide to errors."""
    return error_guide(request, f"deal-{code.replace('_', '-')}")


def _errors(
    request: Request, status: int, errors: list[DealErrorEnvelope], headers: Mapping[str, str] | None = None
) -> Answer[DealErrors]:
    meta: DealErrorsMeta = {
        "type": "errors",
        "http_status": STATUSES[status],
        "logref": request.id,
        "links": {"more_info": more_info(request, errors[0]["error"]["code"])},
    }
    return Answer(status, {"errors": errors, "meta": meta}, headers or {})
