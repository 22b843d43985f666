"""The consumer of the orders table's stream: the tasks a change makes, how they run, and how they are retried."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import Item, Key, Put, Table, plain_item
from ordering.aws.sealer import EnvelopeSealer
from ordering.aws.sqs import Enqueue, no_queue
from ordering.book.changes import MAIL, PUBLISH, SETTLE, Change, Do, Follower, Subject, Task, each
from ordering.book.orderbook import Draft
from ordering.book.unfinished import PUBLISHED, mark
from ordering.clock import Deadline
from ordering.contexts import derivations
from ordering.deals import follow as deals
from ordering.deals.follow import SWEEP
from ordering.deals.orders import DealOrders, NewLine
from ordering.deals.products import DealProduct
from ordering.ecards import follow as ecards
from ordering.ecards.follow import ADVANCE, PAY, PAY_ORDER, STOCK
from ordering.ecards.statuses import EcardStatus
from ordering.entry.stream import stream_consumer
from ordering.errors import Unavailable
from ordering.fulfilment.stream import StreamConsumer, tasks_that_follow
from ordering.mail import history as mails
from ordering.sealing import Sealer
from ordering.training import follow as training
from ordering.training.batch import OrdersOfBatch
from ordering.training.follow import ISSUE
from ordering.training.orders import TrainingOrders, read_whole_orders
from ordering.training.statuses import TrainingStatus
from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.partners import UK
from support.services import Services
from support.training import School, Steps

TABLE = "OrdersTable"
VOID: Item = {"void": True}
TRAINING_ORDER = {"status": "New", "emailKeys": True, "unit": {"id": "u", "name": "UK"}}


def tasks(key: Key, before: Item | None, after: Item) -> set[Task]:
    return set(tasks_that_follow(Change(key, before, after), derivations()))


def training_item(**changes: Any) -> Item:
    return {"order": {**TRAINING_ORDER, **changes}}


# The tasks of a change.

ENTRY: Key = ("BOOK#deals#crm#L00", "0000000007")
TRAINING_KEY: Key = ("ORDER#training#7", "ORDER")
ECARD_KEY: Key = ("ORDER#ecards#a#b#11", "ORDER")
PUBLISH_TRAINING = (PUBLISH, ("training#7",))
MAILS_KEY: Key = ("MAILHISTORY#ecards#a#b", "0000000001")
PUBLISH_ECARDS = (PUBLISH, ("ecards#a#b#11",))
ISSUE_KEYS = (ISSUE, ("7", "u"))
MAIL_TRAINING = (MAIL, ("training#7",))
MAIL_ECARDS = (MAIL, ("ecards#a#b#11",))
ADVANCE_ORDER = (ADVANCE, ("a#b", "11"))
PAY_ORDER_ECARDS = (PAY_ORDER, ("a#b", "11"))
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ecards_item(status: EcardStatus, *, returning: bool = False, handing: int = 0) -> Item:
    return {"status": str(status), "returning": [{"some": "range"}] if returning else [], "handing": handing}


def told(item: Item, moments: int, *, marked: bool = False) -> Item:
    """An item of this release that has so many moments, whose events were all passed on."""
    history = [{"status": "x"}] * moments
    known = (
        {**item, "order": {**item["order"], "history": history}} if "order" in item else {**item, "history": history}
    )
    return {**known, PUBLISHED: moments, **(mark(TRAINING_KEY, START) if marked else {})}


@pytest.mark.parametrize(
    ("key", "before", "after", "expected"),
    [
        pytest.param(ENTRY, None, {"order": {}}, {(SETTLE, ("deals#crm",))}, id="placed"),
        pytest.param(ENTRY, None, VOID, {(SETTLE, ("deals#crm",))}, id="given up"),
        pytest.param(ENTRY, {"order": {}}, VOID, {(SWEEP, ("crm", "7"))}, id="removed"),
        pytest.param(ENTRY, {"order": {}}, {"order": {}}, set(), id="changed"),
        pytest.param(("BOOK#training#1#L00", "0000000007"), {"order": {}}, VOID, set(), id="void of another contract"),
        pytest.param(("BOOK#deal-lines#crm#1#L00", "1"), {"order": {}}, VOID, set(), id="void of a line item"),
        pytest.param(("HEAD#deals#crm", "-"), None, VOID, set(), id="a head"),
        pytest.param(TRAINING_KEY, None, training_item(), {PUBLISH_TRAINING, ISSUE_KEYS}, id="training order"),
        pytest.param(
            TRAINING_KEY, training_item(), training_item(), {PUBLISH_TRAINING, ISSUE_KEYS}, id="some keys issued"
        ),
        pytest.param(
            TRAINING_KEY,
            training_item(),
            training_item(status="Completed"),
            {PUBLISH_TRAINING, MAIL_TRAINING},
            id="all keys issued",
        ),
        pytest.param(
            TRAINING_KEY,
            training_item(emailKeys=False),
            training_item(status="Completed", emailKeys=False),
            {PUBLISH_TRAINING},
            id="no mail wanted",
        ),
        pytest.param(
            TRAINING_KEY,
            training_item(status="Completed"),
            training_item(status="Completed"),
            {PUBLISH_TRAINING},
            id="completed before",
        ),
        pytest.param(
            TRAINING_KEY, training_item(), training_item(status="Cancelled"), {PUBLISH_TRAINING}, id="cancelled"
        ),
        pytest.param(MAILS_KEY, None, {"mail": 1}, {(PUBLISH, ("mails#ecards#a#b",))}, id="a mail bounced"),
        pytest.param(("MAIL#ecards#a#b", "0000000001"), None, {"state": "Sent"}, set(), id="mail"),
        pytest.param(("MAILTO#ecards#a#b", "-"), None, {"to": "a@example.com"}, set(), id="corrected address"),
        pytest.param(("ORDER#training#7", "LINE#0001"), None, {"lines": []}, set(), id="lines"),
        pytest.param(("KEYS#training#7", "000000"), None, {"keys": b""}, set(), id="keys"),
        pytest.param(ECARD_KEY, None, ecards_item(EcardStatus.CREATED), {PUBLISH_ECARDS}, id="unpaid"),
        pytest.param(ECARD_KEY, None, ecards_item(EcardStatus.PAYED), {PUBLISH_ECARDS, ADVANCE_ORDER}, id="paid"),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.PAYED),
            ecards_item(EcardStatus.AWAITING),
            {PUBLISH_ECARDS, ADVANCE_ORDER},
            id="waits",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.PAYED),
            ecards_item(EcardStatus.READY),
            {PUBLISH_ECARDS, MAIL_ECARDS},
            id="ready",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.READY),
            ecards_item(EcardStatus.READY),
            {PUBLISH_ECARDS},
            id="being handed over",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.READY),
            ecards_item(EcardStatus.PARTIALLY_DELIVERED),
            {PUBLISH_ECARDS, MAIL_ECARDS},
            id="partly handed over",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.READY),
            ecards_item(EcardStatus.DELIVERED),
            {PUBLISH_ECARDS},
            id="handed over",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.READY),
            ecards_item(EcardStatus.CANCELLED, returning=True),
            {PUBLISH_ECARDS, ADVANCE_ORDER},
            id="cancelled with certificates",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.CREATED),
            ecards_item(EcardStatus.CANCELLED),
            {PUBLISH_ECARDS},
            id="cancelled unpaid",
        ),
        pytest.param(
            ECARD_KEY,
            ecards_item(EcardStatus.READY, handing=1),
            ecards_item(EcardStatus.CANCELLED, handing=1),
            {PUBLISH_ECARDS, MAIL_ECARDS},
            id="cancelled with certificates in transit",
        ),
        pytest.param(
            ECARD_KEY, {}, ecards_item(EcardStatus.CREATED), {PUBLISH_ECARDS, PAY_ORDER_ECARDS}, id="unpaid, looked at"
        ),
        pytest.param(ECARD_KEY, {}, told(ecards_item(EcardStatus.DELIVERED), 3), set(), id="finished, looked at"),
        pytest.param(
            ECARD_KEY,
            {},
            told(ecards_item(EcardStatus.DELIVERED), 3, marked=True),
            {PUBLISH_ECARDS},
            id="all events passed on, and marked",
        ),
        pytest.param(
            TRAINING_KEY, {}, told(training_item(), 1, marked=True), {ISSUE_KEYS}, id="new, its event passed on"
        ),
        pytest.param(
            TRAINING_KEY,
            {},
            told(training_item(status="Completed"), 2, marked=True),
            {PUBLISH_TRAINING, MAIL_TRAINING},
            id="completed and marked",
        ),
        pytest.param(
            TRAINING_KEY,
            training_item(),
            told(training_item(status="Cancelled"), 2),
            set(),
            id="cancelled, and its events passed on",
        ),
        pytest.param(ENTRY, {}, VOID, {(SWEEP, ("crm", "7"))}, id="removed, looked at"),
        pytest.param(ENTRY, VOID, VOID, set(), id="swept"),
        pytest.param(("BALANCE#a", "-"), None, {"amount": 5}, {(PAY, ("a",))}, id="first money"),
        pytest.param(("BALANCE#a", "-"), {"amount": 4}, {"amount": 5}, {(PAY, ("a",))}, id="more money"),
        pytest.param(("BALANCE#a", "-"), {"amount": 5}, {"amount": 4}, set(), id="less money"),
        pytest.param(("LEDGER#a", "topup#1"), None, {"amount": 5}, set(), id="a ledger's entry"),
        pytest.param(
            ("STOCK#3#100 ₽", "-"),
            {"unassigned": [[1, 4]]},
            {"unassigned": [[1, 2], [6, 8]]},
            {(STOCK, ("3", "100 ₽"))},
            id="more stock",
        ),
        pytest.param(("STOCK#3#x", "-"), {"unassigned": [[1, 4]]}, {"unassigned": [[2, 4]]}, set(), id="less stock"),
        pytest.param(("STOCK#3#x", "-"), None, {"reserved": 5}, set(), id="stock on its way"),
        pytest.param(("SEQUENCE#training", "-"), {"given": 1}, {"given": 2}, set(), id="a counter"),
    ],
)
def test_tasks(key: Key, before: Item | None, after: Item, expected: set[Task]) -> None:
    """Each change makes exactly the tasks that it can require."""
    assert tasks(key, before, after) == expected


# Running tasks.


@dataclass
class Desk:
    """A stream consumer whose tasks are recorded and fail on demand, with a retry queue in memory."""

    send: Memory = field(default_factory=Memory)
    broken: Collection[Task] = ()
    raising: Collection[str] = ()
    retry_queue_broken: bool = False
    done: list[tuple[str, tuple[Subject, ...]]] = field(default_factory=list)
    to_retry: list[Key] = field(default_factory=list)

    @property
    def consumer(self) -> StreamConsumer:
        def parts(*names: str) -> dict[str, Do]:
            return {name: self._part(name) for name in names}

        followers = [
            Follower(deals.tasks_of, parts(SWEEP)),
            Follower(ecards.tasks_of, parts(ADVANCE, PAY, PAY_ORDER, STOCK)),
            Follower(training.tasks_of, {}, parts(ISSUE)),
            mails.follower(),
        ]
        return StreamConsumer(Table(self.send, TABLE), followers, parts(SETTLE, MAIL, PUBLISH), self._later)

    def _part(self, part: str) -> Do:
        def do(subjects: Sequence[Subject]) -> list[Subject]:
            self.done.append((part, tuple(subjects)))
            if part in self.raising:
                raise Unavailable
            return [subject for subject in subjects if (part, subject) in self.broken]

        return do

    def _later(self, body: str, delay_seconds: int) -> None:
        assert delay_seconds == 10
        if self.retry_queue_broken:
            raise Unavailable
        partition, sort = json.loads(body)
        self.to_retry.append((partition, sort))

    def keep(self, key: Key, item: Item) -> None:
        Table(self.send, TABLE).put(Put({"pk": key[0], "sk": key[1], **item}))

    def retry(self, *keys: Key) -> list[str]:
        messages = [{"messageId": str(number), "body": json.dumps(key)} for number, key in enumerate(keys, 1)]
        return self.consumer.retry(messages)


def record(key: Key, number: int = 1, after: Any = None, before: Any = None, kind: str = "INSERT") -> dict[str, Any]:
    keys = {"pk": {"S": key[0]}, "sk": {"S": key[1]}}
    images = {"NewImage": {**keys, **(after or {})}, **({"OldImage": {**keys, **before}} if before is not None else {})}
    return {"eventName": kind, "dynamodb": {"Keys": keys, "SequenceNumber": str(number), **images}}


def entry(book: str, number: int = 1) -> dict[str, Any]:
    return record((f"BOOK#{book}#L00", f"{number:010}"), number)


def settled(*books: str) -> tuple[str, tuple[Subject, ...]]:
    return SETTLE, tuple((book,) for book in books)


def test_each_subject_once() -> None:
    """A task that several records of a batch ask for runs once."""
    desk = Desk()
    balance = record(("BALANCE#a", "-"), 5, {"amount": {"N": "5"}})

    assert desk.consumer.follow([entry("a", 1), balance, entry("b", 2), entry("a", 3)]) == []
    assert desk.done == [settled("a", "b"), (PAY, (("a",),))]


def test_one_failed_subject() -> None:
    """If a task fails for one subject, the items that asked for it go to the retry queue, and no record fails."""
    desk = Desk(broken={(SETTLE, ("broken",))})

    assert desk.consumer.follow([entry("a", 1), entry("broken", 2), entry("broken", 3), entry("b", 4)]) == []
    assert desk.to_retry == [("BOOK#broken#L00", "0000000002"), ("BOOK#broken#L00", "0000000003")]


def test_one_failed_task() -> None:
    """If a task raises, the other tasks still run, and its items go to the retry queue."""
    desk = Desk(raising={SETTLE})
    balance = record(("BALANCE#a", "-"), 5, {"amount": {"N": "5"}})

    assert desk.consumer.follow([entry("a"), balance]) == []
    assert desk.done == [settled("a"), (PAY, (("a",),))]
    assert desk.to_retry == [("BOOK#a#L00", "0000000001")]


@pytest.mark.parametrize(
    "broken",
    [
        record(("ORDER#training#7", "ORDER"), 2, {"order": {"S": "not an order"}}),
        record(("ORDER#training#x", "ORDER"), 2, {}),
        record(("STOCK#no number#x", "-"), 2, {"unassigned": {"L": []}}),
        record(("BALANCE#a", "-"), 2, {"amount": {"N": "1.5"}}),
        record(("BALANCE#a", "-"), 2, {"amount": {"X": "1"}}),
        record(("BALANCE#a", "-"), 2, {"amount": {"N": "1"}}, kind="MODIFY"),
    ],
    ids=["shape", "id", "stock", "number", "type", "no image from before"],
)
def test_unreadable_records(broken: dict[str, Any]) -> None:
    """An unreadable record goes to the retry queue, and the records around it are handled."""
    desk = Desk()
    key = broken["dynamodb"]["Keys"]["pk"]["S"], broken["dynamodb"]["Keys"]["sk"]["S"]

    assert desk.consumer.follow([entry("a", 1), broken, entry("b", 3)]) == []
    assert (desk.done, desk.to_retry) == ([settled("a", "b")], [key])


def test_retry_queue_out_of_reach() -> None:
    """If the retry queue fails, exactly the records with failed tasks are reported to the stream, each item once."""
    desk = Desk(broken={(SETTLE, ("a",)), (SETTLE, ("c",))}, retry_queue_broken=True)

    assert desk.consumer.follow([entry("a", 1), entry("b", 2), entry("c", 3), entry("a", 1)]) == ["1", "3"]


def test_progress_makes_no_task() -> None:
    """A change of nothing but an order's mark, or of how many of its events were passed on, makes no task."""
    desk = Desk()
    before = {"order": {"M": {"status": {"S": "New"}}}, "published": {"N": "0"}, "due": {"S": "1"}}
    changes = [{"published": {"N": "1"}}, {"due": {"S": "2"}}, {"unfinished": {"S": "WAITS#01"}}]
    records = [
        record(TRAINING_KEY, number, {**before, **change}, before, "MODIFY") for number, change in enumerate(changes)
    ]

    assert desk.consumer.follow(records) == []
    assert (desk.done, desk.to_retry) == ([], [])


