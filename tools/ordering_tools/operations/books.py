"""`ordering book check`: compares what the order books promise with what is in the tables, and changes nothing.

See `ordering.book.orderbook` for the promises. The tables change during the check, so what looks broken is read again
after the grace time, and reported only if it still is.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from ordering.aws.dynamodb import Item, Key, Table
from ordering.book.names import key_of, name_of
from ordering.book.orderbook import GRACE, OrderBook, is_void, segment_of
from ordering_tools.installation import NotDone
from ordering_tools.operations.commands import Group, Run, pass_run

_TICKETS = "TICKETS#"
_LAST = "9" * 10
_AT_ONCE = 100
"""Items that DynamoDB reads with one request."""


@dataclass(frozen=True, order=True)
class Fault:
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
    site, faults, books, entries = run.site, list[Fault](), 0, 0
    with run.output.progress("entries") as advance:

        def count(number: int) -> None:
            nonlocal entries
            entries += number
            advance(number)

        for table in (site.orders, site.catalogue):
            found, orders = _scan(table)
            books += len(found)
            faults += lasting(partial(faults_of, table, found, orders, count))
    if faults or run.json:
        run.output.rows([{"book": one.book, "position": one.position or None, "fault": one.text} for one in faults])
    else:
        run.output.line(f"{books:,} books with {entries:,} entries keep their promises")
    if faults:
        raise NotDone(f"{len(faults):,} faults; nothing was changed. Report them with the output of --json")


def lasting(find: Callable[[], Iterable[Fault]], wait: Callable[[float], None] = time.sleep) -> list[Fault]:
    """The faults that are found twice, with the grace time of the books in between."""
    faults = set(find())
    if faults:
        wait(GRACE.total_seconds())
        faults &= set(find())
    return sorted(faults)


def faults_of(
    table: Table, books: Iterable[str], orders: Sequence[Key], count: Callable[[int], None] = lambda _: None
) -> Iterator[Fault]:
    """Yield what is wrong with books of a table, and with orders that should be in them.

    Args:
        orders: The keys of the orders.
        count: Is told how many entries were read.
    """
    for book in books:
        yield from _faults_of_book(table, book, count)
    for part in _parts(orders):
        found = table.batch_get(part)
        entries = {entry: key for key, item in found.items() if (entry := entry_of(table, key, item))}
        present = table.batch_get(list(entries))
        for entry, key in entries.items():
            if entry not in present or is_void(present[entry]):
                yield Fault(entry[0].partition("#")[2], int(entry[1]), f"the order {name_of(key)} has no entry here")


def entry_of(table: Table, key: Key, order: Item) -> Key | None:
    """The key of the entry that an order has in its book; None for an order of a kind without an item of its own."""
    match (name_of(key) or "").split("#"):
        case ["training", _]:
            return OrderBook(table, f"training#{order['order']['unit']['id']}").entry_key(order["order"]["position"])
        case ["ecards", company, _]:
            return OrderBook(table, f"ecards#{company}").entry_key(order["number"])
        case _:
            return None


def _scan(table: Table) -> tuple[list[str], list[Key]]:
    """The names of the books of a table, and the keys of its orders."""
    books, orders = list[str](), list[Key]()
    for item in table.scan(_TICKETS, "ORDER#"):
        key = item["pk"], item["sk"]
        if key[0].startswith(_TICKETS):
            books.append(key[0].removeprefix(_TICKETS))
        elif name_of(key):
            orders.append(key)
    return sorted(books), orders


def _faults_of_book(table: Table, book: str, count: Callable[[int], None]) -> Iterator[Fault]:
    issued = (table.get((f"{_TICKETS}{book}", "-")) or {}).get("issued", 0)
    head = table.get((f"HEAD#{book}", "-")) or {}
    settled = head.get("settled", 0)
    if settled > issued:
        yield Fault(book, 0, f"it is settled up to {settled:,}, but only {issued:,} tickets were issued")
    voids = defaultdict[int, set[int]](set)
    before, orders = 0, dict[Key, int]()
    for entry in table.query(f"BOOK#{book}", "0" * len(_LAST), _LAST):
        position = int(entry["sk"])
        count(1)
        yield from _gap(book, before + 1, min(position - 1, settled))
        before = position
        if is_void(entry):
            voids[segment_of(position)] |= {position} if position <= settled else set()
        elif order := _order_of(book, entry):
            orders[order] = position
        if len(orders) == _AT_ONCE:
            yield from _without_order(table, book, orders)
            orders = {}
    yield from _gap(book, before + 1, settled)
    yield from _without_order(table, book, orders)
    yield from _miscounted(table, book, head, voids)


def _gap(book: str, first: int, last: int) -> Iterator[Fault]:
    if first <= last:
        yield Fault(book, first, "it has no entry" if first == last else f"none up to {last:,} has an entry")


def _order_of(book: str, entry: Item) -> Key | None:
    match book.split("#"):
        case ["training", _]:
            return key_of(f"training#{entry['order']['id']}")
        case ["ecards", company]:
            return key_of(f"ecards#{company}#{entry['order']['id']}")
        case _:  # the entry is the whole order, line item or product
            return None


def _without_order(table: Table, book: str, orders: dict[Key, int]) -> Iterator[Fault]:
    present = table.batch_get(list(orders)) if orders else {}
    for key, position in orders.items():
        if key not in present:
            yield Fault(book, position, f"the order {name_of(key)} of its entry is not there")


def _miscounted(table: Table, book: str, head: Item, voids: dict[int, set[int]]) -> Iterator[Fault]:
    marks: dict[int, Any] = {int(one["sk"]): one for one in table.query(f"VOIDS#{book}", "0" * len(_LAST), _LAST)}
    counted = {int(name.removeprefix("voids")): number for name, number in head.items() if name.startswith("voids")}
    for segment in sorted(voids.keys() | marks.keys() | counted.keys()):
        there, marked = voids.get(segment, set()), set(marks.get(segment, {}).get("positions", ()))
        if not len(there) == len(marked) == counted.get(segment, 0) or there != marked:
            yield Fault(
                book,
                0,
                f"segment {segment:,} has {len(there):,} voids, marks {len(marked):,} and counts "
                f"{counted.get(segment, 0):,}: totals and pages are wrong",
            )


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
