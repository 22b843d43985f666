"""Waiting for asynchronous results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    check: Callable[[], T], seconds: float = 60, pause: float = 0.05, progress: Callable[[], object] = lambda: None
) -> T:
    """Call `check` until it returns a true value or the time in seconds is up; returns its last value.

    The time begins again whenever `progress` returns another value, so that much work may take long on a slow machine.
    """
    deadline, before = time.monotonic() + seconds, progress()
    while not (found := check()) and time.monotonic() < deadline:
        if (now := progress()) != before:
            deadline, before = time.monotonic() + seconds, now
        time.sleep(pause)
    return found
