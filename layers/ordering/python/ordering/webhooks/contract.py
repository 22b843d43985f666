"""Webhooks, `/webhooks`: partners register URLs that receive the events of their orders.

This API is its own contract, in the style of training orders: the same spelling of fields, links and errors. Partners
of every other contract use it with the tokens that they have. docs/webhooks.md says what is sent, and how it is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering import clock
from ordering.book.idempotency import CreateResult, IdempotencyKey
from ordering.contexts import event_types
from ordering.errors import InsufficientScope, Invalid, NotFound
from ordering.identifiers import canonical_uuid
from ordering.web.documents import A_UUID, ContractDocument
from ordering.web.http import (
    Answer,
    Body,
    Call,
    NoQuery,
    Request,
    SelfLink,
    Tagged,
    Uuid,
    WholeNumber,
    encode,
    read_body,
)
from ordering.web.idempotent_creates import CreateHeaders, fingerprint, replayed_header
from ordering.web.preconditions import ChangeHeaders, tagged
from ordering.web.problems import Problem, invalid_request, problem
from ordering.webhooks.addresses import LONGEST, PATTERN
from ordering.webhooks.delivery import Deliverer, Parked
from ordering.webhooks.errors import ERRORS
from ordering.webhooks.health import Health
from ordering.webhooks.registrations import Author, Edit, Webhook, Webhooks, is_webhook_id

NAME = "webhooks"

_FIRST_VERSION = 1
_WELL = Health()


# Requests.


class ParkedQuery(NoQuery):
    """The part of a list of parked events."""

    after: Uuid | None = Field(None, alias="_after", description="Return only events with ids after this one.")
    page_size: WholeNumber = Field(100, alias="_pageSize", ge=1, le=500, description="The number of events to get.")


Url = Annotated[
    str,
    Field(max_length=LONGEST),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": PATTERN, "maxLength": LONGEST}),
]
EventType = Annotated[str, Field(max_length=100), WithJsonSchema({"type": "string", "enum": sorted(event_types())})]
Types = Annotated[list[EventType], Field(max_length=100)]

_OF_URL = (
    "The URL that receives events: https, port 443, a host with public addresses only, by its address or by a name of "
    "up to 253 characters, no user and no fragment."
)
_OF_TYPES = "The event types to send. An empty list selects all types, future ones included."


class WebhookRequest(Body):
    """A webhook to be registered."""

    url: Url = Field(description=_OF_URL)
    types: Types = Field(default_factory=list, description=_OF_TYPES)


class WebhookChanges(Body):
    """Changes to a webhook. Fields that are not sent stay the same."""

    url: Url = Field(default_factory=str, description=_OF_URL)
    types: Types = Field(default_factory=list, description=_OF_TYPES)

    def given(self) -> dict[str, Any]:
        """Return what was sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class SecretHeaders(CreateHeaders, ChangeHeaders):
    """Header fields of the replacement of a secret."""


# Responses.


class WebhookNextLink(TypedDict, total=False):
    """A relative link to the next part of the list; absent in the last part."""

    next: str
    """The next part, relative to the address of this one."""


class WebhookAuthor(TypedDict):
    """A user, and the id (`jti`) of the token that the user's request had."""

    userId: str
    """The id of the user."""
    tokenId: str
    """The id (`jti`) of the token."""


class WebhookDelivery(TypedDict):
    """How the delivery of events to the endpoint goes."""

    state: Annotated[
        Literal["active", "paused", "disabled"],
        Field(
            description=(
                "`active`: events are sent. `paused`: the endpoint failed too often in a row, so events wait until it "
                "accepts one again. `disabled`: `enabled` is false."
            )
        ),
    ]
    failures: Annotated[int, Field(ge=0, description="Failed tries in a row, since the last event that was accepted.")]
    pausedUntil: Annotated[
        str | None,
        WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
        Field(description="If `paused`: from then on one event is sent, to find out whether the endpoint is back."),
    ]


