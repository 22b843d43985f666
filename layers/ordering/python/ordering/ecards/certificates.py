"""Stocks of gift certificates: their sealed codes, and which certificates are free to assign.

A certificate has a position, from 1, in the stock of one card and face value. The stock's item lists the free positions
as ranges, so taking 1,000 certificates costs the same as taking one, whatever the size of the stock. The item has a
version. Every write that takes or returns positions requires the version that was read.

A load reserves positions of its own, writes its certificates there, then makes them free in one transaction. Each
certificate is written together with the record of its code (`stock.codes`), and with the load's own record, which shows
how far it got. So a retry after a crash completes a load, and a code that the card has already is not loaded again,
whatever the load is called and whichever face value it has.

The item has at most `MOST_RANGES` free ranges, which fit it. A change that would leave more is refused (`Fragmented`),
and nothing is lost: a load, a move or a return continues once the stock was compacted (`stock.upkeep`). A load or a
return adds ranges, as does taking positions out of the middle of one; assigning certificates adds none.

For each code a load takes one read unit, and four write units if the code is new; in calls, one for every 100 codes and
one for every 49 new ones.

Keys of the table: `STOCK#<card>#<face value>` the free ranges; `CERTIFICATES#<card>#<face value>` the certificates by
position; `LOADS#<card>#<face value>` the loads by the operator's name for each.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from ordering.aws.dynamodb import ABSENT, Check, Item, Key, Put, Table, TransactionRefused, Update, Write
from ordering.ecards.stock.codes import (
    DIGEST_KEY,
    LONGEST_BATCH,
    CodeRecord,
    CodeRegister,
    KnownElsewhere,
    NotIndexed,
    Place,
    canonical_batch,
    check_codes,
    is_complete,
    same_code,
)
from ordering.errors import KeyReused, OrderingError
from ordering.sealing import Sealer
from ordering.values import Struct, Value, replace

_STOCKS = "STOCK#"
_ONLY = "-"
_DIGITS = 10
"""Stored format: positions in keys are padded to so many digits."""

_AT_ONCE = 49
"""Certificates in one transaction of a load, which may have 100 writes: each has two, and the load's record one."""

RANGE_BYTES = 18
"""Most bytes of a range in an item: two numbers of ten digits in a list."""

MOST_RANGES = 20_000
"""Free ranges of a stock: its item may have 400 KB."""

CARDS_AT_MOST = 100
"""Cards that may have one code: the code's item has an entry of up to 2 KB for each."""

Range = tuple[int, int]
"""First and last position."""

Ranges = tuple[Range, ...]
"""Positions: ascending ranges that neither overlap nor adjoin."""


def hide_progress(_: int) -> None:
    """Take the progress of work, and do not show it."""


class Duplicates(OrderingError):
    """A load has codes more than once."""

    def __init__(self, indexes: Sequence[int]) -> None:
        """Take the indexes, from 0, of the repeated codes. Codes themselves are never shown."""
        super().__init__(f"repeated codes in one load, by index: {list(indexes)}")
        self.indexes = tuple(indexes)


class Fragmented(OrderingError):
    """A change would leave a stock with more separate free ranges than its item can have."""

    def __init__(self, stock: Stock) -> None:
        """Take the stock."""
        super().__init__(
            f"the free certificates of card {stock.card_id} with the face value {stock.face_value!r} are in too many "
            f"separate ranges (at most {MOST_RANGES:,}); run `ordering stock compact` for it, then retry"
        )
        self.stock = stock


class LoadResult(Value):
    """What became of the codes of a load; indexes count from 0."""

    new: int
    """Codes that the load added."""
    known: tuple[int, ...] = ()
    """Indexes of codes that the card had already; they were not loaded again."""
    elsewhere: tuple[int, ...] = ()
    """Indexes of codes that a concurrent load brought to another card; they were not loaded."""
    repeated: bool = False
    """Whether the batch was complete before this call, which then changed nothing."""


class Stock(Value, order=True):
    """The certificates of one card and face value, by the card's id and the face value's name."""

    card_id: int
    face_value: str

    def __str__(self) -> str:
        return f"{self.card_id}#{self.face_value}"

    @property
    def key(self) -> Key:
        """The key of the item with the free ranges."""
        return f"{_STOCKS}{self}", _ONLY


class Certificate(Value):
    """A certificate with its code in plain text, to be handed over. `repr` leaves the code out."""

    unprinted: ClassVar = frozenset({"code"})

    stock: Stock
    position: int
    code: str

    @property
    def key(self) -> Key:
        """The key of its item."""
        return _certificate_key(self.stock, self.position)


