"""A company's e-card orders: created, paid, handed over, cancelled and listed; on a table in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.dynamodb import Check, NoAnswer, Put, Table, TransactionRefused
from ordering.book.lifecycle import StatusChange
from ordering.book.orderbook import OrderBook
from ordering.ecards import records as ecard_records
from ordering.ecards.catalogue import (
    Ecard,
    EcardCache,
    EcardCatalogue,
    FaceValue,
    NotOnOffer,
    PricedLine,
    RequestedCard,
)
from ordering.ecards.certificates import Certificates, Stock, read_stock_levels, size
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant, EcardSummary, HeldCertificates, order_of
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict, KeyReused, NotFound, Unavailable
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Faulty, answer_lost, conflict, interrupted, refused
from support.aws.memory import Memory
from support.services import Services

START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
HUNDRED, FIFTY = Stock(1, "100 ₽"), Stock(1, "50 ₽")
BOOKS = Ecard(1, "Books", "", "ruble", (FaceValue("100 ₽", Decimal(110)), FaceValue("50 ₽", Decimal("50.55"))))
JOHN = EcardParticipant("john@example.com", "John Doe", "79251153242")
FIRST, SECOND, THIRD = (f"{number:08x}-a5c1-4d97-b1fb-4f6772dffbeb" for number in (1, 2, 3))


class Labels:
    """A sealer that does not encrypt."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return context + plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return sealed.removeprefix(context)


@dataclass
class Company:
    """A company with a catalogue, on a table of its own, and a clock that stands still."""

    table: Table = field(default_factory=lambda: Table(Memory(), "OrdersTable", first_pause=0.0))
    now: datetime = START
    name: str = "acme"

    def __post_init__(self) -> None:
        self.faulty = Faulty(self.table.send)
        self.recorder = Recorder(self.faulty)
        self.table = replace(self.table, send=self.recorder)
        self.orders = EcardOrders(self.table, self.name, now=lambda: self.now)
        self.catalogue = EcardCatalogue(self.table, self.name, EcardCache(seconds=lambda: 0.0))
        self.catalogue.publish([BOOKS])

    def place(self, order_id: str = FIRST, quantity: int = 1, *, participant: EcardParticipant = JOHN) -> EcardOrder:
        return self.place_cards(order_id, RequestedCard(1, "100 ₽", quantity), participant=participant)

    def place_cards(self, order_id: str, *cards: RequestedCard, participant: EcardParticipant = JOHN) -> EcardOrder:
        request = EcardRequest(order_id, participant, cards)
        return self.orders.place(request, company_name="Acme", catalogue=self.catalogue)

    def load(self, count: int, stock: Stock = HUNDRED, batch: str = "l1") -> None:
        codes = [f"{batch}-{number}" for number in range(count)]
        Certificates(self.table, Labels()).load(stock, batch, codes)

    def top_up(self, amount: int | str, operation: str = "t1") -> None:
        self.orders.top_up(operation, Decimal(amount))

    def ready(self, quantity: int = 3) -> EcardOrder:
        self.top_up(1_000, "ready")
        self.load(quantity, batch="ready")
        self.place(quantity=quantity)
        return self.orders.advance(FIRST)

    def shard(self, order_id: str) -> str:
        item = self.table.get((f"ORDER#ecards#{self.name}#{order_id}", "ORDER")) or {}
        shard: str = item["unfinished"]
        return shard

    def statuses(self) -> list[str]:
        return [str(summary.status) for summary in reversed(self.orders.page(0, 100).items)]

    @property
    def amount(self) -> Decimal:
        return self.orders.balance.amount()

    def free(self, stock: Stock = HUNDRED) -> int:
        return read_stock_levels(self.table, [stock])[stock].count

    def partition(self, partition: str) -> list[Any]:
        return [*self.table.query(partition, " ", "\U0010ffff")]


@pytest.fixture
def company() -> Company:
    return Company()