def test_deleted_items() -> None:
    """The deletion of an item makes no task."""
    desk = Desk()

    assert desk.consumer.follow([record(("BOOK#a#L00", "1"), kind="REMOVE")]) == []
    assert (desk.done, desk.to_retry) == ([], [])


def test_retries_read_the_item_as_it_is_now() -> None:
    """A retry makes the tasks of the item as it is now; for an item that is gone it does nothing."""
    desk = Desk()
    desk.keep(ENTRY, VOID)
    desk.keep(ECARD_KEY, ecards_item(EcardStatus.READY))

    assert desk.retry(ENTRY, ECARD_KEY, ("BOOK#gone#L00", "0000000001")) == []
    assert desk.done == [
        settled("deals#crm"),
        (SWEEP, (("crm", "7"),)),
        (MAIL, (("ecards#a#b#11",),)),
        (PUBLISH, (("ecards#a#b#11",),)),
    ]


def test_retries_that_fail_again() -> None:
    """Only messages whose items fail again are reported as failed."""
    desk = Desk(broken={(SETTLE, ("broken",))})
    for book in ("a", "broken", "b"):
        desk.keep((f"BOOK#{book}#L00", "0000000001"), {"order": {}})
    desk.keep(("ORDER#training#7", "ORDER"), {"order": "unreadable"})
    keys: list[Key] = [(f"BOOK#{book}#L00", "0000000001") for book in ("a", "broken", "b")]

    assert desk.retry(*keys, ("ORDER#training#7", "ORDER")) == ["2", "4"]
    assert desk.done == [settled("a"), settled("broken"), settled("b")]


