"""E-cards that a company can order."""

from ordering.ecards import contract as ecards
from ordering.ecards.services import EcardServices
from ordering.entry.api import Api
from ordering.principal import Company
from ordering.web.http import Call

app = Api(ecards.CONTRACT, EcardServices, revalidated=True)


@app.get("/v1/ecards", summary="Get e-cards", tags=["E-cards"])
def list_ecards(call: Call, company: Company) -> list[ecards.ShownEcard]:
    """List all e-cards that the company can order."""
    return ecards.ecards(app.services.catalogue(company.id, call.deadline).ecards())


handler = app.ready(reads=("CATALOGUE_TABLE", "ECARDS#"))
