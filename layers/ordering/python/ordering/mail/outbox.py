"""The mails of orders: each is sent once, and its item records what became of it.

SES has no idempotency: it sends a mail as often as it is asked. So a mail is claimed, sent, and marked as sent. A claim
records its time and the token of one attempt; while it holds, no other process sends the mail. An attempt ends in one
of four ways:

* SES accepted the mail: it is marked as sent.
* The mail was surely not sent: the claim is released, and the next retry sends it.
* SES will never accept it: it is marked as refused, and is not sent again until an operator requests it (`again`).
* The outcome is unknown: the process crashed, or the response or the mark was lost. SES's own events, which carry the
  attempt's token, decide. An event that says that SES sent the mail marks it as sent. If none arrives within `UNSURE`,
  the mail is sent again.

An attempt stays recorded for as long as it may have been sent, so that its keys or certificates are never given away.

An order's mails go to the address in the order until an operator corrects it (`again`). The corrected address is stored
in the same transaction as the request, and a claim requires that the address is the one that its attempt has read. So
no attempt at any mail of the order that is claimed after the request goes to an address from before it. That costs an
attempt one strongly consistent GetItem, and two write units for the check.

What partners learn of a mail is added to its order's mail history (`mail.history`) with the change of the mail.

Keys of the orders table: `MAIL#<order's name>` the mails of an order, by their numbers; `MAILTO#<order's name>` the
corrected address of its mails.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from ordering import clock
from ordering.addresses import is_email_address
from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import ABSENT, Check, ConditionFailed, Item, Key, Put, Table, TransactionRefused, Write
from ordering.aws.ses import Letter, MailRefused, Misconfigured, NotSent, Ses
from ordering.book.correlation import correlation_of, kept
from ordering.book.search import SearchedBy, searchable
from ordering.clock import Clock
from ordering.errors import Conflict, NotFound, Unavailable
from ordering.events.types import MailMomentType
from ordering.logs import correlate
from ordering.mail.history import MailMoment, next_moments
from ordering.values import Value, replace

UNSURE = timedelta(minutes=15)
"""How long an attempt without a known outcome is not repeated. SES's events arrive within seconds; no function runs
longer than this, and a signed request expires sooner."""

EVENTS_AT_MOST = 50
"""Events that a mail keeps, the latest ones."""

_LONGEST_REASON = 200
_DIGITS = 10
"""Stored format: mails' numbers in keys are padded to so many digits."""

_LAST = "\U0010ffff"

_log = logging.getLogger("ordering")

SendMail = Callable[[Letter, Mapping[str, str]], str]
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
"""The metrics of events that are counted."""


_ACCEPTED = frozenset(
    {
        MailEventType.SENT,
        MailEventType.DELIVERED,
        MailEventType.DELAYED,
        MailEventType.BOUNCED,
        MailEventType.COMPLAINED,
    }
)
"""Events of an attempt that SES accepted. SES's own can arrive before its response is recorded."""

_MOMENTS = {MailEventType.BOUNCED: MailMomentType.BOUNCED, MailEventType.REFUSED: MailMomentType.REFUSED}


class MailInFlight(Unavailable):
    """Another attempt at the mail is in flight, or its process crashed. The queue retries the message."""

    def __init__(self, seconds: float) -> None:
        """Take the seconds until the attempt counts as failed."""
        super().__init__(f"the mail is in flight, for at most {max(1, round(seconds))} seconds more")


class MailEvent(Value):
    """Something that happened to a mail. `reason` is an operator's, or ours without addresses."""

    type: MailEventType
    at: datetime
    attempt: str
    """The token of the attempt, or of the operator's request."""
    reason: str = ""
    to: str = ""
    """The corrected address of the attempt, or of the request; empty for the address in the order."""


