"""What the fulfilment function takes for an order, and how many orders a second it keeps up with.

The real consumer follows the stream of the modelled service. The costs are those of orders that wait in batches of a
hundred records, as they do at a high rate, without latencies and in one thread. E-card orders are handed over as soon
as they are ready, which is the mailing function's work and not counted.

The rate is that of one shard of the stream, which Lambda gives to ten invocations at once. They are threads here, and
one processor would be shared by what is ten functions. So all latencies are ten times as long, and the rate is ten
times what is measured. The processor's time, by the share of it that the function's memory has, is added.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from benchmarks.report import Must, Results, Section
from benchmarks.service import TYPICAL, Latencies, Service
from benchmarks.shop import ORDERS, PATIENCE, Shop
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Usage
from ordering.clock import Deadline
from ordering.entry.stream import stream_consumer
from ordering.fulfilment.stream import Record, StreamConsumer
from ordering.webhooks.services import WebhookServices
from support.aws.kms import MemoryKms
from support.aws.simulated_aws import Streamed, declared, patterns
from support.ecards import COMPANY, Rewards, order_id
from support.patterns import matches_any
from support.services import Services

NAME = "fulfilment"
ORDERS_COSTED = 1_000
ORDERS_TIMED = 1_500
LANES = 10
BATCH = 100
DILATION = 10
ANSWERED = 0.010
"""Seconds that EventBridge, SQS and KMS take."""

CALLS_AT_MOST = 5
RATE_AT_LEAST = 250
VCPU_MEGABYTES = 1_769
"""The memory with which a function has one processor."""

_SETTINGS = {
    "ORDERS_TABLE": ORDERS,
    "CATALOGUE_TABLE": "CatalogueTable",
    "ACCOUNTS_TABLE": "AccountsTable",
    "GRACE_SECONDS": "2",
    "ACCESS_KEYS_KEY": "alias/AccessKeysKey",
    "WEBHOOK_SECRETS_KEY": "alias/WebhookSecretsKey",
    "WEBHOOK_QUEUE": "WebhookQueue",
}
_SERVICES = ("DynamoDB", "EventBridge", "SQS", "KMS")


class StreamedService(Streamed, Service):
    """The modelled service, with a stream of the orders table."""


class Shard:
    """A shard of the stream, its consumers, and all that they call."""

    def __init__(self) -> None:
        self.tables = StreamedService()
        self.usage = Usage()
        self.calls: Counter[str] = Counter()
        self.answered = 0.0
        self.busy = 0.0
        """Seconds of a processor that the consumers took."""
        self._kms = MemoryKms()
        self._read = 0
        self._lock = threading.Lock()
        self._lanes: list[deque[Record]] = []
        self._working = 0

    def costs_nothing(self) -> None:
        """Forget all costs until now."""
        self.usage.take()
        self.calls.clear()
        self.busy = 0.0

    def skip(self) -> None:
        """Let the consumers not see what was written until now."""
        self._read = len(self.tables.records)

    def slow_down(self, by: int) -> None:
        """Let services take their time, so many times over."""
        self.tables.latencies = Latencies(TYPICAL.read * by, TYPICAL.write * by, TYPICAL.transaction * by)
        self.answered = ANSWERED * by

    def follow(self, lanes: int = 1) -> float:
        """Let so many consumers work until nothing is left; returns the seconds."""
        self._lanes = [deque() for _ in range(lanes)]
        began = time.perf_counter()
        with ThreadPoolExecutor(lanes) as pool:
            for done in [pool.submit(self._work, lane) for lane in range(lanes)]:
                done.result()
        return time.perf_counter() - began

    def _work(self, lane: int) -> None:
        while (batch := self._take(lane)) is not None:
            if batch:
                began = time.thread_time()
                failed = self._consumer().follow(batch)
                with self._lock:
                    self.busy += time.thread_time() - began
                    self._working -= 1
                if failed:
                    raise RuntimeError(f"records failed: {failed}")
            else:
                time.sleep(0.001)

    def _take(self, lane: int) -> list[Record] | None:
        """Take a lane's next records; None if nothing is left anywhere."""
        with self._lock:
            records = self.tables.records
            for record in records[self._read :]:
                if matches_any(patterns(), record):
                    partition = record["dynamodb"]["Keys"]["pk"]["S"]
                    self._lanes[crc32(partition.encode()) % len(self._lanes)].append(record)
            self._read = len(records)
            own = self._lanes[lane]
            batch = [own.popleft() for _ in range(min(len(own), BATCH))]
            if not batch and not self._working and not any(self._lanes):
                return None
            self._working += bool(batch)
            return batch

    def _consumer(self) -> StreamConsumer:
        connections = Connections(
            _SETTINGS, self._send, self._counted("KMS", self._kms), lambda _: self.enqueue, usage=self.usage
        )
        bus = self._counted("EventBridge", _accept)
        return stream_consumer(
            connections, Deadline.after(PATIENCE), self.enqueue, self.enqueue, bus, "bus", self.enqueue
        )

    def _send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        began = time.thread_time()
        try:
            return self.tables(operation, request)
        finally:
            with self._lock:
                self.calls["DynamoDB"] += 1
                self.busy -= time.thread_time() - began

    def _counted(
        self, service: str, call: Callable[[str, dict[str, Any]], dict[str, Any]]
    ) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
        def counted(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            with self._lock:
                self.calls[service] += 1
            time.sleep(self.answered)
            return call(operation, request)

        return counted

    def enqueue(self, body: str, delay_seconds: int) -> None:
        """Count a message, and drop it."""
        self._counted("SQS", lambda *_: {})("SendMessage", {"MessageBody": body, "DelaySeconds": delay_seconds})


def _accept(_: str, request: dict[str, Any]) -> dict[str, Any]:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}


