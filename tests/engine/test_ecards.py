"""Every order of the steps of a few clients of the real e-card orders, with mishaps, and long random histories.

Steps, mishaps and crashes are those of `support/scheduler.py`. At every state what is stored must make sense, and when
everybody died there, repeating what follows a change (`advance`, `pay_waiting`, `assign_parked`) must lead to a state
in which nothing is left to do. Where all clients came to their end, they must have left it so themselves.
`ORDERING_EXPLORE=deep` takes more mishaps and more random histories.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ordering.aws.dynamodb import Check, Item, Put, Table, Update, Write, plain_item
from ordering.book import orderbook
from ordering.book.lifecycle import Actor
from ordering.clock import Clock
from ordering.ecards import assignment as ecard_assignment
from ordering.ecards import orders as ecard_orders
from ordering.ecards import records as ecard_records
from ordering.ecards.assignment import Assignment
from ordering.ecards.balance import Balance
from ordering.ecards.catalogue import Ecard, EcardCache, EcardCatalogue, FaceValue, RequestedCard
from ordering.ecards.certificates import (
    Certificate,
    Certificates,
    Stock,
    StockLevel,
    merge,
    read_ranges,
    read_stock_levels,
    size,
)
from ordering.ecards.orders import EcardOrders, EcardRequest
from ordering.ecards.records import EcardOrder, EcardParticipant, EcardRecords, read_order
from ordering.ecards.statuses import ECARDS, EcardStatus
from ordering.ecards.stock.codes import DIGEST_KEY, CodeRecord
from support import scheduler
from support.aws.memory import Memory
from support.scheduler import (
    LOST,
    START,
    TABLE,
    Call,
    Client,
    Event,
    Explored,
    Explorer,
    Log,
    Outcome,
    Point,
    Setting,
    Violation,
    carry_out,
    replay,
)

DEEP = os.environ.get("ORDERING_EXPLORE") == "deep"
COMPANY, COMPANY_NAME = "acme", "Acme"
HUNDRED, FIFTY = Stock(1, "100 ₽"), Stock(1, "50 ₽")
CARDS = (Ecard(1, "Books", "", "ruble", (FaceValue("100 ₽", Decimal(100)), FaceValue("50 ₽", Decimal(50)))),)
FINISHED = {EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED, EcardStatus.DELIVERED}

Act = Callable[["Shop", Log], None]
Wishes = Mapping[Stock, int]


# What clients do -----------------------------------------------------------------------------------------------------


class Labels:
    """A sealer that hides nothing, but opens only what was sealed under the same context."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return context + b"|" + plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        label, _, plain = sealed.partition(b"|")
        assert label == context
        return plain


class Shop:
    """What a client has in its hands."""

    def __init__(self, table: Table, now: Clock) -> None:
        self.orders = EcardOrders(table, COMPANY, now=now)
        self.assignment = Assignment(table, now=now)
        self.certificates = Certificates(table, Labels())
        # Known from the start, so that reading it is no step.
        cache = EcardCache()
        cache.put(COMPANY, CARDS)
        self.catalogue = EcardCatalogue(table, COMPANY, cache)

    def place(self, request: EcardRequest) -> EcardOrder:
        return self.orders.place(request, company_name=COMPANY_NAME, catalogue=self.catalogue)

    def load(self, stock: Stock, batch: str, count: int) -> None:
        self.load_codes(stock, batch, [f"{stock}-{batch}-{number}" for number in range(count)])

    def load_codes(self, stock: Stock, batch: str, codes: Sequence[str]) -> None:
        self.certificates.load(stock, batch, codes)
        self.assignment.assign_parked(stock)


class ShopSetting(Setting):
    """Gives scripts a shop in place of a book, and the shop's writers names that are the same in every replay."""

    def book(self, table: Table, now: Clock) -> Any:
        return Shop(table, now)


def acts(*steps: tuple[str, Any, Callable[[Shop], Any]]) -> Act:
    """Do one thing after another, each an operation of its own."""

    def script(shop: Any, log: Log) -> None:
        with mock.patch.object(ecard_records, "secrets", vars(orderbook)["secrets"]):
            for kind, detail, act in steps:
                with log.operation(kind, detail) as told:
                    told(act(shop))

    return script


