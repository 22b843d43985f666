"""Events that come in: payments, certificates, cancellations, and what became of mails.

EventBridge puts them onto a queue, from which they come at least once, in any order, and to several consumers at once.
So all that an event asks for is done once by its own name, which comes with it: a payment's operation, a load's batch,
an order that can be cancelled only once. An event that comes too early, or while something cannot be reached, is told
by an error and comes again. What nobody understands is told so too, and ends with the queue's dead letters. What is
understood but can never be done is refused: told in the log, counted, and done with.

Nothing here is keyed by an event's own id: a producer that lost its answer may send the same thing as another event.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from ordering.aws.dynamodb import Table
from ordering.book.lifecycle import Lifecycle
from ordering.clock import Clock, system_clock
from ordering.ecards.assignment import Assignment
from ordering.ecards.certificates import Certificates, Duplicates, Stock
from ordering.ecards.orders import EcardOrders
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.errors import Conflict, KeyReused, NotFound, OrderingError
from ordering.events.incoming_shapes import CANCELLATION, PAYMENT, SHAPES, STOCK, IncomingEnvelope, sealing_context
from ordering.events.json_schema import event_schema, misfits, schema_of
from ordering.identity.accounts import Accounts
from ordering.money import parse_amount
from ordering.principal import BusinessUnit
from ordering.sealing import BrokenSeal, Sealer
from ordering.training.orders import TrainingOrders, find_order
from ordering.training.statuses import TRAINING, TrainingStatus

CANCELLATIONS_REFUSED = "CancellationsRefused"
EVENTS_REFUSED = "EventsRefused"

MAIL_SOURCE = "aws.ses"
"""Only the service itself can put events of this source onto a bus."""

_log = logging.getLogger("ordering")

Json = Mapping[str, Any]

Report = Callable[[Mapping[str, Sequence[str]], str, str | None, datetime], None]
"""Takes what became of a mail: its tags, SES's name for what it became, why in our words if something went wrong, when.

It may be told the same twice, and what came later first.
"""

Count = Callable[[str], None]
"""Counts one more of a metric."""

_S = TypeVar("_S", TrainingStatus, EcardStatus)


class NotUnderstood(OrderingError):
    """An event is not what it is said to be, or of a type or version that nobody here knows."""


class _Refused(Exception):
    """What an event asks for can never be done."""

    def __init__(self, metric: str, reason: object) -> None:
        """Say where it is counted, and why."""
        super().__init__(str(reason))
        self.metric = metric


@dataclass(frozen=True, slots=True)
class MailKind:
    """What SES has to tell of a mail: its name for it, where that is described, and, if it is bad news, how we say it.

    Terms are the names of SES's own terms for what went wrong.
    """

    name: str
    part: str
    words: str | None = None
    terms: tuple[str, ...] = ()

    @property
    def shape(self) -> Json:
        """The schema of what is read of it."""
        return {
            "type": "object",
            "required": ["eventType", "mail"],
            "properties": {
                "eventType": {"const": self.name},
                "mail": {"type": "object", "properties": {"tags": {"type": "object"}}},
                self.part: {"type": "object"},
            },
        }


MAIL_KINDS: Mapping[str, MailKind] = {
    "Email Sent": MailKind("Send", "send"),
    "Email Delivered": MailKind("Delivery", "delivery"),
    "Email Delivery Delayed": MailKind("DeliveryDelay", "deliveryDelay", "it is not delivered yet", ("delayType",)),
    "Email Bounced": MailKind("Bounce", "bounce", "it cannot be delivered", ("bounceType", "bounceSubType")),
    "Email Complaint Received": MailKind(
        "Complaint", "complaint", "the recipient did not want it", ("complaintFeedbackType", "complaintSubType")
    ),
    "Email Rejected": MailKind("Reject", "reject", "SES did not send it because of what is in it"),
    "Email Rendering Failed": MailKind("Rendering Failure", "failure", "SES could not fill in its template"),
    "Email Opened": MailKind("Open", "open"),
    "Email Clicked": MailKind("Click", "click"),
    "Email Subscribed": MailKind("Subscription", "subscription"),
}
"""By the detail-type of SES's events; https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html."""

_TERM = re.compile(r"[A-Za-z-]{1,40}")
_REASON_AT_MOST = 300
_PLACES_AT_MOST = 10
_SCHEMAS = {name: event_schema(name, IncomingEnvelope, schema_of(shape)) for name, shape in SHAPES.items()}
_DELIVERED = {
    "type": "object",
    "required": ["detail-type", "source", "time", "detail"],
    "properties": {
        "detail-type": {"type": "string"},
        "source": {"type": "string"},
        "time": {"type": "string"},
        "detail": {"type": "object"},
    },
}
"""An event as EventBridge delivers it."""
_TEXTS = {"type": "array", "items": {"type": "string"}}
_CODES = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}