def later(company: Company, minutes: int) -> datetime:
    company.now = START + timedelta(minutes=minutes)
    return company.now


# Creating ------------------------------------------------------------------------------------------------------------


def test_a_covered_order_is_paid(company: Company) -> None:
    """An order that the balance covers to the cent is created as Payed and debited."""
    company.top_up("160.55")
    order = company.place_cards(FIRST, RequestedCard(1, "100 ₽", 1), RequestedCard(1, "50 ₽", 1))

    assert order == EcardOrder(
        id=FIRST,
        company="acme",
        number=1,
        created=START,
        state=order.state,
        participant=JOHN,
        login="john@example.com_Acme",
        lines=(PricedLine(1, "100 ₽", 1, "Books", Decimal(110)), PricedLine(1, "50 ₽", 1, "Books", Decimal("50.55"))),
        total=Decimal("160.55"),
        debited=Decimal("160.55"),
        fingerprint=order.fingerprint,
    )
    assert (order.status, order.state.version) == (EcardStatus.PAYED, 1)
    assert order.state.history == (StatusChange(EcardStatus.PAYED, START),)
    assert (company.orders.order(FIRST), company.amount) == (order, Decimal(0))
    assert [(entry.purpose, entry.amount) for entry in company.orders.balance.entries()] == [
        (f"debit#{FIRST}", Decimal("-160.55")),
        ("topup#t1", Decimal("160.55")),
    ]


def test_an_order_that_is_not_covered_waits(company: Company) -> None:
    """An order that exceeds the balance by a cent is Created, and nothing is debited."""
    company.top_up("109.99")
    order = company.place()

    assert (order.status, order.debited, company.amount) == (EcardStatus.CREATED, Decimal(0), Decimal("109.99"))
    assert (company.orders.order(FIRST), order.state.history) == (order, (StatusChange(EcardStatus.CREATED, START),))
    assert [(item["orderId"], item["total"]) for item in company.partition("WAITING#acme")] == [(FIRST, 11_000)]


def test_an_order_for_nothing_is_paid(company: Company) -> None:
    """An order with a total of 0 is Payed without a balance or a ledger entry."""
    company.catalogue.publish([replace(BOOKS, face_values=(FaceValue("100 ₽", Decimal(0)),))])

    assert company.place().status is EcardStatus.PAYED
    assert [*company.orders.balance.entries()] == []


def test_a_new_order_does_not_queue(company: Company) -> None:
    """A covered order is paid at once, even if older orders wait for money."""
    company.place(FIRST, 10)
    company.top_up(110)
    company.place(SECOND, 1)

    assert company.statuses() == ["Created", "Payed"]


def test_the_total_is_exact(company: Company) -> None:
    """The total is the exact sum of price times quantity, even for the largest order and for repeated cards."""
    order = company.place_cards(FIRST, *[RequestedCard(1, "50 ₽", 1_000)] * 100)

    assert (order.total, order.quantity) == (Decimal(5_055_000), 100_000)
    assert company.place_cards(SECOND, RequestedCard(1, "50 ₽", 3), RequestedCard(1, "50 ₽", 4)).total == Decimal(
        "353.85"
    )


def test_creating_takes_three_round_trips(company: Company) -> None:
    """Creating an order takes three calls once its catalogue is cached."""
    company.top_up(110)
    company.catalogue.ecards()
    company.recorder.calls.clear()
    company.place()

    assert company.recorder.operations == ["BatchGetItem", "UpdateItem", "TransactWriteItems"]


def test_cards_that_are_not_offered(company: Company) -> None:
    """An order for cards that are not offered is refused and leaves no trace."""
    with pytest.raises(NotOnOffer) as raised:
        company.place_cards(FIRST, RequestedCard(1, "100 ₽", 1), RequestedCard(1, "3", 1), RequestedCard(9, "100 ₽", 1))

    assert raised.value.missing == ((1, "face value"), (2, "card"))
    with pytest.raises(NotFound):
        company.orders.order(FIRST)
    assert company.orders.page(0, 20).total == 0


