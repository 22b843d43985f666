"""The function that follows the orders table: what it does with the schedule's event, and with each of its queues."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.connections import Connections
from ordering.aws.sqs import Enqueue
from ordering.book.unfinished import FIRST_LOOK
from ordering.entry import stream, wiring
from ordering.entry.batches import Handler
from ordering.training.statuses import TrainingStatus
from ordering_tools.template import Template
from support.aws.memory import Memory
from support.cloudwatch import ALARM, OK, Metrics, states
from support.gateway import ROOT, LambdaContext
from support.training import School

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ARN = "arn:aws:sqs:eu-west-1:123456789012:"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/"
SEATS = 1_001
TEMPLATE = Template.load(ROOT / "template.yaml")
QUEUES = {"LATER_QUEUE": "later", "LARGE_ORDERS_QUEUE": "large", "MAIL_QUEUE": "mails", "WEBHOOK_QUEUE": "webhooks"}


@dataclass
class Function:
    """The function, over a table and queues in memory, by a clock that stands still."""

    school: School = field(default_factory=lambda: School(Memory(), now=lambda: START))
    now: datetime = START
    sent: dict[str, list[str]] = field(default_factory=dict)

    @property
    def connections(self) -> Connections:
        settings = {
            **self.school.services.settings,
            "EVENT_BUS": "bus",
            **{at: URL + one for at, one in QUEUES.items()},
        }
        return Connections(
            settings, self.school.send, self.school.kms, self._queue, lambda: self.now, connect=self.connect
        )

    def _queue(self, url: str) -> Enqueue:
        return lambda body, _: self.sent.setdefault(url.removeprefix(URL), []).append(body)

    def connect(self, service: str) -> Any:
        def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            entries = request["Entries"]
            if service == "events":
                return {"Entries": [{"EventId": "1"} for _ in entries]}
            assert (service, operation) == ("sqs", "SendMessageBatch")
            self.sent.setdefault(request["QueueUrl"].removeprefix(URL), []).extend(
                one["MessageBody"] for one in entries
            )
            return {"Successful": [{"Id": one["Id"]} for one in entries]}

        return call

    def status(self, order: int) -> TrainingStatus:
        return self.school.orders().order(order).status


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def handle(function: Function, monkeypatch: pytest.MonkeyPatch) -> Handler:
    """The function's handler."""
    monkeypatch.setattr(wiring, "open_connections", lambda: function.connections)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "a-stack")
    return stream.stream_from_environment()


def message(queue: str, order: int) -> dict[str, Any]:
    body = json.dumps([f"ORDER#training#{order}", "ORDER"])
    record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "eventSourceARN": ARN + queue}
    return {"Records": [record]}


def test_old_work_rings(function: Function, handle: Handler, capsys: pytest.CaptureFixture[str]) -> None:
    """Work that is older than fifteen minutes in three sweeps rings its alarm; that about sweeps is quiet."""
    function.school.place(1)
    metrics, found = Metrics(), list[dict[str, str]]()
    for minute in range(25):
        function.now = START + timedelta(minutes=minute)
        capsys.readouterr()
        handle({"source": "aws.events", "detail-type": "Scheduled Event"}, LambdaContext())
        for line in capsys.readouterr().out.splitlines():
            metrics.read_embedded(json.loads(line), function.now.timestamp())
        found.append(states(TEMPLATE, metrics, function.now.timestamp()))

    assert [one["UnfinishedAlarm"] for one in found] == [OK] * 18 + [ALARM] * 7
    assert (found[-1]["SweeperAlarm"], found[0]["SweeperAlarm"]) == (OK, OK)


def test_the_schedule_sweeps(function: Function, handle: Handler, capsys: pytest.CaptureFixture[str]) -> None:
    """The schedule's event puts what is due on the queue of deferred items, and measures how many and how old."""
    order = function.school.place(1)
    function.now += FIRST_LOOK + timedelta(seconds=5)
    capsys.readouterr()

    assert handle({"source": "aws.events", "detail-type": "Scheduled Event"}, LambdaContext()) == {
        "batchItemFailures": []
    }
    assert function.sent == {"later": [json.dumps([f"ORDER#training#{order}", "ORDER"])]}
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("UnfinishedOldestSeconds") or one.get("OrdersSwept") for one in metrics] == [605, 1]
    assert [one["_aws"]["CloudWatchMetrics"][0]["Metrics"] for one in metrics] == [
        [{"Name": "UnfinishedOldestSeconds", "Unit": "Seconds"}],
        [{"Name": "OrdersSwept", "Unit": "Count"}],
    ]


def test_what_was_swept_is_finished(function: Function, handle: Handler) -> None:
    """The message that a sweep has sent completes the order, so that the next sweep sends nothing."""
    order = function.school.place(1)
    function.now += FIRST_LOOK
    handle({}, LambdaContext())
    function.sent.clear()

    assert handle(message("later", order), LambdaContext()) == {"batchItemFailures": []}
    function.now += timedelta(days=1)
    handle({}, LambdaContext())
    assert (function.status(order), function.sent) == (TrainingStatus.COMPLETED, {})


def test_large_orders_have_their_queue(function: Function, handle: Handler) -> None:
    """An order of many seats is put on the queue of large orders, and completed by a message of that queue only."""
    order = function.school.place(SEATS)
    handle(message("later", order), LambdaContext())
    before = function.status(order)
    (body,) = function.sent["large"]

    assert json.loads(body) == [f"ORDER#training#{order}", "ORDER"]
    assert handle(message("large", order), LambdaContext()) == {"batchItemFailures": []}
    assert (before, function.status(order)) == (TrainingStatus.NEW, TrainingStatus.COMPLETED)
    assert len(function.school.keys(order)) == SEATS
    assert len(function.sent["large"]) == 1
