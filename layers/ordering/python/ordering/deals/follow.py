"""What follows a change of a deal order: the line items of a removed one are deleted, because nothing leads to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ordering.book.changes import Change, Follower, Task, each
from ordering.book.orderbook import book_of, is_void
from ordering.deals.orders import DealOrders, account_of

SWEEP = "sweep"
"""Delete a removed order's line items. The subject is an account and the id of its order."""


def follower(open_orders: Callable[[str], DealOrders]) -> Follower:
    """Return what follows the changes of deal orders, for one invocation.

    Args:
        open_orders: Opens the orders of an account.
    """
    return Follower(tasks_of, {SWEEP: each(lambda account, order: open_orders(account).lines(int(order)).sweep())})


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change."""
    partition, position = change.key
    book = book_of(partition)
    account = account_of(book) if book else None
    if account is not None and change.before is not None and is_void(change.after):
        yield SWEEP, (account, str(int(position)))
