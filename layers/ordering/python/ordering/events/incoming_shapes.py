"""What events that come in look like, and for what the codes in them are sealed.

Patterns say all that is asked of a text, so that the schemas in docs/events, which are made of these, take what is
taken. An event may have more properties than its schema names; nobody reads them.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from ordering.identifiers import LARGEST_NUMBER

VERSION = 1
"""Version of the schemas: raised by a change that producers would have to know of."""

PAYMENT = "ordering.payment.received"
STOCK = "ordering.stock.loaded"
CANCELLATION = "ordering.order.cancellation_requested"

_Uuid = Annotated[str, {"format": "uuid", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}]
_Instant = Annotated[
    str,
    {
        "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$",
    },
]
_Number = Annotated[int, {"minimum": 1, "maximum": LARGEST_NUMBER}]
_Company = Annotated[str, {"pattern": "^[0-9A-Za-z._-]{1,64}$", "description": "The company's id as a partner."}]
_Name = Annotated[str, {"minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]*$"}]
_Amount = Annotated[
    str,
    {
        "pattern": r"^(?=.*[1-9])((0|[1-9][0-9]{0,11})(\.[0-9]{1,2})?|1000000000000(\.0{1,2})?)$",
        "description": "More than 0, at most 1000000000000, with up to two decimals.",
    },
]


class PaymentReceived(TypedDict):
    """A company has paid in. The same operation again changes nothing; with another amount it is refused."""

    company: _Company
    operation: Annotated[_Name, {"description": "The payer's own name for this payment."}]
    amount: _Amount


class StockLoaded(TypedDict):
    """Certificates have arrived. The same batch again changes nothing; with other codes it is refused."""

    cardId: _Number
    faceValue: Annotated[_Name, {"description": "Its name, for instance 100 ₽."}]
    batch: Annotated[_Name, {"description": "The producer's own name for these certificates."}]
    codes: Annotated[
        str,
        {
            "pattern": "^[A-Za-z0-9+/]+={0,2}$",
            "contentEncoding": "base64",
            "description": "A JSON list of different texts, sealed as docs/events.md says.",
        },
    ]


class TrainingOrderNamed(TypedDict):
    """A training order."""

    kind: Annotated[str, {"const": "training"}]
    id: _Number


class EcardOrderNamed(TypedDict):
    """A company's e-card order."""

    kind: Annotated[str, {"const": "ecards"}]
    company: _Company
    id: _Uuid


class CancellationRequested(TypedDict):
    """An order is to be cancelled. One that is cancelled already stays so; one that cannot be any more is refused."""

    order: TrainingOrderNamed | EcardOrderNamed


class IncomingEnvelope(TypedDict):
    """An event that comes in. It may come more than once, in any order with others."""

    id: _Uuid
    type: str
    version: Annotated[int, {"const": VERSION}]
    time: _Instant
    data: PaymentReceived | StockLoaded | CancellationRequested


SHAPES: dict[str, type] = {PAYMENT: PaymentReceived, STOCK: StockLoaded, CANCELLATION: CancellationRequested}
"""What the data of each type is."""


def sealing_context(card_id: int, face_value: str, batch: str) -> bytes:
    """Return what the codes of a batch are sealed for, so that sealed for another card or batch they do not open."""
    # A name has no line breaks, so what stands here can be read in one way only.
    return "\n".join((STOCK, str(card_id), face_value, batch)).encode()