def test_each() -> None:
    """If a task fails for one subject, it still runs for the others, and the failed subject is returned."""
    seen: list[Subject] = []

    def do(*subject: str) -> None:
        seen.append(subject)
        if subject == ("b", "c"):
            raise Unavailable

    assert each(do)([("a",), ("b", "c"), ("d",)]) == [("b", "c")]
    assert seen == [("a",), ("b", "c"), ("d",)]


# The consumer as the function wires it.


@dataclass
class Wired:
    """The consumer as the function wires it, over one table, with queues and a bus in memory."""

    services: Services
    mailed: list[str] = field(default_factory=list)
    put: list[Any] = field(default_factory=list)

    def do(self, part: str, *subjects: Subject) -> Collection[Subject]:
        deadline = Deadline.after(30)
        mail: Enqueue = lambda body, _: self.mailed.append(body)  # noqa: E731
        consumer = stream_consumer(self.services.connections, deadline, no_queue, mail, self._bus, "bus")
        return dict(consumer._in_order())[part](subjects)

    def _bus(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        self.put += request["Entries"]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}


@pytest.fixture
def wired(services: Services) -> Wired:
    return Wired(services)


def test_books_are_settled(wired: Wired) -> None:
    """Settling a book moves its head to its end; settling it again changes nothing."""
    services, book = wired.services, wired.services.book("training#1", Deadline.after(30))
    for name in "abc":
        book.place(lambda _, name=name: Draft({"order": name}, []))  # type: ignore[misc] # bound now, not later

    assert wired.do(SETTLE, ("training#1",)) == []
    services.usage.take()
    first = book.page(0, 10)
    assert services.usage.take().calls == 2
    assert wired.do(SETTLE, ("training#1",)) == []
    assert book.page(0, 10) == first


