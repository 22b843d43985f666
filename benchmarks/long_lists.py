"""What pages of a long sorted list take of a function: processor time and memory.

`python -m benchmarks.long_lists` reads the list in a process of its own, with a function's connections: it signs,
sends, parses and sorts. The modelled service answers it over HTTP from the process of the benchmark. Entries are
computed when they are read, so that they take no memory.

Peaks of memory come from `/proc/self/status`, so this runs on Linux only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.engine import ROOT
from benchmarks.service import Service
from benchmarks.shop import ORDERS, PATIENCE
from benchmarks.timing import no_collection
from ordering.aws.dynamodb import Key
from ordering.book.sorted_lists import ListRequest, SortKey, TooManyToSort
from ordering.clock import Deadline
from ordering.deals.orders import DealOrders
from ordering.deals.services import DealServices
from ordering.entry.wiring import open_connections
from support.aws.memory import _Partition
from support.aws.served import served
from support.aws.sizes import item_bytes

ACCOUNT = "account"
BY_DISCOUNT = (SortKey("discount", descending=True), SortKey("created_at"))
PAGE = 25
"""Orders on a page: the contract's default."""

_MEGABYTE = 1024 * 1024
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "ORDERS_TABLE": ORDERS,
    "GRACE_SECONDS": "2",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one page took; `seconds` of the processor, `memory` in MB above what the process had before."""

    seconds: float
    memory: float
    calls: int
    reads: float
    writes: float
    refused: bool


class Computed(Service):
    """The model, with entries of a book that are computed when they are read."""

    def add(self, keys: Iterable[Key], entry: Callable[[int], dict[str, Any]]) -> None:
        """Add the entries with these keys, in the order of their positions; all are charged as the first one."""
        sorts: dict[str, list[str]] = {}
        for partition, sort in keys:
            sorts.setdefault(partition, []).append(sort)
        size = item_bytes(entry(1))
        for partition, own in sorts.items():
            items = cast("dict[str, dict[str, Any]]", _Computed(lambda sort: entry(int(sort))))
            self._partitions[ORDERS, partition] = _Partition(items, own)
            self._sizes[ORDERS, partition] = cast("dict[str, int]", _Computed(lambda _: size))


class _Computed:
    """As much of a dict as the model reads of a partition."""

    def __init__(self, compute: Callable[[str], Any]) -> None:
        self._compute = compute

    def __getitem__(self, sort: str) -> Any:
        return self._compute(sort)

    def get(self, sort: str, _: Any = None) -> Any:
        """Return what is computed for a sort key."""
        return self._compute(sort)


def measure(service: Service) -> tuple[Taken, Taken]:
    """Read the first page and the second one of the account's list, sorted, in a process of its own."""

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = service(operation, request)
        consumed = answer["ConsumedCapacity"]  # of a batch the service lists it by table
        return {**answer, "ConsumedCapacity": [consumed]} if operation.startswith("Batch") else answer

    with served(send) as endpoint, no_collection():
        environment = {**os.environ, **_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint.url}
        command = [sys.executable, "-m", "benchmarks.long_lists"]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this interpreter
    first, second = (Taken(**one) for one in json.loads(done.stdout))
    return first, second


def main() -> None:
    """Read the pages, and print what they took."""
    orders = DealServices(open_connections()).orders(ACCOUNT, Deadline.after(PATIENCE))
    orders.part(ListRequest(0, PAGE), "reader")  # what a process does once is not a page's
    print(json.dumps([asdict(_page(orders, number)) for number in (0, 1)]))


def _page(orders: DealOrders, number: int) -> Taken:
    orders.table.usage.take()
    memory, began, refused = _peak(), time.process_time(), False
    try:
        orders.part(ListRequest(number * PAGE, PAGE, BY_DISCOUNT), "reader")
    except TooManyToSort:
        refused = True
    seconds, usage = time.process_time() - began, orders.table.usage.take()
    return Taken(seconds, _peak() - memory, usage.calls, usage.reads, usage.writes, refused)


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if not kilobytes:
        raise RuntimeError("the kernel does not tell the peak of memory: run this on Linux")
    return int(kilobytes[1]) * 1024 / _MEGABYTE


if __name__ == "__main__":
    main()
