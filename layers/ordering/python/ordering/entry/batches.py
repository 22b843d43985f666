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
    with single_metric(name=metric, unit=MetricUnit.Count, value=1):
        pass


def failures(identifiers: list[str]) -> dict[str, Any]:
    """Return a batch's response in the format of `ReportBatchItemFailures`."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
