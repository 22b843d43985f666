"""Upkeep of stock, for operators: registers the codes of earlier releases, moves, compacts and unloads certificates.

Every step is one transaction with the stock's item, the certificates and the records of their codes. So a crash leaves
each certificate in one stock or the other, and the same call again does the rest. Certificates of orders are not
touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ordering import clock
from ordering.aws.dynamodb import Delete, Item, Put, Table, TransactionRefused, Update, Write
from ordering.clock import Clock
from ordering.ecards.assignment import Assignment
from ordering.ecards.catalogue import all_catalogues
from ordering.ecards.certificates import (
    Certificate,
    Certificates,
    Range,
    Ranges,
    Stock,
    StockLevel,
    common,
    hide_progress,
    merge,
    read_stock_levels,
    size,
    stock_of,
    take,
    without,
)
from ordering.ecards.stock.codes import DIGEST_KEY, CodeRecord, CodeRegister, Place, canonical_batch, why_invalid
from ordering.ecards.stock.loading import require_index
from ordering.errors import NotFound
from ordering.sealing import Sealer
from ordering.values import Struct, field

_REGISTERED = 90
"""Codes in one transaction of the register."""

_MOVED = 32
"""Certificates in one transaction of a move: each has three writes, and the stocks two."""

COMPACT_TO = 100
"""Free ranges of a stock that compaction leaves at most."""

_UNLOADED = 49
"""Certificates in one transaction that unloads: each has two writes, and the stock one."""


class IndexReport(Struct):
    """What the register found in the stock of earlier releases."""

    codes: int = 0
    """Codes that were registered."""
    withdrawn: list[tuple[Stock, int]] = field(default_factory=list)
    """Free certificates whose code another position of the card has; they are out of stock now."""
    assigned_twice: list[tuple[Stock, int]] = field(default_factory=list)
    """Certificates of orders whose code another order's certificate of the card has as well."""
    invalid: list[tuple[Stock, int, str]] = field(default_factory=list)
    """Certificates whose code no load would accept now, with the reason; they are registered, and stay in stock."""


