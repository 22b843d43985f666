"""Everything behind the API at once, with one kind of fault: crashes, outages, slow or invalid responses.

Each case runs the same day: training orders, one of them with its keys by mail; e-card orders, of which one waits for
money, one for stock and one for nothing any more, since it is cancelled; money, stock and cancellation come in as
events; both partners have a webhook. Afterwards it is judged by what people outside saw: orders are where they belong,
each with every key or certificate, each mail arrived, and each event of each order did, in its order.

Each case has a row of the table in docs/faults.md, which is printed at the end of the run.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest

from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.dynamodb import Put, Table, Update
from ordering.book.unfinished import UNMARK, Marked, is_marked
from ordering.clock import Deadline
from ordering.deals import orders as deal_orders
from ordering.deals.orders import NewLine
from ordering.deals.products import DealProduct
from ordering.ecards import records as ecard_records
from ordering.errors import OrderingError, Unavailable
from ordering.events.history import OrderHistory
from ordering.events.publisher import Publisher
from ordering.fulfilment import sweeper
from ordering.training import orders as training_orders
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
from ordering.webhooks.transport import NotPosted
from support.aws import faults
from support.aws.simulated_aws import START, Do, Mishap, SimulatedAws, Step, killed
from support.gateway import ROOT
from support.plans import Plan
from support.scenarios import Day
from support.training import School

HOUR = timedelta(hours=1)


# Faults.

Fits = Callable[[Step], bool]


def to(service: str, operation: str = "") -> Fits:
    return lambda step: step.service == service and operation in step.operation


def anything(_: Step) -> bool:
    return True


def nothing(_: Step) -> bool:
    return False


def raising(error: Exception) -> Mishap:
    def mishap(_: Step, __: Do) -> dict[str, Any]:
        raise error

    return mishap


def unheard(error: Exception) -> Mishap:
    """The call takes effect, and its response is lost."""

    def mishap(_: Step, do: Do) -> dict[str, Any]:
        do()
        raise error

    return mishap


def answering(*answers: dict[str, Any]) -> Mishap:
    """The call does not take effect, and its responses are invalid."""
    following = itertools.cycle(answers)
    return lambda _, __: next(following)


def over_dynamodb(fault: faults.Fault) -> Mishap:
    return lambda step, do: fault(lambda *_: do(), step.operation, dict(step.request))


def one_in(share: int, *mishaps: Mishap) -> Mishap:
    """Give one random step in so many one of some faults."""
    draw = random.Random(share)

    def mishap(step: Step, do: Do) -> dict[str, Any]:
        return draw.choice(mishaps)(step, do) if draw.randrange(share) == 0 else do()

    return mishap


def crashes_before(_: Step, __: Do) -> dict[str, Any]:
    raise faults.Crash


def crashes_after(_: Step, do: Do) -> dict[str, Any]:
    do()
    raise faults.Crash


@dataclass(frozen=True)
class Case:
    """A kind of fault: the steps that it affects, for how long, and the duplicates that it may cause."""

    name: str
    fits: Fits
    mishap: Mishap
    lasting: timedelta = HOUR
    twice: frozenset[str] = frozenset()
    """Kinds of possible duplicates: mails, events on the bus, messages to webhooks."""
    world: Mapping[str, Any] = field(default_factory=dict)
    replayed: bool = False
    """Whether it lasts so long that there are dead letters, which an operator has to replay."""
    seconds: float = 0
    """How much longer each of these steps takes."""

    def meet(self, world: SimulatedAws) -> list[Step]:
        """Apply the fault; returns a list that gets the affected steps."""
        met: list[Step] = []
        plan = Plan(self.name) if self.fits is not nothing else None

        def mishap(step: Step, do: Do) -> dict[str, Any]:
            if step.at >= START + self.lasting or not self.fits(step):
                return do()
            met.append(step)
            if plan:
                plan.close()
            world.wait(self.seconds)
            return self.mishap(step, do)

        world.mishap = mishap
        return met


def none(_: Step, do: Do) -> dict[str, Any]:
    """Let it be done."""
    return do()


MAILS, EVENTS, MESSAGES = "mails", "events", "messages"
NO_RESPONSE = Unavailable("no response")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Log nothing: faults cause many log records."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


CASES = [
    Case("nothing", nothing, none),
    Case("every batch and every message is delivered twice", nothing, none, world={"twice": True}),
    Case("one record at a time", nothing, none, world={"batch": 1}),
    Case("EventBridge is down", to("events"), raising(NO_RESPONSE)),
    Case("EventBridge is slow", to("events"), none, seconds=1.9),
    Case(
        "EventBridge accepts entries, and its responses are lost",
        to("events"),
        unheard(NO_RESPONSE),
        twice=frozenset({EVENTS}),
    ),
    Case("EventBridge refuses every other entry", nothing, none, world={"picky": True}),
    Case("EventBridge answers nonsense", to("events"), answering({}, {"Entries": [{}]}, {"FailedEntryCount": "x"})),
    Case("EventBridge may not be called", to("events"), raising(CallRefused("PutEvents", "AccessDeniedException"))),
    Case("SES is down", to("ses"), raising(NotExecuted())),
    Case("SES is slow", to("ses"), none, seconds=9),
    Case("SES throttles", to("ses"), raising(CallRefused("SendEmail", "TooManyRequestsException"))),
    Case("SES is not set up", to("ses"), raising(CallRefused("SendEmail", "NotFoundException"))),
    Case("SES accepts mails, and its responses are lost", to("ses"), unheard(NO_RESPONSE)),
    Case(
        "SES accepts mails, and its responses and events are lost",
        to("ses"),
        unheard(NO_RESPONSE),
        timedelta(minutes=10),
        frozenset({MAILS}),
        {"feedback": False},
    ),
    Case("SES answers nonsense", to("ses"), answering({}, {"MessageId": ""}, {"MessageId": 5})),
    Case("receivers are down", to("webhook"), raising(NotPosted("the connection failed")), 6 * HOUR),
    Case("receivers are slow", to("webhook"), raising(NotPosted("it took too long")), 6 * HOUR, seconds=5),
    Case("receivers answer nonsense", to("webhook"), answering(*({"status": n} for n in (500, 301, 404, 0))), 6 * HOUR),
    Case(
        "receivers accept messages, and their responses are lost",
        to("webhook"),
        unheard(NotPosted("it took too long")),
        twice=frozenset({MESSAGES}),
    ),
    Case("KMS is down", to("kms"), raising(NO_RESPONSE)),
    Case("the queue of mails cannot be written to", to("sqs", "MailQueue"), raising(NO_RESPONSE)),
    Case(
        "the queue of webhooks cannot be written to",
        to("sqs", "WebhookQueue"),
        raising(NO_RESPONSE),
        twice=frozenset({EVENTS}),
    ),
    Case(
        "queues accept messages, and their responses are lost",
        to("sqs"),
        unheard(NO_RESPONSE),
        twice=frozenset({EVENTS, MESSAGES}),
        replayed=True,
    ),
    Case(
        "no queue can be written to, and EventBridge is down",
        lambda step: step.service in {"sqs", "events"},
        raising(NO_RESPONSE),
        replayed=True,
    ),
    Case("DynamoDB is down", to("dynamodb"), over_dynamodb(faults.cut), HOUR),
    Case("DynamoDB is throttled", to("dynamodb"), over_dynamodb(faults.throttled), timedelta(minutes=30)),
    Case(
        "one call to DynamoDB in five fails, in every way",
        to("dynamodb"),
        one_in(
            5, *map(over_dynamodb, (faults.cut, faults.failed, faults.throttled, faults.answer_lost, faults.conflict))
        ),
    ),
    Case(
        "one call in ten fails, whatever the service",
        anything,
        one_in(10, raising(NO_RESPONSE)),
        twice=frozenset({EVENTS, MESSAGES}),
    ),
    Case(
        "one call in twenty crashes its function",
        anything,
        one_in(20, crashes_before, crashes_after),
        twice=frozenset({MAILS, EVENTS, MESSAGES}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_days(case: Case, report: Callable[[str], None]) -> None:
    """After a fault, all work is complete, and there are only the duplicates that the fault explains."""
    day = Day(**case.world)
    day.begin()
    met = case.meet(day.world)
    day.world.run()
    dead = day.dead
    if case.replayed:
        day.world.wait(case.lasting.total_seconds())
        day.world.replay()
    day.judge()
    doubles = dict(zip((MAILS, EVENTS, MESSAGES), day.doubles, strict=True))

    assert (dead > 0, day.dead) == (case.replayed, 0)
    assert {name for name, count in doubles.items() if count} <= case.twice
    report(row(case.name, len(met), day, doubles, dead))


def row(name: str, met: int, day: Day, doubles: Mapping[str, int], dead: int = 0) -> str:
    world = day.world
    took = max(step.at for step in world.steps) - START
    counts = " / ".join(str(doubles[kind]) for kind in (MAILS, EVENTS, MESSAGES))
    return f"| {name} | {met:,} of {len(world.steps):,} | {int(took.total_seconds()) // 60} min | {counts} | {dead} |"


READS = frozenset({"GetItem", "BatchGetItem", "Query", "Decrypt", "GenerateDataKey"})


def crashes(day: Day) -> Iterator[tuple[Day, list[tuple[int, bool]]]]:
    """Run the day, and yield copies of it as they are when a function crashes, before or after each of its steps.

    A crashed function leaves what it brought about and nothing else. So the steps between which the world stays the
    same share a copy: each has the numbers of its steps, and whether the crash is after them.
    """
    copies: list[tuple[Day, list[tuple[int, bool]]]] = []

    def at(number: int, *, after: bool) -> None:
        if not copies or not day.world.same(copies[-1][0].world):
            copies.append((day.fork(), []))
        copies[-1][1].append((number, after))

    def mishap(step: Step, do: Do) -> dict[str, Any]:
        at(step.number, after=False)
        answer = do()
        # A crash after a read equals one before the next call.
        if step.operation not in READS:
            at(step.number, after=True)
        return answer

    day.world.mishap = mishap
    day.world.run()
    for crashed, points in copies:
        crashed.world.crash()
        yield crashed, points


def trace(world: SimulatedAws) -> list[tuple[object, ...]]:
    """All that functions called, and when."""
    return [(step.at, step.function, step.service, step.operation) for step in world.steps]


def test_killed_anywhere(report: Callable[[str], None]) -> None:
    """After a crash of a function before or after a call, no work is lost or incomplete, and no mail is sent twice."""
    planned = Day()
    planned.begin()
    doubles, crash_points = Counter[str](), list[tuple[int, bool]]()
    for number, (day, points) in enumerate(crashes(planned)):
        day.world.run()
        day.judge()
        crash_points += points
        for kind, count in zip((MAILS, EVENTS, MESSAGES), day.doubles, strict=True):
            doubles[kind] += count * len(points)
        assert (day.dead, day.doubles[0], day.world.crashes) == (0, 0, 1), f"killed at (step, after) {points}"
        if number % 40 == 0:
            # A copy goes on as the day does in which the function meets the crash.
            (first, _), (last, after) = points[0], points[-1]
            met = Day()
            met.begin()
            met.world.mishap = killed(last, after=after)
            met.world.run()
            assert trace(met.world)[last:] == trace(day.world)[first:]

    expected = [(step.number, False) for step in planned.world.steps]
    expected += [(step.number, True) for step in planned.world.steps if step.operation not in READS]
    assert sorted(crash_points) == sorted(expected)
    name = f"a function crashes once, before or after any one call: {len(crash_points)} crashes, duplicates of all"
    report(row(name, 1, day, doubles))


# Work that is given up.


def broken_for_two_hours(step: Step, do: Do) -> dict[str, Any]:
    """Crash the fulfilment function at its first call, also when it looks for unfinished work."""
    if step.function == "fulfilment/stream" and step.at < START + 2 * HOUR:
        raise faults.Crash
    return do()


def outage() -> Day:
    """A day with sixty more orders, of which the stream gives up many records, until no work is left."""
    day = Day()
    day.begin()
    day.more = [day.school.place(1) for _ in range(60)]
    day.world.mishap = broken_for_two_hours
    day.world.run()
    return day


def restored() -> Day:
    """A day whose tables were restored from their backup, with an empty stream and empty queues."""
    day = Day()
    day.begin()
    day.world.lose_work()
    day.send_events()
    day.world.run()
    return day


def without_mails() -> Day:
    """A day on which the mails' queue takes no message for two hours, and the messages of deferred items are lost."""
    day = Day()
    day.begin()

    def mishap(step: Step, do: Do) -> dict[str, Any]:
        if step.at < START + 2 * HOUR and "MailQueue" in step.operation:
            raise NO_RESPONSE
        if "LaterQueue" in step.operation and ("body" in step.request or step.at < START + HOUR / 2):
            return {}  # the message is taken, and lost
        return do()

    day.world.mishap = mishap
    day.world.run()
    return day


