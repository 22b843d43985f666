"""Events of orders: their ids, types, contents and schemas, and their publication; on a table in memory."""

from __future__ import annotations

import base64
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ordering.aws.dynamodb import Item, Put, Table, Update
from ordering.aws.eventbridge import BYTES_AT_MOST, EventBus
from ordering.aws.sealer import EnvelopeSealer
from ordering.book.lifecycle import State, StatusChange
from ordering.book.names import key_of
from ordering.book.unfinished import PUBLISHED, is_marked, mark
from ordering.contexts import event_types, read_history
from ordering.ecards.catalogue import PricedLine
from ordering.ecards.certificates import Stock
from ordering.ecards.incoming import sealing_context
from ordering.ecards.records import EcardOrder, EcardParticipant, EcardRecords, HeldCertificates
from ordering.ecards.statuses import EcardStatus
from ordering.errors import Unavailable
from ordering.events.history import Event, OrderHistory, event_id
from ordering.events.publisher import Publisher, one_by_one, published
from ordering.events.types import MailMomentType, type_of
from ordering.fulfilment.incoming import envelopes
from ordering.mail import incoming as ses
from ordering.mail.history import MailMoment, name_of_mails, next_moments
from ordering.training.statuses import TrainingStatus
from ordering.values import replace
from ordering_tools.documents.event_schemas import FILES, documents, schema
from ordering_tools.documents.files import update
from support.aws.faults import Crash, Faulty, lost, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.partners import JOHN, SOURCE, UK
from support.patterns import matches, read_pattern

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "docs" / "events"
START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
ECARD_ID = "00000001-a5c1-4d97-b1fb-4f6772dffbeb"
TRAINING, ECARDS = "training#7", f"ecards#acme#{ECARD_ID}"
SECRET = "A-CERTIFICATE'S-CODE"


def text(number: int) -> str:
    return f"2026-01-01T12:00:{number:02}.123456Z"


def training_item(*statuses: str) -> Item:
    return {
        "pk": "ORDER#training#7",
        "sk": "ORDER",
        "order": {
            "id": 7,
            "position": 1,
            "partner": "northwind",
            "unit": {"id": UK.id, "name": UK.name},
            "user": {"id": JOHN.id, "forename": "John", "surname": "Smith", "user_name": JOHN.user_name},
            "source": {"id": SOURCE.id, "name": SOURCE.name, "invoiceable": True},
            "reference": 'PO "4711" ₽',
            "contact": {"forename": "John", "surname": "Smith", "email": "john@example.com"},
            "emailKeys": True,
            "created": text(0),
            "status": statuses[-1],
            "version": len(statuses),
            "history": [{"status": status, "at": text(number)} for number, status in enumerate(statuses)],
        },
    }


def line_item(first: int, count: int = 1, filler: str = "") -> Item:
    lines = [
        {
            "number": number,
            "feature_set_id": "fs",
            "description": f"Course{filler}",
            "quantity": 2,
            "source_reference": None,
            "feedback_link_uri": "https://example.com",
            "feedback_link_text": None,
            "enable_feedback_link": True,
            "achievement_code": None,
        }
        for number in range(first, first + count)
    ]
    return {"pk": "ORDER#training#7", "sk": f"LINE#{first:04}", "lines": lines}


def ecard_order(*statuses: EcardStatus) -> EcardOrder:
    moments = tuple(StatusChange(status, START + timedelta(seconds=n)) for n, status in enumerate(statuses))
    return EcardOrder(
        id=ECARD_ID,
        company="acme",
        number=3,
        created=START,
        state=State(statuses[-1], len(statuses), moments),
        participant=EcardParticipant("j@example.com", "John", "1"),
        login="j@example.com_Acme",
        lines=(PricedLine(1, "100 ₽", 2, "Books", Decimal("110.50")), PricedLine(1, "50 ₽", 1, "Books", Decimal(50))),
        total=Decimal("271.00"),
        fingerprint="f" * 64,
        assigned=(HeldCertificates(Stock(1, "100 ₽"), ((1, 2),)),),
        delivered=1,
        writers=("w",),
    )


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def faulty(memory: Memory) -> Faulty:
    return Faulty(memory)


@pytest.fixture
def table(faulty: Faulty) -> Table:
    return Table(faulty, "OrdersTable", first_pause=0.0, patience=0.5)


