"""The demo data of the local run, which contain the samples of the published reference."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordering import values
from ordering.aws import kms
from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.ecards.certificates import Stock, read_stock_levels
from ordering.ecards.orders import EcardOrders
from ordering.ecards.statuses import EcardStatus
from ordering.identity.accounts import Accounts
from ordering.identity.authorizer import Authorizer, Handler, make_handler
from ordering.identity.tokens import TokenRefused
from ordering.identity.verifier import KeyRing, Verifier
from ordering.principal import BusinessUnit, Principal
from ordering_tools import installation
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import greeting
from ordering_tools.demo import training as demo
from ordering_tools.installation import Installation, open_at
from ordering_tools.operations import signing_keys
from ordering_tools.operations.signing import development_key
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.authorizer import SHARED_KEY, bearer_event
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.usage import PLANS, MemoryUsage
from support.ecards import Rewards, ask, card, credentials
from support.gateway import ROOT, Client, LambdaContext, Reply
from support.orders import new_item, new_order
from support.services import Services

SAMPLES = ROOT / "tests" / "contract" / "training" / "samples"
ENDPOINT = "http://127.0.0.1:8000"
BASE = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Demo:
    """A local installation with the demo data."""

    state: Path
    greeting: str
    installation: Installation

    @property
    def file(self) -> Path:
        return self.state / greeting.FILE

    @property
    def document(self) -> dict[str, Any]:
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
        return make_handler(
            Authorizer(self.verifier, self.services.accounts, self.services.reference_tokens, own_errors(), SHARED_KEY)
        )

    def client(self, token: str) -> Client:
        """A client of the API with a demo token."""
        answer = self.ask(token)
        return Client(self.services, Principal.from_text(answer["context"]["principal"]))

    def secret(self, name: str) -> tuple[str, str]:
        """The id and the secret of a client."""
        client = self.document["clients"][name]
        return client["clientId"], client["clientSecret"]

    def token_of(self, name: str, secret: str | None = None) -> Reply:
        """Request a client's token from the token endpoint, with its secret or another one."""
        services = replace(self.services, kms=self.installation.kms, issuer=self.installation.issuer,
                           audience=self.installation.audience)  # fmt: skip
        client_id, current = self.secret(name)
        return ask(services, credentials(client_id, secret or current))

    def company(self, name: str) -> Rewards:
        """The company that calls with a client's token."""
        token = self.token_of(name).json["access_token"]
        event = bearer_event(token, "/v1/orders")
        context = self.authorizer(event, LambdaContext())["context"]
        return Rewards(self.services, Principal.from_text(context["principal"]))

    def ask(self, token: str) -> dict[str, Any]:
        return self.authorizer(bearer_event(self.document["tokens"][token]), LambdaContext())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo data, written once for all tests, which do not change them."""
    state = tmp_path_factory.mktemp("state")
    memory, secrets_of_kms = Memory(), MemoryKms()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installation, "connect_tables", lambda **_: memory)
        patch.setattr(kms, "connect_kms", lambda **_: secrets_of_kms)
        # Without outputs of a stack, resources have their logical ids as names.
        stack = Stack(resources=PLANS, parameters=Template.load(ROOT / "template.yaml").parameters)
        opened = replace(open_at(ENDPOINT, ENDPOINT, state, stack), connect=MemoryUsage())
        yield Demo(state, demo.prepare(opened, state, BASE).text, opened)


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
    """The 29 pages have 287 different products, sorted by code, then name."""
    client = made.client("trainingSingleUnit")
    products = [
        product for page in range(1, 30) for product in client.get(f"/api/v2/products?_page={page}").json["items"]
    ]

    assert 287 == len({product["id"] for product in products}) == len(products)
    assert sorted(products, key=lambda one: (one["code"], one["name"])) == products


def test_feature_set_is_the_published_one(made: Demo) -> None:
    """AZ-300 has only the published feature set."""
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
    """Order 1 has all fields of the published order, as a single order and as the first of the list."""
    client = made.client("trainingSingleUnit")

    assert sample("order") == client.get("/api/v2/orders/1").json
    assert sample("orders")["items"][0] == client.get("/api/v2/orders").json["items"][0]


def test_first_order_s_item_is_the_published_one(made: Demo) -> None:
    """Order 1 has the published item, except for the feature set, which in the reference belongs to two products."""
    published = sample("order_items")
    answer = made.client("trainingSingleUnit").get("/api/v2/orders/1/items").json
    published["items"][0]["featureSetId"] = answer["items"][0]["featureSetId"]

    assert published == answer


def test_orders_to_page_through(made: Demo) -> None:
    """Both units have orders, oldest first, dozens in all, and some of them are cancelled."""
    client = made.client("training")
    units = made.document["businessUnitId"], made.document["secondBusinessUnitId"]
    uk, ireland = (client.get(f"/api/v2/orders?_pageSize=500&businessUnitId={unit}").json["items"] for unit in units)

    assert 36 <= len(uk) <= 99
    assert len(ireland) > 1
    assert sorted(order["created"] for order in uk) == [order["created"] for order in uk]
    assert {"New", "Cancelled"} == {order["orderStatus"] for order in uk}
    assert {("John", "Smith"), ("Jane", "Doe"), ("", "")} == {
        (order["contactForename"], order["contactSurname"]) for order in uk
    }


def test_training_token(made: Demo) -> None:
    """One token covers both of the partner's units, another one covers only one."""
    units = made.document["businessUnitId"], made.document["secondBusinessUnitId"]

    assert units == made.client("training").caller.business_units
    assert units[:1] == made.client("trainingSingleUnit").caller.business_units
    assert (
        made.client("training").get(f"/api/v2/orders?businessUnitId={made.document['foreignBusinessUnitId']}").status
        == 404
    )


