"""The tasks that follow a change of an e-card order, a balance or a stock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ordering.aws.connections import Connections
from ordering.book.changes import MAIL, PUBLISH, Change, Follower, Task, each, reached, rose
from ordering.book.names import name_of
from ordering.clock import Deadline
from ordering.ecards.assignment import Assignment
from ordering.ecards.balance import company_of, hundredths_of
from ordering.ecards.certificates import Stock, free_of, stock_of
from ordering.ecards.events import read_histories
from ordering.ecards.records import KIND, gives_back, in_transit, is_over, order_of, status_of
from ordering.ecards.services import EcardServices
from ordering.ecards.statuses import EcardStatus
from ordering.events.history import has_more

ADVANCE = "advance"
"""Assign an order's certificates, or return them after a cancellation. The subject is a company and an order's id."""

PAY = "pay"
"""Pay for the orders of a company that wait for money. The subject is the company."""

PAY_ORDER = "pay-order"
"""Pay for an order if it still waits for money. The subject is a company and an order's id."""

STOCK = "stock"
"""Assign certificates to the orders that are parked for a stock. The subject is a card's id and a face value."""


def follower(connections: Connections, deadline: Deadline) -> Follower:
    """Return the follower of e-card orders, balances and stocks, for one invocation."""
    services = EcardServices(connections)
    assignment = Assignment(connections.orders(deadline), now=connections.now)
    return Follower(
        tasks_of,
        {
            ADVANCE: each(lambda company, order: services.orders(company, deadline).advance(order)),
            PAY: each(lambda company: services.orders(company, deadline).pay_waiting()),
            PAY_ORDER: each(lambda company, order: services.orders(company, deadline).pay_order(order)),
            STOCK: each(lambda card, face_value: assignment.assign_parked(Stock(int(card), face_value))),
        },
        histories={KIND: partial(read_histories, connections.orders(deadline))},
    )


def tasks_of(change: Change) -> Iterator[Task]:
    """Yield the tasks that follow a change."""
    partition, _ = change.key
    name = name_of(change.key)
    order = order_of(partition)
    if name is not None and order is not None:
        if has_more(change.after, change.after.get("history", ()), final=is_over(change.after)):
            yield PUBLISH, (name,)
        yield from _tasks_of_order(name, order, change)
    elif (company := company_of(partition)) is not None:
        if rose(change, hundredths_of):
            yield PAY, (company,)
    elif (stock := stock_of(partition)) is not None and rose(change, free_of):
        yield STOCK, (str(stock.card_id), stock.face_value)


def _tasks_of_order(name: str, order: tuple[str, str], change: Change) -> Iterator[Task]:
    # An order that is parked may already hold some of its certificates, from an attempt that crashed.
    if status_of(change.after) in {EcardStatus.PAYED, EcardStatus.AWAITING} or gives_back(change.after):
        yield ADVANCE, order
    if status_of(change.after) == EcardStatus.CREATED and change.is_look:
        yield PAY_ORDER, order
    mailed = [EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED]
    if in_transit(change.after):
        mailed.append(EcardStatus.CANCELLED)
    if any(reached(change, status, status_of) for status in mailed):
        yield MAIL, (name,)
