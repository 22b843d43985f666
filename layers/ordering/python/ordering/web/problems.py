"""Problem documents (RFC 9457), for contracts whose references do not publish the shape of errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, NotRequired, Required

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.errors import Fault
from ordering.web.error_table import ErrorAnswer
from ordering.web.guides import error_guide
from ordering.web.http import Answer, Request

MEDIA_TYPE = "application/problem+json"

BY_THE_GATEWAY = frozenset({403, 413, 415, 429, 500, 503})
"""The statuses that API Gateway answers in place of any function.

Its body has the members of every contract's errors, and is declared as a problem.
"""

MOST_FAULTS = 1_000
"""The most faults in one response: a function's response is limited to 6 MB."""

UNAUTHORIZED = (
    "The access token is missing, malformed, expired or revoked. Send a valid one as 'Authorization: Bearer <token>'."
)
"""The `detail` of 401."""

TOO_MANY_REQUESTS = "Too many requests. Retry after the number of seconds in Retry-After."
"""The `detail` of 429."""

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ProblemFault(TypedDict, total=False):
    """One error of a request: its place, as a JSON Pointer or a parameter's name, and its description."""

    pointer: str
    """The place in the body, as a JSON Pointer; empty for the whole body."""
    parameter: str
    """The query parameter or the header field."""
    code: Required[str]
    """What is wrong, for programs. It never changes."""
    detail: Required[str]
    """What is wrong and what to do, for people."""


class Problem(TypedDict):
    """A problem document (RFC 9457). With 400, `errors` lists every error of the request."""

    type: str
    """The kind of problem, for programs. It never changes."""
    title: str
    """The name of the status."""
    status: int
    """The response's status."""
    detail: str
    """What is wrong and what to do, for people."""
    instance: Annotated[
        str, Field(description="Identifies this occurrence of the problem: `urn:uuid:` and its `requestId`.")
    ]
    requestId: Annotated[str, Field(description="The response's `X-Request-Id`, by which support finds the request.")]
    errors: NotRequired[list[ProblemFault]]
    """Every error of the request; with 400 only."""


def problem(request: Request, error: ErrorAnswer) -> Answer[Problem]:
    """Build a problem; its `type` is the address of the error's section in the guide to errors."""
    body = _body(request, error.status, error.code, error.detail)
    return Answer(error.status, body, {**_HEADERS, **error.headers})


def invalid_request(request: Request, faults: Sequence[Fault]) -> Answer[Problem]:
    """Build the problem that lists a request's faults."""
    count = "1 error" if len(faults) == 1 else f"{len(faults):,} errors"
    listed = f"'errors' lists the first {MOST_FAULTS:,}." if len(faults) > MOST_FAULTS else "See 'errors'."
    body = _body(request, 400, "invalid-request", f"The request has {count}. {listed}")
    body["errors"] = [_shown(fault) for fault in faults[:MOST_FAULTS]]
    return Answer(400, body, _HEADERS)


_HEADERS = {"Content-Type": MEDIA_TYPE}


def _body(request: Request, status: int, kind: str, detail: str) -> Problem:
    return {
        "type": error_guide(request, kind),
        "title": TITLES[status],
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{request.id}",
        "requestId": request.id,
    }


def _shown(fault: Fault) -> ProblemFault:
    if fault.part == "body":
        return {"pointer": pointer(fault.place), "code": fault.code, "detail": fault.detail}
    return {"parameter": str(fault.place[0]), "code": fault.code, "detail": fault.detail}


def pointer(place: Iterable[str | int]) -> str:
    """Return the JSON Pointer (RFC 6901) of a place."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)