def put_training(table: Table, *statuses: str) -> None:
    table.put(Put(training_item(*statuses)))
    table.put(Put(line_item(1)))


def put_ecards(table: Table, *statuses: EcardStatus) -> None:
    table.put(replace(EcardRecords(table, "acme").new(ecard_order(*statuses)), condition=None))


def history(table: Table, order: str) -> OrderHistory:
    found = read_history(table, order)
    assert found
    return found


def closed(part: Any) -> Any:
    """A schema that allows no properties but those it names."""
    if isinstance(part, dict):
        more = {"additionalProperties": False} if part.get("type") == "object" else {}
        return {name: closed(value) for name, value in part.items()} | more
    return [closed(one) for one in part] if isinstance(part, list) else part


def valid(event_text: str) -> dict[str, Any]:
    """Validate an event against the committed schema of its type, closed to other properties; returns the event."""
    event: dict[str, Any] = json.loads(event_text)
    committed = json.loads((SCHEMAS / f"{event['type']}.v{event['version']}.json").read_text())
    Draft202012Validator(closed(committed), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event)
    return event


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_schemas_are_current() -> None:
    """The committed schemas match the code."""
    assert update(ROOT, FILES, documents(), check=True) == []


def test_schemas_are_schemas() -> None:
    """Each type's schema is valid JSON Schema 2020-12 and has the type as its title."""
    for event_type in {*event_types(), *envelopes()}:
        Draft202012Validator.check_schema(schema(event_type))
        assert schema(event_type)["title"] == event_type


def test_stale_schemas_are_found(tmp_path: Path) -> None:
    """Changed, missing and surplus schemas are found, and repaired unless they are only checked."""
    wanted = documents()
    assert update(tmp_path, FILES, wanted) == sorted(wanted)
    assert update(tmp_path, FILES, wanted, check=True) == []
    changed, missing, *_ = sorted(wanted)
    surplus = "docs/events/other.json"
    (tmp_path / changed).write_text("{}")
    (tmp_path / missing).unlink()
    (tmp_path / surplus).write_text("{}")
    for check in (True, False):
        assert update(tmp_path, FILES, wanted, check=check) == [changed, missing, surplus]

    assert update(tmp_path, FILES, wanted, check=True) == []


def test_types() -> None:
    """Every status of training and e-card orders, and every moment of their mails, has a type named after it."""
    assert len(event_types()) == len(TrainingStatus) + len(EcardStatus) + 2 * len(MailMomentType)
    assert type_of("ecard_order", MailMomentType.SENT_AGAIN) == "ordering.ecard_order.mail_sent_again"
    assert type_of("ecard_order", EcardStatus.READY) == "ordering.ecard_order.ready_for_delivery"
    assert type_of("training_order", TrainingStatus.COMPLETED) == "ordering.training_order.completed"
    assert event_types()["ordering.ecard_order.payed"] is EcardStatus.PAYED


def test_incoming_types_are_not_published() -> None:
    """No incoming event type is also an outgoing one."""
    assert event_types().keys().isdisjoint(envelopes())


# Events ---------------------------------------------------------------------------------------------------------------


def test_ids() -> None:
    """An event's id is a UUIDv5 of the order and the index, and never changes."""
    assert event_id("training#7", 0) == "e0ce3e10-c594-5e6f-8a2c-f3607774bc68"
    assert len({event_id(order, index) for order, index in product(["training#1", "training#11"], range(12))}) == 24
    assert uuid.UUID(event_id(ECARDS, 1)).version == 5


def test_ids_of_mails() -> None:
    """The ids of an order's mails' events are those of a history of their own, and never change."""
    assert name_of_mails("training#7") == "mails#training#7"
    assert event_id("mails#training#7", 0) == "283640fd-71f5-50bf-967f-0ce947624213"


