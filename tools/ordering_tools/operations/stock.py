"""`ordering stock`: loads, counts, moves, compacts and unloads certificates, and registers the codes of old loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.catalogue import EcardCatalogue, is_offered
from ordering.ecards.certificates import Duplicates, LoadResult, Stock, StockLevel, read_stock_levels
from ordering.ecards.stock.codes import InvalidCodes, KnownElsewhere, reasons_by_index
from ordering.ecards.stock.loading import StockLoader, UnknownStock, is_indexed
from ordering.ecards.stock.upkeep import IndexReport, StockUpkeep, unfinished_loads
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import Group, Run, partner_of, pass_run, with_reason, with_required_reason

_MANY_RANGES = 1_000
"""Separate free ranges at which `show` advises to compact a stock: each order then writes 18 KB for it."""

_LINES_SHOWN = 20

F = TypeVar("F", bound=Callable[..., Any])


def with_stock(function: F) -> F:
    """Add the options that name a stock."""
    card = click.option("--card", type=click.IntRange(1), required=True, help="The id of the e-card.")
    return card(click.option("--face-value", required=True, help='For instance "100 ₽".')(function))


def _with_choice(function: F) -> F:
    count = click.option("--count", type=click.IntRange(1), help="At most so many; by default all that are free.")
    return count(click.option("--batch", help="Only certificates of this load.")(function))


with_kms = click.option("--kms", metavar="KEY", help="The key in KMS that encrypts codes; by default the stack's.")
"""Adds `--kms KEY`."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering stock list granite-rewards
  ordering stock load codes.txt --card 1
    --face-value "100 ₽" --batch 2026-01
  ordering stock show --card 1 --face-value "100 ₽"
""",
)
def group() -> None:
    """Load, count, move and unload certificates."""


@group.command()
@click.argument("codes", type=click.Path(path_type=Path), help="A file with a code on each line, in UTF-8.")
@with_stock
@click.option("--batch", required=True, help="Your id for the load; the same id again does not add them twice.")
@click.option("--force", is_flag=True, help="Load codes of another card, and a face value that no catalogue has.")
@with_kms
@with_reason
@pass_run
def load(  # noqa: PLR0913 - the command's options
    run: Run, *, codes: Path, card: int, face_value: str, batch: str, kms: str | None, reason: str, force: bool
) -> None:
    """Add certificates. They are assigned to waiting orders, oldest first."""
    stock = Stock(card, face_value)
    numbers, texts = read_codes(codes)
    with run.change(_subject(stock), reason, after={"batch": batch, "codes": len(texts)}) as site:
        if not is_indexed(site.orders):
            _print_report(run, _index(run, site, kms))
        loader = StockLoader(site.orders, site.catalogue, sealer_of(site, kms))
        with refusals(numbers), run.output.progress("codes", len(texts)) as advance:
            result = loader.load(stock, batch, texts, force=force, advance=advance)
    if result.repeated:
        run.output.line(f"batch '{batch}' was loaded before: nothing was changed")
    run.output.line(f"{result.new} new, {len(result.known)} known{_lines(result.known, numbers)}")
    if result.elsewhere:
        found = _lines(result.elsewhere, numbers)
        run.output.line(f"{len(result.elsewhere)} not loaded, another card has them{found}")
    _print_level(run, stock, {"batch": batch, **_outcome(result, numbers)})


@group.command()
@with_stock
@pass_run
def show(run: Run, card: int, face_value: str) -> None:
    """Show how many certificates are free.

    It names loads that are not complete.
    """
    stock = Stock(card, face_value)
    _level(run.site, stock)
    _print_level(run, stock)


@group.command("list")
@click.argument("company", help="The id of the company's partner.")
@pass_run
def list_stocks(run: Run, company: str) -> None:
    """List what is free of a company's cards."""
    site = run.site
    partner_of(site, company)
    offered = [
        (card.name, Stock(card.id, value.name))
        for card in EcardCatalogue(site.catalogue, company).ecards()
        for value in card.face_values
    ]
    if not offered:
        raise NotDone(f"'{company}' has no catalogue of e-cards; see `ordering partner show {company}`")
    levels = read_stock_levels(site.orders, [stock for _, stock in offered])
    run.output.rows(
        {"card": stock.card_id, "name": name, "faceValue": stock.face_value, "free": levels[stock].count}
        for name, stock in offered
    )


