"""The part of DynamoDB's expressions that the benchmarks' designs use: conditions, and ADD and SET of whole attributes.

An expression is compiled once, so that a run measures designs and not this module.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from benchmarks.sizes import Raw

Condition = Callable[[Raw, Raw], bool]
"""Tells whether an item satisfies it, given the request's names and values in one mapping."""

_TOKEN = re.compile(r"[\w#:]+|<=|>=|<>|[=<>(),]")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@lru_cache(maxsize=1_000)
def compile_condition(text: str) -> Condition:
    """Compile a condition expression."""
    parser = _Parser(_TOKEN.findall(text))
    condition = parser.disjunction()
    if parser.left:
        raise ValueError(f"not understood: {text}")
    return condition


def apply_update(text: str, item: Raw, arguments: Raw) -> tuple[dict[str, Any], list[str]]:
    """Apply an update expression; returns the item as it is then, and which attributes were named."""
    changed = dict(item)
    touched = []
    for clause, alias, value in _assignments(text):
        name, given = arguments.get(alias, alias), arguments[value]
        changed[name] = given if clause == "SET" else _add(changed.get(name), given)
        touched.append(name)
    return changed, touched


@lru_cache(maxsize=1_000)
def _assignments(text: str) -> tuple[tuple[str, str, str], ...]:
    """Take an update expression apart into clauses, names and values."""
    found: list[tuple[str, str, str]] = []
    clause, operands = "", list[str]()
    for token in _TOKEN.findall(text):
        if token in {"ADD", "SET"}:
            clause = token
        elif token not in {",", "="}:
            operands.append(token)
        if len(operands) == 2:
            found.append((clause, operands[0], operands[1]))
            operands = []
    return tuple(found)


def _add(present: Raw | None, given: Raw) -> Raw:
    ((kind, value),) = given.items()
    if kind == "N":
        return {"N": str(int(present["N"]) + int(value) if present else int(value))}
    return {kind: [*present[kind], *(part for part in value if part not in present[kind])] if present else value}


class _Parser:
    """Recursive descent over the tokens of a condition."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens

    def disjunction(self) -> Condition:
        parts = [self._conjunction()]
        while self._accept("OR"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda item, given: any(part(item, given) for part in parts)

    def _conjunction(self) -> Condition:
        parts = [self._term()]
        while self._accept("AND"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda item, given: all(part(item, given) for part in parts)

    def _term(self) -> Condition:
        first = self.left.pop(0)
        if first == "(":
            inner = self.disjunction()
            self.left.pop(0)
            return inner
        if first in {"attribute_exists", "attribute_not_exists"}:
            _, name, _ = self.left.pop(0), self.left.pop(0), self.left.pop(0)
            wanted = first == "attribute_exists"
            return lambda item, given: (given.get(name, name) in item) is wanted
        return _comparison(first, self.left.pop(0), self.left.pop(0))

    def _accept(self, word: str) -> bool:
        if self.left[:1] == [word]:
            self.left.pop(0)
            return True
        return False


def _comparison(name: str, sign: str, value: str) -> Condition:
    compare = _COMPARISONS[sign]

    def condition(item: Raw, given: Raw) -> bool:
        present, wanted = item.get(given.get(name, name)), given[value]
        # Values of different types, and what is not there, compare as nothing does.
        return bool(present and present.keys() == wanted.keys() and compare(_plain(present), _plain(wanted)))

    return condition


def _plain(attribute: Raw) -> Any:
    ((kind, value),) = attribute.items()
    return int(value) if kind == "N" else value
