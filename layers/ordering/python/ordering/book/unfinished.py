"""The index of unfinished work: the table itself says what is left to do, whatever became of streams and queues.

An item has a mark while something is left to do about it. The mark is written with the item, and removed in the write
that ends the work. While an order waits for its partner's money or for stock, its mark is among those that wait.

The mark has three attributes. The index `Unfinished` has the first two as its keys, and the third:

    unfinished  `WORK#00` to `WORK#15` by the key's hash, or `WAITS#…` if it waits: a single value would be a hot key
    due         the time of the next look at the item
    since       when the work began
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from ordering import clock
from ordering.aws.dynamodb import Item, Key, Table, Update
from ordering.values import Value

INDEX = "Unfinished"
"""The index's name."""

WORK, WAITS = "WORK#", "WAITS#"
"""How shards begin: of work, and of what waits. Stored format."""

SHARDS = tuple(f"{shard:02}" for shard in range(16))
"""How they end. Stored format: what is marked is looked for in these."""

FIRST_LOOK = timedelta(minutes=10)
"""When to look at an item for the first time: almost all work is done within seconds."""

LONGEST_PAUSE = timedelta(hours=6)

UNMARK = "REMOVE unfinished, due, since"
"""The update expression that removes a mark."""

_SHARD, _DUE, _SINCE = "unfinished", "due", "since"

PUBLISHED = "published"
"""The attribute of an order's item with the number of events that were passed on; earlier releases did not write it."""

PROGRESS = frozenset({_SHARD, _DUE, _SINCE, PUBLISHED})
"""The attributes that only the work itself changes: no work follows from them."""


class Marked(Value):
    """An item with a mark, as the index has it."""

    key: Key
    due: datetime
    since: datetime


def mark(key: Key, since: datetime, *, waits: bool = False) -> Item:
    """Return the attributes of a mark.

    Args:
        key: The item's key.
        since: When the work began.
        waits: Whether it waits for money or stock.
    """
    shard = SHARDS[zlib.crc32("/".join(key).encode()) % len(SHARDS)]
    due = clock.to_text(since + FIRST_LOOK)
    return {_SHARD: f"{WAITS if waits else WORK}{shard}", _DUE: due, _SINCE: clock.to_text(since)}


def is_marked(item: Mapping[str, object]) -> bool:
    """Return whether an item has a mark."""
    return _SHARD in item


def add_mark(key: Key, found: Item) -> Update:
    """Return the write that adds a mark to an item of an earlier release; see `mark`."""
    condition = f"attribute_exists(pk) AND attribute_not_exists({_SHARD})"
    sets = ", ".join(f"{name} = :{name}" for name in found)
    return Update(key, f"SET {sets}", condition, values={f":{name}": value for name, value in found.items()})


def read_shard(table: Table, shard: str, up_to: datetime, page: int | None = None) -> Iterator[Marked]:
    """Yield what is marked in a shard and due by a time, the longest due first; the index lags by a moment.

    Args:
        page: Most items of a page; by default what has 1 MB.
    """
    for item in table.query_index_up_to(INDEX, (_SHARD, shard), (_DUE, clock.to_text(up_to)), page):
        yield Marked((item["pk"], item["sk"]), clock.from_text(item[_DUE]), clock.from_text(item[_SINCE]))


def postpone(one: Marked, now: datetime) -> Update:
    """Return the write that sets the time of the next look, unless it was set or the mark removed in the meantime.

    The next pause is as long as the work has taken so far, so each is twice as long as the one before.
    """
    pause = min(max(now - one.since, FIRST_LOOK), LONGEST_PAUSE)
    values = {":next": clock.to_text(now + pause), ":read": clock.to_text(one.due)}
    return Update(one.key, f"SET {_DUE} = :next", f"{_DUE} = :read", values=values)
