"""A contract's part of the OpenAPI document beside its routes, models and errors. No request uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ordering.principal import GRANTS

ACCESS_TOKEN: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "Contact our support to receive a token: a JWT, or a reference token of 64 hexadecimal "
        "characters. It has many privileges, so keep it safe.",
    },
    "oauth2": {
        "type": "oauth2",
        "description": "A client's id and secret get a token for an hour.",
        "flows": {"clientCredentials": {"tokenUrl": "/connect/token", "scopes": dict(GRANTS)}},
    },
}
"""The security schemes of all APIs that need an access token: two ways to the same token."""

LOCATION = {
    "description": "A relative link to the new resource, with the query that is needed to follow it.",
    "schema": {"type": "string"},
    "required": True,
}
"""The header field `Location` of responses with 201."""


A_NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 1}
A_UUID: Mapping[str, Any] = {"type": "string", "format": "uuid"}
"""Schemas of ids in paths."""


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """A contract's part of the OpenAPI document, beside its routes, models and errors."""

    description: str
    """A paragraph of Markdown."""
    tags: Mapping[str, str]
    """The tags of its operations, with a description each."""
    security: Mapping[str, Any] = field(default_factory=lambda: ACCESS_TOKEN)
    """The security schemes by name; a call needs one of them."""
    created: Mapping[str, Any] = field(default_factory=dict)
    """The header fields of answers with 201."""
    ids: Mapping[str, tuple[Mapping[str, Any], str]] = field(default_factory=dict)
    """The ids in paths by parameter: the schema of those that exist, and a description."""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """The request bodies that have no model, by operation id."""
