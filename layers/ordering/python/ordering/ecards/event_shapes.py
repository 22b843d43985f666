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
    """When the order got the status."""


class EcardEventParticipant(TypedDict):
    """The person who gets the certificates."""

    email: str
    """The participant's email address."""
    name: str
    """The participant's name."""
    phone: str
    """The participant's phone number."""


class EcardEventLine(TypedDict):
    """One card of the order; the price is the unit price."""

    cardId: Count
    """The id of the card."""
    name: str
    """The card's name."""
    faceValue: str
    """The name of the card's face value."""
    quantity: Count
    """How many of the card."""
    price: Amount
    """The price of one."""


class EcardEventOrder(TypedDict):
    """An e-card order right after the change of status, without its certificates."""

    id: Uuid
    """The order's id."""
    number: Count
    """The order's number, for people."""
    participant: EcardEventParticipant
    login: str
    """The participant's login: the email address, an underscore, and the company's name."""
    total: Amount
    """What the order costs."""
    quantity: Count
    """How many certificates the order has."""
    created: Instant
    """When the order was created."""
    status: EcardStatus
    history: list[EcardEventMoment]
    """The statuses that the order has had, oldest first."""
    lines: list[EcardEventLine]
    """The cards, or the first ones of an order with very many."""
    lineCount: int
    """How many different cards the order has."""


class EcardOrderEventData(TypedDict):
    """The partner and the order."""

    partner: str
    """Your id."""
    order: EcardEventOrder


class EcardMailedOrder(TypedDict):
    """The order that a mail belongs to."""

    id: Uuid
    """The order's id."""
    number: Count
    """The order's number, for people."""


class EcardMailEventData(TypedDict):
    """The partner, the order, and a mail with certificates of it."""

    partner: str
    """Your id."""
    order: EcardMailedOrder
    mail: EventMail
