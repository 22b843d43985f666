"""The errors of training orders: the responses of its functions, and their descriptions in the OpenAPI document."""

from __future__ import annotations

from ordering.errors import KeyReused, NotFound, TooManyRequests, Unavailable
from ordering.training.orders import KeysNeverIssued, KeysNotIssued
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable, forbidden, unauthorized
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType
from ordering.web.problems import MEDIA_TYPE, TOO_MANY_REQUESTS, UNAUTHORIZED, Problem

ERRORS = ErrorTable(
    Problem,
    MEDIA_TYPE,
    [
        ErrorStatus(400, "TrainingInvalidRequest", "The request is invalid. `errors` lists every error in it."),
        ErrorStatus(
            401,
            "TrainingUnauthorized",
            "The access token is missing, malformed, expired or revoked.",
            unauthorized("unauthorized", UNAUTHORIZED),
        ),
        ErrorStatus(
            403,
            "TrainingForbidden",
            "The partner may not use this API: it does not have the grant, pays by card, or is switched off.",
            forbidden(),
        ),
        ErrorStatus(
            404,
            "TrainingNotFound",
            "Nothing with this id exists, or it belongs to another partner.",
            {
                NotFound: ErrorCause("not-found", "{error} Check the id against the list."),
                NoSuchPath: ErrorCause("not-found", "{error}"),
            },
        ),
        ErrorStatus(
            405,
            "",
            "The path does not support the method. `Allow` lists the methods that it supports.",
            {MethodNotAllowed: ErrorCause("method-not-allowed", "{error}", ALLOW)},
        ),
        ErrorStatus(
            413,
            "TrainingContentTooLarge",
            "The body is larger than 1 MiB.",
            {ContentTooLarge: ErrorCause("content-too-large", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            415,
            "TrainingUnsupportedMediaType",
            "The body is not declared as JSON.",
            {UnsupportedMediaType: ErrorCause("unsupported-media-type", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            422,
            "TrainingIdempotencyKeyReused",
            "The `Idempotency-Key` was already used for a different request.",
            {
                KeyReused: ErrorCause(
                    "idempotency-key-reused",
                    "The Idempotency-Key was already used for a different request. Send this request with a new key.",
                )
            },
            only_with_body=True,
        ),
        ErrorStatus(
            429,
            "TrainingTooManyRequests",
            "Too many requests. Retry after the number of seconds in `Retry-After`.",
            {TooManyRequests: ErrorCause("too-many-requests", TOO_MANY_REQUESTS, RETRY_AFTER)},
        ),
        ErrorStatus(
            500,
            "TrainingServerError",
            "Something went wrong on our side.",
            {
                Exception: ErrorCause(
                    "internal-server-error",
                    "Something went wrong on our side. Send the request again with the same Idempotency-Key. If the "
                    "error persists, send the requestId to support.",
                )
            },
        ),
        ErrorStatus(
            503,
            "TrainingUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            {
                Unavailable: ErrorCause(
                    "service-unavailable",
                    "The request could not be completed in time. Send it again with the same Idempotency-Key.",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)

ACCESS_KEY_ERRORS = ERRORS.with_statuses(
    ErrorStatus(
        409,
        "TrainingKeysNotIssued",
        "Not all keys are issued yet (retry after `Retry-After`), or the order was cancelled and has no keys.",
        {
            KeysNotIssued: ErrorCause(
                "keys-not-issued",
                "{error} Retry after the number of seconds in Retry-After.",
                RETRY_AFTER,
            ),
            KeysNeverIssued: ErrorCause("order-cancelled", "{error}"),
        },
    )
)
