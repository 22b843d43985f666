"""The search index of the orders table: operators find orders by what people know of them.

An item that can be found has the attribute `search`, with what it is found by and the text, and `at`, the time. The
index has these two as its keys and nothing else, so an item's change costs it nothing, and it loses an item together
with the table. It is filled with each write, a moment later.

    REFERENCE#<text>  the item of a training order, by its reference
    ID#<UUID>         the item of an e-card order
    EMAIL#<address>   the entry in its book of either, by the contact's or the participant's address
    DEAL#<number>     the entry of a deal order
    MAILS#Refused     a mail that SES refused, for as long as it is refused
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from ordering import clock
from ordering.aws.dynamodb import Item, Key, Table, Update

INDEX = "Search"
"""The index's name."""

SEARCH = "search"
"""The attribute with what an item is found by, which is the index's partition key."""

_AT = "at"


class SearchedBy(StrEnum):
    """What an item is found by. Stored format."""

    REFERENCE = "REFERENCE"
    ID = "ID"
    EMAIL = "EMAIL"
    DEAL = "DEAL"
    MAILS = "MAILS"


def searchable(by: SearchedBy, text: str, at: datetime | None = None) -> Item:
    """Return the attributes by which an item is found; none if the text is blank, which no index can hold.

    Args:
        at: The time by which the results are sorted; None for an item that has its time in `at` already.
    """
    if not text.strip():
        return {}
    return {SEARCH: _value(by, text), **({_AT: clock.to_text(at)} if at else {})}


def is_searchable(item: Item) -> bool:
    """Return whether an item has what it is found by; items of earlier releases have not."""
    return SEARCH in item


def make_searchable(key: Key, found: Item) -> Update:
    """Return the write that adds to an item of an earlier release what it is found by; see `searchable`."""
    sets = ", ".join(f"#{name} = :{name}" for name in found)
    names, values = {f"#{name}": name for name in found}, {f":{name}": value for name, value in found.items()}
    condition = f"attribute_exists(pk) AND attribute_not_exists(#{SEARCH})"
    return Update(key, f"SET {sets}", condition, names, values)


def search(table: Table, by: SearchedBy, text: str, since: datetime | None = None) -> Iterator[Key]:
    """Yield the keys of the items that are found by a text, in whatever case, newest first.

    Args:
        since: Leave out items from before.
    """
    first = clock.to_text(since) if since else " "
    return table.query_index(INDEX, (SEARCH, _value(by, text)), (_AT, first))


def _value(by: SearchedBy, text: str) -> str:
    return f"{by}#{text.strip().lower()}"
