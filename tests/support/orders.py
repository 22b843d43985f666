"""Orders to send, where to send them, and who sends them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from ordering.clock import Deadline
from ordering.principal import BusinessUnit
from ordering.training.catalogue import TrainingFeatureSet, TrainingProduct
from ordering.values import replace
from support.gateway import Client
from support.partners import AZ_300, CALLER, LINUX, ON_LINUX, PARTNER, STANDARD, UK
from support.services import Services

Offer = Iterable[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]


def target(path: str, unit: BusinessUnit = UK, **query: object) -> str:
    """Write a path of the contract with its query."""
    return f"/api/v2/{path}?{urlencode({'businessUnitId': unit.id, **query})}"


def new_item(**changes: Any) -> dict[str, Any]:
    return {"featureSetId": STANDARD.id, "quantity": 1, **changes}


def new_order(**changes: Any) -> dict[str, Any]:
    """Make the body of a create with nothing optional in it, unless `changes` has it."""
    return {"purchaseOrderReference": "PO-1", "emailKeys": False, "orderItems": [new_item()], **changes}


def publish(services: Services, unit: BusinessUnit, offer: Offer) -> None:
    services.catalogue(unit, Deadline.after(60)).publish(offer)


def client_of_new_unit(
    services: Services, offer: Offer = ((AZ_300, [STANDARD]), (LINUX, [ON_LINUX]))
) -> tuple[Client, BusinessUnit]:
    """Make a caller of a business unit that nothing else uses; its token covers that unit only."""
    unit = BusinessUnit(str(uuid.uuid4()), "Alone")
    publish(services, unit, offer)
    partner = replace(PARTNER, id=f"partner-of-{unit.id}", business_units=(unit,))
    services.accounts(Deadline.after(60)).save_partner(partner)
    return Client(services, replace(CALLER, partner=partner.id, business_units=(unit.id,))), unit
