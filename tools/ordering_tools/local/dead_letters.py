"""Dead-letter queues: reads their messages, and replays them.

A message that came from a queue is sent back to that queue. A message of a stream's event source mapping does not
contain the records that it gave up, but names them; as long as the stream has them, the function can be called with
them again. It gets all records from the first to the last, also those that the mapping's filter left out. The work of
older records is found in the table (`operations.lost_records`).
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from ordering_tools.installation import NotDone
from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.stacks import ALIAS, Stack

PEEK_SECONDS = 60
"""How long a message in AWS is invisible to replays while it is read."""

HELD_SECONDS = 900
"""How long a message is invisible to other replays while it is replayed: as long as a function may run."""


class _Request(msgspec.Struct, rename="camel"):
    function_arn: str
    condition: str
    approximate_invoke_count: int


class _Records(msgspec.Struct, rename="camel"):
    stream_arn: str
    shard_id: str
    start_sequence_number: str
    end_sequence_number: str
    batch_size: int
    approximate_arrival_of_first_record: Any = None
    approximate_arrival_of_last_record: Any = None


class FailedBatch(msgspec.Struct):
    """A batch of stream records that an event source mapping has given up, as its message describes it."""

    request: _Request = msgspec.field(name="requestContext")
    records: _Records = msgspec.field(name="DDBStreamBatchInfo")

    @classmethod
    def read(cls, body: str) -> FailedBatch | None:
        """Read the body of a message; None if it is another kind of message."""
        try:
            return msgspec.json.decode(body, type=cls)
        except msgspec.MsgspecError:
            return None


@dataclass(frozen=True)
class DeadLetter:
    """A message in a dead-letter queue."""

    id: str
    queue: str
    sent: datetime
    """When it was sent to its first queue."""
    body: str
    reason: str
    """Why it is in a dead-letter queue."""
    source: str | None
    """The queue that it was moved from."""
    batch: FailedBatch | None


@dataclass(frozen=True)
class DeadLetters:
    """The dead-letter queues of a stack: the targets of its redrive policies and of its failed stream batches."""

    stack: Stack
    sqs: Any
    functions: Any
    """Lambda, which has the event source mappings."""
    invoker: Any
    """Lambda, which runs functions."""
    streams: Any
    peek: Callable[[str], Sequence[Mapping[str, Any]]]
    """Returns all messages of a queue, given its URL."""
    recover: Callable[[FailedBatch], str] | None = None
    """Puts the work of a batch whose records have expired back on a queue, and describes what it did; or raises
    `NotDone`. Without it such a batch cannot be replayed."""
    services: str = ""
    """The endpoint of a local run's SQS, which is part of a queue's URL. In AWS the stack has the URLs."""

    @cached_property
    def _queues(self) -> dict[str, str]:
        """The URL of each queue of the stack, by logical id."""
        return {
            name: queue_url(self.services, found.rpartition("/")[2]) if self.services else found
            for name, found in self.stack.resources.items()
            if found.startswith("http")
        }

    @cached_property
    def _redrives(self) -> dict[str, tuple[str, int]]:
        """The dead-letter queue of each queue that has one, and how often a message is received before it moves."""
        found = {}
        for name, url in self._queues.items():
            attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
            if policy := json.loads(attributes.get("Attributes", {}).get("RedrivePolicy") or "{}"):
                found[name] = self._named(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
        return found

    def _named(self, arn: str) -> str:
        """The logical id of a queue, a function or a table of the stack."""
        physical = arn.partition(":table/")[2].partition("/")[0] or arn.partition(":function:")[2].partition(":")[0]
        physical = physical or arn.rpartition(":")[2]
        names = {found.rpartition("/")[2]: name for name, found in self.stack.resources.items()}
        return names.get(physical, physical)

    @property
    def names(self) -> list[str]:
        """The logical ids of the dead-letter queues."""
        mappings = self.functions.list_event_source_mappings()["EventSourceMappings"]
        failed = [each.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination") for each in mappings]
        dead = {queue for queue, _ in self._redrives.values()} | {self._named(arn) for arn in failed if arn}
        return sorted(name for name in self._queues if name in dead)

    def url(self, queue: str) -> str:
        """The URL of a queue, by logical id."""
        return self._queues[queue]

    def messages(self, queue: str) -> list[DeadLetter]:
        """The messages of a dead-letter queue, oldest first; reading does not change them.

        Raises:
            OSError: The engine does not respond.
        """
        found = [self._message(queue, message) for message in self.peek(self._queues[queue])]
        return sorted(found, key=lambda message: message.sent)

    def records(self, message: DeadLetter) -> list[dict[str, Any]]:
        """The records that a message names, as far as the stream still has them.

        Raises:
            ClientError, BotoCoreError: The stream cannot be read.
        """
        if not message.batch:
            return []
        wanted = message.batch.records
        position = {"StreamArn": wanted.stream_arn, "ShardId": wanted.shard_id}
        start = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": wanted.start_sequence_number}
        try:
            page = self.streams.get_shard_iterator(**position, **start)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []
            # The first record has expired; the others may still be there.
            page = self.streams.get_shard_iterator(**position, ShardIteratorType="TRIM_HORIZON")
        first, last = int(wanted.start_sequence_number), int(wanted.end_sequence_number)
        iterator, found = page["ShardIterator"], dict[int, dict[str, Any]]()
        while iterator and max(found, default=0) < last:
            page = self.streams.get_records(ShardIterator=iterator)
            if not page["Records"]:
                break
            events = [stream_event(record, wanted.stream_arn) for record in page["Records"]]
            found |= {int(event["dynamodb"]["SequenceNumber"]): event for event in events}
            iterator = page.get("NextShardIterator")
        return [event for number, event in found.items() if first <= number <= last]

    def replay_all(self, queue: str) -> Iterator[tuple[DeadLetter, str | NotDone]]:
        """Replay the messages that are in a dead-letter queue now, and yield each with its outcome.

        Messages that arrive meanwhile stay: one that fails again at once would otherwise be replayed for ever.
        """
        left = {message.id for message in self.messages(queue)}
        kept: list[Mapping[str, Any]] = []
        try:
            while left and (held := self._receive(queue)):
                kept.append(held)
                if held["MessageId"] not in left:
                    continue
                left.remove(held["MessageId"])
                message = self._message(queue, held)
                try:
                    outcome: str | NotDone = self._replay(message, held)
                    kept.remove(held)
                except NotDone as error:
                    outcome = error
                yield message, outcome
        finally:
            self._release(queue, kept)

    def replay(self, message: DeadLetter) -> str:
        """Send a message back to its queue, or call the function with its records, and then delete the message.

        Returns a description of the outcome.

        Raises:
            NotDone: It failed; the message stays in the dead-letter queue.
            ClientError, BotoCoreError: The engine does not respond; the message may be both replayed and in the
                dead-letter queue.
        """
        with self._held(message) as held:
            return self._replay(message, held)

    def _replay(self, message: DeadLetter, held: Mapping[str, Any]) -> str:
        done = self._call_again(message, message.batch) if message.batch else self._send_back(message, held)
        self.sqs.delete_message(QueueUrl=self._queues[message.queue], ReceiptHandle=held["ReceiptHandle"])
        return done

    def _message(self, queue: str, found: Mapping[str, Any]) -> DeadLetter:
        attributes, body = found["Attributes"], found["Body"]
        source, batch, reason = None, None, "unknown origin"
        if arn := attributes.get("DeadLetterQueueSourceArn"):
            source = self._named(arn)
            reason = f"moved from {source}"
            if redrive := self._redrives.get(source):
                reason = f"failed after {_count(redrive[1], 'attempt')} ({source})"
        elif batch := FailedBatch.read(body):
            request, records = batch.request, batch.records
            gave_up = f"gave up {_count(records.batch_size, 'record')} of {self._named(records.stream_arn)}"
            after = f"after {_count(request.approximate_invoke_count, 'call')} ({request.condition})"
            reason = f"{self._named(request.function_arn)} {gave_up} {after}"
        sent = datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC)
        return DeadLetter(found["MessageId"], queue, sent, body, reason, source, batch)

    @contextmanager
    def _held(self, message: DeadLetter) -> Iterator[Mapping[str, Any]]:
        """Receive a message, so that no other replay has it; messages received on the way to it are released."""
        taken: list[Mapping[str, Any]] = []
        try:
            while not taken or taken[-1]["MessageId"] != message.id:
                held = self._receive(message.queue)
                if not held:
                    raise NotDone(f"message {message.id} is gone, or another replay has it")
                taken.append(held)
            yield taken[-1]
            taken.pop()
        finally:
            self._release(message.queue, taken)

    def _receive(self, queue: str) -> Mapping[str, Any] | None:
        answer = self.sqs.receive_message(
            QueueUrl=self._queues[queue],
            MaxNumberOfMessages=1,
            VisibilityTimeout=HELD_SECONDS,
            WaitTimeSeconds=1,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return next(iter(answer.get("Messages", ())), None)

    def _release(self, queue: str, taken: Sequence[Mapping[str, Any]]) -> None:
        for each in taken:
            self.sqs.change_message_visibility(
                QueueUrl=self._queues[queue], ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0
            )

    def _send_back(self, message: DeadLetter, held: Mapping[str, Any]) -> str:
        if not message.source:
            raise NotDone(f"message {message.id} is of unknown origin and cannot be sent back")
        attributes = held.get("MessageAttributes", {})
        try:
            self.sqs.send_message(
                QueueUrl=self._queues[message.source], MessageBody=held["Body"], MessageAttributes=attributes
            )
        except (ClientError, BotoCoreError) as error:
            raise NotDone(f"message {message.id} cannot be sent to {message.source}: {error}") from error
        return f"sent back to {message.source}"

    def _call_again(self, message: DeadLetter, batch: FailedBatch) -> str:
        events, wanted = self.records(message), batch.records
        found = {event["dynamodb"]["SequenceNumber"] for event in events}
        size = _count(wanted.batch_size, "record")
        if not {wanted.start_sequence_number, wanted.end_sequence_number} <= found:
            return self._recovered(message, batch, size)
        function = self._named(batch.request.function_arn)
        try:
            event = json.dumps({"Records": events})
            # The alias, which runs what is released, also for a message of a mapping that named none.
            name = batch.request.function_arn.removesuffix(f":{ALIAS}")
            answer = self.invoker.invoke(FunctionName=name, Qualifier=ALIAS, Payload=event)
        except (ClientError, BotoCoreError) as error:
            raise NotDone(f"message {message.id}: {function} cannot be called: {error}") from error
        result = json.load(answer["Payload"]) or {}
        if "FunctionError" in answer:
            raise NotDone(
                f"message {message.id}: {function} failed again: {result['errorType']}: {result['errorMessage']}"
            )
        if failed := result.get("batchItemFailures"):
            raise NotDone(f"message {message.id}: {function} failed again, from record {failed[0]['itemIdentifier']}")
        return f"{function} has processed {size}"

    def _recovered(self, message: DeadLetter, batch: FailedBatch, size: str) -> str:
        if self.recover is None:
            raise NotDone(
                f"message {message.id}: the stream does not have its {size} any more; it keeps records for a day. With "
                "--scan the command finds their work in the orders table"
            )
        try:
            return self.recover(batch)
        except NotDone as error:
            raise NotDone(f"message {message.id}: {error}") from error


def stream_event(raw: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """A record of the Streams API as a record of a function's event."""
    change = dict(raw["dynamodb"])
    change["ApproximateCreationDateTime"] = int(change["ApproximateCreationDateTime"].timestamp())
    # As msgspec encodes bytes: in base64.
    event: dict[str, Any] = msgspec.to_builtins({**raw, "dynamodb": change, "eventSourceARN": stream})
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    return event


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


def receive_all(sqs: Any, url: str) -> list[Mapping[str, Any]]:
    """All messages of a queue in AWS, by its URL: receives them, and releases them when all are read.

    A message that was received is not received again until then, or for a minute after a crash.
    """
    found: dict[str, Mapping[str, Any]] = {}
    receive = {"MaxNumberOfMessages": 10, "VisibilityTimeout": PEEK_SECONDS, "WaitTimeSeconds": 1}
    try:
        while page := sqs.receive_message(QueueUrl=url, AttributeNames=["All"], **receive).get("Messages"):
            new = {message["MessageId"]: message for message in page}
            again = new.keys() <= found.keys()
            found |= new
            if again:  # so many that the first ones are visible again
                break
    finally:
        for message in found.values():
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    return [*found.values()]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
