"""The function that mails access keys and certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ordering.aws import ses
from ordering.aws.connections import Connections
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.sqs import handle_each
from ordering.clock import Deadline
from ordering.contexts import mailers
from ordering.entry import wiring
from ordering.entry.batches import Count, Handler, count_metric, failures
from ordering.mail.mailing import Mailing
from ordering.mail.outbox import Outbox, SendMail


def mailing_for(connections: Connections, deadline: Deadline, send: SendMail, count: Count) -> Mailing:
    """Return the sender of the mails of all orders, for one invocation."""
    table, now = connections.orders(deadline), connections.now
    sealer = EnvelopeSealer(connections.kms_until(deadline))  # opening needs no key id
    return Mailing(mailers(table, Outbox(table, send, count, now), sealer, deadline, now))


def mails_from_environment() -> Handler:
    """Return the handler of the mail queue, whose messages name orders that may have mails to send."""
    connections = wiring.open_connections()
    address, events = connections.settings["MAIL_SENDER"], connections.settings["MAIL_CONFIGURATION_SET"]
    sender = ses.connect_ses(address, events, connections.connect)
    # Imports the contexts now, while the function initialises, and not in its first batch.
    mailing_for(connections, Deadline.after(0.0), sender.send, count_metric)
    wiring.prime(connections, "ORDERS_TABLE", "ORDER#training#")

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        mailing = mailing_for(connections, deadline_of(context), sender.send, count_metric)
        return failures(handle_each(event["Records"], mailing.handle))

    return wiring.initialised(handle)
