"""Metrics in log lines, in CloudWatch's embedded metric format: CloudWatch reads them, and no call is made.

    _log.info("position voided", extra=measured("training", Voids=1))

They are in the stack's namespace. A metric costs what its line costs, and 0.30 USD a month for each of its dimensions'
values; so only what happens seldom enough, or what an order is worth, has one.
"""

from __future__ import annotations

import os
import time
from typing import Any

_NAMESPACE = "POWERTOOLS_METRICS_NAMESPACE"
"""The setting with the stack's namespace, of which Powertools has the name."""

_NOWHERE = "ordering"
"""The namespace of processes that are no functions, such as commands and tests."""


def measured(contract: str | None = None, **values: float) -> dict[str, Any]:
    """Return the keys that make a log line publish metrics.

    Args:
        contract: The dimension of the metrics; without it they have none.
        values: The metrics by name. Those whose names end with `Seconds` are in seconds, all others are counts.
    """
    dimension = {} if contract is None else {"contract": contract}
    directive = {
        "Namespace": os.environ.get(_NAMESPACE, _NOWHERE),
        "Dimensions": [[*dimension]],
        "Metrics": [{"Name": name, "Unit": "Seconds" if name.endswith("Seconds") else "Count"} for name in values],
    }
    return {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}, **dimension, **values}
