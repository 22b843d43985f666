"""The keys of log lines: each line says which order, partner, request or message it is about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.aws.sqs import handle_each
from ordering.book.idempotency import Create
from ordering.book.sorted_lists import ListRequest
from ordering.deals.orders import DealOrders
from ordering.errors import Unavailable
from ordering.logs import about, correlate, note
from support.aws.memory import Memory
from support.aws.simulated_aws import START, Do, Step
from support.ecards import order_id
from support.gateway import REQUEST_ID
from support.scenarios import Day

LOG = logging.getLogger("ordering")
KEYS = ("order", "partner", "request", "message_id", "event")
COMPANY = "granite"


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """The lines that are logged from here on."""
    found = list[logging.LogRecord]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.message = record.getMessage()
            found.append(record)

    handler, level = Keep(), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    yield found
    LOG.removeHandler(handler)
    LOG.setLevel(level)


def keys(line: logging.LogRecord) -> dict[str, Any]:
    return {name: vars(line)[name] for name in KEYS if name in vars(line)}


def test_keys_end_with_their_block(lines: list[logging.LogRecord]) -> None:
    """A line has the keys of the blocks around it, and none of a block that has ended."""
    note(order="of no block")
    with about(message_id="m1"):
        with about(order="training#1"):
            note(partner="northwind")
            LOG.info("within")
        LOG.info("after")
    LOG.info("outside")

    assert [keys(line) for line in lines] == [
        {"order": "training#1", "message_id": "m1", "partner": "northwind"},
        {"message_id": "m1"},
        {},
    ]


def test_what_the_line_says_wins(lines: list[logging.LogRecord]) -> None:
    """A value in the line's own `extra` is not replaced."""
    with about(order="training#1"):
        LOG.info("of another order", extra={"order": "training#2"})

    assert keys(lines[0]) == {"order": "training#2"}


def test_a_failure_is_logged_with_its_keys(lines: list[logging.LogRecord]) -> None:
    """The line about an exception has the keys of the block that raised it, wherever it is logged."""
    try:
        with about(message_id="m1"), about(order="training#1"):
            int("x")
    except ValueError:
        LOG.exception("failed")

    assert keys(lines[0]) == {"order": "training#1", "message_id": "m1"}


def test_each_order_has_its_own_request(lines: list[logging.LogRecord]) -> None:
    """Work on another order within the work on one, as after a cancellation, does not take over its request."""
    with about(message_id="m1"):
        note(order="ecards#granite#1")
        correlate("r1")
        with about(order="ecards#granite#2"):
            correlate(None)
            LOG.info("of an earlier release")
        with about(order="ecards#granite#3"):
            correlate("r3")
            LOG.info("of the other")
        with about(order="ecards#granite#1", partner="granite"):
            LOG.info("within")
        LOG.info("after")
    with about(request="r2"):
        note(order="ecards#granite#1")
        correlate("r1")
        LOG.info("request")

    assert [vars(line).get("correlation") for line in lines] == [None, "r3", "r1", "r1", None]


def test_messages_of_a_batch_are_apart(lines: list[logging.LogRecord]) -> None:
    """Each message's lines have its own id and order, also those of its failure, and no other message's."""

    def handle(body: str) -> None:
        if body == "plain":
            LOG.info("done")
            return
        with about(order=body):
            raise Unavailable if body == "training#1" else ValueError

    bodies = {"m1": "training#1", "m2": "training#2", "m3": "plain"}
    handle_each(({"messageId": name, "body": body} for name, body in bodies.items()), handle)

    assert [(line.message, keys(line)) for line in lines] == [
        ("message will be retried", {"message_id": "m1", "order": "training#1"}),
        ("message failed", {"message_id": "m2", "order": "training#2"}),
        ("done", {"message_id": "m3"}),
    ]


def _told(lines: list[logging.LogRecord], order: str) -> list[tuple[str, Any]]:
    """What the lines about an order say, with the one value that tells more."""
    more = {"order moved": "status", "events published": "types", "event accepted": "type", "request": "route"}
    return [
        (line.message, vars(line).get(more.get(line.message, "mail")))
        for line in lines
        if vars(line).get("order") == order
    ]


def test_an_order_is_followed_by_its_lines(lines: list[logging.LogRecord]) -> None:
    """Every step of an order's work leaves one line with the order's name, its partner, and the request behind it."""
    day = Day()
    day.begin()
    day.world.run()
    training, ecards = "ordering.training_order", "ordering.ecard_order"

    assert sorted(_told(lines, f"training#{day.mailed}"), key=str) == sorted(
        [
            ("request", "POST /api/v2/orders"),
            ("events published", [f"{training}.new", f"{training}.completed"]),
            ("event accepted", f"{training}.new"),
            ("order moved", "Completed"),
            ("event accepted", f"{training}.completed"),
            ("mail sent", 1),
            ("mail reported", 1),
        ],
        key=str,
    )
    name = f"ecards#{COMPANY}#{order_id(1)}"
    assert sorted(_told(lines, name), key=str) == sorted(
        [
            ("request", "POST /v1/orders"),
            ("order moved", "ReadyForDelivery"),
            ("events published", [f"{ecards}.payed", f"{ecards}.ready_for_delivery"]),
            ("event accepted", f"{ecards}.payed"),
            ("event accepted", f"{ecards}.ready_for_delivery"),
            ("mail sent", 1),
            ("order moved", "Delivered"),
            ("events published", [f"{ecards}.delivered"]),
            ("event accepted", f"{ecards}.delivered"),
            ("mail reported", 1),
        ],
        key=str,
    )
    without = [line for line in lines if "order" in vars(line) and "partner" not in vars(line)]
    assert {line.message for line in without} == {"mail reported"}  # SES's event does not name it
    of_orders = [vars(line) for line in lines if "order" in vars(line)]
    assert {line.get("correlation") for line in of_orders if "request" not in line} == {REQUEST_ID}
    assert {line.get("correlation") for line in of_orders if "request" in line} == {None}


def test_deal_orders_are_noted(lines: list[logging.LogRecord]) -> None:
    """A call about a deal order, or about its line items, has the order's name on its line, and a list has none."""
    orders = DealOrders(Table(Memory(), "OrdersTable"), "acme")
    placed = orders.create(26, Decimal(5), Create(lambda _: b"")).resource_id
    calls: list[Callable[[], object]] = [
        lambda: orders.order(placed),
        lambda: orders.change(placed, Decimal(6)),
        lambda: orders.lines(placed).part(ListRequest(0, 25), "ann"),
        lambda: orders.create(27, Decimal(5), Create(lambda _: b"")),
        lambda: orders.remove(placed),
        lambda: orders.part(ListRequest(0, 25), "ann"),
    ]
    for call in calls:
        with about(partner="acme"):
            call()
            LOG.info("request")
    first, second = (f"deals#acme#{number}" for number in (placed, placed + 1))

    assert [keys(line).get("order") for line in lines] == [first, first, first, second, first, None]


def test_work_that_fails_names_its_order(lines: list[logging.LogRecord]) -> None:
    """If KMS is down for an hour, the lines about access keys that were not issued name their orders."""
    day = Day()

    def down(step: Step, do: Do) -> dict[str, Any]:
        if step.service == "kms" and step.function == "fulfilment/stream" and step.at < START + timedelta(hours=1):
            raise Unavailable
        return do()

    day.begin()
    day.world.mishap = down
    day.world.run()
    failed = {vars(line)["order"] for line in lines if line.message == "access keys not issued"}

    assert failed == {f"training#{order}" for order in (day.plain, day.mailed)}