class Mail(Value, kw_only=True):
    """A mail of an order, without its content."""

    order: str
    number: int
    contents: int = 0
    """How many keys or certificates it has."""
    state: MailState = MailState.OPEN
    claimed: datetime | None = None
    """When the last attempt began."""
    attempts: tuple[str, ...] = ()
    """The attempts since the operator's last request that are in flight or may have been sent."""
    out: bool = False
    """Whether an attempt before that request may have been sent."""
    corrected: tuple[tuple[str, str], ...] = ()
    """The attempts that went to a corrected address, each with the address; all others went to that of the order."""
    resent: bool = False
    """Whether an operator has requested it again."""
    message_id: str = ""
    events: tuple[MailEvent, ...] = ()
    version: int = 0
    """Rises with every change; 0 for a mail without an item."""
    correlation: str | None = None
    """The id of the request that created the order; None if it is not known. SES's events do not name it."""

    @property
    def done(self) -> bool:
        """Whether it was sent or refused, so that no attempt follows unless an operator requests one."""
        return self.state in {MailState.SENT, MailState.REFUSED}

    @property
    def unsent(self) -> bool:
        """Whether it was surely not sent, and is not in flight."""
        return self.state in {MailState.OPEN, MailState.REFUSED} and not self.attempts and not self.out

    @property
    def refusal(self) -> str:
        """Why it was refused; empty if it was not."""
        return next((event.reason for event in reversed(self.events) if event.type is MailEventType.REFUSED), "")

    @property
    def bounced(self) -> bool:
        """Whether an attempt since the operator's last request bounced."""
        return any(event.type is MailEventType.BOUNCED and event.attempt in self.attempts for event in self.events)

    def tags(self) -> dict[str, str]:
        """Return the tags by which SES's events identify the mail and its last attempt."""
        name = base64.urlsafe_b64encode(self.order.encode()).decode().rstrip("=")
        return {"order": name, "mail": str(self.number), "attempt": self.attempts[-1]}

    def begun(self, attempt: str, contents: int, at: datetime, to: str = "") -> Mail:
        """Return the mail with a new attempt that claims it.

        Args:
            to: The corrected address; empty if it goes to the address in the order.
        """
        corrected = (*self.corrected, (attempt, to))[-EVENTS_AT_MOST:] if to else self.corrected
        return replace(
            self._unclaimed(),
            state=MailState.CLAIMED,
            claimed=at,
            attempts=(*self.attempts, attempt),
            contents=contents,
            corrected=corrected,
        )

    def accepted(self, attempt: str, message_id: str, at: datetime) -> Mail:
        """Return the mail after SES accepted an attempt."""
        return replace(self.recorded(MailEvent(MailEventType.SENT, at, attempt)), message_id=message_id)

    def dropped(self, attempt: str, refusal: MailEvent | None = None) -> Mail:
        """Return the mail after an attempt that was surely not sent; if it was refused, it is not retried."""
        changed = self.with_event(refusal) if refusal else self
        if attempt not in self.attempts:
            return changed
        attempts = tuple(one for one in self.attempts if one != attempt)
        changed = replace(changed, corrected=tuple(one for one in self.corrected if one[0] != attempt))
        if attempt != self.attempts[-1] or (self.state is MailState.SENT and attempts):
            return replace(changed, attempts=attempts)  # another attempt decides
        return replace(changed, attempts=attempts, state=MailState.REFUSED if refusal else MailState.OPEN)

    def recorded(self, event: MailEvent) -> Mail:
        """Return the mail after an event about an attempt that SES accepted."""
        if event.type is MailEventType.REFUSED:
            return self.dropped(event.attempt, event)
        changed = self.with_event(event)
        return replace(changed, state=MailState.SENT) if event.attempt in self.attempts else changed

    def requested(self, request: MailEvent) -> Mail:
        """Return the mail, to be sent again, after an operator's request.

        A mail that is not done is unchanged, unless the request has a corrected address.
        """
        if request in self.events or not (self.done or request.to):
            return self
        out = self.out or bool(self.attempts)
        return replace(self._unclaimed().with_event(request), state=MailState.OPEN, attempts=(), out=out, resent=True)

    def with_event(self, event: MailEvent) -> Mail:
        """Return the mail with one more event, unless the event is a duplicate."""
        known = {(one.type, one.attempt, one.reason) for one in self.events}
        if (event.type, event.attempt, event.reason) in known:
            return self
        event = replace(event, to=event.to or dict(self.corrected).get(event.attempt, ""))
        return replace(self, events=(*self.events, event)[-EVENTS_AT_MOST:])

    def moments_since(self, before: Mail) -> list[MailMoment]:
        """Return what the partner learns of the changes since an earlier version: bounces, refusals, and resends."""
        known = {(event.type, event.attempt) for event in before.events}
        accepted = {attempt for kind, attempt in known if kind in _ACCEPTED}
        moments = []
        for event in self.events:
            if (event.type, event.attempt) in known:
                continue
            if self.resent and event.type in _ACCEPTED and event.attempt in {*self.attempts} - accepted:
                accepted.add(event.attempt)
                moments.append(MailMoment(MailMomentType.SENT_AGAIN, event.at, self.number, event.to))
            if kind := _MOMENTS.get(event.type):
                moments.append(MailMoment(kind, event.at, self.number, event.to, event.reason))
        return moments

    def _unclaimed(self) -> Mail:
        """Return the mail after its claim, if it has one, has ended without a known outcome."""
        if not self.claimed or self.state is not MailState.CLAIMED:
            return self
        return self.with_event(
            MailEvent(MailEventType.UNSURE, self.claimed, self.attempts[-1], "No response, and no event.")
        )


