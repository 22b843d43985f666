"""`ordering event`: puts events of orders on the event bus again, from the orders' histories.

A history makes the same events under the same ids whenever it is read, so consumers that drop duplicates by id take
only what they miss. Webhooks are not notified: each has its own position in a history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ordering import clock
from ordering.aws.calls import ServiceCall
from ordering.aws.dynamodb import Item, Table
from ordering.aws.eventbridge import Entry, EventBus, Unpublished
from ordering.book.names import name_of
from ordering.contexts import history_readers, read_history
from ordering.events.publisher import to_entry
from ordering.mail.history import name_of_mails, order_with_moment
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Group, Run, Since, pass_run, with_reason
from ordering_tools.operations.finding import order_named

_BUS = "OrderEvents"
_AT_ONCE = 100
"""Histories whose events are in memory at a time."""
_SHOWN = 10


@click.group(
    cls=Group,
    epilog="\b\nExamples:\n  ordering event republish 51\n  ordering event republish --since 2h --reason 'bus deleted'",
)
def group() -> None:
    """Put events of orders on the event bus again."""


@group.command()
@click.argument("order", required=False, help="Its number, COMPANY/UUID, or the name that logs have.")
@click.option("--since", type=Since(), help="Only events since then: 2h, 3d or a date. Without ORDER, of all orders.")
@with_reason
@pass_run
def republish(run: Run, order: str | None, since: datetime | None, reason: str) -> None:
    """Put the events of an order, or of all orders, on the event bus again, for a new consumer or after a lost bus.

    An event has the id that it had before. All orders are found by reading the whole orders table, a read unit for each
    4 KB.
    """
    if order is not None:
        names = _histories_of(run.site, order)
    elif since is not None:
        names = _histories_since(run.site.orders, since)
    else:
        raise click.UsageError("name an order, or a time with --since")
    site, limits = run.site, {"since": clock.to_text(since)} if since else {}
    with run.change(f"events {order or 'of all orders'}", reason, after=limits) as changed:
        changed.note()
        with run.output.progress("events") as advance:
            number, refused = _put_all(site, names, since, advance)
    if refused:
        some = ", ".join(sorted(refused)[:_SHOWN])
        raise NotDone(
            f"{number:,} events are on the bus, but not all of {len(refused):,} histories ({some}); run it again: "
            "consumers drop what they had"
        )
    run.output.result(f"{number:,} events are on the bus again", {"events": number})


def _put_all(
    site: Installation, names: Sequence[str], since: datetime | None, advance: Callable[[int], None]
) -> tuple[int, set[str]]:
    """Put the events of histories on the bus; returns how many, and the histories of which some were refused."""
    bus = EventBus(_calls_of(site), site.stack.outputs.get(_BUS, _BUS), site.orders.pauses)
    number, refused = 0, set[str]()
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        entries = [entry for name in some for entry in _entries(site.orders, name, since)]
        lost: frozenset[str] = frozenset()
        try:
            bus.put(entries)
        except Unpublished as failure:
            lost = failure.groups
        done = sum(entry.group not in lost for entry in entries)
        advance(done)
        number, refused = number + done, refused | lost
    return number, refused


def _entries(orders: Table, name: str, since: datetime | None) -> Iterator[Entry]:
    story = read_history(orders, name)
    if story is not None:
        for index, moment in enumerate(story.moments):
            if since is None or moment.at >= since:
                yield to_entry(story.event(index))


def _histories_of(site: Installation, order: str) -> list[str]:
    named = order_named(site, order)
    if named.kind not in history_readers():
        raise NotDone(f"{named.subject} has no events: those of its kind have none")
    return [named.name, name_of_mails(named.name)]


def _histories_since(orders: Table, since: datetime) -> list[str]:
    """The names of histories with a moment since a time, each once."""
    earliest = clock.to_text(since)
    found = dict[str, None]()
    for item in orders.scan("ORDER#", "MAILHISTORY#"):
        if (name := _history_with_moment(item)) and _last_moment(item) >= earliest:
            found[name] = None
    return list(found)


def _history_with_moment(item: Item) -> str | None:
    """The history that an item is, or is a moment of; None for an order's lines and other items."""
    if order := order_with_moment(item):
        return name_of_mails(order)
    return name_of((item["pk"], item["sk"]))


def _last_moment(item: Item) -> str:
    order: Mapping[str, Any] = item.get("order", item)
    last: str = order["history"][-1]["at"] if "history" in order else item["at"]
    return last


def _calls_of(site: Installation) -> ServiceCall:
    client = site.connect("events")

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation != "PutEvents":
            raise NotImplementedError(operation)
        try:
            answer: dict[str, Any] = client.put_events(**request)
        except (BotoCoreError, ClientError) as error:
            raise NotDone(f"the event bus cannot be called: {error}") from error
        return answer

    return call
