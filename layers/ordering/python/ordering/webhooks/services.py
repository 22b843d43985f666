"""The services of the functions of webhooks, over the connections of their process."""

from __future__ import annotations

from ordering.aws.calls import until
from ordering.aws.connections import Connections
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline
from ordering.webhooks.delivery import Deliverer
from ordering.webhooks.registrations import RESPONSES, Webhooks
from ordering.webhooks.transport import Post, not_posted


class WebhookServices:
    """Opens the registrations and the delivery of webhooks for one request."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._queue = connections.queue("WEBHOOK_QUEUE")

    def registrations(self, deadline: Deadline) -> Webhooks:
        """Return the webhooks of all partners. Without a key for secrets they are read-only."""
        connections = self._connections
        kms, key = connections.kms_until(deadline), connections.settings.get("WEBHOOK_SECRETS_KEY", "")
        return Webhooks(
            connections.accounts(deadline),
            EnvelopeSealer(kms, key),
            responses=EnvelopeSealer(kms, key, RESPONSES),
            anywhere=connections.local,
            now=connections.now,
        )

    def deliverer(self, deadline: Deadline, post: Post = not_posted) -> Deliverer:
        """Return the deliverer of events; without `post` it can only put messages on the queue."""
        connections = self._connections
        return Deliverer(
            connections.orders(deadline),
            connections.accounts(deadline),
            self.registrations(deadline),
            post,
            until(self._queue, deadline),
            deadline,
            connections.now,
        )
