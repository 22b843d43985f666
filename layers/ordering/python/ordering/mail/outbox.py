"""The mails of orders: each is sent once, and keeps what became of it.

SES sends again what it is asked for again, so asking must not be repeated where it may have been heard. A mail is
claimed, sent, and marked as sent. The claim says since when, under a token of this attempt's own; nobody else sends the
mail meanwhile. What comes after it:

* SES has taken the mail: it is marked as sent.
* The mail was surely not sent: the claim is released, and the next one who comes sends it.
* SES will never take it: that is kept, and it is not tried again before an operator wishes so (`again`).
* Nobody knows: the process died, or the answer or the mark was lost. Then SES's own events decide, which carry the
  attempt's token. One that says the mail has gone out marks it as sent. If none comes for `UNSURE`, it is sent again.

An attempt stays known for as long as it may have gone out, so that what it carries is never given to anybody else.

Key of the orders table: `MAIL#<order's name>` the mails of an order, by their numbers.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from ordering import clock
from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import ABSENT, Check, ConditionFailed, Item, Key, Put, Table, TransactionRefused
from ordering.aws.ses import Letter, MailRefused, Misconfigured, NotSent, Ses
from ordering.clock import Clock
from ordering.errors import Conflict, NotFound, Unavailable

UNSURE = timedelta(minutes=15)
"""How long an attempt that may have gone out is not repeated. SES tells of what it has taken within seconds; a function
lives no longer than this, and a signed request is good for less."""

MOMENTS_AT_MOST = 50
"""Moments that a mail remembers, the latest ones."""

_LONGEST_WHY = 200
_DIGITS = 10
"""Stored format: mails' numbers in keys are padded to so many digits."""

_LAST = "\U0010ffff"

_log = logging.getLogger("ordering")

Send = Callable[[Letter, Mapping[str, str]], str]
"""Sends a letter with tags and returns SES's id for it; see `ses.Ses.send`."""


class MailState(StrEnum):
    """How far a mail has come."""

    OPEN = "Open"
    CLAIMED = "Claimed"
    SENT = "Sent"
    REFUSED = "Refused"


class MailEventType(StrEnum):
    """What can happen to a mail."""

    SENT = "sent"
    DELIVERED = "delivered"
    DELAYED = "delayed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    REFUSED = "refused"
    UNSURE = "unsure"
    AGAIN = "again"


METRICS = {
    MailEventType.SENT: "MailsSent",
    MailEventType.REFUSED: "MailsRefused",
    MailEventType.BOUNCED: "MailsBounced",
    MailEventType.COMPLAINED: "MailsComplained",
}
"""What is counted, by its name."""

_TOLD = {
    "Send": MailEventType.SENT,
    "Delivery": MailEventType.DELIVERED,
    "DeliveryDelay": MailEventType.DELAYED,
    "Bounce": MailEventType.BOUNCED,
    "Complaint": MailEventType.COMPLAINED,
    "Reject": MailEventType.REFUSED,
    "RenderingFailure": MailEventType.REFUSED,
    "Rendering Failure": MailEventType.REFUSED,
}
"""SES's types of events."""


class MailInFlight(Unavailable):
    """Somebody is sending the mail, or died over it. After `retry_after` seconds more will be known."""

    def __init__(self, seconds: float) -> None:
        """Keep the seconds."""
        super().__init__("the mail is being sent, or may have been")
        self.retry_after = max(1, round(seconds))


