"""SES's events about mails. No other module knows their format.

https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.events.incoming import Delivered, MalformedEvent, validate
from ordering.mail.outbox import MailEventType
from ordering.values import Value

SOURCE = "aws.ses"
"""The source of SES's events. EventBridge accepts events with this source from AWS only."""

_TERM = re.compile(r"[A-Za-z-]{1,40}")


class SesEventType(Value):
    """One type of SES's events."""

    name: str
    """Its `eventType`."""
    part: str
    """The member of an event that describes what happened."""
    happened: MailEventType | None = None
    """What happened to the mail; None if it is not recorded."""
    reason: str | None = None
    """The reason, in our words."""
    terms: tuple[str, ...] = ()
    """The members of `part` with SES's terms for the reason."""


EVENT_TYPES: Mapping[str, SesEventType] = {
    "Email Sent": SesEventType("Send", "send", MailEventType.SENT),
    "Email Delivered": SesEventType("Delivery", "delivery", MailEventType.DELIVERED),
    "Email Delivery Delayed": SesEventType(
        "DeliveryDelay", "deliveryDelay", MailEventType.DELAYED, "it is not delivered yet", ("delayType",)
    ),
    "Email Bounced": SesEventType(
        "Bounce", "bounce", MailEventType.BOUNCED, "it cannot be delivered", ("bounceType", "bounceSubType")
    ),
    "Email Complaint Received": SesEventType(
        "Complaint",
        "complaint",
        MailEventType.COMPLAINED,
        "the recipient did not want it",
        ("complaintFeedbackType", "complaintSubType"),
    ),
    "Email Rejected": SesEventType(
        "Reject", "reject", MailEventType.REFUSED, "SES did not send it because of what is in it"
    ),
    "Email Rendering Failed": SesEventType(
        "Rendering Failure", "failure", MailEventType.REFUSED, "SES could not fill in its template"
    ),
    "Email Opened": SesEventType("Open", "open"),
    "Email Clicked": SesEventType("Click", "click"),
    "Email Subscribed": SesEventType("Subscription", "subscription"),
}
"""The types of SES's events, by EventBridge's `detail-type`."""


class _TaggedMail(TypedDict):
    tags: NotRequired[dict[str, list[str]]]


class _SesEvent(TypedDict):
    eventType: str
    mail: _TaggedMail


_SES_EVENT = TypeAdapter(_SesEvent)
_PART = TypeAdapter(dict[str, Any])


class Notice(Value):
    """Something that happened to a mail, as SES reports it. Notices can be duplicated and arrive in any order."""

    tags: Mapping[str, Sequence[str]]
    """The tags of the mail; none if it is not one of ours."""
    type: MailEventType
    reason: str | None
    """Our words and SES's terms, never an address."""
    at: datetime


def read_notice(event: Delivered) -> Notice | None:
    """Convert an event of SES's; None if events of its type are not recorded.

    Raises:
        MalformedEvent: The event is malformed, or its type is unknown.
    """
    detail_type = event["detail-type"]
    known = EVENT_TYPES.get(detail_type)
    if known is None:
        raise MalformedEvent(f"unknown type of SES's events: {detail_type!r}")
    detail = validate(_SES_EVENT, event["detail"], detail_type)
    if detail["eventType"] != known.name:
        raise MalformedEvent(f"{detail_type} does not fit its schema at eventType")
    part = validate(_PART, event["detail"].get(known.part, {}), f"{detail_type}: {known.part}")
    at = _instant(part.get("timestamp")) or _instant(event["time"])
    if at is None:
        raise MalformedEvent(f"{detail_type} has no time")
    if known.happened is None:
        return None
    return Notice(detail["mail"].get("tags", {}), known.happened, _reason(known, part), at)


def _reason(known: SesEventType, part: Mapping[str, Any]) -> str | None:
    """Return the reason with SES's terms, but without other texts of SES: those of mail servers contain addresses."""
    terms = [term for term in map(part.get, known.terms) if isinstance(term, str) and _TERM.fullmatch(term)]
    return f"{known.reason} ({', '.join(terms)})" if terms else known.reason


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
