"""The errors of the token endpoint: the responses, and their descriptions in the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.errors import OrderingError, Unavailable
from ordering.identity.clients import ClientRefused
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import MethodNotAllowed, NoSuchPath
from ordering.web.problems import MEDIA_TYPE, Problem

FormFault = Literal["invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope"]


class Refused(OrderingError):
    """The request for a token is refused."""

    def __init__(self, fault: FormFault, description: str) -> None:
        """Keep the code of the fault, and its description."""
        super().__init__(description)
        self.fault = fault


class BasicRefused(ClientRefused):
    """A client that used HTTP Basic was not authenticated."""


class OauthError(TypedDict):
    """The reason why no token was issued (RFC 6749, 5.2)."""

    error: str
    """The reason, for programs (RFC 6749, 5.2)."""
    error_description: str
    """What is wrong and what to do, for people."""


_TOKENS = frozenset({"issue_token"})
_DOCUMENTS = frozenset({"get_keys", "get_metadata"})

PROBLEMS = {
    404: "not-found",
    405: "method-not-allowed",
    500: "internal-server-error",
    503: "service-unavailable",
}
"""The problems of the two documents, which are none of RFC 6749's endpoints, by status."""

ERRORS = ErrorTable(
    OauthError,
    "application/json",
    [
        ErrorStatus(
            400,
            "OauthInvalidRequest",
            "No token was issued. `error` gives the reason (RFC 6749, 5.2).",
            {
                Refused: ErrorCause("{error.fault}", "{error}"),
                ClientRefused: ErrorCause("invalid_client", "The client is unknown, or the secret is wrong."),
            },
            only_with_body=True,
        ),
        ErrorStatus(
            401,
            "OauthInvalidClient",
            "No token was issued: the client's id or secret, sent by HTTP Basic, is wrong.",
            {
                BasicRefused: ErrorCause(
                    "invalid_client",
                    "The client is unknown, or the secret is wrong.",
                    {"WWW-Authenticate": 'Basic realm="token", charset="UTF-8"'},
                )
            },
            only_with_body=True,
        ),
        ErrorStatus(
            403,
            "OauthForbidden",
            "The request was blocked.",
            operations=_TOKENS,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            403,
            "OauthDocumentForbidden",
            "The request was blocked.",
            operations=_DOCUMENTS,
            shape=Problem,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            404,
            "",
            "The path does not exist.",
            {NoSuchPath: ErrorCause("invalid_request", "{error}")},
        ),
        ErrorStatus(
            405,
            "",
            "The path does not support the method. `Allow` lists the methods that it supports.",
            {MethodNotAllowed: ErrorCause("invalid_request", "{error}", ALLOW)},
            operations=_TOKENS,
        ),
        ErrorStatus(
            413,
            "OauthContentTooLarge",
            "The body is larger than 10 MB. A form above 4,096 bytes is 400.",
            operations=_TOKENS,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            415,
            "OauthUnsupportedEncoding",
            "The body is not encoded as `Content-Encoding` says, or in an encoding other than gzip.",
            operations=_TOKENS,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            429,
            "OauthTooManyRequests",
            "Too many requests. Retry after the number of seconds in `Retry-After`.",
            operations=_TOKENS,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            429,
            "OauthDocumentTooManyRequests",
            "Too many requests. Retry after the number of seconds in `Retry-After`.",
            operations=_DOCUMENTS,
            shape=Problem,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            500,
            "OauthServerError",
            "Something went wrong on our side.",
            {Exception: ErrorCause("server_error", "Something went wrong on our side. Try again.")},
            operations=_TOKENS,
        ),
        ErrorStatus(
            500,
            "OauthDocumentServerError",
            "Something went wrong on our side.",
            operations=_DOCUMENTS,
            shape=Problem,
            media_type=MEDIA_TYPE,
        ),
        ErrorStatus(
            503,
            "OauthUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            {
                Unavailable: ErrorCause(
                    "temporarily_unavailable", "The request could not be completed in time. Try again.", RETRY_AFTER
                )
            },
            operations=_TOKENS,
        ),
        ErrorStatus(
            503,
            "OauthDocumentUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            operations=_DOCUMENTS,
            shape=Problem,
            media_type=MEDIA_TYPE,
        ),
    ],
)
