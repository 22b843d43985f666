"""Connections that watch, fail or make up what a table answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ordering.aws.dynamodb import Send
from support.plans import Plan

READS = frozenset({"GetItem", "BatchGetItem", "Query"})


@dataclass
class Recorder:
    """Passes every call on and keeps it."""

    send: Send
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, request))
        return self.send(operation, request)

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]

    @property
    def writes(self) -> list[str]:
        return [operation for operation in self.operations if operation not in READS]


@dataclass
class Script:
    """Answers calls one after another: with what is returned, or by raising it; the last one again and again.

    Without steps, any call fails. A test that ends before the last step fails.
    """

    steps: list[dict[str, Any] | Exception | Callable[[dict[str, Any]], dict[str, Any]]]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last = Plan(f"the last of {len(self.steps)} scripted answers") if self.steps else None

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert self.steps, f"{operation} is called"
        step = self.steps[min(len(self.calls), len(self.steps) - 1)]
        self.calls.append((operation, request))
        if self._last and len(self.calls) >= len(self.steps):
            self._last.close()
        if isinstance(step, Exception):
            raise step
        return step(request) if callable(step) else step


def failing(error: Exception, send: Send, *operations: str) -> Send:
    """Raise an error at the given operations, at all of them if none is given; pass the others on.

    A test that ends before the first such call fails.
    """
    plan = Plan(f"an error of {' or '.join(operations) or 'a call'}")

    def fail(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if not operations or operation in operations:
            plan.close()
            raise error
        return send(operation, request)

    return fail