@pytest.mark.parametrize(
    ("token", "status", "kind"),
    [("training", 409, "keys-not-issued"), ("trainingWithoutKeys", 403, "keys-not-granted")],
)
def test_tokens_for_access_keys(made: Demo, token: str, status: int, kind: str) -> None:
    """The token for training covers access keys, which are not issued yet; a narrower token is refused."""
    reply = made.client(token).get(f"/api/v2/orders/2/keys?businessUnitId={made.document['businessUnitId']}")

    assert (reply.status, reply.json["type"].rpartition("#")[2]) == (status, kind)


def test_foreign_unit_has_content(made: Demo) -> None:
    """The foreign unit has a catalogue and orders, so that a 404 for it proves that partners are separated."""
    foreign = BusinessUnit(made.document["foreignBusinessUnitId"], "")
    deadline = Deadline.after(60)

    assert made.services.catalogue(foreign, deadline).products(0, 1).total
    assert made.services.training_orders(foreign, deadline).page(0, 1).total


def test_card_token(made: Demo) -> None:
    """The token of the partner that pays by card passes the authorizer and is refused by the contract."""
    reply = made.client("cardTerms").get("/api/v2/products")

    assert (reply.status, reply.json["type"].rpartition("#")[2]) == (403, "card-payment-terms")


def test_expired_token(made: Demo) -> None:
    """The expired token is refused by the verifier because it has expired."""
    with pytest.raises(TokenRefused, match="expired"):
        made.verifier.verify(made.document["tokens"]["expired"])


def test_revoked_token(made: Demo) -> None:
    """The revoked token has a valid signature, and is refused because it was revoked."""
    assert made.verifier.verify(made.document["tokens"]["revoked"]).partner == "northwind"
    assert made.ask("revoked")["context"] == {"refusal": "unauthorized"}


def test_every_token_is_there(made: Demo) -> None:
    """`demo.json` has one token for each case that can be tried."""
    training = {"training", "trainingSingleUnit", "trainingWithoutKeys", "cardTerms", "expired", "revoked"}
    deals = {"deals", "dealsBasicPlan", "dealsChangesDisabled"}

    assert training | deals == made.document["tokens"].keys()
    assert all(re.fullmatch("[0-9a-f]{64}", made.document["tokens"][name]) for name in deals)
    assert made.document["baseUrl"] == BASE


@pytest.mark.parametrize("name", [greeting.FILE, greeting.SHELL_FILE, greeting.POSTMAN_FILE, "signing-key.pem"])
def test_secrets_are_their_owner_s(made: Demo, name: str) -> None:
    """Only the owner can read the files with tokens and key."""
    assert stat.S_IMODE((made.state / name).stat().st_mode) == 0o600


