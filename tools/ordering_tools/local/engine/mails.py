"""The senders of mails, and the sent mails, which the engine keeps and does not deliver."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ordering_tools.local.runtime.functions import FUNCTION_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ordering_tools.local.engine.references import References

_IDENTITY_ARN = ":identity/"


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


def sends_mail(references: References) -> bool:
    """Whether the template declares a sender, or a function that may send mails."""
    return any(resource["Type"].startswith("AWS::SES::") for resource in references.resources.values()) or any(
        str(action).startswith("ses:")
        for statement in _statements(references)
        for action in _several(statement, "Action")
    )


def declared_senders(references: References) -> set[str]:
    """The addresses and domains that the template declares as senders, or allows a function to send from."""
    declared = {
        resource["Properties"]["EmailIdentity"]
        for resource in references.resources.values()
        if resource["Type"] == "AWS::SES::EmailIdentity"
    }
    allowed = {
        resource.rpartition(_IDENTITY_ARN)[2]
        for statement in _statements(references)
        for resource in _several(statement, "Resource")
        if isinstance(resource, str) and _IDENTITY_ARN in resource
    }
    return {sender for sender in declared | allowed if isinstance(sender, str) and sender.strip("*") == sender != ""}


def create_senders(client: Any, senders: set[str]) -> None:
    """Register addresses and domains as senders in the engine."""
    known = {identity["IdentityName"] for identity in client.list_email_identities()["EmailIdentities"]}
    for sender in sorted(senders - known):
        client.create_email_identity(EmailIdentity=sender)


def _statements(references: References) -> Iterator[Mapping[str, Any]]:
    for resource in references.resources.values():
        if resource["Type"] != FUNCTION_TYPE:
            continue
        policies = resource["Properties"].get("Policies", [])
        for policy in policies if isinstance(policies, list) else [policies]:
            if isinstance(policy, dict):
                yield from (each for each in _several(policy, "Statement") if isinstance(each, dict))


def _several(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key, [])
    return found if isinstance(found, list) else [found]
