"""Items written by an earlier release. The three JSON files hold one or more of each kind, and are never changed.

A release that changes what it writes adds items of the new shape, and still reads the old ones.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from ordering.aws.dynamodb import Key, Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.idempotency import Create, CreateResult, IdempotencyKey
from ordering.book.lifecycle import State, StatusChange
from ordering.book.sorted_lists import ListRequest, SortKey
from ordering.book.unfinished import FIRST_LOOK, Marked, read_shard
from ordering.contexts import read_history
from ordering.deals.orders import DealOrder, DealOrders, LineItem, NewLine
from ordering.deals.products import DealProduct, DealProducts, NewProduct
from ordering.ecards.assignment import Assignment
from ordering.ecards.balance import Balance, LedgerEntry
from ordering.ecards.catalogue import EcardCatalogue, PricedLine, is_offered
from ordering.ecards.certificates import Certificates, LoadResult, Stock, StockLevel, read_stock_levels
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import EcardOrder, EcardParticipant, EcardSummary, HeldCertificates, gives_back
from ordering.ecards.statuses import EcardStatus
from ordering.ecards.stock.loading import is_indexed
from ordering.ecards.stock.upkeep import IndexReport, StockUpkeep
from ordering.errors import NotFound
from ordering.events.publisher import published
from ordering.events.types import MailMomentType
from ordering.identity.accounts import Accounts, Contact, Partner, SigningKeyRecord, Standing
from ordering.identity.clients import Client, Clients
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.mail.history import MailMoment, read_moments
from ordering.mail.outbox import Mail, MailEvent, MailEventType, MailState, Outbox
from ordering.money import Money
from ordering.principal import DealTerms, Principal
from ordering.training.catalogue import Catalogue
from ordering.training.orders import (
    OrderIds,
    OrderLine,
    RequestedLine,
    TrainingOrder,
    TrainingOrders,
    TrainingRequest,
    find_order,
    read_whole_orders,
)
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
from ordering.webhooks.delivery import Deliverer, Message, Parked
from ordering.webhooks.health import Health
from ordering.webhooks.registrations import RESPONSES, Author, Edit, Webhook, Webhooks
from ordering.webhooks.transport import Response
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import CARDS, HUNDRED, order_id
from support.partners import AZ_300, CALLER, IRELAND, JOHN, SOURCE, STANDARD, UK

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CORRELATION = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72"
HOOK, PAUSED_HOOK = "56eef92c24f51358", "66eef92c24f51358"
PAUSED = Health(look=1_767_272_400, failures=22, paused_until=1_767_272_399_123, pauses=3)
SECRETS = ["a newer secret", "a client's secret"]


class Stored:
    """The three tables, loaded from the files."""

    def __init__(self) -> None:
        self.memory = Memory()
        for path in sorted(Path(__file__).parent.glob("*.json")):
            for item in json.loads(path.read_text(encoding="utf-8"), object_hook=_binary):
                self.memory.load(path.stem, item)
        self.orders, self.catalogue, self.accounts = (
            Table(self.memory, name) for name in ("orders", "catalogue", "accounts")
        )
        kms = MemoryKms(_sealing=bytes(32))
        self.sealer = EnvelopeSealer(kms, "alias/Key")
        self.training = TrainingOrders(self.orders, UK.id, sequence=OrderIds(), now=self.now)
        self.ecards = EcardOrders(self.orders, "granite", now=self.now)
        self.deals = DealOrders(self.orders, "crm", self.now)
        self.products = DealProducts(self.catalogue, "crm", self.now)
        self.units_catalogue = Catalogue(self.catalogue, UK.id)
        self.partners = Accounts(self.accounts)
        self.webhooks = Webhooks(
            self.accounts, self.sealer, responses=EnvelopeSealer(kms, "alias/Key", RESPONSES), now=self.now
        )
        self.posted: list[bytes] = []
        self.queued: list[str] = []
        self.deliverer = Deliverer(
            self.orders,
            self.accounts,
            self.webhooks,
            self._post,
            lambda body, _: self.queued.append(body),
            now=self.now,
        )

    @staticmethod
    def now() -> datetime:
        return NOW

    def _post(self, url: str, headers: object, body: bytes) -> Response:  # noqa: ARG002 - as every `Post`
        assert len(self.posted) < 9
        self.posted.append(body)
        return Response(200)

    def health(self) -> Health:
        recipient = self.webhooks.recipient("northwind", HOOK)
        assert recipient
        return recipient.health

    def drop(self, table: str, key: Key, *path: str | int) -> None:
        """Remove an attribute from an item, as if an earlier release had written it without."""
        found: Any = next(item for at, item in self.memory.scan(table) if at == key)
        *way, last = path
        found = found[way[0]] if way else found
        for step in way[1:]:
            found = (found["L"] if isinstance(step, int) else found["M"])[step]
        del (found["M"] if way else found)[last]

    def extend(self) -> None:
        """Add an attribute to every map of every item, as a later release might."""
        for table in ("orders", "catalogue", "accounts"):
            for _, item in self.memory.scan(table):
                _extend(item)

    def place_again(self) -> CreateResult:
        wish = RequestedLine(feature_set_id=STANDARD.id, quantity=1)
        return self.training.place(
            CALLER,
            TrainingRequest("PO-1", email_keys=True, contact_email="ann@example.com", lines=[wish]),
            answer=lambda _: b"another",
            once=IdempotencyKey("key", "fingerprint"),
            catalogue=self.units_catalogue,
            unit_name=UK.name,
            accounts=self.partners,
        )

    @staticmethod
    def no_line() -> NewLine:
        raise NotFound("product", "1")


UNDER_A_KEY: Create[Any] = Create(lambda _: b"another", IdempotencyKey("key", "fingerprint"))


def _binary(value: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value


def _extend(attributes: dict[str, Any]) -> None:
    for name, value in list(attributes.items()):
        if name == "jwk":
            continue  # a document of another standard, published as it is
        for part in [value, *value.get("L", ())]:
            if "M" in part:
                _extend(part["M"])
    attributes["laterAttribute"] = {"S": "x"}


def ecard_state(*statuses: EcardStatus, version: int) -> State[EcardStatus]:
    return State(statuses[-1], version, tuple(StatusChange(status, NOW) for status in statuses))


def ecard_order(number: int, count: int, *statuses: EcardStatus, version: int, **changes: Any) -> EcardOrder:
    return EcardOrder(
        id=order_id(number),
        company="granite",
        number=number,
        created=NOW,
        state=ecard_state(*statuses, version=version),
        participant=EcardParticipant("sss@ss.ss", "John Doe", "79251153242"),
        login="sss@ss.ss_company",
        lines=(PricedLine(1, "100 ₽", count, "Bookshop", Decimal(100)),),
        total=Decimal(100 * count),
        **changes,
    )


TRAINING_ORDER = TrainingOrder(
    id=1,
    position=1,
    partner="northwind",
    business_unit=UK,
    created_by=JOHN,
    order_source=SOURCE,
    reference="PO-1",
    contact_forename="",
    contact_surname="",
    contact_email="ann@example.com",
    email_keys=True,
    state=State(
        TrainingStatus.COMPLETED,
        2,
        (StatusChange(TrainingStatus.NEW, NOW), StatusChange(TrainingStatus.COMPLETED, NOW)),
    ),
    created=NOW,
)
LISTED_ORDER = replace(TRAINING_ORDER, state=State(TrainingStatus.COMPLETED, 0, ()))
LINE = OrderLine(
    feature_set_id=STANDARD.id,
    quantity=2,
    source_reference="row 1",
    feedback_link_uri="https://example.com/",
    feedback_link_text="Tell us",
    enable_feedback_link=True,
    achievement_code="A1",
    number=1,
    description=STANDARD.description,
)
SECOND_LINE = OrderLine(feature_set_id=STANDARD.id, quantity=1, number=2, description=STANDARD.description)
WAITING = ecard_order(
    1,
    3,
    EcardStatus.CREATED,
    version=1,
    fingerprint="22a1ad0cf336658edeb518295dd1db1dabd10371c2808a98beaa2bb8ce862751",
)
DELIVERED = ecard_order(
    2,
    2,
    EcardStatus.PAYED,
    EcardStatus.READY,
    EcardStatus.PARTIALLY_DELIVERED,
    version=4,
    fingerprint="de98cf1b9f68da7a6ad6566d4a2f20258f78d1cd37cb47e84ad3b6b1faa92c97",
    debited=Decimal(200),
    assigned=(HeldCertificates(HUNDRED, ((1, 2),)),),
    delivered=1,
    in_transit=1,
    writers=("401d9d9ce86c81b6", "e9c483149dd1cd2a", "7970ac364cc9150a"),
)
PARKED = ecard_order(
    3,
    1,
    EcardStatus.PAYED,
    EcardStatus.AWAITING,
    version=2,
    fingerprint="00dc4f45b47725bebf2f7fb6b4edcaaa0f28424da259d30a22e113f62e0333a4",
    debited=Decimal(100),
    parked=HUNDRED,
    writers=("74bfc961158185d5",),
)
SUMMARIES = [
    EcardSummary(one.id, one.number, NOW, one.status, one.login, one.total) for one in (PARKED, DELIVERED, WAITING)
]
LEDGER = [
    LedgerEntry(f"debit#{order_id(2)}", Decimal(-200), NOW),
    LedgerEntry(f"debit#{order_id(3)}", Decimal(-100), NOW),
    LedgerEntry("topup#t1", Decimal("250.5"), NOW),
    LedgerEntry("topup#t2", Decimal(100), NOW),
]
FIVE_HUNDRED = Stock(2, "500 ₽")
DEAL_ORDER = DealOrder(1, 12, Decimal("5.50"), NOW, NOW)
LINE_ITEM = LineItem(
    id=1_000_001,
    name="Course",
    sku="C-2",
    description="Two days",
    price=Decimal("10.00"),
    currency="EUR",
    variation=Decimal("-2.5"),
    quantity=3,
    created=NOW,
    updated=NOW,
)
PRODUCT = DealProduct(
    id=2,
    name="Course",
    description="Two days",
    sku="C-2",
    active=False,
    max_discount=Decimal(10),
    max_markup=Decimal("2.5"),
    cost=Decimal("7.00"),
    cost_currency="EUR",
    prices=(Money("EUR", Decimal("10.00")), Money("GBP", Decimal(9))),
    created=NOW,
    updated=NOW,
)
MAIL = Mail(
    order="training#1",
    number=1,
    contents=3,
    state=MailState.SENT,
    claimed=NOW,
    attempts=("969c5c2a0387adec",),
    message_id="message-id",
    events=(
        MailEvent(MailEventType.SENT, NOW, "969c5c2a0387adec"),
        MailEvent(MailEventType.BOUNCED, NOW, "969c5c2a0387adec", "it cannot be delivered"),
    ),
    version=3,
)
CORRECTED_MAIL = Mail(
    order="training#2",
    number=1,
    contents=3,
    state=MailState.SENT,
    claimed=NOW,
    attempts=("b45c3b0a8f2d6e17",),
    out=True,
    corrected=(("b45c3b0a8f2d6e17", "ann@example.org"),),
    message_id="message-id",
    events=(
        MailEvent(MailEventType.BOUNCED, NOW, "969c5c2a0387adec", "it cannot be delivered"),
        MailEvent(MailEventType.AGAIN, NOW, "0c1d2e3f4a5b6c7d", "ticket 17", "ann@example.org"),
        MailEvent(MailEventType.SENT, NOW, "b45c3b0a8f2d6e17", "", "ann@example.org"),
    ),
    version=6,
)
PARTNER = Partner(
    id="granite",
    active=True,
    payment_terms="card",
    grants=frozenset({"ecards", "deals"}),
    order_source=SOURCE,
    business_units=(UK,),
    users={JOHN.id: JOHN},
    usage_key="u-1",
    usage_tier="standard",
    deals=DealTerms("enterprise", changes_disabled=True),
    company="Granite",
)
TYPES = frozenset({"ordering.training_order.new", "ordering.training_order.completed"})
WEBHOOK = Webhook(HOOK, "northwind", "https://example.com/hook", TYPES, NOW, (), disabled="It answered 410.", version=3)
SIGNATURES = "v1,MN0MjelQSCtb7adqEF2f8pzY9DSdthgFXHbxDGH9Wo4= v1,vNrR1nDShIh/yWOzAImeDEHLH4gL4EVRi3e+2R+1CQY="
PARKED_EVENT = Parked(
    "ab84b0a3-5947-57a9-96f1-0be7055e8e03", "ordering.training_order.new", "training#1", 0, NOW, "It answered 500."
)


def pay(one: Stored) -> EcardStatus:
    one.ecards.top_up("t3", Decimal(1_000))
    return one.ecards.order(WAITING.id).status


def assign(one: Stored) -> EcardStatus:
    Certificates(one.orders, one.sealer).load(HUNDRED, "b2", ["code-5"])
    Assignment(one.orders, now=one.now).assign_parked(HUNDRED)
    return one.ecards.order(PARKED.id).status


def load_again(one: Stored) -> StockLevel:
    Certificates(one.orders, one.sealer).load(FIVE_HUNDRED, "b1", ["code-3", "code-4"])
    return read_stock_levels(one.orders, [FIVE_HUNDRED])[FIVE_HUNDRED]


def load_known(one: Stored) -> LoadResult:
    return Certificates(one.orders, one.sealer).load(Stock(3, "12 months"), "b3", ["code-8", "code-9"])


def index(one: Stored) -> tuple[IndexReport, LoadResult]:
    """The register of the codes of earlier releases, and what a load of one of them does after it."""
    report = StockUpkeep(one.orders, one.sealer).index(one.catalogue)
    return report, Certificates(one.orders, one.sealer).load(HUNDRED, "b3", ["code-1"])


def deliver(one: Stored) -> list[int]:
    """The sequence numbers that are posted after the webhook is enabled."""
    one.deliverer.enable("northwind", HOOK)
    while one.queued:
        one.deliverer.handle(one.queued.pop(0))
    return [json.loads(body)["sequence"] for body in one.posted]


def _published(one: Stored, name: str) -> tuple[int, int]:
    """How many events of an order were passed on, and how many there are."""
    history = read_history(one.orders, name)
    assert history
    return published(one.orders, history), len(history)


def _correlations(one: Stored) -> list[str | None]:
    """The ids of requests that a training order, its event, its mail, and an e-card order have."""
    found, history = find_order(one.orders, 78), read_history(one.orders, "training#78")
    assert found
    assert history
    mail = Outbox(one.orders).mail("training#78", 1)
    ecards = one.ecards.order(order_id(8))
    return [found[0].correlation, history.event(0).correlation, mail.correlation, ecards.correlation]


READS: dict[str, tuple[Callable[[Stored], Any], Any]] = {
    "training order": (lambda one: one.training.order(1), TRAINING_ORDER),
    "training lines": (lambda one: [*one.training.lines(1, 0, 9).items], [LINE, SECOND_LINE]),
    "unfinished work": (
        lambda one: [[*read_shard(one.orders, shard, NOW + FIRST_LOOK)] for shard in ("WORK#04", "WORK#08")],
        [
            [Marked(("ORDER#training#77", "ORDER"), NOW + FIRST_LOOK, NOW)],
            [Marked(("MAILHISTORY#training#77", "0000000001"), NOW + FIRST_LOOK, NOW)],
        ],
    ),
    "the request that created an order": (_correlations, [CORRELATION] * 4),
    "events passed on, by the order": (lambda one: _published(one, "training#77"), (0, 1)),
    "events passed on, by an item of their own": (lambda one: _published(one, "training#1"), (2, 2)),
    "whole training order": (lambda one: len(read_whole_orders(one.orders, [77])[77].lines), 2),
    "training list": (lambda one: [*one.training.page(0, 9).items], [LISTED_ORDER]),
    "idempotency key": (Stored.place_again, CreateResult(1, b'{"id":1}', replayed=True)),
    "order ids": (lambda one: OrderIds().next(one.orders), 11),
    "access keys": (
        lambda one: [issued.key for issued in one.training.keys(1, 0, 9, one.sealer).items],
        ["EDQZ0-KF1SS-JHWKS-YP23W-Q93BM", "MRPK8-KEX20-MD885-J84TS-K9GYH", "0YTWF-7YE6Y-ANY4R-WDX6Y-VAPVH"],
    ),
    "e-card order that waits for money": (lambda one: one.ecards.order(WAITING.id), WAITING),
    "e-card order that is being delivered": (lambda one: one.ecards.order(DELIVERED.id), DELIVERED),
    "e-card order that waits for stock": (lambda one: one.ecards.order(PARKED.id), PARKED),
    "e-card list": (lambda one: [*one.ecards.page(0, 9).items], SUMMARIES),
    "balance": (lambda one: one.ecards.balance.amount(), Decimal("50.5")),
    "ledger": (lambda one: [*Balance(one.orders, "granite").entries()], LEDGER),
    "waiting for money": (pay, EcardStatus.PAYED),
    "stock": (
        lambda one: read_stock_levels(one.orders, [FIVE_HUNDRED])[FIVE_HUNDRED],
        StockLevel(FIVE_HUNDRED, ((1, 2),), 1, 2),
    ),
    "load": (load_again, StockLevel(FIVE_HUNDRED, ((1, 2),), 1, 2)),
    "codes": (load_known, LoadResult(1, known=(0,))),
    "unfinished register of codes": (index, (IndexReport(4), LoadResult(0, known=(0,)))),
    "register of codes": (lambda one: is_indexed(one.orders), True),
    "face value of a catalogue": (lambda one: is_offered(one.catalogue, 1, "100 ₽"), True),
    "certificates": (
        lambda one: [opened.code for opened in Certificates(one.orders, one.sealer).open(HUNDRED, ((1, 2),))],
        ["code-1", "code-2"],
    ),
    "parked order": (assign, EcardStatus.READY),
    "idempotency key of a deal order": (
        lambda one: one.deals.create(12, Decimal(50), UNDER_A_KEY),
        CreateResult(1, b'{"data":{"id":1}}', replayed=True),
    ),
    "idempotency key of a line item": (
        lambda one: one.deals.lines(1).create(one.no_line, UNDER_A_KEY),
        CreateResult(1_000_001, b'{"data":{"id":1000001}}', replayed=True),
    ),
    "idempotency key of a deal product": (
        lambda one: one.products.create(NewProduct(name="Licence"), UNDER_A_KEY),
        CreateResult(2, b'{"data":{"id":2}}', replayed=True),
    ),
    "deal order": (lambda one: one.deals.order(1), DEAL_ORDER),
    "deal order that was changed": (
        lambda one: DealOrders(one.orders, "tailspin", one.now).order(1),
        replace(DEAL_ORDER, version=3),
    ),
    "deal orders, one removed": (lambda one: one.deals.part(ListRequest(0, 9), "reader").items, [DEAL_ORDER]),
    "order of a deal": (lambda one: one.deals.part(ListRequest(0, 9), "reader", 12).items, [DEAL_ORDER]),
    "sorted list": (
        lambda one: one.deals.part(ListRequest(1, 1, (SortKey("discount"),)), "reader").items,
        [DEAL_ORDER],
    ),
    "line item": (lambda one: one.deals.lines(1).line(1_000_001), LINE_ITEM),
    "deal product": (lambda one: one.products.product(2), PRODUCT),
    "deal product that was changed": (
        lambda one: DealProducts(one.catalogue, "tailspin", one.now).product(2),
        replace(PRODUCT, version=3),
    ),
    "mail": (lambda one: Outbox(one.orders).mail("training#1", 1), MAIL),
    "mail to a corrected address": (lambda one: Outbox(one.orders).mail("training#2", 1), CORRECTED_MAIL),
    "mail history": (
        lambda one: read_moments(one.orders, "training#2"),
        [
            MailMoment(MailMomentType.BOUNCED, NOW, 1, "", "it cannot be delivered"),
            MailMoment(MailMomentType.SENT_AGAIN, NOW, 1, "ann@example.org", ""),
        ],
    ),
    "mail that was sent again": (lambda one: Outbox(one.orders).mail("training#2", 2).resent, True),
    "corrected address": (lambda one: Outbox(one.orders).corrected_address("training#2"), "ann@example.org"),
    "training catalogue": (
        lambda one: (one.units_catalogue.products(0, 9).items, one.units_catalogue.feature_sets(AZ_300.id, 0, 9).items),
        ([AZ_300], [STANDARD]),
    ),
    "training product": (lambda one: one.units_catalogue.product(AZ_300.id), AZ_300),
    "feature set": (lambda one: one.units_catalogue.find_feature_sets([STANDARD.id]), {STANDARD.id: STANDARD}),
    "e-card catalogue": (lambda one: EcardCatalogue(one.catalogue, "granite").ecards(), CARDS),
    "partner": (lambda one: one.partners.partner("granite"), PARTNER),
    "token revoked by an older release": (lambda one: one.partners.standing("granite", "t-1", None).revoked, True),
    "revoked token": (lambda one: one.partners.standing("granite", "t-2", None).revoked, True),
    "token of a client": (lambda one: one.partners.standing("granite", "t-3", "c1"), Standing(PARTNER, revoked=False)),
    "contact": (lambda one: one.partners.contact(UK.id, "ann@example.com"), Contact("Ann", "Smith")),
    "signing keys": (
        lambda one: one.partners.signing_keys(),
        {key: {"kid": key, "kty": "EC"} for key in ("k1", "k2")},
    ),
    "signing key records": (
        lambda one: one.partners.signing_key_records(),
        {
            "k1": SigningKeyRecord("kms-1", NOW, NOW + timedelta(days=1)),
            "k2": SigningKeyRecord("kms-2", NOW, None),
        },
    ),
    "signer": (lambda one: one.partners.signer(), ("k2", "kms-2")),
    "client": (
        lambda one: Clients(one.accounts, one.now).authenticate("c1", "a client's secret", "192.0.2.1"),
        Client("c1", "granite", "u1", frozenset({"ecards"})),
    ),
    "client with a replaced secret": (
        lambda one: [Clients(one.accounts, one.now).authenticate("c2", text, "192.0.2.1") for text in SECRETS],
        [Client("c2", "granite", "u1", frozenset({"ecards"}), NOW)] * 2,
    ),
    "end of a client's tokens": (
        lambda one: Clients(one.accounts, one.now).authenticate("c2", SECRETS[0], "192.0.2.1").tokens_not_before,
        NOW,
    ),
    "reference token": (lambda one: ReferenceTokens(one.accounts).resolve("5e" * 32), "a JWT"),
    "idempotency key of a webhook": (
        lambda one: one.webhooks.create(
            "northwind", "https://example.com/", (), lambda *_: b"another", IdempotencyKey("key", "fingerprint")
        ),
        CreateResult(0, b'{"id":"0123456789abcdef"}', replayed=True),
    ),
    "idempotency key of a replaced secret": (
        lambda one: one.webhooks.replace_secret_once(
            "northwind", HOOK, Edit(), lambda *_: b"another", IdempotencyKey("key", "fingerprint")
        ),
        CreateResult(0, b'{"id":"0123456789abcdef","secret":"whsec_"}', replayed=True),
    ),
    "webhook": (lambda one: replace(one.webhooks.get("northwind", HOOK), secrets=()), WEBHOOK),
    "who registered a webhook": (
        lambda one: one.webhooks.get("northwind", "66eef92c24f51358").by,
        Author("u1", "t1"),
    ),
    "who set the URL and the secret of a webhook": (
        lambda one: attrgetter("url_by", "secret_by")(one.webhooks.get("tailspin", "76eef92c24f51358")),
        (Author("u2", "t2"), Author("u3", "t3")),
    ),
    "webhook's secrets": (
        lambda one: one.webhooks.sign(one.webhooks.get("northwind", HOOK), "m", NOW, b"x")["webhook-signature"],
        SIGNATURES,
    ),
    "parked event": (lambda one: one.deliverer.parked("northwind", HOOK, 9), [PARKED_EVENT]),
    "position and missed orders": (deliver, [2]),
    "health of a webhook": (lambda one: one.health(), Health(look=1_767_272_400)),
    "health of a paused webhook": (lambda one: one.webhooks.get_with_health("northwind", PAUSED_HOOK)[1], PAUSED),
}


@pytest.mark.parametrize("kind", READS)
def test_stored_items_are_read(kind: str) -> None:
    """An item that an earlier release stored is read as the value it was written from."""
    read, expected = READS[kind]

    assert read(Stored()) == expected


@pytest.mark.parametrize("kind", READS)
def test_items_of_a_later_release(kind: str) -> None:
    """Attributes that a later release added are ignored at every level of an item."""
    read, expected = READS[kind]
    stored = Stored()
    stored.extend()

    assert read(stored) == expected


def ecard_key(order: EcardOrder) -> Key:
    return f"ORDER#ecards#granite#{order.id}", "ORDER"


def changed(value: Any, name: str, default: Any) -> Any:
    """A copy of a value with one field replaced."""
    return replace(value, **{name: default})


LINES_KEY, MAIL_KEY = ("ORDER#training#1", "LINE#0001"), ("MAIL#training#1", "0000000001")
PRODUCT_KEY, LINE_ITEM_KEY = ("BOOK#deal-products#crm#L00", "0000000002"), ("BOOK#deal-lines#crm#1#L00", "0000000001")
PARTNER_KEY, WEBHOOK_KEY = ("PARTNER#granite", "PARTNER"), ("WEBHOOKS#northwind", HOOK)
HEALTH_KEY, PAUSED_KEY = (("WEBHOOKS#northwind", f"-HEALTH#{webhook}") for webhook in (HOOK, PAUSED_HOOK))

ACTORS = "who set the URL and the secret of a webhook"
NONE = frozenset[str]()
OPTIONAL: dict[str, Any] = {
    "source_reference": None,
    "feedback_link_uri": None,
    "feedback_link_text": None,
    "enable_feedback_link": False,
    "achievement_code": None,
}

LACKING: list[tuple[str, Key, tuple[str | int, ...], str, Any]] = [
    *(
        ("orders", LINES_KEY, ("lines", 0, name), "training lines", [changed(LINE, name, default), SECOND_LINE])
        for name, default in OPTIONAL.items()
    ),
    *(
        ("orders", ecard_key(order), (attribute,), kind, changed(order, name, default))
        for order, kind in [
            (DELIVERED, "e-card order that is being delivered"),
            (PARKED, "e-card order that waits for stock"),
        ]
        for attribute, name, default in [
            ("debited", "debited", Decimal(0)),
            ("assigned", "assigned", ()),
            ("delivered", "delivered", 0),
            ("handing", "in_transit", 0),
            ("parked", "parked", None),
            ("returning", "returning", ()),
            ("writers", "writers", ()),
        ]
    ),
    *(
        ("orders", LINE_ITEM_KEY, ("line", name), "line item", changed(LINE_ITEM, name, None))
        for name in ("sku", "description")
    ),
    (
        "orders",
        ("BOOK#deals#tailspin#L00", "0000000001"),
        ("changes",),
        "deal order that was changed",
        replace(DEAL_ORDER, version=1),
    ),
    (
        "catalogue",
        ("BOOK#deal-products#tailspin#L00", "0000000002"),
        ("changes",),
        "deal product that was changed",
        replace(PRODUCT, version=1),
    ),
    *(
        ("catalogue", PRODUCT_KEY, ("product", name), "deal product", changed(PRODUCT, name, default))
        for name, default in [
            *((name, None) for name in ("description", "sku", "max_discount", "max_markup", "cost", "cost_currency")),
            ("active", True),
            ("prices", ()),
        ]
    ),
    *(
        ("orders", MAIL_KEY, (attribute,), "mail", changed(MAIL, name, default))
        for attribute, name, default in [
            ("contents", "contents", 0),
            ("claimed", "claimed", None),
            ("attempts", "attempts", ()),
            ("out", "out", False),
            ("messageId", "message_id", ""),
            ("moments", "events", ()),
        ]
    ),
    *(
        ("accounts", PARTNER_KEY, (attribute,), "partner", changed(PARTNER, name, default))
        for attribute, name, default in [
            ("usageKey", "usage_key", None),
            ("usageTier", "usage_tier", None),
            ("deals", "deals", None),
            ("company", "company", None),
        ]
    ),
    (
        "accounts",
        PARTNER_KEY,
        ("deals", "changesDisabled"),
        "partner",
        replace(PARTNER, deals=DealTerms("enterprise")),
    ),
    *(
        ("accounts", WEBHOOK_KEY, (name,), "webhook", changed(WEBHOOK, name, default))
        for name, default in [("types", NONE), ("disabled", None), ("epoch", 1)]
    ),
    ("accounts", ("WEBHOOKS#northwind", "66eef92c24f51358"), ("createdBy",), "who registered a webhook", None),
    *(
        ("accounts", ("WEBHOOKS#tailspin", "76eef92c24f51358"), (name,), ACTORS, left)
        for name, left in [("urlBy", (None, Author("u3", "t3"))), ("secretBy", (Author("u2", "t2"), None))]
    ),
    ("accounts", HEALTH_KEY, ("look",), "health of a webhook", Health()),
    *(
        ("accounts", PAUSED_KEY, (attribute,), "health of a paused webhook", changed(PAUSED, name, 0))
        for attribute, name in [("failures", "failures"), ("pausedUntil", "paused_until"), ("pauses", "pauses")]
    ),
    ("accounts", ("CLIENT#c2", "CLIENT"), ("tokensNotBefore",), "end of a client's tokens", None),
    (
        "accounts",
        ("CLIENT#c2", "CLIENT"),
        ("secrets", 0, "until"),
        "client with a replaced secret",
        READS["client with a replaced secret"][1],
    ),
    (
        "catalogue",
        (f"CATALOGUE#68a29e0f816f0200#PRODUCT#{AZ_300.id}", "PRODUCT"),
        ("courseIds",),
        "training product",
        AZ_300,
    ),
]


@pytest.mark.parametrize(
    ("table", "key", "path", "kind", "expected"),
    LACKING,
    ids=[f"{kind} without {path[-1]}" for _, _, path, kind, _ in LACKING],
)
def test_attributes_an_older_item_lacks(
    table: str, key: Key, path: tuple[str | int, ...], kind: str, expected: Any
) -> None:
    """An attribute that an older item lacks is read as its default."""
    stored, (read, _) = Stored(), READS[kind]
    stored.drop(table, key, *path)

    assert read(stored) == expected


def test_an_older_order_returns_no_certificates() -> None:
    """An older order without the `returning` attribute asks for no certificates to be returned."""
    stored = Stored()
    stored.drop("orders", ecard_key(DELIVERED), "returning")
    item = stored.orders.get(ecard_key(DELIVERED))

    assert item
    assert not gives_back(item)


def test_an_event_of_older_lines() -> None:
    """The event of an order whose older lines lack optional attributes has their defaults."""
    stored = Stored()
    for name in (
        "source_reference",
        "feedback_link_uri",
        "feedback_link_text",
        "enable_feedback_link",
        "achievement_code",
    ):
        stored.drop("orders", LINES_KEY, "lines", 0, name)
    history = read_history(stored.orders, "training#1")

    assert history
    first, second = history.event(0).data["order"]["lines"]
    assert {**first, "number": 2, "quantity": 1} == second


def test_a_principal_of_an_older_authorizer() -> None:
    """A principal written by an older authorizer is read, with the most restrictive value for each missing field."""
    written = json.loads(replace(CALLER, deals=DealTerms("basic"), company="Granite", narrowed=False).to_text())
    for name in ("deals", "company", "narrowed", "token_id"):
        del written[name]
    written["business_units"] = [{"id": UK.id, "name": "UK"}, {"id": IRELAND.id, "name": "Ireland"}]

    assert Principal.from_text(json.dumps(written)) == replace(CALLER, narrowed=True)


def test_a_principal_of_a_later_authorizer() -> None:
    """A principal that a later authorizer wrote is read, without the fields that were added."""
    caller = replace(CALLER, deals=DealTerms("basic"))
    written = json.loads(caller.to_text())
    for part in [written, written["user"], written["order_source"], written["deals"]]:
        part["later"] = "x"

    assert Principal.from_text(json.dumps(written)) == caller


def test_a_message_of_a_later_release() -> None:
    """A webhook message that a later release queued is read, without the fields that were added."""
    message = Message("northwind", HOOK, "training#1", index=2)

    assert Message.from_text(json.dumps({**json.loads(message.to_text()), "later": "x"})) == message
