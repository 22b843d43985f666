"""Training orders, `/api/v2`: the models of requests and responses, and how they map to the domain.

The shapes are the published reference's, field for field and in its order. A rule that it does not
state is this API's own; the description of its field or operation documents it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering import clock
from ordering.addresses import LINK, link_uri
from ordering.book.idempotency import CreateResult, IdempotencyKey
from ordering.book.listing import Listing
from ordering.errors import Fault, Forbidden, InsufficientScope, Invalid, NotFound
from ordering.identifiers import LARGEST_NUMBER, canonical_number, canonical_uuid
from ordering.training import access_keys, catalogue
from ordering.training import orders as training_orders
from ordering.training.errors import ACCESS_KEY_ERRORS, ERRORS
from ordering.training.orders import (
    NotOffered,
    RequestedLine,
    TrainingOrder,
)
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
from ordering.web.documents import (
    A_NUMBER,
    A_UUID,
    ContractDocument,
    Documented,
    ShownDecimal,
    ShownLocalMoment,
    ShownMoment,
)
from ordering.web.http import (
    INTEGRAL,
    Answer,
    Body,
    Call,
    EmailAddress,
    Request,
    SelfLink,
    Text,
    Uuid,
    WholeNumber,
    read_body,
)
from ordering.web.idempotent_creates import CreateHeaders, fingerprint, replayed_header
from ordering.web.problems import Problem, invalid_request, problem

NAME = "training"
KEYS_GRANT = "training-keys"
"""The grant for reading access keys, in addition to the grant for training orders."""

S = TypeVar("S", "ShownTrainingOrder", "TrainingOrderCreated")


# Requests.


class UnitQuery(BaseModel):
    """The business unit of a call."""

    business_unit_id: Uuid | None = Field(
        None,
        alias="businessUnitId",
        description="The id of the business unit to query against. Required unless the token covers exactly one. The "
        "response is 404 if the token does not cover the unit, whether the unit exists or not.",
    )


class ListQuery(UnitQuery):
    """The page of a list."""

    page: WholeNumber = Field(1, alias="_page", ge=1, le=LARGEST_NUMBER, description="The page to get the results for.")
    page_size: WholeNumber = Field(
        10, alias="_pageSize", ge=1, le=500, description="The number of results to get per page."
    )

    @property
    def first(self) -> int:
        """Rank of the page's first entry, from 0."""
        return (self.page - 1) * self.page_size


def _http_address(text: str) -> str:
    # Empty as the other optional texts may be: no link.
    if text and link_uri(text) is None:
        raise PydanticCustomError(
            "invalid_format", "Must be an http or https URL with a host, such as https://example.com/feedback"
        )
    return text


class TrainingOrderItemRequest(Body):
    """One item to order. Optional fields may be left out or null."""

    featureSetId: Uuid = Field(description="A feature set of the business unit's catalogue.")
    quantity: Annotated[int, Field(ge=1, le=10_000), INTEGRAL] = Field(description="Number of seats.")
    sourceReference: Annotated[Text, Field(max_length=255)] | None = Field(None, description="Your own reference.")
    feedbackLinkUri: (
        Annotated[
            Text, Field(max_length=2_048), AfterValidator(_http_address), Documented({"pattern": f"^(?:{LINK})?$"})
        ]
        | None
    ) = Field(
        None,
        description="Where learners can leave feedback: an http or https URL with a host of up to 253 characters, "
        "without a user, blanks or backslashes. The host may also be an internationalized name. Empty means no link.",
    )
    feedbackLinkText: Annotated[Text, Field(max_length=255)] | None = Field(
        None, description="The text of the feedback link."
    )
    enableFeedbackLink: bool | None = Field(None, description="Whether learners see the link; default false.")
    achievementCode: Annotated[Text, Field(max_length=255)] | None = None
    """Your code for what a learner achieves."""


