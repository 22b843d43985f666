"""Inbound events: every interleaving of consumers of one event, or of several, while orders change for other reasons.

The promises of e-card orders are those of `test_ecards.py`. After a crash of all clients in any state, redelivery of
the events must have their effects once. `ORDERING_EXPLORE=deep` loses more responses.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from engine import test_access_keys, test_ecards
from engine.engines import ROOT, Engine, in_threads
from engine.explored import Case, Mutant, ReadableSealer, every_interleaving, every_mutant
from engine.test_ecards import (
    COMPANY,
    HUNDRED,
    EcardChecker,
    EcardContents,
    EcardServices,
    creates,
    hands_over,
    tops_up,
)
from ordering import sealing
from ordering.aws.dynamodb import Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.names import key_of
from ordering.clock import Clock
from ordering.ecards import incoming as ecards_incoming
from ordering.ecards import records as ecard_records
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
from ordering.values import replace
from ordering_tools import cli
from ordering_tools.installation import open_at
from ordering_tools.local.engine.aws_account import key_alias, queue_arn, queue_url
from ordering_tools.local.engine.engine import Engine as MiniStack
from ordering_tools.local.engine.engine import connect, create_tables, dynamodb
from ordering_tools.operations import commands
from ordering_tools.operations import incoming as incoming_commands
from ordering_tools.stacks import Stack
from support.aws import on_moto
from support.aws.memory import Memory
from support.partners import PARTNER, UK
from support.scheduler import START, TABLE, Checker, Result, Script, Setup, operations
from support.training import School, Steps

A, B = (str(uuid.UUID(int=number)) for number in (1, 2))
TRAINING_ORDER = test_access_keys.ORDER
SEALER = ReadableSealer()


def partners() -> Accounts:
    """The companies that order e-cards, on a table of their own, since reading them is no step."""
    accounts = Accounts(Table(Memory(), "AccountsTable"))
    accounts.save_partner(replace(PARTNER, id=COMPANY, company="Acme"))
    return accounts


def catalogues(company: str = COMPANY, cards: Sequence[Ecard] = test_ecards.CARDS) -> Table:
    """The catalogue on a table of its own, since reading it is no step."""
    table = Table(Memory(), "CatalogueTable")
    EcardCatalogue(table, company).publish(cards)
    return table


# Operations ----------------------------------------------------------------------------------------------------------


class InboundServices(EcardServices):
    """The code of inbound events, as one process has it; `counted` are the metrics of refused events."""

    def __init__(self, table: Table, now: Clock) -> None:
        super().__init__(table, now)
        self.counted: list[str] = []
        self.training = TrainingOrders(table, UK.id, sequence=OrderIds(), now=now)
        ecards = EcardEvents(
            table, partners(), SEALER, lambda company: EcardOrders(table, company, now=now), catalogues(), now=now
        )
        training = TrainingEvents(table, lambda unit: TrainingOrders(table, unit, sequence=OrderIds(), now=now))
        receivers = [ecards.receiver(), training.receiver()]
        self.incoming = Incoming(receivers, report=lambda _: None, count=self.counted.append)

    def handle(self, event: Inbound) -> tuple[str, ...]:
        """Handle an event, and return the metrics that were counted."""
        self.incoming.handle(event.text)
        return tuple(self.counted)


SETUP = Setup(InboundServices, 30, [ecard_records, access_keys])


@dataclass(frozen=True)
class Inbound:
    """An inbound event, and whether its effect is there."""

    kind: str
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        detail = {"id": A, "type": self.kind, "version": 1, "time": "2026-01-01T12:00:00Z", "data": self.data}
        return json.dumps({"detail-type": self.kind, "source": "test", "time": detail["time"], "detail": detail})

    def done(self, contents: EcardContents) -> bool:
        """Whether its effect is there."""
        match self.data:
            case {"operation": operation, "amount": amount}:
                return bool(contents.ledger.get(f"topup#{operation}") == int(Decimal(amount) * 100))
            case {"batch": _, "codes": sealed}:
                codes: list[str] = json.loads(base64.b64decode(sealed).partition(b"|")[2])
                return {*codes} <= {code.decode() for code in contents.codes.values()}
            case {"order": {"id": order}}:
                return _status(contents, order) is EcardStatus.CANCELLED
        raise NotImplementedError(self.kind)

    def refused(self, contents: EcardContents) -> str | None:
        """The metric of its refusal, if it can never take effect."""
        match self.data:
            case {"operation": operation}:
                there = f"topup#{operation}" in contents.ledger
                return EVENTS_REFUSED if there and not self.done(contents) else None
            case {"batch": _}:
                return EVENTS_REFUSED if contents.stocks and not self.done(contents) else None
            case {"order": {"id": order}}:
                return CANCELLATIONS_REFUSED if _status(contents, order) is EcardStatus.DELIVERED else None
        raise NotImplementedError(self.kind)


def _status(contents: EcardContents, order: str) -> EcardStatus | None:
    return contents.orders[order].status if order in contents.orders else None


def payment(operation: str, amount: int) -> Inbound:
    return Inbound(PAYMENT, {"company": COMPANY, "operation": operation, "amount": str(amount)})


def stock(batch: str, *codes: str) -> Inbound:
    sealed = SEALER.seal(json.dumps(codes).encode(), sealing_context(HUNDRED.card_id, HUNDRED.face_value, batch))
    data = {"cardId": HUNDRED.card_id, "faceValue": HUNDRED.face_value, "batch": batch}
    return Inbound(STOCK, {**data, "codes": base64.b64encode(sealed).decode()})


def cancellation(order: str) -> Inbound:
    return Inbound(CANCELLATION, {"order": {"kind": "ecards", "company": COMPANY, "id": order}})


TRAINING_CANCELLATION = Inbound(CANCELLATION, {"order": {"kind": "training", "id": TRAINING_ORDER}})


def handles(event: Inbound) -> Script:
    return operations(("handle", event, lambda inbound: inbound.handle(event)))


def issues() -> Script:
    """Issue the keys of the training order, which completes it."""
    return operations(
        ("issue", None, lambda inbound: inbound.training.issue_keys(TRAINING_ORDER, SEALER, Steps(1_000)))
    )


# Promises ------------------------------------------------------------------------------------------------------------


class InboundChecker(EcardChecker):
    """The promises of inbound events, beside those of e-card orders."""

    def __init__(self, events: Sequence[Inbound]) -> None:
        self._events = events

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """The events are redelivered, those among them that came before their order existed."""
        later = memory.fork()
        for event in self._events:
            with suppress(NotFound):
                setup.over(later).handle(event)
        contents = self.view(later)
        for event in self._events:
            early = event.kind == CANCELLATION and event.data["order"]["id"] not in contents.orders
            if not early and not event.done(contents) and not event.refused(contents):
                yield f"{event} was redelivered and is not done"
        if not any(event.kind == CANCELLATION for event in self._events):
            yield from contents.needless_waits()  # the stream's consumer assigns what a cancellation frees
        if sum(amount for entry, amount in contents.ledger.items() if entry.startswith("topup#")) > self._most():
            yield f"paid in more than once: {contents.ledger}"
        yield from super().recovery(later, setup)

    def _most(self) -> int:
        return 100 * (FOUND + sum(int(event.data["amount"]) for event in self._events if event.kind == PAYMENT))

    def accepts(self, result: Result, view: EcardContents) -> bool:
        match result:
            case Result("handle", Inbound() as event, ()):
                return event.done(view)
            case Result("handle", Inbound() as event, (str(metric),)):
                return event.refused(view) == metric
            case Result("handle", Inbound() as event, "Conflict" | "NotFound"):
                return event.kind == CANCELLATION
        return super().accepts(result, view)

    def end(self, began: EcardContents, view: EcardContents, results: Sequence[Result]) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """Orders may wait: the stream's consumer, which is none of the clients, assigns what a cancellation frees."""
        return iter(())


