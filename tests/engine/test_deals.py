"""Deal orders and their line items: every interleaving of a few clients, and many threads at once.

After a crash of all clients in any state, lists must show the stored orders, and all orders and line items must be
removable without a trace. `ORDERING_EXPLORE=deep` loses more responses.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from engine.book import oracle
from engine.engines import Engine, in_threads
from engine.explored import Case, Mutant, every_interleaving, every_mutant
from ordering.aws import dynamodb as tables
from ordering.aws.dynamodb import (
    ConditionFailed,
    Delete,
    Item,
    Put,
    Table,
    TransactionRefused,
    Update,
    Write,
    plain_item,
)
from ordering.book import sorted_lists
from ordering.book.idempotency import Create, CreateResult, IdempotencyKey, IdempotencyRecords
from ordering.book.orderbook import Draft, OrderBook, Ticket
from ordering.book.positions import LAST_POSITION, BookKeys
from ordering.book.sorted_lists import NEWEST_FIRST, OLDEST_FIRST, ListRequest, SortKey
from ordering.book.unfinished import UNMARK, is_marked
from ordering.clock import Clock, Deadline
from ordering.deals import orders as deal_orders
from ordering.deals import versions
from ordering.deals.orders import (
    LINE_KIND,
    LINES,
    DealOrder,
    DealOrders,
    DealTaken,
    LineItem,
    Lines,
    NewLine,
    _made,
    _made_line,
    _write,
)
from ordering.deals.orders import _write_line as written_line
from ordering.deals.products import DealProduct
from ordering.deals.versions import _CHANGES, FIRST, Versioned, version_of
from ordering.errors import NotFound, VersionMismatch
from ordering.values import replace
from support.aws.memory import Memory
from support.scheduler import START, TABLE, TICK, Checker, Log, Result, Script, Setup, complete, operations

ACCOUNT = "account"
PRODUCT = DealProduct(id=1, name="Training", prices=(), created=START, updated=START)
DEAL = 7


# Operations ----------------------------------------------------------------------------------------------------------


def setup(make_orders: Callable[[Table, str, Clock], DealOrders] = DealOrders) -> Setup:
    return Setup(lambda table, now: make_orders(table, ACCOUNT, now), modules=[sorted_lists, versions])


def new_line(quantity: int) -> NewLine:
    return NewLine(PRODUCT, Decimal(1), "GBP", Decimal(0), quantity)


def creates(discount: int, deal: int = DEAL) -> Script:
    """Place an order; a unique discount identifies it."""
    return operations(("create", (deal, discount), lambda orders: orders.place(deal, Decimal(discount)).id))


def creates_once(key: str, discount: int, deal: int = DEAL) -> Script:
    """A create under an idempotency key."""
    create: Create[DealOrder] = Create(lambda order: b"%d" % order.id, IdempotencyKey(key, f"{deal} {discount}"))

    def act(orders: DealOrders) -> int:
        return int(orders.create(deal, Decimal(discount), create).answer)

    return operations(("create once", (key, deal, discount), act))


def adds_once(key: str, order_id: int, quantity: int) -> Script:
    """An added line item under an idempotency key."""
    create: Create[LineItem] = Create(lambda line: b"%d" % line.id, IdempotencyKey(key, f"{order_id} {quantity}"))

    def act(orders: DealOrders) -> int:
        return int(orders.lines(order_id).create(lambda: new_line(quantity), create).answer)

    return operations(("add once", (key, order_id, quantity), act))


def removes(order_id: int) -> Script:
    return operations(("remove", order_id, lambda orders: orders.remove(order_id)))


def removes_and_sweeps(order_id: int) -> Script:
    return operations(
        ("remove", order_id, lambda orders: orders.remove(order_id)),
        ("sweep", order_id, lambda orders: orders.lines(order_id).sweep()),
    )


def sweeps_behind(order_id: int) -> Script:
    """Sweep if the order was removed, as the stream's consumer does at some time after the removal."""

    def script(orders: DealOrders, log: Log) -> None:
        with suppress(NotFound):
            orders.order(order_id)
            return
        operations(("sweep", order_id, lambda orders: orders.lines(order_id).sweep()))(orders, log)

    return script


def settles_lines(order_id: int) -> Script:
    """Settle line items as the stream's consumer does, whether their order still exists or not."""
    return operations(("settle", order_id, lambda orders: orders.lines(order_id)._book.settle()))


def changes(order_id: int, discount: int) -> Script:
    def act(orders: DealOrders) -> int:
        return int(orders.change(order_id, Decimal(discount)).discount)

    return operations(("change", (order_id, discount), act))


def changes_unchanged(order_id: int, discount: int) -> Script:
    """A change of an order that its caller has read before any change; a unique discount identifies it."""

    def act(orders: DealOrders) -> int:
        return int(orders.change(order_id, Decimal(discount), {"1"}).discount)

    return operations(("change unchanged", (order_id, discount), act))


def removes_unchanged(order_id: int) -> Script:
    """The removal of an order that its caller has read before any change."""
    return operations(("remove unchanged", order_id, lambda orders: orders.remove(order_id, {"1"})))


def adds(order_id: int, quantity: int) -> Script:
    """Add a line item; a unique quantity identifies it."""
    return operations(("add", (order_id, quantity), lambda orders: orders.lines(order_id).add(new_line(quantity)).id))


