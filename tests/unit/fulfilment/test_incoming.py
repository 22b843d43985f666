"""Events that come in: what is taken, done once, refused, and comes again; on a table in memory."""

from __future__ import annotations

import base64
import copy
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.contexts import event_types
from ordering.ecards.certificates import Certificates, read_shelves
from ordering.ecards.orders import EcardOrders
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.events.incoming_shapes import CANCELLATION, PAYMENT, SHAPES, STOCK, sealing_context
from ordering.events.json_schema import _KEYWORDS, misfits
from ordering.fulfilment.incoming import CANCELLATIONS_REFUSED, EVENTS_REFUSED, MAIL_KINDS, Incoming, NotUnderstood
from ordering.identity.accounts import Accounts
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.statuses import TrainingStatus
from ordering_tools.documents.event_schemas import schema
from ordering_tools.operations.ecards import LARGEST_PAYMENT
from support.aws.faults import Crash, Faulty, cut, interrupted, lost, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import CARDS, COMPANY, HUNDRED, Rewards, order_id, services_over
from support.partners import PARTNER
from support.training import School

ID = "0b8a4b52-3c5d-4b0e-9d4e-1d2f8c6a7b90"
CODES = ["SECRET-1", "SECRET-2"]
GRANITE = COMPANY.partner


def detail(kind: str, data: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": ID, "type": kind, "version": 1, "time": "2026-01-01T12:00:00Z", "data": data, **changes}


def body(kind: str, told: Any, **changes: Any) -> str:
    """Write an event as EventBridge delivers it to a queue."""
    event = {
        "version": "0",
        "id": "7d3c2d4e-0000-4000-8000-000000000000",
        "detail-type": kind,
        "source": "payments.example",
        "account": "123456789012",
        "time": "2026-01-01T12:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": told,
    }
    return json.dumps({**event, **changes})


def payment(amount: str = "250.5", operation: str = "wire-1", company: str = GRANITE) -> dict[str, Any]:
    return {"company": company, "operation": operation, "amount": amount}


def of_training(number: int) -> dict[str, Any]:
    return {"order": {"kind": "training", "id": number}}


def of_ecards(number: int = 1, company: str = GRANITE) -> dict[str, Any]:
    return {"order": {"kind": "ecards", "company": company, "id": order_id(number).upper()}}


@dataclass
class Site:
    """An installation, and what it does with events."""

    memory: Memory = field(default_factory=Memory)
    kms: MemoryKms = field(default_factory=MemoryKms)
    counted: list[str] = field(default_factory=list)
    reported: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faulty = Faulty(self.memory)
        self.table = Table(self.faulty, "OrdersTable", first_pause=0.0, patience=0.5)
        accounts = Accounts(Table(self.memory, "AccountsTable"))
        accounts.save_partner(PARTNER)
        accounts.save_partner(replace(PARTNER, id=GRANITE, company="company"))
        self.company = Rewards(services_over(self.memory, kms=self.kms), COMPANY)
        self.company.publish(CARDS)
        self.school = School(self.memory, self.kms)

    @property
    def incoming(self) -> Incoming:
        """What handles an event, with nothing left of those before."""
        return Incoming(
            table=self.table,
            accounts=Accounts(replace(self.table, name="AccountsTable")),
            sealer=EnvelopeSealer(self.kms, "alias/CertificatesKey"),
            open_training=lambda unit: TrainingOrders(self.table, unit, sequence=OrderIds()),
            open_ecards=lambda company: EcardOrders(self.table, company),
            report=lambda *told: self.reported.append(told),
            count=self.counted.append,
        )

    def tell(self, kind: str, data: Mapping[str, Any], **changes: Any) -> None:
        self.incoming.handle(body(kind, detail(kind, data, **changes)))

    def stock(self, codes: Any = CODES, batch: str = "b1", sealed_for: str | None = None) -> dict[str, Any]:
        context = sealing_context(HUNDRED.card_id, HUNDRED.face_value, sealed_for or batch)
        plain = codes if isinstance(codes, bytes) else json.dumps(codes).encode()
        sealed = EnvelopeSealer(self.kms, "alias/CertificatesKey").seal(plain, context)
        return {
            "cardId": HUNDRED.card_id,
            "faceValue": HUNDRED.face_value,
            "batch": batch,
            "codes": base64.b64encode(sealed).decode(),
        }

    @property
    def hundredths(self) -> int:
        return self.company.orders.balance.hundredths()

    def free(self) -> int:
        return read_shelves(Table(self.memory, "OrdersTable"), [HUNDRED])[HUNDRED].count

    def codes(self, first: int, last: int) -> list[str]:
        found = Certificates(self.table, EnvelopeSealer(self.kms)).open(HUNDRED, ((first, last),))
        return [certificate.code for certificate in found]

    def training_status(self, number: int) -> TrainingStatus:
        return self.school.orders().order(number).status


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def site() -> Site:
    return Site()


# What is taken --------------------------------------------------------------------------------------------------------

EXAMPLES: dict[str, list[Mapping[str, Any]]] = {
    PAYMENT: [payment()],
    STOCK: [{"cardId": 1, "faceValue": "100 ₽", "batch": "b1", "codes": "c2VhbGVk"}],
    CANCELLATION: [of_training(7), of_ecards()],
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("aZ019-_.# ₽\x00", max_size=5)
    | st.sampled_from(
        ["", "0", "0.00", "0.01", "1.5", "1e3", "+1", "-1", "1000000000000.01", ID, "training", "a" * 201]
    ),
    lambda parts: (
        st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from(["id", "kind", "x"]), parts, max_size=2)
    ),
    max_leaves=3,
)