def test_the_same_order_again(company: Company) -> None:
    """A duplicate create changes nothing and returns the order as it is now, even if the catalogue has changed."""
    company.top_up(110)
    company.load(1)
    company.place()
    now = company.orders.advance(FIRST)
    company.catalogue.publish([])

    assert company.place() == now
    assert (now.status, company.amount, company.orders.page(0, 20).total) == (EcardStatus.READY, Decimal(0), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda company: company.place(FIRST, 2),
        lambda company: company.place_cards(FIRST, RequestedCard(1, "50 ₽", 1)),
        lambda company: company.place_cards(FIRST, RequestedCard(1, "100 ₽", 1), RequestedCard(1, "100 ₽", 1)),
        lambda company: company.place(participant=replace(JOHN, email="x@example.com")),
        lambda company: company.place(participant=replace(JOHN, name="x")),
        lambda company: company.place(participant=replace(JOHN, phone="x")),
    ],
)
def test_another_order_under_the_same_id(company: Company, change: Callable[[Company], object]) -> None:
    """A different request under an existing order's id raises KeyReused and changes nothing."""
    order = company.place()

    with pytest.raises(KeyReused):
        change(company)
    assert company.orders.order(FIRST) == order


@pytest.mark.parametrize("amount", [0, 110, 220])
def test_the_same_order_at_once(company: Company, amount: int) -> None:
    """Two concurrent equal requests create one order, and both return it."""
    if amount:
        company.top_up(amount)
    company.faulty.meet("TransactWriteItems", interrupted(company.place))
    order = company.place()

    assert order == company.orders.order(FIRST)
    assert (company.amount + order.debited, len(company.statuses())) == (Decimal(amount), 1)


def test_two_orders_at_once_with_money_for_one(company: Company) -> None:
    """If the balance covers one of two concurrent orders, one is paid and the other waits."""
    company.top_up(110)
    company.faulty.meet("TransactWriteItems", interrupted(lambda: company.place(SECOND)))
    order = company.place(FIRST)

    assert (order.status, company.orders.order(SECOND).status) == (EcardStatus.CREATED, EcardStatus.PAYED)
    assert (company.amount, order.number) == (Decimal(0), 3)


def test_a_top_up_as_an_order_is_created(company: Company) -> None:
    """An order is created as Payed if a top-up covers it between its read and its write."""
    company.faulty.meet("TransactWriteItems", interrupted(lambda: company.top_up(110)))

    assert company.place().status is EcardStatus.PAYED


@pytest.mark.parametrize("fault", [answer_lost, conflict])
def test_a_create_that_is_retried(company: Company, fault: Any) -> None:
    """A create whose answer is lost, or that conflicts with another transaction, makes one order, debited once."""
    company.top_up(250)
    company.faulty.meet("TransactWriteItems", fault)
    order = company.place()

    assert (company.orders.order(FIRST), company.amount, company.statuses()) == (order, Decimal(140), ["Payed"])


def test_companies_have_their_own(company: Company) -> None:
    """The same order id at another company is another order, with its own number and balance."""
    other = Company(replace(company.table), name="other")
    company.top_up(110)
    company.place()

    with pytest.raises(NotFound):
        other.orders.order(FIRST)
    assert other.place().number == 1
    assert (company.statuses(), other.statuses()) == (["Payed"], ["Created"])


# Reading -------------------------------------------------------------------------------------------------------------


