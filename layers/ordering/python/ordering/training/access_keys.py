"""The access keys of a training order: one for each seat, unguessable, issued once, kept sealed.

A key is 25 characters of Crockford's Base32, which has no letter that is taken for another one or for a digit: 125
random bits. What the table holds is `PACK` of them to an item, sealed for that item and no other.

Seats are numbered over the whole order, line after line, and packs follow each other, so where a seat's key lies is
arithmetic. Whoever issues writes packs in their order, some at a time in one transaction, each if absent. So the packs
that are there are always the first ones, the next issuer finds the end of them by bisection and goes on there, and a
key that was ever there stays as it is, however many issue at once and wherever they die. The same transaction checks
that the order still gets keys.

Keys of the table: `KEYS#<order>` holds the packs by number, from 0.
"""

from __future__ import annotations

import base64
import itertools
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused
from ordering.clock import Deadline
from ordering.errors import OrderingError, Unavailable
from ordering.sealing import Sealer

PACK = 100
"""Keys in one item. Stored format: issued keys are found by it, so it never changes."""

AT_ONCE = 10
"""Packs in one transaction. More would save no time: a partition takes a megabyte in a second, however it comes."""

_GROUP = 5
_LENGTH = 5 * _GROUP
"""Stored format: the keys of a pack stand one behind the other, so many characters each."""

_DIGITS = 6
"""Stored format: packs' numbers in keys are padded to so many digits."""

_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


class NoMoreKeys(OrderingError):
    """The order gets no keys any more."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """The key of a seat, which is counted from 1 within its line; the key itself is in no representation of it."""

    line: int
    seat: int
    key: str = field(repr=False)


class AccessKeys:
    """The keys of one order, for whoever may issue or see them.

    Args:
        order: What the order is called in the table, for instance `training#35044`.
        quantities: The seats of each line, by number from 1.
    """

    def __init__(self, table: Table, order: str, quantities: Sequence[int], sealer: Sealer) -> None:
        self._table = table
        self._order = order
        self._ends = [*itertools.accumulate(quantities)]
        self._sealer = sealer

    @property
    def seats(self) -> int:
        """How many seats there are, and so keys when all are issued."""
        return self._ends[-1]

    def issue(self, allowed: Check, until: Deadline) -> int:
        """Issue keys that are not there yet, as many as there is time for, and return how many there are then.

        Args:
            allowed: What holds for as long as the order gets keys.

        Raises:
            NoMoreKeys: It no longer holds.
            Unavailable: There was no time to find out how many there are. The same call again is safe.
        """
        table = self._table.until(until)
        packs = -(-self.seats // PACK)
        there = 0
        while there < packs and until.remaining() > 0:
            chunk = range(there, min(there + AT_ONCE, packs))
            try:
                table.transact([allowed, *(self._put(pack) for pack in chunk)])
            except TransactionRefused as refusal:
                if refusal.reasons[0]:
                    raise NoMoreKeys from refusal
                # Of the chunk at least the first is there: written before, by somebody else, or by an earlier try.
                there = bisect_left(range(packs), x=True, lo=there + 1, key=lambda pack: self._is_missing(table, pack))
            except Unavailable:
                if not there:
                    raise
                break
            else:
                there = chunk.stop
        return min(there * PACK, self.seats)

    def page(self, first: int, count: int) -> list[IssuedKey]:
        """Open up to `count` keys from the seat of rank `first` (from 0), where all are issued."""
        last = min(first + count, self.seats)
        if first >= last:
            return []
        packs = range(first // PACK, (last - 1) // PACK + 1)
        found = self._table.batch_get([self._key(pack) for pack in packs])
        keys = "".join(self._open(found[self._key(pack)]) for pack in packs)
        return [self._shown(keys, rank, rank - packs.start * PACK) for rank in range(first, last)]

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
        plain = _new_keys(min(PACK, self.seats - pack * PACK))
        return Put({"pk": partition, "sk": sort, "keys": self._sealer.seal(plain, _context(key))}, ABSENT)

    def _open(self, item: Item) -> str:
        return self._sealer.open(item["keys"], _context((item["pk"], item["sk"]))).decode()

    def _key(self, pack: int) -> Key:
        return f"KEYS#{self._order}", f"{pack:0{_DIGITS}}"


def _new_keys(count: int) -> bytes:
    """Make keys, one behind the other: each character is five random bits."""
    length = count * _LENGTH
    return base64.b32encode(secrets.token_bytes(-(-length * 5 // 8))).translate(_CROCKFORD)[:length]


def _context(key: Key) -> bytes:
    """Bind what is sealed to its item, so that moved to another it does not open. Stored format."""
    return "/".join(key).encode()
