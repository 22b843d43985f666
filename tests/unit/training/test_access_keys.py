"""Access keys of training orders: their format, one lasting key per seat, and who may read them."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import Check, Put, ServiceFault, Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.sealing import BrokenSeal
from ordering.training import access_keys
from ordering.training.access_keys import PACK_SIZE, PACKS_AT_ONCE, AccessKeys, IssuedKey
from ordering.training.orders import KeysNeverIssued, KeysNotIssued, TrainingOrders, id_of, keys_of
from ordering.training.statuses import TrainingStatus
from support.aws.fake_connections import Recorder, failing
from support.aws.faults import Crash, Fault, Faulty, lost, refused, throttled
from support.aws.memory import Memory
from support.partners import IRELAND
from support.training import School, Steps

NEW, COMPLETED, CANCELLED = TrainingStatus
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
STEP = PACKS_AT_ONCE * PACK_SIZE
"""Keys that are issued in one step."""


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def school(memory: Memory) -> School:
    return School(memory)


def packs(memory: Memory) -> dict[str, Any]:
    """The stored keys, by pack."""
    return {sort: item["keys"]["B"] for (partition, sort), item in memory.scan("OrdersTable") if "KEYS#" in partition}


def seats(*quantities: int) -> list[tuple[int, int]]:
    return [(line, seat) for line, quantity in enumerate(quantities, 1) for seat in range(1, quantity + 1)]


def over(school: School, send: Any) -> School:
    return replace(school, send=send)


@pytest.mark.parametrize(("steps", "issued"), [(0, 0), (1, 1_000), (2, 2_000), (9, 2_450)])
def test_issued_keys_are_counted(school: School, steps: int, issued: int) -> None:
    """Issued keys are counted without reading them, also while an order gets more."""
    order = school.place(2_450)
    if steps:
        school.issue(order, Steps(steps))
    lines = school.orders().lines(order, 0, 10).items

    assert keys_of(Table(school.send, "OrdersTable"), order, lines, school.sealer).issued() == issued


# Format --------------------------------------------------------------------------------------------------------------


def test_format_of_keys(school: School) -> None:
    """A key is five groups of five characters of Crockford's Base32, which lacks I, L, O and U."""
    order = school.place(250)
    school.issue(order)

    assert all(re.fullmatch(f"[{CROCKFORD}]{{5}}(-[{CROCKFORD}]{{5}}){{4}}", key) for *_, key in school.keys(order))


def test_keys_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every character of a key encodes five random bits of `secrets`, 125 bits in all."""
    drawn = 0

    def token_bytes(count: int) -> bytes:
        nonlocal drawn
        drawn += count
        return bytes(range(256)) * (count // 256) + bytes(range(count % 256))

    monkeypatch.setattr(access_keys, "secrets", SimpleNamespace(token_bytes=token_bytes))
    text = access_keys._new_keys(PACK_SIZE).decode()
    bits = "".join(f"{byte:08b}" for byte in token_bytes(math.ceil(len(text) * 5 / 8)))

    assert len(text) == 25 * PACK_SIZE
    assert drawn // 2 * 8 >= 125 * PACK_SIZE
    assert text == "".join(CROCKFORD[int(bits[at : at + 5], 2)] for at in range(0, 5 * len(text), 5))


def test_keys_are_different(school: School) -> None:
    """Keys are unique within and across orders, and all characters are about equally frequent."""
    orders = [school.place(3_000), school.place(3_000)]
    for order in orders:
        school.issue(order)
    keys = [key for order in orders for *_, key in school.keys(order)]
    counts = Counter("".join(keys).replace("-", ""))

    assert len({*keys}) == 6_000
    assert {*counts} == {*CROCKFORD}
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_keys_are_not_stored_in_clear(memory: Memory, school: School) -> None:
    """Neither the table nor a key's repr contains the key."""
    order = school.place(3)
    school.issue(order)
    listing = school.orders().keys(order, 0, 3, school.sealer)
    stored = repr([*memory.scan("OrdersTable")])

    assert repr(listing.items[0]) == "IssuedKey(line=1, seat=1)"
    for _, _, key in school.keys(order):
        assert key not in repr(listing) + stored
        assert key.replace("-", "") not in stored


