"""Mails: every interleaving of mailers, cancellations, resends and SES's events, with lost responses and crashes.

Calls of SES are steps as well, and calls of KMS if one mailer is alone. SES keeps the mails that it accepted in the
explored memory. In every state no mailed certificate is free or another order's, and SES has accepted a mail once, and
once more for each silence and each resend. After a crash of all clients in any state, redelivery of the queue's message
must lead to the end: all certificates mailed and handed over, or those back in stock that certainly were not mailed.
`ORDERING_EXPLORE=deep` loses more responses.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from engine import test_ecards
from engine.engines import ROOT, Engine, in_threads
from engine.explored import (
    ANYHOW,
    Case,
    Mutant,
    ReadableSealer,
    TableAndServices,
    every_interleaving,
    every_mutant,
    service,
)
from engine.test_ecards import (
    COMPANY,
    HUNDRED,
    EcardChecker,
    EcardContents,
    EcardServices,
    advances,
    creates,
    loads,
    tops_up,
)
from ordering import clock
from ordering.aws import ses
from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import Check, NoAnswer, Send, Table, _item, plain_item
from ordering.aws.ses import Letter, NotSent, Ses, Unsure
from ordering.clock import Clock, Deadline
from ordering.contexts import mailers
from ordering.ecards import mailing as ecard_mailing
from ordering.ecards import records as ecard_records
from ordering.ecards.catalogue import Ecard, EcardCache, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import Certificates, Stock, read_ranges, read_stock_levels
from ordering.ecards.mailing import EcardMailer
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Conflict, Unavailable
from ordering.events.types import MailMomentType
from ordering.mail import outbox as mails
from ordering.mail.history import MailMoment, read_moment
from ordering.mail.mailing import Mailing
from ordering.mail.outbox import Mail, MailEventType, MailState, Outbox, _read
from ordering.training.mailing import KEYS_AT_MOST
from ordering.values import replace
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION
from ordering_tools.local.engine.engine import Engine as MiniStack
from ordering_tools.local.engine.engine import connect
from ordering_tools.local.engine.mails import sent_mails
from support.aws.memory import Memory
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.scheduler import START, TABLE, TICK, Checker, Result, Script, Setup, operations
from support.training import School

SEALER = ReadableSealer()
ECARDS = f"ecards#{COMPANY}#a"
TRAINING = "training#1"
AT_ONCE = 2
CODE = re.compile(r"\bl0-(\d+)$", re.MULTILINE)
KEY = re.compile(r"^\w{5}(?:-\w{5}){4}$", re.MULTILINE)
RETRIED = {"MailInFlight", "NotSent", "Unsure", "Unavailable"}
"""The errors with which the message stays on the queue."""

HAPPENED = {"Send": MailEventType.SENT, "Bounce": MailEventType.BOUNCED, "Reject": MailEventType.REFUSED}


# The table, SES and KMS, in one memory --------------------------------------------------------------------------------


class SimulatedServices(TableAndServices):
    """The table, KMS, and SES with the mails that it accepted."""

    operations: ClassVar[Mapping[str, str]] = {
        **Memory.operations,
        "SendEmail": "_send_email",
        "ReportEvent": "_report_event",
        "Decrypt": "_decrypt",
    }

    @classmethod
    def over(cls, memory: Memory) -> SimulatedServices:
        """Services that start with the contents of another memory."""
        services = cls()
        services._partitions = memory.fork()._partitions
        return services

    def _decrypt(self, _: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _send_email(self, request: dict[str, Any]) -> dict[str, Any]:
        codes: list[str] = self.read("SES", "answers").get("codes", [])
        if codes:
            self.write("SES", "answers", codes=codes[1:])
            if codes[0]:
                return {"Error": codes[0]}
        tags = {tag["Name"]: tag["Value"] for tag in request["EmailTags"]}
        number = f"{int(tags['mail']):04}"
        text = request["Content"]["Simple"]["Body"]["Text"]["Data"]
        before = self.read("ACCEPTED", number)
        attempts = [*before.get("attempts", []), tags["attempt"]]
        (to,) = request["Destination"]["ToAddresses"]
        recipients = {**before.get("recipients", {}), tags["attempt"]: to}
        texts = [*before.get("texts", []), text]
        self.write("ACCEPTED", number, attempts=attempts, order=tags["order"], texts=texts, recipients=recipients)
        return {"MessageId": f"m{len(attempts)}"}

    def _report_event(self, request: dict[str, Any]) -> dict[str, Any]:
        """Report an event of the last attempt of a mail that was accepted; a rejected mail is discarded."""
        accepted = self.read("ACCEPTED", request["Number"])
        if not accepted:
            return {}
        if request["Kind"] == "Reject":
            self.load(TABLE, _item({**accepted, "texts": []}))
        tags = {"order": [accepted["order"]], "mail": [request["Number"]], "attempt": [accepted["attempts"][-1]]}
        return {"Tags": tags}


class KmsSealer(ReadableSealer):
    """A sealer that calls KMS when it first opens, if that is to be a step."""

    def __init__(self, call: Send, *, calls_kms: bool) -> None:
        self._call = call
        self._calls_kms = calls_kms

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if self._calls_kms:
            self._call("Decrypt", {})
            self._calls_kms = False
        return super().open(sealed, context)


class MailServices(EcardServices):
    """The code of e-card orders and mails, as one process has it."""

    def __init__(self, table: Table, now: Clock, *, kms: bool = True) -> None:
        super().__init__(table, now)
        self.call = service(table)
        self.outbox = Outbox(table, Ses(self._ses, "orders@example.com", "mails").send, now=now)
        sealer = KmsSealer(self.call, calls_kms=kms)
        self.mailing = Mailing(mailers(table, self.outbox, sealer, Deadline.after(3_600), now))

    def _ses(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.call(operation, request)
        if "Error" in answer:
            raise CallRefused(operation, answer["Error"])
        return answer

    def deliver(self, order: str, times: int = 1) -> bool:
        """Handle a message, and its redeliveries until it is handled, at most so many times."""
        for _ in range(times - 1):
            with suppress(Unavailable):
                self.mailing.deliver(order)
                return True
        self.mailing.deliver(order)
        return True

    def report(self, number: str, kind: str) -> bool:
        """Let SES report an event of a mail, if it accepted the mail."""
        tags = self.call("ReportEvent", {"Number": number, "Kind": kind}).get("Tags")
        if tags:
            self.outbox.report(tags, HAPPENED[kind], "", START)
        return bool(tags)


def setup(*, kms: bool) -> Setup:
    return Setup(partial(MailServices, kms=kms), 30, [ecard_records, mails])


SETUP = setup(kms=True)


# Operations ----------------------------------------------------------------------------------------------------------


def delivers(order: str = ECARDS, times: int = 1) -> Script:
    return operations(("deliver", order, lambda mail: mail.deliver(order, times)))


def cancels() -> Script:
    return operations(("cancel", None, lambda mail: str(mail.orders.cancel("a").status)))


def hands_over(count: int) -> Script:
    return operations(("hand over", count, lambda mail: mail.orders.hand_over(mail.orders.order("a"), count).delivered))


def reports(number: int = 1, *kinds: str) -> Script:
    """Let SES report events of a mail."""
    return operations(
        *[
            ("report", kind, partial(MailServices.report, number=f"{number:04}", kind=kind))
            for kind in kinds or ("Send",)
        ]
    )


def resends(order: str = ECARDS, *, to: str | None = None, force: bool = False) -> Script:
    """Request a resend as an operator, and then deliver its message."""
    return operations(
        ("resend", None, lambda mail: str(mail.outbox.again(order, 1, to=to, force=force).state)),
        ("deliver", order, lambda mail: mail.deliver(order)),
    )


def ecards(certificates: int = 3, *codes: str, handed: bool = False) -> SimulatedServices:
    """An order of so many certificates; SES responds to its first calls with these codes, then accepts every mail."""
    memory = test_ecards.contents(
        tops_up("t0", 1_000),
        loads(HUNDRED, "l0", certificates),
        creates("a", {HUNDRED: certificates}),
        advances("a"),
    )
    return _answering(SimulatedServices.over(memory), codes, handed=handed)


def refused_but_out() -> SimulatedServices:
    """An order whose mail was accepted without a response, and refused when it was sent again."""
    services = ecards(2, "", REFUSES)

    def lossy(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = services(operation, request)
        if operation == "SendEmail":
            raise NoAnswer("lost")
        return answer

    for send, now in ((lossy, START), (services, START + TICK)):
        with suppress(Unavailable):
            MailServices(Table(send, TABLE, first_pause=0.0), lambda now=now: now).deliver(ECARDS)  # type: ignore[misc] # a clock
    return services


def bounced() -> SimulatedServices:
    """An order whose first mail bounced, and whose second and last mail SES has not accepted yet."""
    services = ecards(3, "", TURNS_AWAY)
    mailing = SETUP.over(services, lambda: START)
    with suppress(NotSent):
        mailing.deliver(ECARDS)
    assert mailing.report("0001", "Bounce")
    return services


def training(*codes: str, handed: bool = False) -> SimulatedServices:
    """A training order whose keys are issued."""
    memory = Memory()
    place = School(memory, now=lambda: START)
    publish(place.services, UK, [(AZ_300, [STANDARD])])
    place.services.accounts(Deadline.after(60)).save_partner(PARTNER)
    body = new_order(
        orderItems=[new_item(quantity=2), new_item(quantity=1)], emailKeys=True, contactEmail="a@b.example"
    )
    assert place.client.post(target("orders"), body).json["id"] == 1
    place.orders().issue_keys(1, SEALER, Deadline.after(60))
    return _answering(SimulatedServices.over(memory), codes, handed=handed)


def _answering(services: SimulatedServices, codes: Sequence[str], *, handed: bool) -> SimulatedServices:
    if handed:
        _redeliver(services)
    services.write("SES", "answers", codes=[*codes])
    return services


def _redeliver(memory: Memory, now: datetime = START) -> None:
    """Redeliver the queue's messages until nothing changes any more."""
    for order, _ in itertools.product(_orders(memory), range(4)):
        with suppress(Unavailable):
            SETUP.over(memory, lambda: now).deliver(order)
            break