def creates(name: str, wishes: Wishes | None = None, phone: str = "1") -> Act:
    wanted = [
        RequestedCard(stock.card_id, stock.face_value, count) for stock, count in (wishes or {HUNDRED: 1}).items()
    ]
    request = EcardRequest(name, EcardParticipant("j@example.com", "John", phone), wanted)

    def act(shop: Shop) -> tuple[str, int]:
        order = shop.place(request)
        return order.id, order.number

    return acts(("create", (name, request.fingerprint), act))


def tops_up(operation: str, amount: int) -> Act:
    return acts(("top up", (operation, amount), lambda shop: shop.orders.top_up(operation, Decimal(amount))))


def carries_on(name: str) -> Act:
    return acts(("advance", name, lambda shop: str(shop.orders.advance(name).status)))


def cancels(name: str) -> Act:
    return acts(("cancel", name, lambda shop: str(shop.orders.cancel(name).status)))


def hands_over(name: str, count: int) -> Act:
    def act(shop: Shop) -> int:
        return shop.orders.hand_over(shop.orders.order(name), count).delivered

    return acts(("hand over", (name, count), act))


def lists() -> Act:
    def act(shop: Shop) -> tuple[tuple[int, ...], int]:
        page = shop.orders.page(0, 20)
        return tuple(order.number for order in page.items), page.total

    return acts(("list", None, act))


def loads(stock: Stock, batch: str, count: int) -> Act:
    return acts(("load", (str(stock), batch, count), lambda shop: shop.load(stock, batch, count)))


def loads_codes(stock: Stock, batch: str, *codes: str) -> Act:
    return acts(("load", (str(stock), batch, codes), lambda shop: shop.load_codes(stock, batch, codes)))


def prepared(*steps: Act) -> Memory:
    """An engine on which some clients have come to their end, one after another."""
    memory = Memory()
    # Drawn once for all replays, which would otherwise differ in every digest.
    key = Labels().seal(b"key", "/".join(DIGEST_KEY).encode())
    Table(memory, TABLE).put(Put({"pk": DIGEST_KEY[0], "sk": DIGEST_KEY[1], "key": key, "registered": "-"}))
    for step in steps:
        log = Log()
        step(Shop(Table(memory, TABLE, first_pause=0.0), lambda: START), log)
        assert log.running is None
    return memory


