"""`ordering stock`: loads, counts, moves, compacts and unloads certificates, and registers the codes of old loads."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import is_offered
from ordering.ecards.certificates import Duplicates, Stock, read_stock_levels
from ordering.ecards.stock.codes import InvalidCodes, KnownElsewhere, reasons_by_index
from ordering.ecards.stock.loading import StockLoader, UnknownStock, is_indexed
from ordering.ecards.stock.upkeep import IndexReport, StockUpkeep, unfinished_loads
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.aws_account import key_alias
from ordering_tools.operations.commands import set_action

CERTIFICATES_KEY = key_alias("CertificatesKey")

_MANY_RANGES = 1_000
"""Separate free ranges at which `show` advises to compact a stock: each order then writes 18 KB for it."""


def add_arguments(stocks: Any) -> None:
    """Declare the commands and their arguments."""
    load = stocks.add_parser("load", help="add certificates; they are assigned to waiting orders, oldest first")
    load.add_argument("codes", type=Path, help="a file with a code on each line, in UTF-8")
    load.add_argument("--batch", required=True, help="your id for the load; the same id again does not add them twice")
    load.add_argument(
        "--force",
        action="store_true",
        help="load codes that another card has, and a card or face value that no catalogue has",
    )
    count = stocks.add_parser("show", help="show how many certificates are free")
    moving = stocks.add_parser("move", help="move free certificates to another card or face value")
    moving.add_argument("--to-card", type=int, help="the id of the other e-card; by default the same")
    moving.add_argument("--to-face-value", help="the other face value; by default the same")
    moving.add_argument("--force", action="store_true", help="move them to a stock that no catalogue has")
    unload = stocks.add_parser("unload", help="remove free certificates; their codes can be loaded again")
    compacting = stocks.add_parser("compact", help="join the free certificates that are in many separate ranges")
    index = stocks.add_parser(
        "index", help="register the codes that earlier releases loaded, once; `load` does it if it was not done"
    )
    for parser in (moving, unload):
        parser.add_argument("--batch", help="only certificates of this load")
        parser.add_argument("--count", type=_count, help="at most so many; by default all that are free")
    for parser in (load, count, moving, compacting, unload):
        parser.add_argument("--card", type=int, required=True, help="the id of the e-card")
        parser.add_argument("--face-value", required=True, help='for instance "100 ₽"')
    for parser in (load, moving, compacting, unload, index):
        parser.add_argument(
            "--kms", default=CERTIFICATES_KEY, help="the key that encrypts the codes (default: %(default)s)"
        )
    set_action(load, run_load)
    set_action(count, run_stock)
    set_action(moving, run_move_stock)
    set_action(compacting, run_compact)
    set_action(unload, run_unload)
    set_action(index, run_index)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def run_load(installation: Installation, arguments: argparse.Namespace) -> None:
    """Load certificates, assign them to waiting orders, and print how many are left."""
    stock = Stock(arguments.card, arguments.face_value)
    loader = StockLoader(installation.orders, installation.catalogue, EnvelopeSealer(installation.kms, arguments.kms))
    numbers, codes = read_codes(arguments.codes)
    if not is_indexed(installation.orders):
        _print(_upkeep(installation, arguments).index(installation.catalogue))
    with refusals(numbers):
        result = loader.load(stock, arguments.batch, codes, force=arguments.force)
    if result.repeated:
        print(f"batch '{arguments.batch}' was loaded before: nothing was changed")
    print(f"{result.new} new, {len(result.known)} known{_lines(result.known, numbers)}")
    if result.elsewhere:
        print(f"{len(result.elsewhere)} not loaded, another card has them{_lines(result.elsewhere, numbers)}")
    run_stock(installation, arguments)


def run_index(installation: Installation, arguments: argparse.Namespace) -> None:
    """Register the codes of earlier releases, and print what was found."""
    report = _upkeep(installation, arguments).index(installation.catalogue)
    print(f"{report.codes} codes of earlier loads registered")
    _print(report)


def _print(report: IndexReport) -> None:
    for stock, position in report.withdrawn:
        print(f"withdrawn from {stock}: certificate {position}, whose code the card has twice")
    for stock, position in report.assigned_twice:
        print(f"assigned twice: certificate {position} of {stock}, whose code another order has; replace it")
    for stock, position, reason in report.invalid:
        print(f"certificate {position} of {stock} has a code that cannot be one: {reason}; replace it")


def run_move_stock(installation: Installation, arguments: argparse.Namespace) -> None:
    """Move free certificates, and print how many."""
    source = Stock(arguments.card, arguments.face_value)
    target = Stock(arguments.to_card or source.card_id, arguments.to_face_value or source.face_value)
    if source == target:
        raise NotDone("the certificates are in this stock already; name another with --to-card or --to-face-value")
    if not arguments.force and not is_offered(installation.catalogue, target.card_id, target.face_value):
        raise NotDone(f"{UnknownStock(target)}; with --force they are moved nevertheless")
    moved = _upkeep(installation, arguments).move(source, target, count=arguments.count, batch=arguments.batch)
    left = read_stock_levels(installation.orders, [source])[source].count
    print(f"{moved} moved to {target}, {left} free in {source}")


def run_compact(installation: Installation, arguments: argparse.Namespace) -> None:
    """Compact a stock, and print how many certificates were moved within it."""
    stock = Stock(arguments.card, arguments.face_value)
    moved = _upkeep(installation, arguments).compact(stock)
    ranges = len(read_stock_levels(installation.orders, [stock])[stock].free)
    print(f"{moved} moved within {stock}, free certificates in {ranges} range{'' if ranges == 1 else 's'}")


def run_unload(installation: Installation, arguments: argparse.Namespace) -> None:
    """Remove free certificates, and print how many."""
    stock = Stock(arguments.card, arguments.face_value)
    removed = _upkeep(installation, arguments).unload(stock, count=arguments.count, batch=arguments.batch)
    print(f"{removed} removed")
    run_stock(installation, arguments)


def _upkeep(installation: Installation, arguments: argparse.Namespace) -> StockUpkeep:
    return StockUpkeep(installation.orders, EnvelopeSealer(installation.kms, arguments.kms))


def _lines(indexes: Sequence[int], numbers: Sequence[int]) -> str:
    """Return the numbers of lines in words; nothing if there are none."""
    return f": lines {', '.join(str(numbers[index]) for index in indexes)}" if indexes else ""


def read_codes(path: Path) -> tuple[list[int], list[str]]:
    """Read the codes from a file, one on each line, and return the lines' numbers, from 1, with the codes.

    A byte order mark at the file's start, line ends of Windows, and spaces and tabs around a code are no part of it.
    Blank lines are skipped. Any other character is left as it is.

    Raises:
        NotDone: The file is not UTF-8, or has no codes.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotDone(f"{path} is not in UTF-8") from None
    lines = [(number, line.strip(" \t\r")) for number, line in enumerate(text.split("\n"), 1)]
    codes = [(number, code) for number, code in lines if code]
    if not codes:
        raise NotDone(f"there are no codes in {path}")
    return [number for number, _ in codes], [code for _, code in codes]