def places(value: Any) -> list[tuple[Any, ...]]:
    """All ways into a value."""
    inner = value.items() if isinstance(value, dict) else ()
    return [(), *[(name, *way) for name, part in inner for way in places(part)]]


@st.composite
def nearly_events(draw: st.DrawFn) -> tuple[str, Any]:
    """Events with one thing changed, added or missing."""
    kind = draw(st.sampled_from(sorted(SHAPES)))
    event: Any = copy.deepcopy(detail(kind, draw(st.sampled_from(EXAMPLES[kind]))))
    way = draw(st.sampled_from(places(event)))
    if not way:
        return kind, draw(st.sampled_from([event, {**event, "more": 1}, [event], None]))
    at = event
    for name in way[:-1]:
        at = at[name]
    if draw(st.booleans()):
        at[way[-1]] = draw(VALUES)
    else:
        del at[way[-1]]
    return kind, event


@given(nearly_events())
def test_the_schemas_say_what_is_taken(made: tuple[str, Any]) -> None:
    """What fits the published schema of its type is understood, and nothing else is."""
    kind, event = made

    assert ([*misfits(schema(kind), event)] == []) == Draft202012Validator(schema(kind)).is_valid(event)


def test_every_keyword_is_known() -> None:
    """No keyword of a schema is passed over when something is held against it."""

    def keywords(part: Mapping[str, Any]) -> set[str]:
        inner = [*part.get("properties", {}).values(), *part.get("anyOf", [])]
        inner += [part["items"]] if "items" in part else []
        return {*part}.union(*map(keywords, inner))

    assert set().union(*(keywords(schema(kind)) for kind in [*SHAPES, *event_types()])) <= _KEYWORDS.keys()


def test_places_are_told_and_values_are_not() -> None:
    """What does not fit is told by its place, at any depth."""
    shape = {"type": "object", "required": ["a"], "properties": {"a": {"type": "array", "items": {"type": "string"}}}}

    assert [*misfits(shape, {"a": ["", 1, "", None]})] == ["a[1]", "a[3]"]
    assert [*misfits(shape, {})] == ["it"]
    assert [*misfits({"type": "object", "properties": {"b": shape}}, {"b": {"a": "x"}})] == ["b.a"]


@given(st.decimals(min_value=-1, max_value=2 * LARGEST_PAYMENT, places=2) | st.sampled_from([LARGEST_PAYMENT]))
def test_amounts(amount: Decimal) -> None:
    """An amount is more than nothing and at most what can be paid in by hand."""
    fits = [*misfits(schema(PAYMENT), detail(PAYMENT, payment(f"{amount:f}")))] == []

    assert fits == (0 < amount <= LARGEST_PAYMENT)


