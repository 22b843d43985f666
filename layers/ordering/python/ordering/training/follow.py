"""The tasks that follow a change of a training order: issue its access keys, mail them, publish its events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Key
from ordering.book.changes import MAIL, PUBLISH, Change, Follower, Subject, Task, reached
from ordering.book.correlation import correlation_of
from ordering.book.names import key_of, name_of
from ordering.clock import Deadline
from ordering.events.history import has_more
from ordering.logs import about, correlate
from ordering.sealing import Sealer
from ordering.training.batch import OrdersOfBatch
from ordering.training.orders import KIND, TrainingOrders, emails_keys, id_of, status_of, training_name, unit_id_of
from ordering.training.services import TrainingServices
from ordering.training.statuses import TrainingStatus

ISSUE = "issue"
"""Issue an order's access keys. The subject is the order's id, and the id of its business unit."""

_log = logging.getLogger("ordering")

ISSUED_WITHIN = 12.0
"""Seconds within which the keys of a batch are issued, so that a slow KMS leaves time for mails and events."""

PassOn = Callable[[Key], None]
"""Puts an order, by the key of its item, on the queue of large orders."""

OpenOrders = Callable[[str], TrainingOrders]
"""Opens the orders of a business unit, by its id."""


def follower(connections: Connections, deadline: Deadline, pass_on: PassOn | None = None) -> Follower:
    """Return the follower of training orders, for one invocation.

    Args:
        connections: The connections of the process.
        deadline: The time by which tasks must have ended.
        pass_on: Puts the key of an order whose keys take more than one transaction on the queue of large orders. None
            for the consumer of that queue, which issues the keys of any order, for as long as there is time.
    """
    services = TrainingServices(connections)
    if pass_on is None:
        issue = partial(
            issue_keys,
            open_orders=lambda unit: services.orders(unit, deadline),
            sealer=services.sealer(deadline),
            deadline=deadline,
        )
        return Follower(tasks_of, handlers={}, slow_handlers={ISSUE: issue})
    until = Deadline.after(min(deadline.remaining(), ISSUED_WITHIN))
    orders = OrdersOfBatch(connections.orders(deadline))
    at_once = partial(
        issue_at_once,
        orders=orders,
        open_orders=lambda unit: services.orders(unit, deadline),
        sealer=services.sealer(until),
        until=until,
        pass_on=pass_on,
    )
    return Follower(tasks_of, handlers={ISSUE: at_once}, histories={KIND: orders.histories})


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change.

    A large order gets its keys in several steps. Each step changes the order's item, so that the stream delivers a new
    record for it, and its key is put on the queue of large orders again.
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


def issue_at_once(  # noqa: PLR0913 - what it needs is handed in
    subjects: Sequence[Subject],
    *,
    orders: OrdersOfBatch,
    open_orders: OpenOrders,
    sealer: Sealer,
    until: Deadline,
    pass_on: PassOn,
) -> list[Subject]:
    """Issue the access keys of orders and complete them, a transaction each; pass on those that take more.

    Returns:
        The orders for which this failed.
    """
    failed = []
    found = orders.read([int(order_id) for order_id, _ in subjects])
    for subject in subjects:
        order_id, unit = subject
        whole, after = found.get(int(order_id)), None
        with about(order=training_name(order_id)):
            correlate(correlation_of(whole.item) if whole else None)
            try:
                after = open_orders(unit).issue_at_once(whole, sealer, until) if whole else None
                if whole and after is None:
                    pass_on(key_of(training_name(order_id)))
            except Exception:  # noqa: BLE001 - a failed order must not keep the others from getting their keys
                _log.exception("access keys not issued")
                failed.append(subject)
        orders.keep(int(order_id), after)
    return failed


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
