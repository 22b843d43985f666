"""Sending messages to queues, and handling batches of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ordering.aws.sqs import handle_each, no_queue, sender
from ordering.errors import Unavailable
from ordering.mail.mailing import OutOfTime


def test_request() -> None:
    """A message is sent to the queue's URL with its delay."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        calls.append((operation, request))
        return {"MessageId": "1"}

    sender(call, "https://queue")("a message", 7)

    assert calls == [("SendMessage", {"QueueUrl": "https://queue", "MessageBody": "a message", "DelaySeconds": 7})]


def test_no_queue() -> None:
    """A process without a queue raises Unavailable."""
    with pytest.raises(Unavailable):
        no_queue("a message", 0)


def test_each_message_on_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """A failed message does not hold up the others; its id is returned and the reason logged."""
    handled: list[str] = []
    troubles: dict[str, Exception] = {"late": OutOfTime(), "bad": ValueError("it says bad things")}

    def handle(body: str) -> None:
        if body in troubles:
            raise troubles[body]
        handled.append(body)

    records = [{"messageId": f"id-{body}", "body": body} for body in ("a", "late", "b", "bad", "c")]

    with caplog.at_level(logging.INFO):
        assert handle_each(records, handle) == ["id-late", "id-bad"]
    logged = [(one.levelname, one.message, vars(one)["message_id"], vars(one).get("reason")) for one in caplog.records]
    assert handled == ["a", "b", "c"]
    assert logged == [
        ("WARNING", "message will be retried", "id-late", "OutOfTime"),
        ("ERROR", "message failed", "id-bad", None),
    ]
