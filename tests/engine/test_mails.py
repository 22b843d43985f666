"""Every order of the steps of postmen, of cancellations and of what SES tells, with mishaps and with deaths anywhere.

Steps, mishaps and crashes are those of `support/scheduler.py`; what is asked of SES and of KMS is a step as well. SES
keeps what it took in the same memory. At every state no certificate may be mailed and free, or another order's, and SES
may have taken a mail once for each silence that was kept. When everybody died there, the queue's message coming again
must lead to the end: all certificates mailed and handed over, or those back in stock that surely were not mailed.
`ORDERING_EXPLORE=deep` takes more mishaps.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest

from engine.engines import ROOT, Engine, in_threads
from engine.test_ecards import (
    COMPANY,
    HUNDRED,
    Contents,
    Labels,
    Shop,
    carries_on,
    changes_wrongly,
    creates,
    loads,
    prepared,
    tops_up,
)
from ordering import clock
from ordering.aws import ses
from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import Check, Item, NoAnswer, Table, _item, plain_item
from ordering.aws.ses import Letter, NotSent, Ses, Unsure
from ordering.book import orderbook
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
from ordering.mail import outbox as mails
from ordering.mail.mailing import Mailing
from ordering.mail.outbox import Mail, MailEventType, MailState, Outbox, _read
from ordering.training.mailing import KEYS_AT_MOST
from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION
from ordering_tools.local.engine.engine import Engine as MiniStack
from ordering_tools.local.engine.engine import connect
from ordering_tools.local.engine.mails import create_senders, sent_mails
from support import scheduler
from support.aws.memory import Memory
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.scheduler import START, TABLE, TICK, Client, Event, Explored, Explorer, Log, Setting, Violation
from support.training import School

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
ECARDS = f"ecards#{COMPANY}#a"
TRAINING = "training#1"
AT_ONCE = 2
CODE = re.compile(r"^l0-(\d+)$", re.MULTILINE)
KEY = re.compile(r"^\w{5}(?:-\w{5}){4}$", re.MULTILINE)
TOLD = {"MailInFlight", "NotSent", "Unsure", "Unavailable"}
"""With which the message comes again."""

HAPPENED = {"Send": MailEventType.SENT, "Bounce": MailEventType.BOUNCED, "Reject": MailEventType.REFUSED}

Act = Callable[["World", Log], None]


# The world: a table, SES and KMS, all in one memory ------------------------------------------------------------------


class Broker(Memory):
    """A table, and what else is called: KMS, and SES with the mails that it took."""

    operations: ClassVar[Mapping[str, str]] = {
        **Memory.operations,
        "SendEmail": "_send_email",
        "Tell": "_tell",
        "Decrypt": "_decrypt",
    }

    @classmethod
    def of(cls, memory: Memory) -> Broker:
        other = cls()
        other._partitions = memory.fork()._partitions
        return other

    def found(self, partition: str, sort: str) -> Item:
        raw = self._find((TABLE, partition, sort))
        return plain_item(raw) if raw else {}

    def keep(self, partition: str, sort: str, **more: Any) -> None:
        self.load(TABLE, _item({"pk": partition, "sk": sort, **more}))

    def _decrypt(self, _: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _send_email(self, request: dict[str, Any]) -> dict[str, Any]:
        codes: list[str] = self.found("SES", "answers").get("codes", [])
        if codes:
            self.keep("SES", "answers", codes=codes[1:])
            if codes[0]:
                return {"Error": codes[0]}
        tags = {tag["Name"]: tag["Value"] for tag in request["EmailTags"]}
        number = f"{int(tags['mail']):04}"
        text = request["Content"]["Simple"]["Body"]["Text"]["Data"]
        before = self.found("TAKEN", number)
        attempts = [*before.get("attempts", []), tags["attempt"]]
        self.keep("TAKEN", number, attempts=attempts, order=tags["order"], texts=[*before.get("texts", []), text])
        return {"MessageId": f"m{len(attempts)}"}

    def _tell(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell of the last attempt of a mail that was taken; one that is rejected is thrown away."""
        taken = self.found("TAKEN", request["Number"])
        if not taken:
            return {}
        if request["Kind"] == "Reject":
            self.load(TABLE, _item({**taken, "texts": []}))
        tags = {"order": [taken["order"]], "mail": [request["Number"]], "attempt": [taken["attempts"][-1]]}
        return {"Tags": tags}