@dataclass(frozen=True, slots=True)
class MailEvent:
    """Something that happened to a mail: in which attempt, or by which wish, and why, in words without any address."""

    what: MailEventType
    at: datetime
    attempt: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail of an order, without what it says."""

    order: str
    number: int
    contents: int = 0
    """How many keys or certificates it has."""
    state: MailState = MailState.OPEN
    claimed: datetime | None = None
    """When the last attempt began."""
    attempts: tuple[str, ...] = ()
    """The attempts that may have gone out, or are about to, since the operator's last wish."""
    out: bool = False
    """Whether one before that wish may have."""
    message_id: str = ""
    moments: tuple[MailEvent, ...] = ()
    version: int = 0
    """Rises with every change; 0 for a mail that was never touched."""

    @property
    def done(self) -> bool:
        """Whether it was sent or refused, so that no attempt follows unless an operator requests one."""
        return self.state in {MailState.SENT, MailState.REFUSED}

    @property
    def unsent(self) -> bool:
        """Whether it has surely not been sent, and is not being sent."""
        return self.state in {MailState.OPEN, MailState.REFUSED} and not self.attempts and not self.out

    @property
    def refusal(self) -> str:
        """Why it was refused; empty if it was not."""
        return next((moment.why for moment in reversed(self.moments) if moment.what is MailEventType.REFUSED), "")

    def tags(self) -> dict[str, str]:
        """Return what names the mail, and its last attempt, in events of SES's."""
        name = base64.urlsafe_b64encode(self.order.encode()).decode().rstrip("=")
        return {"order": name, "mail": str(self.number), "attempt": self.attempts[-1]}

    def begun(self, attempt: str, contents: int, at: datetime) -> Mail:
        """Return it as it is claimed."""
        before = self
        if self.claimed and self.state is MailState.CLAIMED:
            before = self.noted(
                MailEvent(MailEventType.UNSURE, self.claimed, self.attempts[-1], "No answer, and no event.")
            )
        attempts = (*self.attempts, attempt)
        return replace(before, state=MailState.CLAIMED, claimed=at, attempts=attempts, contents=contents)

    def taken(self, attempt: str, message_id: str, at: datetime) -> Mail:
        """Return it after SES has taken an attempt."""
        return replace(self.told(MailEvent(MailEventType.SENT, at, attempt)), message_id=message_id)

    def dropped(self, attempt: str, refusal: MailEvent | None = None) -> Mail:
        """Return it after an attempt that has surely not gone out, and is not to be repeated if it was refused."""
        noted = self.noted(refusal) if refusal else self
        if attempt not in self.attempts:
            return noted
        attempts = tuple(one for one in self.attempts if one != attempt)
        if attempt != self.attempts[-1] or (self.state is MailState.SENT and attempts):
            return replace(noted, attempts=attempts)  # another attempt decides
        return replace(noted, attempts=attempts, state=MailState.REFUSED if refusal else MailState.OPEN)

    def told(self, moment: MailEvent) -> Mail:
        """Return it after something happened to an attempt that SES has taken."""
        if moment.what is MailEventType.REFUSED:
            return self.dropped(moment.attempt, moment)
        noted = self.noted(moment)
        return replace(noted, state=MailState.SENT) if moment.attempt in self.attempts else noted

    def wished(self, wish: MailEvent) -> Mail:
        """Return it as an operator wishes it to be sent again; one that is not done with stays as it is."""
        if wish in self.moments or self.state in {MailState.OPEN, MailState.CLAIMED}:
            return self
        out = self.out or bool(self.attempts)
        return replace(self.noted(wish), state=MailState.OPEN, attempts=(), out=out)

    def noted(self, moment: MailEvent) -> Mail:
        """Return it with one more moment, unless that is known."""
        if any((one.what, one.attempt, one.why) == (moment.what, moment.attempt, moment.why) for one in self.moments):
            return self
        return replace(self, moments=(*self.moments, moment)[-MOMENTS_AT_MOST:])