class StockLevel(Value):
    """The free positions of a stock as they were read; makes writes that require that they are unchanged.

    A write that would leave too many ranges raises `Fragmented`, unless it leaves fewer than there were.
    """

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

    def withdraw(self, ranges: Ranges) -> Update:
        """Return the write that removes free positions from the stock for good."""
        return self._change(without(self.free, ranges), -size(ranges))

    def receive(self, count: int, gone: Ranges = ()) -> tuple[Range, Update]:
        """Return new positions of the stock, and the write that reserves them and makes them free.

        Args:
            gone: Free positions that the same write removes from the stock for good.
        """
        added = self.reserved + 1, self.reserved + count
        update = self._change(merge(without(self.free, gone), (added,)), count - size(gone))
        condition = "reserved = :before" if self.reserved else "attribute_not_exists(reserved)"
        before = {":before": self.reserved} if self.reserved else {}
        return added, replace(
            update,
            expression=update.expression.replace("SET ", "SET reserved = :last, ", 1),
            condition=f"{update.condition} AND {condition}",
            values={**update.values, ":last": added[1], **before},
        )

    def _change(self, free: Ranges, loaded: int = 0) -> Update:
        if len(free) > max(MOST_RANGES, len(self.free)):
            raise Fragmented(self.stock)
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


class _Load(Struct):
    """A load, with the records of its codes as they were last read or written."""

    stock: Stock
    batch: str
    codes: Sequence[str]
    register: CodeRegister
    records: list[CodeRecord]
    force: bool

    @property
    def key(self) -> Key:
        """The key of the load's record."""
        return _load_key(self.stock, self.batch)

    def refuse_others(self) -> None:
        """Refuse codes that only other cards have; if forced, only those that as many cards have as may have a code.

        Raises:
            KnownElsewhere: There are such codes.
        """
        card, most = self.stock.card_id, CARDS_AT_MOST - 1 if self.force else 0
        unknown = [
            (index, one) for index, one in enumerate(self.records) if len(one.cards) > most and not one.place(card)
        ]
        if unknown:
            raise KnownElsewhere({index: one.others(card) for index, one in unknown})

    def next_new(self, first: int) -> tuple[int, list[int]]:
        """Choose the next new codes from index `first`, as many as one transaction writes.

        Returns:
            The index behind the codes that were looked at, and the indexes of the new ones.
        """
        chosen: list[int] = []
        for index in range(first, len(self.records)):
            if len(chosen) == _AT_ONCE:
                return index, chosen
            record = self.records[index]
            if not record.cards or (self.force and not record.place(self.stock.card_id)):
                chosen.append(index)
        return len(self.records), chosen

    def read_again(self, first: int, end: int) -> None:
        """Read the records of codes from index `first` to before `end` again."""
        self.records[first:end] = self.register.read(self.codes[first:end])

    def result(self, *, repeated: bool) -> LoadResult:
        """Return what became of the codes."""
        if not all(record.place(self.stock.card_id) for record in self.records):
            self.read_again(0, len(self.codes))  # another process may have written a part of this load
        places = [record.place(self.stock.card_id) for record in self.records]
        loaded = (self.stock.face_value, self.batch)
        ours = [place is not None and (place.face_value, place.batch) == loaded for place in places]
        return LoadResult(
            new=sum(ours),
            known=tuple(index for index, place in enumerate(places) if place and not ours[index]),
            elsewhere=tuple(index for index, place in enumerate(places) if place is None),
            repeated=repeated,
        )


