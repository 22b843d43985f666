"""The errors of deal orders: the responses of its functions, and their descriptions in the OpenAPI document."""

from __future__ import annotations

from typing import Literal, get_args

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.book.sorted_lists import TooManyToSort
from ordering.deals.orders import DealTaken, OrderFull
from ordering.errors import KeyReused, NotFound, TooManyRequests, Unavailable, VersionMismatch
from ordering.web.error_table import (
    PRECONDITION_FAILED,
    RETRY_AFTER,
    ErrorCause,
    ErrorStatus,
    ErrorTable,
    forbidden,
    unauthorized,
)
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, NotAcceptable, UnsupportedMediaType
from ordering.web.problems import MEDIA_TYPE as PROBLEM

DealResource = Literal["order", "line_item", "product"]
"""A type of resource."""

RESOURCES = frozenset(get_args(DealResource))


class DealErrorLinks(TypedDict):
    """The address of the kind of error in the guide to errors."""

    more_info: str
    """Where the kind of error is explained."""


class DealErrorMeta(TypedDict):
    """The type of the object."""

    type: Literal["error"]
    """The type of the object."""
    links: DealErrorLinks


class DealError(TypedDict, total=False):
    """One error. `resource` is present if it is about a resource, `field` (a JSON Pointer) if about its attribute."""

    resource: DealResource
    """What the error is about."""
    field: str
    """The attribute that the error is about, as a JSON Pointer into the body."""
    code: str
    """What is wrong, for programs. It never changes."""
    message: str
    """What is wrong, in short."""
    details: str
    """What is wrong and what to do, for people."""


class DealErrorEnvelope(TypedDict):
    """An error in its envelope."""

    error: DealError
    meta: DealErrorMeta


class DealErrorsMeta(TypedDict):
    """The response's status, and the id of the request, to give to support."""

    type: Literal["errors"]
    """The type of the object."""
    http_status: str
    """The response's status and its name."""
    logref: str
    """The response's `X-Request-Id`, by which support finds the request."""
    links: DealErrorLinks


class DealErrors(TypedDict):
    """All errors of a request."""

    errors: list[DealErrorEnvelope]
    """The errors, at least one."""
    meta: DealErrorsMeta


STATUSES = {
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    406: "406 Not Acceptable",
    412: "412 Precondition Failed",
    413: "413 Payload Too Large",
    422: "422 Unprocessable Entity",
    429: "429 Too Many Requests",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}

MESSAGES = {
    "already_exists": "resource already exists",
    "blank": "attribute is blank",
    "changes_disabled": "changes are disabled",
    "content_too_large": "request's body is too large",
    "idempotency_key_reused": "idempotency key was used for another request",
    "incorrect_path": "path was not found",
    "incorrect_payload": "incorrect payload",
    "incorrect_value": "attribute has an incorrect value",
    "insufficient_scope": "insufficient scope",
    "invalid_header": "invalid header",
    "invalid_param": "invalid query parameter",
    "invalid_payload": "invalid payload",
    "invalid_type": "attribute has an invalid type",
    "missing": "attribute is missing",
    "not_acceptable": "not acceptable",
    "not_found": "resource you are looking for was not found",
    "plan_required": "plan required",
    "precondition_failed": "precondition failed",
    "rate_limit_exceeded": "rate limit exceeded",
    "server_error": "server error",
    "temporarily_unavailable": "temporarily unavailable",
    "unauthorized": "unauthorized",
    "unknown": "attribute is unknown",
}
"""The short message of each code; `details` explains what to do."""

ERRORS = ErrorTable(
    DealErrors,
    "application/json",
    [
        ErrorStatus(
            400,
            "DealInvalidRequest",
            "A query parameter or a header is invalid, or the body is not valid JSON. Or the list is too long to be "
            "sorted.",
            {
                UnsupportedMediaType: ErrorCause("invalid_header", "{error}"),
                TooManyToSort: ErrorCause(
                    "invalid_param",
                    "{error} Read the list sorted by id and sort or filter it yourself, or request up to 500 ids.",
                ),
            },
        ),
        ErrorStatus(
            401,
            "DealUnauthorized",
            "The access token is missing, malformed, expired, or invalid.",
            unauthorized("unauthorized", "Required access token is missing, malformed, expired, or invalid."),
        ),
        ErrorStatus(
            403,
            "DealForbidden",
            "The account does not have the grant, is not on the Enterprise plan, or its administrator disabled "
            "changes.",
            forbidden(),
        ),
        ErrorStatus(
            404,
            "DealNotFound",
            "The resource or path does not exist, or the path does not support the method.",
            {
                NotFound: ErrorCause(
                    "not_found",
                    "Resource of the type '{error.kind}' with the id '{error.identifier}' was not found.",
                ),
                NoSuchPath: ErrorCause("incorrect_path", "{error}"),
                MethodNotAllowed: ErrorCause("incorrect_path", "{error}"),
            },
        ),
        ErrorStatus(
            406,
            "DealNotAcceptable",
            "The caller does not accept JSON.",
            {NotAcceptable: ErrorCause("not_acceptable", "{error}")},
        ),
        ErrorStatus(
            412,
            "DealPreconditionFailed",
            "The resource is not at a version that `If-Match` names. Nothing was changed.",
            {VersionMismatch: ErrorCause("precondition_failed", f"{{error}} {PRECONDITION_FAILED}")},
            operations=frozenset(
                {
                    "update_deal_order",
                    "delete_deal_order",
                    "delete_deal_line_item",
                    "update_deal_product",
                    "delete_deal_product",
                }
            ),
        ),
        ErrorStatus(
            413,
            "DealContentTooLarge",
            "The body is larger than 1 MiB.",
            {ContentTooLarge: ErrorCause("content_too_large", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            415,
            "DealUnsupportedEncoding",
            "The body is not encoded as `Content-Encoding` says, or in an encoding other than gzip.",
            only_with_body=True,
            media_type=PROBLEM,
        ),
        ErrorStatus(
            422,
            "DealUnprocessable",
            "Attributes are invalid: `errors` lists every one of them. Or the `Idempotency-Key` was already used for a "
            "different request.",
            {
                DealTaken: ErrorCause(
                    "already_exists",
                    "The deal already has an order. Update that order, or delete it first.",
                ),
                OrderFull: ErrorCause("incorrect_payload", "{error} Use another order."),
                KeyReused: ErrorCause(
                    "idempotency_key_reused",
                    "The Idempotency-Key was already used for a different request. Send this request with a new key.",
                ),
            },
            only_with_body=True,
        ),
        ErrorStatus(
            429,
            "DealRateLimitExceeded",
            "More than 10 requests a second. Retry after the number of seconds in `Retry-After`.",
            {
                TooManyRequests: ErrorCause(
                    "rate_limit_exceeded",
                    "A token may make 10 requests a second. Retry after the number of seconds in Retry-After.",
                    RETRY_AFTER,
                )
            },
        ),
        ErrorStatus(
            500,
            "DealServerError",
            "Something went wrong on our side.",
            {
                Exception: ErrorCause(
                    "server_error",
                    "Something went wrong on our side. Send the request again, a create with the same Idempotency-Key. "
                    "If the error persists, send the logref to support.",
                )
            },
        ),
        ErrorStatus(
            503,
            "DealUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            {
                Unavailable: ErrorCause(
                    "temporarily_unavailable",
                    "The request could not be completed in time. Send a create again with the same Idempotency-Key; "
                    "without a key, check first whether it succeeded.",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)