def test_a_moved_pack_cannot_be_decrypted(memory: Memory, school: School) -> None:
    """Keys moved to another pack or another order cannot be decrypted."""
    order, other = school.place(2 * PACK_SIZE), school.place(PACK_SIZE)
    for one in (order, other):
        school.issue(one)
    table = Table(memory, "OrdersTable")
    item = table.get((f"KEYS#training#{order}", "000000"))
    assert item
    table.put(Put({**item, "sk": "000001"}))
    table.put(Put({**item, "pk": f"KEYS#training#{other}"}))

    assert len(school.keys(order, 0, PACK_SIZE)) == PACK_SIZE
    for moved, first in ((order, PACK_SIZE), (other, 0)):
        with pytest.raises(BrokenSeal):
            school.keys(moved, first, 1)


def test_a_data_key_for_each_issuer(school: School) -> None:
    """KMS generates one data key for each issuing step, and decrypts it once for a page."""
    order = school.place(PACK_SIZE * PACKS_AT_ONCE + 1)
    school.issue(order)
    school.keys(order, 0, 500)

    assert [(name, request.get("KeyId")) for name, request in school.kms.calls] == [
        ("GenerateDataKey", "alias/AccessKeysKey"),
        ("Decrypt", None),
    ]


# Seats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quantities", [(1,), (2, 3, 1), (PACK_SIZE,), (PACK_SIZE + 1,), (PACK_SIZE - 1, 2), (1,) * 500, (STEP, STEP + 1, 7)]
)
def test_one_for_each_seat(school: School, quantities: tuple[int, ...]) -> None:
    """An order has one key for each seat of each line, and all are different."""
    order = school.place(*quantities)

    assert school.issue(order)
    keys = school.keys(order)
    assert [(line, seat) for line, seat, _ in keys] == seats(*quantities)
    assert len({key for *_, key in keys}) == sum(quantities)


@pytest.mark.parametrize("size", [1, 7, 99, 100, 101, 250, 400, 500])
def test_pages(school: School, size: int) -> None:
    """Pages of any size have every key once, and each page has the exact total."""
    order = school.place(120, 1, 279)
    school.issue(order)
    listings = [school.orders().keys(order, first, size, school.sealer) for first in range(0, 400 + size, size)]

    assert [(one.line, one.seat, one.key) for listing in listings for one in listing.items] == school.keys(order)
    assert {400} == {listing.total for listing in listings}


@pytest.mark.parametrize(
    ("first", "count", "wanted"),
    [
        (0, 10, [0]),
        (90, 10, [0]),
        (95, 10, [0, 1]),
        (250, 500, [2, 3, 4]),
        (499, 1, [4]),
        (500, 10, []),
        (10**9, 1, []),
    ],
)
def test_a_page_reads_only_its_packs(school: School, first: int, count: int, wanted: list[int]) -> None:
    """A page reads the order's item, then its lines, then exactly the packs that contain its keys."""
    order = school.place(300, 200)
    school.issue(order)
    recorder = Recorder(school.send)
    over(school, recorder).keys(order, first, count)
    read = [
        int(key["sk"]["S"])
        for operation, request in recorder.calls
        if operation == "BatchGetItem"
        for key in request["RequestItems"]["OrdersTable"]["Keys"]
    ]

    assert read == wanted
    assert recorder.operations == ["GetItem", "Query", "BatchGetItem"][: 2 + bool(wanted)]


# Issuing -------------------------------------------------------------------------------------------------------------


def test_the_order_is_completed(school: School) -> None:
    """The last key completes the order, in its item and in the list, and adds the move to its history."""
    order = school.place(2)
    before = school.orders().order(order)
    school.issue(order)
    after = school.orders().order(order)

    assert [moment.status for moment in after.state.history] == [NEW, COMPLETED]
    assert (before.status, after.status, after.state.version) == (NEW, COMPLETED, before.state.version + 1)
    assert [one.status for one in school.orders().page(0, 10).items] == [COMPLETED]


def test_issuing_again_changes_nothing(memory: Memory, school: School) -> None:
    """Issuing to an order that has its keys writes nothing."""
    order = school.place(5)
    school.issue(order)
    before, kept = [*memory.scan("OrdersTable")], school.keys(order)
    recorder = Recorder(memory)

    assert over(school, recorder).issue(order)
    assert ([*memory.scan("OrdersTable")], school.keys(order), recorder.writes) == (before, kept, [])


