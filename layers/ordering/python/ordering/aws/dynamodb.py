"""DynamoDB. No other module calls it.

A `Table` takes and returns plain Python values, retries transient errors until the request's deadline, and counts
consumed capacity. All its calls pass through a `Send`, a single callable. Production code makes it with
`connect_tables`; tests wrap it to pause, fail or observe calls.

    TableError
    ├── ConditionFailed       a condition did not hold; carries the existing item
    └── TransactionRefused    a condition of a transaction did not hold; carries the reason of each write
    ServiceFault              the service's own error, by its code (raised by a `Send`)
    NoAnswer                  no response arrived; the call may or may not have taken effect (raised by a `Send`)

If no retry succeeds before the deadline, `errors.Unavailable` is raised, with the reason of the last failure.
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ordering.aws.calls import ANSWERED_WITHIN, CONNECTED_WITHIN, failure_of, new_session
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.values import Struct, Value, field, replace

Item = dict[str, Any]
"""An item as plain values: str, int, bool, None, bytes, list, dict, and sets of int or str."""

Key = tuple[str, str]
"""Partition key and sort key."""

Send = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out one operation of the service, by its name in the API, and returns the raw response.

It may have a `SendTogether` as an attribute `send_all`.
"""

SendTogether = Callable[[Sequence[tuple[str, dict[str, Any]]]], Sequence[Callable[[], dict[str, Any]]]]
"""Carries out several operations at the same time; returns for each a function that returns its raw response.

The function raises as a `Send` does.
"""

_BATCH_LIMIT = 100
"""Most keys in one BatchGetItem: a limit of the service."""

_BATCH_WRITE_LIMIT = 25
"""Most items in one BatchWriteItem: a limit of the service."""

_AT_ONCE = 10
"""Most operations carried out at the same time: the connections that botocore keeps open."""

_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_TRANSIENT_REASONS = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_CONDITION = "ConditionalCheckFailed"
_jitter = random.SystemRandom()
"""Of the operating system, so that processes that start from one snapshot do not all draw the same numbers."""


class TableError(Exception):
    """A write was refused by its condition."""


class ConditionFailed(TableError):
    """The condition of a write did not hold."""

    def __init__(self, item: Item | None) -> None:
        """Keep the existing item, None if there is none."""
        super().__init__("the condition did not hold")
        self.item = item


class Reason(Value):
    """The reason why one write of a transaction was refused: the item that did not meet its condition, if it exists."""

    item: Item | None


class TransactionRefused(TableError):
    """At least one condition of a transaction did not hold, so none of its writes took place."""

    def __init__(self, reasons: Sequence[Reason | None]) -> None:
        """Keep one reason for each write, None for a write whose condition held."""
        super().__init__(f"refused by writes {[index for index, reason in enumerate(reasons) if reason]}")
        self.reasons = tuple(reasons)


