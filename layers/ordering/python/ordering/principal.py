"""The caller of a request, as the authorizer passes it to every function."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from ordering import stored
from ordering.values import Value, asdict

PaymentTerms = Literal["invoice", "card"]
Plan = Literal["basic", "enterprise"]

GRANTS: Mapping[str, str] = MappingProxyType(
    {
        "training": "Order training, and read products and orders.",
        "training-keys": "Read the access keys of training orders.",
        "deals": "Keep the orders, line items and products of deals.",
        "ecards": "Order e-cards, and read orders and the balance.",
        "ecard-certificates": "Read the certificates of e-card orders.",
    }
)
"""The grants that a partner, and the scope of a token, can have, with a description each."""


class BusinessUnit(Value):
    """A part of a partner that has its own training orders."""

    id: str
    name: str


class User(Value):
    """The person, or the service, that a token was issued to; `user_name` is an e-mail address."""

    id: str
    forename: str
    surname: str
    user_name: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.forename} {self.surname}".strip()


class OrderSource(Value):
    """The channel that a partner's orders come through."""

    id: str
    name: str
    invoiceable: bool


class DealTerms(Value):
    """The plan of a CRM account, and whether its administrator disabled changes to deal orders."""

    plan: Plan
    changes_disabled: bool = False


class Company(Value):
    """A company that orders e-cards for participants of its programmes."""

    id: str
    name: str


class Principal(Value):
    """A caller: the partner, the user its token stands for, and what that token covers."""

    partner: str
    user: User
    business_units: tuple[str, ...]
    """The ids of the business units that the token covers."""
    order_source: OrderSource
    payment_terms: PaymentTerms
    grants: tuple[str, ...]
    deals: DealTerms | None = None
    """None if the partner has no deal orders."""
    company: str | None = None
    """The company's name; None if the partner orders no e-cards."""
    narrowed: bool = False
    """Whether the token covers less than the partner may do."""
    token_id: str = ""
    """The token's `jti`."""

    def to_text(self) -> str:
        """Convert it for the authorizer's context, whose values can only be text."""
        return json.dumps(self, default=asdict, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Principal:
        """Convert back from `to_text`."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            partner=raw["partner"],
            user=stored.read(User, raw["user"]),
            # An authorizer of an older release writes each unit with its name.
            business_units=tuple(unit if isinstance(unit, str) else unit["id"] for unit in raw["business_units"]),
            order_source=stored.read(OrderSource, raw["order_source"]),
            payment_terms=raw["payment_terms"],
            grants=tuple(raw["grants"]),
            deals=stored.read(DealTerms, deals) if (deals := raw.get("deals")) else None,
            company=raw.get("company"),
            narrowed=raw.get("narrowed", True),
            token_id=raw.get("token_id", ""),
        )
