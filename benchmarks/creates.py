"""How many orders a second one book takes, and how long each takes, with 1 to 32 writers at once.

Three designs place the same order of one line, with the items that the real code writes for it:

* *order book* (ours): `OrderBook.place`, a ticket and then one transaction of entry, order, line and idempotency
  record: exactly once, page numbers, exact total;
* *counter*: the same transaction with an ADD of the book's counter in it instead of the ticket. It keeps the total
  exact and orders once; it does not even number them, which would take a read of the counter before and a condition
  on it, and so more retries. Conflicts are tried again with full jitter: botocore does not;
* *Powertools*: AWS Lambda Powertools' idempotency around one put of order and line, in three calls. It has no
  positions and no total, and a crash between its calls runs the same key twice.

Each writer is a thread with a connection of its own, and places one order after the other, `AWAY` between them. First
calls are dropped. On the engine no two writes ever conflict: it carries out one call at a time. On the modelled
service they do.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from botocore.exceptions import ClientError

from benchmarks import engine
from benchmarks.engine import IDEMPOTENCY, IDEMPOTENCY_KEY
from benchmarks.plot import Curve, draw_by_writers
from benchmarks.report import Must, Results, Section
from benchmarks.service import TYPICAL, Service
from benchmarks.shop import ORDERS, PATIENCE, written_items
from benchmarks.timing import no_collection
from ordering.aws.dynamodb import ABSENT, Put, Send, ServiceFault, Table, Update
from ordering.book.orderbook import Draft, OrderBook
from ordering.errors import Unavailable

NAME = "creates"
PLOT = "creates.png"
WRITERS = (1, 4, 16, 32)
RATE_AT_LEAST = 8.0
TAIL_AT_MOST = 1 / 20
AT = 16
"""Writers at which those two are asked for."""

AWAY = 0.002
"""Seconds on average between a writer's answer and its next order. Without any, the writer that has
just had the counter takes it again before another one wakes, and the others starve during the whole measurement."""

RETRY_FIRST, RETRY_LONGEST = 0.005, 0.05
"""The counter's backoff in seconds: at 16 writers the best, in rate and p99, of seven that were tried; the longest of
them waited up to 20 s, as botocore does."""

_START = 20.0
"""Seconds within which all writers must have made their first orders."""

Create = Callable[[str], None]
"""Places one order of that name."""

Design = Callable[[Send], Create]

_JITTER = random.Random(1)  # noqa: S311 - no secret
_ENTRY, _ORDER, _LINE, _ONCE = written_items(lines=1)


def order_book(send: Send) -> Create:
    """Ours."""
    book = OrderBook(_table(send), "benchmark")

    def create(name: str) -> None:
        writes = [*_order_puts(name), Put({**_ONCE, "pk": f"ONCE#{name}"}, ABSENT)]
        book.place(lambda _: Draft({"order": _ENTRY["order"]}, writes))

    return create


def counter(send: Send) -> Create:
    """Count inside the transaction."""
    table = Table(send, ORDERS, patience=0)  # so that conflicts come here

    def create(name: str) -> None:
        listed = {**_ENTRY, "pk": "BOOK#benchmark", "sk": f"{time.time_ns()}#{name}"}
        once = Put({**_ONCE, "pk": f"ONCE#{name}"}, ABSENT)
        count = Update(("COUNTER#benchmark", "-"), "ADD orders :one", values={":one": 1})
        longest = RETRY_FIRST
        while True:
            try:
                return table.transact([Put(listed, ABSENT), *_order_puts(name), once, count])
            except Unavailable:
                time.sleep(_JITTER.uniform(0, longest))
                longest = min(2 * longest, RETRY_LONGEST)

    return create


def powertools(send: Send) -> Create:
    """The usual library around one put."""
    table = _table(send)
    # The library knows a client by duck typing; what it calls is here.
    store = DynamoDBPersistenceLayer(IDEMPOTENCY, key_attr=IDEMPOTENCY_KEY, boto3_client=cast("Any", _Client(send)))
    config = IdempotencyConfig(lambda_context=cast("Any", _Context()))

    @idempotent_function(data_keyword_argument="key", persistence_store=store, config=config)  # type: ignore[untyped-decorator]
    def place(*, key: str) -> dict[str, str]:
        partition = {"pk": "BOOK#benchmark", "sk": f"{time.time_ns()}#{key}"}
        table.put(Put({**_ORDER, "lines": _LINE["lines"], **partition}, ABSENT))
        return cast("dict[str, str]", json.loads(_ONCE["answer"]))

    def create(name: str) -> None:
        place(key=name)

    return create


DESIGNS: dict[str, Design] = {"order book": order_book, "counter": counter, "Powertools": powertools}
OURS, COUNTER, _ = DESIGNS


@dataclass(frozen=True, slots=True)
class Pace:
    """What a design reached; seconds."""

    rate: float
    median: float
    tail: float
    """The 99th percentile."""


Paces = dict[int, dict[str, Pace]]
"""By the number of writers and the name of the design."""


def measure(design: Design, connections: Sequence[Send], seconds: float) -> Pace:
    """Let a writer on each connection create for so long.

    What is under way at the end counts for the times and not for the rate.
    """
    writers = len(connections)
    ready = threading.Barrier(writers + 1, timeout=_START)
    over = threading.Event()

    def write(writer: int) -> list[tuple[float, float]]:
        create = design(connections[writer])
        away = random.Random(writer)  # noqa: S311 - no secret
        names = (f"{design.__name__}-{writers}-{writer}-{number}" for number in itertools.count())
        for name in itertools.islice(names, 2):
            create(name)
        ready.wait()
        spans = []
        while not over.is_set():
            time.sleep(away.expovariate(1 / AWAY))
            began = time.perf_counter()
            create(next(names))
            spans.append((began, time.perf_counter()))
        return spans

    with no_collection(), ThreadPoolExecutor(writers) as pool:
        results = [pool.submit(write, writer) for writer in range(writers)]
        ready.wait()
        began = time.perf_counter()
        time.sleep(seconds)
        end = time.perf_counter()
        over.set()
        spans = [span for result in results for span in result.result()]
    times = [finish - start for start, finish in spans]
    *_, tail = statistics.quantiles(times, n=100, method="inclusive")
    return Pace(sum(finish <= end for _, finish in spans) / (end - began), statistics.median(times), tail)


def run(folder: Path) -> Section:
    """Measure the designs on the engine and on the modelled service, and draw the latter in a folder."""
    with engine.running() as connect:
        on_engine = _compare([connect() for _ in range(max(WRITERS))], seconds=1)
    service = Service(TYPICAL, {IDEMPOTENCY: (IDEMPOTENCY_KEY,)})
    on_model = _compare([service] * max(WRITERS), seconds=2)
    curves = [Curve(name, {writers: paces[name] for writers, paces in on_model.items()}) for name in DESIGNS]
    draw_by_writers(folder / PLOT, curves)
    return Section(
        NAME,
        "Creates in one book",
        _EXPLANATION,
        [
            Results("On the modelled service", _COLUMNS, list(_rows(on_model))),
            Results("On the embedded engine, where nothing conflicts", _COLUMNS, list(_rows(on_engine))),
        ],
        _musts(on_model[AT]),
        plot=PLOT,
    )


_COLUMNS = ("writers", "<design", "creates/s", "p50 ms", "p99 ms", "rate, ours ÷ its", "p99, ours ÷ its")

_EXPLANATION = f"""
The same order of one line, placed by threads that each pause {AWAY * 1000:.0f} ms (on average) after a response.