def _orders(memory: Memory) -> list[str]:
    return [pk.removeprefix("ORDER#") for (pk, sk), _ in memory.scan(TABLE) if sk == "ORDER"]


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MailContents:
    """The orders, their mails, and SES."""

    ecards: EcardContents
    order: EcardOrder | None
    keys: tuple[str, ...]
    """The access keys of the training order, if it is one."""
    mails: dict[int, Mail]
    accepted: dict[int, list[str]]
    """The texts that SES accepted and did not reject, by mail."""
    ever_accepted: frozenset[int]
    """The mails that it accepted, those among them that it rejected later."""
    moments: tuple[MailMoment, ...] = ()
    """The history of the order's mails."""
    address: str = ""
    """The corrected address of the order's mails, if there is one."""
    recipients: Mapping[str, str] = field(default_factory=dict)
    """The addresses to which SES sent the mails that it accepted, by attempt."""

    @classmethod
    def of(cls, memory: Memory) -> MailContents:
        mails, accepted, ever_accepted, packs = dict[int, Mail](), dict[int, list[str]](), set[int](), list[str]()
        moments, address, recipients = list[MailMoment](), "", dict[str, str]()
        training = TRAINING in _orders(memory)
        for (partition, sort), raw in memory.scan(TABLE):
            item, (kind, _, _) = plain_item(raw), partition.partition("#")
            match kind:
                case "MAIL":
                    mails[int(sort)] = _read(item)
                case "MAILHISTORY":
                    moments.append(read_moment(item))
                case "MAILTO":
                    address = item["to"]
                case "ACCEPTED":
                    recipients |= item["recipients"]
                    ever_accepted.add(int(sort))
                    if item["texts"]:
                        accepted[int(sort)] = item["texts"]
                case "KEYS":
                    packs.append(SEALER.open(item["keys"], f"{partition}/{sort}".encode()).decode())
        contents = EcardContents() if training else EcardContents.of(memory)
        text = "".join(packs)
        keys = tuple(text[at : at + 25] for at in range(0, len(text), 25))
        order = contents.orders.get("a")
        ever = frozenset(ever_accepted)
        return cls(contents, order, keys, mails, accepted, ever, tuple(moments), address, recipients)

    @property
    def mailed(self) -> dict[int, set[str]]:
        """The codes that each mail had."""
        return {number: {*CODE.findall("\n".join(texts))} for number, texts in self.accepted.items()}

    @property
    def times(self) -> dict[int, int]:
        return {number: len(texts) for number, texts in self.accepted.items()}

    def violations(self, silences: int) -> Iterator[str]:
        """Check the contents, after so many silences of the length that makes an unknown outcome a failure."""
        yield from self.ecards.violations()
        for number, times in self.times.items():
            wanted = sum(event.type is MailEventType.AGAIN for event in self.mails[number].events)
            if times > 1 + silences + wanted:
                yield f"SES accepted mail {number} {times} times, with {silences} silences and {wanted} resends"
        for number, mail in self.mails.items():
            if mail.state is MailState.SENT and number not in self.ever_accepted:
                yield f"mail {number} is sent, and SES never accepted it"
            if mail.unsent and number in self.accepted:
                yield f"mail {number} is recorded as certainly not sent, and SES accepted it"
            for attempt, to in mail.corrected:
                if self.recipients.get(attempt, to) != to:
                    yield f"mail {number} went to {self.recipients[attempt]}, and {to} is recorded"
        yield from self._moment_violations()
        yield from self._key_violations()
        if self.order:
            yield from self._certificate_violations(self.order)

    def _moment_violations(self) -> Iterator[str]:
        recorded = Counter((moment.mail, moment.type) for moment in self.moments)
        happened = Counter[tuple[int, MailMomentType]]()
        for number, mail in self.mails.items():
            attempts = {(event.type, event.attempt) for event in mail.events}
            for kind, _ in attempts:
                if kind in {MailEventType.BOUNCED, MailEventType.REFUSED}:
                    happened[number, MailMomentType[kind.name]] += 1
            if mail.resent:
                accepted = {attempt for kind, attempt in attempts if kind is not MailEventType.UNSURE}
                happened[number, MailMomentType.SENT_AGAIN] = len(accepted & {*mail.attempts})
        if +recorded != +happened:
            yield f"the partner learns of {recorded}, and {happened} happened"

    def _key_violations(self) -> Iterator[str]:
        for text in itertools.chain.from_iterable(self.accepted.values()) if self.keys else ():
            if tuple(key.replace("-", "") for key in KEY.findall(text)) != self.keys:
                yield f"the keys {self.keys} were mailed as {text}"

    def _certificate_violations(self, order: EcardOrder) -> Iterator[str]:
        mailed = [code for codes in self.mailed.values() for code in codes]
        if len({*mailed}) < len(mailed):
            yield f"a certificate in two mails: {self.mailed}"
        # A position that is neither free nor to be returned belongs to this order, or to another one.
        stock = self.ecards.stocks[str(HUNDRED)]
        gone = [*read_ranges(stock["unassigned"]), *(one for held in order.returning for one in held.ranges)]
        free = {self._code(n) for first, last in gone for n in range(first, last + 1)}
        if back := free & {*mailed}:
            yield f"certificates that were mailed are free: {back}, {order}"
        others = {
            self._code(n)
            for other in self.ecards.orders.values()
            if other.id != order.id
            for held in other.assigned
            for first, last in held.ranges
            for n in range(first, last + 1)
        }
        if others & {*mailed}:
            yield f"certificates that were mailed are another order's: {others & {*mailed}}"

    def _code(self, position: int) -> str:
        return self.ecards.codes[str(HUNDRED), position].decode().rpartition("-")[2]

    def handed(self) -> set[str]:
        """The codes that the order records as handed over."""
        assert self.order
        held = self.order.certificates(0, self.order.delivered)
        return {self._code(n) for one in held for first, last in one.ranges for n in range(first, last + 1)}

    def unfinished(self) -> Iterator[str]:
        """Yield the work that is left after all messages were redelivered in good time."""
        refused = any(mail.state is MailState.REFUSED for mail in self.mails.values())
        if self.keys and not self.accepted and not refused:
            yield "no keys were mailed"
        if not self.order:
            return
        mail = self.mails.get(self.order.delivered + 1)
        if self.order.status is EcardStatus.CANCELLED:
            if self.order.in_transit and (mail is None or mail.unsent):
                yield f"certificates in transit forever: {self.order}, {self.mails}"
        elif refused:
            if self.order.in_transit and (mail is None or mail.unsent or mail.state is MailState.SENT):
                yield f"certificates of a refused mail were not taken back: {self.order}"
        elif self.order.status is not EcardStatus.DELIVERED or self.order.in_transit:
            order = self.order
            yield f"it is left {order.status}, {order.delivered} delivered, {order.in_transit} in transit"


