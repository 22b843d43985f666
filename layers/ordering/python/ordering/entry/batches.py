"""What the consumers share: batches of a stream or a queue, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from ordering.aws.invocation import Context

Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]
"""Handles a batch; returns the records or messages that failed, as `ReportBatchItemFailures` has it."""

Count = Callable[[str], None]
"""Counts one more of a metric, by its name."""


def count_metric(metric: str) -> None:
    """Count one more of a metric, in CloudWatch's embedded format: a line of the log, and no call."""
    with single_metric(name=metric, unit=MetricUnit.Count, value=1):
        pass


def failures(identifiers: list[str]) -> dict[str, Any]:
    """Answer as `ReportBatchItemFailures` has it."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
