"""The e-card orders of the demo data: a company with a high balance, one with a low one, cards, and stock."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from ordering.aws.dynamodb import ConditionFailed
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import Ecard, EcardCatalogue, RequestedCard
from ordering.ecards.certificates import Certificates, Stock
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardParticipant
from ordering.ecards.stock.upkeep import StockUpkeep
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.clients import Client, Clients
from ordering_tools.demo.data import DATA, demo_partners
from ordering_tools.installation import Installation
from ordering_tools.local.engine.aws_account import key_alias

COMPANY = "granite-rewards"
POOR = "gravel-rewards"
CLIENTS = {COMPANY: "ecards", POOR: "ecardsPoor"}
"""The names of the companies' clients in `demo.json`."""

CERTIFICATES_KEY = key_alias("CertificatesKey")

_BEGAN = datetime(2020, 1, 11, 15, 58, 5, 816375, tzinfo=UTC)
_NAMES = uuid.UUID("9d2f3c44-0c43-4a8f-a0c9-5a9f7c1f2b6e")
FIRST_ORDER = str(uuid.uuid5(_NAMES, f"{COMPANY}/0"))
"""The id of the first company's first order."""

_PAID_IN = {COMPANY: Decimal(160_000), POOR: Decimal(500)}
_ORDERS = 45

CARDS = msgspec.convert(DATA["ecards"], list[Ecard])
SHORT = Stock(3, "12 months")
"""The e-card of which the demo has no certificates."""


def seed(installation: Installation) -> None:
    """Write companies, cards, stock, balances and orders; data of an earlier attempt stay as they are."""
    sealer = EnvelopeSealer(installation.kms, CERTIFICATES_KEY)
    certificates = Certificates(installation.orders, sealer)
    StockUpkeep(installation.orders, sealer).index(installation.catalogue)
    for card in CARDS:
        for value in card.face_values:
            if (stock := Stock(card.id, value.name)) != SHORT:
                certificates.load(stock, "demo", [_code(stock, number) for number in range(120)])
    for partner in demo_partners("ecards"):
        Accounts(installation.accounts).save_partner(partner)
        EcardCatalogue(installation.catalogue, partner.id).publish(CARDS)
        orders = EcardOrders(installation.orders, partner.id)
        orders.top_up("demo", _PAID_IN[partner.id])
        for number in range(_ORDERS if partner.id == COMPANY else 1):
            _place(installation, partner, number)
        orders.settle()


def clients(installation: Installation) -> dict[str, dict[str, str]]:
    """The clients with new secrets; the secrets of the previous start stay valid until the next one."""
    known = Clients(installation.accounts)
    credentials = {}
    for partner in demo_partners("ecards"):
        client = Client(f"{partner.id}-client", partner.id, next(iter(partner.users)), partner.grants)
        try:
            secret = known.add(client)
        except ConditionFailed:
            secret = known.replace_secret(client.id)
        credentials[CLIENTS[partner.id]] = {"clientId": client.id, "clientSecret": secret}
    return credentials


def _place(installation: Installation, partner: Partner, number: int) -> None:
    """Place an order, and cancel every eleventh one; the stream's function moves the others on."""
    card = CARDS[number % len(CARDS)]
    value = card.face_values[number % len(card.face_values)]
    request = EcardRequest(
        order_id=str(uuid.uuid5(_NAMES, f"{partner.id}/{number}")),
        participant=EcardParticipant(
            f"participant{number:02}@example.com", f"Participant {number}", f"7925115{number:04}"
        ),
        cards=[RequestedCard(card.id, value.name, 1 + number % 3)],
    )
    moment = _BEGAN + timedelta(days=number, minutes=7 * number, microseconds=1_357 * number)
    orders = EcardOrders(installation.orders, partner.id, now=lambda: moment)
    catalogue = EcardCatalogue(installation.catalogue, partner.id)
    order = orders.place(request, company_name=partner.company or "", catalogue=catalogue)
    if number % 11 == 10:
        later = EcardOrders(installation.orders, partner.id, now=lambda: moment + timedelta(minutes=9))
        with suppress(Conflict):  # cancelled by an interrupted seeding, or its certificates are sent
            later.cancel(order.id)


def _code(stock: Stock, number: int) -> str:
    text = f"{uuid.uuid5(_NAMES, f'{stock}/{number}').int % 10**16:016}"
    return "-".join(text[start : start + 4] for start in range(0, 16, 4))
