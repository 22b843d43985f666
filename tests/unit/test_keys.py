"""The keys of the three tables. This is stored format: every later release must find an item under the same key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.eventbridge import EventBus
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.ses import Letter
from ordering.book.idempotency import Create, IdempotencyKey
from ordering.book.sorted_lists import ListRequest, SortKey
from ordering.clock import Deadline
from ordering.contexts import read_history
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProducts, NewProduct
from ordering.ecards.balance import Balance
from ordering.ecards.catalogue import EcardCatalogue, RequestedCard
from ordering.ecards.certificates import Certificates
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardParticipant
from ordering.events.publisher import Publisher, one_by_one
from ordering.events.types import MailMomentType
from ordering.identity.accounts import Accounts, Contact, TokenRecord
from ordering.identity.clients import Client, ClientRefused, Clients
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.mail.history import MailMoment, next_moments
from ordering.mail.outbox import Mail, Outbox
from ordering.money import Money
from ordering.training.catalogue import Catalogue
from ordering.training.orders import OrderIds, RequestedLine, TrainingOrders, TrainingRequest
from ordering.webhooks.delivery import TRIES, Deliverer, Message
from ordering.webhooks.registrations import Edit, Webhooks
from ordering.webhooks.transport import Response
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import CARDS, HUNDRED, order_id
from support.gateway import ROOT
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOUNCE = MailMoment(MailMomentType.BOUNCED, NOW, mail=1)
LETTER = Letter("ann@example.com", "Hello", "Good morning")
DRAWN = re.compile(r"\b[0-9a-f]{16}\b")
REPLACED = re.compile(r"(REPLACED\S*[# ])\d{4}-\S+Z")
DIGEST = re.compile(r"(?<=CODE#)[0-9a-f]{64}\b")
TOKEN = "5e" * 32
SECRET = "a client's secret"


@dataclass
class ThreeTables:
    """The three tables in one memory, on which every kind of write is made once."""

    memory: Memory = field(default_factory=Memory)
    kms: MemoryKms = field(default_factory=lambda: MemoryKms(_sealing=bytes(32)))

    def __post_init__(self) -> None:
        self.orders, self.catalogue, self.accounts = (
            Table(self.memory, name) for name in ("orders", "catalogue", "accounts")
        )
        self.sealer = EnvelopeSealer(self.kms, "alias/Key")
        self.training = TrainingOrders(self.orders, UK.id, sequence=OrderIds(), now=self.now)
        self.ecards = EcardOrders(self.orders, "granite", now=self.now)
        self.deals = DealOrders(self.orders, "crm", self.now)
        self.products = DealProducts(self.catalogue, "crm", self.now)
        self.webhooks = Webhooks(self.accounts, self.sealer, now=self.now)
        self.outbox = Outbox(self.orders, lambda *_: "message-id", now=self.now)
        self.deliverer = Deliverer(
            self.orders, self.accounts, self.webhooks, lambda *_: Response(500), lambda *_: None, now=self.now
        )

    @staticmethod
    def now() -> datetime:
        return NOW

    def keys(self) -> set[str]:
        """The keys of all items, each after its table's name, with random ids, digests and times replaced by names."""
        found = [(table, *key) for table in ("orders", "catalogue", "accounts") for key, _ in self.memory.scan(table)]
        texts = (DIGEST.sub("<digest>", DRAWN.sub("<id>", " ".join(one))) for one in found)
        return {REPLACED.sub(r"\1<time>", text) for text in texts}

    def place_training(self) -> None:
        lines = [RequestedLine(feature_set_id=STANDARD.id, quantity=2, source_reference="r" * 255)]
        self.training.place(
            CALLER,
            TrainingRequest("PO-1", email_keys=True, contact_email="ann@example.com", lines=lines * 300),
            answer=lambda order: f"answer of {order.id}".encode(),
            once=IdempotencyKey("key", "fingerprint"),
            catalogue=Catalogue(self.catalogue, UK.id),
            unit_name=UK.name,
            accounts=Accounts(self.accounts),
        )

    def place_ecards(self, number: int, count: int) -> None:
        participant = EcardParticipant("sss@ss.ss", "John Doe", "79251153242")
        request = EcardRequest(order_id(number), participant, [RequestedCard(1, "100 ₽", count)])
        self.ecards.place(request, company_name="company", catalogue=EcardCatalogue(self.catalogue, "granite"))

    def load(self) -> None:
        Certificates(self.orders, self.sealer).load(HUNDRED, "b1", ["code-1", "code-2"])

    def park_an_event(self) -> None:
        (webhook,) = self.webhooks.all("northwind")
        self.deliverer.handle(Message("northwind", webhook.id, "training#1", tries=TRIES - 1).to_text())

    def remember_a_list(self) -> None:
        self.deals.place(13, Decimal(5))
        self.deals.part(ListRequest(0, 1, (SortKey("discount"),)), "reader")

    def publish_events(self) -> None:
        bus = EventBus(taking_all, "bus", self.orders.pauses)
        Publisher(self.orders, bus, lambda *_: None, one_by_one(self.orders, read_history)).publish(
            ["training#1", "mails#training#1"]
        )

    def miss_an_event(self) -> None:
        (webhook,) = self.webhooks.all("northwind")
        self.webhooks.disable(webhook, "It answered 410.")
        self.deliverer.handle(Message("northwind", webhook.id, "training#1").to_text())

    def miss_an_event_while_off(self) -> None:
        (webhook,) = self.webhooks.all("northwind")
        self.webhooks.enable("northwind", webhook.id)
        Accounts(self.accounts).set_active("northwind", active=False)
        self.deliverer.handle(Message("northwind", webhook.id, "training#2").to_text())