@pytest.mark.parametrize(("order", "email"), [(TRAINING, "john@example.com"), (ECARDS, "j@example.com")])
def test_events_of_mails(table: Table, order: str, email: str) -> None:
    """What happened to the mails of an order makes valid events, in sequence and apart from the order's own."""
    put_training(table, "New")
    put_ecards(table, EcardStatus.PAYED)
    moments = [
        MailMoment(MailMomentType.BOUNCED, START, 1, "", "it cannot be delivered (Permanent, General)"),
        MailMoment(MailMomentType.SENT_AGAIN, START, 1, "new@example.com"),
        MailMoment(MailMomentType.REFUSED, START, 501, "new@example.com", "SES found the mail invalid."),
    ]
    for moment in moments:
        for put in next_moments(table, order, [moment]):
            table.put(put)
    mails, own = history(table, name_of_mails(order)), history(table, order)
    events = [valid(mails.event(index).to_text()) for index in range(len(mails))]
    data = valid(own.event(0).to_text())["data"]

    kind = events[0]["type"].rpartition(".")[0]
    assert own.event(0).type.startswith(kind)
    assert [event["type"] for event in events] == [
        f"{kind}.{name}" for name in ("mail_bounced", "mail_sent_again", "mail_refused")
    ]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert [event["data"]["mail"] for event in events] == [
        {"number": 1, "to": email, "reason": "it cannot be delivered (Permanent, General)"},
        {"number": 1, "to": "new@example.com", "reason": None},
        {"number": 501, "to": "new@example.com", "reason": "SES found the mail invalid."},
    ]
    for event in events:
        assert event["data"]["partner"] == mails.partner == data["partner"]
        assert event["data"]["order"].items() <= data["order"].items()
    assert {event["id"] for event in events}.isdisjoint(own.event(index).id for index in range(len(own)))


def test_no_mails(table: Table) -> None:
    """An order whose mails all arrived has an empty history of mails; an order that does not exist has none."""
    put_training(table, "New")

    mails = read_history(table, name_of_mails(TRAINING))

    assert mails is not None
    assert len(mails) == 0
    unknown = [ECARDS, "training#8", "deals#1", "mails#training#7", ""]
    assert [read_history(table, name_of_mails(order)) for order in unknown] == [None] * 5


def test_training_orders_events(table: Table) -> None:
    """Each status change of a training order has an event with the whole order as it was then."""
    put_training(table, "New", "Completed")
    new, completed = (valid(history(table, TRAINING).event(index).to_text()) for index in range(2))

    assert (new["type"], new["time"], new["sequence"]) == ("ordering.training_order.new", text(0), 1)
    assert (completed["type"], completed["time"], completed["sequence"]) == (
        "ordering.training_order.completed",
        text(1),
        2,
    )
    assert new["data"]["partner"] == "northwind"
    assert [new["data"]["order"][name] for name in ("id", "status", "purchasingOrderReference", "lineCount")] == [
        7,
        "New",
        'PO "4711" ₽',
        1,
    ]
    assert [moment["status"] for moment in new["data"]["order"]["history"]] == ["New"]
    assert [moment["status"] for moment in completed["data"]["order"]["history"]] == ["New", "Completed"]
    assert new["data"]["order"]["lines"] == completed["data"]["order"]["lines"]


def test_ecard_orders_events(table: Table) -> None:
    """Every status of an e-card order has a valid event."""
    for last in EcardStatus:
        put_ecards(table, EcardStatus.CREATED, last)
        event = valid(history(table, ECARDS).event(1).to_text())
        assert (event["type"], event["data"]["order"]["status"]) == (type_of("ecard_order", last), str(last))
        assert (event["data"]["order"]["total"], event["data"]["order"]["quantity"]) == ("271.00", 3)


def test_events_do_not_change(table: Table) -> None:
    """An event is the same, byte for byte, however far its order has come when the event is made."""
    put_ecards(table, EcardStatus.PAYED)
    early = history(table, ECARDS).event(0).to_text()
    put_ecards(table, EcardStatus.PAYED, EcardStatus.READY, EcardStatus.DELIVERED)

    assert history(table, ECARDS).event(0).to_text() == early


def test_events_have_no_certificates(table: Table) -> None:
    """Events contain neither the stock positions of an order's certificates nor its fingerprint or writers."""
    put_ecards(table, EcardStatus.PAYED, EcardStatus.READY, EcardStatus.PARTIALLY_DELIVERED)
    published = "".join(history(table, ECARDS).event(index).to_text() for index in range(3))

    assert not any(word in published for word in ("assigned", "ranges", "fingerprint", "writers", "f" * 64))


def test_events_have_nothing_of_other_items(table: Table) -> None:
    """No event contains other items of its order's partition, such as keys."""
    put_training(table, "New")
    table.put(Put({"pk": "ORDER#training#7", "sk": "MAIL#1", "keys": SECRET}))

    assert SECRET not in history(table, TRAINING).event(0).to_text()


def test_no_order() -> None:
    """An order that does not exist has no history."""
    table = Table(Memory(), "OrdersTable")
    assert (read_history(table, TRAINING), read_history(table, ECARDS)) == (None, None)


