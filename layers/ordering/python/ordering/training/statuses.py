"""Statuses of a training order and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from ordering.book.lifecycle import Actor, Lifecycle, moves
from ordering.events.types import types_of


class TrainingStatus(StrEnum):
    """Statuses of a training order, by their published names."""

    NEW = "New"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


_NEW, _COMPLETED = TrainingStatus.NEW, TrainingStatus.COMPLETED

TRAINING = Lifecycle(
    TrainingStatus,
    moves(
        (None, _NEW, Actor.PARTNER, "an order is placed"),
        (_NEW, _COMPLETED, Actor.SYSTEM, "its keys are issued"),
        (_NEW, TrainingStatus.CANCELLED, Actor.SUPPORT, "support cancels before keys are issued"),
    ),
)

EVENT_KIND = "training_order"
"""The kind of order in the types of events."""

EVENT_TYPES = types_of(EVENT_KIND, TrainingStatus)
"""The types of events, with the status that each is about."""
