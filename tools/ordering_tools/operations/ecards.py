"""`ordering order`: support's commands, most of them for orders of e-cards."""

from __future__ import annotations

import argparse
from typing import Any, assert_never

from ordering.book.names import key_of
from ordering.contexts import read_history
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import EcardOrder, order_of, read_order
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.identifiers import canonical_uuid
from ordering.mail.outbox import Mail, MailEvent, Outbox
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import set_action
from ordering_tools.operations.mail import ORDER, order_named

TARGETS = (
    EcardStatus.READY,
    EcardStatus.PARTIALLY_DELIVERED,
    EcardStatus.DELIVERED,
    EcardStatus.CANCELLED,
)
"""The statuses that an order can be moved to by hand; only a payment makes it Payed."""


HANDING_OVER = ECARDS.sources(EcardStatus.PARTIALLY_DELIVERED)
"""The statuses in which some certificates of an order can be handed over."""


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    orders = _group(commands, "order", "show orders, and move e-card orders to another status")
    shown = orders.add_parser("show", help="show the history of an order and its mails, oldest first")
    shown.add_argument("order", nargs="+", help=ORDER)
    set_action(shown, run_show)
    move = orders.add_parser("move", help="move an e-card order to another status")
    move.add_argument("company", help="the company's id, for instance granite-rewards in the demo data")
    move.add_argument("order", help="the order's id, a UUID")
    move.add_argument("--to", required=True, choices=[str(target) for target in TARGETS], help="the new status")
    move.add_argument(
        "--count",
        type=int,
        default=1,
        help="certificates handed over now, for PartiallyDelivered (default: %(default)s)",
    )
    set_action(move, run_move)


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def run_show(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print the state of an order and its mails, and their history."""
    name = order_named(arguments.order)
    history = read_history(installation.orders, name)
    if history is None:
        raise NotDone(f"there is no order {' '.join(arguments.order)}")
    outbox = Outbox(installation.orders)
    mails = outbox.mails(name)
    moments = [(moment.at, str(moment.status)) for moment in history.moments]
    moments += [(event.at, _described(mail, event)) for mail in mails for event in mail.events]
    print(f"{name} of {history.partner} is {history.moments[-1].status}{_handed(installation, name)}")
    for mail in mails:
        print(f"mail {mail.number}, with {mail.contents:,} codes, is {mail.state}")
    if corrected := outbox.corrected_address(name):
        print(f"mails go to {corrected}, the corrected address")
    for at, text in sorted(moments, key=lambda moment: moment[0]):
        print(f"{at:%Y-%m-%d %H:%M:%SZ}  {text}")


def run_move(installation: Installation, arguments: argparse.Namespace) -> None:
    """Move an order and print its new state."""
    order = move(installation, arguments.company, arguments.order, EcardStatus(arguments.to), arguments.count)
    print(f"order {order.number} is {order.status}, {order.delivered} of {order.quantity} certificates handed over")


def move(installation: Installation, company: str, order_id: str, target: EcardStatus, count: int = 1) -> EcardOrder:
    """Move an order to a status by hand, and return the changed order.

    Raises:
        NotDone: The id is invalid, the status cannot be set by hand, or the stock is short, so that the order waits.
        OrderingError: There is no such order, or its status does not allow the move.
    """
    orders = EcardOrders(installation.orders, company)
    canonical = canonical_uuid(order_id)
    if canonical is None:
        raise NotDone(f"'{order_id}' is not a valid order id, which is a UUID")
    order = orders.order(canonical)
    match target:
        case EcardStatus.CANCELLED:
            return orders.cancel(order.id)
        case EcardStatus.READY:
            return _ready(orders, order)
        case EcardStatus.PARTIALLY_DELIVERED | EcardStatus.DELIVERED:
            return _hand_over(orders, order, target, count)
        case EcardStatus.CREATED | EcardStatus.PAYED | EcardStatus.AWAITING:
            raise NotDone(f"an order cannot be moved to {target} by hand")
        case unknown:
            assert_never(unknown)


def _hand_over(orders: EcardOrders, order: EcardOrder, target: EcardStatus, count: int) -> EcardOrder:
    left = order.quantity - order.delivered
    if not left:
        raise NotDone(f"order {order.number} is {order.status}: all its certificates are handed over")
    if target is EcardStatus.PARTIALLY_DELIVERED and order.status in HANDING_OVER and count >= left:
        raise NotDone(f"order {order.number} has {left} left to hand over; to hand over all use --to Delivered")
    if target is EcardStatus.PARTIALLY_DELIVERED and count < 1:
        raise NotDone(f"--count is {count}; it must be at least 1")
    return orders.hand_over(order, left if target is EcardStatus.DELIVERED else count)


def _described(mail: Mail, event: MailEvent) -> str:
    to = f" to {event.to}" if event.to else ""
    return f"mail {mail.number} {event.type}{to}{f': {event.reason}' if event.reason else ''}"


def _handed(installation: Installation, name: str) -> str:
    partition, sort = key_of(name)
    item = installation.orders.get((partition, sort)) if order_of(partition) else None
    if item is None:
        return ""
    order = read_order(item)
    in_transit = f", {order.in_transit} in transit" if order.in_transit else ""
    return f": {order.delivered} of {order.quantity} certificates handed over{in_transit}"


def _ready(orders: EcardOrders, order: EcardOrder) -> EcardOrder:
    after = orders.advance(order.id)
    if after.status is EcardStatus.AWAITING and after.parked:
        raise NotDone(
            f"order {order.number} waits for certificates of {after.parked}; add some with `ordering stock load`"
        )
    if after.status is not EcardStatus.READY or order.status is EcardStatus.READY:
        raise NotDone(f"order {order.number} was not moved: it is {after.status}")
    return after
