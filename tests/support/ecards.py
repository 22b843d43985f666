"""E-card orders as the tests meet them: two companies, what they can order, and the token endpoint."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from ordering.aws.dynamodb import Send, Table
from ordering.aws.kms import Kms
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Clock, Deadline, system_clock
from ordering.ecards.assignment import Assignment
from ordering.ecards.catalogue import Ecard, FaceValue
from ordering.ecards.certificates import Certificates, Stock
from ordering.ecards.orders import EcardOrders
from ordering.ecards.stock.upkeep import StockUpkeep
from ordering.principal import User
from ordering.values import replace
from support.aws.kms import MemoryKms
from support.gateway import REQUEST_ID, Client, LambdaContext, Reply, _reply, load
from support.partners import CALLER
from support.services import Services

COMPANY = replace(CALLER, partner="granite", business_units=(), grants=("ecards",), company="company")
OTHER_COMPANY = replace(COMPANY, partner="gravel", user=User("stranger", "Max", "Foreign", "max@example.com"))

CARDS = (
    Ecard(1, "Bookshop", "For books.", "ruble", (FaceValue("100 ₽", Decimal(100)), FaceValue("1000 ₽", Decimal(1100)))),
    Ecard(2, "Cinema", "", "ruble", (FaceValue("500 ₽", Decimal(525)),)),
    Ecard(3, "Music", "No adverts.", "month", (FaceValue("1 month", Decimal("199.50")), FaceValue("gift", Decimal(0)))),
)
HUNDRED = Stock(1, "100 ₽")
ORDER_FIELDS = ["id", "number", "createdDate", "status", "participantLogin", "total"]
ALWAYS = {"Vary": "Accept-Encoding", "X-Request-Id": REQUEST_ID}
JSON = "application/json"

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
URLENCODED = "application/x-www-form-urlencoded"


def services_over(send: Send, now: Clock = system_clock, kms: Kms | None = None) -> Services:
    return Services(
        send,
        "OrdersTable",
        "CatalogueTable",
        "AccountsTable",
        now=now,
        kms=kms or MemoryKms(),
        issuer=ISSUER,
        audience=AUDIENCE,
    )


def order_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def card(card_id: Any = 1, face_value: str = "100 ₽", quantity: Any = 1) -> dict[str, Any]:
    return {"id": card_id, "quantity": quantity, "faceValue": face_value}


def new_order(number: int = 1, *cards: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Write an order's body; by default it is for one certificate that costs 100."""
    participant = {"email": "sss@ss.ss", "phone": "79251153242", "name": "John Doe"}
    order = {"orderId": order_id(number), "participant": participant, "ecards": [*cards] or [card()]}
    return {**order, **changes}


@dataclass
class Rewards(Client):
    """A company that calls `/v1`, and what happens to its orders behind that."""

    @property
    def orders(self) -> EcardOrders:
        return self.services.ecard_orders(self.caller.partner, Deadline.after(60))

    def publish(self, cards: Sequence[Ecard] = CARDS) -> None:
        self.services.ecard_catalogue(self.caller.partner, Deadline.after(60)).publish(cards)

    def top_up(self, amount: str | int, operation: str = "t1") -> None:
        self.orders.top_up(operation, Decimal(amount))

    def index(self) -> None:
        """Complete the register of codes, so that stock can be loaded by events."""
        orders, catalogue = (Table(self.services.send, f"{name}Table") for name in ("Orders", "Catalogue"))
        StockUpkeep(orders, EnvelopeSealer(self.services.kms, "alias/CertificatesKey")).index(catalogue)

    def load(self, count: int, stock: Stock = HUNDRED, batch: str = "b1") -> None:
        """Add certificates, and move on the orders that wait for them."""
        table = Table(self.services.send, self.services.orders_table)
        sealer = EnvelopeSealer(self.services.kms, "alias/CertificatesKey")
        Certificates(table, sealer).load(stock, batch, [f"{batch}-{number}" for number in range(count)])
        Assignment(table, now=self.services.now).assign_parked(stock)

    def send_json(self, text: str, path: str = "/v1/orders") -> Reply:
        """Send a body exactly as it is written."""
        return self.request("POST", path, body=text, headers={"Content-Type": "application/json"})

    def place(self, number: int = 1, *cards: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Create an order and return it as it was answered."""
        order: dict[str, Any] = self.made(self.post("/v1/orders", new_order(number, *cards, **changes)))
        return order

    def read(self, path: str) -> Any:
        return self.made(self.get(path))

    def status(self, number: int = 1) -> str:
        status: str = self.read(f"/v1/orders/{order_id(number)}/status")["status"]
        return status

    def statuses(self) -> list[str]:
        """Read the statuses of the first page, oldest first."""
        return [one["status"] for one in reversed(self.read("/v1/orders")["data"])]

    @property
    def balance(self) -> str:
        balance: str = self.read("/v1/balance")["balance"]
        return balance

    @staticmethod
    def made(reply: Reply) -> Any:
        assert reply.status == 200, reply.text
        return reply.json


def refused(reply: Reply, status: int) -> str:
    """Check all that errors have in common, and that nothing is said of fields; return the message."""
    message, errors = _error(reply, status)

    assert errors == {}
    return message


def invalid(reply: Reply) -> dict[str, list[str]]:
    """Check that it is refused for what was sent; return the messages by where the faults are."""
    message, errors = _error(reply, 400)

    assert message == "Invalid request"
    assert errors
    assert all(messages and all(text.strip() for text in messages) for messages in errors.values())
    return errors


def _error(reply: Reply, status: int) -> tuple[str, dict[str, list[str]]]:
    assert (status, JSON) == (reply.status, reply.headers["Content-Type"]), reply.text
    assert ALWAYS.items() <= dict(reply.headers).items()
    assert list(reply.json) == ["message", "status", "errors"]
    assert reply.json["status"] == status
    assert reply.json["message"].strip()
    message: str = reply.json["message"]
    errors: dict[str, list[str]] = reply.json["errors"]
    return message, errors


def credentials(client_id: str, secret: str, **more: str) -> dict[str, str]:
    return {"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials", **more}


def ask(
    services: Services,
    form: Mapping[str, str] | str | bytes,
    *,
    method: str = "POST",
    path: str = "/connect/token",
    query: str = "",
    content_type: str | None = URLENCODED,
    address: str = "192.0.2.1",
    in_base64: bool = False,
    authorization: str | None = None,
    if_none_match: str | None = None,
) -> Reply:
    """Call the token function without an authorizer; a body of bytes is passed in base64."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    if authorization is not None:
        headers["Authorization"] = authorization
    if if_none_match is not None:
        headers["If-None-Match"] = if_none_match
    encoded = in_base64 or isinstance(form, bytes)
    raw = form if isinstance(form, bytes | str) else urlencode(form)
    body = base64.b64encode(raw if isinstance(raw, bytes) else raw.encode()).decode() if encoded else raw
    event = Client(services, COMPANY).event(method, path, query, headers, body, base64=encoded)
    del event["requestContext"]["authorizer"]
    event["requestContext"]["identity"] = {"sourceIp": address}
    event["resource"] = path
    app = load("identity/token")
    app.connections, app.services = services.connections, services.of(app.build)
    return _reply(app.handle(event, LambdaContext()))  # type: ignore[arg-type] # all that is used of it
