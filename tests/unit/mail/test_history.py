"""The history of an order's mails: what is recorded for the partner, once, with the change of the mail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import Table
from ordering.aws.ses import Letter, MailRefused
from ordering.errors import Unavailable
from ordering.events.types import MailMomentType
from ordering.mail.history import MailMoment, read_moments
from ordering.mail.outbox import UNSURE, MailEventType, Outbox
from support.aws.faults import Crash, Faulty, answer_lost, interrupted, lost, refused
from support.aws.memory import Memory
from support.aws.ses import MemorySes

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = "ecards#granite#00000000-0000-0000-0000-000000000001"
LETTER = Letter("ann@example.com", "Hello", "Good morning")
CORRECTED = "ann@example.org"
BOUNCED, REFUSED, SENT_AGAIN = MailMomentType


@dataclass
class Office:
    """An outbox on a table of its own."""

    now: datetime = START
    ses: MemorySes = field(default_factory=MemorySes)

    def __post_init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.table = Table(self.faulty, "OrdersTable", first_pause=0.0)
        self.outbox = Outbox(self.table, self.ses.ses.send, now=lambda: self.now)

    def send(self, number: int = 1) -> None:
        self.outbox.send(self.outbox.mail(ORDER, number), 3, lambda: LETTER)

    def refuse(self, number: int = 1) -> None:
        self.ses.meet(CallRefused("SendEmail", "MessageRejected"))
        with pytest.raises(MailRefused):
            self.send(number)

    def report(self, kind: MailEventType, why: str = "", *, mail: int = -1) -> None:
        """Handle SES's event about one of the mails that it accepted."""
        self.outbox.report(self.ses.taken[mail].told, kind, why, self.now)

    @property
    def moments(self) -> list[MailMoment]:
        return read_moments(self.table, ORDER)

    @property
    def recorded(self) -> list[tuple[MailMomentType, int]]:
        return [(moment.type, moment.mail) for moment in self.moments]


@pytest.fixture
def office() -> Office:
    return Office()


def test_a_mail_that_arrives(office: Office) -> None:
    """Sending a mail, its delivery, a delay and a complaint are not recorded, and cost no call."""
    office.send()
    before = len(office.faulty.calls)
    for kind in (MailEventType.SENT, MailEventType.DELAYED, MailEventType.DELIVERED, MailEventType.COMPLAINED):
        office.report(kind)

    assert office.faulty.calls[before:] == ["GetItem", *["GetItem", "PutItem"] * 3]
    assert office.moments == []


def test_a_mail_that_bounces(office: Office) -> None:
    """A bounce is recorded once, with its reason, however often SES reports it."""
    office.send()
    for why in ("no such mailbox", "no such mailbox", "another reason"):
        office.report(MailEventType.BOUNCED, why)

    assert office.moments == [MailMoment(BOUNCED, START, 1, "", "no such mailbox")]


def test_a_mail_that_is_refused(office: Office) -> None:
    """A refusal is recorded, be it SES's response or its event."""
    office.refuse()
    office.send(4)
    office.report(MailEventType.REFUSED, "a virus")

    assert office.recorded == [(REFUSED, 1), (REFUSED, 4)]
    assert [moment.reason for moment in office.moments] == [
        "SES rejected the mail: its content, its recipient, or a sender that is not verified.",
        "a virus",
    ]


def test_a_mail_that_is_sent_again(office: Office) -> None:
    """A resend is recorded when SES has accepted it, with the address it went to, and so is its own bounce."""
    office.send()
    office.report(MailEventType.BOUNCED)
    office.outbox.again(ORDER, 1, to=CORRECTED)
    assert office.recorded == [(BOUNCED, 1)]
    office.send()
    office.report(MailEventType.SENT)
    office.report(MailEventType.BOUNCED)

    assert [(moment.type, moment.to) for moment in office.moments] == [
        (BOUNCED, ""),
        (SENT_AGAIN, CORRECTED),
        (BOUNCED, CORRECTED),
    ]


def test_a_resend_that_bounces_before_the_mark(office: Office) -> None:
    """A resend whose bounce arrives before SES's response is recorded is recorded before its bounce, and once."""
    office.refuse()
    office.outbox.again(ORDER, 1)
    office.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unavailable):
        office.send()
    for kind in (MailEventType.BOUNCED, MailEventType.SENT):
        office.report(kind)

    assert office.recorded == [(REFUSED, 1), (SENT_AGAIN, 1), (BOUNCED, 1)]


def test_a_late_event_about_the_first_attempt(office: Office) -> None:
    """An event that SES sent the first attempt, and that arrives after the request, is no resend."""
    office.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unavailable):
        office.send()
    office.now += UNSURE
    office.refuse()
    office.outbox.again(ORDER, 1)
    office.report(MailEventType.SENT, mail=0)

    assert office.recorded == [(REFUSED, 1)]


def test_two_mails_at_once(office: Office) -> None:
    """Mails of one order that bounce at the same time are recorded one after the other, and none is lost."""
    office.send(1)
    office.send(4)
    report = interrupted(lambda: office.report(MailEventType.BOUNCED, mail=1))
    office.faulty.meet("TransactWriteItems", report)
    office.report(MailEventType.BOUNCED, mail=0)

    assert office.recorded == [(BOUNCED, 4), (BOUNCED, 1)]


def test_a_lost_response(office: Office) -> None:
    """A bounce is recorded once if the response to its write is lost."""
    office.send()
    office.faulty.meet("TransactWriteItems", answer_lost)
    office.report(MailEventType.BOUNCED)

    assert office.recorded == [(BOUNCED, 1)]


@pytest.mark.parametrize("fault", [refused, lost], ids=["before", "after"])
@pytest.mark.parametrize("step", range(3))
def test_a_crash_anywhere(office: Office, step: int, fault: Callable[[BaseException], Any]) -> None:
    """After a crash before or after any call, a bounce that SES reports again is recorded once, and counts as one."""
    office.send()
    office.faulty.meet(None, fault(Crash()), after=step)
    with pytest.raises(Crash):
        office.report(MailEventType.BOUNCED)
    office.now += timedelta(seconds=1)
    office.report(MailEventType.BOUNCED)

    assert office.recorded == [(BOUNCED, 1)]
    assert [event.type for event in office.outbox.mail(ORDER, 1).events] == [MailEventType.SENT, MailEventType.BOUNCED]
