"""Every order of the steps of consumers that get the same event, or several, while other things happen to the orders.

Steps, mishaps and crashes are those of `support/scheduler.py`, and what must hold of e-card orders at every state is
that of `test_ecards.py`. When everybody died there, the events come again, and must lead to what they ask for, once.
`ORDERING_EXPLORE=deep` takes more mishaps.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from engine import test_access_keys, test_ecards
from engine.engines import ROOT, TABLES, Engine, in_threads
from engine.test_ecards import COMPANY, HUNDRED, Contents, Labels, Shop, ShopJudge, creates, hands_over, tops_up
from ordering import sealing
from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.names import key_of
from ordering.clock import Clock
from ordering.ecards import incoming as ecards_incoming
from ordering.ecards.assignment import Assignment
from ordering.ecards.catalogue import Ecard, EcardCache, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import Certificates, Stock, read_stock_levels
from ordering.ecards.incoming import PAYMENT, STOCK, EcardEvents, sealing_context
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardParticipant
from ordering.ecards.statuses import EcardStatus
from ordering.ecards.stock.upkeep import StockUpkeep
from ordering.errors import Conflict, KeyReused, NotFound
from ordering.events.incoming import CANCELLATION, CANCELLATIONS_REFUSED, EVENTS_REFUSED, EventRefused
from ordering.fulfilment.incoming import Incoming, envelopes
from ordering.identity.accounts import Accounts
from ordering.training import access_keys
from ordering.training import incoming as training_incoming
from ordering.training.incoming import TrainingEvents
from ordering.training.orders import OrderIds, TrainingOrders
from ordering.training.statuses import TrainingStatus
from ordering_tools.installation import open_at
from ordering_tools.local.engine.aws_account import queue_arn, queue_url
from ordering_tools.local.engine.engine import Engine as MiniStack
from ordering_tools.local.engine.engine import connect, create_keys, create_tables, dynamodb
from ordering_tools.local.engine.event_buses import Rule, create_buses
from ordering_tools.local.engine.json_client import JsonClient
from ordering_tools.local.engine.queues import Queue, create_queues
from ordering_tools.operations import commands
from ordering_tools.operations import incoming as incoming_commands
from support import scheduler
from support.aws.memory import Memory
from support.partners import PARTNER, UK
from support.scheduler import START, TABLE, Client, Event, Explored, Explorer, Setting, Violation
from support.training import School, Steps

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
A, B = (str(uuid.UUID(int=number)) for number in (1, 2))
COURSE = test_access_keys.ORDER

Act = test_ecards.Act


def partners() -> Accounts:
    """Who orders e-cards; reading it is no step, because nobody changes it."""
    accounts = Accounts(Table(Memory(), "AccountsTable"))
    accounts.save_partner(replace(PARTNER, id=COMPANY, company="Acme"))
    return accounts


def catalogues(company: str = COMPANY, cards: Sequence[Ecard] = test_ecards.CARDS) -> Table:
    """What can be ordered; reading it is no step, because nobody changes it."""
    table = Table(Memory(), "CatalogueTable")
    EcardCatalogue(table, company).publish(cards)
    return table


# What clients do -----------------------------------------------------------------------------------------------------


class Till(Shop):
    """What a client has in its hands; what it refused is counted."""

    def __init__(self, table: Table, now: Clock) -> None:
        super().__init__(table, now)
        self.counted: list[str] = []
        self.courses = TrainingOrders(table, UK.id, sequence=OrderIds(), now=now)
        ecards = EcardEvents(
            table,
            partners(),
            Labels(),
            lambda company: EcardOrders(table, company, now=now),
            catalogues(),
            now=now,
        )
        training = TrainingEvents(table, lambda unit: TrainingOrders(table, unit, sequence=OrderIds(), now=now))
        receivers = [ecards.receiver(), training.receiver()]
        self.incoming = Incoming(receivers, report=lambda _: None, count=self.counted.append)

    def handle(self, told: Told) -> tuple[str, ...]:
        """Handle an event and say what was counted."""
        self.incoming.handle(told.text)
        return tuple(self.counted)


class TillSetting(Setting):
    """Gives scripts a till in place of a book."""

    def book(self, table: Table, now: Clock) -> Any:
        return Till(table, now)


@dataclass(frozen=True)
class Told:
    """An event, and whether it was done."""

    kind: str
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        detail = {"id": A, "type": self.kind, "version": 1, "time": "2026-01-01T12:00:00Z", "data": self.data}
        return json.dumps({"detail-type": self.kind, "source": "test", "time": detail["time"], "detail": detail})

    def done(self, contents: Contents) -> bool:
        """Whether what it asks for is so."""
        match self.data:
            case {"operation": operation, "amount": amount}:
                return bool(contents.ledger.get(f"topup#{operation}") == int(Decimal(amount) * 100))
            case {"batch": _, "codes": sealed}:
                codes: list[str] = json.loads(base64.b64decode(sealed).partition(b"|")[2])
                return {*codes} <= {code.decode() for code in contents.codes.values()}
            case {"order": {"id": order}}:
                return _status(contents, order) is EcardStatus.CANCELLED
        raise NotImplementedError(self.kind)

    def hopeless(self, contents: Contents) -> str | None:
        """Name the metric of what it asks for if that can never be."""
        match self.data:
            case {"operation": operation}:
                there = f"topup#{operation}" in contents.ledger
                return EVENTS_REFUSED if there and not self.done(contents) else None
            case {"batch": _}:
                return EVENTS_REFUSED if contents.stocks and not self.done(contents) else None
            case {"order": {"id": order}}:
                return CANCELLATIONS_REFUSED if _status(contents, order) is EcardStatus.DELIVERED else None
        raise NotImplementedError(self.kind)


def _status(contents: Contents, order: str) -> EcardStatus | None:
    return contents.orders[order].status if order in contents.orders else None


def payment(operation: str, amount: int) -> Told:
    return Told(PAYMENT, {"company": COMPANY, "operation": operation, "amount": str(amount)})


def stock(batch: str, *codes: str) -> Told:
    sealed = Labels().seal(json.dumps(codes).encode(), sealing_context(HUNDRED.card_id, HUNDRED.face_value, batch))
    data = {"cardId": HUNDRED.card_id, "faceValue": HUNDRED.face_value, "batch": batch}
    return Told(STOCK, {**data, "codes": base64.b64encode(sealed).decode()})


def cancellation(order: str) -> Told:
    return Told(CANCELLATION, {"order": {"kind": "ecards", "company": COMPANY, "id": order}})


COURSE_CANCELLATION = Told(CANCELLATION, {"order": {"kind": "training", "id": COURSE}})


def handles(told: Told) -> Act:
    return test_ecards.acts(("handle", told, lambda till: till.handle(told)))  # type: ignore[attr-defined] # it is a till


def issues() -> Act:
    """Issue the keys of the training order, which completes it."""

    def act(till: Any) -> bool:
        with mock.patch.object(access_keys, "secrets", test_access_keys.Drawn()):
            done: bool = till.courses.issue_keys(COURSE, Labels(), Steps(1_000))
        return done

    return test_ecards.acts(("issue", None, act))


# What must hold ------------------------------------------------------------------------------------------------------


class EventsJudge(ShopJudge):
    """What is promised of events, beside what is promised of e-card orders."""

    def __init__(self, events: Sequence[Told]) -> None:
        self._events = events

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:
        """When everybody died, the events come again, those that were too early for others among them."""
        later = memory.fork()
        for told in self._events:
            with suppress(NotFound):
                Till(Table(later, TABLE, first_pause=0.0), lambda: START).handle(told)
        contents = Contents.of(later)
        for told in self._events:
            early = told.kind == CANCELLATION and told.data["order"]["id"] not in contents.orders
            if not early and not told.done(contents) and not told.hopeless(contents):
                yield f"{told} came again and is not done"
        if not any(told.kind == CANCELLATION for told in self._events):
            yield from contents.unrest()  # what a cancellation frees is given away by who follows the table
        if sum(amount for entry, amount in contents.ledger.items() if entry.startswith("topup#")) > self._most():
            yield f"paid in more than once: {contents.ledger}"
        yield from super().future(later, setting)

    def _most(self) -> int:
        return 100 * (FOUND + sum(int(told.data["amount"]) for told in self._events if told.kind == PAYMENT))

    def _fits(self, event: Event, view: Contents) -> bool:
        match event:
            case Event("handle", told, ()):
                return bool(told.done(view))
            case Event("handle", told, (metric,)):
                return bool(told.hopeless(view) == metric)
            case Event("handle", told, "Conflict" | "NotFound"):
                return bool(told.kind == CANCELLATION)
        return super()._fits(event, view)


class CourseJudge(ShopJudge):
    """What is promised of the cancellation of a training order."""

    def view(self, memory: Memory) -> Any:
        return TrainingStatus(Table(memory, TABLE).get(key_of(f"training#{COURSE}"))["order"]["status"])  # type: ignore[index] # it is there

    def contents(self, view: Any) -> Iterator[str]:  # noqa: ARG002 - as it is called
        return iter(())

    def step(self, before: Any, after: Any) -> Iterator[str]:
        if before is not after and before is not TrainingStatus.NEW:
            yield f"went from {before} to {after}"

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:  # noqa: ARG002 - as it is called
        later = memory.fork()
        counted = Till(Table(later, TABLE, first_pause=0.0), lambda: START).handle(COURSE_CANCELLATION)
        if not self._is_right(counted, self.view(later)):
            yield f"the event came again: {self.view(later)}, counted {counted}"

    def _is_right(self, counted: Sequence[str], status: TrainingStatus) -> bool:
        wanted = {TrainingStatus.CANCELLED: (), TrainingStatus.COMPLETED: (CANCELLATIONS_REFUSED,)}
        return wanted.get(status) == counted

    def _fits(self, event: Event, view: Any) -> bool:
        if event.kind == "handle" and isinstance(event.value, tuple):
            return self._is_right(event.value, view)
        return event.kind == "issue" or event.value == "Conflict"


# Every interleaving --------------------------------------------------------------------------------------------------

FOUND = 300
"""What was paid in at most before an event came."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is logged, which takes longer than all the rest; and sealed codes can be compared as texts."""
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)
    monkeypatch.setattr(scheduler, "json", SimpleNamespace(dumps=partial(json.dumps, default=repr)))


