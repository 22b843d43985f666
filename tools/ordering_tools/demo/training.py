"""The demo data of the local run: the samples of the published reference, and enough other data for several pages."""

from __future__ import annotations

import itertools
import json
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ordering import money
from ordering.aws.dynamodb import Put
from ordering.book.idempotency import IdempotencyKey
from ordering.clock import system_clock
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Contact, Partner
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims
from ordering.money import Money
from ordering.principal import BusinessUnit, OrderSource, Principal, User
from ordering.training import contract as training
from ordering.training.catalogue import Catalogue, TrainingFeatureSet, TrainingProduct
from ordering.training.orders import OrderIds, RequestedLine, TrainingOrders, TrainingRequest
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import greeting
from ordering_tools.installation import ROOT, Installation, open_at
from ordering_tools.local.engine.aws_account import key_alias
from ordering_tools.local.engine.deployment import Stack
from ordering_tools.operations import signing_keys as keys

VALID = timedelta(days=30)
LIVE_EVENT = "events/identity/authorizer.json"
TOKEN_PLACEHOLDER = "placeholder.see-events-README.md"  # noqa: S105 - it is none
UK = BusinessUnit("0bb7a818-cecb-4c5a-9822-22e62f85589a", "UK")
IRELAND = BusinessUnit("5d0ef4b0-6a0c-4a3e-9c0e-6f3f1c1f2b11", "Ireland")
FOREIGN = BusinessUnit("c2f6b7a4-0d0b-4f39-8a61-3f0e5c9d7e42", "Nordics")
CARD = BusinessUnit("9f1f6a62-4b52-4c0e-a6e4-2b8f8f0f6d03", "Retail")

JOHN = User("8ed28eef-a8a6-4f29-8723-6d759746b141", "John", "Smith", "johnsmith@example.com")
SOURCE = OrderSource("41ff59ab-a364-4c01-a92f-2271d709a1f1", "go deploy", invoiceable=True)

_REVOKED = "demo-revoked"
_SIGNING_KEY = key_alias("SigningKeyA")
_MARK = {"pk": "DEMO", "sk": "-"}
_NAMES = uuid.UUID("3b9f4b0e-58a5-4d0a-9a55-0c1e8f6a7d20")

AZ_300 = TrainingProduct("6b126cae-c10c-466a-b867-f23fe48bf5cf", "AZ-300", "AZ-300 (Packaged Set) - (Azure Pass)")
AZ_300_STANDARD = TrainingFeatureSet(
    id="a6c1cb36-43b3-4969-a8a0-48e4915e6df0",
    product_id=AZ_300.id,
    product_name=AZ_300.name,
    name="Standard - 180 days",
    course_access_period_days=180,
    module_save_period_days=1,
    prices=(Money("GBP", money.parse_amount("48.0000")),),
)

_FAMILIES = {
    "AZ": "Azure",
    "DA": "Power BI",
    "DP": "Azure Data",
    "MB": "Dynamics 365",
    "MD": "Modern Desktop",
    "MO": "Microsoft 365 Apps",
    "MS": "Microsoft 365",
    "PL": "Power Platform",
    "SC": "Security",
    "TF": "Terraform",
    "UX": "Experience Design",
    "VM": "Virtualisation",
    "WS": "Windows Server",
    "XA": "Automation",
    "XD": "DevOps",
}
_TOPICS = (
    "Fundamentals",
    "Administration",
    "Architecture",
    "Automation",
    "Backup and Recovery",
    "Cost Control",
    "Data Migration",
    "Deployment",
    "Design",
    "Governance",
    "High Availability",
    "Identity",
    "Integration",
    "Monitoring",
    "Networking",
    "Performance",
    "Security",
    "Storage",
    "Troubleshooting",
)
_OFFERS = (
    ("Standard - 180 days", 180, "48.0000"),
    ("Extended - 365 days", 365, "79.5000"),
    ("Short - 90 days", 90, "31.2500"),
)


class Engine(Protocol):
    """The endpoints of the local run's services."""

    @property
    def endpoint(self) -> str:
        """The endpoint of DynamoDB."""

    @property
    def services(self) -> str:
        """The endpoint of all other services."""


