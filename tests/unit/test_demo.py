"""The demo data of the local run: the published reference's samples, found again."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ordering import kms
from ordering.accounts import Accounts
from ordering.authorizer import Doorkeeper, Handler, Unauthorized, make_handler
from ordering.clock import Deadline
from ordering.principal import BusinessUnit, Principal
from ordering.tokens import KeyRing, TokenRefused, Verifier
from ordering.wiring import Services
from ordering_tools import demo, installation
from ordering_tools.installation import Installation, open_at
from support.gateway import Client, LambdaContext
from support.kms import MemoryKms
from support.memory import Memory
from support.orders import new_item, new_order

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "contract" / "samples"
ENDPOINT = "http://127.0.0.1:8000"
BASE = "http://127.0.0.1:8080"
ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live/GET/api/v2/orders"


@dataclass(frozen=True)
class Endpoints:
    """An engine that is never called."""

    endpoint: str = ENDPOINT
    services: str = ENDPOINT


@dataclass(frozen=True)
class Demo:
    """A local installation with the demo data."""

    state: Path
    greeting: str
    installation: Installation

    @property
    def file(self) -> Path:
        return self.state / demo.FILE

    @property
    def told(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content

    @property
    def services(self) -> Services:
        return Services(self.installation.send, "OrdersTable", "CatalogueTable", "AccountsTable")

    @property
    def verifier(self) -> Verifier:
        accounts = Accounts(self.installation.accounts)
        return Verifier(KeyRing(accounts.signing_keys), self.installation.issuer, self.installation.audience)

    @property
    def authorizer(self) -> Handler:
        return make_handler(Doorkeeper(self.verifier, self.services.accounts, self.services.reference_tokens))

    def client(self, token: str) -> Client:
        """Make the caller that a demo token stands for."""
        answer = self.ask(token)
        return Client(self.services, Principal.from_text(answer["context"]["principal"]))

    def ask(self, token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.told['tokens'][token]}"}
        return self.authorizer({"methodArn": ARN, "headers": headers}, LambdaContext())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo data, written once and only read."""
    state = tmp_path_factory.mktemp("state")
    memory, secrets_of_kms = Memory(), MemoryKms()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installation, "connect", lambda **_: memory)
        patch.setattr(kms, "connect", lambda **_: secrets_of_kms)
        yield Demo(state, demo.prepare(Endpoints(), state, BASE), open_at(ENDPOINT, ENDPOINT, state))


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def test_products_are_the_published_page(made: Demo) -> None:
    """The first page of the UK's products has the published first product, page info and next link."""
    answer = made.client("trainingSingleUnit").get("/api/v2/products").json

    published = sample("products")
    assert published["items"][0] == answer["items"][0]
    assert published["_pageInfo"] == answer["_pageInfo"]
    assert published["_links"] == answer["_links"]


def test_products_can_be_paged_through(made: Demo) -> None:
    """The 29 pages hold 287 different products, by code, then name."""
    client = made.client("trainingSingleUnit")
    products = [
        product for page in range(1, 30) for product in client.get(f"/api/v2/products?_page={page}").json["items"]
    ]

    assert 287 == len({product["id"] for product in products}) == len(products)
    assert sorted(products, key=lambda one: (one["code"], one["name"])) == products


def test_feature_set_is_the_published_one(made: Demo) -> None:
    """AZ-300 has the published feature set, and no other."""
    path = f"/api/v2/products/{demo.AZ_300.id}/feature_sets"

    assert sample("feature_sets") == made.client("trainingSingleUnit").get(path).json


def test_every_product_can_be_ordered(made: Demo) -> None:
    """Each product of the first page has a feature set with a price."""
    client = made.client("trainingSingleUnit")

    for product in client.get("/api/v2/products").json["items"]:
        offered = client.get(f"/api/v2/products/{product['id']}/feature_sets").json["items"]
        assert all(one["prices"] for one in offered)
        assert offered


def test_first_order_is_the_published_one(made: Demo) -> None:
    """Order 1 is the published order field for field, by itself and as the first of the list."""
    client = made.client("trainingSingleUnit")

    assert sample("order") == client.get("/api/v2/orders/1").json
    assert sample("orders")["items"][0] == client.get("/api/v2/orders").json["items"][0]


def test_first_order_s_item_is_the_published_one(made: Demo) -> None:
    """Order 1 has the published item, but for the feature set, which the reference gives to two products."""
    published = sample("order_items")
    answer = made.client("trainingSingleUnit").get("/api/v2/orders/1/items").json
    published["items"][0]["featureSetId"] = answer["items"][0]["featureSetId"]

    assert published == answer