def test_lists_are_newest_first(company: Company) -> None:
    """A list has the newest orders first, with all fields of the contract and the total."""
    company.top_up(110)
    for minutes, order_id in enumerate((FIRST, SECOND, THIRD)):
        later(company, minutes)
        company.place(order_id)

    page = company.orders.page(1, 2)
    assert page.total == 3
    assert [*page.items] == [
        EcardSummary(
            id=order_id,
            number=number,
            created=START + timedelta(minutes=number - 1),
            status=status,
            login="john@example.com_Acme",
            total=Decimal(110),
        )
        for order_id, number, status in ((SECOND, 2, EcardStatus.CREATED), (FIRST, 1, EcardStatus.PAYED))
    ]
    assert [*company.orders.page(3, 2).items] == []


def test_stored_orders_are_read(company: Company) -> None:
    """An order is read as it was written, in every status."""
    ready = company.ready()
    handed = company.orders.hand_over(ready, 1)

    assert company.orders.order(FIRST) == handed
    cancelled = company.orders.cancel(FIRST)
    assert company.orders.order(FIRST) == cancelled


def test_order_of_a_partition(company: Company) -> None:
    """Company and order id are read from an order's partition; other partitions give None."""
    company.place()

    assert order_of(f"ORDER#ecards#a#b#{FIRST}") == ("a#b", FIRST)
    assert order_of("ORDER#training#1") is None
    assert len(company.partition(f"ORDER#ecards#acme#{FIRST}")) == 1


# Paying --------------------------------------------------------------------------------------------------------------


def test_a_top_up_pays_a_waiting_order(company: Company) -> None:
    """A top-up pays a waiting order that it covers, and the history has the time."""
    company.place()
    at = later(company, 5)
    company.top_up(120)

    order = company.orders.order(FIRST)
    assert (order.status, order.debited, company.amount) == (EcardStatus.PAYED, Decimal(110), Decimal(10))
    assert order.state.history == (StatusChange(EcardStatus.CREATED, START), StatusChange(EcardStatus.PAYED, at))
    assert (company.statuses(), company.partition("WAITING#acme")) == (["Payed"], [])


def test_oldest_first(company: Company) -> None:
    """Waiting orders are paid oldest first, and one that is not covered does not hold up later ones."""
    for order_id, quantity in ((FIRST, 1), (SECOND, 5), (THIRD, 1)):
        company.place(order_id, quantity)
    company.top_up(110, "t1")
    assert company.statuses() == ["Payed", "Created", "Created"]
    company.top_up(330, "t2")
    assert company.statuses() == ["Payed", "Created", "Payed"]
    company.top_up(330, "t3")
    assert company.statuses() == ["Payed", "Payed", "Payed"]
    assert company.amount == Decimal(0)


def test_paying_after_a_crash(company: Company) -> None:
    """After a crash before its payments, repeating the top-up or `pay_waiting` pays the waiting orders."""
    for order_id in (FIRST, SECOND):
        company.place(order_id)
    company.faulty.meet("Query", refused(RuntimeError("crashed")))
    with pytest.raises(RuntimeError):
        company.top_up(220)
    assert company.statuses() == ["Created", "Created"]

    company.faulty.meet("TransactWriteItems", refused(RuntimeError("crashed")), after=2)
    with pytest.raises(RuntimeError):
        company.top_up(220)
    assert company.statuses() == ["Payed", "Created"]

    company.orders.pay_waiting()
    assert (company.statuses(), company.amount) == (["Payed", "Payed"], Decimal(0))


def test_balance_spent_while_paying(company: Company) -> None:
    """If a new order takes the money first, the waiting order keeps waiting, and a later covered one is paid."""
    for order_id, quantity in ((FIRST, 2), (SECOND, 1)):
        company.place(order_id, quantity)
    company.orders.balance.top_up("t1", Decimal(220), START)
    company.faulty.meet("TransactWriteItems", interrupted(lambda: company.place(THIRD)))
    company.orders.pay_waiting()

    assert (company.statuses(), company.amount) == (["Created", "Payed", "Payed"], Decimal(0))


def test_nothing_to_pay_with_costs_one_read(company: Company) -> None:
    """If the balance is empty, waiting orders are not read."""
    company.place()
    company.recorder.calls.clear()
    company.orders.pay_waiting()

    assert company.recorder.operations == ["GetItem"]


