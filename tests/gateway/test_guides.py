"""The guides for partners: each line that a reader can copy works as printed, on the running stack."""

from __future__ import annotations

import re
import secrets
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.waiting import eventually
from ordering.clock import system_clock
from ordering.ecards.catalogue import Ecard, EcardCatalogue, FaceValue
from ordering.ecards.orders import EcardOrders
from ordering.identity.accounts import Partner
from ordering.identity.clients import Client, Clients
from ordering.identity.tokens import Claims
from ordering.principal import BusinessUnit
from ordering.training.catalogue import Catalogue
from ordering.values import replace
from ordering_tools.demo import training as demo
from ordering_tools.demo.data import demo_partners
from ordering_tools.installation import ROOT
from support.real_stack import RealStack
from support.scripts import blocks, run_lines

pytestmark = pytest.mark.gateway

GUIDES = ROOT / "docs" / "guides"
RUN = sorted(page.stem for page in GUIDES.glob("*.md") if blocks(page, "sh"))
BOUNCES, REFUSED = "bounce@simulator.amazonses.com", "reject@simulator.amazonses.com"


CARDS = (
    Ecard(1, "Bookshop", "For books.", "ruble", (FaceValue("100 ₽", Decimal(100)), FaceValue("1000 ₽", Decimal(1100)))),
)


def token(real: RealStack, partner: Partner) -> str:
    claims = Claims(secrets.token_urlsafe(16), partner.id, next(iter(partner.users)), system_clock() + demo.VALID, None)
    return real.installation.signer.issue(claims)


def add_partner(real: RealStack, like: Partner, **changes: Any) -> tuple[Partner, str]:
    """Add a partner, and a client with all its grants and the partner's id; returns it and the client's secret."""
    partner = replace(like, id=f"guides-{secrets.token_hex(4)}", **changes)
    real.accounts.save_partner(partner)
    client = Client(partner.id, partner.id, next(iter(partner.users)), partner.grants)
    return partner, Clients(real.installation.accounts).add(client)


@pytest.fixture(scope="module")
def reader(real: RealStack) -> dict[str, str]:
    """What a reader has: the address, clients, and a token of each contract, all of partners of the reader's own."""
    unit = BusinessUnit(str(uuid.uuid4()), "Guides")
    training, secret = add_partner(real, demo.NORTHWIND, business_units=(unit,))
    account, _ = add_partner(real, demo_partners("deals")[0])
    company, _ = add_partner(real, demo_partners("ecards")[0], company="reader")
    poor, poor_secret = add_partner(real, demo_partners("ecards")[0], company="poor reader")
    Catalogue(real.installation.catalogue, unit.id).publish([(demo.AZ_300, (demo.AZ_300_STANDARD,))])
    for one in (company, poor):
        EcardCatalogue(real.installation.catalogue, one.id).publish(CARDS)
    EcardOrders(real.installation.orders, company.id).top_up("first", Decimal(1_000))
    return {
        "URL": real.stack.base_url,
        "UNIT": unit.id,
        "CLIENT_ID": training.id,
        "CLIENT_SECRET": secret,
        "TOKEN": token(real, training),
        "DEALS_TOKEN": token(real, account),
        "CARDS_TOKEN": token(real, company),
        "POOR_ID": poor.id,
        "POOR_SECRET": poor_secret,
    }


@pytest.mark.parametrize("guide", RUN)
def test_lines_of_a_guide(guide: str, reader: dict[str, str], tmp_path: Path) -> None:
    """Each line of a guide succeeds, one after the other, for a partner's developer."""
    done = run_lines(GUIDES / f"{guide}.md", tmp_path, reader)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_guide_with_calls_is_run() -> None:
    """The guides that have lines to copy are known, so that none is left out by a mistake in its marks."""
    assert RUN == ["creates", "lists", "rate-limits", "start", "testing", "tokens"]
    for page in GUIDES.glob("*.md"):
        marked = len(blocks(page, "sh")) + len(blocks(page, "sh setup"))
        assert marked == page.read_text(encoding="utf-8").count("\n```sh")


@pytest.mark.parametrize("path", ["/api/v2/nothing", "/v2/orders/4711", "/webhooks/nothing", "/nothing"])
def test_errors_lead_to_their_section(reader: dict[str, str], path: str) -> None:
    """The address in an error, a function's or the gateway's own, opens its section of the guide."""
    access = reader["DEALS_TOKEN" if path.startswith("/v2") else "TOKEN"]
    body = httpx.get(f"{reader['URL']}{path}", headers={"Authorization": f"Bearer {access}"}, timeout=30).json()
    address = body["type"] if "type" in body else body["meta"]["links"]["more_info"]
    page, _, section = address.partition("#")
    found = httpx.get(page, timeout=30)

    assert address.startswith(f"{reader['URL']}/docs/errors#")
    assert found.status_code == 200
    assert f'id="{section}"' in found.text


def test_pages_are_served_as_built(reader: dict[str, str]) -> None:
    """The reference, its document and its largest asset come through the gateway, compressed, without a token."""
    with httpx.Client(base_url=reader["URL"], timeout=60) as http:
        page = http.get("/", headers={"X-Forwarded-For": "192.0.2.1"})
        document = http.get("/openapi.json").json()
        script = http.get(next(iter(re.findall(r'src="(/assets/scalar[^"]+)"', page.text))))

    assert 'id="preset">{}<' in page.text
    assert document["servers"] == [{"url": reader["URL"]}]
    assert (script.status_code, script.headers["Content-Encoding"]) == (200, "gzip")
    assert "immutable" in script.headers["Cache-Control"]


def test_mails_that_fail_on_purpose(real: RealStack, reader: dict[str, str]) -> None:
    """On the local run a mail to one address bounces, and one to another is refused."""
    item = {"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 1}
    headers = {"Authorization": f"Bearer {reader['TOKEN']}"}
    numbers = {}
    for address in (BOUNCES, REFUSED):
        body = {"purchaseOrderReference": "PO-1", "contactEmail": address, "emailKeys": True, "orderItems": [item]}
        target = f"{reader['URL']}/api/v2/orders?businessUnitId={reader['UNIT']}"
        numbers[address] = httpx.post(target, json=body, headers=headers, timeout=30).json()["id"]

    def shows(address: str, word: str) -> bool:
        return word in real.ordering("order", "show", str(numbers[address])).out

    assert eventually(lambda: shows(BOUNCES, "bounced (Permanent, General)") or shows(BOUNCES, "bounced: "))
    assert eventually(lambda: shows(REFUSED, "Refused"))
