"""E-card orders: every interleaving of a few clients, with lost responses and crashes, and long random histories.

After a crash of all clients in any state, repeating what follows a change (`advance`, `pay_waiting`, `assign_parked`)
must lead to a state in which no work is left. If all clients came to their ends, no work is left without that.
`ORDERING_EXPLORE=deep` loses more responses and takes more random histories.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.explored import ANYHOW, DEEP, Case, Mutant, ReadableSealer, every_interleaving, every_mutant
from ordering import values
from ordering.aws.dynamodb import Check, Item, Put, Table, Update, Write, plain_item
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
from support.aws.memory import Memory
from support.scheduler import (
    LOST,
    START,
    TABLE,
    Call,
    Checker,
    Client,
    Outcome,
    Result,
    Running,
    Script,
    Setup,
    carry_out,
    complete,
    operations,
)

COMPANY, COMPANY_NAME = "acme", "Acme"
HUNDRED, FIFTY = Stock(1, "100 ₽"), Stock(1, "50 ₽")
CARDS = (Ecard(1, "Books", "", "ruble", (FaceValue("100 ₽", Decimal(100)), FaceValue("50 ₽", Decimal(50)))),)
FINISHED = {EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED, EcardStatus.DELIVERED}

Wanted = Mapping[Stock, int]
"""A number of certificates of each stock."""


# Operations ----------------------------------------------------------------------------------------------------------


class EcardServices:
    """The code of e-card orders, as one process has it."""

    def __init__(self, table: Table, now: Clock) -> None:
        self.orders = EcardOrders(table, COMPANY, now=now)
        self.assignment = Assignment(table, now=now)
        self.certificates = Certificates(table, ReadableSealer())
        # Cached from the start, so that reading it is no step.
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


SETUP = Setup(EcardServices, 30, [ecard_records])


def creates(name: str, wanted: Wanted | None = None, phone: str = "1") -> Script:
    cards = [RequestedCard(stock.card_id, stock.face_value, count) for stock, count in (wanted or {HUNDRED: 1}).items()]
    request = EcardRequest(name, EcardParticipant("j@example.com", "John", phone), cards)

    def act(ecards: EcardServices) -> tuple[str, int]:
        order = ecards.place(request)
        return order.id, order.number

    return operations(("create", (name, request.fingerprint), act))


def tops_up(operation: str, amount: int) -> Script:
    def raise_balance(ecards: EcardServices) -> None:
        ecards.orders.top_up(operation, Decimal(amount))

    return operations(("top up", (operation, amount), raise_balance))


def advances(name: str) -> Script:
    return operations(("advance", name, lambda ecards: str(ecards.orders.advance(name).status)))


def cancels(name: str) -> Script:
    return operations(("cancel", name, lambda ecards: str(ecards.orders.cancel(name).status)))


def hands_over(name: str, count: int) -> Script:
    def act(ecards: EcardServices) -> int:
        return ecards.orders.hand_over(ecards.orders.order(name), count).delivered

    return operations(("hand over", (name, count), act))


def lists() -> Script:
    def act(ecards: EcardServices) -> tuple[tuple[int, ...], int]:
        page = ecards.orders.page(0, 20)
        return tuple(order.number for order in page.items), page.total

    return operations(("list", None, act))


def loads(stock: Stock, batch: str, count: int) -> Script:
    return operations(("load", (str(stock), batch, count), lambda ecards: ecards.load(stock, batch, count)))


def loads_codes(stock: Stock, batch: str, *codes: str) -> Script:
    return operations(("load", (str(stock), batch, codes), lambda ecards: ecards.load_codes(stock, batch, codes)))


def contents(*scripts: Script) -> Memory:
    """A table after some clients have come to their ends, one after another."""
    memory = Memory()
    # Random in production: with one key for all replays, equal codes have equal digests.
    key = ReadableSealer().seal(b"key", "/".join(DIGEST_KEY).encode())
    Table(memory, TABLE).put(Put({"pk": DIGEST_KEY[0], "sk": DIGEST_KEY[1], "key": key, "registered": "-"}))
    return complete(memory, SETUP, *scripts)


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EcardContents:
    """Orders, balance and stock as they are stored, as plain values."""

    orders: dict[str, EcardOrder] = field(default_factory=dict)
    entries: list[Item] = field(default_factory=list)
    balance: list[int] = field(default_factory=list)
    ledger: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    parked: dict[str, tuple[str, int]] = field(default_factory=dict)
    stocks: dict[str, Item] = field(default_factory=dict)
    codes: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, memory: Memory) -> EcardContents:
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
        """The ranges of each stock that are assigned to an order."""
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

    def violations(self) -> Iterator[str]:
        yield from self._money_violations()
        yield from self._stock_violations()
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

    def _money_violations(self) -> Iterator[str]:
        if self.money != sum(self.ledger.values()) or self.money < 0:
            yield f"balance {self.money}, ledger {self.ledger}"
        for order in self.orders.values():
            debited, total = int(order.debited * 100), int(order.total * 100)
            expected = 0 if order.status is EcardStatus.CANCELLED else -debited
            entries = [self.ledger.get(f"{kind}#{order.id}", 0) for kind in ("debit", "refund")]
            paid = any(moment.status is EcardStatus.PAYED for moment in order.state.history)
            if sum(entries) != expected or debited != (total if paid else 0) or entries[0] != -debited:
                yield f"{order.id} is {order.status}, debited {debited} of {total}, ledger {self.ledger}"

    def _stock_violations(self) -> Iterator[str]:
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

    def needless_waits(self) -> Iterator[str]:
        """Yield the orders that wait although the balance, or the stock, suffices."""
        for name, total in self.waiting.items():
            if total <= self.money:
                yield f"{name} waits for {total}, there is {self.money}"
        for name, (stock, need) in self.parked.items():
            if need <= self.free(stock):
                yield f"{name} waits for {need} of {stock}, {self.free(stock)} are free"

    def unfinished(self) -> Iterator[str]:
        """Yield the orders that have a next step, which a consumer must take in the end."""
        for order in self.orders.values():
            if order.status is EcardStatus.PAYED or order.returning:
                yield f"{order.id} is left {order.status}, returning {order.returning}"


def _positions(held: Sequence[Any]) -> list[tuple[str, int]]:
    return [(str(one.stock), n) for one in held for first, last in one.ranges for n in range(first, last + 1)]


def _identity(order: EcardOrder) -> tuple[str, int, str]:
    return order.id, order.number, order.fingerprint


def _legal(source: EcardStatus, target: EcardStatus) -> bool:
    return source is target or any(ECARDS.allows(source, target, by) for by in Actor)


FIXED = {("load", type(None)), ("hand over", int), ("advance", str)}
"""Results that are right in every state, by operation and type."""


class EcardChecker(Checker[EcardContents]):
    def view(self, memory: Memory) -> EcardContents:
        return EcardContents.of(memory)

    def state(self, view: EcardContents) -> Iterator[str]:
        return view.violations()

    def step(self, before: EcardContents, after: EcardContents) -> Iterator[str]:
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

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """Repeating what follows a change leaves no work."""
        later = memory.fork()
        ecards: EcardServices = setup.over(later)
        orders = EcardContents.of(later).orders
        ecards.orders.pay_waiting()
        for name in orders:
            ecards.orders.advance(name)
        ecards.orders.pay_waiting()
        for stock in {HUNDRED, FIFTY}:
            ecards.assignment.assign_parked(stock)
        after = EcardContents.of(later)
        for violation in itertools.chain(after.violations(), after.needless_waits(), after.unfinished()):
            yield f"after recovery: {violation}"

    def accepts(self, result: Result, view: EcardContents) -> bool:
        order = view.orders.get(result.argument if result.operation == "cancel" else (result.argument or "?")[0])
        match result:
            case Result("create", (_, fingerprint), (placed, number)):
                return order is not None and (placed, number, fingerprint) == _identity(order)
            case Result("create", (_, fingerprint), "KeyReused"):
                return order is not None and order.fingerprint != fingerprint
            case Result("top up", (operation, amount), None):
                return view.ledger.get(f"topup#{operation}") == int(100 * amount)
            case Result("cancel", _, "Cancelled"):
                return order is not None and order.status is EcardStatus.CANCELLED
            case Result("list", None, (numbers, total)):
                there = {order.number for order in view.orders.values()}
                newest_first: list[int] = sorted(numbers, reverse=True)
                return there.issuperset(numbers) and ([*numbers], len(numbers)) == (newest_first, total)
        return (result.operation, type(result.value)) in FIXED or result.value == "Conflict"

    def end(self, began: EcardContents, view: EcardContents, results: Sequence[Result]) -> Iterator[str]:  # noqa: ARG002 - as it is called
        """No order waits needlessly, and the hand-overs add up."""
        yield from view.needless_waits()
        handed = Counter[str]()
        for result in results:
            match result:
                case Result("hand over", (name, count), int()):
                    handed[name] += count
        for name, order in view.orders.items():
            if any(result.operation == "hand over" for result in results) and handed[name] != order.delivered:
                yield f"{name}: {order.delivered} delivered, {handed[name]} handed over"


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def one_stock_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stock for each transaction, so that two are many."""
    monkeypatch.setattr(ecard_assignment, "STOCKS_AT_ONCE", 1)