class TrainingChecker(Checker[TrainingStatus]):
    """The promises of a training order's cancellation."""

    def view(self, memory: Memory) -> TrainingStatus:
        return TrainingStatus(Table(memory, TABLE).get(key_of(f"training#{TRAINING_ORDER}"))["order"]["status"])  # type: ignore[index] # it is there

    def state(self, view: TrainingStatus) -> Iterator[str]:  # noqa: ARG002 - as it is called
        return iter(())

    def step(self, before: TrainingStatus, after: TrainingStatus) -> Iterator[str]:
        if before is not after and before is not TrainingStatus.NEW:
            yield f"went from {before} to {after}"

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """The event is redelivered."""
        later = memory.fork()
        counted = setup.over(later).handle(TRAINING_CANCELLATION)
        if not self._is_right(counted, self.view(later)):
            yield f"the event was redelivered: {self.view(later)}, counted {counted}"

    def _is_right(self, counted: Sequence[str], status: TrainingStatus) -> bool:
        wanted = {TrainingStatus.CANCELLED: (), TrainingStatus.COMPLETED: (CANCELLATIONS_REFUSED,)}
        return wanted.get(status) == counted

    def accepts(self, result: Result, view: TrainingStatus) -> bool:
        if result.operation == "handle" and isinstance(result.value, tuple):
            return self._is_right(result.value, view)
        return result.operation == "issue" or result.value == "Conflict"