@pytest.mark.parametrize("filler", ["", '"' * 60, "₽" * 60])
def test_large_orders(table: Table, filler: str) -> None:
    """The event of a thousand-line order fits the bus: it has the first lines, and the count of all."""
    table.put(Put(training_item("New")))
    for first in range(1, 1001, 100):
        table.put(Put(line_item(first, 100, filler)))
    event = history(table, TRAINING).event(0)
    order = valid(event.to_text())["data"]["order"]

    assert len(json.dumps(event.to_text(), ensure_ascii=False).encode()) < BYTES_AT_MOST - 4096
    assert order["lineCount"] == 1000
    assert 100 < len(order["lines"]) < 1000
    assert [line["number"] for line in order["lines"]] == list(range(1, len(order["lines"]) + 1))


# Publishing -----------------------------------------------------------------------------------------------------------


class Bus:
    """A bus that stores entries, and refuses those of the partners in `refused`."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refused: set[str] = set()

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        results = []
        for entry in request["Entries"]:
            event = valid(entry["Detail"])
            assert (entry["Source"], entry["DetailType"]) == ("ordering", event["type"])
            refused = event["data"]["partner"] in self.refused
            results.append({"ErrorCode": "MalformedDetail"} if refused else {"EventId": event["id"]})
            if not refused:
                self.taken.append(event["id"])
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}


class Setting:
    """A publisher with its bus, its table and the announcements it made."""

    def __init__(self, table: Table) -> None:
        self.bus = Bus()
        self.announced: list[tuple[str, str, list[str]]] = []
        self.table = table
        self.publisher = Publisher(
            table, EventBus(self.bus, "bus", table.pauses), self.announce, one_by_one(table, read_history)
        )

    def announce(self, partner: str, order: str, types: Mapping[str, datetime]) -> None:
        self.announced.append((partner, order, [*types]))

    def published(self, order: str) -> int:
        return published(self.table, history(self.table, order))


@pytest.fixture
def setting(table: Table) -> Setting:
    return Setting(table)


def test_each_event_once(table: Table, setting: Setting) -> None:
    """Publishing an order again publishes only events that are new."""
    put_training(table, "New")
    setting.publisher.publish([TRAINING, TRAINING])
    setting.publisher.publish([TRAINING])
    put_training(table, "New", "Completed")
    setting.publisher.publish([TRAINING])

    assert setting.bus.taken == [event_id(TRAINING, 0), event_id(TRAINING, 1)]
    assert setting.announced == [
        ("northwind", TRAINING, ["ordering.training_order.new"]),
        ("northwind", TRAINING, ["ordering.training_order.completed"]),
    ]
    assert setting.published(TRAINING) == 2


def test_events_of_mails_are_passed_on(table: Table, setting: Setting) -> None:
    """The publisher passes on the events of an order's mails once, whatever was passed on of the order."""
    put_training(table, "New", "Completed")
    assert setting.publisher.publish([TRAINING]) == frozenset()
    for number in (1, 2):
        moment = MailMoment(MailMomentType.BOUNCED, START, 1, "", f"reason {number}")
        table.transact(next_moments(table, TRAINING, [moment]))
        assert setting.publisher.publish([name_of_mails(TRAINING)] * 2) == frozenset()

    assert (setting.published(TRAINING), setting.published(name_of_mails(TRAINING))) == (2, 2)
    assert setting.bus.taken[2:] == [event_id(name_of_mails(TRAINING), index) for index in range(2)]
    assert (
        setting.announced[1:] == [("northwind", name_of_mails(TRAINING), ["ordering.training_order.mail_bounced"])] * 2
    )


@pytest.mark.parametrize("fault", [refused, lost], ids=["before", "after"])
@pytest.mark.parametrize("step", range(4))
def test_a_crash_anywhere(
    table: Table,
    faulty: Faulty,
    setting: Setting,
    step: int,
    fault: Callable[[BaseException], Any],
) -> None:
    """After a crash before or after any call, publishing again publishes the same events in the same order."""
    put_training(table, "New", "Completed")
    put_ecards(table, EcardStatus.PAYED)
    faulty.meet(None, fault(Crash()), after=step)
    with pytest.raises(Crash):
        setting.publisher.publish([TRAINING, ECARDS])
    setting.publisher.publish([TRAINING, ECARDS])
    seen = list(dict.fromkeys(setting.bus.taken))

    assert [one for one in seen if one != event_id(ECARDS, 0)] == [event_id(TRAINING, 0), event_id(TRAINING, 1)]
    assert event_id(ECARDS, 0) in seen
    assert (setting.published(TRAINING), setting.published(ECARDS)) == (2, 1)


