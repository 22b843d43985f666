"""How many orders a second one book takes under the limits that DynamoDB sets to a partition key.

Orders of one line are placed by `OrderBook.place`, with the items that the real code writes for them, and then change
their status as orders do, which writes their entries again. Writers do not pause, and retry what is refused.

All latencies are longer, the limits lower, and the rates higher than what is measured, by `DILATION`: so the processor
is not the limit.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.report import Must, Results, Section
from benchmarks.service import OF_A_PARTITION, TYPICAL, Latencies, Limits, Service
from benchmarks.shop import ORDERS, PATIENCE, written_items
from benchmarks.timing import no_collection
from ordering.aws.dynamodb import ABSENT, Put, Table, Update, Write
from ordering.book.orderbook import Draft, OrderBook
from ordering.book.positions import LAST_POSITION, LAYOUT, BookKeys, Layout

NAME = "limits"
DILATION = 5
WRITERS = 64
RATE_AT_LEAST = 1_000
_WARM, _MEASURED = 2.0, 10.0
"""Seconds until all writers are under way, and then of the measurement, in which lanes take more than one turn."""

_ENTRY, _ORDER, _LINE, _ONCE = written_items(lines=1)


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of order, by how often its status changes after it was created."""

    name: str
    changes: int

    @property
    def units(self) -> int:
        """The write units that an order takes of its entry's partition key: two for each transaction."""
        return 2 * (1 + self.changes)


SHAPES = (Shape("training: New, Completed", 1), Shape("e-card: New, Payed, Delivered", 2))
LAYOUTS = {f"{LAYOUT.lanes} partition keys": LAYOUT, "one": Layout(block=LAST_POSITION, lanes=1)}
OURS, _ = LAYOUTS


class Writers:
    """Writers that create orders in one book, and change their statuses."""

    def __init__(self, shape: Shape, layout: Layout) -> None:
        limits = Limits(
            OF_A_PARTITION.reads / DILATION, OF_A_PARTITION.writes / DILATION, OF_A_PARTITION.kept * DILATION
        )
        latencies = Latencies(TYPICAL.read * DILATION, TYPICAL.write * DILATION, TYPICAL.transaction * DILATION)
        self.service = Service(latencies, limits=limits)
        self._shape = shape
        self._keys = BookKeys("benchmark", layout)
        self._over = threading.Event()
        self._placed = 0
        self._lock = threading.Lock()

    def rate(self) -> float:
        """Let them write, and return how many orders they placed a second, by the service's time."""
        # Nothing that was kept must add to what the tickets' item gives.
        self.service.use_up(ORDERS, self._keys.tickets[0])
        with no_collection(), ThreadPoolExecutor(WRITERS) as pool:
            results = [pool.submit(self._write, writer) for writer in range(WRITERS)]
            time.sleep(_WARM)
            began, before = time.perf_counter(), self._placed
            time.sleep(_MEASURED)
            reached = (self._placed - before) / (time.perf_counter() - began)
            self._over.set()
            for result in results:
                result.result()
        return reached * DILATION

    def _write(self, writer: int) -> None:
        table = Table(self.service, ORDERS, patience=PATIENCE)
        book = OrderBook(table, self._keys.name, layout=self._keys.layout)
        for number in itertools.count():
            if self._over.is_set():
                return
            name = f"{writer}-{number}"
            position = book.place(lambda _, name=name: _draft(name)).position  # type: ignore[misc] # bound now
            with self._lock:
                self._placed += 1
            for change in range(self._shape.changes):
                keys = [self._keys.entry(position), (f"ORDER#{name}", "ORDER")]
                table.transact([Update(key, "SET moved = :to", values={":to": change}) for key in keys])


def _draft(name: str) -> Draft:
    order = f"ORDER#{name}"
    writes: list[Write] = [Put({**item, "pk": order}, ABSENT) for item in (_ORDER, _LINE)]
    return Draft({"order": _ENTRY["order"]}, [*writes, Put({**_ONCE, "pk": f"ONCE#{name}"}, ABSENT)])


def run() -> Section:
    """Measure both kinds of orders, and the same with all entries under one partition key."""
    rates = {(shape, name): Writers(shape, layout).rate() for shape in SHAPES for name, layout in LAYOUTS.items()}
    rows = [[shape.name, f"{shape.units}", name, f"{rate:,.0f}"] for (shape, name), rate in rates.items()]
    musts = [
        Must(
            f"one book takes at least {RATE_AT_LEAST:,} creates a second, {shape.name}, to one in a hundred",
            f"{rates[shape, OURS]:,.0f}",
            rates[shape, OURS] >= 0.99 * RATE_AT_LEAST,
        )
        for shape in SHAPES
    ]
    table = Results(f"One book, {WRITERS} writers", _COLUMNS, rows)
    return Section(NAME, "Creates under the limits of partition keys", _EXPLANATION, [table], musts)


_COLUMNS = ("<order", "write units of the entry", "<entries of the book under", "creates/s")
_EXPLANATION = f"""
A partition key of DynamoDB gives {OF_A_PARTITION.writes:,} write units and {OF_A_PARTITION.reads:,} read units a
second, whatever the table's capacity is. The modelled service refuses more; unused units are kept for a second. An
entry takes two units when it is written, and two more with each change of its order's status.

Entries take turns under {LAYOUT.lanes} partition keys, in blocks of {LAYOUT.block}. What binds is the tickets' item:
one unit a create, so 1,000 creates a second and book is the ceiling. Not modelled are the partition keys of the
indexes.
"""
