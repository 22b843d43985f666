"""What commands print: tables, fields and lines for people, JSON for programs, progress for those who wait.

Results go to the standard output. With `--json` that is one JSON document, and everything else goes to the standard
error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ordering import clock

MOMENT = "%Y-%m-%d %H:%M:%SZ"

_UNBOUNDED = 10_000
"""The width of output that is not a terminal's: no line is broken."""


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@dataclass(frozen=True)
class Output:
    """The output of one command."""

    as_json: bool = False

    def rows(self, rows: Iterable[Mapping[str, Any]], *, empty: str = "nothing", columns: Sequence[str] = ()) -> None:
        """Print a list: an array of objects, or a table.

        Args:
            rows: Values by name, in camel case.
            empty: The line if there are none.
            columns: The names of the table's columns, by default all of the first row.
        """
        if self.as_json:
            self.document(list(rows))
            return
        found = list(rows)
        if not found:
            self.line(empty)
            return
        names = columns or tuple(found[0])
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for name in names:
            numbers = all(isinstance(row.get(name), int | Decimal | None) for row in found)
            table.add_column(titled(name), justify="right" if numbers else "left", overflow="fold")
        for row in found:
            table.add_row(*(Text(shown(row.get(name))) for name in names))
        self._print(table, len(found) + 1)

    def fields(self, values: Mapping[str, Any]) -> None:
        """Print one thing: an object, or a line for each value."""
        if self.as_json:
            self.document(dict(values))
            return
        table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in values.items():
            if value not in (None, "", [], ()):
                table.add_row(titled(name), Text(shown(value)))
        self._print(table, len(values))

    def result(self, text: str, values: Mapping[str, Any]) -> None:
        """Print what was done: a line for people, an object for programs."""
        if self.as_json:
            self.document(dict(values))
        else:
            click.echo(text)

    def document(self, value: Any) -> None:
        """Print JSON."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_encoded))

    def line(self, text: str) -> None:
        """Print a line for people."""
        click.echo(text, err=self.as_json)

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show on a terminal how much is done, how fast, and how long the rest takes.

        Yields:
            A function that takes how many more are done.
        """
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}"),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        with bar:
            yield partial(bar.advance, bar.add_task(what, total=total))

    def _print(self, table: Table, lines: int) -> None:
        terminal = sys.stdout.isatty()
        console = Console(file=sys.stdout, width=None if terminal else _UNBOUNDED, highlight=False)
        if terminal and lines >= console.height:
            os.environ.setdefault("LESS", "FRX")
            with console.pager(styles=True):
                console.print(table)
        else:
            console.print(table)


def shown(value: Any) -> str:  # noqa: PLR0911 - one return for each kind of value
    """A value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:{MOMENT}}"
        case list() | tuple():
            return ", ".join(map(shown, value))
        case set() | frozenset():
            return ", ".join(sorted(map(shown, value)))
        case dict():
            return ", ".join(f"{name}: {shown(one)}" for name, one in value.items())
        case _:
            return str(value)


def _encoded(value: Any) -> Any:
    match value:
        case datetime():
            return clock.to_text(value)
        case set() | frozenset():
            return sorted(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {_camel(name): one for name, one in dataclasses.asdict(value).items()}
        case _:
            return str(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(one.capitalize() for one in others)


def titled(name: str) -> str:
    """A column's title from its name in camel case: `businessUnits` is `business units`."""
    return "".join(f" {one.lower()}" if one.isupper() else one for one in name)
