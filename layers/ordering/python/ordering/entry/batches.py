"""The types and helpers that all consumers of batches share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ordering.aws.invocation import Context
from ordering.metrics import measured

Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]
"""Handles a batch; returns the failed records or messages in the format of Lambda's `ReportBatchItemFailures`."""

Count = Callable[[str], None]
"""Adds one to a metric, by its name."""


def count_metric(metric: str) -> None:
    """Add one to a metric, in CloudWatch's embedded metric format: it is a log line and takes no call."""
    gauge(metric, 1)


def gauge(metric: str, value: float) -> None:
    """Put a value into a metric, by its name, in the same format; `measured` derives the unit from the name."""
    print(json.dumps(measured(None, **{metric: value})))  # noqa: T201 - Lambda logs what is printed as it is


def failures(identifiers: list[str]) -> dict[str, Any]:
    """Return a batch's response in the format of `ReportBatchItemFailures`."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
