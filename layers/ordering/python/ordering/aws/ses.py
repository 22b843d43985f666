"""Amazon SES (API v2): sends one mail, once, and says for certain what is certain about it.

SES has no idempotency: a mail that is sent twice arrives twice. So whoever sends must tell apart what came of it:

    a result           SES has taken it
    MailRefused        SES will never take this mail
    NotSent            it has surely not been sent; it can be at any time
    └── Misconfigured  … once somebody has changed the configuration
    Unsure             it may or may not have been sent

`NotSent` and `Unsure` are `errors.Unavailable`. What becomes of a mail after SES has taken it, SES tells by events of
its own; they carry the tags that the mail was sent with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ordering.aws import calls as aws
from ordering.aws.calls import Call, CallRefused, NotExecuted
from ordering.errors import OrderingError, Unavailable

ANSWERED_WITHIN = 10.0
"""Seconds: a mail may have some megabytes, and one whose answer is not awaited is held back for long."""

LONGEST_CALL = aws.CONNECTED_WITHIN + ANSWERED_WITHIN
"""Seconds that sending takes at most."""

_UTF_8 = "UTF-8"
_REFUSALS = {
    "MessageRejected": "SES rejected the mail: its content, its recipient, or a sender that is not verified.",
    "BadRequestException": "SES found the mail invalid.",
}
_LATER = frozenset(
    {
        "AccountSuspendedException",
        "LimitExceededException",
        "MailFromDomainNotVerifiedException",
        "SendingPausedException",
        "TooManyRequestsException",
    }
)


class MailRefused(OrderingError):
    """SES will never take this mail; `reason` says why, without anybody's address."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class NotSent(Unavailable):
    """The mail has surely not been sent."""


class Misconfigured(NotSent):
    """The mail has surely not been sent, and none will be before the configuration is changed: `code` is SES's."""

    def __init__(self, code: str) -> None:
        """Keep the code."""
        super().__init__(f"SES answers {code}: configuration set, sender or rights are not as they must be")
        self.code = code


class Unsure(Unavailable):
    """The mail may or may not have been sent."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to one address, in two forms or as text only; what it says is in no representation of it."""

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Ses:
    """Sends mails from one address.

    Args:
        sender: An address that SES has verified, with or without a name: `Orders <orders@example.com>`.
        configuration_set: The name of the set whose event destinations learn what becomes of mails; none if empty.
    """

    call: Call
    sender: str
    configuration_set: str = ""

    def send(self, letter: Letter, tags: Mapping[str, str]) -> str:
        """Send a mail and return the id that SES has given it.

        Args:
            tags: Names and values that SES's events about the mail carry: up to 256 of `A-Za-z0-9_-` each.

        Raises:
            MailRefused: SES will never take it.
            NotSent: It has surely not been sent.
            Unsure: It may or may not have been sent.
        """
        try:
            answer = self.call("SendEmail", self._request(letter, tags))
        except CallRefused as refusal:
            if reason := _REFUSALS.get(refusal.code):
                raise MailRefused(reason) from refusal
            raise (NotSent() if refusal.code in _LATER else Misconfigured(refusal.code)) from refusal
        except NotExecuted as error:
            raise NotSent from error
        except Unavailable as error:
            raise Unsure from error
        message_id = answer.get("MessageId")
        if not isinstance(message_id, str) or not message_id:
            raise Unsure("an answer without an id")
        return message_id

    def _request(self, letter: Letter, tags: Mapping[str, str]) -> dict[str, Any]:
        html = {"Html": _part(letter.html)} if letter.html else {}
        content = {"Subject": _part(letter.subject), "Body": {"Text": _part(letter.text), **html}}
        request: dict[str, Any] = {
            "FromEmailAddress": self.sender,
            "Destination": {"ToAddresses": [letter.to]},
            "Content": {"Simple": content},
            "EmailTags": [{"Name": name, "Value": value} for name, value in tags.items()],
        }
        return {**request, "ConfigurationSetName": self.configuration_set} if self.configuration_set else request


def connect_ses(sender: str, configuration_set: str = "", **settings: Any) -> Ses:
    """Return a sender of mails, connected with the first mail."""
    call = aws.connect("sesv2", answered_within=ANSWERED_WITHIN, **settings)
    return Ses(call, sender, configuration_set)


def _part(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": _UTF_8}
