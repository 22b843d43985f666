"""Where a book's positions are stored, and how its voids are counted.

An entry's partition key ends in a *lane*: blocks of positions take the lanes in turn. So creates spread over as many
partition keys as there are lanes, and any part of a list is one contiguous range of sort keys in each lane that it
touches.

The voids below the head are counted in two levels. A *segment* is a part of the book whose void positions stand in one
item, a *range* is so many segments. The head counts the voids of each range, a range's item those of each of its
segments. All three are written in one transaction, and their numbers only rise. So a reader that finds that a range's
numbers add up to the head's count has read them as they were when it read the head, and so it is with a segment.

Keys of the table, of a book's items: `BOOK#<book>#L<lane>` holds the entries by zero-padded position;
`TICKETS#<book>` and `HEAD#<book>` one item each; `VOIDS#<book>` one item a segment and one a range.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from ordering.aws.dynamodb import Item, Key, Table
from ordering.values import Value

_ENTRIES = "BOOK#"
_PARTITION = re.compile(f"{_ENTRIES}(.*)#L[0-9][0-9]", re.DOTALL)
_ONLY = "-"
_DIGITS = 10
"""Stored format: positions and numbers of segments and ranges are padded to so many digits in keys."""

LAST_POSITION = 10**_DIGITS - 1
"""The last position that a key can have."""

_RANGE = "R"
"""Stored format: the beginning of a range's sort key, greater than that of each segment."""

_RANGE_COUNT, _SEGMENT_COUNT = "r", "s"
"""Stored format: how the names of counts begin in a head and in a range's item. Each is short, as there are many."""

Span = tuple[str, str, str]
"""A partition key, and a first and a last sort key."""


class Layout(Value):
    """The sizes from which the keys of a book's items follow.

    Stored format: the items of all books were written with those of `LAYOUT`, so they never change.
    """

    segment: int = 1_000
    """Positions whose voids stand in one item: at most 6 KB."""
    segments: int = 500
    """Segments of a range: its item has a count of at most 7 bytes for each, so that it is one read unit."""
    block: int = 100
    """Positions that follow each other in one lane."""
    lanes: int = 16
    """Partition keys of a book's entries; at most 100."""

    def segment_of(self, position: int) -> int:
        """Return the segment that counts a position's void: 0 for positions 1 to 1,000."""
        return (position - 1) // self.segment

    def range_of(self, segment: int) -> int:
        """Return the range that counts a segment's voids: 0 for segments 0 to 499."""
        return segment // self.segments

    def lane_of(self, position: int) -> int:
        """Return the lane of an entry: 0 for positions 1 to 100, 1 for the next hundred."""
        return (position - 1) // self.block % self.lanes

    def block_start(self, position: int) -> int:
        """Return the first position of a position's block."""
        return (position - 1) // self.block * self.block + 1


LAYOUT = Layout()


class BookKeys(Value):
    """The keys of a book's items."""

    name: str
    layout: Layout = LAYOUT

    @property
    def head(self) -> Key:
        """The key of the head."""
        return f"HEAD#{self.name}", _ONLY

    @property
    def tickets(self) -> Key:
        """The key of the tickets."""
        return f"TICKETS#{self.name}", _ONLY

    def entry(self, position: int) -> Key:
        """Return the key of an entry."""
        return self._lane(self.layout.lane_of(position)), _padded(position)

    def entries(self, first: int, last: int) -> list[Span]:
        """Return the keys of the entries from one position to another, both included, by lane."""
        if first > last:
            return []
        blocks = range(self.layout.block_start(first), last + 1, self.layout.block)
        lanes = map(self.layout.lane_of, blocks[: self.layout.lanes])
        return [(self._lane(lane), _padded(first), _padded(last)) for lane in lanes]

    def segment(self, segment: int) -> Key:
        """Return the key of the item with a segment's void positions."""
        return self._voids, _padded(segment)

    def range(self, number: int) -> Key:
        """Return the key of the item with a range's counts."""
        return self._voids, f"{_RANGE}{_padded(number)}"

    @property
    def voids(self) -> Span:
        """The keys of the items of all segments, and then of all ranges."""
        return self._voids, _padded(0), f"{_RANGE}~"

    @property
    def _voids(self) -> str:
        return f"VOIDS#{self.name}"

    def _lane(self, lane: int) -> str:
        return f"{_ENTRIES}{self.name}#L{lane:02}"


class Head(Value):
    """Up to which position a book is settled, and how many voids lie below, by range; ranges without any left out."""

    settled: int
    voids: Mapping[int, int]

    @classmethod
    def read(cls, item: Item) -> Head:
        """Read it from its item, which is empty for a book that was never settled."""
        return cls(item.get("settled", 0), _counts(item, _RANGE_COUNT))

    @property
    def live(self) -> int:
        """How many settled positions are not void."""
        return self.settled - sum(self.voids.values())


def read_entries(table: Table, keys: BookKeys, first: int, last: int, attributes: Sequence[str] = ()) -> list[Item]:
    """Read the entries from one position to another, both included, by position; those of several lanes at once.

    Args:
        attributes: See `Table.query`.
    """
    parts = table.query_all(keys.entries(first, last), attributes)
    return sorted((entry for part in parts for entry in part), key=itemgetter("sk"))


def range_count(number: int) -> str:
    """Return the attribute of a head with a range's count."""
    return f"{_RANGE_COUNT}{number}"


def segment_count(segment: int, layout: Layout) -> str:
    """Return the attribute of a range's item with a segment's count."""
    return f"{_SEGMENT_COUNT}{segment % layout.segments}"


def range_in(sort: str) -> int | None:
    """Return the range of which an item of voids has the counts, by its sort key; None for a segment's."""
    return int(sort.removeprefix(_RANGE)) if sort.startswith(_RANGE) else None


def segment_counts(item: Item, number: int, layout: Layout) -> dict[int, int]:
    """Return the counts in a range's item by segment, rising."""
    return {number * layout.segments + index: count for index, count in _counts(item, _SEGMENT_COUNT).items()}


def _counts(item: Item, prefix: str) -> dict[int, int]:
    names = re.compile(f"{prefix}([0-9]+)")
    found = {int(match[1]): count for name, count in item.items() if (match := names.fullmatch(name))}
    return dict(sorted(found.items()))


def descend(rank: int, before: int, counts: Mapping[int, int], size: int) -> tuple[int, int | None]:
    """Find the part of a book in which the live settled entry of a rank (from 0) is.

    Args:
        rank: The rank.
        before: How many voids lie before the counted parts.
        counts: How many voids lie in each part, by its number, rising; parts without any are left out.
        size: Positions of a part.

    Returns:
        How many voids lie before the entry's part, and its number if it has voids of its own.
    """
    for part, count in counts.items():
        if rank < part * size - before:
            break
        if rank < (part + 1) * size - before - count:
            return before, part
        before += count
    return before, None


def skip(position: int, voids: Iterable[int]) -> int:
    """Move a position behind the voids before it; `voids` are those of its segment, rising."""
    for void in voids:
        if void > position:
            break
        position += 1
    return position


def book_of(partition: str) -> str | None:
    """Return the name of the book whose entries a partition holds, None if it holds something else."""
    match = _PARTITION.fullmatch(partition)
    return match[1] if match else None


def _padded(number: int) -> str:
    return f"{number:0{_DIGITS}}"
