"""Items of a training order."""

from ordering.entry.api import Api
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Call

app = Api(training.CONTRACT, TrainingServices)


@app.get("/api/v2/orders/<orderId>/items", summary="Get all order items for an order", tags=["Training order items"])
def list_order_items(call: Call, unit: str, orderId: str, query: training.ListQuery) -> training.TrainingOrderItemList:
    """List an order's items, a page at a time, sorted by id."""
    order_id = training.order_id_in_path(orderId)
    lines = app.services.orders(unit, call.deadline).lines(order_id, query.first, query.page_size)
    return training.order_item_list(call, query, order_id, lines)


handler = app.ready(reads=("ORDERS_TABLE", "ORDER#training#"))