def prepare(engine: Engine, stack: Stack, state: Path, base_url: str) -> greeting.Prepared:
    """Write the missing demo data, issue tokens, and write `demo.json`."""
    installation = open_at(engine.endpoint, engine.services, state, stack)
    accounts = Accounts(installation.accounts)
    accounts.save_signing_key(installation.key.key_id, installation.key.public_jwk)
    sign(installation)
    seeded = installation.accounts.get((_MARK["pk"], _MARK["sk"])) is None
    if seeded:
        seed(installation)
        # Written last: an interrupted seeding is repeated, and recognises its orders by their idempotency keys.
        installation.accounts.put(Put(dict(_MARK)))
    demo: dict[str, Any] = {
        "baseUrl": base_url,
        "businessUnitId": UK.id,
        "secondBusinessUnitId": IRELAND.id,
        "foreignBusinessUnitId": FOREIGN.id,
        "tokens": tokens(installation),
        "clients": demo_ecards.clients(installation),
        "productId": AZ_300.id,
        "order": {
            "purchaseOrderReference": "PO-4711",
            "contactEmail": JOHN.user_name,
            "emailKeys": True,
            "orderItems": [{"featureSetId": AZ_300_STANDARD.id, "quantity": 3}],
        },
    }
    _write_private(state / greeting.FILE, json.dumps(demo, indent=2) + "\n")
    _write_private(state / greeting.SHELL_FILE, greeting.shell(demo))
    write_live_event(state, demo["tokens"]["training"])
    return greeting.Prepared(greeting.text(demo, state), seeded)


def write_live_event(state: Path, token: str) -> None:
    """Write the authorizer's sample event with this token into the folder `state`."""
    sample = (ROOT / LIVE_EVENT).read_text(encoding="utf-8")
    (state / LIVE_EVENT).parent.mkdir(parents=True, exist_ok=True)
    _write_private(state / LIVE_EVENT, sample.replace(TOKEN_PLACEHOLDER, token))


def sign(installation: Installation) -> None:
    """Make a KMS key the signing key of clients' tokens, unless there is one already."""
    signer = Accounts(installation.accounts).signer()
    # An engine that was killed has lost its keys, and has other keys with the same aliases.
    if signer is None or keys.add(installation, signer[1]) != signer[0]:
        keys.use(installation, keys.add(installation, _SIGNING_KEY), wait=False)


def seed(installation: Installation) -> None:
    """Write partners, catalogues and orders."""
    accounts = Accounts(installation.accounts)
    for partner in partners():
        accounts.save_partner(partner)
    accounts.save_contact(UK.id, "jane.doe@example.com", Contact("Jane", "Doe"))
    for unit_id, products in catalogues().items():
        Catalogue(installation.catalogue, unit_id).publish(products)
    sequence = OrderIds()
    for partner in partners():
        for unit in partner.business_units:
            place_orders(installation, partner, unit, sequence)
    demo_deals.seed(installation)
    demo_ecards.seed(installation)


def partners() -> list[Partner]:
    """The demo partners: one with two units that may read access keys, another one, and one that pays by card."""
    northwind = Partner(
        id="northwind",
        active=True,
        payment_terms="invoice",
        grants=frozenset({training.NAME, training.KEYS_GRANT}),
        order_source=SOURCE,
        business_units=(UK, IRELAND),
        users={JOHN.id: JOHN},
    )
    astrid = User("f2b7c1de-7d0a-4c38-a5a4-0f3b1f6f7c55", "Astrid", "Lind", "astrid.lind@example.net")
    mallory = User("d40c2c3a-2f65-4d0e-8b0b-6a9f0b6f2a77", "Mallory", "Cards", "mallory@example.org")
    other = replace(northwind, grants=frozenset({training.NAME}))
    return [
        northwind,
        replace(other, id="tailspin", business_units=(FOREIGN,), users={astrid.id: astrid}),
        replace(other, id="fabrikam", payment_terms="card", business_units=(CARD,), users={mallory.id: mallory}),
    ]


def catalogues() -> dict[str, list[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]]:
    """The catalogue of each unit; units have different ids and products."""
    linux = TrainingProduct(_id("M10999A"), "M10999A", "M10999A - SQL Server on Linux")
    uk = [(AZ_300, (AZ_300_STANDARD,)), (linux, _offers(linux, 2)), *_courses(UK)]
    return {
        UK.id: uk,
        IRELAND.id: list(itertools.islice(_courses(IRELAND), 12)),
        FOREIGN.id: list(itertools.islice(_courses(FOREIGN), 12)),
    }


