"""The id of the request that created an order, kept in the order's item as `correlation`.

Workers log it with each step of the order's work, and the order's events have it. An order that no request created has
none, nor has one of an earlier release.
"""

from __future__ import annotations

from ordering.aws.dynamodb import Item
from ordering.identifiers import canonical_uuid

_NAME = "correlation"


def kept(request: str | None) -> Item:
    """Return the attribute for a request's id; none if the id is not a UUID in lower case.

    API Gateway's ids are UUIDs, but it lets callers choose other ids for their requests.
    """
    return {_NAME: request} if request and canonical_uuid(request) == request else {}


def correlation_of(item: Item) -> str | None:
    """Return the id of the request that created the order in an item; None if it is not known."""
    return item.get(_NAME)
