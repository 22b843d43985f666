"""T0: Powertools with its validation, Logger, Tracer and Metrics as its own samples use them, pydantic, and boto3."""

import json
from typing import Annotated, Any

import store
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from shapes import ListOfOrders, NewlyCreated, NewTrainingOrder, OneOrder
from shown import page_of, shown, shown_in_list

logger = Logger()
tracer = Tracer()
metrics = Metrics()
app = APIGatewayRestResolver(enable_validation=True)


@app.get("/api/v2/orders")
@tracer.capture_method
def list_orders(
    page: Annotated[int, Query(alias="_page", ge=1)] = 1,
    page_size: Annotated[int, Query(alias="_pageSize", ge=1, le=500)] = 10,
) -> ListOfOrders:
    orders, total = store.read_page(page_size)
    return page_of("/api/v2/orders", [*map(shown_in_list, orders)], page, page_size, total)


@app.get("/api/v2/orders/<order_id>")
@tracer.capture_method
def get_order(order_id: int) -> OneOrder:
    order = store.read_order(order_id)
    if order is None:
        raise NotFoundError(f"There is no order {order_id}.")
    return shown(order)


@app.post("/api/v2/orders")
@tracer.capture_method
def create_order(
    body: NewTrainingOrder, idempotency_key: Annotated[str, Header(alias="Idempotency-Key", min_length=1)]
) -> tuple[NewlyCreated, int]:
    caller = json.loads(app.current_event.request_context.authorizer["principal"])
    return store.place(caller, body.model_dump(), idempotency_key), 201


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    answer = app.resolve(event, context)
    metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
    logger.info("request", route=event["resource"], status=answer["statusCode"])
    return answer
