"""The catalogues that `ordering catalogue` and `ordering ecards` act on, as documents like those of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from ordering.aws.dynamodb import Table
from ordering.ecards.catalogue import EcardCatalogue
from ordering.errors import Conflict
from ordering.training.catalogue import Catalogue
from ordering.values import replace
from ordering_tools.catalogue_files import Document, card_of, digest_of, document_of, document_of_card, product_entry
from ordering_tools.console import Output

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds for which a write is retried: an import can be faster than a table in AWS, which then refuses writes."""


@dataclass(frozen=True)
class Listed:
    """A version of a catalogue."""

    name: str
    """Empty if an earlier release published e-cards, and they are current."""
    count: int
    """Its products or cards."""
    published: datetime | None
    until: datetime | None
    """How long it can be published again; None for the current one."""
    digest: str
    """A digest of its documents; empty if an earlier release published it."""


@dataclass(frozen=True)
class Source:
    """What is published."""

    documents: Iterable[Document]
    """In the order of their list; they can be read once."""
    count: int
    digest: str
    replacing: Listed | None
    """The version that is current."""


class Shelf(Protocol):
    """The catalogue of one business unit or company."""

    title: str
    """Whose it is, as an operator says: `northwind/UK`."""

    def versions(self) -> list[Listed]:
        """Return the current version, then those that can be published again, the latest first."""

    def contents(self, version: Listed) -> Iterator[Document]:
        """Read what a version has, in its order."""

    def publish(self, source: Source, audited: Table, output: Output) -> str:
        """Publish a version, and return its name.

        Args:
            source: What is published.
            audited: The catalogue table; its writes are noted in the audit trail.
            output: Shows the progress.

        Raises:
            Conflict: Another version is current, or another publication began.
        """

    def finish(self) -> None:
        """Do what a publication left that was killed after its version was current."""


class TrainingShelf:
    """The catalogue of a business unit."""

    def __init__(self, table: Table, unit: str, title: str) -> None:
        self.title = title
        self._unit = unit
        self._catalogue = Catalogue(replace(table, patience=_PATIENCE), unit)

    def versions(self) -> list[Listed]:
        """See `Shelf`."""
        return [
            Listed(_short(one.name), one.products, one.published, one.until, one.digest)
            for one in self._catalogue.versions()
        ]

    def contents(self, version: Listed) -> Iterator[Document]:
        """See `Shelf`."""
        found = next(one for one in self._catalogue.versions() if _short(one.name) == version.name)
        return map(document_of, self._catalogue.contents(found))

    def publish(self, source: Source, audited: Table, output: Output) -> str:
        """See `Shelf`."""
        publication = self._catalogue.begin()
        expected = source.replacing.name if source.replacing else ""
        if (_short(publication.before.name) if publication.before else "") != expected:
            raise Conflict(f"The catalogue of {self.title} was published by another operator meanwhile.")
        with output.progress(f"writing {source.count:,} products", source.count) as advance:
            self._catalogue.write(publication, map(product_entry, _counted(source.documents, advance)))
        Catalogue(audited, self._unit).make_current(publication, source.count, source.digest)
        with output.progress("setting the end of the version before") as advance:
            self._catalogue.expire_replaced(publication, advance)
        return _short(publication.name)

    def finish(self) -> None:
        """See `Shelf`."""
        if left := self._catalogue.unfinished():
            self._catalogue.expire_replaced(left)


class EcardShelf:
    """The catalogue of a company."""

    def __init__(self, table: Table, company: str) -> None:
        self.title = company
        self._catalogue = EcardCatalogue(table, company)

    def versions(self) -> list[Listed]:
        """See `Shelf`."""
        return [
            Listed(one.name, len(one.cards), one.published, one.until, digest_of(map(document_of_card, one.cards)))
            for one in self._catalogue.versions()
        ]

    def contents(self, version: Listed) -> Iterator[Document]:
        """See `Shelf`."""
        found = next(one for one in self._catalogue.versions() if one.name == version.name)
        return map(document_of_card, found.cards)

    def publish(self, source: Source, audited: Table, output: Output) -> str:  # noqa: ARG002 - one call
        """See `Shelf`."""
        replacing = source.replacing.name if source.replacing else ""
        return EcardCatalogue(audited, self.title).publish([*map(card_of, source.documents)], replacing)

    def finish(self) -> None:
        """See `Shelf`: nothing is left, as one transaction does it all."""


def _short(name: str) -> str:
    return name.removeprefix("CATALOGUE#")


def _counted(values: Iterable[T], advance: Callable[[int], None]) -> Iterator[T]:
    for value in values:
        yield value
        advance(1)
