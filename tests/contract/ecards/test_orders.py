"""Orders: created once, with exact totals, and read with all their details."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ordering.ecards.catalogue import Ecard, FaceValue
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.deals import Watch
from support.ecards import CARDS, COMPANY, ORDER_FIELDS, Rewards, card, invalid, new_order, order_id, refused
from support.services import Services

ID = "b5aa69df-61a5-4d97-b1fb-4f6772dfbbeb"


def test_created_as_listed(company: Rewards) -> None:
    """A create is answered with 200 and the order exactly as the list shows it."""
    reply = company.post("/v1/orders", new_order())

    assert reply.status == 200
    assert f'"data":[{reply.text}]' in company.get("/v1/orders").text


@pytest.mark.parametrize("written", [ID, ID.upper(), "B5aa69DF-61a5-4d97-b1fb-4f6772dfBBEB"])
def test_order_id_in_any_case(company: Rewards, written: str) -> None:
    """An order id is case-insensitive and shown in lower case."""
    created = company.place(orderId=written)

    assert created["id"] == ID
    assert company.place(orderId=ID.swapcase()) == created
    assert company.read(f"/v1/orders/{written}")["id"] == ID


def test_the_same_order_again(company: Rewards, recorder: Recorder) -> None:
    """A duplicate create returns the order, writes nothing and debits nothing."""
    company.top_up(1_000)
    first = company.place(1, card(quantity=2))
    recorder.calls.clear()
    again = company.place(1, card(quantity=2))

    assert again == first
    assert (recorder.writes, company.balance, len(company.read("/v1/orders")["data"])) == ([], "800", 1)


def test_the_same_order_in_another_notation(company: Rewards) -> None:
    """A create is a duplicate despite another field order, ignored fields, or other notations of numbers."""
    first = company.place(1, card(2, "500 ₽"))
    body = new_order(1, {"faceValue": "500 ₽", "more": 1, "id": "2", "quantity": 1.0}, comment="again")

    assert company.post("/v1/orders", dict(reversed(body.items()))).json == first


def test_the_same_order_later(company: Rewards, watch: Watch) -> None:
    """A duplicate create returns the order's current status with its original date and price."""
    first = company.place()
    company.publish([replace(CARDS[0], face_values=(FaceValue("100 ₽", Decimal(900)),))])
    company.top_up(500)
    watch.pass_(3_600)

    assert company.place() == {**first, "status": "Payed"}


def test_the_same_order_after_the_catalogue_changed(company: Rewards) -> None:
    """A duplicate create returns the order even if its cards are no longer offered."""
    first = company.place()
    company.publish([])

    assert company.place() == first
    assert "Ecards[0].Id" in invalid(company.post("/v1/orders", new_order(2)))


PARTICIPANT = {"email": "sss@ss.ss", "phone": "79251153242", "name": "John Doe"}


