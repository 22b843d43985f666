"""Types of events: one for each status that an order can reach, and for each kind of moment of its mails."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

VERSION = 1
"""Version of the schemas. A change that consumers must be prepared for raises it."""

SOURCE = "ordering"


class MailMomentType(StrEnum):
    """What an event about a mail of an order is about."""

    BOUNCED = "MailBounced"
    REFUSED = "MailRefused"
    SENT_AGAIN = "MailSentAgain"


def type_of(kind: str, status: StrEnum) -> str:
    """Return the type of the event that an order reached a status: `ordering.ecard_order.ready_for_delivery`.

    Likewise of a moment of its mails: `ordering.ecard_order.mail_bounced`.

    Args:
        kind: The kind of order in events, for instance `ecard_order`.
    """
    words = re.findall("[A-Z][a-z]*", status)
    return f"{SOURCE}.{kind}.{'_'.join(words).lower()}"


def types_of(kind: str, statuses: Iterable[StrEnum]) -> dict[str, StrEnum]:
    """Return the types of all events of a kind of order, with the status that each is about."""
    return {type_of(kind, status): status for status in statuses}