# Every interleaving --------------------------------------------------------------------------------------------------

FOUND = 300
"""The most that was paid in before an event."""


@pytest.fixture(autouse=True)
def no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No logs, which would take most of the time."""
    monkeypatch.setattr(logging.getLogger("ordering"), "disabled", True)


def case(
    events: Sequence[Inbound], others: Sequence[Script] = (), before: Sequence[Script] = (), lost: int = 1
) -> Case:
    """Consumers of events, and other clients, on e-card orders."""
    start = partial(test_ecards.contents, *before)
    return Case([*map(handles, events), *others], start, SETUP, InboundChecker(events), lost)


def training_case(events: Sequence[Inbound], others: Sequence[Script] = (), lost: int = 1) -> Case:
    """The same on a training order."""
    return Case([*map(handles, events), *others], placed, SETUP, TrainingChecker(), lost)


def placed() -> Memory:
    """A table with the training order."""
    memory = Memory()
    assert School(memory, now=lambda: START).place(1) == TRAINING_ORDER
    return memory


PAID = [tops_up("t0", 100), creates(A)]
PARKED = [*PAID, test_ecards.advances(A)]
READY = [tops_up("t0", 300), test_ecards.loads(HUNDRED, "l0", 3), creates(A, {HUNDRED: 3}), test_ecards.advances(A)]

CASES = {
    "one payment twice": case([payment("p", 100)] * 2, before=[creates(A), creates(B)]),
    "one payment three times": case([payment("p", 100)] * 3, lost=0),
    "one operation, two amounts": case([payment("p", 100), payment("p", 150)], before=[creates(A)]),
    "two payments": case([payment("p", 60), payment("q", 60)], before=[creates(A)]),
    "a payment and a create": case([payment("p", 100)], [creates(A)]),
    "one batch twice": case([stock("b", "x")] * 2, before=PARKED, lost=0),
    "one batch, other codes": case([stock("b", "x"), stock("b", "y")], before=PARKED, lost=0),
    "a batch whose responses are lost": case([stock("b", "x")], before=PARKED, lost=2),
    "one cancellation twice": case([cancellation(A)] * 2, before=READY),
    "a cancellation and a payment": case([cancellation(A), payment("p", 100)], before=[creates(A), creates(B)]),
    "a cancellation and the order's creation": case([cancellation(A)] * 2, [creates(A)], [tops_up("t0", 100)]),
    "a cancellation and a batch": case([cancellation(A), stock("b", "x")], before=PARKED, lost=0),
    "a cancellation and a hand-over": case([cancellation(A)], [hands_over(A, 3)], READY),
    "one training order's cancellation twice": training_case([TRAINING_CANCELLATION] * 2),
    "a training order's cancellation and its keys": training_case([TRAINING_CANCELLATION], [issues()]),
    "a training order's cancellation twice and its keys": training_case(
        [TRAINING_CANCELLATION] * 2, [issues()], lost=0
    ),
}


test_every_interleaving = every_interleaving(
    "incoming",
    CASES,
    "In every interleaving, with crashes anywhere, an event takes effect once, or is refused.",
    at_least=5,
)


# Mutants -------------------------------------------------------------------------------------------------------------


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


def loads_without_assigning(
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


MUTANTS = {
    "a payment has another name each time": Mutant(
        CASES["one payment twice"], [(EcardEvents, "receive_payment", pays_under_another_name)]
    ),
    "a payment pays for no order": Mutant(CASES["one payment twice"], [(EcardEvents, "receive_payment", tops_up_only)]),
    "another amount of one operation is accepted": Mutant(
        CASES["one operation, two amounts"], [(EcardEvents, "receive_payment", overlooks_the_amount)]
    ),
    "a batch advances no order": Mutant(
        CASES["a batch whose responses are lost"], [(EcardEvents, "load_stock", loads_without_assigning)]
    ),
    "every conflict is a refusal": Mutant(
        CASES["one cancellation twice"], [(ecards_incoming, "cancel_once", refuses_every_conflict)]
    ),
    "every conflict counts as done": Mutant(
        CASES["a cancellation and a payment"], [(ecards_incoming, "cancel_once", overlooks_conflicts)]
    ),
    "every conflict of a training order counts as done": Mutant(
        CASES["a training order's cancellation and its keys"], [(training_incoming, "cancel_once", overlooks_conflicts)]
    ),
    "a missing order counts as done": Mutant(
        CASES["a cancellation and the order's creation"], [(EcardEvents, "cancel", overlooks_missing_orders)]
    ),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)


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
        self.sealer: sealing.Sealer = SEALER
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

    def event(self, kind: str) -> Inbound:
        """An event like those above, about this company."""
        match kind:
            case "payment":
                return Inbound(PAYMENT, {**payment("p", 250).data, "company": self.company})
            case "stock":
                codes = json.dumps([f"{self.stock.card_id}-x", f"{self.stock.card_id}-y"]).encode()
                sealed = SEALER.seal(codes, sealing_context(self.stock.card_id, self.stock.face_value, "b"))
                data = {"cardId": self.stock.card_id, "codes": base64.b64encode(sealed).decode()}
                return Inbound(STOCK, {**stock("b").data, **data})
        order = {**cancellation(A).data["order"], "company": self.company}
        return Inbound(CANCELLATION, {"order": order})

    def handle(self, event: Inbound) -> None:
        """Handle an event."""
        self.take(event.text)

    def take(self, body: str) -> None:
        """Handle a message, with the redeliveries of a queue."""
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
        raise AssertionError(f"never handled: {body}")


Deliver = Callable[[Office, Inbound], object]


def in_turn(office: Office, event: Inbound) -> None:
    office.handle(event)
    office.handle(event)


def at_once(office: Office, event: Inbound) -> None:
    in_threads([lambda: office.handle(event)] * 8)


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
    deliver(office, Inbound(CANCELLATION, {"order": {"kind": "training", "id": number}}))

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
        create_tables(dynamodb(engine.endpoint), on_moto.TABLES)
        keys = connect("kms", engine.endpoint)
        key = keys.create_key()["KeyMetadata"]["KeyId"]
        keys.create_alias(AliasName=key_alias("CertificatesKey"), TargetKeyId=key)
        connect("sqs", engine.endpoint).create_queue(QueueName="IncomingQueue")
        bus = incoming_commands.BUS
        pattern = {"source": sorted(incoming_commands.SOURCES.values()), "detail-type": sorted(envelopes())}
        buses = connect("events", engine.endpoint)
        buses.create_event_bus(Name=bus)
        buses.put_rule(Name="Incoming", EventBusName=bus, EventPattern=json.dumps(pattern))
        target = {"Id": "queue", "Arn": queue_arn("IncomingQueue")}
        buses.put_targets(Rule="Incoming", EventBusName=bus, Targets=[target])
        installation = open_at(engine.endpoint, engine.services, tmp_path, Stack({bus: bus}))
        monkeypatch.setattr(commands, "reopen", lambda _: installation)
        office = Office(Engine("ministack", installation.send))
        office.sealer = EnvelopeSealer(installation.kms, key_alias("CertificatesKey"))
        office.place()
        codes = tmp_path / "codes"
        codes.write_text("SECRET-1\nSECRET-2\n")
        batch = ["--card", str(office.stock.card_id), "--face-value", office.stock.face_value, "--batch", "b"]

        for words in (
            ["payment", office.company, "250.50", "--operation", "client 1"],
            ["stock", str(codes), *batch],
            ["cancel", f"{office.company}/{A.upper()}"],
        ):
            assert cli.main(["dev", "event", *words, "--wait", "0"]) == 0
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
    queues, url = connect("sqs", services), queue_url(services, "IncomingQueue")
    answer = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
    for message in answer["Messages"]:
        queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in answer["Messages"]]