def uncounted(name: str) -> None:
    """Count nothing."""


class Outbox(Value):
    """The mails of all orders.

    Args:
        table: The orders table.
        post: Sends a letter; needed by `send` only.
        count: Adds one to a metric; see `METRICS`.
    """

    table: Table
    post: SendMail = Ses(unavailable, sender="").send
    count: Callable[[str], None] = uncounted
    now: Clock = clock.system_clock

    def mail(self, order: str, number: int, correlation: str | None = None) -> Mail:
        """Return a mail as it is now; a mail without an item is open.

        Args:
            correlation: That of the order, for a mail without an item.

        Raises:
            Unavailable: The deadline passed.
        """
        item = self.table.get(_key(order, number))
        return _read(item) if item else Mail(order=order, number=number, correlation=correlation)

    def mails(self, order: str) -> list[Mail]:
        """Return the mails of an order that have an item, by number.

        Raises:
            Unavailable: The deadline passed.
        """
        return [_read(item) for item in self.table.query(_partition(order), " ", _LAST)]

    def corrected_address(self, order: str) -> str:
        """Return the address that an operator set for an order's mails; empty if it is the one in the order.

        Raises:
            Unavailable: The deadline passed.
        """
        item = self.table.get(_address_key(order))
        return item["to"] if item else ""

    def as_read(self, mail: Mail) -> Check:
        """Return the check that a mail has not changed since it was read."""
        condition, values = _unchanged(mail)
        return Check(_key(mail.order, mail.number), condition, values=values)

    def send(self, mail: Mail, contents: int, compose: Callable[[], Letter], allowed: Check | None = None) -> None:
        """Send a mail unless it was sent; when this returns, it was.

        Args:
            contents: How many keys or certificates it has.
            compose: Returns the letter; called only if an attempt follows.
            allowed: A check that must hold when the mail is claimed.

        Raises:
            MailRefused: SES will never accept it, now or at an earlier attempt.
            Conflict: The mail has changed since it was read, the address was corrected, or `allowed` does not hold.
                Nothing was sent.
            MailInFlight: An earlier attempt has no known outcome yet. Retry the call later.
            Unavailable: It was not sent (`NotSent`), or may have been. Retry the call.
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
        if (left := self.remaining_wait(mail)) > timedelta():
            raise MailInFlight(left.total_seconds())
        letter = compose()
        to = self.corrected_address(mail.order)
        letter = replace(letter, to=to or letter.to)
        checks = [_same_address(mail.order, to), *([allowed] if allowed else [])]
        claimed = self._claim(mail.begun(secrets.token_hex(8), contents, self.now(), to), mail, checks)
        attempt = claimed.attempts[-1]
        try:
            message_id = self.post(letter, claimed.tags())
        except NotSent as error:
            _log_not_sent(error, claimed)
            self._change(claimed, lambda now: now.dropped(attempt))
            raise
        except MailRefused as refusal:
            _log.warning("mail refused", extra={"order": mail.order, "mail": mail.number})
            event = MailEvent(MailEventType.REFUSED, self.now(), attempt, refusal.reason)
            if self._change(claimed, lambda now: now.dropped(attempt, event)).state is not MailState.SENT:
                raise
        else:
            at = self.now()
            after = self._change(claimed, lambda now: now.accepted(attempt, message_id, at))
            _log.info("mail sent", extra={"order": mail.order, "mail": mail.number})
            if after.state is MailState.REFUSED:  # SES's event of its rejection came before this write
                raise MailRefused(after.refusal)

    def remaining_wait(self, mail: Mail) -> timedelta:
        """Return how long to wait for the outcome of an attempt; zero or less if there is nothing to wait for."""
        if mail.state is not MailState.CLAIMED or mail.claimed is None:
            return timedelta()
        return mail.claimed + UNSURE - self.now()

    def again(self, order: str, number: int, *, to: str | None = None, reason: str = "", force: bool = False) -> Mail:
        """Request that a mail is sent again.

        A mail that was refused can always be sent again; one that bounced only to a corrected address, or with `force`;
        one that was sent only with `force`. Without `to`, a mail that is open or in flight is unchanged.

        Args:
            to: The corrected address, from now on that of all mails of the order; None if it stays as it is.
            reason: An operator's words; kept in the mail's history, at most 200 characters of them.

        Raises:
            ValueError: `to` is malformed.
            NotFound: The order has no such mail.
            Conflict: It was sent; or an attempt is in flight, so that its address cannot be corrected yet.
            Unavailable: The deadline passed. A retry is safe.
        """
        if to is not None and not is_email_address(to):
            raise ValueError(f"'{to}' is not a valid email address")
        mail = self.mail(order, number)
        if not mail.version:
            raise NotFound("mail", f"{order} {number}")
        token, goes_to = secrets.token_hex(8), to or self.corrected_address(order)
        request = MailEvent(MailEventType.AGAIN, self.now(), token, reason[:_LONGEST_REASON], goes_to)

        def change(now: Mail) -> Mail:
            may = force or (to and now.bounced) or now.state is not MailState.SENT
            if not may or self.remaining_wait(now) > timedelta() or not (to or now.done):
                return now
            return now.requested(request)

        mail = self._change(mail, change, [_put_address(order, request)] if to else [])
        if request not in mail.events:
            if mail.state is MailState.SENT:
                raise Conflict(f"Mail {number} of {order} was sent{' and bounced' if mail.bounced else ''}.")
            if to:
                raise Conflict(f"Mail {number} of {order} is in flight. Retry in a quarter of an hour.")
        return mail

    def report(
        self, tags: Mapping[str, Sequence[str]], event_type: MailEventType, reason: str | None, at: datetime
    ) -> None:
        """Record an event of SES's about a mail, duplicates once. Events about no mail of ours are ignored.

        Args:
            tags: Of the event's mail: a list of values by name.
            reason: A text without addresses, or None.

        Raises:
            Unavailable: The deadline passed. A retry is safe.
        """
        named = read_tags(tags)
        if named is None:
            return
        order, number, attempt = named
        mail = self.mail(order, number)
        if not mail.version:
            _log.warning("event about an unknown mail", extra={"order": order, "mail": number})
            return
        correlate(mail.correlation)
        event = MailEvent(event_type, at, attempt, (reason or "")[:_LONGEST_REASON])
        self._change(mail, lambda now: now.recorded(event))
        _log.info("mail reported", extra={"order": order, "mail": number, "what": str(event_type)})

    def _claim(self, begun: Mail, mail: Mail, checks: Sequence[Check]) -> Mail:
        attempt = begun.attempts[-1]
        after = replace(begun, version=mail.version + 1)
        try:
            self.table.transact([_put(mail, after, attempt), *checks])
        except TransactionRefused as refusal:
            met = refusal.reasons[0]
            if met and met.item and met.item["writer"] == attempt:
                return after  # an earlier try was applied, and its response was lost
            raise Conflict(f"Mail {mail.number} of {mail.order}, its order or its address has changed.") from refusal
        return after

    def _change(self, mail: Mail, change: Callable[[Mail], Mail], also: Sequence[Write] = ()) -> Mail:
        """Apply a change to the mail as it is now, even if it has changed since it was read, and return the result.

        Args:
            also: Further writes, made with the change or not at all.

        The moments that the change adds to the order's mail history are such writes as well.
        """
        writer = secrets.token_hex(8)
        pauses = self.table.pauses()
        while (after := change(mail)) != mail:
            after = replace(after, version=mail.version + 1)
            moments = next_moments(self.table, mail.order, after.moments_since(mail))
            if not self._write(_put(mail, after, writer), [*also, *moments]):
                next(pauses)
                mail = self.mail(mail.order, mail.number)
                continue
            self._count(mail, after)
            return after
        return mail

    def _write(self, put: Put, also: Sequence[Write]) -> bool:
        """Write a mail's item with further writes; returns whether they took effect, now or by an earlier try."""
        try:
            if also:
                self.table.transact([put, *also])
            else:
                self.table.put(put)
        except ConditionFailed as failure:
            met = failure.item
        except TransactionRefused as refusal:
            met = refusal.reasons[0].item if refusal.reasons[0] else None
        else:
            return True
        return met is not None and met["writer"] == put.item["writer"]

    def _count(self, before: Mail, after: Mail) -> None:
        for event in after.events:
            if event.type in METRICS and event not in before.events:
                self.count(METRICS[event.type])


