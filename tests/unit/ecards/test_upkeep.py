"""Upkeep of stock: codes of earlier releases are registered, free certificates are moved and unloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ordering.aws.dynamodb import Put, Table, Update
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import Ecard, EcardCatalogue, FaceValue, is_offered
from ordering.ecards.certificates import (
    Certificate,
    Certificates,
    LoadResult,
    Ranges,
    Stock,
    common,
    merge,
    read_stock_levels,
    size,
    without,
)
from ordering.ecards.stock.codes import CodeRegister, NotIndexed, Place
from ordering.ecards.stock.loading import StockLoader, UnknownStock, is_indexed
from ordering.ecards.stock.upkeep import IndexReport, StockUpkeep, unfinished_loads
from ordering.errors import NotFound
from ordering.values import replace
from support.aws.faults import Crash, Faulty, interrupted, lost, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.ecards import CARDS

HUNDRED, THOUSAND, OTHER = Stock(1, "100 ₽"), Stock(1, "1000 ₽"), Stock(2, "500 ₽")
SEALER = EnvelopeSealer(MemoryKms(), "alias/CertificatesKey")


@pytest.fixture
def catalogue(memory: Memory) -> Table:
    return Table(memory, "CatalogueTable", first_pause=0.0)


@pytest.fixture
def upkeep(table: Table) -> StockUpkeep:
    return StockUpkeep(table, SEALER)


@pytest.fixture
def indexed(upkeep: StockUpkeep, catalogue: Table) -> StockUpkeep:
    upkeep.index(catalogue)
    return upkeep


def load(table: Table, stock: Stock, batch: str, *codes: str, force: bool = False) -> LoadResult:
    return Certificates(table, SEALER).load(stock, batch, codes, force=force)


def load_as_before(table: Table, stock: Stock, batch: str, *codes: str) -> None:
    """Write a load as releases without the register did."""
    level = read_stock_levels(table, [stock])[stock]
    first, last = level.reserved + 1, level.reserved + len(codes)
    certificates = Certificates(table, SEALER)
    table.put_all(certificates.put(Certificate(stock, first + n, code)).item for n, code in enumerate(codes))
    table.transact([level.publish((first, last))])
    table.update(Update(stock.key, "SET reserved = :last", values={":last": last}))
    table.put(
        Put({"pk": f"LOADS#{stock}", "sk": batch, "first": first, "last": last, "digest": b"-", "published": True})
    )


def free(table: Table, *stocks: Stock) -> list[str]:
    """All free codes of stocks, sorted."""
    levels = read_stock_levels(table, stocks)
    found = Certificates(table, SEALER).open_all((stock, level.free) for stock, level in levels.items())
    return sorted(one.code for one in found)


def take(table: Table, stock: Stock, count: int = 1) -> None:
    table.transact([read_stock_levels(table, [stock])[stock].take(count)[1]])


def places(table: Table, card: int, *codes: str) -> list[Place | None]:
    return [record.place(card) for record in CodeRegister.open(table, SEALER).read(codes)]


def loaded(table: Table, stock: Stock) -> int:
    count: int = (table.get(stock.key) or {})["loaded"]
    return count


# Ranges


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ((), ((1, 5), (8, 9))),
        (((1, 5),), ((8, 9),)),
        (((2, 2), (4, 5), (8, 8)), ((1, 1), (3, 3), (9, 9))),
    ],
)
def test_ranges_without_others(gone: Ranges, left: Ranges) -> None:
    """What is left of ranges without others is ascending, and both together are the ranges."""
    assert without(((1, 5), (8, 9)), gone) == left
    assert merge(left, gone) == ((1, 5), (8, 9))


def test_ranges_without_what_they_lack() -> None:
    """Positions that are not in the ranges cannot be removed from them."""
    with pytest.raises(ValueError, match="positions 5 to 6"):
        without(((1, 5),), ((5, 6),))


def test_common_positions() -> None:
    """The common positions of ranges and one range are cut at its ends."""
    assert common(((1, 3), (5, 9), (12, 12)), (2, 6)) == ((2, 3), (5, 6))


# The codes of earlier releases


def test_earlier_codes_are_registered(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """Codes of earlier releases, assigned ones as well, are registered with their places, and known from then on."""
    load_as_before(table, HUNDRED, "old 1 ", *[f"code {number}" for number in range(200)])
    take(table, HUNDRED, 50)
    load_as_before(table, OTHER, "old", "x")
    report = upkeep.index(catalogue)

    assert (report, is_indexed(table)) == (IndexReport(codes=201), True)
    assert places(table, 1, "code 0", "code 199") == [Place("100 ₽", 1, "old 1"), Place("100 ₽", 200, "old 1")]
    assert load(table, THOUSAND, "new", "code 7", "new") == LoadResult(1, known=(0,))
    assert upkeep.index(catalogue) == IndexReport()


def test_new_loads_are_not_registered_again(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """Loads of this release have registered their codes already."""
    load(table, HUNDRED, "new", "a")

    assert upkeep.index(catalogue) == IndexReport()


def test_an_unfinished_load_of_an_earlier_release(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """A load that an earlier release left unfinished is completed by the same load again."""
    certificates = Certificates(table, SEALER)
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", refused(Crash()), after=1)
    with pytest.raises(Crash):
        Certificates(replace(table, send=faulty), SEALER).load(HUNDRED, "l1", ["a", "b"])
    table.put_all(certificates.put(Certificate(HUNDRED, 1 + n, code)).item for n, code in enumerate("ab"))

    assert upkeep.index(catalogue) == IndexReport()
    assert load(table, HUNDRED, "l1", "a", "b") == LoadResult(2)
    assert free(table, HUNDRED) == ["a", "b"]


@pytest.mark.parametrize("second", [HUNDRED, THOUSAND])
def test_a_free_duplicate_is_withdrawn(table: Table, catalogue: Table, upkeep: StockUpkeep, second: Stock) -> None:
    """Of two free certificates with one code of a card, one stays in stock."""
    load_as_before(table, HUNDRED, "l1", "a", "b")
    load_as_before(table, second, "l2", "b", "c")
    report = upkeep.index(catalogue)

    assert (len(report.withdrawn), report.assigned_twice) == (1, [])
    assert free(table, *{HUNDRED, second}) == ["a", "b", "c"]
    assert upkeep.index(catalogue) == IndexReport()


@pytest.mark.parametrize("assigned", [HUNDRED, THOUSAND])
def test_the_assigned_one_stays(table: Table, catalogue: Table, upkeep: StockUpkeep, assigned: Stock) -> None:
    """Of two certificates with one code, of which an order has one, the free one is withdrawn."""
    load_as_before(table, HUNDRED, "l1", "a")
    load_as_before(table, THOUSAND, "l2", "a")
    take(table, assigned)
    report = upkeep.index(catalogue)
    other = THOUSAND if assigned == HUNDRED else HUNDRED

    assert (report.withdrawn, report.assigned_twice) == ([(other, 1)], [])
    assert free(table, HUNDRED, THOUSAND) == []
    assert [place and place.face_value for place in places(table, 1, "a")] == [assigned.face_value]
    assert loaded(table, other) == 0


def test_codes_that_two_orders_have(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """If orders have both certificates with one code, it is reported and nothing is withdrawn."""
    for stock in (HUNDRED, THOUSAND):
        load_as_before(table, stock, "l", "a")
        take(table, stock)
    report = upkeep.index(catalogue)

    assert (report.codes, report.withdrawn) == (1, [])
    assert len(report.assigned_twice) == 1


def test_earlier_codes_of_two_cards_stay(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """A code that two cards have stays in stock for both."""
    load_as_before(table, HUNDRED, "l1", "a")
    load_as_before(table, OTHER, "l1", "a")

    assert upkeep.index(catalogue) == IndexReport(codes=2)
    assert free(table, HUNDRED, OTHER) == ["a", "a"]


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("calls", range(12))
def test_a_crash_while_codes_are_registered(
    table: Table, catalogue: Table, upkeep: StockUpkeep, calls: int, fault: Callable[[BaseException], Any]
) -> None:
    """After a crash before or after any call, the next run registers the rest and withdraws each duplicate once."""
    load_as_before(table, HUNDRED, "l1", "a", "b", "c")
    load_as_before(table, THOUSAND, "l1", "b", "d", "a")
    faulty = Faulty(table.send)
    faulty.meet(None, fault(Crash()), after=calls)
    with pytest.raises(Crash):
        StockUpkeep(replace(table, send=faulty), SEALER).index(replace(catalogue, send=faulty))
    assert not is_indexed(table) or fault is lost
    upkeep.index(catalogue)

    assert free(table, HUNDRED, THOUSAND) == ["a", "b", "c", "d"]
    assert None not in places(table, 1, *"abcd")


def test_earlier_catalogues_are_registered(catalogue: Table, upkeep: StockUpkeep) -> None:
    """Face values of catalogues that an earlier release published are known after the register is complete."""
    EcardCatalogue(catalogue, "granite").publish(CARDS)
    catalogue.delete_all([("OFFERED#1#100 ₽", "granite")])
    assert not is_offered(catalogue, 1, "100 ₽")
    upkeep.index(catalogue)

    assert is_offered(catalogue, 1, "100 ₽")


# What a catalogue has


def test_offered_face_values(catalogue: Table) -> None:
    """A face value is on offer while any company's catalogue has it."""
    one, other = (EcardCatalogue(catalogue, company) for company in ("one", "other"))
    card = Ecard(7, "Books", "", "ruble", (FaceValue("5 ₽", CARDS[0].face_values[0].price),))
    one.publish([card])
    other.publish([card, CARDS[0]])
    one.publish([])
    offered = [is_offered(catalogue, *wanted) for wanted in ((7, "5 ₽"), (7, "5\u00a0₽"), (8, "5 ₽"), (1, "100 ₽"))]
    other.publish([])

    assert offered == [True, False, False, True]
    assert not is_offered(catalogue, 7, "5 ₽")


