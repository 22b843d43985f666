"""A function's invocation: how long there is to answer."""

from __future__ import annotations

from typing import Protocol

from ordering.aws.dynamodb import LONGEST_CALL
from ordering.clock import Deadline

MARGIN = LONGEST_CALL + 0.2
"""Seconds before a function is stopped at which nothing more is begun: a call just begun can still end, and be told."""


class Context(Protocol):
    """What is needed of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long the function may still run."""


def deadline_of(context: Context) -> Deadline:
    """Return the moment by which the last call to a service must begin."""
    return Deadline.after(context.get_remaining_time_in_millis() / 1000 - MARGIN)
