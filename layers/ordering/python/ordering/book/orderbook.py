"""The order book: pages by number and exact totals, at a cost that does not grow with the page.

A book is an append-only sequence of positions, 1, 2, 3, …; each holds one order or is void. What it promises:

(a) Any page costs the same as the first. (b) The total is exact. (c) Reading pages forward never misses an order and
never shows one twice, however many are being created. (d) A create that was answered is in every later list within
the grace time, and by id at once. (e) No crash, retry or race creates two orders, loses one, or leaves half of one.
(f) Creates in one book do not conflict with each other.

How it keeps them:

* A create takes a *ticket*: one unconditional ADD on the book's tickets item returns its position.
* It *fills* that position with one transaction: the entry, if absent, and whatever must be atomic with it.
* A position whose writer crashed is *voided*: one conditional put, if absent. Fill and void exclude each other whenever
  they run, so a slow writer whose position was voided takes another ticket.
* The book's *head* says up to which position everything is filled or void (`settled`), and how many voids lie below,
  by segment of positions. The void positions of a segment stand in an item of their own.
* A list reads head and tickets, then the *tail* between them up to the first open position. Nothing behind an open
  position is shown, as a log reader stops at the last stable offset. Any process that meets an open
  position older than the grace time voids it.
* A removed order's settled entry becomes a void, counted in the head by the same transaction. A reader that finds head
  and segment apart has read across a removal and reads again.
* From the counts, a rank in the list becomes a position by arithmetic, so a page is one query, whatever its number.

Keys of the table: `BOOK#<book>` holds the entries by zero-padded position; `TICKETS#<book>` and `HEAD#<book>` one item
each; `VOIDS#<book>` one item a segment.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from ordering import clock
from ordering.aws.dynamodb import (
    ABSENT,
    ConditionFailed,
    Item,
    Key,
    Put,
    Reason,
    Table,
    TableError,
    TransactionRefused,
    Update,
    Write,
)
from ordering.clock import Clock
from ordering.errors import Unavailable
from ordering.metrics import measured
from ordering.values import Value

_log = logging.getLogger("ordering")

SEGMENT = 1_000
"""Positions whose voids are counted together, so the most numbers that a segment's item can hold.

Stored format: heads and segments of all books were written with it, so it never changes.
"""

GRACE = timedelta(seconds=2)
"""Age at which an open position is voided; longer than a fill takes, retries included."""

SETTLE_AFTER = 25
"""Length of the tail at which a reader settles it."""

_SETTLE_AT_MOST = 90 * SEGMENT
"""Positions settled at once: their segments and the head must fit one transaction."""

_READ_AT_ONCE = 100
"""Positions that `newest` reads with one query."""

_ENTRIES = "BOOK#"
_ONLY = "-"
_DIGITS = 10
"""Stored format: positions in keys are padded to so many digits."""

_COUNT = "voids"
_COUNTS = re.compile(_COUNT + "[0-9]+")


class Ticket(Value):
    """A position, and when it was issued: by the clock of the writer that took it."""

    position: int
    issued: datetime


class Draft(Value):
    """What one order writes at its position: the entry that lists show, and everything atomic with it.

    `writes` must be conditional wherever they could collide with another order's. At most 99 of them.
    """

    entry: Item
    writes: Sequence[Write]


class Guard(Value):
    """A condition on an entry, as an expression for the write and as a function that raises the caller's error."""

    condition: str
    names: Mapping[str, str]
    values: Mapping[str, Any]
    check: Callable[[Item], None]
    """Called with an entry that was read. Raises the error that refuses it."""


class Collision(TableError):
    """A write of a draft was refused by its condition: the order was not placed and its ticket is void.

    `items` holds the item that refused each write, by the write's key.
    """

    def __init__(self, items: Mapping[Key, Item | None]) -> None:
        """Keep the item that refused each write."""
        super().__init__(f"met {sorted(items)}")
        self.items = dict(items)


class Page(Value):
    """Some entries of a list, oldest first, and how many there are in all."""

    entries: Sequence[Item]
    total: int


