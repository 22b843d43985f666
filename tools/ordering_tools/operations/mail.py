"""`ordering mail`: lists and shows the mails of orders, and sends them again.

The local run keeps all mails that are sent, and delivers none. A stack in AWS has only what became of each mail of an
order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import click

from ordering.addresses import is_email_address
from ordering.book.names import key_of
from ordering.book.search import SearchedBy, search
from ordering.clock import system_clock
from ordering.ecards.records import order_of, read_order
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict, NotFound
from ordering.mail.mailing import to_message
from ordering.mail.outbox import Mail as OrderMail
from ordering.mail.outbox import MailState, Outbox
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.operations.commands import Group, Run, Since, pass_run, with_reason
from ordering_tools.operations.finding import DEALS, ORDER, Order, order_named, read_named
from ordering_tools.operations.tracing import Account, mail_moment, mail_row

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
_LOOK_BACK = timedelta(days=1)
"""How far `--refused` looks back without `--since`."""


class _NotSent(Exception):
    """The mail that a command names has not been sent."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering mail list --order 51
  ordering mail again 51 --to ann@example.com --reason "ticket 17"
  ordering mail again --refused --since 2h
""",
)
def group() -> None:
    """List and show the mails of orders, and send them again."""


@group.command("list")
@click.option("--order", metavar="ORDER", help="The mails of an order, and what became of them.")
@click.option("--refused", is_flag=True, help="The mails that SES refused.")
@click.option("--since", type=Since(), help="With --refused: since then, 2h, 3d or a date; else for a day.")
@pass_run
def list_mails(run: Run, order: str | None, since: datetime | None, *, refused: bool) -> None:
    """List mails. Without an option, those that the local run has kept instead of delivering them."""
    if since and not refused:
        raise click.UsageError("--since goes with --refused")
    if order is not None:
        named = _with_mails(run.site, order)
        run.output.rows(list(map(mail_row, Outbox(run.site.orders).mails(named.name))), empty="no mails")
    elif refused:
        found = _refused(run.site, since or system_clock() - _LOOK_BACK)
        rows = [
            {"order": named.label, "mail": mail.number, "at": mail.events[-1].at, "reason": mail.refusal}
            for named, mail in found
        ]
        run.output.rows(rows, empty="no refused mails")
    else:
        rows = [
            {"number": number, "at": mail.at, "to": list(mail.recipients), "subject": mail.subject}
            for number, mail in enumerate(_mails(run.site), 1)
        ]
        run.output.rows(rows, empty="no mail has been sent")


@group.command()
@click.argument("number", type=int, required=False, help="The mail's number in the list; default: the last.")
@click.option("--order", metavar="ORDER", help="The last mail of an order.")
@click.option("--wait", is_flag=True, help=f"Wait until the mail has been sent, at most {_WAIT_SECONDS:.0f} seconds.")
@pass_run
def show(run: Run, number: int | None, order: str | None, *, wait: bool) -> None:
    """Show a mail as it was sent, by its NUMBER in the list, by default the last one.

    A stack in AWS keeps no mails: there it shows what became of the last mail of an order.
    """
    if number is not None and order is not None:
        raise click.UsageError("name either a number in the list, or an order with --order")
    named = _with_mails(run.site, order) if order is not None else None
    mail = _waited(run.site, number, named, wait=wait)
    if isinstance(mail, Account):
        mail.print(run.output)
    elif run.json:
        run.output.document(mail)
    else:
        run.output.line(f"Date: {mail.at:%Y-%m-%d %H:%M:%SZ}\nFrom: {mail.sender}\nTo: {', '.join(mail.recipients)}")
        run.output.line(f"Subject: {mail.subject}\n\n{mail.text or mail.html}")


@group.command("again")
@click.argument("order", required=False, help=ORDER)
@click.option("--refused", is_flag=True, help="All mails that SES refused, instead of those of one order.")
@click.option("--since", type=Since(), help="With --refused: since then, 2h, 3d or a date; else for a day.")
@click.option("--mail", "number", type=int, help="The mail's number among the order's mails; by default the last.")
@click.option("--to", metavar="ADDRESS", help="The corrected address; later mails of the order go there as well.")
@click.option("--force", is_flag=True, help="Even if it was sent, to the same address or another.")
@with_reason
@pass_run
def send_again(  # noqa: PLR0913 - the command's options
    run: Run,
    order: str | None,
    reason: str,
    *,
    refused: bool,
    since: datetime | None,
    number: int | None,
    to: str | None,
    force: bool,
) -> None:
    """Send a mail again that SES refused, or that bounced; or all refused ones."""
    if (order is None) != refused:
        raise click.UsageError("name either an order, or --refused")
    if refused and (number is not None or to is not None or force):
        raise click.UsageError("--mail, --to and --force go with an order")
    if since and not refused:
        raise click.UsageError("--since goes with --refused")
    if order is None:
        _again_refused(run, since or system_clock() - _LOOK_BACK, reason)
        return
    named = _with_mails(run.site, order)
    wanted = check_again(run.site, named, number, to=to)
    before = {"state": str(wanted.state), "to": wanted.corrected[-1][1] if wanted.corrected else ""}
    with run.change(named.subject, reason, before=before, after={"mail": wanted.number, "to": to or ""}) as site:
        mail = again(site, named, wanted.number, to=to, reason=reason, force=force)
    run.output.line(f"mail {mail.number} of order {named.label} is on the queue{f', to {to}' if to else ''}")
    if run.json:
        run.output.document({"order": named.label, "mail": mail.number, "to": to})


def again(  # noqa: PLR0913 - the command's arguments
    site: Installation,
    named: Order,
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
    wanted = check_again(site, named, number, to=to)
    outbox = Outbox(site.orders)
    try:
        mail = outbox.again(named.name, wanted.number, to=to, reason=reason, force=force)
    except Conflict as conflict:
        mail = outbox.mail(named.name, wanted.number)
        if mail.state is not MailState.SENT:
            raise
        advice = "use --to for a corrected address, or --force for the same one" if mail.bounced else "use --force"
        state = "was sent and bounced" if mail.bounced else "was sent"
        raise NotDone(f"mail {mail.number} of order {named.label} {state}; to send it again, {advice}") from conflict
    site.mail_queue(to_message(named.name), 0)
    return mail


def check_again(site: Installation, named: Order, number: int | None, *, to: str | None = None) -> OrderMail:
    """Return the mail that is to be sent again; `number` is None for the order's last mail.

    Raises:
        NotDone: The order has no such mail, or its certificates are not to be sent by this mail any more.
        ValueError: `to` is malformed.
    """
    if to is not None and not is_email_address(to):
        raise ValueError(f"'{to}' is not a valid email address")
    mails = Outbox(site.orders).mails(named.name)
    wanted = [mail for mail in mails if number in {None, mail.number}]
    if not wanted:
        raise NotDone(f"order {named.label} has no mail{'' if number is None else f' {number}'}; it has {len(mails)}")
    _check_certificates(site, named, wanted[-1])
    return wanted[-1]


def _again_refused(run: Run, since: datetime, reason: str) -> None:
    """Put all refused mails on the queue again, and print those that cannot be sent."""
    found = list(_refused(run.site, since))
    sent, left = 0, []
    if found:
        with (
            run.change(f"mails {len(found)} that SES refused since {since:%Y-%m-%d %H:%M:%SZ}", reason) as site,
            run.output.progress("mails", len(found)) as advance,
        ):
            for named, mail in found:
                try:
                    again(_noting(site, named), named, mail.number, reason=reason)
                except (NotDone, Conflict, NotFound) as refusal:
                    left.append({"order": named.label, "mail": mail.number, "why": str(refusal)})
                else:
                    sent += 1
                advance(1)
    if run.json:
        run.output.document({"queued": sent, "notQueued": left})
        return
    run.output.line(f"{sent} of {len(found)} refused mails are on the queue" if found else "no refused mails")
    if left:
        run.output.rows(left)


def _noting(site: Installation, named: Order) -> Installation:
    """Return the installation with an entry of the audit trail for one of the orders that a command changes."""
    if site.entry is None:
        return site
    return site.with_entry(replace(site.entry, subject=named.subject, id=secrets.token_hex(4)))


def _refused(site: Installation, since: datetime) -> Iterator[tuple[Order, OrderMail]]:
    """Yield the mails that SES refused, newest first, each with its order."""
    outbox = Outbox(site.orders)
    for partition, sort in search(site.orders, SearchedBy.MAILS, MailState.REFUSED, since):
        mail = outbox.mail(partition.partition("#")[2], int(sort))
        named = read_named(site, mail.order)
        if named and mail.state is MailState.REFUSED:  # the index is a moment behind the table
            yield named, mail


def _with_mails(site: Installation, text: str) -> Order:
    """Find an order whose kind has mails.

    Raises:
        NotDone: There is no such order, or it is a deal order.
    """
    named = order_named(site, text)
    if named.kind == DEALS:
        raise NotDone(f"order {named.label} is a deal order, which has no mails")
    return named


def _waited(site: Installation, number: int | None, named: Order | None, *, wait: bool) -> Mail | Account:
    """Return the mail that a command names; with `wait`, once it has been sent.

    Raises:
        NotDone: It has not been sent.
    """
    deadline = time.monotonic() + (_WAIT_SECONDS if wait else 0)
    while True:
        try:
            return _chosen(site, number, named) if site.local else _last_of(site, named)
        except _NotSent as missing:
            if time.monotonic() >= deadline:
                raise NotDone(str(missing)) from missing
        time.sleep(_POLL_SECONDS)


def _chosen(site: Installation, number: int | None, named: Order | None) -> Mail:
    """Return a mail that the local run has kept.

    Raises:
        _NotSent: It has not been sent.
    """
    mails = _mails(site)
    if named:
        ids = [mail.message_id for mail in Outbox(site.orders).mails(named.name) if mail.message_id]
        mails = [mail for mail in mails if mail.id in ids]
        if not mails:
            raise _NotSent(f"no mail of order {named.label} has been sent; --wait waits for one")
    number = len(mails) if number is None else number
    if not 1 <= number <= len(mails):
        raise _NotSent(f"there is no mail {number}; there are {len(mails)}" if mails else "no mail has been sent")
    return mails[number - 1]


def _last_of(site: Installation, named: Order | None) -> Account:
    """Return what became of the last mail of an order.

    Raises:
        _NotSent: It has not been sent.
        NotDone: No order is named.
    """
    if named is None:
        raise NotDone("a stack in AWS keeps no mails; name an order with --order")
    mails = Outbox(site.orders).mails(named.name)
    if not mails or not mails[-1].message_id:
        raise _NotSent(f"no mail of order {named.label} has been sent; --wait waits for one")
    mail = mails[-1]
    history = [mail_moment(mail, event) for event in mail.events]
    return Account({"order": named.label, **mail_row(mail), "messageId": mail.message_id}, {"history": history})


def _check_certificates(site: Installation, named: Order, mail: OrderMail) -> None:
    """Refuse to mail certificates of a cancelled order, and those that another mail is to send."""
    partition, sort = key_of(mail.order)
    if order_of(partition) is None:
        return
    item = site.orders.get((partition, sort))
    if item is None:
        raise NotDone(f"there is no order {named.label}")
    order = read_order(item)
    if order.status is EcardStatus.CANCELLED:
        raise NotDone(f"order {named.label} is {order.status}: its certificates are not mailed any more")
    if mail.number <= order.delivered < mail.number + mail.contents - 1:
        raise NotDone(
            f"some certificates of mail {mail.number} were handed over by hand; another mail sends the others"
        )


def _mails(site: Installation) -> list[Mail]:
    """Return the mails that the local run has kept, oldest first.

    Raises:
        NotDone: This is a stack in AWS.
    """
    if site.running is None:
        raise NotDone("a stack in AWS keeps no mails; name an order with --order, or ask for --refused ones")
    return sent_mails(site.running.services)
