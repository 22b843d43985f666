"""Messages of a queue in the form of Lambda's events, and functions' reports of failed messages.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.aws_account import REGION, queue_arn
from ordering_tools.local.sources.batches import BadReportError
from ordering_tools.local.sources.event_patterns import matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ordering_tools.local.sources.event_patterns import Pattern

_EVENT_LIMIT = 6 * 1024 * 1024
"""Bytes; Lambda's quota for an event."""


def message_record(message: Mapping[str, Any], queue: str) -> dict[str, Any]:
    """A message of ReceiveMessage as a record of a function's event."""
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(queue),
        "awsRegion": REGION,
    }
    if digest := message.get("MD5OfMessageAttributes"):
        record["md5OfMessageAttributes"] = digest
    return record


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    attribute: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    for name in ("StringValue", "BinaryValue"):
        if name in value:
            attribute[f"{name[0].lower()}{name[1:]}"] = value[name]
    return attribute


def passes_filters(patterns: Sequence[Pattern], record: Mapping[str, Any]) -> bool:
    """Whether a message passes the filters of a source.

    A body in JSON can match only a pattern with an object for it, a body in plain text only one with a list.
    """
    return not patterns or any(_fits(pattern, record) for pattern in patterns)


def _fits(pattern: Pattern, record: Mapping[str, Any]) -> bool:
    if "body" not in pattern:
        return matches(pattern, record)
    try:
        body = json.loads(record["body"])
    except ValueError:
        body = record["body"]
    same_kind = isinstance(pattern["body"], dict) == isinstance(body, dict)
    return same_kind and matches(pattern, {**record, "body": body})


def split_by_size(records: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Split records into parts that each fit into an event."""
    part: list[Mapping[str, Any]] = []
    size = 0
    for record in records:
        length = len(json.dumps(record))
        if part and size + length > _EVENT_LIMIT:
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part


def reported_messages(result: bytes, records: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the messages that a function reports as failed.

    Raises:
        BadReportError: The report names a message that is not in the batch, or is malformed.
        ValueError: The result is not JSON.
    """
    report: Any = json.loads(result or b"null")
    if not isinstance(report, dict | None):
        raise BadReportError(f"batchItemFailures cannot be read from {type(report).__name__}")
    known = {record["messageId"] for record in records}
    try:
        failed = {item["itemIdentifier"] for item in (report or {}).get("batchItemFailures") or []}
    except (KeyError, TypeError) as error:
        raise BadReportError("batchItemFailures must be a list of objects with an itemIdentifier") from error
    if failed - known:
        raise BadReportError("batchItemFailures names a message that was not in the batch")
    return failed
