"""The stock of gift certificates: codes that are kept sealed, and which of them are assigned to nobody yet.

A certificate is a position, from 1, in the stock of one card and face value. Which positions are free is a list of
ranges in the stock's item, so that taking 1,000 costs the same as taking one, however many there are. That item has a
version; whoever takes or returns positions writes it on the condition that the version is the one that was read.

A load first reserves positions of its own, then writes its certificates there, then makes them free in one
transaction. Its record says how far it came, so that repeating it ends what a crash left, and never loads a code twice.

Keys of the table: `STOCK#<card>#<face value>` the free ranges; `CERTIFICATES#<card>#<face value>` the certificates by
position; `LOADS#<card>#<face value>` the loads by the operator's name for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused, Update
from ordering.errors import KeyReused, OrderingError
from ordering.sealing import Sealer

_STOCKS = "STOCK#"
_ONLY = "-"
_DIGITS = 10
"""Stored format: positions in keys are padded to so many digits."""

_LONGEST_ID = 200

Range = tuple[int, int]
"""First and last position."""

Ranges = tuple[Range, ...]
"""Positions: ranges that neither overlap nor touch, rising."""


class Duplicates(OrderingError):
    """A load has codes more than once."""

    def __init__(self, indexes: Sequence[int]) -> None:
        """Name the repeated ones by their index, from 0: a code is shown to nobody."""
        super().__init__(f"codes that came before in the same load: {list(indexes)}")
        self.indexes = tuple(indexes)


@dataclass(frozen=True, slots=True, order=True)
class Stock:
    """What a certificate is for: a card, and the name of its face value."""

    card_id: int
    face_value: str

    def __str__(self) -> str:
        return f"{self.card_id}#{self.face_value}"

    @property
    def key(self) -> Key:
        """The key of the item that says what is free."""
        return f"{_STOCKS}{self}", _ONLY


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was opened, to be handed over; its code is in no representation of it."""

    stock: Stock
    position: int
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StockLevel:
    """What was free of a stock when it was read, and what writes on that condition."""

    stock: Stock
    free: Ranges = ()
    version: int = 0
    reserved: int = 0
    """The last position that was ever given to a load."""

    @property
    def count(self) -> int:
        """How many certificates are free."""
        return size(self.free)

    def unchanged(self) -> Check:
        """Return what lets a transaction take place only while the stock is as it was read."""
        condition, values = self._as_read()
        return Check(self.stock.key, condition, values=values)

    def take(self, count: int) -> tuple[Ranges, Update]:
        """Choose free positions, and return them with what takes them."""
        taken, left = take(self.free, count)
        return taken, self._change(left)

    def put_back(self, ranges: Ranges) -> Update:
        """Return what makes positions free again."""
        return self._change(merge(self.free, ranges))

    def publish(self, added: Range) -> Update:
        """Return what makes loaded positions free for the first time."""
        return self._change(merge(self.free, (added,)), size((added,)))

    def _change(self, free: Ranges, loaded: int = 0) -> Update:
        condition, values = self._as_read()
        new = {":free": [[first, last] for first, last in free], ":next": self.version + 1, ":loaded": loaded}
        change = "SET unassigned = :free, version = :next ADD loaded :loaded"
        return Update(self.stock.key, change, condition, values={**new, **values})

    def _as_read(self) -> tuple[str, dict[str, int]]:
        if not self.version:
            return "attribute_not_exists(version)", {}
        return "version = :version", {":version": self.version}


def read_shelves(table: Table, stocks: Iterable[Stock]) -> dict[Stock, StockLevel]:
    """Read what is free of some stocks, not as of one moment."""
    wanted = [*dict.fromkeys(stocks)]
    found = table.batch_get([stock.key for stock in wanted]) if wanted else {}
    return {stock: _read_shelf(stock, found.get(stock.key, {})) for stock in wanted}


def _read_shelf(stock: Stock, item: Item) -> StockLevel:
    free = read_ranges(item.get("unassigned", []))
    return StockLevel(stock, free, item.get("version", 0), item.get("reserved", 0))


