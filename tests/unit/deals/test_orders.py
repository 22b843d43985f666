"""Deal orders below HTTP: lost answers, concurrent calls, and what a removal leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import Table
from ordering.book.orderbook import GRACE
from ordering.book.sorted_lists import ListRequest
from ordering.clock import Deadline
from ordering.deals import orders as deal_orders
from ordering.deals.orders import DealOrders, DealTaken, NewLine, OrderFull, account_of
from ordering.deals.products import DealProduct, DealProducts, NewProduct
from ordering.errors import NotFound, Unavailable
from ordering.identifiers import LARGEST_NUMBER, LARGEST_SAFE_NUMBER
from ordering.money import Money
from support.aws.faults import Crash, Faulty, answer_lost, conflict, cut, failed, interrupted, refused, throttled
from support.aws.memory import Memory
from support.deals import Watch

TABLE = "Table"
FIVE = Decimal(5)
PRODUCT = DealProduct(
    id=1,
    name="Licence",
    prices=(Money("EUR", Decimal(10)),),
    created=datetime(2024, 1, 1, tzinfo=UTC),
    updated=datetime(2024, 1, 1, tzinfo=UTC),
)
NEW = NewLine(PRODUCT, Decimal(10), "EUR", Decimal(0), 1)
FAULTS = pytest.mark.parametrize("fault", [answer_lost, cut, conflict, throttled, failed], ids=lambda one: one.__name__)


class Setting:
    """One account, seen by two processes that share a table; the calls of `slow` can meet faults."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.faulty = Faulty(self.memory)
        self.watch = Watch()
        self.slow = DealOrders(Table(self.faulty, TABLE, first_pause=0.001), "crm", self.watch)
        self.fast = DealOrders(Table(self.memory, TABLE, first_pause=0.001), "crm", self.watch)

    def deals(self) -> list[tuple[int, int]]:
        """The id and deal of every order, as a list shows them after the grace time."""
        self.watch.pass_(GRACE.total_seconds() + 1)
        return [(one.id, one.deal_id) for one in self.fast.part(ListRequest(0, 100), "me").items]

    def order_of(self, deal: int) -> list[int]:
        return [one.id for one in self.fast.part(ListRequest(0, 100), "me", deal).items]

    def lines(self, order_id: int = 1) -> list[int]:
        self.watch.pass_(GRACE.total_seconds() + 1)
        return [one.id for one in self.fast.lines(order_id).part(ListRequest(0, 100), "me").items]

    def partitions(self) -> set[str]:
        """The partitions that have items."""
        return {partition for (partition, _), _ in self.memory.scan(TABLE)}


@pytest.fixture
def setting() -> Setting:
    return Setting()


@FAULTS
@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_place_despite_a_fault(setting: Setting, operation: str, fault: object) -> None:
    """A create that meets a fault at any call places exactly one order and returns it."""
    setting.faulty.meet(operation, fault)  # type: ignore[arg-type] # each is a fault

    placed = setting.slow.place(12, FIVE)

    assert setting.deals() == [(placed.id, 12)]
    assert setting.order_of(12) == [placed.id]
    assert setting.fast.order(placed.id) == placed


def test_placed_and_removed_before_the_answer(setting: Setting) -> None:
    """A create whose answer is lost returns its order, even if the order was removed and its deal reused in between."""

    def reuse_the_deal() -> None:
        setting.fast.remove(1)
        setting.fast.place(12, Decimal(7))

    setting.faulty.meet("TransactWriteItems", answer_lost)
    setting.faulty.meet("TransactWriteItems", interrupted(reuse_the_deal))

    assert setting.slow.place(12, FIVE).id == 1
    assert setting.deals() == [(2, 12)]


