"""Dead-letter queues: reads their messages without receiving them, and replays them.

A message that came from a queue is sent back to that queue. A message of a stream's event source does not contain the
records that it gave up, but names them; as long as the stream has them, the function can be called with them again.
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

from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.json_client import ServiceError
from ordering_tools.local.engine.queues import Queue
from ordering_tools.local.sources.batches import BadReportError, reported_failure
from ordering_tools.local.sources.event_sources import EventSource
from ordering_tools.local.sources.shards import selects, stream_event, stream_record, worker_of

_HELD_SECONDS = 900
"""How long a message is invisible to other replays while it is replayed: as long as a function may run."""
_PAGE = 10


class Calls(Protocol):
    """Calls operations of a service, as `JsonClient` does."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation; returns its response."""


class NotReplayedError(Exception):
    """A message could not be replayed and stays in its dead-letter queue; the text gives the reason."""


@dataclass(frozen=True)
class FailedBatch:
    """A batch of stream records that an event source has given up, as its message describes it."""

    function: str
    condition: str
    calls: int
    stream: str
    shard: str
    start: str
    end: str
    size: int

    @classmethod
    def read(cls, body: str) -> FailedBatch | None:
        """Read the body of a message; None if it is another kind of message."""
        try:
            document = json.loads(body)
            request, batch = document["requestContext"], document["DDBStreamBatchInfo"]
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
        """The table of the stream."""
        return self.stream.partition(":table/")[2].partition("/")[0]


@dataclass(frozen=True)
class DeadLetter:
    """A message in a dead-letter queue."""

    id: str
    queue: str
    sent: datetime
    """When it was sent to its first queue."""
    body: str
    source: str | None
    """The queue that it was moved from."""
    received: int
    """How often it was received from that queue."""
    batch: FailedBatch | None

    @property
    def reason(self) -> str:
        """Why the message is in a dead-letter queue."""
        if self.batch:
            calls = f"after {_count(self.batch.calls, 'call')} ({self.batch.condition})"
            return f"{self.batch.function} gave up {_count(self.batch.size, 'record')} of {self.batch.table} {calls}"
        if self.source:
            return f"failed after {_count(self.received, 'attempt')} ({self.source})"
        return "unknown origin"