def test_one_order_is_paid_by_itself(company: Company) -> None:
    """A look at an order that waits for money pays it once the balance covers it, and no other order."""
    for order_id in (FIRST, SECOND):
        company.place(order_id)
    company.orders.pay_order(SECOND)
    before = company.statuses()
    company.orders.balance.top_up("t1", Decimal(220), START)
    for _ in range(2):
        company.orders.pay_order(SECOND)

    assert (before, company.statuses(), company.amount) == (["Created"] * 2, ["Created", "Payed"], Decimal(110))


def test_a_look_at_an_order_that_waits_for_money_costs_two_reads(company: Company) -> None:
    """However many orders of a company wait, a look at one of them reads it and the balance."""
    for order_id in (FIRST, SECOND, THIRD):
        company.place(order_id)
    company.orders.balance.top_up("t1", Decimal(1), START)
    company.recorder.calls.clear()
    company.orders.pay_order(SECOND)

    assert company.recorder.operations == ["GetItem", "GetItem"]


def test_marks_of_waiting_orders(company: Company) -> None:
    """The mark of an order tells whether it waits for money or stock, from its creation on, and since when."""
    company.place(FIRST)
    created = company.shard(FIRST)
    company.top_up(110)
    payed = company.shard(FIRST)
    company.orders.advance(FIRST)

    assert [created[:6], payed[:5], company.shard(FIRST)[:6]] == ["WAITS#", "WORK#", "WAITS#"]
    assert created[6:] == payed[5:]


# Handing over --------------------------------------------------------------------------------------------------------


def test_certificates_are_handed_over(company: Company) -> None:
    """Handing over some certificates makes the order PartiallyDelivered, and the last ones Delivered."""
    order, statuses = company.ready(4), []
    for count in (1, 2, 1):
        order = company.orders.hand_over(order, count)
        statuses.append(
            (str(order.status), order.delivered, [held.ranges for held in order.certificates(order.delivered, 4)])
        )

    assert statuses == [
        ("PartiallyDelivered", 1, [((2, 4),)]),
        ("PartiallyDelivered", 3, [((4, 4),)]),
        ("Delivered", 4, []),
    ]
    assert [str(moment.status) for moment in order.state.history] == [
        "Payed",
        "ReadyForDelivery",
        "PartiallyDelivered",
        "Delivered",
    ]
    assert company.statuses() == ["Delivered"]


def test_all_at_once(company: Company) -> None:
    """Handing over all certificates at once makes the order Delivered."""
    assert company.orders.hand_over(company.ready(), 3).status is EcardStatus.DELIVERED


@pytest.mark.parametrize("count", [0, -1])
def test_hand_over_of_no_certificates(company: Company, count: int) -> None:
    """Handing over fewer than one certificate raises ValueError."""
    with pytest.raises(ValueError, match="certificates"):
        company.orders.hand_over(company.ready(), count)


def test_more_than_there_are(company: Company) -> None:
    """Handing over more certificates than are left raises Conflict with the number left."""
    order = company.orders.hand_over(company.ready(), 1)

    with pytest.raises(Conflict, match="2 certificates left to hand over, not 3"):
        company.orders.hand_over(order, 3)
    assert company.orders.order(FIRST) == order


@pytest.mark.parametrize("prepare", [lambda _: None, lambda company: company.top_up(110)])
def test_hand_over_before_the_order_is_ready(company: Company, prepare: Callable[[Company], object]) -> None:
    """Handing over certificates of an order that has none yet raises Conflict."""
    prepare(company)

    with pytest.raises(Conflict, match="delivery cannot make it"):
        company.orders.hand_over(company.place(), 1)


