"""`ordering dev events`: a sample event for each function in `events/`, for `sam local invoke`, and the list of them.

The events of requests are created by the code of the local gateway, for requests on the demo data. Each can be sent any
number of times, and none uses an id of the tutorial or of the printed calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ordering.book.positions import BookKeys
from ordering.ecards.incoming import PAYMENT
from ordering.events.incoming import VERSION
from ordering.identity.authorizer import principal_of
from ordering.identity.tokens import Claims
from ordering.webhooks.delivery import Message
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import training as demo
from ordering_tools.demo.data import demo_partners
from ordering_tools.installation import ROOT
from ordering_tools.local.engine.aws_account import ACCOUNT, REGION, queue_arn
from ordering_tools.local.gateway.events import GatewayRequest, authorizer_event, function_event
from ordering_tools.template import Template

FILES = "events/**/*"

_ORDER = {
    "purchaseOrderReference": "PO-EVENT",
    "contactEmail": demo.JOHN.user_name,
    "emailKeys": False,
    "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 3}],
}
# The discount that the demo's order has: the list of orders stays as the tutorial shows it.
_DISCOUNT = {"data": {"discount": 5}}
_ECARD_ORDER = {
    "orderId": "3e0c7d52-9f41-4b8e-a1d6-5c2b7f90e4a3",
    "participant": {"email": "test@test.test", "phone": "79251153242", "name": "John Doe"},
    "ecards": [{"id": "1", "quantity": 1, "faceValue": "100 ₽"}, {"id": "2", "quantity": 4, "faceValue": "500 ₽"}],
}
_LINE_ITEM = {"data": {"product_id": 4, "currency": "USD", "variation": 2}}
_TIME = "2023-04-21T12:49:24Z"


_REPEATED = {
    "training/orders": "the same order for at least a day, then another one",
    "deals/orders": "the same discount",
    "deals/line_items": "the same line item for at least a day, then another one",
    "ecards/orders": "the same order",
    "fulfilment/stream": "the book is settled already",
    "fulfilment/mails": "the mail is not sent twice",
    "fulfilment/incoming": "the same payment, booked once",
    "webhooks/delivery": "delivers what is not delivered yet",
}
"""What the event does when it is sent again, unless it only reads."""

_LIST = f"""\
# Sample events

One for each function, in a folder of the function's name. `ordering dev events` writes them and this list.
`SmokeFunction`, which tries new versions for CodeDeploy, has none.

```sh
sam local invoke TrainingOrdersFunction --event events/training/orders.json
```

with the further options that `make sam-local` prints ([sam local](../docs/sam-local.md)).

API Gateway calls the authorizer before it sends a request to a function. So the events of requests carry a decision,
about a partner of the demo data, and their token is a placeholder that no function reads. Only the authorizer reads
the token, and refuses the placeholder. `make serve` writes its event with a token that is accepted for 30 days:
`.ordering/{demo.LIVE_EVENT}`.

All events can be sent any number of times, and use no id of the README or the tutorial.

| event | function | content | sent again |
|---|---|---|---|
"""


def documents() -> dict[str, str]:
    """The texts of the events and of their list, by their paths from the project's root."""
    texts = {f"events/{name}.json": json.dumps(event, indent=2, sort_keys=True) + "\n" for name, event in events()}
    return {**texts, "events/README.md": listing()}


def listing() -> str:
    """The list of the events: the function of each, and what happens if it is sent again."""
    functions = {str(folder): name for name, folder in Template.load(ROOT / "template.yaml").functions.items()}
    return _LIST + "".join(
        f"| [{name}]({name}.json) | `{functions[f'functions/{name}']}` | {_summary(event)} "
        f"| {_REPEATED.get(name, 'reads again')} |\n"
        for name, event in events()
    )


def _summary(event: Mapping[str, Any]) -> str:
    if "Records" not in event:
        return f"`{event['httpMethod']} {event['resource']}`"
    name = event["Records"][0]["eventSourceARN"].split(":", 5)[5].removeprefix("table/").partition("/")[0]
    return f"a message of `{name}`" if "body" in event["Records"][0] else f"a record of the stream of `{name}`"


