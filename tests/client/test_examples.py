"""The examples of requests in the document are accepted as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from client.deals import Deals

pytestmark = pytest.mark.gateway

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text())


def example(method: str, path: str) -> Any:
    """The example of a request's JSON body."""
    return DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["example"]


@pytest.fixture
def http(deals: Deals) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deals.demo_file["baseUrl"], timeout=30, trust_env=False) as client:
        yield client


def sent(http: httpx.Client, token: str, method: str, path: str, **ids: object) -> dict[str, Any]:
    """Send an example, and return the response, which must be a success."""
    headers = {"Authorization": f"Bearer {token}"}
    response = http.request(method, path.format(**ids), json=example(method, path.partition("?")[0]), headers=headers)
    assert response.is_success, response.text
    body: dict[str, Any] = response.json()
    return body


def test_training(http: httpx.Client, deals: Deals) -> None:
    """The example of a training order is accepted for the unit of the examples."""
    (unit,) = (one for one in DOCUMENT["paths"]["/api/v2/orders"]["post"]["parameters"] if one["in"] == "query")
    headers = {"Authorization": f"Bearer {deals.demo_file['tokens']['training']}"}
    body = example("post", "/api/v2/orders")
    response = http.post("/api/v2/orders", params={unit["name"]: unit["example"]}, json=body, headers=headers)

    assert response.status_code == 201, response.text


def test_deals(http: httpx.Client, deals: Deals) -> None:
    """The examples of deal orders, products and line items are accepted, and those of their changes."""
    token = deals.token(deals.account())
    products = [sent(http, token, "post", "/v2/products")["data"]["id"] for _ in range(4)]
    order = sent(http, token, "post", "/v2/orders")["data"]["id"]
    line = sent(http, token, "post", "/v2/orders/{order_id}/line_items", order_id=order)["data"]

    assert (line["value"], len(products)) == ("1631.99", 4)
    assert sent(http, token, "put", "/v2/orders/{id}", id=order)["data"]["discount"] == 7.5
    assert sent(http, token, "put", "/v2/products/{id}", id=products[0])["data"]["active"] is False


def test_ecards(http: httpx.Client, deals: Deals) -> None:
    """The example of an e-card order is accepted, with an id of its own."""
    own = deals.demo_file["clients"]["ecards"]
    form = DOCUMENT["paths"]["/connect/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    asked = {**form["example"], "client_id": own["clientId"], "client_secret": own["clientSecret"]}
    token = http.post("/connect/token", data=asked).json()["access_token"]
    body = {**example("post", "/v1/orders"), "orderId": str(uuid4())}
    response = http.post("/v1/orders", json=body, headers={"Authorization": f"Bearer {token}"})

    assert response.status_code == 200, response.text


def test_webhooks(http: httpx.Client, deals: Deals) -> None:
    """The examples of a webhook and of its change are accepted."""
    token = deals.token(deals.account())
    made = sent(http, token, "post", "/webhooks")
    changed = sent(http, token, "patch", "/webhooks/{webhookId}", webhookId=made["id"])

    assert changed["types"] == sorted(example("patch", "/webhooks/{webhookId}")["types"])
