"""Lists of a book in any order, by pages.

Oldest first, the book's own order, costs the same for every page. So does newest first: its first page remembers where
the book ended, so that orders placed later do not shift the further pages. In any other order the first page reads the
whole book, sorts it, and remembers the sequence for a minute; a further page reads only the part that it shows. The
items that have some values in their fields are listed in the same way, and at the same cost: the first page reads the
whole book, 100 read units for 1,000 entries of 400 bytes.

Of a long book the first page receives only the attributes that it sorts or filters by, keeps their values and the
positions, and reads the entries that it shows by their keys, as a further page does. A book that is too long for one
request is refused before it is read (`MOST_SORTED`).

A reader that requests each page within that minute misses nothing and sees nothing twice: items added after the first
page are not shown, removed items are left out. A later request finds no sequence, and sorts the book again. (Sorted by
id in either direction, a removed item moves the items behind it up, as in any list by page numbers.)

Keys of the table: `SORTED#<book>#<hash of reader, order and values>` the sequence, in parts of 950 positions.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

from ordering.aws.dynamodb import Item, Key, Table
from ordering.book.orderbook import OrderBook, position_of
from ordering.clock import Clock
from ordering.errors import OrderingError
from ordering.values import Value

T = TypeVar("T")

REMEMBERED = timedelta(seconds=60)
"""How long a sequence is remembered: enough for 600 pages at ten requests a second."""

MOST_SORTED = 200_000
"""Entries, removed ones included, that one request can sort or filter by a value within the time of a function."""

_WHOLE = 5_000
"""Entries up to which a walk receives whole entries: the page then need not be read by its keys, a unit for each."""

_PART = 950
_DIGITS = 6
"""Stored format for as long as a sequence is remembered: positions in one item, and digits of its number.

With so many an item has less than 4 KB, of which a read costs one unit and a write four. The number is a part of the
sequence's key (`_memory`), so a release with other parts does not meet these.
"""


class TooManyToSort(OrderingError):
    """The book has more entries than one request can sort or filter by a value."""

    def __init__(self, length: int) -> None:
        """Say how many entries the book has."""
        super().__init__(
            f"The list has {length:,} items, removed ones included. "
            f"At most {MOST_SORTED:,} can be sorted by another field than id, or filtered by a field's value."
        )


class SortKey(Value):
    """A field to sort by. Items without a value come first, or last when `descending`."""

    field: str
    descending: bool = False


OLDEST_FIRST = (SortKey("id"),)
NEWEST_FIRST = (SortKey("id", descending=True),)


class Field(Value):
    """A field of items, and how its value is made of stored attributes; without attributes it has none.

    Args:
        names: Attributes of the stored resource.
        convert: Makes the value from theirs, each None if it is missing. By default the value is stored as it is.
    """

    names: tuple[str, ...] = ()
    convert: Callable[..., Any] | None = None

    def of(self, stored: Mapping[str, Any]) -> Any:
        """Return the field's value in a stored resource."""
        values = map(stored.get, self.names)
        return self.convert(*values) if self.convert else next(values, None)


class ListRequest(Value):
    """The requested part of a list: up to `count` items from rank `first` (from 0)."""

    first: int
    count: int
    order: tuple[SortKey, ...] = OLDEST_FIRST
    only: frozenset[int] | None = None
    """The ids to choose from; None for all."""
    where: tuple[tuple[str, Any], ...] = ()
    """Fields and the values that items have in them."""


class ListPart(Value, Generic[T]):
    """A part of a list, and whether more items follow."""

    items: Sequence[T]
    more: bool


