"""Line items of a deal order."""

from ordering.deals import contract as deals
from ordering.deals.services import DealServices
from ordering.entry.api import Api
from ordering.web.http import Answer, Call, Tagged
from ordering.web.idempotent_creates import CreateHeaders
from ordering.web.preconditions import ChangeHeaders

app = Api(deals.CONTRACT, DealServices, revalidated=True)


@app.get("/v2/orders/<order_id>/line_items", summary="Retrieve order's line items", tags=["Deal line items"])
def list_deal_line_items(call: Call, owner: str, order_id: str, query: deals.LineItemQuery) -> deals.DealLineItemList:
    """List an order's line items, a page at a time, sorted by id by default."""
    lines = app.services.orders(owner, call.deadline).lines(deals.id_in_path("order", order_id))
    return deals.line_items(call, query, lines.part(query.wanted, deals.reader_of(call)))


@app.post("/v2/orders/<order_id>/line_items", summary="Create a line item", tags=["Deal line items"])
def create_deal_line_item(
    call: Call, owner: str, order_id: str, headers: CreateHeaders, body: deals.Envelope[deals.DealLineItemRequestData]
) -> Tagged[deals.DealLineItemEnvelope]:
    """Add a product to an order, with a copy of the product's current name and price."""
    create = deals.creation(call, headers, body, deals.line_item_envelope)
    lines = app.services.orders(owner, call.deadline).lines(deals.id_in_path("order", order_id))
    products = app.services.products(owner, call.deadline)
    return deals.created_envelope(
        lines.create(lambda: deals.new_line(body.data, products.find(body.data.product_id)), create)
    )


@app.get("/v2/orders/<order_id>/line_items/<id>", summary="Retrieve a single line item", tags=["Deal line items"])
def get_deal_line_item(call: Call, owner: str, order_id: str, id: str) -> Tagged[deals.DealLineItemEnvelope]:
    """Get one line item of an order."""
    lines = app.services.orders(owner, call.deadline).lines(deals.id_in_path("order", order_id))
    return deals.one_line_item(lines.line(deals.line_item_id_in_path(id)))


@app.delete(
    "/v2/orders/<order_id>/line_items/<id>", summary="Delete a line item", tags=["Deal line items"], status_code=204
)
def delete_deal_line_item(call: Call, owner: str, order_id: str, id: str, headers: ChangeHeaders) -> Answer[None]:
    """Delete a line item from its order."""
    lines = app.services.orders(owner, call.deadline).lines(deals.id_in_path("order", order_id))
    lines.remove(deals.line_item_id_in_path(id), headers.if_match)
    return Answer(204)


handler = app.ready(reads=("ORDERS_TABLE", "BOOK#deals#"))
