"""The adapter between the router and a contract, where no contract's rule shows it."""

from __future__ import annotations

from ordering.entry.api import wanted_by
from support.gateway import Client


def test_what_is_not_found_leaves_nothing_behind(client: Client) -> None:
    """However many requests find no route, a warm process does not grow by what the router makes for each."""
    for _ in range(100):
        client.request("DELETE", "/api/v2/orders")
    info = wanted_by.cache_info()

    assert info.currsize <= 64
