"""What a warm process remembers."""

import time
from collections.abc import Callable
from typing import Any


class Remembered:
    """A value that is read again after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._value: Any = None

    def read(self, anew: Callable[[], Any]) -> Any:
        """Return the value, read anew when it is too old."""
        now = time.monotonic()
        if now > self._until:
            self._value, self._until = anew(), now + self._seconds
        return self._value
