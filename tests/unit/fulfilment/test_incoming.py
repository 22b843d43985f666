"""Incoming events: which are accepted, refused or retried, and that each takes effect once; on a table in memory."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.certificates import Certificates, Stock, read_stock_levels
from ordering.ecards.incoming import PAYMENT, STOCK, EcardEvents, sealing_context
from ordering.ecards.orders import EcardOrders
from ordering.ecards.stock.codes import DIGEST_KEY, NotIndexed
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.events.incoming import CANCELLATION, CANCELLATIONS_REFUSED, EVENTS_REFUSED, MalformedEvent
from ordering.fulfilment.incoming import Incoming
from ordering.identity.accounts import Accounts
from ordering.mail.incoming import Notice
from ordering.mail.outbox import MailEventType
from ordering.training.incoming import TrainingEvents
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
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


def body(kind: str, content: Any, **changes: Any) -> str:
    """An event as EventBridge delivers it to a queue."""
    event = {
        "version": "0",
        "id": "7d3c2d4e-0000-4000-8000-000000000000",
        "detail-type": kind,
        "source": "payments.example",
        "account": "123456789012",
        "time": "2026-01-01T12:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": content,
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
    """An installation that receives events."""

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
        self.company.index()
        self.school = School(self.memory, self.kms)

    @property
    def incoming(self) -> Incoming:
        """A new event handler, as after a cold start."""
        ecards = EcardEvents(
            self.table,
            Accounts(replace(self.table, name="AccountsTable")),
            EnvelopeSealer(self.kms, "alias/CertificatesKey"),
            lambda company: EcardOrders(self.table, company),
            replace(self.table, name="CatalogueTable"),
        )
        training = TrainingEvents(self.table, lambda unit: TrainingOrders(self.table, unit, sequence=OrderIds()))
        receivers = [ecards.receiver(), training.receiver()]
        return Incoming(receivers, report=self.reported.append, count=self.counted.append)

    def receive(self, kind: str, data: Mapping[str, Any], **changes: Any) -> None:
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
        return read_stock_levels(Table(self.memory, "OrdersTable"), [HUNDRED])[HUNDRED].count

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


# Accepted events ------------------------------------------------------------------------------------------------------

EXAMPLES: dict[str, list[Mapping[str, Any]]] = {
    PAYMENT: [payment()],
    STOCK: [{"cardId": 1, "faceValue": "100 ₽", "batch": "b1", "codes": "c2VhbGVk"}],
    CANCELLATION: [of_training(7), of_ecards()],
}


@pytest.mark.parametrize("amount", ["0.01", "1.5", "250.50", "999999999999.99", "1000000000000.0", "1000000000000.00"])
def test_amounts_as_written(site: Site, amount: str) -> None:
    """An amount may have up to two decimals, trailing zeros included."""
    site.receive(PAYMENT, payment(amount))

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
def test_invalid_amounts(site: Site, amount: Any) -> None:
    """An amount that is not a plain positive decimal text with at most two decimals is rejected before any call."""
    with pytest.raises(MalformedEvent, match=r"schema at data.amount$"):
        site.receive(PAYMENT, {**payment(), "amount": amount})

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
        (CANCELLATION, of_training(0), "data.order.id"),
        (CANCELLATION, of_training(2**31), "data.order.id"),
        (CANCELLATION, of_training(True), "data.order.id"),  # noqa: FBT003 - as JSON has it
        (CANCELLATION, {"order": {"kind": "ecards", "company": GRANITE, "id": "7"}}, "data.order.id"),
        (CANCELLATION, {"order": {"kind": "deals", "id": 7}}, "data.order"),
        (STOCK, {**EXAMPLES[STOCK][0], "cardId": -1}, "data.cardId"),
        (STOCK, {**EXAMPLES[STOCK][0], "codes": "é"}, "data.codes"),
        (STOCK, {**EXAMPLES[STOCK][0], "codes": ["A"]}, "data.codes"),
    ],
)
def test_malformed_values_are_rejected_first(site: Site, kind: str, data: Mapping[str, Any], place: str) -> None:
    """A malformed value is rejected, with its path, before anything is read or written."""
    with pytest.raises(MalformedEvent, match=f"{kind} does not fit its schema at {place}$"):
        site.receive(kind, data)

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
        body(PAYMENT, detail(PAYMENT, payment(), version=True)),
        body(PAYMENT, detail(PAYMENT, payment(), version=1.0)),
        body(PAYMENT, detail(PAYMENT, payment(), id="1")),
        body(PAYMENT, detail(PAYMENT, payment(), time="yesterday")),
        body(PAYMENT, detail(PAYMENT, payment(operation="\ud800"))),
        body(PAYMENT, {**payment()}),
        body(PAYMENT, detail(PAYMENT, payment()), source="ordering"),
    ],
)
def test_malformed_events(site: Site, text: str) -> None:
    """Text that is no JSON, and events of a wrong type, version, shape or source, are rejected without a call."""
    with pytest.raises(MalformedEvent):
        site.incoming.handle(text)

    assert (site.faulty.calls, site.counted, site.reported) == ([], [], [])


def test_unknown_properties_are_ignored(site: Site) -> None:
    """Unknown properties of an event are ignored."""
    site.receive(PAYMENT, {**payment(), "iban": "DE00"}, trace="1")

    assert site.hundredths == 25050


# Payments -------------------------------------------------------------------------------------------------------------


def test_a_payment(site: Site) -> None:
    """A payment raises the balance by its amount and pays for waiting orders."""
    site.company.place(1)
    site.receive(PAYMENT, payment("250.50"))

    assert (site.hundredths, site.company.status()) == (15050, "Payed")


def test_a_payment_twice(site: Site) -> None:
    """A duplicate of a payment operation changes nothing, even in another event."""
    site.receive(PAYMENT, payment("250.50"))
    site.receive(PAYMENT, payment("250.5"), id=ID.replace("0", "f"))

    assert (site.hundredths, site.counted) == (25050, [])


def test_a_payment_with_another_amount(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A payment operation repeated with another amount is refused without a retry, logged and counted."""
    site.receive(PAYMENT, payment("1"))
    site.receive(PAYMENT, payment("2"))
    (record,) = warnings(caplog)

    assert (site.hundredths, site.counted) == (100, [EVENTS_REFUSED])
    assert {name: vars(record)[name] for name in ("event", "type", "reason")} == {
        "event": ID,
        "type": PAYMENT,
        "reason": "The top-up 'wire-1' was made with another amount.",
    }


