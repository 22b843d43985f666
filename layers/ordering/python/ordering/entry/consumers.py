"""Where a function's environment becomes what works behind the API: consumers of the orders stream and of queues."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from ordering.aws import eventbridge as event_bus
from ordering.aws import ses
from ordering.aws import sqs as queues
from ordering.aws.eventbridge import Bus, EventBus
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.kms import EnvelopeSealer
from ordering.aws.sqs import Send, handle_each
from ordering.book.changes import MAIL, PUBLISH, SETTLE, Subject, each
from ordering.clock import Deadline
from ordering.contexts import read_history
from ordering.deals import follow as deals
from ordering.ecards import follow as ecards
from ordering.ecards.assignment import Assignment
from ordering.entry import wiring
from ordering.entry.wiring import Services
from ordering.events.publisher import Publisher
from ordering.fulfilment.incoming import Incoming
from ordering.fulfilment.stream import StreamConsumer
from ordering.mail.mailing import Mailing, to_message
from ordering.mail.outbox import Outbox
from ordering.mail.outbox import Send as SendMail
from ordering.training import follow as training
from ordering.webhooks.post import Poster
from ordering.webhooks.registrations import announcer

Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]
"""Takes a batch, and says of which records it begins again, or which messages come again."""

Count = Callable[[str], None]
"""Counts one more of a metric, by its name."""

QUEUE = "aws:sqs"

PUBLISHED_WITHIN = 5.0
"""Seconds that a batch's events may take to be put onto the bus, so that a slow bus leaves time for the rest."""


def stream_consumer(  # noqa: PLR0913, PLR0917 - what it needs is handed in
    services: Services, deadline: Deadline, defer: Send, mail: Send, bus: Bus, bus_name: str
) -> StreamConsumer:
    """Return what follows the orders table, for one invocation."""

    def publish(subjects: Sequence[Subject]) -> set[Subject]:
        until = Deadline.after(min(deadline.remaining(), PUBLISHED_WITHIN))
        table = services.orders(until)
        announce = announcer(services.webhooks(deadline), services.deliverer(deadline).signal)
        publisher = Publisher(
            services.orders(deadline), EventBus(bus, bus_name, table.pauses, until), announce, read_history
        )
        return {(name,) for name in publisher.publish(name for (name,) in subjects)}

    followers = [
        deals.follower(lambda account: services.deal_orders(account, deadline)),
        ecards.follower(
            lambda company: services.ecard_orders(company, deadline), Assignment(services.orders(deadline))
        ),
        training.follower(
            lambda unit: services.training_orders(unit, deadline), services.access_keys_sealer(), deadline
        ),
    ]
    handlers = {
        SETTLE: each(lambda book: services.book(book, deadline).settle()),
        MAIL: each(lambda order: mail(to_message(order), 0)),
        PUBLISH: publish,
    }
    return StreamConsumer(services.orders(deadline), followers, handlers, defer)


def postman(services: Services, deadline: Deadline, send: SendMail, count: Count) -> Mailing:
    """Return what mails access keys and certificates, for one invocation."""
    table = services.orders(deadline)
    # Opening needs no key's id.
    return Mailing(
        table, Outbox(table, send, count, services.now), EnvelopeSealer(services.kms), deadline, services.now
    )


def incoming(services: Services, deadline: Deadline, certificates_key: str, count: Count) -> Incoming:
    """Return what does as events ask, for one invocation."""
    table = services.orders(deadline)
    return Incoming(
        table,
        services.accounts(deadline),
        EnvelopeSealer(services.kms, certificates_key),
        open_training=lambda unit: services.training_orders(unit, deadline),
        open_ecards=lambda company: services.ecard_orders(company, deadline),
        report=Outbox(table, ses.nowhere, count, services.now).report,
        count=count,
        now=services.now,
    )


def fulfilment_from_environment() -> Handler:
    """Make what follows the orders table: it takes the table's stream, and the queue of what it put aside."""
    services = wiring.from_environment()
    defer = queues.connect_when_called(os.environ["LATER_QUEUE"])
    mail = queues.connect_when_called(os.environ["MAIL_QUEUE"])
    bus: Bus = event_bus.connect_when_called()
    bus_name = os.environ["EVENT_BUS"]

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        deadline = deadline_of(context)
        consumer = stream_consumer(services, deadline, defer, mail, bus, bus_name)
        records = event["Records"]
        from_queue = records[0]["eventSource"] == QUEUE
        return _failures(consumer.retry(records) if from_queue else consumer.follow(records))

    return handle


def webhook_delivery_from_environment() -> Handler:
    """Make what sends events to webhooks: it takes the queue that says which of them may have something to get."""
    services = wiring.from_environment()
    poster = Poster(anywhere=services.local)

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        deliverer = services.deliverer(deadline_of(context), poster.post)
        return _failures(handle_each(event["Records"], deliverer.handle))

    return handle


def mails_from_environment() -> Handler:
    """Make what mails access keys and certificates: it takes the queue that says for which orders."""
    services = wiring.from_environment()
    sender = ses.connect_when_called(os.environ["MAIL_SENDER"], os.environ["MAIL_CONFIGURATION_SET"])

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        mailing = postman(services, deadline_of(context), sender.send, _count)
        return _failures(handle_each(event["Records"], mailing.handle))

    return handle


def incoming_from_environment() -> Handler:
    """Make what does as events ask that come in: it takes the queue that the event buses fill."""
    services = wiring.from_environment()
    certificates_key = os.environ["CERTIFICATES_KEY"]

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        receiving = incoming(services, deadline_of(context), certificates_key, _count)
        return _failures(handle_each(event["Records"], receiving.handle))

    return handle


def _count(metric: str) -> None:
    """Count one more of a metric, in CloudWatch's embedded format: a line of the log, and no call."""
    with single_metric(name=metric, unit=MetricUnit.Count, value=1):
        pass


def _failures(identifiers: list[str]) -> dict[str, Any]:
    """Answer as `ReportBatchItemFailures` has it."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