PRODUCT = DealProduct(
    id=1, name="x", created=datetime(2024, 1, 1, tzinfo=UTC), updated=datetime(2024, 1, 1, tzinfo=UTC)
)


def test_removed_orders_are_swept(wired: Wired) -> None:
    """Sweeping deletes the line items of removed deal orders and no others; a second sweep changes nothing."""
    for account in ("crm", "a#b"):
        orders = wired.services.deal_orders(account, Deadline.after(30))
        for deal in (1, 2):
            orders.lines(orders.place(deal, Decimal(0)).id).add(NewLine(PRODUCT, Decimal(1), "EUR", Decimal(0), 1))
        orders.remove(2)
    orders = wired.services.deal_orders("crm", Deadline.after(30))
    again = orders.place(2, Decimal(0)).id
    line = orders.lines(again).add(NewLine(PRODUCT, Decimal(1), "EUR", Decimal(0), 1))

    for _ in range(2):
        assert wired.do(SWEEP, ("crm", "2"), ("a#b", "2")) == []

    assert line_items(orders, 1) == 1
    assert orders.lines(again).line(line.id) == line
    assert list(wired.services.orders(Deadline.after(30)).query("BOOK#deal-lines#a#b#2#L00", "0", "9")) == []


def line_items(orders: DealOrders, order_id: int) -> int:
    return orders.lines(order_id)._book.page(0, 10).total