@dataclass(frozen=True)
class Case:
    """Consumers of events, what else happens at the same time, and what happened before."""

    events: Sequence[Told]
    others: Sequence[Act] = ()
    found: Sequence[Act] = ()
    mishaps: int = 1
    start: Callable[[Sequence[Act]], Memory] = field(default=lambda found: test_ecards.prepared(*found))
    judge: Callable[[Sequence[Told]], ShopJudge] = EventsJudge

    def explore(self, mishaps: int | None = None) -> Explored:
        scripts = [*map(handles, self.events), *self.others]
        return Explorer(
            [Client(f"client {number}", script) for number, script in enumerate(scripts, 1)],  # type: ignore[arg-type] # the setting gives it a till
            self.judge(self.events),
            start=self.start(self.found),
            setting=TillSetting(retries=30),
            mishaps=self.mishaps if mishaps is None else mishaps,
        ).run()


def a_course(_: Sequence[Act]) -> Memory:
    memory = Memory()
    assert School(memory, now=lambda: START).place(1) == COURSE
    return memory


PAID = [tops_up("t0", 100), creates(A)]
PARKED = [*PAID, test_ecards.carries_on(A)]
READY = [tops_up("t0", 300), test_ecards.loads(HUNDRED, "l0", 3), creates(A, {HUNDRED: 3}), test_ecards.carries_on(A)]
course = partial(Case, start=a_course, judge=lambda _: CourseJudge())

