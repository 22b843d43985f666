"""Statuses of a training order and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from ordering.book.lifecycle import Actor, Lifecycle, moves


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