class ShownWebhook(TypedDict):
    """A webhook. While `enabled` is false, no events are sent to it, and `disabledReason` gives the reason."""

    id: str
    """The webhook's id."""
    url: str
    """The URL that receives events."""
    types: list[str]
    """The event types that are sent; empty for all types, future ones included."""
    created: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    """When the webhook was registered. Earlier events are not sent."""
    enabled: bool
    """Whether events are sent."""
    disabledReason: str | None
    """Why the webhook is disabled; null if it is enabled."""
    delivery: WebhookDelivery
    createdBy: Annotated[
        WebhookAuthor | None,
        Field(description="Who registered it; null if support did, or if it was before this was noted."),
    ]
    urlChangedBy: Annotated[
        WebhookAuthor | None,
        Field(description="Who set the present URL; null if it is that of the registration."),
    ]
    secretReplacedBy: Annotated[
        WebhookAuthor | None,
        Field(description="Who replaced the secret; null if it is that of the registration, or if support did."),
    ]
    _links: SelfLink


class WebhookWithSecret(ShownWebhook):
    """A webhook with the secret that verifies its messages. No other response shows the secret."""

    secret: Annotated[str, WithJsonSchema({"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]+=*$"})]
    """The secret that verifies messages. Store it: no other response shows it."""


class WebhookList(TypedDict):
    """All webhooks of the partner, oldest first."""

    items: list[ShownWebhook]
    """The webhooks."""


class WebhookParkedEvent(TypedDict):
    """An event that could not be delivered after the last retry; `sequence` is its position in the order's history."""

    eventId: Uuid
    """The event's id."""
    type: str
    """The event's type."""
    orderId: str
    """The id of the event's order."""
    sequence: int
    """The event's place in the history of its order, from 1."""
    parked: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    """When the last retry had failed."""
    reason: str
    """Why the last retry failed."""


class WebhookParkedEventList(TypedDict):
    """Events that could not be delivered, sorted by id."""

    items: list[WebhookParkedEvent]
    """The parked events of this part."""
    _links: WebhookNextLink


# Conversions.


def webhook_id_in_path(text: str) -> str:
    """Return a webhook's id from the path.

    Raises:
        NotFound: The text is not a valid id.
    """
    if not is_webhook_id(text):
        raise NotFound("webhook", text)
    return text


def event_id_in_path(text: str) -> str:
    """Return an event's id from the path in its canonical form.

    Raises:
        NotFound: The text is not a valid id.
    """
    if (found := canonical_uuid(text)) is None:
        raise NotFound("parked event", text)
    return found


def webhook(call: Call, one: Webhook, health: Health = _WELL) -> ShownWebhook:
    """Show a webhook, by default without failures."""
    return {
        "id": one.id,
        "url": one.url,
        "types": sorted(one.types),
        "created": clock.to_text(one.since),
        "enabled": one.disabled is None,
        "disabledReason": one.disabled,
        "delivery": _delivery(one, health),
        "createdBy": _shown_author(one.by),
        "urlChangedBy": _shown_author(one.url_by),
        "secretReplacedBy": _shown_author(one.secret_by),
        "_links": {"self": _link(call, one)},
    }


def _delivery(one: Webhook, health: Health) -> WebhookDelivery:
    paused = bool(health.paused_until) and not one.disabled
    return {
        "state": "disabled" if one.disabled else "paused" if paused else "active",
        "failures": health.failures,
        "pausedUntil": clock.to_text(datetime.fromtimestamp(health.paused_until / 1000, UTC)) if paused else None,
    }


def one_webhook(call: Call, one: Webhook, health: Health = _WELL) -> Tagged[ShownWebhook]:
    """Build the response with one webhook, by default without failures. Its `ETag` does not depend on its health."""
    return tagged(webhook(call, one, health), one.version)


def edit_of(call: Call, headers: ChangeHeaders) -> Edit:
    """Return who changes a webhook, and the versions that may be changed."""
    return Edit(_author(call), headers.if_match)


def webhook_list(call: Call, all_of_them: Iterable[tuple[Webhook, Health]]) -> WebhookList:
    """Show all webhooks of a partner."""
    return {
        "items": [
            webhook(call, one, health)
            for one, health in sorted(all_of_them, key=lambda pair: (pair[0].since, pair[0].id))
        ]
    }


def _shown_author(one: Author | None) -> WebhookAuthor | None:
    return {"userId": one.user, "tokenId": one.token} if one else None


def _author(call: Call) -> Author:
    return Author(call.caller.user.id, call.caller.token_id)


def with_secret(call: Call, one: Webhook, secret: str) -> WebhookWithSecret:
    """Show a webhook with its new secret."""
    return {**webhook(call, one), "secret": secret}


