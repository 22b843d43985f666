"""The consumers behind the API: of the orders table's stream, and of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from ordering.aws import ses
from ordering.aws.calls import connect
from ordering.aws.connections import Connections
from ordering.aws.eventbridge import Bus, EventBus
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.sqs import Send, handle_each
from ordering.book.changes import MAIL, PUBLISH, SETTLE, Subject, each
from ordering.book.orderbook import OrderBook
from ordering.clock import Deadline
from ordering.contexts import followers, read_history
from ordering.ecards.services import EcardServices
from ordering.entry import wiring
from ordering.events.publisher import Publisher
from ordering.fulfilment.incoming import Incoming
from ordering.fulfilment.stream import StreamConsumer
from ordering.identity.services import IdentityServices
from ordering.mail.mailing import Mailing, to_message
from ordering.mail.outbox import Outbox
from ordering.mail.outbox import Send as SendMail
from ordering.training.services import TrainingServices
from ordering.webhooks.post import Poster
from ordering.webhooks.registrations import announcer
from ordering.webhooks.services import WebhookServices

Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]
"""Handles a batch; returns the records or messages that failed, as `ReportBatchItemFailures` has it."""

Count = Callable[[str], None]
"""Counts one more of a metric, by its name."""

QUEUE = "aws:sqs"

PUBLISHED_WITHIN = 5.0
"""Seconds that a batch's events may take to be put onto the bus, so that a slow bus leaves time for the rest."""


def stream_consumer(  # noqa: PLR0913, PLR0917 - what it needs is handed in
    connections: Connections, deadline: Deadline, defer: Send, mail: Send, bus: Bus, bus_name: str
) -> StreamConsumer:
    """Return what follows the orders table, for one invocation."""
    webhooks = WebhookServices(connections)
    table = connections.orders(deadline)

    def publish(subjects: Sequence[Subject]) -> set[Subject]:
        until = Deadline.after(min(deadline.remaining(), PUBLISHED_WITHIN))
        announce = announcer(webhooks.registrations(deadline), webhooks.deliverer(deadline).signal)
        events = EventBus(bus, bus_name, connections.orders(until).pauses, until)
        publisher = Publisher(table, events, announce, read_history)
        return {(name,) for name in publisher.publish(name for (name,) in subjects)}

    def settle(book: str) -> int:
        return OrderBook(table, book, now=connections.now, grace=connections.grace).settle()

    handlers = {SETTLE: each(settle), MAIL: each(lambda order: mail(to_message(order), 0)), PUBLISH: publish}
    return StreamConsumer(table, followers(connections, deadline), handlers, defer)


def postman(connections: Connections, deadline: Deadline, send: SendMail, count: Count) -> Mailing:
    """Return what mails access keys and certificates, for one invocation."""
    table = connections.orders(deadline)
    # A key's id is needed to seal only.
    sealer = EnvelopeSealer(connections.kms)
    return Mailing(table, Outbox(table, send, count, connections.now), sealer, deadline, connections.now)


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
        report=Outbox(table, ses.not_sent, count, connections.now).report,
        count=count,
        now=connections.now,
    )


def stream_from_environment() -> Handler:
    """Return the handler of the orders table's stream, and of the queue of deferred items."""
    connections = wiring.connect()
    defer, mail = connections.queue("LATER_QUEUE"), connections.queue("MAIL_QUEUE")
    bus, bus_name = connect("events"), connections.settings["EVENT_BUS"]

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        consumer = stream_consumer(connections, deadline_of(context), defer, mail, bus, bus_name)
        records = event["Records"]
        from_queue = records[0]["eventSource"] == QUEUE
        return _failures(consumer.retry(records) if from_queue else consumer.follow(records))

    return handle


def webhook_delivery_from_environment() -> Handler:
    """Return the handler of the queue that says which webhooks may have events to get."""
    connections = wiring.connect()
    services = WebhookServices(connections)
    poster = Poster(anywhere=connections.local)

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        deliverer = services.deliverer(deadline_of(context), poster.post)
        return _failures(handle_each(event["Records"], deliverer.handle))

    return handle


def mails_from_environment() -> Handler:
    """Return the handler of the queue that says which orders may have something to mail."""
    connections = wiring.connect()
    sender = ses.connect_ses(connections.settings["MAIL_SENDER"], connections.settings["MAIL_CONFIGURATION_SET"])

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        mailing = postman(connections, deadline_of(context), sender.send, _count)
        return _failures(handle_each(event["Records"], mailing.handle))

    return handle


def incoming_from_environment() -> Handler:
    """Return the handler of the queue that the event buses fill."""
    connections = wiring.connect()

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        receiving = incoming(connections, deadline_of(context), _count)
        return _failures(handle_each(event["Records"], receiving.handle))

    return handle


def _count(metric: str) -> None:
    """Count one more of a metric, in CloudWatch's embedded format: a line of the log, and no call."""
    with single_metric(name=metric, unit=MetricUnit.Count, value=1):
        pass


def _failures(identifiers: list[str]) -> dict[str, Any]:
    """Answer as `ReportBatchItemFailures` has it."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