@pytest.mark.parametrize("amount", ["0.01", "1.5", "250.50", "999999999999.99", "1000000000000.0", "1000000000000.00"])
def test_amounts_as_written(site: Site, amount: str) -> None:
    """An amount may have up to two decimals, needless ones among them."""
    site.tell(PAYMENT, payment(amount))

    assert site.hundredths == Decimal(amount) * 100


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "0",
        "0.00",
        "-1",
        "+1",
        "1.001",
        ".5",
        "1.",
        "01",
        "1e3",
        "NaN",
        "Infinity",
        "1,5",
        "1 ",
        "1\n",
        "\u0661",
        5,
        5.0,
        None,
    ],
)
def test_no_amounts(site: Site, amount: Any) -> None:
    """Anything but a plain positive decimal text with up to two decimals is not understood."""
    with pytest.raises(NotUnderstood, match=r"schema at data.amount$"):
        site.tell(PAYMENT, {**payment(), "amount": amount})

    assert site.faulty.calls == []


@pytest.mark.parametrize(
    ("kind", "data", "place"),
    [
        (PAYMENT, payment(company="a#b"), "data.company"),
        (PAYMENT, payment(company=""), "data.company"),
        (PAYMENT, payment(operation=""), "data.operation"),
        (PAYMENT, payment(operation="x" * 201), "data.operation"),
        (PAYMENT, payment(operation="a\nb"), "data.operation"),
        (PAYMENT, payment(operation="a\x00"), "data.operation"),
        (PAYMENT, payment(operation="a\x7f"), "data.operation"),
        (CANCELLATION, of_training(0), "data.order"),
        (CANCELLATION, of_training(2**31), "data.order"),
        (CANCELLATION, of_training(True), "data.order"),  # noqa: FBT003 - as JSON has it
        (CANCELLATION, {"order": {"kind": "ecards", "company": GRANITE, "id": "7"}}, "data.order"),
        (CANCELLATION, {"order": {"kind": "deals", "id": 7}}, "data.order"),
        (STOCK, {**EXAMPLES[STOCK][0], "cardId": -1}, "data.cardId"),
        (STOCK, {**EXAMPLES[STOCK][0], "codes": "é"}, "data.codes"),
        (STOCK, {**EXAMPLES[STOCK][0], "codes": ["A"]}, "data.codes"),
    ],
)
def test_ids_are_looked_at_first(site: Site, kind: str, data: Mapping[str, Any], place: str) -> None:
    """What is no id is told by its place before anything is read or written."""
    with pytest.raises(NotUnderstood, match=f"{kind} does not fit its schema at {place}$"):
        site.tell(kind, data)

    assert site.faulty.calls == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\ud800",
        "[" * 100_000,
        "1" * 5_000,
        body(PAYMENT, None),
        body(PAYMENT, detail(PAYMENT, payment()), source=None),
        body("ordering.payment.lost", detail("ordering.payment.lost", payment())),
        body("ordering.ecard_order.payed", detail("ordering.ecard_order.payed", payment())),
        body("Email Bounced", detail(PAYMENT, payment())),
        body(PAYMENT, detail(CANCELLATION, payment())),
        body(PAYMENT, detail(PAYMENT, payment(), version=2)),
        body(PAYMENT, detail(PAYMENT, payment(), version="1")),
        body(PAYMENT, detail(PAYMENT, payment(), id="1")),
        body(PAYMENT, detail(PAYMENT, payment(), time="yesterday")),
        body(PAYMENT, detail(PAYMENT, payment(operation="\ud800"))),
        body(PAYMENT, {**payment()}),
    ],
)
def test_what_nobody_understands(site: Site, text: str) -> None:
    """What is no JSON, no event, of another type or version, or not what it says, is told so and does nothing."""
    with pytest.raises(NotUnderstood):
        site.incoming.handle(text)

    assert (site.faulty.calls, site.counted, site.reported) == ([], [], [])


def test_more_than_is_asked_for(site: Site) -> None:
    """Properties that nobody here knows change nothing."""
    site.tell(PAYMENT, {**payment(), "iban": "DE00"}, trace="1")

    assert site.hundredths == 25050