@group.command()
@with_stock
@_with_choice
@click.option("--to-card", type=click.IntRange(1), help="The id of the other e-card; by default the same.")
@click.option("--to-face-value", help="The other face value; by default the same.")
@click.option("--force", is_flag=True, help="Move them to a stock that no catalogue has.")
@with_kms
@with_reason
@pass_run
def move(  # noqa: PLR0913 - the command's options
    run: Run,
    *,
    card: int,
    face_value: str,
    batch: str | None,
    count: int | None,
    to_card: int | None,
    to_face_value: str | None,
    kms: str | None,
    reason: str,
    force: bool,
) -> None:
    """Move free certificates to another stock.

    That is another card, or another face value of the same.
    """
    source = Stock(card, face_value)
    target = Stock(to_card or card, to_face_value or face_value)
    if source == target:
        raise NotDone("the certificates are in this stock already; name another with --to-card or --to-face-value")
    left = _level(run.site, source).count
    if not force and not is_offered(run.site.catalogue, target.card_id, target.face_value):
        raise NotDone(f"{UnknownStock(target)}; with --force they are moved nevertheless")
    after = _chosen(batch, count, to=_subject(target))
    with (
        run.change(_subject(source), reason, after=after) as site,
        run.output.progress("certificates", count) as advance,
    ):
        moved = _upkeep(site, kms, advance).move(source, target, count=count, batch=batch)
    left = _level(run.site, source).count
    run.output.line(f"{moved} moved to {_title(target)}, {left} free in {_title(source)}")
    _print_document(run, {"moved": moved, "free": left})


@group.command()
@with_stock
@with_kms
@with_reason
@pass_run
def compact(run: Run, card: int, face_value: str, kms: str | None, reason: str) -> None:
    """Join free certificates of separate ranges."""
    stock = Stock(card, face_value)
    _level(run.site, stock)
    with run.change(_subject(stock), reason) as site, run.output.progress("certificates") as advance:
        moved = _upkeep(site, kms, advance).compact(stock)
    ranges = len(_level(run.site, stock).free)
    run.output.line(
        f"{moved} moved within {_title(stock)}, free certificates in {ranges} range{'' if ranges == 1 else 's'}"
    )
    _print_document(run, {"moved": moved, "ranges": ranges})


@group.command()
@with_stock
@_with_choice
@with_kms
@with_required_reason
@pass_run
def unload(  # noqa: PLR0913, PLR0917 - the command's options
    run: Run, card: int, face_value: str, batch: str | None, count: int | None, kms: str | None, reason: str
) -> None:
    """Remove free certificates. Their codes can be loaded again."""
    stock = Stock(card, face_value)
    free = _level(run.site, stock).count
    most = min(free, count) if count else free
    asks = f"up to {most:,} of {free:,} free certificates are removed, and their codes are kept nowhere"
    with (
        run.change(_subject(stock), reason, after=_chosen(batch, count), asks=asks) as site,
        run.output.progress("certificates", most) as advance,
    ):
        removed = _upkeep(site, kms, advance).unload(stock, count=count, batch=batch)
    run.output.line(f"{removed} removed")
    _print_level(run, stock, {"removed": removed})


@group.command()
@with_kms
@with_reason
@pass_run
def index(run: Run, kms: str | None, reason: str) -> None:
    """Register the codes of earlier releases, once.

    `load` does it if it was not done.
    """
    with run.change("stock", reason) as site:
        report = _index(run, site, kms)
    run.output.line(f"{report.codes} codes of earlier loads registered")
    _print_report(run, report)
    _print_document(run, {"registered": report.codes, "reported": _reported(report)})


def sealer_of(site: Installation, kms: str | None = None) -> EnvelopeSealer:
    """Return what encrypts codes: with a key of KMS, by default the stack's."""
    return EnvelopeSealer(site.kms, kms or f"alias/{site.stack.name}-CertificatesKey")


