"""Time as the order API knows it: aware UTC instants, and the moment by which a request must be answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the present instant, aware and in UTC."""


_LENGTH = len("2023-04-21T12:49:24.761340Z")


def system_clock() -> datetime:
    """Tell the present instant by this machine's clock."""
    return datetime.now(UTC)


def to_text(instant: datetime) -> str:
    """Write an instant as it is stored: `2023-04-21T12:49:24.761340Z`, always with six decimals."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_text(text: str) -> datetime:
    """Read back what `to_text` wrote.

    Raises:
        ValueError: It is no such text.
    """
    # Twenty times as fast as strptime, and lists are full of instants; it reads other forms too.
    if len(text) != _LENGTH or text[10] != "T" or text[-1] != "Z":
        raise ValueError(f"{text!r} is no instant")
    return datetime.fromisoformat(text)


def whole_second(instant: datetime) -> datetime:
    """Return the beginning of an instant's second."""
    return instant.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, on the monotonic clock and in seconds, after which nothing more is tried for a request."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Set a deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Tell how many seconds are left; negative once it has passed."""
        return self.at - time.monotonic()