def test_the_cursor_never_goes_back(table: Table, setting: Setting) -> None:
    """A publisher that read an order early does not lower the cursor that a later one moved."""
    put_training(table, "New")
    table.update(Update((f"EVENTS#{TRAINING}", "-"), "SET published = :three", values={":three": 3}))
    setting.publisher._move(TRAINING, 1)

    assert setting.published(TRAINING) == 3


def test_the_cursor_in_an_order_never_goes_back(table: Table, setting: Setting) -> None:
    """Likewise for an order whose item has the cursor."""
    put_ecards(table, EcardStatus.PAYED)
    early = history(table, ECARDS)
    put_ecards(table, EcardStatus.PAYED, EcardStatus.READY)
    setting.publisher.publish([ECARDS])
    setting.publisher._end(early, 0)

    assert setting.published(ECARDS) == 2


def item_of(table: Table, order: str) -> Item:
    item = table.get(key_of(order))
    assert item
    return item


def put_marked(table: Table, *statuses: str, **changes: Any) -> None:
    """Put a training order as this release creates it."""
    item = training_item(*statuses)
    item["order"] |= changes
    table.put(Put({**item, PUBLISHED: 0, **mark(key_of(TRAINING), START)}))


def test_an_order_is_finished_with_its_last_event(table: Table, setting: Setting) -> None:
    """The write that moves the cursor of a final order to its end removes its mark; not before it is final."""
    put_marked(table, "New", emailKeys=False)
    setting.publisher.publish([TRAINING])
    before = item_of(table, TRAINING)
    put_marked(table, "New", "Cancelled")
    setting.publisher.publish([TRAINING])

    assert (before[PUBLISHED], is_marked(before)) == (1, True)
    assert item_of(table, TRAINING) == {**training_item("New", "Cancelled"), PUBLISHED: 2}


def test_an_order_with_a_mail_is_finished_after_its_message(table: Table, setting: Setting) -> None:
    """A completed order whose keys are mailed keeps its mark until its mail's message is on the queue."""
    put_marked(table, "New", "Completed")
    assert setting.publisher.publish([TRAINING]) == frozenset()
    before = item_of(table, TRAINING)
    assert replace(setting.publisher, mailed={TRAINING}).publish([TRAINING]) == frozenset()
    after = item_of(table, TRAINING)

    assert [(item[PUBLISHED], is_marked(item)) for item in (before, after)] == [(2, True), (2, False)]
    assert setting.bus.taken == [event_id(TRAINING, 0), event_id(TRAINING, 1)]


def test_an_ecard_order_is_finished_when_nothing_is_left(table: Table, setting: Setting) -> None:
    """An e-card order keeps its mark while it has certificates to return, or in transit without a mail's message."""
    cancelled = ecard_order(EcardStatus.PAYED, EcardStatus.CANCELLED)
    found = []
    for order in (replace(cancelled, returning=cancelled.assigned), replace(cancelled, in_transit=1), cancelled):
        table.put(replace(EcardRecords(table, "acme").new(order), condition=None))
        setting.publisher.publish([ECARDS])
        found.append(is_marked(item_of(table, ECARDS)))

    assert found == [True, True, False]


def test_an_order_of_an_earlier_release_is_finished(table: Table, setting: Setting) -> None:
    """An order without a cursor of its own that was marked afterwards loses the mark with its last event as well."""
    table.put(Put({**training_item("New", "Cancelled"), **mark(key_of(TRAINING), START)}))
    setting.publisher.publish([TRAINING])

    assert setting.published(TRAINING) == 2
    assert item_of(table, TRAINING) == training_item("New", "Cancelled")


def test_moments_of_mails_are_finished(table: Table, setting: Setting) -> None:
    """What happened to a mail keeps its mark until its event is passed on, also after a crash in between."""
    put_training(table, "New", "Completed")
    name = name_of_mails(TRAINING)
    table.transact(next_moments(table, TRAINING, [MailMoment(MailMomentType.BOUNCED, START, 1)]))
    (key,) = history(table, name).marked
    setting.bus.refused = {"northwind"}
    assert setting.publisher.publish([name]) == {name}
    marked = is_marked(table.get(key) or {})
    setting.bus.refused = set()
    setting.publisher._move(name, 1)
    assert setting.publisher.publish([name]) == frozenset()

    assert (marked, is_marked(table.get(key) or {})) == (True, False)


