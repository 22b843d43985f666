"""Certificates of e-card orders: assigned, waited for and returned to stock; on a table in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.lifecycle import StatusChange
from ordering.ecards.assignment import STOCKS_AT_ONCE, Assignment
from ordering.ecards.catalogue import Ecard, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import Certificates, Ranges, Stock, read_stock_levels, size
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant, HeldCertificates
from ordering.ecards.statuses import EcardStatus
from ordering.errors import NotFound
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Faulty, interrupted, refused
from support.aws.memory import Memory

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
MANY = [Stock(1, f"{number:03}") for number in range(100)]
A, B = MANY[:2]
CARDS = [Ecard(1, "Books", "", "ruble", tuple(FaceValue(stock.face_value, Decimal(1)) for stock in MANY))]
JOHN = EcardParticipant("john@example.com", "John Doe", "79251153242")


class Labels:
    """A sealer that does not encrypt."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return context + plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return sealed.removeprefix(context)


@dataclass
class Shop:
    """Companies with money, and stock, on one table; each order is placed a minute after the one before."""

    table: Table = field(default_factory=lambda: Table(Memory(), "OrdersTable", first_pause=0.0))
    now: datetime = START

    def __post_init__(self) -> None:
        self.faulty = Faulty(self.table.send)
        self.recorder = Recorder(self.faulty)
        self.table = replace(self.table, send=self.recorder)
        self.assignment = Assignment(self.table, now=lambda: self.now)

    def company(self, name: str = "acme") -> EcardOrders:
        return EcardOrders(self.table, name, now=lambda: self.now)

    def place(self, order_id: str, *wanted: tuple[Stock, int], company: str = "acme", money: int = 10_000) -> None:
        self.now += timedelta(minutes=1)
        catalogue = EcardCatalogue(self.table, company)
        catalogue.publish(CARDS)
        orders = self.company(company)
        orders.top_up(order_id, Decimal(money))
        cards = [RequestedCard(stock.card_id, stock.face_value, count) for stock, count in wanted]
        orders.place(EcardRequest(order_id, JOHN, cards), company_name="Acme", catalogue=catalogue)

    def park(self, order_id: str, *wanted: tuple[Stock, int], company: str = "acme") -> None:
        self.place(order_id, *wanted, company=company)
        assert self.assignment.assign(company, order_id).status is EcardStatus.AWAITING

    def load(self, stock: Stock, count: int, batch: str = "l1") -> None:
        codes = [f"{stock}-{batch}-{number}" for number in range(count)]
        Certificates(self.table, Labels()).load(stock, batch, codes)

    def order(self, order_id: str, company: str = "acme") -> EcardOrder:
        return self.company(company).order(order_id)

    def statuses(self, *order_ids: str) -> list[str]:
        return [str(self.order(order_id).status) for order_id in order_ids]

    def free(self, stock: Stock) -> Ranges:
        return read_stock_levels(self.table, [stock])[stock].free

    def parked(self, stock: Stock) -> list[str]:
        return [item["orderId"] for item in self.table.query(f"PARKED#{stock}", " ", "\U0010ffff")]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def held(order: EcardOrder) -> list[tuple[Stock, int]]:
    return [(one.stock, size(one.ranges)) for one in order.assigned]


# Assigning -----------------------------------------------------------------------------------------------------------


def test_a_paid_order_gets_its_certificates(shop: Shop) -> None:
    """A paid order gets ranges of positions for each card and face value, merged over its lines."""
    shop.load(A, 10)
    shop.load(B, 10)
    shop.place("a", (B, 2), (A, 3), (B, 1))
    order = shop.assignment.assign("acme", "a")

    assert order == shop.order("a")
    assert order.assigned == (HeldCertificates(A, ((1, 3),)), HeldCertificates(B, ((1, 3),)))
    assert order.state.history[-1] == StatusChange(EcardStatus.READY, shop.now)
    assert (shop.free(A), shop.free(B)) == (((4, 10),), ((4, 10),))
    assert [entry.status for entry in shop.company().page(0, 9).items] == [EcardStatus.READY]


