"""The DynamoDB streams that are event sources of the template's functions, with their settings.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-dynamodb.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ordering_tools.local.runtime.functions import FUNCTION_TYPE, SettingsError
from ordering_tools.local.sources.event_patterns import Pattern, PatternError, read_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Start = Literal["TRIM_HORIZON", "LATEST"]

_EVENT_TYPE = "DynamoDB"
_QUEUE_TYPE = "AWS::SQS::Queue"
_DEFAULT_BATCH_SIZE = 100
_KNOWN = {
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "KmsKeyArn",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "MetricsConfig",
    "ParallelizationFactor",
    "StartingPosition",
    "Stream",
}


@dataclass(frozen=True)
class EventSource:
    """A table's stream and the function that receives its records."""

    name: str
    function: str
    table: str
    start: Start = "TRIM_HORIZON"
    batch_size: int = _DEFAULT_BATCH_SIZE
    window: float = 0
    """Seconds for which a batch that is not full waits for more."""
    parallelization: int = 1
    """How many batches of a shard may be in flight; all records of an item have the same worker."""
    bisect: bool = False
    retries: int | None = None
    """None retries as long as the stream keeps the records."""
    record_age: float | None = None
    """The largest age of a record that is tried, in seconds; None is without a limit."""
    reports_failures: bool = False
    """Whether the function reports the records that failed."""
    patterns: tuple[Pattern, ...] = ()
    """Records that match no pattern are skipped; without patterns all are delivered."""
    on_failure: str | None = None
    """The queue that receives a message for each batch that is given up."""


def declared_event_sources(resources: Mapping[str, Any]) -> tuple[EventSource, ...]:
    """The stream event sources among a template's resources, whose references SAM CLI has resolved.

    Raises:
        SettingsError: A source uses something that the local run does not support.
    """
    return tuple(
        source
        for function, resource in resources.items()
        if resource["Type"] == FUNCTION_TYPE
        for source in _of_function(function, resource["Properties"].get("Events") or {}, resources)
    )


def _of_function(function: str, events: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[EventSource]:
    for event, declared in events.items():
        properties = declared.get("Properties", {})
        if declared["Type"] != _EVENT_TYPE or properties.get("Enabled") is False:
            continue
        name = f"{function}.{event}"
        try:
            yield _event_source(name, function, properties, resources)
        except (KeyError, TypeError, ValueError, PatternError) as error:
            raise SettingsError(f"{name}: {error}") from error


def _event_source(name: str, function: str, properties: Mapping[str, Any], resources: Mapping[str, Any]) -> EventSource:
    if unknown := properties.keys() - _KNOWN:
        raise ValueError(f"the local run does not support {', '.join(sorted(unknown))} of a stream")
    filters = properties.get("FilterCriteria", {}).get("Filters", [])
    return EventSource(
        name=name,
        function=function,
        table=_table(properties["Stream"]),
        start=_start(properties["StartingPosition"]),
        batch_size=int(properties.get("BatchSize", _DEFAULT_BATCH_SIZE)),
        window=float(properties.get("MaximumBatchingWindowInSeconds", 0)),
        parallelization=int(properties.get("ParallelizationFactor", 1)),
        bisect=bool(properties.get("BisectBatchOnFunctionError", False)),
        retries=_limit(properties.get("MaximumRetryAttempts")),
        record_age=_limit(properties.get("MaximumRecordAgeInSeconds")),
        reports_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
        patterns=tuple(read_pattern(each["Pattern"]) for each in filters),
        on_failure=_queue(properties.get("DestinationConfig", {}).get("OnFailure"), resources),
    )


def _table(stream: Any) -> str:
    match stream:
        case {"Fn::GetAtt": [str(table), "StreamArn"]}:
            return table
        case str() if ":table/" in stream:
            return stream.split("/")[1]
        case _:
            raise ValueError(f"{json.dumps(stream)} is not the stream of a table")


def _start(position: str) -> Start:
    match position:
        case "TRIM_HORIZON" | "LATEST":
            return position
        case _:
            raise ValueError(f"the local run cannot read a stream from {position}")


def _limit(value: Any) -> int | None:
    return None if value is None or int(value) < 0 else int(value)


def _queue(destination: Mapping[str, Any] | None, resources: Mapping[str, Any]) -> str | None:
    """The logical id of the queue, which is its name in the local run."""
    if not destination:
        return None
    # SAM CLI resolves the reference to a wrong ARN, which ends with the logical id.
    name = str(destination["Destination"]).rsplit(":", 1)[-1]
    if resources.get(name, {}).get("Type") != _QUEUE_TYPE:
        raise ValueError(f"an on-failure destination must be a queue of the template, not {json.dumps(destination)}")
    return name
