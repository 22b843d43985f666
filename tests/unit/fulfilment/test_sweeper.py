"""The sweeper of unfinished work: what it sends, when it looks again, and what it measures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from ordering.aws.dynamodb import Key, Put, Table, Update
from ordering.book.unfinished import FIRST_LOOK, LONGEST_PAUSE, UNMARK, mark
from ordering.errors import Unavailable
from ordering.fulfilment import sweeper
from ordering.fulfilment.sweeper import Sweeper, Swept
from support.aws.faults import Crash
from support.aws.memory import Memory

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@dataclass
class Yard:
    """A sweeper with its table, its queue, and a clock."""

    memory: Memory = field(default_factory=Memory)
    now: datetime = START
    sent: list[Key] = field(default_factory=list)
    refused: bool = False
    crashes: bool = False

    @property
    def table(self) -> Table:
        return Table(self.memory, "OrdersTable")

    def put(self, number: int, since: datetime = START, *, waits: bool = False) -> Key:
        key = f"ORDER#training#{number}", "ORDER"
        self.table.put(Put({"pk": key[0], "sk": key[1], **mark(key, since, waits=waits)}))
        return key

    def sweep(self, after: timedelta = timedelta()) -> Swept:
        self.now += after
        return Sweeper(self.table, self._defer, lambda: self.now).sweep()

    def _defer(self, bodies: Sequence[str], delay_seconds: int) -> list[str]:
        assert delay_seconds == 10
        if self.refused:
            return [*bodies]
        for body in bodies:
            partition, sort = json.loads(body)
            self.sent.append((partition, sort))
        if self.crashes:
            raise Crash
        return []


def test_nothing_is_sent_before_its_time() -> None:
    """An item is sent when it is due, and not again before its next time."""
    yard = Yard()
    key = yard.put(1)

    assert yard.sweep(FIRST_LOOK - SECOND) == Swept(0, FIRST_LOOK.total_seconds() - 1)
    assert yard.sweep(SECOND).keys == 1
    assert yard.sweep(SECOND).keys == 0
    assert yard.sent == [key]


def test_each_pause_is_twice_the_one_before() -> None:
    """The time between two looks doubles from 10 minutes to 6 hours."""
    yard = Yard()
    yard.put(1)
    looks = [0, *(minute for minute in range(1, 2 * 24 * 60) if yard.sweep(MINUTE).keys)]
    pauses = [after - before for before, after in itertools.pairwise(looks)]

    assert pauses[:6] == [10, 10, 20, 40, 80, 160]
    assert {*pauses[7:]} == {LONGEST_PAUSE // MINUTE}


def test_finished_items_stay_finished() -> None:
    """An item whose mark is removed between the read and the write of a sweep does not get a mark again."""
    yard = Yard()
    key = yard.put(1)
    defer = yard._defer

    def finish_first(bodies: Sequence[str], delay_seconds: int) -> list[str]:
        yard.table.update(Update(key, UNMARK))
        return defer(bodies, delay_seconds)

    assert Sweeper(yard.table, finish_first, lambda: START + FIRST_LOOK).sweep().keys == 1
    assert yard.table.get(key) == {"pk": key[0], "sk": key[1]}


def test_two_sweepers() -> None:
    """Of two sweepers that read one item, the later one changes nothing."""
    yard = Yard()
    key = yard.put(1)
    yard.now += FIRST_LOOK
    defer = yard._defer

    def sweep_first(bodies: Sequence[str], delay_seconds: int) -> list[str]:
        yard.sweep()
        yard.now += MINUTE
        return defer(bodies, delay_seconds)

    Sweeper(yard.table, sweep_first, lambda: yard.now).sweep()
    found = yard.table.get(key)

    assert yard.sent == [key, key]
    assert found
    assert found["due"] == "2026-01-01T12:20:00.000000Z"


@pytest.mark.parametrize("fault", ["refused", "crashes"])
def test_what_is_not_sent_is_swept_again(fault: str) -> None:
    """A key that the queue did not take, or after which the sweeper crashed, is sent by the next sweep."""
    yard = Yard()
    key = yard.put(1)
    setattr(yard, fault, True)
    try:
        yard.sweep(FIRST_LOOK)
    except Crash:
        assert yard.crashes
    setattr(yard, fault, False)
    yard.sent.clear()

    assert yard.sweep(SECOND).keys == 1
    assert yard.sent == [key]


def test_a_sweep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep sends a number of keys of each shard, the longest due first; the next sweeps send the others."""
    monkeypatch.setattr(sweeper, "SWEPT_AT_ONCE", 1)
    yard = Yard()
    keys = [yard.put(number, START - number * SECOND) for number in range(40)]
    counts = []
    yard.now += FIRST_LOOK
    while (swept := yard.sweep()).keys:
        counts.append(swept.keys)

    assert counts[0] <= 16
    assert sorted(yard.sent) == sorted(keys)
    assert yard.sent.index(keys[39]) < 16


def test_what_waits_is_not_old() -> None:
    """The oldest work is measured in every sweep, whether or not it is due, and without what waits for a partner."""
    yard = Yard()
    yard.put(1, START - timedelta(days=3), waits=True)
    yard.put(2, START - timedelta(hours=1))
    yard.sweep()

    assert yard.sweep(MINUTE) == Swept(0, 3_660)
    assert len(yard.sent) == 2
    assert Yard().sweep() == Swept(0, 0)


def test_no_response_of_the_table() -> None:
    """A sweep without a response of the table fails, and the next one does its work."""
    yard = Yard()
    yard.put(1)

    def unavailable(operation: str, request: object) -> dict[str, object]:
        raise Unavailable(f"{operation} {request}")

    with pytest.raises(Unavailable):
        Sweeper(Table(unavailable, "OrdersTable"), yard._defer, lambda: yard.now).sweep()
    assert yard.sweep(FIRST_LOOK).keys == 1