class TrainingOrderRequest(Body):
    """An order to be created. JSON types are strict, and an unknown field is an error."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"emailKeys": {"const": True}}},
            "then": {"required": ["contactEmail"], "properties": {"contactEmail": {"type": "string"}}},
        },
    )

    purchaseOrderReference: Text = Field(
        min_length=1, max_length=100, description="Your reference. Responses call it `purchasingOrderReference`."
    )
    emailKeys: bool = Field(description="Whether the access keys are mailed to `contactEmail` once issued.")
    contactEmail: EmailAddress | None = Field(
        None, validate_default=True, description="Required when `emailKeys` is true."
    )
    orderItems: list[TrainingOrderItemRequest] = Field(min_length=1, max_length=500)
    """What is ordered: 1 to 500 items."""

    @field_validator("contactEmail")
    @classmethod
    def _needed_to_mail_keys(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is None and info.data.get("emailKeys"):
            raise PydanticCustomError("required", "'contactEmail' is required when 'emailKeys' is true")
        return address

    def to_request(self) -> training_orders.TrainingRequest:
        """Convert the request to the domain's."""
        lines = [
            RequestedLine(
                feature_set_id=item.featureSetId,
                quantity=item.quantity,
                source_reference=item.sourceReference,
                feedback_link_uri=item.feedbackLinkUri,
                feedback_link_text=item.feedbackLinkText,
                enable_feedback_link=bool(item.enableFeedbackLink),
                achievement_code=item.achievementCode,
            )
            for item in self.orderItems
        ]
        return training_orders.TrainingRequest(self.purchaseOrderReference, self.emailKeys, self.contactEmail, lines)

    def fingerprint(self, unit: str) -> str:
        """Return a hash of the request's contents for a unit. Stored format."""
        return fingerprint(unit, self)


# Responses.


class TrainingNextLink(TypedDict, total=False):
    """A relative link to the next page, with the same query; absent on the last page."""

    next: str
    """The next page; it may be relative to the address of this one."""


class TrainingPageInfo(TypedDict):
    """The position of a page in its list."""

    pageCount: int
    """How many pages the list has."""
    totalItemCount: int
    """How many entries the list has."""
    pageNumber: int
    """The number of this page, as requested; the first is 1."""
    pageSize: int
    """The requested number of entries on a page."""
    hasPreviousPage: bool
    """Whether there is a page before this one."""
    hasNextPage: bool
    """Whether there is a page after this one."""
    isFirstPage: bool
    """Whether this is the first page of a list that is not empty."""
    isLastPage: bool
    """Whether this is the last page of a list that is not empty."""
    firstItemOnPage: int
    """The place in the list, from 1, of the page's first entry; 0 if the page is empty."""
    lastItemOnPage: int
    """The place in the list, from 1, of the page's last entry; 0 if the page is empty."""


class ShownTrainingProduct(TypedDict):
    """A product of the business unit's catalogue."""

    id: Uuid
    """The product's id."""
    code: str
    """The product's code, such as `AZ-300`."""
    name: str
    """The product's name."""
    courseIds: list[str]
    """The ids of the courses that the product consists of."""
    _links: SelfLink


class TrainingProductList(TypedDict):
    """A page of products, sorted by code, then name."""

    items: list[ShownTrainingProduct]
    """The products of this page."""
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


class TrainingPrice(TypedDict):
    """The price of one seat; `value` is a JSON number with exactly four decimals."""

    currency: str
    """The currency (ISO 4217)."""
    value: ShownDecimal
    """The price of one seat, with four decimals."""


class ShownTrainingFeatureSet(TypedDict):
    """A variant of a product that can be ordered, with its prices."""

    id: Uuid
    """The feature set's id, which orders name."""
    productId: Uuid
    """The id of its product."""
    name: str
    """The feature set's name."""
    courseAccessPeriodDays: int
    """For how many days a learner can use the course."""
    moduleSavePeriodDays: int
    """For how many days a learner's work on a module is kept."""
    prices: list[TrainingPrice]
    """The price of one seat in each currency."""
    _links: SelfLink


class TrainingFeatureSetList(TypedDict):
    """A page of feature sets, sorted by name."""

    items: list[ShownTrainingFeatureSet]
    """The feature sets of this page."""
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


class TrainingBusinessUnit(TypedDict):
    """The business unit, as orders show it."""

    name: str
    """The business unit's name."""


class TrainingUser(TypedDict):
    """The user whose token placed the order."""

    forename: str
    """The user's forename."""
    surname: str
    """The user's surname."""
    name: str
    """The user's full name."""
    userName: str
    """The user's email address."""


class TrainingOrderSource(TypedDict):
    """The channel that the order came through."""

    name: str
    """The channel's name."""
    invoiceable: bool
    """Whether orders of this channel are invoiced."""


