"""The errors of training orders: what callers are told, and what the OpenAPI document says."""

from __future__ import annotations

from ordering.errors import Forbidden, KeyReused, NotFound, Unavailable
from ordering.training.orders import KeysNeverIssued, KeysNotIssued
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType
from ordering.web.problems import MEDIA_TYPE, Problem

ERRORS = ErrorTable(
    Problem,
    MEDIA_TYPE,
    [
        ErrorStatus(400, "InvalidRequest", "The request breaks rules; `errors` lists every fault."),
        ErrorStatus(401, "Unauthorized", "The access token is missing, malformed, expired or revoked."),
        ErrorStatus(
            403,
            "Forbidden",
            "The partner may not use this API: it lacks the grant, pays by card, or is switched off.",
            {Forbidden: ErrorCause("{error.code}", "{error.detail}")},
        ),
        ErrorStatus(
            404,
            "NotFound",
            "There is no such thing for this caller; another partner's is answered the same.",
            {
                NotFound: ErrorCause("not-found", "{error} Compare the id with a list's."),
                NoSuchPath: ErrorCause("not-found", "{error}"),
            },
        ),
        ErrorStatus(
            405,
            "MethodNotAllowed",
            "The path does not know the method; `Allow` names those that it knows.",
            {MethodNotAllowed: ErrorCause("method-not-allowed", "{error}", ALLOW)},
        ),
        ErrorStatus(
            413,
            "ContentTooLarge",
            "The body is larger than 1 MiB.",
            {ContentTooLarge: ErrorCause("content-too-large", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            415,
            "UnsupportedMediaType",
            "The body is not declared as JSON.",
            {UnsupportedMediaType: ErrorCause("unsupported-media-type", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            422,
            "IdempotencyKeyReused",
            "The `Idempotency-Key` stands for another request.",
            {
                KeyReused: ErrorCause(
                    "idempotency-key-reused",
                    "The Idempotency-Key stands for another request. Send this one with a key of its own.",
                )
            },
            only_with_body=True,
        ),
        ErrorStatus(
            429,
            "TooManyRequests",
            "Requests come faster than the partner's plan allows; `Retry-After` says when to go on.",
        ),
        ErrorStatus(
            500,
            "InternalServerError",
            "Something failed on our side.",
            {
                Exception: ErrorCause(
                    "internal-server-error",
                    "Something failed on our side. Send the request again with the same Idempotency-Key; if it goes "
                    "on, tell support the requestId.",
                )
            },
        ),
        ErrorStatus(
            503,
            "ServiceUnavailable",
            "The request could not be carried out in time; `Retry-After` says when to try again.",
            {
                Unavailable: ErrorCause(
                    "service-unavailable",
                    "The request could not be carried out in time. Send it again with the same Idempotency-Key.",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)

ACCESS_KEY_ERRORS = ERRORS.with_statuses(
    ErrorStatus(
        409,
        "KeysNotIssued",
        "The keys are not all issued yet (`Retry-After`), or never will be: it was cancelled.",
        {
            KeysNotIssued: ErrorCause(
                "keys-not-issued",
                "{error} Send the request again after as many seconds as Retry-After says.",
                RETRY_AFTER,
            ),
            KeysNeverIssued: ErrorCause("order-cancelled", "{error}"),
        },
    )
)