def read_tags(tags: Mapping[str, Sequence[str]]) -> tuple[str, int, str] | None:
    """Return the order, number and attempt of the mail that tags identify; None if it is not one of ours."""
    try:
        (name,), (number,), (attempt,) = tags["order"], tags["mail"], tags["attempt"]
        order = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
        return order, int(number), attempt
    except (KeyError, ValueError, binascii.Error):
        return None


def _log_not_sent(error: NotSent, mail: Mail) -> None:
    extra: dict[str, Any] = {"order": mail.order, "mail": mail.number}
    if isinstance(error, Misconfigured):
        _log.error("mails cannot be sent", extra={**extra, "code": error.code})
    else:
        _log.warning("mail not sent", extra=extra)


def _partition(order: str) -> str:
    return f"MAIL#{order}"


def _key(order: str, number: int) -> Key:
    return _partition(order), f"{number:0{_DIGITS}}"


def _address_key(order: str) -> Key:
    return f"MAILTO#{order}", "-"


def _same_address(order: str, to: str) -> Check:
    """Return the check that the corrected address of an order's mails is the one that was read; empty for none."""
    if not to:
        return Check(_address_key(order), ABSENT)
    return Check(_address_key(order), "#to = :read", {"#to": "to"}, {":read": to})


def _put_address(order: str, request: MailEvent) -> Put:
    partition, sort = _address_key(order)
    return Put({"pk": partition, "sk": sort, "to": request.to, "at": clock.to_text(request.at)})