def test_a_small_order_costs_two_calls(school: School) -> None:
    """Issuing a usual order takes two calls: a read, and a transaction with the keys that completes it."""
    order = school.place(3, 4)
    recorder = Recorder(school.send)
    over(school, recorder).issue(order)

    assert recorder.operations == ["BatchGetItem", "TransactWriteItems"]


def test_steps(memory: Memory, school: School) -> None:
    """When time runs out, the order is still New and its item stores the progress; the next step continues there."""
    order = school.place(2 * STEP + 1)
    table = Table(memory, "OrdersTable")
    progress: list[tuple[int | None, str]] = []
    for finished in (False, False, True):
        assert school.issue(order, Steps(1 if not progress else 2)) is finished
        item = table.get((f"ORDER#training#{order}", "ORDER"))
        assert item
        progress.append((item.get("issued"), item["order"]["status"]))

    assert progress == [(STEP, "New"), (2 * STEP, "New"), (2 * STEP, "Completed")]
    assert len(school.keys(order)) == 2 * STEP + 1


def test_no_time_at_all(memory: Memory, school: School) -> None:
    """A step without time for any progress raises Unavailable and changes nothing."""
    order = school.place(2 * STEP)
    school.issue(order, Steps(1))
    before = [*memory.scan("OrdersTable")]

    for steps in (0, 1):  # one step is needed to find the end
        with pytest.raises(Unavailable):
            school.issue(order, Steps(steps))
    assert [*memory.scan("OrdersTable")] == before


@pytest.mark.parametrize("fault", [refused, lost])
def test_a_crash_in_every_step(school: School, fault: Callable[[BaseException], Fault]) -> None:
    """10,000 keys are issued although each step crashes, and issued keys never change."""
    order = school.place(4_000, 6_000)
    packs_then: dict[str, Any] = {}
    crashes = 0
    for _ in range(100):
        faulty = Faulty(school.send)
        # Crashes at the third: the first finds that there are keys, the second continues after them.
        faulty.meet("TransactWriteItems", fault(Crash()), after=2)
        try:
            if over(school, faulty).issue(order):
                faulty.drop()
                break
        except Crash:
            crashes += 1
        packs_now = packs(school.send)  # type: ignore[arg-type] # it is the memory
        assert packs_then.items() <= packs_now.items()
        packs_then = packs_now
    school.issue(order)

    assert crashes > 4
    assert [(line, seat) for line, seat, _ in school.keys(order)] == seats(4_000, 6_000)
    assert len({key for *_, key in school.keys(order)}) == 10_000
    assert packs_then.items() <= packs(school.send).items()  # type: ignore[arg-type] # as above


@pytest.mark.parametrize("fault", [refused, lost])
@pytest.mark.parametrize("calls", range(7))
def test_a_crash_anywhere(memory: Memory, school: School, calls: int, fault: Callable[[BaseException], Fault]) -> None:
    """After a crash before or after any call, repeating the step gives every seat one key and keeps those issued."""
    order = school.place(STEP + 1)
    school.issue(order, Steps(1))
    faulty = Faulty(memory)
    faulty.meet(None, fault(Crash()), after=calls)
    try:
        over(school, faulty).issue(order)
    except Crash:
        before = packs(memory)
        assert school.issue(order)
        assert before.items() <= packs(memory).items()

    assert [(line, seat) for line, seat, _ in school.keys(order)] == seats(STEP + 1)


def test_the_largest_order_continues(memory: Memory) -> None:
    """The next step of the largest order finds where to continue in a logarithmic number of reads."""
    pack_count, there = 50_000, 31_234
    for pack in range(there):
        memory.load("OrdersTable", {"pk": {"S": "KEYS#training#1"}, "sk": {"S": f"{pack:06}"}})
    memory.load("OrdersTable", {"pk": {"S": "GO"}, "sk": {"S": "-"}})
    recorder = Recorder(memory)
    keys = AccessKeys(Table(recorder, "OrdersTable"), "training#1", [10_000] * 500, School().sealer)

    assert keys.seats == pack_count * PACK_SIZE
    assert keys.issue(Check(("GO", "-"), "attribute_exists(pk)"), Steps(2)) == (there + PACKS_AT_ONCE) * PACK_SIZE
    assert Counter(recorder.operations)["GetItem"] <= math.ceil(math.log2(pack_count))