def removes_line(order_id: int, position: int) -> Script:
    def act(orders: DealOrders) -> None:
        lines = orders.lines(order_id)
        lines.remove(order_id * LINES + position)

    return operations(("remove line", (order_id, position), act))


def lists_lines(order_id: int) -> Script:
    def act(orders: DealOrders) -> tuple[int, ...]:
        return tuple(line.quantity for line in orders.lines(order_id).part(ListRequest(0, 9), "reader").items)

    return operations(("list lines", order_id, act))


def looks_up(deal: int = DEAL) -> Script:
    def act(orders: DealOrders) -> tuple[int, ...]:
        return tuple(order.id for order in orders.part(ListRequest(0, 9), "reader", deal).items)

    return operations(("look up", deal, act))


def reads_in_order(operation: str, pages: int, order: tuple[SortKey, ...]) -> Script:
    """Read an order a page; the result is the orders, and whether the end was reached."""

    def act(orders: DealOrders) -> tuple[tuple[int, ...], bool]:
        seen: list[int] = []
        for first in range(pages):
            part = orders.part(ListRequest(first, 1, order), "reader")
            seen += [order.id for order in part.items]
            if not part.more:
                return tuple(seen), True
        return tuple(seen), False

    return operations((operation, None, act))


reads_from_the_end = partial(reads_in_order, "read back", order=NEWEST_FIRST)
reads_sorted = partial(reads_in_order, "read sorted", order=(SortKey("discount", descending=True),))


def settles(orders: DealOrders, _: Log) -> None:
    orders.book.settle()


def contents(*scripts: Script) -> Memory:
    """A table after some clients have come to their ends, one after another, a tick apart."""
    return complete(Memory(), setup(), *scripts, apart=TICK)


# Promises ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DealContents:
    """The account as it is stored, as plain values."""

    orders: dict[int, Item] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    voids: set[int] = field(default_factory=set)
    """Positions of orders that were removed, or never placed."""
    swept: set[int] = field(default_factory=set)
    """Orders that were removed, and of which no line items are to be deleted any more: their voids have no mark."""
    claims: dict[int, int] = field(default_factory=dict)
    lines: dict[int, dict[int, int | None]] = field(default_factory=dict)
    """By order the quantity at each position, None where that is void."""
    issued: list[int] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @classmethod
    def of(cls, memory: Memory) -> DealContents:
        contents = cls()
        for (partition, sort), raw in memory.scan(TABLE):
            item = plain_item(raw)
            contents.items.append(item)
            if partition.startswith(f"BOOK#deals#{ACCOUNT}#L"):
                if "void" in item:
                    contents.voids.add(int(sort))
                    if "remover" in item and not is_marked(item):
                        contents.swept.add(int(sort))
                else:
                    contents.orders[int(sort)] = item["order"]
                    contents.versions[int(sort)] = version_of(item)
            elif partition == f"TICKETS#deals#{ACCOUNT}":
                contents.issued.append(item["issued"])
            elif partition.startswith(f"DEAL#{ACCOUNT}#"):
                contents.claims[int(partition.rpartition("#")[2])] = item["order"]
            elif match := re.fullmatch(rf"BOOK#deal-lines#{ACCOUNT}#(\d+)#L\d\d", partition):
                item.setdefault("order", "a line item")  # all books look alike to the oracle
                quantity = None if "void" in item else item["line"]["quantity"]
                contents.lines.setdefault(int(match[1]), {})[int(sort)] = quantity
        return contents

    @property
    def upto(self) -> int:
        """The last position before the first one that is open."""
        filled = self.orders.keys() | self.voids
        return sum(1 for _ in itertools.takewhile(filled.__contains__, itertools.count(1)))

    def live_lines(self, order_id: int) -> list[int]:
        return [quantity for _, quantity in sorted(self.lines.get(order_id, {}).items()) if quantity is not None]

    def violations(self) -> Iterator[str]:
        deals = {order["deal"]: order_id for order_id, order in self.orders.items()}
        if len(deals) < len(self.orders) or deals != self.claims:
            yield f"claims {self.claims}, orders {self.orders}"
        for order_id in self.swept:
            if self.live_lines(order_id):
                yield f"order {order_id} counts as swept, and has line items {self.live_lines(order_id)}"
        names = [f"deals#{ACCOUNT}", *(f"deal-lines#{ACCOUNT}#{order_id}" for order_id in self.orders)]
        for name in names:
            yield from oracle.BookContents.of(iter(self.items), name).settling_violations()


@dataclass(frozen=True)
class Witnessed:
    """The part of the contents that results are compared with."""

    orders: frozenset[tuple[int, int, int]]
    """Id, deal and discount of each."""
    lines: frozenset[tuple[int, int, int | None]]
    upto: int

    def has(self, order_id: int) -> bool:
        return order_id in self.ids

    @property
    def ids(self) -> set[int]:
        return {order_id for order_id, _, _ in self.orders}

    def quantities(self, order_id: int) -> list[int]:
        """The line items of an order before its first open position."""
        found = {position: quantity for of, position, quantity in self.lines if of == order_id}
        before_open = itertools.takewhile(found.__contains__, itertools.count(1))
        return [quantity for position in before_open if (quantity := found[position]) is not None]


