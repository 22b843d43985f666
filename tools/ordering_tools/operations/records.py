"""Reads files of records for commands that import: CSV with a header, or JSON Lines, both in UTF-8."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from ordering_tools.installation import NotDone

FAULTS_SHOWN = 100

_WHOLE = "a line is a JSON object whose values are texts"


class Record(NamedTuple):
    """A record of a file, or its fault."""

    line: int
    values: Mapping[str, str]
    fault: str = ""


def read_records(path: Path, required: Sequence[str], optional: Collection[str] = ()) -> Iterator[Record]:
    """Read a file record by record; a file whose first character is a brace is one of JSON Lines.

    Args:
        path: The file.
        required: The names that each record has.
        optional: Further names that a record may have.

    Raises:
        NotDone: The file is not there, is not in UTF-8, or has a header that does not fit.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = file.read(1) == "{"
            file.seek(0)
            for record in _json_lines(file) if lines else _csv(file, required, optional):
                yield record if record.fault else record._replace(fault=_misfit(record.values, required, optional))
    except UnicodeDecodeError:
        raise NotDone(f"{path} is not in UTF-8; save it as UTF-8, and import it again") from None
    except FileNotFoundError:
        raise NotDone(f"there is no file {path}") from None


def refuse(faults: Sequence[tuple[int, str]], path: Path) -> None:
    """Refuse a file with faults, each with its line.

    Raises:
        NotDone: There are some.
    """
    if not faults:
        return
    shown = [f"line {line}: {fault}" for line, fault in faults[:FAULTS_SHOWN]]
    more = [f"and {len(faults) - FAULTS_SHOWN:,} more"] if len(faults) > FAULTS_SHOWN else []
    raise NotDone("\n".join([f"{path} has {len(faults):,} faults; nothing was written", *shown, *more]))


def _misfit(values: Mapping[str, str], required: Sequence[str], optional: Collection[str]) -> str:
    missing = [name for name in required if not values.get(name)]
    unknown = [name for name in values if name not in required and name not in optional]
    faults = [f"'{name}' is missing" for name in missing] + [f"'{name}' is no field here" for name in unknown]
    return ", ".join(faults)


def _json_lines(file: TextIO) -> Iterator[Record]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            yield Record(number, {}, _WHOLE)
            continue
        fits = isinstance(values, dict) and all(isinstance(value, str) for value in values.values())
        yield Record(number, values if fits else {}, "" if fits else _WHOLE)


def _csv(file: TextIO, required: Sequence[str], optional: Collection[str]) -> Iterator[Record]:
    head = file.readline()
    file.seek(0)
    rows = csv.reader(file, delimiter=";" if ";" in head and "," not in head else ",", strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if fault := _misfit(dict.fromkeys(names, "x"), required, optional) or len({*names}) < len(names):
            raise NotDone(f"{file.name}, line 1: {fault if isinstance(fault, str) else 'a name is there twice'}")
        for row in rows:
            if len(row) == len(names):
                yield Record(rows.line_num, {name: cell.strip() for name, cell in zip(names, row, strict=True)})
            elif row:
                yield Record(rows.line_num, {}, f"it has {len(row)} values, and the header {len(names)} names")
    except csv.Error as error:
        yield Record(rows.line_num, {}, f"it cannot be read as CSV: {error}")
