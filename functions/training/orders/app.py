"""Training orders of a business unit."""

from ordering.entry.api import Api
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Answer, Call, encode
from ordering.web.idempotent_creates import CreateHeaders

app = Api(training.CONTRACT, TrainingServices)


@app.get("/api/v2/orders", summary="Get all orders", tags=["Training orders"])
def list_orders(call: Call, unit: str, query: training.ListQuery) -> training.TrainingOrderList:
    """List the business unit's orders, a page at a time, oldest first."""
    listing = app.services.orders(unit, call.deadline).page(query.first, query.page_size)
    return training.order_list(call, query, listing)


@app.get("/api/v2/orders/<orderId>", summary="Get a specific order", tags=["Training orders"])
def get_order(call: Call, unit: str, orderId: str) -> training.ShownTrainingOrder:
    """Get one order of the business unit."""
    order_id = training.order_id_in_path(orderId)
    return training.order(call, app.services.orders(unit, call.deadline).order(order_id))


@app.post("/api/v2/orders", summary="Create an order", tags=["Training orders"], status_code=201)
def create_order(
    call: Call, unit: str, headers: CreateHeaders, body: training.TrainingOrderRequest
) -> Answer[training.TrainingOrderCreated]:
    """Order feature sets for the business unit.

    Send an `Idempotency-Key` with every order, and the same key with every retry. The order is then created only once.
    """
    placed = app.services.orders(unit, call.deadline).place(
        call.caller,
        body.to_request(),
        unit_name=app.services.unit_name(call.caller.partner, unit, call.deadline),
        answer=lambda order: encode(training.created_order(call, order)),
        once=training.idempotency_key(headers, body, unit),
        catalogue=app.services.catalogue(unit, call.deadline),
        accounts=app.services.accounts(call.deadline),
        correlation=call.request.id,
    )
    return training.created(call, unit, placed)


handler = app.ready(reads=("ORDERS_TABLE", "ORDER#training#"))
