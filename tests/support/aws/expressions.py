"""The part of DynamoDB's expressions that the product uses: conditions, and SET, ADD or REMOVE of attributes.

Anything else raises NotImplementedError, so that a test never passes on a wrong answer. An expression is parsed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ordering.aws.dynamodb import ServiceFault

Wire = dict[str, Any]
"""An item, or a part of one, in the service's notation."""

Operand = Callable[[Wire | None, Mapping[str, Any]], Wire | None]
"""The value of an operand, given the item (None if it does not exist) and the request with its names and values."""

Condition = Callable[[Wire | None, Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(?:(<=|>=|<>|[()=<>,])|([#:]?[A-Za-z_][A-Za-z0-9_]*(?:\.#?[A-Za-z_][A-Za-z0-9_]*)*))")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}


def holds(request: Mapping[str, Any], item: Wire | None) -> bool:
    """Whether an item, or None if there is none, satisfies the condition of a write."""
    expression = request.get("ConditionExpression")
    return expression is None or _condition(expression)(item, request)


def update(request: Mapping[str, Any], item: Wire) -> Wire:
    """Apply the update expression of a request; the given item stays as it is."""
    values = request.get("ExpressionAttributeValues", {})
    for clause, operand, value in _assignments(request["UpdateExpression"]):
        path = _path(operand, request)
        if clause == "REMOVE":
            item = {name: kept for name, kept in item.items() if [name] != [*path]}
        else:
            item = _assign(item, clause, path, values[value])
    return item


def invalid(message: str) -> ServiceFault:
    """The service's error for a request that it cannot carry out."""
    return ServiceFault("ValidationException", message)


def _tokens(expression: str) -> list[str]:
    tokens, end = [], 0
    while end < len(expression.rstrip()):
        if not (match := _TOKEN.match(expression, end)):
            raise NotImplementedError(expression)
        tokens.append(match[1] or match[2])
        end = match.end()
    return tokens


@lru_cache(maxsize=1_000)
def _condition(expression: str) -> Condition:
    return _Parser(expression).condition()


@lru_cache(maxsize=1_000)
def _assignments(expression: str) -> Sequence[tuple[str, str, str]]:
    """Parse an update expression into clauses (SET, ADD or REMOVE), paths and names of values, empty for REMOVE."""
    tokens, clause = _tokens(expression), ""
    found: list[tuple[str, str, str]] = []
    while tokens:
        token = tokens.pop(0)
        if token in {"SET", "ADD", "REMOVE"}:
            clause = token
        elif clause == "REMOVE" and token != "," and "." not in token:
            found.append((clause, token, ""))
        elif token != ",":
            if clause == "SET" and tokens.pop(0) != "=":
                raise NotImplementedError(expression)
            if not clause or not tokens[0].startswith(":"):
                raise NotImplementedError(expression)
            found.append((clause, token, tokens.pop(0)))
    return found


class _Parser:
    """One condition expression: OR of ANDs of comparisons and existence tests, by recursive descent."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._left = [*_tokens(expression), ""]

    def condition(self) -> Condition:
        found = self._either()
        if self._left != [""]:
            raise NotImplementedError(self._expression)
        return found

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._accept("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda item, request: any(part(item, request) for part in parts)

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._accept("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda item, request: all(part(item, request) for part in parts)

    def _one(self) -> Condition:
        if self._accept("("):
            inner = self._either()
            self._expect(")")
            return inner
        token = self._left.pop(0)
        if token in {"attribute_exists", "attribute_not_exists"}:
            self._expect("(")
            operand = _operand(self._left.pop(0))
            self._expect(")")
            wanted = token == "attribute_exists"
            return lambda item, request: (operand(item, request) is not None) is wanted
        operator, right = self._left.pop(0), self._left.pop(0)
        if operator not in {"=", "<>", *_COMPARISONS}:
            raise NotImplementedError(self._expression)
        return _comparison(_operand(token), operator, _operand(right))

    def _accept(self, token: str) -> bool:
        if self._left[0] != token:
            return False
        self._left.pop(0)
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise NotImplementedError(self._expression)


def _operand(token: str) -> Operand:
    if token.startswith(":"):
        return lambda _, request: _value(request, token)
    return lambda item, request: _at(item, _path(token, request))


def _value(request: Mapping[str, Any], name: str) -> Wire:
    value: Wire = request["ExpressionAttributeValues"][name]
    return value


def _comparison(left: Operand, operator: str, right: Operand) -> Condition:
    def condition(item: Wire | None, request: Mapping[str, Any]) -> bool:
        one, other = left(item, request), right(item, request)
        if one is None or other is None:
            return False
        if operator in {"=", "<>"}:
            return (one == other) is (operator == "=")
        # Values of different types are not comparable, and neither are those without an order.
        if one.keys() != other.keys() or one.keys() not in ({"N"}, {"S"}):
            return False
        (kind,) = one
        return _COMPARISONS[operator](*(int(side[kind]) if kind == "N" else side[kind] for side in (one, other)))

    return condition


def _path(operand: str, request: Mapping[str, Any]) -> Sequence[str]:
    if "#" not in operand:
        return operand.split(".")
    names = request["ExpressionAttributeNames"]
    return [names[part] if part.startswith("#") else part for part in operand.split(".")]


def _at(item: Wire | None, path: Sequence[str]) -> Wire | None:
    found: Wire | None = (item or {}).get(path[0])
    for name in path[1:]:
        found = found["M"].get(name) if found and "M" in found else None
    return found


def _assign(item: Wire, clause: str, path: Sequence[str], value: Wire) -> Wire:
    name, *inner = path
    before = item.get(name)
    if inner:
        if not before or "M" not in before:
            raise invalid("The document path provided in the update expression is invalid for update")
        return {**item, name: {"M": _assign(before["M"], clause, inner, value)}}
    return {**item, name: _add(before, value) if clause == "ADD" and before else value}


def _add(before: Wire, value: Wire) -> Wire:
    if before.keys() != value.keys():
        raise invalid("An operand in the update expression has an incorrect data type")
    if "N" in value:
        return {"N": str(int(before["N"]) + int(value["N"]))}
    if "NS" in value:
        return {"NS": [str(number) for number in sorted({*map(int, before["NS"]), *map(int, value["NS"])})]}
    raise NotImplementedError(f"ADD of {value}")