def test_assigning_again_changes_nothing(shop: Shop) -> None:
    """Assigning to an order that has its certificates changes nothing."""
    shop.load(A, 10)
    shop.place("a", (A, 3))

    assert shop.assignment.assign("acme", "a") == shop.assignment.assign("acme", "a")
    assert shop.free(A) == ((4, 10),)


def test_an_unpaid_order_gets_none(shop: Shop) -> None:
    """An order that waits for money gets no certificates."""
    shop.load(A, 3)
    shop.place("a", (A, 3), money=2)
    order = shop.assignment.assign("acme", "a")

    assert (order.status, order.assigned, shop.free(A)) == (EcardStatus.CREATED, (), ((1, 3),))


def test_assigning_costs_the_same(shop: Shop) -> None:
    """Assigning takes two reads and one transaction, however many certificates there are."""
    shop.load(A, 2_000)
    for order_id, count in (("a", 1), ("b", 1_000)):
        shop.place(order_id, (A, count))
        shop.recorder.calls.clear()
        shop.assignment.assign("acme", order_id)
        assert shop.recorder.operations == ["GetItem", "BatchGetItem", "TransactWriteItems"]
        assert len(shop.recorder.calls[-1][1]["TransactItems"]) == 3


def test_two_orders_at_once(shop: Shop) -> None:
    """If stock suffices for one of two concurrent orders, one gets it and the other waits."""
    shop.load(A, 3)
    shop.place("a", (A, 2))
    shop.place("b", (A, 2))
    shop.faulty.meet("TransactWriteItems", interrupted(lambda: shop.assignment.assign("acme", "b")))
    shop.assignment.assign("acme", "a")

    assert shop.statuses("a", "b") == ["AwaitingCertificateAssignment", "ReadyForDelivery"]
    assert (shop.parked(A), shop.free(A)) == (["a"], ((3, 3),))


def test_all_or_nothing(shop: Shop) -> None:
    """An order for which one stock is short takes nothing from its other stocks."""
    shop.load(A, 5)
    shop.park("a", (A, 1), (B, 1))

    assert (shop.order("a").assigned, shop.free(A), shop.parked(B)) == ((), ((1, 5),), ["a"])


def test_unknown_orders(shop: Shop) -> None:
    """Assigning to, or taking back from, an unknown order raises NotFound."""
    for ask in (shop.assignment.assign, shop.assignment.return_certificates):
        with pytest.raises(NotFound):
            ask("acme", "a")


# Waiting -------------------------------------------------------------------------------------------------------------


def test_an_order_waits_for_the_first_short_stock(shop: Shop) -> None:
    """An order waits for the first stock that is short, and only for that one."""
    shop.park("a", (B, 1), (A, 1))
    before = shop.order("a")

    assert (shop.parked(A), shop.parked(B), before.parked) == (["a"], [], A)
    assert before.state.history[-1] == StatusChange(EcardStatus.AWAITING, shop.now)
    assert shop.assignment.assign("acme", "a") == before


def test_new_stock_goes_to_waiting_orders(shop: Shop) -> None:
    """New stock goes to waiting orders, oldest first across all companies."""
    for order_id, company in (("c", "other"), ("b", "acme"), ("a", "other")):
        shop.park(order_id, (A, 2), company=company)
    assert shop.parked(A) == ["c", "b", "a"]
    shop.load(A, 5)
    shop.assignment.assign_parked(A)

    assert shop.parked(A) == ["a"]
    assert [shop.order("c", "other").status, shop.order("b").status] == [EcardStatus.READY] * 2
    assert shop.order("c", "other").assigned == (HeldCertificates(A, ((1, 2),)),)


def test_a_larger_order_does_not_block_smaller_ones(shop: Shop) -> None:
    """An order that needs more than is free keeps waiting, and later orders that fit are served."""
    shop.park("a", (A, 3))
    shop.park("b", (A, 1))
    shop.load(A, 2)
    shop.assignment.assign_parked(A)

    assert (shop.parked(A), shop.free(A)) == (["a"], ((2, 2),))