def _unchanged(mail: Mail) -> tuple[str, dict[str, int]]:
    return ("version = :read", {":read": mail.version}) if mail.version else (ABSENT, {})


def _put(before: Mail, after: Mail, writer: str) -> Put:
    condition, values = _unchanged(before)
    return Put({**_write(after), "writer": writer}, condition, values=values)


def _write(mail: Mail) -> Item:
    partition, sort = _key(mail.order, mail.number)
    corrected = {"corrected": [{"attempt": one, "to": to} for one, to in mail.corrected]} if mail.corrected else {}
    resent = {"resent": True} if mail.resent else {}
    return {
        "pk": partition,
        "sk": sort,
        "contents": mail.contents,
        "state": str(mail.state),
        "claimed": clock.to_text(mail.claimed) if mail.claimed else None,
        "attempts": [*mail.attempts],
        "out": mail.out,
        "messageId": mail.message_id,
        "moments": [_write_event(event) for event in mail.events],
        "version": mail.version,
        **corrected,
        **resent,
        **kept(mail.correlation),
        **found_by(mail),
    }


def found_by(mail: Mail) -> Item:
    """Return the attributes by which a refused mail is found; none for all others."""
    at = next((event.at for event in reversed(mail.events) if event.type is MailEventType.REFUSED), mail.claimed)
    return searchable(SearchedBy.MAILS, mail.state, at) if mail.state is MailState.REFUSED else {}


def _read(item: Item) -> Mail:
    return Mail(
        order=item["pk"].partition("#")[2],
        number=int(item["sk"]),
        contents=item.get("contents", 0),
        state=MailState(item["state"]),
        claimed=clock.from_text(claimed) if (claimed := item.get("claimed")) else None,
        attempts=tuple(item.get("attempts", ())),
        out=item.get("out", False),
        corrected=tuple((one["attempt"], one["to"]) for one in item.get("corrected", ())),
        resent=item.get("resent", False),
        message_id=item.get("messageId", ""),
        events=tuple(_read_event(event) for event in item.get("moments", ())),
        version=item["version"],
        correlation=correlation_of(item),
    )


def _write_event(event: MailEvent) -> Item:
    return {
        "what": str(event.type),
        "at": clock.to_text(event.at),
        "attempt": event.attempt,
        "why": event.reason,
        **({"to": event.to} if event.to else {}),
    }


def _read_event(item: Item) -> MailEvent:
    return MailEvent(
        MailEventType(item["what"]),
        clock.from_text(item["at"]),
        item["attempt"],
        item.get("why", ""),
        item.get("to", ""),
    )
