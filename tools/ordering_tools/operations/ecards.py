"""`ordering order`, `balance`, `stock` and `client`: what support does for orders, most of all those of e-cards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, assert_never

from ordering.aws.dynamodb import ConditionFailed
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.names import key_of
from ordering.contexts import read_history
from ordering.ecards.assignment import Assignment
from ordering.ecards.certificates import Certificates, Duplicates, Stock, read_shelves
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import EcardOrder, order_of, read_order
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.identifiers import canonical_uuid
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.clients import Client, Clients, is_client_id
from ordering.mail.outbox import Mail, MailEvent, Outbox
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import does
from ordering_tools.operations.mail import ORDER, order_named
from ordering_tools.operations.tokens import user_of

TARGETS = (
    EcardStatus.READY,
    EcardStatus.PARTIALLY_DELIVERED,
    EcardStatus.DELIVERED,
    EcardStatus.CANCELLED,
)
"""What an order can be moved to by hand; money alone makes it Payed."""


HANDING_OVER = ECARDS.sources(EcardStatus.PARTIALLY_DELIVERED)
"""From where some certificates of an order can be handed over."""

LARGEST_PAYMENT = Decimal(10) ** 12


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    orders = _group(commands, "order", "orders, and what has become of them")
    shown = orders.add_parser("show", help="what happened to an order and its mails, oldest first")
    shown.add_argument("order", nargs="+", help=ORDER)
    does(shown, run_show)
    move = orders.add_parser("move", help="take an order of e-cards to another status")
    move.add_argument("company", help="the company's id, for instance granite-rewards in the demo data")
    move.add_argument("order", help="the order's id, a UUID")
    move.add_argument("--to", required=True, choices=[str(target) for target in TARGETS])
    move.add_argument("--count", type=int, default=1, help="how many certificates were handed over, for some of them")
    does(move, run_move)

    balances = _group(commands, "balance", "balances of companies")
    top_up = balances.add_parser("top-up", help="pay in; waiting orders are paid for, oldest first")
    top_up.add_argument("company")
    top_up.add_argument("amount", type=_amount)
    top_up.add_argument("--operation", required=True, help="your name for this payment: repeated, it changes nothing")
    does(top_up, run_top_up)
    show = balances.add_parser("show", help="the balance and its ledger")
    show.add_argument("company")
    does(show, run_balance)

    stocks = _group(commands, "stock", "certificates in stock")
    load = stocks.add_parser("load", help="add certificates; orders that wait for them get theirs, oldest first")
    load.add_argument("codes", type=Path, help="a file with a code on each line")
    load.add_argument("--batch", required=True, help="your name for this load: repeated, it changes nothing")
    load.add_argument("--kms", default="alias/CertificatesKey", help="the key that seals codes (%(default)s)")
    count = stocks.add_parser("show", help="how many certificates are free")
    for parser in (load, count):
        parser.add_argument("--card", type=int, required=True)
        parser.add_argument("--face-value", required=True, help='its name, for instance "100 ₽"')
    does(load, run_load)
    does(count, run_stock)

    clients = _group(commands, "client", "clients of the token endpoint")
    add = clients.add_parser("add", help="register a client; prints its secret, which is kept nowhere")
    add.add_argument("client", help="its id")
    add.add_argument("--partner", required=True)
    add.add_argument("--user", help="the id of the partner's user; may be left out if there is only one")
    add.add_argument("--scope", action="append", help="a grant to cover, once for each; by default all")
    does(add, run_client)
    secret = clients.add_parser("secret", help="print a new secret; the one before it stays good")
    secret.add_argument("client")
    does(secret, run_secret)


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount") from None


def run_show(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print how far an order and its mails have come, and how they came there."""
    name = order_named(arguments.order)
    story = read_history(installation.orders, name)
    if story is None:
        raise NotDone(f"there is no order {' '.join(arguments.order)}")
    mails = Outbox(installation.orders).mails(name)
    moments = [(moment.at, str(moment.status)) for moment in story.moments]
    moments += [(event.at, _described(mail, event)) for mail in mails for event in mail.events]
    print(f"{name} of {story.partner} is {story.moments[-1].status}{_handed(installation, name)}")
    for mail in mails:
        print(f"mail {mail.number}, with {mail.contents:,} codes, is {mail.state}")
    for at, text in sorted(moments, key=lambda moment: moment[0]):
        print(f"{at:%Y-%m-%d %H:%M:%SZ}  {text}")


def run_move(installation: Installation, arguments: argparse.Namespace) -> None:
    """Move an order and print what it came to."""
    order = move(installation, arguments.company, arguments.order, EcardStatus(arguments.to), arguments.count)
    print(f"order {order.number} is {order.status}, {order.delivered} of {order.quantity} certificates handed over")


def run_top_up(installation: Installation, arguments: argparse.Namespace) -> None:
    """Pay in and print the balance."""
    _known(installation, arguments.company)
    if not arguments.amount.is_finite() or abs(arguments.amount) > LARGEST_PAYMENT:
        raise NotDone(f"{arguments.amount} cannot be paid in: at most {LARGEST_PAYMENT:,} at once")
    orders = EcardOrders(installation.orders, arguments.company)
    orders.top_up(arguments.operation, arguments.amount)
    print(orders.balance.amount())


