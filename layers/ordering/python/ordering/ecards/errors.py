"""The errors of e-card orders: the responses of its functions, and their descriptions in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.ecards.orders import NeverHandedOver, NotHandedOver
from ordering.errors import Conflict, KeyReused, NotFound, TooManyRequests, Unavailable
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable, forbidden, unauthorized
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType


class EcardError(TypedDict):
    """An error. With 400, `errors` lists the request's errors by field; otherwise it is empty."""

    message: str
    """What is wrong and what to do, for people."""
    status: int
    """The response's status."""
    errors: dict[str, list[str]]
    """The errors by field, such as `Ecards[0].Quantity`; the empty name is the whole body."""


class EcardRefusal(TypedDict):
    """An error of the whole request. `errors` is empty, or, from the gateway, a list that repeats the message."""

    message: str
    """What is wrong and what to do, for people."""
    status: int
    """The response's status."""
    errors: Any
    """Empty, or a list that repeats the message."""


def _cause(message: str, headers: dict[str, str] | None = None) -> ErrorCause:
    """Leave out the code, which this contract does not have."""
    return ErrorCause("", message, headers or {})


ERRORS = ErrorTable(
    EcardError,
    "application/json",
    [
        ErrorStatus(400, "EcardInvalidRequest", "The request is invalid. `errors` lists every error by field."),
        ErrorStatus(
            401,
            "EcardUnauthorized",
            "The access token is missing, malformed, expired or revoked.",
            unauthorized(
                "", "The access token is missing, malformed, expired or revoked. Get a new token at /connect/token."
            ),
        ),
        ErrorStatus(
            403,
            "EcardForbidden",
            "The company does not have the grant for e-card orders, or is switched off.",
            forbidden(""),
            shape=EcardRefusal,
        ),
        ErrorStatus(
            404,
            "EcardNotFound",
            "Nothing with this id exists, or it belongs to another company.",
            {NotFound: _cause("{error} Check the id against the list."), NoSuchPath: _cause("{error}")},
        ),
        ErrorStatus(
            405,
            "",
            "The path does not support the method. `Allow` lists the methods that it supports.",
            {MethodNotAllowed: _cause("{error}", ALLOW)},
        ),
        ErrorStatus(
            409,
            "EcardConflict",
            "The `orderId` was already used for an order with different contents.",
            {
                KeyReused: _cause(
                    "The orderId was already used for an order with different contents. Send this order with a "
                    "new orderId."
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
            shape=EcardRefusal,
        ),
        ErrorStatus(
            415,
            "EcardUnsupportedMediaType",
            "The body is not declared as JSON.",
            {UnsupportedMediaType: _cause("{error}")},
            only_with_body=True,
            shape=EcardRefusal,
        ),
        ErrorStatus(
            429,
            "EcardTooManyRequests",
            "Too many requests. Retry after the number of seconds in `Retry-After`.",
            {
                TooManyRequests: _cause(
                    "Too many requests. Retry after the number of seconds in Retry-After.", RETRY_AFTER
                )
            },
            shape=EcardRefusal,
        ),
        ErrorStatus(
            500,
            "EcardServerError",
            "Something went wrong on our side.",
            {
                Exception: _cause(
                    "Something went wrong on our side. Send the request again. If it creates an order, keep the "
                    "same orderId."
                )
            },
            shape=EcardRefusal,
        ),
        ErrorStatus(
            503,
            "EcardUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            {
                Unavailable: _cause(
                    "The request could not be completed in time. Send it again. If it creates an order, keep the "
                    "same orderId.",
                    RETRY_AFTER,
                )
            },
            shape=EcardRefusal,
        ),
    ],
)

CERTIFICATE_ERRORS = ErrorTable(
    EcardError,
    "application/json",
    [
        *(one for one in ERRORS.statuses if not one.only_with_body),
        ErrorStatus(
            409,
            "EcardNotHandedOver",
            "No certificate of the order was handed over yet, or it was cancelled before any was.",
            {
                NotHandedOver: _cause(
                    "{error} Send the request again when its status is PartiallyDelivered or Delivered."
                ),
                NeverHandedOver: _cause("{error}"),
            },
        ),
    ],
)
