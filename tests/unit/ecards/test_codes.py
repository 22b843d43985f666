"""Codes of certificates: which texts can be codes, and that each is in stock once for a card."""

from __future__ import annotations

import itertools

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.certificates import Certificates, Duplicates, LoadResult, Stock, read_stock_levels
from ordering.ecards.stock.codes import (
    LONGEST_CODE,
    CodeRegister,
    InvalidCodes,
    KnownElsewhere,
    Place,
    canonical_batch,
    check_codes,
)
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Crash, Faulty, interrupted, lost, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory

HUNDRED, FIFTY, OTHER = Stock(1, "100 ₽"), Stock(1, "50 ₽"), Stock(2, "100 ₽")
SEALER = EnvelopeSealer(MemoryKms(), "alias/CertificatesKey")


@pytest.fixture
def certificates(table: Table) -> Certificates:
    return Certificates(table, SEALER)


def in_stock(table: Table, *stocks: Stock) -> list[str]:
    """All free codes of stocks, sorted."""
    levels = read_stock_levels(table, stocks)
    found = Certificates(table, SEALER).open_all((stock, level.free) for stock, level in levels.items())
    return sorted(one.code for one in found)


@pytest.mark.parametrize(
    "code", ["A", "1234 5678", "ÄÖ-ß", "код", "コード", "https://example.com/?a=b#c", "x" * LONGEST_CODE, "😀"]
)
def test_codes(code: str) -> None:
    """Any shown characters with single spaces between them are a code."""
    check_codes([code])


@pytest.mark.parametrize(
    "code",
    [
        "",
        " A",
        "A ",
        "A  B",
        "A\tB",
        "A\nB",
        "A\x00",
        "A\x7f",
        "\ufeffA",
        "A\u200b",
        "A\u200d",
        "A\u2060",
        "\u202eA",
        "A\u2066",
        "A\u00ad",
        "A\u00a0B",
        "A\u3000",
        "A\u2028",
        "A\ue000",
        "A" + chr(0xD800),
        "A\ufffd",
        "A\u3164",
        "A\ufe0f",
        "A\u2800",
        "x" * (LONGEST_CODE + 1),
    ],
    ids=ascii,
)
def test_texts_that_cannot_be_codes(table: Table, certificates: Certificates, code: str) -> None:
    """A text that a participant could not read or copy is refused by its index; nothing is loaded, nothing is shown."""
    with pytest.raises(InvalidCodes) as raised:
        certificates.load(HUNDRED, "l1", ["good", code, "good too"])

    assert [*raised.value.reasons] == [1]
    assert str(raised.value).isprintable()
    assert in_stock(table, HUNDRED) == []


@pytest.mark.parametrize("name", ["l 1", " l 1", "l 1\t", "l  1", "l\u00a01", "\u2003l 1\n"])
def test_names_of_batches(name: str) -> None:
    """Names that differ only in blanks are one name."""
    assert canonical_batch(name) == "l 1"


@pytest.mark.parametrize("batch", ["l1", "l1 ", "\u00a0l1", "l2"])
@pytest.mark.parametrize("stock", [HUNDRED, FIFTY])
def test_known_codes(table: Table, certificates: Certificates, batch: str, stock: Stock) -> None:
    """Codes that the card has are not loaded again, at no face value and by no name; they are reported by index."""
    certificates.load(HUNDRED, "l0", ["a", "b"])
    result = certificates.load(stock, batch, ["c", "b", "d", "a"])

    assert result == LoadResult(new=2, known=(1, 3))
    assert in_stock(table, HUNDRED, FIFTY) == ["a", "b", "c", "d"]


def test_a_code_that_was_handed_over_stays_known(table: Table, certificates: Certificates) -> None:
    """A code that is no longer in stock is not loaded again either."""
    certificates.load(HUNDRED, "l1", ["a"])
    table.transact([read_stock_levels(table, [HUNDRED])[HUNDRED].take(1)[1]])

    assert certificates.load(HUNDRED, "l2", ["a"]) == LoadResult(new=0, known=(0,))
    assert in_stock(table, HUNDRED) == []


def test_a_load_again(table: Table, certificates: Certificates) -> None:
    """The same load again, with blanks around its name, changes nothing and reports the same codes."""
    certificates.load(HUNDRED, "l0", ["b"])
    first = certificates.load(HUNDRED, "l1", ["a", "b"])
    again = certificates.load(HUNDRED, " l1 ", ["a", "b"])

    assert (first, again) == (LoadResult(1, known=(1,)), LoadResult(1, known=(1,), repeated=True))
    assert in_stock(table, HUNDRED) == ["a", "b"]