def run_balance(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a balance with its ledger."""
    _known(installation, arguments.company)
    balance = EcardOrders(installation.orders, arguments.company).balance
    for entry in balance.entries():
        print(f"{entry.at:%Y-%m-%d %H:%M:%SZ} {entry.amount:>12} {entry.purpose}")
    print(balance.amount())


def run_load(installation: Installation, arguments: argparse.Namespace) -> None:
    """Load certificates and print how many are free after orders got theirs."""
    codes = [line.strip() for line in arguments.codes.read_text().splitlines() if line.strip()]
    stock = Stock(arguments.card, arguments.face_value)
    load(installation, stock, arguments.batch, codes, arguments.kms)
    run_stock(installation, arguments)


def run_stock(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print how many certificates are free."""
    stock = Stock(arguments.card, arguments.face_value)
    print(f"{read_shelves(installation.orders, [stock])[stock].count} free")


def run_client(installation: Installation, arguments: argparse.Namespace) -> None:
    """Register a client and print its secret."""
    print(add_client(installation, arguments.client, arguments.partner, arguments.user, arguments.scope))


def run_secret(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a client's new secret."""
    try:
        print(Clients(installation.accounts).replace_secret(arguments.client))
    except LookupError:
        raise NotDone(f"there is no client '{arguments.client}'") from None


def move(installation: Installation, company: str, order_id: str, target: EcardStatus, count: int = 1) -> EcardOrder:
    """Take an order to a status by hand, and return it as it then is.

    Raises:
        NotDone: It is no order, stock is short, so that the order waits for it, or no order is moved there by hand.
        OrderingError: There is no such order, or it cannot be moved like that.
    """
    orders = EcardOrders(installation.orders, company)
    canonical = canonical_uuid(order_id)
    if canonical is None:
        raise NotDone(f"{order_id} is no order's id, which is a UUID")
    order = orders.order(canonical)
    match target:
        case EcardStatus.CANCELLED:
            return orders.cancel(order.id)
        case EcardStatus.READY:
            return _ready(orders, order)
        case EcardStatus.PARTIALLY_DELIVERED | EcardStatus.DELIVERED:
            return _hand_over(orders, order, target, count)
        case EcardStatus.CREATED | EcardStatus.PAYED | EcardStatus.AWAITING:
            raise NotDone(f"an order is not moved to {target} by hand")
        case unknown:
            assert_never(unknown)


def _hand_over(orders: EcardOrders, order: EcardOrder, target: EcardStatus, count: int) -> EcardOrder:
    left = order.quantity - order.delivered
    if not left:
        raise NotDone(f"order {order.number} is {order.status}: all its certificates are handed over")
    if target is EcardStatus.PARTIALLY_DELIVERED and order.status in HANDING_OVER and count >= left:
        raise NotDone(f"order {order.number} has {left} left to hand over; for all of them say --to Delivered")
    return orders.hand_over(order, left if target is EcardStatus.DELIVERED else count)


def _described(mail: Mail, event: MailEvent) -> str:
    return f"mail {mail.number} {event.type}{f': {event.reason}' if event.reason else ''}"


def _handed(installation: Installation, name: str) -> str:
    partition, sort = key_of(name)
    item = installation.orders.get((partition, sort)) if order_of(partition) else None
    if item is None:
        return ""
    order = read_order(item)
    in_transit = f", {order.in_transit} in transit" if order.in_transit else ""
    return f": {order.delivered} of {order.quantity} certificates handed over{in_transit}"


def _ready(orders: EcardOrders, order: EcardOrder) -> EcardOrder:
    after = orders.carry_on(order.id)
    if after.status is EcardStatus.AWAITING and after.parked:
        raise NotDone(f"order {order.number} waits for certificates of {after.parked}; load some")
    if after.status is not EcardStatus.READY or order.status is EcardStatus.READY:
        raise NotDone(f"order {order.number} is {after.status}")
    return after


def load(installation: Installation, stock: Stock, batch: str, codes: Sequence[str], kms_id: str) -> None:
    """Add certificates to a stock, and move on the orders that waited for them.

    Raises:
        NotDone: A code is there twice.
    """
    try:
        Certificates(installation.orders, EnvelopeSealer(installation.kms, kms_id)).load(stock, batch, codes)
    except Duplicates as duplicates:
        lines = ", ".join(str(index + 1) for index in duplicates.indexes)
        raise NotDone(f"codes that came before in the file, by number: {lines}") from None
    Assignment(installation.orders).assign_parked(stock)


def add_client(
    installation: Installation, client_id: str, partner_id: str, user: str | None, scope: Sequence[str] | None
) -> str:
    """Register a client and return its secret.

    Raises:
        NotDone: There is no such partner or grant, or there is such a client.
        NotIssued: There is no such user, or none was named and there is not exactly one.
    """
    partner = _known(installation, partner_id)
    wanted = frozenset(scope or partner.grants)
    if beyond := sorted(wanted - partner.grants):
        raise NotDone(f"{partner_id} is not granted {', '.join(beyond)}")
    if not is_client_id(client_id):
        raise NotDone("a client's id has 1 to 64 letters, digits, '.', '-' and '_'")
    try:
        return Clients(installation.accounts).add(Client(client_id, partner_id, user_of(partner, user), wanted))
    except ConditionFailed:
        raise NotDone(f"there is a client '{client_id}'; `secret` gives it a new one") from None


def _known(installation: Installation, partner_id: str) -> Partner:
    partner = Accounts(installation.accounts).partner(partner_id)
    if partner is None:
        raise NotDone(f"there is no partner '{partner_id}'")
    return partner
