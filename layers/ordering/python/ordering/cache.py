"""A bounded cache whose values expire, for data that a warm process keeps between requests."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values by key, each with a time to live. A full cache drops the value that was put first.

    Args:
        ttl: Seconds from the read of a value until it expires; by default it never does.
        size: The most values that are kept.
        seconds: Returns the monotonic time in seconds.
    """

    def __init__(
        self, ttl: float = math.inf, size: int = 1_000, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl = ttl
        self._size = size
        self._seconds = seconds
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return the value of a key; None if there is none or it has expired."""
        found = self._kept.get(key)
        return found[1] if found and self._seconds() - found[0] < self._ttl else None

    def put(self, key: K, value: V) -> None:
        """Keep a value from now on."""
        self._put(key, value, self._seconds())

    def read(self, key: K, read: Callable[[], V], *, ttl: float | None = None) -> V:
        """Return the value of a key; calls `read` if there is none or it has expired. A failed read stores nothing.

        Args:
            ttl: A shorter time to live, for this call.
        """
        now = self._seconds()
        found = self._kept.get(key)
        if found and now - found[0] < (self._ttl if ttl is None else ttl):
            return found[1]
        value = read()
        self._put(key, value, now)
        return value

    def drop(self, key: K) -> None:
        """Remove the value of a key, if there is one."""
        self._kept.pop(key, None)

    def _put(self, key: K, value: V, at: float) -> None:
        self._kept.pop(key, None)
        self._kept[key] = at, value
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