class DeadLetters:
    """The dead-letter queues of a template."""

    def __init__(  # noqa: PLR0913 - the parts of an installation that it works on
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
        """The names of the dead-letter queues, in the template's order."""
        dead = {queue.dead_letters for queue in self._queues.values()} | {each.on_failure for each in self._sources}
        return [name for name in self._queues if name in dead]

    def messages(self, queue: str) -> list[DeadLetter]:
        """The messages of a dead-letter queue, oldest first; reading does not change them.

        Raises:
            OSError: The engine does not respond.
        """
        found = [self._message(queue, message) for message in self._peek(queue)]
        return sorted(found, key=lambda message: message.sent)

    def records(self, message: DeadLetter) -> list[dict[str, Any]]:
        """The records that a message names, as far as the stream still has them.

        Raises:
            ServiceError: The stream cannot be read.
        """
        if not message.batch:
            return []
        events = self._read(message.batch)
        chosen: list[list[dict[str, Any]]] = [_share(source, events) for source in self._sources_of(message)]
        return next((each for each in chosen if len(each) == message.batch.size), max(chosen, key=len, default=[]))

    def replay(self, message: DeadLetter) -> str:
        """Send a message back to its queue, or call the function with its records, and then delete the message.

        Returns a description of the outcome.

        Raises:
            NotReplayedError: It failed; the message stays in the dead-letter queue.
            ServiceError: The engine does not respond; the message may be both replayed and in the dead-letter queue.
        """
        with self._held(message) as held:
            done = self._call_again(message) if message.batch else self._send_back(message, held)
            self._sqs.call("DeleteMessage", QueueUrl=self._url(message.queue), ReceiptHandle=held["ReceiptHandle"])
        return done

    def _message(self, queue: str, found: Mapping[str, Any]) -> DeadLetter:
        attributes = found["Attributes"]
        arn = attributes.get("DeadLetterQueueSourceArn")
        source = arn.rpartition(":")[2] if arn else None
        known = self._queues.get(source or "")
        return DeadLetter(
            id=found["MessageId"],
            queue=queue,
            sent=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
            body=found["Body"],
            source=source,
            # Receives from the dead-letter queue are counted as well, so that this count can be too high.
            received=(known.receives if known else None) or found["ReceiveCount"],
            batch=None if source else FailedBatch.read(found["Body"]),
        )

    @contextmanager
    def _held(self, message: DeadLetter) -> Iterator[Mapping[str, Any]]:
        """Receive a message, so that no other replay has it; messages received on the way to it are released."""
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
                    raise NotReplayedError(f"message {message.id} is gone, or another replay has it")
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

    def _send_back(self, message: DeadLetter, held: Mapping[str, Any]) -> str:
        if not message.source:
            raise NotReplayedError(f"message {message.id} is of unknown origin and cannot be sent back")
        arguments = {"QueueUrl": self._url(message.source), "MessageBody": held["Body"]}
        if attributes := held.get("MessageAttributes"):
            arguments["MessageAttributes"] = attributes
        try:
            self._sqs.call("SendMessage", **arguments)
        except ServiceError as error:
            raise NotReplayedError(f"message {message.id} cannot be sent to {message.source}: {error}") from error
        return f"sent back to {message.source}"

    def _call_again(self, message: DeadLetter) -> str:
        batch = message.batch
        if batch is None:
            raise ValueError(f"message {message.id} names no records")
        events = self.records(message)
        if len(events) != batch.size:
            raise NotReplayedError(
                f"message {message.id}: the stream has only {len(events)} of its {_count(batch.size, 'record')} left; "
                "it keeps records for a day"
            )
        result = self._invoke(batch.function, json.dumps({"Records": events}).encode())
        try:
            failed = reported_failure(result, [stream_record(event) for event in events])
        except (ValueError, BadReportError) as error:
            raise NotReplayedError(f"message {message.id}: {batch.function} failed again: {error}") from error
        if failed is not None and any(source.reports_failures for source in self._sources_of(message)):
            raise NotReplayedError(f"message {message.id}: {batch.function} failed again, from record {failed + 1}")
        return f"{batch.function} has processed {_count(batch.size, 'record')}"

    def _sources_of(self, message: DeadLetter) -> list[EventSource]:
        """The event sources that may have sent a message."""
        batch = message.batch
        return [
            source
            for source in self._sources
            if batch
            and (source.function, source.table, source.on_failure) == (batch.function, batch.table, message.queue)
        ]

    def _read(self, batch: FailedBatch) -> list[dict[str, Any]]:
        """All records that the stream has from the batch's first to its last."""
        position = {"StreamArn": batch.stream, "ShardId": batch.shard}
        iterator: str | None
        try:
            iterator = self._iterator(position, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=batch.start)
        except ServiceError as error:
            if error.code is None:
                raise
            if error.code == "ResourceNotFoundException":
                return []
            # The first record has expired; the others may still be there.
            iterator = self._iterator(position, ShardIteratorType="TRIM_HORIZON")
        found: list[dict[str, Any]] = []
        while iterator and (not found or int(found[-1]["dynamodb"]["SequenceNumber"]) < int(batch.end)):
            page = self._streams.call("GetRecords", ShardIterator=iterator)
            if not page["Records"]:
                break
            found += [stream_event(record, batch.stream) for record in page["Records"]]
            iterator = page.get("NextShardIterator")
        first, last = int(batch.start), int(batch.end)
        return [event for event in found if first <= int(event["dynamodb"]["SequenceNumber"]) <= last]

    def _iterator(self, position: Mapping[str, str], **where: str) -> str:
        iterator: str = self._streams.call("GetShardIterator", **position, **where)["ShardIterator"]
        return iterator

    def _url(self, queue: str) -> str:
        return queue_url(self._services, queue)


def _share(source: EventSource, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of one batch: those that the source selects and that belong to the worker of the last one."""
    wanted = [event for event in events if selects(source, event)]
    workers = [worker_of(source, stream_record(event)) for event in wanted]
    return [event for event, worker in zip(wanted, workers, strict=True) if worker == workers[-1]]


def peek_at(services: str, queue: str) -> list[Mapping[str, Any]]:
    """All messages of a queue, without receiving any, by an endpoint that only the local run's engine has.

    Raises:
        OSError: The engine does not respond.
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
        NotReplayedError: The function failed, or there is no such function.
        OSError: The local run does not respond.
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
