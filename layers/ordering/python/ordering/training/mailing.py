"""Mails the access keys of a training order to its contact: all of them in one mail, once the order is completed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ordering.addresses import link_uri
from ordering.aws.dynamodb import Table
from ordering.aws.ses import Letter
from ordering.clock import Deadline
from ordering.mail.letters import Block, Codes, Heading, Link, Paragraph, Section, letter, one_line
from ordering.mail.mailing import leave_time, until_done
from ordering.mail.outbox import Outbox
from ordering.sealing import Sealer
from ordering.training.access_keys import IssuedKey
from ordering.training.orders import OrderLine, TrainingOrder, find_order, id_of, keys_of
from ordering.training.statuses import TrainingStatus
from ordering.values import Value

ONLY = 1
"""The number of the one mail that a training order has."""

KEYS_AT_MOST = 20_000
"""Keys in one mail, so that its recipient can open it."""

_FEEDBACK = "Leave feedback"


class TrainingMailer(Value):
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
        """Mail an order's access keys, if the order requests it and they were not mailed yet; see `Mailer.deliver`.

        Raises:
            ValueError: The name does not name a training order.
        """
        until_done(lambda: self._mail_keys(order, id_of(order)), self.table.pauses())

    def _mail_keys(self, name: str, order_id: int) -> bool:
        found = find_order(self.table, order_id)
        if found is None:
            return True
        order, lines = found
        if order.status is not TrainingStatus.COMPLETED or not order.email_keys:
            return True
        mail = self.outbox.mail(name, ONLY, order.correlation)
        if mail.done:
            return True
        keys = keys_of(self.table, order_id, lines, self.sealer)

        def compose() -> Letter:
            leave_time(self.deadline)
            opened = keys.page(0, keys.seats) if keys.seats <= KEYS_AT_MOST else ()
            return keys_letter(order, lines, opened)

        self.outbox.send(mail, keys.seats, compose)
        return True


def keys_letter(order: TrainingOrder, lines: Sequence[OrderLine], keys: Iterable[IssuedKey]) -> Letter:
    """Return the letter with an order's access keys, in the order of its lines and seats.

    Args:
        keys: All keys of the order; not read if there are more than `KEYS_AT_MOST`.
    """
    seats = sum(line.quantity for line in lines)
    reference = one_line(order.reference)
    blocks: list[Block] = [
        Heading("Your access keys"),
        Paragraph(f"Order reference: {reference}"),
        Paragraph(f"Order number: {order.id}"),
    ]
    by_line: dict[int, list[str]] = {line.number: [] for line in lines}
    if seats > KEYS_AT_MOST:
        request = f"GET /api/v2/orders/{order.id}/keys"
        blocks.append(Paragraph(f"All {seats:,} keys are issued, too many for one email. Read them with {request}."))
    else:
        for key in keys:
            by_line[key.line].append(key.key)
    for line in lines:
        blocks += _line_blocks(line, by_line[line.number])
    return letter(order.contact_email, f"Access keys of your order {reference}", blocks)


def _line_blocks(line: OrderLine, keys: Sequence[str]) -> Iterator[Block]:
    seats = "1 access key" if line.quantity == 1 else f"{line.quantity:,} access keys"
    yield Section(f"{one_line(line.description)}: {seats}")
    if keys:
        yield Codes(keys)
    if line.enable_feedback_link and line.feedback_link_uri:
        # Orders of earlier releases have texts that are no links.
        uri = link_uri(line.feedback_link_uri) or one_line(line.feedback_link_uri)
        yield Link(one_line(line.feedback_link_text or "") or _FEEDBACK, uri)
