"""Dead-letter queues: reads their messages without receiving them, and replays them.

A message that came from a queue is sent back to that queue. A message of a stream's event source mapping does not
contain the records that it gave up, but names them; as long as the stream has them, the function can be called with
them again. It gets all records from the first to the last, also those that the mapping's filter left out.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.deployment import Stack

_HELD_SECONDS = 900
"""How long a message is invisible to other replays while it is replayed: as long as a function may run."""
_PAGE = 10


class NotReplayedError(Exception):
    """A message could not be replayed and stays in its dead-letter queue; the text gives the reason."""


@dataclass(frozen=True)
class FailedBatch:
    """A batch of stream records that an event source has given up, as its message describes it."""

    function: str
    table: str
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
                table=batch["streamArn"].partition(":table/")[2].partition("/")[0],
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
    """The dead-letter queues of a stack: the targets of its redrive policies and of its failed stream batches."""

    def __init__(  # noqa: PLR0913 - the parts of an installation that it works on
        self,
        stack: Stack,
        *,
        services: str,
        sqs: Any,
        functions: Any,
        streams: Any,
        peek: Callable[[str], Sequence[Mapping[str, Any]]],
        invoke: Callable[[str, bytes], bytes],
    ) -> None:
        """Work with the clients of a stack's SQS, Lambda and DynamoDB Streams."""
        self._stack = stack
        self._services = services
        self._sqs = sqs
        self._functions = functions
        self._streams = streams
        self._peek = peek
        self._invoke = invoke

    @cached_property
    def _queues(self) -> dict[str, str]:
        """The URL of each queue of the stack, by logical id."""
        return {
            name: queue_url(self._services, found.rpartition("/")[2])
            for name, found in self._stack.resources.items()
            if found.startswith("http")
        }

    @cached_property
    def _redrives(self) -> dict[str, tuple[str, int]]:
        """The dead-letter queue of each queue that has one, and how often a message is received before it moves."""
        found = {}
        for name, url in self._queues.items():
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
            if policy := json.loads(attributes.get("Attributes", {}).get("RedrivePolicy") or "{}"):
                found[name] = self._named(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
        return found

    def _named(self, arn: str) -> str:
        """The logical id of a resource of the stack."""
        physical = arn.rpartition(":")[2]
        names = {found.rpartition("/")[2]: name for name, found in self._stack.resources.items()}
        return names.get(physical, physical)

    @property
    def names(self) -> list[str]:
        """The logical ids of the dead-letter queues."""
        mappings = self._functions.list_event_source_mappings()["EventSourceMappings"]
        failed = [each.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination") for each in mappings]
        dead = {queue for queue, _ in self._redrives.values()} | {self._named(arn) for arn in failed if arn}
        return sorted(name for name in self._queues if name in dead)

    def messages(self, queue: str) -> list[DeadLetter]:
        """The messages of a dead-letter queue, oldest first; reading does not change them.

        Raises:
            OSError: The engine does not respond.
        """
        found = [self._message(queue, message) for message in self._peek(self._queues[queue])]
        return sorted(found, key=lambda message: message.sent)

    def records(self, message: DeadLetter) -> list[dict[str, Any]]:
        """The records that a message names, as far as the stream still has them.

        Raises:
            ClientError, BotoCoreError: The stream cannot be read.
        """
        return self._read(message.batch) if message.batch else []

    def replay(self, message: DeadLetter) -> str:
        """Send a message back to its queue, or call the function with its records, and then delete the message.

        Returns a description of the outcome.

        Raises:
            NotReplayedError: It failed; the message stays in the dead-letter queue.
            ClientError, BotoCoreError: The engine does not respond; the message may be both replayed and in the
                dead-letter queue.
        """
        with self._held(message) as held:
            done = self._call_again(message) if message.batch else self._send_back(message, held)
            self._sqs.delete_message(QueueUrl=self._queues[message.queue], ReceiptHandle=held["ReceiptHandle"])
        return done

    def _message(self, queue: str, found: Mapping[str, Any]) -> DeadLetter:
        attributes = found["Attributes"]
        arn = attributes.get("DeadLetterQueueSourceArn")
        source = self._named(arn) if arn else None
        _, most = self._redrives.get(source or "", ("", None))
        return DeadLetter(
            id=found["MessageId"],
            queue=queue,
            sent=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
            body=found["Body"],
            source=source,
            # Receives from the dead-letter queue are counted as well, so that this count can be too high.
            received=most or found["ReceiveCount"],
            batch=None if source else self._batch(found["Body"]),
        )

    def _batch(self, body: str) -> FailedBatch | None:
        batch = FailedBatch.read(body)
        return batch and replace(batch, function=self._named(batch.function), table=self._named(batch.table))

    @contextmanager
    def _held(self, message: DeadLetter) -> Iterator[Mapping[str, Any]]:
        """Receive a message, so that no other replay has it; messages received on the way to it are released."""
        taken: list[Mapping[str, Any]] = []
        url = self._queues[message.queue]
        try:
            while not taken or taken[-1]["MessageId"] != message.id:
                answer = self._sqs.receive_message(
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
                self._sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)

    def _send_back(self, message: DeadLetter, held: Mapping[str, Any]) -> str:
        if not message.source:
            raise NotReplayedError(f"message {message.id} is of unknown origin and cannot be sent back")
        arguments = {"QueueUrl": self._queues[message.source], "MessageBody": held["Body"]}
        if attributes := held.get("MessageAttributes"):
            arguments["MessageAttributes"] = attributes
        try:
            self._sqs.send_message(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise NotReplayedError(f"message {message.id} cannot be sent to {message.source}: {error}") from error
        return f"sent back to {message.source}"

    def _call_again(self, message: DeadLetter) -> str:
        batch = message.batch
        if batch is None:
            raise ValueError(f"message {message.id} names no records")
        events = self.records(message)
        wanted = {batch.start, batch.end} - {event["dynamodb"]["SequenceNumber"] for event in events}
        if wanted:
            raise NotReplayedError(
                f"message {message.id}: the stream does not have its {_count(batch.size, 'record')} any more; "
                "it keeps records for a day"
            )
        result = self._invoke(batch.function, json.dumps({"Records": events}).encode())
        if failed := (json.loads(result or b"null") or {}).get("batchItemFailures"):
            raise NotReplayedError(
                f"message {message.id}: {batch.function} failed again, from record {failed[0]['itemIdentifier']}"
            )
        return f"{batch.function} has processed {_count(batch.size, 'record')}"

    def _read(self, batch: FailedBatch) -> list[dict[str, Any]]:
        """All records that the stream has from the batch's first to its last."""
        position = {"StreamArn": batch.stream, "ShardId": batch.shard}
        iterator: str | None
        try:
            iterator = self._iterator(position, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=batch.start)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []
            # The first record has expired; the others may still be there.
            iterator = self._iterator(position, ShardIteratorType="TRIM_HORIZON")
        found: list[dict[str, Any]] = []
        while iterator and (not found or int(found[-1]["dynamodb"]["SequenceNumber"]) < int(batch.end)):
            page = self._streams.get_records(ShardIterator=iterator)
            if not page["Records"]:
                break
            found += [stream_event(record, batch.stream) for record in page["Records"]]
            iterator = page.get("NextShardIterator")
        first, last = int(batch.start), int(batch.end)
        return [event for event in found if first <= int(event["dynamodb"]["SequenceNumber"]) <= last]

    def _iterator(self, position: Mapping[str, str], **where: str) -> str:
        iterator: str = self._streams.get_shard_iterator(**position, **where)["ShardIterator"]
        return iterator


def stream_event(raw: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """A record of the Streams API as a record of a function's event."""
    change = dict(raw["dynamodb"])
    change["ApproximateCreationDateTime"] = int(change["ApproximateCreationDateTime"].timestamp())
    event: dict[str, Any] = json.loads(json.dumps({**raw, "dynamodb": change, "eventSourceARN": stream}, default=_text))
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    return event


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def peek_at(services: str, url: str) -> list[Mapping[str, Any]]:
    """All messages of a queue, by its URL, without receiving any, by an endpoint that only the local run's engine has.

    Raises:
        OSError: The engine does not respond.
    """
    address = f"{services}/_ministack/sqs/messages?QueueUrl={quote(url, safe='')}"
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - http, ours
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
