"""Sends the mails that orders require, driven by a queue.

Messages arrive at least once and in any order. A message only says that an order may have something to mail; the order
and its mails say what. So a duplicate or a late message does no harm, and a retry after a crash continues where the
crashed attempt stopped.

Each context decides what its orders mail: `Mailing` passes an order's name to the `Mailer` of its kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ordering.aws.ses import LONGEST_CALL, MailRefused
from ordering.book.names import kind_of
from ordering.clock import Deadline
from ordering.errors import Conflict, OrderingError, Unavailable
from ordering.logs import about
from ordering.values import Value

ONE_MAIL = LONGEST_CALL + 10.0
"""Seconds that one mail takes at most: the call to SES, and the reads and writes around it."""


class OutOfTime(Unavailable):
    """The invocation has no time for one more mail. The message must be retried."""


class UnknownKind(OrderingError):
    """An order is of a kind that has no mails."""


class Mailer(Protocol):
    """Sends the mails of one kind of order, for one invocation."""

    def deliver(self, order: str) -> None:
        """Send what an order, by its name, has to mail now. An unknown order has nothing to mail.

        Raises:
            MailInFlight: An earlier attempt at a mail has no known outcome yet. The message must be retried, later.
            Unavailable: Mails are left, or may be. The message must be retried.
        """


class Mailing(Value):
    """Sends the mails of all orders, for one invocation.

    Args:
        mailers: By the kind of order.
    """

    mailers: Mapping[str, Mailer]

    def handle(self, body: str) -> None:
        """Process a message of the queue; see `deliver`."""
        self.deliver(from_message(body))

    def deliver(self, order: str) -> None:
        """Send what an order, by its name, has to mail now; see `Mailer.deliver`.

        Raises:
            UnknownKind: No context mails orders of its kind.
        """
        mailer = self.mailers.get(kind_of(order))
        if mailer is None:
            raise UnknownKind(f"no mails are sent for {order!r}")
        with about(order=order):
            mailer.deliver(order)


def until_done(step: Callable[[], bool], pauses: Iterator[None]) -> None:
    """Call a step until it returns True.

    Args:
        pauses: Waits before a step that is repeated after a conflict; see `Table.pauses`.
    """
    done = False
    while not done:
        try:
            done = step()
        except Conflict:
            next(pauses)  # another consumer works on the same order
        except MailRefused:
            continue  # the outbox has recorded it: the next step reads that


def leave_time(deadline: Deadline) -> None:
    """Check that there is time for one more mail.

    Raises:
        OutOfTime: There is not.
    """
    if deadline.remaining() < ONE_MAIL:
        raise OutOfTime


def to_message(order: str) -> str:
    """Return the body of the message that an order, by its name, may have something to mail."""
    return json.dumps({"order": order}, separators=(",", ":"))


def from_message(body: str) -> str:
    """Return the order's name that `to_message` wrote."""
    order: str = json.loads(body)["order"]
    return order
