"""The consumer of the orders table's stream."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.deal_orders import DealOrders, Lines, NewLine
from ordering.deal_products import Product
from ordering.errors import Unavailable
from ordering.fulfilment import issue_keys, settle_books, sweep_orders
from ordering.kms import Sealer, nowhere
from ordering.lifecycle import TrainingStatus
from ordering.orderbook import Draft, OrderBook
from ordering.principal import BusinessUnit
from ordering.table import Table
from ordering.training_orders import TrainingOrders
from ordering.wiring import Services
from support.memory import Memory
from support.partners import UK
from support.training import School, Steps


def record(book: str, number: int) -> dict[str, Any]:
    keys = {"pk": {"S": f"BOOK#{book}"}, "sk": {"S": f"{number:010}"}}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, "SequenceNumber": str(number)}}


class Broken:
    """A book that cannot be reached."""

    def settle(self) -> int:
        raise Unavailable


@pytest.fixture
def book(services: Services) -> OrderBook:
    return services.book("training#1", Deadline.after(30))


def test_books_are_settled(services: Services, book: OrderBook) -> None:
    """After a batch, the heads of the books that it touched stand where their entries end."""
    for name in "abc":
        book.place(lambda _, name=name: Draft({"order": name}, []))  # type: ignore[misc] # bound now, not later
    failed = settle_books(
        [record("training#1", 1), record("training#1", 2)], lambda name: services.book(name, Deadline.after(30))
    )
    services.usage.take()
    book.page(0, 10)

    assert failed == []
    assert services.usage.take().calls == 2


def test_each_book_once() -> None:
    """However many records a batch has of a book, it is settled once."""
    opened: list[str] = []

    def open_book(name: str) -> Any:
        opened.append(name)
        return Broken()

    settle_books([record("a", 1), record("b", 2), record("a", 3)], open_book)

    assert opened == ["a", "b"]


def test_one_books_trouble(services: Services) -> None:
    """A book that cannot be settled is told by its first record, and the others are settled all the same."""
    settled: list[str] = []

    def open_book(name: str) -> Any:
        if name == "broken":
            return Broken()
        settled.append(name)
        return services.book(name, Deadline.after(30))

    failed = settle_books([record("a", 1), record("broken", 2), record("broken", 3), record("b", 4)], open_book)

    assert (failed, settled) == (["2"], ["a", "b"])


def test_what_is_no_entry() -> None:
    """Records of anything but entries are passed over."""
    other = {"dynamodb": {"Keys": {"pk": {"S": "HEAD#training#1"}, "sk": {"S": "-"}}, "SequenceNumber": "1"}}

    assert settle_books([other], lambda _: pytest.fail("opened")) == []


def test_delivered_twice(services: Services, book: OrderBook) -> None:
    """A batch that is delivered twice changes nothing the second time."""
    book.place(lambda _: Draft({"order": "a"}, []))

    def open_book(name: str) -> OrderBook:
        return services.book(name, Deadline.after(30))

    settle_books([record("training#1", 1)], open_book)
    first = book.page(0, 10)
    settle_books([record("training#1", 1)], open_book)

    assert book.page(0, 10) == first


# Removed deal orders.

PRODUCT = Product(id=1, name="x", created=datetime(2024, 1, 1, tzinfo=UTC), updated=datetime(2024, 1, 1, tzinfo=UTC))


class Swept:
    """Deal orders in memory, and what was swept of them."""

    def __init__(self, *broken: int) -> None:
        self.memory = Memory()
        self.opened: list[tuple[str, int]] = []
        self._broken = broken

    def orders(self, account: str = "crm") -> DealOrders:
        return DealOrders(Table(self.memory, "Table"), account)

    def stocked(self, count: int, account: str = "crm") -> DealOrders:
        """Place so many orders with two line items each."""
        orders = self.orders(account)
        for deal in range(1, count + 1):
            lines = orders.lines(orders.place(deal, Decimal(0)).id)
            for _ in range(2):
                lines.add(NewLine(PRODUCT, Decimal(1), "EUR", Decimal(0), 1))
        return orders

    def open(self, account: str, order_id: int) -> Lines:
        self.opened.append((account, order_id))
        if order_id in self._broken:
            raise Unavailable
        return self.orders(account).lines(order_id)

    def left(self) -> set[str]:
        """Return whose line items are left."""
        books = {key[0].partition("#")[2] for key, _ in self.memory.scan("Table")}
        return {name for name in books if name.startswith("deal-lines#")}

    def void(self, account: str, order_id: int) -> dict[str, Any]:
        """Make the record of a removal, from what the table holds."""
        key = (f"BOOK#deals#{account}", f"{order_id:010}")
        (image,) = [item for at, item in self.memory.scan("Table") if at == key]
        return modified(f"deals#{account}", order_id, image)


def modified(book: str, number: int, image: dict[str, Any]) -> dict[str, Any]:
    made = record(book, number)
    return {**made, "eventName": "MODIFY", "dynamodb": {**made["dynamodb"], "NewImage": image}}


VOID = {"void": {"BOOL": True}}


def test_removed_orders_are_swept() -> None:
    """The line items of an order that was removed are deleted, and those of others are not."""
    swept = Swept()
    for account in ("crm", "other"):
        swept.stocked(3, account)
    swept.orders().remove(2)

    failed = sweep_orders([swept.void("crm", 2)], swept.open)

    assert failed == []
    assert {f"deal-lines#{book}" for book in ("crm#1", "crm#3", "other#1", "other#2", "other#3")} == swept.left()


def test_several_accounts() -> None:
    """Each record is swept in the account that its book names, whatever is in that name."""
    swept = Swept()
    for account in ("crm", "a#b"):
        swept.stocked(2, account)
        swept.orders(account).remove(1)

    assert sweep_orders([swept.void("crm", 1), swept.void("a#b", 1)], swept.open) == []

    assert swept.opened == [("crm", 1), ("a#b", 1)]
    assert swept.left() == {"deal-lines#crm#2", "deal-lines#a#b#2"}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(record("deals#crm", 1), id="placed"),
        pytest.param({**record("deals#crm", 1), "eventName": "REMOVE"}, id="deleted"),
        pytest.param(modified("deals#crm", 1, {"order": {"M": {}}}), id="changed"),
        pytest.param({**modified("deals#crm", 1, VOID), "eventName": "INSERT"}, id="a position that was given up"),
        pytest.param(modified("deal-lines#crm#1", 1, VOID), id="a line item that was removed"),
        pytest.param(modified("0bb7a818-cecb-4c5a-9822-22e62f85589a", 1, VOID), id="a training order"),
        pytest.param(
            {
                "eventName": "MODIFY",
                "dynamodb": {
                    "Keys": {"pk": {"S": "HEAD#deals#crm"}, "sk": {"S": "-"}},
                    "SequenceNumber": "1",
                    "NewImage": VOID,
                },
            },
            id="a head",
        ),
    ],
)
def test_nothing_else_is_swept(other: dict[str, Any]) -> None:
    """Records of anything but a removed deal order are passed over."""
    assert sweep_orders([other], lambda *_: pytest.fail("opened")) == []


def test_one_orders_trouble() -> None:
    """An order that cannot be swept is told by its record, and the others are swept all the same."""
    swept = Swept(2)
    orders = swept.stocked(3)
    for number in (1, 2, 3):
        orders.remove(number)

    failed = sweep_orders([swept.void("crm", number) for number in (1, 2, 3)], swept.open)

    assert (["2"], {"deal-lines#crm#2"}) == (failed, swept.left())


def test_swept_twice() -> None:
    """A record that is delivered again does no harm, also after its deal has another order."""
    swept = Swept()
    orders = swept.stocked(2)
    orders.remove(1)
    removal = swept.void("crm", 1)
    sweep_orders([removal, removal], swept.open)
    again = orders.place(1, Decimal(0)).id
    line = orders.lines(again).add(NewLine(PRODUCT, Decimal(1), "EUR", Decimal(0), 1)).id

    assert sweep_orders([removal], swept.open) == []

    assert swept.left() == {"deal-lines#crm#2", f"deal-lines#crm#{again}"}
    assert orders.lines(again).line(line).id == line


# Access keys of training orders.

COMPLETED, CANCELLED = TrainingStatus.COMPLETED, TrainingStatus.CANCELLED


def order_record(school: School, order_id: int, number: int = 1, kind: str = "INSERT") -> dict[str, Any]:
    """Make the record of an order's item, from what the table holds."""
    assert isinstance(school.send, Memory)
    key = (f"ORDER#training#{order_id}", "ORDER")
    (image,) = [item for at, item in school.send.scan("OrdersTable") if at == key]
    keys = {"pk": image["pk"], "sk": image["sk"]}
    return {"eventName": kind, "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": str(number)}}