def test_an_order_waits_for_the_next_short_stock(shop: Shop) -> None:
    """An order that gets its first stock but lacks another waits for that one, without a status change."""
    shop.park("a", (A, 1), (B, 1))
    shop.load(A, 1)
    shop.assignment.assign_parked(A)
    order = shop.order("a")

    assert (shop.parked(A), shop.parked(B), order.parked, order.assigned) == ([], ["a"], B, ())
    assert [str(moment.status) for moment in order.state.history] == ["Payed", "AwaitingCertificateAssignment"]
    shop.load(B, 1)
    shop.assignment.assign_parked(B)
    assert held(shop.order("a")) == [(A, 1), (B, 1)]


def test_stock_that_arrives_as_an_order_is_parked(shop: Shop) -> None:
    """An order gets stock that arrives just before it would be parked."""

    def arrive() -> None:
        shop.load(A, 1)
        shop.assignment.assign_parked(A)

    shop.place("a", (A, 1))
    shop.faulty.meet("TransactWriteItems", interrupted(arrive))

    assert shop.assignment.assign("acme", "a").status is EcardStatus.READY
    assert shop.parked(A) == []


def test_assigning_to_waiting_orders_after_a_crash(shop: Shop) -> None:
    """Assigning to waiting orders can be repeated after a crash between two of them."""
    for order_id in "abc":
        shop.park(order_id, (A, 1))
    shop.load(A, 3)
    shop.faulty.meet("TransactWriteItems", refused(RuntimeError("crashed")), after=1)
    with pytest.raises(RuntimeError):
        shop.assignment.assign_parked(A)
    assert shop.parked(A) == ["b", "c"]
    for _ in range(2):
        shop.assignment.assign_parked(A)

    assert (shop.parked(A), shop.free(A)) == ([], ())


def test_nothing_free_costs_one_read(shop: Shop) -> None:
    """If nothing is free, waiting orders are not read."""
    shop.park("a", (A, 1))
    shop.recorder.calls.clear()
    shop.assignment.assign_parked(A)

    assert shop.recorder.operations == ["BatchGetItem"]


# Many stocks ---------------------------------------------------------------------------------------------------------


def stocked(shop: Shop, stocks: Sequence[Stock] = MANY) -> None:
    for stock in stocks:
        shop.load(stock, 1)


def test_the_largest_order_gets_all(shop: Shop) -> None:
    """An order for 100 stocks, more than one transaction can take from, is assigned in two."""
    stocked(shop)
    shop.place("a", *[(stock, 1) for stock in MANY])
    shop.recorder.calls.clear()
    order = shop.assignment.assign("acme", "a")

    assert (order.status, held(order)) == (EcardStatus.READY, [(stock, 1) for stock in MANY])
    assert shop.recorder.operations.count("TransactWriteItems") == 2
    assert all(shop.free(stock) == () for stock in MANY)


def crash_after_the_first_step(shop: Shop) -> EcardOrder:
    shop.faulty.meet("TransactWriteItems", refused(RuntimeError("crashed")), after=1)
    with pytest.raises(RuntimeError):
        shop.assignment.assign("acme", "a")
    return shop.order("a")


def test_a_crash_between_the_steps(shop: Shop) -> None:
    """After a crash between the two transactions the order is Payed with its first part; `advance` adds the rest."""
    stocked(shop)
    shop.place("a", *[(stock, 1) for stock in MANY])
    order = crash_after_the_first_step(shop)

    assert (order.status, len(order.assigned), order.state.version) == (EcardStatus.PAYED, 90, 2)
    assert shop.company().advance("a").status is EcardStatus.READY


def test_a_crash_between_the_steps_of_a_waiting_order(shop: Shop) -> None:
    """After such a crash a waiting order is parked at its next stock, where it is found again."""
    stocked(shop, MANY[1:])
    shop.park("a", *[(stock, 1) for stock in MANY])
    shop.load(A, 1)
    order = crash_after_the_first_step(shop)

    assert (order.status, order.parked) == (EcardStatus.AWAITING, MANY[90])
    assert (shop.parked(A), shop.parked(MANY[90])) == ([], ["a"])
    shop.assignment.assign_parked(MANY[90])
    assert (shop.order("a").status, shop.parked(MANY[90])) == (EcardStatus.READY, [])