class Certificates:
    """The certificates themselves, for whoever may see their codes."""

    def __init__(self, table: Table, sealer: Sealer) -> None:
        self._table = table
        self._sealer = sealer

    def load(self, stock: Stock, batch: str, codes: Sequence[str]) -> None:
        """Add certificates to a stock, once for each batch however often it is repeated.

        Args:
            batch: The operator's own name for this load, up to 200 characters.

        Raises:
            ValueError: There are no codes, an empty one is among them, or the name is empty or too long.
            Duplicates: A code is there more than once.
            KeyReused: The batch was loaded with other codes.
            Unavailable: The deadline passed. The same call again is safe.
        """
        if not codes or not all(codes) or not 0 < len(batch) <= _LONGEST_ID:
            raise ValueError("a load needs a name, and codes that are not empty")
        if repeated := _repeated(codes):
            raise Duplicates(repeated)
        record = self._reserve(stock, batch, codes)
        if not record.get("published"):
            self._table.put_all(
                self._sealed(_certificate_key(stock, position), code)
                for position, code in enumerate(codes, record["first"])
            )
            self._publish(stock, batch)

    def open(self, stock: Stock, ranges: Ranges) -> list[Certificate]:
        """Open certificates, in the order of their positions."""
        keys = [_certificate_key(stock, n) for first, last in ranges for n in range(first, last + 1)]
        found = self._table.batch_get(keys) if keys else {}
        return [
            Certificate(stock, int(sort), self._open(found[partition, sort], "code").decode())
            for partition, sort in keys
        ]

    def _reserve(self, stock: Stock, batch: str, codes: Sequence[str]) -> Item:
        """Return the record of a load, after giving it positions of its own if it has none yet."""
        partition, sort = key = _load_key(stock, batch)
        # Of short codes a plain digest would tell too much.
        digest = hashlib.sha256(b"".join(hashlib.sha256(code.encode()).digest() for code in codes)).digest()
        pauses = self._table.pauses()
        while (record := self._table.get(key)) is None:
            shelf = read_shelves(self._table, [stock])[stock]
            first, last = shelf.reserved + 1, shelf.reserved + len(codes)
            new = {"pk": partition, "sk": sort, "first": first, "last": last, "digest": self._seal(key, digest)}
            condition = "reserved = :before" if shelf.reserved else "attribute_not_exists(reserved)"
            values = {":last": last, **({":before": shelf.reserved} if shelf.reserved else {})}
            move = Update(stock.key, "SET reserved = :last", condition, values=values)
            try:
                self._table.transact([Put(new, ABSENT), move])
            except TransactionRefused:
                next(pauses)
        if self._open(record, "digest") != digest:
            raise KeyReused(f"The batch {batch!r} was loaded with other codes.")
        return record

    def _publish(self, stock: Stock, batch: str) -> None:
        key = _load_key(stock, batch)
        done = Update(key, "SET published = :yes", "attribute_not_exists(published)", values={":yes": True})
        pauses = self._table.pauses()
        while True:
            shelf = read_shelves(self._table, [stock])[stock]
            # Read after the shelf: what is not published now was not on it then.
            record = self._table.get(key)
            if record is None or record.get("published"):
                return  # by an earlier try, or by somebody who repeats the same load
            try:
                self._table.transact([done, shelf.publish((record["first"], record["last"]))])
            except TransactionRefused:
                next(pauses)

    def _sealed(self, key: Key, code: str) -> Item:
        partition, sort = key
        return {"pk": partition, "sk": sort, "code": self._seal(key, code.encode())}

    def _seal(self, key: Key, plain: bytes) -> bytes:
        return self._sealer.seal(plain, _context(key))

    def _open(self, item: Item, name: str) -> bytes:
        return self._sealer.open(item[name], _context((item["pk"], item["sk"])))


def size(ranges: Ranges) -> int:
    """Return how many positions there are in ranges."""
    return sum(last - first + 1 for first, last in ranges)


def merge(some: Ranges, others: Ranges) -> Ranges:
    """Join ranges that have no position in common.

    Raises:
        ValueError: They have one.
    """
    merged: list[Range] = []
    for first, last in sorted((*some, *others)):
        if merged and first <= merged[-1][1]:
            raise ValueError(f"position {first} is there twice")
        if merged and first == merged[-1][1] + 1:
            merged[-1] = merged[-1][0], last
        else:
            merged.append((first, last))
    return tuple(merged)


def take(ranges: Ranges, count: int) -> tuple[Ranges, Ranges]:
    """Choose so many positions, and return them and what is left.

    They come from the shortest range that has them all, otherwise from as few ranges as possible, so that neither an
    order nor a stock falls apart into small ones.

    Raises:
        ValueError: There are not so many.
    """
    if size(ranges) < count:
        raise ValueError(f"{count} positions of {size(ranges)}")
    taken: list[Range] = []
    left = sorted(ranges, key=lambda one: size((one,)))
    while count:
        first, last = chosen = next((one for one in left if size((one,)) >= count), left[-1])
        end = min(last, first + count - 1)
        left.remove(chosen)
        left += [(end + 1, last)] if end < last else []
        taken.append((first, end))
        count -= size(((first, end),))
    return merge((), tuple(taken)), tuple(sorted(left))


def skip(ranges: Ranges, count: int) -> Ranges:
    """Return ranges without their first positions."""
    left: list[Range] = []
    for first, last in ranges:
        skipped = min(count, last - first + 1)
        count -= skipped
        if first + skipped <= last:
            left.append((first + skipped, last))
    return tuple(left)


def read_ranges(stored: Iterable[Sequence[int]]) -> Ranges:
    """Read ranges as they are stored."""
    return tuple((first, last) for first, last in stored)


def free_of(item: Item | None) -> int:
    """Return how many certificates of a stock are free, by its item; 0 where there is none."""
    return size(read_ranges((item or {}).get("unassigned", [])))


def stock_of(partition: str) -> Stock | None:
    """Return the stock whose free ranges a partition holds, None if it holds something else."""
    if not partition.startswith(_STOCKS):
        return None
    card, _, face_value = partition.removeprefix(_STOCKS).partition("#")
    return Stock(int(card), face_value)


def _repeated(codes: Sequence[str]) -> list[int]:
    seen: set[str] = set()
    repeated = []
    for index, code in enumerate(codes):
        if code in seen:
            repeated.append(index)
        seen.add(code)
    return repeated


def _context(key: Key) -> bytes:
    """Bind what is sealed to its item, so that moved to another it does not open. Stored format."""
    return "/".join(key).encode()


def _certificate_key(stock: Stock, position: int) -> Key:
    return f"CERTIFICATES#{stock}", f"{position:0{_DIGITS}}"


def _load_key(stock: Stock, batch: str) -> Key:
    return f"LOADS#{stock}", batch