def place_training(shard: Shard, count: int, *, webhook: bool = False) -> None:
    """Place training orders of one seat, in one business unit."""
    shop = Shop(shard.tables)
    shop.open()
    if webhook:
        connections = Connections(_SETTINGS, shard.tables, MemoryKms(), lambda _: shard.enqueue)
        WebhookServices(connections).registrations(Deadline.after(PATIENCE)).register(
            "northwind", "https://example.com/"
        )
    for number in range(count):
        shop.place(f"{number}")


@dataclass(frozen=True, slots=True)
class OrderCosts:
    """What an order takes: calls by service, units, and milliseconds of a processor."""

    calls: dict[str, float]
    reads: float
    writes: float
    milliseconds: float

    @property
    def total(self) -> float:
        """The number of all calls."""
        return sum(self.calls.values())


def costs(shard: Shard, count: int) -> OrderCosts:
    """Return what each of so many orders took since the last time."""
    return OrderCosts(
        {service: shard.calls[service] / count for service in _SERVICES},
        shard.usage.reads / count,
        shard.usage.writes / count,
        shard.busy / count * 1_000,
    )


def cost_of_training(*, webhook: bool) -> OrderCosts:
    """Measure a training order."""
    shard = Shard()
    place_training(shard, ORDERS_COSTED, webhook=webhook)
    shard.costs_nothing()
    shard.follow()
    return costs(shard, ORDERS_COSTED)


def cost_of_ecards() -> OrderCosts:
    """Measure an e-card order: it is paid, gets its certificate, and is handed over."""
    shard = Shard()
    services = Services(
        shard.tables, ORDERS, "CatalogueTable", "AccountsTable", kms=MemoryKms(), certificates_key="alias/Certificates"
    )
    rewards = Rewards(services, COMPANY)
    rewards.publish()
    rewards.top_up(100 * ORDERS_COSTED)
    rewards.load(ORDERS_COSTED)
    shard.skip()
    for number in range(1, ORDERS_COSTED + 1):
        rewards.place(number)
    shard.costs_nothing()
    shard.follow()
    for number in range(1, ORDERS_COSTED + 1):
        rewards.orders.hand_over(rewards.orders.order(order_id(number)), 1)
    shard.follow()
    return costs(shard, ORDERS_COSTED)


def rate(milliseconds: float) -> float:
    """Measure how many training orders a second a shard's invocations keep up with.

    Args:
        milliseconds: The processor's time that an order takes.
    """
    shard = Shard()
    place_training(shard, ORDERS_TIMED)
    shard.slow_down(DILATION)
    waits = shard.follow(LANES) / DILATION * LANES / ORDERS_TIMED
    memory: int = declared().document["Globals"]["Function"]["MemorySize"]
    return LANES / (waits + milliseconds / 1_000 * VCPU_MEGABYTES / memory)


def run() -> Section:
    """Measure it."""
    measured = {
        "training, one key": cost_of_training(webhook=False),
        "training, one key, with a webhook": cost_of_training(webhook=True),
        "e-card, one certificate": cost_of_ecards(),
    }
    plain = measured["training, one key"]
    reached = rate(plain.milliseconds)
    rows = [
        [
            name,
            f"{one.total:.1f}",
            *(f"{one.calls[service]:.2f}" for service in _SERVICES),
            f"{one.reads:.1f}",
            f"{one.writes:.1f}",
            f"{one.milliseconds:.1f}",
        ]
        for name, one in measured.items()
    ]
    musts = [
        Must(
            f"a training order takes at most {CALLS_AT_MOST} calls", f"{plain.total:.1f}", plain.total <= CALLS_AT_MOST
        ),
        Must(
            f"a shard keeps up with at least {RATE_AT_LEAST} training orders a second",
            f"{reached:,.0f}",
            reached >= RATE_AT_LEAST,
        ),
    ]
    tables = [Results("One order", ("<order", "calls", *_SERVICES, "read units", "write units", "CPU ms"), rows)]
    return Section(NAME, "Fulfilment of an order", _EXPLANATION, tables, musts)


_EXPLANATION = f"""
What the fulfilment function takes for an order, from its creation to its last event. Orders of one business unit, or of
one company, wait in batches of {BATCH} records. The function reads the orders of a batch at once, issues keys and
completes an order in one transaction, and puts ten events on the bus with a request. The write units are the function's
own: those of the create come on top.

The rate is that of one shard of the stream, with {LANES} invocations at once (`ParallelizationFactor`), on the modelled
service. EventBridge, SQS and KMS take {ANSWERED * 1_000:.0f} ms. The processor's time is added, by the function's share
of a processor. A shard has the orders of many books, and those of one book come to several invocations. Orders of more
than 1,000 seats are issued apart, five at a time.
"""