class TrainingOrderListEntry(TypedDict):
    """An order as a list shows it; `created` is UTC, in milliseconds, without a time zone."""

    id: int
    """The order's id."""
    businessUnitId: Uuid
    """The id of the business unit that the order is for."""
    businessUnit: TrainingBusinessUnit
    createdByUserId: Uuid
    """The id of the user whose token placed the order."""
    createdByUser: TrainingUser
    orderSourceId: Uuid
    """The id of the channel that the order came through."""
    orderSource: TrainingOrderSource
    purchasingOrderReference: str
    """Your reference. The request calls it `purchaseOrderReference`."""
    contactForename: str
    """The forename of the order's contact; empty if the address is not that of a contact of the business unit."""
    contactSurname: str
    """The surname of the order's contact; empty if the forename is."""
    contactEmail: str
    """The address of the order's contact: the request's, or else the user's."""
    orderStatus: TrainingStatus
    created: ShownLocalMoment
    """When the order was placed."""
    editable: bool
    """Whether the order can be changed; an order of this API cannot."""
    cancellable: bool
    """Whether you can cancel the order; an order of this API only support can cancel."""
    _links: SelfLink


class TrainingOrderList(TypedDict):
    """A page of orders, oldest first. A page that was read does not change when orders are added."""

    items: list[TrainingOrderListEntry]
    """The orders of this page."""
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


class ShownTrainingOrder(TypedDict):
    """One order; `created` is UTC, in milliseconds, without a time zone."""

    id: int
    businessUnitId: Uuid
    createdByUserId: Uuid
    orderSourceId: Uuid
    purchasingOrderReference: str
    contactForename: str
    contactSurname: str
    contactEmail: str
    orderStatus: TrainingStatus
    created: ShownLocalMoment
    editable: bool
    cancellable: bool


class TrainingOrderCreated(TypedDict):
    """An order in the response to its creation; `created` is UTC, with seven decimals and a Z."""

    id: int
    businessUnitId: Uuid
    businessUnit: TrainingBusinessUnit
    createdByUserId: Uuid
    createdByUser: TrainingUser
    orderSourceId: Uuid
    purchasingOrderReference: str
    contactForename: str
    contactSurname: str
    contactEmail: str
    orderStatus: TrainingStatus
    created: ShownMoment
    editable: bool
    cancellable: bool
    _links: SelfLink


class TrainingOrderItem(TypedDict):
    """One item of an order; `id` counts from 1 within the order."""

    orderId: int
    """The id of the order."""
    id: int
    """The item's number within the order, from 1."""
    featureSetId: Uuid
    """The id of the feature set that was ordered."""
    quantity: int
    """The number of seats."""
    enableFeedbackLink: bool
    """Whether learners see the feedback link."""
    description: str
    """The name of the product, and in brackets that of the feature set."""
    _links: SelfLink


class TrainingOrderItemList(TypedDict):
    """A page of an order's items, sorted by id."""

    items: list[TrainingOrderItem]
    """The order's items on this page."""
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


class TrainingAccessKey(TypedDict):
    """The access key of a seat: `orderItemId` is its item's `id`, `seat` counts from 1 within the item."""

    orderId: int
    """The id of the order."""
    orderItemId: int
    """The `id` of the item that the seat belongs to."""
    seat: int
    """The number of the seat within its item, from 1."""
    key: str
    """The key that a learner enters to start the course. Keep it secret."""


class TrainingAccessKeyList(TypedDict):
    """A page of an order's access keys, sorted by item and seat."""

    items: list[TrainingAccessKey]
    """The access keys of this page."""
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


# Conversions.


def uuid_in_path(kind: str, text: str) -> str:
    """Return an id from the path in its canonical form.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_uuid(text)) is None:
        raise NotFound(kind, text)
    return found


def order_id_in_path(text: str) -> int:
    """Return an order's id from the path.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_number(text)) is None:
        raise NotFound("order", text)
    return found


def product(call: Call, one: catalogue.TrainingProduct) -> ShownTrainingProduct:
    """Show a product."""
    return {
        "id": one.id,
        "code": one.code,
        "name": one.name,
        "courseIds": list(one.course_ids),
        "_links": {"self": call.request.link(f"/api/v2/products/{one.id}")},
    }


def product_list(call: Call, query: ListQuery, listing: Listing[catalogue.TrainingProduct]) -> TrainingProductList:
    """Show a page of products."""
    return {"items": [product(call, one) for one in listing.items], **_paging(call, query, listing.total)}


def feature_set(call: Call, one: catalogue.TrainingFeatureSet) -> ShownTrainingFeatureSet:
    """Show a feature set."""
    return {
        "id": one.id,
        "productId": one.product_id,
        "name": one.name,
        "courseAccessPeriodDays": one.course_access_period_days,
        "moduleSavePeriodDays": one.module_save_period_days,
        "prices": [{"currency": price.currency, "value": price.value} for price in one.prices],
        "_links": {"self": call.request.link(f"/api/v2/products/{one.product_id}/feature_sets/{one.id}")},
    }