def test_place_of_a_crashed_writer(setting: Setting) -> None:
    """A create that crashed between its calls leaves neither an order nor a claim on the deal."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(12, FIVE)

    assert setting.deals() == []
    assert setting.order_of(12) == []
    assert setting.fast.place(12, FIVE).id == 2


def test_one_deal_taken_at_once(setting: Setting) -> None:
    """Of two concurrent creates for one deal, one raises DealTaken."""
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.place(12, Decimal(1))))

    with pytest.raises(DealTaken):
        setting.slow.place(12, FIVE)
    assert setting.deals() == [(2, 12)]


def test_a_deal_freed_at_once(setting: Setting) -> None:
    """A create succeeds if the deal's order is removed at the same time."""
    setting.fast.place(12, FIVE)
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.remove(1)))

    assert setting.slow.place(12, FIVE).id == 2
    assert setting.deals() == [(2, 12)]


@FAULTS
@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem", "TransactWriteItems"])
def test_remove_despite_a_fault(setting: Setting, operation: str, fault: object) -> None:
    """A delete that meets a fault at any call removes the order without an error."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    setting.faulty.meet(operation, fault)  # type: ignore[arg-type] # each is a fault

    setting.slow.remove(1)

    assert (setting.deals(), setting.order_of(12)) == ([], [])


def test_removed_twice_at_once(setting: Setting) -> None:
    """Of two concurrent deletes, one raises NotFound."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.remove(1)))

    with pytest.raises(NotFound):
        setting.slow.remove(1)


def test_remove_never_takes_the_next_order_along(setting: Setting) -> None:
    """A delete that lost a race to another one leaves the deal's next order alone."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()

    def reuse_the_deal() -> None:
        setting.fast.remove(1)
        setting.fast.place(12, Decimal(7))

    setting.faulty.meet("TransactWriteItems", interrupted(reuse_the_deal))

    with pytest.raises(NotFound):
        setting.slow.remove(1)
    assert (setting.deals(), setting.order_of(12)) == ([(2, 12)], [2])


def test_remove_behind_an_open_ticket(setting: Setting) -> None:
    """An order can be removed right away, even behind an open ticket."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(11, FIVE)
    setting.fast.place(12, FIVE)
    setting.watch.pass_(GRACE.total_seconds() + 1)

    setting.fast.remove(2)

    assert setting.deals() == []


@FAULTS
def test_change_despite_a_fault(setting: Setting, fault: object) -> None:
    """A change that meets a fault is made once, and the changed order is returned."""
    setting.fast.place(12, FIVE)
    setting.watch.pass_(10)
    setting.faulty.meet("UpdateItem", fault)  # type: ignore[arg-type] # each is a fault

    changed = setting.slow.change(1, Decimal(9))

    assert (Decimal(9), setting.watch.time) == (changed.discount, changed.updated)
    assert setting.fast.order(1) == changed


def test_changed_and_removed_at_once(setting: Setting) -> None:
    """A change that lost a race to a delete raises NotFound and restores nothing."""
    setting.fast.place(12, FIVE)
    setting.faulty.meet("UpdateItem", interrupted(lambda: setting.fast.remove(1)))

    with pytest.raises(NotFound):
        setting.slow.change(1, Decimal(9))
    assert setting.deals() == []


@pytest.mark.parametrize("order_id", [0, 1, 2, LARGEST_NUMBER])
def test_change_of_a_missing_order(setting: Setting, order_id: int) -> None:
    """A change of an order that does not exist creates none, even at an open position."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(11, FIVE)

    with pytest.raises(NotFound):
        setting.fast.change(order_id, FIVE)
    assert setting.deals() == []


def test_times_are_whole_seconds(setting: Setting) -> None:
    """Times are whole seconds, and are read as they were returned."""
    setting.watch.set("2024-02-29T12:00:00.999999Z")
    placed = setting.fast.place(12, FIVE)
    changed = setting.fast.change(1, None)

    assert [time.microsecond for time in (placed.created, placed.updated, changed.updated)] == [0, 0, 0]
    assert setting.fast.order(1) == changed


def test_too_late(setting: Setting) -> None:
    """A create without an answer before the deadline raises Unavailable."""
    setting.faulty.meet("UpdateItem", cut, lasting=True)
    table = Table(setting.faulty, TABLE, first_pause=0.001, deadline=Deadline.after(0.2))

    with pytest.raises(Unavailable):
        DealOrders(table, "crm", setting.watch).place(12, FIVE)

    assert setting.deals() == []


# Line items.


@pytest.fixture
def ordered(setting: Setting) -> Setting:
    """An account with one order."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    return setting


