"""E-card orders, `/v1`: the models of requests and responses, and how they map to the domain.

The shapes are those of the published reference and of its neighbouring pages. A rule that they do not state is this
API's own; the description of its field or operation documents it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering import clock
from ordering.book.listing import Listing
from ordering.ecards import catalogue as ecard_catalogue
from ordering.ecards.catalogue import Ecard, NotOnOffer, RequestedCard
from ordering.ecards.errors import CERTIFICATE_ERRORS, ERRORS, EcardError
from ordering.ecards.orders import EcardRequest, HandedCertificate
from ordering.ecards.records import EcardOrder, EcardSummary
from ordering.ecards.records import EcardParticipant as Recipient
from ordering.ecards.statuses import EcardStatus
from ordering.errors import (
    Fault,
    InsufficientScope,
    Invalid,
    NotFound,
)
from ordering.identifiers import LARGEST_NUMBER, canonical_uuid
from ordering.principal import Company
from ordering.web.documents import (
    A_UUID,
    ContractDocument,
    Documented,
    ShownAmount,
    ShownDecimal,
    ShownLocalMoment,
)
from ordering.web.http import (
    A_FILLED_LINE,
    A_FILLED_TEXT,
    INTEGRAL,
    Answer,
    Body,
    Call,
    EmailAddress,
    NoQuery,
    Request,
    Text,
    Uuid,
    WholeNumber,
    is_blank,
    read_body,
)

NAME = "ecards"
CERTIFICATES_GRANT = "ecard-certificates"
PAGE_SIZE = 20
CERTIFICATES_PAGE_SIZE = 100
"""Certificates on a page: one read of the table, and with the longest names and codes far from a response's 6 MB."""


# Requests. Unknown fields are ignored, as in the service that the reference describes.


class PageQuery(BaseModel):
    """The page of a list."""

    page: WholeNumber = Field(1, ge=1, le=LARGEST_NUMBER, description="The page to retrieve, 20 orders each.")

    @property
    def first(self) -> int:
        """Rank of the page's first order, from 0."""
        return (self.page - 1) * PAGE_SIZE


class CertificatePageQuery(BaseModel):
    """The page of an order's certificates."""

    page: WholeNumber = Field(1, ge=1, le=LARGEST_NUMBER, description="The page to retrieve, 100 certificates each.")

    @property
    def first(self) -> int:
        """Rank of the page's first certificate, from 0."""
        return (self.page - 1) * CERTIFICATES_PAGE_SIZE


def _filled(value: object) -> object:
    # An empty value counts as missing, as in the reference's error message.
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise PydanticCustomError("required", "This field is required")
    return value


_Filled = BeforeValidator(_filled)


class LenientBody(Body):
    """A request's body, or a part of it, whose unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


class EcardParticipantRequest(LenientBody):
    """The person who gets the certificates."""

    email: Annotated[EmailAddress, _Filled]
    """The participant's email address, which certificates are sent to."""
    name: Annotated[Text, Field(max_length=250), _Filled, Documented(A_FILLED_LINE)]
    """The participant's name."""
    phone: Annotated[Text, Field(max_length=32), _Filled, Documented(A_FILLED_LINE)]
    """The participant's phone number."""


def _number_or_text(value: object) -> object:
    if isinstance(value, str):
        if not re.fullmatch("[0-9]{1,10}", value, re.ASCII):
            raise PydanticCustomError("invalid_type", "Must be a whole number")
        return int(value)
    return value


class EcardOrderCardRequest(LenientBody):
    """One card to order."""

    id: Annotated[
        int,
        Field(ge=1, le=LARGEST_NUMBER),
        INTEGRAL,
        BeforeValidator(_number_or_text),
        _Filled,
    ] = Field(description="The id of a card in the company's catalogue. A numeric string is taken as well.")
    quantity: Annotated[int, Field(ge=1, le=1_000), INTEGRAL, _Filled]
    """How many of the card."""
    faceValue: Annotated[str, Field(max_length=250), _Filled, Documented(A_FILLED_TEXT)] = Field(
        description='The name of one of the card\'s face values, for instance "100 ₽".'
    )


class EcardOrderRequest(LenientBody):
    """An order to be created. A retry with the same body changes nothing and returns the order in its current state."""

    orderId: Annotated[Uuid, _Filled] = Field(
        description="The order's id: a UUID that the client generates, in upper or lower case."
    )
    participant: Annotated[EcardParticipantRequest, _Filled]
    """The person who gets the certificates."""
    ecards: Annotated[list[EcardOrderCardRequest], Field(min_length=1, max_length=100), _Filled]
    """The cards to order, 1 to 100."""

    def to_request(self) -> EcardRequest:
        """Convert the request to the domain's."""
        participant = Recipient(self.participant.email, self.participant.name, self.participant.phone)
        cards = [RequestedCard(card.id, card.faceValue, card.quantity) for card in self.ecards]
        return EcardRequest(self.orderId, participant, cards)


