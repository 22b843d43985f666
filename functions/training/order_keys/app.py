"""Access keys of a training order."""

from ordering.entry.api import Api
from ordering.principal import BusinessUnit
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Call

app = Api(training.ACCESS_KEYS, TrainingServices)


@app.get("/api/v2/orders/<orderId>/keys", summary="Get all access keys of an order", tags=["Access keys"])
def list_access_keys(call: Call, unit: BusinessUnit, orderId: str, query: training.ListQuery) -> training.AccessKeyList:
    """A page of an order's access keys, one for each seat, by item and seat.

    They are there once the order is `Completed`; until then the answer is 409, and `Retry-After` says when to try
    again. Only tokens that cover the grant `training-keys` may read them.
    """
    order_id = training.order_id_in_path(orderId)
    orders = app.services.orders(unit, call.deadline)
    keys = orders.keys(order_id, query.first, query.page_size, app.services.sealer())
    return training.access_key_list(call, query, order_id, keys)


handler = app.ready(TrainingServices.sealer)
