"""Waiting for asynchronous results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], seconds: float = 30, pause: float = 0.05) -> T:
    """Call `check` until it returns a true value or the time in seconds is up; returns its last value."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(pause)
    return found
