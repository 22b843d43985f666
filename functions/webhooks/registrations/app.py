"""Webhooks of a partner."""

from ordering.entry.api import Api
from ordering.web.http import Answer, Call, Tagged
from ordering.web.idempotent_creates import CreateHeaders
from ordering.web.preconditions import ChangeHeaders
from ordering.webhooks import contract as webhooks
from ordering.webhooks.services import WebhookServices

app = Api(webhooks.CONTRACT, WebhookServices)


@app.get("/webhooks", summary="Get all webhooks", tags=["Webhooks"])
def list_webhooks(call: Call, owner: str) -> webhooks.WebhookList:
    """List all webhooks of the partner, oldest first."""
    return webhooks.webhook_list(call, app.services.registrations(call.deadline).all_with_health(owner))


@app.post("/webhooks", summary="Register a webhook", tags=["Webhooks"], status_code=201)
def create_webhook(
    call: Call, owner: str, headers: CreateHeaders, body: webhooks.WebhookRequest
) -> Tagged[webhooks.WebhookWithSecret]:
    """Register a URL that receives the events of your training and e-card orders from now on.

    Store the secret in the response, which verifies messages: no other response shows it. A partner can have ten
    webhooks. Deal orders have no events.
    """
    return webhooks.registered(call, app.services.registrations(call.deadline), owner, headers, body)


@app.get("/webhooks/<webhookId>", summary="Get a webhook", tags=["Webhooks"])
def get_webhook(call: Call, owner: str, webhookId: str) -> Tagged[webhooks.ShownWebhook]:
    """Get one webhook, without its secret."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    return webhooks.one_webhook(call, *app.services.registrations(call.deadline).get_with_health(owner, webhook_id))


@app.patch("/webhooks/<webhookId>", summary="Change a webhook", tags=["Webhooks"])
def change_webhook(
    call: Call, owner: str, webhookId: str, headers: ChangeHeaders, body: webhooks.WebhookChanges
) -> Tagged[webhooks.ShownWebhook]:
    """Change the URL or the event types. Fields that are not sent stay the same.

    For event types that are added, the webhook also receives earlier events of an order, from its registration on. They
    are sent before the next event of that order. A pause of the delivery ends.
    """
    webhook_id, edit = webhooks.webhook_id_in_path(webhookId), webhooks.edit_of(call, headers)
    changed = app.services.deliverer(call.deadline).change(owner, webhook_id, edit, **body.given())
    return webhooks.one_webhook(call, changed)


@app.delete("/webhooks/<webhookId>", summary="Remove a webhook", tags=["Webhooks"], status_code=204)
def delete_webhook(call: Call, owner: str, webhookId: str, headers: ChangeHeaders) -> Answer[None]:
    """Remove a webhook. No more events are sent to it, undelivered ones included."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    app.services.registrations(call.deadline).remove(owner, webhook_id, headers.if_match)
    return Answer(204)


@app.post("/webhooks/<webhookId>/secret", summary="Replace the secret", tags=["Webhooks"])
def replace_webhook_secret(
    call: Call, owner: str, webhookId: str, headers: webhooks.SecretHeaders
) -> Tagged[webhooks.WebhookWithSecret]:
    """Replace the secret. Only this response shows the new one.

    For 24 hours every message is signed with both the new and the previous secret. Older secrets stop signing at once.
    A pause of the delivery ends.
    """
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    return webhooks.secret_replaced(call, app.services.deliverer(call.deadline), owner, webhook_id, headers)


@app.post("/webhooks/<webhookId>/enable", summary="Enable a webhook", tags=["Webhooks"])
def enable_webhook(call: Call, owner: str, webhookId: str, headers: ChangeHeaders) -> Tagged[webhooks.ShownWebhook]:
    """Enable a webhook that was disabled because it answered 410, or end the pause of its delivery.

    It first receives the events that it missed in the last 30 days.
    """
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    enabled = app.services.deliverer(call.deadline).enable(owner, webhook_id, headers.if_match)
    return webhooks.one_webhook(call, enabled)


@app.get("/webhooks/<webhookId>/parked", summary="Get parked events", tags=["Webhooks"])
def list_parked_events(
    call: Call, owner: str, webhookId: str, query: webhooks.ParkedQuery
) -> webhooks.WebhookParkedEventList:
    """List events that could not be delivered after the last retry. They are kept for 30 days."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    # One event more than shown, to know whether another part follows.
    found = app.services.deliverer(call.deadline).parked(owner, webhook_id, query.page_size + 1, query.after or "")
    return webhooks.parked_event_list(call, query, found)


@app.post(
    "/webhooks/<webhookId>/parked/<eventId>/replay", summary="Replay a parked event", tags=["Webhooks"], status_code=202
)
def replay_parked_event(call: Call, owner: str, webhookId: str, eventId: str) -> Answer[None]:
    """Deliver a parked event again, with all retries. It stays parked until delivery succeeds."""
    webhook_id, event_id = webhooks.webhook_id_in_path(webhookId), webhooks.event_id_in_path(eventId)
    app.services.deliverer(call.deadline).replay(owner, webhook_id, event_id)
    return Answer(202)


handler = app.ready(reads=("ACCOUNTS_TABLE", "WEBHOOKS#"))