class ServiceFault(Exception):
    """An error response of the service."""

    def __init__(self, code: str, message: str = "", *, item: Item | None = None, reasons: Sequence[Any] = ()) -> None:
        """Keep the code, and for a refused write the details in the service's own notation."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.item = item
        self.reasons = tuple(reasons)


class NoAnswer(Exception):
    """The connection failed, or no complete response arrived in time."""


class Usage(Struct):
    """Capacity units consumed by the calls since the last `take`."""

    calls: int = 0
    reads: float = 0.0
    writes: float = 0.0
    retries: int = 0
    """Attempts that failed, whether a later one succeeded or not."""

    def take(self) -> Usage:
        """Return the counts and reset them to zero."""
        taken = replace(self)
        self.calls, self.reads, self.writes, self.retries = 0, 0.0, 0.0, 0
        return taken


class Put(Value):
    """Write a whole item."""

    item: Item
    condition: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class Update(Value):
    """Change parts of an item by an update expression."""

    key: Key
    expression: str
    condition: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class Delete(Value):
    """Remove an item."""

    key: Key
    condition: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class Check(Value):
    """Write nothing, but let the transaction take place only if an item meets a condition."""

    key: Key
    condition: str
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


Write = Put | Update | Delete | Check

ABSENT = "attribute_not_exists(pk)"
"""The condition that an item does not exist yet."""


class Table(Value):
    """One table, as seen by one request: its retries end at `deadline`."""

    send: Send
    name: str
    usage: Usage = field(default_factory=Usage)
    deadline: Deadline | None = None
    first_pause: float = 0.02
    """The longest pause before the first retry, in seconds; it doubles with each retry, up to 1 s (full jitter)."""
    patience: float = 5.0
    """Seconds after which retries end if no deadline is set."""

    def until(self, deadline: Deadline) -> Table:
        """Return the same table with a deadline."""
        return replace(self, deadline=deadline)

    def get(self, key: Key) -> Item | None:
        """Read one item, strongly consistent."""
        answer = self._call("GetItem", {"TableName": self.name, "Key": _key(key), "ConsistentRead": True})
        found = answer.get("Item")
        return plain_item(found) if found else None

    def batch_get(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Read items by key; missing ones are left out. Up to 100 items take one round trip.

        Each item is read strongly consistent, but they are not one snapshot.
        """
        found: dict[Key, Item] = {}
        left: list[Item] = [_key(key) for key in dict.fromkeys(keys)]
        pauses = self.pauses()
        while left:
            wanted = {self.name: {"Keys": left[:_BATCH_LIMIT], "ConsistentRead": True}}
            answer = self._call("BatchGetItem", {"RequestItems": wanted})
            for raw in answer["Responses"].get(self.name, ()):
                item = plain_item(raw)
                found[item["pk"], item["sk"]] = item
            refused = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            left = refused + left[_BATCH_LIMIT:]
            if refused:
                next(pauses)
        return found

    def query(
        self, partition: str, first: str, last: str, page: int | None = None, attributes: Sequence[str] = ()
    ) -> Iterator[Item]:
        """Yield the items of a partition with sort keys from `first` to `last`, both included, in ascending order.

        They are read strongly consistent, but not as of one moment: the service's pages are read as they are needed.

        Args:
            partition: The partition key.
            first: The least sort key.
            last: The greatest sort key.
            page: Most items of a page; by default what has 1 MB, and in some engines all that there are.
            attributes: What of the items is wanted, `order.discount` for a part of a map; by default all. The cost in
                units stays, but less is sent and parsed.
        """
        if first > last:  # the service refuses such a query
            return
        request = {
            **self._between(partition, first, last),
            **({"Limit": page} if page else {}),
            **_projection(attributes),
        }
        yield from self._pages("Query", request)

    def query_all(self, spans: Sequence[tuple[str, str, str]], attributes: Sequence[str] = ()) -> list[list[Item]]:
        """Read what `query` yields for each partition, first and last sort key, in one round trip where that is enough.

        Where the connection cannot carry out several operations at the same time, they go out one after the other.

        Args:
            spans: A partition key, a first and a last sort key each.
            attributes: See `query`.
        """
        projection = _projection(attributes)
        found: list[list[Item]] = [[] for _ in spans]
        left = {index: {**self._between(*span), **projection} for index, span in enumerate(spans) if span[1] <= span[2]}
        while left:
            answers = self._call_all("Query", [*left.values()])
            for index, answer in zip([*left], answers, strict=True):
                found[index] += map(plain_item, answer["Items"])
                request = left.pop(index)
                if resume := answer.get("LastEvaluatedKey"):
                    left[index] = {**request, "ExclusiveStartKey": resume}
        return found

    def _between(self, partition: str, first: str, last: str) -> dict[str, Any]:
        return {
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": _item({":pk": partition, ":first": first, ":last": last}),
            "ConsistentRead": True,
        }

    def query_index(self, index: str, partition: tuple[str, str], first: tuple[str, str]) -> Iterator[Key]:
        """Yield the keys of the items of an index's partition, with sort keys from a first one on, in descending order.

        The index has an item a moment after the table.

        Args:
            partition: The name and the value of the index's partition key.
            first: The name of its sort key, and the least value.
        """
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": "#partition = :partition AND #sort >= :first",
            "ExpressionAttributeNames": {"#partition": partition[0], "#sort": first[0]},
            "ExpressionAttributeValues": _item({":partition": partition[1], ":first": first[1]}),
            "ScanIndexForward": False,
        }
        for item in self._pages("Query", request):
            yield item["pk"], item["sk"]

    def query_index_up_to(
        self, index: str, partition: tuple[str, str], last: tuple[str, str], page: int | None = None
    ) -> Iterator[Item]:
        """Yield what an index has of the items of its partition, with sort keys up to a last one, in ascending order.

        The index has an item a moment after the table.

        Args:
            partition: The name and the value of the index's partition key.
            last: The name of its sort key, and the greatest value.
            page: Most items of a page; by default what has 1 MB.
        """
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": "#partition = :partition AND #sort <= :last",
            "ExpressionAttributeNames": {"#partition": partition[0], "#sort": last[0]},
            "ExpressionAttributeValues": _item({":partition": partition[1], ":last": last[1]}),
            **({"Limit": page} if page else {}),
        }
        yield from self._pages("Query", request)

    def scan(self, *prefixes: str) -> Iterator[Item]:
        """Read the whole table, and yield the items whose partition keys begin with one of `prefixes`, in no order.

        For commands of operators only: it consumes a read unit for every 4 KB of the table, whatever it yields.
        """
        request: dict[str, Any] = {
            "TableName": self.name,
            "FilterExpression": " OR ".join(f"begins_with(pk, :prefix{index})" for index in range(len(prefixes))),
            "ExpressionAttributeValues": _item({f":prefix{index}": one for index, one in enumerate(prefixes)}),
            "ConsistentRead": True,
        }
        yield from self._pages("Scan", request)

    def _pages(self, operation: str, request: dict[str, Any]) -> Iterator[Item]:
        while True:
            answer = self._call(operation, request)
            yield from map(plain_item, answer["Items"])
            if not (resume := answer.get("LastEvaluatedKey")):
                return
            request = {**request, "ExclusiveStartKey": resume}

    def put(self, write: Put) -> None:
        """Write one item.

        Raises:
            ConditionFailed: Its condition did not hold. After a lost response, the existing item can be the one
                that this call wrote.
        """
        self._call("PutItem", _request(self.name, write))

    def put_all(self, items: Iterable[Item]) -> None:
        """Write whole items, without conditions and not atomically: after a crash, some may be written."""
        self._write_all({"PutRequest": {"Item": _item(item)}} for item in items)

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Remove items if they exist, not atomically: after a crash, some may remain."""
        self._write_all({"DeleteRequest": {"Key": _key(key)}} for key in keys)

    def _write_all(self, requests: Iterable[dict[str, Any]]) -> None:
        remaining = iter(requests)
        while left := list(itertools.islice(remaining, _BATCH_WRITE_LIMIT)):
            pauses = self.pauses()
            while left:
                answer = self._call("BatchWriteItem", {"RequestItems": {self.name: left}})
                left = answer.get("UnprocessedItems", {}).get(self.name, [])
                if left:
                    next(pauses)

    def update(self, write: Update) -> Item:
        """Change one item and return the changed item. After a lost response, the update can be applied twice.

        Raises:
            ConditionFailed: Its condition did not hold.
        """
        answer = self._call("UpdateItem", {**_request(self.name, write), "ReturnValues": "ALL_NEW"})
        return plain_item(answer.get("Attributes", {}))

    def transact(self, writes: Sequence[Write]) -> None:
        """Carry out up to 100 writes, all or none.

        Raises:
            TransactionRefused: A condition did not hold. After a lost response, the existing items can be those that
                this call wrote: the service recognizes a retry for ten minutes only, and not every engine does.
        """
        requests = [{_kind(write): _request(self.name, write)} for write in writes]
        # All attempts share one token: the service acknowledges a retry of a transaction that took effect.
        self._call("TransactWriteItems", {"TransactItems": requests, "ClientRequestToken": secrets.token_hex(16)})

    def _call_all(self, operation: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Carry out operations at the same time where the connection can; those that fail are retried one by one."""
        together: SendTogether | None = getattr(self.send, "send_all", None)
        if together is None or len(requests) == 1 or (self.deadline and self.deadline.passed()):
            return [self._call(operation, request) for request in requests]
        attempts = together([(operation, _charged(request)) for request in requests])
        return [self._call(operation, *one) for one in zip(requests, attempts, strict=True)]

    def _call(
        self, operation: str, request: dict[str, Any], attempted: Callable[[], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Carry out an operation, with retries; `attempted` returns what a first attempt has come to."""
        if attempted is None and self.deadline and self.deadline.passed():
            raise Unavailable(f"the deadline passed before {operation}")
        pauses = self.pauses()
        again = partial(self.send, operation, _charged(request))
        attempt = attempted or again
        while True:
            try:
                answer = attempt()
            except ServiceFault as fault:
                _raise_unless_transient(fault)
                self.usage.retries += 1
                _pause(pauses, f"{operation}: {fault.code}")
            except NoAnswer as failure:
                self.usage.retries += 1
                _pause(pauses, f"{operation}: {failure}")
            else:
                self._count(operation, answer)
                return answer
            attempt = again

    def pauses(self) -> Iterator[None]:
        """Yield after increasing pauses, for a caller that retries.

        Raises:
            Unavailable: The next pause would end after the deadline.
        """
        deadline = self.deadline or Deadline.after(self.patience)
        longest = self.first_pause
        while True:
            pause = _jitter.uniform(0, longest)
            if pause >= deadline.remaining():
                raise Unavailable
            time.sleep(pause)
            longest = min(2 * longest, 1.0)
            yield

    def _count(self, operation: str, answer: Mapping[str, Any]) -> None:
        consumed = answer.get("ConsumedCapacity") or []
        units = sum(part["CapacityUnits"] for part in ([consumed] if isinstance(consumed, dict) else consumed))
        self.usage.calls += 1
        if operation in {"GetItem", "BatchGetItem", "Query", "Scan"}:
            self.usage.reads += units
        else:
            self.usage.writes += units


def _charged(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request whose response has the capacity that it consumed."""
    return {**request, "ReturnConsumedCapacity": "TOTAL"}


def _pause(pauses: Iterator[None], reason: str) -> None:
    """Wait before a retry.

    Raises:
        Unavailable: It would begin after the deadline; the text has the reason why the last attempt failed.
    """
    try:
        next(pauses)
    except Unavailable as error:
        raise Unavailable(reason) from error


def connect_tables(**settings: Any) -> Send:
    """Connect to DynamoDB with botocore's own credentials, region and endpoint resolution.

    Args:
        settings: Further arguments of botocore's `create_client`, for instance `endpoint_url`.
    """
    # Imported here so that a process that never connects does not load botocore.
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004, PLC0415

    client = new_session().create_client(
        "dynamodb",
        config=Config(
            connect_timeout=CONNECTED_WITHIN,
            read_timeout=ANSWERED_WITHIN,
            # This module retries: botocore knows neither the deadline nor a transaction's conflicts.
            retries={"total_max_attempts": 1},
            parameter_validation=False,
        ),
        **settings,
    )
    client.meta.events.register("before-parse.dynamodb", _check_whole)
    return _OverBotocore(client, ClientError, (ConnectionError, HTTPClientError))


class _OverBotocore:
    """A `Send` over a client of botocore, which threads may share."""

    def __init__(self, client: Any, refused: type[Exception], failed: tuple[type[Exception], ...]) -> None:
        """Take the client, and the exceptions for an error response and for a failed connection."""
        self._endpoint = client.meta.endpoint_url
        self._methods = {client.meta.method_to_api_mapping[name]: getattr(client, name) for name in _METHODS}
        self._refused = refused
        self._failed = failed

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._methods[operation](**request)
        except self._refused as error:
            body: Mapping[str, Any] = error.response  # type: ignore[attr-defined] # of botocore's ClientError
            if (status := body["ResponseMetadata"]["HTTPStatusCode"]) >= 500:
                raise NoAnswer(f"{status} {body['Error']['Code']}") from error
            raise ServiceFault(
                body["Error"]["Code"],
                body["Error"].get("Message", ""),
                item=body.get("Item"),
                reasons=body.get("CancellationReasons", ()),
            ) from error
        except self._failed as error:
            raise NoAnswer(failure_of(self._endpoint, error)) from error
        return answer

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> Sequence[Callable[[], dict[str, Any]]]:
        """Carry out several operations at the same time, each on a connection of its own."""
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most requests need none

        # The threads end with the call: none is left over in a process that is forked or kept as a snapshot.
        with ThreadPoolExecutor(min(len(requests), _AT_ONCE)) as pool:
            return [pool.submit(self, *request).result for request in requests]


_METHODS = (
    "get_item",
    "batch_get_item",
    "query",
    "scan",
    "put_item",
    "batch_write_item",
    "update_item",
    "transact_write_items",
)


def _check_whole(response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse a truncated response: botocore would parse it as one with fewer items.

    Raises:
        NoAnswer: The body does not have the length or the checksum in the response's headers.
    """
    headers, body = response_dict["headers"], response_dict["body"]
    length, checksum = headers.get("content-length"), headers.get("x-amz-crc32")
    if (length and int(length) != len(body)) or (checksum and int(checksum) != zlib.crc32(body)):
        raise NoAnswer("the response was truncated")


def _raise_unless_transient(fault: ServiceFault) -> None:
    if fault.code == "ConditionalCheckFailedException":
        raise ConditionFailed(plain_item(fault.item) if fault.item else None) from fault
    if fault.code == "TransactionCanceledException":
        codes = {reason["Code"] for reason in fault.reasons}
        if _CONDITION in codes:
            raise TransactionRefused([_reason(reason) for reason in fault.reasons]) from fault
        if codes <= _TRANSIENT_REASONS:
            return
    if fault.code not in _TRANSIENT:
        raise fault


def _reason(raw: Mapping[str, Any]) -> Reason | None:
    if raw["Code"] != _CONDITION:
        return None
    return Reason(plain_item(raw["Item"]) if raw.get("Item") else None)


def _kind(write: Write) -> str:
    return "ConditionCheck" if isinstance(write, Check) else type(write).__name__


def _request(table: str, write: Write) -> dict[str, Any]:
    what: dict[str, Any] = {"Item": _item(write.item)} if isinstance(write, Put) else {"Key": _key(write.key)}
    if isinstance(write, Update):
        what["UpdateExpression"] = write.expression
    return {"TableName": table, **what, **_conditions(write)}


def _conditions(write: Write) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if write.condition:
        parts["ConditionExpression"] = write.condition
        parts["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    if write.names:
        parts["ExpressionAttributeNames"] = dict(write.names)
    if write.values:
        parts["ExpressionAttributeValues"] = _item(write.values)
    return parts


def _projection(attributes: Sequence[str]) -> dict[str, Any]:
    if not attributes:
        return {}
    paths = [f"#{path.replace('.', '.#')}" for path in attributes]
    names = {f"#{name}": name for path in attributes for name in path.split(".")}  # some names are reserved words
    return {"ProjectionExpression": ", ".join(paths), "ExpressionAttributeNames": names}


def _key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def _item(plain: Mapping[str, Any]) -> dict[str, Any]:
    # A text is by far the most common kind.
    return {name: {"S": value} if type(value) is str else _attribute(value) for name, value in plain.items()}


def _attribute(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - one return for each kind of value
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case dict():
            return {"M": _item(value)}
        case list() | tuple():
            return {"L": [_attribute(part) for part in value]}
        case bytes():
            return {"B": value}
        case set() | frozenset() if value and all(type(part) is int for part in value):
            return {"NS": [str(part) for part in sorted(value)]}
        case set() | frozenset() if value and all(type(part) is str for part in value):
            return {"SS": sorted(value)}
    raise TypeError(f"a table cannot hold a {type(value).__name__}: {value!r}")


def plain_item(raw: Mapping[str, Any]) -> Item:
    """Convert an item from the service's own notation, with binary values as bytes or, as in JSON, as base64.

    Raises:
        KeyError, ValueError: It has an attribute that no `Item` has, such as a number that is not whole.
    """
    # A text is by far the most common kind, and long lists have thousands of attributes.
    return {name: attribute["S"] if "S" in attribute else _plain(attribute) for name, attribute in raw.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    return _READERS[kind](value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "S": lambda text: text,
    "N": int,
    "BOOL": lambda flag: flag,
    "NULL": lambda _: None,
    "M": plain_item,
    "L": lambda parts: [_plain(part) for part in parts],
    "B": lambda value: value if isinstance(value, bytes) else b64decode(value),
    "NS": lambda parts: {int(part) for part in parts},
    "SS": set,
}
