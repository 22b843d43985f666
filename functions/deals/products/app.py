"""Products of a CRM account, for the line items of its deal orders."""

from ordering.deals import contract as deals
from ordering.deals.products import NewProduct
from ordering.deals.services import DealServices
from ordering.entry.api import Api
from ordering.web.http import Answer, Call, Tagged
from ordering.web.idempotent_creates import CreateHeaders
from ordering.web.preconditions import ChangeHeaders

app = Api(deals.CONTRACT, DealServices, revalidated=True)


@app.get("/v2/products", summary="Retrieve all products", tags=["Deal products"])
def list_deal_products(call: Call, owner: str, query: deals.ProductQuery) -> deals.DealProductList:
    """List the account's products, a page at a time, sorted by id by default."""
    found = app.services.products(owner, call.deadline).part(query.wanted, deals.reader_of(call))
    return deals.products(call, query, found)


@app.post("/v2/products", summary="Create a product", tags=["Deal products"])
def create_deal_product(
    call: Call, owner: str, headers: CreateHeaders, body: deals.Envelope[deals.DealProductRequestData]
) -> Tagged[deals.DealProductEnvelope]:
    """Add a product."""
    create = deals.creation(call, headers, body, deals.product_envelope)
    products = app.services.products(owner, call.deadline)
    return deals.created_envelope(products.create(NewProduct(**body.data.given()), create))


@app.get("/v2/products/<id>", summary="Retrieve a single product", tags=["Deal products"])
def get_deal_product(call: Call, owner: str, id: str) -> Tagged[deals.DealProductEnvelope]:
    """Get one product of the account."""
    product_id = deals.id_in_path("product", id)
    return deals.one_product(app.services.products(owner, call.deadline).product(product_id))


@app.put("/v2/products/<id>", summary="Update a product", tags=["Deal products"])
def update_deal_product(
    call: Call,
    owner: str,
    id: str,
    headers: ChangeHeaders,
    body: deals.Envelope[deals.DealProductChangesData],
) -> Tagged[deals.DealProductEnvelope]:
    """Change a product. Attributes that are not sent stay the same; `prices` is replaced as a whole."""
    product_id, products = deals.id_in_path("product", id), app.services.products(owner, call.deadline)
    return deals.one_product(products.change(product_id, body.data.given(), headers.if_match))


@app.delete("/v2/products/<id>", summary="Delete a product", tags=["Deal products"], status_code=204)
def delete_deal_product(call: Call, owner: str, id: str, headers: ChangeHeaders) -> Answer[None]:
    """Delete a product. Existing line items of the product stay the same."""
    app.services.products(owner, call.deadline).remove(deals.id_in_path("product", id), headers.if_match)
    return Answer(204)


handler = app.ready(reads=("CATALOGUE_TABLE", "BOOK#deal-products#"))
