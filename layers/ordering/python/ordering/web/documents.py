"""A contract's part of the OpenAPI document beside its routes, models and errors. No request uses it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, WithJsonSchema

from ordering.identifiers import LARGEST_NUMBER
from ordering.principal import GRANTS
from ordering.values import Value, field

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


A_NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": LARGEST_NUMBER}
A_UUID: Mapping[str, Any] = {"type": "string", "format": "uuid"}
"""Schemas of ids in paths."""

AN_AMOUNT: Mapping[str, Any] = {"type": "string", "format": "decimal"}
"""The schema of a decimal number that is shown as text."""

A_DECIMAL: Mapping[str, Any] = {"type": "number", "format": "decimal"}
"""The schema of a decimal number: exact, so a reader may need more than a float."""


ShownMoment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time with its zone (RFC 3339) in a response."""

ShownLocalMoment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time-local"})]
"""A time in UTC in a response that shows it without a zone, so that it is not a `date-time`."""

ShownAmount = Annotated[str, WithJsonSchema({**AN_AMOUNT})]
"""A decimal number in a response that shows it as text."""

ShownDecimal = Annotated[Decimal, WithJsonSchema({**A_DECIMAL})]
"""A decimal number in a response that shows it as a number."""


class Documented(Value, eq=False):  # hashed by identity: `Annotated` hashes what it is given
    """Adds keywords to the schema of a field in the document: what its validator checks. It validates nothing."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return pydantic's schema of the field with the keywords."""
        return {**handler(core), **self.keywords}


class DocumentedAsNumber:
    """Leaves only the number in the schema of a `Decimal`, which pydantic documents as a number or a text."""

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return pydantic's schema of the number, with its bounds."""
        (number,) = (one for one in handler(core)["anyOf"] if one["type"] == "number")
        return {**number, **A_DECIMAL}


class ContractDocument(Value):
    """A contract's part of the OpenAPI document, beside its routes, models and errors."""

    title: str
    description: str
    """A paragraph of Markdown, which follows the title."""
    tags: Mapping[str, str]
    """The tags of its operations, with a description each."""
    security: Mapping[str, Any] = field(default_factory=lambda: ACCESS_TOKEN)
    """The security schemes by name; a call needs one of them."""
    created: Collection[str] = ()
    """The header fields of answers with 201."""
    headers: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The header fields of successful responses that not all responses of the contract have, by operation id."""
    counted: Collection[str] = ()
    """The header fields of all responses to requests that the authorizer has counted, errors too."""
    error_headers: Collection[str] = ()
    """The header fields of errors that are not in the contract's table of errors."""
    ids: Mapping[str, tuple[Mapping[str, Any], str]] = field(default_factory=dict)
    """The ids in paths by parameter: the schema of those that exist, and a description."""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """The request bodies that have no model, by operation id."""
    schemas: Mapping[str, Any] = field(default_factory=dict)
    """The schemas that these bodies refer to, by name."""