class DealChecker(Checker[DealContents]):
    def view(self, memory: Memory) -> DealContents:
        return DealContents.of(memory)

    def state(self, view: DealContents) -> Iterator[str]:
        return view.violations()

    def step(self, before: DealContents, after: DealContents) -> Iterator[str]:
        if back := before.voids & set(after.orders):
            yield f"removed and there again: {back}"
        for order_id, order in after.orders.items():
            old, new = before.versions.get(order_id, 0), after.versions[order_id]
            if new < old or (new == old and order != before.orders[order_id]):
                yield f"order {order_id} has changed from version {old} to {new}"
        for order_id in before.lines.keys() | after.lines.keys():
            was, now = before.lines.get(order_id, {}), after.lines.get(order_id, {})
            there = order_id in before.orders
            for position in was.keys() | now.keys():
                if was.get(position) == now.get(position):
                    continue
                if now.get(position) is not None and (was.get(position) is not None or not there):
                    yield f"line item {position} of {order_id}, {there=}: was {was.get(position)}, is {now[position]}"
                if position not in now and there:
                    yield f"line item {position} of {order_id} was swept, and the order is there"

    def witnesses(self, operation: str) -> bool:
        return operation not in {"sweep", "settle"}

    def summary(self, view: DealContents) -> Hashable:
        return Witnessed(
            frozenset((number, order["deal"], int(order["discount"])) for number, order in view.orders.items()),
            frozenset((number, *line) for number, lines in view.lines.items() for line in lines.items()),
            view.upto,
        )

    def recovery(self, memory: Memory, setup: Setup) -> Iterator[str]:
        """After the grace time lists show the stored orders, and all of them can be removed without a trace."""
        contents, later = DealContents.of(memory), memory.fork()
        orders: DealOrders = setup.over(later, lambda: oracle.LONG_AFTER)
        for order, sign in ((OLDEST_FIRST, 1), (NEWEST_FIRST, -1)):
            listed = [one.id for one in orders.part(ListRequest(0, 1_000, order), "reader").items]
            if listed != sorted(contents.orders)[::sign]:
                yield f"listed {listed}, there are {contents.orders}"
        for order_id, has in contents.orders.items():
            if [one.id for one in orders.part(ListRequest(0, 9), "reader", has["deal"]).items] != [order_id]:
                yield f"deal {has['deal']} does not show its order {order_id}"
            lines = [line.quantity for line in orders.lines(order_id).part(ListRequest(0, 1_000), "reader").items]
            if lines != contents.live_lines(order_id):
                yield f"order {order_id} lists {lines}, there are {contents.lines[order_id]}"
        for order_id in contents.orders:
            orders.remove(order_id)
        yield from DealContents.of(later).violations()
        for order_id in contents.lines.keys() | contents.voids | contents.orders.keys():
            yield from _readable(orders.lines(order_id), contents.lines.get(order_id, {}))
            orders.lines(order_id).sweep()
        if left := [key for key, _ in later.scan(TABLE) if "#deal-lines#" in key[0] or key[0].startswith("DEAL#")]:
            yield f"left when everything was removed: {left}"
        if marked := [key for key, raw in later.scan(TABLE) if is_marked(raw)]:
            yield f"marked when everything was swept: {marked}"

    def result(  # noqa: C901, PLR0912, PLR0915 - one case for each operation
        self,
        result: Result,
        earlier: Sequence[Result],  # noqa: ARG002 - as it is called
        witnessed: Sequence[Any],
        view: DealContents,
    ) -> Iterator[str]:
        match result:
            case Result(_, _, "Unavailable"):
                pass
            case Result("create", (deal, _), int(order_id)) | Result("create once", (_, deal, _), int(order_id)):
                if order_id not in view.voids and view.orders.get(order_id, {}).get("deal") != deal:
                    yield f"{result}: {view.orders}"
            case Result("create", (deal, discount), "DealTaken") | Result(
                "create once", (_, deal, discount), "DealTaken"
            ):
                if not any(of == deal and other != discount for seen in witnessed for _, of, other in seen.orders):
                    yield f"{result}: by none, there was {witnessed}"
            case Result("remove" | "remove unchanged", order_id, None):
                if order_id not in view.voids:
                    yield f"{result}: {view.orders}"
            case (
                Result("remove" | "remove unchanged" | "list lines", order_id, "NotFound")
                | Result("change" | "change unchanged" | "add", (order_id, _), "NotFound")
                | Result("add once", (_, order_id, _), "NotFound")
            ):
                if all(seen.has(order_id) for seen in witnessed):
                    yield f"{result}: it was there all the time"
            case Result("change unchanged", (order_id, discount), "VersionMismatch"):
                if view.orders.get(order_id, {}).get("discount") == f"{discount}":
                    yield f"{result}: it took effect"
                if view.versions.get(order_id) == FIRST:
                    yield f"{result}: nothing else has changed it"
            case Result("remove unchanged", order_id, "VersionMismatch"):
                if view.versions.get(order_id) == FIRST:
                    yield f"{result}: nothing has changed it"
            case Result("change" | "change unchanged", (order_id, discount), changed):
                if changed != discount or not any((order_id, DEAL, discount) in seen.orders for seen in witnessed):
                    yield f"{result}: there was {witnessed}"
            case Result("add", (order_id, quantity), int(line_id)) | Result(
                "add once", (_, order_id, quantity), int(line_id)
            ):
                position = line_id - order_id * LINES
                if order_id in view.orders and view.lines[order_id].get(position, 0) not in {quantity, None}:
                    yield f"{result}: {view.lines}"
                added = any((order_id, position, quantity) in seen.lines for seen in witnessed)
                if result.operation == "add" and not added:  # a retry may also be answered with a removed item
                    yield f"{result}: was never there: {witnessed}"
            case Result("remove line", (order_id, position), None):
                if view.lines.get(order_id, {}).get(position) is not None:
                    yield f"{result}: {view.lines}"
            case Result("remove line", (order_id, position), "NotFound"):
                there = [line for seen in witnessed for line in seen.lines if line[:2] == (order_id, position)]
                if all(seen.has(order_id) for seen in witnessed) and all(line[2] is not None for line in there):
                    yield f"{result}: it was there all the time"
            case Result("sweep", order_id, None):
                if view.live_lines(order_id):
                    yield f"{result}: {view.lines}"
            case Result("list lines", order_id, tuple(listed)):
                yield from _lists_wrongly(order_id, listed, witnessed)
            case Result("look up", deal, tuple(listed)):
                if not any({number for number, of, _ in seen.orders if of == deal} == {*listed} for seen in witnessed):
                    yield f"{result}: there was {witnessed}"
            case Result("read back", _, (seen, complete)):
                yield from _read_back_wrongly(seen, complete, witnessed)
            case Result("read sorted", _, (seen, complete)):
                yield from _read_sorted_wrongly(seen, complete, witnessed)
            case Result("settle", _, int()):
                pass
            case _:
                yield f"unexpected: {result}"

    def end(self, began: DealContents, view: DealContents, results: Sequence[Result]) -> Iterator[str]:
        """If no client was left without a response, the orders are those that were placed and not removed."""
        if any(result.value == "Unavailable" for result in results):
            return
        bound = [result for result in results if result.operation.endswith(" unchanged")]
        if len([result for result in bound if not isinstance(result.value, str)]) > 1:
            yield f"several changes of one version took effect: {bound}"
        placed = Counter(began.orders.keys())
        once = [result for result in results if result.operation.endswith(" once")]
        by_key = {(result.operation, result.argument[0]): result.value for result in once}
        if any(result.value != by_key[result.operation, result.argument[0]] for result in once):
            yield f"different results under one key: {results}"
        for (operation, _), order_id in by_key.items():
            if operation == "create once" and isinstance(order_id, int) and order_id not in began.orders:
                placed[order_id] += 1
        for result in results:
            match result:
                case Result("create", _, int(order_id)):
                    placed[order_id] += 1
                case Result("remove" | "remove unchanged", order_id, None):
                    placed[order_id] -= 1
        if placed != Counter(view.orders.keys()):
            yield f"the results were {results}, there are {view.orders}"


