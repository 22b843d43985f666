"""The life of an order on every contract, by the package `order_api` that openapi-python-client has generated.

It runs in the environment of the generated client, and gets the demo file of the stack as its input. Its output is one
JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from uuid import UUID, uuid4

from order_api import AuthenticatedClient, Client
from order_api.api.deal_line_items import create_deal_line_item
from order_api.api.deal_orders import create_deal_order, delete_deal_order, get_deal_order, list_deal_orders
from order_api.api.e_card_orders import create_ecard_order, get_ecard_order, list_ecard_orders
from order_api.api.tokens import issue_token
from order_api.api.training_orders import create_order, get_order, list_orders
from order_api.api.training_products import list_products
from order_api.api.webhooks import create_webhook, delete_webhook
from order_api.models import (
    DealErrors,
    DealLineItemRequest,
    DealLineItemRequestData,
    DealOrderRequest,
    DealOrderRequestData,
    EcardError,
    EcardOrderCardRequest,
    EcardOrderRequest,
    EcardParticipantRequest,
    OauthToken,
    OauthTokenRequest,
    Problem,
    TrainingOrderItemRequest,
    TrainingOrderRequest,
    WebhookEventType,
    WebhookRequest,
)

_DEAL = 2_000_000


def main() -> None:
    """Go through all contracts, and print what was seen."""
    demo = json.load(sys.stdin)
    clients = {
        name: AuthenticatedClient(demo["baseUrl"], demo["tokens"][name], follow_redirects=False)
        for name in ("training", "deals")
    }
    seen = {
        "training": training(clients["training"], demo),
        "deals": deals(clients["deals"]),
        "ecards": ecards(demo),
        "webhooks": webhooks(clients["training"]),
    }
    json.dump(seen, sys.stdout)


def training(client: AuthenticatedClient, demo: dict[str, Any]) -> list[Any]:
    """Order seats, and read the order back, a page of orders, and one that does not exist."""
    unit = UUID(demo["businessUnitId"])
    item = TrainingOrderItemRequest(feature_set_id=UUID(demo["order"]["orderItems"][0]["featureSetId"]), quantity=2)
    body = TrainingOrderRequest("PO-GENERATED", email_keys=False, order_items=[item])
    made = create_order.sync(client=client, body=body, business_unit_id=unit, idempotency_key=uuid4().hex)
    read = get_order.sync(made.id, client=client, business_unit_id=unit)
    page = list_orders.sync(client=client, business_unit_id=unit, field_page_size=3)
    missing = get_order.sync(999_999_999, client=client, business_unit_id=unit)
    products = list_products.sync(client=client, business_unit_id=unit)
    assert isinstance(missing, Problem)
    assert products.items[0].id
    return [made.order_status, read.purchasing_order_reference, len(page.items), missing.status]


def deals(client: AuthenticatedClient) -> list[Any]:
    """Create an order with a line item, read it, a page of orders, and an error, and delete it."""
    body = DealOrderRequest(DealOrderRequestData(_DEAL, discount=5))
    made = create_deal_order.sync(client=client, body=body)
    again = create_deal_order.sync(client=client, body=body)
    line = DealLineItemRequest(DealLineItemRequestData(4, "USD", variation="2"))
    added = create_deal_line_item.sync(made.data.id, client=client, body=line)
    read = get_deal_order.sync(made.data.id, client=client)
    page = list_deal_orders.sync(client=client, per_page=3, sort_by="discount:desc")
    deleted = delete_deal_order.sync_detailed(made.data.id, client=client)
    assert isinstance(again, DealErrors)
    return [read.data.deal_id, added.data.value, len(page.items), again.errors[0].error.code, deleted.status_code]


def ecards(demo: dict[str, Any]) -> list[Any]:
    """Get a token, order cards, and read the order back, a page of orders, and a fault of a request."""
    own = demo["clients"]["ecards"]
    asked = OauthTokenRequest("client_credentials", client_id=own["clientId"], client_secret=own["clientSecret"])
    token = issue_token.sync(client=Client(demo["baseUrl"]), body=asked)
    assert isinstance(token, OauthToken)
    client = AuthenticatedClient(demo["baseUrl"], token.access_token)
    participant = EcardParticipantRequest("generated@example.com", "John Doe", "79251153242")
    body = EcardOrderRequest(uuid4(), participant, [EcardOrderCardRequest(1, 2, "100 ₽")])
    made = create_ecard_order.sync(client=client, body=body)
    read = get_ecard_order.sync(made.id, client=client)
    page = list_ecard_orders.sync(client=client)
    body.ecards[0].id = 999
    body.order_id = uuid4()
    refused = create_ecard_order.sync(client=client, body=body)
    assert isinstance(refused, EcardError)
    return [read.total, read.ecards[0].face_value, page.current_page, [*refused.errors.additional_properties]]


def webhooks(client: AuthenticatedClient) -> list[Any]:
    """Register a webhook, and remove it."""
    body = WebhookRequest("https://example.com/generated", types=[WebhookEventType.ORDERING_TRAINING_ORDER_COMPLETED])
    made = create_webhook.sync(client=client, body=body)
    removed = delete_webhook.sync_detailed(made.id, client=client)
    return [made.secret.startswith("whsec_"), removed.status_code]


if __name__ == "__main__":
    main()