def test_an_order_that_has_changed_is_not_handed_over(company: Company) -> None:
    """Of two hand-overs based on the same read, the second raises Conflict."""
    order = company.ready()
    company.orders.hand_over(order, 1)

    with pytest.raises(Conflict, match="has changed since it was ReadyForDelivery"):
        company.orders.hand_over(order, 1)
    assert company.orders.order(FIRST).delivered == 1


def test_a_hand_over_whose_answer_is_lost(company: Company) -> None:
    """A hand-over whose answer is lost succeeds, even if the order was cancelled right after it."""
    order = company.ready()

    def overtaken(send: Any, operation: str, request: dict[str, Any]) -> Any:
        send(operation, request)
        company.orders.cancel(FIRST)
        raise NoAnswer("cut")

    company.faulty.meet("TransactWriteItems", overtaken)

    assert company.orders.hand_over(order, 1).status is EcardStatus.PARTIALLY_DELIVERED
    cancelled = company.orders.order(FIRST)
    assert (cancelled.status, cancelled.delivered, company.free()) == (EcardStatus.CANCELLED, 1, 2)


# In transit ----------------------------------------------------------------------------------------------------------

UNSENT = Check(("MAIL", "1"), "attribute_not_exists(pk)")
"""Holds as long as the mail has not been claimed."""


def in_transit(company: Company, quantity: int = 3, count: int = 2) -> EcardOrder:
    return company.orders.begin_hand_over(company.ready(quantity), count)


def test_in_transit_and_handed_over(company: Company) -> None:
    """Certificates in transit are the next ones of the order, and count as delivered once they arrive."""
    order = in_transit(company)
    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.READY, 0, 2)
    assert order.certificates_in_transit() == (HeldCertificates(HUNDRED, ((1, 2),)),)
    assert order.certificates(order.delivered, order.quantity) == (HeldCertificates(HUNDRED, ((1, 3),)),)
    order = company.orders.end_hand_over(order)
    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.PARTIALLY_DELIVERED, 2, 0)
    order = company.orders.end_hand_over(company.orders.begin_hand_over(order, 1))

    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.DELIVERED, 3, 0)
    assert company.orders.order(FIRST) == order


def test_chosen_by_rank(company: Company) -> None:
    """Certificates are counted across all stocks of an order and all ranges of a stock."""
    order = replace(
        company.ready(1), assigned=(HeldCertificates(HUNDRED, ((1, 2), (5, 7))), HeldCertificates(FIFTY, ((3, 4),)))
    )

    assert order.certificates(0, 7) == order.assigned
    assert order.certificates(1, 2) == (HeldCertificates(HUNDRED, ((2, 2), (5, 5))),)
    assert order.certificates(4, 2) == (HeldCertificates(HUNDRED, ((7, 7),)), HeldCertificates(FIFTY, ((3, 3),)))
    assert order.certificates(6, 9) == (HeldCertificates(FIFTY, ((4, 4),)),)
    assert (order.certificates(7, 1), order.certificates(2, 0)) == ((), ())


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_else_while_some_are_in_transit(company: Company, count: int) -> None:
    """While some certificates are in transit, no others can be sent or handed over."""
    order = in_transit(company)

    for act in (company.orders.hand_over, company.orders.begin_hand_over):
        with pytest.raises(Conflict, match="has 2 certificates in transit"):
            act(order, count)
    assert company.orders.order(FIRST) == order


def test_invalid_hand_overs(company: Company) -> None:
    """A hand-over cannot begin with no certificates, with more than are left, or before the order is ready."""
    order = company.ready()

    with pytest.raises(ValueError, match="certificates"):
        company.orders.begin_hand_over(order, 0)
    with pytest.raises(Conflict, match="3 certificates left"):
        company.orders.begin_hand_over(order, 4)
    with pytest.raises(Conflict, match="delivery cannot make it"):
        company.orders.begin_hand_over(company.place(SECOND), 1)


