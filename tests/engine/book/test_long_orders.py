"""An order of 500 items is one transaction, within the service's limits, and comes back whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.engines import Engine
from ordering.book.idempotency import CreateResult, IdempotencyKey
from ordering.clock import Deadline
from ordering.training.orders import RequestedLine, TrainingOrders, TrainingRequest
from ordering.values import replace
from ordering.web.http import LARGEST_BODY
from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.orders import client_of_new_unit
from support.partners import AZ_300, CALLER, STANDARD
from support.services import Services

ITEMS = 500
MOST_WRITES = 100
MOST_BYTES = 4 * 1024 * 1024
MOST_BYTES_OF_AN_ITEM = 400 * 1024


def place(send: Recorder, line: RequestedLine, items: int = ITEMS) -> tuple[TrainingOrders, CreateResult]:
    """Place an order of so many items, with an idempotency key."""
    services = Services(send, "OrdersTable", "CatalogueTable", "AccountsTable")
    named = replace(AZ_300, name="N" * 255)
    _, unit = client_of_new_unit(services, [(named, [replace(STANDARD, product_name=named.name)])])
    deadline = Deadline.after(30)
    orders = services.training_orders(unit, deadline)
    placed = orders.place(
        CALLER,
        TrainingRequest("PO-1", email_keys=False, contact_email=None, lines=[line] * items),
        answer=lambda order: b"x" * len(json.dumps({"id": order.id, "reference": order.reference})),
        once=IdempotencyKey(f"key of {unit.id}", "fingerprint"),
        catalogue=services.catalogue(unit, deadline),
        unit_name=unit.name,
        accounts=services.accounts(deadline),
    )
    return orders, placed


def fills(send: Recorder) -> list[dict[str, Any]]:
    """The transactions of orders; the catalogue's is another."""
    return [request for operation, request in send.calls if operation == "TransactWriteItems" and _of_orders(request)]


def _of_orders(request: dict[str, Any]) -> bool:
    return all(body["TableName"] == "OrdersTable" for write in request["TransactItems"] for body in write.values())


def line_of(letter: str) -> RequestedLine:
    """The longest item that the contract allows, of one letter."""
    return RequestedLine(
        feature_set_id=STANDARD.id,
        quantity=999_999,
        source_reference=letter * 255,
        feedback_link_uri=f"https://example.com/{letter * 2_028}",
        feedback_link_text=letter * 255,
        enable_feedback_link=True,
        achievement_code=letter * 255,
    )


@pytest.mark.parametrize(
    "line", [RequestedLine(feature_set_id=STANDARD.id, quantity=1), line_of("a")], ids=["shortest", "longest"]
)
def test_five_hundred_items(engine: Engine, line: RequestedLine) -> None:
    """500 items go in one transaction of at most 100 writes and 4 MB, and all of them come back in their order."""
    send = Recorder(engine.send)
    orders, placed = place(send, line)
    lines = orders.lines(placed.resource_id, 0, ITEMS)

    (fill,) = fills(send)
    assert len(fill["TransactItems"]) <= MOST_WRITES
    assert len(json.dumps(fill, ensure_ascii=False, default=str).encode()) <= MOST_BYTES
    assert [*range(1, ITEMS + 1)] == [line.number for line in lines.items]
    assert {line} == {
        RequestedLine(**{name: getattr(line, name) for name in RequestedLine.__struct_fields__}) for line in lines.items
    }
    assert lines.total == ITEMS
    assert [order.id for order in orders.page(0, 10).items] == [placed.resource_id]


WIDE = "\N{BOOKS}"
SHORT = RequestedLine(
    feature_set_id=STANDARD.id, quantity=1, source_reference=WIDE * 255, feedback_link_text=WIDE * 255
)


@pytest.mark.parametrize(("line", "items"), [(SHORT, 500), (line_of(WIDE), 95)], ids=["many items", "long items"])
def test_largest_body(line: RequestedLine, items: int) -> None:
    """The largest body that the contract takes goes in one transaction, whatever its letters are."""
    texts = [line.source_reference, line.feedback_link_uri, line.feedback_link_text, line.achievement_code]
    assert items * sum(len((text or "").encode()) for text in texts) >= LARGEST_BODY * 0.95
    send = Recorder(Memory())
    orders, placed = place(send, line, items)

    (fill,) = fills(send)
    writes = [len(json.dumps(write, ensure_ascii=False).encode()) for write in written(fill)]
    assert len(writes) <= MOST_WRITES
    assert sum(writes) <= MOST_BYTES
    assert max(writes) <= MOST_BYTES_OF_AN_ITEM
    assert orders.lines(placed.resource_id, 0, ITEMS).total == items


def written(fill: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of a transaction of puts; in their notation on the wire, which is longer than what DynamoDB counts."""
    return [
        {name: value for name, value in write["Put"]["Item"].items() if name != "answer"}
        for write in fill["TransactItems"]
    ]
