"""The shape of an e-card order in events.

The schemas in docs/events are made of it. They leave room for more properties.
"""

from __future__ import annotations

from typing import TypedDict

from ordering.ecards.statuses import EcardStatus
from ordering.events.shapes import Amount, Count, Instant, Uuid


class EcardMoment(TypedDict):
    """When an order came to a status."""

    status: EcardStatus
    at: Instant


class ParticipantData(TypedDict):
    """Who gets the certificates."""

    email: str
    name: str
    phone: str


class EcardLine(TypedDict):
    """One thing as it was ordered; the price is that of one."""

    cardId: Count
    name: str
    faceValue: str
    quantity: Count
    price: Amount


class Ecards(TypedDict):
    """An e-card order as it was right after the move, without its certificates."""

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
    """Whose order it is, and the order."""

    partner: str
    order: Ecards