# Payments -------------------------------------------------------------------------------------------------------------


def test_a_payment(site: Site) -> None:
    """A payment raises the balance by its amount, and pays for orders that wait."""
    site.company.place(1)
    site.tell(PAYMENT, payment("250.50"))

    assert (site.hundredths, site.company.status()) == (15050, "Payed")


def test_a_payment_twice(site: Site) -> None:
    """The same operation again changes nothing, in however many events it comes."""
    site.tell(PAYMENT, payment("250.50"))
    site.tell(PAYMENT, payment("250.5"), id=ID.replace("0", "f"))

    assert (site.hundredths, site.counted) == (25050, [])


def test_a_payment_with_another_amount(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The same operation with another amount is refused for good: told, counted, and done with."""
    site.tell(PAYMENT, payment("1"))
    site.tell(PAYMENT, payment("2"))
    (record,) = warnings(caplog)

    assert (site.hundredths, site.counted) == (100, [EVENTS_REFUSED])
    assert {name: vars(record)[name] for name in ("event", "type", "reason")} == {
        "event": ID,
        "type": PAYMENT,
        "reason": "The top-up 'wire-1' stands for another amount.",
    }


@pytest.mark.parametrize("company", ["nobody", "northwind"])
@pytest.mark.parametrize("kind", [PAYMENT, CANCELLATION])
def test_no_company(site: Site, kind: str, company: str) -> None:
    """Who is no partner, or one that orders no e-cards, is not found; nothing is written."""
    with pytest.raises(NotFound, match=company):
        site.tell(kind, payment(company=company) if kind == PAYMENT else of_ecards(company=company))

    assert site.faulty.calls == ["GetItem"]


# Certificates ---------------------------------------------------------------------------------------------------------


def test_stock(site: Site) -> None:
    """Certificates are opened, kept under another seal, and given to orders that wait for them."""
    site.company.top_up(100)
    site.company.place(1)
    site.company.orders.carry_on(order_id(1))
    site.tell(STOCK, site.stock())

    assert (site.company.status(), site.free(), site.codes(1, 2)) == ("ReadyForDelivery", 1, CODES)


def test_stock_twice(site: Site) -> None:
    """The same batch again changes nothing, however it is sealed, and moves on who waits since."""
    site.tell(STOCK, site.stock())
    site.tell(STOCK, site.stock())

    assert (site.free(), site.counted) == (2, [])


@pytest.mark.parametrize("codes", [["OTHER", "SECRET-2"], ["SECRET-2", "SECRET-1"], ["NEW", "NEW"]])
def test_stock_with_other_codes(site: Site, codes: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """The same batch with other codes, and codes that come twice, are refused for good, and no code is told."""
    site.tell(STOCK, site.stock())
    with caplog.at_level(logging.DEBUG):
        site.tell(STOCK, site.stock(codes))
    logged = "".join(str(vars(record)) for record in caplog.records)

    assert (site.free(), site.counted, len(warnings(caplog))) == (2, [EVENTS_REFUSED], 1)
    assert not any(code in logged for code in [*codes, *CODES])


def test_many_codes_twice(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """However many codes come twice, what is told of it stays short."""
    site.tell(STOCK, site.stock(["SAME"] * 1000))

    assert [len(vars(record)["reason"]) for record in warnings(caplog)] == [300]


@pytest.mark.parametrize(
    "change",
    [{"cardId": 2}, {"faceValue": "50 ₽"}, {"batch": "b2"}, {"codes": "c2VhbGVk"}, {"codes": "AAAA"}, {"codes": "A"}],
)
def test_stock_under_another_seal(site: Site, change: Mapping[str, Any]) -> None:
    """Codes that were sealed for another card, value or batch, or not at all, are not understood."""
    with pytest.raises(NotUnderstood, match="were not sealed for its card and batch"):
        site.tell(STOCK, {**site.stock(), **change})

    assert site.faulty.calls == []


@pytest.mark.parametrize(
    "codes", [b"SECRET", b"\xff", b"", [], {}, "SECRET", None, ["SECRET", ""], ["SECRET", 1], ["SECRET", "\ud800"]]
)
def test_no_list_of_codes(site: Site, codes: Any) -> None:
    """What is sealed must be a list of texts; what it is instead is told to nobody."""
    with pytest.raises(NotUnderstood) as told:
        site.tell(STOCK, site.stock(codes))
    error: BaseException | None = told.value

    assert "SECRET" not in f"{error}{error.__cause__ if error else ''}"
    assert site.faulty.calls == []


def test_what_is_told_of_codes_is_short(site: Site) -> None:
    """However many codes are none, ten places are told."""
    with pytest.raises(NotUnderstood) as told:
        site.tell(STOCK, site.stock([1] * 1000))

    assert str(told.value).endswith(f"at {', '.join(f'[{index}]' for index in range(10))}")


def test_sealing_contexts_differ() -> None:
    """No two batches have one context, whatever characters a name may have."""
    named = [(1, "1", "1"), (11, "", "1"), (1, "1/1", "1"), (1, "1", "1/1"), (1, "1#1", "1"), (1, "1 1", "1")]

    assert len({sealing_context(*one) for one in named}) == len(named)
    assert sealing_context(1, "100 ₽", "b 1") == "ordering.stock.loaded\n1\n100 ₽\nb 1".encode()


# Cancellations --------------------------------------------------------------------------------------------------------


def test_an_ecard_order_is_cancelled(site: Site) -> None:
    """An e-card order is cancelled and refunded, in whatever case its id is written; once is as good as twice."""
    number = 0xABCDEF
    site.company.top_up(100)
    site.company.place(number)
    told = of_ecards(number)
    assert told["order"]["id"] != order_id(number)
    site.tell(CANCELLATION, told)
    site.tell(CANCELLATION, told)

    assert (site.company.status(number), site.hundredths, site.counted) == ("Cancelled", 10000, [])


def test_a_training_order_is_cancelled(site: Site) -> None:
    """A training order is cancelled by its id alone; once is as good as twice."""
    number = site.school.place(1)
    site.tell(CANCELLATION, of_training(number))
    site.tell(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.CANCELLED, [])


def test_too_late_for_a_training_order(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A training order that has its keys stays as it is, and that is told and counted."""
    number = site.school.place(1)
    site.school.issue(number)
    site.tell(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.COMPLETED, [CANCELLATIONS_REFUSED])
    assert [(record.message, vars(record)["type"]) for record in warnings(caplog)] == [("event refused", CANCELLATION)]


def test_too_late_for_an_ecard_order(site: Site) -> None:
    """An e-card order that was handed over stays as it is, and that is counted."""
    site.company.top_up(100)
    site.company.load(1)
    site.company.place(1)
    site.company.orders.hand_over(site.company.orders.carry_on(order_id(1)), 1)
    site.tell(CANCELLATION, of_ecards())

    assert (site.company.status(), site.counted) == ("Delivered", [CANCELLATIONS_REFUSED])


@pytest.mark.parametrize("data", [of_training(7), of_ecards()])
def test_too_early(site: Site, data: Mapping[str, Any]) -> None:
    """The cancellation of an order that is not there yet fails, so that it comes again."""
    with pytest.raises(NotFound):
        site.tell(CANCELLATION, data)

    assert site.counted == []


def test_completed_meanwhile(site: Site) -> None:
    """An order that is completed while it is being cancelled is refused, not tried for ever."""
    number = site.school.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.school.issue(number)))
    site.tell(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.COMPLETED, [CANCELLATIONS_REFUSED])