def _readable(lines: Lines, there: Mapping[int, int | None]) -> Iterator[str]:
    """Yield the line items of a removed order that can still be read."""
    readings: list[Callable[[], object]] = [lambda: lines.part(ListRequest(0, 9), "reader")]
    readings += [partial(lines.line, lines.order_id * LINES + position) for position in there]
    for read in readings:
        with suppress(NotFound):
            yield f"readable under order {lines.order_id}, which was removed: {read()}"


def _lists_wrongly(order_id: int, listed: Sequence[int], witnessed: Sequence[Witnessed]) -> Iterator[str]:
    """A list is one of those witnessed, if the order existed all the time."""
    could = [seen.quantities(order_id) for seen in witnessed]
    if all(seen.has(order_id) for seen in witnessed):
        if [*listed] not in could:
            yield f"listed {listed} of {order_id}, there was {could}"
    elif not {*listed} <= {quantity for quantities in could for quantity in quantities}:
        yield f"listed {listed} of {order_id}, which was removed, there was {could}"


def _read_back_wrongly(
    listed: Sequence[int],
    complete: bool,  # noqa: FBT001 - a part of the result
    witnessed: Sequence[Witnessed],
) -> Iterator[str]:
    if [*listed] != sorted({*listed}, reverse=True):
        yield f"from the end saw {listed}"
    began = witnessed[0]
    throughout = set.intersection(*(seen.ids for seen in witnessed))
    expected = {order_id for order_id in throughout if order_id <= began.upto}
    # As pages go by number, what was removed after it was shown moves the rest up, past the next page.
    if complete and {*listed} <= throughout and not expected <= {*listed}:
        yield f"from the end saw all, {listed}, and there was all the time {expected}"


def _read_sorted_wrongly(
    listed: Sequence[int],
    complete: bool,  # noqa: FBT001 - a part of the result
    witnessed: Sequence[Witnessed],
) -> Iterator[str]:
    """Each order is seen at most once, and once if it was there all the time, wherever a change has moved it."""
    if len({*listed}) != len(listed) or not {*listed} <= set.union(*(seen.ids for seen in witnessed)):
        yield f"sorted, saw {listed}"
    throughout = set.intersection(*(seen.ids for seen in witnessed))
    expected = {order_id for order_id in throughout if order_id <= witnessed[0].upto}
    if complete and not expected <= {*listed}:
        yield f"sorted, saw all, {listed}, and there was all the time {expected}"


# Every interleaving --------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of two positions and one deletion a call, so that two are many; and equal tokens of transactions."""
    monkeypatch.setattr(deal_orders, "OrderBook", partial(OrderBook, layout=oracle.SMALL))
    monkeypatch.setattr(sorted_lists, "_WHOLE", 0)
    monkeypatch.setattr(sorted_lists, "_PART", 2)
    monkeypatch.setattr(tables, "_BATCH_WRITE_LIMIT", 1)
    monkeypatch.setattr(tables, "secrets", SimpleNamespace(token_hex=lambda _: "a token"))


