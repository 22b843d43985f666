"""The audit trail: who changed what by a command, when, why, and what it was before.

An entry is an item beside what it is about, in the partition of its month: `AUDIT#2026-11`. It is written in the
transaction of the change: neither is written without the other. A change of several transactions writes the same entry
with each of them: it is complete with the first one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ordering import clock
from ordering.aws.dynamodb import ConditionFailed, Delete, Item, Put, Reason, Table, TransactionRefused, Update, Write

_LAST = "\U0010ffff"
_MOST_WRITES = 99
"""Most writes of a transaction of DynamoDB, less the entry's."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change by a command. It has no secret: neither a token nor a code."""

    action: str
    """The command, for instance `partner disable`."""
    subject: str
    """What it changed, as an operator names it: `partner northwind`."""
    by: str
    """Who: the ARN of the caller in AWS, or `local/<user>`."""
    at: datetime
    reason: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(4))

    def to_item(self) -> Item:
        """Convert the entry to its stored form, without what is empty."""
        values = {
            "action": self.action,
            "subject": self.subject,
            "by": self.by,
            "reason": self.reason,
            "before": dict(self.before),
            "after": dict(self.after),
        }
        moment = clock.to_text(self.at)
        return {"pk": f"AUDIT#{moment[:7]}", "sk": f"{moment}#{self.id}", **{k: v for k, v in values.items() if v}}


def read_entry(item: Item) -> AuditEntry:
    """Convert back from `AuditEntry.to_item`."""
    moment, _, identifier = item["sk"].partition("#")
    return AuditEntry(
        action=item["action"],
        subject=item["subject"],
        by=item["by"],
        at=clock.from_text(moment),
        reason=item.get("reason", ""),
        before=item.get("before", {}),
        after=item.get("after", {}),
        id=identifier,
    )


def entries(table: Table, month: str) -> Iterator[AuditEntry]:
    """The entries of a month, such as `2026-11`, oldest first."""
    return map(read_entry, table.query(f"AUDIT#{month}", " ", _LAST))


class AuditedTable(Table):
    """A table whose conditional writes carry an entry of the audit trail.

    `put_all` and `delete_all` do not: what they write is not visible until another write publishes it.
    """

    entry: AuditEntry | None = None

    @classmethod
    def over(cls, table: Table, entry: AuditEntry) -> AuditedTable:
        """The same table, with this entry in each of its writes."""
        return cls(table.send, table.name, table.usage, table.deadline, table.first_pause, table.patience, entry)

    def put(self, write: Put) -> None:
        """Write one item; see `Table.put`."""
        self._one(write)

    def update(self, write: Update) -> Item:
        """Change one item and return the changed item, as it is a moment later; see `Table.update`."""
        self._one(write)
        return self.get(write.key) or {}

    def transact(self, writes: Sequence[Write]) -> None:
        """Carry out up to 99 writes, all or none; see `Table.transact`.

        Raises:
            ValueError: There are more: with its entry the transaction would be larger than DynamoDB takes.
        """
        if len(writes) > _MOST_WRITES:
            raise ValueError(f"{len(writes)} writes leave no place for their entry in the audit trail")
        try:
            self._plain().transact([*writes, *self._entries()])
        except TransactionRefused as refusal:
            raise TransactionRefused(refusal.reasons[: len(writes)]) from refusal

    def note(self) -> None:
        """Write the entry alone, before a change that is not the table's."""
        for entry in self._entries():
            self._plain().put(entry)

    def _one(self, write: Put | Update | Delete) -> None:
        try:
            self.transact([write])
        except TransactionRefused as refusal:
            (reason,) = refusal.reasons
            raise ConditionFailed((reason or Reason(None)).item) from refusal

    def _entries(self) -> list[Put]:
        return [Put(self.entry.to_item())] if self.entry else []

    def _plain(self) -> Table:
        return Table(self.send, self.name, self.usage, self.deadline, self.first_pause, self.patience)


def audited(table: Table, entry: AuditEntry | None) -> Table:
    """The same table, with this entry in each of its writes; itself if there is no entry."""
    return AuditedTable.over(table, entry) if entry else table
