"""Stocks of certificates: ranges of positions, loads, and encrypted codes; on a table in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ordering.aws.dynamodb import Put, Table, TransactionRefused
from ordering.ecards.certificates import (
    Certificate,
    Certificates,
    Duplicates,
    Ranges,
    Stock,
    StockLevel,
    merge,
    read_stock_levels,
    size,
    skip,
    stock_of,
    take,
)
from ordering.errors import KeyReused
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Crash, Faulty, interrupted, lost, refused
from support.aws.memory import Memory

HUNDRED, FIFTY = Stock(1, "100 ₽"), Stock(1, "50 ₽")


class Gcm:
    """A sealer that encrypts with AES-GCM."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(128))

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:12], sealed[12:], context)


SEALER = Gcm()


@pytest.fixture
def certificates(table: Table) -> Certificates:
    return Certificates(table, SEALER)


def level(table: Table, stock: Stock = HUNDRED) -> StockLevel:
    return read_stock_levels(table, [stock])[stock]


def positions(ranges: Ranges) -> list[int]:
    return [position for first, last in ranges for position in range(first, last + 1)]


def ranges_of(numbers: Sequence[int]) -> Ranges:
    return merge((), tuple((number, number) for number in numbers))


def opened(certificates: Certificates, ranges: Ranges, stock: Stock = HUNDRED) -> list[str]:
    return [certificate.code for certificate in certificates.open(stock, ranges)]


SOME = st.sets(st.integers(1, 60), max_size=40).map(lambda numbers: ranges_of(sorted(numbers)))


@given(SOME)
def test_ranges_are_as_few_as_can_be(ranges: Ranges) -> None:
    """Merged ranges ascend and neither overlap nor touch."""
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


@given(SOME, SOME)
def test_merging(some: Ranges, others: Ranges) -> None:
    """Merging yields all positions of both, and raises ValueError if they share one."""
    if {*positions(some)} & {*positions(others)}:
        with pytest.raises(ValueError, match="is in both ranges"):
            merge(some, others)
    else:
        assert positions(merge(some, others)) == sorted(positions(some) + positions(others))


@given(SOME, st.integers(0, 60))
def test_taking(ranges: Ranges, count: int) -> None:
    """Taking splits ranges into the requested count and the rest, and raises ValueError if there are too few."""
    if count > size(ranges):
        with pytest.raises(ValueError, match="cannot take"):
            take(ranges, count)
    else:
        taken, left = take(ranges, count)
        assert (size(taken), merge(taken, left)) == (count, ranges)


@pytest.mark.parametrize(
    ("count", "taken", "left"),
    [
        (1, ((1, 1),), ((5, 9), (20, 22))),
        (2, ((20, 21),), ((1, 1), (5, 9), (22, 22))),
        (4, ((5, 8),), ((1, 1), (9, 9), (20, 22))),
        (6, ((1, 1), (5, 9)), ((20, 22),)),
        (8, ((5, 9), (20, 22)), ((1, 1),)),
        (0, (), ((1, 1), (5, 9), (20, 22))),
    ],
)
def test_the_shortest_that_fits_is_taken(count: int, taken: Ranges, left: Ranges) -> None:
    """Positions come from the shortest range that suffices, otherwise from as few ranges as possible."""
    assert take(((1, 1), (5, 9), (20, 22)), count) == (taken, left)


@given(SOME, st.integers(0, 60))
def test_skipping(ranges: Ranges, count: int) -> None:
    """Skipping drops the first positions of ranges."""
    assert positions(skip(ranges, count)) == positions(ranges)[count:]


def test_an_unknown_stock(table: Table) -> None:
    """A stock that was never loaded has nothing free."""
    assert level(table) == StockLevel(HUNDRED)


def test_loaded_certificates_are_free(table: Table, certificates: Certificates) -> None:
    """Loaded certificates are free, each load behind the one before, for each stock separately."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    certificates.load(FIFTY, "l1", ["c"])
    certificates.load(HUNDRED, "l2", ["d"])

    assert (level(table).free, level(table, FIFTY).free) == (((1, 3),), ((1, 1),))
    assert opened(certificates, ((1, 3),)) == ["a", "b", "d"]
    assert opened(certificates, ((1, 1),), FIFTY) == ["c"]


def test_certificates_are_opened_in_order(certificates: Certificates) -> None:
    """Certificates of several ranges and several reads are in the order of their positions."""
    codes = [f"code {number}" for number in range(250)]
    certificates.load(HUNDRED, "l1", codes)

    assert opened(certificates, ((1, 2), (5, 240))) == [*codes[:2], *codes[4:240]]
    assert certificates.open(HUNDRED, ()) == []


def test_codes_are_not_stored_in_clear(memory: Memory, certificates: Certificates) -> None:
    """Neither the table nor a certificate's repr contains the code."""
    certificates.load(HUNDRED, "l1", ["open sesame"])
    (certificate,) = certificates.open(HUNDRED, ((1, 1),))

    assert certificate.code == "open sesame"
    assert "sesame" not in repr(certificate) + str(certificate) + repr([*memory.scan("OrdersTable")])


