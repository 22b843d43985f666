"""Revisions: a change of an order or a product can be bound to the state that its caller has read.

Each change gives the resource a new, random revision. A resource that was never changed has `UNCHANGED`, so creates and
their replays know it without reading. The condition of the write itself compares revisions: of two changes that expect
the same one, one takes effect. This costs no further call to DynamoDB and no further unit.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ordering.aws.dynamodb import ConditionFailed, Item, Key, Table, Update
from ordering.book.orderbook import Guard
from ordering.errors import NotFound, VersionMismatch

UNCHANGED = "1"
"""The revision of a resource that was not changed since its creation, or not since revisions exist. Stored format."""

_REVISION = "revision"


@dataclass(frozen=True, slots=True)
class Revised:
    """A stored resource: the key of its entry, the entry's attribute that contains it, and its id.

    The attribute is named like the resource's kind.
    """

    key: Key
    kind: str
    id: int

    def change(self, table: Table, changes: Mapping[str, Any], expected: Collection[str] | None) -> Item:
        """Set attributes of the resource; returns its changed entry. One call.

        Args:
            changes: At least one attribute, in its stored form.
            expected: The revisions that may be changed; None for any.

        Raises:
            NotFound: The entry does not contain the resource.
            VersionMismatch: The resource has another revision.
        """
        revision = secrets.token_hex(8)
        after = {**changes, _REVISION: revision}
        names = {f"#set{number}": name for number, name in enumerate(after)}
        guard = self.guard(expected)
        update = Update(
            self.key,
            "SET " + ", ".join(f"#part.{alias} = :{alias[1:]}" for alias in names),
            guard.condition,
            {**names, **guard.names},
            {**{f":{alias[1:]}": after[name] for alias, name in names.items()}, **guard.values},
        )
        try:
            return table.update(update)
        except ConditionFailed as failure:
            entry = failure.item or {}
            if self.kind not in entry:
                raise NotFound(self.kind, str(self.id)) from failure
            if entry[self.kind].get(_REVISION) != revision:
                raise VersionMismatch(self.kind, str(self.id)) from failure
            return entry  # an earlier attempt took effect; only its response was lost

    def guard(self, expected: Collection[str] | None) -> Guard:
        """Return the condition that the entry contains the resource, at one of the expected revisions."""
        names, exists = {"#part": self.kind}, "attribute_exists(#part)"
        if expected is None:
            return Guard(exists, names, {}, lambda _: None)
        values = {f":expected{number}": revision for number, revision in enumerate(sorted(expected) or [""])}
        allowed = [f"#part.{_REVISION} = {alias}" for alias in values]
        if UNCHANGED in expected:
            allowed.append(f"attribute_not_exists(#part.{_REVISION})")
        return Guard(f"{exists} AND ({' OR '.join(allowed)})", names, values, self._check(expected))

    def _check(self, expected: Collection[str]) -> Any:
        def check(entry: Item) -> None:
            if entry[self.kind].get(_REVISION, UNCHANGED) not in expected:
                raise VersionMismatch(self.kind, str(self.id))

        return check
