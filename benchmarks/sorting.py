"""What a sorted page costs in an account of 10,000 deal orders, by its order and number; and in longer lists.

*Ours* is `DealOrders.part`, strongly consistent, as the contract's `sort_by` asks for it. By id a page is read where it
stands; in any other order the first page reads and sorts all, and remembers the sequence for the further ones. The
reference does the least that a competent team would write, eventually consistent at half the price:

* by id it *walks*: DynamoDB has no offset, so it reads from that end of the list to the page's;
* in any other order it *walks and sorts*: it reads all and sorts, for each page anew.

Of what it reads it decodes only what the page shows.

All run on the modelled service (see `service`), where any read takes 2 ms, one of a full megabyte too: kind to the
walk. The model reads forward only; the orders are all of about one size, so walking back costs what walking forward
does. The orders are written in bulk as so many calls of `place` and a settling would have left them, like those of
`pages`, each with a discount and times of its own; then the real code must list and sort them rightly.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from benchmarks import long_lists
from benchmarks.long_lists import ACCOUNT, BY_DISCOUNT, Computed, Taken
from benchmarks.report import Must, Results, Section
from benchmarks.service import TYPICAL, Service
from benchmarks.shop import ORDERS, PATIENCE
from benchmarks.timing import no_collection
from ordering import clock
from ordering.aws.dynamodb import Key, Table
from ordering.book.sorted_lists import MOST_SORTED, NEWEST_FIRST, OLDEST_FIRST, ListPart, ListRequest, SortKey
from ordering.clock import Deadline
from ordering.deals.orders import DealOrder, DealOrders
from ordering.money import parse_amount

NAME = "sorting"
HELD = 10_000
SIZES = (25, 500)
SORTS = {"id:asc": OLDEST_FIRST, "id:desc": NEWEST_FIRST, "discount:desc, created_at": BY_DISCOUNT}
LONG = (10_000, 100_000, 1_000_000)
"""Lengths of the lists of which a function's time and memory are measured."""
MEASURED = 100_000
"""The length for which these have limits."""
SECONDS = 3.0
MEGABYTES = 256.0
"""Processor time and additional memory that the first page of such a list may take."""
SHARE = 0.29
"""Of a processor, which a function of 512 MB has (Lambda gives a whole one with 1,769 MB)."""
WRITE = 5
"""Read units that a write unit costs, on demand."""

_ITS = f"LIST#deals#{ACCOUNT}"
"""The partition of the reference, with copies of the same entries."""
_START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
_BATCH = 25
_REPEATED = 3
_READS = frozenset({"GetItem", "BatchGetItem", "Query"})


@dataclass(frozen=True, slots=True)
class Price:
    """What a page took; seconds are the median of several."""

    calls: float
    reads: float
    writes: float
    seconds: float

    @property
    def units(self) -> float:
        """Both kinds of units, as so many read units."""
        return self.reads + WRITE * self.writes


class Till:
    """A connection that counts what passes, reads and writes apart."""

    def __init__(self, send: Service) -> None:
        """Begin at zero."""
        self._send = send
        self._counted = [0.0, 0.0, 0.0]

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Pass a call on."""
        (attempt,) = self._counting([(operation, request)], [partial(self._send, operation, request)])
        return attempt()

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> Sequence[Callable[[], dict[str, Any]]]:
        """Pass on what goes out at once, as one call."""
        return self._counting(requests, self._send.send_all(requests))

    def _counting(
        self, requests: Sequence[tuple[str, Any]], attempts: Sequence[Callable[[], dict[str, Any]]]
    ) -> Sequence[Callable[[], dict[str, Any]]]:
        """Wait for responses, and count them as one call."""
        answers = [attempt() for attempt in attempts]
        self._counted[0] += 1
        for (operation, _), answer in zip(requests, answers, strict=True):
            consumed = answer["ConsumedCapacity"]
            units = sum(part["CapacityUnits"] for part in ([consumed] if isinstance(consumed, dict) else consumed))
            self._counted[1 if operation in _READS else 2] += units
        return [lambda answer=answer: answer for answer in answers]  # type: ignore[misc] # bound now

    def price(self, action: Callable[[], object]) -> Price:
        """Repeat an action; returns the price of one."""
        action()
        self._counted = [0.0, 0.0, 0.0]
        seconds = []
        for _ in range(_REPEATED):
            began = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - began)
        calls, reads, writes = (counted / _REPEATED for counted in self._counted)
        return Price(calls, reads, writes, statistics.median(seconds))


def run() -> Section:
    """Measure ours and the reference."""
    service = Service()
    fill(service, HELD)
    service.latencies = TYPICAL
    with no_collection():
        measured = {
            (sort, size): {page: (_ours(service, sort, size, page), _its(service, sort, size, page)) for page in pages}
            for sort in SORTS
            for size in SIZES
            for pages in [(1, 2, HELD // size)]
        }
    tables = [
        Results(
            f"One page of {size} out of {HELD:,} deal orders",
            _COLUMNS,
            [row for sort in SORTS for row in _rows(sort, measured[sort, size])],
        )
        for size in SIZES
    ]
    whole = [_whole(sort, size, measured[sort, size]) for size in SIZES for sort in SORTS]
    long = {held: long_lists.measure(_computed(service, held)) for held in LONG}
    results = [*tables, Results(_ALL, _SUMS, whole), _long(long)]
    return Section(NAME, "Sorted lists", _EXPLANATION, results, _musts(long[MEASURED][0]))


_COLUMNS = (
    "<sort_by",
    "page",
    "calls",
    "reads",
    "writes",
    "ms",
    "its calls",
    "its reads",
    "its ms",
    "units, its ÷ ours",
    "time, its ÷ ours",
)
_ALL = "The whole list, page after page, in read units"
_SUMS = ("<sort_by", "per page", "pages", "ours", "its", "its ÷ ours")
_OF_A_FUNCTION = ("<orders", "page", "calls", "reads", "writes", "processor, s", "without waiting, s", "memory, MB")
_EXPLANATION = f"""
An account of {HELD:,} deal orders. *Ours*: strongly consistent. By id a page is one read, wherever it is. In any other
order the first page reads and sorts everything and remembers the sequence for a minute, and a further page reads the
orders that it shows. *Its*, the reference: eventually consistent, at half the price. By id it walks to the page from
that end of the list; in any other order it reads and sorts everything for each page.

