"""Idempotency keys: a create's own transaction stores its response, and retries with the same key get it again.

Key of the table: `ONCE#<partner>#<hash of the key>`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from ordering.aws.dynamodb import ABSENT, Item, Key, Put, Table
from ordering.clock import Clock
from ordering.errors import KeyReused

KEY_KEPT = timedelta(hours=48)
"""How long an idempotency key is remembered; the contracts promise 24 hours."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A partner's idempotency key, and the fingerprint of the request that it was sent with."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CreateResult:
    """Result of a create; `replayed` if an earlier request with the same key produced it."""

    order_id: int
    answer: bytes
    replayed: bool


class IdempotencyRecords:
    """The records of one partner's idempotency keys."""

    def __init__(self, table: Table, partner: str, now: Clock) -> None:
        self._table = table
        self._partner = partner
        self._now = now

    def key(self, once: IdempotencyKey) -> Key:
        """Return the key of a record. A create whose record exists already is a retry, or reuses the key."""
        # Hashed, since the caller chose the text, and so that its length is known.
        return f"ONCE#{self._partner}#{hashlib.sha256(once.key.encode()).hexdigest()}", "-"

    def put(self, once: IdempotencyKey, order_id: int, answer: bytes) -> Put:
        """Return the write that keeps a create's response, for the create's transaction."""
        partition, sort = self.key(once)
        now = self._now()
        record = {
            "pk": partition,
            "sk": sort,
            "fingerprint": once.fingerprint,
            "orderId": order_id,
            "answer": answer,
            "expires": int((now + KEY_KEPT).timestamp()),
        }
        # DynamoDB deletes expired items late; until then they must not count.
        return Put(record, f"{ABSENT} OR expires < :now", values={":now": int(now.timestamp())})

    def find(self, once: IdempotencyKey) -> CreateResult | None:
        """Return the result of the create that used a key; None if the key is new or has expired.

        Raises:
            KeyReused: The key was used for another request.
            Unavailable: The deadline passed.
        """
        record = self._table.get(self.key(once))
        return None if record is None or _expired(record, self._now()) else replay(record, once)


def replay(record: Item, once: IdempotencyKey) -> CreateResult:
    """Return the result in a record.

    Raises:
        KeyReused: The key was used for another request.
    """
    if record["fingerprint"] != once.fingerprint:
        raise KeyReused("The idempotency key was used for another request.")
    return CreateResult(record["orderId"], record["answer"], replayed=True)


def _expired(record: Item, now: datetime) -> bool:
    expires: int = record["expires"]
    return expires < now.timestamp()
