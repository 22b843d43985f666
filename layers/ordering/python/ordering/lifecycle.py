"""Which statuses an order can have, and what may still be done with it."""

from __future__ import annotations

from enum import StrEnum


class TrainingStatus(StrEnum):
    """Statuses of a training order, by their published names."""

    NEW = "New"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


CANCELLED_FROM = frozenset({TrainingStatus.NEW})
"""From where support can cancel: once keys are issued, a seat cannot be taken back."""
