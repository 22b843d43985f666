"""Plans: what a test arranges to happen later, such as a fault of a call or the responses of an endpoint.

A plan that is never carried out leaves a test that passes without having tried anything. So each arrangement of
`support` registers a `Plan`, and `conftest.py` fails a test that ends while one of its plans is open.
"""

from __future__ import annotations

_open: list[Plan] = []


class Plan:
    """One thing that must happen before the test ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        _open.append(self)

    def close(self) -> None:
        """Note that it happened; it may happen more than once."""
        if self in _open:
            _open.remove(self)


def begin() -> None:
    """Forget the plans of the tests before."""
    _open.clear()


def check() -> None:
    """Check that each plan was carried out."""
    assert not _open, f"planned, but it never happened: {'; '.join(plan._text for plan in _open)}"