def test_cancelled_with_certificates_in_transit(company: Company) -> None:
    """A cancellation returns only certificates that are not in transit; those that then arrive count as delivered."""
    in_transit(company)
    order = company.orders.cancel(FIRST)
    assert (order.returning, order.in_transit, company.free()) == ((), 2, 1)
    order = company.orders.end_hand_over(order)

    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.CANCELLED, 2, 0)
    assert company.free() == 1


def test_taken_back(company: Company) -> None:
    """Certificates that were certainly not sent are no longer in transit, and the status stays."""
    order = company.orders.undo_hand_over(in_transit(company), UNSENT)

    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.READY, 0, 0)
    assert (company.free(), company.orders.order(FIRST)) == (0, order)


def test_taken_back_after_a_cancellation(company: Company) -> None:
    """Certificates in transit of a cancelled order return to stock together with those still to be returned."""
    in_transit(company)
    company.faulty.meet("TransactWriteItems", refused(Unavailable()), after=1)
    order = company.orders.cancel(FIRST)
    assert (order.returning, company.free()) == ((HeldCertificates(HUNDRED, ((3, 3),)),), 0)
    order = company.orders.undo_hand_over(order, UNSENT)

    assert (order.returning, order.in_transit, company.free()) == ((), 0, 3)


@pytest.mark.parametrize("cancelled", [False, True])
def test_not_taken_back_once_they_may_be_sent(company: Company, cancelled: bool) -> None:  # noqa: FBT001 - a parameter
    """Certificates in transit are not taken back if the check that they were not sent fails."""
    order = in_transit(company)
    if cancelled:
        order = company.orders.cancel(FIRST)
    company.table.put(Put({"pk": "MAIL", "sk": "1"}))

    with pytest.raises(Conflict):
        company.orders.undo_hand_over(order, UNSENT)
    assert company.orders.order(FIRST) == order


def test_unchanged(company: Company) -> None:
    """A transaction that requires an order as it was read is refused once the order has changed."""
    order = in_transit(company)
    check = company.orders.unchanged(order)
    company.table.transact([check, Put({"pk": "X", "sk": "1"})])
    company.orders.cancel(FIRST)

    with pytest.raises(TransactionRefused):
        company.table.transact([check, Put({"pk": "X", "sk": "2"})])


def test_older_orders_have_none_in_transit(company: Company) -> None:
    """An older order without the attribute for certificates in transit has none in transit."""
    order = company.ready()
    (item,) = company.partition(f"ORDER#ecards#acme#{FIRST}")
    del item["handing"]
    company.table.put(Put(item))

    assert company.orders.order(FIRST) == order


# Cancelling ----------------------------------------------------------------------------------------------------------


def test_an_unpaid_order_is_cancelled(company: Company) -> None:
    """Cancelling an unpaid order refunds nothing, and the order no longer waits for money."""
    company.place()
    at = later(company, 5)
    order = company.orders.cancel(FIRST)
    company.top_up(110)

    assert order.state.history == (StatusChange(EcardStatus.CREATED, START), StatusChange(EcardStatus.CANCELLED, at))
    assert (company.statuses(), company.amount, company.partition("WAITING#acme")) == (["Cancelled"], Decimal(110), [])


def test_a_paid_order_is_refunded(company: Company) -> None:
    """The refund of a cancelled order pays orders that wait for money."""
    company.top_up(110)
    company.place(FIRST)
    company.place(SECOND)
    company.orders.cancel(FIRST)

    assert (company.statuses(), company.amount) == (["Cancelled", "Payed"], Decimal(0))
    assert {f"debit#{FIRST}", f"refund#{FIRST}", f"debit#{SECOND}", "topup#t1"} == {
        entry.purpose for entry in company.orders.balance.entries()
    }


