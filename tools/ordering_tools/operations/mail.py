"""`ordering mail`: the mails that the local run has sent, which nobody gets, and mails that are to be sent again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ordering.book.names import key_of
from ordering.ecards.records import order_of, read_order
from ordering.ecards.statuses import EcardStatus
from ordering.identifiers import canonical_uuid
from ordering.mail.mailing import to_message
from ordering.mail.outbox import Mail as OrderMail
from ordering.mail.outbox import Outbox
from ordering_tools.installation import Installation, NoInstallation, NotDone
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.local.engine.state import find
from ordering_tools.operations.commands import does

ORDER = "a training order's id, or the company and the UUID of an order of e-cards"
"""How an order is typed."""


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    does(commands.add_parser("list", help="what was sent, oldest first"), run_list)
    show = commands.add_parser("show", help="a mail as it was sent")
    show.add_argument("number", nargs="?", type=int, help="its number in the list (the last)")
    does(show, run_show)
    again = commands.add_parser("again", help="let a mail of an order be sent again that SES refused")
    again.add_argument("order", nargs="+", help=ORDER)
    again.add_argument("--mail", type=int, help="its number among the order's mails (the last)")
    again.add_argument("--force", action="store_true", help="also if it was sent, for instance if it bounced")
    does(again, run_again)


def run_list(_: Installation, arguments: argparse.Namespace) -> None:
    """Print the mails, a line each."""
    for number, mail in enumerate(_mails(arguments), 1):
        print(f"{number:>3}  {mail.at:%Y-%m-%d %H:%M:%SZ}  {', '.join(mail.recipients)}  {mail.subject}")


def run_show(_: Installation, arguments: argparse.Namespace) -> None:
    """Print a mail."""
    mails = _mails(arguments)
    number = len(mails) if arguments.number is None else arguments.number
    if not 1 <= number <= len(mails):
        raise NotDone(f"there is no mail {number}; there are {len(mails)}" if mails else "no mail was sent")
    mail = mails[number - 1]
    print(f"Date: {mail.at:%Y-%m-%d %H:%M:%SZ}\nFrom: {mail.sender}\nTo: {', '.join(mail.recipients)}")
    print(f"Subject: {mail.subject}\n\n{mail.text or mail.html}")


def run_again(installation: Installation, arguments: argparse.Namespace) -> None:
    """Let a mail be sent again, and say which."""
    mail = again(installation, order_named(arguments.order), arguments.mail, force=arguments.force)
    print(f"mail {mail.number} of {mail.order} is on the queue")


def again(installation: Installation, name: str, number: int | None = None, *, force: bool = False) -> OrderMail:
    """Let a mail of an order be sent again, the last if none is named.

    Raises:
        NotDone: The order has no such mail, or what was in it goes another way.
        Conflict: It was sent, and nothing is forced.
    """
    outbox = Outbox(installation.orders)
    mails = outbox.mails(name)
    wanted = [mail for mail in mails if number in {None, mail.number}]
    if not wanted:
        raise NotDone(f"{name} has no mail{'' if number is None else f' {number}'}; there are {len(mails)}")
    _check_certificates(installation, wanted[-1])
    mail = outbox.again(name, wanted[-1].number, force=force)
    installation.mail_queue(to_message(name), 0)
    return mail


def order_named(words: Sequence[str]) -> str:
    """Return the name of an order by how it is typed: see `ORDER`.

    Raises:
        NotDone: So no order is named.
    """
    match [*words]:
        case [number] if number.isascii() and number.isdigit():
            return f"training#{int(number)}"
        case [company, order] if (order_id := canonical_uuid(order)) is not None:
            return f"ecards#{company}#{order_id}"
    raise NotDone(f"{' '.join(words)} is no order: {ORDER}")


def _check_certificates(installation: Installation, mail: OrderMail) -> None:
    """Refuse to mail certificates that are to be mailed by nobody, or by another mail."""
    partition, sort = key_of(mail.order)
    if order_of(partition) is None:
        return
    item = installation.orders.get((partition, sort))
    if item is None:
        raise NotDone(f"there is no order {mail.order}")
    order = read_order(item)
    if order.status is EcardStatus.CANCELLED:
        raise NotDone(f"{mail.order} is {order.status}: none of its certificates is mailed any more")
    if mail.number <= order.delivered < mail.number + mail.contents - 1:
        raise NotDone(f"some certificates of mail {mail.number} were handed over by hand; the others get another mail")


def _mails(arguments: argparse.Namespace) -> list[Mail]:
    running = find(arguments.state)
    if running is None:
        raise NoInstallation("the local run is not running; start it with `make serve`")
    return sent_mails(running.services)
