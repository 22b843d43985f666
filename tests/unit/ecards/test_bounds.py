"""Items of stock and of e-card orders stay within 400 KB: the largest are written, and what would be larger is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import Put, ServiceFault, Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards import assignment, certificates
from ordering.ecards.assignment import Assignment
from ordering.ecards.catalogue import LARGEST_NAME, LONGEST_NAME, Ecard, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import (
    CARDS_AT_MOST,
    MOST_RANGES,
    RANGE_BYTES,
    Certificates,
    Fragmented,
    LoadResult,
    Ranges,
    Stock,
    StockLevel,
    read_stock_levels,
    size,
)
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant
from ordering.ecards.statuses import EcardStatus
from ordering.ecards.stock.codes import KnownElsewhere
from ordering.ecards.stock.upkeep import COMPACT_TO, StockUpkeep
from ordering.errors import Unavailable
from ordering.sizes import LARGEST_ITEM, stored_bytes
from ordering.values import replace
from support.aws import memory
from support.aws.faults import Crash, Faulty, interrupted, lost, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HUNDRED = Stock(1, "100 ₽")
SEALER = EnvelopeSealer(MemoryKms(), "alias/CertificatesKey")
WIDE = "契" * (LARGEST_NAME // 3)
"""The largest name."""

LARGEST_ID, LAST = 2**31 - 1, 9_999_999_999


def singles(count: int, first: int = 1) -> Ranges:
    """As many free positions, none of which adjoins another."""
    return tuple((position, position) for position in range(first, first + 2 * count, 2))


def put_level(table: Table, stock: Stock, free: Ranges) -> None:
    item = {"pk": stock.key[0], "sk": stock.key[1], "unassigned": [[*one] for one in free], "version": 1}
    table.put(Put({**item, "reserved": free[-1][1], "loaded": size(free)}))


def level(table: Table, stock: Stock = HUNDRED) -> StockLevel:
    return read_stock_levels(table, [stock])[stock]


def place(table: Table, stocks: list[Stock], quantity: int = 1, order_id: str = "a") -> None:
    """Place a paid order for so many certificates of each stock; each stock is of another card."""
    cards = [Ecard(one.card_id, WIDE, "", "ruble", (FaceValue(one.face_value, Decimal("0.01")),)) for one in {*stocks}]
    catalogue = EcardCatalogue(table, "acme")
    catalogue.publish(cards)
    orders = EcardOrders(table, "acme", now=lambda: NOW)
    orders.top_up(order_id, Decimal(1_000_000))
    person = EcardParticipant(f"{'a' * 64}@example.com", "契" * 250, "7" * 32)
    wanted = [RequestedCard(one.card_id, one.face_value, quantity) for one in stocks]
    orders.place(EcardRequest(order_id, person, wanted), company_name="契" * 100, catalogue=catalogue)


def assign(table: Table, order_id: str = "a") -> EcardOrder:
    return Assignment(table, now=lambda: NOW).assign("acme", order_id)


def cancel(table: Table, order_id: str = "a") -> EcardOrder:
    return EcardOrders(table, "acme", now=lambda: NOW).cancel(order_id)


def load(table: Table, *codes: str, batch: str = "b", stock: Stock = HUNDRED, force: bool = False) -> LoadResult:
    return Certificates(table, SEALER).load(stock, batch, codes, force=force)


# Real sizes


def test_the_largest_stock(table: Table) -> None:
    """A stock with as many free ranges as it may have fits its item, with the longest names and positions."""
    stock = Stock(LARGEST_ID, WIDE)
    put_level(table, stock, singles(MOST_RANGES - 1, LAST - 2 * MOST_RANGES - 4))
    table.transact([level(table, stock).publish((LAST, LAST))])
    item = table.get(stock.key)

    assert item is not None
    assert LARGEST_ITEM * 3 // 4 < stored_bytes(item) < LARGEST_ITEM
    assert len(level(table, stock).free) == MOST_RANGES
    with pytest.raises(Fragmented, match="at most 20,000"):
        level(table, stock).publish((1, 1))
    with pytest.raises(Fragmented, match="ordering stock compact"):
        level(table, stock).put_back(((1, 1), (3, 3)))
    assert stored_bytes({"": [[LAST, LAST]]}) - stored_bytes({"": []}) == RANGE_BYTES


def test_the_largest_order(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order of 100 lines with the longest names can get its certificates, be cancelled and return them."""
    returns = Assignment.return_certificates
    monkeypatch.setattr(Assignment, "return_certificates", out_of_time)
    stocks = [Stock(LARGEST_ID - number, WIDE) for number in range(100)]
    for stock in stocks:
        put_level(table, stock, singles(100, LAST - 1_000))
    place(table, stocks, quantity=16)

    assert assign(table).status is EcardStatus.READY
    cancelled = cancel(table)
    assert (len(cancelled.assigned), cancelled.returning) == (100, cancelled.assigned)

    monkeypatch.setattr(Assignment, "return_certificates", returns)
    monkeypatch.setattr(Assignment, "assign_parked", out_of_time)  # ends it after the first stock
    with pytest.raises(Unavailable):
        Assignment(table).return_certificates("acme", "a")
    assert sorted(level(table, stock).count for stock in stocks) == [84] * 99 + [100]


