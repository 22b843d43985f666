"""Idempotency keys: a create's own transaction stores its response, and retries with the same key get it again.

A record costs its part of the transaction, and nothing is read for a create that is made: a retry is recognised by the
record that refuses its write. A create that is refused for another reason reads the record, since the reason may be
newer than the create.

Key of the table: `ONCE#<partner>#<hash of the key>`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from ordering.aws.dynamodb import ABSENT, Item, Key, Put, Table
from ordering.book.orderbook import Collision
from ordering.clock import Clock
from ordering.errors import KeyReused, OrderingError, Unavailable
from ordering.values import Value

R = TypeVar("R", bound="Created")

KEY_KEPT = timedelta(hours=48)
"""How long an idempotency key is remembered; the contracts promise 24 hours."""


class IdempotencyKey(Value):
    """A partner's idempotency key, and the fingerprint of the request that it was sent with."""

    key: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the key, by which an operator recognizes it."""
        return hashlib.sha256(self.key.encode()).hexdigest()


class CreateResult(Value):
    """Result of a create; `replayed` if an earlier request with the same key produced it."""

    resource_id: int
    answer: bytes
    replayed: bool


class Created(Protocol):
    """A new resource, with an id."""

    @property
    def id(self) -> int:
        """Its id."""


class Create(Value, Generic[R]):
    """The response to a create, and the idempotency key that it was sent with, if any."""

    answer: Callable[[R], bytes]
    once: IdempotencyKey | None = None


class IdempotencyRecords:
    """The records of one partner's idempotency keys for one kind of resource."""

    def __init__(self, table: Table, partner: str, now: Clock, kind: str = "") -> None:
        """Set up the access to the table.

        Args:
            kind: The kind of resource, for which the keys are separate from those of others. Stored format; empty for
                training orders.
        """
        self._table = table
        self._partner = partner
        self._now = now
        self._kind = kind

    def key(self, once: IdempotencyKey) -> Key:
        """Return the key of a record. A create whose record exists already is a retry, or reuses the key."""
        # Hashed, since the caller chose the text, and so that its length is known. No key of a caller has a line break.
        name = f"{self._kind}\n{once.key}" if self._kind else once.key
        return f"ONCE#{self._partner}#{hashlib.sha256(name.encode()).hexdigest()}", "-"

    def create(self, create: Create[R], place: Callable[[Callable[[R], Sequence[Put]]], R]) -> CreateResult:
        """Create a resource, or return the result of the create that used the key.

        Args:
            place: Creates it, in one transaction with the writes that its argument returns for it. It raises
                `Collision` if one of them was refused.

        Raises:
            KeyReused: The key was used for another request.
            OrderingError: The create is refused.
            Unavailable: The deadline passed. The same call with the same key is safe.
        """
        once = create.once
        if once is None:
            made = place(lambda _: ())
            return CreateResult(made.id, create.answer(made), replayed=False)
        try:
            made = place(lambda made: [self.put(once, made.id, create.answer(made))])
        except Collision as collision:
            if record := collision.items.get(self.key(once)):
                return replay(record, once)
            raise
        except Unavailable:
            raise
        except OrderingError:
            # It may be a retry of a create that was made before the reason for the refusal.
            if earlier := self.find(once):
                return earlier
            raise
        return CreateResult(made.id, create.answer(made), replayed=False)

    def put(self, once: IdempotencyKey, resource_id: int, answer: bytes) -> Put:
        """Return the write that keeps a create's response, for the create's transaction."""
        partition, sort = self.key(once)
        now = self._now()
        record = {
            "pk": partition,
            "sk": sort,
            "fingerprint": once.fingerprint,
            "orderId": resource_id,
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


def remembered_until(table: Table, partner: str, digest: str) -> datetime | None:
    """Return when the key of a training order is forgotten; None if it was forgotten already.

    Args:
        digest: See `IdempotencyKey.digest`.
    """
    record = table.get((f"ONCE#{partner}#{digest}", "-"))
    return datetime.fromtimestamp(record["expires"], UTC) if record else None


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
