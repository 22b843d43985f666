"""A contract's table of errors, for both its functions and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ordering.errors import Forbidden, InsufficientScope, InvalidToken, Unauthorized
from ordering.values import Value, field


class ErrorCause(Value):
    """The response to one class of exceptions: templates for `str.format`, with the exception as `error`."""

    code: str
    """The stable code for programs, or the last part of a problem's `type`."""
    detail: str
    """The explanation for people: what went wrong, and what to do."""
    headers: Mapping[str, str] = field(default_factory=dict)


class ErrorStatus(Value):
    """An HTTP status of errors, with its response in the OpenAPI document."""

    status: int
    name: str
    """The name of the response component; empty where no operation gets the status."""
    description: str
    """The description in the OpenAPI document."""
    causes: Mapping[type[Exception], ErrorCause] = field(default_factory=dict)
    """Empty where API Gateway answers by itself, and where the contract lists the faults of a request instead."""
    only_with_body: bool = False
    """Whether only requests with a body get it."""
    operations: frozenset[str] = frozenset()
    """The ids of the operations that get it; empty for all."""
    shape: Any = None
    """The type of the body if it is not that of the table."""
    media_type: str = ""
    """What the body is declared as if it is not declared as the table's."""


class ErrorAnswer(Value):
    """The response to one error."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str]


class ErrorTable:
    """All errors of a contract.

    Args:
        shape: The type of the body.
        media_type: What the body is declared as.
        statuses: One of them has a cause for `Exception`, which covers all other exceptions.
    """

    def __init__(self, shape: Any, media_type: str, statuses: Sequence[ErrorStatus]) -> None:
        self.shape = shape
        self.media_type = media_type
        self.statuses = tuple(statuses)
        self._causes = {kind: (one.status, cause) for one in statuses for kind, cause in one.causes.items()}

    def with_statuses(self, *more: ErrorStatus) -> ErrorTable:
        """Return a table with additional statuses."""
        return ErrorTable(self.shape, self.media_type, [*self.statuses, *more])

    def answer(self, error: Exception) -> ErrorAnswer:
        """Return the response to an error's class, or else to its nearest base class in the table."""
        status, cause = next(self._causes[kind] for kind in type(error).__mro__ if kind in self._causes)
        return ErrorAnswer(
            status,
            cause.code.format(error=error),
            cause.detail.format(error=error),
            {name: value.format(error=error) for name, value in cause.headers.items()},
        )


RETRY_AFTER = {"Retry-After": "{error.retry_after}"}
ALLOW = {"Allow": "{error.allow}"}

PRECONDITION_FAILED = (
    "Read it again. If your change is still needed, base it on what you read, and send it with the new ETag."
)
"""What a caller does about 412. If a response was lost, the change that it finds can be its own."""

CHALLENGE = 'Bearer realm="orders"'
"""The challenge to a request without a token (RFC 6750, 3). It has no `error`: there is no token to find fault with."""


def unauthorized(code: str, detail: str) -> Mapping[type[Exception], ErrorCause]:
    """Return the causes of 401, whose challenge tells a refused token from a missing one."""
    return {
        Unauthorized: ErrorCause(code, detail, _challenge(CHALLENGE)),
        InvalidToken: ErrorCause(code, detail, _challenge(f'{CHALLENGE}, error="invalid_token"')),
    }


def forbidden(code: str = "{error.code}", detail: str = "{error.detail}") -> Mapping[type[Exception], ErrorCause]:
    """Return the causes of 403, with a challenge where a token with more grants would be admitted."""
    return {
        Forbidden: ErrorCause(code, detail),
        InsufficientScope: ErrorCause(code, detail, _challenge(f'{CHALLENGE}, error="insufficient_scope"')),
    }


def _challenge(value: str) -> Mapping[str, str]:
    return {"WWW-Authenticate": value}
