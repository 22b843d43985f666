"""Mails the access keys of a training order to its contact: all of them in one mail, once the order is completed."""

from __future__ import annotations

from dataclasses import dataclass

from ordering.aws.dynamodb import Table
from ordering.aws.ses import Letter
from ordering.clock import Deadline
from ordering.mail.mailing import leave_time, until_done
from ordering.mail.outbox import Outbox
from ordering.sealing import Sealer
from ordering.training.letters import KEYS_AT_MOST, keys_letter
from ordering.training.orders import find_order, id_of, keys_of
from ordering.training.statuses import TrainingStatus

ONLY = 1
"""The number of the one mail that a training order has."""


@dataclass(frozen=True, slots=True)
class TrainingMailer:
    """Mails the access keys of training orders, for one invocation.

    Args:
        table: The orders table.
        sealer: Opens access keys.
    """

    table: Table
    outbox: Outbox
    sealer: Sealer
    deadline: Deadline

    def deliver(self, order: str) -> None:
        """Mail an order's access keys, if they are to be mailed and were not; see `Mailer.deliver`.

        Raises:
            ValueError: The name is not one of a training order.
        """
        until_done(lambda: self._mail_keys(order, id_of(order)), self.table.pauses())

    def _mail_keys(self, name: str, order_id: int) -> bool:
        found = find_order(self.table, order_id)
        if found is None:
            return True
        order, lines = found
        if order.status is not TrainingStatus.COMPLETED or not order.email_keys:
            return True
        mail = self.outbox.mail(name, ONLY)
        if mail.done:
            return True
        keys = keys_of(self.table, order_id, lines, self.sealer)

        def compose() -> Letter:
            leave_time(self.deadline)
            opened = keys.page(0, keys.seats) if keys.seats <= KEYS_AT_MOST else ()
            return keys_letter(order, lines, opened)

        self.outbox.send(mail, keys.seats, compose)
        return True