class Certificates:
    """Loads certificates, and opens them for functions that may see their codes."""

    def __init__(self, table: Table, sealer: Sealer) -> None:
        self._table = table
        self._sealer = sealer

    def load(  # noqa: PLR0913 - a load's options
        self,
        stock: Stock,
        batch: str,
        codes: Sequence[str],
        *,
        force: bool = False,
        indexed: bool = False,
        advance: Callable[[int], None] = hide_progress,
    ) -> LoadResult:
        """Add certificates to a stock, once per batch however often the call is repeated.

        Codes that the card has already, at whatever face value, are left out and reported. If a code cannot be
        accepted, nothing of the load is.

        Args:
            batch: The operator's name for this load, 1 to 200 characters; see `canonical_batch`.
            force: Whether to load codes that another card has.
            indexed: Whether to load only if the codes of earlier releases are registered.
            advance: Takes how many more codes are done, for a caller that shows the progress.

        Raises:
            ValueError: There are no codes, or the batch's name is empty or too long.
            InvalidCodes: A code would not reach a participant as it is; see `check_codes`.
            Duplicates: A code is repeated.
            KnownElsewhere: Another card has a code and `force` is false, or `CARDS_AT_MOST` cards have it.
            NotIndexed: `indexed` is true, and the codes of earlier releases are not registered yet.
            Fragmented: The stock has too many separate free ranges. The same call again, after they were compacted,
                does the rest.
            KeyReused: The batch was loaded with other codes.
            Unavailable: The deadline passed. The same call again is safe.
        """
        name = canonical_batch(batch)
        if not codes or not 0 < len(name) <= LONGEST_BATCH:
            raise ValueError(f"a load needs codes, and a name of 1 to {LONGEST_BATCH} characters")
        check_codes(codes)
        if repeated := _repeated(codes):
            raise Duplicates(repeated)
        found = self._table.batch_get([DIGEST_KEY, _load_key(stock, name)])
        if indexed and not is_complete(found.get(DIGEST_KEY)):
            raise NotIndexed
        register = CodeRegister.open(self._table, self._sealer, found.get(DIGEST_KEY))
        load = _Load(stock, name, codes, register, register.read(codes), force)
        record = found.get(load.key)
        if record is None:
            load.refuse_others()
        record = self._reserve(load, record)
        done = bool(record.get("published"))
        if not done:
            self._write(load, record, advance)
            self._publish(load)
        return load.result(repeated=done)

    def open(self, stock: Stock, ranges: Ranges) -> list[Certificate]:
        """Read and decrypt certificates, in the order of their positions."""
        return self.open_all([(stock, ranges)])

    def open_stored(self, stock: Stock, ranges: Ranges) -> list[Certificate]:
        """Read and decrypt the certificates that there are at positions; duplicates and unloaded ones are gone."""
        keys = {_certificate_key(stock, n): n for first, last in ranges for n in range(first, last + 1)}
        found = self._table.batch_get([*keys]) if keys else {}
        return [
            Certificate(stock, position, self._open(found[key], "code").decode())
            for key, position in keys.items()
            if key in found
        ]

    def open_all(self, held: Iterable[tuple[Stock, Ranges]]) -> list[Certificate]:
        """Read and decrypt certificates of several stocks, in their order: one call for every 100 of them."""
        wanted = [(stock, n) for stock, ranges in held for first, last in ranges for n in range(first, last + 1)]
        keys = [_certificate_key(stock, position) for stock, position in wanted]
        found = self._table.batch_get(keys) if keys else {}
        return [
            Certificate(stock, position, self._open(found[key], "code").decode())
            for (stock, position), key in zip(wanted, keys, strict=True)
        ]

    def _reserve(self, load: _Load, record: Item | None) -> Item:
        """Return the record of a load; reserves positions for it first if it has none yet."""
        stock, codes = load.stock, load.codes
        partition, sort = key = load.key
        # The digest is sealed: short codes could be found from a plain one by trying them all.
        digest = hashlib.sha256(b"".join(hashlib.sha256(code.encode()).digest() for code in codes)).digest()
        pauses = self._table.pauses()
        while record is None:
            level = read_stock_levels(self._table, [stock])[stock]
            if len(level.free) >= MOST_RANGES:
                raise Fragmented(stock)
            first, last = level.reserved + 1, level.reserved + len(codes)
            new: Item = {"pk": partition, "sk": sort, "first": first, "last": last, "digest": self._seal(key, digest)}
            condition = "reserved = :before" if level.reserved else "attribute_not_exists(reserved)"
            values = {":last": last, **({":before": level.reserved} if level.reserved else {})}
            move = Update(stock.key, "SET reserved = :last", condition, values=values)
            try:
                self._table.transact([Put(new, ABSENT), move])
            except TransactionRefused:
                next(pauses)
                record = self._table.get(key)
            else:
                record = new
        if self._open(record, "digest") != digest:
            raise KeyReused(f"The batch {load.batch!r} was loaded with other codes.")
        return record

    def _write(self, load: _Load, record: Item, advance: Callable[[int], None]) -> None:
        """Write the certificates of a load's new codes, with the records of these codes."""
        advance(record.get("done", 0))
        pauses = self._table.pauses()
        while (done := record.get("done", 0)) < len(load.codes):
            used = record.get("used", 0)
            end, chosen = load.next_new(done)
            progress = {"done": end, "used": used + len(chosen)}
            writes: list[Write] = [_progress(record, progress)]
            written: dict[int, CodeRecord] = {}
            for position, index in enumerate(chosen, record["first"] + used):
                place = Place(load.stock.face_value, position, load.batch)
                written[index], write = load.records[index].put(load.stock.card_id, place)
                writes += [write, self.put(Certificate(load.stock, position, load.codes[index]))]
            try:
                self._table.transact(writes)
            except TransactionRefused:
                next(pauses)
                # Another process or an earlier attempt wrote a part of this load, or another load has a code now.
                record = self._table.get(load.key) or record
                if record.get("done", 0) < end:
                    load.read_again(done, end)
            else:
                record = {**record, **progress}
                advance(end - done)
                for index, after in written.items():
                    load.records[index] = after

    def _publish(self, load: _Load) -> None:
        key, stock = load.key, load.stock
        done = Update(key, "SET published = :yes", "attribute_not_exists(published)", values={":yes": True})
        pauses = self._table.pauses()
        while True:
            level = read_stock_levels(self._table, [stock])[stock]
            # Read after the stock: if the load is not published now, its positions were not free there then.
            record = self._table.get(key)
            if record is None or record.get("published"):
                return  # by an earlier attempt, or by a concurrent retry of the same load
            added = [level.publish((record["first"], record["first"] + record["used"] - 1))] if record["used"] else []
            try:
                self._table.transact([done, *added])
            except TransactionRefused:
                next(pauses)
            else:
                return

    def put(self, one: Certificate) -> Put:
        """Return the write of a certificate at its position, encrypted."""
        partition, sort = one.key
        return Put({"pk": partition, "sk": sort, "code": self._seal(one.key, one.code.encode())})

    def _seal(self, key: Key, plain: bytes) -> bytes:
        return self._sealer.seal(plain, _context(key))

    def _open(self, item: Item, name: str) -> bytes:
        return self._sealer.open(item[name], _context((item["pk"], item["sk"])))