def issued(school: School, *records: dict[str, Any], deadline: Deadline | None = None) -> list[str]:
    return issue_keys(records, school.orders, school.sealer, deadline or Deadline.after(60))


@pytest.mark.parametrize("kind", ["INSERT", "MODIFY"])
def test_keys_are_issued(kind: str) -> None:
    """An order that is placed, or is New still after a change, gets its keys; the stream may tell of it again."""
    school = School()
    order, other = school.place(3), school.place(2)
    placed = order_record(school, order, kind=kind)

    assert (issued(school, placed), issued(school, placed)) == ([], [])
    assert [len(school.keys(order)), school.orders().order(order).status] == [3, COMPLETED]
    assert school.orders().order(other).status is TrainingStatus.NEW


def test_the_unit_is_the_order_s() -> None:
    """The orders that are opened are those of the unit that placed the order."""
    school = School()
    opened: list[BusinessUnit] = []

    def open_orders(unit: BusinessUnit) -> TrainingOrders:
        opened.append(unit)
        return school.orders(unit)

    issue_keys([order_record(school, school.place(1))], open_orders, school.sealer, Deadline.after(60))

    assert opened == [UK]


def test_a_large_order_comes_again() -> None:
    """An order for which the time is not enough is handed on: its item changes, which is a record of its own."""
    school = School()
    order = school.place(10_000, 10_000)
    records, rounds = [order_record(school, order)], 0
    while records:
        rounds += 1
        # Time for the step that finds where to go on, and for three more.
        shares = Steps(10**9)

        class Share(TrainingOrders):
            def issue_keys(self, order_id: int, sealer: Any, until: Deadline) -> bool:  # noqa: ARG002 - as it is called
                return super().issue_keys(order_id, sealer, Steps(4))

        orders = Share(Table(school.send, "OrdersTable"), UK, sequence=school.services.sequence)
        before = order_record(school, order)["dynamodb"]["NewImage"]
        assert issue_keys(records, lambda _, orders=orders: orders, school.sealer, shares) == []  # type: ignore[misc] # bound now
        after = order_record(school, order, kind="MODIFY")
        # What the filter lets through: something changed, and the order is New still.
        changed = after["dynamodb"]["NewImage"] != before
        is_new = after["dynamodb"]["NewImage"]["order"]["M"]["status"] == {"S": "New"}
        records = [after] if changed and is_new else []

    assert (len(school.keys(order)), school.orders().order(order).status) == (20_000, COMPLETED)
    assert rounds == 7


