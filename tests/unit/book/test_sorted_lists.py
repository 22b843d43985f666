"""Sorted lists: the right order by any fields, and one unchanging sequence from the first page to the last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering.aws.dynamodb import Put, Table
from ordering.book import sorted_lists
from ordering.book.orderbook import Draft, OrderBook
from ordering.book.sorted_lists import (
    NEWEST_FIRST,
    OLDEST_FIRST,
    REMEMBERED,
    Field,
    ListPart,
    ListRequest,
    SortedList,
    SortKey,
    TooManyToSort,
    decisive,
)
from ordering.deals import orders as deal_orders
from ordering.deals import products as deal_products
from ordering.deals.orders import DealOrder, DealOrders, Lines, NewLine
from ordering.deals.products import DealProduct, DealProducts, NewProduct
from ordering.money import Money
from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.deals import Watch

TABLE = "Table"
BY_DISCOUNT = (SortKey("discount"),)
FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

Shown = dict[str, Callable[[Any], Any]]

ORDER_FIELDS: Shown = {
    "id": lambda one: one.id,
    "deal_id": lambda one: one.deal_id,
    "discount": lambda one: one.discount,
    "value": lambda _: None,  # in the reference's example, though orders have none
    "created_at": lambda one: one.created,
    "updated_at": lambda one: one.updated,
}
LINE_FIELDS: Shown = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "sku": lambda one: one.sku,
    "description": lambda one: one.description,
    "price": lambda one: one.price,
    "currency": lambda one: one.currency,
    "variation": lambda one: one.variation,
    "value": lambda one: (one.price * (100 + one.variation) / 100).quantize(Decimal("0.01"), "ROUND_HALF_UP"),
    "quantity": lambda one: one.quantity,
    "created_at": lambda one: one.created,
    "updated_at": lambda one: one.updated,
}
PRODUCT_FIELDS: Shown = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "description": lambda one: one.description,
    "sku": lambda one: one.sku,
    "active": lambda one: one.active,
    "max_discount": lambda one: one.max_discount,
    "max_markup": lambda one: one.max_markup,
    "cost": lambda one: one.cost,
    "cost_currency": lambda one: one.cost_currency,
    "prices": lambda one: [(price.currency, price.value) for price in one.prices],
    "created_at": lambda one: one.created,
    "updated_at": lambda one: one.updated,
}


def expected(items: Iterable[Any], order: Sequence[SortKey], fields: Shown) -> list[int]:
    """The ids of items as a pairwise comparison, field by field, sorts them: None first, and ties by id."""

    def compare(one: Any, other: Any) -> int:
        for by in order:
            left, right = fields[by.field](one), fields[by.field](other)
            if left == right:
                continue
            before = left is None or (right is not None and left < right)
            return -1 if before is not by.descending else 1
        return one.id - other.id  # type: ignore[no-any-return] # an id is a number

    return [one.id for one in sorted(items, key=cmp_to_key(compare))]


def orders_by(fields: Shown) -> st.SearchStrategy[tuple[SortKey, ...]]:
    return st.lists(st.builds(SortKey, st.sampled_from(sorted(fields)), st.booleans()), min_size=1, max_size=4).map(
        tuple
    )


def read_whole(part: Callable[[ListRequest], ListPart[Any]], order: tuple[SortKey, ...], count: int) -> list[int]:
    """The ids on all pages, read until a page says there is no more."""
    found: list[int] = []
    for first in range(0, 10_000, count):
        page = part(ListRequest(first, count, order))
        found += [one.id for one in page.items]
        if not page.more:
            return found
    raise AssertionError("more pages follow for ever")


TEXT = st.none() | st.sampled_from(["", "a", "A", "ä", "b", "aa"])
PERCENT = st.none() | st.sampled_from(["0", "5", "5.0", "12.5", "100"]).map(Decimal)
PRODUCT = st.builds(
    NewProduct,
    name=st.sampled_from(["Licence", "licence", "Support", "李"]),
    description=TEXT,
    sku=TEXT,
    active=st.booleans(),
    max_discount=PERCENT,
    max_markup=PERCENT,
    cost=PERCENT,
    cost_currency=st.none() | st.sampled_from(["EUR", "PLN"]),
    prices=st.lists(st.sampled_from(["1", "10", "9.5"]).map(lambda text: Money("EUR", Decimal(text))), max_size=1).map(
        tuple
    ),
)


@FEW
@given(
    products=st.lists(PRODUCT, max_size=7),
    changed=st.sets(st.integers(1, 7)),
    order=orders_by(PRODUCT_FIELDS),
    count=st.integers(1, 8),
)
def test_products(products: list[NewProduct], changed: set[int], order: tuple[SortKey, ...], count: int) -> None:
    """Products are sorted by any combination of fields, also where values are missing, on pages of any size."""
    watch = Watch()
    shop = DealProducts(Table(Memory(), TABLE), "crm", watch)
    made = []
    for number, product in enumerate(products, 1):
        made.append(shop.add(product))
        watch.pass_(number % 2)
    made = [shop.change(one.id, {"name": one.name}) if one.id in changed else one for one in made]

    assert expected(made, order, PRODUCT_FIELDS) == read_whole(lambda wanted: shop.part(wanted, "me"), order, count)


@FEW
@given(
    discounts=st.lists(st.sampled_from(["0", "5", "5.0", "99.5"]).map(Decimal), max_size=7),
    removed=st.sets(st.integers(1, 7)),
    changed=st.sets(st.integers(1, 7)),
    order=orders_by(ORDER_FIELDS),
    count=st.integers(1, 8),
)
def test_orders(
    discounts: list[Decimal], removed: set[int], changed: set[int], order: tuple[SortKey, ...], count: int
) -> None:
    """Orders are sorted by any combination of fields, without removed ones, on pages of any size."""
    watch = Watch()
    orders = DealOrders(Table(Memory(), TABLE), "crm", watch)
    made: dict[int, DealOrder] = {}
    for number, discount in enumerate(discounts, 1):
        made[number] = orders.place((number * 5) % 7 + 10, discount)
        watch.pass_(number % 2)
    for number in changed & made.keys():
        made[number] = orders.change(number, Decimal(50))
    for number in removed & made.keys():
        orders.remove(number)
        del made[number]

    assert expected(made.values(), order, ORDER_FIELDS) == read_whole(
        lambda wanted: orders.part(wanted, "me"), order, count
    )


@FEW
@given(
    lines=st.lists(
        st.tuples(
            PRODUCT, st.sampled_from(["1", "9.99", "0.005"]), st.sampled_from(["0", "-50", "100"]), st.integers(1, 3)
        ),
        max_size=7,
    ),
    order=orders_by(LINE_FIELDS),
    count=st.integers(1, 8),
)
def test_line_items(
    lines: list[tuple[NewProduct, str, str, int]], order: tuple[SortKey, ...], count: int
) -> None:  # fmt: skip
    """Line items are sorted by any combination of fields, computed values included, on pages of any size."""
    watch = Watch()
    orders = DealOrders(Table(Memory(), TABLE), "crm", watch)
    of_order = orders.lines(orders.place(1, Decimal(0)).id)
    made = []
    for number, (product, price, variation, quantity) in enumerate(lines):
        of = sold(product)
        made.append(of_order.add(NewLine(of, Decimal(price), "EUR", Decimal(variation), quantity)))
        watch.pass_(number % 2)

    assert expected(made, order, LINE_FIELDS) == read_whole(lambda wanted: of_order.part(wanted, "me"), order, count)


def sold(product: NewProduct) -> DealProduct:
    now = Watch()()
    parts = {name: getattr(product, name) for name in NewProduct.__struct_fields__}
    return DealProduct(**parts, id=1, created=now, updated=now)


@pytest.mark.parametrize(
    ("sortable", "shown"),
    [
        (deal_orders.SORTABLE, ORDER_FIELDS),
        (deal_orders.SORTABLE_LINES, LINE_FIELDS),
        (deal_products.SORTABLE, PRODUCT_FIELDS),
    ],
    ids=["orders", "line items", "products"],
)
def test_every_field_is_sortable(sortable: dict[str, Any], shown: Shown) -> None:
    """Each resource can be sorted by exactly the fields it shows, and orders by `value`, as in the reference."""
    assert shown.keys() == sortable.keys()


@pytest.mark.parametrize(
    ("order", "whole"),
    [
        ([], [SortKey("id")]),
        ([SortKey("name")], [SortKey("name"), SortKey("id")]),
        ([SortKey("name", descending=True)], [SortKey("name", descending=True), SortKey("id")]),
        ([SortKey("id")], [SortKey("id")]),
        ([SortKey("id", descending=True), SortKey("name")], [SortKey("id", descending=True)]),
        ([SortKey("a"), SortKey("id"), SortKey("b"), SortKey("id")], [SortKey("a"), SortKey("id")]),
    ],
)
def test_decisive(order: list[SortKey], whole: list[SortKey]) -> None:
    """Every sort order ends with the id, which breaks all ties; keys after the id are dropped."""
    assert decisive(order) == tuple(whole)


class Setting:
    """An account whose orders have falling discounts: 0.05, 0.04, … in the order of their ids."""

    def __init__(self, count: int = 5) -> None:
        self.memory = Memory()
        self.recorder = Recorder(self.memory)
        self.watch = Watch()
        self.orders = DealOrders(Table(self.recorder, TABLE), "crm", self.watch)
        for number in range(count):
            self.orders.place(100 + number, Decimal(count - number) / 100)
        self.orders.book.settle()

    def ids(self, first: int, count: int, order: tuple[SortKey, ...] = BY_DISCOUNT, reader: str = "me") -> list[int]:
        return [one.id for one in self.orders.part(ListRequest(first, count, order), reader).items]

    def remembered(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {key: item for key, item in self.memory.scan(TABLE) if key[0].startswith("SORTED#")}


@pytest.fixture
def setting() -> Setting:
    """Five orders; sorted by discount their ids are 5, 4, 3, 2, 1."""
    return Setting()


def test_stable_while_orders_are_created(setting: Setting) -> None:
    """An order created between two pages is not shown and moves no other."""
    first = setting.ids(0, 2)
    setting.orders.place(1, Decimal(0))

    assert [first, setting.ids(2, 2), setting.ids(4, 2), setting.ids(6, 2)] == [[5, 4], [3, 2], [1], []]


def test_stable_while_orders_are_changed(setting: Setting) -> None:
    """An order changed between two pages keeps its place and is shown with its new values."""
    setting.ids(0, 2)
    setting.orders.change(2, Decimal(0))
    setting.orders.change(5, Decimal(90))

    page = setting.orders.part(ListRequest(2, 2, BY_DISCOUNT), "me").items
    assert [(3, Decimal("0.03")), (2, Decimal(0))] == [(one.id, one.discount) for one in page]


def test_stable_while_orders_are_removed(setting: Setting) -> None:
    """An order removed between two pages is left out, and no other moves to an earlier page."""
    setting.ids(0, 2)
    for number in (5, 4, 3):
        setting.orders.remove(number)

    assert [setting.ids(2, 2), setting.ids(4, 2)] == [[2], [1]]


def test_a_first_page_sorts_anew(setting: Setting) -> None:
    """Reading the first page sorts again, and further pages follow that sequence."""
    setting.ids(0, 2)
    setting.orders.place(1, Decimal(0))

    assert [setting.ids(0, 2), setting.ids(2, 2), setting.ids(4, 2)] == [[6, 5], [4, 3], [2, 1]]


def test_stable_newest_first(setting: Setting) -> None:
    """Newest first, orders created between two pages do not move the others either."""
    first = setting.ids(0, 2, NEWEST_FIRST)
    for deal in range(3):
        setting.orders.place(deal, Decimal(0))

    assert [first, setting.ids(2, 2, NEWEST_FIRST), setting.ids(4, 2, NEWEST_FIRST)] == [[5, 4], [3, 2], [1]]
    assert setting.ids(0, 2, NEWEST_FIRST) == [8, 7]


def test_pages_know_whether_more_follow(setting: Setting) -> None:
    """Each page says correctly whether more items follow, in every sort order."""
    for order in (OLDEST_FIRST, NEWEST_FIRST, BY_DISCOUNT, (SortKey("created_at", descending=True),)):
        more = [setting.orders.part(ListRequest(first, 2, order), "me").more for first in (0, 2, 4, 6)]
        assert more == [True, True, False, False]
        assert not setting.orders.part(ListRequest(0, 5, order), "me").more


def test_two_readers(setting: Setting) -> None:
    """Each reader's further pages follow the sequence of that reader's own first page."""
    mine = setting.ids(0, 2, reader="me")
    setting.orders.place(1, Decimal(0))
    theirs = setting.ids(0, 2, reader="you")

    assert [mine, theirs] == [[5, 4], [6, 5]]
    assert [setting.ids(2, 2, reader="me"), setting.ids(2, 2, reader="you")] == [[3, 2], [4, 3]]


def test_two_sort_orders_of_one_reader(setting: Setting) -> None:
    """One reader's sequences of different sort orders do not affect each other."""
    setting.ids(0, 2)
    setting.ids(0, 2, (SortKey("discount", descending=True),))

    assert [setting.ids(2, 2), setting.ids(2, 2, (SortKey("discount", descending=True),))] == [[3, 2], [3, 4]]


