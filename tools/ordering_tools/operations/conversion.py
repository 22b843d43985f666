"""Books of an earlier format: their entries move to the partition keys of today, and their voids are counted by range.

That format had the entries of a book under one partition key, `BOOK#<book>`, and in the head a count `voids<segment>`
of each segment. Functions do not read it, so nothing may be served until all books are converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from ordering.aws.dynamodb import Item, Put, Table, Update
from ordering.book.orderbook import position_of
from ordering.book.positions import LAYOUT, BookKeys, range_count, segment_count

_TICKETS = "TICKETS#"
_FIRST, _LAST = "0" * 10, "9" * 10
_COUNT = re.compile("voids([0-9]+)")
_AT_ONCE = 25


def convert_books(table: Table) -> int:
    """Convert all books of a table, and return how many entries and heads that took.

    Nothing may read or write books meanwhile. After a crash, call it again: it continues where it stopped.
    """
    names = [item["pk"].removeprefix(_TICKETS) for item in table.scan(_TICKETS)]
    return sum(_convert(table, BookKeys(name)) for name in names)


def _convert(table: Table, keys: BookKeys) -> int:
    entries = table.query(f"BOOK#{keys.name}", _FIRST, _LAST)
    converted = 0
    while part := list(islice(entries, _AT_ONCE)):
        # Written before it is deleted: a crash in between leaves it at both keys, and the next call writes it again.
        table.put_all(_moved(entry, keys) for entry in part)
        table.delete_all((entry["pk"], entry["sk"]) for entry in part)
        converted += len(part)
    head = table.get(keys.head) or {}
    if counts := {int(match[1]): head[match[0]] for match in map(_COUNT.fullmatch, head) if match}:
        table.transact([*_counted(keys, counts)])
        converted += 1
    return converted


def _moved(entry: Item, keys: BookKeys) -> Item:
    partition, sort = keys.entry(position_of(entry))
    return {**entry, "pk": partition, "sk": sort}


def _counted(keys: BookKeys, counts: dict[int, int]) -> Iterator[Put | Update]:
    """Yield the writes of one transaction that count a book's voids by range: a head is never of both formats."""
    ranges: dict[int, dict[str, int]] = {}
    for segment, count in counts.items():
        ranges.setdefault(LAYOUT.range_of(segment), {})[segment_count(segment, LAYOUT)] = count
    totals = {range_count(number): sum(of.values()) for number, of in ranges.items()}
    removed = [f"voids{segment}" for segment in counts]
    yield Update(
        keys.head,
        f"SET {', '.join(f'{name} = :{name}' for name in totals)} REMOVE {', '.join(removed)}",
        condition=f"attribute_exists({removed[0]})",
        values={f":{name}": total for name, total in totals.items()},
    )
    for number, of in ranges.items():
        partition, sort = keys.range(number)
        yield Put({"pk": partition, "sk": sort, **of})
