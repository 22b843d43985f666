"""Files of catalogues: CSV with a header, or JSON Lines, checked line by line and sorted in bounded memory.

A file is read once, into a temporary database of SQLite on the disk. It finds what is repeated, and yields the entries
in the order of their lists, however large the file is.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from ordering import money
from ordering.ecards.catalogue import LARGEST_PRICE, Ecard, FaceValue, card_faults, size_fault
from ordering.identifiers import LARGEST_NUMBER
from ordering.money import Money
from ordering.training.catalogue import (
    LARGEST_ENTRY,
    MOST_PRODUCTS,
    ProductEntry,
    TrainingFeatureSet,
    TrainingProduct,
    oversized,
)
from ordering.web import http
from ordering.web.http import Text, Uuid, WholeNumber
from ordering_tools.record_files import LineFault, Unreadable, is_csv, read_records

Document = dict[str, Any]
"""A product or a card with what it offers, as a line of JSON Lines has it."""

Place = tuple[str | int, ...]

_DECIMALS = 4
"""Decimals of a training price, which the contract shows."""


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Must not be blank")
    return text


def _one_per_currency(prices: list[_Price]) -> list[_Price]:
    if len({price.currency for price in prices}) < len(prices):
        raise PydanticCustomError("repeated", "Must have only one price per currency")
    return prices


def _with_decimals(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-_DECIMALS))


_Line = Annotated[Text, AfterValidator(_filled)]
_Days = Annotated[int, Field(ge=0, le=LARGEST_NUMBER), WholeNumber.__metadata__[0]]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Price(_Record):
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    value: Annotated[Decimal, Field(ge=0, le=LARGEST_PRICE, decimal_places=_DECIMALS), AfterValidator(_with_decimals)]


class _FeatureSet(_Record):
    id: Uuid
    name: _Line
    courseAccessPeriodDays: _Days  # noqa: N815 - the contract's name, as those below
    moduleSavePeriodDays: _Days  # noqa: N815
    prices: Annotated[list[_Price], AfterValidator(_one_per_currency)] = []


class _Product(_Record):
    id: Uuid
    code: _Line
    name: _Line
    courseIds: list[_Line] = []  # noqa: N815
    featureSets: list[_FeatureSet] = []  # noqa: N815


class _FaceValue(_Record):
    name: _Line
    price: Decimal


class _Card(_Record):
    id: WholeNumber
    name: _Line
    description: str = ""
    unit: Literal["ruble", "month"]
    faceValues: list[_FaceValue] = []  # noqa: N815


@dataclass(frozen=True)
class Format:
    """The format of one kind of catalogue's files."""

    entry: str
    """What an entry is called."""
    offer: str
    """What is offered of an entry."""
    model: type[BaseModel]
    offers: str
    """The field of the offers."""
    columns: Mapping[str, Place]
    """The columns of CSV, which has a line for each offer, and the place of each in the line's document."""
    texts: Mapping[str, Callable[[str], Any]]
    """Reads the columns whose values are more than a text."""
    order: Callable[[Document, int], tuple[str, str]]
    """The position of an entry that is on a line."""
    offer_id: Callable[[Document, Document], str]
    """What no two offers of a catalogue share, from entry and offer."""
    check: Callable[[Document], Iterable[str]]
    """Yields what is wrong with a whole entry."""
    fits: Callable[[CatalogueFile], str | None]
    """Returns why the entries, each of them right, are too large together; None if they are not."""


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";")]


def _prices(text: str) -> list[Document]:
    parts = [part.partition(" ") for part in _split(text)]
    return [{"currency": currency, "value": value.strip()} for currency, _, value in parts]


def product_entry(document: Document) -> ProductEntry:
    """Convert the document of a product."""
    product = TrainingProduct(document["id"], document["code"], document["name"], tuple(document["courseIds"]))
    return product, [
        TrainingFeatureSet(
            one["id"],
            product.id,
            product.name,
            one["name"],
            one["courseAccessPeriodDays"],
            one["moduleSavePeriodDays"],
            tuple(Money(price["currency"], money.parse_amount(price["value"])) for price in one["prices"]),
        )
        for one in document["featureSets"]
    ]


def document_of(entry: ProductEntry) -> Document:
    """Convert back from `product_entry`."""
    product, offered = entry
    return {
        "id": product.id,
        "code": product.code,
        "name": product.name,
        "courseIds": [*product.course_ids],
        "featureSets": [
            {
                "id": one.id,
                "name": one.name,
                "courseAccessPeriodDays": one.course_access_period_days,
                "moduleSavePeriodDays": one.module_save_period_days,
                "prices": [{"currency": p.currency, "value": money.format_amount(p.value)} for p in one.prices],
            }
            for one in offered
        ],
    }