def feature_set_list(
    call: Call, query: ListQuery, listing: Listing[catalogue.TrainingFeatureSet]
) -> TrainingFeatureSetList:
    """Show a page of feature sets."""
    return {"items": [feature_set(call, one) for one in listing.items], **_paging(call, query, listing.total)}


def order(call: Call, one: TrainingOrder) -> ShownTrainingOrder:
    """Show one order."""
    return _only(ShownTrainingOrder, listed_order(call, one))


def listed_order(call: Call, one: TrainingOrder) -> TrainingOrderListEntry:
    """Show an order in a list: with all fields."""
    user, source = one.created_by, one.order_source
    return {
        "id": one.id,
        "businessUnitId": one.business_unit.id,
        "businessUnit": {"name": one.business_unit.name},
        "createdByUserId": user.id,
        "createdByUser": {
            "forename": user.forename,
            "surname": user.surname,
            "name": user.name,
            "userName": user.user_name,
        },
        "orderSourceId": source.id,
        "orderSource": {"name": source.name, "invoiceable": source.invoiceable},
        "purchasingOrderReference": one.reference,
        "contactForename": one.contact_forename,
        "contactSurname": one.contact_surname,
        "contactEmail": one.contact_email,
        "orderStatus": one.status,
        "created": clock.without_zone(one.created, "milliseconds"),
        "editable": one.editable,
        "cancellable": one.cancellable,
        "_links": {"self": _order_link(call, one.id)},
    }


def order_list(call: Call, query: ListQuery, listing: Listing[TrainingOrder]) -> TrainingOrderList:
    """Show a page of orders."""
    return {"items": [listed_order(call, one) for one in listing.items], **_paging(call, query, listing.total)}


def created_order(call: Call, one: TrainingOrder) -> TrainingOrderCreated:
    """Show an order that was just created."""
    created = clock.without_zone(one.created, "microseconds") + "0Z"
    return _only(TrainingOrderCreated, {**listed_order(call, one), "created": created})


def _only(shape: type[S], fields: Mapping[str, Any]) -> S:
    """Return the fields of a shape, in the shape's sequence."""
    return cast("S", {name: fields[name] for name in shape.__annotations__})


def created(call: Call, unit: str, placed: CreateResult) -> Answer[TrainingOrderCreated]:
    """Build the response to a create for a business unit, or to its replay."""
    location = _order_link(call, placed.resource_id)
    if len(call.caller.business_units) > 1:
        # Without the unit the order cannot be read. A create that reached this point has named one of the token's.
        location += f"?businessUnitId={unit}"
    return Answer(201, placed.answer, {"Location": location, **replayed_header(replayed=placed.replayed)})


def idempotency_key(headers: CreateHeaders, body: TrainingOrderRequest, unit: str) -> IdempotencyKey | None:
    """Return the idempotency key of a create; None if the caller sent none."""
    if headers.idempotency_key is None:
        return None
    return IdempotencyKey(headers.idempotency_key, body.fingerprint(unit))


def order_item_list(
    call: Call, query: ListQuery, order_id: int, listing: Listing[training_orders.OrderLine]
) -> TrainingOrderItemList:
    """Show a page of an order's items."""
    link: SelfLink = {"self": f"{_order_link(call, order_id)}/items"}
    items: list[TrainingOrderItem] = [
        {
            "orderId": order_id,
            "id": line.number,
            "featureSetId": line.feature_set_id,
            "quantity": line.quantity,
            "enableFeedbackLink": line.enable_feedback_link,
            "description": line.description,
            "_links": link,
        }
        for line in listing.items
    ]
    return {"items": items, **_paging(call, query, listing.total)}


def access_key_list(
    call: Call, query: ListQuery, order_id: int, listing: Listing[access_keys.IssuedKey]
) -> TrainingAccessKeyList:
    """Show a page of an order's access keys."""
    items: list[TrainingAccessKey] = [
        {"orderId": order_id, "orderItemId": one.line, "seat": one.seat, "key": one.key} for one in listing.items
    ]
    return {"items": items, **_paging(call, query, listing.total)}


class _Paging(TypedDict):
    _pageInfo: TrainingPageInfo
    _links: TrainingNextLink


def _paging(call: Call, query: ListQuery, total: int) -> _Paging:
    info = page_info(query.page, query.page_size, total)
    links: TrainingNextLink = {}
    if info["hasNextPage"]:
        links = {"next": call.request.link_with(_page=query.page + 1)}
    return {"_pageInfo": info, "_links": links}


