"""`ordering catalogue` and `ordering ecards`: check, compare, import and roll back what partners can order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ordering.identifiers import canonical_uuid
from ordering_tools.catalogue_files import ECARDS, TRAINING, CatalogueFile, EntryChange, Format, count_lines
from ordering_tools.console import Output
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations.commands import READABLE_FILE, REASON, Command, Group, Run, partner_of, pass_run
from ordering_tools.record_files import refuse
from ordering_tools.shelves import EcardShelf, Listed, Shelf, Source, TrainingShelf

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@dataclass(frozen=True)
class Catalogues:
    """A kind of catalogues, and how commands name one."""

    format: Format
    name: str
    """The group of their commands."""
    owner: click.Option
    open: Callable[[Installation, str], Shelf]

    def counted(self, count: int) -> str:
        """Say how many entries."""
        return f"{count:,} {self.format.entry}{'' if count == 1 else 's'}"


def _of_unit(site: Installation, text: str) -> Shelf:
    """Find a business unit by `PARTNER/UNIT` or by its id."""
    partner_id, slash, name = text.partition("/")
    if slash:
        units = partner_of(site, partner_id).business_units
        found = [unit for unit in units if name == unit.name or name.lower() == unit.id]
        if len(found) != 1:
            known = ", ".join(unit.name if not found else unit.id for unit in found or units)
            reason = "has no" if not found else "has more than one"
            raise NotDone(f"{partner_id} {reason} business unit '{name}'; name one of: {known}")
        return TrainingShelf(site.catalogue, found[0].id, f"{partner_id}/{found[0].name}")
    unit = canonical_uuid(text)
    shelf = TrainingShelf(site.catalogue, unit or text, text)
    if unit is None or not shelf.versions():
        raise NotDone(f"there is no catalogue of a business unit '{text}'; write PARTNER/UNIT, as in northwind/UK")
    return shelf


def _of_company(site: Installation, text: str) -> Shelf:
    """Find a company that orders e-cards."""
    if not partner_of(site, text).company:
        raise NotDone(f"{text} orders no e-cards: it has no company's name; see `ordering partner show {text}`")
    return EcardShelf(site.catalogue, text)


def check(kinds: Catalogues, run: Run, file: Path) -> None:
    """Check a file, and name every fault by its line."""
    with _read(run.output, file, kinds.format) as read:
        if run.json:
            run.output.document({"count": read.count, "digest": read.digest()})
        run.output.line(f"{kinds.counted(read.count)}, no faults")


def diff(kinds: Catalogues, run: Run, file: Path, owner: str) -> None:
    """Show what an import of a file would add, remove and change."""
    shelf = kinds.open(run.site, owner)
    with _read(run.output, file, kinds.format) as read:
        current = _current(shelf.versions())
        if current is not None and current.digest == read.digest():
            _print_changes(run, iter(()))
        else:
            _print_changes(run, read.compare(shelf.contents(current) if current else ()))


def import_file(kinds: Catalogues, run: Run, file: Path, owner: str, reason: str) -> None:
    """Replace a catalogue by what a file has.

    Nothing is written if the file has a fault. Partners see the catalogue before until all is written, then the new
    one. An import that was interrupted is run again.
    """
    shelf = kinds.open(run.site, owner)
    with _read(run.output, file, kinds.format) as read:
        current, digest = _current(shelf.versions()), read.digest()
        if current is not None and current.digest == digest:
            shelf.finish()
            _print_published(run, kinds, current.name, current.count, None)
            run.output.line("nothing was changed: the current version has just what the file has")
            return
        _publish(run, kinds, shelf, Source(read.documents(), read.count, digest, current), reason)


def versions(kinds: Catalogues, run: Run, owner: str) -> None:
    """List the current version, and those that can be brought back."""
    rows = [
        {
            "version": one.name,
            f"{kinds.format.entry}s": one.count,
            "published": one.published,
            "until": f"{one.until:%Y-%m-%d}" if one.until else "current",
        }
        for one in kinds.open(run.site, owner).versions()
    ]
    run.output.rows(rows, empty="no version yet")


def rollback(kinds: Catalogues, run: Run, owner: str, name: str | None, reason: str) -> None:
    """Bring a replaced version back.

    It is published as a new version with the same contents.
    """
    shelf = kinds.open(run.site, owner)
    found = shelf.versions()
    current, chosen = _current(found), _chosen(found, name)
    _publish(run, kinds, shelf, Source(shelf.contents(chosen), chosen.count, chosen.digest, current), reason)


def _publish(run: Run, kinds: Catalogues, shelf: Shelf, source: Source, reason: str) -> None:
    before = source.replacing
    count = f"{kinds.format.entry}s"
    with run.change(
        f"{kinds.name} {shelf.title}",
        reason,
        before={"version": before.name, count: before.count} if before else {},
        after={count: source.count, "digest": source.digest},
    ) as site:
        name = shelf.publish(source, site.catalogue, run.output)
    _print_published(run, kinds, name, source.count, before)


def _print_published(run: Run, kinds: Catalogues, name: str, count: int, before: Listed | None) -> None:
    if run.json:
        run.output.document(
            {"version": name, f"{kinds.format.entry}s": count, "replaced": before.name if before else None}
        )
    run.output.line(f"version {name or '(without a name)'} is current: {kinds.counted(count)}")
    if before:
        run.output.line(f"it replaced {kinds.counted(before.count)}; `rollback` brings them back, for 30 days")


def _print_changes(run: Run, changes: Iterator[EntryChange]) -> None:
    counts: Counter[str] = Counter()
    found = []
    for change in changes:
        counts[change.kind] += 1
        title = " ".join(str(change.entry[name]) for name in ("code", "name") if name in change.entry)
        if run.json:
            found.append({"change": change.kind, "id": change.entry["id"], "name": title, "details": change.details})
            continue
        sign, colour = _SIGNS[change.kind]
        run.output.line(click.style(f"{sign} {title}", fg=colour))
        for detail in change.details:
            run.output.line(f"    {detail}")
    if run.json:
        run.output.document(found)
    run.output.line(", ".join(f"{counts[kind]:,} {kind}" for kind in _SIGNS))


@contextmanager
def _read(output: Output, path: Path, form: Format) -> Iterator[CatalogueFile]:
    """Read and check a file, until the context ends.

    Raises:
        NotDone: It has faults, which were printed.
    """
    with closing(CatalogueFile(form)) as read:
        with output.progress(f"checking {path.name}", count_lines(path)) as advance:
            read.read(path, advance)
        refuse(output, path, read.faults)
        if not read.count:
            raise NotDone(f"{path} has no {form.entry}")
        yield read


def _current(versions: Sequence[Listed]) -> Listed | None:
    return next((one for one in versions if one.until is None), None)


def _chosen(versions: Sequence[Listed], name: str | None) -> Listed:
    """The replaced version with a name, or the latest one.

    Raises:
        NotDone: There is none.
    """
    replaced = [one for one in versions if one.until]
    found = [one for one in replaced if name is None or one.name == name]
    if not found:
        known = ", ".join(one.name for one in replaced)
        reason = f"no replaced version is '{name}'" if name and known else "no version was replaced in the last 30 days"
        raise NotDone(f"{reason}{f'; there are: {known}' if known else ''}")
    return found[0]


_REASON = click.Option(["--reason"], default="", help=REASON)
_FILE = click.Argument(["file"], type=READABLE_FILE, help="CSV or JSON Lines; the help of the group describes both.")
_TO = click.Option(["--to", "name"], metavar="VERSION", help="By default the one that was replaced last.")


def _group(name: str, text: str, kinds: Catalogues) -> click.Group:
    """Make the group of the commands for a kind of catalogues."""
    group = Group(name, help=text, short_help=text.partition("\n")[0])

    def add(command: str, run_it: Callable[..., None], *parameters: click.Parameter) -> None:
        def call(run: Run, **values: Any) -> None:
            run_it(kinds, run, **values)

        group.add_command(Command(command, callback=pass_run(call), params=[*parameters], help=run_it.__doc__))

    add("check", check, _FILE)
    add("diff", diff, _FILE, kinds.owner)
    add("import", import_file, _FILE, kinds.owner, _REASON)
    add("versions", versions, kinds.owner)
    add("rollback", rollback, kinds.owner, _TO, _REASON)
    return group


def _owner(option: str, metavar: str, text: str) -> click.Option:
    return click.Option([option, "owner"], metavar=metavar, required=True, help=text)


catalogue = _group(
    "catalogue",
    """Training catalogues of business units.

