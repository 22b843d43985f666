"""Reads values from maps that another release may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ordering.values import Struct

T = TypeVar("T", bound=Struct)


def read(kind: type[T], stored: Mapping[str, Any]) -> T:
    """Return a value with the fields that a map has for it.

    During a deployment, and after a rollback, a release reads what a newer one has written. So entries that are not
    fields are ignored. Fields without an entry take their defaults.

    Raises:
        TypeError: The map lacks a field that has no default.
    """
    try:
        return kind(**stored)
    except TypeError:
        return kind(**{name: stored[name] for name in kind.__struct_fields__ if name in stored})