def uncounted(name: str) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The mails of all orders.

    Args:
        table: The orders table.
        post: Needed only to send.
        count: Counts one more of what a metric's name says; see `METRICS`.
    """

    table: Table
    post: Send = Ses(unavailable, sender="").send
    count: Callable[[str], None] = uncounted
    now: Clock = clock.system_clock

    def mail(self, order: str, number: int) -> Mail:
        """Return a mail as it is now; one that was never touched is open.

        Raises:
            Unavailable: The deadline passed.
        """
        item = self.table.get(_key(order, number))
        return _read(item) if item else Mail(order=order, number=number)

    def mails(self, order: str) -> list[Mail]:
        """Return all mails of an order that were ever touched, by number.

        Raises:
            Unavailable: The deadline passed.
        """
        return [_read(item) for item in self.table.query(_partition(order), " ", _LAST)]

    def as_read(self, mail: Mail) -> Check:
        """Return what lets a transaction take place only while a mail is as it was read."""
        condition, values = _unchanged(mail)
        return Check(_key(mail.order, mail.number), condition, values=values)

    def send(self, mail: Mail, contents: int, compose: Callable[[], Letter], allowed: Check | None = None) -> None:
        """Send a mail if it was not sent; when this returns, it was.

        Args:
            contents: How many keys or certificates it has.
            compose: Makes the letter; asked only if it is needed.
            allowed: What must hold as the mail is claimed.

        Raises:
            MailRefused: SES will never take it, or has said so before.
            Conflict: The mail is not as it was read any more, or `allowed` does not hold. Nothing was sent.
            OnItsWay: It may have been sent before. The same call must come again.
            Unavailable: It was not sent (`NotSent`), or may have been. Likewise.
        """
        match mail.state:
            case MailState.SENT:
                return
            case MailState.REFUSED:
                raise MailRefused(mail.refusal)
            case MailState.OPEN | MailState.CLAIMED:
                pass
            case unknown:
                assert_never(unknown)
        if (left := self.silence(mail)) > timedelta():
            raise MailInFlight(left.total_seconds())
        letter = compose()
        claimed = self._claim(mail, contents, allowed)
        attempt = claimed.attempts[-1]
        try:
            message_id = self.post(letter, claimed.tags())
        except NotSent as error:
            _tell(error, claimed)
            self._change(claimed, lambda now: now.dropped(attempt))
            raise
        except MailRefused as refusal:
            _log.warning("mail refused", extra={"order": mail.order, "mail": mail.number})
            moment = MailEvent(MailEventType.REFUSED, self.now(), attempt, refusal.reason)
            if self._change(claimed, lambda now: now.dropped(attempt, moment)).state is not MailState.SENT:
                raise
        else:
            at = self.now()
            after = self._change(claimed, lambda now: now.taken(attempt, message_id, at))
            if after.state is MailState.REFUSED:  # SES took it, threw it away, and told that before this was written
                raise MailRefused(after.refusal)

    def silence(self, mail: Mail) -> timedelta:
        """Return how long a mail is still waited for because it may have been sent; nothing or less if it is not."""
        if mail.state is not MailState.CLAIMED or mail.claimed is None:
            return timedelta()
        return mail.claimed + UNSURE - self.now()

    def again(self, order: str, number: int, *, force: bool = False) -> Mail:
        """Let a mail be sent again that was refused, or with `force` one that was sent.

        One that is still to be sent, or may be on its way, stays as it is.

        Raises:
            NotFound: The order has no such mail.
            Conflict: It was sent, and nothing is forced.
            Unavailable: The deadline passed. The same call again is safe.
        """
        mail = self.mail(order, number)
        if not mail.version:
            raise NotFound("mail", f"{order} {number}")
        wish = MailEvent(MailEventType.AGAIN, self.now(), secrets.token_hex(8))
        mail = self._change(mail, lambda now: now if now.state is MailState.SENT and not force else now.wished(wish))
        if mail.state is MailState.SENT:
            raise Conflict(f"Mail {number} of {order} was sent; only by force is it sent again.")
        return mail

    def report(self, tags: Mapping[str, Sequence[str]], kind: str, why: str | None, at: datetime) -> None:
        """Note what SES tells of a mail, once however often it does; kinds that say nothing of it are passed over.

        Args:
            tags: Of the event's mail: a list of values by name.
            kind: The event's type: `Send`, `Delivery`, `Bounce`, …
            why: In words that have nobody's address, if there is something to say.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        what, named = _TOLD.get(kind), read_tags(tags)
        if what is None or named is None:
            return
        order, number, attempt = named
        mail = self.mail(order, number)
        if not mail.version:
            _log.warning("a mail that there is not", extra={"order": order, "mail": number})
            return
        moment = MailEvent(what, at, attempt, (why or "")[:_LONGEST_WHY])
        self._change(mail, lambda now: now.told(moment))

    def _claim(self, mail: Mail, contents: int, allowed: Check | None) -> Mail:
        attempt = secrets.token_hex(8)
        after = mail.begun(attempt, contents, self.now())
        after = replace(after, version=mail.version + 1)
        try:
            self.table.transact([_put(mail, after, attempt), *([allowed] if allowed else [])])
        except TransactionRefused as refusal:
            met = refusal.reasons[0]
            if met and met.item and met.item["writer"] == attempt:
                return after  # an earlier try took effect, only its answer was lost
            raise Conflict(f"Mail {mail.number} of {mail.order}, or its order, has changed.") from refusal
        return after

    def _change(self, mail: Mail, change: Callable[[Mail], Mail]) -> Mail:
        """Change a mail, whatever has become of it since it was read, and return it as it then is."""
        writer = secrets.token_hex(8)
        pauses = self.table.pauses()
        while (after := change(mail)) != mail:
            after = replace(after, version=mail.version + 1)
            try:
                self.table.put(_put(mail, after, writer))
            except ConditionFailed as failure:
                if failure.item is None or failure.item["writer"] != writer:
                    next(pauses)
                    mail = self.mail(mail.order, mail.number)
                    continue
            self._count(mail, after)
            return after
        return mail

    def _count(self, before: Mail, after: Mail) -> None:
        for moment in after.moments:
            if moment.what in METRICS and moment not in before.moments:
                self.count(METRICS[moment.what])


