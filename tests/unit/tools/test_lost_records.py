"""The work of stream records that have expired is found in the orders table, and done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.clock import Deadline
from ordering.contexts import derivations, followers
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProducts, NewProduct
from ordering_tools.installation import NotDone
from ordering_tools.local.dead_letters import DeadLetters, FailedBatch
from ordering_tools.operations.lost_records import FOLLOWED, LATER_QUEUE, Recovery, Span
from ordering_tools.stacks import Stack
from support.aws.faults import Crash
from support.aws.simulated_aws import ORDERS, START, Do, Step, patterns, stream_terms
from support.ecards import card
from support.scenarios import Day

DAY = timedelta(days=1)


class Later:
    """SQS with the queue of deferred items, from which the simulated fulfilment takes them."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.keys: list[tuple[str, str]] = []
        self.full = False

    def send_message_batch(self, QueueUrl: str, Entries: list[Mapping[str, str]]) -> dict[str, Any]:  # noqa: N803 - the API's names
        assert QueueUrl == "https://sqs/1/ordering-LaterQueue"
        assert 1 <= len(Entries) <= 10
        assert len({one["Id"] for one in Entries}) == len(Entries)
        if self.full:
            return {"Failed": [{"Id": "0", "Code": "Throttled"}]}
        for one in Entries:
            self.keys.append(tuple(json.loads(one["MessageBody"])))
            self.day.world.sender(LATER_QUEUE)(one["MessageBody"], 0)
        return {}


def batch(first: datetime | None, last: datetime | None) -> FailedBatch:
    """The message about a batch, as Lambda writes it."""
    request = {"functionArn": "f", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6}
    records = {"streamArn": "s", "shardId": "1", "startSequenceNumber": "1", "endSequenceNumber": "1", "batchSize": 1}
    times = {"approximateArrivalOfFirstRecord": first, "approximateArrivalOfLastRecord": last}
    records |= {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in times.items() if at}
    found = FailedBatch.read(json.dumps({"requestContext": request, "DDBStreamBatchInfo": records}))
    assert found
    return found


def recovery(later: Later, *batches: FailedBatch) -> Recovery:
    letters = DeadLetters(
        Stack({}, {LATER_QUEUE: "https://sqs/1/ordering-LaterQueue"}),
        sqs=later,
        functions=None,
        invoker=None,
        streams=None,
        peek=lambda _: (),
    )
    spans = [span for one in batches if (span := Span.of(one))]
    return Recovery(letters, Table(later.day.world.tables, ORDERS), spans, lambda _: None)


def crashes(step: Step, do: Do) -> dict[str, Any]:
    """Let fulfilment crash at every call."""
    if step.function == "fulfilment/stream":
        raise Crash
    return do()


def test_a_day_without_its_records() -> None:
    """If the stream gave up all records of a day and has lost them, the scan has everything done, and done once."""
    day = Day()
    day.world.mishap = crashes
    day.begin()
    day.world.run()
    end, day.world.mishap = day.world.now, None
    assert day.world.given_up
    day.world.given_up.clear()
    lost = batch(START, end)

    for _ in range(2):
        later = Later(day)
        outcome = recovery(later, lost)(lost)
        assert outcome == f"its records have expired; the scan has put {len(later.keys)} items back to work"
        day.world.run()
        day.judge()
    assert day.dead == 0


@pytest.fixture(scope="module")
def finished() -> Day:
    """A day on which everything was done, with an order afterwards that fulfilment has not followed."""
    day = Day()
    day.begin()
    day.world.run()
    day.rewards.place(6, card(quantity=1))
    day.plain = day.school.place(2)
    return day


def queued(day: Day, *batches: FailedBatch) -> set[str]:
    """The partitions of what is queued for these dead letters."""
    later = Later(day.fork())
    recovery(later, *batches)(batches[0])
    return {partition for partition, _ in later.keys}