@pytest.mark.parametrize(
    "changes",
    [
        {"participant": {**PARTICIPANT, "email": "other@ss.ss"}},
        {"participant": {**PARTICIPANT, "name": "Jane Doe"}},
        {"participant": {**PARTICIPANT, "phone": "79251153243"}},
        {"ecards": [card(quantity=2)]},
        {"ecards": [card(face_value="1000 ₽")]},
        {"ecards": [card(2, "500 ₽")]},
        {"ecards": [card(), card()]},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_another_order_under_the_id(company: Rewards, changes: dict[str, Any]) -> None:
    """A different body under an existing order id is 409 and changes nothing."""
    company.top_up(5_000)
    company.place()
    before = company.get(f"/v1/orders/{order_id(1)}").text

    assert "orderId" in refused(company.post("/v1/orders", new_order(**changes)), 409)
    assert company.get(f"/v1/orders/{order_id(1)}").text == before
    assert (company.balance, len(company.read("/v1/orders")["data"])) == ("4900", 1)


def test_lines_in_another_order(company: Rewards) -> None:
    """The same cards in another sequence are a different body."""
    company.place(1, card(1), card(2, "500 ₽"))

    refused(company.post("/v1/orders", new_order(1, card(2, "500 ₽"), card(1))), 409)


def test_an_id_of_another_company(company: Rewards, stranger: Rewards) -> None:
    """An order id that another company uses is free."""
    company.place()

    assert stranger.place(1, card(2, "500 ₽"))["total"] == 525


@pytest.mark.parametrize("card_id", [1, 1.0, "1", "01", "0000000001"], ids=repr)
def test_ids_as_text(company: Rewards, card_id: Any) -> None:
    """A card's id may be sent as a number or text, and is shown as an integer."""
    company.place(1, card(card_id))

    assert company.read(f"/v1/orders/{order_id(1)}")["ecards"][0]["id"] == 1


def test_fields_that_are_not_known(company: Rewards) -> None:
    """Unknown fields are ignored wherever they are."""
    body = new_order(1, {**card(), "price": 1, "Quantity": 7}, status="Payed", total=0, ORDERID="x")
    body["participant"]["age"] = 30
    company.post("/v1/orders", body)
    details = company.read(f"/v1/orders/{order_id(1)}")

    assert (details["status"], details["total"]) == ("Created", 100)
    assert list(details["participant"]) == ["email", "name", "phone"]


@pytest.mark.parametrize(
    ("cards", "total"),
    [
        ([card()], "100"),
        ([card(1, "1000 ₽")], "1100"),
        ([card(1, "1000 ₽", 2), card(2, "500 ₽", 3)], "3775"),
        ([card(3, "1 month")], "199.5"),
        ([card(3, "1 month", 2)], "399"),
        ([card(3, "1 month", 999)], "199300.5"),
        ([card(3, "1 month", 1), card(3, "1 month", 1)], "399"),
        ([card(3, "gift", 5)], "0"),
        ([card(1, "100 ₽", 1_000)], "100000"),
    ],
    ids=str,
)
def test_totals(company: Rewards, cards: list[dict[str, Any]], total: str) -> None:
    """A total is a JSON number, the exact sum of price times quantity without trailing zeros."""
    reply = company.post("/v1/orders", new_order(1, *cards))

    assert reply.text.endswith(f'"total":{total}}}')


def test_totals_have_no_binary_fractions(company: Rewards) -> None:
    """Totals and debits are exact where binary fractions would not be."""
    company.publish(
        [Ecard(9, "Cents", "", "ruble", (FaceValue("a", Decimal("0.10")), FaceValue("b", Decimal("0.07"))))]
    )
    company.top_up("1000.01")
    reply = company.post("/v1/orders", new_order(1, card(9, "a", 3), card(9, "b", 7)))

    assert reply.text.endswith('"total":0.79}')
    assert company.balance == "999.22"


def test_the_largest_order(company: Rewards) -> None:
    """The largest order at the highest price is accepted, with an exact total."""
    company.publish([Ecard(2**31 - 1, "Gold", "", "ruble", (FaceValue("n", Decimal("9999999.99")),))])
    reply = company.post("/v1/orders", new_order(1, *[card(2**31 - 1, "n", 1_000)] * 100))

    assert reply.text.endswith('"total":999999999000}')
    assert len(company.read(f"/v1/orders/{order_id(1)}")["ecards"]) == 100


def test_a_face_value_by_its_name(company: Rewards) -> None:
    """A face value is identified only by its name at its own card."""
    for wrong in ("1100", "1000", "1000₽", "1000 ₽ ", "500 ₽", "1 month"):
        errors = invalid(company.post("/v1/orders", new_order(1, card(1, wrong))))
        assert list(errors) == ["Ecards[0].FaceValue"]
    assert company.place(1, card(1, "1000 ₽"))["total"] == 1100


def test_a_card_that_is_not_offered(company: Rewards, stranger: Rewards) -> None:
    """Each card or face value that is not offered is reported, and nothing is created."""
    stranger.publish([CARDS[1]])
    errors = invalid(stranger.post("/v1/orders", new_order(1, card(1), card(2, "500 ₽"), card(2, "1 ₽"), card(99))))

    assert list(errors) == ["Ecards[0].Id", "Ecards[2].FaceValue", "Ecards[3].Id"]
    assert stranger.read("/v1/orders")["data"] == []
    assert company.place(1, card(1))["total"] == 100


def test_details(company: Rewards, watch: Watch) -> None:
    """Details are the listed fields, the participant, the priced cards and the history."""
    company.top_up("1299.5")
    created = company.place(1, card(3, "1 month"), card("1", "1000 ₽"))
    details = company.read(f"/v1/orders/{order_id(1)}")

    assert list(details) == [*ORDER_FIELDS, "participant", "ecards", "history"]
    assert details == {
        **created,
        "participant": {"email": "sss@ss.ss", "name": "John Doe", "phone": "79251153242"},
        "ecards": [
            {"id": 3, "quantity": 1, "faceValue": "1 month", "price": 199.5},
            {"id": 1, "quantity": 1, "faceValue": "1000 ₽", "price": 1100},
        ],
        "history": [{"status": "Payed", "at": created["createdDate"]}],
    }
    assert watch.time.isoformat() == created["createdDate"].removesuffix(".000000") + "+00:00"


def test_prices_are_those_of_the_order(company: Rewards) -> None:
    """An order keeps its prices when the catalogue changes."""
    company.place()
    before = company.get(f"/v1/orders/{order_id(1)}").text
    company.publish([replace(CARDS[0], face_values=(FaceValue("100 ₽", Decimal(200)),))])

    assert company.get(f"/v1/orders/{order_id(1)}").text == before
    assert company.place(2)["total"] == 200


def test_text_is_kept_as_it_is(company: Rewards) -> None:
    """Names and phones of any script are shown as they were sent."""
    participant = {"email": "A.b+c@Ss.ss", "name": " Иван «Нил» 🎁 ", "phone": "+7 (925) 115-32-42"}
    created = company.place(participant=participant)

    assert created["participantLogin"] == "A.b+c@Ss.ss_company"
    assert company.read(f"/v1/orders/{order_id(1)}")["participant"] == participant


def test_catalogue(company: Rewards) -> None:
    """Cards are shown as published, with their fields and face values in order."""
    shown = company.read("/v1/ecards")

    assert [one["id"] for one in shown] == [1, 2, 3]
    assert list(shown[0]) == ["id", "name", "description", "unit", "faceValues"]
    assert shown[2] == {
        "id": 3,
        "name": "Music",
        "description": "No adverts.",
        "unit": "month",
        "faceValues": [{"name": "1 month", "price": 199.5}, {"name": "gift", "price": 0}],
    }


def test_empty_catalogue(services: Services) -> None:
    """A company without a catalogue gets an empty array."""
    newcomer = Rewards(services, COMPANY)

    assert newcomer.get("/v1/ecards").text == "[]"


def test_all_that_is_shown_can_be_ordered(company: Rewards) -> None:
    """Every card shown can be ordered at the price shown."""
    offers = [(one["id"], value) for one in company.read("/v1/ecards") for value in one["faceValues"]]

    totals = [company.place(n, card(one, value["name"]))["total"] for n, (one, value) in enumerate(offers, 1)]
    assert totals == [value["price"] for _, value in offers]


@pytest.mark.parametrize(
    ("paid_in", "shown"),
    [("100500", "100500"), ("100.50", "100.50"), ("0.01", "0.01"), ("1e7", "10000000"), ("99999999.90", "99999999.90")],
)
def test_balance(company: Rewards, paid_in: str, shown: str) -> None:
    """A balance is text, whole or with two decimals, never with an exponent."""
    company.top_up(paid_in)

    assert company.get("/v1/balance").text == f'{{"balance":"{shown}"}}'


def test_no_balance(company: Rewards, stranger: Rewards) -> None:
    """A company without a top-up has a balance of 0."""
    company.top_up(100)

    assert (company.balance, stranger.balance) == ("100", "0")


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders?page=1", f"/v1/orders/{order_id(1)}",
                                  f"/v1/orders/{order_id(1)}/status", "/v1/ecards", "/v1/balance"])  # fmt: skip
def test_trailing_slashes(company: Rewards, path: str) -> None:
    """A trailing slash in a path is ignored."""
    company.place()
    target, _, query = path.partition("?")
    slashed = company.get(f"{target}/?{query}")

    assert slashed.status == 200
    assert slashed.text == company.get(path).text


def test_a_trailing_slash_on_a_create(company: Rewards) -> None:
    """A trailing slash in a create's path is ignored."""
    assert company.post("/v1/orders/", new_order()).json == company.place()