def card_of(document: Document) -> Ecard:
    """Convert the document of a card."""
    values = (FaceValue(value["name"], Decimal(value["price"])) for value in document["faceValues"])
    return Ecard(document["id"], document["name"], document["description"], document["unit"], tuple(values))


def document_of_card(card: Ecard) -> Document:
    """Convert back from `card_of`."""
    return {
        "id": card.id,
        "name": card.name,
        "description": card.description,
        "unit": card.unit,
        "faceValues": [{"name": one.name, "price": money.format_amount(one.price)} for one in card.face_values],
    }


def _large(document: Document) -> Iterator[str]:
    for one in oversized(*product_entry(document)):
        yield f"{one} has more than {LARGEST_ENTRY:,} bytes"


TRAINING = Format(
    entry="product",
    offer="feature set",
    model=_Product,
    offers="featureSets",
    columns={
        "productId": ("id",),
        "productCode": ("code",),
        "productName": ("name",),
        "courseIds": ("courseIds",),
        "featureSetId": ("featureSets", 0, "id"),
        "featureSetName": ("featureSets", 0, "name"),
        "courseAccessPeriodDays": ("featureSets", 0, "courseAccessPeriodDays"),
        "moduleSavePeriodDays": ("featureSets", 0, "moduleSavePeriodDays"),
        "prices": ("featureSets", 0, "prices"),
    },
    texts={"courseIds": _split, "prices": _prices},
    order=lambda document, _: (document["code"], document["name"]),
    offer_id=lambda _, offer: offer["id"],
    check=_large,
    fits=lambda file: f"at most {MOST_PRODUCTS:,} products, not {file.count:,}" if file.count > MOST_PRODUCTS else None,
)

ECARDS = Format(
    entry="card",
    offer="face value",
    model=_Card,
    offers="faceValues",
    columns={
        "cardId": ("id",),
        "cardName": ("name",),
        "description": ("description",),
        "unit": ("unit",),
        "faceValue": ("faceValues", 0, "name"),
        "price": ("faceValues", 0, "price"),
    },
    texts={},
    order=lambda _, line: (f"{line:012}", ""),
    offer_id=lambda entry, offer: f"{entry['id']} {offer['name']}",
    check=lambda document: card_faults(card_of(document)),
    fits=lambda file: size_fault(map(card_of, file.documents())),
)


@dataclass(frozen=True)
class EntryChange:
    """How an entry of a file differs from that of a catalogue."""

    kind: Literal["added", "removed", "changed"]
    entry: Document
    details: Sequence[str] = ()
    """What changed in it, in words."""