class SortedList(Value, Generic[T]):
    """A book as one reader sees it.

    Args:
        kind: The attribute of entries that contains the stored resource.
        read: Converts an entry to an item of the list.
        fields: The fields by which items are sorted and filtered. `id` is never read: ids ascend with the positions.
        reader: The user whose later pages continue the sort order of the first page.
        position: Returns an id's position in the book, 0 if it has none. By default an id is the position.
    """

    table: Table
    book: OrderBook
    name: str
    kind: str
    read: Callable[[Item], T]
    fields: Mapping[str, Field]
    reader: str
    now: Clock
    position: Callable[[int], int] = int

    def part(self, wanted: ListRequest) -> ListPart[T]:
        """Read a part of the list.

        Raises:
            TooManyToSort: The list is longer than one request can sort or filter by a value.
            Unavailable: The deadline passed.
        """
        order = decisive(wanted.order)
        if wanted.only is not None:
            return self._chosen(wanted, order, wanted.only)
        if wanted.where:
            return self._sorted(wanted, order)
        if order == OLDEST_FIRST:
            page = self.book.page(wanted.first, wanted.count)
            return ListPart([self.read(entry) for entry in page.entries], more=page.total > wanted.first + wanted.count)
        if order == NEWEST_FIRST:
            return self._newest(wanted)
        return self._sorted(wanted, order)

    def _chosen(self, wanted: ListRequest, order: Sequence[SortKey], only: Iterable[int]) -> ListPart[T]:
        found = self.book.find(sorted(position for one in only if (position := self.position(one))))
        ranked = self._rank(found.values(), wanted, order)
        return ListPart(self._shown(_slice(ranked, wanted), found, wanted), more=len(ranked) > _end(wanted))

    def _newest(self, wanted: ListRequest) -> ListPart[T]:
        memory = self._memory(NEWEST_FIRST)
        newest = memory.recall(0, 1) if wanted.first else None
        up_to = newest.positions[0] if newest else None
        page = self.book.page(wanted.first, wanted.count, newest_first=True, up_to=up_to)
        more = page.total > _end(wanted)
        if not wanted.first:
            memory.keep([position_of(page.entries[0])] if more else [])
        return ListPart([self.read(entry) for entry in page.entries], more)

    def _sorted(self, wanted: ListRequest, order: Sequence[SortKey]) -> ListPart[T]:
        memory = self._memory(order, wanted.where)
        if wanted.first and (recalled := memory.recall(wanted.first, wanted.count)):
            found = self.book.find(recalled.positions)
            return ListPart(self._shown(recalled.positions, found, wanted), more=recalled.total > _end(wanted))
        walk = self.book.walk()
        if walk.length > MOST_SORTED:
            raise TooManyToSort(walk.length)
        whole = {position_of(entry): entry for entry in walk.entries()} if walk.length <= _WHOLE else None
        entries = walk.entries(self._attributes(wanted, order)) if whole is None else whole.values()
        ranked = self._rank(entries, wanted, order)
        more = len(ranked) > _end(wanted)
        if not wanted.first or more:
            memory.keep(ranked if more else ())
        positions = _slice(ranked, wanted)
        # What was removed or changed since the walk is shown as on a further page.
        return ListPart(self._shown(positions, self.book.find(positions) if whole is None else whole, wanted), more)

    def _attributes(self, wanted: ListRequest, order: Sequence[SortKey]) -> list[str]:
        fields = dict.fromkeys([*(by.field for by in order), *(name for name, _ in wanted.where)])
        return [f"{self.kind}.{name}" for field in fields for name in self.fields[field].names]

    def _rank(self, entries: Iterable[Item], wanted: ListRequest, order: Sequence[SortKey]) -> Sequence[int]:
        """Return the positions of the entries that have the wanted values, in a decisive order. Keeps no entry."""
        keys = [by for by in order if self.fields[by.field].names]
        positions = array("I")
        columns: list[list[Any]] = [[] for _ in keys]
        into = [(column.append, self.fields[by.field]) for column, by in zip(columns, keys, strict=True)]
        for entry in entries:
            stored = entry.get(self.kind, {})  # it is missing where none of the requested attributes exists
            if not wanted.where or self._matches(stored, wanted):
                positions.append(position_of(entry))
                for append, field in into:
                    append(field.of(stored))
        ranked = sorted(range(len(positions)), key=positions.__getitem__, reverse=order[-1].descending)
        for by, column in zip(reversed(keys), reversed(columns), strict=True):
            ranked = _stably_sorted(ranked, column, descending=by.descending)
        return array("I", map(positions.__getitem__, ranked))

    def _matches(self, stored: Mapping[str, Any], wanted: ListRequest) -> bool:
        return all(self.fields[name].of(stored) == value for name, value in wanted.where)

    def _shown(self, positions: Iterable[int], found: Mapping[int, Item], wanted: ListRequest) -> list[T]:
        """Read the items that still exist, and have the wanted values now: since they were ranked they may change."""
        entries = (found[position] for position in positions if position in found)
        return [self.read(entry) for entry in entries if self._matches(entry[self.kind], wanted)]

    def _memory(self, order: Sequence[SortKey], where: Sequence[tuple[str, Any]] = ()) -> _Memory:
        values = [f"{name}={value!r}" for name, value in where]
        shape = " ".join([str(_PART), self.reader, *(f"{by.field}:{by.descending}" for by in order), *values])
        return _Memory(self.table, f"SORTED#{self.name}#{hashlib.sha256(shape.encode()).hexdigest()[:32]}", self.now)


class _Recalled(Value):
    positions: Sequence[int]
    total: int


class _Memory(Value):
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


def _end(wanted: ListRequest) -> int:
    return wanted.first + wanted.count


def _slice(positions: Sequence[int], wanted: ListRequest) -> Sequence[int]:
    return positions[wanted.first : _end(wanted)]


def _stably_sorted(ranked: Iterable[int], column: Sequence[Any], *, descending: bool) -> list[int]:
    """Sort indexes by their values: None first, or last if descending. Where values are equal, their order remains."""
    missing: list[int] = []
    present: list[int] = []
    for index in ranked:
        (missing if column[index] is None else present).append(index)
    present.sort(key=column.__getitem__, reverse=descending)
    return present + missing if descending else missing + present
