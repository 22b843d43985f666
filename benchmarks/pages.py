"""What a page costs by its number, in a book of 100,000 orders, ten to a page.

Four ways:

* *order book* (ours): `TrainingOrders.page`, strongly consistent, with the exact total;
* *walk*: DynamoDB has no offset, so what is before the page is read: queries with a `Limit` of all that is left to
  skip, which the service cuts at 1 MB, and then the page;
* *walk by page*: what following a published cursor comes to, ten orders a query;
* *COUNT*: the total, which ours comes with and a walk has not: `Select=COUNT` over the partition.

The others read eventually consistent, at half the price, and what they read is not decoded. All run on the modelled
service (see `service`), because the embedded engine goes over the whole partition for each query and charges all alike.
There any read takes 2 ms, one of a full megabyte too, which is kind to the walk.

The book is written in bulk, as 100,000 calls of `place` and a settling would have left it: one order goes through the
real code, its entry is written again at each position with that position and an id of its own, and tickets and head as
they would stand. Then the real code reads both ends of the list, and settles it: nothing must be left to settle.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.plot import Curve, draw
from benchmarks.report import Results, Section
from benchmarks.service import TYPICAL, Service
from benchmarks.shop import BOOK, ORDERS, Cost, Counted, Shop
from benchmarks.timing import no_collection
from ordering.book.positions import BookKeys, book_of

NAME = "pages"
HELD = 100_000
SIZE = 10
PAGES = (1, 100, 5_000, 10_000)
DRAWN = tuple(sorted({*PAGES, 3, 10, 30, 300, 1_000, 2_000}))
PLOT = "page-cost.png"

_BATCH = 25
_REPEATED = 15
_REFERENCE = "REFERENCE"
"""The partition that the references read: all entries in it, as a list without an order book would be."""

Costs = dict[int, Cost]
"""By the number of the page."""


def fill(service: Service, held: int) -> Shop:
    """Write the book, and see that the real code reads it.

    Raises:
        RuntimeError: It does not.
    """
    shop = Shop(service)
    shop.open()
    shop.place("first")
    keys = BookKeys(BOOK)
    first = _read(service, *keys.entry(1))
    for start in range(1, held + 1, _BATCH):
        positions = range(start, min(start + _BATCH, held + 1))
        _write(service, [_entry(first, *keys.entry(position)) for position in positions])
        _write(service, [_entry(first, _REFERENCE, keys.entry(position)[1]) for position in positions])
    tickets = _read(service, f"TICKETS#{BOOK}", "-")
    head = {"pk": {"S": f"HEAD#{BOOK}"}, "sk": {"S": "-"}, "settled": {"N": str(held)}}
    _write(service, [{**tickets, "issued": {"N": str(held)}}, head])
    ends = [*shop.page(1).items, *shop.page(held // SIZE).items]
    ids = [*range(1, SIZE + 1), *range(held - SIZE + 1, held + 1)]
    if [order.id for order in ends] != ids or shop.page(1).total != held or shop.orders.settle() != held:
        raise RuntimeError("the book does not read what was written")
    return shop


def run(folder: Path) -> Section:
    """Measure all ways, and draw them into `folder`."""
    service = Service()
    shop = fill(service, HELD)
    service.latencies = TYPICAL
    with no_collection():
        ours = {page: _ours(shop, page) for page in DRAWN}
        walked = {page: _walk(service, page) for page in DRAWN}
        by_page = _walk_by_page(service)
        total = _total(service)
    draw(
        folder / PLOT,
        [
            Curve("order book: page and total", ours),
            Curve("walk: page only", walked),
            Curve("COUNT: total only", dict.fromkeys(DRAWN, total)),
        ],
    )
    rows = [
        row
        for page in PAGES
        for row in _rows(page, ours[page], {"walk": walked[page], "walk by page": by_page[page], "COUNT": total})
    ]
    return Section(NAME, "Pages", _EXPLANATION, [Results(_TITLE, _COLUMNS, rows)], plot=PLOT)


_TITLE = f"One page of {SIZE} out of {HELD:,} orders"
_COLUMNS = ("page", "<way", "calls", "read units", "ms", "units, its ÷ ours", "time, its ÷ ours")
_EXPLANATION = f"""
A book of {HELD:,} orders. *Order book*: page and exact total, strongly consistent. *Walk*: queries from the first
order on, in the largest steps that DynamoDB allows (1 MB), eventually consistent at half the price. *Walk by page*: the
same by cursors of {SIZE} orders. *COUNT*: the total; add it to either walk for the same result as the order book's.

