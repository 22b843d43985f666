"""The errors of e-card orders: what callers are told, and what the OpenAPI document says."""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.errors import Conflict, Forbidden, KeyReused, NotFound, TooManyRequests, Unauthorized, Unavailable
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType


class InvalidRequest(TypedDict):
    """An error. `errors` has the faults of a request by where they are, and is empty for all other errors."""

    message: str
    status: int
    errors: dict[str, list[str]]


def _cause(message: str, headers: dict[str, str] | None = None) -> ErrorCause:
    """Leave out the code, which this contract does not have."""
    return ErrorCause("", message, headers or {})


ERRORS = ErrorTable(
    InvalidRequest,
    "application/json",
    [
        ErrorStatus(400, "EcardInvalidRequest", "The request breaks rules; `errors` has every fault by where it is."),
        ErrorStatus(
            401,
            "EcardUnauthorized",
            "The access token is missing, malformed, expired or revoked.",
            {
                Unauthorized: _cause(
                    "The access token is missing, malformed, expired or revoked. Get one at /connect/token.",
                    {"WWW-Authenticate": "Bearer"},
                )
            },
        ),
        ErrorStatus(
            403,
            "EcardForbidden",
            "The company is not granted e-card orders, or is switched off.",
            {Forbidden: _cause("{error.detail}")},
        ),
        ErrorStatus(
            404,
            "EcardNotFound",
            "There is no such thing for this company.",
            {NotFound: _cause("{error} Compare the id with a list's."), NoSuchPath: _cause("{error}")},
        ),
        ErrorStatus(
            405,
            "EcardMethodNotAllowed",
            "The path does not know the method; `Allow` names those that it knows.",
            {MethodNotAllowed: _cause("{error}", ALLOW)},
        ),
        ErrorStatus(
            409,
            "EcardConflict",
            "The `orderId` stands for an order with other contents.",
            {
                KeyReused: _cause(
                    "The orderId stands for an order with other contents. Send this one under an id of its own."
                ),
                Conflict: _cause("{error}"),
            },
            only_with_body=True,
        ),
        ErrorStatus(
            413,
            "EcardContentTooLarge",
            "The body is larger than 1 MiB.",
            {ContentTooLarge: _cause("{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            415,
            "EcardUnsupportedMediaType",
            "The body is not declared as JSON.",
            {UnsupportedMediaType: _cause("{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            429,
            "EcardTooManyRequests",
            "Requests come too fast; `Retry-After` says when to go on.",
            {
                TooManyRequests: _cause(
                    "Requests come too fast. Wait as long as Retry-After says, then send it again.", RETRY_AFTER
                )
            },
        ),
        ErrorStatus(
            500,
            "EcardServerError",
            "Something failed on our side.",
            {
                Exception: _cause(
                    "Something failed on our side. Send the request again, an order with the same orderId."
                )
            },
        ),
        ErrorStatus(
            503,
            "EcardUnavailable",
            "It could not be carried out in time; `Retry-After` says when to try again.",
            {
                Unavailable: _cause(
                    "The request could not be carried out in time. Send it again, an order with the same orderId.",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)