# Responses.


class EcardOrderListEntry(TypedDict):
    """An order as a list shows it; `createdDate` is UTC, with microseconds, without a time zone."""

    id: Uuid
    """The order's id, which the client generated."""
    number: int
    """The order's number, for people."""
    createdDate: ShownLocalMoment
    """When the order was created."""
    status: EcardStatus
    participantLogin: str
    """The participant's login: the email address, an underscore, and the company's name."""
    total: ShownDecimal
    """What the order costs, as it is debited from the balance."""


class EcardOrderList(TypedDict):
    """A page of orders, newest first."""

    data: list[EcardOrderListEntry]
    """The orders of this page."""
    totalPages: int
    """How many pages the list has."""
    currentPage: int
    """The number of this page, as requested; the first is 1."""
    pageSize: int
    """The number of orders on a full page."""


class ShownEcardParticipant(TypedDict):
    """The person who gets the certificates."""

    email: str
    name: str
    phone: str


class EcardOrderCard(TypedDict):
    """One card of an order; `price` is the unit price at the time of the order."""

    id: int
    """The id of the card."""
    quantity: int
    """How many of the card."""
    faceValue: str
    """The name of the card's face value."""
    price: ShownDecimal
    """The price of one, when it was ordered."""


class EcardOrderHistoryEntry(TypedDict):
    """The time at which an order got a status."""

    status: EcardStatus
    at: ShownLocalMoment
    """When the order got the status."""


class ShownEcardOrder(EcardOrderListEntry):
    """An order with all its details."""

    participant: ShownEcardParticipant
    ecards: list[EcardOrderCard]
    """The cards of the order."""
    history: list[EcardOrderHistoryEntry]
    """The statuses that the order has had, oldest first."""


class EcardOrderCurrentStatus(TypedDict):
    """The status of an order."""

    status: EcardStatus


class EcardCertificate(TypedDict):
    """A certificate: its card and face value as ordered, and the code that its participant redeems."""

    cardId: int
    """The id of the card."""
    name: str
    """The card's name."""
    faceValue: str
    """The name of the card's face value."""
    code: str
    """The code that the participant redeems. Keep it secret."""


class EcardCertificateList(TypedDict):
    """A page of the certificates that were handed over, in that order. More may follow while the order is delivered."""

    data: list[EcardCertificate]
    """The certificates of this page."""
    totalPages: int
    """How many pages the list has."""
    currentPage: int
    """The number of this page, as requested; the first is 1."""
    pageSize: int
    """The number of certificates on a full page."""


class EcardFaceValue(TypedDict):
    """A face value of a card, and its price, which may differ from the face value."""

    name: str
    """The name of the face value, by which it is ordered."""
    price: ShownDecimal
    """What one card of this face value costs."""


class ShownEcard(TypedDict):
    """A card that can be ordered."""

    id: int
    """The card's id, by which it is ordered."""
    name: str
    """The card's name."""
    description: str
    """What the card is for."""
    unit: Literal["ruble", "month"]
    """What face values count: roubles, or months of a subscription."""
    faceValues: list[EcardFaceValue]
    """The face values that can be ordered."""


class EcardBalance(TypedDict):
    """The company's balance: a decimal, as a string."""

    balance: ShownAmount
    """The balance in roubles, without decimals if it is a whole number, else with two."""


# Conversions.


