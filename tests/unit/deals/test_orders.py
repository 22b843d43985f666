"""Deal orders below HTTP: lost answers, races, and what removing leaves behind."""

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
MISHAPS = pytest.mark.parametrize(
    "mishap", [answer_lost, cut, conflict, throttled, failed], ids=lambda one: one.__name__
)


class Setting:
    """One account as seen by two who share a table; what `slow` sends can be met with faults."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.faulty = Faulty(self.memory)
        self.watch = Watch()
        self.slow = DealOrders(Table(self.faulty, TABLE, first_pause=0.001), "crm", self.watch)
        self.fast = DealOrders(Table(self.memory, TABLE, first_pause=0.001), "crm", self.watch)

    def deals(self) -> list[tuple[int, int]]:
        """Return all orders by id and deal, as a list shows them once every grace is over."""
        self.watch.pass_(GRACE.total_seconds() + 1)
        return [(one.id, one.deal_id) for one in self.fast.part(ListRequest(0, 100), "me").items]

    def order_of(self, deal: int) -> list[int]:
        return [one.id for one in self.fast.part(ListRequest(0, 100), "me", deal).items]

    def lines(self, order_id: int = 1) -> list[int]:
        self.watch.pass_(GRACE.total_seconds() + 1)
        return [one.id for one in self.fast.lines(order_id).part(ListRequest(0, 100), "me").items]

    def nothing_left_to_go_wrong(self) -> bool:
        """Tell whether every planned fault has happened."""
        return not self.faulty._planned

    def partitions(self) -> set[str]:
        """Return the partitions in which something stands."""
        return {partition for (partition, _), _ in self.memory.scan(TABLE)}


@pytest.fixture
def setting() -> Setting:
    return Setting()


@MISHAPS
@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_place_with_a_mishap(setting: Setting, operation: str, mishap: object) -> None:
    """Whatever call of a create goes wrong on the way, there is one order, which the caller is told."""
    setting.faulty.meet(operation, mishap)  # type: ignore[arg-type] # each is a fault

    placed = setting.slow.place(12, FIVE)

    assert setting.deals() == [(placed.id, 12)]
    assert setting.order_of(12) == [placed.id]
    assert setting.nothing_left_to_go_wrong()
    assert setting.fast.order(placed.id) == placed


def test_place_with_an_answer_that_came_too_late_for_the_order(setting: Setting) -> None:
    """Who placed an order is told so, even if it was removed, and its deal given away, before the answer came."""

    def meanwhile() -> None:
        setting.fast.remove(1)
        setting.fast.place(12, Decimal(7))

    setting.faulty.meet("TransactWriteItems", answer_lost)
    setting.faulty.meet("TransactWriteItems", interrupted(meanwhile))

    assert setting.slow.place(12, FIVE).id == 1
    assert setting.deals() == [(2, 12)]
    assert setting.nothing_left_to_go_wrong()


def test_place_of_a_crashed_writer(setting: Setting) -> None:
    """A create that died between its calls leaves neither an order nor a claim on the deal."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(12, FIVE)

    assert setting.deals() == []
    assert setting.order_of(12) == []
    assert setting.fast.place(12, FIVE).id == 2


def test_one_deal_taken_at_once(setting: Setting) -> None:
    """Of two creates for a deal one is refused, also where the other came between its calls."""
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.place(12, Decimal(1))))

    with pytest.raises(DealTaken):
        setting.slow.place(12, FIVE)
    assert setting.deals() == [(2, 12)]


def test_a_deal_freed_at_once(setting: Setting) -> None:
    """A create that comes while the deal's order is removed is placed."""
    setting.fast.place(12, FIVE)
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.remove(1)))

    assert setting.slow.place(12, FIVE).id == 2
    assert setting.deals() == [(2, 12)]


@MISHAPS
@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem", "TransactWriteItems"])
def test_remove_with_a_mishap(setting: Setting, operation: str, mishap: object) -> None:
    """Whatever call of a delete goes wrong on the way, the order is gone, and the caller is not told otherwise."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    setting.faulty.meet(operation, mishap)  # type: ignore[arg-type] # each is a fault

    setting.slow.remove(1)

    assert (setting.deals(), setting.order_of(12)) == ([], [])
    assert setting.nothing_left_to_go_wrong()


def test_remove_meets_a_remove(setting: Setting) -> None:
    """Of two deletes one finds nothing."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    setting.faulty.meet("TransactWriteItems", interrupted(lambda: setting.fast.remove(1)))

    with pytest.raises(NotFound):
        setting.slow.remove(1)