def test_undelivered_certificates_return(company: Company) -> None:
    """Undelivered certificates of a cancelled order return to stock, and the refund is for the whole order."""
    company.orders.hand_over(company.ready(3), 2)
    order = company.orders.cancel(FIRST)

    assert (order.returning, company.free(), company.amount) == ((), 1, Decimal(1_000))
    assert (order.delivered, order.assigned) == (2, (HeldCertificates(HUNDRED, ((1, 3),)),))


@pytest.mark.parametrize("end", ["deliver", "cancel"])
def test_cancelling_a_final_order(company: Company, end: str) -> None:
    """Cancelling a delivered or cancelled order raises Conflict and refunds nothing."""
    order = company.ready()
    if end == "deliver":
        company.orders.hand_over(order, 3)
    else:
        company.orders.cancel(FIRST)
    before = company.amount

    with pytest.raises(Conflict, match="is final"):
        company.orders.cancel(FIRST)
    assert company.amount == before


def test_a_cancellation_and_a_payment_at_once(company: Company) -> None:
    """A cancellation that loses a race to a payment raises Conflict, and the order stays Payed."""
    company.place()
    company.faulty.meet("TransactWriteItems", interrupted(lambda: company.top_up(110)))

    with pytest.raises(Conflict, match="has changed since it was Created"):
        company.orders.cancel(FIRST)
    assert (company.statuses(), company.amount) == (["Payed"], Decimal(0))


def test_certificates_return_after_a_crash(company: Company) -> None:
    """After a crash of a cancellation, carrying on returns its certificates once."""
    company.ready()
    company.faulty.meet("TransactWriteItems", refused(RuntimeError("crashed")), after=1)
    with pytest.raises(RuntimeError):
        company.orders.cancel(FIRST)
    order = company.orders.order(FIRST)

    assert (order.status, [size(held.ranges) for held in order.returning]) == (EcardStatus.CANCELLED, [3])
    assert (company.free(), company.amount) == (0, Decimal(1_000))
    for _ in range(2):
        assert company.orders.advance(FIRST).returning == ()
        assert company.free() == 3


def test_cancelled_before_certificates_return(company: Company) -> None:
    """A cancellation succeeds even if its certificates cannot be returned in time."""
    company.ready()
    company.faulty.meet("BatchGetItem", refused(Unavailable()))

    assert company.orders.cancel(FIRST).status is EcardStatus.CANCELLED


def test_unknown_orders(company: Company) -> None:
    """Reading, cancelling and carrying on with an unknown order raise NotFound."""
    for ask in (company.orders.order, company.orders.cancel, company.orders.advance):
        with pytest.raises(NotFound):
            ask(FIRST)


# Across operations ---------------------------------------------------------------------------------------------------


def test_writers_are_forgotten(company: Company) -> None:
    """An order stores only its last writers, so that it does not grow with its changes."""
    order = company.ready(9)
    for _ in range(9):
        order = company.orders.hand_over(order, 1)

    assert len(company.orders.order(FIRST).writers) == ecard_records._WRITERS


def test_the_book_is_settled(company: Company) -> None:
    """Settling a company's book reaches its last order."""
    company.place(FIRST)
    company.place(SECOND)

    assert company.orders.settle() == 2
    assert OrderBook(company.table, "ecards#acme").page(0, 9).total == 2


def test_on_another_engine(services: Services) -> None:
    """All operations also work on moto, which parses their expressions as DynamoDB does."""
    company = Company(Table(services.send, "OrdersTable"))
    company.place(FIRST, 2)
    company.place(SECOND, 1)
    company.top_up(330)
    waiting = company.orders.advance(FIRST)
    company.load(3)
    company.orders._assignment.assign_parked(HUNDRED)
    company.orders.advance(SECOND)
    company.orders.hand_over(company.orders.order(FIRST), 1)
    company.orders.cancel(FIRST)
    company.orders.hand_over(company.orders.order(SECOND), 1)

    assert waiting.status is EcardStatus.AWAITING
    assert (company.statuses(), company.amount, company.free()) == (["Cancelled", "Delivered"], Decimal(220), 1)
