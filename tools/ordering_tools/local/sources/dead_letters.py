"""What failed too often: read without touching it, and put back to where it came from.

A message of a queue goes back onto that queue. What an event source of a stream has given up is not in its message,
which names the records; while the stream has them, the function can be called with them again.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote

from ordering_tools.local.engine.account import queue_url
from ordering_tools.local.engine.queues import Queue
from ordering_tools.local.engine.wire import WireError
from ordering_tools.local.sources.batches import BadReportError, reported_failure
from ordering_tools.local.sources.event_sources import EventSource
from ordering_tools.local.sources.shards import lane_of, stream_event, stream_record, wants

_HELD_SECONDS = 900
"""For which a message that is put back is hidden from others who would do so: as long as a function may run."""
_PAGE = 10


class Calls(Protocol):
    """What calls operations of a service, as `Wire` does."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call one."""


class NotReplayedError(Exception):
    """A message is as dead as before; the message says why."""


@dataclass(frozen=True)
class LostBatch:
    """Records that an event source has given up, as its message names them."""

    function: str
    condition: str
    calls: int
    stream: str
    shard: str
    start: str
    end: str
    size: int

    @classmethod
    def read(cls, body: str) -> LostBatch | None:
        """From the message's body; None if it is another kind of message."""
        try:
            told = json.loads(body)
            request, batch = told["requestContext"], told["DDBStreamBatchInfo"]
            return cls(
                function=request["functionArn"].rpartition(":function:")[2].partition(":")[0],
                condition=request["condition"],
                calls=request["approximateInvokeCount"],
                stream=batch["streamArn"],
                shard=batch["shardId"],
                start=batch["startSequenceNumber"],
                end=batch["endSequenceNumber"],
                size=batch["batchSize"],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def table(self) -> str:
        """Whose stream it is."""
        return self.stream.partition(":table/")[2].partition("/")[0]


@dataclass(frozen=True)
class DeadMessage:
    """A message in a dead-letter queue."""

    id: str
    queue: str
    sent: datetime
    """When it was put onto its first queue."""
    body: str
    source: str | None
    """The queue that it came from."""
    received: int
    """How often it was received there."""
    batch: LostBatch | None

    @property
    def reason(self) -> str:
        """Why it is there."""
        if self.batch:
            calls = f"after {_count(self.batch.calls, 'call')} ({self.batch.condition})"
            return f"{self.batch.function} gave up {_count(self.batch.size, 'record')} of {self.batch.table} {calls}"
        if self.source:
            return f"received {_count(self.received, 'time')} from {self.source} and not done"
        return "it does not say where it came from"


class DeadLetters:
    """The dead-letter queues of a template."""

    def __init__(  # noqa: PLR0913 - what it works on
        self,
        queues: Mapping[str, Queue],
        sources: Sequence[EventSource],
        *,
        services: str,
        sqs: Calls,
        streams: Calls,
        peek: Callable[[str], Sequence[Mapping[str, Any]]],
        invoke: Callable[[str, bytes], bytes],
    ) -> None:
        self._queues = queues
        self._sources = sources
        self._services = services
        self._sqs = sqs
        self._streams = streams
        self._peek = peek
        self._invoke = invoke

    @property
    def names(self) -> list[str]:
        """The queues, in the template's order."""
        dead = {queue.dead_letters for queue in self._queues.values()} | {each.on_failure for each in self._sources}
        return [name for name in self._queues if name in dead]

    def messages(self, queue: str) -> list[DeadMessage]:
        """What is in one of them, oldest first; it stays as it is.

        Raises:
            OSError: The engine does not answer.
        """
        found = [self._message(queue, message) for message in self._peek(queue)]
        return sorted(found, key=lambda message: message.sent)

    def records(self, message: DeadMessage) -> list[dict[str, Any]]:
        """The records that an event source has given up, as far as the stream still has them.

        Raises:
            WireError: The stream cannot be read.
        """
        if not message.batch:
            return []
        events = self._read(message.batch)
        chosen: list[list[dict[str, Any]]] = [_share(source, events) for source in self._sources_of(message)]
        return next((each for each in chosen if len(each) == message.batch.size), max(chosen, key=len, default=[]))

    def replay(self, message: DeadMessage) -> str:
        """Put a message back, or call the function with its records; remove it after that. Says what was done.

        Raises:
            NotReplayedError: It is where it was.
            WireError: The engine does not answer; what was put back may be dead as well.
        """
        with self._held(message) as held:
            done = self._call_again(message) if message.batch else self._send_back(message, held)
            self._sqs.call("DeleteMessage", QueueUrl=self._url(message.queue), ReceiptHandle=held["ReceiptHandle"])
        return done

    def _message(self, queue: str, found: Mapping[str, Any]) -> DeadMessage:
        attributes = found["Attributes"]
        arn = attributes.get("DeadLetterQueueSourceArn")
        source = arn.rpartition(":")[2] if arn else None
        known = self._queues.get(source or "")
        return DeadMessage(
            id=found["MessageId"],
            queue=queue,
            sent=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
            body=found["Body"],
            source=source,
            # What looks at a dead message counts as well.
            received=(known.receives if known else None) or found["ReceiveCount"],
            batch=None if source else LostBatch.read(found["Body"]),
        )

    @contextmanager
    def _held(self, message: DeadMessage) -> Iterator[Mapping[str, Any]]:
        """Take a message for ourselves; whatever else had to be taken to get at it is put back."""
        taken: list[Mapping[str, Any]] = []
        url = self._url(message.queue)
        try:
            while not taken or taken[-1]["MessageId"] != message.id:
                answer = self._sqs.call(
                    "ReceiveMessage",
                    QueueUrl=url,
                    MaxNumberOfMessages=1,
                    VisibilityTimeout=_HELD_SECONDS,
                    MessageAttributeNames=["All"],
                )
                if not answer.get("Messages"):
                    raise NotReplayedError(f"message {message.id} is gone, or somebody else is replaying it")
                taken += answer["Messages"]
            yield taken[-1]
            taken.pop()
        finally:
            for start in range(0, len(taken), _PAGE):
                entries = [
                    {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"], "VisibilityTimeout": 0}
                    for number, each in enumerate(taken[start : start + _PAGE])
                ]
                self._sqs.call("ChangeMessageVisibilityBatch", QueueUrl=url, Entries=entries)

    def _send_back(self, message: DeadMessage, held: Mapping[str, Any]) -> str:
        if not message.source:
            raise NotReplayedError(f"message {message.id} does not say where it came from")
        arguments = {"QueueUrl": self._url(message.source), "MessageBody": held["Body"]}
        if attributes := held.get("MessageAttributes"):
            arguments["MessageAttributes"] = attributes
        try:
            self._sqs.call("SendMessage", **arguments)
        except WireError as error:
            raise NotReplayedError(f"message {message.id} cannot be put onto {message.source}: {error}") from error
        return f"put back onto {message.source}"

    def _call_again(self, message: DeadMessage) -> str:
        batch = message.batch
        if batch is None:
            raise ValueError(f"message {message.id} names no records")
        events = self.records(message)
        if len(events) != batch.size:
            raise NotReplayedError(
                f"message {message.id}: the stream has {len(events)} of its {_count(batch.size, 'record')} left, "
                "and keeps them for a day"
            )
        result = self._invoke(batch.function, json.dumps({"Records": events}).encode())
        try:
            failed = reported_failure(result, [stream_record(event) for event in events])
        except (ValueError, BadReportError) as error:
            raise NotReplayedError(f"message {message.id}: {batch.function} failed again: {error}") from error
        if failed is not None and any(source.reports_failures for source in self._sources_of(message)):
            raise NotReplayedError(f"message {message.id}: {batch.function} failed again, from record {failed + 1}")
        return f"{batch.function} has done its {_count(batch.size, 'record')}"

    def _sources_of(self, message: DeadMessage) -> list[EventSource]:
        """The event sources that can have told of these records."""
        batch = message.batch
        return [
            source
            for source in self._sources
            if batch
            and (source.function, source.table, source.on_failure) == (batch.function, batch.table, message.queue)
        ]

    def _read(self, batch: LostBatch) -> list[dict[str, Any]]:
        """Everything that the stream has from the first to the last of the records."""
        place = {"StreamArn": batch.stream, "ShardId": batch.shard}
        iterator: str | None
        try:
            iterator = self._iterator(place, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=batch.start)
        except WireError as error:
            if error.code is None:
                raise
            if error.code == "ResourceNotFoundException":
                return []
            # The first has left the stream; the others may be there.
            iterator = self._iterator(place, ShardIteratorType="TRIM_HORIZON")
        found: list[dict[str, Any]] = []
        while iterator and (not found or int(found[-1]["dynamodb"]["SequenceNumber"]) < int(batch.end)):
            page = self._streams.call("GetRecords", ShardIterator=iterator)
            if not page["Records"]:
                break
            found += [stream_event(record, batch.stream) for record in page["Records"]]
            iterator = page.get("NextShardIterator")
        first, last = int(batch.start), int(batch.end)
        return [event for event in found if first <= int(event["dynamodb"]["SequenceNumber"]) <= last]

    def _iterator(self, place: Mapping[str, str], **where: str) -> str:
        iterator: str = self._streams.call("GetShardIterator", **place, **where)["ShardIterator"]
        return iterator

    def _url(self, queue: str) -> str:
        return queue_url(self._services, queue)


def _share(source: EventSource, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the source was handed in one lane: that of the last, which the message names."""
    wanted = [event for event in events if wants(source, event)]
    lanes = [lane_of(source, stream_record(event)) for event in wanted]
    return [event for event, lane in zip(wanted, lanes, strict=True) if lane == lanes[-1]]


def peek_at(services: str, queue: str) -> list[Mapping[str, Any]]:
    """Every message of a queue, without receiving any: something that only the local run's engine has.

    Raises:
        OSError: The engine does not answer.
    """
    url = f"{services}/_ministack/sqs/messages?QueueUrl={quote(queue_url(services, queue), safe='')}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http, ours
        accounts = json.load(answer)["messages"]
    return [
        message
        for regions in accounts.values()
        for queues in regions.values()
        for each in queues.values()
        for message in each
    ]


def invoke_at(functions: str, name: str, event: bytes) -> bytes:
    """Call a function of the local run once, and return its result.

    Raises:
        NotReplayedError: It failed.
        OSError: The local run does not answer.
    """
    url = f"{functions}/2015-03-31/functions/{name}/invocations"
    request = urllib.request.Request(url, event, {"Content-Type": "application/json"})  # noqa: S310 - http, ours
    try:
        with urllib.request.urlopen(request, timeout=_HELD_SECONDS) as answer:  # noqa: S310 - as above
            result: bytes = answer.read()
            failed = answer.headers.get("X-Amz-Function-Error")
    except HTTPError as refused:
        with refused:
            raise NotReplayedError(f"{name} cannot be called: {json.load(refused)['message']}") from refused
    if failed:
        error = json.loads(result)
        raise NotReplayedError(f"{name} failed again: {error['errorType']}: {error['errorMessage']}")
    return result


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
