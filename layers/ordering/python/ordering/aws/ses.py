"""Amazon SES (API v2): sends one mail, once, and distinguishes the outcomes.

SES has no idempotency: a mail that is sent twice arrives twice. So the caller must know the outcome of each attempt:

    a result           SES accepted the mail
    MailRefused        SES will never accept this mail
    NotSent            the mail was surely not sent; a retry can succeed at any time
    └── Misconfigured  the mail was surely not sent; a retry can succeed once the configuration is corrected
    Unsure             the mail may or may not have been sent

`NotSent` and `Unsure` are `errors.Unavailable`. SES reports the later fate of an accepted mail with its own events,
which carry the tags of the mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ordering.aws import calls as aws
from ordering.aws.calls import CallRefused, Connect, NotExecuted, ServiceCall
from ordering.errors import OrderingError, Unavailable
from ordering.values import Value

ANSWERED_WITHIN = 10.0
"""Seconds until a call times out. A mail may have some megabytes, and after a timeout its retry waits for long."""

LONGEST_CALL = aws.CONNECTED_WITHIN + ANSWERED_WITHIN
"""Most seconds that sending a mail takes."""

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
    """SES will never accept this mail. `reason` contains no address."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class NotSent(Unavailable):
    """The mail was surely not sent."""


class Misconfigured(NotSent):
    """The mail was surely not sent, and no mail will be until the configuration is corrected. `code` is SES's."""

    def __init__(self, code: str) -> None:
        """Keep the code."""
        super().__init__(f"SES responded with {code}: check the configuration set, the sender and the role's rights")
        self.code = code


class Unsure(Unavailable):
    """The mail may or may not have been sent."""


class Letter(Value):
    """A mail to one address, as text and HTML or as text only. `repr` leaves its contents out."""

    unprinted: ClassVar = frozenset({"to", "subject", "text", "html"})

    to: str
    subject: str
    text: str
    html: str = ""


class Ses(Value):
    """Sends mails from one address.

    Args:
        sender: An address that SES has verified, with or without a name: `Orders <orders@example.com>`.
        configuration_set: The name of the configuration set whose event destinations get SES's events; none if empty.
    """

    call: ServiceCall
    sender: str
    configuration_set: str = ""

    def send(self, letter: Letter, tags: Mapping[str, str]) -> str:
        """Send a mail and return SES's id for it.

        Args:
            tags: Names and values that SES's events about the mail carry: up to 256 of `A-Za-z0-9_-` each.

        Raises:
            MailRefused: SES will never accept the mail.
            NotSent: The mail was surely not sent.
            Unsure: The mail may or may not have been sent.
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
            raise Unsure("a response without an id")
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


def connect_ses(sender: str, configuration_set: str = "", connect: Connect = aws.connect, **settings: Any) -> Ses:
    """Return a sender of mails that connects when it sends the first one.

    Args:
        sender: See `Ses`.
        configuration_set: See `Ses`.
        connect: What connects to the service.
        settings: As `calls.connect`.
    """
    call = connect("sesv2", answered_within=ANSWERED_WITHIN, **settings)
    return Ses(call, sender, configuration_set)


def _part(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": _UTF_8}