def test_a_throttled_step_with_progress(school: School) -> None:
    """A step that is throttled after some progress stores it and does not raise."""
    order = school.place(4 * STEP)
    faulty = Faulty(school.send)
    faulty.meet("TransactWriteItems", throttled, after=2, lasting=True)

    assert not over(school, faulty).issue(order, Deadline.after(0.2))
    assert len(packs(school.send)) == 2 * PACKS_AT_ONCE  # type: ignore[arg-type] # it is the memory
    assert school.issue(order)


def test_a_throttled_step_without_progress(memory: Memory, school: School) -> None:
    """A step that is throttled before any progress raises Unavailable within its time."""
    order = school.place(4 * STEP)
    school.issue(order, Steps(1))
    before = [*memory.scan("OrdersTable")]
    began = time.monotonic()

    with pytest.raises(Unavailable):
        over(school, failing(ServiceFault("ThrottlingException"), memory, "TransactWriteItems")).issue(
            order, Deadline.after(0.2)
        )
    assert time.monotonic() - began < 1
    assert [*memory.scan("OrdersTable")] == before


def test_without_kms(memory: Memory, school: School) -> None:
    """If KMS is unavailable, nothing is written and the order stays New."""
    order = school.place(1)
    before = [*memory.scan("OrdersTable")]

    with pytest.raises(Unavailable):
        school.orders().issue_keys(order, EnvelopeSealer(unavailable), Deadline.after(60))
    assert [*memory.scan("OrdersTable")] == before


# Orders without keys -------------------------------------------------------------------------------------------------


def test_a_cancelled_order_gets_none(memory: Memory, school: School) -> None:
    """A cancelled order gets no keys and stays Cancelled."""
    order = school.place(3)
    school.orders().cancel(order)

    assert school.issue(order)
    assert (packs(memory), school.orders().order(order).status) == ({}, CANCELLED)


def test_an_order_cancelled_between_two_steps(memory: Memory, school: School) -> None:
    """An order cancelled between two steps gets no more keys, and those issued are not shown."""
    order = school.place(3 * STEP)
    school.issue(order, Steps(1))
    school.orders().cancel(order)
    before = packs(memory)

    assert school.issue(order)
    assert packs(memory) == before
    with pytest.raises(KeysNeverIssued):
        school.keys(order)


def test_a_completed_order_cannot_be_cancelled(school: School) -> None:
    """Cancelling a completed order raises Conflict, and its keys stay readable."""
    order = school.place(3)
    school.issue(order)

    with pytest.raises(Conflict, match="Completed is final"):
        school.orders().cancel(order)
    assert (school.orders().order(order).status, len(school.keys(order))) == (COMPLETED, 3)


@pytest.mark.parametrize("steps", [None, 1])
def test_keys_are_shown_once_all_are_issued(school: School, steps: int | None) -> None:
    """Reading keys raises KeysNotIssued until the order is Completed."""
    order = school.place(2 * STEP)
    if steps:
        school.issue(order, Steps(steps))

    with pytest.raises(KeysNotIssued):
        school.keys(order, 0, 1)


def test_another_unit_s_order(school: School) -> None:
    """Issuing or reading keys under another business unit raises NotFound."""
    order = school.place(1)
    acts: list[Callable[[TrainingOrders], object]] = [
        lambda orders: orders.issue_keys(order, school.sealer, Deadline.after(60)),
        lambda orders: orders.keys(order, 0, 1, school.sealer),
    ]
    for act, unit in itertools.product(acts, (IRELAND.id, "x")):
        with pytest.raises(NotFound):
            act(school.orders(unit))


def test_ids_from_names() -> None:
    """An order's id is read from its name; names of other kinds of order raise ValueError."""
    assert id_of("training#35044") == 35_044
    for other in ("ecards#a#x", "training#x", "training#", "ecards#7"):
        with pytest.raises(ValueError, match="invalid literal"):
            id_of(other)


def test_equal_keys_are_equal() -> None:
    """Issued keys compare by line, seat and key."""
    assert IssuedKey(1, 2, "A") == IssuedKey(1, 2, "A") != IssuedKey(1, 2, "B")
