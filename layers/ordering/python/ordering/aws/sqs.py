"""SQS: messages onto a queue, and the messages of a batch from one, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ordering.aws import calls as aws
from ordering.aws.calls import Call
from ordering.errors import Unavailable

LONGEST_DELAY = 900
"""Seconds after which a message arrives at the latest: a limit of the service."""

_log = logging.getLogger("ordering")

Send = Callable[[str, int], None]
"""Puts a message onto the queue, to arrive after so many seconds, up to `LONGEST_DELAY`.

Raises:
    Unavailable: It may or may not be there.
"""


def sender(call: Call, url: str) -> Send:
    """Return what puts messages onto the queue of a URL."""

    def send(body: str, delay_seconds: int) -> None:
        call("SendMessage", {"QueueUrl": url, "MessageBody": body, "DelaySeconds": delay_seconds})

    return send


def connect_queue(url: str, **settings: Any) -> Send:
    """Return the queue of a URL, connected with the first message.

    Args:
        settings: As `calls.connect`.
    """
    return sender(aws.connect("sqs", **settings), url)


no_queue = sender(aws.unavailable, "")
"""Stands in for a queue that a process is not connected to: always raises `Unavailable`."""


def handle_each(records: Iterable[Mapping[str, Any]], handle: Callable[[str], None]) -> list[str]:
    """Handle the messages of a batch, each on its own; returns the ids of those that must be delivered again.

    Args:
        records: As Lambda delivers them from SQS.
        handle: Gets a message's body.
    """
    failed = []
    for record in records:
        try:
            handle(record["body"])
        except Unavailable as error:
            reason = type(error).__name__
            _log.warning("message will be retried", extra={"message_id": record["messageId"], "reason": reason})
            failed.append(record["messageId"])
        except Exception:  # noqa: BLE001 - a failed message must not keep the others from being handled
            _log.exception("message failed", extra={"message_id": record["messageId"]})
            failed.append(record["messageId"])
    return failed