# What must hold ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """What an engine holds, as plain values."""

    orders: dict[str, EcardOrder] = field(default_factory=dict)
    entries: list[Item] = field(default_factory=list)
    balance: list[int] = field(default_factory=list)
    ledger: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    parked: dict[str, tuple[str, int]] = field(default_factory=dict)
    stocks: dict[str, Item] = field(default_factory=dict)
    codes: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, memory: Memory) -> Contents:
        contents = cls()
        for (partition, sort), raw in memory.scan(TABLE):
            item = plain_item(raw)
            kind, _, name = partition.partition("#")
            match kind:
                case "ORDER":
                    contents.orders[item["id"]] = read_order(item)
                case "BOOK" if "void" not in item:
                    contents.entries.append(item["order"])
                case "BALANCE":
                    contents.balance.append(item["amount"])
                case "LEDGER":
                    contents.ledger[sort] = item["amount"]
                case "WAITING":
                    contents.waiting[item["orderId"]] = item["total"]
                case "PARKED":
                    assert item["orderId"] not in contents.parked
                    contents.parked[item["orderId"]] = (name, item["need"])
                case "STOCK":
                    contents.stocks[name] = item
                case "CERTIFICATES":
                    contents.codes[name, int(sort)] = item["code"].partition(b"|")[2]
        return contents

    @property
    def money(self) -> int:
        return sum(self.balance)

    def free(self, stock: str) -> int:
        return size(read_ranges(self.stocks.get(stock, {}).get("unassigned", [])))

    @cached_property
    def held(self) -> dict[str, list[tuple[int, int]]]:
        """All ranges of a stock that are an order's."""
        held: dict[str, list[tuple[int, int]]] = {}
        for order in self.orders.values():
            ours = order.assigned
            if order.status is EcardStatus.CANCELLED:
                gone = order.certificates(0, order.delivered + order.in_transit)
                for stock, position in _positions([*gone, *order.returning]):
                    held.setdefault(stock, []).append((position, position))
                continue
            for one in ours:
                held.setdefault(str(one.stock), []).extend(one.ranges)
        return held

    def wrongs(self) -> Iterator[str]:
        """Tell what no moment of any history may show."""
        yield from self._money_wrongs()
        yield from self._stock_wrongs()
        listed = sorted((entry["id"], entry["number"], entry["status"]) for entry in self.entries)
        there = sorted((order.id, order.number, str(order.status)) for order in self.orders.values())
        if listed != there:
            yield f"listed {listed}, there are {there}"
        created = {order.id for order in self.orders.values() if order.status is EcardStatus.CREATED}
        if created != set(self.waiting):
            yield f"waiting {self.waiting}, created {created}"
        awaiting = {order.id: str(order.parked) for order in self.orders.values() if order.parked}
        if awaiting != {name: stock for name, (stock, _) in self.parked.items()}:
            yield f"parked {self.parked}, awaiting {awaiting}"

    def _money_wrongs(self) -> Iterator[str]:
        if self.money != sum(self.ledger.values()) or self.money < 0:
            yield f"balance {self.money}, ledger {self.ledger}"
        for order in self.orders.values():
            debited, total = int(order.debited * 100), int(order.total * 100)
            expected = 0 if order.status is EcardStatus.CANCELLED else -debited
            entries = [self.ledger.get(f"{kind}#{order.id}", 0) for kind in ("debit", "refund")]
            paid = any(moment.status is EcardStatus.PAYED for moment in order.state.history)
            if sum(entries) != expected or debited != (total if paid else 0) or entries[0] != -debited:
                yield f"{order.id} is {order.status}, debited {debited} of {total}, ledger {self.ledger}"

    def _stock_wrongs(self) -> Iterator[str]:
        seen: set[tuple[str, bytes]] = set()
        for stock, item in self.stocks.items():
            free, held = read_ranges(item.get("unassigned", [])), self.held.get(stock, [])
            try:
                everything = merge(free, tuple(held))
            except ValueError as error:
                yield f"{stock}: {error}: free {free}, held {held}"
            else:
                if size(everything) != item.get("loaded", 0):
                    yield f"{stock}: loaded {item.get('loaded')}, free {free}, held {held}"
                missing = [
                    n for first, last in everything for n in range(first, last + 1) if (stock, n) not in self.codes
                ]
                if missing:
                    yield f"{stock}: no codes at {missing}"
                codes = [self.codes[stock, n] for first, last in everything for n in range(first, last + 1)]
                card = stock.partition("#")[0]
                if again := sorted(code for code in codes if (card, code) in seen):
                    yield f"{stock}: codes at two positions of the card: {again}"
                if len(set(codes)) < len(codes):
                    yield f"{stock}: a code at two positions: {codes}"
                seen.update((card, code) for code in codes)
        for order in self.orders.values():
            has = sum(size(one.ranges) for one in order.assigned)
            if order.status in FINISHED and has != order.quantity:
                yield f"{order.id} is {order.status} with {has} of {order.quantity} certificates"

    def unrest(self) -> Iterator[str]:
        """Tell what is left undone of what nobody needs to be asked for."""
        for name, total in self.waiting.items():
            if total <= self.money:
                yield f"{name} waits for {total}, there is {self.money}"
        for name, (stock, need) in self.parked.items():
            if need <= self.free(stock):
                yield f"{name} waits for {need} of {stock}, {self.free(stock)} are free"

    def unfinished(self) -> Iterator[str]:
        """Tell which orders have a next step that somebody must have taken in the end."""
        for order in self.orders.values():
            if order.status is EcardStatus.PAYED or order.returning:
                yield f"{order.id} is left {order.status}, returning {order.returning}"


