"""SQS: puts messages on a queue, and handles the messages of a batch, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ordering.aws import calls as aws
from ordering.aws.calls import Connect, NotExecuted, ServiceCall
from ordering.errors import Unavailable, cause_of
from ordering.logs import about, keys_on

LONGEST_DELAY = 900
"""The longest delay of a message in seconds: a limit of the service."""

_BATCH_LIMIT = 10
"""Most messages of one call: a limit of the service."""

_log = logging.getLogger("ordering")

Enqueue = Callable[[str, int], None]
"""Puts a message on the queue, to be delivered after a number of seconds, up to `LONGEST_DELAY`.

Raises:
    Unavailable: The message may or may not be on the queue.
"""


def sender(call: ServiceCall, url: str) -> Enqueue:
    """Return an `Enqueue` for the queue with a URL."""

    def send(body: str, delay_seconds: int) -> None:
        call("SendMessage", {"QueueUrl": url, "MessageBody": body, "DelaySeconds": delay_seconds})

    return send


SendAll = Callable[[Sequence[str], int], list[str]]
"""Puts messages on the queue, each to be delivered after a number of seconds; returns those that surely are not on it.

If no response arrives, the messages of that call may or may not be on it.
"""


def sender_of_many(call: ServiceCall, url: str) -> SendAll:
    """Return a `SendAll` for the queue with a URL: up to ten messages take one call."""

    def send(bodies: Sequence[str], delay_seconds: int) -> list[str]:
        refused: list[str] = []
        for begin in range(0, len(bodies), _BATCH_LIMIT):
            batch = bodies[begin : begin + _BATCH_LIMIT]
            entries = [
                {"Id": str(number), "MessageBody": body, "DelaySeconds": delay_seconds}
                for number, body in enumerate(batch)
            ]
            try:
                answer = call("SendMessageBatch", {"QueueUrl": url, "Entries": entries})
            except NotExecuted:
                refused += batch
            except Unavailable as error:
                _log.warning("messages may not be sent", extra={"messages": len(batch), "cause": cause_of(error)})
            else:
                refused += [batch[int(one["Id"])] for one in answer.get("Failed", ())]
        return refused

    return send


def connect_queue(url: str, connect: Connect = aws.connect, **settings: Any) -> Enqueue:
    """Return an `Enqueue` for the queue with a URL; it connects when it sends the first message.

    Args:
        url: The queue's URL.
        connect: What connects to the service.
        settings: As `calls.connect`.
    """
    return sender(connect("sqs", **settings), url)


no_queue = sender(aws.unavailable, "")
"""Stands in for a queue that a process is not connected to: always raises `Unavailable`."""


def handle_each(records: Iterable[Mapping[str, Any]], handle: Callable[[str], None]) -> list[str]:
    """Handle the messages of a batch, each on its own; returns the ids of the messages that must be delivered again.

    Args:
        records: The records in which Lambda delivers messages of SQS.
        handle: Handles the body of a message. If it raises, the message is delivered again.
    """
    failed = []
    for record in records:
        with about(message_id=record["messageId"]):
            try:
                handle(record["body"])
            except Unavailable as error:
                details = {**keys_on(error), "reason": type(error).__name__, "cause": cause_of(error)}
                _log.warning("message will be retried", extra=details)
                failed.append(record["messageId"])
            except Exception:  # noqa: BLE001 - a failed message must not keep the others from being handled
                _log.exception("message failed")
                failed.append(record["messageId"])
    return failed
