"""A part of a list, with its exact total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from ordering.values import Value

T = TypeVar("T")


class Listing(Value, Generic[T]):
    """A part of a list, and how many there are in all."""

    items: Sequence[T]
    total: int