def _positions(held: Sequence[Any]) -> list[tuple[str, int]]:
    return [(str(one.stock), n) for one in held for first, last in one.ranges for n in range(first, last + 1)]


def changes_wrongly(before: Contents, after: Contents) -> Iterator[str]:
    """Tell what no step may do."""
    for name, order in before.orders.items():
        now = after.orders.get(name)
        if now is None or now.state.version < order.state.version or now.delivered < order.delivered:
            yield f"{name} was {order.state}, {order.delivered} delivered, now {now}"
        elif now.state.version - order.state.version != int(now != order):
            yield f"{name} changed from version {order.state.version} to {now.state.version}"
        elif not _legal(order.status, now.status):
            yield f"{name} went from {order.status} to {now.status}"
    if len(after.orders) > len(before.orders) + 1:
        yield "two orders at once"


def _legal(source: EcardStatus, target: EcardStatus) -> bool:
    return source is target or any(ECARDS.allows(source, target, by) for by in Actor)


SAID = {("load", type(None)), ("hand over", int), ("advance", str)}
"""What else clients can be told, by kind and type."""


class ShopJudge:
    """What is promised of e-card orders."""

    def reads(self, running: tuple[str, Any]) -> bool:  # noqa: ARG002 - as it is called
        return False

    def view(self, memory: Memory) -> Contents:
        return Contents.of(memory)

    def summary(self, view: Contents) -> Hashable:  # noqa: ARG002 - as it is called
        return None

    def contents(self, view: Contents) -> Iterator[str]:
        yield from view.wrongs()

    def step(self, before: Contents, after: Contents) -> Iterator[str]:
        yield from changes_wrongly(before, after)

    def future(self, memory: Memory, setting: Setting) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """When everybody died, repeating what follows a change leaves nothing undone."""
        later = memory.fork()
        shop = Shop(Table(later, TABLE, first_pause=0.0), lambda: START)
        contents = Contents.of(later)
        shop.orders.pay_waiting()
        for name in contents.orders:
            shop.orders.advance(name)
        shop.orders.pay_waiting()
        for stock in {HUNDRED, FIFTY}:
            shop.assignment.assign_parked(stock)
        rested = Contents.of(later)
        for wrong in itertools.chain(rested.wrongs(), rested.unrest(), rested.unfinished()):
            yield f"after everything was repeated: {wrong}"

    def told(
        self,
        event: Event,
        earlier: Sequence[Event],  # noqa: ARG002 - as it is called
        witnessed: Sequence[Any],  # noqa: ARG002 - as it is called
        view: Contents,
    ) -> Iterator[str]:
        if not self._fits(event, view):
            yield f"{event}: there is {view}"

    def _fits(self, event: Event, view: Contents) -> bool:
        order = view.orders.get(event.detail if event.kind == "cancel" else (event.detail or "?")[0])
        match event:
            case Event("create", (_, fingerprint), (placed, number)):
                told = (placed, number, fingerprint)
                return order is not None and told == (order.id, order.number, order.fingerprint)
            case Event("create", (_, fingerprint), "KeyReused"):
                return order is not None and order.fingerprint != fingerprint
            case Event("top up", (operation, amount), None):
                return view.ledger.get(f"topup#{operation}") == int(100 * amount)
            case Event("cancel", _, "Cancelled"):
                return order is not None and order.status is EcardStatus.CANCELLED
            case Event("list", None, (numbers, total)):
                there = {order.number for order in view.orders.values()}
                newest_first: list[int] = sorted(numbers, reverse=True)
                return there.issuperset(numbers) and ([*numbers], len(numbers)) == (newest_first, total)
        return (event.kind, type(event.value)) in SAID or event.value == "Conflict"

    def rest(self, view: Contents, events: Sequence[Event]) -> Iterator[str]:
        """Where all clients came to their end, nothing is left undone, and what they were told adds up."""
        yield from view.unrest()
        handed = Counter[str]()
        for event in events:
            match event:
                case Event("hand over", (name, count), int()):
                    handed[name] += count
        for name, order in view.orders.items():
            if any(event.kind == "hand over" for event in events) and handed[name] != order.delivered:
                yield f"{name}: {order.delivered} delivered, told {handed[name]}"


