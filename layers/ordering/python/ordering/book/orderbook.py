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
  by range of positions. A range's item counts them by segment, and the void positions of a segment stand in an item of
  their own. Ranges and segments without voids have none and cost no read.
* A list reads head and tickets, then the *tail* between them up to the first open position. Nothing behind an open
  position is shown, as a log reader stops at the last stable offset. Any process that meets an open
  position older than the grace time voids it.
* A removed order's settled entry becomes a void, counted in head, range and segment by the same transaction. A reader
  that finds their sums apart has read across a removal and reads again.
* From the counts, a rank in the list becomes a position by arithmetic, so a page is one read, whatever its number.
* Entries are spread over several partition keys, in blocks. The ones that a page touches are queried at the same time.

`positions` has the keys, and how voids are counted.
"""

from __future__ import annotations

import logging
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
from ordering.book.positions import (
    LAST_POSITION,
    LAYOUT,
    BookKeys,
    Head,
    Layout,
    descend,
    range_count,
    read_entries,
    segment_count,
    segment_counts,
    skip,
)
from ordering.clock import Clock
from ordering.errors import Unavailable
from ordering.metrics import measured
from ordering.values import Value

_log = logging.getLogger("ordering")

GRACE = timedelta(seconds=2)
"""Age at which an open position is voided; longer than a fill takes, retries included."""

SETTLE_AFTER = 25
"""Length of the tail at which a reader settles it."""

_WALKED_BLOCKS = 4
"""Blocks of each lane that a walk reads at once: 6,400 positions, so that few of many stay in memory."""

_SETTLE_AT_MOST = 90
"""Segments settled at once: they, their ranges and the head must fit one transaction."""


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


class OrderBook:
    """One book of a table.

    Args:
        grace: Age at which an open position is voided.
        settle_after: Length of the tail at which a reader settles it.
        removals: Whether orders are ever removed from this book. Its pages then cost one small read more while the
            book is not settled; without it `remove` is refused.
        layout: The sizes from which its keys follow.
        shown: The attributes of an entry that pages need, as for `Walk.entries`; by default all. A page may have more.
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
        layout: Layout = LAYOUT,
        shown: Sequence[str] = (),
    ) -> None:
        self._table = table
        self._name = name
        self._keys = BookKeys(name, layout)
        self._layout = layout
        self._now = now
        self._grace = grace
        self._settle_after = settle_after
        self._removals = removals
        self._shown = shown

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

        Two round trips when the book is settled; one more for a tail, and two more where orders were voided. The second
        of these is not needed while the page's range has one segment.

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

    def _newer(self, head: Head, tail: Sequence[Item], position: int) -> int:
        """Count the live entries behind a position."""
        settled = self._entries(position + 1, head.settled) if position < head.settled else ()
        return len(_live(entry for entry in [*settled, *tail] if position_of(entry) > position))

    def _page(self, head: Head, tail: Sequence[Item], settled: Sequence[Item], low: int, high: int) -> Page:
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
            together = _WALKED_BLOCKS * self._layout.block * self._layout.lanes
            for first in range(1, head.settled + 1, together):
                yield from _live(self._entries(first, min(first + together - 1, head.settled), attributes))
            yield from _live(tail)
            self._settle_if_long(head, tail)

        return Walk(head.settled + len(tail), entries)

    def newest(self) -> Iterator[Item]:
        """Yield the entries from the newest to the oldest, for operators: read as they are needed, and nothing written.

        An order is shown as soon as its entry is there, so lists may show a new one a moment later. An entry that is
        removed during the read may still be yielded.
        """
        tickets = self._table.get(self._keys.tickets) or {}
        last: int = tickets.get("issued", 0)
        while last:
            first = self._layout.block_start(last)
            yield from reversed(_live(self._entries(first, last)))
            last = first - 1

    def destroy(self) -> None:
        """Delete all items of the book. After a crash, call it again.

        For books that no longer have writers: an order placed during the call may remain.
        """
        # All lanes, whatever the tickets say: a writer may give up after an earlier call, and leave a void in any.
        spans = [*self._keys.entries(1, LAST_POSITION), self._keys.voids]
        for found in self._table.query_all(spans, ["pk", "sk"]):
            self._table.delete_all((item["pk"], item["sk"]) for item in found)
        self._table.delete_all([self._keys.tickets, self._keys.head])

    def _settle_if_long(self, head: Head, tail: Sequence[Item]) -> None:
        if len(tail) >= self._settle_after:
            with suppress(Unavailable):  # the page has been read; the next reader can settle
                self._settle(head, tail)

    def remove(
        self, position: int, writes: Sequence[Write] = (), guard: Guard | None = None, left: Item | None = None
    ) -> bool:
        """Turn a placed order's entry into a void, with everything that must be atomic with it.

        An entry that is not settled yet is settled first. This can take the grace time if a writer before it crashed.

        Args:
            writes: Further writes of the same transaction. At most 96 of them.
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
                    _collide(writes, refusal.reasons[4:])
                    self.settle()
                next(pauses)
            else:
                return True

    def _removal(self, position: int, void: Item, guard: Guard | None) -> list[Write]:
        segment = self._layout.segment_of(position)
        number = self._layout.range_of(segment)
        placed = "attribute_exists(pk) AND attribute_not_exists(#void)"
        names, values = (guard.names, guard.values) if guard else ({}, {})
        return [
            Update(
                self._keys.head,
                f"ADD {range_count(number)} :one",
                condition="settled >= :position",
                values={":one": 1, ":position": position},
            ),
            Put(void, f"{placed} AND {guard.condition}" if guard else placed, {"#void": "void", **names}, values),
            Update(self._keys.range(number), f"ADD {segment_count(segment, self._layout)} :one", values={":one": 1}),
            Update(self._keys.segment(segment), "ADD positions :voids", values={":voids": {position}}),
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
        return self._keys.entry(position)

    def _take_ticket(self) -> Ticket:
        issued = self._now()
        changed = self._table.update(
            Update(
                self._keys.tickets,
                "ADD issued :one SET #at = :now",
                names={"#at": "at"},
                values={":one": 1, ":now": clock.to_text(issued)},
            )
        )
        return Ticket(changed["issued"], issued)

    def _read(self) -> tuple[Head, list[Item]]:
        """Read the head, and the tail up to the first position that is open and still within its grace."""
        found = self._table.batch_get([self._keys.head, self._keys.tickets])
        head = Head.read(found.get(self._keys.head, {}))
        tickets = found.get(self._keys.tickets, {})
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

    def _settled_entries(self, head: Head, first: int, last: int, *, confirm: bool) -> list[Item] | None:
        """Read the settled entries of ranks `first` to `last - 1`.

        None if an order was removed between the reads, so that they do not fit together. With `confirm` the head is
        read again, together with the voids, and must not have changed.
        """
        positions = self._positions(head, [first, last - 1] if first < last else [], confirm=confirm)
        if not positions:
            return None if positions is None else []
        live = _live(self._entries(positions[0], positions[-1], self._shown))
        return live if len(live) == last - first else None

    def _positions(self, head: Head, ranks: Sequence[int], *, confirm: bool) -> list[int] | None:
        """Turn ranks of live settled entries into positions; None if the reads do not fit together."""
        in_range = [descend(rank, 0, head.voids, self._layout.segment * self._layout.segments) for rank in ranks]
        ranges = {number for _, number in in_range if number is not None}
        known = {number: count for number in ranges if (count := self._only_segment(head, number))}
        unknown = ranges - known.keys()
        counts = self._segment_counts(head, unknown, confirm=confirm and bool(unknown))
        if counts is None:
            return None
        counts |= known
        in_segment = [
            (before, None) if number is None else descend(rank, before, counts[number], self._layout.segment)
            for rank, (before, number) in zip(ranks, in_range, strict=True)
        ]
        wanted = {one: counts[self._layout.range_of(one)][one] for _, one in in_segment if one is not None}
        voids = self._void_positions(head, wanted, confirm=confirm and not unknown)
        if voids is None:
            return None
        return [
            skip(rank + before + 1, () if segment is None else voids[segment])
            for rank, (before, segment) in zip(ranks, in_segment, strict=True)
        ]

    def _only_segment(self, head: Head, number: int) -> dict[int, int]:
        """Return a range's counts by segment if they follow from the head, as no second segment is settled."""
        first = number * self._layout.segments
        return {first: head.voids[number]} if head.settled <= (first + 1) * self._layout.segment else {}

    def _segment_counts(self, head: Head, ranges: Iterable[int], *, confirm: bool) -> dict[int, dict[int, int]] | None:
        """Read how many voids lie in each segment of ranges; None if they do not add up to the head's counts."""
        found = self._look({self._keys.range(number): number for number in ranges}, head, confirm=confirm)
        if found is None:
            return None
        counts = {number: segment_counts(item, number, self._layout) for number, item in found.items()}
        return counts if all(sum(of.values()) == head.voids[number] for number, of in counts.items()) else None

    def _void_positions(self, head: Head, counts: Mapping[int, int], *, confirm: bool) -> dict[int, list[int]] | None:
        """Read the void positions of segments, rising; None if they are not as many as counted."""
        found = self._look({self._keys.segment(segment): segment for segment in counts}, head, confirm=confirm)
        if found is None:
            return None
        voids = {segment: sorted(item.get("positions", ())) for segment, item in found.items()}
        return voids if all(len(of) == counts[segment] for segment, of in voids.items()) else None

    def _look(self, keys: Mapping[Key, int], head: Head, *, confirm: bool) -> dict[int, Item] | None:
        """Read items by key; returns them by number, empty where there is none.

        With `confirm` the head is read again, in the same round trip: None if it has changed.
        """
        wanted = [*keys, self._keys.head] if confirm else [*keys]
        found = self._table.batch_get(wanted) if wanted else {}
        if confirm and Head.read(found.get(self._keys.head, {})) != head:
            return None
        return {number: found.get(key, {}) for key, number in keys.items()}

    def _settle(self, head: Head, tail: Sequence[Item]) -> None:
        """Move the head over the tail, unless another settler has moved it since it was read."""
        tail = tail[: _SETTLE_AT_MOST * self._layout.segment]
        voids: dict[int, set[int]] = {}
        for position, entry in enumerate(tail, head.settled + 1):
            if is_void(entry):
                voids.setdefault(self._layout.segment_of(position), set()).add(position)
        counts: dict[int, dict[str, int]] = {}
        for segment, positions in voids.items():
            of_range = counts.setdefault(self._layout.range_of(segment), {})
            of_range[segment_count(segment, self._layout)] = len(positions)
        count = _counting(self._keys.head, {range_count(number): sum(of.values()) for number, of in counts.items()})
        move = Update(
            count.key,
            f"SET settled = :to {count.expression}".rstrip(),
            condition="settled = :from" if head.settled else "attribute_not_exists(settled)",
            values={
                **count.values,
                ":to": head.settled + len(tail),
                **({":from": head.settled} if head.settled else {}),
            },
        )
        marks = [_counting(self._keys.range(number), of) for number, of in counts.items()]
        marks += [
            Update(self._keys.segment(segment), "ADD positions :voids", values={":voids": positions})
            for segment, positions in voids.items()
        ]
        with suppress(ConditionFailed, TransactionRefused):
            if marks:
                self._table.transact([move, *marks])
            else:
                self._table.update(move)

    def _entries(self, first: int, last: int, attributes: Sequence[str] = ()) -> list[Item]:
        wanted = ["sk", "void", *attributes] if attributes else ()
        return read_entries(self._table, self._keys, first, last, wanted)


def _collide(writes: Sequence[Write], reasons: Sequence[Reason | None]) -> None:
    """Raise for the refused writes, if there are any.

    Raises:
        Collision: At least one of them was refused.
    """
    met = {_key_of(write): reason.item for write, reason in zip(writes, reasons, strict=True) if reason}
    if met:
        raise Collision(met)


def _counting(key: Key, counts: Mapping[str, int]) -> Update:
    """Return the update that adds numbers to attributes of an item; an empty one for no numbers."""
    clauses = ", ".join(f"{name} :{name}" for name in counts)
    return Update(key, f"ADD {clauses}" if counts else "", values={f":{name}": count for name, count in counts.items()})


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
