"""Stocks of gift certificates: their sealed codes, and which certificates are free to assign.

A certificate has a position, from 1, in the stock of one card and face value. The stock's item lists the free positions
as ranges, so taking 1,000 certificates costs the same as taking one, whatever the size of the stock. The item has a
version. Every write that takes or returns positions requires the version that was read.

A load reserves positions of its own, writes its certificates there, then makes them free in one transaction. Its record
shows how far it got, so that a retry after a crash completes it and never loads a code twice.

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
"""Positions: ascending ranges that neither overlap nor adjoin."""


class Duplicates(OrderingError):
    """A load has codes more than once."""

    def __init__(self, indexes: Sequence[int]) -> None:
        """Take the indexes, from 0, of the repeated codes. Codes themselves are never shown."""
        super().__init__(f"repeated codes in one load, by index: {list(indexes)}")
        self.indexes = tuple(indexes)


@dataclass(frozen=True, slots=True, order=True)
class Stock:
    """The certificates of one card and face value, by the card's id and the face value's name."""

    card_id: int
    face_value: str

    def __str__(self) -> str:
        return f"{self.card_id}#{self.face_value}"

    @property
    def key(self) -> Key:
        """The key of the item with the free ranges."""
        return f"{_STOCKS}{self}", _ONLY


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its code in plain text, to be handed over. `repr` leaves the code out."""

    stock: Stock
    position: int
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StockLevel:
    """The free positions of a stock as they were read; makes writes that require that they are unchanged."""

    stock: Stock
    free: Ranges = ()
    version: int = 0
    reserved: int = 0
    """The last position that a load has reserved."""

    @property
    def count(self) -> int:
        """The number of free certificates."""
        return size(self.free)

    def unchanged(self) -> Check:
        """Return a check that holds only while the stock is unchanged since it was read."""
        condition, values = self._as_read()
        return Check(self.stock.key, condition, values=values)

    def take(self, count: int) -> tuple[Ranges, Update]:
        """Choose free positions, and return them with the write that takes them.

        Raises:
            ValueError: Fewer positions are free.
        """
        taken, left = take(self.free, count)
        return taken, self._change(left)

    def put_back(self, ranges: Ranges) -> Update:
        """Return the write that makes positions free again."""
        return self._change(merge(self.free, ranges))

    def publish(self, added: Range) -> Update:
        """Return the write that makes loaded positions free for the first time."""
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


def read_stock_levels(table: Table, stocks: Iterable[Stock]) -> dict[Stock, StockLevel]:
    """Read the levels of some stocks. Each is read on its own, not as of one moment."""
    wanted = [*dict.fromkeys(stocks)]
    found = table.batch_get([stock.key for stock in wanted]) if wanted else {}
    return {stock: _read_level(stock, found.get(stock.key, {})) for stock in wanted}


def _read_level(stock: Stock, item: Item) -> StockLevel:
    free = read_ranges(item.get("unassigned", []))
    return StockLevel(stock, free, item.get("version", 0), item.get("reserved", 0))


class Certificates:
    """Loads certificates, and opens them for functions that may see their codes."""

    def __init__(self, table: Table, sealer: Sealer) -> None:
        self._table = table
        self._sealer = sealer

    def load(self, stock: Stock, batch: str, codes: Sequence[str]) -> None:
        """Add certificates to a stock, once per batch however often the call is repeated.

        Args:
            batch: The operator's name for this load, 1 to 200 characters.

        Raises:
            ValueError: There are no codes, a code is empty, or the batch's name is empty or too long.
            Duplicates: A code is repeated.
            KeyReused: The batch was loaded with other codes.
            Unavailable: The deadline passed. The same call again is safe.
        """
        if not codes or not all(codes) or not 0 < len(batch) <= _LONGEST_ID:
            raise ValueError(f"a load needs a name of 1 to {_LONGEST_ID} characters, and codes that are not empty")
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
        """Read and decrypt certificates, in the order of their positions."""
        keys = [_certificate_key(stock, n) for first, last in ranges for n in range(first, last + 1)]
        found = self._table.batch_get(keys) if keys else {}
        return [
            Certificate(stock, int(sort), self._open(found[partition, sort], "code").decode())
            for partition, sort in keys
        ]

    def _reserve(self, stock: Stock, batch: str, codes: Sequence[str]) -> Item:
        """Return the record of a load; reserves positions for it first if it has none yet."""
        partition, sort = key = _load_key(stock, batch)
        # The digest is sealed: short codes could be found from a plain one by trying them all.
        digest = hashlib.sha256(b"".join(hashlib.sha256(code.encode()).digest() for code in codes)).digest()
        pauses = self._table.pauses()
        while (record := self._table.get(key)) is None:
            level = read_stock_levels(self._table, [stock])[stock]
            first, last = level.reserved + 1, level.reserved + len(codes)
            new = {"pk": partition, "sk": sort, "first": first, "last": last, "digest": self._seal(key, digest)}
            condition = "reserved = :before" if level.reserved else "attribute_not_exists(reserved)"
            values = {":last": last, **({":before": level.reserved} if level.reserved else {})}
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
            level = read_stock_levels(self._table, [stock])[stock]
            # Read after the stock: if the load is not published now, its positions were not free there then.
            record = self._table.get(key)
            if record is None or record.get("published"):
                return  # by an earlier attempt, or by a concurrent retry of the same load
            try:
                self._table.transact([done, level.publish((record["first"], record["last"]))])
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
    """Return the number of positions in ranges."""
    return sum(last - first + 1 for first, last in ranges)


def merge(some: Ranges, others: Ranges) -> Ranges:
    """Join ranges that have no position in common.

    Raises:
        ValueError: They have a position in common.
    """
    merged: list[Range] = []
    for first, last in sorted((*some, *others)):
        if merged and first <= merged[-1][1]:
            raise ValueError(f"position {first} is in both ranges")
        if merged and first == merged[-1][1] + 1:
            merged[-1] = merged[-1][0], last
        else:
            merged.append((first, last))
    return tuple(merged)


def take(ranges: Ranges, count: int) -> tuple[Ranges, Ranges]:
    """Choose `count` positions, and return the chosen and the remaining ranges.

    They come from the shortest range that has enough, otherwise from as few ranges as possible. This keeps both the
    orders and the stock from fragmenting.

    Raises:
        ValueError: There are fewer than `count` positions.
    """
    if size(ranges) < count:
        raise ValueError(f"cannot take {count} positions from {size(ranges)}")
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
    """Return ranges without their first `count` positions."""
    left: list[Range] = []
    for first, last in ranges:
        skipped = min(count, last - first + 1)
        count -= skipped
        if first + skipped <= last:
            left.append((first + skipped, last))
    return tuple(left)


def read_ranges(stored: Iterable[Sequence[int]]) -> Ranges:
    """Convert ranges from the lists that an item stores."""
    return tuple((first, last) for first, last in stored)


def free_of(item: Item | None) -> int:
    """Return the number of free certificates in a stock's item; 0 if there is no item."""
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
    """Return the context that binds a sealed value to its item: copied to another item, it does not open.

    Stored format.
    """
    return "/".join(key).encode()


def _certificate_key(stock: Stock, position: int) -> Key:
    return f"CERTIFICATES#{stock}", f"{position:0{_DIGITS}}"


def _load_key(stock: Stock, batch: str) -> Key:
    return f"LOADS#{stock}", batch
