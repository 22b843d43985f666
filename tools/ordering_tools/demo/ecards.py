"""The e-card orders of the demo data: a company with a high balance, one with a low one, cards, and stock."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from ordering.aws.dynamodb import ConditionFailed
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import Ecard, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import Certificates, Stock
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant
from ordering.ecards.stock.upkeep import StockUpkeep
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.clients import Client, Clients
from ordering.principal import OrderSource, User
from ordering_tools.installation import Installation
from ordering_tools.local.engine.aws_account import key_alias

COMPANY = "granite-rewards"
POOR = "gravel-rewards"
CLIENTS = {"ecards": COMPANY, "ecardsPoor": POOR}
"""The company of each client, by the client's name in `demo.json`."""

GRANTS = ("ecards", "ecard-certificates")
CERTIFICATES_KEY = key_alias("CertificatesKey")

_ROBOT = User("0c6f4d0a-35a1-4c58-9c37-7f3a4be2d5c8", "Granite", "Robot", "robot@example.com")
_SOURCE = OrderSource("1b9d6a72-7a6b-4a2e-8f7d-90a0c7f5e3b4", "Rewards", invoiceable=True)
_BEGAN = datetime(2020, 1, 11, 15, 58, 5, 816375, tzinfo=UTC)
_NAMES = uuid.UUID("9d2f3c44-0c43-4a8f-a0c9-5a9f7c1f2b6e")
FIRST_ORDER = str(uuid.uuid5(_NAMES, f"{COMPANY}/0"))
"""The id of the first company's first order."""

_PAID_IN = {COMPANY: Decimal(160_000), POOR: Decimal(500)}
_ORDERS = 45

CARDS = (
    Ecard(
        1,
        "Bookshop",
        "For books, in shops and online.",
        "ruble",
        (FaceValue("100 ₽", Decimal(100)), FaceValue("500 ₽", Decimal(500)), FaceValue("1000 ₽", Decimal(1100))),
    ),
    Ecard(
        2,
        "Cinema",
        "For tickets in any cinema.",
        "ruble",
        (FaceValue("500 ₽", Decimal(500)), FaceValue("1000 ₽", Decimal(990))),
    ),
    Ecard(
        3,
        "Music",
        "Music without advertisements.",
        "month",
        (FaceValue("1 month", Decimal("199.50")), FaceValue("12 months", Decimal(1990))),
    ),
)
SHORT = Stock(3, "12 months")
"""The e-card of which the demo has no certificates."""


def partners() -> list[Partner]:
    """The two companies, as partners."""
    return [
        Partner(
            id=company,
            active=True,
            payment_terms="invoice",
            grants=frozenset(GRANTS),
            order_source=_SOURCE,
            business_units=(),
            users={_ROBOT.id: _ROBOT},
            company=company.partition("-")[0],
        )
        for company in (COMPANY, POOR)
    ]


def seed(installation: Installation) -> None:
    """Write companies, cards, stock, balances and orders; data of an earlier attempt stay as they are."""
    sealer = EnvelopeSealer(installation.kms, CERTIFICATES_KEY)
    certificates = Certificates(installation.orders, sealer)
    StockUpkeep(installation.orders, sealer).index(installation.catalogue)
    for card in CARDS:
        for value in card.face_values:
            if (stock := Stock(card.id, value.name)) != SHORT:
                certificates.load(stock, "demo", [_code(stock, number) for number in range(120)])
    for partner in partners():
        Accounts(installation.accounts).save_partner(partner)
        EcardCatalogue(installation.catalogue, partner.id).publish(CARDS)
        orders = EcardOrders(installation.orders, partner.id)
        orders.top_up("demo", _PAID_IN[partner.id])
        for number in range(_ORDERS if partner.id == COMPANY else 1):
            _cancel_some(installation, partner, number, _place(installation, partner, number))
        orders.settle()


def clients(installation: Installation) -> dict[str, dict[str, str]]:
    """The clients with new secrets; the secrets of the previous start stay valid until the next one."""
    known = Clients(installation.accounts)
    credentials = {}
    for name, company in CLIENTS.items():
        client = Client(f"{company}-client", company, _ROBOT.id, frozenset(GRANTS))
        try:
            secret = known.add(client)
        except ConditionFailed:
            secret = known.replace_secret(client.id)
        credentials[name] = {"clientId": client.id, "clientSecret": secret}
    return credentials


def _place(installation: Installation, partner: Partner, number: int) -> EcardOrder:
    card = CARDS[number % len(CARDS)]
    value = card.face_values[number % len(card.face_values)]
    request = EcardRequest(
        order_id=str(uuid.uuid5(_NAMES, f"{partner.id}/{number}")),
        participant=EcardParticipant(
            f"participant{number:02}@example.com", f"Participant {number}", f"7925115{number:04}"
        ),
        cards=[RequestedCard(card.id, value.name, 1 + number % 3)],
    )
    orders = EcardOrders(installation.orders, partner.id, now=partial(_same, _moment(number)))
    catalogue = EcardCatalogue(installation.catalogue, partner.id)
    return orders.place(request, company_name=partner.company or "", catalogue=catalogue)


def _cancel_some(installation: Installation, partner: Partner, number: int, order: EcardOrder) -> None:
    """Cancel every eleventh order; the stream's function moves the others on."""
    orders = EcardOrders(installation.orders, partner.id, now=partial(_same, _moment(number) + timedelta(minutes=9)))
    if number % 11 == 10:
        with suppress(Conflict):  # cancelled by an interrupted seeding, or its certificates are sent
            orders.cancel(order.id)


def _moment(number: int) -> datetime:
    return _BEGAN + timedelta(days=number, minutes=7 * number, microseconds=1_357 * number)


def _code(stock: Stock, number: int) -> str:
    digits = uuid.uuid5(_NAMES, f"{stock}/{number}").int % 10**16
    text = f"{digits:016}"
    return "-".join(text[start : start + 4] for start in range(0, 16, 4))


def _same(moment: datetime) -> datetime:
    return moment