def case(clients: Sequence[Script], before: Sequence[Script] = (), lost: int = 1, ticks: int = 0) -> Case:
    return Case(clients, partial(contents, *before), setup(), DealChecker(), lost, ticks)


ONE = [creates(1), settles]
"""An account with order 1, for `DEAL`."""
WITH_LINES = [*ONE, adds(1, 10), adds(1, 20), adds(1, 30)]
REMOVED = [*WITH_LINES, settles_lines(1), removes_line(1, 2), removes(1)]

CASES = {
    "two creates for one deal": case([creates(1), creates(2)], lost=2),
    "two creates for one deal, and a reader": case([creates(1), creates(2), looks_up()], lost=2),
    "two creates for one deal, and time": case([creates(1), creates(2)], ticks=1),
    "three creates for one deal": case([creates(1), creates(2), creates(3)]),
    "two creates under one key": case([creates_once("a", 1), creates_once("a", 1)], lost=2),
    "two creates under one key, and a removal": case(
        [creates_once("a", 1), creates_once("a", 1), removes(1)], [creates_once("a", 1)]
    ),
    "creates under two keys for one deal": case([creates_once("a", 1), creates_once("b", 2)], lost=2),
    "two line items under one key": case([adds_once("a", 1, 10), adds_once("a", 1, 10)], ONE, lost=2),
    "two line items under one key, and a removal": case(
        [adds_once("a", 1, 10), adds_once("a", 1, 10), removes_and_sweeps(1)], ONE, lost=0
    ),
    "a create and the removal of the deal's order": case([creates(2), removes(1)], ONE, lost=2),
    "a create and the removal of what is not settled": case([creates(2), removes(1)], [creates(1)], ticks=1),
    "two creates and a removal": case([creates(2), creates(3), removes(1)], ONE),
    "a create, a removal and a reader": case([creates(2), removes(1), looks_up()], ONE),
    "a create and two removals": case([creates(2), removes(1), removes(1)], ONE),
    "a removal and one of what follows": case([creates(2), removes(1), removes(2)], ONE),
    "a removal again and again": case([removes(1), removes(1)], WITH_LINES, lost=2),
    "a change and a removal": case([changes(1, 9), removes(1)], ONE, lost=2),
    "a change, a removal and a create": case([changes(1, 9), removes(1), creates(2)], ONE),
    "two changes, one applied again": case([changes(1, 8), changes(1, 9)], ONE, lost=2),
    "two changes of one version": case([changes_unchanged(1, 8), changes_unchanged(1, 9)], ONE, lost=2),
    "two changes of one version, and a removal": case(
        [changes_unchanged(1, 8), changes_unchanged(1, 9), removes(1)], ONE
    ),
    "a change and a removal of one version": case([changes_unchanged(1, 9), removes_unchanged(1)], ONE, lost=2),
    "a change, a change of one version, and its removal": case(
        [changes(1, 7), changes_unchanged(1, 8), removes_unchanged(1)], ONE
    ),
    "a line item and a removal": case([adds(1, 10), removes_and_sweeps(1)], ONE, lost=2),
    "a line item, a removal and who sweeps": case([adds(1, 10), removes(1), sweeps_behind(1)], ONE),
    "two line items and a removal": case([adds(1, 10), adds(1, 20), removes_and_sweeps(1)], ONE),
    "a line item, a removal and who settles": case(
        [adds(1, 10), removes_and_sweeps(1), settles_lines(1)], ONE, lost=0, ticks=1
    ),
    "line items taken off, and a removal": case([removes_line(1, 2), removes_and_sweeps(1)], WITH_LINES),
    "line items listed, and a removal": case([lists_lines(1), adds(1, 40), removes_and_sweeps(1)], WITH_LINES[:-1], 0),
    "two who sweep": case([sweeps_behind(1), sweeps_behind(1)], REMOVED),
    "two who sweep, and one who settles": case([sweeps_behind(1), sweeps_behind(1), settles_lines(1)], REMOVED),
    "a reader from the end, a create and its removal": case(
        [reads_from_the_end(3), creates(4, 14), removes(4)],
        [creates(1), creates(2, 12), creates(3, 13), settles],
        lost=0,
    ),
    "a reader from the end, a create and a removal further on": case(
        [reads_from_the_end(3), creates(4, 14), removes(1)],
        [creates(1), creates(2, 12), creates(3, 13), settles],
        lost=0,
    ),
    "a sorted reader, a create and a removal": case(
        [reads_sorted(4), creates(4, 14), removes(2)],
        [creates(1), creates(2, 12), creates(3, 13), settles],
        lost=0,
    ),
    "a sorted reader, and changes that move an order": case(
        [reads_sorted(4), changes(1, 9), changes(1, 1)],
        [creates(5), creates(6, 12), creates(7, 13), settles],
        lost=0,
    ),
}


test_every_interleaving = pytest.mark.usefixtures("small")(
    every_interleaving(
        "deal orders",
        CASES,
        "In every interleaving a deal has one order or none, and a removed order leaves nothing to read.",
        at_least=30,
    )
)


# Mutants -------------------------------------------------------------------------------------------------------------