@FAULTS
@pytest.mark.parametrize("operation", ["BatchGetItem", "UpdateItem", "TransactWriteItems"])
def test_add_despite_a_fault(ordered: Setting, operation: str, fault: object) -> None:
    """Adding a line item that meets a fault at any call adds exactly one and returns it."""
    ordered.faulty.meet(operation, fault)  # type: ignore[arg-type] # each is a fault

    added = ordered.slow.lines(1).add(NEW)

    assert ordered.lines() == [added.id]
    assert ordered.fast.lines(1).line(added.id) == added


@FAULTS
def test_remove_a_line_item_despite_a_fault(ordered: Setting, fault: object) -> None:
    """Removing a line item that meets a fault removes it without an error."""
    added = ordered.fast.lines(1).add(NEW)
    ordered.faulty.meet("TransactWriteItems", fault)  # type: ignore[arg-type] # each is a fault

    ordered.slow.lines(1).remove(added.id)

    assert ordered.lines() == []


def test_add_to_an_order_removed_at_once(ordered: Setting) -> None:
    """Adding to an order that is removed concurrently raises NotFound and adds nothing to the deal's next order."""
    ordered.faulty.meet("TransactWriteItems", interrupted(lambda: ordered.fast.remove(1)))

    with pytest.raises(NotFound) as raised:
        ordered.slow.lines(1).add(NEW)

    assert (raised.value.kind, raised.value.identifier) == ("order", "1")
    again = ordered.fast.place(12, FIVE)
    assert ordered.lines(again.id) == []


