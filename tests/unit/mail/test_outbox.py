"""Mails are claimed, sent and marked, not repeated while their outcome is unknown, and changed by SES's events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.dynamodb import Check, NoAnswer, Put, Table
from ordering.aws.ses import Letter, MailRefused, Misconfigured, NotSent, Unsure
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.mail.outbox import (
    EVENTS_AT_MOST,
    UNSURE,
    Mail,
    MailEvent,
    MailEventType,
    MailInFlight,
    MailState,
    Outbox,
    read_tags,
)
from support.aws.faults import Crash, Faulty, answer_lost, interrupted, refused
from support.aws.memory import Memory
from support.aws.ses import MemorySes

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = "ecards#granite#00000000-0000-0000-0000-000000000001"
LETTER = Letter("ann@example.com", "Hello", "Good morning")
SECOND = timedelta(seconds=1)


@dataclass
class Office:
    """An outbox on a table of its own, whose clock is put forward by hand."""

    now: datetime = START
    ses: MemorySes = field(default_factory=MemorySes)
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faulty = Faulty(Memory())
        self.table = Table(self.faulty, "OrdersTable", first_pause=0.0)
        self.outbox = Outbox(self.table, self.ses.ses.send, self.counted.append, lambda: self.now)

    def send(
        self, number: int = 1, compose: Callable[[], Letter] = lambda: LETTER, allowed: Check | None = None
    ) -> None:
        self.outbox.send(self.mail(number), 3, compose, allowed)

    def mail(self, number: int = 1) -> Mail:
        return self.outbox.mail(ORDER, number)

    def later(self, time: timedelta) -> None:
        self.now += time

    def tell(self, kind: str, why: str = "", *, attempt: int = -1, at: datetime | None = None) -> None:
        """Let SES tell of one of the mails that it took."""
        self.outbox.report(self.ses.taken[attempt].told, kind, why, at or self.now)

    def happened(self, number: int = 1) -> list[str]:
        return [str(event.type) for event in self.mail(number).events]


@pytest.fixture
def office() -> Office:
    return Office()


def unsure(office: Office, *, taken: bool) -> None:
    """Let a first attempt end without an answer, taken or not."""
    office.ses.meet(Unavailable(), taken=taken)
    with pytest.raises(Unsure):
        office.send()


# Sending -------------------------------------------------------------------------------------------------------------


def test_sent_once(office: Office) -> None:
    """A mail is sent by the first call; a later call finds it sent."""
    office.send()
    office.send(compose=pytest.fail)

    assert office.ses.letters == [LETTER]
    assert office.counted == ["MailsSent"]
    mail = office.mail()
    assert (mail.state, mail.contents, mail.message_id) == (MailState.SENT, 3, "mail-1")
    assert [replace(event, attempt="") for event in mail.events] == [MailEvent(MailEventType.SENT, START, "")]


def test_mails_have_their_own(office: Office) -> None:
    """Mails of other numbers are other mails, and all of them are found, by number."""
    for number in (11, 2):
        office.send(number)

    assert [mail.number for mail in office.outbox.mails(ORDER)] == [2, 11]
    assert office.outbox.mails("training#1") == []
    assert [one.tags["mail"] for one in office.ses.taken] == ["11", "2"]


def test_tags_name_the_mail(office: Office) -> None:
    """From the tags come back the order, also one with signs that no tag may have, the number and the attempt."""
    office.send(501)
    (taken,) = office.ses.taken

    assert read_tags(taken.told) == (ORDER, 501, taken.tags["attempt"])
    assert read_tags({"order": ["dHJhaW5pbmcjNDcxMQ"], "mail": ["1"], "attempt": ["a"]}) == ("training#4711", 1, "a")


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"order": ["dHJhaW5pbmcjMQ"], "mail": ["1"]},
        {"order": ["dHJhaW5pbmcjMQ"], "mail": ["x"], "attempt": ["a"]},
        {"order": ["d"], "mail": ["1"], "attempt": ["a"]},
        {"order": ["_w"], "mail": ["1"], "attempt": ["a"]},
        {"order": ["#"], "mail": ["1"], "attempt": ["a"]},
        {"order": [], "mail": ["1"], "attempt": ["a"]},
    ],
)
def test_tags_of_others(office: Office, tags: dict[str, list[str]]) -> None:
    """Events of SES's about mails that are not ours are ignored."""
    assert read_tags(tags) is None
    office.outbox.report(tags, "Bounce", "", START)
    assert office.counted == []