def test_orders_to_page_through(made: Demo) -> None:
    """There are some dozens of orders, oldest first, some of them cancelled, over both units."""
    client = made.client("training")
    units = made.told["businessUnitId"], made.told["secondBusinessUnitId"]
    uk, ireland = (client.get(f"/api/v2/orders?_pageSize=500&businessUnitId={unit}").json["items"] for unit in units)

    assert 36 <= len(uk) <= 99
    assert len(ireland) > 1
    assert sorted(order["created"] for order in uk) == [order["created"] for order in uk]
    assert {"New", "Cancelled"} == {order["orderStatus"] for order in uk}
    assert {("John", "Smith"), ("Jane", "Doe"), ("", "")} == {
        (order["contactForename"], order["contactSurname"]) for order in uk
    }


def test_training_token(made: Demo) -> None:
    """The token for training covers both of the partner's units; the other covers one."""
    units = made.told["businessUnitId"], made.told["secondBusinessUnitId"]

    assert units == tuple(unit.id for unit in made.client("training").caller.business_units)
    assert units[:1] == tuple(unit.id for unit in made.client("trainingSingleUnit").caller.business_units)
    assert (
        made.client("training").get(f"/api/v2/orders?businessUnitId={made.told['foreignBusinessUnitId']}").status == 404
    )


def test_foreign_unit_has_content(made: Demo) -> None:
    """The foreign unit exists and has a catalogue and orders, so that a 404 for it means something."""
    foreign = BusinessUnit(made.told["foreignBusinessUnitId"], "")
    deadline = Deadline.after(60)

    assert made.services.catalogue(foreign, deadline).products(0, 1).total
    assert made.services.training_orders(foreign, deadline).page(0, 1).total


def test_card_token(made: Demo) -> None:
    """The token of the partner with card terms is let in and then refused by the contract."""
    reply = made.client("cardTerms").get("/api/v2/products")

    assert (reply.status, reply.json["type"].rpartition("/")[2]) == (403, "card-payment-terms")


def test_expired_token(made: Demo) -> None:
    """The expired token is refused by the verifier, for that reason."""
    with pytest.raises(TokenRefused, match="expired"):
        made.verifier.verify(made.told["tokens"]["expired"])


def test_revoked_token(made: Demo) -> None:
    """The revoked token verifies, and is refused for the partner's record."""
    assert made.verifier.verify(made.told["tokens"]["revoked"]).partner == "northwind"
    with pytest.raises(Unauthorized):
        made.ask("revoked")


def test_every_token_is_there(made: Demo) -> None:
    """`demo.json` holds one token for each thing worth trying."""
    training = {"training", "trainingSingleUnit", "cardTerms", "expired", "revoked"}
    deals = {"deals", "dealsBasicPlan", "dealsChangesDisabled"}

    assert training | deals == made.told["tokens"].keys()
    assert all(re.fullmatch("[0-9a-f]{64}", made.told["tokens"][name]) for name in deals)
    assert made.told["baseUrl"] == BASE


@pytest.mark.parametrize("name", [demo.FILE, demo.SHELL_FILE, "signing-key.pem"])
def test_secrets_are_their_owner_s(made: Demo, name: str) -> None:
    """Tokens and key are readable by their owner only."""
    assert stat.S_IMODE((made.state / name).stat().st_mode) == 0o600


def test_greeting_can_be_pasted(made: Demo) -> None:
    """What the run says names the token, the unit, and addresses that work."""
    assert f"TOKEN={made.told['tokens']['training']}\n" in made.greeting
    assert f"URL={BASE} UNIT={made.told['businessUnitId']}\n" in made.greeting
    assert '"$URL/api/v2/orders?businessUnitId=$UNIT"' in made.greeting
    assert str(made.file) in made.greeting


def test_second_run_keeps_what_there_is(made: Demo) -> None:
    """Preparing again writes no data twice, keeps what was ordered since, and issues tokens that work."""
    client = made.client("trainingSingleUnit")
    item = new_item(featureSetId=demo.AZ_300_STANDARD.id)
    ordered = client.post("/api/v2/orders", new_order(orderItems=[item])).json["id"]
    path = "/api/v2/orders?_pageSize=500"
    orders, products = client.get(path).text, client.get("/api/v2/products").text
    before = made.told["tokens"]

    demo.prepare(Endpoints(), made.state, BASE)

    again = made.client("trainingSingleUnit")
    assert before != made.told["tokens"]
    assert (orders, products) == (again.get(path).text, again.get("/api/v2/products").text)
    assert ordered in [order["id"] for order in again.get(path).json["items"]]


def test_seeding_that_was_cut_short_is_begun_again(made: Demo) -> None:
    """Seeding once more, as after a crash, makes no second order."""
    client = made.client("trainingSingleUnit")
    before = client.get("/api/v2/orders?_pageSize=500").json["items"]

    demo.seed(made.installation)

    after = made.client("trainingSingleUnit").get("/api/v2/orders?_pageSize=500").json["items"]
    assert [order["id"] for order in before] == [order["id"] for order in after]