def size(ranges: Ranges) -> int:
    """Return the number of positions in ranges."""
    return sum(map(_length, ranges))


def _length(one: Range) -> int:
    return one[1] - one[0] + 1


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
    left = sorted(ranges, key=_length)
    while count:
        enough = bisect_left(left, count, key=_length)
        first, last = left.pop(min(enough, len(left) - 1))
        end = min(last, first + count - 1)
        taken.append((first, end))
        count -= _length((first, end))
        if end < last:
            left.append((end + 1, last))  # nothing follows: this range had enough
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


def without(ranges: Ranges, gone: Ranges) -> Ranges:
    """Return ranges without the positions of other ranges, all of which they contain.

    Raises:
        ValueError: A position of `gone` is in none of the ranges.
    """
    left: list[Range] = [*ranges]
    for first, last in gone:
        found = next((one for one in left if one[0] <= first and last <= one[1]), None)
        if found is None:
            raise ValueError(f"positions {first} to {last} are not in the ranges")
        left.remove(found)
        left += [one for one in ((found[0], first - 1), (last + 1, found[1])) if one[0] <= one[1]]
    return tuple(sorted(left))


def common(ranges: Ranges, within: Range) -> Ranges:
    """Return the positions of ranges that lie within another range."""
    cut = ((max(first, within[0]), min(last, within[1])) for first, last in ranges)
    return tuple((first, last) for first, last in cut if first <= last)


def read_ranges(stored: Iterable[Sequence[int]]) -> Ranges:
    """Convert ranges from the lists that an item stores."""
    return tuple((first, last) for first, last in stored)


def free_of(item: Item | None) -> int:
    """Return the number of free certificates in a stock's item; 0 without an item."""
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
        if same_code(code) in seen:
            repeated.append(index)
        seen.add(same_code(code))
    return repeated


def _progress(record: Item, progress: Item) -> Update:
    """Return the write that records how many codes of a load are done, and how many positions they use."""
    condition = "done = :before" if "done" in record else "attribute_not_exists(done)"
    before = {":before": record["done"]} if "done" in record else {}
    values = {":done": progress["done"], ":used": progress["used"], **before}
    return Update((record["pk"], record["sk"]), "SET done = :done, used = :used", condition, values=values)


def _context(key: Key) -> bytes:
    """Return the context that binds a sealed value to its item: copied to another item, it does not open.

    Stored format.
    """
    return "/".join(key).encode()


def _certificate_key(stock: Stock, position: int) -> Key:
    return f"CERTIFICATES#{stock}", f"{position:0{_DIGITS}}"


def _load_key(stock: Stock, batch: str) -> Key:
    return f"LOADS#{stock}", batch
