"""Names of orders and the keys of their items."""

from __future__ import annotations

from ordering.book.names import key_of, kind_of, name_of


def test_names_and_keys() -> None:
    """An order's name converts to the key of its item and back, even if it contains `#`."""
    for name in ("training#7", "ecards#a#b#11"):
        assert name_of(key_of(name)) == name


def test_other_keys() -> None:
    """Only the key of an order's own item converts to a name; keys of lines, book entries and events do not."""
    keys = [
        ("ORDER#training#7", "LINE#0001"),
        ("BOOK#training#1", "ORDER"),
        ("EVENTS#training#7", "-"),
        ("training#7", "ORDER"),
    ]

    assert [name_of(key) for key in keys] == [None] * 4


def test_kinds() -> None:
    """A name begins with the kind of its order."""
    assert [kind_of(name) for name in ("training#7", "ecards#a#b#11")] == ["training", "ecards"]