def test_stock_that_cannot_be_loaded(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """Stock is loaded once the register is complete, and only if a catalogue has it or it is forced."""
    loader = StockLoader(table, catalogue, SEALER)
    with pytest.raises(NotIndexed):
        loader.load(HUNDRED, "b", ["a"], force=True)
    upkeep.index(catalogue)
    with pytest.raises(UnknownStock):
        loader.load(HUNDRED, "b", ["a"])

    assert loader.load(HUNDRED, "b", ["a"], force=True) == LoadResult(1)


# Moving and unloading


@pytest.mark.parametrize("target", [THOUSAND, OTHER])
def test_a_move(table: Table, indexed: StockUpkeep, target: Stock) -> None:
    """Free certificates move with their codes' records, in any number; those of orders stay."""
    codes = [f"{number:02}" for number in range(80)]
    load(table, HUNDRED, "l1", *codes)
    load(table, target, "l1", "there")
    take(table, HUNDRED, 5)

    assert indexed.move(HUNDRED, target) == 75
    assert (free(table, HUNDRED), free(table, target)) == ([], [*codes[5:], "there"])
    assert (loaded(table, HUNDRED), loaded(table, target)) == (5, 76)
    assert places(table, target.card_id, "79") == [Place(target.face_value, 76, "l1")]
    assert places(table, 1, "00") == [Place("100 ₽", 1, "l1")]
    assert indexed.move(HUNDRED, target) == 0


def test_a_part_of_a_stock_is_moved(table: Table, indexed: StockUpkeep) -> None:
    """A move can be limited to a batch, by its name with or without blanks, and to a number."""
    load(table, HUNDRED, "l1", "a", "b")
    load(table, HUNDRED, "l2", "c", "d", "e")

    assert indexed.move(HUNDRED, THOUSAND, batch=" l2 ", count=2) == 2
    assert (free(table, HUNDRED), free(table, THOUSAND)) == (["a", "b", "e"], ["c", "d"])
    with pytest.raises(NotFound):
        indexed.move(HUNDRED, THOUSAND, batch="l3")
    with pytest.raises(ValueError, match="already"):
        indexed.move(HUNDRED, HUNDRED)


def test_codes_that_the_other_card_has_stay(table: Table, indexed: StockUpkeep) -> None:
    """A code that the other card has already stays where it is."""
    load(table, HUNDRED, "l1", "a", "b", "c")
    load(table, OTHER, "l1", "b", force=True)

    assert indexed.move(HUNDRED, OTHER) == 2
    assert (free(table, HUNDRED), free(table, OTHER)) == (["b"], ["a", "b", "c"])


def test_unloading(table: Table, indexed: StockUpkeep) -> None:
    """Free certificates are removed and can be loaded again by another name; the same load again changes nothing."""
    codes = [f"{number:02}" for number in range(60)]
    load(table, HUNDRED, "l1", *codes)
    load(table, OTHER, "l1", "59", force=True)
    take(table, HUNDRED)

    assert indexed.unload(HUNDRED, batch="l1") == 59
    assert (free(table, HUNDRED), loaded(table, HUNDRED)) == ([], 1)
    assert load(table, HUNDRED, "l1", *codes).repeated
    assert load(table, THOUSAND, "l2", *codes, force=True) == LoadResult(59, known=(0,))
    assert free(table, HUNDRED, OTHER) == ["59"]


def test_stock_of_earlier_releases_waits_for_the_register(table: Table, upkeep: StockUpkeep) -> None:
    """Before the register is complete nothing is moved or unloaded."""
    load_as_before(table, HUNDRED, "l1", "a")
    for act in (moves, unloads):
        with pytest.raises(NotIndexed):
            act(upkeep)

    assert free(table, HUNDRED) == ["a"]


def moves(upkeep: StockUpkeep) -> object:
    return upkeep.move(HUNDRED, THOUSAND)


def unloads(upkeep: StockUpkeep) -> object:
    return upkeep.unload(HUNDRED)


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("calls", range(8))
@pytest.mark.parametrize(("act", "left"), [(moves, 70), (unloads, 0)])
def test_a_crash_while_stock_is_moved_or_unloaded(
    table: Table,
    indexed: StockUpkeep,
    act: Callable[[StockUpkeep], object],
    left: int,
    calls: int,
    fault: Callable[[BaseException], Any],
) -> None:
    """After a crash at any call no code is lost or in two stocks, and the same call again does the rest."""
    codes = [f"{number}" for number in range(70)]
    load(table, HUNDRED, "l1", *codes)
    faulty = Faulty(table.send)
    faulty.meet(None, fault(Crash()), after=calls)
    with pytest.raises(Crash):
        act(StockUpkeep(replace(table, send=faulty), SEALER))
    between = free(table, HUNDRED, THOUSAND)
    known = [code for code, place in zip(codes, places(table, 1, *codes), strict=True) if place]

    assert between == sorted(known)
    act(indexed)
    assert len({*free(table, THOUSAND)}) == left
    assert free(table, HUNDRED) == []


@pytest.mark.parametrize("calls", range(6))
@pytest.mark.parametrize("act", [moves, unloads])
@pytest.mark.usefixtures("indexed")
def test_an_order_takes_what_is_about_to_move(table: Table, act: Callable[[StockUpkeep], object], calls: int) -> None:
    """A certificate that an order takes meanwhile stays the order's."""
    load(table, HUNDRED, "l1", "a", "b", "c")
    faulty = Faulty(table.send)
    faulty.meet(None, interrupted(lambda: _take_one(table)), after=calls)
    act(StockUpkeep(replace(table, send=faulty), SEALER))
    level = read_stock_levels(table, [HUNDRED])[HUNDRED]

    assert level.count + size(read_stock_levels(table, [THOUSAND])[THOUSAND].free) in {0, 2, 3}
    assert level.free == ()
    assert loaded(table, HUNDRED) == len(Certificates(table, SEALER).open_stored(HUNDRED, ((1, 3),)))


def _take_one(table: Table) -> None:
    if read_stock_levels(table, [HUNDRED])[HUNDRED].count:
        take(table, HUNDRED)


def test_loads_that_are_not_complete(table: Table) -> None:
    """A load that crashed is listed until it is completed."""
    load(table, HUNDRED, "l0", "x")
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", refused(Crash()), after=1)
    with pytest.raises(Crash):
        Certificates(replace(table, send=faulty), SEALER).load(HUNDRED, "l1", ["a"])

    assert unfinished_loads(table, HUNDRED) == ["l1"]
    load(table, HUNDRED, "l1", "a")
    assert unfinished_loads(table, HUNDRED) == []


def test_earlier_codes_that_are_invalid(table: Table, catalogue: Table, upkeep: StockUpkeep) -> None:
    """Codes of earlier releases that no load would accept now are reported by position, without the code."""
    load_as_before(table, HUNDRED, "l1", "a", "\ufeffSECRET")
    report = upkeep.index(catalogue)

    assert (report.codes, report.invalid) == (2, [(HUNDRED, 2, "has a character that is not shown, U+FEFF")])
    assert free(table, HUNDRED) == ["a", "\ufeffSECRET"]
