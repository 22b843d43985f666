"""The history of an order, as events.

An order's history has an entry for each status that the order reached, and each entry is one event. The event's id is
derived from the order's name and the entry's index, its content from the order as it was at that moment. Both are the
same whenever, and however often, the event is made. So only the number of published events is stored.

An order with mails has a second history, of what its partner learns about them (`ordering.mail.history`). It has the
same form, and a name of its own instead of the order's. So its events have ids and a sequence of their own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from ordering import clock
from ordering.aws.dynamodb import Item, Key
from ordering.book.lifecycle import StatusChange
from ordering.book.unfinished import PUBLISHED, is_marked
from ordering.events.types import SOURCE, VERSION, type_of
from ordering.sizes import bytes_within_json
from ordering.values import Value

NAMESPACE = uuid.UUID("0b9d1d94-5a57-5d9c-8f8e-3f2d4c1a7e60")
"""Namespace of the events' ids (UUIDv5). Stored format: consumers drop duplicates by these ids, so it never changes."""

MAILS = "mails"
"""The kind of history that the names of mail histories begin with. Stored format: events' ids are derived from it."""

LINES_AT_MOST = 160 * 1024
"""Most bytes of lines in one event, as JSON: EventBridge accepts 256 KB, and text may double within its `Detail`."""

L = TypeVar("L", bound=Mapping[str, Any])


class Event(Value):
    """One moment of a history; `order` is the history's name, `sequence` counts its moments from 1."""

    id: str
    type: str
    time: datetime
    order: str
    sequence: int
    data: Mapping[str, Any]
    correlation: str | None = None
    """The id of the request that created the order; None if it is not known."""

    def to_text(self) -> str:
        """Return the event as it is sent: JSON, the same text every time."""
        envelope = {
            "id": self.id,
            "type": self.type,
            "version": VERSION,
            "time": clock.to_text(self.time),
            "source": SOURCE,
            "sequence": self.sequence,
            **({"correlationId": self.correlation} if self.correlation else {}),
            "data": self.data,
        }
        return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)


class Finish(Value):
    """The end of an order's work, once its events are passed on: its mark is removed (`book.unfinished`).

    The condition, with its names and values, is that the order is as it was read.
    """

    condition: str
    names: Mapping[str, str]
    values: Mapping[str, Any]
    mails: bool
    """Whether the order has a mail, whose message must be on the queue first."""


class OrderHistory(Value):
    """The history of an order. `event` makes an event by its index, from 0; `len` is the number of events."""

    order: str
    """The history's name: the order's, or that of its mail history."""
    kind: str
    """The kind of order in the types of its events."""
    partner: str
    moments: Sequence[StatusChange[Any]]
    _data: Callable[[int], Mapping[str, Any]]
    published: int | None = None
    """How many events were passed on, by the order's item; None if a cursor of its own says it: for mail histories, and
    orders of earlier releases."""
    finish: Finish | None = None
    """How the order's work ends; None if more than its events is left to do, or nothing."""
    marked: Sequence[Key] = ()
    """The moments of a mail history that have marks: their work ends when their events were passed on."""
    correlation: str | None = None
    """The id of the request that created the order; None if it is not known."""

    def __len__(self) -> int:
        return len(self.moments)

    def type(self, index: int) -> str:
        """Return an event's type."""
        status: StrEnum = self.moments[index].status
        return type_of(self.kind, status)

    def event(self, index: int) -> Event:
        """Make an event."""
        return Event(
            id=event_id(self.order, index),
            type=self.type(index),
            time=self.moments[index].at,
            order=self.order,
            sequence=index + 1,
            data=self._data(index),
            correlation=self.correlation,
        )


def order_of_mails(name: str) -> str:
    """Return the name of the order whose mail history has a name; an order's own name stays as it is."""
    return name.removeprefix(f"{MAILS}#")


def has_more(item: Item, moments: Sequence[Any], *, final: bool) -> bool:
    """Return whether an image of an order's item lets the publisher have work: events, or the end of the order's work.

    Args:
        item: The item.
        moments: Its history.
        final: Whether nothing but events and mails can be left to do.
    """
    return item.get(PUBLISHED, -1) < len(moments) or (final and is_marked(item))


def event_id(order: str, index: int) -> str:
    """Return the id of an order's event."""
    return str(uuid.uuid5(NAMESPACE, f"{order}#{index}"))


def lines_that_fit(lines: Sequence[L]) -> list[L]:
    """Return the first of an order's lines that fit into one event."""
    shown, size = [], 0
    for line in lines:
        size += bytes_within_json(line)
        if size > LINES_AT_MOST:
            break
        shown.append(line)
    return shown
