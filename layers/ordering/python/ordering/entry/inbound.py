"""The function that carries out inbound events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ordering.aws.connections import Connections
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sqs import handle_each
from ordering.clock import Deadline
from ordering.contexts import receivers
from ordering.entry import wiring
from ordering.entry.batches import Count, Handler, count_metric, failures
from ordering.fulfilment.incoming import Incoming, envelopes
from ordering.mail.outbox import Outbox


def incoming(connections: Connections, deadline: Deadline, count: Count) -> Incoming:
    """Return the consumer of inbound events, for one invocation."""
    outbox = Outbox(connections.orders(deadline), count=count, now=connections.now)
    return Incoming(
        receivers(connections, deadline),
        report=lambda notice: outbox.report(notice.tags, notice.type, notice.reason, notice.at),
        count=count,
    )


def incoming_from_environment() -> Handler:
    """Return the handler of the queue that the event buses fill."""
    connections = wiring.open_connections()
    # Imports the contexts now, while the function initialises, and not in its first batch.
    envelopes()
    wiring.prime(connections, "ORDERS_TABLE", "ORDER#training#")

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        consumer = incoming(connections, deadline_of(context), count_metric)
        return failures(handle_each(event["Records"], consumer.handle))

    return wiring.initialised(handle)
