"""The examples of the published reference: the same requests get the same answers."""

from __future__ import annotations

import json
from decimal import Decimal

from ordering.ecards.catalogue import Ecard, FaceValue
from ordering.values import replace
from support.deals import Watch
from support.ecards import CARDS, JSON, Rewards, card, invalid, new_order

LISTED = """
{
"data": [
{
"id": "ef4eb23e-1cf0-4cbe-82c6-c118e5605042",
"number": 3048,
"createdDate": "2020-01-11T16:13:56.814239",
"status": "Created",
"participantLogin": "sss@ss.ss_company",
"total": 2200
},
{
"id": "ef4eb23e-1cf0-4cbe-82c6-c118e5605041",
"number": 3047,
"createdDate": "2020-01-11T15:58:05.816375",
"status": "Created",
"participantLogin": "sss@ss.ss_company",
"total": 1000
}
],
"totalPages": 1,
"currentPage": 1,
"pageSize": 20
}
"""
TO_CREATE = """
{
"orderId": "B5AA69DF-61A5-4D97-B1FB-4F6772DFBBEB",
"participant": {
"email": "test@test.test",
"phone": "79251153242",
"name": "John Doe"
},
"ecards": [
{
"id": "1",
"quantity": 1,
"faceValue": "100 ₽"
},
{
"id": "2",
"quantity": 4,
"faceValue": "500 ₽"
}
]
}
"""


def test_get_orders(company: Rewards, watch: Watch) -> None:
    """The list is identical to the published one, except that numbers begin at 1."""
    watch.set("2020-01-11T15:58:05.816375Z")
    company.place(1, card(1, "100 ₽", 10), orderId="ef4eb23e-1cf0-4cbe-82c6-c118e5605041")
    watch.set("2020-01-11T16:13:56.814239Z")
    company.place(2, card(1, "1000 ₽", 2), orderId="ef4eb23e-1cf0-4cbe-82c6-c118e5605042")

    reply = company.get("/v1/orders?page=1", headers={"Content-Type": "application/json"})

    published = json.dumps(json.loads(LISTED), separators=(",", ":"))
    assert (reply.status, reply.headers["Content-Type"]) == (200, JSON)
    assert published.replace("3048", "2").replace("3047", "1") == reply.text


def test_create_order(company: Rewards, watch: Watch) -> None:
    """The published create gets 200 and the order as listed, with its id in lower case."""
    watch.set("2020-01-11T16:13:56.814239Z")
    reply = company.send_json(TO_CREATE)

    assert (reply.status, reply.headers["Content-Type"]) == (200, JSON)
    assert reply.json == {
        "id": "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb",
        "number": 1,
        "createdDate": "2020-01-11T16:13:56.814239",
        "status": "Created",
        "participantLogin": "test@test.test_company",
        "total": 2200,
    }


def test_get_order_status(company: Rewards) -> None:
    """An order's status is the published answer, for the id in the client's case."""
    company.send_json(TO_CREATE)

    assert company.get("/v1/orders/B5AA69DF-61A5-4D97-B1FB-4F6772DFBBEB/status").text == '{"status":"Created"}'


def test_missing_email(company: Rewards) -> None:
    """A participant without an e-mail address gets the published error."""
    reply = company.post("/v1/orders", new_order(participant={"phone": "79251153242", "name": "John Doe"}))

    published = (
        '{"message":"Invalid request","status":400,"errors":{"Participant.Email":["The Email field is required."]}}'
    )
    assert (reply.status, reply.text) == (400, published)
    assert list(invalid(reply)) == ["Participant.Email"]


def test_balance(company: Rewards) -> None:
    """The balance is the published text."""
    company.top_up(100_500)

    assert company.get("/v1/balance").text == '{"balance":"100500"}'


def test_a_price_above_the_nominal(company: Rewards) -> None:
    """A face value's price may exceed its nominal value, and totals use the price."""
    company.publish([replace(CARDS[0], face_values=(FaceValue("1000 ₽", Decimal(1100)),))])

    assert company.place(1, card(1, "1000 ₽", 3))["total"] == 3300


def test_cards_are_an_array(company: Rewards) -> None:
    """The cards that can be ordered are an array, with their fields in the published order."""
    company.publish([Ecard(7, "Music", "No adverts.", "month", (FaceValue("1 month", Decimal("199.50")),))])

    assert company.get("/v1/ecards").text == (
        '[{"id":7,"name":"Music","description":"No adverts.","unit":"month",'
        '"faceValues":[{"name":"1 month","price":199.5}]}]'
    )