def test_cancelled_meanwhile(site: Site) -> None:
    """An order that somebody else cancels at the same moment is cancelled, and that is all."""
    site.company.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.company.orders.cancel(order_id(1))))
    site.tell(CANCELLATION, of_ecards())

    assert (site.company.status(), site.counted) == ("Cancelled", [])


def test_changed_meanwhile(site: Site) -> None:
    """An order that changes while it is being cancelled, and still can be, fails, so that the event comes again."""
    site.company.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.company.top_up(100)))
    with pytest.raises(Conflict):
        site.tell(CANCELLATION, of_ecards())
    assert (site.company.status(), site.counted) == ("Payed", [])
    site.tell(CANCELLATION, of_ecards())

    assert (site.company.status(), site.hundredths) == ("Cancelled", 10000)


# Crashes --------------------------------------------------------------------------------------------------------------


def told_of(site: Site, kind: str) -> tuple[str, dict[str, Any]]:
    """Make everything ready for an event, and return it."""
    match kind:
        case "payment":
            site.company.place(1)
            return PAYMENT, payment("250")
        case "stock":
            site.company.top_up(100)
            site.company.place(1)
            site.company.orders.carry_on(order_id(1))
            return STOCK, site.stock()
        case "ecards":
            site.company.top_up(100)
            site.company.place(1)
            return CANCELLATION, of_ecards()
    return CANCELLATION, of_training(site.school.place(1))