def test_a_moved_code_cannot_be_decrypted(memory: Memory, table: Table, certificates: Certificates) -> None:
    """An encrypted code that is moved to another position cannot be decrypted."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    items = {key: item for key, item in memory.scan("OrdersTable") if key[0].startswith("CERTIFICATES")}
    sealed = table.get((f"CERTIFICATES#{HUNDRED}", "0000000001"))
    assert len(items) == 2
    assert sealed
    table.put(Put({**sealed, "sk": "0000000002"}))

    assert opened(certificates, ((1, 1),)) == ["a"]
    with pytest.raises(InvalidTag):
        certificates.open(HUNDRED, ((2, 2),))


def test_a_duplicate_load_changes_nothing(table: Table, certificates: Certificates) -> None:
    """A duplicate of a load changes nothing, even after certificates of it were taken."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    table.transact([level(table).take(1)[1]])
    certificates.load(HUNDRED, "l1", ["a", "b"])

    assert level(table).free == ((2, 2),)


@pytest.mark.parametrize("codes", [["a", "c"], ["b", "a"], ["a"], ["a", "b", "c"], ["ab"]])
def test_a_batch_is_one_load(table: Table, certificates: Certificates, codes: list[str]) -> None:
    """A batch loaded again with other codes raises KeyReused."""
    certificates.load(HUNDRED, "l1", ["a", "b"])

    with pytest.raises(KeyReused):
        certificates.load(HUNDRED, "l1", codes)
    assert level(table).free == ((1, 2),)


def test_duplicates(table: Table, certificates: Certificates) -> None:
    """Duplicate codes in a load are reported by index, without the code, and nothing is loaded."""
    with pytest.raises(Duplicates) as raised:
        certificates.load(HUNDRED, "l1", ["sesame", "b", "sesame", "b", "sesame"])

    assert raised.value.indexes == (2, 3, 4)
    assert "sesame" not in str(raised.value)
    assert level(table) == StockLevel(HUNDRED)


@pytest.mark.parametrize(("batch", "codes"), [("l1", []), ("", ["a"]), (" \u00a0", ["a"]), ("x" * 201, ["a"])])
def test_invalid_loads(certificates: Certificates, batch: str, codes: list[str]) -> None:
    """A load needs codes, and a name of 1 to 200 characters that is not blank."""
    with pytest.raises(ValueError, match="a load needs"):
        certificates.load(HUNDRED, batch, codes)


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("calls", range(10))
def test_a_load_that_crashed_is_repeated(table: Table, calls: int, fault: type) -> None:
    """After a crash before or after any call, all or none of a load is free, and repeating it loads it once."""
    codes = [f"{number}" for number in range(60)]
    faulty = Faulty(table.send)
    faulty.meet(None, fault(Crash()), after=calls)
    with pytest.raises(Crash):
        Certificates(replace(table, send=faulty), SEALER).load(HUNDRED, "l1", codes)
    certificates = Certificates(table, SEALER)

    assert level(table).count in {0, 60}
    certificates.load(HUNDRED, "l2", ["other"])
    certificates.load(HUNDRED, "l1", codes)
    assert sorted(opened(certificates, level(table).free)) == sorted([*codes, "other"])


@pytest.mark.parametrize("calls", range(8))
def test_two_loads_at_once(table: Table, certificates: Certificates, calls: int) -> None:
    """Two concurrent loads get different positions."""
    faulty = Faulty(table.send)
    faulty.meet(None, interrupted(lambda: certificates.load(HUNDRED, "l2", ["c"])), after=calls)
    Certificates(replace(table, send=faulty), SEALER).load(HUNDRED, "l1", ["a", "b"])

    assert sorted(opened(certificates, level(table).free)) == ["a", "b", "c"]


def test_taking_is_conditional(table: Table, certificates: Certificates) -> None:
    """Writes based on an outdated read of a level are refused."""
    certificates.load(HUNDRED, "l1", ["a", "b"])
    before = level(table)
    taken, update = before.take(1)
    table.transact([update])

    for write in (update, before.put_back(((7, 7),)), before.unchanged()):
        with pytest.raises(TransactionRefused):
            table.transact([Put({"pk": "MARK", "sk": "-"}), write])
    assert (taken, level(table).free) == (((1, 1),), ((2, 2),))
    table.transact([Put({"pk": "MARK", "sk": "-"}), level(table).unchanged()])


def test_positions_put_back_are_free(table: Table, certificates: Certificates) -> None:
    """Positions that are put back are free and merge with their neighbours."""
    certificates.load(HUNDRED, "l1", ["a", "b", "c"])
    taken, update = level(table).take(2)
    table.transact([update])
    table.transact([level(table).put_back(taken)])

    assert level(table).free == ((1, 3),)


def test_taking_costs_the_same(table: Table) -> None:
    """Taking certificates is one read and one write, however many there are."""
    recorder = Recorder(table.send)
    counted = replace(table, send=recorder)
    lengths = set()
    for stock, loaded, count in ((HUNDRED, 900, 100), (FIFTY, 901, 900)):
        Certificates(table, SEALER).load(stock, "l1", [f"{stock}-{number}" for number in range(loaded)])
        recorder.calls.clear()
        counted.transact([level(counted, stock).take(count)[1]])
        lengths.add((len(recorder.calls), len(recorder.calls[-1][1]["TransactItems"])))

    assert lengths == {(2, 1)}
    assert (level(table).free, level(table, FIFTY).free) == (((101, 900),), ((901, 901),))


def test_stock_of_a_partition() -> None:
    """A stock is read from its partition, whatever its face value; other partitions give None."""
    odd = Stock(12, "a#b #1 ₽")

    assert (stock_of(odd.key[0]), stock_of(f"LOADS#{odd}")) == (odd, None)


def test_fields_of_a_certificate(certificates: Certificates) -> None:
    """An opened certificate has its stock, position and code."""
    certificates.load(HUNDRED, "l1", ["a", "b"])

    assert certificates.open(HUNDRED, ((2, 2),)) == [Certificate(HUNDRED, 2, "b")]