@pytest.mark.parametrize(
    "error",
    [
        NotExecuted(),
        CallRefused("SendEmail", "TooManyRequestsException"),
        CallRefused("SendEmail", "NotFoundException"),
    ],
)
def test_surely_not_sent(office: Office, error: Exception) -> None:
    """A mail that was surely not sent is free for a retry at once, and nothing is counted."""
    office.ses.meet(error)
    with pytest.raises(NotSent):
        office.send()
    assert (office.mail().state, office.mail().unsent, office.counted) == (MailState.OPEN, True, [])
    office.send()

    assert len(office.ses.taken) == 1
    assert office.happened() == ["sent"]


def test_a_wrong_configuration_is_loud(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """That no mail can be sent at all is an error in the log, with SES's code."""
    office.ses.meet(CallRefused("SendEmail", "NotFoundException"), NotExecuted())
    with pytest.raises(Misconfigured):
        office.send()
    with pytest.raises(NotSent):
        office.send()

    assert [(record.levelno, vars(record).get("code")) for record in caplog.records] == [
        (logging.ERROR, "NotFoundException"),
        (logging.WARNING, None),
    ]


def test_refused_for_good(office: Office) -> None:
    """A mail that SES refuses is kept as refused, with why, and not tried again."""
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    for _ in range(2):
        with pytest.raises(MailRefused, match="SES rejected the mail"):
            office.send()

    mail = office.mail()
    assert (mail.state, mail.unsent, office.ses.taken, office.counted) == (
        MailState.REFUSED,
        True,
        [],
        ["MailsRefused"],
    )
    assert mail.refusal.startswith("SES rejected the mail")


@pytest.mark.parametrize("taken", [False, True])
def test_not_repeated_while_unsure(office: Office, taken: bool) -> None:  # noqa: FBT001 - a parameter
    """An attempt without an answer is not repeated before the time has passed, then it is, and the history says so."""
    unsure(office, taken=taken)
    office.later(UNSURE - SECOND)
    with pytest.raises(MailInFlight) as told:
        office.send(compose=pytest.fail)
    assert told.value.retry_after == 1
    office.later(SECOND)
    office.send()

    assert len(office.ses.taken) == 1 + taken
    assert office.happened() == ["unsure", "sent"]
    assert office.mail().events[0].at == START
    assert office.counted == ["MailsSent"]


@pytest.mark.parametrize("kind", ["Send", "Delivery", "Bounce", "Complaint", "DeliveryDelay"])
def test_events_decide(office: Office, kind: str) -> None:
    """Where the answer was lost, any event that says that the mail has gone out makes it sent; it is not sent again."""
    unsure(office, taken=True)
    office.tell(kind)
    office.later(2 * UNSURE)
    office.send(compose=pytest.fail)

    assert (office.mail().state, len(office.ses.taken)) == (MailState.SENT, 1)


def test_killed_before_the_mark(office: Office) -> None:
    """A crash after SES accepted the mail leaves its outcome unknown, and SES's own event marks it as sent."""
    office.faulty.meet("PutItem", refused(Crash()))
    with pytest.raises(Crash):
        office.send()
    with pytest.raises(MailInFlight):
        office.send()
    office.tell("Send")
    office.send()

    assert (len(office.ses.taken), office.counted) == (1, ["MailsSent"])


def test_killed_before_it_was_sent(office: Office) -> None:
    """A crash after the claim blocks the mail until no process can still be sending it."""
    office.ses.meet(Crash())
    with pytest.raises(Crash):
        office.send()
    with pytest.raises(MailInFlight):
        office.send()
    office.later(UNSURE)
    office.send()

    assert len(office.ses.taken) == 1


def test_what_cannot_be_composed_is_not_claimed(office: Office) -> None:
    """If the letter cannot be composed now, the mail is not claimed, and a retry sends it."""

    def fail() -> Letter:
        raise Unavailable

    with pytest.raises(Unavailable):
        office.send(compose=fail)
    office.send()

    assert len(office.ses.taken) == 1


def test_two_at_once(office: Office) -> None:
    """Of two concurrent calls one sends the mail, and the other raises a conflict."""
    office.faulty.meet("TransactWriteItems", interrupted(office.send))
    with pytest.raises(Conflict):
        office.send()

    assert len(office.ses.taken) == 1


def test_a_claim_whose_answer_is_lost(office: Office) -> None:
    """A claim whose first try took effect without an answer is known again, and the mail is sent once."""
    office.faulty.meet("TransactWriteItems", answer_lost)
    office.send()

    assert (len(office.ses.taken), office.happened()) == (1, ["sent"])


def test_a_mark_whose_answer_is_lost(office: Office) -> None:
    """A mark whose first try took effect without an answer is counted once."""
    office.faulty.meet("PutItem", answer_lost)
    office.send()

    assert (office.mail().version, office.counted) == (2, ["MailsSent"])


def test_only_while_it_is_allowed(office: Office) -> None:
    """A mail is claimed only while what it rests on holds; where it does not, nothing is sent."""
    office.table.put(Put({"pk": "O", "sk": "-", "version": 2}))
    for version in (1, 2):
        allowed = Check(("O", "-"), "version = :read", values={":read": version})
        if version == 1:
            with pytest.raises(Conflict):
                office.send(allowed=allowed)
            assert (office.mail().version, office.ses.taken) == (0, [])
        else:
            office.send(allowed=allowed)

    assert len(office.ses.taken) == 1


def test_a_slow_attempt_that_is_refused(office: Office) -> None:
    """An attempt that is refused after another one went out leaves the mail sent."""

    def meanwhile(_: Letter, __: Any) -> str:
        office.later(UNSURE)
        office.outbox.send(office.mail(), 3, lambda: LETTER)
        raise MailRefused("no")

    slow = replace(office.outbox, post=meanwhile)
    slow.send(office.mail(), 3, lambda: LETTER)

    assert (office.mail().state, len(office.ses.taken)) == (MailState.SENT, 1)


def test_refused_during_an_event_about_an_earlier_attempt(office: Office) -> None:
    """An attempt that is refused after SES's event that the one before it was sent leaves the mail sent."""
    unsure(office, taken=True)
    office.later(UNSURE)

    def meanwhile(_: Letter, __: Any) -> str:
        office.tell("Send")
        raise MailRefused("no")

    replace(office.outbox, post=meanwhile).send(office.mail(), 3, lambda: LETTER)

    assert (office.mail().state, len(office.ses.taken)) == (MailState.SENT, 1)


def test_a_slow_attempt_that_was_not_sent(office: Office) -> None:
    """An attempt that was surely not sent, but ended late, does not release the claim of the one after it."""

    def meanwhile(_: Letter, __: Any) -> str:
        office.later(UNSURE)
        unsure(office, taken=True)
        raise NotSent

    with pytest.raises(NotSent):
        replace(office.outbox, post=meanwhile).send(office.mail(), 3, lambda: LETTER)

    assert office.mail().state is MailState.CLAIMED
    with pytest.raises(MailInFlight):
        office.send()


# What may be out ----------------------------------------------------------------------------------------------------


def test_released_after_one_that_may_be_out(office: Office) -> None:
    """After an attempt that may have gone out, one that surely did not leaves the mail open, but not unsent."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        office.send()
    mail = office.mail()
    assert (mail.state, mail.unsent) == (MailState.OPEN, False)
    office.tell("Send")
    office.send(compose=pytest.fail)

    assert len(office.ses.taken) == 1


def test_refused_after_one_that_may_be_out(office: Office) -> None:
    """Likewise for one that is refused; and after SES's event about the first, the mail is sent."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(CallRefused("SendEmail", "BadRequestException"))
    with pytest.raises(MailRefused):
        office.send()
    assert (office.mail().state, office.mail().unsent) == (MailState.REFUSED, False)
    office.tell("Delivery")

    assert office.mail().state is MailState.SENT


def test_a_request_forgets_nothing(office: Office) -> None:
    """What may have been sent before an operator's request still counts as such after it."""
    office.send()
    office.outbox.again(ORDER, 1, force=True)

    assert (office.mail().state, office.mail().unsent) == (MailState.OPEN, False)


# SES's events -------------------------------------------------------------------------------------------------------


def test_the_history(office: Office) -> None:
    """SES's events are kept with time and reason, and the mail stays sent."""
    office.send()
    for minutes, (kind, why) in enumerate([("Delivery", ""), ("Complaint", "abuse"), ("Open", ""), ("Send", "")], 1):
        office.tell(kind, why, at=START + timedelta(minutes=minutes))

    told = [(str(event.type), (event.at - START).seconds // 60, event.reason) for event in office.mail().events]
    assert told == [("sent", 0, ""), ("delivered", 1, ""), ("complained", 2, "abuse")]
    assert office.counted == ["MailsSent", "MailsComplained"]


@pytest.mark.parametrize(
    ("kind", "metric"), [("Bounce", "MailsBounced"), ("Complaint", "MailsComplained"), ("Reject", "MailsRefused")]
)
def test_duplicate_events(office: Office, kind: str, metric: str) -> None:
    """Duplicates of SES's events, concurrent ones too, are kept and counted once."""
    office.send()
    office.faulty.meet("PutItem", interrupted(lambda: office.tell(kind, "why")))
    for _ in range(3):
        office.tell(kind, "why")

    assert len(office.happened()) == 2
    assert office.counted == ["MailsSent", metric]


def test_an_event_before_the_mark(office: Office) -> None:
    """SES's event before the mail is marked is kept, and the mark adds the message's id."""
    office.faulty.meet("PutItem", interrupted(lambda: office.tell("Send")))
    office.send()

    mail = office.mail()
    assert (mail.state, mail.message_id, office.happened()) == (MailState.SENT, "mail-1", ["sent"])
    assert office.counted == ["MailsSent"]


def test_rejected_before_the_mark(office: Office) -> None:
    """A mail that SES accepted and then rejected is refused, whichever is recorded first, and is surely unsent."""
    office.faulty.meet("PutItem", interrupted(lambda: office.tell("Reject", "Bad content")))
    with pytest.raises(MailRefused, match="Bad content"):
        office.send()

    mail = office.mail()
    assert (mail.state, mail.refusal, mail.unsent) == (MailState.REFUSED, "Bad content", True)


@pytest.mark.parametrize("kind", ["Reject", "RenderingFailure", "Rendering Failure"])
def test_rejected_after_the_mark(office: Office, kind: str) -> None:
    """A mail that SES rejects later can be sent again without force."""
    office.send()
    office.tell(kind)
    office.outbox.again(ORDER, 1)
    office.send()

    assert len(office.ses.taken) == 2


def test_of_an_earlier_attempt(office: Office) -> None:
    """SES's events about an attempt before an operator's request are kept, and do not revoke the request."""
    office.send()
    office.outbox.again(ORDER, 1, force=True)
    for kind in ("Bounce", "Reject"):
        office.tell(kind)
    assert (office.mail().state, office.happened()) == (MailState.OPEN, ["sent", "again", "bounced", "refused"])
    office.send()

    assert len(office.ses.taken) == 2


def test_a_mail_that_there_is_not(office: Office) -> None:
    """SES's event about an unknown mail leaves no trace."""
    office.outbox.report({"order": ["dHJhaW5pbmcjMQ"], "mail": ["1"], "attempt": ["a"]}, "Bounce", "", START)

    assert (office.outbox.mails("training#1"), office.counted) == ([], [])


def test_histories_end(office: Office) -> None:
    """A mail keeps its latest events, and no text without end."""
    office.send()
    for number in range(EVENTS_AT_MOST + 10):
        office.tell("DeliveryDelay", f"{number} " + "x" * 1_000)

    events = office.mail().events
    assert (len(events), events[-1].reason[:3], len(events[-1].reason)) == (EVENTS_AT_MOST, "59 ", 200)


# An operator's request ----------------------------------------------------------------------------------------------


def test_again(office: Office) -> None:
    """A refused mail is sent again when an operator requests it."""
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()
    assert office.outbox.again(ORDER, 1).state is MailState.OPEN
    office.send()

    assert office.happened() == ["refused", "again", "sent"]
    assert office.counted == ["MailsRefused", "MailsSent"]


def test_again_by_force(office: Office) -> None:
    """A mail that was sent is sent again by force only."""
    office.send()
    office.tell("Bounce")
    with pytest.raises(Conflict, match="only by force"):
        office.outbox.again(ORDER, 1)
    office.outbox.again(ORDER, 1, force=True)
    office.send()

    assert (len(office.ses.taken), office.counted) == (2, ["MailsSent", "MailsBounced", "MailsSent"])


def test_again_what_is_on_its_way(office: Office) -> None:
    """A mail that is open or in flight is unchanged by a request: it will be sent anyway, or was."""
    unsure(office, taken=True)
    before = office.mail()

    assert office.outbox.again(ORDER, 1, force=True) == before == office.mail()


def test_again_what_there_is_not(office: Office) -> None:
    """A request for a mail that does not exist raises."""
    with pytest.raises(NotFound):
        office.outbox.again(ORDER, 1)


def test_again_twice_at_once(office: Office) -> None:
    """Of two concurrent requests, or one whose response is lost, one counts."""
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()
    office.faulty.meet("PutItem", interrupted(lambda: office.outbox.again(ORDER, 1)))
    office.faulty.meet("PutItem", answer_lost)
    office.outbox.again(ORDER, 1)

    assert office.happened() == ["refused", "again"]


def test_a_request_that_was_fulfilled(office: Office) -> None:
    """A request whose response is lost, and whose mail is refused again in the meantime, is not repeated."""
    for _ in range(2):
        office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()

    def overtaken(send: Any, operation: str, request: dict[str, Any]) -> Any:
        send(operation, request)
        with pytest.raises(MailRefused):
            office.send()
        raise NoAnswer("cut")

    office.faulty.meet("PutItem", overtaken)
    office.outbox.again(ORDER, 1)

    assert office.happened() == ["refused", "again", "refused"]
    assert office.mail().state is MailState.REFUSED


def test_again_what_turns_out_to_be_sent(office: Office) -> None:
    """A request for a refused mail conflicts with a concurrent event that it was sent."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()
    office.faulty.meet("PutItem", interrupted(lambda: office.tell("Send")))
    with pytest.raises(Conflict):
        office.outbox.again(ORDER, 1)

    assert office.mail().state is MailState.SENT


def test_nothing_is_shown(office: Office) -> None:
    """No address and no line of a mail is to be seen in the table, or in a letter's representation."""
    office.send()

    assert "ann@example.com" not in repr(LETTER)
    stored = repr([*office.table.query(f"MAIL#{ORDER}", " ", "~")])
    assert all(text not in stored for text in ("example.com", "Hello", "Good morning"))


def test_without_metrics() -> None:
    """An outbox works without a counter."""
    table = Table(Memory(), "OrdersTable")
    outbox = Outbox(table, MemorySes().ses.send)
    outbox.send(outbox.mail(ORDER, 1), 1, lambda: LETTER)

    assert outbox.mail(ORDER, 1).state is MailState.SENT
