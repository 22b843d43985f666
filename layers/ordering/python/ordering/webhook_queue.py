"""SQS: the queue of what is to be sent to webhooks."""

from __future__ import annotations

from collections.abc import Callable

from ordering import aws
from ordering.aws import Call

LONGEST_DELAY = 900
"""Seconds after which a message arrives at the latest: a limit of the service."""

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


def connect_when_called(url: str) -> Send:
    """Make a connection that is made with the first message."""
    return sender(aws.connect_when_called("sqs"), url)