def out_of_time(*_: object) -> EcardOrder:
    raise Unavailable


def test_an_order_waits_for_longer_ranges(table: Table) -> None:
    """An order whose item could not list its certificates waits, until a load or a return leaves longer ranges."""
    put_level(table, HUNDRED, singles(12_000, LAST - 30_000))
    place(table, [HUNDRED], quantity=10_500, order_id="fits")
    place(table, [HUNDRED], quantity=11_500, order_id="waits")
    for _ in range(2):
        waiting = assign(table, "waits")
        assert (waiting.status, waiting.parked, waiting.assigned) == (EcardStatus.AWAITING, HUNDRED, ())
    assert len(assign(table, "fits").assigned[0].ranges) == 10_500
    assert cancel(table, "fits").status is EcardStatus.CANCELLED
    assert level(table).count == 12_000

    put_level(table, HUNDRED, (*singles(1_000), (5_000, 20_000), (LAST, LAST)))
    Assignment(table, now=lambda: NOW).assign_parked(HUNDRED)
    assert assign(table, "waits").status is EcardStatus.READY


def test_large_stocks_are_taken_from_in_several_steps(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order whose stocks are together larger than a transaction takes from them in several."""
    assert LARGEST_ITEM <= assignment._ROOM <= memory._LARGEST_TRANSACTION - LARGEST_ITEM
    monkeypatch.setattr(assignment, "_ROOM", 100 * 1024)
    monkeypatch.setattr(memory, "_LARGEST_TRANSACTION", 120 * 1024)
    stocks = [Stock(number, "x") for number in range(1, 13)]
    for stock in stocks:
        put_level(table, stock, singles(1_000, LAST - 2_000))
    place(table, stocks)

    assert assign(table).status is EcardStatus.READY
    assert {level(table, stock).count for stock in stocks} == {999}


def test_the_service_refuses_larger_items(table: Table) -> None:
    """The tables of the tests refuse an item of more than 400 KB, as DynamoDB does."""
    key = {"pk": "a", "sk": "-"}
    text = "x" * (LARGEST_ITEM - stored_bytes({**key, "text": ""}))
    table.put(Put({**key, "text": text}))
    with pytest.raises(ServiceFault, match="Item size"):
        table.put(Put({**key, "text": text + "x"}))
    with pytest.raises(ServiceFault, match="Item size"):
        table.transact([Put({**key, "text": text + "x"})])


@pytest.mark.parametrize("name", ["契" * 251, "\U0001f600" * 188])
def test_names_that_are_too_large(table: Table, name: str) -> None:
    """A card or face value has a name of at most 250 characters and 750 bytes."""
    for card in (
        Ecard(1, name, "", "ruble", ()),
        Ecard(1, "Books", "", "ruble", (FaceValue(name, Decimal(1)),)),
    ):
        with pytest.raises(ValueError, match=f"{LONGEST_NAME} characters, at most {LARGEST_NAME} bytes in UTF-8"):
            EcardCatalogue(table, "acme").publish([card])


def test_a_code_of_many_cards(table: Table) -> None:
    """A code can be forced onto as many cards as fit its item, and onto no more."""
    longest = "契" * 200
    for number in range(CARDS_AT_MOST):
        load(table, "code", stock=Stock(LARGEST_ID - number, WIDE), batch=longest, force=True)
    with pytest.raises(KnownElsewhere):
        load(table, "code", stock=Stock(1, WIDE), batch=longest, force=True)

    assert load(table, "other", stock=Stock(1, WIDE), batch=longest, force=True) == LoadResult(1)


# What is done at the bound, with a small one


@pytest.fixture
def few_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stock has three ranges at most, and compaction leaves one."""
    monkeypatch.setattr(certificates, "MOST_RANGES", 3)
    monkeypatch.setattr("ordering.ecards.stock.upkeep.COMPACT_TO", 1)


@pytest.fixture
def upkeep(table: Table) -> StockUpkeep:
    upkeep = StockUpkeep(table, SEALER, now=lambda: NOW)
    upkeep.index(Table(Memory(), "CatalogueTable"))
    return upkeep


def fragment(table: Table, cancelled: str = "135") -> None:
    """Place eight orders of a certificate each, and cancel some, no two of which have adjoining ones."""
    load(table, *"abcdefgh", batch="first")
    for order_id in "12345678":
        place(table, [HUNDRED], order_id=order_id)
        assign(table, order_id)
    for order_id in cancelled:
        cancel(table, order_id)
    assert len(level(table).free) == len(cancelled)


def codes(table: Table) -> str:
    return "".join(sorted(one.code for one in Certificates(table, SEALER).open(HUNDRED, level(table).free)))


@pytest.mark.usefixtures("few_ranges")
def test_a_load_waits_for_a_compaction(table: Table, upkeep: StockUpkeep) -> None:
    """A load into a stock with too many ranges is refused before it writes anything, and succeeds after compaction."""
    fragment(table)
    with pytest.raises(Fragmented, match="run `ordering stock compact` for it, then retry"):
        load(table, "x")
    assert table.get((f"LOADS#{HUNDRED}", "b")) is None

    assert upkeep.compact(HUNDRED) == 3
    assert load(table, "x") == LoadResult(1)
    assert (codes(table), level(table).free) == ("acex", ((9, 12),))


@pytest.mark.usefixtures("few_ranges")
def test_a_load_that_meets_the_bound_at_its_end(table: Table, upkeep: StockUpkeep) -> None:
    """A load that only finds too many ranges when it publishes is completed by the same load after compaction."""
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", interrupted(lambda: fragment(table, "246")), after=2)
    with pytest.raises(Fragmented):
        load(replace(table, send=faulty), *"xy")
    upkeep.compact(HUNDRED)

    assert load(table, *"xy") == LoadResult(2)
    assert codes(table) == "bdfxy"


@pytest.mark.usefixtures("few_ranges")
def test_a_return_waits_for_a_compaction(table: Table, upkeep: StockUpkeep) -> None:
    """A cancelled order keeps the certificates that its stock cannot take, until the stock was compacted."""
    fragment(table)
    cancelled = cancel(table, "7")
    assert (cancelled.status, size(cancelled.returning[0].ranges)) == (EcardStatus.CANCELLED, 1)
    with pytest.raises(Fragmented):
        Assignment(table).return_certificates("acme", "7")
    assert codes(table) == "ace"
    upkeep.compact(HUNDRED)

    assert Assignment(table).return_certificates("acme", "7").returning == ()
    assert codes(table) == "aceg"


@pytest.mark.usefixtures("few_ranges")
def test_a_full_stock_holds_up_no_other(table: Table) -> None:
    """If one stock cannot take a cancelled order's certificates, those of its other stocks are returned."""
    other = Stock(2, "500 ₽")
    load(table, "other", stock=other)
    load(table, *"abcdefg")
    place(table, [HUNDRED, other], order_id="both")
    assign(table, "both")
    put_level(table, HUNDRED, ((3, 3), (5, 5), (7, 7)))
    cancel(table, "both")

    left = EcardOrders(table, "acme").order("both").returning
    assert [held.stock for held in left] == [HUNDRED]
    assert level(table, other).count == 1


@pytest.mark.usefixtures("few_ranges")
def test_nothing_is_cut_into_too_many_ranges(table: Table, upkeep: StockUpkeep) -> None:
    """Unloading and moving batches from the middle of ranges ends before a stock has too many."""
    for batch in "abcdefgh":
        load(table, f"{batch}1", f"{batch}2", batch=batch)
    for batch in "bd":
        upkeep.unload(HUNDRED, batch=batch)
    with pytest.raises(Fragmented):
        upkeep.unload(HUNDRED, batch="f")
    with pytest.raises(Fragmented):
        upkeep.move(HUNDRED, Stock(1, "1000 ₽"), batch="f")

    assert (level(table).count, len(level(table).free)) == (12, 3)
    upkeep.compact(HUNDRED)
    assert upkeep.unload(HUNDRED, count=2) == 2


# Compaction


def test_a_stock_is_compacted(table: Table, upkeep: StockUpkeep) -> None:
    """Compaction moves the shortest ranges' certificates, with the records of their codes; those of orders stay."""
    names = [f"{number:03}" for number in range(2 * COMPACT_TO + 90)]
    load(table, *names, batch="l1")
    for number in range(1, 2 * COMPACT_TO + 3, 2):
        table.transact([level(table).withdraw(((number, number),))])
    before = codes(table)
    assert len(level(table).free) == COMPACT_TO + 1

    assert upkeep.compact(HUNDRED) == 32
    assert len(level(table).free) <= COMPACT_TO
    assert codes(table) == before
    assert level(table).free[-1][1] == len(names) + 32
    assert (table.get(HUNDRED.key) or {})["loaded"] == level(table).count
    assert load(table, names[1], batch="l2") == LoadResult(0, known=(0,))
    assert upkeep.compact(HUNDRED) == 0


@pytest.mark.usefixtures("few_ranges")
def test_a_waiting_order_gets_what_was_compacted(
    table: Table, upkeep: StockUpkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a compaction, orders that waited for longer ranges get their certificates."""
    monkeypatch.setattr(assignment, "fits", lambda order: len(order.assigned[0].ranges) < 2)
    fragment(table)
    place(table, [HUNDRED], quantity=3, order_id="waits")
    assert assign(table, "waits").status is EcardStatus.AWAITING
    upkeep.compact(HUNDRED)

    order = EcardOrders(table, "acme").order("waits")
    assert (order.status, order.assigned[0].ranges) == (EcardStatus.READY, ((9, 11),))


@pytest.mark.usefixtures("few_ranges")
@pytest.mark.parametrize("fault", [refused(Crash()), lost(Crash()), interrupted(lambda: None)])
def test_a_crash_while_a_stock_is_compacted(table: Table, upkeep: StockUpkeep, fault: Callable[..., object]) -> None:
    """After a crash in a compaction every certificate is free once, and the same call again does the rest."""
    fragment(table)
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", fault)  # type: ignore[arg-type] # one of the faults
    try:
        StockUpkeep(replace(table, send=faulty), SEALER).compact(HUNDRED)
    except Crash:
        assert codes(table) == "ace"
    upkeep.compact(HUNDRED)

    assert (codes(table), level(table).free) == ("ace", ((9, 11),))


@pytest.mark.usefixtures("few_ranges")
def test_an_order_takes_what_is_about_to_be_compacted(table: Table, upkeep: StockUpkeep) -> None:
    """An order that gets a certificate while it is about to be moved within its stock keeps it."""
    fragment(table)
    place(table, [HUNDRED], order_id="new")
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", interrupted(lambda: assign(table, "new")))
    assert StockUpkeep(replace(table, send=faulty, first_pause=0.0), SEALER).compact(HUNDRED) == 2

    assert (codes(table), assign(table, "new").assigned[0].ranges) == ("ce", ((1, 1),))
    assert upkeep.compact(HUNDRED) == 0