def registered(
    call: Call, webhooks: Webhooks, owner: str, headers: CreateHeaders, body: WebhookRequest
) -> Tagged[WebhookWithSecret]:
    """Register a webhook, or find the one that was registered under the idempotency key, and build the response."""
    once, by = _once(headers, NAME, body), _author(call)
    if once is None:
        placed = _unkeyed(call, *webhooks.register(owner, body.url, body.types, by))
    else:
        placed = webhooks.create(owner, body.url, body.types, partial(_show, call), once, by=by)
    location: str = from_json(placed.answer)["_links"]["self"]
    fields = {"Location": location, **replayed_header(replayed=placed.replayed)}
    return tagged(placed.answer, _FIRST_VERSION, 201, fields)


def secret_replaced(
    call: Call, deliverer: Deliverer, owner: str, webhook_id: str, headers: SecretHeaders
) -> Tagged[WebhookWithSecret]:
    """Replace a webhook's secret, or find the one of the idempotency key, end its pause, and build the response."""
    once, edit, webhooks = _once(headers, webhook_id, NoQuery()), edit_of(call, headers), deliverer.webhooks
    if once is None:
        placed = _unkeyed(call, *webhooks.replace_secret(owner, webhook_id, edit))
    else:
        placed = webhooks.replace_secret_once(owner, webhook_id, edit, partial(_show, call), once)
    deliverer.end_pause_if_possible(owner, webhook_id)
    fields = replayed_header(replayed=placed.replayed)
    # A record of an earlier release has 0, which never is a version: a change that names it is refused.
    return tagged(placed.answer, placed.resource_id, 200, fields)


def _once(headers: CreateHeaders, target: str, body: BaseModel) -> IdempotencyKey | None:
    key = headers.idempotency_key
    return IdempotencyKey(key, fingerprint(target, body)) if key is not None else None


def _unkeyed(call: Call, one: Webhook, secret: str) -> CreateResult:
    return CreateResult(one.version, _show(call, one, secret), replayed=False)


def _show(call: Call, one: Webhook, secret: str) -> bytes:
    return encode(with_secret(call, one, secret))


def parked_event_list(call: Call, query: ParkedQuery, found: Sequence[Parked]) -> WebhookParkedEventList:
    """Show a part of a webhook's parked events. An event beyond the page size means that another part follows."""
    shown = found[: query.page_size]
    items: list[WebhookParkedEvent] = [
        {
            "eventId": one.event,
            "type": one.type,
            "orderId": one.order.rpartition("#")[2],
            "sequence": one.index + 1,
            "parked": clock.to_text(one.at),
            "reason": one.why,
        }
        for one in shown
    ]
    links: WebhookNextLink = {"next": call.request.link_with(_after=shown[-1].event)} if len(found) > len(shown) else {}
    return {"items": items, "_links": links}


def _link(call: Call, one: Webhook) -> str:
    return call.request.link(f"/webhooks/{one.id}")


# The contract, and its errors.


class _Webhooks:
    """The contract, for the adapter."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})
    content_type = "application/json"
    errors = ERRORS
    document = ContractDocument(
        "Webhooks",
        "`/webhooks`: URLs of yours that receive the events of your training and e-card orders.",
        {"Webhooks": "URLs that receive events, and the events that could not be delivered."},
        created=("Location",),
        ids={
            "webhookId": ({"type": "string", "pattern": "^[0-9a-f]{16}$"}, "The `id` of a webhook of the partner."),
            "eventId": (A_UUID, "The `eventId` of a parked event."),
        },
    )
    body = staticmethod(read_body)

    def admit(self, call: Call) -> None:
        """Admit every partner whose token covers all its grants and business units.

        A webhook receives the events of all of a partner's orders, so a token for only some orders cannot use them.

        Raises:
            InsufficientScope: The token is narrowed.
        """
        if call.caller.narrowed:
            raise InsufficientScope(
                "narrowed-token",
                "Webhooks receive the events of all of a partner's orders, but this token covers only some "
                "orders. Use a token that covers all of them.",
            )

    def owner(self, call: Call, query: Any) -> str:  # noqa: ARG002 - the same signature in every contract
        """Return the partner that owns the webhooks."""
        return call.caller.partner

    def refuse(self, error: Exception, request: Request) -> Answer[Problem]:
        """Convert an error to a problem document (RFC 9457)."""
        if isinstance(error, Invalid):
            return invalid_request(request, error.faults)
        return problem(request, ERRORS.answer(error))


CONTRACT = _Webhooks()
