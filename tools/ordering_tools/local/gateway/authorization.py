"""Authorizers' decisions as API Gateway reads them: policies, their context, and a cache.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

_INVOKE = "execute-api:Invoke"


class MalformedDecisionError(Exception):
    """API Gateway would not accept an authorizer's result; the message gives the reason."""


@dataclass(frozen=True)
class Decision:
    """The result of an authorizer."""

    context: dict[str, str]
    """The content of `requestContext.authorizer` for the function: all values as text, and the principal's id."""
    statements: list[dict[str, Any]]

    def allows(self, arn: str) -> bool:
        """Whether a method may be called: at least one statement allows it and none denies it."""
        effects = {statement["Effect"] for statement in self.statements if _applies(statement, arn)}
        return "Allow" in effects and "Deny" not in effects


def read_decision(result: bytes) -> Decision:
    """Read and check an authorizer's result.

    Raises:
        MalformedDecisionError: It is not a principal with a policy and a flat context.
    """
    try:
        answer = json.loads(result)
        principal = answer["principalId"]
        statements = answer["policyDocument"]["Statement"]
        context = answer.get("context", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedDecisionError(f"{type(error).__name__}: {error}") from error
    if not isinstance(principal, str):
        raise MalformedDecisionError("principalId must be a text")
    if not isinstance(statements, list) or not all(_is_statement(statement) for statement in statements):
        raise MalformedDecisionError("policyDocument.Statement must be a list of Effect, Action and Resource")
    if not isinstance(context, dict):
        raise MalformedDecisionError("context must be an object")
    texts = {key: _text(key, value) for key, value in context.items() if value is not None}
    return Decision({**texts, "principalId": principal}, statements)


def _is_statement(statement: Any) -> bool:
    return (
        isinstance(statement, dict)
        and statement.get("Effect") in ("Allow", "Deny")
        and all(_patterns(statement.get(key)) for key in ("Action", "Resource"))
    )


def _patterns(value: Any) -> list[str]:
    patterns = [value] if isinstance(value, str) else value
    return patterns if isinstance(patterns, list) and all(isinstance(item, str) for item in patterns) else []


def _text(key: str, value: Any) -> str:
    """A value of the context as a REST API passes it on, which is always text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise MalformedDecisionError(f"context.{key} must be a text, a number or a boolean")


def _applies(statement: dict[str, Any], arn: str) -> bool:
    actions, resources = _patterns(statement["Action"]), _patterns(statement["Resource"])
    return any(_matches(action.lower(), _INVOKE.lower()) for action in actions) and any(
        _matches(resource, arn) for resource in resources
    )


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern of IAM matches: `*` is any number of characters, including slashes, and `?` is one."""
    regex = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


class DecisionCache:
    """A cache of decisions by identity, for `seconds` and with at most `size` entries; 0 seconds disables it."""

    def __init__(self, seconds: float, size: int = 1000, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Decision]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, identity: Hashable) -> Decision | None:
        """The cached decision about an identity; None if there is none or it has expired."""
        with self._lock:
            until, decision = self._kept.get(identity, (0.0, None))
            return decision if self._clock() < until else None

    def put(self, identity: Hashable, decision: Decision) -> None:
        """Cache a decision, and drop the oldest if there are too many."""
        if not self._seconds:
            return
        with self._lock:
            self._kept[identity] = (self._clock() + self._seconds, decision)
            self._kept.move_to_end(identity)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
