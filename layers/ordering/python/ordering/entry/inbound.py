"""The function that carries out inbound events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ordering.aws.connections import Connections
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.sqs import handle_each
from ordering.clock import Deadline
from ordering.ecards.services import EcardServices
from ordering.entry import wiring
from ordering.entry.batches import Count, Handler, count_metric, failures
from ordering.fulfilment.incoming import Incoming
from ordering.identity.services import IdentityServices
from ordering.mail.outbox import Outbox
from ordering.training.services import TrainingServices


def incoming(connections: Connections, deadline: Deadline, count: Count) -> Incoming:
    """Return what carries out inbound events, for one invocation."""
    table = connections.orders(deadline)
    training, ecards = TrainingServices(connections), EcardServices(connections)
    return Incoming(
        table,
        IdentityServices(connections).accounts(deadline),
        EnvelopeSealer(connections.kms, connections.settings["CERTIFICATES_KEY"]),
        open_training=lambda unit: training.orders(unit, deadline),
        open_ecards=lambda company: ecards.orders(company, deadline),
        report=Outbox(table, count=count, now=connections.now).report,
        count=count,
        now=connections.now,
    )


def incoming_from_environment() -> Handler:
    """Return the handler of the queue that the event buses fill."""
    connections = wiring.connect()

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        receiving = incoming(connections, deadline_of(context), count_metric)
        return failures(handle_each(event["Records"], receiving.handle))

    return handle