def read_tags(tags: Mapping[str, Sequence[str]]) -> tuple[str, int, str] | None:
    """Return the order, the number and the attempt of the mail that tags name, None if they name none of ours."""
    try:
        (name,), (number,), (attempt,) = tags["order"], tags["mail"], tags["attempt"]
        order = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
        return order, int(number), attempt
    except (KeyError, ValueError, binascii.Error):
        return None


def _tell(error: NotSent, mail: Mail) -> None:
    told: dict[str, Any] = {"order": mail.order, "mail": mail.number}
    if isinstance(error, Misconfigured):
        _log.error("mails cannot be sent", extra={**told, "code": error.code})
    else:
        _log.warning("mail not sent", extra=told)


def _partition(order: str) -> str:
    return f"MAIL#{order}"


def _key(order: str, number: int) -> Key:
    return _partition(order), f"{number:0{_DIGITS}}"


def _unchanged(mail: Mail) -> tuple[str, dict[str, int]]:
    return ("version = :read", {":read": mail.version}) if mail.version else (ABSENT, {})


def _put(before: Mail, after: Mail, writer: str) -> Put:
    condition, values = _unchanged(before)
    return Put({**_write(after), "writer": writer}, condition, values=values)


def _write(mail: Mail) -> Item:
    partition, sort = _key(mail.order, mail.number)
    return {
        "pk": partition,
        "sk": sort,
        "contents": mail.contents,
        "state": str(mail.state),
        "claimed": clock.to_text(mail.claimed) if mail.claimed else None,
        "attempts": [*mail.attempts],
        "out": mail.out,
        "messageId": mail.message_id,
        "moments": [_write_moment(moment) for moment in mail.moments],
        "version": mail.version,
    }


def _read(item: Item) -> Mail:
    return Mail(
        order=item["pk"].partition("#")[2],
        number=int(item["sk"]),
        contents=item.get("contents", 0),
        state=MailState(item["state"]),
        claimed=clock.from_text(claimed) if (claimed := item.get("claimed")) else None,
        attempts=tuple(item.get("attempts", ())),
        out=item.get("out", False),
        message_id=item.get("messageId", ""),
        moments=tuple(_read_moment(moment) for moment in item.get("moments", ())),
        version=item["version"],
    )


def _write_moment(moment: MailEvent) -> Item:
    return {
        "what": str(moment.what),
        "at": clock.to_text(moment.at),
        "attempt": moment.attempt,
        "why": moment.why,
    }


def _read_moment(item: Item) -> MailEvent:
    return MailEvent(MailEventType(item["what"]), clock.from_text(item["at"]), item["attempt"], item.get("why", ""))
