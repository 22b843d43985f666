"""The benchmarks' model of DynamoDB, and a run of a benchmark."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fulfilment
from benchmarks.artefacts.processes import Candidate
from benchmarks.artefacts.startup import Start, ratio
from benchmarks.artefacts.tables import Signature, signature_of
from benchmarks.service import Latencies, Limits, Service
from benchmarks.shop import ORDERS, Shop
from ordering.aws.dynamodb import Put, Send, ServiceFault, Table, Update
from ordering.errors import Unavailable
from support.services import Services

ROOT = Path(__file__).resolve().parents[3]


def put(name: str) -> dict[str, Any]:
    return {"TableName": ORDERS, "Item": {"pk": {"S": name}, "sk": {"S": "-"}}}


def use(send: Send) -> list[object]:
    """Run every operation of a shop, and return the results."""
    shop = Shop(send)
    shop.open()
    placed = [shop.place(f"{number}", lines=1 + number).resource_id for number in range(5)]
    again = shop.place("2", lines=3)
    before = shop.page(1, 3)
    settled = shop.orders.settle()
    lines = shop.orders.lines(placed[4], 0, 200)
    after = shop.page(2, 2)
    return [
        placed,
        again.replayed,
        settled,
        lines,
        *(([order.id for order in page.items], page.total) for page in (before, after)),
    ]


def test_model_behaves_like_dynamodb(services: Services) -> None:
    """Orders are placed, replayed, settled and listed on the benchmarks' model as on moto."""
    assert use(services.send) == use(Service())


def test_model_limits_a_partition_key() -> None:
    """A partition key takes no more units than it has kept, a transaction's item counts double, other keys go on."""
    service = Service(limits=Limits(reads=2, writes=3, kept=1))
    table = Table(service, ORDERS, patience=0)
    for number in (1, 2):
        table.transact([Put({"pk": "a", "sk": f"{number}"})])
    table.put(Put({"pk": "b", "sk": "1"}))
    more = Put({"pk": "a", "sk": "3"})
    with pytest.raises(Unavailable, match="PutItem: ThrottlingException"):
        table.put(more)
    with pytest.raises(Unavailable, match="TransactWriteItems: TransactionCanceledException"):
        table.transact([more])

    assert table.get(("a", "3")) is None


def test_model_reads_several_partitions_at_once() -> None:
    """Queries that go out together take the time of one, and are charged each."""
    service = Service(Latencies(read=0.05, write=0, transaction=0))
    table = Table(service, ORDERS)
    table.put_all({"pk": f"p{number}", "sk": "1"} for number in range(8))
    began = time.perf_counter()
    found = table.query_all([(f"p{number}", "0", "9") for number in range(8)])

    assert [len(items) for items in found] == [1] * 8
    assert time.perf_counter() - began < 8 * 0.05
    assert table.usage.take().reads == 8


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("PutItem", put("a"), "TransactionConflictException"),
        ("TransactWriteItems", {"TransactItems": [{"Put": put("a")}]}, "TransactionCanceledException"),
    ],
)
def test_model_refuses_conflicting_writes(operation: str, request_: dict[str, Any], code: str) -> None:
    """While a transaction on an item is in flight, the model refuses other writes and transactions on it."""
    service = Service(Latencies(read=0, write=0, transaction=0.2))
    thread = threading.Thread(target=service, args=("TransactWriteItems", {"TransactItems": [{"Put": put("a")}]}))
    thread.start()
    while not service.busy:
        pass
    with pytest.raises(ServiceFault) as refused:
        service(operation, request_)
    service("PutItem", put("b"))
    thread.join()

    assert refused.value.code == code


def test_model_pages_queries() -> None:
    """A query of the model ends at 1 MB, and its cost is that of the items that it read."""
    table = Table(Service(), ORDERS)
    table.put_all({"pk": "a", "sk": f"{number:02}", "text": "x" * 300_000} for number in range(10))
    table.usage.take()
    found = [item["sk"] for item in table.query("a", "02", "08")]
    usage = table.usage.take()

    assert [f"{number:02}" for number in range(2, 9)] == found
    assert (usage.calls, usage.reads) == (3, 220 + 220 + 74)


