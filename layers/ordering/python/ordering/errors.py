"""Errors that callers can cause, without HTTP; each contract converts them to its own responses.

OrderingError
├── Invalid           the request breaks rules; all faults are listed
├── Unauthorized      the request has no access token
│   └── InvalidToken  the access token is not accepted
├── Forbidden         the caller may not do this, whatever the request says
│   └── InsufficientScope  the caller, or its token, does not have a grant that this needs
├── TooManyRequests   the caller exceeds its rate of requests
├── NotFound          the resource does not exist, or belongs to another partner
├── Conflict          the request conflicts with the current state of the resource
├── VersionMismatch   the resource is not at a version that the caller expects
├── KeyReused         an idempotency key was sent with a request other than its first one
└── Unavailable       the data could not be reached before the deadline
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ordering.values import Value

Part = Literal["body", "query", "header"]
"""Where in a request a fault lies."""


class Fault(Value):
    """One rule that a request breaks.

    `place` is the path to the faulty value: names and, in lists, indexes from 0; empty for the whole body. `code` is
    for programs and never changes; `detail` is for people.
    """

    part: Part
    place: tuple[str | int, ...]
    code: str
    detail: str


class OrderingError(Exception):
    """An error that is reported to the caller."""


class Invalid(OrderingError):
    """The request breaks rules."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Keep every fault that was found."""
        super().__init__("; ".join(fault.detail for fault in faults))
        self.faults = tuple(faults)


class Unauthorized(OrderingError):
    """The caller could not be authenticated: the request has no access token."""


class InvalidToken(Unauthorized):
    """The access token is malformed, expired, revoked or not ours."""


class TooManyRequests(OrderingError):
    """The caller exceeds its rate of requests."""

    retry_after = 1
    """Seconds after which trying again makes sense."""


class NotFound(OrderingError):
    """The resource does not exist, or belongs to another caller."""

    def __init__(self, kind: str, identifier: str) -> None:
        """Keep the kind of resource and its identifier, as the caller wrote it."""
        super().__init__(f"There is no {kind} '{identifier}'.")
        self.kind = kind
        self.identifier = identifier


class Forbidden(OrderingError):
    """The caller may not do this."""

    def __init__(self, code: str, detail: str) -> None:
        """Name the rule for programs and for people."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


class InsufficientScope(Forbidden):
    """The caller, or its token, does not have a grant that the call needs."""


class Conflict(OrderingError):
    """The request conflicts with the current state of the resource."""


class VersionMismatch(OrderingError):
    """The resource is not at a version that the caller expects."""

    def __init__(self, kind: str, identifier: str) -> None:
        """Keep the kind of resource and its identifier."""
        super().__init__(f"The {kind.replace('_', ' ')} '{identifier}' is not at a version that If-Match names.")
        self.kind = kind
        self.identifier = identifier


class KeyReused(OrderingError):
    """An idempotency key was sent with a request other than its first one."""


class Unavailable(OrderingError):
    """The data could not be reached in time. Nothing is half written.

    Its text is for logs: the service's host and the reason. It is in no response.
    """

    retry_after = 1
    """Seconds after which trying again makes sense."""


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an error and those that caused it, the nearest first.

    Each is in it once: an error that is raised again can be among its own causes.
    """
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def cause_of(error: BaseException) -> str:
    """Return the text of an error, or else of the nearest error that caused it; its class's name if none has a text."""
    return next(filter(None, map(str, chain_of(error))), type(error).__name__)
