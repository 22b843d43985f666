"""A model of DynamoDB: the table in memory of the tests, with what it charges, how long it takes, and its conflicts.

No local engine refuses concurrent transactions, though that decides how creates scale, and the embedded one goes over a
whole partition for every query. So what depends on either is measured here:

* a call takes its latency, in which other threads go on;
* an item that is in a transaction refuses a second one (TransactionCanceledException with TransactionConflict), and
  any plain write (TransactionConflictException); plain writes do not refuse each other, and reads pass;
* a refusal for that is answered after the time of a plain write, so a retry costs less than the service takes;
* a query stops at `Limit` and at 1 MB; capacity is charged by `support.aws.sizes`, and a unit for each item that an
  index gains or loses;
* several operations at once take the time of the longest;
* with limits, a partition key gives no more units a second than they say, and refuses calls beyond that
  (ThrottlingException, or ThrottlingError in a transaction).

Not modelled: the limits of indexes' partition keys, network time by size, and failures.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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


@dataclass(frozen=True, slots=True)
class Limits:
    """Units a second of one partition key."""

    reads: float
    writes: float
    kept: float = 1.0
    """Seconds whose unused units are kept. DynamoDB keeps those of up to five minutes, and promises none."""


OF_A_PARTITION = Limits(reads=3_000, writes=1_000)
"""Those of DynamoDB, which no mode and no setting changes."""


@dataclass(slots=True)
class Allowance:
    """The units that a partition key has left."""

    rate: float
    most: float
    left: float
    since: float = field(default_factory=time.perf_counter)

    def is_used_up(self) -> bool:
        """Return whether a call must be refused."""
        now = time.perf_counter()
        self.left = min(self.left + (now - self.since) * self.rate, self.most)
        self.since = now
        return self.left <= 0


class Service(Memory):
    """The model, as the `Send` of a table; threads may share it.

    Args:
        latencies: How long calls take.
        schemas: The key attributes of tables that are not keyed by `pk` and `sk`.
        limits: What a partition key gives; by default any number of units.
    """

    def __init__(
        self,
        latencies: Latencies = INSTANT,
        schemas: Mapping[str, Sequence[str]] | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(schemas=schemas)
        self.latencies = latencies
        self._limits = limits
        self._allowances: dict[tuple[str, str, bool], Allowance] = {}
        """By table, partition key, and whether it is of writes."""
        self.busy: set[Key] = set()
        """Items that are in a transaction at present."""
        self._lock = threading.Lock()
        self._sizes: dict[tuple[str, str], dict[str, int]] = {}
        """Bytes of each item, by partition and sort key."""
        self._indexed = 0
        """Items that the current call adds to an index, changes in it or removes from it: each is less than 1 KB."""
        self._queried = 0
        self._written: list[tuple[Key, int]] = []
        """Bytes that the current call reads by a query, and of each item that it writes."""

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation."""
        if operation == "TransactWriteItems":
            return self._transact(request)
        (attempt,) = self.send_all([(operation, request)])
        return attempt()

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> Sequence[Callable[[], dict[str, Any]]]:
        """Carry out several operations at once, none of them a transaction."""
        began = time.perf_counter()
        attempts = [self._attempt(*request) for request in requests]
        latency = max(self.latencies.read if operation in _READS else self.latencies.write for operation, _ in requests)
        # What the model takes itself is part of the latency, not added to it.
        _wait(latency - (time.perf_counter() - began))
        return attempts

    def _attempt(self, operation: str, request: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        try:
            answer = self._admitted(operation, request)
        except ServiceFault as fault:
            return partial(_refuse, fault)
        return lambda: answer

    def _admitted(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if operation in _PLAIN_WRITES and self._target(request) in self.busy:
                raise ServiceFault("TransactionConflictException")
            if any(self._is_used_up(key, operation not in _READS) for key in self._touched(operation, request)):
                raise ServiceFault("ThrottlingException")
            return self._charged(operation, request)

    def _transact(self, request: dict[str, Any]) -> dict[str, Any]:
        keys = self._touched("TransactWriteItems", request)
        with self._lock:
            codes = [
                "TransactionConflict"
                if key in self.busy
                else "ThrottlingError"
                if self._is_used_up(key, writes=True)
                else "None"
                for key in keys
            ]
            if not (refused := set(codes) != {"None"}):
                self.busy.update(keys)
        if refused:
            _wait(self.latencies.write)
            raise ServiceFault("TransactionCanceledException", reasons=[{"Code": code} for code in codes])
        _wait(self.latencies.transaction)
        with self._lock:
            self.busy.difference_update(keys)
            return self._charged("TransactWriteItems", request)

    def _charged(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self._written.clear()
        self._indexed = 0
        answer = super().__call__(operation, request)
        units = self._units(operation, request)
        for key, consumed in units:
            if allowance := self._allowance(key, operation not in _READS):
                allowance.left -= consumed
        total = sum(consumed for _, consumed in units) + self._indexed
        return {**answer, "ConsumedCapacity": {"CapacityUnits": total}}

    def _units(self, operation: str, request: dict[str, Any]) -> list[tuple[Key, float]]:
        """The units of the current call by key, without those of indexes."""
        if operation in _READS:
            wanted = next(iter(request["RequestItems"].values())) if operation == "BatchGetItem" else request
            consistent = wanted.get("ConsistentRead", False)
            return [
                (key, read_units(self._queried if operation == "Query" else self._size(key), consistent=consistent))
                for key in self._touched(operation, request)
            ]
        transactional = operation == "TransactWriteItems"
        return [(key, write_units(size, transactional=transactional)) for key, size in self._written]

    def _touched(self, operation: str, request: dict[str, Any]) -> list[Key]:
        """The keys of an operation; that of a query has its partition only. None of a query of an index."""
        match operation:
            case "TransactWriteItems":
                return [self._target(write) for item in request["TransactItems"] for write in item.values()]
            case "BatchGetItem":
                ((table, wanted),) = request["RequestItems"].items()
                return [self._key(table, key) for key in wanted["Keys"]]
            case "BatchWriteItem":
                return []
            case "Query":
                partition = request["ExpressionAttributeValues"].get(":pk")
                return [(request["TableName"], partition["S"], "")] if partition else []
            case _:
                return [self._target(request)] if "Key" in request or "Item" in request else []

    def use_up(self, table: str, partition: str) -> None:
        """Leave a partition key none of the write units that it has kept."""
        if allowance := self._allowance((table, partition, ""), writes=True):
            allowance.left = 0.0

    def _is_used_up(self, key: Key, writes: bool) -> bool:  # noqa: FBT001 - private
        allowance = self._allowance(key, writes)
        return allowance is not None and allowance.is_used_up()

    def _allowance(self, key: Key, writes: bool) -> Allowance | None:  # noqa: FBT001 - private
        if self._limits is None:
            return None
        rate = self._limits.writes if writes else self._limits.reads
        name = (*key[:2], writes)
        if name not in self._allowances:
            self._allowances[name] = Allowance(rate, rate * self._limits.kept, rate * self._limits.kept)
        return self._allowances[name]

    def load(self, table: str, item: dict[str, Any]) -> None:
        """Write an item as it is, charged by the larger of before and after."""
        key, size = self._key(table, item), item_bytes(item)
        self._index(self._find(key) or {}, item)
        self._written.append((key, max(size, self._size(key))))
        self._sizes.setdefault(key[:2], {})[key[2]] = size
        super().load(table, item)

    def _index(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for names in _INDEXED:
            old, new = ([item.get(name) for name in names] for item in (before, after))
            if old != new:
                self._indexed += (None not in old) + (None not in new)

    def _remove(self, key: Key) -> None:
        self._written.append((key, self._size(key)))
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


def _refuse(fault: ServiceFault) -> dict[str, Any]:
    raise fault


def _wait(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)
