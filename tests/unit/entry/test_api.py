"""The adapter between the router and a contract: behaviour that no contract specifies."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ordering.aws.connections import Connections
from ordering.entry.api import Api, wanted_by
from ordering.training import contract as training
from ordering.web.http import Call
from support.gateway import Client


def test_cache_is_bounded(client: Client) -> None:
    """The adapter's cache stays bounded, however many requests match no route."""
    for _ in range(100):
        client.request("DELETE", "/api/v2/orders")
    info = wanted_by.cache_info()

    assert info.currsize <= 64


def test_rehearsal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """While a function initialises in Lambda, its routes are tried without a caller: no handler is called."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
    calls: list[str] = []

    def send(operation: str, _: dict[str, Any]) -> dict[str, Any]:
        calls.append(operation)
        return {}

    def build(_: Connections) -> None:
        pass

    app = Api(training.CONTRACT, build)
    monkeypatch.setitem(vars(app), "connections", Connections({"T": "a-table"}, send))

    @app.get("/api/v2/orders/<order_id>")
    def get_order(call: Call, order_id: str) -> None:
        calls.append(f"{call} {order_id}")

    with caplog.at_level(logging.DEBUG, "ordering"):
        before = wanted_by.cache_info().misses
        app.ready(reads=("T", "ORDER#"))

    assert wanted_by.cache_info().misses == before + 1
    assert calls == ["GetItem"]
    assert caplog.records == []
