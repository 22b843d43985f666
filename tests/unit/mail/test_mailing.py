"""How a queued message reaches the mailer for its kind of order, and what all mailers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ordering.aws.ses import MailRefused
from ordering.clock import Deadline
from ordering.errors import Conflict, Unavailable
from ordering.mail.mailing import (
    ONE_MAIL,
    Mailing,
    OutOfTime,
    UnknownKind,
    from_message,
    leave_time,
    to_message,
    until_done,
)

ORDER = "ecards#granite#00000000-0000-0000-0000-000000000001"


@dataclass
class RecordingMailer:
    """A mailer that records the orders it is asked to deliver."""

    orders: list[str] = field(default_factory=list)

    def deliver(self, order: str) -> None:
        self.orders.append(order)


def test_messages() -> None:
    """A message is the order's name in JSON."""
    assert to_message("training#1") == '{"order":"training#1"}'
    assert from_message(to_message(ORDER)) == ORDER


def test_by_kind() -> None:
    """The mailer of the order's kind gets the order's name; other mailers get nothing."""
    training, ecards = RecordingMailer(), RecordingMailer()
    Mailing({"training": training, "ecards": ecards}).handle(to_message(ORDER))

    assert (training.orders, ecards.orders) == ([], [ORDER])


@pytest.mark.parametrize("order", ["deals#1", "MAIL#x", "ecard#1", ""])
def test_unknown_kinds(order: str) -> None:
    """A message about an order of a kind without a mailer raises, so that it ends in the dead-letter queue."""
    with pytest.raises(UnknownKind, match=f"'{order}'"):
        Mailing({"training": RecordingMailer(), "ecards": RecordingMailer()}).handle(to_message(order))


def test_until_done() -> None:
    """A step is repeated until it is the last: after a pause if it raised Conflict, at once if SES refused."""
    outcomes: Iterator[bool | Exception] = iter([False, Conflict("changed"), MailRefused("no"), True, False])
    pauses = iter([None, None])

    def step() -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    until_done(step, pauses)

    assert ([*outcomes], [*pauses]) == ([False], [None])


def test_until_time_is_up() -> None:
    """Conflicts are retried only as often as there are pauses; other errors are not retried."""

    def conflict() -> bool:
        raise Conflict("changed")

    def fail() -> bool:
        raise OutOfTime

    def one_pause() -> Iterator[None]:
        yield None
        raise Unavailable

    with pytest.raises(Unavailable):
        until_done(conflict, one_pause())
    with pytest.raises(OutOfTime):
        until_done(fail, iter([]))


def test_time_for_one_more_mail() -> None:
    """Sending starts only if the deadline leaves the time one mail takes."""
    leave_time(Deadline.after(ONE_MAIL + 1))
    with pytest.raises(OutOfTime):
        leave_time(Deadline.after(ONE_MAIL - 0.01))
