"""The access keys of a training order: one for each seat, unguessable, issued once, stored sealed.

A key is 125 random bits, as 25 characters of Crockford's Base32. That alphabet has no characters that are easily
confused. The table holds `PACK_SIZE` keys to an item, sealed for that item and no other.

Seats are numbered over the whole order, line after line, and so are packs, so the pack of a seat's key follows by
arithmetic. A process that issues keys writes packs in this order, each if absent, up to `PACKS_AT_ONCE` in one
transaction. So the packs that exist are always the first ones, and a stored key never changes, whatever processes run
at once or crash. Another process finds the last pack by bisection and continues behind it. The same transaction checks
that the order still gets keys. If all packs fit one transaction, that transaction also completes the order
(`training.orders`).

Keys of the table: `KEYS#<order>` holds the packs by number, from 0.
"""

from __future__ import annotations

import base64
import itertools
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import ClassVar

from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused
from ordering.clock import Deadline
from ordering.errors import OrderingError, Unavailable
from ordering.sealing import Sealer
from ordering.values import Value

PACK_SIZE = 100
"""Keys in one item. Stored format: it locates issued keys, so it never changes."""

PACKS_AT_ONCE = 10
"""Packs in one transaction. More would save no time: a partition accepts 1 MB of writes a second in any case."""

_GROUP = 5
_LENGTH = 5 * _GROUP
"""Characters of a key. Stored format: a pack is its keys joined, without separators."""

_DIGITS = 6
"""Stored format: packs' numbers in keys are padded to so many digits."""

_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


class NoMoreKeys(OrderingError):
    """The order no longer gets keys: it is completed or cancelled."""


class IssuedKey(Value):
    """The key of a seat: lines count from 1, and seats from 1 within their line. `repr` leaves the key out."""

    unprinted: ClassVar = frozenset({"key"})

    line: int
    seat: int
    key: str


class AccessKeys:
    """Issues and opens the keys of one order.

    Args:
        order: The order's name, for instance `training#35044`.
        quantities: The number of seats of each line, in the order of the lines.
    """

    def __init__(self, table: Table, order: str, quantities: Sequence[int], sealer: Sealer) -> None:
        self._table = table
        self._order = order
        self._ends = [*itertools.accumulate(quantities)]
        self._sealer = sealer

    @property
    def seats(self) -> int:
        """The number of seats, and so of keys once all are issued."""
        return self._ends[-1]

    @property
    def fit_one_transaction(self) -> bool:
        """Whether one transaction can issue all keys."""
        return self._packs <= PACKS_AT_ONCE

    def all_puts(self) -> list[Put]:
        """Return the writes that issue all keys; each is refused if its pack exists.

        Raises:
            Unavailable: KMS did not respond.
        """
        return [self._put(pack) for pack in range(self._packs)]

    @property
    def _packs(self) -> int:
        return -(-self.seats // PACK_SIZE)

    def issue(self, allowed: Check, until: Deadline) -> int:
        """Issue missing keys, as many as there is time for, and return the number of issued keys after the call.

        Args:
            allowed: A check that holds as long as the order gets keys.
            until: The time at which to stop issuing.

        Raises:
            NoMoreKeys: `allowed` no longer holds.
            Unavailable: The time was too short to issue keys or find issued ones. The same call again is safe.
        """
        table = self._table.until(until)
        packs = self._packs
        there = 0
        while there < packs and until.remaining() > 0:
            chunk = range(there, min(there + PACKS_AT_ONCE, packs))
            try:
                table.transact([allowed, *(self._put(pack) for pack in chunk)])
            except TransactionRefused as refusal:
                if refusal.reasons[0]:
                    raise NoMoreKeys from refusal
                # At least the chunk's first pack exists: another process or an earlier attempt wrote it.
                there = bisect_left(range(packs), x=True, lo=there + 1, key=lambda pack: self._is_missing(table, pack))
            except Unavailable:
                if not there:
                    raise
                break
            else:
                there = chunk.stop
        return min(there * PACK_SIZE, self.seats)

    def issued(self) -> int:
        """Return how many keys are issued, with a read for each doubling of the number of packs."""
        packs = range(self._packs)
        there = bisect_left(packs, x=True, key=lambda pack: self._is_missing(self._table, pack))
        return min(there * PACK_SIZE, self.seats)

    def page(self, first: int, count: int) -> list[IssuedKey]:
        """Read and decrypt up to `count` keys from the seat of rank `first` (from 0). All keys must be issued."""
        last = min(first + count, self.seats)
        if first >= last:
            return []
        packs = range(first // PACK_SIZE, (last - 1) // PACK_SIZE + 1)
        found = self._table.batch_get([self._key(pack) for pack in packs])
        keys = "".join(self._open(found[self._key(pack)]) for pack in packs)
        return [self._shown(keys, rank, rank - packs.start * PACK_SIZE) for rank in range(first, last)]

    def _shown(self, keys: str, rank: int, index: int) -> IssuedKey:
        line = bisect_right(self._ends, rank)
        before = self._ends[line - 1] if line else 0
        key = keys[index * _LENGTH : (index + 1) * _LENGTH]
        groups = (key[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))
        return IssuedKey(line + 1, rank - before + 1, "-".join(groups))

    def _is_missing(self, table: Table, pack: int) -> bool:
        return table.get(self._key(pack)) is None

    def _put(self, pack: int) -> Put:
        partition, sort = key = self._key(pack)
        plain = _new_keys(min(PACK_SIZE, self.seats - pack * PACK_SIZE))
        return Put({"pk": partition, "sk": sort, "keys": self._sealer.seal(plain, _context(key))}, ABSENT)

    def _open(self, item: Item) -> str:
        return self._sealer.open(item["keys"], _context((item["pk"], item["sk"]))).decode()

    def _key(self, pack: int) -> Key:
        return f"KEYS#{self._order}", f"{pack:0{_DIGITS}}"


def _new_keys(count: int) -> bytes:
    """Generate keys, joined without separators. Each character is five random bits."""
    length = count * _LENGTH
    return base64.b32encode(secrets.token_bytes(-(-length * 5 // 8))).translate(_CROCKFORD)[:length]


def _context(key: Key) -> bytes:
    """Return the context that binds a sealed value to its item: copied to another item, it does not open.

    Stored format.
    """
    return "/".join(key).encode()