def test_greeting_can_be_pasted(made: Demo) -> None:
    """The greeting has the token, the unit, and URLs that work."""
    assert f"TOKEN={made.document['tokens']['training']}\n" in made.greeting
    assert f"URL={BASE}\nUNIT={made.document['businessUnitId']}\n" in made.greeting
    assert '"$URL/api/v2/orders?businessUnitId=$UNIT"' in made.greeting
    assert str(made.file) in made.greeting


def test_second_run_keeps_what_there_is(made: Demo) -> None:
    """A second start writes no data twice, keeps new orders, and issues valid tokens."""
    client = made.client("trainingSingleUnit")
    item = new_item(featureSetId=demo.AZ_300_STANDARD.id)
    ordered = client.post("/api/v2/orders", new_order(orderItems=[item])).json["id"]
    path = "/api/v2/orders?_pageSize=500"
    orders, products = client.get(path).text, client.get("/api/v2/products").text
    before = made.document["tokens"]

    demo.prepare(made.installation, made.state, BASE)

    again = made.client("trainingSingleUnit")
    assert before != made.document["tokens"]
    assert (orders, products) == (again.get(path).text, again.get("/api/v2/products").text)
    assert ordered in [order["id"] for order in again.get(path).json["items"]]


def test_seeding_that_was_cut_short_is_begun_again(made: Demo) -> None:
    """Seeding again, as after a crash, does not place orders twice."""
    client = made.client("trainingSingleUnit")
    before = client.get("/api/v2/orders?_pageSize=500").json["items"]

    demo.seed(made.installation)

    after = made.client("trainingSingleUnit").get("/api/v2/orders?_pageSize=500").json["items"]
    assert [order["id"] for order in before] == [order["id"] for order in after]


@pytest.mark.parametrize(("name", "company"), [("ecards", "granite-rewards"), ("ecardsPoor", "gravel-rewards")])
def test_clients(made: Demo, name: str, company: str) -> None:
    """Each client of `demo.json` gets a token for its company with a grant for e-card orders."""
    reply = made.token_of(name)
    caller = made.company(name).caller

    assert list(made.document["clients"][name]) == ["clientId", "clientSecret"]
    assert (reply.status, reply.json["scope"], reply.json["expires_in"]) == (200, "ecard-certificates ecards", 3600)
    assert (caller.partner, caller.grants) == (company, ("ecard-certificates", "ecards"))


def test_every_client_is_there(made: Demo) -> None:
    """`demo.json` has a client with a high balance and one with a low balance."""
    assert list(made.document["clients"]) == ["ecards", "ecardsPoor"]
    assert Decimal(made.company("ecards").balance) > 10_000
    assert 0 < Decimal(made.company("ecardsPoor").balance) < 1_100


def test_client_in_the_shell(made: Demo) -> None:
    """The shell script and the greeting have the client with the high balance, and the request for its token."""
    client_id, secret = made.secret("ecards")
    shell = (made.state / greeting.SHELL_FILE).read_text()

    assert f"CLIENT_ID={client_id}\nCLIENT_SECRET={secret}\n" in shell
    assert re.search(rf"^CLIENT_ID={client_id}\nCLIENT_SECRET=\S{{43}}$", made.greeting, re.MULTILINE)
    assert '"$URL/connect/token"' in made.greeting


def test_ecard_orders_to_page_through(made: Demo) -> None:
    """There are several pages of e-card orders, newest first, all of them paid or cancelled."""
    company = made.company("ecards")
    pages = [company.read(f"/v1/orders?page={page}") for page in (1, 2, 3)]
    shown = [one for page in pages for one in page["data"]]

    assert (pages[0]["totalPages"], len(shown)) == (3, 45)
    assert [one["number"] for one in shown] == list(range(45, 0, -1))
    assert sorted((one["createdDate"] for one in shown), reverse=True) == [one["createdDate"] for one in shown]
    assert {one["status"] for one in shown} == {"Payed", "Cancelled"}


def test_an_order_of_each_status_is_what_it_says(made: Demo) -> None:
    """An order has the same status in the list, in its details and at the end of its history."""
    company = made.company("ecards")
    first_of_each = {one["status"]: one for one in company.read("/v1/orders?page=2")["data"]}

    for status, listed in first_of_each.items():
        details = company.read(f"/v1/orders/{listed['id']}")
        assert details["history"][-1]["status"] == details["status"] == status
        assert details["total"] == sum(line["price"] * line["quantity"] for line in details["ecards"])


