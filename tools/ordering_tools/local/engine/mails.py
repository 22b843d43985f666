"""The sent mails, which the engine keeps and does not deliver."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Mail:
    """A sent mail."""

    id: str
    at: datetime
    sender: str
    recipients: tuple[str, ...]
    """To, Cc and Bcc."""
    subject: str
    text: str
    html: str


def mails_url(services: str) -> str:
    """The URL of all sent mails, in JSON."""
    return f"{services}/_ministack/ses/messages"


def sent_mails(services: str) -> list[Mail]:
    """The sent mails, oldest first.

    Raises:
        OSError: The engine does not respond.
    """
    with urllib.request.urlopen(mails_url(services), timeout=10) as answer:  # noqa: S310 - http on this machine
        accounts = json.load(answer)["messages"]
    return sorted((_mail(mail) for mails in accounts.values() for mail in mails), key=lambda mail: mail.at)


def _mail(found: Mapping[str, Any]) -> Mail:
    return Mail(
        id=found["MessageId"],
        at=datetime.fromtimestamp(found["Timestamp"], UTC),
        sender=found["Source"],
        recipients=(*found["To"], *found["CC"], *found["BCC"]),
        subject=found["Subject"],
        text=found["BodyText"] or "",
        html=found["BodyHtml"] or "",
    )
