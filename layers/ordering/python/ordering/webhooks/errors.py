"""The errors of webhooks: the responses of its functions, and their descriptions in the OpenAPI document."""

from __future__ import annotations

from ordering.errors import KeyReused, NotFound, TooManyRequests, Unavailable, VersionMismatch
from ordering.web.error_table import (
    ALLOW,
    PRECONDITION_FAILED,
    RETRY_AFTER,
    ErrorCause,
    ErrorStatus,
    ErrorTable,
    forbidden,
    unauthorized,
)
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType
from ordering.web.problems import MEDIA_TYPE, TOO_MANY_REQUESTS, UNAUTHORIZED, Problem
from ordering.webhooks.delivery import Withheld
from ordering.webhooks.registrations import ChangedMeanwhile, Disabled, TooMany

_READ_FIRST = (
    "It may have succeeded even so: send it again with the same Idempotency-Key. Without a key, read the list of "
    "webhooks before you register one or replace a secret again."
)

ERRORS = ErrorTable(
    Problem,
    MEDIA_TYPE,
    [
        ErrorStatus(400, "WebhookInvalidRequest", "The request is invalid. `errors` lists every error in it."),
        ErrorStatus(
            401,
            "WebhookUnauthorized",
            "The access token is missing, malformed, expired or revoked.",
            unauthorized("unauthorized", UNAUTHORIZED),
        ),
        ErrorStatus(
            403,
            "WebhookForbidden",
            "The token does not cover all of the partner's orders, or the partner is switched off.",
            forbidden(),
        ),
        ErrorStatus(
            404,
            "WebhookNotFound",
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
            409,
            "WebhookConflict",
            "The partner has ten webhooks already, another request changed the webhook at the same time, the webhook "
            "is disabled, or the partner may not see the event's order. See `type`.",
            {
                TooMany: ErrorCause(
                    "too-many-webhooks", "{error} Remove a webhook, or add event types to an existing one."
                ),
                ChangedMeanwhile: ErrorCause(
                    "changed-meanwhile", "{error} Read the webhook, then retry if the change is still needed."
                ),
                Disabled: ErrorCause("webhook-disabled", "{error} Enable the webhook first."),
                Withheld: ErrorCause(
                    "event-withheld", "{error} Ask support for access to the order, then replay the event."
                ),
            },
            operations=frozenset(
                {"create_webhook", "change_webhook", "replace_webhook_secret", "enable_webhook", "replay_parked_event"}
            ),
        ),
        ErrorStatus(
            412,
            "WebhookPreconditionFailed",
            "The webhook is not at a version that `If-Match` names. Nothing was changed.",
            {VersionMismatch: ErrorCause("precondition-failed", f"{{error}} {PRECONDITION_FAILED}")},
            operations=frozenset({"change_webhook", "delete_webhook", "replace_webhook_secret", "enable_webhook"}),
        ),
        ErrorStatus(
            413,
            "WebhookContentTooLarge",
            "The body is larger than 1 MiB.",
            {ContentTooLarge: ErrorCause("content-too-large", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            415,
            "WebhookUnsupportedMediaType",
            "The body is not declared as JSON.",
            {UnsupportedMediaType: ErrorCause("unsupported-media-type", "{error}")},
            only_with_body=True,
        ),
        ErrorStatus(
            422,
            "WebhookIdempotencyKeyReused",
            "The `Idempotency-Key` was already used for a different request.",
            {
                KeyReused: ErrorCause(
                    "idempotency-key-reused",
                    "The Idempotency-Key was already used for a different request. Send this request with a new key.",
                )
            },
            operations=frozenset({"create_webhook", "replace_webhook_secret"}),
        ),
        ErrorStatus(
            429,
            "WebhookTooManyRequests",
            "Too many requests. Retry after the number of seconds in `Retry-After`.",
            {TooManyRequests: ErrorCause("too-many-requests", TOO_MANY_REQUESTS, RETRY_AFTER)},
        ),
        ErrorStatus(
            500,
            "WebhookServerError",
            "Something went wrong on our side.",
            {
                Exception: ErrorCause(
                    "internal-server-error",
                    f"Something went wrong on our side. {_READ_FIRST} If the error persists, send the requestId to "
                    "support.",
                )
            },
        ),
        ErrorStatus(
            503,
            "WebhookUnavailable",
            "The request could not be completed in time. Retry after the number of seconds in `Retry-After`.",
            {
                Unavailable: ErrorCause(
                    "service-unavailable",
                    f"The request could not be completed in time. {_READ_FIRST}",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)
