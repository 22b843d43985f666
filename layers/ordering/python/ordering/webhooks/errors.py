"""The errors of webhooks: what callers are told, and what the OpenAPI document says."""

from __future__ import annotations

from ordering.errors import Forbidden, NotFound, Unavailable
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import ContentTooLarge, MethodNotAllowed, NoSuchPath, UnsupportedMediaType
from ordering.web.problems import MEDIA_TYPE, Problem
from ordering.webhooks.registrations import ChangedMeanwhile, Disabled, TooMany

_LOOK_FIRST = (
    "Before you register or replace a secret again, read the list: it may have been done, with only its answer lost."
)

ERRORS = ErrorTable(
    Problem,
    MEDIA_TYPE,
    [
        ErrorStatus(400, "WebhookInvalidRequest", "The request breaks rules; `errors` lists every fault."),
        ErrorStatus(401, "WebhookUnauthorized", "The access token is missing, malformed, expired or revoked."),
        ErrorStatus(
            403,
            "WebhookForbidden",
            "The token does not cover all of the partner's orders, or it is switched off.",
            {Forbidden: ErrorCause("{error.code}", "{error.detail}")},
        ),
        ErrorStatus(
            404,
            "WebhookNotFound",
            "There is no such thing for this caller; another partner's is answered the same.",
            {
                NotFound: ErrorCause("not-found", "{error} Compare the id with a list's."),
                NoSuchPath: ErrorCause("not-found", "{error}"),
            },
        ),
        ErrorStatus(
            405,
            "WebhookMethodNotAllowed",
            "The path does not know the method; `Allow` names those that it knows.",
            {MethodNotAllowed: ErrorCause("method-not-allowed", "{error}", ALLOW)},
        ),
        ErrorStatus(
            409,
            "WebhookConflict",
            "There are ten webhooks already, it was changed at the same moment, or it is disabled; `type` says which.",
            {
                TooMany: ErrorCause(
                    "too-many-webhooks", "{error} Remove one that is not needed, or let one receive more types."
                ),
                ChangedMeanwhile: ErrorCause(
                    "changed-meanwhile", "{error} Read it, and send the request again if it is still needed."
                ),
                Disabled: ErrorCause("webhook-disabled", "{error} Enable it first."),
            },
            operations=frozenset(
                {"create_webhook", "change_webhook", "replace_webhook_secret", "enable_webhook", "replay_parked_event"}
            ),
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
            429,
            "WebhookTooManyRequests",
            "Requests come faster than allowed; `Retry-After` says when to go on.",
        ),
        ErrorStatus(
            500,
            "WebhookServerError",
            "Something failed on our side.",
            {
                Exception: ErrorCause(
                    "internal-server-error",
                    f"Something failed on our side. If it goes on, tell support the requestId. {_LOOK_FIRST}",
                )
            },
        ),
        ErrorStatus(
            503,
            "WebhookUnavailable",
            "It could not be carried out in time; `Retry-After` says when to try again.",
            {
                Unavailable: ErrorCause(
                    "service-unavailable",
                    f"The request could not be carried out in time. {_LOOK_FIRST}",
                    RETRY_AFTER,
                )
            },
        ),
    ],
)