- *Order book*: a ticket, then one transaction. Orders exactly once, page numbers, exact total.
- *Counter*: an `ADD` inside the transaction counts the total; no positions. Conflicts are retried with full
  jitter, the longest pause doubling from {RETRY_FIRST * 1000:.0f} to {RETRY_LONGEST * 1000:.0f} ms, the best of several
  settings.
- *Powertools*: its idempotency around one put. No positions, no total, and a crash in between runs a key twice. It
  shows the cost of the promises, and is not an alternative.

The modelled service takes {TYPICAL.read * 1000:.0f} ms for a read, {TYPICAL.write * 1000:.0f} ms for a plain write or a
refusal and {TYPICAL.transaction * 1000:.0f} ms for a transaction, and refuses writes of an item that is in one, as
DynamoDB does. Its partition keys take any number of writes, so this shows that creates do not wait for each other.
[Creates under the limits](#creates-under-the-limits-of-partition-keys) has what one book takes of DynamoDB's.

The embedded engine is one process that carries out one call after the other, so nothing conflicts there, and the rates
are the engine's limit.
The plot shows the modelled service.
"""


def _compare(connections: Sequence[Send], seconds: float) -> Paces:
    return {
        writers: {name: measure(design, connections[:writers], seconds) for name, design in DESIGNS.items()}
        for writers in WRITERS
    }


def _rows(paces: Paces) -> Iterator[list[str]]:
    for writers, by_design in paces.items():
        ours = by_design[OURS]
        for name, pace in by_design.items():
            yield [
                f"{writers}" if pace is ours else "",
                name,
                f"{pace.rate:,.0f}",
                f"{pace.median * 1000:,.1f}",
                f"{pace.tail * 1000:,.1f}",
                *(["", ""] if pace is ours else [f"{ours.rate / pace.rate:.2f}", f"{ours.tail / pace.tail:.3f}"]),
            ]


def _musts(paces: dict[str, Pace]) -> list[Must]:
    rate = paces[OURS].rate / paces[COUNTER].rate
    tail = paces[COUNTER].tail / paces[OURS].tail
    return [
        Must(
            f"at {AT} writers at least {RATE_AT_LEAST:.0f} times the counter's rate",
            f"{rate:.1f} times",
            rate >= RATE_AT_LEAST,
        ),
        Must(
            f"at {AT} writers at most 1/{1 / TAIL_AT_MOST:.0f} of the counter's p99",
            f"1/{tail:.0f}",
            tail >= 1 / TAIL_AT_MOST,
        ),
    ]


def _table(send: Send) -> Table:
    return Table(send, ORDERS, patience=PATIENCE)


def _order_puts(name: str) -> list[Put]:
    return [Put({**item, "pk": f"ORDER#{name}"}, ABSENT) for item in (_ORDER, _LINE)]


class _Client:
    """The two calls of a boto3 client that Powertools makes for a new key, over a `Send`."""

    def __init__(self, send: Send) -> None:
        self.put_item = partial(_call, send, "PutItem")
        self.update_item = partial(_call, send, "UpdateItem")


def _call(send: Send, operation: str, **request: Any) -> dict[str, Any]:
    try:
        return send(operation, request)
    except ServiceFault as fault:
        body: Any = {"Error": {"Code": fault.code, "Message": ""}, **({"Item": fault.item} if fault.item else {})}
        raise ClientError(body, operation) from fault


class _Context:
    """What Powertools asks a function's context for."""

    def get_remaining_time_in_millis(self) -> int:
        return 10_000
