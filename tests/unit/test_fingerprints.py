"""Fingerprints of requests: stored with orders and idempotency keys, so they outlive the release that made them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from ordering.deals.contract import DealLineItemRequestData, DealOrderRequestData, DealProductRequestData, Envelope
from ordering.ecards.catalogue import RequestedCard
from ordering.ecards.orders import EcardRequest
from ordering.ecards.records import EcardParticipant
from ordering.training.contract import TrainingOrderItemRequest, TrainingOrderRequest
from ordering.values import replace
from ordering.web.idempotent_creates import fingerprint
from support.partners import IRELAND, STANDARD, UK

ORDER_ID = "00000000-0000-0000-0000-000000000001"
ECARDS = "0f6fdbca00b495551573706c16d466fdcb2f966470d7d3ffb166dceeffbef969"
TRAINING = "6806fef6a6f4490f47cb1b47926f18a8461bf242a388d62a36bd20cd54932b67"


class LaterRequest(EcardRequest):
    """A request of a later release, with one more field."""

    expedite: bool = False


class LaterParticipant(EcardParticipant):
    """A participant of a later release, with one more field."""

    language: str | None = None


class LaterCard(RequestedCard):
    """A card of a later release, with one more field."""

    greeting: str = ""


def ecards(
    request: type[EcardRequest] = EcardRequest,
    participant: type[EcardParticipant] = EcardParticipant,
    card: type[RequestedCard] = RequestedCard,
) -> EcardRequest:
    asked = [card(1, "100 ₽", 2), card(2, "500 ₽", 1)]
    return request(ORDER_ID, participant("sss@ss.ss", "John Doe", "79251153242"), asked)


def test_fingerprint_of_an_ecard_order_stays() -> None:
    """The fingerprint of an e-card request equals the one that earlier releases stored with orders."""
    assert ecards().fingerprint == ECARDS


def test_new_fields_of_an_ecard_order_leave_its_fingerprint() -> None:
    """A field added anywhere in an e-card request changes the fingerprint only if it is used."""
    later = ecards(LaterRequest, LaterParticipant, LaterCard)
    assert isinstance(later, LaterRequest)
    assert isinstance(later.participant, LaterParticipant)
    used = [
        replace(later, expedite=True),
        replace(later, participant=replace(later.participant, language="ru")),
        replace(later, cards=[LaterCard(1, "100 ₽", 2, "Thanks!"), LaterCard(2, "500 ₽", 1)]),
        replace(later, cards=[LaterCard(1, "100 ₽", 2), LaterCard(2, "500 ₽", 1, "Thanks!")]),
    ]

    assert later.fingerprint == ECARDS
    assert len({ECARDS, *(request.fingerprint for request in used)}) == 5


def test_every_field_of_an_ecard_order_counts() -> None:
    """Every field of an e-card request changes its fingerprint, except the order's id."""
    request = ecards()
    cards = request.cards
    others = [
        replace(request, participant=replace(request.participant, **{name: "other"}))
        for name in ("email", "name", "phone")
    ]
    others += [
        replace(request, cards=changed)
        for changed in (
            cards[:1],
            cards[::-1],
            [replace(cards[0], card_id=3), cards[1]],
            [replace(cards[0], face_value="x"), cards[1]],
            [replace(cards[0], quantity=3), cards[1]],
        )
    ]

    assert len({ECARDS, *(other.fingerprint for other in others)}) == 9
    assert replace(request, order_id="other").fingerprint == ECARDS


class LaterItem(TrainingOrderItemRequest):
    """An item of a later release, with one more field before the others."""

    language: str | None = None


class LaterOrder(TrainingOrderRequest):
    """An order of a later release, with one more field."""

    expedite: bool = False
    orderItems: list[LaterItem]  # type: ignore[assignment] # noqa: N815 - the contract's name, for items of today and more


ORDER: dict[str, Any] = {
    "purchaseOrderReference": "PO-1",
    "emailKeys": True,
    "contactEmail": "ann@example.com",
    "orderItems": [
        {"featureSetId": STANDARD.id, "quantity": 2, "sourceReference": "höhe"},
        {"featureSetId": STANDARD.id, "quantity": 1, "enableFeedbackLink": True},
    ],
}


def test_fingerprint_of_a_training_order_stays() -> None:
    """The fingerprint of a training request equals the one that earlier releases stored with idempotency keys."""
    assert TrainingOrderRequest.model_validate(ORDER).fingerprint(UK.id) == TRAINING
    assert TrainingOrderRequest.model_validate(ORDER).fingerprint(IRELAND.id) != TRAINING


def test_new_fields_of_a_training_order_leave_its_fingerprint() -> None:
    """A field added anywhere in a training request changes the fingerprint only if it is used."""
    used = {**ORDER, "orderItems": [{**item, "language": "ru"} for item in ORDER["orderItems"]]}

    assert LaterOrder.model_validate(ORDER).fingerprint(UK.id) == TRAINING
    assert LaterOrder.model_validate({**ORDER, "expedite": True}).fingerprint(UK.id) != TRAINING
    assert LaterOrder.model_validate(used).fingerprint(UK.id) != TRAINING


DEALS: dict[str, tuple[type[BaseModel], dict[str, Any], str]] = {
    "/v2/orders": (
        DealOrderRequestData,
        {"deal_id": 12, "discount": 50},
        "6ca0fcbd1612c60ea63cf0b7055edf8f75121a1379a62a9a01d376b22bf161b4",
    ),
    "/v2/orders/1/line_items": (
        DealLineItemRequestData,
        {"product_id": 1, "currency": "EUR", "quantity": "2"},
        "60ad5ac0c0198541a8848a4e15179e78459d0712dc65500b1aa0c25ade25eb85",
    ),
    "/v2/products": (
        DealProductRequestData,
        {"name": "x", "prices": [{"amount": "10.50", "currency": "EUR"}]},
        "e7918298f97cbe7c4555a6db5066133fc3c08678f62c965bcc716b9cbd806a41",
    ),
}


@pytest.mark.parametrize("path", DEALS)
def test_fingerprints_of_deal_creates_stay(path: str) -> None:
    """The fingerprint of each `/v2` create equals the one that earlier releases stored with idempotency keys."""
    model, attributes, expected = DEALS[path]
    body = Envelope[model].model_validate({"data": attributes})  # type: ignore[valid-type] # one of the three

    assert fingerprint(path, body) == expected
