"""SES's events about mails: which are recorded, with which reason and time, and which are malformed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ordering.events.incoming import MalformedEvent, read_delivered
from ordering.mail.incoming import EVENT_TYPES, Notice, read_notice
from ordering.mail.outbox import MailEventType

TAGS = {"order": ["training-7"], "ses:configuration-set": ["mails"], "ses:from-domain": ["example.com"]}
SENT = {"timestamp": "2026-01-01T11:59:00.000Z", "source": "us@example.com", "destination": ["john@example.com"]}
BOUNCE = {
    "bounceType": "Permanent",
    "bounceSubType": "NoEmail",
    "bouncedRecipients": [
        {"emailAddress": "john@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 john unknown"}
    ],
    "timestamp": "2026-01-01T12:00:02.669Z",
    "feedbackId": "0100",
}
AT, LATER = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, 2, 669000, tzinfo=UTC)


def body(detail_type: str, detail: Any, **changes: Any) -> str:
    """An event as EventBridge delivers it to a queue."""
    event = {
        "version": "0",
        "id": "7d3c2d4e-0000-4000-8000-000000000000",
        "detail-type": detail_type,
        "source": "aws.ses",
        "time": "2026-01-01T12:00:00Z",
        "detail": detail,
    }
    return json.dumps({**event, **changes})


def of_mail(detail_type: str, name: str, part: str, content: Any, tags: Any = TAGS, **changes: Any) -> str:
    detail = {"eventType": name, "mail": {**SENT, "messageId": "0100", "tags": tags}, part: content}
    return body(detail_type, detail, **changes)


def read(text: str) -> Notice | None:
    return read_notice(read_delivered(text))


Row = tuple[str, str, str, Any, MailEventType | None, str | None, datetime]
EVENTS: list[Row] = [
    ("Email Sent", "Send", "send", {}, MailEventType.SENT, None, AT),
    (
        "Email Delivered",
        "Delivery",
        "delivery",
        {"timestamp": BOUNCE["timestamp"]},
        MailEventType.DELIVERED,
        None,
        LATER,
    ),
    (
        "Email Bounced",
        "Bounce",
        "bounce",
        BOUNCE,
        MailEventType.BOUNCED,
        "it cannot be delivered (Permanent, NoEmail)",
        LATER,
    ),
    (
        "Email Delivery Delayed",
        "DeliveryDelay",
        "deliveryDelay",
        {"delayType": "MailboxFull", "timestamp": BOUNCE["timestamp"]},
        MailEventType.DELAYED,
        "it is not delivered yet (MailboxFull)",
        LATER,
    ),
    (
        "Email Complaint Received",
        "Complaint",
        "complaint",
        {"complaintSubType": None, "complaintFeedbackType": "not-spam", "timestamp": BOUNCE["timestamp"]},
        MailEventType.COMPLAINED,
        "the recipient did not want it (not-spam)",
        LATER,
    ),
    (
        "Email Rejected",
        "Reject",
        "reject",
        {"reason": "Bad content"},
        MailEventType.REFUSED,
        "SES did not send it because of what is in it",
        AT,
    ),
    (
        "Email Rendering Failed",
        "Rendering Failure",
        "failure",
        {"errorMessage": "Attribute 'john' is missing", "templateName": "t"},
        MailEventType.REFUSED,
        "SES could not fill in its template",
        AT,
    ),
    ("Email Opened", "Open", "open", {"timestamp": BOUNCE["timestamp"], "ipAddress": "192.0.2.1"}, None, None, LATER),
    ("Email Clicked", "Click", "click", {"timestamp": BOUNCE["timestamp"], "link": "https://x"}, None, None, LATER),
    ("Email Subscribed", "Subscription", "subscription", {"contactList": "c"}, None, None, AT),
]


@pytest.mark.parametrize(
    ("detail_type", "name", "part", "content", "happened", "reason", "at"), EVENTS, ids=[row[0] for row in EVENTS]
)
def test_events(
    detail_type: str,
    name: str,
    part: str,
    content: Any,
    happened: MailEventType | None,
    reason: str | None,
    at: datetime,
) -> None:
    """A notice has the mail's tags, the type of event, a reason in our words and the time, and nothing else of SES's.

    Events that do not change a mail give no notice.
    """
    expected = Notice(TAGS, happened, reason, at) if happened else None

    assert read(of_mail(detail_type, name, part, content)) == expected


def test_every_type_is_tested() -> None:
    """The test above has a row for every type of SES's events."""
    assert {row[0] for row in EVENTS} == EVENT_TYPES.keys()


@pytest.mark.parametrize("term", ["john@example.com", "550 5.1.1 unknown", "x" * 41, "", 5, None, ["Permanent"]])
def test_only_terms_are_repeated(term: Any) -> None:
    """A value that does not look like a term of SES's is left out of the reason."""
    notice = read(of_mail("Email Bounced", "Bounce", "bounce", {"bounceType": term, "bounceSubType": "General"}))

    assert notice
    assert notice.reason == "it cannot be delivered (General)"


def test_mails_without_tags() -> None:
    """The notice about a mail without tags, which another program of the account sent, has no tags."""
    detail = {"eventType": "Delivery", "mail": SENT, "delivery": {}}

    assert read(body("Email Delivered", detail)) == Notice({}, MailEventType.DELIVERED, None, AT)


def test_events_without_their_part() -> None:
    """An event without the member for its type has the time of EventBridge's event, and no terms in its reason."""
    detail = {"eventType": "Bounce", "mail": SENT}

    assert read(body("Email Bounced", detail)) == Notice({}, MailEventType.BOUNCED, "it cannot be delivered", AT)


@pytest.mark.parametrize("time", ["2026-01-01T12:00:02", "soon", 5, None, "0001-01-01T00:00:00+23:59"])
def test_malformed_times(time: Any) -> None:
    """If SES's own time is malformed, the notice has the time of EventBridge's event."""
    notice = read(of_mail("Email Delivered", "Delivery", "delivery", {"timestamp": time}))

    assert notice
    assert notice.at == AT


MALFORMED = [
    of_mail("Advisor Recommendation Status Open", "Send", "send", {}),
    of_mail("Email Sent", "Bounce", "bounce", BOUNCE),
    of_mail("Email Bounced", "Bounce", "bounce", "Permanent"),
    of_mail("Email Bounced", "Bounce", "bounce", None),
    of_mail("Email Sent", "Send", "send", {}, tags=[]),
    of_mail("Email Sent", "Send", "send", {}, tags=None),
    of_mail("Email Sent", "Send", "send", {}, tags={"order": "training-7"}),
    of_mail("Email Sent", "Send", "send", {}, tags={"order": [7]}),
    of_mail("Email Sent", "Send", "send", {}, time="now"),
    of_mail("Email Sent", "Send", "send", {}, time="2026-01-01T12:00:00"),
    of_mail("Email Opened", "Open", "open", {}, tags=[]),
    body("Email Sent", {"eventType": "Send"}),
    body("Email Sent", {"mail": SENT}),
    body("Email Sent", {"eventType": "Send", "mail": None}),
    body("Email Sent", None),
    body("ordering.payment.received", {}),
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_events(text: str) -> None:
    """An event of another shape or an unknown type raises MalformedEvent, even if its type gives no notice."""
    with pytest.raises(MalformedEvent):
        read(text)