def removed() -> Day:
    """A day on which a deal order with a line item is removed, and the record of it is given up."""
    day = Day()
    day.begin()
    day.world.run()
    orders = day.world.services.deal_orders("crm", Deadline.after(60))
    order = orders.place(1, Decimal(0))
    product = DealProduct(id=1, name="Licence", created=START, updated=START)
    orders.lines(order.id).add(NewLine(product, Decimal(1), "EUR", Decimal(0), 1))
    day.world.run()
    orders.remove(order.id)
    day.world.lose_work()
    day.world.run()

    assert orders.lines(order.id).all() == []
    return day


LOSSES = {"outage": outage, "restored": restored, "without mails": without_mails, "removed": removed}


def judge_without_a_command(day: Day) -> None:
    """Check that a day is complete, that no work is marked any more, and that all orders placed later are completed."""
    day.judge()
    table = Table(day.world.tables, "OrdersTable")
    for order in day.more:
        assert day.school.orders().order(order).status is TrainingStatus.COMPLETED
        assert len(day.school.keys(order)) == 1

    assert [item["pk"] for item in table.scan("ORDER#", "BOOK#", "MAILHISTORY#") if is_marked(item)] == []


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_given_up_is_lost(loss: str, report: Callable[[str], None]) -> None:
    """Work whose records and messages were given up or lost is completed without a command."""
    day = LOSSES[loss]()
    judge_without_a_command(day)
    last = max(step.at for step in day.world.steps) - START

    assert bool(day.world.given_up) == (loss == "outage")
    report(f"{loss}: {len(day.world.given_up)} records given up, done after {last // timedelta(minutes=1)} min")


