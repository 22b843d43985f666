"""`make bench`: measure what the design promises against what it stands in for, print it, and write it down."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from benchmarks import books, creates, decisions, fulfilment, limits, pages, sorting, throughput, trips, units
from benchmarks.artefacts import sizes, startup, warm
from benchmarks.artefacts.built import NotBuilt
from benchmarks.engine import ROOT
from benchmarks.report import Section, show, write

DOCUMENT = "benchmarks.md"

# Whatever the machine is logged in to, a benchmark must not reach it.
os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}


def main(arguments: list[str]) -> int:
    """Run the benchmarks that are named, all where none is; returns 1 if one of them missed what it must reach."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="startup, warm, sizes, pages, books, creates, limits, fulfilment, units, trips, sorting, decisions, "
        "throughput; all by default",
    )
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="folder for the document and the plot")
    options = parser.parse_args(arguments)
    runs: Mapping[str, Callable[[], Section]] = {
        startup.NAME: lambda: startup.run(options.to),
        warm.NAME: warm.run,
        sizes.NAME: sizes.run,
        pages.NAME: lambda: pages.run(options.to),
        books.NAME: lambda: books.run(options.to),
        creates.NAME: lambda: creates.run(options.to),
        limits.NAME: limits.run,
        fulfilment.NAME: fulfilment.run,
        units.NAME: units.run,
        trips.NAME: trips.run,
        sorting.NAME: sorting.run,
        decisions.NAME: decisions.run,
        throughput.NAME: throughput.run,
    }
    if unknown := set(options.names) - set(runs):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(runs)}")
    options.to.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine())
    sections = []
    for name in options.names or runs:
        try:
            section = runs[name]()
        except NotBuilt as error:
            console.print(f"[yellow]{name} is skipped[/]: {error}")
            continue
        show(section, console)
        sections.append(section)
    write(sections, machine(), options.to / DOCUMENT)
    return 0 if all(must.met for section in sections for must in section.musts) else 1


def machine() -> str:
    """The machine that the numbers depend on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
