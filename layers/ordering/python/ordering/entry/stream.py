"""The function that follows the orders table: its stream, the queue of deferred items, and what is unfinished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ordering.aws.calls import ServiceCall, until
from ordering.aws.connections import Connections
from ordering.aws.eventbridge import Bus, EventBus
from ordering.aws.invocation import Context, deadline_of
from ordering.aws.sqs import Enqueue, sender_of_many
from ordering.book.changes import MAIL, PUBLISH, SETTLE, Do, Subject, each
from ordering.book.orderbook import OrderBook
from ordering.clock import Deadline
from ordering.contexts import followers, history_readers, read_history
from ordering.entry import wiring
from ordering.entry.batches import Handler, failures, gauge
from ordering.events.publisher import Publisher, by_kind, one_by_one
from ordering.fulfilment.stream import StreamConsumer, deferred
from ordering.fulfilment.sweeper import Sweeper
from ordering.logs import about
from ordering.mail.mailing import to_message
from ordering.webhooks.registrations import announcer
from ordering.webhooks.services import WebhookServices

QUEUE = "aws:sqs"

PUBLISHED_WITHIN = 5.0
"""Seconds that putting a batch's events on the bus may take, so that a slow bus leaves time for other tasks."""


DEFERRED_WITHIN = 3.0
"""Seconds that are left, when the tasks must have ended, to defer the items whose tasks failed."""


def stream_consumer(  # noqa: PLR0913, PLR0917 - what it needs is handed in
    connections: Connections,
    deadline: Deadline,
    defer: Enqueue,
    mail: Enqueue,
    bus: Bus,
    bus_name: str,
    large: Enqueue | None = None,
) -> StreamConsumer:
    """Return the consumer of the orders table's stream, for one invocation.

    Args:
        connections: The connections of the process.
        deadline: The time by which the last call must begin.
        defer: The queue of deferred items.
        mail: The queue of mails.
        bus: EventBridge.
        bus_name: The bus for the events of orders.
        large: The queue of large orders; None for its own consumer.
    """
    webhooks = WebhookServices(connections)
    defer = until(defer, deadline)
    deadline = Deadline(deadline.at - DEFERRED_WITHIN)
    table, mailed = connections.orders(deadline), set[str]()
    large = until(large, deadline) if large else None
    pass_on = (lambda key: large(deferred(key), 0)) if large else None
    following = followers(connections, deadline, pass_on)
    together = {kind: read for one in following for kind, read in one.histories.items()}

    def publish(subjects: Sequence[Subject]) -> set[Subject]:
        end = Deadline.after(min(deadline.remaining(), PUBLISHED_WITHIN))
        announce = announcer(webhooks.registrations(deadline), webhooks.deliverer(deadline).signal)
        events = EventBus(bus, bus_name, connections.orders(end).pauses, end)
        publisher = Publisher(table, events, announce, by_kind(together, one_by_one(table, read_history)), mailed)
        return {(name,) for name in publisher.publish(name for (name,) in subjects)}

    def settle(book: str) -> int:
        return OrderBook(table, book, now=connections.now, grace=connections.grace).settle()

    handlers = {SETTLE: each(settle), MAIL: _queue_mails(until(mail, deadline), mailed), PUBLISH: publish}
    return StreamConsumer(table, following, handlers, defer)


def _queue_mails(mail: Enqueue, mailed: set[str]) -> Do:
    """Return the handler that puts orders on the queue of mails, and notes them in `mailed`."""

    def queue_mail(order: str) -> None:
        with about(order=order):
            mail(to_message(order), 0)
            mailed.add(order)

    return each(queue_mail)


def sweeper(connections: Connections, deadline: Deadline, queues: ServiceCall, url: str) -> Sweeper:
    """Return the sweeper of unfinished work, for one invocation.

    Args:
        queues: SQS.
        url: The queue of deferred items.
    """
    defer = sender_of_many(until(queues, deadline), url)
    return Sweeper(connections.orders(deadline), defer, connections.now)


def stream_from_environment() -> Handler:
    """Return the handler of the orders table's stream, of the queue of deferred items, and of the schedule."""
    connections = wiring.open_connections()
    defer, mail = connections.queue("LATER_QUEUE"), connections.queue("MAIL_QUEUE")
    large = connections.queue("LARGE_ORDERS_QUEUE")
    large_name = connections.settings["LARGE_ORDERS_QUEUE"].rpartition("/")[2]
    bus, bus_name = connections.connect("events"), connections.settings["EVENT_BUS"]
    queues, later = connections.connect("sqs"), connections.settings["LATER_QUEUE"]
    # Both import the contexts now, while the function initialises, and not in its first batch.
    followers(connections, Deadline.after(0.0))
    history_readers()
    wiring.prime(connections, "ORDERS_TABLE", "ORDER#training#")

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        deadline = deadline_of(context)
        if "Records" not in event:
            swept = sweeper(connections, deadline, queues, later).sweep()
            gauge("UnfinishedOldestSeconds", swept.oldest_seconds)
            gauge("OrdersSwept", swept.keys)
            return failures([])
        records = event["Records"]
        from_queue = any(record["eventSource"] == QUEUE for record in records)
        is_large = from_queue and any(record["eventSourceARN"].rpartition(":")[2] == large_name for record in records)
        consumer = stream_consumer(connections, deadline, defer, mail, bus, bus_name, None if is_large else large)
        return failures(consumer.retry(records) if from_queue else consumer.follow(records))

    return wiring.initialised(handle)