def place_orders(installation: Installation, partner: Partner, unit: BusinessUnit, sequence: OrderIds) -> None:
    """Place the orders of one unit; the UK's first order is that of the reference, with its id, date and status."""
    user = next(iter(partner.users.values()))
    caller = Principal(partner.id, user, (unit.id,), partner.order_source, "invoice", ("training",))
    catalogue = Catalogue(installation.catalogue, unit.id)
    for number, (created, request) in enumerate(_requests(unit, catalogue)):
        orders = TrainingOrders(installation.orders, unit.id, sequence=sequence, now=partial(_same, created))
        placed = orders.place(
            caller,
            request,
            unit_name=unit.name,
            answer=lambda order: str(order.id).encode(),
            once=IdempotencyKey(f"demo-{unit.id}-{number}", request.reference),
            catalogue=catalogue,
            accounts=Accounts(installation.accounts),
        )
        if number % 12 == 0:
            with suppress(Conflict):  # cancelled by an interrupted seeding, or its keys are issued
                orders.cancel(placed.resource_id)
    TrainingOrders(installation.orders, unit.id, sequence=sequence).settle()


def tokens(installation: Installation) -> dict[str, str]:
    """Issue a token for each case that can be tried."""
    now = system_clock()

    def token(partner: str, user: str, **changes: Any) -> str:
        claims = Claims(secrets.token_urlsafe(16), partner, user, now + VALID, None)
        return installation.signer.issue(replace(claims, **changes))

    user = {partner.id: next(iter(partner.users)) for partner in partners()}
    Accounts(installation.accounts).revoke("northwind", _REVOKED, now + VALID)
    return {
        "training": token("northwind", user["northwind"]),
        "trainingSingleUnit": token("northwind", user["northwind"], business_units=frozenset({UK.id})),
        "trainingWithoutKeys": token("northwind", user["northwind"], scope=frozenset({training.NAME})),
        "cardTerms": token("fabrikam", user["fabrikam"]),
        "expired": token("northwind", user["northwind"], expires=now - timedelta(hours=1)),
        "revoked": token("northwind", user["northwind"], token_id=_REVOKED),
        **{name: reference_token(installation, account) for name, account in demo_deals.TOKENS.items()},
    }


def reference_token(installation: Installation, partner_id: str) -> str:
    """Issue a token of 64 characters for a partner of the demo."""
    partner = Accounts(installation.accounts).partner(partner_id)
    if partner is None:
        raise LookupError(partner_id)
    claims = Claims(secrets.token_urlsafe(16), partner_id, next(iter(partner.users)), system_clock() + VALID, None)
    return ReferenceTokens(installation.accounts).issue(installation.signer.issue(claims), claims.expires)


def _same(moment: datetime) -> datetime:
    return moment


def _courses(unit: BusinessUnit) -> Iterator[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]:
    for (family, field), (step, topic) in itertools.product(_FAMILIES.items(), enumerate(_TOPICS)):
        code = f"{family}-{301 + 7 * step}"
        product = TrainingProduct(
            _id(f"{unit.id}/{code}"), code, f"{code} - {field}: {topic}", (_id(f"course/{code}"),)
        )
        yield product, _offers(product, 1 + step % 3)


def _offers(product: TrainingProduct, count: int) -> tuple[TrainingFeatureSet, ...]:
    return tuple(
        TrainingFeatureSet(
            id=_id(f"{product.id}/{name}"),
            product_id=product.id,
            product_name=product.name,
            name=name,
            course_access_period_days=days,
            module_save_period_days=1,
            prices=(Money("GBP", money.parse_amount(price)),),
        )
        for name, days, price in _OFFERS[:count]
    )


def _requests(unit: BusinessUnit, catalogue: Catalogue) -> Iterator[tuple[datetime, TrainingRequest]]:
    listing = catalogue.products(0, 12)
    offered = [
        feature_set for product in listing.items for feature_set in catalogue.feature_sets(product.id, 0, 3).items
    ]
    if not offered:
        return
    moment = datetime(2019, 2, 24, 20, 4, 30, 473000, tzinfo=UTC)
    if unit is UK:
        linux = _offers(TrainingProduct(_id("M10999A"), "", ""), 1)[0]
        yield (
            moment,
            TrainingRequest(
                "423432432",
                email_keys=False,
                contact_email=JOHN.user_name,
                lines=[RequestedLine(feature_set_id=linux.id, quantity=1)],
            ),
        )
    for number in range(36 if unit is UK else 6):
        moment += timedelta(days=17, hours=5, minutes=number, microseconds=1_357 * number)
        lines = [
            RequestedLine(
                feature_set_id=offered[(number + step) % len(offered)].id, quantity=1 + (number * 7 + step) % 25
            )
            for step in range(1 + number % 3)
        ]
        contact = ("jane.doe@example.com", "someone.else@example.com", None)[number % 3]
        yield (
            moment,
            TrainingRequest(
                f"PO-{unit.name.upper()}-{1000 + number}", email_keys=False, contact_email=contact, lines=lines
            ),
        )


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _id(name: str) -> str:
    return str(uuid.uuid5(_NAMES, name))
