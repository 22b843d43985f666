"""Keep the official client within the API's rate: ten requests a second with a token, above which it is refused.

The client does not try again when it is refused, so whoever uses it has to keep to the rate.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import requests

A_SECOND = 10


def keep_to_the_rate(request: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `requests.request`, so that each token's eleventh request is sent a second after its first was answered.

    Whenever the API counts them, the two fall into different seconds.
    """
    answered: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=A_SECOND))

    def paced(method: str, url: str, **options: Any) -> Any:
        times = answered[options["headers"]["Authorization"]]
        if len(times) == A_SECOND:
            time.sleep(max(0.0, times[0] + 1 - time.monotonic()))
        try:
            return request(method, url, **options)
        finally:
            times.append(time.monotonic())

    return paced


def pace() -> None:
    """Let everything in this process that sends requests as the client does keep to the rate."""
    requests.request = keep_to_the_rate(requests.request)