def test_remove_never_takes_the_next_order_along(setting: Setting) -> None:
    """A delete that comes too late leaves alone what its deal was given meanwhile."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()

    def meanwhile() -> None:
        setting.fast.remove(1)
        setting.fast.place(12, Decimal(7))

    setting.faulty.meet("TransactWriteItems", interrupted(meanwhile))

    with pytest.raises(NotFound):
        setting.slow.remove(1)
    assert (setting.deals(), setting.order_of(12)) == ([(2, 12)], [2])


def test_remove_of_what_was_just_placed(setting: Setting) -> None:
    """An order can be removed at once, with others before it that are still open."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(11, FIVE)
    setting.fast.place(12, FIVE)
    setting.watch.pass_(GRACE.total_seconds() + 1)

    setting.fast.remove(2)

    assert setting.deals() == []


@MISHAPS
def test_change_with_a_mishap(setting: Setting, mishap: object) -> None:
    """A change is made, whatever goes wrong on the way, and made twice it is the same."""
    setting.fast.place(12, FIVE)
    setting.watch.pass_(10)
    setting.faulty.meet("UpdateItem", mishap)  # type: ignore[arg-type] # each is a fault

    changed = setting.slow.change(1, Decimal(9))

    assert (Decimal(9), setting.watch.time) == (changed.discount, changed.updated)
    assert setting.fast.order(1) == changed
    assert setting.nothing_left_to_go_wrong()


def test_change_meets_a_remove(setting: Setting) -> None:
    """A change that comes too late brings nothing back."""
    setting.fast.place(12, FIVE)
    setting.faulty.meet("UpdateItem", interrupted(lambda: setting.fast.remove(1)))

    with pytest.raises(NotFound):
        setting.slow.change(1, Decimal(9))
    assert setting.deals() == []


@pytest.mark.parametrize("order_id", [0, 1, 2, LARGEST_NUMBER])
def test_change_of_what_there_is_not(setting: Setting, order_id: int) -> None:
    """A change makes no order, not even where a position is still open."""
    setting.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        setting.slow.place(11, FIVE)

    with pytest.raises(NotFound):
        setting.fast.change(order_id, FIVE)
    assert setting.deals() == []


def test_times_are_whole_seconds(setting: Setting) -> None:
    """What is answered is what is read later, to the second."""
    setting.watch.set("2024-02-29T12:00:00.999999Z")
    placed = setting.fast.place(12, FIVE)
    changed = setting.fast.change(1, None)

    assert [time.microsecond for time in (placed.created, placed.updated, changed.updated)] == [0, 0, 0]
    assert setting.fast.order(1) == changed


def test_too_late(setting: Setting) -> None:
    """Past the deadline nothing more is tried."""
    cut_off = DealOrders(Table(Faulty(setting.memory), TABLE, deadline=Deadline.after(-1)), "crm", setting.watch)
    faulty = cut_off.table.send
    assert isinstance(faulty, Faulty)
    faulty.meet("UpdateItem", cut)

    with pytest.raises(Unavailable):
        cut_off.place(12, FIVE)


# Line items.


@pytest.fixture
def ordered(setting: Setting) -> Setting:
    """An account with one order."""
    setting.fast.place(12, FIVE)
    setting.fast.book.settle()
    return setting


@MISHAPS
@pytest.mark.parametrize("operation", ["BatchGetItem", "UpdateItem", "TransactWriteItems"])
def test_add_with_a_mishap(ordered: Setting, operation: str, mishap: object) -> None:
    """Whatever call of an addition goes wrong on the way, there is one line item, which the caller is told."""
    ordered.faulty.meet(operation, mishap)  # type: ignore[arg-type] # each is a fault

    added = ordered.slow.lines(1).add(NEW)

    assert ordered.lines() == [added.id]
    assert ordered.fast.lines(1).line(added.id) == added
    assert ordered.nothing_left_to_go_wrong()


@MISHAPS
def test_remove_of_a_line_item_with_a_mishap(ordered: Setting, mishap: object) -> None:
    """A line item is gone, whatever goes wrong on the way, and the caller is not told otherwise."""
    added = ordered.fast.lines(1).add(NEW)
    ordered.faulty.meet("TransactWriteItems", mishap)  # type: ignore[arg-type] # each is a fault

    ordered.slow.lines(1).remove(added.id)

    assert ordered.lines() == []
    assert ordered.nothing_left_to_go_wrong()