class Walk(Value):
    """A whole list, which is read when `entries` is called: at a cost that grows with its length."""

    length: int
    """How many entries are read, those of removed orders included."""
    entries: Callable[..., Iterator[Item]]
    """Yields the entries, oldest first. Takes names of attributes, `order.discount` for a part of a map, in a sequence;
    an entry then has these, as far as they exist, and its sort key. An entry that is removed during the read may
    still be yielded. Raises `Unavailable` if the deadline passes."""


class _Head(Value):
    settled: int
    voids: Mapping[int, int]
    """How many voids lie in each segment, up to `settled`; segments without any are left out."""

    @classmethod
    def read(cls, item: Item) -> _Head:
        counts = {int(name.removeprefix(_COUNT)): count for name, count in item.items() if _COUNTS.fullmatch(name)}
        return cls(item.get("settled", 0), dict(sorted(counts.items())))

    @property
    def live(self) -> int:
        return self.settled - sum(self.voids.values())

    def locate(self, rank: int) -> tuple[int, int | None]:
        """Turn the rank of a live settled entry (from 0) into its position.

        Where voids lie in the position's own segment, that segment comes with it, and the position has yet to be
        moved behind those of them that are before it.
        """
        before = 0
        for segment, count in self.voids.items():
            if rank < segment * SEGMENT - before:
                break
            if rank < (segment + 1) * SEGMENT - before - count:
                return rank + before + 1, segment
            before += count
        return rank + before + 1, None