class StockUpkeep:
    """Keeps the stock of an installation.

    Args:
        orders: The orders table.
        sealer: Decrypts certificates, and encrypts those that are moved.
        advance: Takes how many more certificates are done, for a caller that shows the progress.
    """

    def __init__(
        self,
        orders: Table,
        sealer: Sealer,
        *,
        now: Clock = clock.system_clock,
        advance: Callable[[int], None] = hide_progress,
    ) -> None:
        self._table = orders
        self._sealer = sealer
        self._certificates = Certificates(orders, sealer)
        self._now = now
        self._advance = advance

    def index(self, catalogue: Table) -> IndexReport:
        """Register the codes and face values that earlier releases stored, once; every run goes on where one ended.

        A code that several certificates of a card have is left to one of them: one of an order's if there is one. The
        others are withdrawn from stock, or reported if they are orders' as well.

        It scans both tables. Each code takes a read unit for the certificate, one for the record, and two write units.

        Args:
            catalogue: The catalogue table.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        report = IndexReport()
        register = CodeRegister.open(self._table, self._sealer)
        for one in all_catalogues(catalogue):
            one.offer(one.ecards())
        for item in self._table.scan("STOCK#"):
            if stock := stock_of(item["pk"]):
                for load in self._table.query(f"LOADS#{stock}", "\x00", "\U0010ffff"):
                    if load.get("published") and "used" not in load and "registered" not in load:
                        self._register(stock, load, register, report)
        done = {":at": clock.to_text(self._now())}
        self._table.update(Update(DIGEST_KEY, "SET registered = :at", values=done))
        return report

    def move(self, source: Stock, target: Stock, *, count: int | None = None, batch: str | None = None) -> int:
        """Move free certificates to another stock, and assign them to the orders that wait there.

        Codes that the target's card has already stay where they are. Each certificate takes two read units and six
        write units.

        Args:
            count: How many to move at most; by default all.
            batch: The load to move certificates of; by default any.

        Returns:
            The number of certificates that were moved.

        Raises:
            ValueError: The stocks are the same.
            NotIndexed: The register of codes is not complete.
            NotFound: The source has no such load.
            Fragmented: A stock has too many separate free ranges. Some may have been moved.
            Unavailable: The deadline passed. Some may have been moved; the same call again moves the rest.
        """
        if source == target:
            raise ValueError("the certificates are in this stock already")
        register, within, left = self._begin(source, count, batch)
        staying: Ranges = ()
        moved = 0
        pauses = self._table.pauses()
        while left > 0:
            levels = read_stock_levels(self._table, [source, target])
            chosen = _choose(levels[source], within, staying, min(left, _MOVED))
            found = self._certificates.open_stored(source, chosen)
            if not found:
                break
            records = register.read([one.code for one in found])
            if target.card_id != source.card_id and (known := _known(target.card_id, found, records)):
                staying = merge(staying, known)
            elif self._written(self._moving(levels, source, target, found, records), pauses):
                moved, left = moved + len(found), left - len(found)
                self._advance(len(found))
        Assignment(self._table, now=self._now).assign_parked(target)
        return moved

    def compact(self, stock: Stock) -> int:
        """Move the free certificates of short ranges to new positions that adjoin, until few ranges are left.

        Then assign certificates to the orders that wait for the stock. Like certificates of another stock, those that
        were moved are not found by their load's name any more. Each certificate takes two read units and six write
        units, and every 32 of them two write units for each KB of the stock's item: 18 bytes for each range.

        Returns:
            The number of certificates that were moved.

        Raises:
            NotIndexed: The register of codes is not complete.
            Unavailable: The deadline passed. Some may have been moved; the same call again moves the rest.
        """
        register, _, _ = self._begin(stock, None, None)
        moved, end = 0, read_stock_levels(self._table, [stock])[stock].reserved
        pauses = self._table.pauses()
        while True:
            levels = read_stock_levels(self._table, [stock])
            short = _shortest(common(levels[stock].free, (1, end)), _MOVED)
            found = self._certificates.open_stored(stock, short)
            if len(levels[stock].free) <= COMPACT_TO or not found:
                break
            records = register.read([one.code for one in found])
            if self._written(self._moving(levels, stock, stock, found, records), pauses):
                moved += len(found)
                self._advance(len(found))
        Assignment(self._table, now=self._now).assign_parked(stock)
        return moved

    def unload(self, stock: Stock, *, count: int | None = None, batch: str | None = None) -> int:
        """Remove free certificates and the records of their codes, so that the codes can be loaded again.

        The load's name stays used: the same load again changes nothing. Each certificate takes two read units and four
        write units.

        Args:
            count: How many to remove at most; by default all.
            batch: The load to remove certificates of; by default any.

        Returns:
            The number of certificates that were removed.

        Raises:
            NotIndexed: The register of codes is not complete.
            NotFound: The stock has no such load.
            Fragmented: What is left would be in too many separate ranges. Some may have been removed.
            Unavailable: The deadline passed. Some may have been removed; the same call again removes the rest.
        """
        register, within, left = self._begin(stock, count, batch)
        removed = 0
        pauses = self._table.pauses()
        while left > 0:
            level = read_stock_levels(self._table, [stock])[stock]
            chosen = _choose(level, within, (), min(left, _UNLOADED))
            found = self._certificates.open_stored(stock, chosen)
            if not found:
                break
            records = register.read([one.code for one in found])
            writes: list[Write] = [level.withdraw(chosen)]
            for one, record in zip(found, records, strict=True):
                writes += [Delete(one.key), record.remove(stock.card_id)]
            if self._written(writes, pauses):
                removed, left = removed + len(found), left - len(found)
                self._advance(len(found))
        return removed

    def _written(self, writes: Iterable[Write], pauses: Iterator[None]) -> bool:
        """Write a transaction and return True; wait and return False if another process changed one of its items."""
        try:
            self._table.transact([*writes])
        except TransactionRefused:
            next(pauses)
            return False
        return True

    def _begin(self, stock: Stock, count: int | None, batch: str | None) -> tuple[CodeRegister, Range | None, int]:
        """Return the register, the positions to choose from, None for all, and how many to choose at most."""
        require_index(self._table)
        within = None
        if batch is not None:
            load = self._table.get((f"LOADS#{stock}", batch)) or self._table.get(
                (f"LOADS#{stock}", canonical_batch(batch))
            )
            if load is None:
                raise NotFound("load", batch)
            within = _positions(load)
        level = read_stock_levels(self._table, [stock])[stock]
        return CodeRegister.open(self._table, self._sealer), within, level.count if count is None else count

    def _moving(
        self,
        levels: dict[Stock, StockLevel],
        source: Stock,
        target: Stock,
        found: list[Certificate],
        records: list[CodeRecord],
    ) -> Iterator[Write]:
        """Yield the writes that move certificates, to another stock or within one."""
        positions = _ranges(one.position for one in found)
        if source == target:
            (first, _), receive = levels[target].receive(len(found), positions)
        else:
            (first, _), receive = levels[target].receive(len(found))
            yield levels[source].withdraw(positions)
        yield receive
        for position, (one, record) in enumerate(zip(found, records, strict=True), first):
            place = record.place(source.card_id)
            batch = place.batch if place else ""
            yield Delete(one.key)
            yield self._certificates.put(Certificate(target, position, one.code))
            yield record.move(source.card_id, target.card_id, Place(target.face_value, position, batch))

    def _register(self, stock: Stock, load: Item, register: CodeRegister, report: IndexReport) -> None:
        """Register the codes of a load of an earlier release."""
        first, last = load["first"], load["last"]
        batch = canonical_batch(load["sk"])
        for start in range(first, last + 1, _REGISTERED):
            end = min(start + _REGISTERED - 1, last)
            found = self._certificates.open_stored(stock, ((start, end),))
            pauses = self._table.pauses()
            while True:
                records = register.read([one.code for one in found])
                writes: dict[str, Put] = {}
                for one, record in zip(found, records, strict=True):
                    if not record.place(stock.card_id):
                        place = Place(stock.face_value, one.position, batch)
                        writes.setdefault(record.key[0], record.put(stock.card_id, place)[1])
                if not writes:
                    break
                try:
                    self._table.transact([*writes.values()])
                    report.codes += len(writes)
                except TransactionRefused:
                    next(pauses)
            for one, record in zip(found, records, strict=True):
                if reason := why_invalid(one.code):
                    report.invalid.append((stock, one.position, reason))
                if record.place(stock.card_id) != Place(stock.face_value, one.position, batch):
                    self._one_of_a_kind(one, batch, register, report)
            self._advance(len(found))
        self._table.update(Update((load["pk"], load["sk"]), "SET registered = :yes", values={":yes": True}))

    def _one_of_a_kind(self, one: Certificate, batch: str, register: CodeRegister, report: IndexReport) -> None:
        """Withdraw a certificate, or the registered one with the same code, if one of the two is free."""
        pauses = self._table.pauses()
        while True:
            (record,) = register.read([one.code])
            place = record.place(one.stock.card_id)
            if place is None or (place.face_value, place.position) == (one.stock.face_value, one.position):
                return
            other = Certificate(Stock(one.stock.card_id, place.face_value), place.position, one.code)
            levels = read_stock_levels(self._table, [one.stock, other.stock])
            mine = Place(one.stock.face_value, one.position, batch)
            if _is_free(levels[one.stock], one):
                gone, writes = one, list[Write]()
            elif _is_free(levels[other.stock], other):
                gone, writes = other, [record.put(one.stock.card_id, mine)[1]]
            else:
                report.assigned_twice.append((one.stock, one.position))
                return
            withdraw = levels[gone.stock].withdraw(((gone.position, gone.position),))
            try:
                self._table.transact([withdraw, Delete(gone.key), *writes])
            except TransactionRefused:
                next(pauses)
            else:
                report.withdrawn.append((gone.stock, gone.position))
                return


def is_loaded(orders: Table, stock: Stock, batch: str) -> bool:
    """Return whether a load of a stock is complete, by its canonical name."""
    return bool((orders.get((f"LOADS#{stock}", batch)) or {}).get("published"))


def unfinished_loads(orders: Table, stock: Stock) -> list[str]:
    """Return the names of a stock's loads that are not complete: one query.

    A load is unfinished while it runs, and after a crash until the same load is run again.
    """
    loads = orders.query(f"LOADS#{stock}", "\x00", "\U0010ffff")
    return [load["sk"] for load in loads if not load.get("published")]


def _choose(level: StockLevel, within: Range | None, staying: Ranges, count: int) -> Ranges:
    """Choose up to `count` free positions of a stock."""
    free = without(level.free, _still(level.free, staying))
    free = free if within is None else common(free, within)
    return take(free, min(count, size(free)))[0]


def _shortest(ranges: Ranges, count: int) -> Ranges:
    """Choose up to `count` positions, from the shortest ranges first."""
    shortest_first = sorted(ranges, key=lambda one: size((one,)))
    return _ranges(islice((position for one in shortest_first for position in range(one[0], one[1] + 1)), count))


def _known(card: int, found: Sequence[Certificate], records: Sequence[CodeRecord]) -> Ranges:
    """Return the positions of certificates whose codes a card has already."""
    return _ranges(one.position for one, record in zip(found, records, strict=True) if record.place(card))


def _ranges(positions: Iterable[int]) -> Ranges:
    return merge((), tuple((position, position) for position in positions))


def _still(free: Ranges, staying: Ranges) -> Ranges:
    """Return those of single positions that are still free."""
    return tuple(one for one in _each(staying) if any(first <= one[0] <= last for first, last in free))


def _each(ranges: Ranges) -> Iterator[Range]:
    return ((n, n) for first, last in ranges for n in range(first, last + 1))


def _is_free(level: StockLevel, one: Certificate) -> bool:
    return any(first <= one.position <= last for first, last in level.free)


def _positions(load: Item) -> Range:
    """Return the positions of a load."""
    used: int = load["used"] if "used" in load else load["last"] - load["first"] + 1
    return load["first"], load["first"] + used - 1