class ClaimsAfterwards(DealOrders):
    """Places the order first and claims the deal then."""

    def place(self, deal_id: int, discount: Decimal) -> DealOrder:
        if self.table.get(self._deal_key(deal_id)):
            raise DealTaken
        ticket = self.book.place(lambda ticket: Draft({"order": _write(_made(deal_id, discount, ticket))}, []))
        partition, sort = self._deal_key(deal_id)
        self.table.put(Put({"pk": partition, "sk": sort, "order": ticket.position}))
        return _made(deal_id, discount, ticket)


class ClaimsWhatIsClaimed(DealOrders):
    """Claims the deal whether it has an order or not."""

    def place(self, deal_id: int, discount: Decimal) -> DealOrder:
        transoperations(self, lambda writes: [unconditional(write) for write in writes])
        return super().place(deal_id, discount)


class ForgetsItsOwnPlace(DealOrders):
    """Refuses with DealTaken a deal whose order an earlier try of the same create has placed."""

    def __init__(self, *orders: Any) -> None:
        super().__init__(*orders)
        void = self.book._void
        self.book._void = lambda *ticket: {**void(*ticket), "writer": "?"}  # type: ignore[method-assign] # a mistake


class KeepsTheKeyAfterwards(Lines):
    """Adds the line item first and keeps its idempotency key then."""

    def create(self, new: Callable[[], NewLine], create: Create[LineItem]) -> CreateResult:
        assert create.once
        records = IdempotencyRecords(self.orders.table, self.orders.account, self.orders.now, LINE_KIND)
        if earlier := records.find(create.once):
            return earlier
        line = self.add(new())
        self.orders.table.put(records.put(create.once, line.id, create.answer(line)))
        return CreateResult(line.id, create.answer(line), replayed=False)


class KeepsTheClaim(DealOrders):
    """Removes an order without releasing its deal."""

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        assert expected is None
        transoperations(self, lambda writes: [write for write in writes if not isinstance(write, Delete)])
        super().remove(order_id)


class ReleasesAfterwards(DealOrders):
    """Removes the order first and releases its deal then."""

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        assert expected is None
        release = Delete(self._deal_key(int(self.order(order_id).deal_id)))
        if not self.book.remove(order_id):
            raise NotFound("order", str(order_id))
        self.table.transact([release])


class ReleasesFirst(DealOrders):
    """Releases the deal first and removes its order then."""

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        assert expected is None
        with suppress(TransactionRefused):
            self.table.transact([Delete(self._deal_key(int(self.order(order_id).deal_id)))])
        if not self.book.remove(order_id):
            raise NotFound("order", str(order_id))


class PutsBack(DealOrders):
    """Changes an order by reading it and writing it whole."""

    def change(self, order_id: int, discount: Decimal | None, expected: Collection[str] | None = None) -> DealOrder:
        assert expected is None
        entry = self.book.find([order_id]).get(order_id)
        if entry is None:
            raise NotFound("order", str(order_id))
        self.table.put(Put({**entry, "order": {**entry["order"], "discount": f"{discount}"}}))
        return replace(self.order(order_id), discount=discount or Decimal(0))


class ComparesFirst(DealOrders):
    """Compares the version first, and changes or removes the order then, whatever version it has."""

    def change(self, order_id: int, discount: Decimal | None, expected: Collection[str] | None = None) -> DealOrder:
        self._compare(order_id, expected)
        return super().change(order_id, discount)

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        self._compare(order_id, expected)
        super().remove(order_id)

    def _compare(self, order_id: int, expected: Collection[str] | None) -> None:
        if expected is not None and str(self.order(order_id).version) not in expected:
            raise VersionMismatch("order", str(order_id))


class ForgetsItsOwnChange(Versioned):
    """Refuses a change that an earlier try of the same change has made."""

    def change(self, table: Table, changes: Mapping[str, Any], expected: Collection[str] | None) -> Item:
        def update(write: Update) -> Item:
            try:
                return table.update(write)
            except ConditionFailed as failure:
                if self.kind in (failure.item or {}):
                    raise VersionMismatch(self.kind, str(self.id)) from failure
                raise

        return super().change(SimpleNamespace(update=update), changes, expected)  # type: ignore[arg-type] # as much as is used


class NamesVersionsByChanges(Versioned):
    """Stores as the version a number of the change, so that a change that is applied again brings back a version."""

    def change(self, table: Table, changes: Mapping[str, Any], expected: Collection[str] | None) -> Item:
        def update(write: Update) -> Item:
            number = int(changes["discount"])
            counted = write.expression.replace(f" ADD {_CHANGES} :one", f", {_CHANGES} = :one")
            return table.update(replace(write, expression=counted, values={**write.values, ":one": number}))

        return super().change(SimpleNamespace(update=update), changes, expected)  # type: ignore[arg-type] # as much as is used


class SweepsFirst(DealOrders):
    """Deletes the line items first and removes their order then."""

    def remove(self, order_id: int, expected: Collection[str] | None = None) -> None:
        self.lines(order_id).sweep()
        super().remove(order_id, expected)


class AddsUnchecked(Lines):
    """Adds a line item if the order was there a moment ago."""

    def add(self, new: NewLine) -> LineItem:
        self.orders.order(self.order_id)

        def compose(ticket: Ticket) -> Draft:
            return Draft({"line": written_line(_made_line(self.order_id, new, ticket))}, [])

        return _made_line(self.order_id, new, self._book.place(compose))


