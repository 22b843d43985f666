"""The demo data of the local run: the samples of the published reference, and enough other data for several pages."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle, islice, product, repeat
from pathlib import Path
from typing import Any

from ordering.aws.dynamodb import Put
from ordering.book.idempotency import IdempotencyKey
from ordering.clock import system_clock
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Contact, Partner
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims
from ordering.money import Money
from ordering.principal import BusinessUnit, Principal
from ordering.training import contract as training
from ordering.training.catalogue import Catalogue, TrainingFeatureSet, TrainingProduct
from ordering.training.orders import OrderIds, RequestedLine, TrainingOrders, TrainingRequest
from ordering.values import replace
from ordering_tools.demo import deals as demo_deals
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import greeting
from ordering_tools.demo.data import DATA, demo_partners
from ordering_tools.installation import ROOT, Installation
from ordering_tools.local.engine.aws_account import key_alias
from ordering_tools.operations import signing_keys as keys
from ordering_tools.operations.tokens import issue
from ordering_tools.operations.usage_tiers import key_name, planned_keys, with_tier

VALID = timedelta(days=30)
LIVE_EVENT = "events/identity/authorizer.json"
TOKEN_PLACEHOLDER = "placeholder.see-events-README.md"  # noqa: S105 - it is none
NORTHWIND, TAILSPIN, FABRIKAM = demo_partners(training.NAME)
UK, IRELAND = NORTHWIND.business_units
(FOREIGN,) = TAILSPIN.business_units
(JOHN,) = NORTHWIND.users.values()

_REVOKED = "demo-revoked"
_TIER = "premium"
_SIGNING_KEY = key_alias("SigningKeyA")
_MARK = {"pk": "DEMO", "sk": "-"}
_NAMES = uuid.UUID("3b9f4b0e-58a5-4d0a-9a55-0c1e8f6a7d20")

AZ_300 = TrainingProduct("6b126cae-c10c-466a-b867-f23fe48bf5cf", "AZ-300", "AZ-300 (Packaged Set) - (Azure Pass)")


def prepare(installation: Installation, state: Path, base_url: str) -> greeting.Prepared:
    """Write the missing demo data, issue tokens, and write `demo.json`."""
    accounts = Accounts(installation.accounts)
    accounts.save_signing_key(installation.key.key_id, installation.key.public_jwk)
    sign(installation)
    seeded = installation.accounts.get((_MARK["pk"], _MARK["sk"])) is None
    if seeded:
        seed(installation)
        # Written last: an interrupted seeding is repeated, and recognises its orders by their idempotency keys.
        installation.accounts.put(Put(dict(_MARK)))
    give_tiers(installation)
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
    _write_private(state / greeting.POSTMAN_FILE, greeting.postman_environment(demo))
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


def give_tiers(installation: Installation) -> None:
    """Give the demo's partners their API keys, which an engine that was killed has lost. They keep their tiers."""
    accounts, planned = Accounts(installation.accounts), planned_keys(installation)
    for partner in filter(None, map(accounts.partner, DATA["partners"])):
        tier = partner.usage_tier or _TIER
        if partner.usage_key is None or key_name(installation, partner.id, tier) not in planned[tier]:
            accounts.save_partner(with_tier(installation, partner, tier))


def seed(installation: Installation) -> None:
    """Write partners, catalogues and orders."""
    accounts = Accounts(installation.accounts)
    for partner in (NORTHWIND, TAILSPIN, FABRIKAM):
        accounts.save_partner(partner)
    accounts.save_contact(UK.id, "jane.doe@example.com", Contact("Jane", "Doe"))
    for unit_id, products in catalogues().items():
        Catalogue(installation.catalogue, unit_id).publish(products)
    sequence = OrderIds()
    for partner in (NORTHWIND, TAILSPIN, FABRIKAM):
        for unit in partner.business_units:
            place_orders(installation, partner, unit, sequence)
    demo_deals.seed(installation)
    demo_ecards.seed(installation)


def catalogues() -> dict[str, list[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]]:
    """The catalogue of each unit; units have different ids and products."""
    linux = TrainingProduct(_id("M10999A"), "M10999A", "M10999A - SQL Server on Linux")
    return {
        UK.id: [(AZ_300, (AZ_300_STANDARD,)), (linux, _offers(linux, 2)), *_courses(UK)],
        **{unit.id: list(islice(_courses(unit), 12)) for unit in (IRELAND, FOREIGN)},
    }


