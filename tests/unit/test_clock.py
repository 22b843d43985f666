"""The stored text form of instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordering import clock


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_there_and_back(instant: datetime) -> None:
    """An instant that was written is read back equal, in UTC."""
    read = clock.from_text(clock.to_text(instant)) if 1 < instant.year < 9999 else instant

    assert read == instant
    assert read is instant or read.tzinfo is UTC


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=2))
def test_texts_sort_as_instants(pair: list[datetime]) -> None:
    """Texts sort in the order of their instants, so that a table can compare them."""
    assert sorted(pair) == sorted(pair, key=clock.to_text)


@pytest.mark.parametrize(
    ("timespec", "shown"),
    [("seconds", ":24"), ("milliseconds", ":24.000"), ("microseconds", ":24.000999")],
)
def test_without_zone(timespec: str, shown: str) -> None:
    """An instant is shown without its zone, to the unit asked for: cut off, not rounded."""
    instant = datetime(2023, 4, 21, 12, 49, 24, 999, tzinfo=UTC)

    assert clock.without_zone(instant, timespec) == f"2023-04-21T12:49{shown}"


@pytest.mark.parametrize("instant", [datetime(2023, 4, 21, 12, 49, 24, tzinfo=UTC), datetime(33, 1, 2, tzinfo=UTC)])
def test_texts_have_one_length(instant: datetime) -> None:
    """Every text has the same length: six decimals and a four-digit year."""
    assert len(clock.to_text(instant)) == len("2023-04-21T12:49:24.761340Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023-04-21",
        "2023-04-21T12:49:24Z",
        "2023-04-21T12:49:24.761340",
        "2023-04-21 12:49:24.761340Z",
        "2023-04-21T12:49:24.76134+1",
        "2023-13-21T12:49:24.761340Z",
        "2023-04-21T12:49:24.76134xZ",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """A text in any other format raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        clock.from_text(text)