class ShopExplorer(Explorer[Contents]):
    """Judges also where all clients came to their end."""

    def _moves(self, state: Any) -> Iterator[Any]:
        store, now, nodes, *_ = state
        points = [self._points[self._timed(node, now)] for node in nodes]
        if all(point.call is None for point in points):
            events = [event for point in points for event in point.events]
            self._complain(ShopJudge().rest(self._views[store], events))
        yield from super()._moves(state)


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stock for each transaction, so that two are many; and sealed codes can be compared as texts."""
    monkeypatch.setattr(ecard_assignment, "STOCKS_AT_ONCE", 1)
    monkeypatch.setattr(scheduler, "json", SimpleNamespace(dumps=partial(json.dumps, default=repr)))


@dataclass(frozen=True)
class Case:
    """Clients, what happened before them, and what may happen to them."""

    scripts: Sequence[Act]
    found: Sequence[Act] = ()
    mishaps: int = 1
    passes: int = 0
    more: int = 1
    """How many more mishaps where more is to be explored."""

    def explore(self, mishaps: int | None = None) -> Explored:
        return ShopExplorer(
            [Client(f"client {number}", script) for number, script in enumerate(self.scripts, 1)],  # type: ignore[arg-type] # the setting gives it a shop
            ShopJudge(),
            start=prepared(*self.found),
            setting=ShopSetting(retries=30),
            passes=self.passes,
            mishaps=self.mishaps if mishaps is None else mishaps,
        ).run()


PAID = [tops_up("t0", 100), creates("a")]
BOTH_PAID = [tops_up("t0", 200), creates("a"), creates("b")]
READY = [tops_up("t0", 300), loads(HUNDRED, "l0", 3), creates("a", {HUNDRED: 3}), carries_on("a")]
PARKED = [*PAID, carries_on("a")]
MIXED = {HUNDRED: 1, FIFTY: 1}

CASES = {
    "two creates, money for one": Case([creates("a"), creates("b")], [tops_up("t0", 100)]),
    "one order twice": Case([creates("a"), creates("a")], [tops_up("t0", 100)], mishaps=2),
    "one order twice, not covered": Case([creates("a"), creates("a")], mishaps=2),
    "one id, two requests": Case([creates("a"), creates("a", phone="2")], [tops_up("t0", 150)]),
    "a create and a top-up": Case([creates("a"), tops_up("t1", 100)], mishaps=2),
    "two creates and a top-up": Case([creates("a"), creates("b"), tops_up("t1", 100)], mishaps=0),
    "a create and a reader who voids its ticket": Case([creates("a"), lists()], [tops_up("t0", 100)], passes=1),
    "one top-up twice": Case([tops_up("t1", 100), tops_up("t1", 100)], [creates("a"), creates("b")]),
    "two top-ups": Case([tops_up("t1", 60), tops_up("t2", 60)], [creates("a")]),
    "a cancellation and a create": Case([cancels("a"), creates("b")], PAID),
    "a cancellation and a payment": Case([cancels("a"), tops_up("t1", 100)], [creates("a"), creates("b")]),
    "a cancellation and an assignment": Case([cancels("a"), carries_on("a")], [*PAID, loads(HUNDRED, "l0", 2)]),
    "two cancellations": Case([cancels("a"), cancels("a")], READY),
    "two orders, certificates for one": Case([carries_on("a"), carries_on("b")], [*BOTH_PAID, loads(HUNDRED, "l0", 1)]),
    "one order assigned twice": Case([carries_on("a"), carries_on("a")], [*PAID, loads(HUNDRED, "l0", 2)], mishaps=2),
    "an order parked and a load": Case([carries_on("a"), loads(HUNDRED, "l1", 1)], PAID),
    "two orders parked and a load": Case(
        [carries_on("a"), carries_on("b"), loads(HUNDRED, "l1", 1)], BOTH_PAID, mishaps=0
    ),
    "an order parked and certificates returned": Case(
        [carries_on("b"), cancels("a")],
        [tops_up("t0", 200), loads(HUNDRED, "l0", 1), creates("a"), carries_on("a"), creates("b")],
    ),
    "a parked order cancelled and a load": Case([cancels("a"), loads(HUNDRED, "l1", 1)], PARKED),
    "an order parked elsewhere and loads": Case(
        [loads(HUNDRED, "l1", 1), loads(FIFTY, "l2", 1)],
        [tops_up("t0", 150), creates("a", MIXED), carries_on("a")],
        mishaps=0,
    ),
    "an order in two steps and one that takes": Case(
        [carries_on("a"), carries_on("b")],
        [
            tops_up("t0", 200),
            loads(HUNDRED, "l0", 1),
            loads(FIFTY, "l1", 1),
            creates("a", MIXED),
            creates("b", {FIFTY: 1}),
        ],
    ),
    "an order in two steps cancelled": Case(
        [carries_on("a"), cancels("a")],
        [tops_up("t0", 150), loads(HUNDRED, "l0", 1), loads(FIFTY, "l1", 1), creates("a", MIXED)],
        mishaps=0,
    ),
    "two hand-overs": Case([hands_over("a", 1), hands_over("a", 1)], READY),
    "a hand-over and a cancellation": Case([hands_over("a", 2), cancels("a")], READY),
    "one load twice": Case([loads(HUNDRED, "l1", 1), loads(HUNDRED, "l1", 1)], PARKED, mishaps=0),
    "two loads": Case([loads(HUNDRED, "l1", 1), loads(HUNDRED, "l2", 1)], BOTH_PAID, mishaps=0),
    "one code in two loads": Case([loads_codes(HUNDRED, "l1", "x", "y"), loads_codes(HUNDRED, "l2", "z", "x")]),
    "one code at two face values": Case(
        [loads_codes(HUNDRED, "l1", "x"), loads_codes(FIFTY, "l1", "x")], PARKED, mishaps=1
    ),
    "a load whose responses are lost": Case([loads(HUNDRED, "l1", 1)], PARKED, mishaps=2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_interleaving(case: Case, report: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    """Whatever the order of steps, and wherever clients die, no promise of e-card orders is broken."""
    began = time.monotonic()
    explored = case.explore(case.mishaps + case.more if DEEP else None)

    report(f"e-cards, {request.node.callspec.id}: {explored} in {time.monotonic() - began:.1f} s")
    assert explored.histories > 10


# The checker can fail: what has one thing wrong each.

ANYHOW = "attribute_exists(pk) OR attribute_not_exists(pk)"


def unconditional(method: Callable[..., list[Write]], kind: type[Put | Update]) -> Callable[..., list[Write]]:
    """Make the same writes, those of one kind without their conditions."""

    def mutant(*arguments: Any) -> list[Write]:
        return [replace(write, condition=None) if type(write) is kind else write for write in method(*arguments)]

    return mutant


def changes_unsaid(*arguments: Any, change: Callable[..., list[Write]] = Balance._change) -> list[Write]:
    return change(*arguments)[1:]


def checks_nothing(self: Any, *_: Any) -> Check:
    return Check(self.key if isinstance(self, Balance) else self.stock.key, ANYHOW)


def takes_whatever_stands(_: StockLevel) -> tuple[str, dict[str, int]]:
    return ANYHOW, {}


def creates_over_another(self: EcardRecords, order: EcardOrder) -> Put:
    return Put(self._item(order))


def writes_over_what_it_finds(
    self: EcardRecords,
    before: EcardOrder,
    after: EcardOrder,
    effects: Sequence[Write] = (),
    write: Callable[..., EcardOrder] = EcardRecords.write,
) -> EcardOrder:
    return write(self, self.read(before.id), after, effects)


def tops_up_and_looks_away(self: EcardOrders, operation: str, amount: Decimal) -> None:
    self.pay_waiting()
    self.balance.top_up(operation, amount, START)


def publishes_first(self: Certificates, load: Any, record: Item) -> None:
    self._table.update(Update(load.key, "SET used = :used", values={":used": len(load.codes)}))
    self._publish(load)
    self._table.put_all(
        self.put(Certificate(load.stock, position, code)).item
        for position, code in enumerate(load.codes, record["first"])
    )


def loads_behind_the_last(self: Certificates, load: Any, _: Item | None) -> Item:
    level = read_stock_levels(self._table, [load.stock])[load.stock]
    last = max((last for _, last in level.free), default=0)
    record = {"pk": load.key[0], "sk": load.key[1], "first": last + 1, "last": last + len(load.codes)}
    self._table.put(Put(record))
    return record


def writes_over_another_load(self: CodeRecord) -> tuple[str, Item]:  # noqa: ARG001 - the same signature
    return ANYHOW, {}


def nothing(*_: Any) -> list[Write]:
    return []


Patch = tuple[Any, str, Any]
MUTANTS: dict[str, tuple[str, Patch]] = {
    "debits what is not there": (
        "two creates, money for one",
        (Balance, "debit", unconditional(Balance.debit, Update)),
    ),
    "debits and says so nowhere": ("two creates, money for one", (Balance, "_change", changes_unsaid)),
    "tops up twice": ("one top-up twice", (Balance, "_change", unconditional(Balance._change, Put))),
    "waits without a look at the balance": ("a create and a top-up", (Balance, "insufficient", checks_nothing)),
    "pays before the top-up only": ("a create and a top-up", (EcardOrders, "top_up", tops_up_and_looks_away)),
    "one order over another": ("one order twice, not covered", (EcardRecords, "new", creates_over_another)),
    "moves what has moved": ("a cancellation and a payment", (EcardRecords, "write", writes_over_what_it_finds)),
    "forgets who wrote": ("a hand-over and a cancellation", (ecard_records, "_WRITERS", 1)),
    "cancels without a refund": ("a cancellation and a payment", (Balance, "refund", nothing)),
    "cancels and waits on": ("a parked order cancelled and a load", (ecard_orders, "unpark", nothing)),
    "parks without a look at the stock": ("an order parked and a load", (StockLevel, "unchanged", checks_nothing)),
    "takes what is taken": ("two orders, certificates for one", (StockLevel, "_as_read", takes_whatever_stands)),
    "frees before it writes": ("a load whose responses are lost", (Certificates, "_write", publishes_first)),
    "registers what is registered": (
        "one code at two face values",
        (CodeRecord, "_as_read", writes_over_another_load),
    ),
    "reserves nothing": ("two loads", (Certificates, "_reserve", loads_behind_the_last)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistakes_are_found(mutant: str) -> None:
    """The checker finds what is wrong with e-card orders that have one mistake."""
    name, (owner, attribute, wrong) = MUTANTS[mutant]
    case = replace(CASES[name], mishaps=min(CASES[name].mishaps, 1))

    with mock.patch.object(owner, attribute, wrong), pytest.raises((Violation, ValueError)):
        case.explore()  # a position that is free twice is refused by the code itself


# Long random histories -----------------------------------------------------------------------------------------------

AT_ONCE = 4
STEPS = st.integers(0, 6)
NAMES = st.sampled_from("abcde")
WISHES = st.sampled_from([{HUNDRED: 1}, {HUNDRED: 3}, {FIFTY: 2}, {HUNDRED: 1, FIFTY: 2}])


class Running:
    """A client on its way: what it got so far, and where it stands."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._history: list[Outcome | int] = []
        self.point: Point = replay(client, (), SETTING)

    def go_on(self, got: Outcome | int) -> None:
        self._history.append(got)
        self.point = replay(self._client, self._history, SETTING)

    def wants(self) -> Call | None:
        while self.point.wants_time:
            self.go_on(0)
        return self.point.call