def read_codes(path: Path) -> tuple[list[int], list[str]]:
    """Read the codes from a file, one on each line, and return the lines' numbers, from 1, with the codes.

    A byte order mark at the file's start, line ends of Windows, and spaces and tabs around a code are no part of it.
    Blank lines are skipped. Any other character is left as it is.

    Raises:
        NotDone: The file is not there, is not UTF-8, or has no codes.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotDone(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise NotDone(f"{path} is not in UTF-8") from None
    lines = [(number, line.strip(" \t\r")) for number, line in enumerate(text.split("\n"), 1)]
    codes = [(number, code) for number, code in lines if code]
    if not codes:
        raise NotDone(f"there are no codes in {path}")
    return [number for number, _ in codes], [code for _, code in codes]


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


def _level(site: Installation, stock: Stock) -> StockLevel:
    """Read a stock's level.

    Raises:
        NotDone: Nothing was ever loaded, and no catalogue has the card and face value.
    """
    level = read_stock_levels(site.orders, [stock])[stock]
    if not level.reserved and not is_offered(site.catalogue, stock.card_id, stock.face_value):
        raise NotDone(f"{UnknownStock(stock)}; see `ordering stock list COMPANY`")
    return level


def _print_level(run: Run, stock: Stock, more: Mapping[str, Any] | None = None) -> None:
    unfinished = unfinished_loads(run.site.orders, stock)
    level = read_stock_levels(run.site.orders, [stock])[stock]
    for batch in unfinished:
        run.output.line(f"batch '{batch}' is not complete: load the same file again")
    if len(level.free) >= _MANY_RANGES:
        run.output.line(
            f"in {len(level.free)} separate ranges, which makes orders costly: `ordering stock compact` joins them"
        )
    if run.json:
        named = {"card": stock.card_id, "faceValue": stock.face_value, "free": level.count}
        run.output.document({**named, "ranges": len(level.free), "unfinished": unfinished, **(more or {})})
    else:
        run.output.line(f"{level.count} free")


def _print_document(run: Run, value: Mapping[str, Any]) -> None:
    if run.json:
        run.output.document(value)


def _index(run: Run, site: Installation, kms: str | None) -> IndexReport:
    with run.output.progress("codes") as advance:
        return _upkeep(site, kms, advance).index(site.catalogue)


def _reported(report: IndexReport) -> list[str]:
    withdrawn = [
        f"withdrawn from {_title(stock)}: certificate {position}, whose code the card has twice"
        for stock, position in report.withdrawn
    ]
    twice = [
        f"assigned twice: certificate {position} of {_title(stock)}, whose code another order has; replace it"
        for stock, position in report.assigned_twice
    ]
    invalid = [
        f"certificate {position} of {_title(stock)} has a code that cannot be one: {reason}; replace it"
        for stock, position, reason in report.invalid
    ]
    return [*withdrawn, *twice, *invalid]


def _print_report(run: Run, report: IndexReport) -> None:
    for line in _reported(report):
        run.output.line(line)


def _upkeep(site: Installation, kms: str | None, advance: Callable[[int], None]) -> StockUpkeep:
    return StockUpkeep(site.orders, sealer_of(site, kms), advance=advance)


def _title(stock: Stock) -> str:
    return f"card {stock.card_id} ({stock.face_value})"


def _subject(stock: Stock) -> str:
    """Return the stock as the audit trail names it."""
    return f"stock {stock.card_id} {stock.face_value}"


def _chosen(batch: str | None, count: int | None, **more: str) -> dict[str, Any]:
    """Return what the audit trail says of which certificates were chosen."""
    chosen = {"batch": batch, "count": count, **more}
    return {name: value for name, value in chosen.items() if value is not None}


def _outcome(result: LoadResult, numbers: Sequence[int]) -> dict[str, Any]:
    return {
        "new": result.new,
        "repeated": result.repeated,
        "knownLines": [numbers[index] for index in result.known],
        "elsewhereLines": [numbers[index] for index in result.elsewhere],
    }


def _lines(indexes: Sequence[int], numbers: Sequence[int]) -> str:
    """Return the numbers of lines in words, at most 20 of them; nothing if there are none."""
    shown = ", ".join(str(numbers[index]) for index in indexes[:_LINES_SHOWN])
    more = f" and {len(indexes) - _LINES_SHOWN:,} more" if len(indexes) > _LINES_SHOWN else ""
    return f": lines {shown}{more}" if indexes else ""