@dataclass
class CatalogueFile:
    """The entries of a file, in their order, or its faults. Close it after use."""

    format: Format
    faults: list[LineFault] = field(default_factory=list)
    count: int = 0
    """Entries."""
    _database: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(""))

    def __post_init__(self) -> None:
        self._database.executescript(
            "CREATE TABLE entries (id PRIMARY KEY, line, first, second, own, seen);"
            "CREATE TABLE offers (id PRIMARY KEY, entry, line, offer);"
            "CREATE INDEX of_entry ON offers (entry)"
        )

    def close(self) -> None:
        """Delete the entries, which are in a temporary database."""
        self._database.close()

    def read(self, path: Path, advance: Callable[[int], None]) -> None:
        """Read and check a file.

        Args:
            path: The file; see `read_records`.
            advance: Called with 1 for each line.
        """
        as_csv = is_csv(path)
        try:
            for line, value, wrong in read_records(path, self._header_fault, advance):
                if wrong:
                    self.faults.append((line, wrong))
                else:
                    self._add(line, self._document(value) if as_csv else value, as_csv=as_csv)
        except Unreadable as error:
            self.faults.append(error.fault)
        else:
            for line, document in self._entries():
                self.faults += ((line, fault) for fault in self.format.check(document))
            if fault := self.format.fits(self):
                self.faults.append((0, fault))
        self.faults.sort()

    def documents(self) -> Iterator[Document]:
        """The entries in the order of their list."""
        return (document for _, document in self._entries())

    def digest(self) -> str:
        """The digest of the entries."""
        return digest_of(self.documents())

    def compare(self, current: Iterable[Document]) -> Iterator[EntryChange]:
        """Compare the file with a catalogue: yields what is removed and changed, then what is added.

        Args:
            current: The entries of the catalogue.
        """
        for before in current:
            after = self._take(before["id"])
            if after is None:
                yield EntryChange("removed", before)
            elif details := [*self._differences(before, after)]:
                yield EntryChange("changed", after, details)
        for _, document in self._entries(unseen=True):
            yield EntryChange("added", document)

    def _take(self, identifier: Any) -> Document | None:
        """The entry with an id, which counts as seen; None if there is none."""
        change = "UPDATE entries SET seen = 1 WHERE id = ? RETURNING own"
        found = self._database.execute(change, [identifier]).fetchone()
        if found is None:
            return None
        query = "SELECT offer FROM offers WHERE entry = ? ORDER BY rowid"
        offers = self._database.execute(query, [identifier])
        return {**json.loads(found[0]), self.format.offers: [json.loads(offer) for (offer,) in offers]}

    def _differences(self, before: Document, after: Document) -> Iterator[str]:
        offers = self.format.offers
        for name in before:
            if name != offers and before[name] != after[name]:
                yield f"{name} {_shown(before[name])} → {_shown(after[name])}"
        old, new = ({self.format.offer_id(entry, one): one for one in entry[offers]} for entry in (before, after))
        for name in dict.fromkeys([*old, *new]):
            if name not in new:
                yield f"- {old[name]['name']}"
            elif name not in old:
                yield f"+ {new[name]['name']}"
            else:
                yield from _changes(old[name], new[name])

    def _header_fault(self, header: Sequence[str]) -> str:
        missing = [name for name in self.format.columns if name not in header]
        unknown = [name for name in header if name not in self.format.columns]
        parts = [f"without {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        return f"the columns must be {', '.join(self.format.columns)} ({'; '.join(parts)})" if parts else ""

    def _document(self, row: Mapping[str, str]) -> Document:
        """The document of a row of CSV; what is empty is left out."""
        document: Document = {}
        offer: Document = {}
        for column, text in row.items():
            if text:
                place = self.format.columns[column]
                part = document if len(place) == 1 else offer
                part[str(place[-1])] = self.format.texts.get(column, str)(text)
        return {**document, self.format.offers: [offer]} if offer else document

    def _add(self, line: int, value: Any, *, as_csv: bool) -> None:
        if not isinstance(value, dict):
            self.faults.append((line, "must be a JSON object"))
            return
        try:
            record = self.format.model.model_validate(value)
        except ValidationError as error:
            for fault in http.faults_of(error, "body"):
                place = self._column(fault.place) if as_csv else _path(fault.place)
                self.faults.append((line, f"{place}: {fault.detail}" if place else fault.detail))
            return
        own = record.model_dump(mode="json")
        offers = own.pop(self.format.offers)
        key = own["id"]
        text = json.dumps(own, ensure_ascii=False)
        earlier = self._database.execute("SELECT line, own FROM entries WHERE id = ?", [key]).fetchone()
        if earlier is None:
            self._database.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, 0)", [key, line, *self.format.order(own, line), text]
            )
            self.count += 1
        elif not as_csv or not offers:
            self.faults.append((line, f"{self.format.entry} {key} is on line {earlier[0]} too"))
        elif earlier[1] != text:
            self.faults.append((line, f"{self.format.entry} {key} differs from line {earlier[0]}"))
        for offer in offers:
            self._add_offer(line, own, offer)

    def _add_offer(self, line: int, entry: Document, offer: Document) -> None:
        key = self.format.offer_id(entry, offer)
        try:
            values = [key, entry["id"], line, json.dumps(offer, ensure_ascii=False)]
            self._database.execute("INSERT INTO offers VALUES (?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            (earlier,) = self._database.execute("SELECT line FROM offers WHERE id = ?", [key]).fetchone()
            self.faults.append((line, f"{self.format.offer} {key} is on line {earlier} too"))

    def _entries(self, *, unseen: bool = False) -> Iterator[tuple[int, Document]]:
        rows = self._database.execute(
            "SELECT entries.line, own, offer FROM entries LEFT JOIN offers ON entry = entries.id WHERE seen <= ? "
            "ORDER BY first, second, entries.id, offers.rowid",
            [not unseen],
        )
        for (line, own), group in groupby(rows, key=lambda row: row[:2]):
            offers = [json.loads(offer) for *_, offer in group if offer]
            yield line, {**json.loads(own), self.format.offers: offers}

    def _column(self, place: Place) -> str:
        columns = (column for column, at in self.format.columns.items() if place[: len(at)] == at)
        return next(columns, _path(place))


def digest_of(documents: Iterable[Document]) -> str:
    """A digest of documents in their order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps(document, ensure_ascii=False).encode())
    return digest.hexdigest()


def _changes(before: Document, after: Document) -> Iterator[str]:
    for name in before:
        if before[name] != after[name]:
            yield f"{after['name']}: {name} {_shown(before[name])} → {_shown(after[name])}"


def _shown(value: Any) -> str:
    """A value of a document in one line; prices as CSV has them."""
    if isinstance(value, list):
        return "; ".join(f"{one['currency']} {one['value']}" if isinstance(one, dict) else str(one) for one in value)
    return str(value)


def _path(place: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def count_lines(path: Path) -> int:
    """Count the line breaks of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