def test_remembered_for_a_while(setting: Setting) -> None:
    """A sequence is kept for a minute; after that a further page sorts again."""
    setting.ids(0, 2)
    setting.orders.place(1, Decimal(0))

    setting.watch.pass_(REMEMBERED.total_seconds() - 1)
    assert setting.ids(2, 2) == [3, 2]
    setting.watch.pass_(2)
    assert setting.ids(2, 2) == [4, 3]


def test_stored_sequences_expire(setting: Setting) -> None:
    """A stored sequence has an expiry time, after which the table deletes it."""
    setting.ids(0, 2)

    ((_, item),) = setting.remembered().items()
    assert int(item["expires"]["N"]) == int((setting.watch() + timedelta(seconds=60)).timestamp())


def test_a_further_page_without_a_first(setting: Setting) -> None:
    """A reader may begin with a further page; the pages after it follow the same sequence."""
    page = setting.ids(2, 2)
    setting.orders.place(1, Decimal(0))

    assert [page, setting.ids(4, 2)] == [[3, 2], [1]]


def test_a_list_of_one_page_is_not_remembered(setting: Setting) -> None:
    """A list that fits one page stores no sequence."""
    for order in (BY_DISCOUNT, NEWEST_FIRST, OLDEST_FIRST):
        setting.ids(0, 5, order)

    assert setting.remembered() == {}


