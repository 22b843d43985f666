"""Sending messages to queues, and handling batches of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ordering.aws.calls import NotExecuted
from ordering.aws.sqs import handle_each, no_queue, sender, sender_of_many
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


@pytest.mark.parametrize(
    ("outcome", "refused"),
    [
        ({"Successful": [{"Id": "0"}]}, []),
        ({"Successful": [], "Failed": [{"Id": "0"}]}, ["m10"]),
        (NotExecuted(), ["m10"]),
        (Unavailable(), []),
    ],
    ids=["accepted", "refused", "not executed", "no response"],
)
def test_many_messages(outcome: dict[str, Any] | Exception, refused: list[str]) -> None:
    """Ten messages go in one call; those that are surely not on the queue are returned."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        calls.append((operation, request))
        if len(calls) == 1:
            return {"Successful": [{"Id": str(number)} for number in range(10)]}
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    found = sender_of_many(call, "https://queue")([f"m{number}" for number in range(11)], 7)

    assert found == refused
    assert [len(request["Entries"]) for _, request in calls] == [10, 1]
    assert calls[1] == (
        "SendMessageBatch",
        {"QueueUrl": "https://queue", "Entries": [{"Id": "0", "MessageBody": "m10", "DelaySeconds": 7}]},
    )


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
