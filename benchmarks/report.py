"""Tables of results: one look on the terminal, another in the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

_PREFACE = """\
# Benchmarks

Each design of ours beside the usual alternative, measured in one run. `make bench` runs everything and writes this
page; the command under a heading repeats its part. Times depend on the machine and its load, ratios much less.
"""


@dataclass(frozen=True, slots=True)
class Results:
    """A table of text; a column stands right unless its name begins with `<`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Must:
    """Something that the benchmark holds the design to."""

    claim: str
    reached: str
    met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """All that one benchmark found; `explanation` is Markdown."""

    name: str
    title: str
    explanation: str
    tables: Sequence[Results]
    musts: Sequence[Must] = ()
    plot: str | None = None
    """The file of a plot, beside the document."""


def budget(claim: str, ratio: float, *, must: float, aim: float) -> Must:
    """Return what a ratio must not exceed, with what it is meant to become."""
    return Must(f"{claim}: at most {must:.2f} (aim {aim:.2f})", f"{ratio:.2f}", ratio <= must)


def show(section: Section, console: Console) -> None:
    """Print a section."""
    console.rule(section.title)
    for table in section.tables:
        view = RichTable(title=table.title, title_justify="left", caption=table.note, caption_justify="left")
        for column in table.columns:
            view.add_column(column.removeprefix("<"), justify="left" if column.startswith("<") else "right")
        for row in table.rows:
            view.add_row(*row)
        console.print(view)
    for must in section.musts:
        console.print(
            f"[{'green' if must.met else 'bold red'}]{_verdict(must)}[/]: {must.claim}; measured: {must.reached}"
        )


def write(sections: Sequence[Section], machine: str, document: Path) -> None:
    """Write sections into the document, in the place of what it says of them; others stay as they are."""
    present = document.read_text(encoding="utf-8").split("\n## ")[1:] if document.exists() else []
    parts = {part.partition("\n")[0]: part.rstrip() for part in present}
    parts |= {section.title: _markdown(section, machine) for section in sections}
    document.write_text("\n\n## ".join([_PREFACE.rstrip(), *parts.values()]) + "\n", encoding="utf-8")


def _markdown(section: Section, machine: str) -> str:
    blocks = [
        section.title,
        f"`.venv/bin/python -m benchmarks {section.name}` · {machine}",
        section.explanation.strip(),
        *([f"![{section.title}]({section.plot})"] if section.plot else []),
        *(_markdown_table(table) for table in section.tables),
        "\n".join(f"- **{_verdict(must)}**: {must.claim}; measured: {must.reached}" for must in section.musts),
    ]
    return "\n\n".join(block for block in blocks if block)


def _markdown_table(table: Results) -> str:
    names = [column.removeprefix("<") for column in table.columns]
    rules = ["---" if column.startswith("<") else "---:" for column in table.columns]
    lines = [names, rules, *table.rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{table.title}**\n\n{text}" + (f"\n\n{table.note}" if table.note else "")


def _verdict(must: Must) -> str:
    return "reached" if must.met else "MISSED"
