"""E-cards that a company can order."""

from ordering import wiring
from ordering.api import Api
from ordering.contracts import ecards
from ordering.contracts.http import Call
from ordering.principal import Company

app = Api(ecards.CONTRACT, wiring.from_environment)


@app.get("/v1/ecards", summary="Get e-cards", tags=["E-cards"])
def list_ecards(call: Call, unit: Company) -> list[ecards.ShownEcard]:
    """What the company can order, all of it."""
    return ecards.ecards(app.services.ecard_catalogue(unit.id, call.deadline).ecards())


handler = app.ready()
