"""What a company has left to order for."""

from ordering import wiring
from ordering.api import Api
from ordering.contracts import ecards
from ordering.contracts.http import Call
from ordering.principal import Company

app = Api(ecards.CONTRACT, wiring.from_environment)


@app.get("/v1/balance", summary="Get the balance", tags=["Balance"])
def get_balance(call: Call, unit: Company) -> ecards.ShownBalance:
    """The company's balance: what was paid in, less what its orders cost."""
    return ecards.balance(app.services.ecard_orders(unit.id, call.deadline).balance.amount())


handler = app.ready()