def test_what_was_changed_then(finished: Day) -> None:
    """Orders that were placed or reached a status at the time of the records are queued, with their books."""
    found = queued(finished, batch(START, START))

    assert {one.partition("#")[0] + "#" for one in found} >= {"ORDER#", "BOOK#", "BALANCE#", "STOCK#"}
    assert f"ORDER#training#{finished.mailed}" in found


def test_what_is_unfinished(finished: Day) -> None:
    """For later records, finished orders are left out; those with work left are queued, and what has no time."""
    later = finished.world.now + DAY
    found = queued(finished, batch(later, later))

    assert f"ORDER#training#{finished.plain}" in found
    assert {one for one in found if one.startswith("ORDER#training#")} == {f"ORDER#training#{finished.plain}"}
    assert {one.partition("#")[0] for one in found} <= {"ORDER", "BALANCE", "STOCK"}


def test_what_is_newer(finished: Day) -> None:
    """Items that were written after the records are left out, even if their work is not done."""
    found = queued(finished, batch(START - DAY, START - DAY))

    assert {one.partition("#")[0] for one in found} == {"BALANCE", "STOCK"}


def test_line_items_of_removed_orders() -> None:
    """The lines of a deal order whose removal was lost are deleted: its entry has no time of that."""
    day = Day()
    table, catalogue = (Table(day.world.tables, name) for name in (ORDERS, "CatalogueTable"))
    orders = DealOrders(table, "crm", now=lambda: START)
    order = orders.place(26, Decimal(0))
    product = DealProducts(catalogue, "crm").add(NewProduct(name="Licence"))
    orders.lines(order.id).add(NewLine(product, Decimal(10), "EUR", Decimal(0), 3))
    orders.remove(order.id)
    day.world._read = len(day.world.tables.records)
    lost = batch(START + DAY, START + DAY)
    recovery(Later(day), lost)(lost)
    day.world.run()

    assert orders.lines(order.id).all() == []


def test_one_scan_for_all(finished: Day) -> None:
    """Several dead letters cost one scan, which queues the work of all; one that came later is refused."""
    early, late = batch(START - DAY, START - DAY), batch(finished.world.now + DAY, finished.world.now + DAY)
    later = Later(finished.fork())
    both = recovery(later, early, late)
    both(early)
    count = len(later.keys)

    assert both(late).endswith(f"has put {count} items back to work")
    assert len(later.keys) == count
    assert f"ORDER#training#{finished.plain}" in {partition for partition, _ in later.keys}
    with pytest.raises(NotDone, match="it arrived after the scan began; run the command again"):
        both(batch(START, START))


def test_without_times(finished: Day) -> None:
    """A message that does not say when its records were written is refused."""
    with pytest.raises(NotDone, match="does not say when its records were written"):
        queued(finished, batch(None, START))


def test_a_queue_that_takes_nothing(finished: Day) -> None:
    """If the queue refuses, the dead letter is not replayed, and a second attempt scans again."""
    later = Later(finished.fork())
    lost = batch(START, START)
    recover = recovery(later, lost)
    later.full = True
    with pytest.raises(NotDone, match=r"LaterQueue did not take 1 items \(Throttled\); run the command again"):
        recover(lost)
    later.full = False

    assert "back to work" in recover(lost)
    assert later.keys


def test_tasks_are_derived_as_fulfilment_does() -> None:
    """The scan asks every follower of fulfilment which tasks follow."""
    connections = Day().world.services.connections

    assert {*derivations()} == {one.tasks_of for one in followers(connections, Deadline.after(1))}


def test_all_that_the_stream_delivers_is_read() -> None:
    """The scan reads the partitions whose records the template's filters pass to fulfilment."""
    filters = [json.loads(one["Pattern"]) for one in stream_terms()["FilterCriteria"]["Filters"]]
    prefixes = {one["prefix"] for pattern in filters for one in pattern["dynamodb"]["Keys"]["pk"]["S"]}

    assert len(patterns()) == len(filters)
    assert {one for one in prefixes if not one.startswith(tuple(prefixes - {one}))} == {*FOLLOWED}