def test_add_meets_the_order_s_end(ordered: Setting) -> None:
    """Nothing is added to an order that is removed meanwhile, and nothing of it appears at another one."""
    ordered.faulty.meet("TransactWriteItems", interrupted(lambda: ordered.fast.remove(1)))

    with pytest.raises(NotFound) as raised:
        ordered.slow.lines(1).add(NEW)

    assert (raised.value.kind, raised.value.identifier) == ("order", "1")
    again = ordered.fast.place(12, FIVE)
    assert ordered.lines(again.id) == []


def test_an_order_that_is_full(ordered: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order has had as many line items as it can have once their numbers are used up, removed ones included."""
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
    """The last id of an order is not the first of the next one, nor found there."""
    monkeypatch.setattr(deal_orders, "LINES", 3)
    ordered.fast.place(13, FIVE)
    ids = [ordered.fast.lines(order).add(NEW).id for order in (1, 2) for _ in range(2)]

    assert ids == [4, 5, 7, 8]
    for one in ids[2:]:
        with pytest.raises(NotFound):
            ordered.fast.lines(1).line(one)


def test_ids_are_safe_numbers() -> None:
    """Ids of line items are numbers that JSON holds exactly, whatever the order."""
    assert LARGEST_NUMBER * deal_orders.LINES + deal_orders.LINES < LARGEST_SAFE_NUMBER


@pytest.mark.parametrize("line_id", [0, 1, 1_000_000, 1_000_002, 2_000_001, -1, -999_999, LARGEST_SAFE_NUMBER])
def test_no_such_line(ordered: Setting, line_id: int) -> None:
    """Only ids of the order's own line items lead to any."""
    ordered.fast.lines(1).add(NEW)

    for act in (ordered.fast.lines(1).line, ordered.fast.lines(1).remove):
        with pytest.raises(NotFound):
            act(line_id)


def test_accounts_are_apart(ordered: Setting) -> None:
    """The same ids in another account are other orders and other line items."""
    other = DealOrders(Table(ordered.memory, TABLE), "crm2", ordered.watch)
    other.place(12, Decimal(1))
    ordered.fast.lines(1).add(NEW)

    assert list(other.lines(1).part(ListRequest(0, 10), "me").items) == []
    assert (FIVE, Decimal(1)) == (ordered.fast.order(1).discount, other.order(1).discount)


def test_sweep_leaves_nothing(ordered: Setting) -> None:
    """After a sweep nothing of a removed order's line items is left, and other orders' are."""
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
def test_sweep_is_taken_up_again(ordered: Setting, after: int) -> None:
    """A sweep that died can be done again, from wherever it stopped."""
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
    """The name of a book says whose orders are in it, if it holds deal orders."""
    assert account_of(book) == account


# Products.


@MISHAPS
@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_product_with_a_mishap(setting: Setting, operation: str, mishap: object) -> None:
    """Whatever goes wrong on the way, a product is added once, changed once and removed once."""
    shop = DealProducts(Table(setting.faulty, TABLE, first_pause=0.001), "crm", setting.watch)
    setting.faulty.meet(operation, mishap)  # type: ignore[arg-type] # each is a fault
    added = shop.add(NewProduct(name="Licence"))
    setting.watch.pass_(GRACE.total_seconds() + 1)
    assert [one.id for one in shop.part(ListRequest(0, 9), "me").items] == [added.id]

    setting.faulty.meet("UpdateItem", mishap)  # type: ignore[arg-type] # each is a fault
    assert shop.change(added.id, {"sku": "x"}) == shop.product(added.id)

    setting.faulty.meet("TransactWriteItems", mishap)  # type: ignore[arg-type] # each is a fault
    shop.remove(added.id)
    assert shop.find(added.id) is None
    assert setting.nothing_left_to_go_wrong()


def test_product_changed_and_removed_at_once(setting: Setting) -> None:
    """A change that comes too late brings no product back."""
    shop = DealProducts(Table(setting.faulty, TABLE), "crm", setting.watch)
    shop.add(NewProduct(name="Licence"))
    setting.faulty.meet(
        "UpdateItem", interrupted(lambda: DealProducts(Table(setting.memory, TABLE), "crm", setting.watch).remove(1))
    )

    with pytest.raises(NotFound):
        shop.change(1, {"name": "Other"})
    assert shop.find(1) is None


def test_price_in() -> None:
    """A product has a price in the currencies that it was given, and no other."""
    assert (Decimal(10), None) == (PRODUCT.price_in("EUR"), PRODUCT.price_in("PLN"))
