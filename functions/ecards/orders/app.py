"""E-card orders of a company, and the 404 responses of the contract's unknown paths."""

from ordering.ecards import contract as ecards
from ordering.ecards.services import EcardServices
from ordering.entry.api import Api
from ordering.principal import Company
from ordering.web.http import Call

app = Api(ecards.CONTRACT, EcardServices)


@app.get("/v1/orders", summary="Get orders", tags=["E-card orders"])
def list_ecard_orders(call: Call, company: Company, query: ecards.PageQuery) -> ecards.EcardOrderList:
    """List the company's orders, newest first, 20 on a page."""
    listing = app.services.orders(company.id, call.deadline).page(query.first, ecards.PAGE_SIZE)
    return ecards.ecard_order_list(query, listing)


@app.post("/v1/orders", summary="Create order", tags=["E-card orders"])
def create_ecard_order(call: Call, company: Company, body: ecards.EcardOrderRequest) -> ecards.EcardOrderListEntry:
    """Order certificates for a participant. They are paid at once if the balance covers them.

    A retry with the same body changes nothing and returns the order in its current state.
    """
    placed = app.services.orders(company.id, call.deadline).place(
        body.to_request(),
        company_name=company.name,
        catalogue=app.services.catalogue(company.id, call.deadline),
        correlation=call.request.id,
    )
    return ecards.listed(placed)


@app.get("/v1/orders/<order_id>", summary="Get order details", tags=["E-card orders"])
def get_ecard_order(call: Call, company: Company, order_id: str) -> ecards.ShownEcardOrder:
    """Get one order of the company, with its cards and the history of its status."""
    found = ecards.ecard_order_id_in_path(order_id)
    return ecards.details(app.services.orders(company.id, call.deadline).order(found))


@app.get("/v1/orders/<order_id>/status", summary="Get order status", tags=["E-card orders"])
def get_ecard_order_status(call: Call, company: Company, order_id: str) -> ecards.EcardOrderCurrentStatus:
    """Get the status of one order of the company."""
    found = ecards.ecard_order_id_in_path(order_id)
    return ecards.status(app.services.orders(company.id, call.deadline).order(found))


handler = app.ready(reads=("ORDERS_TABLE", "ORDER#ecards#"))
