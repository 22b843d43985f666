"""What a contract says in the OpenAPI document beside its routes, models and errors; nothing of it serves a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BEARER = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "Contact our support to receive a token: a JWT, or a reference token of 64 hexadecimal "
        "characters. It has many privileges, so keep it safe.",
    }
}
"""The security scheme of every contract that partners call with a token."""

LOCATION = {"description": "A relative link to the new resource.", "schema": {"type": "string"}, "required": True}
"""The `Location` of what was created, for documents."""


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """What the OpenAPI document says about a contract, beside its routes, models and errors."""

    description: str
    """A paragraph of Markdown."""
    tags: Mapping[str, str]
    """What each tag of its operations is about."""
    security: Mapping[str, Any] = field(default_factory=lambda: BEARER)
    """The security schemes by name, each of which all calls need."""
    created: Mapping[str, Any] = field(default_factory=dict)
    """The header fields of answers with 201."""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """The request bodies that no model describes, by the operation's id."""
