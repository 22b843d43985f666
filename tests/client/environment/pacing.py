"""Keep the official client within the API's rate: ten requests a second for each token.

The client does not retry a request that is refused with 429, so its users must keep to the rate.
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

    By the API's clock too, the two are in different seconds.
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
    """Apply the rate to every request that this process sends through `requests`."""
    requests.request = keep_to_the_rate(requests.request)
