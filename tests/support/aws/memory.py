"""DynamoDB in memory: the operations and expressions that the order book uses, each call as one atomic step.

It speaks the service's notation (a `Send`), refuses what it does not know, and is held to a real engine by
`engine/test_memory.py`. Reads can be torn on purpose: `query_page` and `batch_page` make every so many items a call of
their own, as the service does with long answers, so that writes come between them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ordering.aws.dynamodb import ServiceFault

Wire = dict[str, Any]
"""An item, or a part of one, in the service's notation."""

_TOKEN = re.compile(r"\s*(?:(<=|>=|<>|[()=<>,])|([#:]?[A-Za-z_][A-Za-z0-9_]*(?:\.#?[A-Za-z_][A-Za-z0-9_]*)*))")
_MOST_WRITES = 100
_MOST_KEYS = 100
_LARGEST_TRANSACTION = 4 * 1024 * 1024


class Memory:
    """One engine's tables; they exist as soon as they are written to. Keys are `pk` and `sk`, both texts."""

    def __init__(self, *, query_page: int | None = None, batch_page: int | None = None) -> None:
        self._items: dict[tuple[str, str, str], Wire] = {}
        self._sorts: dict[tuple[str, str], list[str]] = {}
        self._query_page = query_page
        self._batch_page = batch_page
        self._operations: dict[str, Callable[[Wire], Wire]] = {
            "GetItem": self._get_item,
            "BatchGetItem": self._batch_get_item,
            "Query": self._query,
            "PutItem": lambda request: self._write("Put", request),
            "UpdateItem": self._update_item,
            "TransactWriteItems": self._transact_write_items,
            "BatchWriteItem": self._batch_write_item,
        }

    def __call__(self, operation: str, request: Wire) -> Wire:
        return self._operations[operation](request)

    def fork(self) -> Memory:
        """Return a copy that goes its own way. Items are never changed in place, so they are shared."""
        other = Memory(query_page=self._query_page, batch_page=self._batch_page)
        other._items = dict(self._items)
        other._sorts = {partition: list(sorts) for partition, sorts in self._sorts.items()}
        return other

    def scan(self, table: str) -> Iterator[tuple[tuple[str, str], Wire]]:
        """Yield every item of a table with its key."""
        for (of, pk, sk), item in self._items.items():
            if of == table:
                yield (pk, sk), item

    def load(self, table: str, item: Wire) -> None:
        """Write an item as it is."""
        key = (table, item["pk"]["S"], item["sk"]["S"])
        if key not in self._items:
            insort(self._sorts.setdefault(key[:2], []), key[2])
        self._items[key] = item

    def _get_item(self, request: Wire) -> Wire:
        item = self._items.get(_key(request["TableName"], request["Key"]))
        return {"Item": item} if item else {}

    def _batch_get_item(self, request: Wire) -> Wire:
        ((table, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        if len(keys) > _MOST_KEYS:
            raise _invalid("Too many items requested for the BatchGetItem call")
        now, later = keys[: self._batch_page], keys[self._batch_page :] if self._batch_page else []
        found = [self._items[key] for key in (_key(table, raw) for raw in now) if key in self._items]
        unprocessed = {table: {**wanted, "Keys": later}} if later else {}
        return {"Responses": {table: found}, "UnprocessedKeys": unprocessed}

    def _query(self, request: Wire) -> Wire:
        if request["KeyConditionExpression"] != "pk = :pk AND sk BETWEEN :first AND :last":
            raise NotImplementedError(request["KeyConditionExpression"])
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        if values[":first"] > values[":last"]:
            raise _invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
        partition = (request["TableName"], values[":pk"])
        sorts = self._sorts.get(partition, [])
        start, end = bisect_left(sorts, values[":first"]), bisect_right(sorts, values[":last"])
        if resume := request.get("ExclusiveStartKey"):
            start = bisect_right(sorts, resume["sk"]["S"])
        items = [self._items[*partition, sort] for sort in sorts[start:end][: self._query_page]]
        more = start + len(items) < end
        return {"Items": items, **({"LastEvaluatedKey": {k: items[-1][k] for k in ("pk", "sk")}} if more else {})}

    def _batch_write_item(self, request: Wire) -> Wire:
        for table, writes in request["RequestItems"].items():
            for write in writes:
                if "DeleteRequest" in write:
                    self._remove(_key(table, write["DeleteRequest"]["Key"]))
                else:
                    self.load(table, write["PutRequest"]["Item"])
        return {}

    def _update_item(self, request: Wire) -> Wire:
        self._write("Update", request)
        return {"Attributes": self._items[_key(request["TableName"], request["Key"])]}

    def _write(self, kind: str, request: Wire) -> Wire:
        before = self._items.get(_target(request))
        if not _holds(request, before):
            raise ServiceFault(
                "ConditionalCheckFailedException",
                "The conditional request failed",
                item=before if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None,
            )
        self._carry_out(kind, request)
        return {}

    def _transact_write_items(self, request: Wire) -> Wire:
        writes = [next(iter(write.items())) for write in request["TransactItems"]]
        targets = [_target(write) for _, write in writes]
        if not 0 < len(writes) <= _MOST_WRITES:
            raise _invalid(f"a transaction of {len(writes)} writes")
        if len(set(targets)) < len(targets):
            raise _invalid("Transaction request cannot include multiple operations on one item")
        if sum(_size(write.get("Item", {})) for _, write in writes) > _LARGEST_TRANSACTION:
            raise _invalid("Item size to update has exceeded the maximum allowed size")
        reasons = [self._reason(write) for _, write in writes]
        if any(reason["Code"] != "None" for reason in reasons):
            raise ServiceFault("TransactionCanceledException", "Transaction cancelled", reasons=reasons)
        for kind, write in writes:
            self._carry_out(kind, write)
        return {}

    def _reason(self, write: Wire) -> Wire:
        before = self._items.get(_target(write))
        if _holds(write, before):
            return {"Code": "None"}
        reason: Wire = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
        if before and write.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            reason["Item"] = before
        return reason

    def _remove(self, key: tuple[str, str, str]) -> None:
        if self._items.pop(key, None):
            self._sorts[key[:2]].remove(key[2])

    def _carry_out(self, kind: str, write: Wire) -> None:
        key = _target(write)
        table = key[0]
        if kind == "Delete":
            self._remove(key)
        elif kind == "Put":
            self.load(table, write["Item"])
        elif kind == "Update":
            item: Wire = self._items.get(key) or write["Key"]
            for action in _actions(write):
                item = _act(item, *action)
            self.load(table, item)
        elif kind != "ConditionCheck":
            raise NotImplementedError(kind)


def _key(table: str, key: Wire) -> tuple[str, str, str]:
    return table, key["pk"]["S"], key["sk"]["S"]


def _target(write: Wire) -> tuple[str, str, str]:
    return _key(write["TableName"], write.get("Key") or write["Item"])


def _invalid(message: str) -> ServiceFault:
    return ServiceFault("ValidationException", message)


def _size(value: Any) -> int:
    """Tell about how many bytes the service counts for a value."""
    if isinstance(value, Mapping):
        return sum(len(name) + _size(part) for name, part in value.items())
    if isinstance(value, list):
        return sum(_size(part) for part in value)
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 1


# Expressions --------------------------------------------------------------------------------------------------------


def _tokens(expression: str) -> list[str]:
    tokens, end = [], 0
    while end < len(expression.rstrip()):
        if not (match := _TOKEN.match(expression, end)):
            raise NotImplementedError(expression)
        tokens.append(match[1] or match[2])
        end = match.end()
    return tokens


def _path(token: str, request: Wire) -> tuple[str, ...]:
    names = request.get("ExpressionAttributeNames", {})
    return tuple(names[part] if part.startswith("#") else part for part in token.split("."))


def _at(item: Wire | None, path: tuple[str, ...]) -> Wire | None:
    found: Wire | None = (item or {}).get(path[0])
    for name in path[1:]:
        found = found["M"].get(name) if found and "M" in found else None
    return found


def _holds(request: Wire, item: Wire | None) -> bool:
    expression = request.get("ConditionExpression")
    return expression is None or _Condition(expression, request, item).holds()


class _Condition:
    """One condition expression against one item: OR of ANDs of comparisons and existence tests."""

    def __init__(self, expression: str, request: Wire, item: Wire | None) -> None:
        self._tokens = [*_tokens(expression), ""]
        self._expression = expression
        self._request = request
        self._item = item

    def holds(self) -> bool:
        held = self._either()
        if self._tokens != [""]:
            raise NotImplementedError(self._expression)
        return held

    def _either(self) -> bool:
        held = self._both()
        while self._taken("OR"):
            held = self._both() or held
        return held

    def _both(self) -> bool:
        held = self._one()
        while self._taken("AND"):
            held = self._one() and held
        return held

    def _one(self) -> bool:
        if self._taken("("):
            held = self._either()
            self._expect(")")
            return held
        token = self._tokens.pop(0)
        if token in {"attribute_exists", "attribute_not_exists"}:
            self._expect("(")
            there = _at(self._item, _path(self._tokens.pop(0), self._request)) is not None
            self._expect(")")
            return there is (token == "attribute_exists")
        operator, right = self._tokens.pop(0), self._tokens.pop(0)
        return _compare(self._operand(token), operator, self._operand(right))

    def _operand(self, token: str) -> Wire | None:
        if token.startswith(":"):
            value: Wire = self._request["ExpressionAttributeValues"][token]
            return value
        return _at(self._item, _path(token, self._request))

    def _taken(self, token: str) -> bool:
        if self._tokens[0] != token:
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, token: str) -> None:
        if not self._taken(token):
            raise NotImplementedError(self._expression)


def _compare(left: Wire | None, operator: str, right: Wire | None) -> bool:
    if left is None or right is None:
        return False
    if operator == "=":
        return left == right
    if left.keys() != right.keys() or left.keys() not in ({"N"}, {"S"}):
        return False
    (kind,) = left
    a, b = (int(side[kind]) if kind == "N" else side[kind] for side in (left, right))
    outcomes = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
    if operator not in outcomes:
        raise NotImplementedError(operator)
    return outcomes[operator]


def _actions(request: Wire) -> list[tuple[str, tuple[str, ...], Wire]]:
    """Read an update expression: what to do (SET or ADD), where, with which value."""
    tokens = _tokens(request["UpdateExpression"])
    values = request["ExpressionAttributeValues"]
    actions, clause = [], ""
    while tokens:
        token = tokens.pop(0)
        if token in {"SET", "ADD"}:
            clause = token
        elif token != ",":
            if clause == "SET" and tokens.pop(0) != "=":
                raise NotImplementedError(request["UpdateExpression"])
            if not clause or not tokens[0].startswith(":"):
                raise NotImplementedError(request["UpdateExpression"])
            actions.append((clause, _path(token, request), values[tokens.pop(0)]))
    return actions


def _act(item: Wire, clause: str, path: tuple[str, ...], value: Wire) -> Wire:
    name, *inner = path
    before = item.get(name)
    if inner:
        if not before or "M" not in before:
            raise _invalid("The document path provided in the update expression is invalid for update")
        return {**item, name: {"M": _act(before["M"], clause, tuple(inner), value)}}
    if clause == "ADD" and before:
        return {**item, name: _add(before, value)}
    return {**item, name: value}


def _add(before: Wire, value: Wire) -> Wire:
    if before.keys() != value.keys():
        raise _invalid("An operand in the update expression has an incorrect data type")
    if "N" in value:
        return {"N": str(int(before["N"]) + int(value["N"]))}
    if "NS" in value:
        return {"NS": [str(number) for number in sorted({*map(int, before["NS"]), *map(int, value["NS"])})]}
    raise NotImplementedError(f"ADD of {value}")