def test_one_failed_order(table: Table, setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    """An order that is unreadable, refused by the bus or not announced does not hold up the others."""
    table.put(Put({"pk": "ORDER#training#8", "sk": "ORDER", "order": {"history": SECRET}}))
    put_ecards(table, EcardStatus.PAYED)
    put_training(table, "New")
    setting.bus.refused = {"acme"}
    with caplog.at_level(logging.INFO):
        assert setting.publisher.publish(["training#8", ECARDS, TRAINING]) == {"training#8", ECARDS}
    assert (setting.published(TRAINING), setting.published(ECARDS)) == (1, 0)
    assert SECRET not in caplog.text
    setting.bus.refused = set()

    def unavailable(*_: Any) -> None:
        raise Unavailable

    assert replace(setting.publisher, announce=unavailable).publish([ECARDS]) == {ECARDS}
    assert setting.published(ECARDS) == 0
    assert setting.publisher.publish([ECARDS]) == frozenset()


def test_text_of_an_event() -> None:
    """The text of an event is compact JSON in a fixed order, with non-ASCII text unescaped."""
    event = Event("i", "t", START, "training#7", 1, {"a": "₽"})

    assert event.to_text() == (
        '{"id":"i","type":"t","version":1,"time":"2026-01-01T12:00:00.123456Z","source":"ordering","sequence":1,'
        '"data":{"a":"₽"}}'
    )
    correlated = replace(event, correlation="0ba0c2c5-0204-4429-b47c-7dde9ae2ae72")
    assert correlated.to_text() == event.to_text().replace(
        '"data"', '"correlationId":"0ba0c2c5-0204-4429-b47c-7dde9ae2ae72","data"'
    )


# docs/events.md -------------------------------------------------------------------------------------------------------

PAGE = (SCHEMAS.parent / "events.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_names_every_type() -> None:
    """docs/events.md has a row for each outgoing and incoming type and names each mail event, and no others."""
    rows = re.findall(r"^\| `(ordering\.[a-z_.]+)` \|", PAGE, re.MULTILINE)

    assert sorted(rows) == sorted([*event_types(), *envelopes()])
    assert set(re.findall(r"`(Email [A-Za-z ]+)`", PAGE)) == ses.EVENT_TYPES.keys()


def test_the_pages_examples() -> None:
    """Each example event in docs/events.md fits its schema, and each incoming type has an example."""
    examples = [json.loads(block) for block in blocks("json")]
    events = [example for example in examples if "detail-type" not in example]
    for event in events:
        Draft202012Validator(closed(schema(event["type"]))).validate(event)

    assert {event["type"] for event in events} == envelopes().keys()


def test_the_pages_rule(table: Table) -> None:
    """The example rule in docs/events.md matches the events it claims to match, and no others."""
    (pattern,) = [block for block in blocks("json") if "detail-type" in block]

    def taken(partner: str, status: EcardStatus) -> bool:
        put_ecards(table, status)
        event = json.loads(history(table, ECARDS).event(0).to_text())
        event["data"]["partner"] = partner
        seen = {"source": "ordering", "detail-type": event["type"], "detail": event}
        return matches(read_pattern(pattern), seen)

    cancelled, payed = EcardStatus.CANCELLED, EcardStatus.PAYED
    assert [taken(*of) for of in (("granite-rewards", cancelled), ("granite-rewards", payed), ("acme", cancelled))] == [
        True,
        False,
        False,
    ]


def test_the_page_says_how_codes_are_sealed() -> None:
    """Codes encrypted with the example in docs/events.md can be decrypted by the service."""
    (code,) = blocks("python")
    module: dict[str, Any] = {}
    exec(code, module)
    kms = MemoryKms()
    client = SimpleNamespace(generate_data_key=lambda **request: kms("GenerateDataKey", request))
    sealed = module["seal"](client, "alias/CertificatesKey", ["A", "B"], 1, "100 ₽", "b")

    assert EnvelopeSealer(kms).open(base64.b64decode(sealed), sealing_context(1, "100 ₽", "b")) == b'["A", "B"]'
