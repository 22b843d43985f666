"""The audit trail: an entry in the transaction of each write, and none without."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ordering.aws.dynamodb import ABSENT, Check, ConditionFailed, Put, Table, TransactionRefused, Update
from ordering_tools.audit import AuditedTable, AuditEntry, audited, entries
from support.aws.memory import Memory

ENTRY = AuditEntry(
    action="partner disable",
    subject="partner northwind",
    by="arn:aws:iam::123456789012:user/ann",
    at=datetime(2026, 11, 29, 8, 15, tzinfo=UTC),
    reason="ticket 17",
    before={"active": True},
    after={"active": False},
)


@pytest.fixture
def plain() -> Table:
    return Table(Memory(), "AccountsTable")


@pytest.fixture
def table(plain: Table) -> Table:
    return audited(plain, ENTRY)


def trail(table: Table) -> list[AuditEntry]:
    """The entries of the month."""
    return [*entries(table, "2026-11")]


def test_an_entry_with_each_kind_of_write(table: Table, plain: Table) -> None:
    """A put, an update and a transaction carry the entry; all writes of one change leave one entry."""
    table.put(Put({"pk": "a", "sk": "-", "n": 1}))
    assert trail(plain) == [ENTRY]
    assert table.update(Update(("a", "-"), "SET n = :n", values={":n": 2})) == {"pk": "a", "sk": "-", "n": 2}
    table.transact([Put({"pk": "b", "sk": "-"})])
    assert plain.get(("b", "-")) is not None
    assert trail(plain) == [ENTRY]


def test_no_entry_without_the_write(table: Table, plain: Table) -> None:
    """A refused write leaves no entry, and is refused as on a plain table."""
    plain.put(Put({"pk": "a", "sk": "-"}))
    with pytest.raises(ConditionFailed) as refused:
        table.put(Put({"pk": "a", "sk": "-"}, ABSENT))
    assert refused.value.item == {"pk": "a", "sk": "-"}
    with pytest.raises(ConditionFailed):
        table.update(Update(("b", "-"), "SET n = :n", "attribute_exists(pk)", values={":n": 2}))
    with pytest.raises(TransactionRefused) as cancelled:
        table.transact([Put({"pk": "c", "sk": "-"}), Check(("b", "-"), "attribute_exists(pk)")])
    assert [bool(reason) for reason in cancelled.value.reasons] == [False, True]
    assert trail(plain) == []


def test_a_change_of_something_else(plain: Table) -> None:
    """What is changed elsewhere is noted alone."""
    AuditedTable.over(plain, ENTRY).note()
    assert trail(plain) == [ENTRY]


def test_no_room_for_the_entry(table: Table, plain: Table) -> None:
    """A transaction of a hundred writes is refused here, and not by DynamoDB with words about its limit."""
    with pytest.raises(ValueError, match="100 writes leave no place"):
        table.transact([Put({"pk": str(number), "sk": "-"}) for number in range(100)])
    table.transact([Put({"pk": str(number), "sk": "-"}) for number in range(99)])
    assert trail(plain) == [ENTRY]


def test_without_an_entry(plain: Table) -> None:
    """A command that only reads gets the plain table."""
    assert audited(plain, None) is plain


def test_bulk_writes(table: Table, plain: Table) -> None:
    """What nobody sees before another write publishes it is not noted."""
    table.put_all([{"pk": "a", "sk": "-"}])
    assert trail(plain) == []


def test_two_changes_in_one_microsecond(plain: Table) -> None:
    """Neither entry replaces the other."""
    for _ in range(2):
        entry = AuditEntry("partner enable", "partner northwind", "local/ann", ENTRY.at)
        audited(plain, entry).put(Put({"pk": "a", "sk": "-"}))
    assert len(trail(plain)) == 2
