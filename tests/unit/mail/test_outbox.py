"""Mails are claimed, sent and marked, not repeated while their outcome is unknown, and changed by SES's events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.dynamodb import Check, NoAnswer, Put, Table
from ordering.aws.ses import Letter, MailRefused, Misconfigured, NotSent, Unsure
from ordering.book.search import SearchedBy, search
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
from ordering.values import replace
from support.aws.faults import Crash, Faulty, answer_lost, interrupted, refused
from support.aws.memory import Memory
from support.aws.ses import MemorySes

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = "ecards#granite#00000000-0000-0000-0000-000000000001"
LETTER = Letter("ann@example.com", "Hello", "Good morning")
SECOND = timedelta(seconds=1)


@dataclass
class Office:
    """An outbox on a table of its own, with a clock set by hand."""

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

    def report(
        self, event_type: MailEventType, why: str = "", *, attempt: int = -1, at: datetime | None = None
    ) -> None:
        """Handle SES's event about one of the mails it accepted."""
        self.outbox.report(self.ses.taken[attempt].told, event_type, why, at or self.now)

    def happened(self, number: int = 1) -> list[str]:
        return [str(event.type) for event in self.mail(number).events]


@pytest.fixture
def office() -> Office:
    return Office()


def unsure(office: Office, *, taken: bool) -> None:
    """Make a first attempt that gets no answer, whether or not SES accepted the mail."""
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


def test_mails_of_one_order(office: Office) -> None:
    """An order's mails are stored and sent separately, and listed by number."""
    for number in (11, 2):
        office.send(number)

    assert [mail.number for mail in office.outbox.mails(ORDER)] == [2, 11]
    assert office.outbox.mails("training#1") == []
    assert [one.tags["mail"] for one in office.ses.taken] == ["11", "2"]


def test_tags_name_the_mail(office: Office) -> None:
    """A mail's tags lead back to its order, whatever characters its name has, its number and its attempt."""
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
    """SES's events about mails that are not ours are ignored."""
    assert read_tags(tags) is None
    office.outbox.report(tags, MailEventType.BOUNCED, "", START)
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
    """A mail that was certainly not sent can be retried at once, and nothing is counted."""
    office.ses.meet(error)
    with pytest.raises(NotSent):
        office.send()
    assert (office.mail().state, office.mail().unsent, office.counted) == (MailState.OPEN, True, [])
    office.send()

    assert len(office.ses.taken) == 1
    assert office.happened() == ["sent"]