def case(clients: Sequence[Script], before: Sequence[Script] = (), lost: int = 1, ticks: int = 0) -> Case:
    return Case(clients, partial(contents, *before), SETUP, EcardChecker(), lost, ticks)


PAID = [tops_up("t0", 100), creates("a")]
BOTH_PAID = [tops_up("t0", 200), creates("a"), creates("b")]
READY = [tops_up("t0", 300), loads(HUNDRED, "l0", 3), creates("a", {HUNDRED: 3}), advances("a")]
PARKED = [*PAID, advances("a")]
MIXED = {HUNDRED: 1, FIFTY: 1}

CASES = {
    "two creates, money for one": case([creates("a"), creates("b")], [tops_up("t0", 100)]),
    "one order twice": case([creates("a"), creates("a")], [tops_up("t0", 100)], lost=2),
    "one order twice, not covered": case([creates("a"), creates("a")], lost=2),
    "one id, two requests": case([creates("a"), creates("a", phone="2")], [tops_up("t0", 150)]),
    "a create and a top-up": case([creates("a"), tops_up("t1", 100)], lost=2),
    "two creates and a top-up": case([creates("a"), creates("b"), tops_up("t1", 100)], lost=0),
    "a create and a reader who voids its ticket": case([creates("a"), lists()], [tops_up("t0", 100)], ticks=1),
    "one top-up twice": case([tops_up("t1", 100), tops_up("t1", 100)], [creates("a"), creates("b")]),
    "two top-ups": case([tops_up("t1", 60), tops_up("t2", 60)], [creates("a")]),
    "a cancellation and a create": case([cancels("a"), creates("b")], PAID),
    "a cancellation and a payment": case([cancels("a"), tops_up("t1", 100)], [creates("a"), creates("b")]),
    "a cancellation and an assignment": case([cancels("a"), advances("a")], [*PAID, loads(HUNDRED, "l0", 2)]),
    "two cancellations": case([cancels("a"), cancels("a")], READY),
    "two orders, certificates for one": case([advances("a"), advances("b")], [*BOTH_PAID, loads(HUNDRED, "l0", 1)]),
    "one order assigned twice": case([advances("a"), advances("a")], [*PAID, loads(HUNDRED, "l0", 2)], lost=2),
    "an order parked and a load": case([advances("a"), loads(HUNDRED, "l1", 1)], PAID),
    "two orders parked and a load": case([advances("a"), advances("b"), loads(HUNDRED, "l1", 1)], BOTH_PAID, lost=0),
    "an order parked and certificates returned": case(
        [advances("b"), cancels("a")],
        [tops_up("t0", 200), loads(HUNDRED, "l0", 1), creates("a"), advances("a"), creates("b")],
    ),
    "a parked order cancelled and a load": case([cancels("a"), loads(HUNDRED, "l1", 1)], PARKED),
    "an order parked elsewhere and loads": case(
        [loads(HUNDRED, "l1", 1), loads(FIFTY, "l2", 1)],
        [tops_up("t0", 150), creates("a", MIXED), advances("a")],
        lost=0,
    ),
    "an order in two steps and one that takes": case(
        [advances("a"), advances("b")],
        [
            tops_up("t0", 200),
            loads(HUNDRED, "l0", 1),
            loads(FIFTY, "l1", 1),
            creates("a", MIXED),
            creates("b", {FIFTY: 1}),
        ],
    ),
    "an order in two steps cancelled": case(
        [advances("a"), cancels("a")],
        [tops_up("t0", 150), loads(HUNDRED, "l0", 1), loads(FIFTY, "l1", 1), creates("a", MIXED)],
        lost=0,
    ),
    "two hand-overs": case([hands_over("a", 1), hands_over("a", 1)], READY),
    "a hand-over and a cancellation": case([hands_over("a", 2), cancels("a")], READY),
    "one load twice": case([loads(HUNDRED, "l1", 1), loads(HUNDRED, "l1", 1)], PARKED, lost=0),
    "two loads": case([loads(HUNDRED, "l1", 1), loads(HUNDRED, "l2", 1)], BOTH_PAID, lost=0),
    "one code in two loads": case([loads_codes(HUNDRED, "l1", "x", "y"), loads_codes(HUNDRED, "l2", "z", "x")], lost=0),
    "one code at two face values": case([loads_codes(HUNDRED, "l1", "x"), loads_codes(FIFTY, "l1", "x")], PARKED),
    "a load whose responses are lost": case([loads(HUNDRED, "l1", 1)], PARKED, lost=2),
}