Reads and writes are in capacity units. In comparisons a write unit counts as {WRITE} read units, the ratio of their
on-demand prices. Measured on the modelled service, which charges as DynamoDB documents and answers any read
after {TYPICAL.read * 1000:.0f} ms; DynamoDB needs longer for a full megabyte, so the reference's times are too good.
The last table but one adds up the pages of a list that is read whole within the minute.

The last table has the processor time and the memory that a page of {long_lists.PAGE} takes of a function, measured in
a process of its own that is connected as functions are. *Without waiting* is that time at {SHARE} of a processor, the
share of functions with 512 MB; they wait for each of their calls besides. A list of more than {MOST_SORTED:,} items is
refused after one call.
"""


def fill(service: Service, held: int) -> None:
    """Write the orders, and see that the real code lists and sorts them.

    Raises:
        RuntimeError: It does not.
    """
    orders = _orders(service)
    orders.place(1, Decimal(0))
    draw = random.Random(1)  # noqa: S311 - the same ones every time
    first = _read(service, orders.book.entry_key(1))
    made = [_made(number, held, draw.randrange(0, 4_000)) for number in range(1, held + 1)]
    for start in range(0, held, _BATCH):
        part = made[start : start + _BATCH]
        _write(service, [_entry(first, orders.book.entry_key(order.id), order) for order in part])
        _write(service, [_entry(first, (_ITS, f"{order.id:010}"), order) for order in part])
    _settle(service, held)
    by_discount = sorted(made, key=lambda order: (-order.discount, order.created, order.id))
    for order, expected in ((OLDEST_FIRST, made), (NEWEST_FIRST, made[::-1]), (BY_DISCOUNT, by_discount)):
        pages = [*_part(orders, order, 500, 1).items, *_part(orders, order, 500, 2).items]
        if pages != expected[:1_000]:
            raise RuntimeError("the account does not list what was written")


def _settle(service: Service, held: int) -> None:
    """Write the items of a book that has so many orders, all of them settled."""
    for kind, name in (("HEAD", "settled"), ("TICKETS", "issued")):
        key = {"pk": {"S": f"{kind}#deals#{ACCOUNT}"}, "sk": {"S": "-"}}
        _write(service, [{**key, name: {"N": f"{held}"}, "at": {"S": clock.to_text(_START)}}])


def _orders(send: Any) -> DealOrders:
    table = Table(send, ORDERS, deadline=Deadline.after(PATIENCE))
    # The time stands still, so that what is remembered is so however slow the machine is.
    return DealOrders(table, ACCOUNT, now=lambda: _START)


def _part(orders: DealOrders, order: tuple[SortKey, ...], size: int, page: int) -> ListPart[DealOrder]:
    return orders.part(ListRequest((page - 1) * size, size, order), "reader")


def _ours(service: Service, sort: str, size: int, page: int) -> Price:
    till = Till(service)
    _part(_orders(service), SORTS[sort], size, 1)
    return till.price(lambda: _part(_orders(till), SORTS[sort], size, page))


def _its(service: Service, sort: str, size: int, page: int) -> Price:
    till = Till(service)
    first = (page - 1) * size
    if sort.startswith("id:"):
        # One more than the page, which shows whether there is another one.
        return till.price(lambda: _decoded(_walk(till, first + size + 1)[first : first + size]))
    return till.price(lambda: _decoded(_walk_and_sort(till)[first : first + size]))


def _walk(till: Till, count: int) -> list[dict[str, Any]]:
    """Read so many orders, or all that there are."""
    request = {
        "TableName": ORDERS,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": _ITS}},
    }
    found: list[dict[str, Any]] = []
    while len(found) < count:
        answer = till("Query", {**request, "Limit": count - len(found)})
        found += answer["Items"]
        if not (resume := answer.get("LastEvaluatedKey")):
            break
        request["ExclusiveStartKey"] = resume
    return found


def _walk_and_sort(till: Till) -> list[dict[str, Any]]:
    """Read all, and sort it as it came."""
    found = _walk(till, 10 * HELD)
    found.sort(key=_by_discount)
    return found


def _by_discount(entry: dict[str, Any]) -> tuple[Decimal, str, int]:
    order = entry["order"]["M"]
    return -Decimal(order["discount"]["S"]), order["created"]["S"], int(order["id"]["N"])


def _decoded(entries: list[dict[str, Any]]) -> list[DealOrder]:
    orders = [entry["order"]["M"] for entry in entries]
    return [
        DealOrder(
            int(order["id"]["N"]),
            int(order["deal"]["N"]),
            parse_amount(order["discount"]["S"]),
            clock.from_text(order["created"]["S"]),
            clock.from_text(order["updated"]["S"]),
        )
        for order in orders
    ]


def _rows(sort: str, costs: dict[int, tuple[Price, Price]]) -> Iterator[list[str]]:
    for page, (ours, its) in costs.items():
        yield [
            sort if page == 1 else "",
            f"{page}",
            f"{ours.calls:.0f}",
            f"{ours.reads:,.1f}",
            f"{ours.writes:,.0f}",
            f"{ours.seconds * 1000:,.1f}",
            f"{its.calls:.0f}",
            f"{its.reads:,.1f}",
            f"{its.seconds * 1000:,.1f}",
            f"{its.units / ours.units:,.2f}",
            f"{its.seconds / ours.seconds:,.2f}",
        ]


def _whole(sort: str, size: int, costs: dict[int, tuple[Price, Price]]) -> list[str]:
    pages = HELD // size
    ours, its = ([cost[way].units for cost in costs.values()] for way in (0, 1))
    # Further pages cost ours about the same, and its by the number of the page, so that their mean is halfway.
    sums = [first + (pages - 1) * (second + last) / 2 for first, second, last in (ours, its)]
    return [sort, f"{size}", f"{pages}", *(f"{total:,.0f}" for total in sums), f"{sums[1] / sums[0]:,.1f}"]


def _made(number: int, held: int, hundredths: int) -> DealOrder:
    created = _START - timedelta(minutes=held - number)
    return DealOrder(number, 10_000 + number, Decimal(hundredths) / 100, created, created)


def _computed(filled: Service, held: int) -> Computed:
    """Make an account of so many orders, like that of `fill`."""
    service, book = Computed(), _orders(filled).book
    first = _read(filled, book.entry_key(1))

    def entry(number: int) -> dict[str, Any]:
        return _entry(first, book.entry_key(number), _made(number, held, number * 7_919 % 4_000))

    # A longer list is refused before it is read.
    service.add(map(book.entry_key, range(1, min(held, MOST_SORTED) + 1)), entry)
    _settle(service, held)
    return service


def _long(long: Mapping[int, tuple[Taken, Taken]]) -> Results:
    rows = [
        [
            f"{held:,}" if page == 1 else "",
            f"{page}, refused" if taken.refused else f"{page}",
            f"{taken.calls}",
            f"{taken.reads:,.0f}",
            f"{taken.writes:,.0f}",
            f"{taken.seconds:,.3f}",
            f"{taken.seconds / SHARE:,.2f}",
            f"{taken.memory:,.0f}",
        ]
        for held, pages in long.items()
        for page, taken in enumerate(pages, 1)
    ]
    title = f"What a page of {long_lists.PAGE}, sorted by discount:desc, created_at, takes of a function"
    return Results(title, _OF_A_FUNCTION, rows)


def _musts(first: Taken) -> list[Must]:
    claim = f"the first page of {MEASURED:,} sorted orders takes at most"
    return [
        Must(f"{claim} {SECONDS:g} s of a processor", f"{first.seconds:.2f}", first.seconds <= SECONDS),
        Must(f"{claim} {MEGABYTES:g} MB of memory", f"{first.memory:.0f}", first.memory <= MEGABYTES),
    ]


def _entry(first: dict[str, Any], key: Key, order: DealOrder) -> dict[str, Any]:
    """Make an entry like the first one."""
    created = {"S": clock.to_text(order.created)}
    parts = {
        "id": {"N": f"{order.id}"},
        "deal": {"N": f"{order.deal_id}"},
        "discount": {"S": f"{order.discount:f}"},
        "created": created,
        "updated": created,
    }
    return {**first, "pk": {"S": key[0]}, "sk": {"S": key[1]}, "order": {"M": {**first["order"]["M"], **parts}}}


def _read(service: Service, key: Key) -> dict[str, Any]:
    request = {"TableName": ORDERS, "Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}}}
    item: dict[str, Any] = service("GetItem", request)["Item"]
    return item


def _write(service: Service, items: list[dict[str, Any]]) -> None:
    service("BatchWriteItem", {"RequestItems": {ORDERS: [{"PutRequest": {"Item": item}} for item in items]}})
