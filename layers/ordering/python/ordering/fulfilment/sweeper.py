"""Finds unfinished work by the table alone, and puts its items' keys on the queue of deferred items for another look.

A record of the stream, a message or a dead letter can be lost or given up: then the item's mark remains. So every item
with a mark is looked at once its time has come, and less and less often after that (`book.unfinished`).

A key is sent first, and then the time of its next look is set. A crash between the two sends the key twice, which does
no harm; neither do two sweepers at once. If the queue's response is lost, the item waits for its next look.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from itertools import islice

from ordering.aws.dynamodb import ConditionFailed, Table
from ordering.aws.sqs import SendAll
from ordering.book.unfinished import LONGEST_PAUSE, SHARDS, WAITS, WORK, Marked, postpone, read_shard
from ordering.clock import Clock
from ordering.fulfilment.stream import DEFER_SECONDS
from ordering.values import Value

SWEPT_AT_ONCE = 64
"""Most keys of one shard that a sweep sends: a thousand in all, and as many that wait. So the queue is not flooded."""

READ_AT_MOST = 10_000
"""Most marks of one shard that are read to find the oldest work."""


class Swept(Value):
    """What a sweep found: the keys sent, and the age in seconds of the oldest work, 0 if there is none.

    Orders that wait for money or stock are swept, and not counted as old.
    """

    keys: int
    oldest_seconds: float


class Sweeper(Value):
    """Sweeps the index of unfinished work, for one invocation.

    Args:
        table: The orders table.
        defer: Puts keys on the queue of deferred items.
    """

    table: Table
    defer: SendAll
    now: Clock

    def sweep(self) -> Swept:
        """Send the keys of all work that is due, the longest due first, up to a number for each shard.

        Raises:
            Unavailable: The deadline passed. The next sweep goes on.
        """
        now, keys, oldest = self.now(), 0, 0.0
        for shard in SHARDS:
            # Each item is due within the longest pause, so this reads all of them, and none twice.
            marks = [*islice(read_shard(self.table, WORK + shard, now + 2 * LONGEST_PAUSE), READ_AT_MOST)]
            ages = [(now - one.since).total_seconds() for one in marks]
            oldest = max([oldest, *ages])
            keys += self._send([one for one in marks if one.due <= now][:SWEPT_AT_ONCE], now)
        for shard in SHARDS:
            waiting = islice(read_shard(self.table, WAITS + shard, now, SWEPT_AT_ONCE), SWEPT_AT_ONCE)
            keys += self._send([*waiting], now)
        return Swept(keys, oldest)

    def _send(self, due: list[Marked], now: datetime) -> int:
        bodies = {json.dumps(one.key): one for one in due}
        refused = set(self.defer([*bodies], DEFER_SECONDS)) if bodies else set()
        for body in bodies.keys() - refused:
            with suppress(ConditionFailed):  # it is finished, or another sweep has sent it
                self.table.update(postpone(bodies[body], now))
        return len(bodies) - len(refused)