@pytest.mark.parametrize("company", ["nobody", "northwind"])
@pytest.mark.parametrize("kind", [PAYMENT, CANCELLATION])
def test_unknown_company(site: Site, kind: str, company: str) -> None:
    """An event for an unknown partner, or for one without e-card orders, raises NotFound after a single read."""
    with pytest.raises(NotFound, match=company):
        site.receive(kind, payment(company=company) if kind == PAYMENT else of_ecards(company=company))

    assert site.faulty.calls == ["GetItem"]


# Certificates ---------------------------------------------------------------------------------------------------------


def test_stock(site: Site) -> None:
    """Certificates are decrypted, encrypted with our own context, and assigned to waiting orders."""
    site.company.top_up(100)
    site.company.place(1)
    site.company.orders.advance(order_id(1))
    site.receive(STOCK, site.stock())

    assert (site.company.status(), site.free(), site.codes(1, 2)) == ("ReadyForDelivery", 1, CODES)


def test_stock_twice(site: Site) -> None:
    """A duplicate of a batch changes nothing, even if its ciphertext differs."""
    site.receive(STOCK, site.stock())
    site.receive(STOCK, site.stock())

    assert (site.free(), site.counted) == (2, [])


@pytest.mark.parametrize("codes", [["OTHER", "SECRET-2"], ["SECRET-2", "SECRET-1"], ["NEW", "NEW"]])
def test_stock_with_other_codes(site: Site, codes: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """A known batch with other codes is refused without a retry, and no code is logged."""
    site.receive(STOCK, site.stock())
    with caplog.at_level(logging.DEBUG):
        site.receive(STOCK, site.stock(codes))
    logged = "".join(str(vars(record)) for record in caplog.records)

    assert (site.free(), site.counted, len(warnings(caplog))) == (2, [EVENTS_REFUSED], 1)
    assert not any(code in logged for code in [*codes, *CODES])


@pytest.mark.parametrize(
    "code",
    ["SECRET\ufeff", "SECRET\u200b", "SECRET \u202e", " SECRET", "SECRET ", "SEC  RET", "SEC\u00a0RET", "S\tECRET"],
)
def test_stock_with_an_invalid_code(site: Site, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """A batch with a code that would not arrive as it is is refused as a whole, by index, and no code is logged."""
    site.receive(STOCK, site.stock(["GOOD", code]))

    assert (site.free(), site.counted) == (0, [EVENTS_REFUSED])
    (warning,) = warnings(caplog)
    assert vars(warning)["reason"].startswith("invalid codes, by index: 1 has ")
    assert "SECRET" not in str(vars(warning))


@pytest.mark.parametrize("batch", ["b1", "b2", " b1", "b1\u00a0"])
def test_known_codes_are_not_loaded_again(site: Site, batch: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of a batch with known codes, whatever its name, the others are loaded; the event counts as refused."""
    site.company.load(2, Stock(HUNDRED.card_id, "1000 ₽"), "b1")
    site.receive(STOCK, site.stock(["NEW", "b1-1", "b1-0"], batch))

    assert (site.free(), site.codes(1, 1), site.counted) == (1, ["NEW"], [EVENTS_REFUSED])
    assert [vars(one)["reason"] for one in warnings(caplog)] == [
        "2 of 3 codes were in stock before and are not loaded again, by index: [1, 2]"
    ]


def test_codes_of_another_card_are_refused(site: Site) -> None:
    """A batch with a code that another card has is refused as a whole, unless the event forces it."""
    site.company.load(1, Stock(2, "500 ₽"), "b1")
    site.receive(STOCK, site.stock(["NEW", "b1-0"]))

    assert (site.free(), site.counted) == (0, [EVENTS_REFUSED])
    site.receive(STOCK, {**site.stock(["NEW", "b1-0"]), "force": True})
    assert (site.free(), site.counted) == (2, [EVENTS_REFUSED])


def test_stock_that_no_catalogue_has(site: Site) -> None:
    """Stock of a face value that is in no company's catalogue is refused, unless the event forces it."""
    site.company.publish(CARDS[1:])
    site.receive(STOCK, site.stock())

    assert (site.free(), site.counted) == (0, [EVENTS_REFUSED])
    site.receive(STOCK, {**site.stock(), "force": True})
    assert (site.free(), site.counted) == (2, [EVENTS_REFUSED])


def test_a_blank_name_of_a_batch(site: Site) -> None:
    """A batch whose name has nothing but blanks is refused."""
    site.receive(STOCK, site.stock(batch=" \u00a0"))

    assert (site.free(), site.counted) == (0, [EVENTS_REFUSED])


def test_stock_before_the_register_is_complete(site: Site) -> None:
    """Until the codes of earlier releases are registered, stock is retried and not loaded."""
    site.memory.load("OrdersTable", {**_without_index(site), "pk": {"S": "DIGEST_KEY"}, "sk": {"S": "-"}})
    with pytest.raises(NotIndexed, match="ordering stock index"):
        site.receive(STOCK, site.stock())

    assert (site.free(), site.counted) == (0, [])


def _without_index(site: Site) -> dict[str, Any]:
    found = {key: item for key, item in site.memory.scan("OrdersTable") if key == DIGEST_KEY}
    return {name: value for name, value in found[DIGEST_KEY].items() if name != "registered"}


def test_reason_for_many_duplicate_codes_is_short(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The logged reason stays short however many codes of a batch are duplicates."""
    site.receive(STOCK, site.stock(["SAME"] * 1000))

    assert [len(vars(record)["reason"]) for record in warnings(caplog)] == [300]


@pytest.mark.parametrize(
    "change",
    [{"cardId": 2}, {"faceValue": "50 ₽"}, {"batch": "b2"}, {"codes": "c2VhbGVk"}, {"codes": "AAAA"}, {"codes": "A"}],
)
def test_stock_encrypted_for_another_context(site: Site, change: Mapping[str, Any]) -> None:
    """Codes not encrypted for their card, value and batch are rejected before any call."""
    with pytest.raises(MalformedEvent, match="were not sealed for its card and batch"):
        site.receive(STOCK, {**site.stock(), **change})

    assert site.faulty.calls == []


@pytest.mark.parametrize(
    "codes", [b"SECRET", b"\xff", b"", [], {}, "SECRET", None, ["SECRET", ""], ["SECRET", 1], ["SECRET", "\ud800"]]
)
def test_codes_that_are_no_list_of_texts(site: Site, codes: Any) -> None:
    """A decrypted value other than a list of texts is rejected, and no error message contains it."""
    with pytest.raises(MalformedEvent) as raised:
        site.receive(STOCK, site.stock(codes))
    error: BaseException | None = raised.value

    assert "SECRET" not in f"{error}{error.__cause__ if error else ''}"
    assert site.faulty.calls == []


def test_errors_name_at_most_ten_codes(site: Site) -> None:
    """The error about malformed codes names at most ten places."""
    with pytest.raises(MalformedEvent) as raised:
        site.receive(STOCK, site.stock([1] * 1000))

    assert str(raised.value).endswith(f"at {', '.join(f'[{index}]' for index in range(10))}")


def test_sealing_contexts_differ() -> None:
    """Different batches have different encryption contexts, whatever characters their names have."""
    named = [(1, "1", "1"), (11, "", "1"), (1, "1/1", "1"), (1, "1", "1/1"), (1, "1#1", "1"), (1, "1 1", "1")]

    assert len({sealing_context(*one) for one in named}) == len(named)
    assert sealing_context(1, "100 ₽", "b 1") == "ordering.stock.loaded\n1\n100 ₽\nb 1".encode()


# Cancellations --------------------------------------------------------------------------------------------------------


def test_an_ecard_order_is_cancelled(site: Site) -> None:
    """A cancellation cancels and refunds an e-card order, with its id in either case; a duplicate changes nothing."""
    number = 0xABCDEF
    site.company.top_up(100)
    site.company.place(number)
    cancellation = of_ecards(number)
    assert cancellation["order"]["id"] != order_id(number)
    site.receive(CANCELLATION, cancellation)
    site.receive(CANCELLATION, cancellation)

    assert (site.company.status(number), site.hundredths, site.counted) == ("Cancelled", 10000, [])


def test_a_training_order_is_cancelled(site: Site) -> None:
    """A cancellation cancels a training order by its id alone; a duplicate changes nothing."""
    number = site.school.place(1)
    site.receive(CANCELLATION, of_training(number))
    site.receive(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.CANCELLED, [])


def test_too_late_for_a_training_order(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The cancellation of a training order that has its keys is refused, logged and counted."""
    number = site.school.place(1)
    site.school.issue(number)
    site.receive(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.COMPLETED, [CANCELLATIONS_REFUSED])
    assert [(record.message, vars(record)["type"]) for record in warnings(caplog)] == [("event refused", CANCELLATION)]


def test_too_late_for_an_ecard_order(site: Site) -> None:
    """The cancellation of a delivered e-card order is refused and counted."""
    site.company.top_up(100)
    site.company.load(1)
    site.company.place(1)
    site.company.orders.hand_over(site.company.orders.advance(order_id(1)), 1)
    site.receive(CANCELLATION, of_ecards())

    assert (site.company.status(), site.counted) == ("Delivered", [CANCELLATIONS_REFUSED])


@pytest.mark.parametrize("data", [of_training(7), of_ecards()])
def test_too_early(site: Site, data: Mapping[str, Any]) -> None:
    """The cancellation of an order that does not exist yet raises NotFound, so that it is retried."""
    with pytest.raises(NotFound):
        site.receive(CANCELLATION, data)

    assert site.counted == []


def test_completed_during_the_cancellation(site: Site) -> None:
    """The cancellation of an order that is completed concurrently is refused, not retried."""
    number = site.school.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.school.issue(number)))
    site.receive(CANCELLATION, of_training(number))

    assert (site.training_status(number), site.counted) == (TrainingStatus.COMPLETED, [CANCELLATIONS_REFUSED])


def test_cancelled_twice_at_once(site: Site) -> None:
    """The cancellation of an order that is cancelled concurrently succeeds."""
    site.company.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.company.orders.cancel(order_id(1))))
    site.receive(CANCELLATION, of_ecards())

    assert (site.company.status(), site.counted) == ("Cancelled", [])


