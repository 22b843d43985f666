"""Passes on the events of orders: to the event bus, and to the queue of the partners' webhooks.

The stream of the orders table triggers it, but the events come from the table: they are the part of an order's history
that lies beyond the order's cursor. Events are put on the bus first, then the webhooks' queue is notified, then the
cursor moves. So after a crash the next attempt starts at the cursor, with the same events under the same ids. A
consumer that drops duplicates sees each event once, and the events of an order in sequence.

An order's item has the cursor, `published`: how many of its events were passed on. The write that moves it also ends
the order's work if nothing else is left to do (`book.unfinished`). If the item has changed since it was read, its work
is not ended.

Key of the orders table: `EVENTS#<history's name>` the cursor of a mail history, `mails#<order's name>`, and of an order
that an earlier release created.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from ordering.aws.dynamodb import ConditionFailed, Key, Table, Update
from ordering.aws.eventbridge import Entry, EventBus, Unpublished
from ordering.book.names import key_of, kind_of
from ordering.book.unfinished import PUBLISHED, UNMARK
from ordering.events.history import Event, Finish, OrderHistory, order_of_mails
from ordering.events.types import SOURCE
from ordering.logs import about, correlate
from ordering.values import Value

_log = logging.getLogger("ordering")

Announce = Callable[[str, str, Mapping[str, datetime]], None]
"""Notifies a partner's webhooks that an order has events: takes the partner, the order's name, and the time of the
latest event of each type."""

ReadHistory = Callable[[Table, str], OrderHistory | None]
"""Reads the history of an order, by its name; None if the order does not exist."""

ReadHistories = Callable[[Sequence[str]], Mapping[str, OrderHistory | None]]
"""Reads histories by name: None if the order does not exist. One that cannot be read is missing."""


def each_history(names: Sequence[str], read: Callable[[str], OrderHistory | None]) -> dict[str, OrderHistory | None]:
    """Return histories by name, leaving out those that cannot be read."""
    found = {}
    for name in names:
        try:
            found[name] = read(name)
        except Exception:  # noqa: BLE001 - a failed order must not keep others from being passed on
            _log.exception("order's history unreadable", extra={"order": order_of_mails(name)})
    return found


def one_by_one(table: Table, read: ReadHistory) -> ReadHistories:
    """Return a reader of many histories that reads each of them alone."""
    return lambda names: each_history(names, lambda name: read(table, name))


def by_kind(readers: Mapping[str, ReadHistories], other: ReadHistories) -> ReadHistories:
    """Return a reader of many histories that reads those of one kind together.

    Args:
        readers: By the kind that a history's name begins with.
        other: Reads those of all other kinds.
    """

    def read(names: Sequence[str]) -> dict[str, OrderHistory | None]:
        found: dict[str, OrderHistory | None] = {}
        kinds: dict[str, list[str]] = {}
        for name in names:
            kinds.setdefault(kind_of(name), []).append(name)
        for kind, some in kinds.items():
            try:
                found |= readers.get(kind, other)(some)
            except Exception:  # noqa: BLE001 - orders of other kinds are still passed on
                _log.exception("orders' histories unreadable", extra={"kind": kind})
        return found

    return read


class Publisher(Value):
    """Passes on the events of the orders of all partners, for one invocation.

    Args:
        table: The orders table.
        mailed: The orders whose mail's message this invocation has put on the queue.
    """

    table: Table
    bus: EventBus
    announce: Announce
    read_histories: ReadHistories
    mailed: Collection[str] = ()

    def publish(self, orders: Iterable[str]) -> frozenset[str]:
        """Pass on the events of orders, by the orders' names, that were not passed on yet, and end what is finished.

        Returns:
            The orders for which this failed. The same call again is safe. A failed order does not keep the events of
            other orders from being passed on.
        """
        wanted = list(dict.fromkeys(orders))
        read = self.read_histories(wanted)
        stories = [story for name in wanted if (story := read.get(name))]
        first = self._cursors(stories)
        failed = set(wanted) - read.keys()
        failed |= self._put([story for story in stories if len(story) > first[story.order]], first)
        for story in stories:
            with about(order=order_of_mails(story.order), partner=story.partner):
                correlate(story.correlation)
                if story.order in failed:
                    _log.warning("events not published")
                    continue
                try:
                    self._end(story, first[story.order])
                except Exception:  # noqa: BLE001 - as above
                    _log.exception("events not announced to webhooks")
                    failed.add(story.order)
                else:
                    if types := [*_types(story, first[story.order])]:
                        _log.info("events published", extra={"types": types})
        return frozenset(failed)

    def _cursors(self, stories: Sequence[OrderHistory]) -> dict[str, int]:
        own = {_cursor(story.order): story.order for story in stories if story.published is None}
        found = {story.order: story.published or 0 for story in stories}
        for key, item in self.table.batch_get([*own]).items() if own else ():
            found[own[key]] = item[PUBLISHED]
        return found

    def _put(self, pending: Sequence[OrderHistory], first: Mapping[str, int]) -> frozenset[str]:
        entries = (to_entry(story.event(index)) for story in pending for index in range(first[story.order], len(story)))
        try:
            self.bus.put(entries)
        except Unpublished as failure:
            return failure.groups
        return frozenset()

    def _end(self, story: OrderHistory, first: int) -> None:
        """Do what follows once the events from the cursor on are on the bus."""
        if first < len(story):
            self._announce(story, first)
        finish = story.finish
        if finish and finish.mails and story.order not in self.mailed:
            finish = None
        if story.published is None:
            if first < len(story):
                self._move(story.order, len(story))
            for key in (*story.marked, *([key_of(story.order)] if finish else [])):
                self._unmark(key, finish)
        elif first < len(story) or finish:
            self._move_in_order(story, finish)

    def _announce(self, story: OrderHistory, first: int) -> None:
        self.announce(story.partner, story.order, _types(story, first))

    def _move(self, order: str, count: int) -> None:
        condition = "attribute_not_exists(pk) OR published < :count"
        with suppress(ConditionFailed):  # another process has passed on as many events, or more
            self.table.update(
                Update(_cursor(order), "SET published = :count", condition=condition, values={":count": count})
            )

    def _move_in_order(self, story: OrderHistory, finish: Finish | None) -> None:
        """Move the cursor in the order's item, and with it end the order's work, unless the order has changed."""
        key, move, count = key_of(story.order), "SET published = :count", {":count": len(story)}
        if finish:
            condition, values = f"published <= :count AND {finish.condition}", {**count, **finish.values}
            try:
                self.table.update(Update(key, f"{move} {UNMARK}", condition, finish.names, values))
            except ConditionFailed:
                pass  # its work goes on: whatever changed it left a record in the stream, and its mark remains
            else:
                return
        with suppress(ConditionFailed):  # another process has passed on as many events, or more
            self.table.update(Update(key, move, "published < :count", values=count))

    def _unmark(self, key: Key, finish: Finish | None) -> None:
        condition, names, values = (finish.condition, finish.names, finish.values) if finish else (_EXISTS, {}, {})
        with suppress(ConditionFailed):  # it has changed since it was read: its work goes on
            self.table.update(Update(key, UNMARK, condition, names, values))


_EXISTS = "attribute_exists(pk)"


def _types(story: OrderHistory, first: int) -> dict[str, datetime]:
    """Return the types of a history's events from an index on, each with the time of its latest event."""
    return {story.type(index): story.moments[index].at for index in range(first, len(story))}


def published(table: Table, story: OrderHistory) -> int:
    """Return how many events of a history were passed on."""
    if story.published is not None:
        return story.published
    item = table.get(_cursor(story.order))
    return item[PUBLISHED] if item else 0


def to_entry(event: Event) -> Entry:
    """Return the entry that puts an event on the bus."""
    return Entry(event.order, SOURCE, event.type, event.time, event.to_text())


def _cursor(order: str) -> Key:
    return f"EVENTS#{order}", "-"