class ReadsUnchecked(Lines):
    """Reads line items without a look at their order."""

    def line(self, line_id: int) -> LineItem:
        position = self.position(line_id)
        if entry := self._book.find([position]).get(position):
            return self._read(entry)
        raise NotFound("line_item", str(line_id))


class UnmarksFirst(Lines):
    """Removes the mark of a removed order before its line items are deleted."""

    def sweep(self) -> None:
        self.orders.table.update(Update(self.orders.book.entry_key(self.order_id), UNMARK))
        super().sweep()


class SweepsTheHeadFirst(Lines):
    """Sweeps only what still has a head, and the head first."""

    def sweep(self) -> None:
        if self.orders.table.get(self._book._keys.head):
            self.orders.table.delete_all([self._book._keys.head])
            super().sweep()


def planted(case: Case, fault: type[DealOrders | Lines]) -> Mutant:
    """A mutant of an account's orders, or of their line items."""
    if issubclass(fault, DealOrders):
        return Mutant(case, build=setup(fault).build)

    class Orders(DealOrders):
        def lines(self, order_id: int) -> Lines:
            return fault(self, order_id)  # type: ignore[arg-type,return-value] # a kind of Lines

    return Mutant(case, build=setup(Orders).build)


def unconditional(write: Write) -> Write:
    if isinstance(write, Put) and write.item["pk"].startswith("DEAL#"):
        return replace(write, condition=None)
    return write


def transoperations(orders: DealOrders, change: Callable[[Sequence[Write]], Sequence[Write]]) -> None:
    """Change what the orders' book transacts; what is left out was nothing against it."""
    table = orders.book._table

    def transact(writes: Sequence[Write]) -> None:
        changed = change(writes)
        try:
            table.transact(changed)
        except TransactionRefused as refusal:
            missing: list[None] = [None] * (len(writes) - len(changed))
            raise TransactionRefused([*refusal.reasons, *missing]) from refusal

    kept = {name: getattr(table, name) for name in dir(table) if not name.startswith("_")}
    orders.book._table = SimpleNamespace(**{**kept, "transact": transact})  # type: ignore[assignment] # as much as is used


MUTANTS = {
    ClaimsAfterwards.__name__: planted(CASES["two creates for one deal"], ClaimsAfterwards),
    ClaimsWhatIsClaimed.__name__: planted(CASES["two creates for one deal"], ClaimsWhatIsClaimed),
    ForgetsItsOwnPlace.__name__: planted(case([creates(1)]), ForgetsItsOwnPlace),
    KeepsTheKeyAfterwards.__name__: planted(CASES["two line items under one key"], KeepsTheKeyAfterwards),
    KeepsTheClaim.__name__: planted(CASES["a create and the removal of the deal's order"], KeepsTheClaim),
    ReleasesAfterwards.__name__: planted(CASES["a create and the removal of the deal's order"], ReleasesAfterwards),
    ReleasesFirst.__name__: planted(CASES["a create and the removal of the deal's order"], ReleasesFirst),
    PutsBack.__name__: planted(CASES["a change and a removal"], PutsBack),
    ComparesFirst.__name__: planted(CASES["two changes of one version"], ComparesFirst),
    f"{ComparesFirst.__name__}, and removes": planted(CASES["a change and a removal of one version"], ComparesFirst),
    ForgetsItsOwnChange.__name__: Mutant(
        CASES["two changes of one version"], [(deal_orders, "Versioned", ForgetsItsOwnChange)]
    ),
    NamesVersionsByChanges.__name__: Mutant(
        CASES["two changes, one applied again"], [(deal_orders, "Versioned", NamesVersionsByChanges)]
    ),
    "SortsForEachPage": Mutant(
        CASES["a sorted reader, and changes that move an order"], [(sorted_lists._Memory, "recall", lambda *_: None)]
    ),
    SweepsFirst.__name__: planted(case([removes_and_sweeps(1)], WITH_LINES), SweepsFirst),
    AddsUnchecked.__name__: planted(CASES["a line item and a removal"], AddsUnchecked),
    ReadsUnchecked.__name__: planted(case([removes(1)], WITH_LINES), ReadsUnchecked),
    UnmarksFirst.__name__: planted(case([sweeps_behind(1)], REMOVED), UnmarksFirst),
    SweepsTheHeadFirst.__name__: planted(case([sweeps_behind(1)], REMOVED), SweepsTheHeadFirst),
}

test_every_mutant_is_found = pytest.mark.usefixtures("small")(every_mutant(MUTANTS, CASES))


# Many at once --------------------------------------------------------------------------------------------------------

THREADS = 16
DEALS = 40
TRIES = 3
MANY = 1_200


class Office:
    """A new account on an engine that several tests share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.account = secrets.token_hex(6)

    @property
    def orders(self) -> DealOrders:
        return DealOrders(Table(self._engine.send, self._engine.table, deadline=Deadline.after(60)), self.account)

    def fill(self, order_id: int, count: int) -> None:
        """Write line items like the first one in bulk, as so many adds and a settling would have left them."""
        lines, table = self.orders.lines(order_id), self.orders.table
        lines.add(new_line(1))
        book = lines._book
        first = table.get(book.entry_key(1)) or {}
        tickets = table.get(book._keys.tickets) or {}
        entries = (
            {
                **first,
                **dict(zip(("pk", "sk"), book.entry_key(number), strict=True)),
                "line": {**first["line"], "position": number},
            }
            for number in range(2, count + 1)
        )
        partition, sort = book._keys.head
        head = {"pk": partition, "sk": sort, "settled": count}
        table.put_all([*entries, {**tickets, "issued": count}, head])

    def left(self, order_id: int) -> list[Item]:
        """All that the table holds of an order's line items."""
        keys = BookKeys(f"deal-lines#{self.account}#{order_id}")
        single = [(partition, "-", "-") for partition, _ in (keys.tickets, keys.head)]
        spans = [*keys.entries(1, LAST_POSITION), keys.voids, *single]
        return [item for span in spans for item in self.orders.table.query(*span)]


