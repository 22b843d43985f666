"""An installation in memory that keeps what commands call, as policies describe it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ordering.aws.dynamodb import Send
from ordering_tools.installation import Installation
from ordering_tools.stacks import Stack
from support.aws.kms import MemoryKms
from support.aws.simulated_aws import declared
from support.aws.usage import GATEWAY, MemoryUsage
from support.policies import Access, resource_name, table_accesses

_ARN = "arn:aws:x:eu-west-1:123456789012:"
_QUEUES = {
    name: one["Properties"]
    for name, one in declared().document["Resources"].items()
    if one["Type"] == "AWS::SQS::Queue"
}
_LOG_GROUPS = [name for name, one in declared().document["Resources"].items() if one["Type"] == "AWS::Logs::LogGroup"]
_STREAM = f"{_ARN}table/OrdersTable/stream/1"
_OUTPUTS = declared().document["Outputs"]
_PREFIXES = {"dynamodbstreams": "dynamodb", "sesv2": "ses"}
_ACTIONS = {"Invoke": "InvokeFunction", "SendMessageBatch": "SendMessage"}


class KnownKms(MemoryKms):
    """KMS in memory that knows by which key a data key was encrypted, as the service does."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[bytes, str] = {}

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = super().__call__(operation, request)
        if operation == "GenerateDataKey":
            self.keys[answer["CiphertextBlob"]] = request["KeyId"]
        return answer


def _message(queue: str) -> dict[str, Any]:
    """A message in a dead-letter queue: of a batch of the stream, or of the queue before."""
    attributes, body = {"SentTimestamp": "0"}, "{}"
    if queue == "StreamDeadLetters":
        request = {"functionArn": f"{_ARN}function:StreamFunction", "condition": "x", "approximateInvokeCount": 6}
        numbers = {"startSequenceNumber": "1", "endSequenceNumber": "1", "batchSize": 1}
        names = ("approximateArrivalOfFirstRecord", "approximateArrivalOfLastRecord")
        batch = {"streamArn": _STREAM, "shardId": "shard", **numbers, **dict.fromkeys(names, "2026-11-29T12:00:00Z")}
        body = json.dumps({"requestContext": request, "DDBStreamBatchInfo": batch})
    else:
        attributes["DeadLetterQueueSourceArn"] = f"{_ARN}{queue.replace('DeadLetters', 'Queue')}"
    return {"MessageId": queue, "ReceiptHandle": queue, "Body": body, "Attributes": attributes}