CASES = {
    "one payment twice": Case([payment("p", 100)] * 2, found=[creates(A), creates(B)]),
    "one payment three times": Case([payment("p", 100)] * 3, mishaps=0),
    "one operation, two amounts": Case([payment("p", 100), payment("p", 150)], found=[creates(A)]),
    "two payments": Case([payment("p", 60), payment("q", 60)], found=[creates(A)]),
    "a payment and a create": Case([payment("p", 100)], [creates(A)]),
    "one batch twice": Case([stock("b", "x")] * 2, found=PARKED, mishaps=0),
    "one batch, other codes": Case([stock("b", "x"), stock("b", "y")], found=PARKED, mishaps=0),
    "a batch whose responses are lost": Case([stock("b", "x")], found=PARKED, mishaps=2),
    "one cancellation twice": Case([cancellation(A)] * 2, found=READY),
    "a cancellation and a payment": Case([cancellation(A), payment("p", 100)], found=[creates(A), creates(B)]),
    "a cancellation and the order's creation": Case([cancellation(A)] * 2, [creates(A)], [tops_up("t0", 100)]),
    "a cancellation and a batch": Case([cancellation(A), stock("b", "x")], found=PARKED, mishaps=0),
    "a cancellation and a hand-over": Case([cancellation(A)], [hands_over(A, 3)], READY),
    "one training order's cancellation twice": course([COURSE_CANCELLATION] * 2),
    "a training order's cancellation and its keys": course([COURSE_CANCELLATION], [issues()]),
    "a training order's cancellation twice and its keys": course([COURSE_CANCELLATION] * 2, [issues()], mishaps=0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, and wherever consumers die, what an event asks for is done once, or refused."""
    began = time.monotonic()
    explored = case.explore(case.mishaps + 1 if DEEP else None)

    report(f"incoming, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 5


# The checker can fail: what has one thing wrong each.


def pays_under_another_name(self: EcardEvents, data: Mapping[str, Any]) -> None:
    orders = self.open_orders(data["company"])
    operation = f"{data['operation']} at {orders.balance.hundredths()}"
    orders.top_up(operation, Decimal(data["amount"]))


def tops_up_only(self: EcardEvents, data: Mapping[str, Any]) -> None:
    orders = self.open_orders(data["company"])
    with suppress(KeyReused):
        orders.balance.top_up(data["operation"], Decimal(data["amount"]), self.now())


def overlooks_the_amount(self: EcardEvents, data: Mapping[str, Any]) -> None:
    with suppress(KeyReused):
        self.open_orders(data["company"]).top_up(data["operation"], Decimal(data["amount"]))


def loads_and_looks_away(
    self: EcardEvents, data: Mapping[str, Any], load: Callable[..., None] = EcardEvents.load_stock
) -> None:
    with mock.patch.object(Assignment, "assign_parked"):
        load(self, data)


def refuses_every_conflict(cancel: Callable[[], Any], *_: Any) -> None:
    try:
        cancel()
    except Conflict as conflict:
        raise EventRefused(CANCELLATIONS_REFUSED, conflict) from conflict


def overlooks_conflicts(cancel: Callable[[], Any], *_: Any) -> None:
    with suppress(Conflict):
        cancel()


def overlooks_missing_orders(
    self: EcardEvents, data: Mapping[str, Any], cancel: Callable[..., None] = EcardEvents.cancel
) -> None:
    with suppress(NotFound):
        cancel(self, data)


Patch = tuple[Any, str, Any]
MUTANTS: dict[str, tuple[str, Patch]] = {
    "a payment has another name each time": (
        "one payment twice",
        (EcardEvents, "receive_payment", pays_under_another_name),
    ),
    "a payment pays for nothing": ("one payment twice", (EcardEvents, "receive_payment", tops_up_only)),
    "another amount is as good": ("one operation, two amounts", (EcardEvents, "receive_payment", overlooks_the_amount)),
    "a batch moves on nobody": ("a batch whose responses are lost", (EcardEvents, "load_stock", loads_and_looks_away)),
    "whatever is in the way is refused": (
        "one cancellation twice",
        (ecards_incoming, "cancel_once", refuses_every_conflict),
    ),
    "whatever is in the way is done": (
        "a cancellation and a payment",
        (ecards_incoming, "cancel_once", overlooks_conflicts),
    ),
    "a course in the way is done": (
        "a training order's cancellation and its keys",
        (training_incoming, "cancel_once", overlooks_conflicts),
    ),
    "what is not there is done": (
        "a cancellation and the order's creation",
        (EcardEvents, "cancel", overlooks_missing_orders),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistakes_are_found(mutant: str) -> None:
    """The checker finds what is wrong with a consumer that has one mistake."""
    name, (owner, attribute, wrong) = MUTANTS[mutant]

    with mock.patch.object(owner, attribute, wrong), pytest.raises(Violation):
        CASES[name].explore()


# Real engines --------------------------------------------------------------------------------------------------------


class Office:
    """A company with a card of its own on an engine, and consumers of its events."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.company = f"company-{uuid.uuid4()}"
        self.stock = Stock(1 + secrets.randbelow(2**31 - 1), "100 ₽")
        self.table = Table(engine.send, engine.table, patience=30)
        self.accounts = Accounts(Table(engine.send, "AccountsTable"))
        self.accounts.save_partner(replace(PARTNER, id=self.company, company="Acme"))
        self.orders = EcardOrders(self.table, self.company)
        self.sealer: sealing.Sealer = Labels()
        self.counted: list[str] = []

    @property
    def cards(self) -> tuple[Ecard, ...]:
        return (Ecard(self.stock.card_id, "Books", "", "ruble", (FaceValue(self.stock.face_value, Decimal(100)),)),)

    def place(self) -> None:
        StockUpkeep(self.table, self.sealer).index(catalogues(self.company, self.cards))
        cache = EcardCache()
        cache.put(self.company, self.cards)
        request = EcardRequest(
            A,
            EcardParticipant("j@example.com", "J", "1"),
            [RequestedCard(self.stock.card_id, self.stock.face_value, 1)],
        )
        self.orders.place(request, company_name="Acme", catalogue=EcardCatalogue(self.table, self.company, cache))

    def event(self, kind: str) -> Told:
        """Make an event like those above, about what is here."""
        match kind:
            case "payment":
                return Told(PAYMENT, {**payment("p", 250).data, "company": self.company})
            case "stock":
                codes = json.dumps([f"{self.stock.card_id}-x", f"{self.stock.card_id}-y"]).encode()
                sealed = Labels().seal(codes, sealing_context(self.stock.card_id, self.stock.face_value, "b"))
                data = {"cardId": self.stock.card_id, "codes": base64.b64encode(sealed).decode()}
                return Told(STOCK, {**stock("b").data, **data})
        order = {**cancellation(A).data["order"], "company": self.company}
        return Told(CANCELLATION, {"order": order})

    def handle(self, told: Told) -> None:
        """Handle an event."""
        self.take(told.text)

    def take(self, body: str) -> None:
        """Handle a message as often as it takes, as a queue has it."""
        ecards = EcardEvents(
            self.table,
            self.accounts,
            self.sealer,
            lambda company: EcardOrders(self.table, company),
            catalogues(self.company, self.cards),
        )
        training = TrainingEvents(self.table, lambda unit: TrainingOrders(self.table, unit, sequence=OrderIds()))
        receivers = [ecards.receiver(), training.receiver()]
        consumer = Incoming(receivers, report=lambda _: None, count=self.counted.append)
        for _ in range(20):
            with suppress(Conflict):
                consumer.handle(body)
                return
        raise AssertionError(f"never done: {body}")


Deliver = Callable[[Office, Told], object]


def in_turn(office: Office, told: Told) -> None:
    office.handle(told)
    office.handle(told)


def at_once(office: Office, told: Told) -> None:
    in_threads([lambda: office.handle(told)] * 8)


def from_payment_to_cancellation(office: Office, deliver: Deliver) -> None:
    office.place()
    deliver(office, office.event("payment"))
    assert (office.orders.order(A).status, office.orders.balance.amount()) == (EcardStatus.PAYED, Decimal(150))
    office.orders.advance(A)
    deliver(office, office.event("stock"))
    assert office.orders.order(A).status is EcardStatus.READY
    assert read_stock_levels(office.table, [office.stock])[office.stock].count == 1
    deliver(office, office.event("cancellation"))
    assert (office.orders.order(A).status, office.orders.balance.amount()) == (EcardStatus.CANCELLED, Decimal(250))
    office.orders.advance(A)
    assert read_stock_levels(office.table, [office.stock])[office.stock].count == 2
    school = School(office.engine.send)
    number = school.place(1)
    deliver(office, Told(CANCELLATION, {"order": {"kind": "training", "id": number}}))

    assert school.orders().order(number).status is TrainingStatus.CANCELLED
    assert office.counted == []


def test_on_every_engine(engine: Engine) -> None:
    """Each event, handled twice, does what it asks for once, as every engine understands it."""
    from_payment_to_cancellation(Office(engine), in_turn)


def test_at_once(concurrent_engine: Engine) -> None:
    """Each event, handled by eight consumers at once, does what it asks for once."""
    from_payment_to_cancellation(Office(concurrent_engine), at_once)


def test_through_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands put onto a real bus comes out of a real queue as something that is understood and done."""
    engine = MiniStack(ROOT / ".venvs" / "engine" / "bin" / "python", tmp_path / "engine")
    try:
        engine.wait()
        create_tables(dynamodb(engine.endpoint), TABLES)
        create_keys(connect("kms", engine.endpoint), {"CertificatesKey": {}})
        with JsonClient(engine.endpoint, "sqs") as queues, JsonClient(engine.endpoint, "events") as buses:
            create_queues(queues, engine.endpoint, [Queue("IncomingQueue", {})])
            rule = {
                "EventPattern": json.dumps(
                    {"source": sorted(incoming_commands.SOURCES.values()), "detail-type": sorted(envelopes())}
                )
            }
            target = {"Id": "queue", "Arn": queue_arn("IncomingQueue")}
            create_buses(buses, [incoming_commands.BUS], [Rule("Incoming", incoming_commands.BUS, rule, [target])])
        installation = open_at(engine.endpoint, engine.services, tmp_path)
        monkeypatch.setattr(commands, "reopen", lambda _: installation)
        monkeypatch.setattr(incoming_commands, "find", lambda _: engine)
        office = Office(Engine("ministack", installation.send))
        office.sealer = EnvelopeSealer(installation.kms, "alias/CertificatesKey")
        office.place()
        codes = tmp_path / "codes"
        codes.write_text("SECRET-1\nSECRET-2\n")
        batch = ["--card", str(office.stock.card_id), "--face-value", office.stock.face_value, "--batch", "b"]

        for words in (
            ["payment", office.company, "250.50", "--operation", "client 1"],
            ["stock", str(codes), *batch],
            ["cancel", A.upper(), "--company", office.company],
        ):
            parser = argparse.ArgumentParser()
            incoming_commands.add_arguments(parser.add_subparsers())
            chosen = parser.parse_args(words)
            assert chosen.run(chosen) == 0
            (body,) = received(engine.endpoint)
            assert "SECRET" not in body
            office.take(body)
            office.orders.advance(A)
        order = office.orders.order(A)
        opened = Certificates(office.table, office.sealer).open(office.stock, ((1, 2),))

        assert [str(moment.status) for moment in order.state.history][-2:] == ["ReadyForDelivery", "Cancelled"]
        assert office.orders.balance.amount() == Decimal("250.5")
        assert [certificate.code for certificate in opened] == ["SECRET-1", "SECRET-2"]
    finally:
        engine.stop()


def received(services: str) -> list[str]:
    """Take the messages that are on the queue."""
    with JsonClient(services, "sqs") as queues:
        url = queue_url(services, "IncomingQueue")
        answer = queues.call("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in answer["Messages"]:
            queues.call("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in answer["Messages"]]
