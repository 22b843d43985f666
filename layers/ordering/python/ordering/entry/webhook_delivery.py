"""The function that sends events to the webhooks of partners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sqs import handle_each
from ordering.contexts import history_readers
from ordering.entry import wiring
from ordering.entry.batches import Handler, failures
from ordering.webhooks.post import Poster
from ordering.webhooks.services import WebhookServices


def webhook_delivery_from_environment() -> Handler:
    """Return the handler of the webhooks' queue, whose messages name webhooks that may have undelivered events."""
    connections = wiring.open_connections()
    services = WebhookServices(connections)
    poster = Poster(anywhere=connections.local)
    history_readers()  # imports the contexts now, while the function initialises, and not in its first batch
    wiring.prime(connections, "ACCOUNTS_TABLE", "WEBHOOKS#")

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        deliverer = services.deliverer(deadline_of(context), poster.post)
        return failures(handle_each(event["Records"], deliverer.handle))

    return wiring.initialised(handle)