def outcome(site: Site) -> Any:
    orders = site.company.orders.page(0, 10).items
    statuses = [str(order.status) for order in orders]
    courses = [str(order.status) for order in site.school.orders().page(0, 10).items]
    return statuses, courses, site.hundredths, site.free(), site.counted


@pytest.mark.parametrize("fault", [refused, lost], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["payment", "stock", "ecards", "training"])
def test_a_crash_anywhere(kind: str, fault: Callable[[BaseException], Any]) -> None:
    """Wherever a consumer dies, the event's coming again leads to what it asks for, once."""
    whole = Site()
    event = told_of(whole, kind)
    whole.tell(*event)
    wanted = outcome(whole)
    steps = len(whole.faulty.calls)

    for step in range(steps):
        site = Site()
        event = told_of(site, kind)
        site.faulty.meet(None, fault(Crash()), after=step)
        with pytest.raises(Crash):
            site.tell(*event)
        site.tell(*event)
        assert (step, outcome(site)) == (step, wanted)
    assert steps >= 3


@pytest.mark.parametrize("kind", ["payment", "stock", "ecards", "training"])
def test_out_of_reach(site: Site, kind: str) -> None:
    """What cannot be reached fails, so that the event comes again."""
    event = told_of(site, kind)
    for after in range(10_000):
        site.faulty.meet(None, cut, after=after)
    site.table = replace(site.table, patience=0.01)
    with pytest.raises(Unavailable):
        site.tell(*event)


# Mails ----------------------------------------------------------------------------------------------------------------

TAGS = {"order": ["training-7"], "ses:configuration-set": ["mails"], "ses:from-domain": ["example.com"]}
SENT = {"timestamp": "2026-01-01T11:59:00.000Z", "source": "us@example.com", "destination": ["john@example.com"]}
BOUNCE = {
    "bounceType": "Permanent",
    "bounceSubType": "NoEmail",
    "bouncedRecipients": [
        {"emailAddress": "john@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 john unknown"}
    ],
    "timestamp": "2026-01-01T12:00:02.669Z",
    "feedbackId": "0100",
}
AT, LATER = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, 2, 669000, tzinfo=UTC)


def of_mail(kind: str, event_type: str, part: str, told: Any, tags: Any = TAGS, **changes: Any) -> str:
    about = {"eventType": event_type, "mail": {**SENT, "messageId": "0100", "tags": tags}, part: told}
    return body(kind, about, source="aws.ses", **changes)


MAILS: list[tuple[str, str, str, Any, str | None, datetime]] = [
    ("Email Sent", "Send", "send", {}, None, AT),
    ("Email Delivered", "Delivery", "delivery", {"timestamp": BOUNCE["timestamp"]}, None, LATER),
    ("Email Bounced", "Bounce", "bounce", BOUNCE, "it cannot be delivered (Permanent, NoEmail)", LATER),
    (
        "Email Delivery Delayed",
        "DeliveryDelay",
        "deliveryDelay",
        {"delayType": "MailboxFull", "timestamp": BOUNCE["timestamp"]},
        "it is not delivered yet (MailboxFull)",
        LATER,
    ),
    (
        "Email Complaint Received",
        "Complaint",
        "complaint",
        {"complaintSubType": None, "complaintFeedbackType": "not-spam", "timestamp": BOUNCE["timestamp"]},
        "the recipient did not want it (not-spam)",
        LATER,
    ),
    (
        "Email Rejected",
        "Reject",
        "reject",
        {"reason": "Bad content"},
        "SES did not send it because of what is in it",
        AT,
    ),
    (
        "Email Rendering Failed",
        "Rendering Failure",
        "failure",
        {"errorMessage": "Attribute 'john' is missing", "templateName": "t"},
        "SES could not fill in its template",
        AT,
    ),
    ("Email Opened", "Open", "open", {"timestamp": BOUNCE["timestamp"], "ipAddress": "192.0.2.1"}, None, LATER),
    ("Email Clicked", "Click", "click", {"timestamp": BOUNCE["timestamp"], "link": "https://x"}, None, LATER),
    ("Email Subscribed", "Subscription", "subscription", {"contactList": "c"}, None, AT),
]


