"""What a page costs by the size of its book, up to a hundred million positions, with voids in every segment.

The book is made up: a table that computes the entries, head, ranges and segments that the real code asks for, as a
hundred million creates and ten million removals would have left them. So it takes no memory, and the real code reads
it.
Every tenth position is void.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plot import Curve, draw_by_size
from benchmarks.report import Must, Results, Section
from benchmarks.service import TYPICAL, Service
from benchmarks.shop import ORDERS, Cost, Counted, written_items
from benchmarks.timing import no_collection
from ordering.aws.dynamodb import Item, Table, _item
from ordering.book.orderbook import OrderBook
from ordering.book.positions import LAYOUT, BookKeys, book_of, range_count, range_in, segment_count
from ordering.clock import to_text
from support.aws.memory import Key
from support.aws.sizes import item_bytes
from support.scheduler import START

NAME = "books"
SIZES = tuple(10**power for power in range(3, 9))
PAGES = (10, 500)
PLOT = "page-cost-by-size.png"
_BOOK = BookKeys("benchmark")
_EVERY = 10
"""Each so manieth position is void."""

_REPEATED = 15


class MadeUpBook(Service):
    """The modelled service with one settled book of so many positions.

    Args:
        positions: How many there are, a whole number of segments.
        voids: Whether every tenth of them is void.
    """

    def __init__(self, positions: int, *, voids: bool) -> None:
        super().__init__(TYPICAL)
        self.positions = positions
        self._voids = voids
        self._entry = written_items(lines=1)[0]

    def _find(self, key: Key) -> dict[str, Any] | None:
        made = self._made(*key[1:])
        return _item({"pk": key[1], "sk": key[2], **made}) if made else None

    def _size(self, key: Key) -> int:
        return item_bytes(self._find(key) or {})

    @property
    def head_bytes(self) -> int:
        """The size of the head."""
        return self._size((ORDERS, *_BOOK.head))

    def _made(self, partition: str, sort: str) -> Item | None:
        """What the book has under a key, without the key."""
        segments = self.positions // LAYOUT.segment
        voids = LAYOUT.segment // _EVERY if self._voids else 0
        if (partition, sort) == _BOOK.tickets:
            return {"issued": self.positions, "at": to_text(START)}
        if (partition, sort) == _BOOK.head:
            counts = {
                range_count(number): voids * min(LAYOUT.segments, segments - number * LAYOUT.segments)
                for number in range(LAYOUT.range_of(segments - 1) + 1)
            }
            return {"settled": self.positions, **(counts if voids else {})}
        if partition != _BOOK.segment(0)[0]:
            return None
        if (number := range_in(sort)) is not None:
            first = number * LAYOUT.segments
            return {segment_count(one, LAYOUT): voids for one in range(first, min(first + LAYOUT.segments, segments))}
        first = int(sort) * LAYOUT.segment
        return {"positions": set(range(first + _EVERY, first + LAYOUT.segment + 1, _EVERY))}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        values = request["ExpressionAttributeValues"]
        partition, first, last = (values[f":{name}"]["S"] for name in ("pk", "first", "last"))
        if book_of(partition) != _BOOK.name:
            return super()._query(request)
        keys = map(_BOOK.entry, range(int(first), int(last) + 1))
        items = [_item(self.entry(*key)) for key in keys if key[0] == partition]
        self._queried = sum(map(item_bytes, items))
        return {"Items": items}

    def entry(self, partition: str, sort: str) -> Item:
        """What stands at a position of the book: an order as the real code writes it, or the void of a removed one."""
        position, key = int(sort), {"pk": partition, "sk": sort}
        if self._voids and position % _EVERY == 0:
            return {**key, "at": self._entry["at"], "writer": self._entry["writer"], "void": True}
        return {**self._entry, **key, "order": {**self._entry["order"], "id": position, "position": position}}

    def position(self, rank: int) -> int:
        """Where the order of a rank (from 0) stands."""
        return rank + rank // (_EVERY - 1) + 1 if self._voids else rank + 1


@dataclass(frozen=True, slots=True)
class OfSize:
    """What the most expensive page costs, and the head's size in bytes."""

    cost: Cost
    head: int