def test_a_further_page_does_not_read_everything() -> None:
    """A further page reads one part of the sequence and the orders it shows."""
    setting = Setting(60)
    setting.ids(0, 20)
    setting.recorder.calls.clear()

    assert setting.ids(20, 20) == list(range(40, 20, -1))
    assert setting.recorder.operations == ["BatchGetItem", "BatchGetItem"]


@pytest.fixture
def long(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """The five orders, as if they were so many that a walk must not receive whole entries."""
    monkeypatch.setattr(sorted_lists, "_WHOLE", 4)
    return setting


def between_walk_and_page(recorder: Recorder, action: Callable[[], object]) -> None:
    """Carry out an action once the next walk has read its entries."""
    send = recorder.send

    def interrupted(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = send(operation, request)
        if "ProjectionExpression" in request:
            recorder.send = send
            action()
        return answer

    recorder.send = interrupted


def test_a_long_list_is_read_in_parts(long: Setting) -> None:
    """Of a long list the values to sort by are read, and whole entries only of the page."""
    long.recorder.calls.clear()

    assert [long.ids(0, 2), long.ids(2, 2), long.ids(4, 2)] == [[5, 4], [3, 2], [1]]
    queried = [request for name, request in long.recorder.calls if name == "Query"]
    names = [set(request["ExpressionAttributeNames"].values()) for request in queried]
    assert names == [{"sk", "void", "order", "discount"}]
    assert long.recorder.operations.count("BatchGetItem") == 6  # a page's entries, and before it the head or sequence


def test_removed_after_the_walk(long: Setting) -> None:
    """An order that is removed while the first page is read is left out of it, and moves no other."""
    between_walk_and_page(long.recorder, lambda: long.orders.remove(4))

    assert [long.ids(0, 2), long.ids(2, 2), long.ids(4, 2)] == [[5], [3, 2], [1]]


def test_changed_after_the_walk(long: Setting) -> None:
    """An order that is changed while the first page is read keeps its place and has its new values."""
    between_walk_and_page(long.recorder, lambda: long.orders.change(5, Decimal(90)))

    page = long.orders.part(ListRequest(0, 2, BY_DISCOUNT), "me").items
    assert [(5, Decimal(90)), (4, Decimal("0.02"))] == [(one.id, one.discount) for one in page]


def test_loses_the_value_after_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that loses the wanted value while the first page is read is left out of it."""
    monkeypatch.setattr(sorted_lists, "_WHOLE", 0)
    recorder = Recorder(Memory())
    shop = DealProducts(Table(recorder, TABLE), "crm", Watch())
    for name in ("a", "b", "a", "a"):
        shop.add(NewProduct(name=name))
    wanted = ListRequest(0, 2, (SortKey("id", descending=True),), where=(("name", "a"),))
    assert [one.id for one in shop.part(wanted, "me").items] == [4, 3]  # and the book is settled
    between_walk_and_page(recorder, lambda: shop.change(4, {"name": "b"}))

    part = shop.part(wanted, "me")
    assert ([one.id for one in part.items], part.more) == ([3], True)


@pytest.mark.parametrize(
    "wanted",
    [
        ListRequest(0, 2, BY_DISCOUNT),
        ListRequest(4, 2, BY_DISCOUNT),
        ListRequest(0, 2, where=(("discount", Decimal("0.03")),)),
    ],
    ids=["sorted", "a further page", "filtered by a value"],
)
def test_too_many_to_sort(setting: Setting, monkeypatch: pytest.MonkeyPatch, wanted: ListRequest) -> None:
    """A list longer than the limit, removed items included, is refused before it is read."""
    setting.orders.remove(3)
    monkeypatch.setattr(sorted_lists, "MOST_SORTED", 5)
    assert setting.orders.part(wanted, "me").items is not None
    monkeypatch.setattr(sorted_lists, "MOST_SORTED", 4)
    setting.recorder.calls.clear()

    with pytest.raises(TooManyToSort, match=r"has 5 items, removed ones included\. At most 4 can be sorted"):
        setting.orders.part(wanted, "you")
    assert "Query" not in setting.recorder.operations


def test_any_number_by_id(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a list is, it can be read by id in both directions, and chosen ids can be sorted."""
    monkeypatch.setattr(sorted_lists, "MOST_SORTED", 0)

    assert [setting.ids(0, 9, OLDEST_FIRST), setting.ids(0, 9, NEWEST_FIRST)] == [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]
    chosen = setting.orders.part(ListRequest(0, 9, BY_DISCOUNT, frozenset({1, 2, 5})), "me").items
    assert [one.id for one in chosen] == [5, 2, 1]


MANY = 2_100


@pytest.fixture(scope="module")
def many() -> Setting:
    """More orders than two parts of a stored sequence hold."""
    return Setting(MANY)


def whole(setting: Setting) -> list[int]:
    """The whole list, read as one page."""
    return setting.ids(0, 100_000, reader="another reader")


def test_more_than_a_thousand(many: Setting) -> None:
    """A long sequence is stored in parts, and pages that span two parts are complete."""
    assert len(whole(many)) == MANY
    first = many.ids(0, 500)
    assert len(many.remembered()) == 3
    many.recorder.calls.clear()

    pages = [many.ids(start, 500) for start in range(500, 2_500, 500)]

    assert [one for page in [first, *pages] for one in page] == list(range(MANY, 0, -1))
    assert [len(page) for page in pages] == [500, 500, 500, 100]
    assert many.ids(948, 4) == list(range(MANY - 948, MANY - 952, -1))
    assert "Query" not in many.recorder.operations


@pytest.mark.parametrize("stale", ["000000", "000001"])
def test_parts_of_two_sequences(many: Setting, stale: str) -> None:
    """A page that would mix parts of two sequences sorts the list again."""
    before = {MANY: Decimal(1) / 100, 1: Decimal(MANY) / 100}
    many.ids(0, 500)
    old = many.remembered()
    many.orders.change(MANY, Decimal(99))
    many.ids(0, 500)
    for (partition, sort), item in old.items():
        if sort == stale:
            assert many.remembered()[partition, sort] != item
            many.memory.load(TABLE, item)

    try:
        assert many.ids(900, 200) == whole(many)[900:1_100]
        assert many.ids(1_000, 10) == whole(many)[1_000:1_010]
    finally:
        many.orders.change(MANY, before[MANY])


def test_a_part_that_is_lost(many: Setting) -> None:
    """If a part of the sequence is missing, the list is sorted again."""
    many.ids(0, 500)
    ((partition, sort),) = [key for key in many.remembered() if key[1] == "000001"]
    Table(many.memory, TABLE).delete_all([(partition, sort)])

    assert many.ids(1_000, 10) == whole(many)[1_000:1_010]
    assert many.ids(5, 10) == whole(many)[5:15]


def test_a_shorter_sequence_after_a_longer_one() -> None:
    """Leftover parts of a longer sequence are not read as part of a shorter one after it."""
    setting = Setting(1_050)
    setting.ids(0, 100)
    for number in range(1_050, 990, -1):
        setting.orders.remove(number)
    setting.ids(0, 100)

    assert setting.ids(900, 200) == whole(setting)[900:]
    assert setting.ids(1_000, 100) == []
    assert not setting.orders.part(ListRequest(900, 200, BY_DISCOUNT), "me").more


def test_read_in_small_pages_of_the_service() -> None:
    """A list is complete even if DynamoDB answers a few items at a time."""
    memory = Memory(query_page=3, batch_page=2)
    book = OrderBook(Table(memory, TABLE), "book", now=Watch())
    for number in range(10):
        book.place(lambda _, number=number: Draft({"value": {"id": number + 1, "rank": -number}}, []))  # type: ignore[misc] # bound now
    fields = {"id": Field(), "rank": Field(("rank",))}
    listed = SortedList(
        Table(memory, TABLE), book, "book", "value", lambda entry: entry["value"], fields, "me", Watch()
    )

    found = [one["id"] for first in (0, 4, 8) for one in listed.part(ListRequest(first, 4, (SortKey("rank"),))).items]
    assert found == list(range(10, 0, -1))


def test_chosen_ids(setting: Setting) -> None:
    """A list of chosen ids sorts and pages those that exist, and stores no sequence."""
    only = frozenset({1, 3, 5, 77, 2**53})

    assert [
        [one.id for one in setting.orders.part(ListRequest(first, 2, BY_DISCOUNT, only), "me").items]
        for first in (0, 2)
    ] == [[5, 3], [1]]
    assert setting.remembered() == {}


def lines_of(setting: Setting) -> Lines:
    return setting.orders.lines(1)


def test_line_items_are_remembered_by_their_positions(setting: Setting) -> None:
    """Line items are found again on further pages although their ids are not their positions."""
    product = sold(NewProduct(name="x"))
    lines = lines_of(setting)
    made = [lines.add(NewLine(product, Decimal(10 - n), "EUR", Decimal(0), 1)).id for n in range(5)]

    pages = [lines.part(ListRequest(first, 2, (SortKey("price"),)), "me") for first in (0, 2, 4)]

    assert [one.id for page in pages for one in page.items] == made[::-1]
    assert [page.more for page in pages] == [True, True, False]


def test_torn_write_of_a_sequence(setting: Setting) -> None:
    """If only the first part of a sequence was written, an older sequence's second part is not read with it."""
    setting.ids(0, 2)
    ((partition, sort), item) = next(iter(setting.remembered().items()))
    Table(setting.memory, TABLE).put(
        Put({"pk": partition, "sk": sort, "name": "new", "total": 1_500, "positions": b"", "expires": 2**40})
    )

    assert item["name"] != {"S": "new"}
    assert setting.ids(1_000, 10) == []
