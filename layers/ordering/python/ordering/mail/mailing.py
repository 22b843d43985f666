"""Mails what orders have to mail: access keys to who ordered them, certificates to the participant.

Driven by a queue, whose messages come at least once and in any order. A message says only that there may be something
to do for an order; what that is, the order and its mails say. So a message that comes twice, or late, does no harm, and
one that comes again after a crash goes on where it was.

Certificates are mailed some at a time. First the order says how many of those that come next are on their way, then
they are mailed, then the order says that they were handed over. From the first of these on they are out of stock for
good, also if the order is cancelled, unless the mail has surely not been sent: then they are taken back. Taking back
takes place only while the mail is as it was read, claiming the mail only while the order is: one of them comes first,
and the other does not happen. So a certificate that was mailed, or may have been, is never free again. A mail's number
is the rank of its first certificate.

A mail that SES refused is not tried again before an operator wishes so, and holds up those behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from ordering import clock
from ordering.aws.dynamodb import Check, Table
from ordering.aws.ses import LONGEST_CALL, Letter, MailRefused
from ordering.book.names import key_of, kind_of
from ordering.clock import Clock, Deadline
from ordering.ecards.certificates import Certificates
from ordering.ecards.orders import EcardOrders
from ordering.ecards.records import EcardOrder, order_of
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.mail.letters import KEYS_AT_MOST, certificates_letter, keys_letter
from ordering.mail.outbox import Mail, MailInFlight, MailState, Outbox
from ordering.sealing import Sealer
from ordering.training.orders import KIND as TRAINING
from ordering.training.orders import find_order, id_of, keys_of
from ordering.training.statuses import TrainingStatus

AT_ONCE = 500
"""Certificates in one mail."""

ONE_MAIL = LONGEST_CALL + 10.0
"""Seconds that one mail takes at most: what is sent, and the reads and writes around it."""

ONLY = 1
"""The number of the one mail that a training order has."""

_MAILED = ECARDS.sources(EcardStatus.PARTIALLY_DELIVERED)
_DONE_WITH = frozenset({MailState.SENT, MailState.REFUSED})


class OutOfTime(Unavailable):
    """There is not the time for one more mail. The message must come again."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """Mails what the orders of all partners have to mail, for one invocation.

    Args:
        table: The orders table.
        sealer: Opens access keys and certificates.
    """

    table: Table
    outbox: Outbox
    sealer: Sealer
    deadline: Deadline
    now: Clock = clock.system_clock

    def handle(self, body: str) -> None:
        """Do what a message of the queue says; see `deliver`."""
        self.deliver(from_message(body))

    def deliver(self, order: str) -> None:
        """Mail what an order, by its name, has to mail now. One that has nothing is done with.

        Raises:
            OnItsWay: A mail of it may have been sent before. The message must come again, later.
            Unavailable: Mails are left, or may be. The message must come again.
        """
        partition, _ = key_of(order)
        ecards = order_of(partition)
        if kind_of(order) == TRAINING:
            self._until_done(lambda: self._mail_keys(order, id_of(order)))
        elif ecards is not None:
            company, order_id = ecards
            orders = EcardOrders(self.table, company, now=self.now)
            with suppress(NotFound):
                self._mail_certificates(order, orders, order_id)
                self._until_done(lambda: self._mail_again(order, orders, order_id))

    def _until_done(self, step: Callable[[], bool]) -> None:
        """Take one step after another until one says that it was the last."""
        pauses = self.table.pauses()
        done = False
        while not done:
            try:
                done = step()
            except Conflict:
                next(pauses)  # somebody else takes care of the same order
            except MailRefused:
                continue  # the mail keeps that: the next step sees it

    def _mail_keys(self, name: str, order_id: int) -> bool:
        found = find_order(self.table, order_id)
        if found is None:
            return True
        order, lines = found
        if order.status is not TrainingStatus.COMPLETED or not order.email_keys:
            return True
        mail = self.outbox.mail(name, ONLY)
        if mail.state in _DONE_WITH:
            return True
        keys = keys_of(self.table, order_id, lines, self.sealer)

        def compose() -> Letter:
            self._leave_time()
            opened = keys.page(0, keys.seats) if keys.seats <= KEYS_AT_MOST else ()
            return keys_letter(order, lines, opened)

        self.outbox.send(mail, keys.seats, compose)
        return True

    def _mail_certificates(self, name: str, orders: EcardOrders, order_id: str) -> None:
        pauses = self.table.pauses()
        order: EcardOrder | None = orders.order(order_id)
        while order:
            try:
                order = self._next_step(name, orders, order)
            except MailRefused:
                continue  # as above
            except Conflict:
                next(pauses)  # somebody else takes care of the same order, or it was cancelled
                order = orders.order(order_id)

    def _next_step(self, name: str, orders: EcardOrders, order: EcardOrder) -> EcardOrder | None:
        """Do what comes next for an order, and return it as it then is; None if nothing is left to do."""
        if not order.handing and order.status not in _MAILED:
            return None
        mail = self.outbox.mail(name, order.delivered + 1)
        refused = mail.state is MailState.REFUSED
        if not order.handing:
            if refused:
                # Somebody else may have put them on their way after the order was read, and died over the refusal.
                now = orders.order(order.id)
                return None if now == order else now
            self._leave_time()
            return orders.begin_hand_over(order, min(AT_ONCE, order.quantity - order.delivered))
        if mail.state is not MailState.SENT and (refused or order.status is EcardStatus.CANCELLED):
            return self._give_up(mail, orders, order)
        self._send(mail, order, order.handing, orders.unchanged(order))
        return orders.end_hand_over(order)

    def _give_up(self, mail: Mail, orders: EcardOrders, order: EcardOrder) -> EcardOrder | None:
        """Take certificates back from their way if they surely were not sent; nobody else gets those that may have.

        Raises:
            OnItsWay: SES may tell yet whether they were; or an operator must wish for the mail once more.
        """
        if mail.unsent:
            return orders.undo_hand_over(order, self.outbox.as_read(mail))
        left = self.outbox.silence(mail)
        if order.status is EcardStatus.CANCELLED and left <= timedelta():
            return None
        raise MailInFlight(left.total_seconds())

    def _mail_again(self, name: str, orders: EcardOrders, order_id: str) -> bool:
        """Mail certificates that were handed over once more, where an operator wishes so."""
        wanted = [mail for mail in self.outbox.mails(name) if mail.state not in _DONE_WITH]
        if not wanted:
            return True
        order = orders.order(order_id)
        delivered = 0 if order.status is EcardStatus.CANCELLED else order.delivered
        for mail in wanted:
            if mail.number + mail.contents - 1 <= delivered:
                self._send(mail, order, mail.contents)
        return True

    def _send(self, mail: Mail, order: EcardOrder, count: int, allowed: Check | None = None) -> None:
        def compose() -> Letter:
            self._leave_time()
            certificates = Certificates(self.table, self.sealer)
            opened = [
                certificate
                for held in order.certificates(mail.number - 1, count)
                for certificate in certificates.open(held.stock, held.ranges)
            ]
            return certificates_letter(order, mail.number, opened)

        self.outbox.send(mail, count, compose, allowed)

    def _leave_time(self) -> None:
        if self.deadline.remaining() < ONE_MAIL:
            raise OutOfTime


def to_message(order: str) -> str:
    """Write the body of the message that says there may be something to mail of an order, by its name."""
    return json.dumps({"order": order}, separators=(",", ":"))


def from_message(body: str) -> str:
    """Read back what `to_message` wrote."""
    order: str = json.loads(body)["order"]
    return order
