"""Names of orders: an order's partition in the orders table without `ORDER#`, for instance `training#4711`.

A name begins with the kind of order, and the kind determines the context. Stored format: names are part of the keys
of events, mails and deliveries.
"""

from __future__ import annotations

from ordering.aws.dynamodb import Key

_PREFIX = "ORDER#"
_ORDER = "ORDER"


def name_of(key: Key) -> str | None:
    """Return the name of the order whose item has a key, None if it is the key of something else."""
    partition, sort = key
    return partition.removeprefix(_PREFIX) if partition.startswith(_PREFIX) and sort == _ORDER else None


def key_of(order: str) -> Key:
    """Return the key of an order's item by the order's name."""
    return _PREFIX + order, _ORDER


def kind_of(order: str) -> str:
    """Return the kind of order that a name begins with."""
    kind, _, _ = order.partition("#")
    return kind
