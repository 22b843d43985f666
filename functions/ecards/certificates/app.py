"""Certificates of an e-card order."""

from ordering.ecards import contract as ecards
from ordering.ecards.services import EcardServices
from ordering.entry.api import Api
from ordering.principal import Company
from ordering.web.http import Call

app = Api(ecards.CERTIFICATES, EcardServices)


@app.get("/v1/orders/<order_id>/certificates", summary="Get order certificates", tags=["E-card orders"])
def list_ecard_certificates(
    call: Call, company: Company, order_id: str, query: ecards.CertificatePageQuery
) -> ecards.EcardCertificateList:
    """List the certificates of an order that were handed over to its participant, 100 on a page.

    Before any was handed over the response is 409. While the order is `PartiallyDelivered` the list grows at its end.
    The token needs the grant `ecard-certificates`.
    """
    found = ecards.ecard_order_id_in_path(order_id)
    services = app.services
    orders = services.orders(company.id, call.deadline)
    listing = orders.certificates(found, query.first, ecards.CERTIFICATES_PAGE_SIZE, services.sealer(call.deadline))
    return ecards.certificate_list(query, listing)


handler = app.ready(EcardServices.sealer, reads=("ORDERS_TABLE", "ORDER#ecards#"))