def test_mails_are_asked_for(wired: Wired) -> None:
    """A mail task queues a message with the order's name."""
    assert wired.do(MAIL, ("training#7",), ("ecards#a#11",)) == []
    assert [json.loads(body) for body in wired.mailed] == [{"order": "training#7"}, {"order": "ecards#a#11"}]


# Access keys of training orders.


def issue(
    subjects: Sequence[Subject], open_orders: training.OpenOrders, sealer: Sealer, deadline: Deadline
) -> list[Subject]:
    return training.issue_keys(subjects, open_orders=open_orders, sealer=sealer, deadline=deadline)


@dataclass
class AtOnce:
    """What issues the keys of a batch in the stream, and passes large orders on."""

    school: School
    passed_on: list[Key] = field(default_factory=list)
    refused: bool = False

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.school.send)
        self.orders = OrdersOfBatch(Table(self.recorder, TABLE))

    def issue(self, *order_ids: int, sealer: Sealer | None = None, until: Deadline | None = None) -> list[Subject]:
        return training.issue_at_once(
            [(str(order), UK.id) for order in order_ids],
            orders=self.orders,
            open_orders=lambda unit: replace(self.school, send=self.recorder).orders(unit),
            sealer=sealer or self.school.sealer,
            until=until or Deadline.after(60),
            pass_on=self._pass_on,
        )

    def _pass_on(self, key: Key) -> None:
        if self.refused:
            raise Unavailable
        self.passed_on.append(key)

    def histories(self, *order_ids: int) -> list[int]:
        """How many events each order has."""
        names = [f"training#{order}" for order in order_ids]
        found = self.orders.histories(names)
        return [len(story) if (story := found[name]) else 0 for name in names]