class DeadLetters:
    """Clients of AWS for a stack each of whose dead-letter queues has a message.

    Args:
        expired: Whether the stream has lost its records.
    """

    def __init__(self, *, expired: bool = False) -> None:
        self.accesses: set[Access] = set()
        self._hidden: set[str] = set()
        self._expired = expired

    def connect(self, service: str, **_: Any) -> Any:
        """A client, whose calls are recorded."""
        return _Client(partial(self._call, service))

    def _call(self, service: str, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        name = "".join(word.capitalize() for word in operation.split("_"))
        names = ("QueueUrl", "FunctionName", "logGroupName", "EmailIdentity")
        resource = next((arguments[name] for name in names if name in arguments), "*").rpartition(":")[2]
        if "Qualifier" in arguments:
            resource += ".Alias"
        if service == "dynamodbstreams":
            resource = "OrdersTable.StreamArn"
        elif service == "events":
            (resource,) = {entry["EventBusName"] for entry in arguments["Entries"]}
        if service != "cloudformation":  # By which all commands find the stack, so that each policy allows its calls.
            action = f"{_PREFIXES.get(service, service)}:{_ACTIONS.get(name, name)}"
            self.accesses.add(Access(action, resource.rpartition("/")[2]))
        answer: dict[str, Any] = getattr(self, f"_{operation}", lambda _: {})(arguments)
        return answer

    def _get_queue_attributes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if arguments["AttributeNames"] == ["ApproximateNumberOfMessages"]:
            return {"Attributes": {"ApproximateNumberOfMessages": "0"}}
        policy = _QUEUES[arguments["QueueUrl"].rpartition("/")[2]].get("RedrivePolicy")
        if policy is None:
            return {}
        target = f"{_ARN}{resource_name(policy['deadLetterTargetArn'])}"
        return {"Attributes": {"RedrivePolicy": json.dumps({**policy, "deadLetterTargetArn": target})}}

    def _list_event_source_mappings(self, _: Mapping[str, Any]) -> dict[str, Any]:
        failed = {"OnFailure": {"Destination": f"{_ARN}StreamDeadLetters"}}
        return {"EventSourceMappings": [{"DestinationConfig": failed}]}

    def _list_functions(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"Functions": [{"FunctionName": "StreamFunction", "Version": version} for version in ("$LATEST", "1")]}

    def _receive_message(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        queue = arguments["QueueUrl"].rpartition("/")[2]
        if queue in self._hidden:
            return {}
        self._hidden.add(queue)
        return {"Messages": [_message(queue)]}

    def _change_message_visibility(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._hidden.remove(arguments["ReceiptHandle"])
        return {}

    def _get_shard_iterator(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"ShardIterator": "iterator"}

    def _get_records(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if self._expired:
            return {"Records": []}
        change = {"SequenceNumber": "1", "ApproximateCreationDateTime": datetime(2026, 1, 1, tzinfo=UTC)}
        return {"Records": [{"dynamodb": change}]}

    def _describe_stacks(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE"}]}

    def _get_account(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"SendingEnabled": True, "ProductionAccessEnabled": True}

    def _get_email_identity(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"VerifiedForSendingStatus": True}

    def _get_metric_statistics(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"Datapoints": []}

    def _describe_alarms(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"MetricAlarms": []}

    def _filter_log_events(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"events": []}

    def _put_events(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"Entries": [{"EventId": "1"} for _ in arguments["Entries"]]}

    def _invoke(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"Payload": io.BytesIO(b"{}")}


@dataclass(frozen=True)
class _Client:
    """A client of one service of AWS."""

    call: Callable[[str, Mapping[str, Any]], dict[str, Any]]

    def get_paginator(self, operation: str) -> _Pages:
        return _Pages(partial(self.call, operation))

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        return lambda **arguments: self.call(operation, arguments)


@dataclass(frozen=True)
class _Pages:
    """A paginator of one operation, which has one page."""

    call: Callable[[Mapping[str, Any]], dict[str, Any]]

    def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
        return [self.call(arguments)]


@dataclass
class Recording:
    """What was called."""

    kms: KnownKms
    expired: bool = False
    """Whether the stream has lost its records."""
    accesses: set[Access] = field(default_factory=set)

    def tables(self, send: Send) -> Send:
        """The same connection to tables, recorded."""

        def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            self.accesses.update(table_accesses(operation, request))
            return send(operation, request)

        return call

    def queue(self, name: str) -> Callable[[str, int], None]:
        """A queue that takes messages, recorded."""

        def send(body: str, delay_seconds: int) -> None:  # noqa: ARG001 - a queue's arguments
            self.accesses.add(Access("sqs:SendMessage", name))

        return send

    def call_kms(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """A call of KMS, recorded with the logical id of its key."""
        key = request["KeyId"] if "KeyId" in request else self.kms.keys[request["CiphertextBlob"]]
        self.accesses.add(Access(f"kms:{operation}", key.removeprefix("alias/").removeprefix("ordering-")))
        return self.kms(operation, request)

    def installation(self, send: Send) -> Installation:
        """A stack in AWS over these tables, whose calls are recorded."""
        letters, usage = DeadLetters(expired=self.expired), MemoryUsage(accesses=self.accesses)
        letters.accesses = self.accesses

        def connect(service: str, **options: Any) -> Any:
            return usage if service == "apigateway" else letters.connect(service, **options)

        return Installation(
            self.tables(send),
            self.call_kms,
            None,
            "https://issuer.example",
            "https://api.example",
            mail_queue=self.queue("MailQueue"),
            webhook_queue=self.queue("WebhookQueue"),
            caller="arn:aws:sts::123456789012:assumed-role/support/ann",
            account="123456789012",
            stack=Stack(
                outputs={name: name for name in _OUTPUTS},
                parameters={"MailSender": "MailSender", "AlarmTopicArn": "AlarmTopic"},
                resources={
                    **GATEWAY,
                    **{name: f"https://sqs/123456789012/{name}" for name in _QUEUES},
                    **{name: name for name in _LOG_GROUPS},
                },
            ),
            connect=connect,
        )