def test_a_waiting_order_fits_its_transactions(shop: Shop) -> None:
    """The transactions for a waiting order of 100 stocks stay within the limit of writes."""
    stocked(shop, MANY[1:])
    shop.park("a", *[(stock, 1) for stock in MANY])
    shop.load(A, 1)
    shop.recorder.calls.clear()
    shop.assignment.assign_parked(A)
    sizes = [len(request["TransactItems"]) for name, request in shop.recorder.calls if name == "TransactWriteItems"]

    assert (shop.statuses("a"), sizes) == (["ReadyForDelivery"], [1 + STOCKS_AT_ONCE + 2, 2 + 10 + 1])


def test_short_at_the_second_step(shop: Shop) -> None:
    """An order that finds stock short in its second transaction keeps its first part and waits for the rest."""
    stocked(shop)
    shop.place("a", *[(stock, 1) for stock in MANY])
    shop.place("b", (MANY[95], 1))
    shop.faulty.meet("TransactWriteItems", interrupted(lambda: shop.assignment.assign("acme", "b")), after=1)
    order = shop.assignment.assign("acme", "a")

    assert (order.status, len(order.assigned), order.parked) == (EcardStatus.AWAITING, 90, MANY[95])
    shop.load(MANY[95], 1, "l2")
    shop.assignment.assign_parked(MANY[95])
    assert shop.order("a").status is EcardStatus.READY


def test_cancelled_between_the_steps(shop: Shop) -> None:
    """Cancelling an order between its two transactions returns what it held to stock."""
    stocked(shop)
    shop.place("a", *[(stock, 1) for stock in MANY])
    crash_after_the_first_step(shop)
    order = shop.company().cancel("a")

    assert (order.status, order.returning) == (EcardStatus.CANCELLED, ())
    assert all(shop.free(stock) == ((1, 1),) for stock in MANY)


# Returning -----------------------------------------------------------------------------------------------------------


def test_cancelled_while_waiting_for_stock(shop: Shop) -> None:
    """An order cancelled while it waits for stock gets none when stock arrives."""
    shop.park("a", (A, 1))
    shop.company().cancel("a")
    shop.load(A, 1)
    shop.assignment.assign_parked(A)

    assert (shop.statuses("a"), shop.parked(A), shop.free(A)) == (["Cancelled"], [], ((1, 1),))


def test_returned_certificates_go_to_waiting_orders(shop: Shop) -> None:
    """Certificates that a cancelled order returns go to orders that wait for them."""
    shop.load(A, 2)
    shop.place("a", (A, 2))
    shop.assignment.assign("acme", "a")
    shop.park("b", (A, 2), company="other")
    shop.company().cancel("a")

    assert shop.order("b", "other").assigned == (HeldCertificates(A, ((1, 2),)),)


def test_returned_once(shop: Shop) -> None:
    """If two processes return a cancelled order's certificates at once, they return once."""
    shop.load(A, 2)
    shop.load(B, 2)
    shop.place("a", (A, 2), (B, 1))
    shop.assignment.assign("acme", "a")
    # The cancellation itself is the first transaction, the first return the second.
    shop.faulty.meet(
        "TransactWriteItems", interrupted(lambda: shop.assignment.return_certificates("acme", "a")), after=1
    )
    order = shop.company().cancel("a")

    assert (order.returning, shop.free(A), shop.free(B)) == ((), ((1, 2),), ((1, 2),))


def test_nothing_to_take_back(shop: Shop) -> None:
    """Taking back from an order that has nothing to return changes nothing."""
    shop.load(A, 2)
    shop.place("a", (A, 2))
    ready = shop.assignment.assign("acme", "a")

    assert shop.assignment.return_certificates("acme", "a") == ready
    assert shop.free(A) == ()