def taking_all(_: str, request: dict[str, Any]) -> dict[str, Any]:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}


def refuse_a_client(one: ThreeTables) -> None:
    with pytest.raises(ClientRefused):
        Clients(one.accounts, one.now).authenticate("c1", "wrong", "192.0.2.1")


def replace_a_secret_under_a_key(one: ThreeTables) -> None:
    """Replace a webhook's secret under an idempotency key."""
    webhook, *_ = one.webhooks.all("northwind")
    once = IdempotencyKey("key", "fingerprint")
    one.webhooks.replace_secret_once("northwind", webhook.id, Edit(), lambda *_: b"answer", once)


def register_under_a_key(one: ThreeTables) -> None:
    """Register a webhook under an idempotency key."""
    once = IdempotencyKey("key", "fingerprint")
    one.webhooks.create("northwind", "https://example.com/", (), lambda *_: b"answer", once)


ANN = Contact("Ann", "Smith")

UNDER_A_KEY: Create[Any] = Create(lambda made: f"answer of {made.id}".encode(), IdempotencyKey("key", "fingerprint"))


WRITES: list[tuple[str, Callable[[ThreeTables], object], list[str]]] = [
    (
        "training catalogue",
        lambda one: Catalogue(one.catalogue, UK.id).publish([(AZ_300, [STANDARD])]),
        [
            "catalogue CATALOGUE#<id>#FEATURE_SET#a6c1cb36-43b3-4969-a8a0-48e4915e6df0 FEATURE_SET",
            "catalogue CATALOGUE#<id>#PRODUCT#6b126cae-c10c-466a-b867-f23fe48bf5cf 000001",
            "catalogue CATALOGUE#<id>#PRODUCT#6b126cae-c10c-466a-b867-f23fe48bf5cf PRODUCT",
            "catalogue CATALOGUE#<id>#PRODUCTS 000001",
            "catalogue UNIT#0bb7a818-cecb-4c5a-9822-22e62f85589a CATALOGUE",
        ],
    ),
    (
        "a replaced training catalogue",
        lambda one: Catalogue(one.catalogue, UK.id).publish([(AZ_300, [STANDARD])]),
        ["catalogue UNIT#0bb7a818-cecb-4c5a-9822-22e62f85589a REPLACED#<time>"],
    ),
    (
        "training order",
        ThreeTables.place_training,
        [
            "orders BOOK#training#0bb7a818-cecb-4c5a-9822-22e62f85589a#L00 0000000001",
            "orders ONCE#northwind#2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683 -",
            "orders ORDER#training#1 LINE#0001",
            "orders ORDER#training#1 LINE#0133",
            "orders ORDER#training#1 LINE#0265",
            "orders ORDER#training#1 ORDER",
            "orders SEQUENCE#training -",
            "orders TICKETS#training#0bb7a818-cecb-4c5a-9822-22e62f85589a -",
        ],
    ),
    (
        "a settled book",
        lambda one: one.training.settle(),
        ["orders HEAD#training#0bb7a818-cecb-4c5a-9822-22e62f85589a -"],
    ),
    (
        "access keys",
        lambda one: one.training.issue_keys(1, one.sealer, Deadline.after(60)),
        [
            "orders KEYS#training#1 000000",
            "orders KEYS#training#1 000001",
            "orders KEYS#training#1 000002",
            "orders KEYS#training#1 000003",
            "orders KEYS#training#1 000004",
            "orders KEYS#training#1 000005",
        ],
    ),
    (
        "e-cards",
        lambda one: EcardCatalogue(one.catalogue, "granite").publish(CARDS),
        [
            "catalogue ECARDS#granite -",
            "catalogue OFFERED#1#100 ₽ granite",
            "catalogue OFFERED#1#1000 ₽ granite",
            "catalogue OFFERED#2#500 ₽ granite",
            "catalogue OFFERED#3#1 month granite",
            "catalogue OFFERED#3#gift granite",
        ],
    ),
    (
        "replaced e-cards",
        lambda one: EcardCatalogue(one.catalogue, "granite").publish(CARDS),
        ["catalogue REPLACED_ECARDS#granite <time>"],
    ),
    (
        "an order that waits for money",
        lambda one: one.place_ecards(1, 3),
        [
            "orders BOOK#ecards#granite#L00 0000000001",
            "orders ORDER#ecards#granite#00000000-0000-0000-0000-000000000001 ORDER",
            "orders TICKETS#ecards#granite -",
            "orders WAITING#granite 0000000001",
        ],
    ),
    (
        "a top-up",
        lambda one: Balance(one.orders, "granite").top_up("t1", Decimal(200), NOW),
        ["orders BALANCE#granite -", "orders LEDGER#granite topup#t1"],
    ),
    (
        "an order that is paid for",
        lambda one: one.place_ecards(2, 2),
        [
            "orders BOOK#ecards#granite#L00 0000000002",
            "orders LEDGER#granite debit#00000000-0000-0000-0000-000000000002",
            "orders ORDER#ecards#granite#00000000-0000-0000-0000-000000000002 ORDER",
        ],
    ),
    (
        "an order that waits for stock",
        lambda one: one.ecards.advance(order_id(2)),
        ["orders PARKED#1#100 ₽ 2026-01-01T12:00:00.000000Z#granite#00000000-0000-0000-0000-000000000002"],
    ),
    (
        "certificates",
        ThreeTables.load,
        [
            "orders CERTIFICATES#1#100 ₽ 0000000001",
            "orders CERTIFICATES#1#100 ₽ 0000000002",
            "orders CODE#<digest> -",
            "orders DIGEST_KEY -",
            "orders LOADS#1#100 ₽ b1",
            "orders STOCK#1#100 ₽ -",
        ],
    ),
    (
        "a refund",
        lambda one: one.ecards.cancel(order_id(2)),
        ["orders LEDGER#granite refund#00000000-0000-0000-0000-000000000002"],
    ),
    (
        "a deal's order",
        lambda one: one.deals.place(12, Decimal(5)),
        ["orders BOOK#deals#crm#L00 0000000001", "orders DEAL#crm#12 -", "orders TICKETS#deals#crm -"],
    ),
    (
        "a product",
        lambda one: one.products.add(NewProduct(name="Licence", prices=(Money("EUR", Decimal(10)),))),
        ["catalogue BOOK#deal-products#crm#L00 0000000001", "catalogue TICKETS#deal-products#crm -"],
    ),
    (
        "a line item",
        lambda one: one.deals.lines(1).add(NewLine(one.products.product(1), Decimal(10), "EUR", Decimal(0), 1)),
        ["orders BOOK#deal-lines#crm#1#L00 0000000001", "orders TICKETS#deal-lines#crm#1 -"],
    ),
    (
        "a sorted list",
        ThreeTables.remember_a_list,
        [
            "orders BOOK#deals#crm#L00 0000000002",
            "orders DEAL#crm#13 -",
            "orders SORTED#deals#crm#af60c33c0f6ff6bf9f80fe89a06aaae0 000000",
        ],
    ),
    (
        "a removed order",
        lambda one: one.deals.remove(1),
        ["orders HEAD#deals#crm -", "orders VOIDS#deals#crm 0000000000", "orders VOIDS#deals#crm R0000000000"],
    ),
    (
        "a deal's order under an idempotency key",
        lambda one: one.deals.create(14, Decimal(5), UNDER_A_KEY),
        [
            "orders BOOK#deals#crm#L00 0000000003",
            "orders DEAL#crm#14 -",
            "orders ONCE#crm#e685a5ec62c9c4af3ed4b74ec477dea592b899f7581f31b77beb09d6591daf1e -",
        ],
    ),
    (
        "a product under an idempotency key",
        lambda one: one.products.create(NewProduct(name="Support"), UNDER_A_KEY),
        [
            "catalogue BOOK#deal-products#crm#L00 0000000002",
            "catalogue ONCE#crm#3c0ff132a0f92e1730a8b6d15b755e8439b2cc5ced6b9c4cbe3be61103a1c78c -",
        ],
    ),
    (
        "a line item under an idempotency key",
        lambda one: one.deals.lines(2).create(
            lambda: NewLine(one.products.product(1), Decimal(10), "EUR", Decimal(0), 1), UNDER_A_KEY
        ),
        [
            "orders BOOK#deal-lines#crm#2#L00 0000000001",
            "orders ONCE#crm#92d3659a2ba2858182c95e14606ccd87b39d76b98a46ba0b6cea163e225f52e1 -",
            "orders TICKETS#deal-lines#crm#2 -",
        ],
    ),
    (
        "a mail",
        lambda one: one.outbox.send(Mail(order="training#1", number=1), 2, lambda: LETTER),
        ["orders MAIL#training#1 0000000001"],
    ),
    (
        "a mail's corrected address",
        lambda one: one.outbox.again("training#1", 1, to="ann@example.org", force=True),
        ["orders MAILTO#training#1 -"],
    ),
    (
        "a mail history",
        lambda one: one.orders.transact(next_moments(one.orders, "training#1", [BOUNCE])),
        ["orders MAILHISTORY#training#1 0000000001"],
    ),
    (
        "published events",
        ThreeTables.publish_events,
        ["orders EVENTS#mails#training#1 -"],
    ),
    (
        "a partner",
        lambda one: Accounts(one.accounts).save_partner(PARTNER),
        ["accounts PARTNER#northwind PARTNER"],
    ),
    (
        "a revoked token",
        lambda one: Accounts(one.accounts).revoke("northwind", "token-id", NOW),
        ["accounts REVOKED#northwind token-id"],
    ),
    (
        "a contact",
        lambda one: Accounts(one.accounts).save_contact(UK.id, "Ann@example.com", ANN),
        ["accounts CONTACTS#0bb7a818-cecb-4c5a-9822-22e62f85589a ann@example.com"],
    ),
    (
        "a signing key",
        lambda one: Accounts(one.accounts).save_signing_key("k1", {"kty": "EC"}, added=NOW),
        ["accounts SIGNING_KEYS k1"],
    ),
    (
        "an issued token",
        lambda one: Accounts(one.accounts).save_token(TokenRecord("t1", "northwind", "u1", "k1", NOW, NOW)),
        ["accounts TOKENS#northwind t1"],
    ),
    (
        "the signer",
        lambda one: Accounts(one.accounts).set_signer("k1", "kms-id"),
        ["accounts SIGNER -"],
    ),
    (
        "a counted request",
        lambda one: Accounts(one.accounts).count_request("token-id", 1_767_268_800),
        ["accounts RATE#token-id 1767268800"],
    ),
    (
        "a client",
        lambda one: Clients(one.accounts, one.now).add(Client("c1", "granite", "u1", frozenset({"ecards"})), SECRET),
        ["accounts CLIENT#c1 CLIENT"],
    ),
    (
        "a wrong secret",
        refuse_a_client,
        ["accounts GUESSES#@37fcff24bf62035b2b08020afc08b4fe 1963632#all", "accounts GUESSES#c1 1963632#all"],
    ),
    (
        "a reference token",
        lambda one: ReferenceTokens(one.accounts).keep(TOKEN, "a JWT", NOW),
        ["accounts TOKEN#9985b2e4b9b71b28ce59ea5ce77f0b11 -"],
    ),
    (
        "a webhook",
        lambda one: one.webhooks.register("northwind", "https://example.com/hook"),
        ["accounts WEBHOOKS#northwind -", "accounts WEBHOOKS#northwind <id>"],
    ),
    (
        "an event that is not taken",
        ThreeTables.park_an_event,
        [
            "accounts DELIVERIES#northwind#<id> AT#training#1",
            "accounts DELIVERIES#northwind#<id> PARKED#ab84b0a3-5947-57a9-96f1-0be7055e8e03",
            "accounts WEBHOOKS#northwind -HEALTH#<id>",
        ],
    ),
    (
        "an event that is missed",
        ThreeTables.miss_an_event,
        ["accounts DELIVERIES#northwind#<id> MISSED#training#1"],
    ),
    (
        "an event that a partner misses while it is off",
        ThreeTables.miss_an_event_while_off,
        [
            "accounts DELIVERIES#northwind#<id> MISSED#training#2",
        ],
    ),
    (
        "a webhook under an idempotency key",
        register_under_a_key,
        [
            "accounts ONCE#northwind#fe33d223651b714b8cd07843e97689110f78f14cc98d5c9e07c87065cbcf1b09 -",
        ],
    ),
    (
        "a secret replaced under an idempotency key",
        replace_a_secret_under_a_key,
        ["accounts ONCE#northwind#49fdfe53681fa9359c70d1c3f4f375167dbdc5e62a1c75f94a57d0da2ed63f0a -"],
    ),
]


