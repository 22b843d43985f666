"""Usage plans and throttling as API Gateway has them: token buckets, and quotas of a day, week or month in UTC.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html
API Gateway applies both on a best-effort basis, and here they are exact. The counts are this process's: they start anew
with each start of the local run, and when the template changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ordering.clock import Clock, system_clock
from ordering_tools.local.engine.engine import connect
from ordering_tools.local.gateway.responses import RefusedError

_PERIODS: Mapping[str, Callable[[date], Hashable]] = {
    "DAY": date.toordinal,
    # From Sunday on, as ordinal 1 is a Monday.
    "WEEK": lambda day: day.toordinal() // 7,
    "MONTH": lambda day: (day.year, day.month),
}


@dataclass(frozen=True)
class Throttle:
    """A token bucket's measures."""

    rate: float
    """Requests a second on average."""
    burst: float
    """Requests at once."""


@dataclass(frozen=True)
class UsagePlan:
    """A usage plan of the engine's API Gateway."""

    throttle: Throttle | None
    quota: int | None
    """Requests in a period; None for any number."""
    period: str = "DAY"


@dataclass(frozen=True)
class PlannedKey:
    """An API key in a usage plan of the stage."""

    id: str
    value: str
    plan: UsagePlan


class Buckets:
    """Token buckets by name; a new one is full.

    Args:
        seconds: Returns the seconds since any moment.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._left: dict[Hashable, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: Hashable, throttle: Throttle | None) -> None:
        """Take a token.

        Raises:
            RefusedError: The bucket is empty.
        """
        if throttle is None:
            return
        with self._lock:
            now = self._seconds()
            left, since = self._left.get(name, (throttle.burst, now))
            left = min(throttle.burst, left + (now - since) * throttle.rate)
            self._left[name] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise RefusedError("THROTTLED")


class KeyUsage:
    """Counts requests by API keys.

    Args:
        read: Reads the keys in the stage's usage plans, by value. It is called whenever a key is not known.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, PlannedKey]], buckets: Buckets, now: Clock = system_clock
    ) -> None:
        self._read = read
        self._buckets = buckets
        self._now = now
        self._keys: Mapping[str, PlannedKey] = {}
        self._used: dict[str, tuple[Hashable, int]] = {}
        self._lock = threading.Lock()

    def count(self, value: str | None) -> PlannedKey:
        """Count a request, and return its key.

        Raises:
            RefusedError: There is no such key in a plan, or its plan allows no more requests now.
        """
        if value is not None and value not in self._keys:
            self._keys = self._read()
        if value is None or (key := self._keys.get(value)) is None:
            raise RefusedError("INVALID_API_KEY")
        self._buckets.take(value, key.plan.throttle)
        self._spend(key)
        return key

    def _spend(self, key: PlannedKey) -> None:
        if key.plan.quota is None:
            return
        period = _PERIODS[key.plan.period](self._now().date())
        with self._lock:
            counted, used = self._used.get(key.value, (period, 0))
            used = used if counted == period else 0
            if used >= key.plan.quota:
                raise RefusedError("QUOTA_EXCEEDED")
            self._used[key.value] = (period, used + 1)


def read_planned_keys(services: str, stage: str) -> dict[str, PlannedKey]:
    """The keys in usage plans of a stage, by value, given the endpoint of the engine's services."""
    client = connect("apigateway", services)

    def items(operation: str, **arguments: str) -> list[dict[str, Any]]:
        return [one for page in client.get_paginator(operation).paginate(**arguments) for one in page["items"]]

    return {
        key["value"]: PlannedKey(key["id"], key["value"], _usage_plan(plan))
        for plan in items("get_usage_plans")
        if any(one["stage"] == stage for one in plan.get("apiStages", []))
        for key in items("get_usage_plan_keys", usagePlanId=plan["id"])
    }


def _usage_plan(plan: Mapping[str, Any]) -> UsagePlan:
    throttle, quota = plan.get("throttle"), plan.get("quota") or {}
    return UsagePlan(
        Throttle(throttle["rateLimit"], throttle["burstLimit"]) if throttle else None,
        quota.get("limit"),
        quota.get("period", "DAY"),
    )
