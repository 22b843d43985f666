"""A part of a list, with its exact total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A part of a list, and how many there are in all."""

    items: Sequence[T]
    total: int
