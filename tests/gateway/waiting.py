"""Waiting for asynchronous results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


_FIRST_PAUSE_SECONDS = 0.05


def eventually(
    check: Callable[[], T],
    seconds: float = 60,
    pause: float | None = None,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Call `check` until it returns a true value or the time in seconds is up; returns its last value.

    The time begins again whenever `progress` returns another value, so that much work may take long on a slow machine.

    Args:
        pause: Seconds between two calls; by default they grow with the time waited, because most calls are requests.
    """
    began = time.monotonic()
    deadline, before = began + seconds, progress()
    while not (found := check()) and time.monotonic() < deadline:
        if (now := progress()) != before:
            deadline, before = time.monotonic() + seconds, now
        time.sleep(max(_FIRST_PAUSE_SECONDS, (time.monotonic() - began) / 20) if pause is None else pause)
    return found
