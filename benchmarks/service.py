"""A model of DynamoDB: what it answers and charges, how long it takes, and which writes refuse each other.

No local engine refuses concurrent transactions, though that decides how creates scale, and the embedded one goes over a
whole partition for every query. So what depends on either is measured here:

* a call takes its latency, in which other threads go on;
* an item that is in a transaction refuses a second one (TransactionCanceledException with TransactionConflict), and
  any plain write (TransactionConflictException); plain writes do not refuse each other, and reads pass;
* a refusal for that is answered after the time of a plain write, so trying again costs less than the service takes;
* a query stops at `Limit` and at 1 MB; capacity is charged by `sizes`.

Not modelled: throttling, network time by size, and anything that fails.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.expressions import apply_update, compile_condition
from benchmarks.sizes import Raw, item_bytes, read_units, write_units
from ordering.aws.dynamodb import ServiceFault

_READS = frozenset({"GetItem", "BatchGetItem", "Query"})
_PAGE = 1024 * 1024

_Key = tuple[str, str, str]
"""Table, partition key and sort key."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds that calls take."""

    read: float
    write: float
    transaction: float


INSTANT = Latencies(0, 0, 0)
TYPICAL = Latencies(read=0.002, write=0.004, transaction=0.010)
"""Of the order that DynamoDB shows from within its region."""


@dataclass(slots=True)
class _Partition:
    items: dict[str, tuple[dict[str, Any], int]] = field(default_factory=dict)
    """By sort key, with their sizes."""
    order: list[str] = field(default_factory=list)


