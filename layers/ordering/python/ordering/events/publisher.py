"""Passes on the events of orders: to the event bus, and to the queue of the partners' webhooks.

The stream of the orders table triggers it, but the events come from the table: they are the part of an order's history
that lies beyond the order's cursor. Events are put on the bus first, then the webhooks' queue is notified, then the
cursor moves. So after a crash the next attempt starts at the cursor, with the same events under the same ids. A
consumer that drops duplicates sees each event once, and the events of an order in sequence.

Key of the orders table: `EVENTS#<history's name>` the cursor: how many events of a history were passed on. The name is
the order's, or that of its mail history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from ordering.aws.dynamodb import ConditionFailed, Key, Table, Update
from ordering.aws.eventbridge import Entry, EventBus, Unpublished
from ordering.events.history import Event, OrderHistory, order_of_mails
from ordering.events.types import SOURCE
from ordering.logs import about

_log = logging.getLogger("ordering")

_BATCH = 100

Announce = Callable[[str, str, Mapping[str, datetime]], None]
"""Notifies a partner's webhooks that an order has events: takes the partner, the order's name, and the time of the
latest event of each type."""

ReadHistory = Callable[[Table, str], OrderHistory | None]
"""Reads the history of an order, by its name; None if the order does not exist."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Passes on the events of the orders of all partners, for one invocation.

    Args:
        table: The orders table.
    """

    table: Table
    bus: EventBus
    announce: Announce
    read_history: ReadHistory

    def publish(self, orders: Iterable[str]) -> frozenset[str]:
        """Pass on the events of orders, by the orders' names, that were not passed on yet.

        Returns:
            The orders whose events were not all passed on. The same call again is safe. A failed order does not keep
            the events of other orders from being passed on.
        """
        wanted = list(dict.fromkeys(orders))
        published = self._published(wanted)
        failed: set[str] = set()
        pending: list[tuple[OrderHistory, int]] = []
        for order in wanted:
            try:
                story = self.read_history(self.table, order)
            except Exception:  # noqa: BLE001 - a failed order must not keep others from being passed on
                _log.exception("order's history unreadable", extra={"order": order_of_mails(order)})
                failed.add(order)
            else:
                if story is not None and len(story) > published[order]:
                    pending.append((story, published[order]))
        failed |= self._put(pending)
        for story, first in pending:
            with about(order=order_of_mails(story.order), partner=story.partner):
                if story.order in failed:
                    _log.warning("events not published")
                    continue
                try:
                    self._announce(story, first)
                    self._move(story.order, len(story))
                except Exception:  # noqa: BLE001 - as above
                    _log.exception("events not announced to webhooks")
                    failed.add(story.order)
                else:
                    _log.info("events published", extra={"types": [*_types(story, first)]})
        return frozenset(failed)

    def _published(self, orders: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = dict.fromkeys(orders, 0)
        for begin in range(0, len(orders), _BATCH):
            keys = {_cursor(order): order for order in orders[begin : begin + _BATCH]}
            for key, item in self.table.batch_get([*keys]).items():
                found[keys[key]] = item["published"]
        return found

    def _put(self, pending: Sequence[tuple[OrderHistory, int]]) -> frozenset[str]:
        entries = (_entry(story.event(index)) for story, first in pending for index in range(first, len(story)))
        try:
            self.bus.put(entries)
        except Unpublished as failure:
            return failure.groups
        return frozenset()

    def _announce(self, story: OrderHistory, first: int) -> None:
        self.announce(story.partner, story.order, _types(story, first))

    def _move(self, order: str, count: int) -> None:
        condition = "attribute_not_exists(pk) OR published < :count"
        with suppress(ConditionFailed):  # another process has passed on as many events, or more
            self.table.update(
                Update(_cursor(order), "SET published = :count", condition=condition, values={":count": count})
            )


def _types(story: OrderHistory, first: int) -> dict[str, datetime]:
    """Return the types of a history's events from an index on, each with the time of its latest event."""
    return {story.type(index): story.moments[index].at for index in range(first, len(story))}


def published(table: Table, history: str) -> int:
    """Return how many events of a history were passed on, by the history's name."""
    item = table.get(_cursor(history))
    return item["published"] if item else 0


def _entry(event: Event) -> Entry:
    return Entry(event.order, SOURCE, event.type, event.time, event.to_text())


def _cursor(order: str) -> Key:
    return f"EVENTS#{order}", "-"