def test_a_wrong_configuration_is_an_error(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A misconfiguration that prevents all mails is logged as an error with SES's code."""
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
    """A mail that SES refuses is stored as refused, with the reason, and not retried."""
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


def test_refused_mails_are_found(office: Office) -> None:
    """A mail is found while it is refused, by the time of the refusal: no longer once it is to be sent again."""
    office.send(2)
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    assert [*search(office.table, SearchedBy.MAILS, MailState.REFUSED)] == []
    with pytest.raises(MailRefused):
        office.send()

    assert [*search(office.table, SearchedBy.MAILS, MailState.REFUSED, START)] == [(f"MAIL#{ORDER}", "0000000001")]
    assert [*search(office.table, SearchedBy.MAILS, MailState.REFUSED, START + timedelta(seconds=1))] == []
    items = {key: office.table.get(key) for key in ((f"MAIL#{ORDER}", f"{number:010}") for number in (1, 2))}
    assert [key for key, item in items.items() if item and "search" in item] == [(f"MAIL#{ORDER}", "0000000001")]
    office.outbox.again(ORDER, 1)
    assert [*search(office.table, SearchedBy.MAILS, MailState.REFUSED)] == []


@pytest.mark.parametrize("taken", [False, True])
def test_not_repeated_while_unsure(office: Office, taken: bool) -> None:  # noqa: FBT001 - a parameter
    """An attempt without an answer is retried only after the waiting time, and the history records it."""
    unsure(office, taken=taken)
    office.later(UNSURE - SECOND)
    with pytest.raises(MailInFlight, match="at most 1 seconds more"):
        office.send(compose=pytest.fail)
    office.later(SECOND)
    office.send()

    assert len(office.ses.taken) == 1 + taken
    assert office.happened() == ["unsure", "sent"]
    assert office.mail().events[0].at == START
    assert office.counted == ["MailsSent"]


@pytest.mark.parametrize(
    "event_type",
    [
        MailEventType.SENT,
        MailEventType.DELIVERED,
        MailEventType.BOUNCED,
        MailEventType.COMPLAINED,
        MailEventType.DELAYED,
    ],
)
def test_events_settle_an_unknown_outcome(office: Office, event_type: MailEventType) -> None:
    """If the answer was lost, an event of SES's that shows the mail went out marks it as sent, without a retry."""
    unsure(office, taken=True)
    office.report(event_type)
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
    office.report(MailEventType.SENT)
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


def test_a_letter_that_cannot_be_composed(office: Office) -> None:
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
    """A claim that took effect although its answer was lost is recognised, and the mail is sent once."""
    office.faulty.meet("TransactWriteItems", answer_lost)
    office.send()

    assert (len(office.ses.taken), office.happened()) == (1, ["sent"])


def test_a_mark_whose_answer_is_lost(office: Office) -> None:
    """A mark that took effect although its answer was lost is counted once."""
    office.faulty.meet("PutItem", answer_lost)
    office.send()

    assert (office.mail().version, office.counted) == (2, ["MailsSent"])


def test_only_while_it_is_allowed(office: Office) -> None:
    """A mail is claimed and sent only if its precondition holds."""
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
    """An attempt that is refused after a later one was sent leaves the mail sent."""

    def interrupt(_: Letter, __: Any) -> str:
        office.later(UNSURE)
        office.outbox.send(office.mail(), 3, lambda: LETTER)
        raise MailRefused("no")

    slow = replace(office.outbox, post=interrupt)
    slow.send(office.mail(), 3, lambda: LETTER)

    assert (office.mail().state, len(office.ses.taken)) == (MailState.SENT, 1)


def test_refused_during_an_event_about_an_earlier_attempt(office: Office) -> None:
    """If SES reports an earlier attempt as sent, a later attempt's refusal leaves the mail sent."""
    unsure(office, taken=True)
    office.later(UNSURE)

    def interrupt(_: Letter, __: Any) -> str:
        office.report(MailEventType.SENT)
        raise MailRefused("no")

    replace(office.outbox, post=interrupt).send(office.mail(), 3, lambda: LETTER)

    assert (office.mail().state, len(office.ses.taken)) == (MailState.SENT, 1)


def test_a_slow_attempt_that_was_not_sent(office: Office) -> None:
    """A slow attempt that was not sent does not release the claim of a later one."""

    def interrupt(_: Letter, __: Any) -> str:
        office.later(UNSURE)
        unsure(office, taken=True)
        raise NotSent

    with pytest.raises(NotSent):
        replace(office.outbox, post=interrupt).send(office.mail(), 3, lambda: LETTER)

    assert office.mail().state is MailState.CLAIMED
    with pytest.raises(MailInFlight):
        office.send()


# Possibly sent ------------------------------------------------------------------------------------------------------


def test_released_after_one_that_may_be_out(office: Office) -> None:
    """If an attempt may have been sent, a later one that was not leaves the mail open, but not unsent."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        office.send()
    mail = office.mail()
    assert (mail.state, mail.unsent) == (MailState.OPEN, False)
    office.report(MailEventType.SENT)
    office.send(compose=pytest.fail)

    assert len(office.ses.taken) == 1


def test_refused_after_one_that_may_be_out(office: Office) -> None:
    """If an attempt may have been sent, a later refusal leaves that possible, and SES's event marks it as sent."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(CallRefused("SendEmail", "BadRequestException"))
    with pytest.raises(MailRefused):
        office.send()
    assert (office.mail().state, office.mail().unsent) == (MailState.REFUSED, False)
    office.report(MailEventType.DELIVERED)

    assert office.mail().state is MailState.SENT


def test_a_request_keeps_earlier_attempts(office: Office) -> None:
    """After an operator's request, a mail that may have been sent still counts as such."""
    office.send()
    office.outbox.again(ORDER, 1, force=True)

    assert (office.mail().state, office.mail().unsent) == (MailState.OPEN, False)


# SES's events -------------------------------------------------------------------------------------------------------


def test_the_history(office: Office) -> None:
    """SES's events are stored with time and reason, and the mail stays sent."""
    office.send()
    later = [(MailEventType.DELIVERED, ""), (MailEventType.COMPLAINED, "abuse"), (MailEventType.SENT, "")]
    for minutes, (event_type, why) in enumerate(later, 1):
        office.report(event_type, why, at=START + timedelta(minutes=minutes))

    events = [(str(event.type), (event.at - START).seconds // 60, event.reason) for event in office.mail().events]
    assert events == [("sent", 0, ""), ("delivered", 1, ""), ("complained", 2, "abuse")]
    assert office.counted == ["MailsSent", "MailsComplained"]


@pytest.mark.parametrize(
    ("event_type", "metric", "operation"),
    [
        (MailEventType.BOUNCED, "MailsBounced", "TransactWriteItems"),
        (MailEventType.COMPLAINED, "MailsComplained", "PutItem"),
        (MailEventType.REFUSED, "MailsRefused", "TransactWriteItems"),
    ],
)
def test_duplicate_events(office: Office, event_type: MailEventType, metric: str, operation: str) -> None:
    """Duplicates of SES's events, concurrent ones included, are stored and counted once."""
    office.send()
    office.faulty.meet(operation, interrupted(lambda: office.report(event_type, "why")))
    for _ in range(3):
        office.report(event_type, "why")

    assert len(office.happened()) == 2
    assert office.counted == ["MailsSent", metric]


def test_an_event_before_the_mark(office: Office) -> None:
    """An event of SES's that precedes the mark is stored, and the mark adds the message id."""
    office.faulty.meet("PutItem", interrupted(lambda: office.report(MailEventType.SENT)))
    office.send()

    mail = office.mail()
    assert (mail.state, mail.message_id, office.happened()) == (MailState.SENT, "mail-1", ["sent"])
    assert office.counted == ["MailsSent"]


def test_rejected_before_the_mark(office: Office) -> None:
    """A mail that SES accepted and then rejected ends as refused and unsent, even if the event precedes the mark."""
    office.faulty.meet("PutItem", interrupted(lambda: office.report(MailEventType.REFUSED, "Bad content")))
    with pytest.raises(MailRefused, match="Bad content"):
        office.send()

    mail = office.mail()
    assert (mail.state, mail.refusal, mail.unsent) == (MailState.REFUSED, "Bad content", True)


def test_rejected_after_the_mark(office: Office) -> None:
    """A mail that SES rejects later can be sent again without force."""
    office.send()
    office.report(MailEventType.REFUSED)
    office.outbox.again(ORDER, 1)
    office.send()

    assert len(office.ses.taken) == 2


def test_of_an_earlier_attempt(office: Office) -> None:
    """SES's events about an attempt before an operator's request are stored and do not undo the request."""
    office.send()
    office.outbox.again(ORDER, 1, force=True)
    for event_type in (MailEventType.BOUNCED, MailEventType.REFUSED):
        office.report(event_type)
    assert (office.mail().state, office.happened()) == (MailState.OPEN, ["sent", "again", "bounced", "refused"])
    office.send()

    assert len(office.ses.taken) == 2


def test_events_about_an_unknown_mail(office: Office) -> None:
    """An event of SES's about an unknown mail stores and counts nothing."""
    tags = {"order": ["dHJhaW5pbmcjMQ"], "mail": ["1"], "attempt": ["a"]}
    office.outbox.report(tags, MailEventType.BOUNCED, "", START)

    assert (office.outbox.mails("training#1"), office.counted) == ([], [])


def test_histories_are_bounded(office: Office) -> None:
    """A mail keeps a bounded number of its latest events, with reasons cut to 200 characters."""
    office.send()
    for number in range(EVENTS_AT_MOST + 10):
        office.report(MailEventType.DELAYED, f"{number} " + "x" * 1_000)

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
    office.report(MailEventType.BOUNCED)
    with pytest.raises(Conflict, match="was sent and bounced"):
        office.outbox.again(ORDER, 1)
    office.outbox.again(ORDER, 1, force=True)
    office.send()

    assert (len(office.ses.taken), office.counted) == (2, ["MailsSent", "MailsBounced", "MailsSent"])


def test_again_while_in_flight(office: Office) -> None:
    """An operator's request leaves a mail that is in flight unchanged."""
    unsure(office, taken=True)
    before = office.mail()

    assert office.outbox.again(ORDER, 1, force=True) == before == office.mail()


def test_again_for_an_unknown_mail(office: Office) -> None:
    """A request for a mail that does not exist raises NotFound."""
    with pytest.raises(NotFound):
        office.outbox.again(ORDER, 1)


def test_again_twice_at_once(office: Office) -> None:
    """Concurrent requests, and one whose answer is lost, take effect once."""
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()
    office.faulty.meet("PutItem", interrupted(lambda: office.outbox.again(ORDER, 1)))
    office.faulty.meet("PutItem", answer_lost)
    office.outbox.again(ORDER, 1)

    assert office.happened() == ["refused", "again"]


def test_a_request_that_was_fulfilled(office: Office) -> None:
    """A request whose answer is lost is not repeated, even if the mail was refused again in between."""
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


def test_again_for_a_mail_reported_as_sent(office: Office) -> None:
    """A request for a refused mail raises Conflict if SES reports it as sent at the same time."""
    unsure(office, taken=True)
    office.later(UNSURE)
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()
    office.faulty.meet("PutItem", interrupted(lambda: office.report(MailEventType.SENT)))
    with pytest.raises(Conflict):
        office.outbox.again(ORDER, 1)

    assert office.mail().state is MailState.SENT


# A corrected address -------------------------------------------------------------------------------------------------

CORRECTED = "ann@example.org"


def bounced(office: Office) -> None:
    """Send a mail that bounces."""
    office.send()
    office.report(MailEventType.BOUNCED, "it cannot be delivered")


def refused_by_ses(office: Office) -> None:
    """Send a mail that SES refuses."""
    office.ses.meet(CallRefused("SendEmail", "MessageRejected"))
    with pytest.raises(MailRefused):
        office.send()


@pytest.mark.parametrize("failed", [bounced, refused_by_ses])
def test_again_to_a_corrected_address(office: Office, failed: Callable[[Office], None]) -> None:
    """A mail that bounced or was refused is sent to a corrected address without force."""
    failed(office)
    office.outbox.again(ORDER, 1, to=CORRECTED, reason="ticket 17")
    office.send()

    assert office.ses.letters[-1] == replace(LETTER, to=CORRECTED)
    assert office.outbox.corrected_address(ORDER) == CORRECTED
    request, sent = office.mail().events[-2:]
    assert (request.type, request.reason, request.to) == (MailEventType.AGAIN, "ticket 17", CORRECTED)
    assert (sent.type, sent.to) == (MailEventType.SENT, CORRECTED)
    assert [event.to for event in office.mail().events[:-2]] == [""] * len(office.mail().events[:-2])


def test_later_mails_go_to_the_corrected_address(office: Office) -> None:
    """All later mails of the order, and requests without an address, go to the corrected address."""
    bounced(office)
    office.outbox.again(ORDER, 1, to=CORRECTED)
    office.send()
    office.send(2)
    request = office.outbox.again(ORDER, 1, force=True).events[-1]

    assert [letter.to for letter in office.ses.letters] == [LETTER.to, CORRECTED, CORRECTED]
    assert request.to == CORRECTED


def test_another_orders_mails_keep_their_address(office: Office) -> None:
    """A corrected address is that of one order only."""
    bounced(office)
    office.outbox.again(ORDER, 1, to=CORRECTED)
    office.outbox.send(office.outbox.mail("training#1", 1), 3, lambda: LETTER)

    assert office.ses.letters[-1] == LETTER


def test_a_late_bounce_names_the_address_that_it_is_about(office: Office) -> None:
    """An event about an attempt names the address of that attempt, also after a later one went elsewhere."""
    bounced(office)
    office.outbox.again(ORDER, 1, to=CORRECTED)
    office.send()
    office.report(MailEventType.COMPLAINED, attempt=0)
    office.report(MailEventType.DELIVERED)

    assert [(str(event.type), event.to) for event in office.mail().events[-2:]] == [
        ("complained", ""),
        ("delivered", CORRECTED),
    ]


@pytest.mark.parametrize("happened", [None, MailEventType.DELIVERED, MailEventType.COMPLAINED])
def test_a_mail_that_did_not_bounce_is_corrected_by_force_only(office: Office, happened: MailEventType | None) -> None:
    """A mail that was sent, even to a recipient who complained, is sent to another address by force only."""
    office.send()
    if happened:
        office.report(happened)
    with pytest.raises(Conflict, match=r"was sent\.$"):
        office.outbox.again(ORDER, 1, to=CORRECTED)
    assert office.outbox.corrected_address(ORDER) == ""

    office.outbox.again(ORDER, 1, to=CORRECTED, force=True)
    office.send()
    assert [letter.to for letter in office.ses.letters] == [LETTER.to, CORRECTED]


@pytest.mark.parametrize("to", ["", "ann", "ann@example", "a b@example.org", "ann@example.org\nBcc: eve@example.org"])
def test_malformed_addresses(office: Office, to: str) -> None:
    """A malformed address is refused before anything is written."""
    bounced(office)
    before = office.mail()
    with pytest.raises(ValueError, match="is not a valid email address"):
        office.outbox.again(ORDER, 1, to=to)

    assert (office.mail(), office.outbox.corrected_address(ORDER)) == (before, "")


def test_no_correction_while_in_flight(office: Office) -> None:
    """An address cannot be corrected while an attempt is in flight; once that is given up, it can."""
    unsure(office, taken=False)
    with pytest.raises(Conflict, match="in flight"):
        office.outbox.again(ORDER, 1, to=CORRECTED, force=True)
    office.later(UNSURE)
    office.outbox.again(ORDER, 1, to=CORRECTED)
    assert (office.mail().unsent, office.happened()) == (False, ["unsure", "again"])
    office.send()

    assert office.ses.letters == [replace(LETTER, to=CORRECTED)]


def test_no_attempt_to_the_old_address_after_the_correction(office: Office) -> None:
    """An attempt that read the old address before the correction cannot claim the mail after it."""
    refused_by_ses(office)
    office.outbox.again(ORDER, 1)
    correct = interrupted(lambda: office.outbox.again(ORDER, 1, to=CORRECTED))
    office.faulty.meet("TransactWriteItems", correct)
    with pytest.raises(Conflict):
        office.send()
    office.send()

    assert [letter.to for letter in office.ses.letters] == [CORRECTED]


@pytest.mark.parametrize("to", ["", "first@example.com"])
def test_no_other_mail_to_the_old_address_after_the_correction(office: Office, to: str) -> None:
    """An attempt at another mail that read the address before a correction cannot claim its mail after it."""
    bounced(office)
    if to:
        office.outbox.again(ORDER, 1, to=to)
        office.send()
    correct = interrupted(lambda: office.outbox.again(ORDER, 1, to=CORRECTED, force=True))
    office.faulty.meet("TransactWriteItems", correct)
    with pytest.raises(Conflict):
        office.send(2)
    office.send(2)

    assert office.ses.letters[-1] == replace(LETTER, to=CORRECTED)
    assert len(office.ses.letters) == (3 if to else 2)


def test_a_correction_whose_answer_is_lost(office: Office) -> None:
    """A correction takes effect once, and wholly, if a response is lost or the mail changes at the same time."""
    bounced(office)
    office.faulty.meet("TransactWriteItems", interrupted(lambda: office.report(MailEventType.DELAYED)))
    office.faulty.meet("TransactWriteItems", answer_lost)
    office.outbox.again(ORDER, 1, to=CORRECTED)

    assert office.happened() == ["sent", "bounced", "delayed", "again"]
    assert office.outbox.corrected_address(ORDER) == CORRECTED


def test_a_correction_that_crashes(office: Office) -> None:
    """A crash before the correction was written leaves both the mail and the address as they were."""
    bounced(office)
    before = office.mail()
    office.faulty.meet("TransactWriteItems", refused(Crash()))
    with pytest.raises(Crash):
        office.outbox.again(ORDER, 1, to=CORRECTED)

    assert (office.mail(), office.outbox.corrected_address(ORDER)) == (before, "")


def test_no_personal_data_is_stored(office: Office) -> None:
    """Neither the table nor a letter's repr contains the recipient, and the table has no text of the mail."""
    office.send()

    assert "ann@example.com" not in repr(LETTER)
    stored = repr([*office.table.query(f"MAIL#{ORDER}", " ", "~")])
    assert all(text not in stored for text in ("example.com", "Hello", "Good morning"))


def test_without_metrics() -> None:
    """An outbox works without a metrics counter."""
    table = Table(Memory(), "OrdersTable")
    outbox = Outbox(table, MemorySes().ses.send)
    outbox.send(outbox.mail(ORDER, 1), 1, lambda: LETTER)

    assert outbox.mail(ORDER, 1).state is MailState.SENT
