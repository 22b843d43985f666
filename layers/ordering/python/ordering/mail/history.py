"""The mail history of an order: what its partner learns about its mails, as events.

It has a moment for each attempt that bounced or that SES refused, and for each mail that was sent again. A moment is
written in one transaction with the change of the mail that it is about, as an item of its own under the next number.
So the moments of all mails of an order have one order, and none changes, is lost or is made twice.

The events of a mail history are passed on exactly as those of an order's statuses, under a name of their own:
`mails#<order's name>`. So they have ids, a sequence, a cursor and positions of webhooks of their own.

Most orders have none: a mail that is sent and delivered costs nothing here. A moment costs a Query, and two writes more
in a transaction with the mail's own.

A moment has a mark until its event is passed on (`book.unfinished`).

Key of the orders table: `MAILHISTORY#<order's name>` the moments, by their numbers from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ordering import clock
from ordering.aws.dynamodb import ABSENT, Item, Put, Table
from ordering.book.changes import PUBLISH, Change, Follower, Task
from ordering.book.lifecycle import StatusChange
from ordering.book.unfinished import is_marked, mark
from ordering.events.history import MAILS, OrderHistory
from ordering.events.types import MailMomentType
from ordering.values import Value

if TYPE_CHECKING:
    from ordering.events.shapes import EventMail

_PREFIX = "MAILHISTORY#"
_DIGITS = 10
"""Stored format: moments' numbers in keys are padded to so many digits."""

_LAST = "\U0010ffff"


class MailMoment(Value):
    """One entry of a mail history."""

    type: MailMomentType
    at: datetime
    mail: int
    """The mail's number within its order."""
    to: str = ""
    """The corrected address of the attempt; empty for the address in the order."""
    reason: str = ""
    """Why it bounced or was refused, without addresses; empty if it was sent."""


def name_of_mails(order: str) -> str:
    """Return the name of the mail history of an order, by the order's name."""
    return f"{MAILS}#{order}"


def order_with_moment(item: Item) -> str | None:
    """Return the name of the order of whose mail history an item is a moment; None if it is something else."""
    partition: str = item["pk"]
    return partition.removeprefix(_PREFIX) if partition.startswith(_PREFIX) else None


def read_moments(table: Table, order: str) -> list[MailMoment]:
    """Read the moments of an order, by its name, from the first on.

    Raises:
        Unavailable: The deadline passed.
    """
    return [read_moment(item) for item in _read(table, order)]


def read_moment(item: Item) -> MailMoment:
    """Convert a moment from its stored form."""
    return MailMoment(
        MailMomentType(item["what"]),
        clock.from_text(item["at"]),
        item["mail"],
        item.get("to", ""),
        item.get("why", ""),
    )


def next_moments(table: Table, order: str, moments: Sequence[MailMoment]) -> list[Put]:
    """Return the writes that add moments to an order's mail history.

    They fail if the history has changed in between. Then read it again.

    Raises:
        Unavailable: The deadline passed.
    """
    if not moments:
        return []
    first = len(read_moments(table, order)) + 1
    return [Put(_write(order, number, moment), ABSENT) for number, moment in enumerate(moments, first)]


def mail_history(
    table: Table, order: str, kind: str, partner: str, data: Callable[[EventMail], Mapping[str, Any]]
) -> OrderHistory:
    """Read the mail history of an order.

    Args:
        table: The orders table.
        order: The order's name.
        kind: The kind of order in the types of its events.
        partner: Whose order it is.
        data: Returns an event's data, given what it has about the mail; its `to` is empty for the address in the order.

    Raises:
        Unavailable: The deadline passed.
    """
    items = _read(table, order)
    moments = [read_moment(item) for item in items]
    marked = [(item["pk"], item["sk"]) for item in items if is_marked(item)]

    def made(index: int) -> Mapping[str, Any]:
        moment = moments[index]
        return data({"number": moment.mail, "to": moment.to, "reason": moment.reason or None})

    changes = [StatusChange(moment.type, moment.at) for moment in moments]
    return OrderHistory(name_of_mails(order), kind, partner, changes, made, marked=marked)


def _read(table: Table, order: str) -> list[Item]:
    return [*table.query(f"{_PREFIX}{order}", " ", _LAST)]


def _write(order: str, number: int, moment: MailMoment) -> Item:
    key = f"{_PREFIX}{order}", f"{number:0{_DIGITS}}"
    return {
        "pk": key[0],
        "sk": key[1],
        "what": str(moment.type),
        "at": clock.to_text(moment.at),
        "mail": moment.mail,
        "to": moment.to,
        "why": moment.reason,
        **mark(key, moment.at),
    }


def follower() -> Follower:
    """Return the follower of mail histories."""
    return Follower(tasks_of, {})


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change: to publish the events of a mail history that has a new moment."""
    partition, _ = change.key
    if partition.startswith(_PREFIX):
        yield PUBLISH, (name_of_mails(partition.removeprefix(_PREFIX)),)
