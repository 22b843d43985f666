"""The shapes of an e-card order and of its mails in events.

The schemas in docs/events are made of it. They leave room for more properties.
"""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.ecards.statuses import EcardStatus
from ordering.events.shapes import Amount, Count, Instant, MailData, Uuid


class EcardMoment(TypedDict):
    """The time at which an order got a status."""

    status: EcardStatus
    at: Instant


class ParticipantData(TypedDict):
    """The person who gets the certificates."""

    email: str
    name: str
    phone: str


class EcardLine(TypedDict):
    """One card of the order; the price is the unit price."""

    cardId: Count
    name: str
    faceValue: str
    quantity: Count
    price: Amount


class Ecards(TypedDict):
    """An e-card order right after the change of status, without its certificates."""

    id: Uuid
    number: Count
    participant: ParticipantData
    login: str
    total: Amount
    quantity: Count
    created: Instant
    status: EcardStatus
    history: list[EcardMoment]
    lines: list[EcardLine]
    lineCount: int


class EcardData(TypedDict):
    """The partner and the order."""

    partner: str
    order: Ecards


class MailedEcards(TypedDict):
    """The order that a mail belongs to."""

    id: Uuid
    number: Count


class EcardMailData(TypedDict):
    """The partner, the order, and a mail with certificates of it."""

    partner: str
    order: MailedEcards
    mail: MailData