def measure(positions: int, count: int, *, voids: bool) -> OfSize:
    """Read pages all over a book, and see that they are right.

    Raises:
        RuntimeError: A page or the total is wrong.
    """
    made = MadeUpBook(positions, voids=voids)
    calls = Counted(made)
    book = OrderBook(Table(calls, ORDERS), _BOOK.name, removals=voids)
    total = positions * (_EVERY - 1) // _EVERY if voids else positions
    costs = []
    for part in range(_REPEATED):
        first = (total - count) * part // (_REPEATED - 1)
        began = time.perf_counter()
        page = book.page(first, count)
        seconds = time.perf_counter() - began
        taken = calls.take()
        costs.append(Cost(taken.calls, taken.units, seconds))
        expected = [made.position(rank) for rank in range(first, first + count)]
        if [int(entry["sk"]) for entry in page.entries] != expected or page.total != total:
            raise RuntimeError(f"page {first} of {positions} is wrong")
    cost = Cost(
        max(one.calls for one in costs),
        max(one.units for one in costs),
        statistics.median(one.seconds for one in costs),
    )
    return OfSize(cost, made.head_bytes)


def run(folder: Path) -> Section:
    """Measure books of all sizes, and draw them into `folder`."""
    with no_collection():
        found = {
            (size, count, voids): measure(size, count, voids=voids)
            for size in SIZES
            for count in PAGES
            for voids in (False, True)
        }
    curves = [
        Curve(
            f"page of {count}{', voids in every segment' if voids else ''}",
            {size: found[size, count, voids].cost for size in SIZES},
        )
        for count in PAGES
        for voids in (True, False)
    ]
    draw_by_size(folder / PLOT, curves)
    rows = [
        [
            f"{size:,}" if (count, voids) == (PAGES[0], False) else "",
            f"{count}",
            "every tenth" if voids else "none",
            f"{one.cost.calls}",
            f"{one.cost.units:,.1f}",
            f"{one.cost.seconds * 1000:,.1f}",
            f"{one.head:,}",
        ]
        for (size, count, voids), one in found.items()
    ]
    return Section(
        NAME, "Pages by the size of the book", _EXPLANATION, [Results(_TITLE, _COLUMNS, rows)], _musts(found), plot=PLOT
    )


def _musts(found: dict[tuple[int, int, bool], OfSize]) -> list[Must]:
    small, large = SIZES[0], SIZES[-1]
    plain = {found[size, 10, False].cost.calls for size in SIZES}
    more = {count: found[large, count, True].cost.calls - found[small, count, True].cost.calls for count in PAGES}
    units = {count: found[large, count, True].cost.units - found[small, count, True].cost.units for count in PAGES}
    head = max(one.head for one in found.values())
    return [
        Must("a page of 10 without voids takes two round trips in every book", f"{sorted(plain)}", plain == {2}),
        Must(
            f"at {large:,} positions with voids a page takes at most one round trip more than at {small:,}",
            ", ".join(f"{one} more for a page of {count}" for count, one in more.items()),
            max(more.values()) <= 1,
        ),
        Must(
            "and at most three units more: one a range, and one a segment, where the page is on the border of two",
            ", ".join(f"{one:g} more for a page of {count}" for count, one in units.items()),
            max(units.values()) <= 3,
        ),
        Must("a head stays below 4 KB", f"{head:,} bytes", head < 4_096),
    ]


_TITLE = "The most expensive of pages all over the book"
_COLUMNS = ("positions", "page of", "voids", "round trips", "read units", "ms", "head, bytes")
_EXPLANATION = f"""
Books of a thousand to a hundred million positions, settled, without voids and with every tenth position void. The real
code reads them, on the modelled service, from a table that computes what such a book holds. Round trips and units are
those of the most expensive of {_REPEATED} pages from the first to the last. The time is their median: any read takes
{TYPICAL.read * 1000:.0f} ms, and computing and decoding the entries the rest. Queries that go out at the same time are
one round trip: a page of 500 touches up to six partition keys.

Round trips are: head and tickets; where orders were voided, the page's ranges and then its segments; the page. While
the page's range has one segment, as in a book of up to a thousand positions, its range is not read.
"""