test_every_interleaving = every_interleaving(
    "e-cards", CASES, "In every interleaving, with crashes anywhere, no promise of e-card orders is broken."
)


# Mutants -------------------------------------------------------------------------------------------------------------


def unconditional(method: Callable[..., list[Write]], kind: type[Put | Update]) -> Callable[..., list[Write]]:
    """The same writes, those of one kind without their conditions."""

    def mutant(*arguments: Any) -> list[Write]:
        return [values.replace(write, condition=None) if type(write) is kind else write for write in method(*arguments)]

    return mutant


def changes_unrecorded(*arguments: Any, change: Callable[..., list[Write]] = Balance._change) -> list[Write]:
    return change(*arguments)[1:]


def checks_nothing(self: Any, *_: Any) -> Check:
    return Check(self.key if isinstance(self, Balance) else self.stock.key, ANYHOW)


def takes_unconditionally(_: StockLevel) -> tuple[str, dict[str, int]]:
    return ANYHOW, {}


def creates_over_another(self: EcardRecords, order: EcardOrder) -> Put:
    return Put(self._item(order))


def writes_over_any_version(
    self: EcardRecords,
    before: EcardOrder,
    after: EcardOrder,
    effects: Sequence[Write] = (),
    write: Callable[..., EcardOrder] = EcardRecords.write,
) -> EcardOrder:
    return write(self, self.read(before.id), after, effects)


