"""The life of an order on every contract, by the package `order_api` that openapi-generator's `python` has generated.

It runs in the environment of the generated client, and gets the demo file of the stack as its input. Its output is one
JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from order_api import (
    ApiClient,
    ApiException,
    Configuration,
    DealErrors,
    DealLineItemRequest,
    DealLineItemRequestData,
    DealLineItemsApi,
    DealOrderRequest,
    DealOrderRequestData,
    DealOrdersApi,
    EcardError,
    EcardOrderCardRequest,
    EcardOrderRequest,
    ECardOrdersApi,
    EcardParticipantRequest,
    Problem,
    TokensApi,
    TrainingOrderItemRequest,
    TrainingOrderRequest,
    TrainingOrdersApi,
    WebhookEventType,
    WebhookRequest,
    WebhooksApi,
)

_DEAL = 2_000_002


def main() -> None:
    """Go through all contracts, and print what was seen."""
    demo = json.load(sys.stdin)

    def client(token: str | None) -> ApiClient:
        return ApiClient(Configuration(host=demo["baseUrl"], access_token=token))

    own = demo["clients"]["ecards"]
    token = TokensApi(client(None)).issue_token(
        "client_credentials", client_id=own["clientId"], client_secret=own["clientSecret"]
    )
    seen = {
        "training": training(TrainingOrdersApi(client(demo["tokens"]["training"])), demo),
        "deals": deals(client(demo["tokens"]["deals"])),
        "ecards": ecards(ECardOrdersApi(client(token.access_token))),
        "webhooks": webhooks(WebhooksApi(client(demo["tokens"]["training"]))),
    }
    json.dump(seen, sys.stdout)


def refused(call: Callable[[], object]) -> Any:
    """Make a call that is refused; returns the error, in the model that the document has for it."""
    try:
        response = call()
    except ApiException as error:
        return error.data
    message = f"a call that must be refused had a response: {response}"
    raise AssertionError(message)


def training(api: TrainingOrdersApi, demo: dict[str, Any]) -> list[Any]:
    """Order seats, and read the order back, a page of orders, and one that does not exist."""
    unit = UUID(demo["businessUnitId"])
    item = TrainingOrderItemRequest(featureSetId=UUID(demo["order"]["orderItems"][0]["featureSetId"]), quantity=2)
    body = TrainingOrderRequest(purchaseOrderReference="PO-GENERATED", emailKeys=False, orderItems=[item])
    made = api.create_order(body, business_unit_id=unit, idempotency_key=uuid4().hex)
    read = api.get_order(made.id, business_unit_id=unit)
    page = api.list_orders(business_unit_id=unit, page_size=3)
    missing = refused(lambda: api.get_order(999_999_999, business_unit_id=unit))
    assert isinstance(missing, Problem)
    return [made.order_status, read.purchasing_order_reference, len(page.items), missing.status]


def deals(client: ApiClient) -> list[Any]:
    """Create an order with a line item, read it, a page of orders, and an error, and delete it."""
    api = DealOrdersApi(client)
    body = DealOrderRequest(data=DealOrderRequestData(deal_id=_DEAL, discount=5))
    made = api.create_deal_order(body)
    again = refused(lambda: api.create_deal_order(body))
    line = DealLineItemRequest(data=DealLineItemRequestData(product_id=4, currency="USD", variation="2"))
    added = DealLineItemsApi(client).create_deal_line_item(made.data.id, line)
    read = api.get_deal_order(made.data.id)
    page = api.list_deal_orders(per_page=3, sort_by="discount:desc")
    deleted = api.delete_deal_order_with_http_info(made.data.id)
    assert isinstance(again, DealErrors)
    return [read.data.deal_id, added.data.value, len(page.items), again.errors[0].error.code, deleted.status_code]


def ecards(api: ECardOrdersApi) -> list[Any]:
    """Order cards, and read the order back, a page of orders, and a fault of a request."""
    participant = EcardParticipantRequest(email="generated@example.com", name="John Doe", phone="79251153242")
    card = EcardOrderCardRequest(id=1, quantity=2, faceValue="100 ₽")
    body = EcardOrderRequest(orderId=uuid4(), participant=participant, ecards=[card])
    made = api.create_ecard_order(body)
    read = api.get_ecard_order(made.id)
    page = api.list_ecard_orders()
    body.ecards[0].id = 999
    body.order_id = uuid4()
    fault = refused(lambda: api.create_ecard_order(body))
    assert isinstance(fault, EcardError)
    return [read.total, read.ecards[0].face_value, page.current_page, [*fault.errors]]


def webhooks(api: WebhooksApi) -> list[Any]:
    """Register a webhook, and remove it."""
    types = [WebhookEventType.ORDERING_DOT_TRAINING_ORDER_DOT_COMPLETED]
    made = api.create_webhook(WebhookRequest(url="https://example.com/generated", types=types))
    removed = api.delete_webhook_with_http_info(made.id)
    return [made.secret.startswith("whsec_"), removed.status_code]


if __name__ == "__main__":
    main()