class OrderBook:
    """One book of a table.

    Args:
        grace: Age at which an open position is voided.
        settle_after: Length of the tail at which a reader settles it.
        removals: Whether orders are ever removed from this book. Its pages then cost one small read more while the
            book is not settled; without it `remove` is refused.
    """

    def __init__(  # noqa: PLR0913 - what it needs is handed in
        self,
        table: Table,
        name: str,
        *,
        now: Clock = clock.system_clock,
        grace: timedelta = GRACE,
        settle_after: int = SETTLE_AFTER,
        removals: bool = False,
    ) -> None:
        self._table = table
        self._name = name
        self._now = now
        self._grace = grace
        self._settle_after = settle_after
        self._removals = removals

    def place(self, compose: Callable[[Ticket], Draft]) -> Ticket:
        """Place one order, in two round trips when nothing interferes.

        Args:
            compose: Makes the draft for a ticket; called again with another ticket when the first one was voided.

        Returns:
            The ticket whose draft was written.

        Raises:
            Collision: Another write than the entry's was refused.
            Unavailable: The deadline passed. The order may still have been placed.
        """
        pauses = self._table.pauses()
        while True:
            ticket = self._take_ticket()
            draft = compose(ticket)
            partition, sort = self.entry_key(ticket.position)
            writer = secrets.token_hex(8)
            stamp = {"pk": partition, "sk": sort, "at": clock.to_text(ticket.issued), "writer": writer}
            try:
                self._table.transact([Put({**draft.entry, **stamp}, ABSENT), *draft.writes])
            except TransactionRefused as refusal:
                if self._void(ticket.position, clock.to_text(ticket.issued)).get("writer") == writer:
                    return ticket  # an earlier attempt took effect; only its response was lost
                _collide(draft.writes, refusal.reasons[1:])
                # Only the entry was refused: its position was voided before the fill arrived. Take another ticket.
                next(pauses)
            else:
                return ticket

    def page(self, first: int, count: int, *, newest_first: bool = False, up_to: int | None = None) -> Page:
        """Read up to `count` entries, beginning with the one of rank `first` (from 0).

        Two round trips when the book is settled; one more for a tail, one more where orders were voided.

        Args:
            newest_first: Whether ranks are counted from the book's end, and the page is read backwards.
            up_to: With `newest_first`, the position to count from. Orders placed behind it are not in the list; the
                cost is reading their entries.

        Raises:
            Unavailable: The deadline passed.
        """
        pauses = self._table.pauses()
        while True:
            head, tail = self._read()
            low, high = first, first + count
            bounded = up_to is not None and up_to < head.settled
            newer = self._newer(head, tail, up_to) if up_to is not None else 0
            if newest_first:
                total = head.live + len(_live(tail)) - newer
                low, high = max(total - high, 0), max(total - low, 0)
            # Head and tail are read one after the other. Where orders are removed, the head may change in between,
            # and a total over both would mix two moments.
            confirm = self._removals and (bool(tail) or bounded)
            settled = self._settled_entries(head, low, min(high, head.live), confirm=confirm)
            if settled is not None:
                page = self._page(head, tail, settled, low, high)
                return Page(page.entries[::-1], page.total - newer) if newest_first else page
            next(pauses)

    def _newer(self, head: _Head, tail: Sequence[Item], position: int) -> int:
        """Count the live entries behind a position."""
        settled = self._entries(position + 1, head.settled) if position < head.settled else ()
        return len(_live(entry for entry in [*settled, *tail] if position_of(entry) > position))

    def _page(self, head: _Head, tail: Sequence[Item], settled: Sequence[Item], low: int, high: int) -> Page:
        self._settle_if_long(head, tail)
        live = _live(tail)
        shown = live[max(low - head.live, 0) : max(high - head.live, 0)]
        return Page([*settled, *shown], head.live + len(live))

    def find(self, positions: Iterable[int]) -> dict[int, Item]:
        """Read the entries at some positions, by position; those that are open or void are left out."""
        found = self._table.batch_get([self.entry_key(position) for position in positions])
        return {position_of(entry): entry for entry in _live(found.values())}

    def walk(self) -> Walk:
        """Open the whole list for reading: what follows is read by `Walk.entries`.

        Raises:
            Unavailable: The deadline passed.
        """
        head, tail = self._read()

        def entries(attributes: Sequence[str] = ()) -> Iterator[Item]:
            wanted = ["sk", "void", *attributes] if attributes else ()
            for entry in itertools.chain(self._entries(1, head.settled, wanted), tail):
                if not is_void(entry):
                    yield entry
            self._settle_if_long(head, tail)

        return Walk(head.settled + len(tail), entries)

    def newest(self) -> Iterator[Item]:
        """Yield the entries from the newest to the oldest, for operators: read as they are needed, and nothing written.

        An order is shown as soon as its entry is there, so lists may show a new one a moment later. An entry that is
        removed during the read may still be yielded.
        """
        high = self._table.get(self._tickets_key()) or {"issued": 0}
        for last in range(high["issued"], 0, -_READ_AT_ONCE):
            yield from reversed(_live(self._entries(max(last - _READ_AT_ONCE, 0) + 1, last)))

    def destroy(self) -> None:
        """Delete all items of the book. After a crash, call it again.

        For books that no longer have writers: an order placed during the call may remain.
        """
        for partition in (f"{_ENTRIES}{self._name}", f"VOIDS#{self._name}"):
            found = self._table.query(partition, "0" * _DIGITS, "9" * _DIGITS)
            self._table.delete_all((item["pk"], item["sk"]) for item in found)
        self._table.delete_all([self._tickets_key(), self._head_key()])

    def _settle_if_long(self, head: _Head, tail: Sequence[Item]) -> None:
        if len(tail) >= self._settle_after:
            with suppress(Unavailable):  # the page has been read; the next reader can settle
                self._settle(head, tail)

    def remove(
        self, position: int, writes: Sequence[Write] = (), guard: Guard | None = None, left: Item | None = None
    ) -> bool:
        """Turn a placed order's entry into a void, with everything that must be atomic with it.

        An entry that is not settled yet is settled first. This can take the grace time if a writer before it crashed.

        Args:
            writes: Further writes of the same transaction. At most 97 of them.
            guard: A condition on the entry, which the removal's own write checks.
            left: Further attributes of the void.

        Returns:
            Whether this call removed it; False if it was removed before.

        Raises:
            As `guard.check`; nothing was removed.
            Collision: Another write was refused; nothing was removed.
            Unavailable: The deadline passed. The order may still have been removed.
        """
        if not self._removals:
            raise TypeError("nothing is ever removed from this book")
        remover = secrets.token_hex(8)
        pauses = self._table.pauses()
        while True:
            entry = self._table.get(self.entry_key(position))
            if entry is None or is_void(entry):
                return entry is not None and entry.get("remover") == remover
            if guard:
                guard.check(entry)
            try:
                void = {**_placing(entry), "void": True, "remover": remover, **(left or {})}
                self._table.transact([*self._removal(position, void, guard), *writes])
            except TransactionRefused as refusal:
                if not refusal.reasons[1]:
                    _collide(writes, refusal.reasons[3:])
                    self.settle()
                next(pauses)
            else:
                return True

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        segment = segment_of(position)
        placed = "attribute_exists(pk) AND attribute_not_exists(#void)"
        names, values = (guard.names, guard.values) if guard else ({}, {})
        return [
            Update(
                self._head_key(),
                f"ADD {_COUNT}{segment} :one",
                condition="settled >= :position",
                values={":one": 1, ":position": position},
            ),
            Put(void, f"{placed} AND {guard.condition}" if guard else placed, {"#void": "void", **names}, values),
            Update(self._segment_key(segment), "ADD positions :voids", values={":voids": {position}}),
        ]

    def settle(self) -> int:
        """Move the head over all positions that are filled or void, and return its new position.

        Open positions past their grace are voided on the way. Any number of settlers may run at once.

        Raises:
            Unavailable: The deadline passed.
        """
        head, tail = self._read()
        if tail:
            self._settle(head, tail)
        return head.settled + len(tail)

    def entry_key(self, position: int) -> Key:
        """Return the key of an entry, for writes that change what a list shows of its order."""
        return f"{_ENTRIES}{self._name}", f"{position:0{_DIGITS}}"

    def _take_ticket(self) -> Ticket:
        issued = self._now()
        changed = self._table.update(
            Update(
                self._tickets_key(),
                "ADD issued :one SET #at = :now",
                names={"#at": "at"},
                values={":one": 1, ":now": clock.to_text(issued)},
            )
        )
        return Ticket(changed["issued"], issued)

    def _read(self) -> tuple[_Head, list[Item]]:
        """Read the head, and the tail up to the first position that is open and still within its grace."""
        found = self._table.batch_get([self._head_key(), self._tickets_key()])
        head = _Head.read(found.get(self._head_key(), {}))
        tickets = found.get(self._tickets_key(), {})
        # The two reads are not one snapshot: the head may already be past the tickets that were read.
        issued = tickets.get("issued", 0)
        if issued <= head.settled:
            return head, []
        return head, self._read_tail(head.settled, issued, tickets["at"])

    def _read_tail(self, settled: int, issued: int, last_stamp: str) -> list[Item]:
        present = {position_of(entry): entry for entry in self._entries(settled + 1, issued)}
        # A ticket is at least as old as any entry behind it, and as the ticket given out last. All stamps
        # are the writers' own: a wrong clock among them costs a writer another ticket, never an order.
        newest = last_stamp
        given_out_by: dict[int, str] = {}
        for position in range(issued, settled, -1):
            given_out_by[position] = newest
            if position in present:
                newest = min(newest, present[position]["at"])
        limit = clock.to_text(self._now() - self._grace)
        tail: list[Item] = []
        for position in range(settled + 1, issued + 1):
            if position not in present and given_out_by[position] > limit:
                break
            tail.append(present.get(position) or self._void(position, given_out_by[position]))
        return tail

    def _void(self, position: int, given_out_by: str) -> Item:
        """Void a position if it is open, and return its entry.

        Args:
            position: The position.
            given_out_by: The time by which its ticket was given out.
        """
        partition, sort = self.entry_key(position)
        void = {"pk": partition, "sk": sort, "void": True, "at": clock.to_text(self._now())}
        try:
            self._table.put(Put(void, ABSENT))
        except ConditionFailed as failure:
            if failure.item is None:
                # The position is filled or void, but with what is unknown: an order must not be counted as a void.
                raise Unavailable from failure
            return failure.item
        age = (self._now() - clock.from_text(given_out_by)).total_seconds()
        contract = self._name.partition("#")[0]
        voided = {"book": self._name, "position": position}
        _log.info("position voided", extra={**voided, **measured(contract, Voids=1, OldestOpenTicketSeconds=age)})
        return void

    def _settled_entries(self, head: _Head, first: int, last: int, *, confirm: bool) -> list[Item] | None:
        """Read the settled entries of ranks `first` to `last - 1`.

        None if an order was removed between the reads, so that they do not fit together.
        """
        spots = [head.locate(first), head.locate(last - 1)] if first < last else []
        voids = self._voids(head, {segment for _, segment in spots if segment is not None}, confirm=confirm)
        if voids is None:
            return None
        if not spots:
            return []
        from_position, to_position = (
            _skip(position, voids[segment]) if segment is not None else position for position, segment in spots
        )
        live = _live(self._entries(from_position, to_position))
        return live if len(live) == last - first else None

    def _voids(self, head: _Head, segments: Iterable[int], *, confirm: bool) -> dict[int, list[int]] | None:
        """Read which positions of the given segments are void, rising; None if the head does not count the same.

        With `confirm` the head itself is read again, in the same round trip, and must not have changed.
        """
        keys = {self._segment_key(segment): segment for segment in segments}
        wanted = [*keys, self._head_key()] if confirm else list(keys)
        found = self._table.batch_get(wanted) if wanted else {}
        if confirm and _Head.read(found.get(self._head_key(), {})) != head:
            return None
        voids = {segment: sorted(found.get(key, {}).get("positions", ())) for key, segment in keys.items()}
        fits = all(len(positions) == head.voids[segment] for segment, positions in voids.items())
        return voids if fits else None

    def _settle(self, head: _Head, tail: Sequence[Item]) -> None:
        """Move the head over the tail, unless another settler has moved it since it was read."""
        tail = tail[:_SETTLE_AT_MOST]
        voids: dict[int, set[int]] = {}
        for position, entry in enumerate(tail, head.settled + 1):
            if is_void(entry):
                voids.setdefault(segment_of(position), set()).add(position)
        counts = {f":v{segment}": len(positions) for segment, positions in voids.items()}
        add = ", ".join(f"{_COUNT}{segment} :v{segment}" for segment in voids)
        move = Update(
            self._head_key(),
            "SET settled = :to" + (f" ADD {add}" if add else ""),
            condition="settled = :from" if head.settled else "attribute_not_exists(settled)",
            values={
                ":to": head.settled + len(tail),
                **counts,
                **({":from": head.settled} if head.settled else {}),
            },
        )
        marks = [
            Update(self._segment_key(segment), "ADD positions :voids", values={":voids": positions})
            for segment, positions in voids.items()
        ]
        with suppress(ConditionFailed, TransactionRefused):
            if marks:
                self._table.transact([move, *marks])
            else:
                self._table.update(move)

    def _entries(self, first: int, last: int, attributes: Sequence[str] = ()) -> Iterator[Item]:
        (partition, from_key), (_, to_key) = self.entry_key(first), self.entry_key(last)
        return self._table.query(partition, from_key, to_key, attributes=attributes)

    def _head_key(self) -> Key:
        return f"HEAD#{self._name}", _ONLY

    def _tickets_key(self) -> Key:
        return f"TICKETS#{self._name}", _ONLY

    def _segment_key(self, segment: int) -> Key:
        return f"VOIDS#{self._name}", f"{segment:0{_DIGITS}}"