def pays_before_it_tops_up(self: EcardOrders, operation: str, amount: Decimal) -> None:
    self.pay_waiting()
    self.balance.top_up(operation, amount, START)


def publishes_first(self: Certificates, load: Any, record: Item, *_: Any) -> None:
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


MUTANTS = {
    "debits more than the balance": Mutant(
        CASES["two creates, money for one"], [(Balance, "debit", unconditional(Balance.debit, Update))]
    ),
    "debits without an entry in the ledger": Mutant(
        CASES["two creates, money for one"], [(Balance, "_change", changes_unrecorded)]
    ),
    "tops up twice": Mutant(CASES["one top-up twice"], [(Balance, "_change", unconditional(Balance._change, Put))]),
    "waits without a check of the balance": Mutant(
        replace(CASES["a create and a top-up"], lost=1), [(Balance, "insufficient", checks_nothing)]
    ),
    "pays before the top-up only": Mutant(
        replace(CASES["a create and a top-up"], lost=1), [(EcardOrders, "top_up", pays_before_it_tops_up)]
    ),
    "one order over another": Mutant(
        replace(CASES["one order twice, not covered"], lost=1), [(EcardRecords, "new", creates_over_another)]
    ),
    "changes the status of any version": Mutant(
        CASES["a cancellation and a payment"], [(EcardRecords, "write", writes_over_any_version)]
    ),
    "forgets its own writes": Mutant(CASES["a hand-over and a cancellation"], [(ecard_records, "_WRITERS", 1)]),
    "cancels without a refund": Mutant(CASES["a cancellation and a payment"], [(Balance, "refund", nothing)]),
    "cancels and stays parked": Mutant(
        CASES["a parked order cancelled and a load"], [(ecard_orders, "unpark", nothing)]
    ),
    "parks without a check of the stock": Mutant(
        CASES["an order parked and a load"], [(StockLevel, "unchanged", checks_nothing)]
    ),
    "assigns what is assigned": Mutant(
        CASES["two orders, certificates for one"], [(StockLevel, "_as_read", takes_unconditionally)]
    ),
    "frees before it writes": Mutant(
        replace(CASES["a load whose responses are lost"], lost=1), [(Certificates, "_write", publishes_first)]
    ),
    "registers what is registered": Mutant(
        CASES["one code at two face values"], [(CodeRecord, "_as_read", writes_over_another_load)]
    ),
    "reserves nothing": Mutant(
        CASES["two loads"],
        [(Certificates, "_reserve", loads_behind_the_last)],
        found_by=ValueError,  # the code refuses a position that is free twice
    ),
}

