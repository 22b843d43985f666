"""docs/keys.md describes every kind of item that the code writes."""

from __future__ import annotations

import re

from support.gateway import ROOT
from support.scenarios import Day

PAGE = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
LISTED = {re.split("[#<]", key)[0] for key in re.findall(r"`([A-Z_]+(?:#[^`]*)?)`", PAGE)}
SOURCES = sorted((ROOT / "layers" / "ordering" / "python" / "ordering").rglob("*.py"))


def test_items_of_a_day() -> None:
    """The page lists every partition that a simulated day of orders, payments, mails and webhooks writes."""
    day = Day()
    day.begin()
    day.world.run()
    tables = ("OrdersTable", "CatalogueTable", "AccountsTable")
    keys = [key for table in tables for key, _ in day.world.tables.scan(table)]
    written = {partition.partition("#")[0] for partition, _ in keys}

    assert sorted(written - LISTED) == []


def test_prefixes_in_the_code() -> None:
    """The page lists every key prefix that a module spells out."""
    spelt = {prefix for path in SOURCES for prefix in re.findall(r'f?"([A-Z_]{2,})#', path.read_text(encoding="utf-8"))}

    assert len(spelt) > 20
    assert sorted(spelt - LISTED) == []
