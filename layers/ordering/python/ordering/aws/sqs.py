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
    """Make what puts messages onto a queue by its URL."""

    def send(body: str, delay_seconds: int) -> None:
        call("SendMessage", {"QueueUrl": url, "MessageBody": body, "DelaySeconds": delay_seconds})

    return send


def connect_when_called(url: str, **settings: Any) -> Send:
    """Make a connection that is made with the first message.

    Args:
        settings: As `aws.connect`.
    """
    return sender(aws.connect_when_called("sqs", **settings), url)


def nowhere(body: str, delay_seconds: int) -> None:  # noqa: ARG001 - as every `Send`
    """Be no queue.

    Raises:
        Unavailable: Always.
    """
    raise Unavailable


def handle_each(records: Iterable[Mapping[str, Any]], handle: Callable[[str], None]) -> list[str]:
    """Do what the messages of a batch say; returns the ids of those that must come again.

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
            _log.warning("message comes again", extra={"message_id": record["messageId"], "reason": reason})
            failed.append(record["messageId"])
        except Exception:  # noqa: BLE001 - whatever it is, the other messages must not suffer
            _log.exception("message failed", extra={"message_id": record["messageId"]})
            failed.append(record["messageId"])
    return failed
