"""`ordering book resume`: a restored table gives no number and no certificate again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ordering.aws.dynamodb import Table
from ordering.book.orderbook import OrderBook
from ordering.ecards.certificates import Ranges, merge, read_stock_levels
from ordering_tools.audit import entries
from ordering_tools.installation import Installation
from ordering_tools.operations.resuming import only_in
from ordering_tools.stacks import Stack
from support.aws.memory import Memory
from support.commands import Run
from support.ecards import HUNDRED, Rewards, card, order_id
from support.partners import UK
from support.training import School

BEFORE, RESTORED = "OrdersTable", "OrdersTable-restored"


@dataclass
class Restore:
    """A stack whose orders table was restored after two orders, and the orders that were lost."""

    memory: Memory
    lost_training: int
    lost_certificates: Ranges

    def table(self, name: str = RESTORED) -> Table:
        return Table(self.memory, name)

    def free(self) -> Ranges:
        return read_stock_levels(self.table(), [HUNDRED])[HUNDRED].free


def assigned(company: Rewards, number: int) -> Ranges:
    """The certificates that an order has."""
    (one,) = company.orders.advance(order_id(number)).assigned
    return one.ranges


@pytest.fixture
def restore(company: Rewards, installation: Installation) -> Restore:
    memory = installation.send
    assert isinstance(memory, Memory)
    school = School(memory)
    company.top_up(10_000)
    company.load(10)
    company.place(1, card(quantity=2))
    assigned(company, 1)
    school.place(1)
    for _, item in [*memory.scan(BEFORE)]:
        memory.load(RESTORED, item)
    company.place(2, card(quantity=3))
    lost = [*(school.place(1) for _ in range(15))]
    return Restore(memory, max(lost), assigned(company, 2))


@pytest.fixture
def resumed(restore: Restore, run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `ordering` on the stack with the restored table."""
    monkeypatch.setattr(
        "ordering_tools.operations.commands.reopen",
        lambda _: replace(installation, stack=Stack({"OrdersTable": restore.table().name})),
    )
    return run


def resume(run: Run, *more: str) -> dict[str, int]:
    done = run("book", "resume", "--orders", BEFORE, "--reason", "ticket 17", "--json", *more)
    assert done.code == 0, done.errors
    changed: dict[str, int] = json.loads(done.output)
    return changed


def test_numbers_are_not_given_again(restore: Restore, resumed: Run) -> None:
    """A new order has a number above all lost ones, and their places in its book become void."""
    resume(resumed)
    memory = Memory()
    for table in (RESTORED, "CatalogueTable", "AccountsTable"):
        for _, item in restore.memory.scan(table):
            memory.load(table.removesuffix("-restored"), item)
    book = OrderBook(Table(memory, BEFORE), f"training#{UK.id}", grace=timedelta(0))
    placed = School(memory).place(1)
    book.settle()
    page = book.page(0, 100)

    assert placed > restore.lost_training
    assert (page.total, [entry["order"]["id"] for entry in page.entries][-1]) == (2, placed)
    assert [int(entry["sk"]) for entry in page.entries] == [1, 17]


def test_certificates_are_not_given_again(restore: Restore, resumed: Run) -> None:
    """Certificates that were handed over after the moment of the restore are out of stock, and all others free."""
    before = restore.free()
    changed = resume(resumed)

    assert changed["certificates"] == 3
    assert merge(restore.free(), restore.lost_certificates) == before


def test_it_can_be_repeated(restore: Restore, resumed: Run) -> None:
    """Again it changes nothing."""
    first, table = resume(resumed), restore.table()
    stored = {key: item for key, item in restore.memory.scan(RESTORED) if not key[0].startswith("AUDIT#")}

    assert first == {"books": 2, "sequences": 1, "certificates": 3}
    assert resume(resumed) == {"books": 0, "sequences": 0, "certificates": 0}
    assert {key: item for key, item in restore.memory.scan(RESTORED) if not key[0].startswith("AUDIT#")} == stored
    assert {entry.action for month in ("2026-11",) for entry in entries(table, month)} <= {"book resume"}


def test_it_is_in_the_audit_trail(restore: Restore, resumed: Run) -> None:
    """The change is noted in the restored table, with its reason."""
    resume(resumed)
    (noted,) = [item for key, item in restore.memory.scan(RESTORED) if key[0].startswith("AUDIT#")]

    assert noted["action"] == {"S": "book resume"}
    assert noted["reason"] == {"S": "ticket 17"}


def test_the_table_in_use_is_refused(resumed: Run) -> None:
    """Naming the restored table itself, or none, changes nothing."""
    wrong = resumed("book", "resume", "--orders", RESTORED, "--reason", "x")
    assert "is the table that is in use" in wrong.error
    assert "name the table that was replaced" in resumed("book", "resume", "--reason", "x").errors


def ranges() -> some.SearchStrategy[Ranges]:
    return some.sets(some.integers(1, 40)).map(lambda found: merge((), tuple((one, one) for one in sorted(found))))


def numbers(some_ranges: Ranges) -> Iterator[int]:
    for first, last in some_ranges:
        yield from range(first, last + 1)


@given(ranges(), ranges())
def test_parts_in_one_only(mine: Ranges, theirs: Ranges) -> None:
    """The parts of ranges outside of others are their difference as sets of positions."""
    assert [*numbers(tuple(only_in(mine, theirs)))] == sorted({*numbers(mine)} - {*numbers(theirs)})