SETTING = ShopSetting(retries=30)


class Trade(RuleBasedStateMachine):
    """One company's orders, and stock."""

    @initialize(at_once=st.integers(1, 2), amount=st.sampled_from([100, 250, 400]), stock=st.integers(1, 4))
    def begin(self, at_once: int, amount: int, stock: int) -> None:
        self.kept, ecard_assignment.STOCKS_AT_ONCE = ecard_assignment.STOCKS_AT_ONCE, at_once
        found = [creates("v"), creates("w", {HUNDRED: 2, FIFTY: 1}), tops_up("found", amount)]
        self.memory = prepared(*found, loads(HUNDRED, "found", stock), carries_on("v"), carries_on("w"))
        self.contents = Contents.of(self.memory)
        self.judge = ShopJudge()
        self.running: list[Running] = []
        self.flying: list[Call] = []
        self.clients = 0

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.judge.future(self.memory, SETTING)] == []
            ecard_assignment.STOCKS_AT_ONCE = self.kept

    def start(self, act: Act, steps: int) -> None:
        if len(self.running) < AT_ONCE:
            self.clients += 1
            self.running.append(Running(Client(f"client {self.clients}", act)))  # type: ignore[arg-type] # as above
            self.advance(self.running[-1], steps)

    def carry_out(self, call: Call) -> Outcome:
        outcome = carry_out(self.memory, call)
        before, self.contents = self.contents, Contents.of(self.memory)
        assert [*changes_wrongly(before, self.contents)] == []
        return outcome

    @rule(name=NAMES, wishes=WISHES, steps=STEPS)
    def create(self, name: str, wishes: Wishes, steps: int) -> None:
        self.start(creates(name, wishes), steps)

    @rule(operation=st.integers(0, 4), steps=STEPS)
    def top_up(self, operation: int, steps: int) -> None:
        self.start(tops_up(f"t{operation}", 100 + 50 * operation), steps)

    @rule(stock=st.sampled_from([HUNDRED, FIFTY]), batch=st.integers(0, 3), steps=STEPS)
    def load(self, stock: Stock, batch: int, steps: int) -> None:
        self.start(loads(stock, f"l{batch}", 1 + batch), steps)

    @precondition(lambda self: self.contents.orders)
    @rule(
        number=st.integers(0, 9),
        act=st.sampled_from(
            [carries_on, carries_on, cancels, partial(hands_over, count=1), partial(hands_over, count=2)]
        ),
        steps=STEPS,
    )
    def change(self, number: int, act: Callable[[str], Act], steps: int) -> None:
        names = sorted(self.contents.orders)
        self.start(act(names[number % len(names)]), steps)

    @precondition(lambda self: self.running)
    @rule(turns=st.lists(st.tuples(st.integers(0, AT_ONCE - 1), STEPS), min_size=1, max_size=6))
    def step(self, turns: list[tuple[int, int]]) -> None:
        for number, steps in turns:
            if self.running:
                self.advance(self.some(number), steps)

    def some(self, number: int) -> Running:
        return self.running[number % len(self.running)]

    def advance(self, running: Running, steps: int) -> None:
        for _ in range(steps):
            if (call := running.wants()) is None:
                break
            told = len(running.point.events)
            running.go_on(self.carry_out(call))
            for event in running.point.events[told:]:
                assert [*self.judge.told(event, (), (), self.contents)] == []
        self.leave(running)

    def leave(self, running: Running) -> None:
        if running.wants() is None:
            self.running.remove(running)

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1))
    def lose_an_answer(self, number: int) -> None:
        """The call takes effect now or later, or never."""
        running = self.some(number)
        if call := running.wants():
            self.flying.append(call)
            running.go_on(LOST)
        self.leave(running)

    @precondition(lambda self: self.flying)
    @rule(number=st.integers(0, 9))
    def land(self, number: int) -> None:
        self.carry_out(self.flying.pop(number % len(self.flying)))

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1), after=st.booleans())
    def crash(self, number: int, after: bool) -> None:  # noqa: FBT001 - drawn
        """A client dies before or after its next call."""
        running = self.some(number)
        call = running.wants()
        self.running.remove(running)
        if after and call:
            self.carry_out(call)
        assert [*self.judge.future(self.memory, SETTING)] == []

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.contents.wrongs()] == []


TestRandomHistories = Trade.TestCase
TestRandomHistories.settings = settings(
    max_examples=3_000 if DEEP else 100,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
)
