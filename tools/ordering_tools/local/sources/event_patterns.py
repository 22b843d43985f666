"""The filter patterns of an event source: which events are delivered.

Lambda's rules are those of EventBridge: a pattern has the structure of an event, and its leaves are lists of allowed
values. https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Pattern = Mapping[str, Any]

_ABSENT = object()
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class PatternError(Exception):
    """A filter pattern is invalid, or uses something that is not supported; the message names the part."""


def read_pattern(text: Any) -> Pattern:
    """Read a pattern in JSON, as in a template.

    Raises:
        PatternError: It is invalid, or has a comparison that is not supported.
    """
    try:
        pattern = json.loads(text)
    except (TypeError, ValueError) as error:
        raise PatternError(f"the filter pattern {text!r} is not JSON") from error
    if not isinstance(pattern, dict) or not pattern:
        raise PatternError(f"the filter pattern {text!r} is not an object with keys")
    _check(pattern, ())
    return pattern


def matches(pattern: Pattern, event: Any) -> bool:
    """Whether an event matches a pattern."""
    return all(_matches_key(key, wanted, event) for key, wanted in pattern.items())


def _matches_key(key: str, wanted: Any, event: Any) -> bool:
    if isinstance(event, list):
        return any(_matches_key(key, wanted, part) for part in event)
    if key == "$or":
        return any(matches(choice, event) for choice in wanted)
    found = event.get(key, _ABSENT) if isinstance(event, dict) else _ABSENT
    if isinstance(wanted, dict):
        return matches(wanted, found)
    return any(_fits(leaf, found) for leaf in wanted)


def _fits(wanted: Any, found: Any) -> bool:
    if wanted == {"exists": False}:
        # Only a leaf counts as existing, an object does not.
        return found is _ABSENT or isinstance(found, dict)
    if found is _ABSENT or isinstance(found, dict):
        return False
    if isinstance(found, list):
        return any(_fits(wanted, part) for part in found)
    if not isinstance(wanted, dict):
        return _same(wanted, found)
    ((name, operand),) = wanted.items()
    return _COMPARE[name](operand, found)


def _same(wanted: Any, found: Any) -> bool:
    # In JSON true is not 1.
    return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


def _anything_but(operand: Any, found: Any) -> bool:
    return not any(_same(one, found) for one in (operand if isinstance(operand, list) else [operand]))


def _numeric(operand: Sequence[Any], found: Any) -> bool:
    if not _is_number(found):
        return False
    pairs = zip(operand[::2], operand[1::2], strict=True)
    return all(_COMPARISONS[sign](found, number) for sign, number in pairs)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "exists": lambda _, __: True,
    "prefix": lambda operand, found: isinstance(found, str) and found.startswith(operand),
    "suffix": lambda operand, found: isinstance(found, str) and found.endswith(operand),
    "equals-ignore-case": lambda operand, found: isinstance(found, str) and found.casefold() == operand.casefold(),
    "anything-but": _anything_but,
    "numeric": _numeric,
}


def _check(pattern: Any, path: tuple[str, ...]) -> None:
    for key, wanted in pattern.items():
        here = (*path, key)
        if key == "$or":
            _check_choices(wanted, path)
        elif isinstance(wanted, dict) and wanted:
            _check(wanted, here)
        elif isinstance(wanted, list) and wanted:
            for leaf in wanted:
                _check_leaf(leaf, here)
        else:
            raise PatternError(f"{'.'.join(here)}: {json.dumps(wanted)} is neither a list of values nor an object")


def _check_choices(choices: Any, path: tuple[str, ...]) -> None:
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise PatternError(f"{'.'.join((*path, '$or'))}: {json.dumps(choices)} is not a list of patterns")
    for choice in choices:
        _check(choice, path)


def _check_leaf(leaf: Any, path: tuple[str, ...]) -> None:
    if isinstance(leaf, list) or (isinstance(leaf, dict) and len(leaf) != 1):
        raise PatternError(f"{'.'.join(path)}: {json.dumps(leaf)} is neither a value nor one comparison")
    if not isinstance(leaf, dict):
        return
    ((name, operand),) = leaf.items()
    if not _OPERANDS.get(name, lambda _: False)(operand):
        raise PatternError(f"{'.'.join(path)}: the local run does not support the comparison {json.dumps(leaf)}")
    if name == "numeric" and path[0] == "dynamodb" and path[-1] == "N":
        raise PatternError(f"{'.'.join(path)}: Lambda cannot compare numbers of DynamoDB, which are strings in events")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_scalar_or_scalars(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(one, str) or _is_number(one) for one in values)


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 4):
        return False
    return all(isinstance(sign, str) and sign in _COMPARISONS for sign in value[::2]) and all(
        map(_is_number, value[1::2])
    )


_OPERANDS: Mapping[str, Callable[[Any], bool]] = {
    "exists": lambda operand: isinstance(operand, bool),
    "prefix": _is_text,
    "suffix": _is_text,
    "equals-ignore-case": _is_text,
    "anything-but": _is_scalar_or_scalars,
    "numeric": _is_range,
}