def test_paid_during_the_cancellation(site: Site) -> None:
    """The cancellation of an order that is paid concurrently raises Conflict, and its retry cancels the order."""
    site.company.place(1)
    site.faulty.meet("TransactWriteItems", interrupted(lambda: site.company.top_up(100)))
    with pytest.raises(Conflict):
        site.receive(CANCELLATION, of_ecards())
    assert (site.company.status(), site.counted) == ("Payed", [])
    site.receive(CANCELLATION, of_ecards())

    assert (site.company.status(), site.hundredths) == ("Cancelled", 10000)


# Crashes --------------------------------------------------------------------------------------------------------------


def prepare(site: Site, kind: str) -> tuple[str, dict[str, Any]]:
    """Set up what an event of a kind needs; returns the event's type and data."""
    match kind:
        case "payment":
            site.company.place(1)
            return PAYMENT, payment("250")
        case "stock":
            site.company.top_up(100)
            site.company.place(1)
            site.company.orders.advance(order_id(1))
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
    """After a crash before or after any call, handling the event again has the same effect, once."""
    whole = Site()
    event = prepare(whole, kind)
    whole.receive(*event)
    wanted = outcome(whole)
    steps = len(whole.faulty.calls)

    for step in range(steps):
        site = Site()
        event = prepare(site, kind)
        site.faulty.meet(None, fault(Crash()), after=step)
        with pytest.raises(Crash):
            site.receive(*event)
        site.receive(*event)
        assert (step, outcome(site)) == (step, wanted)
    assert steps >= 3