@pytest.mark.parametrize(("kind", "event_type", "part", "told", "why", "at"), MAILS, ids=[mail[0] for mail in MAILS])
def test_mails(site: Site, kind: str, event_type: str, part: str, told: Any, why: str | None, at: datetime) -> None:
    """What SES tells of a mail is handed on: its tags, what, why in our words, and when; nobody's address or text."""
    site.incoming.handle(of_mail(kind, event_type, part, told))

    assert site.reported == [(TAGS, event_type, why, at)]
    assert site.faulty.calls == []


def test_all_kinds_of_mails_are_tried() -> None:
    """There is no kind of SES's events about mails that the test above leaves out."""
    assert {mail[0] for mail in MAILS} == MAIL_KINDS.keys()


@pytest.mark.parametrize("term", ["john@example.com", "550 5.1.1 unknown", "x" * 41, "", 5, None, ["Permanent"]])
def test_only_terms_are_repeated(site: Site, term: Any) -> None:
    """What is no term of SES's is in no reason."""
    site.incoming.handle(of_mail("Email Bounced", "Bounce", "bounce", {"bounceType": term, "bounceSubType": "General"}))

    assert [told[2] for told in site.reported] == ["it cannot be delivered (General)"]


def test_mails_without_tags(site: Site) -> None:
    """Mail that was sent without tags, by somebody else of the account, is handed on as such."""
    about = {"eventType": "Delivery", "mail": SENT, "delivery": {}}
    site.incoming.handle(body("Email Delivered", about, source="aws.ses"))

    assert site.reported == [({}, "Delivery", None, AT)]


@pytest.mark.parametrize("time", ["2026-01-01T12:00:02", "soon", 5, None, "0001-01-01T00:00:00+23:59"])
def test_no_times(site: Site, time: Any) -> None:
    """Where SES's own time is none, that of the event counts."""
    site.incoming.handle(of_mail("Email Delivered", "Delivery", "delivery", {"timestamp": time}))

    assert [told[3] for told in site.reported] == [AT]


@pytest.mark.parametrize(
    "text",
    [
        of_mail("Advisor Recommendation Status Open", "Send", "send", {}),
        of_mail("Email Sent", "Bounce", "bounce", BOUNCE),
        of_mail("Email Bounced", "Bounce", "bounce", "Permanent"),
        of_mail("Email Sent", "Send", "send", {}, tags=[]),
        of_mail("Email Sent", "Send", "send", {}, tags={"order": "training-7"}),
        of_mail("Email Sent", "Send", "send", {}, tags={"order": [7]}),
        of_mail("Email Sent", "Send", "send", {}, time="now"),
        of_mail("Email Sent", "Send", "send", {}, time="2026-01-01T12:00:00"),
        body("Email Sent", {"eventType": "Send"}, source="aws.ses"),
        body("Email Sent", {"mail": SENT}, source="aws.ses"),
        body(PAYMENT, detail(PAYMENT, payment()), source="aws.ses"),
        of_mail("Email Sent", "Send", "send", {}).replace("aws.ses", "somebody"),
    ],
)
def test_what_nobody_understands_of_mails(site: Site, text: str) -> None:
    """What SES does not tell like that of a mail is not understood, and neither is what somebody else tells."""
    with pytest.raises(NotUnderstood):
        site.incoming.handle(text)

    assert (site.reported, site.faulty.calls) == ([], [])
