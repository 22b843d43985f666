"""`ordering mail`: lists the mails of the local run, which are kept and not delivered, and sends mails again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from ordering.book.names import key_of
from ordering.ecards.records import order_of, read_order
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict
from ordering.identifiers import canonical_uuid
from ordering.mail.mailing import to_message
from ordering.mail.outbox import Mail as OrderMail
from ordering.mail.outbox import MailState, Outbox
from ordering_tools.installation import Installation, NotDone, running_at
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.operations.commands import set_action

ORDER = "the id of a training order, or the company and the UUID of an e-card order"
"""The help on arguments that name an order."""

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2


class _NotSent(Exception):
    """The mail that a command names has not been sent."""


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    set_action(commands.add_parser("list", help="list the sent mails, oldest first"), run_list)
    show = commands.add_parser("show", help="show a mail as it was sent")
    which = show.add_mutually_exclusive_group()
    which.add_argument("number", nargs="?", type=int, help="its number in the list (default: the last)")
    which.add_argument("--order", nargs="+", metavar="ID", help=f"the last mail of an order: {ORDER}")
    show.add_argument(
        "--wait",
        action="store_true",
        help=f"wait until the mail has been sent, at most {_WAIT_SECONDS:.0f} seconds",
    )
    set_action(show, run_show)
    again = commands.add_parser("again", help="send a mail again that SES refused, or that bounced")
    again.add_argument("order", nargs="+", help=ORDER)
    again.add_argument("--mail", type=int, help="its number among the order's mails (default: the last)")
    again.add_argument(
        "--to", metavar="ADDRESS", help="the corrected address; later mails of the order go there as well"
    )
    again.add_argument("--reason", default="", help="kept in the order's history, for instance a ticket's number")
    again.add_argument("--force", action="store_true", help="even if it was sent, to the same address or another")
    set_action(again, run_again)


def run_list(_: Installation, arguments: argparse.Namespace) -> None:
    """Print the mails, a line each."""
    for number, mail in enumerate(_mails(arguments), 1):
        print(f"{number:>3}  {mail.at:%Y-%m-%d %H:%M:%SZ}  {', '.join(mail.recipients)}  {mail.subject}")


def run_show(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print a mail with its header."""
    mail = _sent(installation, arguments)
    print(f"Date: {mail.at:%Y-%m-%d %H:%M:%SZ}\nFrom: {mail.sender}\nTo: {', '.join(mail.recipients)}")
    print(f"Subject: {mail.subject}\n\n{mail.text or mail.html}")


def _sent(installation: Installation, arguments: argparse.Namespace) -> Mail:
    """The mail that the arguments name; with `--wait`, once it has been sent.

    Raises:
        NotDone: It has not been sent.
    """
    deadline = time.monotonic() + (_WAIT_SECONDS if arguments.wait else 0)
    while True:
        try:
            return _chosen(installation, arguments)
        except _NotSent as missing:
            if time.monotonic() >= deadline:
                raise NotDone(str(missing)) from missing
        time.sleep(_POLL_SECONDS)


def _chosen(installation: Installation, arguments: argparse.Namespace) -> Mail:
    """The mail that the arguments name.

    Raises:
        _NotSent: It has not been sent.
    """
    mails = _mails(arguments)
    if arguments.order:
        name = order_named(arguments.order)
        ids = [mail.message_id for mail in Outbox(installation.orders).mails(name) if mail.message_id]
        mails = [mail for mail in mails if mail.id in ids]
        if not mails:
            raise _NotSent(f"no mail of {name} has been sent; --wait waits for one")
    number = len(mails) if arguments.number is None else arguments.number
    if not 1 <= number <= len(mails):
        raise _NotSent(f"there is no mail {number}; there are {len(mails)}" if mails else "no mail has been sent")
    return mails[number - 1]


def run_again(installation: Installation, arguments: argparse.Namespace) -> None:
    """Put a mail of an order on the queue again, and print which."""
    mail = again(
        installation,
        order_named(arguments.order),
        arguments.mail,
        to=arguments.to,
        reason=arguments.reason,
        force=arguments.force,
    )
    print(f"mail {mail.number} of {mail.order} is on the queue{f', to {arguments.to}' if arguments.to else ''}")


def again(  # noqa: PLR0913 - the command's arguments
    installation: Installation,
    name: str,
    number: int | None = None,
    *,
    to: str | None = None,
    reason: str = "",
    force: bool = False,
) -> OrderMail:
    """Put a mail of an order on the queue again; see `Outbox.again`. `number` is None for its last mail.

    Raises:
        NotDone: The order has no such mail, its certificates are not to be sent by this mail any more, or it was sent.
        Conflict: The mail is in flight.
        ValueError: `to` is malformed.
    """
    outbox = Outbox(installation.orders)
    mails = outbox.mails(name)
    wanted = [mail for mail in mails if number in {None, mail.number}]
    if not wanted:
        raise NotDone(f"{name} has no mail{'' if number is None else f' {number}'}; it has {len(mails)}")
    _check_certificates(installation, wanted[-1])
    try:
        mail = outbox.again(name, wanted[-1].number, to=to, reason=reason, force=force)
    except Conflict as conflict:
        mail = outbox.mail(name, wanted[-1].number)
        if mail.state is not MailState.SENT:
            raise
        advice = "use --to for a corrected address, or --force for the same one" if mail.bounced else "use --force"
        raise NotDone(f"{conflict} To send it again, {advice}.") from conflict
    installation.mail_queue(to_message(name), 0)
    return mail


def order_named(words: Sequence[str]) -> str:
    """The name of the order that a command's arguments stand for: see `ORDER`.

    Raises:
        NotDone: They cannot stand for an order.
    """
    match [*words]:
        case [number] if number.isascii() and number.isdigit():
            return f"training#{int(number)}"
        case [company, order] if (order_id := canonical_uuid(order)) is not None:
            return f"ecards#{company}#{order_id}"
    raise NotDone(f"'{' '.join(words)}' is not a valid order: name {ORDER}")


def _check_certificates(installation: Installation, mail: OrderMail) -> None:
    """Refuse to mail certificates of a cancelled order, and those that another mail is to send."""
    partition, sort = key_of(mail.order)
    if order_of(partition) is None:
        return
    item = installation.orders.get((partition, sort))
    if item is None:
        raise NotDone(f"there is no order {mail.order}")
    order = read_order(item)
    if order.status is EcardStatus.CANCELLED:
        raise NotDone(f"{mail.order} is {order.status}: its certificates are not mailed any more")
    if mail.number <= order.delivered < mail.number + mail.contents - 1:
        raise NotDone(
            f"some certificates of mail {mail.number} were handed over by hand; another mail sends the others"
        )


def _mails(arguments: argparse.Namespace) -> list[Mail]:
    return sent_mails(running_at(arguments.state).services)
