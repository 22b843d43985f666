"""The header fields of conditional changes, the same in every contract: `If-Match` and `ETag` (RFC 9110, 13.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from ordering.web.header_fields import strong_tag, strong_tags
from ordering.web.http import Tagged

T = TypeVar("T")

MOST_TAGS = 50
"""The most entity tags in one `If-Match`: each is a comparison in a condition of DynamoDB, which has at most 4 KB."""

ETAG: Mapping[str, Any] = {
    "ETag": {
        "description": "Names this version of the resource, for `If-Match` of a later change.",
        "schema": {"type": "string"},
    },
}
"""The header field of responses that contain one resource, for the OpenAPI document."""


def _tags(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text.strip(" \t") == "*":
        return None
    found = strong_tags(text)
    if found is None:
        raise PydanticCustomError(
            "invalid_format", "Must be the ETag of a response, with its quotes; or several separated by commas; or *"
        )
    if len(found) > MOST_TAGS:
        raise PydanticCustomError("invalid_length", f"Must name at most {MOST_TAGS} entity tags")
    return found


_TAG = '(W/)?"[!#-~]*"'
_PATTERN = rf"^(\*|{_TAG}(, ?{_TAG}){{0,{MOST_TAGS - 1}}})$"


class ChangeHeaders(BaseModel):
    """Header fields of a change to one resource."""

    lists: ClassVar[frozenset[str]] = frozenset({"If-Match"})
    """Fields that may have several lines."""

    if_match: Annotated[
        Annotated[frozenset[str], WithJsonSchema({"type": "string", "pattern": _PATTERN, "minLength": 1})] | None,
        BeforeValidator(_tags),
    ] = Field(
        None,
        alias="If-Match",
        description="The `ETag` that your change is based on, or several. If the resource has changed since, nothing "
        "is changed and the response is 412. Without it, and with `*`, the last change wins.",
    )
    """The versions that the change may replace; None for any."""


def tagged(body: T | bytes, version: int, status: int = 200, headers: Mapping[str, str] | None = None) -> Tagged[T]:
    """Build a response with one resource, whose `ETag` names the resource's version."""
    return Tagged(status, body, {"ETag": strong_tag(str(version)), **(headers or {})})