@dataclass(frozen=True, slots=True)
class Incoming:
    """Does what events ask for, for one invocation.

    Args:
        table: The orders table.
        sealer: Opens what producers have sealed, and seals codes for the table.
        open_training: Opens the orders of a business unit.
        open_ecards: Opens the orders of a company.
    """

    table: Table
    accounts: Accounts
    sealer: Sealer
    open_training: Callable[[BusinessUnit], TrainingOrders]
    open_ecards: Callable[[str], EcardOrders]
    report: Report
    count: Count
    now: Clock = system_clock

    def handle(self, body: str) -> None:
        """Do what an event asks for, once however often it comes.

        Args:
            body: The event as EventBridge delivers it to a queue.

        Raises:
            NotUnderstood: It is malformed, or of a type or version that nobody here knows.
            NotFound: What it is about is not there, or not yet.
            Conflict: Something else happened to its order at the same moment. The same call again is safe.
            Unavailable: The deadline passed. The same call again is safe.
        """
        event = _read(body)
        _check(_DELIVERED, event, "an event of EventBridge's")
        kind, detail = event["detail-type"], event["detail"]
        if event["source"] == MAIL_SOURCE:
            self.report(*read_mail_event(kind, detail, event["time"]))
            return
        if kind not in SHAPES:
            raise NotUnderstood(f"nobody here knows events of type {kind!r}")
        _check(_SCHEMAS[kind], detail, kind)
        act = {PAYMENT: self._receive, STOCK: self._load, CANCELLATION: self._cancel}[kind]
        try:
            act(detail["data"])
        except _Refused as refusal:
            told = {"event": detail["id"], "type": kind, "reason": str(refusal)[:_REASON_AT_MOST]}
            _log.warning("event refused", extra=told)
            self.count(refusal.metric)

    def _receive(self, data: Json) -> None:
        orders = self._orders_of(data["company"])
        try:
            orders.top_up(data["operation"], parse_amount(data["amount"]))
        except KeyReused as reused:
            raise _Refused(EVENTS_REFUSED, reused) from reused

    def _load(self, data: Json) -> None:
        stock, batch = Stock(data["cardId"], data["faceValue"]), data["batch"]
        codes = self._opened(data["codes"], sealing_context(stock.card_id, stock.face_value, batch))
        try:
            Certificates(self.table, self.sealer).load(stock, batch, codes)
        except (KeyReused, Duplicates) as refusal:
            raise _Refused(EVENTS_REFUSED, refusal) from refusal
        Assignment(self.table, now=self.now).assign_parked(stock)

    def _opened(self, sealed: str, context: bytes) -> list[str]:
        try:
            plain = self.sealer.open(base64.b64decode(sealed), context)
        except (ValueError, BrokenSeal):
            raise NotUnderstood(f"{STOCK}: its codes were not sealed for its card and batch") from None
        codes: list[str] = _read(plain)
        _check(_CODES, codes, f"{STOCK}: what is sealed")
        return codes

    def _cancel(self, data: Json) -> None:
        order = data["order"]
        if order["kind"] == "training":
            number = order["id"]
            seats = self.open_training(self._unit_of(number))
            _cancel_once(
                lambda: seats.cancel(number), lambda: seats.order(number).status, TRAINING, TrainingStatus.CANCELLED
            )
        else:
            order_id = order["id"].lower()
            cards = self._orders_of(order["company"])
            _cancel_once(
                lambda: cards.cancel(order_id), lambda: cards.order(order_id).status, ECARDS, EcardStatus.CANCELLED
            )

    def _orders_of(self, company: str) -> EcardOrders:
        partner = self.accounts.partner(company)
        if partner is None or partner.company is None:
            raise NotFound("company", company)
        return self.open_ecards(company)

    def _unit_of(self, number: int) -> BusinessUnit:
        found = find_order(self.table, number)
        if found is None:
            raise NotFound("order", str(number))
        order, _ = found
        return order.business_unit


def read_mail_event(
    kind: str, detail: Json, time: str
) -> tuple[Mapping[str, Sequence[str]], str, str | None, datetime]:
    """Read what SES has to tell of a mail, as a `Report` takes it.

    Raises:
        NotUnderstood: It is malformed, or of a type that nobody here knows.
    """
    known = MAIL_KINDS.get(kind)
    if known is None:
        raise NotUnderstood(f"nobody here knows SES's events of type {kind!r}")
    _check(known.shape, detail, kind)
    told = detail.get(known.part, {})
    tags = detail["mail"].get("tags", {})
    for values in tags.values():
        _check(_TEXTS, values, f"{kind}: what a tag has")
    at = _instant(told.get("timestamp")) or _instant(time)
    if at is None:
        raise NotUnderstood(f"{kind} does not say when it happened")
    return tags, known.name, _why(known, told), at


def _why(kind: MailKind, told: Json) -> str | None:
    """Say why in our own words, with nothing of SES's but its own terms: servers' texts have addresses in them."""
    terms = [term for term in map(told.get, kind.terms) if isinstance(term, str) and _TERM.fullmatch(term)]
    return f"{kind.words} ({', '.join(terms)})" if terms else kind.words


def _cancel_once(
    cancel: Callable[[], object], status: Callable[[], _S], lifecycle: Lifecycle[_S], cancelled: _S
) -> None:
    """Cancel an order if it is not cancelled already.

    Raises:
        _Refused: It cannot be cancelled any more.
        Conflict: Something else happened to it at the same moment.
    """
    try:
        cancel()
    except Conflict as conflict:
        now = status()
        if now is cancelled:
            return
        if cancelled not in lifecycle.targets(now):
            raise _Refused(CANCELLATIONS_REFUSED, conflict) from conflict
        raise


def _read(text: str | bytes) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a character can be written in JSON, but not stored
    except (ValueError, RecursionError):
        # Not chained: a parser's error carries the whole text, which may hold codes.
        raise NotUnderstood("what should be JSON is none") from None
    return value


def _check(shape: Json, value: Any, what: str) -> None:
    places = [*itertools.islice(misfits(shape, value), _PLACES_AT_MOST)]
    if places:
        raise NotUnderstood(f"{what} does not fit its schema at {', '.join(places)}")


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
