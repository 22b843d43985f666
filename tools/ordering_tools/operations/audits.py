"""`ordering audit`: who changed what by a command, when and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import click

from ordering.clock import system_clock
from ordering_tools.audit import AuditEntry, entries
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Group, Run, Since, pass_run, short_caller

_MONTH = timedelta(days=30)
_YEAR = timedelta(days=366)


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering audit list --since 2d
  ordering audit list --subject granite-rewards --by ann
  ordering audit show 5d1f0c7a
""",
)
def group() -> None:
    """Show who changed what by a command, when and why."""


@group.command("list")
@click.option("--since", type=Since(), help="Only changes since then: 2h, 3d or a date; by default for 30 days.")
@click.option("--by", metavar="TEXT", help="Only changes by callers whose name has this text.")
@click.option("--subject", metavar="TEXT", help="Only changes of what has this text in its name.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The latest changes.")
@pass_run
def list_entries(run: Run, since: datetime | None, by: str | None, subject: str | None, limit: int) -> None:
    """List the changes that commands made, by time."""
    found = [
        entry
        for entry in _entries(run.site, since or system_clock() - _MONTH)
        if (by or "").lower() in entry.by.lower() and (subject or "").lower() in entry.subject.lower()
    ]
    if len(found) > limit:
        run.output.line(f"the latest {limit:,} of {len(found):,} changes; see --limit")
    shown = [_document(entry) for entry in found[-limit:]]
    if run.json:
        run.output.document(shown)
        return
    rows = (
        {**one, "by": short_caller(one["by"]), "change": f"{one['action']} {one['subject'].partition(' ')[2]}".rstrip()}
        for one in shown
    )
    run.output.rows(rows, empty="no changes", columns=("id", "at", "by", "change"))


@group.command()
@click.argument("entry", metavar="ID", help="Its id in the list.")
@click.option("--since", type=Since(), help="Where the search begins: 90d or a date; by default a year ago.")
@pass_run
def show(run: Run, entry: str, since: datetime | None) -> None:
    """Show one change whole."""
    begin = since or system_clock() - _YEAR
    found = next((one for one in _entries(run.site, begin) if one.id == entry), None)
    if found is None:
        raise NotDone(f"there is no change '{entry}' since {begin:%Y-%m-%d}; see `ordering audit list`")
    run.output.fields(_document(found))


def _entries(site: Installation, since: datetime) -> Iterator[AuditEntry]:
    """Yield the entries of all tables since a moment, by time; one that several tables have, once."""
    found = {
        (entry.at, entry.id): entry
        for table in (site.orders, site.catalogue, site.accounts)
        for month in _months(since, system_clock())
        for entry in entries(table, month)
        if entry.at >= since
    }
    for key in sorted(found):
        yield found[key]


def _months(first: datetime, last: datetime) -> Iterator[str]:
    """Yield the months from one moment's to another's, as the trail's partitions name them."""
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield f"{number // 12:04}-{number % 12 + 1:02}"


def _document(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at,
        "by": entry.by,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "before": dict(entry.before),
        "after": dict(entry.after),
    }