def ecard_order_id_in_path(text: str) -> str:
    """Return an order's id from the path.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_uuid(text)) is None:
        raise NotFound("order", text)
    return found


def listed(one: EcardSummary | EcardOrder) -> EcardOrderListEntry:
    """Show an order in a list, and in the response to its creation."""
    return {
        "id": one.id,
        "number": one.number,
        "createdDate": _instant(one.created),
        "status": one.status,
        "participantLogin": one.login,
        "total": _plain(one.total),
    }


def ecard_order_list(query: PageQuery, listing: Listing[EcardSummary]) -> EcardOrderList:
    """Show a page of orders."""
    return {
        "data": [listed(one) for one in listing.items],
        "totalPages": -(-listing.total // PAGE_SIZE),
        "currentPage": query.page,
        "pageSize": PAGE_SIZE,
    }


def details(one: EcardOrder) -> ShownEcardOrder:
    """Show an order with all its details."""
    participant = one.participant
    return {
        **listed(one),
        "participant": {"email": participant.email, "name": participant.name, "phone": participant.phone},
        "ecards": [
            {
                "id": line.card_id,
                "quantity": line.quantity,
                "faceValue": line.face_value,
                "price": _plain(line.price),
            }
            for line in one.lines
        ],
        "history": [{"status": moment.status, "at": _instant(moment.at)} for moment in one.state.history],
    }


def status(one: EcardOrder) -> EcardOrderCurrentStatus:
    """Show the status of an order."""
    return {"status": one.status}


def certificate_list(query: CertificatePageQuery, listing: Listing[HandedCertificate]) -> EcardCertificateList:
    """Show a page of the certificates that were handed over."""
    return {
        "data": [
            {"cardId": one.card_id, "name": one.name, "faceValue": one.face_value, "code": one.code}
            for one in listing.items
        ],
        "totalPages": -(-listing.total // CERTIFICATES_PAGE_SIZE),
        "currentPage": query.page,
        "pageSize": CERTIFICATES_PAGE_SIZE,
    }


def ecards(cards: Iterable[Ecard]) -> list[ShownEcard]:
    """Show the cards of a catalogue."""
    return [
        {
            "id": card.id,
            "name": card.name,
            "description": card.description,
            "unit": card.unit,
            "faceValues": [{"name": value.name, "price": _plain(value.price)} for value in card.face_values],
        }
        for card in cards
    ]


def balance(amount: Decimal) -> EcardBalance:
    """Show a balance: without decimals if it is a whole number, else with two."""
    whole = amount == amount.to_integral_value()
    return {"balance": f"{amount:.0f}" if whole else f"{amount:.2f}"}


def _instant(instant: datetime) -> str:
    return clock.without_zone(instant, "microseconds")


def _plain(amount: Decimal) -> Decimal:
    return Decimal(f"{amount.normalize():f}")


# The contract, and its errors.


class _Ecards:
    """The contract, for the adapter."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({})
    content_type = "application/json"
    errors = ERRORS
    document = ContractDocument(
        "E-card orders",
        "`/v1`: a company's gift cards for participants of its programmes, paid from a balance. Its "
        "tokens come from `/connect/token`.",
        {
            "E-cards": "The cards that a company can order.",
            "E-card orders": "A company's orders of e-cards.",
            "E-card balance": "A company's balance, which pays for its orders.",
        },
        ids={"order_id": (A_UUID, "The `orderId` that the company sent to create the order.")},
    )
    body = staticmethod(read_body)

    def admit(self, call: Call) -> None:
        """Admit companies with the grant."""
        if NAME not in call.caller.grants or call.caller.company is None:
            raise InsufficientScope(
                "not-granted", "This company does not have the grant for e-card orders. Ask support for it."
            )

    def owner(self, call: Call, query: Any) -> Company:  # noqa: ARG002 - the same signature in every contract
        """Return the company of a call."""
        return Company(call.caller.partner, call.caller.company or "")

    def refuse(self, error: Exception, request: Request) -> Answer[EcardError]:  # noqa: ARG002 - the same signature in every contract
        """Convert an error to the contract's three fields."""
        match error:
            case Invalid():
                return _invalid(error.faults)
            case NotOnOffer():
                return _invalid([_not_on_offer(*one) for one in error.missing])
        found = self.errors.answer(error)
        return Answer(found.status, {"message": found.detail, "status": found.status, "errors": {}}, found.headers)


class _Certificates(_Ecards):
    """The contract's part for certificates: it needs a grant of its own, and no cache may store its responses."""

    headers: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})
    errors = CERTIFICATE_ERRORS

    def admit(self, call: Call) -> None:
        """Admit companies that also have the grant for certificates."""
        super().admit(call)
        if CERTIFICATES_GRANT not in call.caller.grants:
            raise InsufficientScope(
                "certificates-not-granted",
                "This token does not include the grant for certificates. Ask support for it.",
            )


CONTRACT = _Ecards()
CERTIFICATES = _Certificates()


def _invalid(faults: Sequence[Fault]) -> Answer[EcardError]:
    errors: dict[str, list[str]] = {}
    for fault in faults[:MOST_FAULTS]:
        errors.setdefault(path_of(fault.place), []).append(_message(fault))
    return Answer(400, {"message": "Invalid request", "status": 400, "errors": errors})


MOST_FAULTS = 1_000
"""The most faults in one response: a function's response is limited to 6 MB."""


def path_of(place: Sequence[str | int]) -> str:
    """Return the path of a fault, such as `Ecards[0].Quantity`; empty for the body as a whole."""
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{_pascal(part)}"
    return path


def _pascal(name: str) -> str:
    return name[:1].upper() + name[1:]


def _message(fault: Fault) -> str:
    if not fault.place:
        return fault.detail
    field = _pascal(str(fault.place[-1])) if isinstance(fault.place[-1], str) else path_of(fault.place)
    if fault.code == "required":
        return f"The {field} field is required."
    if fault.code == "unknown_parameter":
        return fault.detail
    return f"The {field} field is invalid. {fault.detail}"


def _not_on_offer(index: int, missing: ecard_catalogue.Missing) -> Fault:
    if missing == "card":
        return Fault(
            "body", ("ecards", index, "id"), "not_offered", "The company's catalogue does not contain this card."
        )
    detail = "The card has no face value with this name."
    return Fault("body", ("ecards", index, "faceValue"), "not_offered", detail)