def events() -> Iterator[tuple[str, dict[str, Any]]]:
    """The folder of each function, and its event."""
    yield "identity/authorizer", authorizer_event(_request("GET", "/api/v2/orders"))
    yield "fulfilment/stream", {"Records": [_placed()]}
    yield "training/products", _event("GET", "/api/v2/products")
    feature_sets = "/api/v2/products/{productId}/feature_sets"
    yield "training/feature_sets", _event("GET", feature_sets, productId=demo.AZ_300.id)
    yield "training/orders", _event("POST", "/api/v2/orders", _ORDER)
    yield "training/order_items", _event("GET", "/api/v2/orders/{orderId}/items", orderId="1")
    # The first order was cancelled and has none.
    yield "training/order_keys", _event("GET", "/api/v2/orders/{orderId}/keys", orderId="2")
    yield "deals/orders", _event("PUT", "/v2/orders/{order_id}", _DISCOUNT, order_id="2")
    yield "deals/line_items", _event("POST", "/v2/orders/{order_id}/line_items", _LINE_ITEM, order_id="1")
    yield "deals/products", _event("GET", "/v2/products")
    yield "ecards/orders", _event("POST", "/v1/orders", _ECARD_ORDER)
    certificates = "/v1/orders/{order_id}/certificates"
    yield "ecards/certificates", _event("GET", certificates, order_id=demo_ecards.FIRST_ORDER)
    yield "ecards/catalogue", _event("GET", "/v1/ecards")
    yield "ecards/balance", _event("GET", "/v1/balance")
    yield "identity/token", function_event(_request("GET", "/.well-known/jwks.json"), None)
    yield "reference/pages", function_event(_request("GET", "/openapi.json"), None)
    yield "webhooks/registrations", _event("GET", "/webhooks")
    signal = Message("northwind", "0123456789abcdef", "training#2")
    yield "webhooks/delivery", {"Records": [_queued("WebhookQueue", signal.to_text())]}
    yield "fulfilment/mails", {"Records": [_queued("MailQueue", json.dumps({"order": "training#2"}))]}
    yield "fulfilment/incoming", {"Records": [_queued("IncomingQueue", json.dumps(_payment()))]}


def _placed() -> dict[str, Any]:
    """The stream record of a new entry in the order book of the demo's first unit."""
    partition, sort = BookKeys(f"training#{demo.UK.id}").entry(1)
    keys = {"pk": {"S": partition}, "sk": {"S": sort}}
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


def _payment() -> dict[str, Any]:
    """The event of a payment as EventBridge delivers it."""
    return {
        "version": "0",
        "id": "6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d14",
        "detail-type": PAYMENT,
        "source": "payments",
        "account": ACCOUNT,
        "time": _TIME,
        "region": REGION,
        "resources": [],
        "detail": {
            "id": "6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d12",
            "type": PAYMENT,
            "version": VERSION,
            "time": _TIME,
            "data": {"company": demo_ecards.COMPANY, "operation": "sample-event", "amount": "250.00"},
        },
    }


def _event(method: str, resource: str, body: Any = None, **ids: str) -> dict[str, Any]:
    grant = {"api": "training", "webhooks": "training", "v2": "deals", "v1": "ecards"}[resource.split("/")[1]]
    partner = demo_partners(grant)[0]
    principal = principal_of(
        Claims("an-event", partner.id, next(iter(partner.users)), datetime.now(UTC), None), partner
    )
    context = {"principalId": partner.id, "principal": principal.to_text()}
    return function_event(_request(method, resource, body, **ids), context)


def _request(method: str, resource: str, body: Any = None, **ids: str) -> GatewayRequest:
    headers = [
        ("Accept", "application/json"),
        ("Authorization", f"Bearer {demo.TOKEN_PLACEHOLDER}"),
        ("Host", "api.example.com"),
    ]
    if body is not None:
        headers.append(("Content-Type", "application/json"))
        if method == "POST" and not resource.startswith("/v1/"):
            headers.append(("Idempotency-Key", "sample-event"))
    return GatewayRequest(
        method=method,
        path=resource.format(**ids),
        query=f"businessUnitId={demo.UK.id}" if resource.startswith("/api/v2/") else "",
        headers=headers,
        body=b"" if body is None else json.dumps(body).encode(),
        source_ip="192.0.2.7",
        protocol="HTTP/1.1",
        stage="live",
        port=443,
        resource=resource,
        path_parameters=ids,
        request_id="6f1c8f0e-2a55-4f0e-9a0b-0a5f6f4f1d11",
        time=1_682_081_364.761,
    )
