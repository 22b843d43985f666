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
from typing import TYPE_CHECKING, Any

import click

from ordering import clock
from ordering.values import Value, asdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MOMENT = "%Y-%m-%d %H:%M:%SZ"

_UNBOUNDED = 10_000
"""The width of output that is not a terminal's: no line is broken."""

_GAP = 2
"""Blanks between two columns."""
_READABLE = 12
"""The least width of a column whose texts are longer and are broken between words."""


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
        values = [[row.get(name) for row in found] for name in names]
        console = _console()
        widths = _widths([[titled(name), *column] for name, column in zip(names, values, strict=True)], console.width)
        if widths is None:
            blocks = [_grid({name: row.get(name) for name in names}) for row in found]
            _print(console, [part for block in blocks for part in (block, "")][:-1])
            return
        table = _table(show_header=True, header_style="bold")
        for name, column, width in zip(names, values, widths, strict=True):
            numbers = all(isinstance(value, int | Decimal | None) for value in column)
            table.add_column(titled(name), width=width, justify="right" if numbers else "left", overflow="fold")
        for line in zip(*values, strict=True):
            table.add_row(*map(_text, line))
        _print(console, [table])

    def fields(self, values: Mapping[str, Any]) -> None:
        """Print one thing: an object, or a line for each value."""
        if self.as_json:
            self.document(dict(values))
            return
        _print(_console(), [_grid(values)])

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
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        # Imported here, because few commands take long.
        from ordering_tools.progress_bar import progress_bar  # noqa: PLC0415 - as above

        with progress_bar() as bar:
            yield partial(bar.advance, bar.add_task(what, total=total))


# What renders is imported in these functions, because importing it takes longer than many commands.


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - as above

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _UNBOUNDED, highlight=False)


def _text(value: Any) -> Text:
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text(shown(value))


def _table(**settings: Any) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above

    return Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), collapse_padding=True, show_edge=False, **settings)


def _grid(values: Mapping[str, Any]) -> Table:
    """A line for each value that is not empty."""
    table = _table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in values.items():
        if text := _text(value):
            table.add_row(titled(name), text)
    return table


def _print(console: Console, parts: Sequence[Table | str]) -> None:
    """Print, on a terminal by the pager if it is longer than the screen."""
    if console.is_terminal and sum(len(console.render_lines(part)) for part in parts) >= console.height:
        os.environ.setdefault("LESS", "FRX")
        with console.pager(styles=True):
            console.print(*parts, sep="\n")
    else:
        console.print(*parts, sep="\n")


def _widths(columns: Sequence[Sequence[Any]], room: int) -> list[int] | None:
    """The widths of a table's columns; None if the table has no room unless words or times are broken."""
    from rich.cells import cell_len  # noqa: PLC0415 - as above

    longest = [max(cell_len(shown(value)) for value in column) for column in columns]
    words = [max(cell_len(word) for value in column for word in _words(value)) for column in columns]
    widths = [max(word, min(most, _READABLE)) for word, most in zip(words, longest, strict=True)]
    spare = room - sum(widths) - _GAP * (len(widths) - 1)
    if spare < 0:
        return None
    for at in sorted(range(len(widths)), key=lambda at: longest[at] - widths[at]):
        more = min(spare, longest[at] - widths[at])
        widths[at] += more
        spare -= more
    return widths


def _words(value: Any) -> list[str]:
    return [shown(value)] if isinstance(value, datetime) else shown(value).split() or [""]


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
        case Value():
            return {_camel(name): one for name, one in asdict(value).items()}
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