def test_cards_of_the_demo(made: Demo) -> None:
    """Both companies can order the same cards; one face value costs more than its nominal value."""
    shown = made.company("ecards").read("/v1/ecards")
    prices = {(one["id"], value["name"]): value["price"] for one in shown for value in one["faceValues"]}

    assert shown == made.company("ecardsPoor").read("/v1/ecards")
    assert {one["unit"] for one in shown} == {"ruble", "month"}
    assert prices[1, "1000 ₽"] == 1100


def test_where_ecard_orders_come_to(tmp_path: Path) -> None:
    """Fulfilment finds certificates for all orders except those of one stock; each other stock has some left."""
    fresh = Installation(Memory(), MemoryKms(), partial(development_key, tmp_path), "issuer", "audience")
    demo_ecards.seed(fresh)
    orders = EcardOrders(fresh.orders, demo_ecards.COMPANY)
    came_to = Counter(orders.advance(one.id).status for one in orders.page(0, 100).items)
    stocks = [Stock(one.id, value.name) for one in demo_ecards.CARDS for value in one.face_values]
    levels = read_stock_levels(fresh.orders, stocks)

    assert came_to == {EcardStatus.READY: 34, EcardStatus.AWAITING: 7, EcardStatus.CANCELLED: 4}
    assert [stock for stock in stocks if not levels[stock].count] == [demo_ecards.SHORT]


def test_what_the_demo_can_order(made: Demo) -> None:
    """The company with the high balance pays its order at once; the other one's order waits for a payment."""
    rich, poor = made.company("ecards"), made.company("ecardsPoor")

    assert rich.place(901, card(1, "100 ₽", 2))["status"] == "Payed"
    assert poor.place(902, card(1, "1000 ₽", 1))["status"] == "Created"


def test_previous_secret_stays_valid(made: Demo) -> None:
    """Each start creates new client secrets; the secrets of the previous start stay valid, older ones do not."""
    secrets = []
    for _ in range(3):
        secrets.append(made.secret("ecards")[1])
        demo.prepare(made.installation, made.state, BASE)
    secrets.append(made.secret("ecards")[1])

    assert [made.token_of("ecards", secret).status for secret in secrets] == [400, 400, 200, 200]


def test_a_second_run_keeps_ecard_orders(made: Demo) -> None:
    """A second start does not repeat orders, payments or loads, and keeps the signing key."""
    company = made.company("ecards")
    kept = made.installation.accounts.get(("SIGNER", "-"))

    def snapshot() -> list[Any]:
        stocks = [Stock(one.id, value.name) for one in demo_ecards.CARDS for value in one.face_values]
        levels = read_stock_levels(made.installation.orders, stocks)
        pages = [company.get(f"/v1/orders?page={page}").text for page in (1, 2, 3)]
        return [*pages, company.balance, *(levels[stock].count for stock in stocks)]

    before = snapshot()
    demo.prepare(made.installation, made.state, BASE)
    demo_ecards.seed(made.installation)

    assert snapshot() == before
    assert made.installation.accounts.get(("SIGNER", "-")) == kept


def test_a_rotation_outlives_a_restart(made: Demo) -> None:
    """A signing key that was replaced stays replaced after the next start."""
    key_id = signing_keys.add(made.installation, "alias/SigningKeyB")
    signing_keys.use(made.installation, key_id, wait=False)

    demo.prepare(made.installation, made.state, BASE)

    assert made.services.accounts(Deadline.after(60)).signer() == (key_id, "alias/SigningKeyB")


def test_partners_have_tiers(made: Demo) -> None:
    """Each partner's calls are counted by its own key, also once the engine has lost the keys; a changed tier stays."""
    memory = made.installation.send
    assert isinstance(memory, Memory)
    fresh = MemoryUsage()
    later = replace(made.installation, send=memory.fork(), connect=fresh)
    accounts = Accounts(later.accounts)
    keys = {partner.usage_key for partner in accounts.partners()}
    assert {partner.usage_tier for partner in accounts.partners()} == {"premium"}
    assert len(keys - {None}) == len([*accounts.partners()])

    accounts.save_partner(values.replace(demo.NORTHWIND, usage_tier="basic"))
    demo.give_tiers(later)

    northwind = accounts.partner(demo.NORTHWIND.id)
    assert northwind
    assert northwind.usage_tier == "basic"
    assert fresh.plan_of(str(northwind.usage_key)) == "BasicPlan"