Measured on the modelled service, which charges as DynamoDB documents and answers any read after
{TYPICAL.read * 1000:.0f} ms. DynamoDB needs longer for a full megabyte, so the walk's times are too good.
"""


def _ours(shop: Shop, page: int) -> Cost:
    return _typical(shop.calls, lambda: shop.page(page), _REPEATED)


def _walk(service: Service, page: int) -> Cost:
    calls = Counted(service)
    return _typical(calls, lambda: _skip_and_read(calls, (page - 1) * SIZE), 3)


def _skip_and_read(calls: Counted, skipped: int) -> None:
    request = _request()
    while skipped:
        answer = calls("Query", {**request, "Limit": skipped})
        skipped -= answer["Count"]
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    calls("Query", {**request, "Limit": SIZE})


def _walk_by_page(service: Service) -> Costs:
    """Walk once; returns the cost up to each page."""
    calls = Counted(service)
    walk = enumerate(follow_cursors(calls), 1)
    return {page: replace(calls.cost) for page, _ in itertools.islice(walk, max(PAGES)) if page in PAGES}


def follow_cursors(calls: Counted) -> Iterator[dict[str, Any]]:
    """Read one page of the book after the other."""
    request = {**_request(), "Limit": SIZE}
    while resume := (answer := calls("Query", request)).get("LastEvaluatedKey"):
        yield answer
        request["ExclusiveStartKey"] = resume


def count_all(calls: Counted) -> None:
    """Count the book's orders."""
    request = {**_request(), "Select": "COUNT"}
    while resume := calls("Query", request).get("LastEvaluatedKey"):
        request["ExclusiveStartKey"] = resume


def copy_entries(service: Service) -> None:
    """Write the book's entries into the partition that the references read."""
    entries = [item for (partition, _), item in service.scan(ORDERS) if book_of(partition) == BOOK]
    for entry in entries:
        _write(service, [{**entry, "pk": {"S": _REFERENCE}}])


def _total(service: Service) -> Cost:
    calls = Counted(service)
    return _typical(calls, lambda: count_all(calls), 3)


def _typical(calls: Counted, action: Callable[[], object], times: int) -> Cost:
    """Repeat an action; returns its calls and units, and the median of its times without the first."""
    action()
    calls.take()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    total = calls.take()
    return Cost(total.calls // times, total.units / times, statistics.median(seconds))


def _rows(page: int, ours: Cost, others: dict[str, Cost]) -> Iterator[list[str]]:
    for way, cost in {"order book": ours, **others}.items():
        ratios = [f"{cost.units / ours.units:,.2f}", f"{cost.seconds / ours.seconds:,.2f}"]
        yield [
            f"{page:,}" if cost is ours else "",
            way,
            f"{cost.calls:,}",
            f"{cost.units:,.1f}",
            f"{cost.seconds * 1000:,.1f}",
            *(ratios if cost is not ours else ["", ""]),
        ]


def _request() -> dict[str, Any]:
    return {
        "TableName": ORDERS,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": _REFERENCE}},
        "ReturnConsumedCapacity": "TOTAL",
    }


def _read(service: Service, partition: str, sort: str) -> dict[str, Any]:
    item: dict[str, Any] = service(
        "GetItem", {"TableName": ORDERS, "Key": {"pk": {"S": partition}, "sk": {"S": sort}}}
    )["Item"]
    return item


def _write(service: Service, items: list[dict[str, Any]]) -> None:
    service("BatchWriteItem", {"RequestItems": {ORDERS: [{"PutRequest": {"Item": item}} for item in items]}})


def _entry(first: dict[str, Any], partition: str, sort: str) -> dict[str, Any]:
    """Make an entry like the first; the parts that do not differ are shared, for the memory's sake."""
    number = {"N": str(int(sort))}
    order = {"M": {**first["order"]["M"], "id": number, "position": number}}
    return {**first, "pk": {"S": partition}, "sk": {"S": sort}, "order": order}
