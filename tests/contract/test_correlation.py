"""The id of the request that creates an order is kept with it, and in all of its events, however often it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ordering.aws.dynamodb import Item, Table, Update
from ordering.book.names import key_of
from ordering.clock import system_clock
from ordering.contexts import read_history
from ordering.events.types import MailMomentType
from ordering.mail.history import MailMoment, name_of_mails, next_moments
from ordering_tools.documents.event_schemas import schema
from support.aws.memory import Memory
from support.ecards import COMPANY, Rewards, order_id, services_over
from support.ecards import new_order as new_ecard_order
from support.gateway import REQUEST_ID, Reply
from support.orders import new_order, target
from support.training import School

LATER = "d3f1a2b4-0000-4000-8000-00000000cafe"
ECARDS = f"ecards#{COMPANY.partner}#{order_id(1)}"


@dataclass
class Shop:
    """A business unit and a company that create one order each, and what happens to both."""

    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.table = Table(self.memory, "OrdersTable")
        self.school = School(self.memory)
        self.school.place(1)  # publishes the catalogue
        self.company = Rewards(services_over(self.memory), COMPANY)
        self.company.publish()
        self.company.top_up(100)

    def training(self, request: str) -> Reply:
        client = self.school.client
        client.request_id = request
        return client.post(target("orders"), new_order(), headers={"Idempotency-Key": "k"})

    def ecards(self, request: str) -> Reply:
        self.company.request_id = request
        return self.company.post("/v1/orders", new_ecard_order())

    def item(self, name: str) -> Item:
        item = self.table.get(key_of(name))
        assert item
        return item

    def events(self, name: str) -> list[Any]:
        """Read the events of an order and of its mails, and check them."""
        found = [read_history(self.table, one) for one in (name, name_of_mails(name))]
        events = [json.loads(one.event(index).to_text()) for one in found if one for index in range(len(one))]
        for event in events:
            Draft202012Validator(schema(event["type"])).validate(event)
        return events

    def bounce(self, name: str) -> None:
        for put in next_moments(self.table, name, [MailMoment(MailMomentType.BOUNCED, system_clock(), 1)]):
            self.table.put(put)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_training_order_keeps_its_request(shop: Shop) -> None:
    """An order and all of its events have the id of the first create. A retry gets the same bytes, and changes none."""
    first, again = shop.training(REQUEST_ID), shop.training(LATER)
    number = first.json["id"]
    name = f"training#{number}"
    shop.school.issue(number)
    shop.bounce(name)

    assert (first.headers["X-Request-Id"], again.headers["X-Request-Id"]) == (REQUEST_ID, LATER)
    assert again.text == first.text
    assert REQUEST_ID not in first.text
    assert shop.item(name)["correlation"] == REQUEST_ID
    assert [(event["sequence"], event["correlationId"]) for event in shop.events(name)] == [
        (1, REQUEST_ID),
        (2, REQUEST_ID),
        (1, REQUEST_ID),
    ]


def test_an_ecard_order_keeps_its_request(shop: Shop) -> None:
    """An order keeps the id of the first create through its writes, and all of its events have it."""
    first, again = shop.ecards(REQUEST_ID), shop.ecards(LATER)
    shop.company.load(1)
    shop.company.orders.advance(order_id(1))
    shop.company.orders.hand_over(shop.company.orders.order(order_id(1)), 1)
    shop.bounce(ECARDS)
    events = shop.events(ECARDS)

    assert again.text == first.text
    assert shop.item(ECARDS)["correlation"] == REQUEST_ID
    assert shop.item(ECARDS)["status"] == "Delivered"
    assert [event["type"].rpartition(".")[2] for event in events] == [
        "payed",
        "ready_for_delivery",
        "delivered",
        "mail_bounced",
    ]
    assert {event["correlationId"] for event in events} == {REQUEST_ID}


def test_an_order_of_an_earlier_release(shop: Shop) -> None:
    """An order that lacks the attribute goes on as before, and its events do not have the field."""
    number = shop.training(REQUEST_ID).json["id"]
    shop.ecards(REQUEST_ID)
    for name in (f"training#{number}", ECARDS):
        shop.table.update(Update(key_of(name), "REMOVE correlation"))
        shop.bounce(name)
    shop.school.issue(number)
    shop.company.load(1)
    shop.company.orders.advance(order_id(1))
    for name, status in ((f"training#{number}", "completed"), (ECARDS, "ready_for_delivery")):
        assert "correlation" not in shop.item(name)
        assert ["correlationId" in event for event in shop.events(name)] == [False] * 3
        assert shop.events(name)[1]["type"].endswith(status)


def test_the_fingerprint_is_that_of_the_contents(shop: Shop) -> None:
    """The id of the request does not count as contents: orders of different requests have the same fingerprint."""
    shop.ecards(REQUEST_ID)
    other = Shop()
    other.ecards(LATER)

    assert other.item(ECARDS)["correlation"] == LATER
    assert other.item(ECARDS)["fingerprint"] == shop.item(ECARDS)["fingerprint"]