@pytest.mark.parametrize("kind", ["payment", "stock", "ecards", "training"])
def test_tables_out_of_reach(site: Site, kind: str) -> None:
    """If the tables do not answer, the event raises Unavailable, so that it is retried."""
    event = prepare(site, kind)
    site.faulty.meet(None, cut, lasting=True)
    site.table = replace(site.table, patience=0.01)
    with pytest.raises(Unavailable):
        site.receive(*event)


# Mails ----------------------------------------------------------------------------------------------------------------


def of_mail(kind: str = "Email Delivered", event_type: str = "Delivery", **changes: Any) -> str:
    about = {"eventType": event_type, "mail": {"tags": {"order": ["training-7"]}}}
    return body(kind, about, **{"source": "aws.ses", **changes})


def test_mails(site: Site) -> None:
    """An event that changes a mail is reported, and any other is not."""
    site.incoming.handle(of_mail())
    site.incoming.handle(of_mail("Email Opened", "Open"))

    assert site.reported == [
        Notice({"order": ["training-7"]}, MailEventType.DELIVERED, None, datetime(2026, 1, 1, 12, tzinfo=UTC))
    ]
    assert site.faulty.calls == []


@pytest.mark.parametrize(
    "text",
    [
        of_mail("Email Lost", "Lost"),
        of_mail("Email Delivered", "Bounce"),
        of_mail(source="another sender"),
        body(PAYMENT, detail(PAYMENT, payment()), source="aws.ses"),
    ],
)
def test_malformed_mail_events(site: Site, text: str) -> None:
    """Malformed events of SES, and mail events of another source, are rejected without a call."""
    with pytest.raises(MalformedEvent):
        site.incoming.handle(text)

    assert (site.reported, site.faulty.calls) == ([], [])
