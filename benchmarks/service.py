"""A model of DynamoDB: the table in memory of the tests, with what it charges, how long it takes, and its conflicts.

No local engine refuses concurrent transactions, though that decides how creates scale, and the embedded one goes over a
whole partition for every query. So what depends on either is measured here:

* a call takes its latency, in which other threads go on;
* an item that is in a transaction refuses a second one (TransactionCanceledException with TransactionConflict), and
  any plain write (TransactionConflictException); plain writes do not refuse each other, and reads pass;
* a refusal for that is answered after the time of a plain write, so a retry costs less than the service takes;
* a query stops at `Limit` and at 1 MB; capacity is charged by `support.aws.sizes`, and a unit for each item that an
  index gains or loses.

Not modelled: throttling, network time by size, and failures.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ordering.aws.dynamodb import ServiceFault
from support.aws.memory import Key, Memory
from support.aws.sizes import item_bytes, read_units, write_units

_READS = frozenset({"GetItem", "BatchGetItem", "Query"})
_PLAIN_WRITES = frozenset({"PutItem", "UpdateItem"})
_PAGE = 1024 * 1024
_INDEXED = (("search",), ("unfinished", "due"))
"""The attributes that bring an item into each of the orders table's indexes, and that its key there consists of."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds that calls take."""

    read: float
    write: float
    transaction: float


INSTANT = Latencies(0, 0, 0)
TYPICAL = Latencies(read=0.002, write=0.004, transaction=0.010)
"""Of the order that DynamoDB shows from within its region."""


class Service(Memory):
    """The model, as the `Send` of a table; threads may share it.

    Args:
        latencies: How long calls take.
        schemas: The key attributes of tables that are not keyed by `pk` and `sk`.
    """

    def __init__(self, latencies: Latencies = INSTANT, schemas: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(schemas=schemas)
        self.latencies = latencies
        self.busy: set[Key] = set()
        """Items that are in a transaction at present."""
        self._lock = threading.Lock()
        self._sizes: dict[tuple[str, str], dict[str, int]] = {}
        """Bytes of each item, by partition and sort key."""
        self._indexed = 0
        """Items that the current call adds to an index, changes in it or removes from it: each is less than 1 KB."""
        self._queried = 0
        self._written: list[int] = []
        """Bytes that the current call reads by a query, and of each item that it writes."""

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation."""
        if operation == "TransactWriteItems":
            return self._transact(request)
        began = time.perf_counter()
        try:
            with self._lock:
                if operation in _PLAIN_WRITES and self._target(request) in self.busy:
                    raise ServiceFault("TransactionConflictException")
                return self._charged(operation, request)
        finally:
            # What the model takes itself is part of the latency, not added to it.
            latency = self.latencies.read if operation in _READS else self.latencies.write
            _wait(latency - (time.perf_counter() - began))

    def _transact(self, request: dict[str, Any]) -> dict[str, Any]:
        keys = [self._target(write) for item in request["TransactItems"] for write in item.values()]
        with self._lock:
            conflicts = [key in self.busy for key in keys]
            if not any(conflicts):
                self.busy.update(keys)
        if any(conflicts):
            _wait(self.latencies.write)
            reasons = [{"Code": "TransactionConflict" if conflict else "None"} for conflict in conflicts]
            raise ServiceFault("TransactionCanceledException", reasons=reasons)
        _wait(self.latencies.transaction)
        with self._lock:
            self.busy.difference_update(keys)
            return self._charged("TransactWriteItems", request)

    def _charged(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self._written.clear()
        self._indexed = 0
        answer = super().__call__(operation, request)
        return {**answer, "ConsumedCapacity": {"CapacityUnits": self._units(operation, request)}}

    def _units(self, operation: str, request: dict[str, Any]) -> float:
        match operation:
            case "GetItem":
                size = self._size(self._key(request["TableName"], request["Key"]))
                return read_units(size, consistent=request.get("ConsistentRead", False))
            case "BatchGetItem":
                ((table, wanted),) = request["RequestItems"].items()
                sizes = [self._size(self._key(table, key)) for key in wanted["Keys"]]
                return sum(read_units(size, consistent=wanted.get("ConsistentRead", False)) for size in sizes)
            case "Query":
                return read_units(self._queried, consistent=request.get("ConsistentRead", False))
        transactional = operation == "TransactWriteItems"
        return sum(write_units(size, transactional=transactional) for size in self._written) + self._indexed

    def load(self, table: str, item: dict[str, Any]) -> None:
        """Write an item as it is, charged by the larger of before and after."""
        key, size = self._key(table, item), item_bytes(item)
        self._index(self._find(key) or {}, item)
        self._written.append(max(size, self._size(key)))
        self._sizes.setdefault(key[:2], {})[key[2]] = size
        super().load(table, item)

    def _index(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for names in _INDEXED:
            old, new = ([item.get(name) for name in names] for item in (before, after))
            if old != new:
                self._indexed += (None not in old) + (None not in new)

    def _remove(self, key: Key) -> None:
        self._written.append(self._size(key))
        self._sizes.get(key[:2], {}).pop(key[2], None)
        super()._remove(key)

    def _size(self, key: Key) -> int:
        return self._sizes.get(key[:2], {}).get(key[2], 0)

    def _page_end(self, partition: tuple[str, str], sorts: Sequence[str], start: int, end: int) -> int:
        """Take as many items as fit a page of the service, and at least one."""
        self._queried, stop = 0, start
        names = map(sorts.__getitem__, range(start, end))
        for total in itertools.accumulate(map(self._sizes.get(partition, {}).__getitem__, names)):
            if total > _PAGE and stop > start:
                break
            self._queried, stop = total, stop + 1
        return stop


def _wait(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)
