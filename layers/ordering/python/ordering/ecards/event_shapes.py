"""The shapes of an e-card order and of its mails in events.

The schemas in docs/events are made of it. They leave room for more properties.
"""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.ecards.statuses import EcardStatus
from ordering.events.shapes import Amount, Count, EventMail, Instant, Uuid


class EcardEventMoment(TypedDict):
    """The time at which an order got a status."""

    status: EcardStatus
    at: Instant


class EcardEventParticipant(TypedDict):
    """The person who gets the certificates."""

    email: str
    name: str
    phone: str


class EcardEventLine(TypedDict):
    """One card of the order; the price is the unit price."""

    cardId: Count
    name: str
    faceValue: str
    quantity: Count
    price: Amount


class EcardEventOrder(TypedDict):
    """An e-card order right after the change of status, without its certificates."""

    id: Uuid
    number: Count
    participant: EcardEventParticipant
    login: str
    total: Amount
    quantity: Count
    created: Instant
    status: EcardStatus
    history: list[EcardEventMoment]
    lines: list[EcardEventLine]
    lineCount: int


class EcardOrderEventData(TypedDict):
    """The partner and the order."""

    partner: str
    order: EcardEventOrder


class EcardMailedOrder(TypedDict):
    """The order that a mail belongs to."""

    id: Uuid
    number: Count


class EcardMailEventData(TypedDict):
    """The partner, the order, and a mail with certificates of it."""

    partner: str
    order: EcardMailedOrder
    mail: EventMail