def test_an_order_that_is_full(ordered: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed line items count towards the limit of line items per order."""
    monkeypatch.setattr(deal_orders, "LINES", 4)
    lines = ordered.fast.lines(1)
    ids = [lines.add(NEW).id for _ in range(3)]

    for _ in range(2):
        with pytest.raises(OrderFull):
            lines.add(NEW)
    lines.remove(ids[0])
    with pytest.raises(OrderFull):
        lines.add(NEW)

    assert ordered.lines() == ids[1:]


def test_full_orders_share_no_ids(ordered: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line item id of an order differs from the first one of the next order."""
    monkeypatch.setattr(deal_orders, "LINES", 3)
    ordered.fast.place(13, FIVE)
    ids = [ordered.fast.lines(order).add(NEW).id for order in (1, 2) for _ in range(2)]

    assert ids == [4, 5, 7, 8]
    for one in ids[2:]:
        with pytest.raises(NotFound):
            ordered.fast.lines(1).line(one)


def test_ids_are_safe_numbers() -> None:
    """Every possible line item id is an integer that JSON readers represent exactly."""
    assert LARGEST_NUMBER * deal_orders.LINES + deal_orders.LINES < LARGEST_SAFE_NUMBER


@pytest.mark.parametrize("line_id", [0, 1, 1_000_000, 1_000_002, 2_000_001, -1, -999_999, LARGEST_SAFE_NUMBER])
def test_no_such_line(ordered: Setting, line_id: int) -> None:
    """Ids other than those of the order's own line items raise NotFound."""
    ordered.fast.lines(1).add(NEW)

    for act in (ordered.fast.lines(1).line, ordered.fast.lines(1).remove):
        with pytest.raises(NotFound):
            act(line_id)


def test_accounts_are_separate(ordered: Setting) -> None:
    """The same ids in another account are other orders and line items."""
    other = DealOrders(Table(ordered.memory, TABLE), "crm2", ordered.watch)
    other.place(12, Decimal(1))
    ordered.fast.lines(1).add(NEW)

    assert list(other.lines(1).part(ListRequest(0, 10), "me").items) == []
    assert (FIVE, Decimal(1)) == (ordered.fast.order(1).discount, other.order(1).discount)


def test_sweep_leaves_nothing(ordered: Setting) -> None:
    """A sweep deletes every item of a removed order's lines, and nothing of other orders."""
    ordered.fast.place(13, FIVE)
    kept = ordered.fast.lines(2).add(NEW).id
    lines = ordered.fast.lines(1)
    ids = [lines.add(NEW).id for _ in range(30)]
    for one in ids[:3]:
        lines.remove(one)
    ordered.fast.remove(1)

    for _ in range(2):
        ordered.fast.lines(1).sweep()
        assert {name for name in ordered.partitions() if name.endswith("deal-lines#crm#1")} == set()
    assert ordered.lines(2) == [kept]


@pytest.mark.parametrize("after", range(3))
def test_sweep_after_a_crash(ordered: Setting, after: int) -> None:
    """A sweep that crashed can be repeated."""
    lines = ordered.fast.lines(1)
    for _ in range(30):
        lines.add(NEW)
    ordered.fast.remove(1)
    ordered.faulty.meet("BatchWriteItem", refused(Crash()), after=after)
    with pytest.raises(Crash):
        ordered.slow.lines(1).sweep()

    ordered.slow.lines(1).sweep()

    assert {name for name in ordered.partitions() if name.endswith("deal-lines#crm#1")} == set()


@pytest.mark.parametrize(
    ("book", "account"),
    [
        ("deals#crm", "crm"),
        ("deals#a#b", "a#b"),
        ("deals#", ""),
        ("deal-lines#crm#1", None),
        ("deal-products#crm", None),
        ("0bb7a818-cecb-4c5a-9822-22e62f85589a", None),
        ("", None),
    ],
)
def test_account_of(book: str, account: str | None) -> None:
    """The account is read from the name of a book of deal orders; other books have none."""
    assert account_of(book) == account


# Products.


@FAULTS
@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_product_despite_a_fault(setting: Setting, operation: str, fault: object) -> None:
    """A product is added, changed and removed once each, despite a fault at any call."""
    shop = DealProducts(Table(setting.faulty, TABLE, first_pause=0.001), "crm", setting.watch)
    setting.faulty.meet(operation, fault)  # type: ignore[arg-type] # each is a fault
    added = shop.add(NewProduct(name="Licence"))
    setting.watch.pass_(GRACE.total_seconds() + 1)
    assert [one.id for one in shop.part(ListRequest(0, 9), "me").items] == [added.id]

    setting.faulty.meet("UpdateItem", fault)  # type: ignore[arg-type] # each is a fault
    assert shop.change(added.id, {"sku": "x"}) == shop.product(added.id)

    setting.faulty.meet("TransactWriteItems", fault)  # type: ignore[arg-type] # each is a fault
    shop.remove(added.id)
    assert shop.find(added.id) is None


def test_product_changed_and_removed_at_once(setting: Setting) -> None:
    """A change that lost a race to a delete raises NotFound and restores no product."""
    shop = DealProducts(Table(setting.faulty, TABLE), "crm", setting.watch)
    shop.add(NewProduct(name="Licence"))
    setting.faulty.meet(
        "UpdateItem", interrupted(lambda: DealProducts(Table(setting.memory, TABLE), "crm", setting.watch).remove(1))
    )

    with pytest.raises(NotFound):
        shop.change(1, {"name": "Other"})
    assert shop.find(1) is None


def test_price_in() -> None:
    """A product has prices only in the currencies it was given."""
    assert (Decimal(10), None) == (PRODUCT.price_in("EUR"), PRODUCT.price_in("PLN"))