def finishes_with_mail_failed(self: Publisher, story: OrderHistory, first: int) -> None:
    END(replace(self, mailed={story.order}), story, first)


def marks_nothing(*_: Any, **__: Any) -> dict[str, Any]:
    return {}


def removes_the_mark(one: Marked, _: Any) -> Update:
    return Update(one.key, UNMARK)


END = Publisher._end
FAULTY: dict[str, tuple[str, Any, str, Any]] = {
    "a sweeper removes the mark": ("without mails", sweeper, "postpone", removes_the_mark),
    "a publisher finishes with mail failed": ("without mails", Publisher, "_end", finishes_with_mail_failed),
    "orders are not marked": ("restored", training_orders, "mark", marks_nothing),
    "e-card orders are not marked": ("restored", ecard_records, "mark", marks_nothing),
    "removals are not marked": ("removed", deal_orders, "mark", marks_nothing),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_faults_of_the_sweeper_are_found(fault: str) -> None:
    """Each of these faults in the code leaves work that the days above find incomplete."""
    loss, owner, name, planted = FAULTY[fault]
    with mock.patch.object(owner, name, planted), pytest.raises((AssertionError, OrderingError)):
        judge_without_a_command(LOSSES[loss]())


def test_the_page_has_every_day() -> None:
    """Each of these days has its row in docs/faults.md."""
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")

    assert [case.name for case in CASES if f"| {case.name} |" not in page] == []


def test_unreadable_items(report: Callable[[str], None]) -> None:
    """Unreadable records delay no other, become dead letters, and can be replayed once they are readable."""
    day = Day()
    table = Table(day.world.tables, "OrdersTable")
    unreadable = [{"pk": f"ORDER#training#{number}", "sk": "ORDER", "order": "nonsense"} for number in (7_001, 7_002)]
    table.put(Put(unreadable[0]))
    day.begin()
    table.put(Put(unreadable[1]))
    day.world.run()
    last_published = max(step.at for step in day.world.steps if step.service in {"events", "ses", "webhook"})
    dead = {name: len(messages) for name, messages in day.world.dead.items() if messages}
    day.judge()
    table.delete_all([(str(item["pk"]), str(item["sk"])) for item in unreadable])
    day.world.replay()

    assert last_published - START < timedelta(seconds=1)
    assert (dead, day.dead) == ({"LaterQueue": 2}, 0)
    report(row("two records cannot be read", 2, day, dict.fromkeys((MAILS, EVENTS, MESSAGES), 0), 2))


def test_ten_thousand_records_at_once(report: Callable[[str], None]) -> None:
    """Orders placed while no consumer followed the table are all completed, once each, without dead letters."""
    world = SimulatedAws()
    school = School(world.tables, world.kms, now=lambda: world.now)
    orders = [school.place(1) for _ in range(5_000)]
    waiting = world.waiting
    began = time.monotonic()
    world.run()
    took = time.monotonic() - began
    keys = [key for order in orders for *_, key in school.keys(order)]
    events = Counter(json.loads(entry["Detail"])["id"] for entry in world.bus)

    assert waiting == 10_000
    assert {school.orders().order(order).status for order in orders} == {TrainingStatus.COMPLETED}
    assert (len(keys), len({*keys})) == (5_000, 5_000)
    assert (len(events), {*events.values()}) == (10_000, {1})
    assert (world.given_up, world.queues, world.dead) == ([], {}, {})
    report(
        f"10,000 records at once: {world.invocations} invocations, {len(world.steps) / 10_000:.1f} calls a record, "
        f"{took:.0f} s"
    )
