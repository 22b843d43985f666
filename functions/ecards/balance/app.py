"""A company's balance, which pays for its orders."""

from ordering.ecards import contract as ecards
from ordering.ecards.services import EcardServices
from ordering.entry.api import Api
from ordering.principal import Company
from ordering.web.http import Call

app = Api(ecards.CONTRACT, EcardServices)


@app.get("/v1/balance", summary="Get the balance", tags=["E-card balance"])
def get_balance(call: Call, company: Company) -> ecards.EcardBalance:
    """Get the company's balance: its payments minus the cost of its orders."""
    return ecards.balance(app.services.balance(company.id, call.deadline).amount())


handler = app.ready(reads=("ORDERS_TABLE", "BALANCE#"))
