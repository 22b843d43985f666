"""The indexes, on every engine: what is found, in which order, and what is not found any more."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from engine.engines import Engine
from ordering.aws.dynamodb import Put, Table, Update
from ordering.book.search import SearchedBy, search, searchable
from ordering.book.unfinished import FIRST_LOOK, UNMARK, WAITS, Marked, mark, postpone, read_shard

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


def test_unfinished(engine: Engine) -> None:
    """What is marked is found once it is due, the longest due first, until its mark is removed."""
    table, run = Table(engine.send, engine.table), secrets.token_hex(6)
    shard = f"{run}/"
    keys = [(f"ORDER#{run}#{number}", "ORDER") for number in range(4)]
    for number, key in enumerate(keys):
        marked = {**mark(key, START + timedelta(minutes=number)), "unfinished": shard}
        table.put(Put({"pk": key[0], "sk": key[1], "order": {}, **marked}))
    waiting = mark(keys[0], START, waits=True)["unfinished"]
    table.update(Update(keys[1], UNMARK))
    now = START + FIRST_LOOK + timedelta(minutes=2)
    found = [*read_shard(table, shard, now)]
    table.update(postpone(found[0], now))

    assert found == [
        Marked(keys[number], START + FIRST_LOOK + timedelta(minutes=number), START + timedelta(minutes=number))
        for number in (0, 2)
    ]
    assert [one.key for one in read_shard(table, shard, now, 1)] == [keys[2]]
    assert [one.key for one in read_shard(table, shard, now + timedelta(days=1), 1)] == [keys[2], keys[3], keys[0]]
    assert waiting.startswith(WAITS)
