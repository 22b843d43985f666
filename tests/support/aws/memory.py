"""DynamoDB in memory: the operations and expressions that the product uses, each call as one atomic step.

The only table in memory: tests run on it, and the benchmarks add prices and latencies (`benchmarks/service.py`). It
takes requests in the notation of the service (a `Send`), refuses what it does not know, and is compared with engines by
`engine/test_memory.py`. Reads can be torn on purpose: `query_page` and `batch_page` limit the items of one answer, as
the service does with long answers, so that writes come between the calls.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

from ordering.aws.dynamodb import ServiceFault
from support.aws.expressions import Wire, holds, invalid, update
from support.aws.sizes import item_bytes

Key = tuple[str, str, str]
"""Table, partition key and sort key; the sort key is "" where a table has none."""

_KEY_NAMES = ("pk", "sk")
_WHOLE = "pk = :pk"
_BETWEEN = "pk = :pk AND sk BETWEEN :first AND :last"
_IN_INDEX = "#partition = :partition AND #sort >= :first"
_DUE_IN_INDEX = "#partition = :partition AND #sort <= :last"
_INCLUDED = ("since",)
"""What indexes have besides keys, if an item has it."""
_MOST_WRITES = 100
_MOST_KEYS = 100
_LARGEST_ITEM = 400 * 1024
_LARGEST_TRANSACTION = 4 * 1024 * 1024


def _fitting(item: Wire) -> Wire:
    """Return an item unless it is larger than the service takes."""
    # Its bytes are at most four for each character of its text, which is counted much faster.
    if 4 * len(repr(item)) > _LARGEST_ITEM and item_bytes(item) > _LARGEST_ITEM:
        raise invalid("Item size has exceeded the maximum allowed size")
    return item


def _projected(items: Sequence[Wire], request: Wire) -> Sequence[Wire]:
    """Return what a projection leaves of items: attributes, and parts of maps."""
    if "ProjectionExpression" not in request:
        return items
    names = request["ExpressionAttributeNames"]
    paths = [[names[name] for name in path.split(".")] for path in request["ProjectionExpression"].split(", ")]
    return [_part(item, paths) for item in items]


def _part(item: Wire, paths: Sequence[Sequence[str]]) -> Wire:
    part: Wire = {}
    for first, *rest in paths:
        if first in item and not rest:
            part[first] = item[first]
        elif first in item and (inner := _part(item[first].get("M", {}), [rest])):
            part.setdefault(first, {"M": {}})["M"] |= inner
    return part


class _Partition:
    """Items by sort key, and the sort keys in order."""

    __slots__ = ("items", "sorts")

    def __init__(self, items: dict[str, Wire], sorts: list[str]) -> None:
        self.items = items
        self.sorts = sorts


_EMPTY = _Partition({}, [])


class Memory:
    """One engine's tables; a table exists as soon as it is written to. For one thread at a time.

    Args:
        query_page: Items that a query returns at most; all by default.
        batch_page: Items that a batch get returns at most; all by default.
        schemas: The key attributes of tables that are not keyed by `pk` and `sk`; all keys are strings.
    """

    operations: ClassVar[Mapping[str, str]] = {
        "GetItem": "_get_item",
        "BatchGetItem": "_batch_get_item",
        "Query": "_query",
        "Scan": "_scan",
        "PutItem": "_put_item",
        "UpdateItem": "_update_item",
        "TransactWriteItems": "_transact_write_items",
        "BatchWriteItem": "_batch_write_item",
    }
    """The methods that carry out operations. A subclass can add operations of other services."""

    def __init__(
        self,
        *,
        query_page: int | None = None,
        batch_page: int | None = None,
        schemas: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._partitions: dict[tuple[str, str], _Partition] = {}
        self._own: set[tuple[str, str]] = set()
        """Partitions that are not shared with a fork, so that they can be changed in place."""
        self._query_page = query_page
        self._batch_page = batch_page
        self._schemas = schemas or {}

    def __call__(self, operation: str, request: Wire) -> Wire:
        answer: Wire = getattr(self, self.operations[operation])(request)
        return answer

    def fork(self) -> Self:
        """Return an independent copy. Partitions are shared until either side changes them."""
        other = copy.copy(self)
        other._partitions = dict(self._partitions)
        self._own, other._own = set(), set()
        return other

    def scan(self, table: str) -> Iterator[tuple[tuple[str, str], Wire]]:
        """Yield every item of a table with its partition and sort key."""
        for (of, pk), partition in self._partitions.items():
            if of == table:
                for sk, item in partition.items.items():
                    yield (pk, sk), item

    def load(self, table: str, item: Wire) -> None:
        """Write an item as it is."""
        _, pk, sk = self._key(table, item)
        partition = self._owned(table, pk)
        if sk not in partition.items:
            insort(partition.sorts, sk)
        partition.items[sk] = item

    def _remove(self, key: Key) -> None:
        table, pk, sk = key
        if self._find(key) is not None:
            partition = self._owned(table, pk)
            del partition.items[sk]
            partition.sorts.remove(sk)

    def _find(self, key: Key) -> Wire | None:
        table, pk, sk = key
        return self._partitions.get((table, pk), _EMPTY).items.get(sk)

    def _owned(self, table: str, pk: str) -> _Partition:
        name = (table, pk)
        if name not in self._own:
            shared = self._partitions.get(name, _EMPTY)
            self._partitions[name] = _Partition(dict(shared.items), list(shared.sorts))
            self._own.add(name)
        return self._partitions[name]

    def _key(self, table: str, attributes: Wire) -> Key:
        if table in self._schemas:
            partition, *sort = self._schemas[table]
            return table, attributes[partition]["S"], attributes[sort[0]]["S"] if sort else ""
        return table, attributes["pk"]["S"], attributes["sk"]["S"]

    def _target(self, write: Wire) -> Key:
        return self._key(write["TableName"], write.get("Key") or write["Item"])

    def _get_item(self, request: Wire) -> Wire:
        item = self._find(self._key(request["TableName"], request["Key"]))
        return {"Item": item} if item else {}

    def _batch_get_item(self, request: Wire) -> Wire:
        ((table, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        if len(keys) > _MOST_KEYS:
            raise invalid("Too many items requested for the BatchGetItem call")
        now, later = keys[: self._batch_page], keys[self._batch_page :] if self._batch_page else []
        found = [item for raw in now if (item := self._find(self._key(table, raw))) is not None]
        unprocessed = {table: {**wanted, "Keys": later}} if later else {}
        return {"Responses": {table: found}, "UnprocessedKeys": unprocessed}

    def _query(self, request: Wire) -> Wire:
        """Query a whole partition, or between two sort keys named as `Table.query` names them."""
        if "IndexName" in request:
            return self._query_index(request)
        expression, values = request["KeyConditionExpression"], request["ExpressionAttributeValues"]
        if expression not in {_WHOLE, _BETWEEN}:
            raise NotImplementedError(expression)
        name = (request["TableName"], values[":pk"]["S"])
        partition = self._partitions.get(name, _EMPTY)
        sorts, start, end = partition.sorts, 0, len(partition.sorts)
        if expression == _BETWEEN:
            first, last = values[":first"]["S"], values[":last"]["S"]
            if first > last:
                raise invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
            start, end = bisect_left(sorts, first), bisect_right(sorts, last)
        if resume := request.get("ExclusiveStartKey"):
            start = bisect_right(sorts, resume["sk"]["S"])
        limit = request.get("Limit", end)
        stop = self._page_end(name, sorts, start, min(end, start + limit))
        items = list(map(partition.items.__getitem__, sorts[start:stop]))
        # The service stops at a limit without looking whether there is more.
        more = items and (stop < end or len(items) == request.get("Limit"))
        return {
            "Count": len(items),
            **({} if request.get("Select") == "COUNT" else {"Items": _projected(items, request)}),
            **({"LastEvaluatedKey": {key: items[-1][key] for key in _KEY_NAMES}} if more else {}),
        }

    def _query_index(self, request: Wire) -> Wire:
        """Query an index as `Table` does, in one page; an item is in it if it has both of its keys."""
        forward = request.get("ScanIndexForward", True)
        if request["KeyConditionExpression"] != (_DUE_IN_INDEX if forward else _IN_INDEX):
            raise NotImplementedError(request)
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        partition, sort = names["#partition"], names["#sort"]
        first, last = values.get(":first", {"S": ""})["S"], values.get(":last", {"S": "\U0010ffff"})["S"]
        found = [
            {name: item[name] for name in (*_KEY_NAMES, partition, sort, *_INCLUDED) if name in item}
            for _, item in self.scan(request["TableName"])
            if item.get(partition) == values[":partition"] and sort in item and first <= item[sort]["S"] <= last
        ]
        found.sort(key=lambda item: str(item[sort]["S"]), reverse=not forward)
        return {"Items": found}

    def _scan(self, request: Wire) -> Wire:
        """Scan a table for the beginnings of partition keys, as `Table.scan` does, in one page."""
        values = request["ExpressionAttributeValues"]
        if request["FilterExpression"] != " OR ".join(f"begins_with(pk, {name})" for name in values):
            raise NotImplementedError(request["FilterExpression"])
        prefixes = tuple(value["S"] for value in values.values())
        return {"Items": [item for (pk, _), item in self.scan(request["TableName"]) if pk.startswith(prefixes)]}

    def _page_end(self, partition: tuple[str, str], sorts: Sequence[str], start: int, end: int) -> int:  # noqa: ARG002 - for subclasses
        """Where one answer to a query ends that begins at the sort key of index `start`."""
        return min(end, start + self._query_page) if self._query_page else end

    def _batch_write_item(self, request: Wire) -> Wire:
        for table, writes in request["RequestItems"].items():
            for write in writes:
                if "DeleteRequest" in write:
                    self._remove(self._key(table, write["DeleteRequest"]["Key"]))
                else:
                    self.load(table, write["PutRequest"]["Item"])
        return {}

    def _put_item(self, request: Wire) -> Wire:
        self._check(request)
        self.load(request["TableName"], _fitting(request["Item"]))
        return {}

    def _update_item(self, request: Wire) -> Wire:
        self._check(request)
        item = self._update(request)
        return {"Attributes": item} if request.get("ReturnValues") == "ALL_NEW" else {}

    def _check(self, request: Wire) -> None:
        before = self._find(self._target(request))
        if not holds(request, before):
            raise ServiceFault(
                "ConditionalCheckFailedException",
                "The conditional request failed",
                item=before if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None,
            )

    def _transact_write_items(self, request: Wire) -> Wire:
        writes = [next(iter(write.items())) for write in request["TransactItems"]]
        targets = [self._target(write) for _, write in writes]
        if not 0 < len(writes) <= _MOST_WRITES:
            raise invalid(f"a transaction of {len(writes)} writes")
        if len(set(targets)) < len(targets):
            raise invalid("Transaction request cannot include multiple operations on one item")
        items = [
            write.get("Item") or self._find(target) or {} for target, (_, write) in zip(targets, writes, strict=True)
        ]
        if 4 * len(repr(items)) > _LARGEST_TRANSACTION and sum(map(item_bytes, items)) > _LARGEST_TRANSACTION:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        for kind, write in writes:
            if kind == "Put":
                _fitting(write["Item"])
        reasons = [self._reason(write) for _, write in writes]
        if any(reason["Code"] != "None" for reason in reasons):
            raise ServiceFault("TransactionCanceledException", "Transaction cancelled", reasons=reasons)
        for kind, write in writes:
            self._carry_out(kind, write)
        return {}

    def _reason(self, write: Wire) -> Wire:
        before = self._find(self._target(write))
        if holds(write, before):
            return {"Code": "None"}
        reason: Wire = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
        if before and write.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            reason["Item"] = before
        return reason

    def _carry_out(self, kind: str, write: Wire) -> None:
        match kind:
            case "Put":
                self.load(write["TableName"], write["Item"])
            case "Update":
                self._update(write)
            case "Delete":
                self._remove(self._target(write))
            case "ConditionCheck":
                pass
            case _:
                raise NotImplementedError(kind)

    def _update(self, request: Wire) -> Wire:
        item = _fitting(update(request, self._find(self._target(request)) or request["Key"]))
        self.load(request["TableName"], item)
        return item