def test_small_orders_are_completed_at_once() -> None:
    """The orders of a batch take one read and a transaction each, and their events no further read."""
    school = School()
    orders = [school.place(1), school.place(2, 3)]
    batch = AtOnce(school)

    assert batch.issue(*orders, 99) == []
    assert batch.histories(*orders) == [2, 2]
    assert batch.recorder.operations == ["BatchGetItem", "TransactWriteItems", "TransactWriteItems"]
    assert [len(school.keys(order)) for order in orders] == [1, 5]
    assert batch.histories(*orders, 99) == [2, 2, 0]
    assert batch.recorder.operations[3:] == ["BatchGetItem"]


def test_large_orders_are_passed_on() -> None:
    """An order of more seats than one transaction has, or with some keys, goes to its queue with no key issued here."""
    school = School()
    large, begun, small = school.place(1_001), school.place(101), school.place(1_000)
    keys = read_whole_orders(Table(school.send, TABLE), [begun])[begun].keys(Table(school.send, TABLE), school.sealer)
    Table(school.send, TABLE).put(keys.all_puts()[0])
    batch = AtOnce(school)

    assert batch.issue(large, begun, small) == []
    assert batch.passed_on == [(f"ORDER#training#{order}", "ORDER") for order in (large, begun)]
    assert [school.orders().order(order).status for order in (large, begun, small)] == [
        TrainingStatus.NEW,
        TrainingStatus.NEW,
        TrainingStatus.COMPLETED,
    ]
    assert batch.histories(large, small) == [1, 2]
    batch.refused = True
    assert batch.issue(large) == [(str(large), UK.id)]