def test_keys() -> None:
    """Every write uses the keys that earlier releases used."""
    one, before = ThreeTables(), set[str]()
    for name, write, expected in WRITES:
        write(one)
        keys = one.keys()
        assert (name, expected) == (name, sorted(keys - before))
        before = keys


SECONDS = {"a minute": 60, "half an hour": 1800, "48 hours": 172_800, "30 days": 2_592_000, "a year": 31_536_000}
"""How long docs/data.md says that items are kept."""


def kind_of_item(partition: str, sort: str) -> str:
    """What docs/data.md calls an item, by the patterns of its keys in docs/keys.md."""
    beginning, sorted_by = re.split("[<…]", partition)[0], re.split("[<…]", sort)[0]
    return f"{beginning} {sorted_by}" if re.match("-?[A-Z]", sorted_by) else beginning


def kinds_in_keys_md() -> Iterator[str]:
    text = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8").partition("## Items that grow")[0]
    without_index = re.sub("### The search index.*?(?=\n## )", "", text, flags=re.DOTALL)
    for line in re.findall(r"^\| `.*", without_index, re.MULTILINE):
        partitions, sorts, *_ = line.strip("| ").split(" | ")
        for partition in re.findall("`([A-Z][^`]*)`", partitions):
            for sort in re.findall("`([^`]+)`", sorts) or [""]:
                yield kind_of_item(partition, sort)


