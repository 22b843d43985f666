"""Access keys of a training order."""

from ordering.entry.api import Api
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Call

app = Api(training.ACCESS_KEYS, TrainingServices)


@app.get("/api/v2/orders/<orderId>/keys", summary="Get all access keys of an order", tags=["Training access keys"])
def list_access_keys(call: Call, unit: str, orderId: str, query: training.ListQuery) -> training.TrainingAccessKeyList:
    """List an order's access keys, a page at a time, one for each seat, sorted by item and seat.

    Until the order is `Completed`, the response is 409 with `Retry-After`. The token needs the grant `training-keys`.
    """
    order_id = training.order_id_in_path(orderId)
    orders = app.services.orders(unit, call.deadline)
    keys = orders.keys(order_id, query.first, query.page_size, app.services.sealer(call.deadline))
    return training.access_key_list(call, query, order_id, keys)


handler = app.ready(TrainingServices.sealer, reads=("ORDERS_TABLE", "ORDER#training#"))