class MailChecker(Checker[MailContents]):
    """The promises of mails.

    Args:
        ticks: How many silences there can be.
        by_hand: Whether certificates are handed over without a mail.
    """

    def __init__(self, ticks: int, *, by_hand: bool) -> None:
        self._ticks = ticks
        self._by_hand = by_hand

    def view(self, memory: Memory) -> MailContents:
        return MailContents.of(memory)

    def state(self, view: MailContents) -> Iterator[str]:
        return self._violations(view, self._ticks)

    def _violations(self, view: MailContents, silences: int) -> Iterator[str]:
        yield from view.violations(silences)
        # Certificates in a mail that SES rejected later are handed over all the same.
        by_mail = view.order and not self._by_hand and view.ever_accepted == view.accepted.keys()
        mailed = {code for codes in view.mailed.values() for code in codes}
        if by_mail and not view.handed() <= mailed:
            yield f"handed over {view.handed()}, mailed {mailed}"

    def step(self, before: MailContents, after: MailContents) -> Iterator[str]:
        yield from EcardChecker().step(before.ecards, after.ecards)
        for number, mail in before.mails.items():
            now = after.mails[number]
            if now.version < mail.version or now.events[: len(mail.events)] != mail.events:
                yield f"mail {number} lost events: {mail} became {now}"
        for number, mail in after.mails.items():
            known = before.mails[number].attempts if number in before.mails else ()
            to = dict(mail.corrected)
            for attempt in {*mail.attempts} - {*known}:
                if to.get(attempt, "") != before.address:
                    yield f"mail {number} was claimed for {to.get(attempt)!r}, and the address is {before.address!r}"

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """The messages are redelivered: after SES has reported every mail that it accepted, or after silence."""
        before = MailContents.of(memory)
        for reported in (True, False) if before.accepted else (False,):
            later = memory.fork()
            for number in before.accepted if reported else ():
                SETUP.over(later).report(f"{number:04}", "Send")
            _redeliver(later, START + (self._ticks + 1) * TICK)
            after = MailContents.of(later)
            for violation in (*self._violations(after, self._ticks + 1), *after.unfinished()):
                yield f"after recovery, {reported=}: {violation}"
            resent = {number for number, mail in before.mails.items() if mail.out}
            if reported and any(after.times[n] > times for n, times in before.times.items() if n not in resent):
                yield f"SES reported what it accepted, and was sent it again: {before.times}, then {after.times}"

    def accepts(self, result: Result, view: MailContents) -> bool:
        match result:
            case Result("deliver", _, True):
                return _done_with(view)
            case Result("cancel", _, "Cancelled"):
                return view.order is not None and view.order.status is EcardStatus.CANCELLED
            case Result("cancel" | "hand over" | "resend", _, "Conflict" | "NotFound"):
                return True
            case Result("report", _, bool()) | Result("hand over", _, int()) | Result("resend", _, "Open" | "Claimed"):
                return True
            case Result("resend", _, "Sent"):  # its response was lost, and the mail was sent before the retry
                return any(one.type is MailEventType.AGAIN for mail in view.mails.values() for one in mail.events)
        return result.value in RETRIED


