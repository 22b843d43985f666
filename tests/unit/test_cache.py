"""The cache of a warm process: values by key, which expire and are bounded in number."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ordering.cache import Cache


@dataclass
class Clock:
    """A monotonic clock set by hand."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_read_again_when_expired(clock: Clock) -> None:
    """A value is read once within its time to live, even if it is None."""
    cache: Cache[str, int | None] = Cache(30.0, seconds=clock)
    values = iter([None, 2, 3])
    seen = []
    for pause in (0.0, 29.0, 1.0, 29.9, 0.1):
        clock.now += pause
        seen.append(cache.read("a", lambda: next(values)))

    assert seen == [None, None, 2, 2, 3]


def test_expires(clock: Clock) -> None:
    """A value expires after its time to live; without one it stays."""
    kept: Cache[str, int] = Cache(2.0, seconds=clock)
    for_good: Cache[str, int] = Cache(seconds=clock)
    kept.put("a", 1)
    for_good.put("a", 1)
    clock.now += 1.9
    assert kept.get("a") == 1
    clock.now += 0.2

    assert (kept.get("a"), for_good.get("a")) == (None, 1)


def test_age_counts_from_before_the_read(clock: Clock) -> None:
    """A value's age counts from the start of its read, however long the read took."""
    cache: Cache[str, float] = Cache(2.0, seconds=clock)

    def slow() -> float:
        clock.now += 1.5
        return clock.now

    first = cache.read("a", slow)
    clock.now += 0.5

    assert cache.read("a", slow) == first + 2.0


def test_nothing_kept_without_a_time_to_live(clock: Clock) -> None:
    """A cache with a time to live of 0 reads every time."""
    cache: Cache[str, int] = Cache(0, seconds=clock)
    values = iter([1, 2])

    assert [cache.read("a", lambda: next(values)) for _ in range(2)] == [1, 2]


def test_shorter_for_one_call(clock: Clock) -> None:
    """One call can require a fresher value than the cache's time to live."""
    cache: Cache[str, int] = Cache(300.0, seconds=clock)
    values = iter([1, 2])
    cache.read("a", lambda: next(values))
    clock.now += 5.0

    assert cache.read("a", lambda: next(values)) == 1
    assert cache.read("a", lambda: next(values), ttl=5.0) == 2


def test_by_key(clock: Clock) -> None:
    """Values are read, kept and dropped by key."""
    cache: Cache[str, str] = Cache(30.0, seconds=clock)
    first = [cache.read(key, lambda key=key: f"{key}1") for key in "ab"]  # type: ignore[misc] # bound now, not later
    cache.drop("a")
    cache.drop("unknown")
    second = [cache.read(key, lambda key=key: f"{key}2") for key in "ab"]  # type: ignore[misc] # likewise

    assert (first, second) == (["a1", "b1"], ["a2", "b1"])


def test_bounded(clock: Clock) -> None:
    """A full cache drops the value put first; putting a value again makes it the newest."""
    cache: Cache[int, int] = Cache(size=3, seconds=clock)
    for key in (1, 2, 3, 1, 4):
        cache.put(key, key)

    assert len(cache) == 3
    assert [cache.get(key) for key in (1, 2, 3, 4)] == [1, None, 3, 4]


def test_failed_reads_are_not_kept(clock: Clock) -> None:
    """A failed read stores nothing, so the next call reads again."""
    cache: Cache[str, int] = Cache(30.0, seconds=clock)

    def fail() -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.read("a", fail)

    assert (len(cache), cache.read("a", lambda: 1)) == (0, 1)
