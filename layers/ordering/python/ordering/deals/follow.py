"""The task that follows the removal of a deal order: to delete its line items."""

from __future__ import annotations

from collections.abc import Iterator

from ordering.aws.connections import Connections
from ordering.book.changes import Change, Follower, Task, each
from ordering.book.orderbook import is_void
from ordering.book.positions import book_of
from ordering.clock import Deadline
from ordering.deals.orders import account_of
from ordering.deals.services import DealServices

SWEEP = "sweep"
"""Delete a removed order's line items. The subject is an account and the id of its order."""


def follower(connections: Connections, deadline: Deadline) -> Follower:
    """Return the follower of deal orders, for one invocation."""
    services = DealServices(connections)
    sweep = each(lambda account, order: services.orders(account, deadline).lines(int(order)).sweep())
    return Follower(tasks_of, {SWEEP: sweep})


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change."""
    partition, position = change.key
    book = book_of(partition)
    account = account_of(book) if book else None
    if account is not None and change.before is not None and not is_void(change.before) and is_void(change.after):
        yield SWEEP, (account, str(int(position)))
