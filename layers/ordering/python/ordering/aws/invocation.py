"""A function's invocation: the time that it has left."""

from __future__ import annotations

from typing import Protocol

from ordering.aws.calls import LONGEST_CALL
from ordering.clock import Deadline

MARGIN = LONGEST_CALL + 0.2
"""Seconds before the function's timeout at which no call is begun any more: one just begun can end and be logged."""


class Context(Protocol):
    """The part of Lambda's context that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function's timeout."""


def deadline_of(context: Context) -> Deadline:
    """Return the time by which the last call to a service must begin."""
    return Deadline.after(context.get_remaining_time_in_millis() / 1000 - MARGIN)
