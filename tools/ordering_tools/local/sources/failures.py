"""The on-failure destination of an event source: a queue that receives a message for each batch that is given up.

The message has Lambda's format: it names the records and does not contain them.
https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.aws_account import function_arn, queue_url
from ordering_tools.local.engine.json_client import JsonClient, ServiceError

if TYPE_CHECKING:
    from ordering_tools.local.sources.workers import GivenUp


class FailureQueue:
    """A queue of the template that is an on-failure destination."""

    def __init__(self, name: str, function: str, endpoint: str) -> None:
        self._name = name
        self._function = function
        self._endpoint = endpoint

    def put(self, given_up: GivenUp, stream: str, shard: str) -> str:
        """Send a message about a batch; returns the outcome as text."""
        message = failure_message(given_up, self._function, stream, shard)
        try:
            url = queue_url(self._endpoint, self._name)
            with JsonClient(self._endpoint, "sqs") as client:
                client.call("SendMessage", QueueUrl=url, MessageBody=json.dumps(message))
        except ServiceError as error:
            return f"not sent: {self._name} cannot be reached ({error.code or error})"
        return f"sent to {self._name}"


def failure_message(given_up: GivenUp, function: str, stream: str, shard: str) -> dict[str, Any]:
    """The message that Lambda sends to an on-failure destination."""
    records = given_up.batch.records
    message: dict[str, Any] = {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": function_arn(function),
            "condition": given_up.condition,
            "approximateInvokeCount": given_up.calls,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "version": "1.0",
        "timestamp": _time(datetime.now(UTC).timestamp(), "milliseconds"),
        "DDBStreamBatchInfo": {
            "shardId": shard,
            "startSequenceNumber": records[0].sequence,
            "endSequenceNumber": records[-1].sequence,
            "approximateArrivalOfFirstRecord": _time(records[0].created),
            "approximateArrivalOfLastRecord": _time(records[-1].created),
            "batchSize": len(records),
            "streamArn": stream,
        },
    }
    if given_up.error:
        message["responseContext"]["functionError"] = "Unhandled"
    return message


def _time(seconds: float, precision: str = "seconds") -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
