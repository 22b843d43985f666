"""The queues that are event sources of the template's functions, with their settings.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-sqs.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.queues import DEFAULT_VISIBILITY, Queue, declared_queues
from ordering_tools.local.runtime.functions import FUNCTION_TYPE, SettingsError
from ordering_tools.local.sources.event_patterns import Pattern, PatternError, read_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EVENT_TYPE = "SQS"
_DEFAULT_BATCH_SIZE = 10
_WITHOUT_WINDOW = 10
"""The largest batch without a batching window."""
_LARGEST_BATCH = 10_000
_LONGEST_WINDOW = 300
_CALLS = 5
"""The number of concurrent calls, with which Lambda starts; Lambda would increase it under load."""
_DEFAULT_TIMEOUT = 3
_KNOWN = {
    "BatchSize",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "KmsKeyArn",
    "MaximumBatchingWindowInSeconds",
    "MetricsConfig",
    "Queue",
    "ScalingConfig",
}


@dataclass(frozen=True)
class QueueSource:
    """A queue and the function that receives its messages."""

    name: str
    function: str
    queue: str
    batch_size: int = _DEFAULT_BATCH_SIZE
    window: float = 0
    """Seconds for which a batch that is not full waits for more."""
    calls: int = _CALLS
    """How many batches may be in flight."""
    reports_failures: bool = False
    """Whether the function reports the messages that failed."""
    patterns: tuple[Pattern, ...] = ()
    """Messages that match no pattern are deleted; without patterns all are delivered."""
    dead_letters: str | None = None
    receives: int | None = None
    """How often a message is received before it is moved to the dead-letter queue."""


def declared_queue_sources(resources: Mapping[str, Any]) -> tuple[QueueSource, ...]:
    """The queues that are event sources among a template's resources, whose references are resolved.

    Raises:
        SettingsError: A source uses something that Lambda refuses or the local run does not support.
    """
    queues = declared_queues(resources)
    return tuple(
        source
        for function, resource in resources.items()
        if resource["Type"] == FUNCTION_TYPE
        for source in _of_function(function, resource["Properties"], queues)
    )


def _of_function(function: str, properties: Mapping[str, Any], queues: Mapping[str, Queue]) -> Iterator[QueueSource]:
    for event, declared in (properties.get("Events") or {}).items():
        settings = declared.get("Properties", {})
        if declared["Type"] != _EVENT_TYPE or settings.get("Enabled") is False:
            continue
        name = f"{function}.{event}"
        try:
            source = _queue_source(name, function, settings, queues)
            _check(source, queues[source.queue], float(properties.get("Timeout", _DEFAULT_TIMEOUT)))
        except (KeyError, TypeError, ValueError, PatternError) as error:
            raise SettingsError(f"{name}: {error}") from error
        yield source


def _queue_source(name: str, function: str, settings: Mapping[str, Any], queues: Mapping[str, Queue]) -> QueueSource:
    if unknown := settings.keys() - _KNOWN:
        raise ValueError(f"the local run does not support {', '.join(sorted(unknown))} of a queue")
    queue = str(settings["Queue"]).rsplit(":", 1)[-1]
    if queue not in queues:
        raise ValueError(f"{json.dumps(settings['Queue'])} is not a queue of the template")
    filters = settings.get("FilterCriteria", {}).get("Filters", [])
    calls = int(settings.get("ScalingConfig", {}).get("MaximumConcurrency", _CALLS))
    return QueueSource(
        name=name,
        function=function,
        queue=queue,
        batch_size=int(settings.get("BatchSize", _DEFAULT_BATCH_SIZE)),
        window=float(settings.get("MaximumBatchingWindowInSeconds", 0)),
        calls=min(calls, _CALLS),
        reports_failures="ReportBatchItemFailures" in settings.get("FunctionResponseTypes", []),
        patterns=tuple(read_pattern(each["Pattern"]) for each in filters),
        dead_letters=queues[queue].dead_letters,
        receives=queues[queue].receives,
    )


def _check(source: QueueSource, queue: Queue, timeout: float) -> None:
    """Raise ValueError for settings that Lambda refuses."""
    visibility = queue.settings.get("VisibilityTimeout", DEFAULT_VISIBILITY)
    if visibility < timeout:
        raise ValueError(
            f"the visibility timeout of {queue.name}, {visibility} s, is less than the function's {timeout:g} s"
        )
    if not 1 <= source.batch_size <= _LARGEST_BATCH or not 0 <= source.window <= _LONGEST_WINDOW:
        raise ValueError(f"BatchSize is 1 to {_LARGEST_BATCH}, MaximumBatchingWindowInSeconds 0 to {_LONGEST_WINDOW}")
    if source.batch_size > _WITHOUT_WINDOW and source.window < 1:
        raise ValueError(f"a batch of more than {_WITHOUT_WINDOW} needs a MaximumBatchingWindowInSeconds of 1 or more")