test_every_mutant_is_found = every_mutant(MUTANTS, CASES)


# Long random histories -----------------------------------------------------------------------------------------------

AT_ONCE = 4
STEPS = st.integers(0, 6)
NAMES = st.sampled_from("abcde")
WANTED = st.sampled_from([{HUNDRED: 1}, {HUNDRED: 3}, {FIFTY: 2}, {HUNDRED: 1, FIFTY: 2}])


class Trade(RuleBasedStateMachine):
    """One company's orders, and stock."""

    @initialize(at_once=st.integers(1, 2), amount=st.sampled_from([100, 250, 400]), stock=st.integers(1, 4))
    def begin(self, at_once: int, amount: int, stock: int) -> None:
        self.kept, ecard_assignment.STOCKS_AT_ONCE = ecard_assignment.STOCKS_AT_ONCE, at_once
        found = [creates("v"), creates("w", {HUNDRED: 2, FIFTY: 1}), tops_up("found", amount)]
        self.memory = contents(*found, loads(HUNDRED, "found", stock), advances("v"), advances("w"))
        self.contents = EcardContents.of(self.memory)
        self.checker = EcardChecker()
        self.running: list[Running] = []
        self.in_flight: list[Call] = []
        self.clients = 0

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.checker.recovery(self.memory, SETUP)] == []
            ecard_assignment.STOCKS_AT_ONCE = self.kept

    def start(self, script: Script, steps: int) -> None:
        if len(self.running) < AT_ONCE:
            self.clients += 1
            self.running.append(Running(Client(f"client {self.clients}", script), SETUP))
            self.advance(self.running[-1], steps)

    def carry_out(self, call: Call) -> Outcome:
        outcome = carry_out(self.memory, call)
        before, self.contents = self.contents, EcardContents.of(self.memory)
        assert [*self.checker.step(before, self.contents)] == []
        return outcome

    @rule(name=NAMES, wanted=WANTED, steps=STEPS)
    def create(self, name: str, wanted: Wanted, steps: int) -> None:
        self.start(creates(name, wanted), steps)

    @rule(operation=st.integers(0, 4), steps=STEPS)
    def top_up(self, operation: int, steps: int) -> None:
        self.start(tops_up(f"t{operation}", 100 + 50 * operation), steps)

    @rule(stock=st.sampled_from([HUNDRED, FIFTY]), batch=st.integers(0, 3), steps=STEPS)
    def load(self, stock: Stock, batch: int, steps: int) -> None:
        self.start(loads(stock, f"l{batch}", 1 + batch), steps)

    @precondition(lambda self: self.contents.orders)
    @rule(
        number=st.integers(0, 9),
        act=st.sampled_from([advances, advances, cancels, partial(hands_over, count=1), partial(hands_over, count=2)]),
        steps=STEPS,
    )
    def change(self, number: int, act: Callable[[str], Script], steps: int) -> None:
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
            if (call := running.next_call()) is None:
                break
            before = len(running.point.results)
            running.proceed(self.carry_out(call))
            for result in running.point.results[before:]:
                assert [*self.checker.result(result, (), (), self.contents)] == []
        self.leave(running)

    def leave(self, running: Running) -> None:
        if running.next_call() is None:
            self.running.remove(running)

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1))
    def lose_a_response(self, number: int) -> None:
        """The call takes effect now or later, or never."""
        running = self.some(number)
        if call := running.next_call():
            self.in_flight.append(call)
            running.proceed(LOST)
        self.leave(running)

    @precondition(lambda self: self.in_flight)
    @rule(number=st.integers(0, 9))
    def land(self, number: int) -> None:
        self.carry_out(self.in_flight.pop(number % len(self.in_flight)))

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, AT_ONCE - 1), after=st.booleans())
    def crash(self, number: int, after: bool) -> None:  # noqa: FBT001 - drawn
        """A client crashes before or after its next call."""
        running = self.some(number)
        call = running.next_call()
        self.running.remove(running)
        if after and call:
            self.carry_out(call)
        assert [*self.checker.recovery(self.memory, SETUP)] == []

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "memory"):
            assert [*self.contents.violations()] == []


TestRandomHistories = Trade.TestCase
TestRandomHistories.settings = settings(
    max_examples=3_000 if DEEP else 100,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
)