def page_info(page: int, size: int, total: int) -> TrainingPageInfo:
    """Describe a page by the rules of X.PagedList, the .NET library whose fields these are.

    A page after the last, and any page of an empty list, is neither first nor last; its first and last items are 0.
    """
    count = -(-total // size)
    exists = page <= count
    first = (page - 1) * size + 1
    return {
        "pageCount": count,
        "totalItemCount": total,
        "pageNumber": page,
        "pageSize": size,
        "hasPreviousPage": exists and page > 1,
        "hasNextPage": exists and page < count,
        "isFirstPage": exists and page == 1,
        "isLastPage": exists and page == count,
        "firstItemOnPage": first if exists else 0,
        "lastItemOnPage": min(first + size - 1, total) if exists else 0,
    }


def _order_link(call: Call, order_id: int) -> str:
    return call.request.link(f"/api/v2/orders/{order_id}")


# The contract, and its errors.


class _Training:
    """The contract, for the adapter."""

    name = NAME
    query: type[BaseModel] = UnitQuery
    headers: Mapping[str, str] = MappingProxyType({})
    content_type = "application/json"
    errors = ERRORS
    document = ContractDocument(
        "Training orders",
        "`/api/v2`: order course access for your own customers. Find products and their feature "
        "sets, order seats, read the orders back, and get an access key for each seat once the order is `Completed`.",
        {
            "Training products": "The products of a business unit's catalogue.",
            "Training feature sets": "The variants of a product that can be ordered, with prices.",
            "Training orders": "Training orders of a business unit.",
            "Training order items": "The items of a training order.",
            "Training access keys": "The access keys of an order, one for each seat.",
        },
        created=("Location",),
        ids={
            "orderId": (A_NUMBER, "The `id` of an order of the business unit."),
            "productId": (A_UUID, "The `id` of a product of the business unit's catalogue."),
            "featureSetId": (A_UUID, "The `id` of a feature set of the product."),
        },
    )
    body = staticmethod(read_body)

    def admit(self, call: Call) -> None:
        """Admit partners with the grant, unless they pay by card (a rule of the reference)."""
        if NAME not in call.caller.grants:
            raise InsufficientScope(
                "not-granted", "This partner does not have the grant for training orders. Ask support for it."
            )
        if call.caller.payment_terms == "card":
            detail = "Clients with Card payment terms can not use this API. Ask support to change the payment terms."
            raise Forbidden("card-payment-terms", detail)

    def owner(self, call: Call, query: UnitQuery) -> str:
        """Return the id of the business unit of a call.

        Raises:
            Invalid: The parameter is missing, and the token does not cover exactly one unit.
            NotFound: The token does not cover the unit.
        """
        units = call.caller.business_units
        if query.business_unit_id is None:
            if len(units) != 1:
                detail = f"'businessUnitId' is required: the token covers {len(units)} business units."
                raise Invalid([Fault("query", ("businessUnitId",), "required", detail)])
            return units[0]
        if query.business_unit_id not in units:
            raise NotFound("business unit", query.business_unit_id)
        return query.business_unit_id

    def refuse(self, error: Exception, request: Request) -> Answer[Problem]:
        """Convert an error to a problem document (RFC 9457)."""
        match error:
            case Invalid():
                return invalid_request(request, _explained(error.faults))
            case NotOffered():
                return invalid_request(request, [_not_offered(index) for index in error.missing])
        return problem(request, self.errors.answer(error))


class _AccessKeys(_Training):
    """The contract's part for access keys: it needs a grant of its own, and no cache may store its responses."""

    headers: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})
    errors = ACCESS_KEY_ERRORS

    def admit(self, call: Call) -> None:
        """Admit partners that also have the grant for access keys."""
        super().admit(call)
        if KEYS_GRANT not in call.caller.grants:
            detail = "This token does not include the grant for access keys. Ask support for it."
            raise InsufficientScope("keys-not-granted", detail)


CONTRACT = _Training()
ACCESS_KEYS = _AccessKeys()


def _explained(faults: Sequence[Fault]) -> list[Fault]:
    """Explain a mistake that the contract invites: one field has different names in requests and responses."""
    detail = (
        "In requests this field is called 'purchaseOrderReference'. It is called 'purchasingOrderReference' only "
        "in responses."
    )
    return [
        replace(fault, detail=detail)
        if fault.code == "unknown_field" and fault.place[-1] == "purchasingOrderReference"
        else fault
        for fault in faults
    ]


def _not_offered(index: int) -> Fault:
    detail = "The business unit's catalogue does not contain this feature set."
    return Fault("body", ("orderItems", index, "featureSetId"), "not_offered", detail)