class Vault(Labels):
    """A sealer that asks KMS, if it is to, with the first thing that it opens."""

    def __init__(self, world: World, *, asks: bool) -> None:
        self._world = world
        self._asks = asks

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if self._asks:
            self._world.call("Decrypt", {})
            self._asks = False
        return super().open(sealed, context)


class World(Shop):
    """What a client has in its hands."""

    def __init__(self, table: Table, now: Clock, *, kms: bool = True) -> None:
        super().__init__(table, now)
        self.table = table
        self.outbox = Outbox(table, Ses(self._ses, "orders@example.com", "mails").send, now=now)
        self.mailing = Mailing(mailers(table, self.outbox, Vault(self, asks=kms), Deadline.after(3_600), now))

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.table.send(operation, request)
        except NoAnswer as error:
            raise Unavailable from error

    def _ses(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.call(operation, request)
        if "Error" in answer:
            raise CallRefused(operation, answer["Error"])
        return answer

    def deliver(self, order: str, times: int = 1) -> bool:
        """Do what a message says that comes so often, at most: until it is done with."""
        for _ in range(times - 1):
            with suppress(Unavailable):
                self.mailing.deliver(order)
                return True
        self.mailing.deliver(order)
        return True

    def tell(self, number: str, kind: str) -> bool:
        """Let SES tell of a mail if it took it."""
        tags = self.call("Tell", {"Number": number, "Kind": kind}).get("Tags")
        if tags:
            self.outbox.report(tags, HAPPENED[kind], "", START)
        return bool(tags)


@dataclass(frozen=True)
class WorldSetting(Setting):
    """Gives scripts a world in place of a book."""

    kms: bool = True
    """Whether what is asked of KMS is a step."""

    def book(self, table: Table, now: Clock) -> Any:
        return World(table, now, kms=self.kms)


# What clients do -----------------------------------------------------------------------------------------------------


def acts(*steps: tuple[str, Any, Callable[[World], Any]]) -> Act:
    """Do one thing after another, each an operation of its own."""

    def script(world: Any, log: Log) -> None:
        drawn = vars(orderbook)["secrets"]
        with mock.patch.object(ecard_records, "secrets", drawn), mock.patch.object(mails, "secrets", drawn):
            for kind, detail, act in steps:
                with log.operation(kind, detail) as told:
                    told(act(world))

    return script


def delivers(order: str = ECARDS, times: int = 1) -> Act:
    return acts(("deliver", order, lambda world: world.deliver(order, times)))


def cancels() -> Act:
    return acts(("cancel", None, lambda world: str(world.orders.cancel("a").status)))


def hands_over(count: int) -> Act:
    return acts(("hand over", count, lambda world: world.orders.hand_over(world.orders.order("a"), count).delivered))


def tells(number: int = 1, *kinds: str) -> Act:
    return acts(*[("tell", kind, partial(World.tell, number=f"{number:04}", kind=kind)) for kind in kinds or ("Send",)])


def wishes(order: str = ECARDS, *, to: str | None = None, force: bool = False) -> Act:
    """Wish for a mail once more, and then deliver what the wish's message says."""

    def wish(world: World) -> str:
        return str(world.outbox.again(order, 1, to=to, force=force).state)

    return acts(("wish", None, wish), ("deliver", order, lambda world: world.deliver(order)))


def shop(certificates: int = 3, *codes: str, handed: bool = False) -> Broker:
    """An order with so many certificates; SES answers its first calls with these codes, then takes what comes."""
    found = prepared(
        tops_up("t0", 1_000),
        loads(HUNDRED, "l0", certificates),
        creates("a", {HUNDRED: certificates}),
        carries_on("a"),
    )
    return _answering(Broker.of(found), codes, handed=handed)


def refused_but_out() -> Broker:
    """An order whose mail went out unnoticed, and was refused when it was sent again."""
    broker = shop(2, "", REFUSES)

    def lossy(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = broker(operation, request)
        if operation == "SendEmail":
            raise NoAnswer("lost")
        return answer

    for send, now in ((lossy, START), (broker, START + TICK)):
        with suppress(Unavailable):
            World(Table(send, TABLE, first_pause=0.0), lambda now=now: now).deliver(ECARDS)  # type: ignore[misc] # a clock
    return broker


def school(*codes: str, handed: bool = False) -> Broker:
    """A training order whose keys are issued."""
    memory = Memory()
    place = School(memory, now=lambda: START)
    publish(place.services, UK, [(AZ_300, [STANDARD])])
    place.services.accounts(Deadline.after(60)).save_partner(PARTNER)
    body = new_order(
        orderItems=[new_item(quantity=2), new_item(quantity=1)], emailKeys=True, contactEmail="a@b.example"
    )
    assert place.client.post(target("orders"), body).json["id"] == 1
    place.orders().issue_keys(1, Labels(), Deadline.after(60))
    return _answering(Broker.of(memory), codes, handed=handed)


def _answering(broker: Broker, codes: Sequence[str], *, handed: bool) -> Broker:
    if handed:
        _repeat(broker)
    broker.keep("SES", "answers", codes=[*codes])
    return broker


def _repeat(broker: Memory, now: datetime = START) -> None:
    """Let the queue's messages come again, until nothing changes any more."""
    names = itertools.count(1)
    drawn = SimpleNamespace(token_hex=lambda _: f"later/{next(names)}")
    with mock.patch.object(ecard_records, "secrets", drawn), mock.patch.object(mails, "secrets", drawn):
        for order, _ in itertools.product(_orders(broker), range(4)):
            with suppress(Unavailable):
                World(Table(broker, TABLE, first_pause=0.0), lambda: now).deliver(order)
                break


def _orders(memory: Memory) -> list[str]:
    return [pk.removeprefix("ORDER#") for (pk, sk), _ in memory.scan(TABLE) if sk == "ORDER"]


# What must hold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a world shows."""

    shop: Contents
    order: EcardOrder | None
    keys: tuple[str, ...]
    """The access keys of the training order, if it is one."""
    mails: dict[int, Mail]
    taken: dict[int, list[str]]
    """What SES took and did not reject, by mail: each time the text."""
    given: frozenset[int]
    """The mails that it took."""

    @classmethod
    def of(cls, memory: Memory) -> Seen:
        mails, taken, given, packs = dict[int, Mail](), dict[int, list[str]](), set[int](), list[str]()
        training = TRAINING in _orders(memory)
        for (partition, sort), raw in memory.scan(TABLE):
            item, (kind, _, _) = plain_item(raw), partition.partition("#")
            match kind:
                case "MAIL":
                    mails[int(sort)] = _read(item)
                case "TAKEN":
                    given.add(int(sort))
                    if item["texts"]:
                        taken[int(sort)] = item["texts"]
                case "KEYS":
                    packs.append(Labels().open(item["keys"], f"{partition}/{sort}".encode()).decode())
        contents = Contents() if training else Contents.of(memory)
        text = "".join(packs)
        keys = tuple(text[at : at + 25] for at in range(0, len(text), 25))
        return cls(contents, contents.orders.get("a"), keys, mails, taken, frozenset(given))

    @property
    def mailed(self) -> dict[int, set[str]]:
        """The codes that each mail had."""
        return {number: {*CODE.findall("\n".join(texts))} for number, texts in self.taken.items()}

    @property
    def times(self) -> dict[int, int]:
        return {number: len(texts) for number, texts in self.taken.items()}

    def wrongs(self, silences: int) -> Iterator[str]:
        """Tell what no moment of any history may show, in which so many silences were kept."""
        yield from self.shop.wrongs()
        for number, times in self.times.items():
            wanted = sum(event.type is MailEventType.AGAIN for event in self.mails[number].events)
            if times > 1 + silences + wanted:
                yield f"SES took mail {number} {times} times, with {silences} silences and {wanted} wishes"
        for number, mail in self.mails.items():
            if mail.state is MailState.SENT and number not in self.given:
                yield f"mail {number} is sent, and SES never took it"
            if mail.unsent and number in self.taken:
                yield f"mail {number} is said to be surely not sent, and SES took it"
        yield from self._key_wrongs()
        if self.order:
            yield from self._certificate_wrongs(self.order)

    def _key_wrongs(self) -> Iterator[str]:
        for text in itertools.chain.from_iterable(self.taken.values()) if self.keys else ():
            if tuple(key.replace("-", "") for key in KEY.findall(text)) != self.keys:
                yield f"the keys {self.keys} were mailed as {text}"

    def _certificate_wrongs(self, order: EcardOrder) -> Iterator[str]:
        mailed = [code for codes in self.mailed.values() for code in codes]
        if len({*mailed}) < len(mailed):
            yield f"a certificate in two mails: {self.mailed}"
        # Whoever holds a position that is neither free nor to be returned is this order, or another one.
        stock = self.shop.stocks[str(HUNDRED)]
        gone = [*read_ranges(stock["unassigned"]), *(one for held in order.returning for one in held.ranges)]
        free = {self._code(n) for first, last in gone for n in range(first, last + 1)}
        if back := free & {*mailed}:
            yield f"certificates that were mailed are free: {back}, {order}"
        others = {
            self._code(n)
            for other in self.shop.orders.values()
            if other.id != order.id
            for held in other.assigned
            for first, last in held.ranges
            for n in range(first, last + 1)
        }
        if others & {*mailed}:
            yield f"certificates that were mailed are another order's: {others & {*mailed}}"

    def _code(self, position: int) -> str:
        return self.shop.codes[str(HUNDRED), position].decode().removeprefix("l0-")

    def handed(self) -> set[str]:
        """The codes that the order says were handed over."""
        assert self.order
        held = self.order.certificates(0, self.order.delivered)
        return {self._code(n) for one in held for first, last in one.ranges for n in range(first, last + 1)}

    def unfinished(self) -> Iterator[str]:
        """Tell what is left undone, where nobody refused anything, after all messages came again in good time."""
        refused = any(mail.state is MailState.REFUSED for mail in self.mails.values())
        if self.keys and not self.taken and not refused:
            yield "no keys were mailed"
        if not self.order:
            return
        mail = self.mails.get(self.order.delivered + 1)
        if self.order.status is EcardStatus.CANCELLED:
            if self.order.in_transit and (mail is None or mail.unsent):
                yield f"certificates in transit for ever: {self.order}, {self.mails}"
        elif refused:
            if self.order.in_transit and (mail is None or mail.unsent or mail.state is MailState.SENT):
                yield f"certificates of a refused mail were not taken back: {self.order}"
        elif self.order.status is not EcardStatus.DELIVERED or self.order.in_transit:
            order = self.order
            yield f"it is left {order.status}, {order.delivered} delivered, {order.in_transit} in transit"


class MailsJudge:
    """What is promised of mails.

    Args:
        passes: How often a silence may have been kept.
        by_hand: Whether somebody hands over certificates without a mail.
    """

    def __init__(self, passes: int, *, by_hand: bool) -> None:
        self._passes = passes
        self._by_hand = by_hand

    def reads(self, running: tuple[str, Any]) -> bool:  # noqa: ARG002 - as it is called
        return False

    def view(self, memory: Memory) -> Seen:
        return Seen.of(memory)

    def summary(self, view: Seen) -> Hashable:  # noqa: ARG002 - as it is called
        return None

    def contents(self, view: Seen) -> Iterator[str]:
        yield from self._wrongs(view, self._passes)

    def _wrongs(self, view: Seen, silences: int) -> Iterator[str]:
        yield from view.wrongs(silences)
        # What SES rejected later is handed over all the same.
        by_mail = view.order and not self._by_hand and view.given == view.taken.keys()
        mailed = {code for codes in view.mailed.values() for code in codes}
        if by_mail and not view.handed() <= mailed:
            yield f"handed over {view.handed()}, mailed {mailed}"

    def step(self, before: Seen, after: Seen) -> Iterator[str]:
        yield from changes_wrongly(before.shop, after.shop)
        for number, mail in before.mails.items():
            now = after.mails[number]
            if now.version < mail.version or now.events[: len(mail.events)] != mail.events:
                yield f"mail {number} forgot: {mail} became {now}"

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """When everybody died, the messages come again: after SES has told all, or after silence."""
        before = Seen.of(memory)
        for told in (True, False):
            later = memory.fork()
            for number in before.taken if told else ():
                World(Table(later, TABLE), lambda: START).tell(f"{number:04}", "Send")
            now = START + (self._passes + 1) * TICK
            _repeat(later, now)
            finished = Seen.of(later)
            for wrong in (*self._wrongs(finished, self._passes + 1), *finished.unfinished()):
                yield f"after everything came again, {told=}: {wrong}"
            wished = {n for n, mail in before.mails.items() if mail.out}
            if told and any(finished.times[n] > times for n, times in before.times.items() if n not in wished):
                yield f"SES told of what it took, and got it again: {before.times}, then {finished.times}"

    def told(
        self,
        event: Event,
        earlier: Sequence[Event],  # noqa: ARG002 - as it is called
        witnessed: Sequence[Any],  # noqa: ARG002 - as it is called
        view: Seen,
    ) -> Iterator[str]:
        if not self._fits(event, view):
            yield f"{event}: there is {view}"

    def _fits(self, event: Event, view: Seen) -> bool:
        match event:
            case Event("deliver", _, True):
                return _done_with(view)
            case Event("cancel", _, "Cancelled"):
                return view.order is not None and view.order.status is EcardStatus.CANCELLED
            case Event("cancel" | "hand over" | "wish", _, "Conflict" | "NotFound"):
                return True
            case Event("tell", _, bool()) | Event("hand over", _, int()) | Event("wish", _, "Open" | "Claimed"):
                return True
            case Event("wish", _, "Sent"):  # its response was lost, and the mail was sent before the retry
                return any(one.type is MailEventType.AGAIN for mail in view.mails.values() for one in mail.events)
        return event.value in TOLD


def _done_with(view: Seen) -> bool:
    """Whether a message can be gone: nothing is left to do but what an operator's wish brings a new one for."""
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
def small_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few certificates are many mails, one tick of the clock is the silence, and nothing is logged."""
    monkeypatch.setattr(ecard_mailing, "CERTIFICATES_AT_MOST", AT_ONCE)
    monkeypatch.setattr(mails, "UNSURE", TICK)
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)
    monkeypatch.setattr(scheduler, "json", SimpleNamespace(dumps=partial(json.dumps, default=repr)))


REFUSES, TURNS_AWAY = "MessageRejected", "TooManyRequestsException"


@dataclass(frozen=True)
class Case:
    """Clients, what they find, and what may happen to them."""

    scripts: Sequence[Act]
    start: Callable[[], Broker] = shop
    mishaps: int = 1
    passes: int = 0
    by_hand: bool = False

    def explore(self, mishaps: int | None = None) -> Explored:
        return Explorer(
            [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)],  # type: ignore[arg-type] # the setting gives it a world
            MailsJudge(self.passes, by_hand=self.by_hand),
            start=self.start(),
            setting=WorldSetting(retries=30, kms=len(self.scripts) == 1),
            passes=self.passes,
            mishaps=self.mishaps if mishaps is None else mishaps,
        ).run()


one_mail = partial(shop, 2)
CASES = {
    "one mailer whose responses are lost": Case([delivers()], mishaps=2),
    "one message twice": Case([delivers(), delivers()], one_mail, mishaps=0),
    "one message twice, a response lost": Case([delivers(), delivers()], one_mail),
    "one message twice, and time passes": Case([delivers(), delivers()], one_mail, mishaps=0, passes=1),
    "a mailer and SES's events": Case([delivers(times=2), tells()], one_mail),
    "two mailers and SES's events": Case([delivers(), delivers(), tells(1, "Bounce")], one_mail, mishaps=0),
    "a mailer and SES rejecting an accepted mail": Case([delivers(), tells(1, "Reject")], one_mail),
    "a mailer and a cancellation": Case([delivers(), cancels()], one_mail),
    "a mailer of two mails and a cancellation": Case([delivers(), cancels()], mishaps=0),
    "two mailers and a cancellation": Case([delivers(), delivers(), cancels()], one_mail, mishaps=0),
    "a mailer, a cancellation, and time passes": Case([delivers(times=2), cancels()], one_mail, passes=1),
    "a refusal": Case([delivers(), delivers()], partial(shop, 2, REFUSES), mishaps=0),
    "a refusal of the second mail": Case([delivers(times=2)], partial(shop, 3, "", REFUSES)),
    "a refusal and a cancellation": Case([delivers(), cancels()], partial(shop, 2, REFUSES)),
    "a refusal after an unknown outcome": Case([delivers(times=2), cancels()], partial(shop, 2, "", REFUSES), passes=1),
    "not accepted": Case([delivers(times=2), delivers()], partial(shop, 2, TURNS_AWAY), mishaps=0),
    "not accepted and a cancellation": Case([delivers(times=2), cancels()], partial(shop, 2, TURNS_AWAY)),
    "a refusal, a resend and a cancellation": Case(
        [delivers(), wishes(), cancels()], partial(shop, 2, REFUSES), mishaps=0
    ),
    "a resend after an unknown outcome, and a cancellation": Case([wishes(), cancels()], refused_but_out),
    "a forced resend and a cancellation": Case(
        [wishes(force=True), delivers(), cancels()], partial(shop, 2, handed=True), mishaps=0
    ),
    "a mailer and a hand-over by hand": Case([delivers(), hands_over(1)], by_hand=True),
    "keys, one mailer whose responses are lost": Case([delivers(TRAINING)], school, mishaps=3),
    "keys, one message twice": Case([delivers(TRAINING), delivers(TRAINING)], school),
    "keys, one message twice, and time passes": Case([delivers(TRAINING), delivers(TRAINING)], school, passes=1),
    "keys, SES's events": Case([delivers(TRAINING, 2), tells(1, "Send", "Bounce")], school),
    "keys, a refusal and a resend": Case([delivers(TRAINING), wishes(TRAINING)], partial(school, REFUSES)),
    "keys, a refusal and a corrected address": Case(
        [delivers(TRAINING), wishes(TRAINING, to="new@example.com")], partial(school, REFUSES)
    ),
    "keys, a forced resend": Case([wishes(TRAINING, force=True), delivers(TRAINING)], partial(school, handed=True)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, and wherever clients die, each mail goes out once, and no certificate comes back."""
    began = time.monotonic()
    explored = case.explore(case.mishaps + (len(case.scripts) + case.passes < 3) if DEEP else None)

    report(f"mails, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 10


# The checker can fail: what has one thing wrong each.

ANYHOW = "attribute_exists(pk) OR attribute_not_exists(pk)"


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


def forgets_what_was_before(mail: Mail, wish: Any, requested: Callable[..., Mail] = Mail.requested) -> Mail:
    return replace(requested(mail, wish), out=False)


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


MUTANTS: dict[str, tuple[str, tuple[Any, str, Any]]] = {
    "cancels what is on its way": ("a mailer and a cancellation", (EcardOrders, "cancel", returns_what_is_on_its_way)),
    "sends whatever the order is": (
        "two mailers and a cancellation",
        (Outbox, "send", sends_whatever_the_order_is),
    ),
    "takes back whatever the mail is": (
        "a refusal, a resend and a cancellation",
        (Outbox, "as_read", anything),
    ),
    "sends again at once": ("one message twice", (Outbox, "remaining_wait", no_silence)),
    "takes no answer for no": ("one mailer whose responses are lost", (Ses, "send", takes_no_answer_for_no)),
    "forgets attempts that may be out": (
        "a refusal after an unknown outcome",
        (Mail, "unsent", property(looks_at_the_state_only)),
    ),
    "claims what is claimed": ("one message twice", (mails, "_unchanged", claims_anyhow)),
    "hands over without a mail": ("one message twice", (EcardMailer, "_send", hands_over_first)),
    "never takes back": ("a refusal", (EcardMailer, "_give_up", never_takes_back)),
    "a wish forgets what was": (
        "a resend after an unknown outcome, and a cancellation",
        (Mail, "requested", forgets_what_was_before),
    ),
    "believes nobody": ("a mailer and SES's events", (Mail, "recorded", believes_the_mark_only)),
    "looks once at a refusal": ("a refusal", (EcardMailer, "_next_step", looks_once)),
    "mails others than it says": ("one mailer whose responses are lost", (EcardOrder, "certificates", opens_others)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistakes_are_found(mutant: str) -> None:
    """The checker finds what is wrong with mails that have one mistake."""
    name, (owner, attribute, wrong) = MUTANTS[mutant]

    with mock.patch.object(owner, attribute, wrong), pytest.raises((Violation, AssertionError)):
        CASES[name].explore()


# The largest mail, on the local engine ------------------------------------------------------------------------------


def test_the_local_engine_takes_the_largest_mail(tmp_path: Path) -> None:
    """A mail of as many keys as fit is taken by the local engine's SES as it is written."""
    child = MiniStack(ROOT / ".venvs" / "engine" / "bin" / "python", tmp_path)
    try:
        child.wait()
        create_senders(connect("sesv2", child.endpoint), {"example.com"})
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
                Mailing(mailers(table, outbox, Labels(), Deadline.after(60), clock.system_clock)).deliver(
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
    Certificates(table, Labels()).load(Stock(1, company), "l0", [f"l0-{number}" for number in range(certificates)])
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
        # A message comes again where its consumers were done before the cancellation.
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