def _done_with(view: MailContents) -> bool:
    """Whether a message can have left the queue: no work is left but a resend's, which has a message of its own."""
    if any(event.type is MailEventType.AGAIN for mail in view.mails.values() for event in mail.events):
        return True
    if view.order is None:
        return view.mails[1].state in {MailState.SENT, MailState.REFUSED}
    mail = view.mails.get(view.order.delivered + 1)
    if view.order.status is EcardStatus.CANCELLED:
        return not view.order.in_transit or (mail is not None and not mail.unsent)
    refused = mail is not None and mail.state is MailState.REFUSED and not view.order.in_transit
    return refused or view.order.status is EcardStatus.DELIVERED


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few certificates fill many mails, a tick is the silence, and no logs, which would take most of the time."""
    monkeypatch.setattr(ecard_mailing, "CERTIFICATES_AT_MOST", AT_ONCE)
    monkeypatch.setattr(mails, "UNSURE", TICK)
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)


CORRECTED = "new@example.com"
REFUSES, TURNS_AWAY = "MessageRejected", "TooManyRequestsException"


def case(
    clients: Sequence[Script],
    start: Callable[[], Memory] = ecards,
    *,
    lost: int = 1,
    ticks: int = 0,
    by_hand: bool = False,
) -> Case:
    """A case; calls of KMS are steps only if one client is alone, and few clients lose more responses if deep."""
    deep = {"lost": lost + (len(clients) + ticks < 3)}
    checker = MailChecker(ticks, by_hand=by_hand)
    return Case(clients, start, setup(kms=len(clients) == 1), checker, lost, ticks, deep=deep)


one_mail = partial(ecards, 2)
CASES = {
    "one mailer whose responses are lost": case([delivers()], lost=2),
    "one message twice": case([delivers(), delivers()], one_mail, lost=0),
    "one message twice, a response lost": case([delivers(), delivers()], one_mail),
    "one message twice, and time passes": case([delivers(), delivers()], one_mail, lost=0, ticks=1),
    "a mailer and SES's events": case([delivers(times=2), reports()], one_mail),
    "two mailers and SES's events": case([delivers(), delivers(), reports(1, "Bounce")], one_mail, lost=0),
    "a mailer and SES rejecting an accepted mail": case([delivers(), reports(1, "Reject")], one_mail),
    "a mailer and a cancellation": case([delivers(), cancels()], one_mail),
    "a mailer of two mails and a cancellation": case([delivers(), cancels()], lost=0),
    "two mailers and a cancellation": case([delivers(), delivers(), cancels()], one_mail, lost=0),
    "a mailer, a cancellation, and time passes": case([delivers(times=2), cancels()], one_mail, ticks=1),
    "a refusal": case([delivers(), delivers()], partial(ecards, 2, REFUSES), lost=0),
    "a refusal of the second mail": case([delivers(times=2)], partial(ecards, 3, "", REFUSES)),
    "a refusal and a cancellation": case([delivers(), cancels()], partial(ecards, 2, REFUSES)),
    "a refusal after an unknown outcome": case(
        [delivers(times=2), cancels()], partial(ecards, 2, "", REFUSES), ticks=1
    ),
    "not accepted": case([delivers(times=2), delivers()], partial(ecards, 2, TURNS_AWAY), lost=0),
    "not accepted and a cancellation": case([delivers(times=2), cancels()], partial(ecards, 2, TURNS_AWAY)),
    "a refusal, a resend and a cancellation": case(
        [resends(), delivers(), cancels()], partial(ecards, 2, REFUSES), lost=0
    ),
    "a resend after an unknown outcome, and a cancellation": case([resends(), cancels()], refused_but_out),
    "a forced resend and a cancellation": case(
        [resends(force=True), delivers(), cancels()], partial(ecards, 2, handed=True), lost=0
    ),
    "a corrected address while the next mail is sent": case([resends(to=CORRECTED), delivers()], bounced, lost=0),
    "a mailer and a hand-over by hand": case([delivers(), hands_over(1)], by_hand=True),
    "keys, one mailer whose responses are lost": case([delivers(TRAINING)], training, lost=3),
    "keys, one message twice": case([delivers(TRAINING), delivers(TRAINING)], training),
    "keys, one message twice, and time passes": case([delivers(TRAINING), delivers(TRAINING)], training, ticks=1),
    "keys, SES's events": case([delivers(TRAINING, 2), reports(1, "Send", "Bounce")], training),
    "keys, a refusal and a resend": case([delivers(TRAINING), resends(TRAINING)], partial(training, REFUSES)),
    "keys, a refusal and a corrected address": case(
        [delivers(TRAINING), resends(TRAINING, to=CORRECTED)], partial(training, REFUSES)
    ),
    "keys, a forced resend": case([resends(TRAINING, force=True), delivers(TRAINING)], partial(training, handed=True)),
}


test_every_interleaving = every_interleaving(
    "mails",
    CASES,
    "In every interleaving, with crashes anywhere, each mail is sent once, and no mailed certificate is reused.",
)


# Mutants -------------------------------------------------------------------------------------------------------------


def returns_what_is_on_its_way(
    self: EcardOrders, order_id: str, cancel: Callable[..., EcardOrder] = EcardOrders.cancel
) -> EcardOrder:
    read = self.order

    def as_if_nothing_were_on_its_way(_: str) -> EcardOrder:
        return replace(read(order_id), in_transit=0)

    with mock.patch.object(self, "order", as_if_nothing_were_on_its_way):
        return cancel(self, order_id)


def sends_whatever_the_order_is(
    self: Outbox,
    mail: Mail,
    contents: int,
    compose: Callable[[], Letter],
    allowed: Check | None = None,  # noqa: ARG001 - that is what is wrong
    send: Callable[..., None] = Outbox.send,
) -> None:
    send(self, mail, contents, compose)


def anything(self: Outbox, mail: Mail, as_read: Callable[..., Check] = Outbox.as_read) -> Check:
    return Check(as_read(self, mail).key, ANYHOW)


def checks_no_address(order: str, to: str, check: Callable[..., Check] = mails._same_address) -> Check:
    return Check(check(order, to).key, ANYHOW)


def no_silence(self: Outbox, mail: Mail) -> timedelta:  # noqa: ARG001 - that is what is wrong
    return timedelta()


def takes_no_answer_for_no(
    self: Ses, letter: Letter, tags: Mapping[str, str], send: Callable[..., str] = Ses.send
) -> str:
    try:
        return send(self, letter, tags)
    except Unsure as error:
        raise NotSent from error


def looks_at_the_state_only(mail: Mail) -> bool:
    return mail.state in {MailState.OPEN, MailState.REFUSED}


def claims_anyhow(mail: Mail) -> tuple[str, dict[str, int]]:  # noqa: ARG001 - that is what is wrong
    return ANYHOW, {}


def hands_over_first(
    self: EcardMailer, mail: Mail, order: EcardOrder, count: int, allowed: Check | None = None
) -> None:
    """Leave the mail for later."""


def never_takes_back(self: EcardMailer, mail: Mail, orders: EcardOrders, order: EcardOrder) -> None:
    """Leave certificates where they are."""


def forgets_earlier_attempts(mail: Mail, resend: Any, requested: Callable[..., Mail] = Mail.requested) -> Mail:
    return replace(requested(mail, resend), out=False)


def believes_the_mark_only(mail: Mail, moment: Any) -> Mail:
    return mail.with_event(moment)


def looks_once(
    self: EcardMailer,
    name: str,
    orders: EcardOrders,
    order: EcardOrder,
    step: Callable[..., EcardOrder | None] = EcardMailer._next_step,
) -> EcardOrder | None:
    with mock.patch.object(orders, "order", return_value=order):
        return step(self, name, orders, order)


def opens_others(self: EcardOrder, first: int, count: int, chosen: Any = EcardOrder.certificates) -> Any:
    return chosen(self, 0, count) if first == AT_ONCE else chosen(self, first, count)


MUTANTS = {
    "cancels certificates in transit": Mutant(
        CASES["a mailer and a cancellation"], [(EcardOrders, "cancel", returns_what_is_on_its_way)]
    ),
    "sends for an order in any status": Mutant(
        CASES["two mailers and a cancellation"], [(Outbox, "send", sends_whatever_the_order_is)]
    ),
    "takes back from a mail in any state": Mutant(
        CASES["a refusal, a resend and a cancellation"], [(Outbox, "as_read", anything)]
    ),
    "claims for an address from before": Mutant(
        CASES["a corrected address while the next mail is sent"], [(mails, "_same_address", checks_no_address)]
    ),
    "sends again at once": Mutant(CASES["one message twice"], [(Outbox, "remaining_wait", no_silence)]),
    "takes no response for a refusal": Mutant(
        CASES["one mailer whose responses are lost"], [(Ses, "send", takes_no_answer_for_no)]
    ),
    "forgets attempts with an unknown outcome": Mutant(
        CASES["a refusal after an unknown outcome"], [(Mail, "unsent", property(looks_at_the_state_only))]
    ),
    "claims what is claimed": Mutant(CASES["one message twice"], [(mails, "_unchanged", claims_anyhow)]),
    "hands over without a mail": Mutant(CASES["one message twice"], [(EcardMailer, "_send", hands_over_first)]),
    "never takes back": Mutant(CASES["a refusal"], [(EcardMailer, "_give_up", never_takes_back)]),
    "a resend forgets the earlier attempts": Mutant(
        CASES["a resend after an unknown outcome, and a cancellation"], [(Mail, "requested", forgets_earlier_attempts)]
    ),
    "ignores SES's events": Mutant(CASES["a mailer and SES's events"], [(Mail, "recorded", believes_the_mark_only)]),
    "does not check a refusal again": Mutant(CASES["a refusal"], [(EcardMailer, "_next_step", looks_once)]),
    "mails other certificates than it records": Mutant(
        CASES["one mailer whose responses are lost"], [(EcardOrder, "certificates", opens_others)]
    ),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)


# The largest mail, on the local engine ------------------------------------------------------------------------------


def test_the_local_engine_takes_the_largest_mail(tmp_path: Path) -> None:
    """A mail of as many keys as fit is taken by the local engine's SES as it is written."""
    child = MiniStack(ROOT / ".venvs" / "engine" / "bin" / "python", tmp_path)
    try:
        child.wait()
        connect("sesv2", child.endpoint).create_email_identity(EmailIdentity="example.com")
        box = ses.connect_ses(
            "Orders <orders@example.com>",
            endpoint_url=child.endpoint,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        letter = Letter("ann@example.com", "Keys", "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\n" * KEYS_AT_MOST, "<p>₽ & more</p>")
        taken = box.send(letter, {"order": "dHJhaW5pbmcjMQ", "mail": "1", "attempt": "a1"})
        (mail,) = sent_mails(child.endpoint)
    finally:
        child.stop()

    assert (mail.id, mail.recipients, mail.sender) == (taken, ("ann@example.com",), "Orders <orders@example.com>")
    assert (mail.subject, mail.text, mail.html) == ("Keys", letter.text, letter.html)


# Many at once, on real engines ---------------------------------------------------------------------------------------


@dataclass
class Postbox:
    """SES that takes whatever comes, for any number of threads, and answers some of it as it likes."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.answers.pop() if self.answers else ""
        if answer:
            raise CallRefused(operation, answer)
        self.taken.append(request)
        return {"MessageId": "m"}

    @property
    def codes(self) -> list[str]:
        return [code for one in self.taken for code in CODE.findall(one["Content"]["Simple"]["Body"]["Text"]["Data"])]

    @property
    def mails(self) -> list[str]:
        return [tag["Value"] for one in self.taken for tag in one["EmailTags"] if tag["Name"] == "mail"]


def postmen(engine: Engine, box: Postbox, company: str, count: int) -> list[Callable[[], None]]:
    """As many consumers, each of which gets the same message until it is done with."""

    def work() -> None:
        table = Table(engine.send, engine.table, deadline=Deadline.after(60))
        outbox = Outbox(table, Ses(box, "orders@example.com").send)
        for _ in range(200):
            try:
                Mailing(mailers(table, outbox, SEALER, Deadline.after(60), clock.system_clock)).deliver(
                    f"ecards#{company}#a"
                )
            except Unavailable:
                time.sleep(0.01)
            else:
                return
        raise TimeoutError(f"{company}: the message is never done with")

    return [work] * count


def stocked(engine: Engine, company: str, certificates: int) -> EcardOrders:
    """An order of a company's, for all certificates of a stock that is named after the company."""
    table = Table(engine.send, engine.table, deadline=Deadline.after(60))
    card = Ecard(1, "Books", "", "ruble", (FaceValue(company, Decimal(1)),))
    cache = EcardCache()
    cache.put(company, (card,))
    catalogue = EcardCatalogue(table, company, cache)
    codes = [f"{company} l0-{number}" for number in range(certificates)]
    Certificates(table, SEALER).load(Stock(1, company), "l0", codes)
    orders = EcardOrders(table, company, now=lambda: START)
    orders.top_up("t0", Decimal(certificates))
    request = EcardRequest(
        "a", EcardParticipant("j@example.com", "John", "1"), [RequestedCard(1, company, certificates)]
    )
    orders.place(request, company_name=company, catalogue=catalogue)
    orders.advance("a")
    return orders


def free_codes(engine: Engine, company: str) -> list[str]:
    stock = Stock(1, company)
    ranges = read_stock_levels(Table(engine.send, engine.table), [stock])[stock].free
    return [str(position - 1) for first, last in ranges for position in range(first, last + 1)]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silence is over while a test runs."""
    monkeypatch.setattr(mails, "UNSURE", timedelta(minutes=15))


@pytest.mark.usefixtures("patient")
def test_on_every_engine(engine: Engine) -> None:
    """From the first certificate to the last, claims, mails and moments are kept as every engine understands it."""
    box = Postbox(answers=[TURNS_AWAY])
    orders = stocked(engine, "postal", 5)
    (work,) = postmen(engine, box, "postal", 1)
    work()
    order = orders.order("a")
    found = Outbox(Table(engine.send, engine.table)).mails("ecards#postal#a")

    assert (order.status, order.in_transit) == (EcardStatus.DELIVERED, 0)
    assert (box.mails, box.codes) == (["1", "3", "5"], ["0", "1", "2", "3", "4"])
    assert [(mail.number, mail.contents, mail.state) for mail in found] == [
        (1, 2, MailState.SENT),
        (3, 2, MailState.SENT),
        (5, 1, MailState.SENT),
    ]


@pytest.mark.usefixtures("patient")
def test_many_consumers(concurrent_engine: Engine) -> None:
    """However many consumers get the same message at once, each mail is sent once, and all certificates are in one."""
    box = Postbox(answers=[TURNS_AWAY] * 5)
    orders = stocked(concurrent_engine, "crowd", 12)
    in_threads(postmen(concurrent_engine, box, "crowd", 8))
    order = orders.order("a")

    assert box.mails == ["1", "3", "5", "7", "9", "11"]
    assert box.codes == [str(number) for number in range(12)]
    assert (order.status, order.delivered, order.in_transit) == (EcardStatus.DELIVERED, 12, 0)


@pytest.mark.usefixtures("patient")
def test_cancelled_in_a_crowd(concurrent_engine: Engine) -> None:
    """Whenever an order is cancelled while it is mailed, what was mailed and what is free again make up the whole."""
    for attempt in range(12):
        company = f"cancelled{attempt}"
        box = Postbox(answers=[TURNS_AWAY, REFUSES][: attempt % 3])
        orders = stocked(concurrent_engine, company, 6)
        in_threads([*postmen(concurrent_engine, box, company, 3), partial(cancel_after, orders, 0.01 * attempt)])
        # The message is redelivered, in case its consumers had finished before the cancellation.
        postmen(concurrent_engine, box, company, 1)[0]()
        order, free = orders.order("a"), free_codes(concurrent_engine, company)

        assert order.status in {EcardStatus.CANCELLED, EcardStatus.DELIVERED}
        assert (order.in_transit, order.delivered) == (0, len(box.codes))
        assert sorted([*box.codes, *free]) == [str(number) for number in range(6)]


def cancel_after(orders: EcardOrders, pause: float) -> None:
    time.sleep(pause)
    while orders.order("a").status not in {EcardStatus.DELIVERED, EcardStatus.CANCELLED}:
        with suppress(Conflict):
            orders.cancel("a")
