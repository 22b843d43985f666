"""`ordering events`: a sample event for each function in `events/`, for `sam local invoke`.

The events of requests are created by the code of the local gateway, for requests on the demo data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ordering.ecards.incoming import PAYMENT
from ordering.events.incoming import VERSION
from ordering.identity.authorizer import principal_of
from ordering.identity.tokens import Claims
from ordering.webhooks.delivery import Message
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import training as demo
from ordering_tools.installation import ROOT
from ordering_tools.local.engine.aws_account import ACCOUNT, REGION, queue_arn
from ordering_tools.local.gateway.events import GatewayRequest, function_event, request_authorizer_event

FOLDER = ROOT / "events"

_PRODUCT = f"/api/v2/products/{demo.AZ_300.id}"
_ORDER = {
    "purchaseOrderReference": "PO-4711",
    "contactEmail": demo.JOHN.user_name,
    "emailKeys": False,
    "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 3}],
}
_DEAL_ORDER = {"data": {"deal_id": 1_000, "discount": 50}}
_ECARD_ORDER = {
    "orderId": "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb",
    "participant": {"email": "test@test.test", "phone": "79251153242", "name": "John Doe"},
    "ecards": [{"id": "1", "quantity": 1, "faceValue": "100 ₽"}, {"id": "2", "quantity": 4, "faceValue": "500 ₽"}],
}
_LINE_ITEM = {"data": {"product_id": 4, "currency": "USD", "variation": 2}}
_TIME = "2023-04-21T12:49:24Z"
_PAID = {
    "id": "6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d12",
    "type": PAYMENT,
    "version": VERSION,
    "time": _TIME,
    "data": {"company": demo_ecards.COMPANY, "operation": "a-payment", "amount": "250.00"},
}


def run(arguments: argparse.Namespace) -> int:
    """Write the events, or compare them; returns the exit code."""
    stale = []
    for name, event in events():
        path = FOLDER / f"{name}.json"
        text = json.dumps(event, indent=2, sort_keys=True) + "\n"
        if arguments.check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        elif not arguments.check:
            path.write_text(text)
    if stale:
        print(f"out of date in events/: {', '.join(stale)}; update them with `ordering events`", file=sys.stderr)
    return 1 if stale else 0


def events() -> Iterator[tuple[str, dict[str, Any]]]:
    """The folder of each function, and its event."""
    yield "identity/authorizer", request_authorizer_event(_request("GET", "/api/v2/orders", "/api/v2/orders"))
    yield "fulfilment/stream", {"Records": [_placed()]}
    yield "training/products", _event("GET", "/api/v2/products", "/api/v2/products")
    resource = "/api/v2/products/{productId}/feature_sets"
    yield "training/feature_sets", _event("GET", f"{_PRODUCT}/feature_sets", resource, {"productId": demo.AZ_300.id})
    yield "training/orders", _event("POST", "/api/v2/orders", "/api/v2/orders", body=_ORDER)
    yield (
        "training/order_items",
        _event("GET", "/api/v2/orders/1/items", "/api/v2/orders/{orderId}/items", {"orderId": "1"}),
    )
    # The first order was cancelled and has none.
    yield (
        "training/order_keys",
        _event("GET", "/api/v2/orders/2/keys", "/api/v2/orders/{orderId}/keys", {"orderId": "2"}),
    )
    yield "deals/orders", _event("POST", "/v2/orders", "/v2/orders", body=_DEAL_ORDER)
    resource = "/v2/orders/{order_id}/line_items"
    yield "deals/line_items", _event("POST", "/v2/orders/1/line_items", resource, {"order_id": "1"}, _LINE_ITEM)
    yield "deals/products", _event("GET", "/v2/products", "/v2/products")
    yield "ecards/orders", _event("POST", "/v1/orders", "/v1/orders", body=_ECARD_ORDER)
    yield (
        "ecards/certificates",
        _event(
            "GET",
            f"/v1/orders/{demo_ecards.FIRST_ORDER}/certificates",
            "/v1/orders/{order_id}/certificates",
            {"order_id": demo_ecards.FIRST_ORDER},
        ),
    )
    yield "ecards/catalogue", _event("GET", "/v1/ecards", "/v1/ecards")
    yield "ecards/balance", _event("GET", "/v1/balance", "/v1/balance")
    yield "identity/token", function_event(_request("GET", "/.well-known/jwks.json", "/.well-known/jwks.json"), None)
    yield "webhooks/registrations", _event("GET", "/webhooks", "/webhooks")
    signal = Message("northwind", "0123456789abcdef", "training#2")
    yield "webhooks/delivery", {"Records": [_queued("WebhookQueue", signal.to_text())]}
    yield "fulfilment/mails", {"Records": [_queued("MailQueue", json.dumps({"order": "training#2"}))]}
    yield "fulfilment/incoming", {"Records": [_queued("IncomingQueue", json.dumps(_from_bus(_PAID)))]}


def _placed() -> dict[str, Any]:
    """The stream record of a new entry in the order book of the demo's first unit."""
    keys = {"pk": {"S": f"BOOK#training#{demo.UK.id}"}, "sk": {"S": "0000000001"}}
    return {
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/OrdersTable/stream/2026-01-01T00:00:00.000",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_682_081_364,
            "Keys": keys,
            "NewImage": {**keys, "at": {"S": "2023-04-21T12:49:24.761340Z"}},
            "SequenceNumber": "100000000000000000001",
            "SizeBytes": 120,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


def _queued(queue: str, body: str) -> dict[str, Any]:
    """The record of a queue's message."""
    return {
        "messageId": "6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d13",
        "receiptHandle": "a-receipt",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1682081364761",
            "SenderId": "AIDACKCEVSQ6C2EXAMPLE",
            "ApproximateFirstReceiveTimestamp": "1682081364900",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(queue),
        "awsRegion": REGION,
    }


def _from_bus(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as EventBridge delivers it."""
    return {
        "version": "0",
        "id": "6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d14",
        "detail-type": event["type"],
        "source": "payments",
        "account": ACCOUNT,
        "time": _TIME,
        "region": REGION,
        "resources": [],
        "detail": event,
    }


def _event(
    method: str, path: str, resource: str, parameters: Mapping[str, str] | None = None, body: Any = None
) -> dict[str, Any]:
    contract = {"api": demo, "webhooks": demo, "v2": demo_deals, "v1": demo_ecards}[path.split("/")[1]]
    partner = contract.partners()[0]
    (user,) = partner.users
    principal = principal_of(Claims("an-event", partner.id, user, datetime.now(UTC), None), partner)
    context = {"principalId": partner.id, "principal": principal.to_text()}
    return function_event(_request(method, path, resource, parameters, body), context)


def _request(
    method: str, path: str, resource: str, parameters: Mapping[str, str] | None = None, body: Any = None
) -> GatewayRequest:
    headers = [
        ("Accept", "application/json"),
        # Not a real token; replace it with your own.
        ("Authorization", "Bearer header.payload.signature"),
        ("Host", "api.example.com"),
    ]
    if body is not None:
        headers.append(("Content-Type", "application/json"))
        if path.startswith("/api/v2/"):
            headers.append(("Idempotency-Key", "an-order-placed-once"))
    return GatewayRequest(
        method=method,
        path=path,
        query=f"businessUnitId={demo.UK.id}" if path.startswith("/api/v2/") else "",
        headers=headers,
        body=b"" if body is None else json.dumps(body).encode(),
        source_ip="192.0.2.7",
        protocol="HTTP/1.1",
        stage="live",
        port=443,
        resource=resource,
        path_parameters=parameters or {},
        request_id="6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d11",
        time=1_682_081_364.761,
    )
