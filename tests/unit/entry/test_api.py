"""The adapter between the router and a contract: behaviour that no contract specifies."""

from __future__ import annotations

from ordering.entry.api import wanted_by
from support.gateway import Client


def test_cache_is_bounded(client: Client) -> None:
    """The adapter's cache stays bounded, however many requests match no route."""
    for _ in range(100):
        client.request("DELETE", "/api/v2/orders")
    info = wanted_by.cache_info()

    assert info.currsize <= 64
