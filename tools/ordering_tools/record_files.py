"""Reads files of records line by line, in bounded memory: CSV with a header, or JSON Lines, both in UTF-8."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from ordering_tools.console import Output
from ordering_tools.installation import NotDone

LineFault = tuple[int, str]
"""A line, 0 for the whole file, and what is wrong there."""

_LONGEST_LINE = 16 * 2**20


class Unreadable(Exception):
    """A file cannot be read to its end."""

    def __init__(self, line: int, reason: str) -> None:
        """Take the line where it ends, and why."""
        self.fault: LineFault = (line, f"{reason}; the rest was not read")
        super().__init__(*self.fault)


class FileRecord(NamedTuple):
    """A record of a file, or its fault."""

    line: int
    """The last one if it has several."""
    value: Any
    """Texts by the names of the header for CSV, any JSON for JSON Lines."""
    fault: str = ""


def is_csv(path: Path) -> bool:
    """Return whether a file is read as CSV: JSON Lines begin with a brace."""
    with path.open("rb") as file:
        return not file.read(1_000).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def read_records(
    path: Path, header_fault: Callable[[Sequence[str]], str], advance: Callable[[int], None] = lambda _: None
) -> Iterator[FileRecord]:
    """Read a file record by record. CSV whose header has semicolons and no commas is divided by semicolons.

    Args:
        path: The file.
        header_fault: Returns what is wrong with the names in a header of CSV; empty if nothing is.
        advance: Called with 1 for each line.

    Raises:
        Unreadable: A line is not in UTF-8, is too long to be read into memory or is not CSV, or the header has a fault.
    """
    lines = _lines(path, advance)
    yield from _csv(lines, header_fault) if is_csv(path) else _json(lines)


def refuse(output: Output, path: Path, faults: Sequence[LineFault]) -> None:
    """Print the faults of a file and refuse it, if it has some.

    Raises:
        NotDone: It has.
    """
    if not faults:
        return
    if output.as_json:
        output.document([{"line": line, "fault": fault} for line, fault in faults])
    else:
        for line, fault in faults:
            output.line(f"line {line}: {fault}" if line else fault)
    raise NotDone(f"{path} has {len(faults):,} fault{'' if len(faults) == 1 else 's'}; nothing was written")


def _json(lines: Iterator[tuple[int, str]]) -> Iterator[FileRecord]:
    for number, line in lines:
        if line.strip():
            try:
                record = FileRecord(number, from_json(line, cache_strings="keys"))
            except ValueError as error:
                record = FileRecord(number, None, f"is not JSON: {error}")
            yield record


def _csv(lines: Iterator[tuple[int, str]], header_fault: Callable[[Sequence[str]], str]) -> Iterator[FileRecord]:
    texts = (text for _, text in lines)
    head = next(texts, "")
    reader = csv.reader(chain([head], texts), delimiter=";" if ";" in head and "," not in head else ",", strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if fault := header_fault(names) or ("has a name twice" if len({*names}) < len(names) else ""):
            raise Unreadable(1, fault)
        for row in reader:
            if len(row) == len(names):
                yield FileRecord(reader.line_num, dict(zip(names, row, strict=True)))
            elif row:
                yield FileRecord(reader.line_num, None, f"has {len(row)} columns and not {len(names)}")
    except csv.Error as error:
        raise Unreadable(reader.line_num, f"is not CSV: {error}") from error


def _lines(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, str]]:
    """Read a file line by line, and number the lines from 1.

    Raises:
        Unreadable: A line is not UTF-8, or too long to be read into memory.
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
            if len(line) == _LONGEST_LINE:
                raise Unreadable(number, f"has more than {_LONGEST_LINE:,} bytes")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise Unreadable(number, "is not in UTF-8") from None
            advance(1)