@pytest.mark.engine
def test_many_creates_for_a_few_deals(concurrent_engine: Engine) -> None:
    """Of concurrent creates for one deal, one places its order, and the others raise DealTaken."""
    office = Office(concurrent_engine)
    tries = [deal for deal in range(1, DEALS + 1) for _ in range(TRIES)]
    started = threading.Barrier(THREADS)

    def create(deals: Sequence[int]) -> list[tuple[int, int | None]]:
        started.wait()
        placed_or_taken: list[tuple[int, int | None]] = []
        for deal in deals:
            try:
                placed_or_taken.append((deal, office.orders.place(deal, Decimal(0)).id))
            except DealTaken:
                placed_or_taken.append((deal, None))
        return placed_or_taken

    # Neighbours in the list are tried by different threads at about the same time.
    works = [partial(create, tries[number::THREADS]) for number in range(THREADS)]
    placed_or_taken = [one for each in in_threads(works) for one in each]
    placed = {deal: order_id for deal, order_id in placed_or_taken if order_id is not None}

    assert len(placed_or_taken) == DEALS * TRIES
    assert len([order_id for _, order_id in placed_or_taken if order_id is not None]) == len(placed) == DEALS
    listed = office.orders.part(ListRequest(0, 1_000), "reader").items
    assert {order.deal_id: order.id for order in listed} == placed
    assert len(listed) == DEALS
    by_deal = [office.orders.part(ListRequest(0, 9), "reader", deal).items for deal in placed]
    assert [[order.id for order in found] for found in by_deal] == [[order_id] for order_id in placed.values()]


@pytest.mark.engine
def test_many_changes_of_each_version(concurrent_engine: Engine) -> None:
    """Of concurrent changes that expect the same version, one takes effect, and the others raise VersionMismatch."""
    office = Office(concurrent_engine)
    order_id = office.orders.place(DEAL, Decimal(0)).id
    started = threading.Barrier(THREADS)

    def change(discount: int) -> list[int]:
        made = []
        for version in range(FIRST, FIRST + TRIES):
            started.wait()
            with suppress(VersionMismatch):
                made.append(office.orders.change(order_id, Decimal(discount), {f"{version}"}).version)
            started.wait()
        return made

    made = [version for each in in_threads([partial(change, number) for number in range(THREADS)]) for version in each]
    with pytest.raises(VersionMismatch):
        office.orders.remove(order_id, {f"{FIRST}"})
    office.orders.remove(order_id, {f"{FIRST + TRIES}"})

    assert sorted(made) == [FIRST + 1 + number for number in range(TRIES)]
    with pytest.raises(NotFound):
        office.orders.order(order_id)


@pytest.mark.engine
def test_order_with_many_line_items(concurrent_engine: Engine) -> None:
    """Of a removed order with 1,200 line items nothing is left in the table, when two sweep behind it at once."""
    office = Office(concurrent_engine)
    order_id = office.orders.place(DEAL, Decimal(0)).id
    office.fill(order_id, MANY)
    first, last = (office.orders.lines(order_id).part(ListRequest(rank, 1), "reader") for rank in (0, MANY - 1))
    for position in (3, MANY // 2, MANY):
        office.orders.lines(order_id).remove(order_id * LINES + position)
    before = office.left(order_id)
    office.orders.remove(order_id)
    in_threads([lambda: office.orders.lines(order_id).sweep()] * 2)

    assert (len(first.items), first.more, len(last.items), last.more) == (1, True, 1, False)
    assert len(before) == MANY + 2 + 1 + 2  # entries, segments, range, tickets, head
    assert office.left(order_id) == []
    assert office.orders.place(DEAL, Decimal(0)).id != order_id


@pytest.mark.engine
def test_adds_while_the_order_is_removed(concurrent_engine: Engine) -> None:
    """While threads add line items their order is removed and swept; what was added is gone, and no more can be."""
    office = Office(concurrent_engine)
    order_id = office.orders.place(DEAL, Decimal(0)).id
    enough = threading.Event()
    added: list[int] = []

    def add() -> None:
        with suppress(NotFound):  # which is how it ends
            while True:
                added.append(office.orders.lines(order_id).add(new_line(1)).id)
                if len(added) >= THREADS:
                    enough.set()

    def remove() -> None:
        enough.wait(60)
        office.orders.remove(order_id)
        office.orders.lines(order_id).sweep()

    in_threads([*[add] * 4, remove])
    left = office.left(order_id)
    office.orders.lines(order_id).sweep()

    assert len(added) == len(set(added)) >= THREADS
    assert [item for item in left if "line" in item] == []
    assert office.left(order_id) == []
    for line_id in added:
        with pytest.raises(NotFound):
            office.orders.lines(order_id).line(line_id)