def test_the_time_is_shared() -> None:
    """However large an order is, those behind it get their part of the time."""
    given: list[float] = []

    class Slow(TrainingOrders):
        def issue_keys(self, order_id: int, sealer: Any, until: Deadline) -> bool:  # noqa: ARG002 - as it is called
            given.append(until.remaining())
            return False

    school = School()
    orders = Slow(Table(school.send, "OrdersTable"), UK, sequence=school.services.sequence)
    records = [order_record(school, school.place(1), number) for number in (1, 2, 3, 4)]

    assert issue_keys(records, lambda _: orders, school.sealer, Deadline.after(40)) == []
    assert [round(seconds / 40, 2) for seconds in given] == [0.25, 0.33, 0.5, 1.0]


def test_without_time_records_come_again() -> None:
    """When the deadline has passed nothing is begun, and every record is told, so that none is lost."""
    school = School()
    orders = [school.place(1), school.place(1)]
    records = [order_record(school, order, number) for number, order in enumerate(orders, 1)]

    assert issued(school, *records, deadline=Deadline.after(-1)) == ["1", "2"]
    assert {school.orders().order(order).status for order in orders} == {TrainingStatus.NEW}


def test_one_order_s_trouble_with_keys() -> None:
    """An order whose keys cannot be issued is told by its first record, and the others get theirs all the same."""
    school = School()
    orders = [school.place(1), school.place(1)]
    broken, other = (order_record(school, order, number) for number, order in enumerate(orders, 1))
    school.orders().issue_keys(orders[1], school.sealer, Deadline.after(60))
    again = {**broken, "dynamodb": {**broken["dynamodb"], "SequenceNumber": "3"}}

    failed = issue_keys([broken, other, again], school.orders, Sealer(nowhere), Deadline.after(60))

    assert (failed, school.orders().order(orders[1]).status) == (["1"], COMPLETED)


def test_nothing_is_issued_for_anything_else() -> None:
    """Records of lines, of other orders, of what was removed, and of orders that are not New are passed over."""
    school = School()
    order, cancelled = school.place(1), school.place(1)
    placed = order_record(school, order)
    school.orders().cancel(cancelled)

    def elsewhere(pk: str, sk: str) -> dict[str, Any]:
        return {**placed, "dynamodb": {**placed["dynamodb"], "Keys": {"pk": {"S": pk}, "sk": {"S": sk}}}}

    others = [
        {**placed, "eventName": "REMOVE"},
        elsewhere(f"ORDER#training#{order}", "LINE#0001"),
        elsewhere("ORDER#ecards#granite#1", "ORDER"),
        elsewhere(f"KEYS#training#{order}", "000000"),
        order_record(school, cancelled, kind="MODIFY"),
        record("training#1", 1),
    ]

    assert issue_keys(others, lambda _: pytest.fail("opened"), school.sealer, Deadline.after(60)) == []


def test_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what goes well nor what fails writes a key into the log."""
    school = School()
    order = school.place(2)
    issue_keys([order_record(school, order)], school.orders, Sealer(nowhere), Deadline.after(60))
    issued(school, order_record(school, order))
    told = caplog.text + repr([vars(one) for one in caplog.records])

    assert "keys not issued" in told
    assert not [key for *_, key in school.keys(order) if key in told or key.replace("-", "") in told]