def place_orders(installation: Installation, partner: Partner, unit: BusinessUnit, sequence: OrderIds) -> None:
    """Place the orders of one unit; the UK's first order is that of the reference, with its id, date and status."""
    (user,) = partner.users.values()
    caller = Principal(partner.id, user, (unit.id,), partner.order_source, "invoice", ("training",))
    catalogue = Catalogue(installation.catalogue, unit.id)
    for number, (created, request) in enumerate(_requests(unit, catalogue)):
        orders = TrainingOrders(installation.orders, unit.id, sequence=sequence, now=repeat(created).__next__)
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

    def token(partner: Partner, **changes: Any) -> str:
        claims = Claims(secrets.token_urlsafe(16), partner.id, next(iter(partner.users)), now + VALID, None)
        return installation.signer.issue(replace(claims, **changes))

    Accounts(installation.accounts).revoke(NORTHWIND.id, _REVOKED, now + VALID)
    return {
        "training": token(NORTHWIND),
        "trainingSingleUnit": token(NORTHWIND, business_units=frozenset({UK.id})),
        "trainingWithoutKeys": token(NORTHWIND, scope=frozenset({training.NAME})),
        "cardTerms": token(FABRIKAM),
        "expired": token(NORTHWIND, expires=now - timedelta(hours=1)),
        "revoked": token(NORTHWIND, token_id=_REVOKED),
        **{name: reference_token(installation, account) for name, account in demo_deals.TOKENS.items()},
    }


def reference_token(installation: Installation, partner_id: str) -> str:
    """Issue a token of 64 characters for a partner of the demo."""
    return ReferenceTokens(installation.accounts).issue(*issue(installation, partner_id, None, None, VALID))


def _courses(unit: BusinessUnit) -> Iterator[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]:
    for (family, field), (step, topic) in product(DATA["families"].items(), enumerate(DATA["topics"])):
        code = f"{family}-{301 + 7 * step}"
        course = TrainingProduct(_id(f"{unit.id}/{code}"), code, f"{code} - {field}: {topic}", (_id(f"course/{code}"),))
        yield course, _offers(course, 1 + step % 3)


def _offers(product: TrainingProduct, count: int) -> tuple[TrainingFeatureSet, ...]:
    return tuple(
        TrainingFeatureSet(
            id=_id(f"{product.id}/{offer['name']}"),
            product_id=product.id,
            product_name=product.name,
            name=offer["name"],
            course_access_period_days=offer["days"],
            module_save_period_days=1,
            prices=(Money("GBP", Decimal(offer["price"])),),
        )
        for offer in DATA["offers"][:count]
    )


def _requests(unit: BusinessUnit, catalogue: Catalogue) -> Iterator[tuple[datetime, TrainingRequest]]:
    products = catalogue.products(0, 12).items
    offered = [found for one in products for found in catalogue.feature_sets(one.id, 0, 3).items]
    if not offered:
        return
    moment = datetime(2019, 2, 24, 20, 4, 30, 473000, tzinfo=UTC)
    if unit == UK:
        (linux,) = _offers(TrainingProduct(_id("M10999A"), "", ""), 1)
        lines = [RequestedLine(feature_set_id=linux.id, quantity=1)]
        yield moment, TrainingRequest("423432432", email_keys=False, contact_email=JOHN.user_name, lines=lines)
    for number in range(36 if unit == UK else 6):
        moment += timedelta(days=17, hours=5, minutes=number, microseconds=1_357 * number)
        lines = [
            RequestedLine(feature_set_id=one.id, quantity=1 + (number * 7 + step) % 25)
            for step, one in enumerate(islice(cycle(offered), number, number + 1 + number % 3))
        ]
        contact = ("jane.doe@example.com", "someone.else@example.com", None)[number % 3]
        reference = f"PO-{unit.name.upper()}-{1000 + number}"
        yield moment, TrainingRequest(reference, email_keys=False, contact_email=contact, lines=lines)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _id(name: str) -> str:
    return str(uuid.uuid5(_NAMES, name))


AZ_300_STANDARD = replace(_offers(AZ_300, 1)[0], id="a6c1cb36-43b3-4969-a8a0-48e4915e6df0")
