"""The tasks that follow a change of a training order: issue its access keys, mail them, publish its events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ordering.aws.connections import Connections
from ordering.book.changes import MAIL, PUBLISH, Change, Follower, Subject, Task, reached
from ordering.book.names import name_of
from ordering.clock import Deadline
from ordering.events.history import has_more
from ordering.logs import about
from ordering.sealing import Sealer
from ordering.training.orders import KIND, TrainingOrders, emails_keys, id_of, status_of, training_name, unit_id_of
from ordering.training.services import TrainingServices
from ordering.training.statuses import TrainingStatus

ISSUE = "issue"
"""Issue an order's access keys. The subject is the order's id, and the id of its business unit."""

_log = logging.getLogger("ordering")

OpenOrders = Callable[[str], TrainingOrders]
"""Opens the orders of a business unit, by its id."""


def follower(connections: Connections, deadline: Deadline) -> Follower:
    """Return the follower of training orders, for one invocation."""
    services = TrainingServices(connections)
    issue = partial(
        issue_keys,
        open_orders=lambda unit: services.orders(unit, deadline),
        sealer=services.sealer(deadline),
        deadline=deadline,
    )
    return Follower(tasks_of, handlers={}, slow_handlers={ISSUE: issue})


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change.

    A large order gets its keys in several steps. Each step changes the order's item, so that the stream delivers a new
    record for it, behind the records that arrived in between.
    """
    name = name_of(change.key)
    if name is None or not name.startswith(f"{KIND}#"):
        return
    moments = change.after["order"].get("history", ())
    if has_more(change.after, moments, final=status_of(change.after) != TrainingStatus.NEW):
        yield PUBLISH, (name,)
    if status_of(change.after) == TrainingStatus.NEW:
        yield ISSUE, (str(id_of(name)), unit_id_of(change.after))
    if emails_keys(change.after) and reached(change, TrainingStatus.COMPLETED, status_of):
        yield MAIL, (name,)


def issue_keys(
    subjects: Sequence[Subject], *, open_orders: OpenOrders, sealer: Sealer, deadline: Deadline
) -> list[Subject]:
    """Issue the access keys of orders that do not have all of them yet.

    The remaining time is shared evenly, so that a large order does not delay the others.

    Returns:
        The orders that made no progress.
    """
    failed = []
    for waiting, subject in zip(range(len(subjects), 0, -1), subjects, strict=True):
        order_id, unit = subject
        with about(order=training_name(order_id)):
            try:
                orders = open_orders(unit)
                orders.issue_keys(int(order_id), sealer, Deadline.after(deadline.remaining() / waiting))
            except Exception:  # noqa: BLE001 - a failed order must not keep the others from getting their keys
                _log.exception("access keys not issued")
                failed.append(subject)
    return failed
