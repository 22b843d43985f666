"""What a restored table must not give away again: numbers and certificates that the table before has given away.

A restored table is as it was at an earlier moment. Since then the table before has given numbers to orders, and
certificates to participants. Partners, consumers of events and recipients know these, so another order must not get
them: consumers would drop its events as duplicates, and two people would have one code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ordering import clock
from ordering.aws.dynamodb import ConditionFailed, Item, Table, Update
from ordering.clock import system_clock
from ordering.ecards.certificates import Ranges, Stock, read_ranges, read_stock_levels, size

_TICKETS, _SEQUENCE, _STOCK = "TICKETS#", "SEQUENCE#", "STOCK#"


@dataclass
class Resumed:
    """What was changed."""

    books: int = 0
    sequences: int = 0
    certificates: int = 0


def resume_after(before: Table, table: Table) -> Resumed:
    """Let a table give no number and no certificate that the table before it has given.

    It can be repeated, and continues where it was interrupted. No order may be placed meanwhile.

    Args:
        before: The table that was replaced, as it was last.
        table: The restored one.

    Raises:
        ConditionFailed: A stock was changed meanwhile.
    """
    done = Resumed()
    for item in before.scan(_TICKETS, _SEQUENCE, _STOCK):
        if item["pk"].startswith(_STOCK):
            done.certificates += _withdraw(item, table)
        elif item["pk"].startswith(_TICKETS):
            done.books += _raise(item, "issued", table)
        else:
            done.sequences += _raise(item, "given", table)
    return done


def _raise(item: Item, counter: str, table: Table) -> bool:
    """Raise a counter to what it was in the table before; returns whether it was lower.

    The positions of a book that nothing fills become void when it is settled, by the time in `at`.
    """
    change = Update(
        (item["pk"], item["sk"]),
        "SET #counter = :last" + (", #at = :now" if "at" in item else ""),
        "attribute_not_exists(#counter) OR #counter < :last",
        names={"#counter": counter, **({"#at": "at"} if "at" in item else {})},
        values={":last": item[counter], **({":now": clock.to_text(system_clock())} if "at" in item else {})},
    )
    with suppress(ConditionFailed):  # it is as high, or higher
        table.update(change)
        return True
    return False


def _withdraw(item: Item, table: Table) -> int:
    """Take the certificates out of stock that are free in a restored table only; returns how many."""
    card, _, face_value = item["pk"].removeprefix(_STOCK).partition("#")
    stock = Stock(int(card), face_value)
    level = read_stock_levels(table, [stock])[stock]
    taken = tuple(only_in(level.free, read_ranges(item.get("unassigned", []))))
    if taken:
        table.update(level.withdraw(taken))
    return size(taken)


def only_in(ranges: Ranges, others: Ranges) -> Iterator[tuple[int, int]]:
    """Yield the parts of ranges that have no position in common with others; both are ascending."""
    passed = 0
    for first, last in ranges:
        while passed < len(others) and others[passed][1] < first:
            passed += 1
        begin, index = first, passed
        while index < len(others) and others[index][0] <= last:
            if begin < others[index][0]:
                yield begin, others[index][0] - 1
            begin = others[index][1] + 1
            index += 1
        if begin <= last:
            yield begin, last
