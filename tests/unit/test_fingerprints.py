"""Fingerprints of requests: stored with orders and idempotency keys, so they outlive the release that made them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ordering.ecards.catalogue import RequestedCard
from ordering.ecards.orders import EcardRequest
from ordering.ecards.records import EcardParticipant
from ordering.training.contract import NewOrder, NewOrderItem
from support.partners import IRELAND, STANDARD, UK

ORDER_ID = "00000000-0000-0000-0000-000000000001"
ECARDS = "0f6fdbca00b495551573706c16d466fdcb2f966470d7d3ffb166dceeffbef969"
TRAINING = "6806fef6a6f4490f47cb1b47926f18a8461bf242a388d62a36bd20cd54932b67"


@dataclass(frozen=True, slots=True)
class LaterRequest(EcardRequest):
    """A request with a field that a later release adds."""

    expedite: bool = False


@dataclass(frozen=True, slots=True)
class LaterParticipant(EcardParticipant):
    """Likewise."""

    language: str | None = None


@dataclass(frozen=True, slots=True)
class LaterCard(RequestedCard):
    """Likewise."""

    greeting: str = ""


def ecards(
    request: type[EcardRequest] = EcardRequest,
    participant: type[EcardParticipant] = EcardParticipant,
    card: type[RequestedCard] = RequestedCard,
) -> EcardRequest:
    asked = [card(1, "100 ₽", 2), card(2, "500 ₽", 1)]
    return request(ORDER_ID, participant("sss@ss.ss", "John Doe", "79251153242"), asked)


def test_fingerprint_of_an_ecard_order_stays() -> None:
    """A request for e-cards has the fingerprint that is stored with orders of earlier releases."""
    assert ecards().fingerprint == ECARDS


def test_new_fields_of_an_ecard_order_leave_its_fingerprint() -> None:
    """A field that is added anywhere in a request for e-cards changes its fingerprint only if it is used."""
    later = ecards(LaterRequest, LaterParticipant, LaterCard)
    assert isinstance(later, LaterRequest)
    assert isinstance(later.participant, LaterParticipant)
    used = [
        replace(later, expedite=True),
        replace(later, participant=replace(later.participant, language="ru")),
        replace(later, wishes=[LaterCard(1, "100 ₽", 2, "Thanks!"), LaterCard(2, "500 ₽", 1)]),
        replace(later, wishes=[LaterCard(1, "100 ₽", 2), LaterCard(2, "500 ₽", 1, "Thanks!")]),
    ]

    assert later.fingerprint == ECARDS
    assert len({ECARDS, *(request.fingerprint for request in used)}) == 5


def test_every_field_of_an_ecard_order_counts() -> None:
    """A request that differs in anything but the order's id has another fingerprint."""
    request = ecards()
    cards = request.wishes
    others = [
        replace(request, participant=replace(request.participant, **{name: "other"}))
        for name in ("email", "name", "phone")
    ]
    others += [
        replace(request, wishes=wishes)
        for wishes in (
            cards[:1],
            cards[::-1],
            [replace(cards[0], card_id=3), cards[1]],
            [replace(cards[0], face_value="x"), cards[1]],
            [replace(cards[0], quantity=3), cards[1]],
        )
    ]

    assert len({ECARDS, *(other.fingerprint for other in others)}) == 9
    assert replace(request, order_id="other").fingerprint == ECARDS


class LaterItem(NewOrderItem):
    """An item with a field that a later release adds, before those that are there."""

    language: str | None = None


class LaterOrder(NewOrder):
    """Likewise."""

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
    """A request for training has the fingerprint that is stored with idempotency keys of earlier releases."""
    assert NewOrder.model_validate(ORDER).fingerprint(UK) == TRAINING
    assert NewOrder.model_validate(ORDER).fingerprint(IRELAND) != TRAINING


def test_new_fields_of_a_training_order_leave_its_fingerprint() -> None:
    """A field that is added anywhere in a request for training changes its fingerprint only if it is used."""
    used = {**ORDER, "orderItems": [{**item, "language": "ru"} for item in ORDER["orderItems"]]}

    assert LaterOrder.model_validate(ORDER).fingerprint(UK) == TRAINING
    assert LaterOrder.model_validate({**ORDER, "expedite": True}).fingerprint(UK) != TRAINING
    assert LaterOrder.model_validate(used).fingerprint(UK) != TRAINING
