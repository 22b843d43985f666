"""Mails the certificates of an e-card order to its participant, some at a time.

Each mail takes three steps. The order records how many of its next certificates are in transit; the mail is sent; the
order records that they were handed over. A mail's number is the rank of its first certificate.

Certificates in transit are out of stock for good, even if the order is cancelled, unless their mail was surely not
sent: then they are taken back. Taking back is conditional on the mail being unchanged since it was read, and claiming
the mail is conditional on the order being unchanged. So one of the two succeeds, and the other fails. A certificate
that was mailed, or may have been, never becomes free again.

A mail that SES refused blocks the mails after it until an operator requests it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from ordering import clock
from ordering.aws.dynamodb import Check, Table
from ordering.aws.ses import Letter, MailRefused
from ordering.book.names import key_of
from ordering.clock import Clock, Deadline
from ordering.ecards.certificates import Certificate, Certificates
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import EcardOrder, order_of
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict, NotFound
from ordering.mail.letters import Block, Codes, Heading, Paragraph, Section, letter, one_line
from ordering.mail.mailing import leave_time, until_done
from ordering.mail.outbox import Mail, MailInFlight, MailState, Outbox
from ordering.sealing import Sealer
from ordering.values import Value

CERTIFICATES_AT_MOST = 500
"""Most certificates in one mail."""

_MAILED = ECARDS.sources(EcardStatus.PARTIALLY_DELIVERED)
"""Statuses of orders that still have certificates to mail."""


class EcardMailer(Value):
    """Mails the certificates of e-card orders, for one invocation.

    Args:
        table: The orders table.
        sealer: Opens certificates.
    """

    table: Table
    outbox: Outbox
    sealer: Sealer
    deadline: Deadline
    now: Clock = clock.system_clock

    def deliver(self, order: str) -> None:
        """Mail an order's certificates, then the mails that an operator requested again; see `Mailer.deliver`.

        Raises:
            ValueError: The name is not one of an e-card order.
        """
        partition, _ = key_of(order)
        found = order_of(partition)
        if found is None:
            raise ValueError(f"{order!r} does not name an e-card order")
        company, order_id = found
        orders = EcardOrders(self.table, company, now=self.now)
        with suppress(NotFound):
            self._mail_certificates(order, orders, order_id)
            until_done(lambda: self._mail_again(order, orders, order_id), self.table.pauses())

    def _mail_certificates(self, name: str, orders: EcardOrders, order_id: str) -> None:
        pauses = self.table.pauses()
        order: EcardOrder | None = orders.order(order_id)
        while order:
            try:
                order = self._next_step(name, orders, order)
            except MailRefused:
                continue  # the outbox has recorded it: the next step reads that
            except Conflict:
                next(pauses)  # another consumer works on the same order, or it was cancelled
                order = orders.order(order_id)

    def _next_step(self, name: str, orders: EcardOrders, order: EcardOrder) -> EcardOrder | None:
        """Take an order's next step and return the order after it; None if no step is left."""
        if not order.in_transit and order.status not in _MAILED:
            return None
        mail = self.outbox.mail(name, order.delivered + 1, order.correlation)
        refused = mail.state is MailState.REFUSED
        if not order.in_transit:
            if refused:
                # Another consumer may have begun the mail after the order was read, and crashed after the refusal.
                now = orders.order(order.id)
                return None if now == order else now
            leave_time(self.deadline)
            return orders.begin_hand_over(order, min(CERTIFICATES_AT_MOST, order.quantity - order.delivered))
        if mail.state is not MailState.SENT and (refused or order.status is EcardStatus.CANCELLED):
            return self._give_up(mail, orders, order)
        self._send(mail, order, order.in_transit, orders.unchanged(order))
        return orders.end_hand_over(order)

    def _give_up(self, mail: Mail, orders: EcardOrders, order: EcardOrder) -> EcardOrder | None:
        """Take certificates in transit back if they were surely not sent; otherwise they stay out of stock.

        Raises:
            MailInFlight: An event of SES's may still tell the outcome; or an operator must request the mail again.
        """
        if mail.unsent:
            return orders.undo_hand_over(order, self.outbox.as_read(mail))
        left = self.outbox.remaining_wait(mail)
        if order.status is EcardStatus.CANCELLED and left <= timedelta():
            return None
        raise MailInFlight(left.total_seconds())

    def _mail_again(self, name: str, orders: EcardOrders, order_id: str) -> bool:
        """Send mails with certificates that were handed over once more, if an operator requested it."""
        requested = [mail for mail in self.outbox.mails(name) if not mail.done]
        if not requested:
            return True
        order = orders.order(order_id)
        delivered = 0 if order.status is EcardStatus.CANCELLED else order.delivered
        for mail in requested:
            if mail.number + mail.contents - 1 <= delivered:
                self._send(mail, order, mail.contents)
        return True

    def _send(self, mail: Mail, order: EcardOrder, count: int, allowed: Check | None = None) -> None:
        def compose() -> Letter:
            leave_time(self.deadline)
            held = order.certificates(mail.number - 1, count)
            opened = Certificates(self.table, self.sealer).open_all((one.stock, one.ranges) for one in held)
            return certificates_letter(order, mail.number, opened)

        self.outbox.send(mail, count, compose, allowed)


def certificates_letter(order: EcardOrder, first: int, certificates: Sequence[Certificate]) -> Letter:
    """Return the letter with some of an order's certificates.

    Args:
        first: The rank of the first certificate within the order, from 1.
    """
    last = first + len(certificates) - 1
    blocks: list[Block] = [
        Heading("Your certificates"),
        Paragraph(f"Hello {one_line(order.participant.name)},"),
        Paragraph(f"Order number: {order.number}"),
    ]
    if len(certificates) < order.quantity:
        part = f"Certificates {first:,} to {last:,} of {order.quantity:,}"
        blocks.append(Paragraph(f"{part}. The others are in separate emails."))
    names = {(line.card_id, line.face_value): line.name for line in order.lines}
    codes: dict[tuple[str, str], list[str]] = {}
    for one in certificates:
        name = names[one.stock.card_id, one.stock.face_value]
        codes.setdefault((one_line(name), one_line(one.stock.face_value)), []).append(one_line(one.code))
    for (name, face_value), shown in codes.items():
        blocks += [Section(f"{name}, {face_value}"), Codes(shown)]
    return letter(order.participant.email, f"Certificates of your order {order.number}", blocks)