class Service:
    """The model, as the `Send` of a table; threads may share it."""

    def __init__(self, latencies: Latencies = INSTANT, schemas: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """Make a service whose tables have the keys `pk` and `sk` unless `schemas` names others."""
        self.latencies = latencies
        self._schemas = schemas or {}
        self._partitions: dict[tuple[str, str], _Partition] = {}
        self.busy: set[_Key] = set()
        """What is in a transaction at present."""
        self._lock = threading.Lock()
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GetItem": self._get,
            "BatchGetItem": self._batch_get,
            "Query": self._query,
            "PutItem": self._write,
            "UpdateItem": self._write,
            "BatchWriteItem": self._batch_write,
            "TransactWriteItems": self._transact,
        }

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation."""
        began = time.perf_counter()
        try:
            return self._operations[operation](request)
        finally:
            # What the model takes itself is part of the latency, not added to it.
            _wait(self._latency(operation) - (time.perf_counter() - began))

    def _get(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            item, size = self._find(self._key(request["TableName"], request["Key"]))
        units = read_units(size, consistent=request.get("ConsistentRead", False))
        return {**({"Item": item} if item else {}), "ConsumedCapacity": {"CapacityUnits": units}}

    def _batch_get(self, request: dict[str, Any]) -> dict[str, Any]:
        ((table, wanted),) = request["RequestItems"].items()
        with self._lock:
            found = [self._find(self._key(table, key)) for key in wanted["Keys"]]
        units = sum(read_units(size, consistent=wanted.get("ConsistentRead", False)) for _, size in found)
        return {
            "Responses": {table: [item for item, _ in found if item]},
            "ConsumedCapacity": [{"CapacityUnits": units}],
        }

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        """Query a partition, whole or between two sort keys named as `Table.query` names them."""
        values = request["ExpressionAttributeValues"]
        with self._lock:
            partition = self._partitions.get((request["TableName"], values[":pk"]["S"]), _Partition())
            order, start, end = partition.order, 0, len(partition.order)
            if "BETWEEN" in request["KeyConditionExpression"]:
                start, end = bisect_left(order, values[":first"]["S"]), bisect_right(order, values[":last"]["S"])
            if resume := request.get("ExclusiveStartKey"):
                start = bisect_right(order, resume["sk"]["S"])
            stop = min(end, start + request.get("Limit", end))
            page, size = _fill_page(partition.items[order[index]] for index in range(start, stop))
        # A limit that is reached says that there is more, whether there is or not.
        more = page and (start + len(page) < end or len(page) == request.get("Limit"))
        units = read_units(size, consistent=request.get("ConsistentRead", False))
        return {
            "Count": len(page),
            **({} if request.get("Select") == "COUNT" else {"Items": page}),
            **({"LastEvaluatedKey": {"pk": page[-1]["pk"], "sk": page[-1]["sk"]}} if more else {}),
            "ConsumedCapacity": {"CapacityUnits": units},
        }

    def _write(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._target(request)
        with self._lock:
            if key in self.busy:
                raise ServiceFault("TransactionConflictException")
            if not self._satisfies(key, request):
                raise ServiceFault("ConditionalCheckFailedException", item=self._find(key)[0])
            size, changed = self._apply(key, request)
        return {
            **({"Attributes": changed} if changed else {}),
            "ConsumedCapacity": {"CapacityUnits": write_units(size)},
        }

    def _batch_write(self, request: dict[str, Any]) -> dict[str, Any]:
        ((table, writes),) = request["RequestItems"].items()
        with self._lock:
            sizes = [
                self._store(self._key(table, put["PutRequest"]["Item"]), put["PutRequest"]["Item"]) for put in writes
            ]
        return {"UnprocessedItems": {}, "ConsumedCapacity": [{"CapacityUnits": sum(map(write_units, sizes))}]}

    def _transact(self, request: dict[str, Any]) -> dict[str, Any]:
        writes = [write for item in request["TransactItems"] for write in item.values()]
        keys = [self._target(write) for write in writes]
        with self._lock:
            conflicts = [key in self.busy for key in keys]
            if not any(conflicts):
                self.busy.update(keys)
        if any(conflicts):
            _wait(self.latencies.write)
            raise _cancelled([{"Code": "TransactionConflict" if conflict else "None"} for conflict in conflicts])
        _wait(self.latencies.transaction)
        with self._lock:
            self.busy.difference_update(keys)
            holds = [self._satisfies(key, write) for key, write in zip(keys, writes, strict=True)]
            if not all(holds):
                raise _cancelled([self._reason(key, hold) for key, hold in zip(keys, holds, strict=True)])
            sizes = [self._apply(key, write)[0] for key, write in zip(keys, writes, strict=True)]
        return {"ConsumedCapacity": [{"CapacityUnits": sum(write_units(size, transactional=True) for size in sizes)}]}

    def _latency(self, operation: str) -> float:
        if operation == "TransactWriteItems":
            return 0  # it waits while it holds its items
        return self.latencies.read if operation in _READS else self.latencies.write

    def _key(self, table: str, attributes: Raw) -> _Key:
        partition, *sort = self._schemas.get(table, ("pk", "sk"))
        return table, attributes[partition]["S"], attributes[sort[0]]["S"] if sort else ""

    def _target(self, write: Raw) -> _Key:
        return self._key(write["TableName"], write.get("Item") or write["Key"])

    def _find(self, key: _Key) -> tuple[dict[str, Any] | None, int]:
        table, partition, sort = key
        found = self._partitions.get((table, partition))
        return found.items.get(sort, (None, 0)) if found else (None, 0)

    def _satisfies(self, key: _Key, write: Raw) -> bool:
        condition = write.get("ConditionExpression")
        return not condition or compile_condition(condition)(self._find(key)[0] or {}, _arguments(write))

    def _apply(self, key: _Key, write: Raw) -> tuple[int, Raw]:
        """Write; returns the size that is charged and the attributes that an update named."""
        if "Item" in write:
            return self._store(key, write["Item"]), {}
        before = self._find(key)[0] or write["Key"]
        after, touched = apply_update(write["UpdateExpression"], before, _arguments(write))
        return self._store(key, after), {name: after[name] for name in touched}

    def _store(self, key: _Key, item: dict[str, Any]) -> int:
        table, partition, sort = key
        place = self._partitions.setdefault((table, partition), _Partition())
        if sort not in place.items:
            insort(place.order, sort)
        _, before = place.items.get(sort, (None, 0))
        size = item_bytes(item)
        place.items[sort] = item, size
        return max(before, size)

    def _reason(self, key: _Key, hold: bool) -> dict[str, Any]:  # noqa: FBT001 - one of a list of results
        return {"Code": "None"} if hold else {"Code": "ConditionalCheckFailed", "Item": self._find(key)[0]}


def _fill_page(candidates: Iterable[tuple[Raw, int]]) -> tuple[list[Raw], int]:
    """Take items as long as they fit a page of the service; returns them and their size."""
    page: list[Raw] = []
    total = 0
    for item, size in candidates:
        if page and total + size > _PAGE:
            break
        page.append(item)
        total += size
    return page, total


def _arguments(write: Raw) -> Raw:
    return {**write.get("ExpressionAttributeNames", {}), **write.get("ExpressionAttributeValues", {})}


def _cancelled(reasons: list[dict[str, Any]]) -> ServiceFault:
    return ServiceFault("TransactionCanceledException", reasons=reasons)


def _wait(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)
