"""Separate companies in the real stack, for the tests of e-card orders."""

from __future__ import annotations

import itertools
import secrets
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx

from gateway.waiting import eventually
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import Ecard, EcardCatalogue, FaceValue
from ordering.ecards.certificates import Certificates, Stock, read_stock_levels
from ordering.ecards.orders import EcardOrders
from ordering.identity.clients import Client, Clients
from ordering.mail.outbox import MailState, Outbox
from ordering.values import replace
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo.data import demo_partners
from support.real_stack import Done, RealStack

PARTICIPANT = {"email": "ann.lee@example.com", "name": "Ann Quillfeather", "phone": "79251153242"}
OUTSIDE = {**PARTICIPANT, "email": "ann.lee@outside.test"}
"""A participant whose mails SES refuses while it is in its sandbox."""

HUNDRED, THOUSAND, MONTH = "100 ₽", "1000 ₽", "1 month"
WAITING = "AwaitingCertificateAssignment"

# Stock belongs to a card, for all companies: each company of a test has cards of its own.
_card_ids = itertools.count(10_001)


@dataclass(frozen=True)
class Company:
    """A company with a client, cards and stock of its own."""

    real: RealStack
    id: str
    secret: str
    http: httpx.Client
    """A client with a token from the token endpoint."""
    cards: tuple[Ecard, ...]

    @property
    def orders(self) -> EcardOrders:
        return EcardOrders(self.real.installation.orders, self.id)

    def card(self, face_value: str = HUNDRED, quantity: int = 1) -> dict[str, Any]:
        (card,) = (card for card in self.cards if any(value.name == face_value for value in card.face_values))
        return {"id": card.id, "quantity": quantity, "faceValue": face_value}

    def stock(self, face_value: str = HUNDRED) -> Stock:
        return Stock(self.card(face_value)["id"], face_value)

    def load(self, count: int, face_value: str = HUNDRED) -> list[str]:
        """Load certificates without assigning them to waiting orders; returns their codes."""
        codes = [secrets.token_hex(8) for _ in range(count)]
        sealer = EnvelopeSealer(self.real.installation.kms, demo_ecards.CERTIFICATES_KEY)
        Certificates(self.real.installation.orders, sealer).load(self.stock(face_value), secrets.token_hex(4), codes)
        return codes

    def free(self, face_value: str = HUNDRED) -> int:
        stock = self.stock(face_value)
        return read_stock_levels(self.real.installation.orders, [stock])[stock].count

    def body(self, *cards: dict[str, Any], **changes: Any) -> dict[str, Any]:
        order = {"orderId": str(uuid.uuid4()), "participant": PARTICIPANT, "ecards": [*cards] or [self.card()]}
        return {**order, **changes}

    def create(self, body: dict[str, Any]) -> httpx.Response:
        return self.http.post("/v1/orders", json=body)

    def made(self, *cards: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Create an order; returns it as it was answered."""
        answer = self.create(self.body(*cards, **changes))
        assert answer.status_code == 200, answer.text
        order: dict[str, Any] = answer.json()
        return order

    def read(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, order: dict[str, Any]) -> str:
        status: str = self.read(f"/v1/orders/{order['id']}/status")["status"]
        return status

    def wait(self, order: dict[str, Any], status: str) -> None:
        """Wait until an order has a status, which must be one that lasts."""
        assert eventually(lambda: self.status(order) == status), self.status(order)

    def wait_refused(self, order: dict[str, Any], mail: int = 1) -> None:
        """Wait until SES has refused a mail of an order and its certificates are no longer in transit."""
        outbox, name = Outbox(self.real.installation.orders), f"ecards#{self.id}#{order['id']}"
        assert eventually(
            lambda: (
                outbox.mail(name, mail).state is MailState.REFUSED
                and not self.orders.order(str(order["id"])).in_transit
            )
        )

    def history(self, order: dict[str, Any]) -> list[str]:
        return [moment["status"] for moment in self.read(f"/v1/orders/{order['id']}")["history"]]

    @property
    def balance(self) -> str:
        balance: str = self.read("/v1/balance")["balance"]
        return balance

    def move(self, order: dict[str, Any], *arguments: str) -> Done:
        words = ("order", "move", f"{self.id}/{order['id']}", "--reason", "a test", "--yes", "--to")
        return self.real.ordering(*words, *arguments)


def token_form(client_id: str, secret: str, **more: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}


def token_of(real: RealStack, client_id: str, secret: str, **more: str) -> str:
    answer = httpx.post(f"{real.stack.base_url}/connect/token", data=token_form(client_id, secret, **more), timeout=30)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def add_company(real: RealStack, closing: ExitStack, paid_in: int = 0) -> Company:
    """Create a company with the given balance and no orders."""
    company = f"company-{secrets.token_hex(4)}"
    real.accounts.save_partner(replace(demo_partners("ecards")[0], id=company, company="acme"))
    cards = (
        Ecard(
            next(_card_ids),
            "Bookshop",
            "For books.",
            "ruble",
            (FaceValue(HUNDRED, Decimal(100)), FaceValue(THOUSAND, Decimal(1100))),
        ),
        Ecard(next(_card_ids), "Music", "No adverts.", "month", (FaceValue(MONTH, Decimal("199.50")),)),
    )
    EcardCatalogue(real.installation.catalogue, company).publish(cards)
    partner = demo_partners("ecards")[0]
    (user,) = partner.users
    secret = Clients(real.installation.accounts).add(Client(company, company, user, partner.grants))
    token = token_of(real, company, secret)
    http = closing.enter_context(httpx.Client(base_url=real.stack.base_url, headers=bearer(token), timeout=30))
    made = Company(real, company, secret, http, cards)
    if paid_in:
        made.orders.top_up("first", Decimal(paid_in))
    return made