def run_stock(installation: Installation, arguments: argparse.Namespace) -> None:
    """Print how many certificates are free, and which loads are unfinished."""
    stock = Stock(arguments.card, arguments.face_value)
    for batch in unfinished_loads(installation.orders, stock):
        print(f"batch '{batch}' is not complete: load the same file again")
    level = read_stock_levels(installation.orders, [stock])[stock]
    if len(level.free) >= _MANY_RANGES:
        print(f"in {len(level.free)} separate ranges, which makes orders costly: `ordering stock compact` joins them")
    print(f"{level.count} free")


@contextmanager
def refusals(numbers: Sequence[int]) -> Iterator[None]:
    """Say in the commands' words why a load is refused.

    Args:
        numbers: The number of each code's line.

    Raises:
        NotDone: A code is invalid, a duplicate, or known under another card; or no catalogue has the card and face
            value. Nothing was loaded.
    """
    try:
        yield
    except Duplicates as duplicates:
        raise NotDone(f"nothing was loaded: duplicate codes in the file{_lines(duplicates.indexes, numbers)}") from None
    except InvalidCodes as invalid:
        reasons = reasons_by_index({numbers[index]: reason for index, reason in invalid.reasons.items()})
        raise NotDone(f"nothing was loaded: invalid codes, by line: {reasons}") from None
    except KnownElsewhere as known:
        reasons = reasons_by_index({numbers[index]: f"(card {cards[0]})" for index, cards in known.cards.items()})
        raise NotDone(
            f"nothing was loaded: another card has codes of the file, by line: {reasons}; with --force they are loaded"
        ) from None
    except UnknownStock as unknown:
        raise NotDone(f"nothing was loaded: {unknown}; with --force it is loaded nevertheless") from None
