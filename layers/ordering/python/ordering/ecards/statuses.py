"""Statuses of an e-card order and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from ordering.book.lifecycle import Actor, Lifecycle, moves
from ordering.events.types import types_of


class EcardStatus(StrEnum):
    """Statuses of an e-card order, by their published names."""

    CREATED = "Created"
    PAYED = "Payed"
    READY = "ReadyForDelivery"
    PARTIALLY_DELIVERED = "PartiallyDelivered"
    AWAITING = "AwaitingCertificateAssignment"
    DELIVERED = "Delivered"
    CANCELLED = "Cancelled"


_CREATED, _PAYED, _AWAITING = EcardStatus.CREATED, EcardStatus.PAYED, EcardStatus.AWAITING
_READY, _PARTIALLY = EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED
_DELIVERED, _CANCELLED = EcardStatus.DELIVERED, EcardStatus.CANCELLED

ECARDS = Lifecycle(
    EcardStatus,
    moves(
        (None, _PAYED, Actor.PARTNER, "the balance covers the total and is debited"),
        (None, _CREATED, Actor.PARTNER, "the balance does not cover the total"),
        (_CREATED, _PAYED, Actor.SYSTEM, "the balance has come to cover the total and is debited"),
        (_PAYED, _READY, Actor.SYSTEM, "certificates for all its cards are assigned"),
        (_PAYED, _AWAITING, Actor.SYSTEM, "stock is short"),
        (_AWAITING, _READY, Actor.SYSTEM, "stock has arrived and all certificates are assigned"),
        (_READY, _PARTIALLY, Actor.DELIVERY, "some certificates are handed over"),
        (_READY, _DELIVERED, Actor.DELIVERY, "all certificates are handed over"),
        (_PARTIALLY, _PARTIALLY, Actor.DELIVERY, "some more certificates are handed over"),
        (_PARTIALLY, _DELIVERED, Actor.DELIVERY, "the last certificates are handed over"),
        *(
            (status, _CANCELLED, Actor.SUPPORT, "support cancels and what was debited is refunded")
            for status in (_CREATED, _PAYED, _AWAITING, _READY, _PARTIALLY)
        ),
    ),
)

EVENT_KIND = "ecard_order"
"""The kind of order in the types of events."""

EVENT_TYPES = types_of(EVENT_KIND, EcardStatus)
"""The types of events, with the status that each is about."""
