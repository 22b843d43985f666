"""The types and helpers that all consumers of batches share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from ordering.aws.invocation import Context

Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]
"""Handles a batch; returns the failed records or messages in the format of Lambda's `ReportBatchItemFailures`."""

Count = Callable[[str], None]
"""Adds one to a metric, by its name."""


def count_metric(metric: str) -> None:
    """Add one to a metric, in CloudWatch's embedded metric format: it is a log line and takes no call."""
    gauge(metric, MetricUnit.Count, 1)


def gauge(metric: str, unit: MetricUnit, value: float) -> None:
    """Put a value into a metric, by its name, in the same format."""
    with single_metric(name=metric, unit=unit, value=value):
        pass


def failures(identifiers: list[str]) -> dict[str, Any]:
    """Return a batch's response in the format of `ReportBatchItemFailures`."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
