"""All that works behind the API, in one memory: tables with their stream, queues, the bus, SES, KMS, webhooks.

What consumes is the real code, wired as functions wire it. Everything that it calls is a step: `SimulatedAws.mishap`
can kill a consumer before or after any of them, or let a call fail. The stream and the queues deliver as Lambda has it:
what failed comes again, and what fails too often is dead. Time is the world's own, and passes when somebody waits, or
when there is nothing else to do.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

from moto.events.models import EventPattern

from ordering import clock
from ordering.aws import dynamodb as table
from ordering.aws.invocation import MARGIN
from ordering.aws.ses import Ses
from ordering.aws.sqs import handle_each
from ordering.book.unfinished import WAITS
from ordering.clock import Deadline
from ordering.entry.inbound import incoming
from ordering.entry.mails import mailing_for
from ordering.entry.stream import stream_consumer, sweeper
from ordering.errors import Unavailable
from ordering.webhooks.transport import Response
from ordering_tools.template import Template
from support import rights
from support.aws.faults import Crash
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.gateway import ROOT
from support.patterns import matches_any, read_pattern
from support.plans import Plan
from support.services import Services

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ORDERS = "OrdersTable"
MINUTE = timedelta(minutes=1)
LONGEST = timedelta(days=2)
"""How long the schedule goes on: orders whose mail was refused are unfinished for as long as no operator helps."""
CERTIFICATES_KEY = "alias/CertificatesKey"

Call = Callable[[str, dict[str, Any]], dict[str, Any]]
Do = Callable[[], dict[str, Any]]
Mishap = Callable[["Step", Do], dict[str, Any]]
"""Carries out a step in its own way, given what carries it out."""


@dataclass(frozen=True)
class Step:
    """A call that a function makes; `number` counts all of them from 1."""

    number: int
    at: datetime
    function: str
    service: str
    operation: str
    request: Mapping[str, Any]


class Streamed(Memory):
    """Tables, one of which has a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def fork(self) -> Self:
        other = super().fork()
        other.records = list(self.records)
        return other

    def same(self, other: Streamed) -> bool:
        """Whether nothing was written to it since the other was forked from it."""
        # Each write to a forked table makes a new partition.
        return self._partitions == other._partitions and self.records == other.records

    def load(self, table: str, item: dict[str, Any]) -> None:
        before = self._find(self._key(table, item))
        super().load(table, item)
        if table == ORDERS and before != item:
            images = {"NewImage": item, **({"OldImage": before} if before else {})}
            self._record("MODIFY" if before else "INSERT", item, images)

    def _remove(self, key: tuple[str, str, str]) -> None:
        if key[0] == ORDERS and (before := self._find(key)):
            self._record("REMOVE", before, {"OldImage": before})
        super()._remove(key)

    def _record(self, kind: str, item: Mapping[str, Any], images: Mapping[str, Any]) -> None:
        change = {"Keys": {name: item[name] for name in ("pk", "sk")}, "SequenceNumber": str(len(self.records) + 1)}
        self.records.append({"eventName": kind, "eventSource": "aws:dynamodb", "dynamodb": {**change, **images}})


@dataclass
class Message:
    """A message of a queue."""

    id: str
    body: str
    due: datetime
    receives: int = 0


@dataclass(frozen=True)
class Queue:
    """A queue's terms."""

    visibility: timedelta
    receives: int


@cache
def declared() -> Template:
    return Template.load(ROOT / "template.yaml").with_own_tables()


@cache
def stream_terms() -> dict[str, Any]:
    """Return on which terms the template feeds the stream to its function."""
    (source,) = (
        event["Properties"]
        for event in declared().document["Resources"]["StreamFunction"]["Properties"]["Events"].values()
        if event["Type"] == "DynamoDB"
    )
    found: dict[str, Any] = source
    return found


@cache
def patterns() -> tuple[EventPattern, ...]:
    """Return what the template lets through from the stream."""
    return tuple(read_pattern(one["Pattern"]) for one in stream_terms()["FilterCriteria"]["Filters"])


@cache
def terms(queue: str) -> Queue:
    properties = declared().document["Resources"][queue]["Properties"]
    return Queue(timedelta(seconds=properties["VisibilityTimeout"]), properties["RedrivePolicy"]["maxReceiveCount"])


