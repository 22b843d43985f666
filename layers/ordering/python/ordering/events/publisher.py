"""Passes on what happens to orders: onto the event bus, and to the queue of the partners' webhooks.

Driven by the stream of the orders table, but what is passed on is found in the table: an order's history beyond what
its cursor says was passed on. First the events are on the bus, then the webhooks' queue knows, then the cursor moves.
So whatever dies in between, whoever looks at the order next begins where the cursor stands, with the same events under
the same ids; who drops what it has seen sees each event once, and those of an order in their order.

Key of the orders table: `EVENTS#<order's name>` how many events of an order were passed on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from ordering.aws.dynamodb import ConditionFailed, Key, Table, Update
from ordering.aws.eventbridge import Entry, EventBus, Unpublished
from ordering.events.history import Event, OrderHistory
from ordering.events.types import SOURCE

_log = logging.getLogger("ordering")

_BATCH = 100

Announce = Callable[[str, str, Mapping[str, datetime]], None]
"""Tells the webhooks of a partner that events happened to an order: the latest of each type, with its time."""


ReadHistory = Callable[[Table, str], OrderHistory | None]
"""Reads what happened to an order, by its name; None if there is no such order."""


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
        """Pass on what happened to orders, by their names, and was not passed on yet.

        Returns:
            The orders that it could not be done for, wholly or in part. One order's trouble does not keep the others
            from being passed on; the same call again is safe.
        """
        wanted = list(dict.fromkeys(orders))
        published = self._published(wanted)
        failed: set[str] = set()
        pending: list[tuple[OrderHistory, int]] = []
        for order in wanted:
            try:
                story = self.read_history(self.table, order)
            except Exception:  # noqa: BLE001 - whatever it is, the other orders must not suffer
                _log.exception("not read", extra={"order": order})
                failed.add(order)
            else:
                if story is not None and len(story) > published[order]:
                    pending.append((story, published[order]))
        failed |= self._put(pending)
        for story, first in pending:
            if story.order not in failed:
                try:
                    self._announce(story, first)
                    self._move(story.order, len(story))
                except Exception:  # noqa: BLE001 - as above
                    _log.exception("not announced", extra={"order": story.order})
                    failed.add(story.order)
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
            _log.warning("not published", extra={"orders": sorted(failure.groups)})
            return failure.groups
        return frozenset()

    def _announce(self, story: OrderHistory, first: int) -> None:
        types = {story.type(index): story.moments[index].at for index in range(first, len(story))}
        self.announce(story.partner, story.order, types)

    def _move(self, order: str, count: int) -> None:
        condition = "attribute_not_exists(pk) OR published < :count"
        with suppress(ConditionFailed):  # somebody else has passed on as much, or more
            self.table.update(
                Update(_cursor(order), "SET published = :count", condition=condition, values={":count": count})
            )


def _entry(event: Event) -> Entry:
    return Entry(event.order, SOURCE, event.type, event.time, event.to_text())


def _cursor(order: str) -> Key:
    return f"EVENTS#{order}", "-"