def rows_of_data_md() -> Iterator[tuple[list[str], str, str]]:
    """The kinds of items in each row, how long they are kept, and what ends them."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("## Other places")[0]
    for line in re.findall(r"^\| `.*", text, re.MULTILINE):
        kinds, _, kept, ended = line.strip("| ").split(" | ")
        yield re.findall("`([^`]+)`", kinds), kept, ended


def test_every_kind_of_item_has_its_retention() -> None:
    """docs/data.md says of each kind of item in docs/keys.md how long it is kept, and of no other."""
    described = [kind for kinds, _, _ in rows_of_data_md() for kind in kinds]

    assert len(described) == len({*described})
    assert {*described} == {*kinds_in_keys_md()}


def test_items_expire_as_described() -> None:
    """Exactly the items that docs/data.md leaves to the time to live have an end, and it is as far off as it says."""
    one = ThreeTables()
    for _, write, _ in WRITES:
        write(one)
    rows = {kind: (kept, ended) for kinds, kept, ended in rows_of_data_md() for kind in kinds}
    expiring = set()
    for table in ("orders", "catalogue", "accounts"):
        for (partition, sort), item in one.memory.scan(table):
            # Of the kinds that the keys begin with, the longest is the item's.
            named = max((kind for kind in rows if _begins(kind, partition, sort)), key=len, default=None)
            assert named, (partition, sort)
            if "expires" in item:
                expiring.add(named)
                assert "time to live" in rows[named][1], named
                left = int(item["expires"]["N"]) - NOW.timestamp()
                if rows[named][0] in SECONDS and table != "catalogue":
                    assert left == SECONDS[rows[named][0]], named

    assert expiring == {kind for kind, (_, ended) in rows.items() if "time to live" in ended}


def _begins(kind: str, partition: str, sort: str) -> bool:
    beginning, _, sorted_by = kind.partition(" ")
    return partition.startswith(beginning) and sort.startswith(sorted_by)
