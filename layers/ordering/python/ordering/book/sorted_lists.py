"""Lists of a book in any order, by pages.

Oldest first, the book's own order, costs the same for every page. So does newest first: its first page remembers where
the book ended, so that orders placed later do not shift the further pages. In any other order the first page reads the
whole book, sorts it, and remembers the sequence for a minute; a further page reads only the part that it shows. The
items that have some values in their fields are listed in the same way, and at the same cost: the first page reads the
whole book, 100 read units for 1,000 entries of 400 bytes.

A reader that requests each page within that minute misses nothing and sees nothing twice: items added after the first
page are not shown, removed items are left out. A later request finds no sequence, and sorts the book again. (Sorted by
id in either direction, a removed item moves the items behind it up, as in any list by page numbers.)

Keys of the table: `SORTED#<book>#<hash of reader, order and values>` the sequence, in parts of 1,000 positions.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from ordering.aws.dynamodb import Item, Key, Table
from ordering.book.orderbook import OrderBook
from ordering.clock import Clock

T = TypeVar("T")

REMEMBERED = timedelta(seconds=60)
"""How long a sequence is remembered: enough for 600 pages at ten requests a second."""

_PART = 1_000
_DIGITS = 6
"""Stored format for as long as a sequence is remembered: positions in one item, and digits of its number."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """A field to sort by. Items without a value come first, or last when `descending`."""

    field: str
    descending: bool = False


OLDEST_FIRST = (SortKey("id"),)
NEWEST_FIRST = (SortKey("id", descending=True),)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """The requested part of a list: up to `count` items from rank `first` (from 0)."""

    first: int
    count: int
    order: tuple[SortKey, ...] = OLDEST_FIRST
    only: frozenset[int] | None = None
    """The ids to choose from; None for all."""
    where: tuple[tuple[str, Any], ...] = ()
    """Fields and the values that items have in them."""


@dataclass(frozen=True, slots=True)
class ListPart(Generic[T]):
    """A part of a list, and whether more items follow."""

    items: Sequence[T]
    more: bool


@dataclass(frozen=True, slots=True)
class SortedList(Generic[T]):
    """A book as one reader sees it.

    Args:
        read: Converts an entry to an item of the list.
        fields: The values by which items are sorted, by the names of their fields; ids ascend with the positions.
        reader: The user whose later pages continue the sort order of the first page.
        position: Returns an id's position in the book, 0 if it has none. By default an id is the position.
    """

    table: Table
    book: OrderBook
    name: str
    read: Callable[[Item], T]
    fields: Mapping[str, Callable[[T], Any]]
    reader: str
    now: Clock
    position: Callable[[int], int] = int

    def part(self, wanted: ListRequest) -> ListPart[T]:
        """Read a part of the list.

        Raises:
            Unavailable: The deadline passed.
        """
        order = decisive(wanted.order)
        if wanted.only is not None:
            return self._chosen(wanted, order, wanted.only)
        if wanted.where:
            return self._sorted(wanted, order)
        if order == OLDEST_FIRST:
            page = self.book.page(wanted.first, wanted.count)
            return ListPart(self._all(page.entries), more=page.total > wanted.first + wanted.count)
        if order == NEWEST_FIRST:
            return self._newest(wanted)
        return self._sorted(wanted, order)

    def _chosen(self, wanted: ListRequest, order: Sequence[SortKey], only: Iterable[int]) -> ListPart[T]:
        positions = sorted(position for one in only if (position := self.position(one)))
        chosen = self._sort(self._matching(self.book.find(positions).values(), wanted), order)
        return _slice(chosen, wanted)

    def _newest(self, wanted: ListRequest) -> ListPart[T]:
        memory = self._memory(NEWEST_FIRST)
        newest = memory.recall(0, 1) if wanted.first else None
        up_to = newest.positions[0] if newest else None
        page = self.book.page(wanted.first, wanted.count, newest_first=True, up_to=up_to)
        items = self._all(page.entries)
        more = page.total > wanted.first + wanted.count
        if not wanted.first:
            memory.keep([self._position(items[0])] if more else [])
        return ListPart(items, more)

    def _sorted(self, wanted: ListRequest, order: Sequence[SortKey]) -> ListPart[T]:
        memory = self._memory(order, wanted.where)
        if wanted.first and (recalled := memory.recall(wanted.first, wanted.count)):
            found = self.book.find(recalled.positions)
            items = self._matching((found[position] for position in recalled.positions if position in found), wanted)
            return ListPart(items, more=recalled.total > wanted.first + wanted.count)
        everything = self._sort(self._matching(self.book.walk(), wanted), order)
        part = _slice(everything, wanted)
        if not wanted.first or part.more:
            memory.keep([self._position(item) for item in everything] if part.more else [])
        return part

    def _sort(self, items: list[T], order: Sequence[SortKey]) -> list[T]:
        for by in reversed(order):
            value = self.fields[by.field]
            # Sorting is stable: where a more significant field is equal, this field's order remains.
            items.sort(key=lambda item, value=value: _comparable(value(item)), reverse=by.descending)  # type: ignore[misc] # a default binds early
        return items

    def _all(self, entries: Iterable[Item]) -> list[T]:
        return [self.read(entry) for entry in entries]

    def _matching(self, entries: Iterable[Item], wanted: ListRequest) -> list[T]:
        """Read the items that have the wanted values now; after the first page an item may have been changed."""
        items = self._all(entries)
        return [item for item in items if all(self.fields[name](item) == value for name, value in wanted.where)]

    def _position(self, item: T) -> int:
        return self.position(self.fields["id"](item))

    def _memory(self, order: Sequence[SortKey], where: Sequence[tuple[str, Any]] = ()) -> _Memory:
        values = [f"{name}={value!r}" for name, value in where]
        shape = " ".join([self.reader, *(f"{by.field}:{by.descending}" for by in order), *values])
        return _Memory(self.table, f"SORTED#{self.name}#{hashlib.sha256(shape.encode()).hexdigest()[:32]}", self.now)


@dataclass(frozen=True, slots=True)
class _Recalled:
    positions: Sequence[int]
    total: int


@dataclass(frozen=True, slots=True)
class _Memory:
    """One remembered sequence. All its parts carry its name, so that parts of two sequences are never mixed."""

    table: Table
    partition: str
    now: Clock

    def keep(self, positions: Sequence[int]) -> None:
        """Store a sequence in place of the previous one; without positions, only delete that one."""
        if not positions:
            self.table.delete_all([self._key(0)])
            return
        name = secrets.token_hex(8)
        expires = int((self.now() + REMEMBERED).timestamp())
        self.table.put_all(
            {
                "pk": self.partition,
                "sk": f"{number:0{_DIGITS}}",
                "name": name,
                "total": len(positions),
                "positions": struct.pack(f">{len(part)}I", *part),
                "expires": expires,
            }
            for number, part in enumerate(positions[start : start + _PART] for start in range(0, len(positions), _PART))
        )

    def recall(self, first: int, count: int) -> _Recalled | None:
        """Return the positions of some ranks; None unless all of them are stored and belong to one sequence."""
        parts = {0, *range(first // _PART, (first + count - 1) // _PART + 1)}
        found = self.table.batch_get([self._key(part) for part in sorted(parts)])
        head = found.get(self._key(0))
        if head is None or head["expires"] < self.now().timestamp():
            return None
        needed = [part for part in sorted(parts) if part * _PART < head["total"]]
        items = [found.get(self._key(part), {}) for part in needed]
        if any(item.get("name") != head["name"] for item in items):
            return None
        known = {
            part * _PART + index: position
            for part, item in zip(needed, items, strict=True)
            for index, (position,) in enumerate(struct.iter_unpack(">I", item["positions"]))
        }
        return _Recalled([known[rank] for rank in range(first, first + count) if rank in known], head["total"])

    def _key(self, part: int) -> Key:
        return self.partition, f"{part:0{_DIGITS}}"


def decisive(order: Iterable[SortKey]) -> tuple[SortKey, ...]:
    """Return a sort order without ties: it ends with the id, which is appended where it is missing."""
    kept: dict[str, SortKey] = {}
    for by in (*order, SortKey("id")):
        kept.setdefault(by.field, by)
        if by.field == "id":
            break
    return tuple(kept.values())


def _slice(items: Sequence[T], wanted: ListRequest) -> ListPart[T]:
    end = wanted.first + wanted.count
    return ListPart(items[wanted.first : end], more=len(items) > end)


def _comparable(value: Any) -> tuple[bool, Any]:
    return (False, ()) if value is None else (True, value)
