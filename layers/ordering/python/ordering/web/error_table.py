"""How a contract answers errors: one table that both its functions and the OpenAPI document read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorCause:
    """What a caller is told for one kind of exception: templates for `str.format`, with the exception as `error`."""

    code: str
    """The code, or the last part of a problem's `type`: for programs, and stable."""
    detail: str
    """What went wrong, and what to do."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """An HTTP status that errors have, with its response in the OpenAPI document."""

    status: int
    name: str
    """The name of the response component; empty where no operation gets the status."""
    description: str
    """What the OpenAPI document says about it."""
    causes: Mapping[type[Exception], ErrorCause] = field(default_factory=dict)
    """Empty where API Gateway answers by itself, and where the contract lists the faults of a request instead."""
    only_with_body: bool = False
    """Whether only requests with a body get it."""
    operations: frozenset[str] = frozenset()
    """The ids of the operations that get it; empty for all."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """How one error is answered."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str]


class ErrorTable:
    """All errors of a contract.

    Args:
        shape: The type of the body.
        media_type: What the body is declared as.
        statuses: One of them has a cause for `Exception`, which answers everything that no other cause does.
    """

    def __init__(self, shape: Any, media_type: str, statuses: Sequence[ErrorStatus]) -> None:
        self.shape = shape
        self.media_type = media_type
        self.statuses = tuple(statuses)
        self._causes = {kind: (one.status, cause) for one in statuses for kind, cause in one.causes.items()}

    def with_statuses(self, *more: ErrorStatus) -> ErrorTable:
        """Return a table that has some more."""
        return ErrorTable(self.shape, self.media_type, [*self.statuses, *more])

    def answer(self, error: Exception) -> ErrorAnswer:
        """Return the answer for an error's own class, or else for the nearest of its base classes."""
        status, cause = next(self._causes[kind] for kind in type(error).__mro__ if kind in self._causes)
        return ErrorAnswer(
            status,
            cause.code.format(error=error),
            cause.detail.format(error=error),
            {name: value.format(error=error) for name, value in cause.headers.items()},
        )


RETRY_AFTER = {"Retry-After": "{error.retry_after}"}
ALLOW = {"Allow": "{error.allow}"}
