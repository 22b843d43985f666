"""`ordering book check`: compares what the order books promise with what is in the tables, and changes nothing.

See `ordering.book.orderbook` for the promises. The tables change during the check, so what looks broken is read again
after the grace time, and reported only if it still is.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import count, islice
from operator import or_

import click

from ordering.aws.dynamodb import Item, Key, Table
from ordering.book.names import key_of, name_of
from ordering.book.orderbook import GRACE, OrderBook, is_void
from ordering.book.positions import LAYOUT, BookKeys, Head, book_of, range_in, read_entries, segment_counts
from ordering_tools.installation import NotDone
from ordering_tools.operations.commands import Group, Run, pass_run, with_required_reason
from ordering_tools.operations.conversion import convert_books
from ordering_tools.operations.resuming import Resumed, resume_after

_TICKETS = "TICKETS#"
_ROUND = LAYOUT.block * LAYOUT.lanes
"""Positions whose entries are read at once: a block of each lane."""

_AT_ONCE = 100
"""Items that DynamoDB reads with one request."""


@dataclass(frozen=True, order=True)
class BookFault:
    """A promise that is not kept."""

    book: str
    position: int
    """0 for the whole book."""
    text: str


@click.group(cls=Group, epilog="\b\nExamples:\n  ordering book check\n  ordering book check --stack production --json")
def group() -> None:
    """The order books: the numbered lists of all orders."""


@group.command()
@pass_run
def check(run: Run) -> None:
    """Check that the order books keep their promises.

    Each position has an entry, voids are counted right, each entry has its order, and each order its entry. It reads
    all orders (a read unit for every 4 KB of the orders and catalogue tables), and changes nothing.
    """
    with run.output.progress("entries") as advance:
        checks = [TableCheck(table, advance) for table in (run.site.orders, run.site.catalogue)]
        faults = [fault for one in checks for fault in lasting(one.faults)]
    books, entries = sum(one.books for one in checks), sum(one.entries for one in checks)
    if faults or run.json:
        run.output.rows([{"book": one.book, "position": one.position or None, "fault": one.text} for one in faults])
    else:
        run.output.line(f"{books:,} books with {entries:,} entries keep their promises")
    if faults:
        raise NotDone(f"{len(faults):,} faults; nothing was changed. Report them with the output of --json")


@group.command()
@click.option("--orders", metavar="TABLE", help="The orders table that a restored one has replaced.")
@click.option("--catalogue", metavar="TABLE", help="The catalogue table that a restored one has replaced.")
@with_required_reason
@pass_run
def resume(run: Run, orders: str | None, catalogue: str | None, reason: str) -> None:
    """Let a restored table give no number again, and no certificate, that the table before it has given.

    Run it once, before requests are accepted again, on a stack that uses the restored table. It reads the whole table
    before (a read unit for every 4 KB), and can be repeated.
    """
    if orders is None and catalogue is None:
        raise click.UsageError("name the table that was replaced with --orders or --catalogue")
    results = list[Resumed]()
    with run.change(f"tables {orders or ''} {catalogue or ''}".rstrip(), reason) as site:
        for name, table in ((orders, site.orders), (catalogue, site.catalogue)):
            if name == table.name:
                raise NotDone(f"{name} is the table that is in use; name the one that it has replaced")
            if name is not None:
                results.append(resume_after(Table(site.send, name), table))
    books, sequences, certificates = (
        sum(getattr(one, what) for one in results) for what in ("books", "sequences", "certificates")
    )
    run.output.result(
        f"{books:,} books and {sequences} sequences continue after the last number that was given; {certificates:,} "
        "certificates that were handed over since are out of stock",
        {"books": books, "sequences": sequences, "certificates": certificates},
    )


@group.command()
@with_required_reason
@pass_run
def convert(run: Run, reason: str) -> None:
    """Convert the order books of an earlier release to the format of this one.

    Run it once, with the release that has this command, while the stack is paused (parameter `Paused`) and before its
    functions of this release serve requests. It reads both tables (a read unit for every 4 KB) and writes every entry
    of a book twice. It can be repeated, and continues where it was interrupted.
    """
    with run.change("the order books", reason) as site:
        converted = sum(map(convert_books, (site.orders, site.catalogue)))
    run.output.result(f"{converted:,} entries and heads were converted", {"converted": converted})


def lasting(find: Callable[[], Iterable[BookFault]], wait: Callable[[float], None] = time.sleep) -> list[BookFault]:
    """The faults that are found twice, with the grace time of the books in between."""
    faults = set(find())
    if faults:
        wait(GRACE.total_seconds())
        faults &= set(find())
    return sorted(faults)


class TableCheck:
    """The check of a table's books, and how much it has read.

    It reads orders and entries as streams, and keeps of them only the names of the books, and for a book a bit for each
    position of the segments that have voids.
    """

    def __init__(self, table: Table, advance: Callable[[int], None] = lambda _: None) -> None:
        """Take what is called with the number of entries that were read since the last call."""
        self.books = 0
        self.entries = 0
        self._table = table
        self._advance = advance

    def faults(self) -> Iterator[BookFault]:
        """Yield what is wrong with the books, and with orders that should be in them."""
        books = list[str]()
        found = self._table.scan(_TICKETS, "ORDER#")
        while part := list(islice(found, _AT_ONCE)):
            books += [item["pk"].removeprefix(_TICKETS) for item in part if item["pk"].startswith(_TICKETS)]
            yield from _without_entry(self._table, part)
        self.books, self.entries = len(books), 0
        for book in sorted(books):
            yield from _faults_of_book(self._table, book, self._count)

    def _count(self, entries: int) -> None:
        self.entries += entries
        self._advance(entries)


def _without_entry(table: Table, items: Iterable[Item]) -> Iterator[BookFault]:
    """Yield the orders among items that have no entry in their book."""
    keys = [(item["pk"], item["sk"]) for item in items]
    entries = {entry: key for key, item in zip(keys, items, strict=True) if (entry := _entry_of(table, key, item))}
    present = table.batch_get(list(entries)) if entries else {}
    for entry, key in entries.items():
        if entry not in present or is_void(present[entry]):
            yield BookFault(book_of(entry[0]) or "", int(entry[1]), f"the order {name_of(key)} has no entry here")


def _entry_of(table: Table, key: Key, order: Item) -> Key | None:
    """The key of the entry that an order has in its book; None for an order of a kind without an item of its own."""
    match (name_of(key) or "").split("#"):
        case ["training", _]:
            return OrderBook(table, f"training#{order['order']['unit']['id']}").entry_key(order["order"]["position"])
        case ["ecards", company, _]:
            return OrderBook(table, f"ecards#{company}").entry_key(order["number"])
        case _:
            return None


def _faults_of_book(table: Table, book: str, note: Callable[[int], None]) -> Iterator[BookFault]:
    keys = BookKeys(book)
    issued = (table.get(keys.tickets) or {}).get("issued", 0)
    head = Head.read(table.get(keys.head) or {})
    settled = head.settled
    if settled > issued:
        yield BookFault(book, 0, f"it is settled up to {settled:,}, but only {issued:,} tickets were issued")
    voids = defaultdict[int, int](int)
    before, orders = 0, dict[Key, int]()
    for entry in _entries(table, keys, max(issued, settled)):
        position = int(entry["sk"])
        note(1)
        yield from _gap(book, before + 1, min(position - 1, settled))
        before = position
        if is_void(entry):
            segment = LAYOUT.segment_of(position)
            voids[segment] |= _bits(segment, [position]) if position <= settled else 0
        elif order := _order_of(book, entry):
            orders[order] = position
        if len(orders) == _AT_ONCE:
            yield from _without_order(table, book, orders)
            orders = {}
    yield from _gap(book, before + 1, settled)
    yield from _without_order(table, book, orders)
    yield from _miscounted(table, keys, head, voids)


def _entries(table: Table, keys: BookKeys, last: int) -> Iterator[Item]:
    """Yield the entries up to a position, and those behind it if they follow soon."""
    for first in count(1, _ROUND):
        part = read_entries(table, keys, first, first + _ROUND - 1)
        yield from part
        if not part and first > last:
            return


def _gap(book: str, first: int, last: int) -> Iterator[BookFault]:
    if first <= last:
        yield BookFault(book, first, "it has no entry" if first == last else f"none up to {last:,} has an entry")


def _order_of(book: str, entry: Item) -> Key | None:
    match book.split("#"):
        case ["training", _]:
            return key_of(f"training#{entry['order']['id']}")
        case ["ecards", company]:
            return key_of(f"ecards#{company}#{entry['order']['id']}")
        case _:  # the entry is the whole order, line item or product
            return None


def _without_order(table: Table, book: str, orders: dict[Key, int]) -> Iterator[BookFault]:
    present = table.batch_get(list(orders)) if orders else {}
    for key, position in orders.items():
        if key not in present:
            yield BookFault(book, position, f"the order {name_of(key)} of its entry is not there")


def _miscounted(table: Table, keys: BookKeys, head: Head, voids: Mapping[int, int]) -> Iterator[BookFault]:
    marks, counts, sums = dict[int, int](), dict[int, int](), dict[int, int]()
    for item in table.query(*keys.voids):
        if (number := range_in(item["sk"])) is not None:
            of_range = segment_counts(item, number, LAYOUT)
            counts |= of_range
            sums[number] = sum(of_range.values())
        else:
            marks[int(item["sk"])] = _bits(int(item["sk"]), item.get("positions", ()))
    for segment in sorted(voids.keys() | marks.keys() | counts.keys()):
        there, marked, count = voids.get(segment, 0), marks.get(segment, 0), counts.get(segment, 0)
        if there != marked or there.bit_count() != count:
            yield BookFault(
                keys.name,
                0,
                f"segment {segment:,} has {there.bit_count():,} voids, marks {marked.bit_count():,} and counts "
                f"{count:,}: totals and pages are wrong",
            )
    for number in sorted(sums.keys() | head.voids.keys()):
        if (counted := sums.get(number, 0)) != (total := head.voids.get(number, 0)):
            yield BookFault(
                keys.name,
                0,
                f"range {number:,} counts {counted:,} voids and the head {total:,}: totals and pages are wrong",
            )


def _bits(segment: int, positions: Iterable[int]) -> int:
    """Return positions as bits, one for each position of a segment, and one for all positions of other segments."""
    places = (position - 1 - segment * LAYOUT.segment for position in positions)
    return reduce(or_, (1 << (place if 0 <= place < LAYOUT.segment else LAYOUT.segment) for place in places), 0)
