"""Versions: a change of an order or a product can be bound to the version that its caller has read.

Each change raises the version of the resource. One that was never changed has `FIRST`, so creates and their replays
know it without reading. The condition of the write itself compares versions: of two changes that expect the same one,
one takes effect. This costs no further call to DynamoDB and no further unit.

A version is never used twice: a change that names no version and whose response is lost can be applied again after
another one, and then it has another version than the first time.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from ordering.aws.dynamodb import ConditionFailed, Item, Key, Table, Update
from ordering.book.orderbook import Guard
from ordering.errors import NotFound, VersionMismatch
from ordering.identifiers import canonical_number
from ordering.values import Value

FIRST = 1
"""The version of a resource that was not changed since its creation, or not since versions exist. Stored format."""

_CHANGES = "changes"
"""The attribute of an entry that counts the changes. Without it there were none."""

_CHANGER = "changer"
"""The attribute of an entry that names the last change, for its retry."""


class Versioned(Value):
    """A stored resource: the key of its entry, the entry's attribute that contains it, and its id.

    The attribute is named like the resource's kind.
    """

    key: Key
    kind: str
    id: int

    def change(self, table: Table, changes: Mapping[str, Any], expected: Collection[str] | None) -> Item:
        """Set attributes of the resource; returns its changed entry. One call.

        Args:
            changes: Attributes in their stored form.
            expected: The versions that may be changed, in decimal; None for any.

        Raises:
            NotFound: The entry does not contain the resource.
            VersionMismatch: The resource has another version.
        """
        changer = secrets.token_hex(8)
        names = {f"#set{number}": name for number, name in enumerate(changes)}
        guard = self.guard(expected)
        sets = ", ".join([f"{_CHANGER} = :changer", *(f"#part.{alias} = :{alias[1:]}" for alias in names)])
        update = Update(
            self.key,
            f"SET {sets} ADD {_CHANGES} :one",
            guard.condition,
            {**names, **guard.names},
            {
                ":changer": changer,
                ":one": 1,
                **{f":{alias[1:]}": changes[name] for alias, name in names.items()},
                **guard.values,
            },
        )
        try:
            return table.update(update)
        except ConditionFailed as failure:
            entry = failure.item or {}
            if self.kind not in entry:
                raise NotFound(self.kind, str(self.id)) from failure
            if entry.get(_CHANGER) != changer:
                raise VersionMismatch(self.kind, str(self.id)) from failure
            return entry  # an earlier attempt took effect; only its response was lost

    def guard(self, expected: Collection[str] | None) -> Guard:
        """Return the condition that the entry contains the resource, at one of the expected versions.

        Args:
            expected: Versions in decimal; texts that are none have no effect. None for any version.
        """
        names, exists = {"#part": self.kind}, "attribute_exists(#part)"
        if expected is None:
            return Guard(exists, names, {}, lambda _: None)
        versions = {number for text in expected if (number := canonical_number(text))}
        # No resource has 0 changes stored: the condition of a caller that expects none of the versions never holds.
        values = {f":expected{version}": version - FIRST for version in sorted(versions - {FIRST}) or [FIRST]}
        allowed = [f"{_CHANGES} = {alias}" for alias in values]
        if FIRST in versions:
            allowed.append(f"attribute_not_exists({_CHANGES})")

        def check(entry: Item) -> None:
            if version_of(entry) not in versions:
                raise VersionMismatch(self.kind, str(self.id))

        return Guard(f"{exists} AND ({' OR '.join(allowed)})", names, values, check)


def version_of(entry: Item) -> int:
    """Return the version of the resource in an entry."""
    changes: int = entry.get(_CHANGES, 0)
    return FIRST + changes