def _collide(writes: Sequence[Write], reasons: Sequence[Reason | None]) -> None:
    """Raise for the refused writes, if there are any.

    Raises:
        Collision: At least one of them was refused.
    """
    met = {_key_of(write): reason.item for write, reason in zip(writes, reasons, strict=True) if reason}
    if met:
        raise Collision(met)


def book_of(partition: str) -> str | None:
    """Return the name of the book whose entries a partition holds, None if it holds something else."""
    return partition.removeprefix(_ENTRIES) if partition.startswith(_ENTRIES) else None


def segment_of(position: int) -> int:
    """Return the segment that counts a position's void: 0 for positions 1 to 1,000."""
    return (position - 1) // SEGMENT


def _skip(position: int, voids: Iterable[int]) -> int:
    """Move a position behind the voids before it; `voids` are those of its segment, rising."""
    for void in voids:
        if void > position:
            break
        position += 1
    return position


def _live(entries: Iterable[Item]) -> list[Item]:
    return [entry for entry in entries if not is_void(entry)]


def position_of(entry: Item) -> int:
    """Return the position of an entry."""
    return int(entry["sk"])


def is_void(entry: Item) -> bool:
    """Return whether an entry is void: its writer gave up, or its order was removed."""
    return "void" in entry


def _placing(entry: Item) -> Item:
    """Return what a void keeps of an entry; `writer` because its create may still be waiting for the response."""
    return {name: value for name, value in entry.items() if name in {"pk", "sk", "at", "writer"}}


def _key_of(write: Write) -> Key:
    return (write.item["pk"], write.item["sk"]) if isinstance(write, Put) else write.key