def test_model_charges_writes() -> None:
    """The model charges a write by the larger of the old and the new item, and a transaction twice that."""
    table = Table(Service(), ORDERS)
    table.put(Put({"pk": "a", "sk": "-", "text": "x" * 3_000}))
    table.put(Put({"pk": "a", "sk": "-"}))
    table.update(Update(("a", "-"), "ADD n :one", values={":one": 1}))
    table.transact([Update(("a", "-"), "ADD n :one", values={":one": 1}), Put({"pk": "b", "sk": "-"})])
    written = table.usage.take().writes

    assert written == 3 + 3 + 1 + 4


def test_model_charges_the_index() -> None:
    """An item that comes into an index, changes in it or leaves it costs a unit for each, and else nothing."""
    table = Table(Service(), ORDERS)
    for item, units in (({"search": "a"}, 2), ({"search": "a", "n": 1}, 1), ({"search": "b"}, 3), ({}, 2)):
        table.put(Put({"pk": "a", "sk": "-", **item}))
        assert table.usage.take().writes == units
    table.transact([Put({"pk": "b", "sk": "-", "search": "a"})])
    assert table.usage.take().writes == 3
    for item, units in (
        ({"unfinished": "00", "due": "1"}, 2),
        ({"unfinished": "00", "due": "2"}, 3),
        ({"due": "2"}, 2),
    ):
        table.put(Put({"pk": "c", "sk": "-", **item}))
        assert table.usage.take().writes == units


def test_fulfilment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training order in a full batch takes at most the promised calls, all of its work included."""
    monkeypatch.setattr(fulfilment, "ORDERS_COSTED", 50)
    cost = fulfilment.cost_of_training(webhook=True)

    assert cost.calls["SQS"] == 1
    assert cost.total - cost.calls["SQS"] < fulfilment.CALLS_AT_MOST


def test_ratios_of_starts() -> None:
    """Ratios of starts leave out what the runtime client takes by itself."""

    def start(milliseconds: float) -> Start:
        return Start("", Candidate("", Path(), [], {}, Path()), cpu=[milliseconds])

    assert ratio(lambda one: one.cpu[0], start(50), start(110), start(10)) == 0.4


def test_calls_that_have_the_same_answer() -> None:
    """Recorded answers are found by partition and range, whatever a caller names its values, and by no time."""

    def query(partition: str, *, prefix: str) -> Signature:
        values = {f":{prefix}{index}": {"S": text} for index, text in enumerate((partition, "1", "9"))}
        return signature_of("Query", {"TableName": "T", "ExpressionAttributeValues": values})

    def update(partition: str, second: str) -> Signature:
        key = {"pk": {"S": partition}, "sk": {"S": second}}
        return signature_of("UpdateItem", {"TableName": "T", "Key": key})

    assert query("a", prefix="n") == query("a", prefix="v") != query("b", prefix="v")
    assert update("a", "1") == update("a", "2") != update("b", "1")


def test_trips(tmp_path: Path) -> None:
    """The benchmark of round trips runs, confirms the documented numbers, and writes its page."""
    command = [sys.executable, "-m", "benchmarks", "trips", "--to", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "## Round trips" in (tmp_path / "benchmarks.md").read_text()


REQUESTS: Mapping[str, tuple[Callable[[Shop], object], int, float]] = {
    "list of 10": (lambda shop: shop.page(1), 2, 4.0),
    "single order": (lambda shop: shop.orders.order(1), 1, 1.0),
    "lines of an order": (lambda shop: shop.orders.lines(1, 0, 10), 2, 2.0),
    "create": (lambda shop: shop.place("new"), 2, 12.0),
}
"""Requests of a warm process, with the calls of DynamoDB and the capacity units that each takes."""


@pytest.mark.parametrize("name", REQUESTS)
def test_calls_and_units_of_requests(name: str) -> None:
    """A warm request takes so many calls of DynamoDB, one after the other, and so many units."""
    request, calls, units = REQUESTS[name]
    shop = Shop(Service(), ids=range(30, 0, -1), seconds=float)
    shop.open()
    for number in range(12):
        shop.place(f"order {number}")
    shop.orders.settle()
    shop.calls.take()

    request(shop)

    cost = shop.calls.take()
    assert (cost.calls, cost.units) == (calls, units)
