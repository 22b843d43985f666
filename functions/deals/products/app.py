"""Products of a CRM account, for the line items of its deal orders."""

from ordering.deals import contract as deals
from ordering.deals.products import NewProduct
from ordering.deals.services import DealServices
from ordering.entry.api import Api
from ordering.web.http import Answer, Call
from ordering.web.idempotent_creates import CreateHeaders

app = Api(deals.CONTRACT, DealServices)


@app.get("/v2/products", summary="Retrieve all products", tags=["Deal products"])
def list_deal_products(call: Call, owner: str, query: deals.ProductQuery) -> deals.ProductCollection:
    """List the account's products, a page at a time, sorted by id by default."""
    found = app.services.products(owner, call.deadline).part(query.wanted, deals.reader_of(call))
    return deals.products(call, query, found)


@app.post("/v2/products", summary="Create a product", tags=["Deal products"])
def create_deal_product(
    call: Call, owner: str, headers: CreateHeaders, body: deals.Envelope[deals.NewProductAttributes]
) -> Answer[deals.OneProduct]:
    """Add a product."""
    create = deals.creation(call, headers, body, deals.product_envelope)
    products = app.services.products(owner, call.deadline)
    return deals.created_envelope(products.create(NewProduct(**body.data.given()), create))


@app.get("/v2/products/<id>", summary="Retrieve a single product", tags=["Deal products"])
def get_deal_product(call: Call, owner: str, id: str) -> deals.OneProduct:
    """Get one product of the account."""
    product_id = deals.id_in_path("product", id)
    return deals.product_envelope(app.services.products(owner, call.deadline).product(product_id))


@app.put("/v2/products/<id>", summary="Update a product", tags=["Deal products"])
def update_deal_product(
    call: Call,
    owner: str,
    id: str,
    body: deals.Envelope[deals.ProductChanges],
) -> deals.OneProduct:
    """Change a product. Attributes that are not sent stay the same; `prices` is replaced as a whole."""
    product_id = deals.id_in_path("product", id)
    return deals.product_envelope(app.services.products(owner, call.deadline).change(product_id, body.data.given()))


@app.delete("/v2/products/<id>", summary="Delete a product", tags=["Deal products"], status_code=204)
def delete_deal_product(call: Call, owner: str, id: str) -> Answer[None]:
    """Delete a product. Existing line items of the product stay the same."""
    app.services.products(owner, call.deadline).remove(deals.id_in_path("product", id))
    return Answer(204)


handler = app.ready()
