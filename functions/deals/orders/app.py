"""Deal orders of a CRM account, and the 404 responses of the contract's unknown paths."""

from ordering.deals import contract as deals
from ordering.deals.services import DealServices
from ordering.entry.api import Api
from ordering.web.http import Answer, Call, Tagged
from ordering.web.idempotent_creates import CreateHeaders
from ordering.web.preconditions import ChangeHeaders

app = Api(deals.CONTRACT, DealServices, revalidated=True)


@app.get("/v2/orders", summary="Retrieve all orders", tags=["Deal orders"])
def list_deal_orders(call: Call, owner: str, query: deals.OrderQuery) -> deals.DealOrderList:
    """List the account's orders, a page at a time, sorted by id by default."""
    found = app.services.orders(owner, call.deadline).part(query.wanted, deals.reader_of(call), query.deal_id)
    return deals.orders(call, query, found)


@app.post("/v2/orders", summary="Create an order", tags=["Deal orders"])
def create_deal_order(
    call: Call, owner: str, headers: CreateHeaders, body: deals.Envelope[deals.DealOrderRequestData]
) -> Tagged[deals.DealOrderEnvelope]:
    """Create the order of a deal. A deal can have only one order."""
    create = deals.creation(call, headers, body, deals.order_envelope)
    orders = app.services.orders(owner, call.deadline)
    return deals.created_envelope(orders.create(body.data.deal_id, body.data.discount, create))


@app.get("/v2/orders/<id>", summary="Retrieve a single order", tags=["Deal orders"])
def get_deal_order(call: Call, owner: str, id: str) -> Tagged[deals.DealOrderEnvelope]:
    """Get one order of the account."""
    order_id = deals.id_in_path("order", id)
    return deals.one_order(app.services.orders(owner, call.deadline).order(order_id))


@app.put("/v2/orders/<id>", summary="Update an order", tags=["Deal orders"])
def update_deal_order(
    call: Call,
    owner: str,
    id: str,
    headers: ChangeHeaders,
    body: deals.Envelope[deals.DealOrderChangesData],
) -> Tagged[deals.DealOrderEnvelope]:
    """Change an order. Attributes that are not sent stay the same."""
    order_id, orders = deals.id_in_path("order", id), app.services.orders(owner, call.deadline)
    return deals.one_order(orders.change(order_id, body.data.new_discount, headers.if_match))


@app.delete("/v2/orders/<id>", summary="Delete an order", tags=["Deal orders"], status_code=204)
def delete_deal_order(call: Call, owner: str, id: str, headers: ChangeHeaders) -> Answer[None]:
    """Delete an order and all its line items. Its deal can then have a new order.

    `If-Match` is about the order alone: a change of its line items does not change its `ETag`.
    """
    app.services.orders(owner, call.deadline).remove(deals.id_in_path("order", id), headers.if_match)
    return Answer(204)


handler = app.ready(reads=("ORDERS_TABLE", "BOOK#deals#"))