def test_lines_in_several_items_are_read() -> None:
    """The lines of an order that take several items, or that an earlier release wrote, are all read."""
    school = School()
    order, earlier = school.place(*[1] * 500), school.place(2, 1)
    item = image_of(school, earlier)
    Table(school.send, TABLE).put(Put({name: value for name, value in item.items() if name != "packs"}))
    batch = AtOnce(school)

    assert batch.issue(order, earlier) == []
    assert [len(school.keys(one)) for one in (order, earlier)] == [500, 3]
    assert batch.recorder.operations.count("Query") == 2


def test_a_cancelled_order_gets_no_keys() -> None:
    """An order that was cancelled after it was read gets no keys, and its events are those of its cancellation."""
    school = School()
    order = school.place(1)
    batch = AtOnce(school)

    def cancelling(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        school.orders().cancel(order)
        return school.kms(operation, request)

    assert batch.issue(order, sealer=EnvelopeSealer(cancelling, "alias/AccessKeysKey")) == []
    assert school.orders().order(order).status is TrainingStatus.CANCELLED
    assert batch.histories(order) == [2]
    assert [*Table(school.send, TABLE).scan("KEYS#")] == []


@pytest.mark.parametrize("fault", ["sealer", "time"])
def test_events_are_read_again_if_issuing_fails(fault: str) -> None:
    """An order whose keys cannot be issued is reported as failed, and its events so far are still passed on."""
    school = School()
    order = school.place(1)
    batch = AtOnce(school)
    faults: dict[str, Any] = {
        "sealer": {"sealer": EnvelopeSealer(unavailable)},
        "time": {"until": Deadline.after(-1)},
    }

    assert batch.issue(order, **faults[fault]) == [(str(order), UK.id)]
    assert batch.histories(order) == [1]


def issued(school: School, *orders: int, deadline: Deadline | None = None) -> list[Subject]:
    subjects = [(str(order), UK.id) for order in orders]
    return issue(subjects, school.orders, school.sealer, deadline or Deadline.after(60))


def test_keys_are_issued() -> None:
    """Issuing the keys of an order completes it, and no other order; a duplicate changes nothing."""
    school = School()
    order, other = school.place(3), school.place(2)

    assert (issued(school, order), issued(school, order)) == ([], [])
    assert [len(school.keys(order)), school.orders().order(order).status] == [3, TrainingStatus.COMPLETED]
    assert school.orders().order(other).status is TrainingStatus.NEW


def test_the_unit_is_the_order_s() -> None:
    """Keys are issued under the business unit that placed the order."""
    school = School()
    opened: list[str] = []

    def open_orders(unit: str) -> TrainingOrders:
        opened.append(unit)
        return school.orders(unit)

    issue([(str(school.place(1)), UK.id)], open_orders, school.sealer, Deadline.after(60))

    assert opened == [UK.id]


def image_of(school: School, order_id: int) -> Item:
    assert isinstance(school.send, Memory)
    (image,) = [item for at, item in school.send.scan(TABLE) if at == (f"ORDER#training#{order_id}", "ORDER")]
    return plain_item(image)


def test_a_large_order_takes_several_rounds() -> None:
    """An order whose keys take too long changes its item, and this change asks for the rest."""
    school = School()
    order = school.place(10_000, 10_000)
    wanted: Iterator[Subject] | list[Subject] = [(str(order), UK.id)]
    rounds = 0

    class Share(TrainingOrders):
        def issue_keys(self, order_id: int, sealer: Any, until: Deadline) -> bool:  # noqa: ARG002 - as it is called
            return super().issue_keys(order_id, sealer, Steps(4))

    while wanted:
        rounds += 1
        orders = Share(Table(school.send, TABLE), UK.id, sequence=school.services.sequence)
        before = image_of(school, order)
        # Time for the step that finds where to continue, and for three more.
        left = issue([*wanted], lambda _, orders=orders: orders, school.sealer, Steps(10**9))  # type: ignore[misc] # bound now
        after = image_of(school, order)
        asked = tasks((f"ORDER#training#{order}", "ORDER"), before, after) if after != before else set()
        wanted = [subject for part, subject in asked if part == ISSUE]
        assert left == []

    assert (len(school.keys(order)), school.orders().order(order).status) == (20_000, TrainingStatus.COMPLETED)
    assert rounds == 7


def test_the_time_is_shared() -> None:
    """Each order of a batch gets an equal share of the time that is left."""
    given: list[float] = []

    class Slow(TrainingOrders):
        def issue_keys(self, order_id: int, sealer: Any, until: Deadline) -> bool:  # noqa: ARG002 - as it is called
            given.append(until.remaining())
            return False

    school = School()
    orders = Slow(Table(school.send, TABLE), UK.id, sequence=school.services.sequence)
    subjects = [(str(number), UK.id) for number in (1, 2, 3, 4)]

    assert issue(subjects, lambda _: orders, school.sealer, Deadline.after(40)) == []
    assert [round(seconds / 40, 2) for seconds in given] == [0.25, 0.33, 0.5, 1.0]


def test_without_time_orders_fail() -> None:
    """Once the deadline has passed no key is issued, and every order is reported as failed."""
    school = School()
    orders = [school.place(1), school.place(1)]

    assert issued(school, *orders, deadline=Deadline.after(-1)) == [(str(one), UK.id) for one in orders]
    assert {school.orders().order(order).status for order in orders} == {TrainingStatus.NEW}


def test_one_order_whose_keys_are_not_issued() -> None:
    """An order whose keys cannot be issued is reported as failed, and the other order is completed."""
    school = School()
    broken, other = school.place(1), school.place(1)
    school.orders().issue_keys(other, school.sealer, Deadline.after(60))
    subjects = [(str(order), UK.id) for order in (broken, other)]

    assert issue(subjects, school.orders, EnvelopeSealer(unavailable), Deadline.after(60)) == subjects[:1]
    assert school.orders().order(other).status is TrainingStatus.COMPLETED


def test_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """No key is logged, whether issuing succeeds or fails."""
    school = School()
    order = school.place(2)
    issue([(str(order), UK.id)], school.orders, EnvelopeSealer(unavailable), Deadline.after(60))
    issued(school, order)
    logged = caplog.text + repr([vars(one) for one in caplog.records])

    assert "keys not issued" in logged
    assert not [key for *_, key in school.keys(order) if key in logged or key.replace("-", "") in logged]
