"""FastAPI behind Mangum, pydantic, and boto3's resources."""

import json
import logging
from typing import Annotated, Any

import store
from fastapi import FastAPI, Header, HTTPException, Query, Request
from mangum import Mangum
from shapes import ListOfOrders, NewlyCreated, NewTrainingOrder, OneOrder
from shown import page_of, shown, shown_in_list

logger = logging.getLogger("orders")
logger.setLevel(logging.INFO)
app = FastAPI(title="Orders")


@app.get("/api/v2/orders")
def list_orders(
    page: Annotated[int, Query(alias="_page", ge=1)] = 1,
    page_size: Annotated[int, Query(alias="_pageSize", ge=1, le=500)] = 10,
) -> ListOfOrders:
    orders, total = store.read_page(page_size)
    return page_of("/api/v2/orders", [*map(shown_in_list, orders)], page, page_size, total)


@app.get("/api/v2/orders/{order_id}")
def get_order(order_id: int) -> OneOrder:
    order = store.read_order(order_id)
    if order is None:
        raise HTTPException(404, f"There is no order {order_id}.")
    return shown(order)


@app.post("/api/v2/orders", status_code=201)
def create_order(
    request: Request, body: NewTrainingOrder, idempotency_key: Annotated[str, Header(min_length=1)]
) -> NewlyCreated:
    caller = json.loads(request.scope["aws.event"]["requestContext"]["authorizer"]["principal"])
    return store.place(caller, body.model_dump(), idempotency_key)


_adapter = Mangum(app, lifespan="off")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer = _adapter(event, context)
    logger.info("request", extra={"route": event["resource"], "status": answer["statusCode"]})
    return answer
