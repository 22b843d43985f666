"""The log line of each request: enough to find it by, and nothing its caller wrote."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from support.gateway import REQUEST_ID, Client
from support.orders import new_order, target


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == "request"]


def test_the_route_is_logged_and_not_the_path(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A request is logged by its route, without ids or other parts of its path."""
    with caplog.at_level(logging.INFO, "ordering"):
        client.get(target("orders/4711"))
        client.get(target("orders/hush%20hush/items"))
        client.post(target("orders"), new_order())
    logged = lines(caplog)

    assert [(line["route"], line["status"]) for line in logged] == [
        ("GET /api/v2/orders/{orderId}", 404),
        ("GET /api/v2/orders/{orderId}/items", 404),
        ("POST /api/v2/orders", 201),
    ]
    assert not any(word in str(line) for line in logged for word in ("4711", "hush", "businessUnitId"))


def test_the_order_is_logged_once_it_is_found(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A request's line has the name of the order that it created or read, and none if there is no such order."""
    with caplog.at_level(logging.INFO, "ordering"):
        once = {"Idempotency-Key": "k"}
        number = client.post(target("orders"), new_order(), headers=once).json["id"]
        client.post(target("orders"), new_order(), headers=once)
        client.get(target(f"orders/{number}"))
        client.get(target("orders/4711"))
        client.get(target("orders"))

    assert [line.get("order") for line in lines(caplog)] == [*[f"training#{number}"] * 3, None, None]


def test_one_line_for_each_request(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Each request logs one line: partner, contract, route, status and cost, without its content."""
    body = new_order(purchaseOrderReference="SECRET-PO", contactEmail="secret.person@example.com")
    with caplog.at_level(logging.INFO, "ordering"):
        client.post(target("orders"), body, headers={"Idempotency-Key": "secret-key"})

    (record,) = caplog.records
    shown: dict[str, Any] = dict(vars(record))
    assert tuple(shown[name] for name in ("partner", "contract", "route", "status", "request")) == (
        "northwind",
        "training",
        "POST /api/v2/orders",
        201,
        REQUEST_ID,
    )
    assert shown["calls"] > 0
    assert shown["writes"] > 0
    assert "secret" not in repr(shown).lower()
    assert "smith" not in repr(shown).lower()