READABLE_FILE is CSV with a header, or JSON Lines, in UTF-8.

\b
CSV has a line for each feature set, and these columns:
  productId, productCode, productName, courseIds,
  featureSetId, featureSetName, courseAccessPeriodDays,
  moduleSavePeriodDays, prices
  (prices: GBP 48.0000; EUR 56.5000)

\b
JSON Lines has a line for each product:
  {"id": "6b126cae-c10c-466a-b867-f23fe48bf5cf",
   "code": "AZ-300", "name": "AZ-300", "courseIds": [],
   "featureSets": [
     {"id": "a6c1cb36-43b3-4969-a8a0-48e4915e6df0",
      "name": "Standard", "courseAccessPeriodDays": 180,
      "moduleSavePeriodDays": 1, "prices":
        [{"currency": "GBP", "value": "48.0000"}]}]}

\b
Examples:
  ordering catalogue check uk.csv
  ordering catalogue diff uk.csv --unit northwind/UK
  ordering catalogue import uk.csv --unit northwind/UK
  ordering catalogue versions --unit northwind/UK
  ordering catalogue rollback --unit northwind/UK
""",
    Catalogues(
        TRAINING,
        "catalogue",
        _owner("--unit", "PARTNER/UNIT", "A partner's business unit, as in northwind/UK, or its id."),
        _of_unit,
    ),
)

ecards = _group(
    "ecards",
    """E-cards that companies can order.

READABLE_FILE is CSV with a header, or JSON Lines, in UTF-8.

\b
CSV has a line for each face value, and these columns:
  cardId, cardName, description, unit, faceValue, price

\b
JSON Lines has a line for each card:
  {"id": 1, "name": "Bookshop", "description": "",
   "unit": "ruble", "faceValues":
     [{"name": "100 ₽", "price": "100"}]}

\b
Examples:
  ordering ecards check cards.csv
  ordering ecards diff cards.csv --company granite-rewards
  ordering ecards import cards.csv --company granite-rewards
  ordering ecards versions --company granite-rewards
  ordering ecards rollback --company granite-rewards
""",
    Catalogues(
        ECARDS,
        "ecards",
        _owner("--company", "PARTNER", "A partner that orders e-cards."),
        _of_company,
    ),
)
