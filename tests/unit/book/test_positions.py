"""Where a book's positions are stored, and how its voids are counted: checked against plain lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordering.book.positions import (
    LAST_POSITION,
    LAYOUT,
    BookKeys,
    Head,
    Layout,
    book_of,
    descend,
    range_count,
    range_in,
    segment_count,
    segment_counts,
    skip,
)
from ordering.sizes import stored_bytes

LAYOUTS = st.builds(Layout, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


@given(LAYOUTS, st.integers(1, 60), st.integers(0, 80))
def test_spans_have_exactly_the_entries(layout: Layout, first: int, count: int) -> None:
    """The spans of a part of a book have each of its entries once, no other ones, and each lane once."""
    keys = BookKeys("a#b", layout)
    last = first + count - 1
    spans = keys.entries(first, last)
    found = [
        position
        for partition, low, high in spans
        for position in range(1, 200)
        if keys.entry(position)[0] == partition and low <= keys.entry(position)[1] <= high
    ]

    assert sorted(found) == [*range(first, last + 1)]
    assert len({partition for partition, _, _ in spans}) == len(spans) <= layout.lanes


def test_spans_of_a_whole_book() -> None:
    """All possible positions are found with one span for each lane."""
    partitions = [partition for partition, _, _ in BookKeys("b").entries(1, LAST_POSITION)]

    assert partitions == [f"BOOK#b#L{lane:02}" for lane in range(16)]


@pytest.mark.parametrize("count", [10, 100, 500])
def test_lanes_of_a_page(count: int) -> None:
    """A page touches as many lanes as it has blocks, the one that it begins in included."""
    touched = [len(BookKeys("b").entries(first, first + count - 1)) for first in range(1, 2_000)]

    assert {min(touched), max(touched)} == {-(-count // 100), -(-count // 100) + 1}


@pytest.mark.parametrize("name", ["training#u", "deal-lines#a#7", "x#L03", "x#L03#L04", "", "#"])
def test_book_of_its_keys(name: str) -> None:
    """Each key of an entry names its book, whatever the book's name is; no other key of a book does."""
    keys = BookKeys(name)

    assert {book_of(keys.entry(position)[0]) for position in (1, 101, 1_600)} == {name}
    assert [book_of(key[0]) for key in (keys.head, keys.tickets, keys.segment(3), keys.range(3))] == [None] * 4


def test_entries_of_the_earlier_format() -> None:
    """A partition without a lane, as an earlier format had it, is none of a book."""
    assert [book_of(one) for one in ("BOOK#training#u", "BOOK#deal-lines#a#12", "BOOK#L00", "BOOK#")] == [None] * 4


def test_sort_keys_of_voids() -> None:
    """Items of ranges sort behind those of all segments, and the span of voids has both."""
    keys = BookKeys("b")
    sorts = [keys.segment(0)[1], keys.segment(99_999)[1], keys.range(0)[1], keys.range(199)[1]]
    _, first, last = keys.voids

    assert sorts == sorted(sorts)
    assert all(first <= sort <= last for sort in sorts)
    assert [range_in(sort) for sort in sorts] == [None, None, 0, 199]


def test_sizes_of_a_hundred_million_positions() -> None:
    """Head and ranges stay within a read unit of 4 KB, with a void at each position of a hundred million."""
    full = LAYOUT.segment * LAYOUT.segments
    head = {
        "pk": "HEAD#training#" + "u" * 36,
        "sk": "-",
        "settled": 10**8,
        **{range_count(n): full for n in range(200)},
    }
    counts = {segment_count(one, LAYOUT): LAYOUT.segment - 1 for one in range(LAYOUT.segments)}
    number = {"pk": "VOIDS#deal-lines#" + "a" * 60, "sk": "R0000000199", **counts}

    assert stored_bytes(head) < 4_096
    assert stored_bytes(number) < 4_096


@given(LAYOUTS, st.integers(1, 70), st.randoms(use_true_random=False))
def test_ranks_become_positions(layout: Layout, settled: int, draw: random.Random) -> None:
    """The counts of head, range and segment lead from each rank to the position that a plain list has there."""
    voids = {position for position in range(1, settled + 1) if draw.random() < 0.4}
    segments: dict[int, list[int]] = {}
    for position in sorted(voids):
        segments.setdefault((position - 1) // layout.segment, []).append(position)
    totals: dict[int, int] = {}
    ranges: dict[int, dict[str, int]] = {}
    for segment, of in segments.items():
        number = segment // layout.segments
        totals[number] = totals.get(number, 0) + len(of)
        ranges.setdefault(number, {})[segment_count(segment, layout)] = len(of)
    head = Head.read({"settled": settled, **{range_count(number): total for number, total in totals.items()}})
    live = [position for position in range(1, settled + 1) if position not in voids]
    found = []
    for rank in range(len(live)):
        before, part = descend(rank, 0, head.voids, layout.segment * layout.segments)
        own: list[int] = []
        if part is not None:
            before, inner = descend(rank, before, segment_counts(ranges[part], part, layout), layout.segment)
            own = [] if inner is None else segments[inner]
        found.append(skip(rank + before + 1, own))

    assert found == live
    assert head.live == len(live)
