"""Webhooks of a partner."""

from ordering.entry.api import Api
from ordering.web.http import Answer, Call
from ordering.webhooks import contract as webhooks
from ordering.webhooks.services import WebhookServices

app = Api(webhooks.CONTRACT, WebhookServices)


@app.get("/webhooks", summary="Get all webhooks", tags=["Webhooks"])
def list_webhooks(call: Call, owner: str) -> webhooks.WebhookList:
    """All webhooks of the partner, oldest first."""
    return webhooks.webhook_list(call, app.services.registrations(call.deadline).all(owner))


@app.post("/webhooks", summary="Register a webhook", tags=["Webhooks"], status_code=201)
def create_webhook(call: Call, owner: str, body: webhooks.NewWebhook) -> Answer[webhooks.WebhookWithSecret]:
    """Have events of your training and e-card orders sent to an address, from now on.

    The answer has the secret that verifies them. It is shown this once, so keep it. There can be ten webhooks. Deal
    orders have no events.
    """
    return webhooks.registered(call, *app.services.registrations(call.deadline).register(owner, body.url, body.types))


@app.get("/webhooks/<webhookId>", summary="Get a webhook", tags=["Webhooks"])
def get_webhook(call: Call, owner: str, webhookId: str) -> webhooks.ShownWebhook:
    """One webhook, without its secret."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    return webhooks.webhook(call, app.services.registrations(call.deadline).get(owner, webhook_id))


@app.patch("/webhooks/<webhookId>", summary="Change a webhook", tags=["Webhooks"])
def change_webhook(call: Call, owner: str, webhookId: str, body: webhooks.WebhookChanges) -> webhooks.ShownWebhook:
    """Change address or types; what is not sent stays as it is.

    Of types that it did not get before, it gets what has happened to an order since it was registered, before the next
    event of that order.
    """
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    changed = app.services.registrations(call.deadline).change(owner, webhook_id, **body.given())
    return webhooks.webhook(call, changed)


@app.delete("/webhooks/<webhookId>", summary="Remove a webhook", tags=["Webhooks"], status_code=204)
def delete_webhook(call: Call, owner: str, webhookId: str) -> Answer[None]:
    """Send nothing more to the address, what it has not got yet included."""
    app.services.registrations(call.deadline).remove(owner, webhooks.webhook_id_in_path(webhookId))
    return Answer(204)


@app.post("/webhooks/<webhookId>/secret", summary="Replace the secret", tags=["Webhooks"])
def replace_webhook_secret(call: Call, owner: str, webhookId: str) -> webhooks.WebhookWithSecret:
    """Get a new secret, which is shown this once.

    For another 24 hours every message is signed with the one before it too, so that you can exchange them at leisure;
    older ones sign no longer.
    """
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    return webhooks.with_secret(call, *app.services.registrations(call.deadline).replace_secret(owner, webhook_id))


@app.post("/webhooks/<webhookId>/enable", summary="Enable a webhook", tags=["Webhooks"])
def enable_webhook(call: Call, owner: str, webhookId: str) -> webhooks.ShownWebhook:
    """Send to a webhook again that was disabled because it answered 410, first what it missed of the last 30 days."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    return webhooks.webhook(call, app.services.deliverer(call.deadline).enable(owner, webhook_id))


@app.get("/webhooks/<webhookId>/parked", summary="Get parked events", tags=["Webhooks"])
def list_parked_events(call: Call, owner: str, webhookId: str, query: webhooks.ParkedQuery) -> webhooks.ParkedEventList:
    """Events that the webhook did not take, after the last try; they are kept for 30 days."""
    webhook_id = webhooks.webhook_id_in_path(webhookId)
    # One more than is shown tells whether something follows.
    found = app.services.deliverer(call.deadline).parked(owner, webhook_id, query.page_size + 1, query.after or "")
    return webhooks.parked_event_list(call, query, found)


@app.post(
    "/webhooks/<webhookId>/parked/<eventId>/replay", summary="Replay a parked event", tags=["Webhooks"], status_code=202
)
def replay_parked_event(call: Call, owner: str, webhookId: str, eventId: str) -> Answer[None]:
    """Have a parked event sent once more, with all its tries; it stays parked until it is taken."""
    webhook_id, event_id = webhooks.webhook_id_in_path(webhookId), webhooks.event_id_in_path(eventId)
    app.services.deliverer(call.deadline).replay(owner, webhook_id, event_id)
    return Answer(202)


handler = app.ready()