def test_codes_of_another_card(table: Table, certificates: Certificates) -> None:
    """A code that another card has is refused by index with all of its load; forced, both cards have it."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    with pytest.raises(KnownElsewhere) as raised:
        certificates.load(OTHER, "l1", ["c", "b"])

    assert raised.value.cards == {1: (1,)}
    assert in_stock(table, OTHER) == []
    assert certificates.load(OTHER, "l1", ["c", "b"], force=True) == LoadResult(2)
    assert certificates.load(OTHER, "l2", ["b"], force=True) == LoadResult(0, known=(0,))
    assert in_stock(table, OTHER) == ["b", "c"]


def test_two_spellings_are_one_code(certificates: Certificates) -> None:
    """Spellings that look the same are one code, within a load and over loads."""
    with pytest.raises(Duplicates):
        certificates.load(HUNDRED, "l1", ["\u00e9", "e\u0301"])
    certificates.load(HUNDRED, "l1", ["\u00e9"])

    assert certificates.load(HUNDRED, "l2", ["e\u0301"]) == LoadResult(0, known=(0,))


def test_codes_cannot_be_found_by_trying(memory: Memory, certificates: Certificates) -> None:
    """Records of codes have keys that another installation would not have, and contain no code."""
    certificates.load(HUNDRED, "l1", ["1234"])
    other = Memory()
    Certificates(Table(other, "OrdersTable"), SEALER).load(HUNDRED, "l1", ["1234"])
    digests = [{pk for (pk, _), _ in one.scan("OrdersTable") if pk.startswith("CODE#")} for one in (memory, other)]

    assert len(digests[0] | digests[1]) == 2
    assert "1234" not in repr([*memory.scan("OrdersTable")])


def test_where_a_code_is(table: Table, certificates: Certificates) -> None:
    """The record of a code has its face value, position and batch, by card."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    (record,) = CodeRegister.open(table, SEALER).read(["b"])

    assert (record.place(1), record.place(2)) == (Place("100 ₽", 2, "l1"), None)


@pytest.mark.parametrize("stock", [HUNDRED, FIFTY, OTHER])
@pytest.mark.parametrize("calls", range(11))
def test_one_code_in_two_loads_at_once(table: Table, stock: Stock, calls: int) -> None:
    """Of two concurrent loads of one code one gets it, whichever call of the other it comes before."""
    results: list[LoadResult] = []

    def load(using: Table, target: Stock, batch: str, codes: list[str]) -> None:
        try:
            results.append(Certificates(using, SEALER).load(target, batch, codes))
        except KnownElsewhere as known:
            assert stock == OTHER
            results.append(LoadResult(0, elsewhere=(*known.cards,)))

    faulty = Faulty(table.send)
    faulty.meet(None, interrupted(lambda: load(table, stock, "l2", ["b", "c"])), after=calls)
    load(replace(table, send=faulty), HUNDRED, "l1", ["a", "b"])
    codes = in_stock(table, HUNDRED, FIFTY, OTHER)

    assert len(codes) == len({*codes}) == sum(one.new for one in results)
    assert {*codes} in ({"a", "b", "c"}, {"a", "b"}, {"b", "c"})
    assert sum(len(one.known) + len(one.elsewhere) for one in results) == len(results) - 1


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("calls", range(9))
def test_a_crash_and_another_load_of_the_code(table: Table, calls: int, fault: type) -> None:
    """After a crash at any call another load of the code, and the same load again, leave it in stock once."""
    codes = [f"{number}" for number in range(60)]
    faulty = Faulty(table.send)
    faulty.meet(None, fault(Crash()), after=calls)
    with pytest.raises(Crash):
        Certificates(replace(table, send=faulty), SEALER).load(HUNDRED, "l1", codes)
    certificates = Certificates(table, SEALER)
    other = certificates.load(FIFTY, "l2", [codes[59], codes[0], "new"])
    again = certificates.load(HUNDRED, "l1", codes)

    assert in_stock(table, HUNDRED, FIFTY) == sorted([*codes, "new"])
    assert other.new + again.new == 61


def test_cost_of_a_load(table: Table) -> None:
    """A load takes a read for every 100 codes and a transaction for every 49 new ones, besides six calls."""
    recorder = Recorder(table.send)
    certificates = Certificates(table, SEALER)
    certificates.load(HUNDRED, "l0", ["first"])
    recorded = Certificates(replace(table, send=recorder), SEALER)
    recorded.load(HUNDRED, "l1", [f"{number}" for number in range(200)])
    calls = [operation for operation, _ in recorder.calls]
    recorder.calls.clear()
    recorded.load(HUNDRED, "l2", [f"{number}" for number in range(200)])
    known = [operation for operation, _ in recorder.calls]

    assert calls.count("TransactWriteItems") == 5 + 2
    assert len(calls) == 2 + 5 + 6
    assert known.count("TransactWriteItems") == 1 + 2
    assert len({*itertools.chain(calls, known)}) == 3