@cache
def _seconds(function: str) -> float:
    """Return the timeout of a function, by its folder."""
    (seconds,) = (
        resource["Properties"]["Timeout"]
        for resource in declared().document["Resources"].values()
        if resource.get("Properties", {}).get("CodeUri") == f"functions/{function}"
    )
    return float(seconds)


@dataclass
class SimulatedAws:
    """The world."""

    tables: Streamed = field(default_factory=Streamed, compare=False)
    kms: MemoryKms = field(default_factory=MemoryKms)
    now: datetime = START
    batch: int = 100
    mishap: Mishap | None = field(default=None, compare=False)
    steps: list[Step] = field(default_factory=list, compare=False)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    dead: dict[str, list[Message]] = field(default_factory=dict)
    bus: list[Mapping[str, Any]] = field(default_factory=list)
    """Entries that the bus took."""
    posted: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    """What receivers of webhooks took."""
    mails: list[Mapping[str, Any]] = field(default_factory=list)
    """What SES took."""
    feedback: bool = True
    """Whether SES sends events about the mails that it accepted."""
    counted: Counter[str] = field(default_factory=Counter)
    picky: bool = False
    """Whether the bus refuses every other entry."""
    twice: bool = False
    """Whether every batch and every message is delivered twice."""
    invocations: int = 0
    crashes: int = 0
    given_up: list[dict[str, Any]] = field(default_factory=list)
    """Records of the stream."""
    _tries: int = 0
    _limit: int = 0
    """How many records a batch may have after one was halved."""
    _read: int = 0
    """How far the stream was read."""
    _end: int = 0
    """How far the last batch of the stream goes."""
    _messages: int = 0
    _entries: int = 0
    _function: str = "test"
    _swept: datetime = START
    """When the last sweep was that found something due."""

    # What tests and functions use.

    @property
    def services(self) -> Services:
        """The services of functions, every call of which is a step."""
        return Services(
            self._seam("dynamodb", self.tables),
            ORDERS,
            "CatalogueTable",
            "AccountsTable",
            now=lambda: self.now,
            kms=self._seam("kms", self.kms),
            access_keys_key="alias/AccessKeysKey",
            certificates_key=CERTIFICATES_KEY,
            webhook_secrets_key="alias/WebhookSecretsKey",
            webhook_queue=self.sender("WebhookQueue"),
        )

    def sender(self, queue: str) -> Callable[[str, int], None]:
        def send(body: str, delay_seconds: int) -> None:
            def put() -> dict[str, Any]:
                self._enqueue(queue, body, self.now + timedelta(seconds=delay_seconds))
                return {}

            self._step("sqs", f"SendMessage {queue}", {"body": body}, put)

        return send

    def _send_batch(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "SendMessageBatch"

        def put() -> dict[str, Any]:
            for entry in request["Entries"]:
                due = self.now + timedelta(seconds=entry["DelaySeconds"])
                self._enqueue(request["QueueUrl"], entry["MessageBody"], due)
            return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

        # The right to send many messages is that to send one.
        return self._step("sqs", f"SendMessage {request['QueueUrl']}", request, put)

    def function(self, name: str) -> Callable[[list[dict[str, Any]]], list[str]]:
        """Return what a function does with a batch of records or messages; it answers with those that failed."""
        services, deadline = self.services, Deadline.after(_seconds(name) - MARGIN)
        if name == "fulfilment/stream":
            bus = self._seam("events", self._put_events)
            defer, mail = self.sender("LaterQueue"), self.sender("MailQueue")
            large = self.sender("LargeOrdersQueue")

            def handle(batch: list[dict[str, Any]]) -> list[str]:
                if not batch:  # the schedule's event
                    sweeper(services.connections, deadline, self._send_batch, "LaterQueue").sweep()
                    return []
                to_large = None if batch[0].get("eventSourceARN") == "LargeOrdersQueue" else large
                consumer = stream_consumer(services.connections, deadline, defer, mail, bus, "OrderEvents", to_large)
                return consumer.follow(batch) if batch[0].get("eventName") else consumer.retry(batch)

            return handle
        handlers: dict[str, Callable[[], Callable[[str], None]]] = {
            "webhooks/delivery": lambda: services.deliverer(deadline, self._post).handle,
            "fulfilment/mails": lambda: mailing_for(services.connections, deadline, self._ses.send, self._count).handle,
            "fulfilment/incoming": lambda: incoming(services.connections, deadline, self._count).handle,
        }
        return lambda batch: handle_each(batch, handlers[name]())

    def put_event(self, detail_type: str, detail: Mapping[str, Any], source: str = "payments") -> None:
        """Put an inbound event onto a bus whose rule leads to the queue of inbound events."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": "123456789012",
            "time": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": "eu-west-1",
            "resources": [],
            "detail": detail,
        }
        self._enqueue("IncomingQueue", json.dumps(event), self.now)

    def _enqueue(self, queue: str, body: str, due: datetime) -> None:
        self._messages += 1
        self.queues.setdefault(queue, []).append(Message(str(self._messages), body, due))

    # How it crashes.

    def fork(self) -> SimulatedAws:
        """Return an independent copy without the mishap; all but the keys of KMS is its own."""
        other = copy.copy(self)
        other.tables, other.mishap, other.counted = self.tables.fork(), None, self.counted.copy()
        other.steps, other.given_up = list(self.steps), list(self.given_up)
        other.bus, other.posted, other.mails = list(self.bus), list(self.posted), list(self.mails)
        other.queues, other.dead = (
            {queue: [replace(message) for message in messages] for queue, messages in queues.items()}
            for queues in (self.queues, self.dead)
        )
        return other

    def same(self, fork: SimulatedAws) -> bool:
        """Whether nothing but steps without effect happened to it since a fork was made of it."""
        return self == fork and self.tables.same(fork.tables)

    def crash(self) -> None:
        """Crash the function that works, of which a fork has only what it brought about."""
        assert self._function != "test", "no function works"
        self.crashes += 1
        self._function = "test"
        # Messages of queues are delivered only when the whole stream is read.
        if self._read < self._end:
            self._settle_batch(None)

    # How it runs.

    def run(self) -> None:
        """Let everything happen that is to happen, and time pass between."""
        hands = SimpleNamespace(monotonic=self._seconds_since_start, sleep=self.wait)
        with mock.patch.object(clock, "time", hands), mock.patch.object(table, "time", hands):
            for _ in range(100_000):
                if not (self._deliver_stream() or self._deliver_message()):
                    times = [message.due for messages in self.queues.values() for message in messages]
                    look = self._next_look()
                    if not times and look is None:
                        return
                    self.now = max(self.now, min([*times, *([look] if look else [])]))
                    if look and look <= self.now:
                        self.sweep()
        raise AssertionError("it does not come to an end")

    def lose_work(self) -> None:
        """Lose all records of the stream and all messages, as if the tables were restored from their backup."""
        self._read = len(self.tables.records)
        self.queues.clear()

    def _next_look(self) -> datetime | None:
        """Return when the schedule next finds unfinished work, but for what waits for money or stock."""
        marks = [item for _, item in self.tables.scan(ORDERS) if "unfinished" in item]
        due = [clock.from_text(item["due"]["S"]) for item in marks if not item["unfinished"]["S"].startswith(WAITS)]
        look = max(min(due), self._swept + MINUTE) if due else None
        return look if look and look < START + LONGEST else None

    def sweep(self) -> None:
        """Let the schedule's event arrive."""
        self._swept = self.now
        with suppress(Unavailable):  # the schedule's next event finds the same work
            self._invoke("fulfilment/stream", [])

    def _seconds_since_start(self) -> float:
        return (self.now - START).total_seconds()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @property
    def waiting(self) -> int:
        """How many records of the stream wait for a function that takes them."""
        records = self.tables.records[self._read :]
        return sum(matches_any(patterns(), one) for one in records)

    def _deliver_stream(self) -> bool:
        records = self.tables.records
        if self._read >= len(records):
            return False
        self._end = min(self._read + (self._limit or self.batch), len(records))
        batch = [one for one in records[self._read : self._end] if matches_any(patterns(), one)]
        self._settle_batch(self._invoke("fulfilment/stream", batch) if batch else [])
        return True

    def _settle_batch(self, failed: list[str] | None) -> None:
        """Go on in the stream after a batch of which these records failed; after a crash, None."""
        records, end = self.tables.records, self._end
        if failed == []:
            self._read, self._tries, self._limit = end, 0, 0
            return
        self.wait(10)
        if failed is None and end - self._read > 1:
            self._limit = (end - self._read) // 2
            return
        if failed:
            begin = min(int(number) - 1 for number in failed)
            # Progress, as Lambda counts it.
            self._tries = self._tries if begin == self._read else 0
            self._read = begin
        self._tries += 1
        if self._tries > stream_terms()["MaximumRetryAttempts"]:
            self.given_up += records[self._read : end]
            self._read, self._tries, self._limit = end, 0, 0

    def replay(self) -> None:
        """Replay the dead letters, as `ordering dead replay --all` does."""
        records, self.given_up = self.given_up, []
        while records:
            batch, records = records[: self.batch], records[self.batch :]
            wanted = [one for one in batch if matches_any(patterns(), one)]
            assert not wanted or self._invoke("fulfilment/stream", wanted) == []
        for queue, messages in self.dead.items():
            for message in messages:
                message.receives, message.due = 0, self.now
            self.queues[queue] += messages
            messages.clear()
        self.run()

    def _deliver_message(self) -> bool:
        for queue, function in (
            ("LaterQueue", "fulfilment/stream"),
            ("LargeOrdersQueue", "fulfilment/stream"),
            ("MailQueue", "fulfilment/mails"),
            ("WebhookQueue", "webhooks/delivery"),
            ("IncomingQueue", "fulfilment/incoming"),
        ):
            messages = self.queues.get(queue, [])
            for message in [one for one in messages if one.due <= self.now][:1]:
                if message.receives >= terms(queue).receives:
                    messages.remove(message)
                    self.dead.setdefault(queue, []).append(message)
                    return True
                message.receives += 1
                message.due = self.now + terms(queue).visibility
                record = {
                    "messageId": message.id,
                    "body": message.body,
                    "eventSource": "aws:sqs",
                    "eventSourceARN": queue,
                }
                if self._invoke(function, [record]) == []:
                    messages.remove(message)
                return True
        return False

    def _invoke(self, name: str, batch: list[dict[str, Any]]) -> list[str] | None:
        """Invoke a function; returns None if it crashed."""
        # As JSON, as Lambda does.
        self.invocations += 1
        event = json.loads(json.dumps(batch, default=lambda data: data.hex()))
        self._function = name
        try:
            if self.twice:
                self.function(name)(event)
            return self.function(name)(event)
        except Crash:
            self.crashes += 1
            return None
        finally:
            self._function = "test"

    def _seam(self, service: str, call: Call) -> Call:
        def step(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            return self._step(service, operation, request, lambda: call(operation, request))

        return step

    def _step(self, service: str, operation: str, request: Mapping[str, Any], do: Do) -> dict[str, Any]:
        if self._function == "test":
            return do()
        if service == "dynamodb":
            rights.check(self._function, operation, request)
        step = Step(len(self.steps) + 1, self.now, self._function, service, operation, request)
        self.steps.append(step)
        return self.mishap(step, do) if self.mishap else do()

    def _put_events(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        first, self._entries = self._entries, self._entries + len(request["Entries"])
        taken = [not self.picky or number % 2 == 0 for number in range(first, self._entries)]
        self.bus += [entry for entry, good in zip(request["Entries"], taken, strict=True) if good]
        results = [{"EventId": "1"} if good else {"ErrorCode": "InternalFailure"} for good in taken]
        return {"FailedEntryCount": taken.count(False), "Entries": results}

    @property
    def _ses(self) -> Ses:
        return Ses(self._seam("ses", self._send_email), "orders@example.com", "mails")

    def _send_email(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert (operation, request["ConfigurationSetName"]) == ("SendEmail", "mails")
        self.mails.append(request)
        if self.feedback:
            tags = {tag["Name"]: [tag["Value"]] for tag in request["EmailTags"]}
            sent = {"eventType": "Send", "mail": {"messageId": "1", "tags": tags}, "send": {}}
            self.put_event("Email Sent", sent, source="aws.ses")
        return {"MessageId": f"message-{len(self.mails)}"}

    def _count(self, metric: str) -> None:
        self.counted[metric] += 1

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        def take() -> dict[str, Any]:
            self.posted.append((url, headers, body))
            return {"status": 200}

        status: int = self._step("webhook", "POST", {"url": url}, take)["status"]
        return Response(status)


def killed(number: int, *, after: bool) -> Mishap:
    """Crash the function that makes the step of that number, before or after it takes effect.

    A test that ends before that step fails.
    """
    plan = Plan(f"a crash at step {number}")

    def mishap(step: Step, do: Do) -> dict[str, Any]:
        if step.number != number:
            return do()
        plan.close()
        if after:
            do()
        raise Crash

    return mishap
