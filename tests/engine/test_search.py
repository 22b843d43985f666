"""The search index, on every engine: what is found, in which order, and what is not found any more."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from engine.engines import Engine
from ordering.aws.dynamodb import Put, Table, Update
from ordering.book.search import SearchedBy, search, searchable

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_search(engine: Engine) -> None:
    """Items are found by their text in whatever case, newest first, until they lose it."""
    table, run = Table(engine.send, engine.table), secrets.token_hex(6)
    for day in range(3):
        found = searchable(SearchedBy.REFERENCE, f"PO-{run.upper()}", START + timedelta(days=day))
        table.put(Put({"pk": f"ORDER#{run}#{day}", "sk": "ORDER", **found}))
    table.put(Put({"pk": f"ORDER#{run}#other", "sk": "ORDER", **searchable(SearchedBy.EMAIL, f"po-{run}", START)}))
    table.put(Put({"pk": f"ORDER#{run}#none", "sk": "ORDER", **searchable(SearchedBy.REFERENCE, " ", START)}))
    table.update(Update((f"ORDER#{run}#1", "ORDER"), "REMOVE #search", names={"#search": "search"}))

    assert [*search(table, SearchedBy.REFERENCE, f" po-{run} ")] == [
        (f"ORDER#{run}#2", "ORDER"),
        (f"ORDER#{run}#0", "ORDER"),
    ]
    since = START + timedelta(days=1)
    assert [*search(table, SearchedBy.REFERENCE, f"po-{run}", since)] == [(f"ORDER#{run}#2", "ORDER")]
    assert [*search(table, SearchedBy.REFERENCE, f"po-{run}x")] == []
