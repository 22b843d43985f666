"""Products of a business unit's catalogue."""

from ordering.entry.api import Api
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Call

app = Api(training.CONTRACT, TrainingServices, revalidated=True)


@app.get("/api/v2/products", summary="Get all products", tags=["Training products"])
def list_products(call: Call, unit: str, query: training.ListQuery) -> training.TrainingProductList:
    """List the business unit's products, a page at a time, sorted by code, then name."""
    listing = app.services.catalogue(unit, call.deadline).products(query.first, query.page_size)
    return training.product_list(call, query, listing)


@app.get("/api/v2/products/<productId>", summary="Get a specific product", tags=["Training products"])
def get_product(call: Call, unit: str, productId: str) -> training.ShownTrainingProduct:
    """Get one product of the business unit's catalogue."""
    product_id = training.uuid_in_path("product", productId)
    return training.product(call, app.services.catalogue(unit, call.deadline).product(product_id))


handler = app.ready(reads=("CATALOGUE_TABLE", "UNIT#"))
