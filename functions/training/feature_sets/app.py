"""Feature sets: the variants of a product that can be ordered, with prices."""

from ordering.entry.api import Api
from ordering.training import contract as training
from ordering.training.services import TrainingServices
from ordering.web.http import Call

app = Api(training.CONTRACT, TrainingServices, revalidated=True)


@app.get(
    "/api/v2/products/<productId>/feature_sets",
    summary="Get all feature sets for a product",
    tags=["Training feature sets"],
)
def list_feature_sets(
    call: Call, unit: str, productId: str, query: training.ListQuery
) -> training.TrainingFeatureSetList:
    """List a product's feature sets, a page at a time, sorted by name."""
    product_id = training.uuid_in_path("product", productId)
    catalogue = app.services.catalogue(unit, call.deadline)
    return training.feature_set_list(call, query, catalogue.feature_sets(product_id, query.first, query.page_size))


@app.get(
    "/api/v2/products/<productId>/feature_sets/<featureSetId>",
    summary="Get a specific feature set for a product",
    tags=["Training feature sets"],
)
def get_feature_set(call: Call, unit: str, productId: str, featureSetId: str) -> training.ShownTrainingFeatureSet:
    """Get one feature set of a product."""
    product_id = training.uuid_in_path("product", productId)
    feature_set_id = training.uuid_in_path("feature set", featureSetId)
    catalogue = app.services.catalogue(unit, call.deadline)
    return training.feature_set(call, catalogue.feature_set(product_id, feature_set_id))


handler = app.ready(reads=("CATALOGUE_TABLE", "UNIT#"))
