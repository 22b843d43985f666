"""The e-cards that a company can order, with their face values and prices.

A catalogue is published whole, as one item, and read whole: a reader sees the old one or the new one, never a mixture.
The transaction that replaces it keeps it as an item of its own, from which it can be published again.

Keys of the table: `ECARDS#<company>`, and `REPLACED_ECARDS#<company>` for catalogues that were replaced.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from ordering import clock, money
from ordering.aws.dynamodb import Item, Key, Put, Table, TransactionRefused
from ordering.cache import Cache
from ordering.errors import Conflict, OrderingError
from ordering.values import Value

Unit = Literal["ruble", "month"]
Missing = Literal["card", "face value"]

FRESH_FOR = 2.0
"""Seconds for which a warm process uses a catalogue before it reads it again."""

COMPANIES_REMEMBERED = 100
"""Catalogues that a warm process keeps at most; each may have 400 KB."""

LONGEST_NAME = 250
"""Most characters of a name: an order of 100 lines repeats names, and a face value's name is part of a key."""

LARGEST_NAME = 750
"""Most bytes of a name in UTF-8: an order's item repeats the names of up to 100 lines, and has 400 KB."""

LARGEST_PRICE = Decimal(10_000_000)
_LARGEST_ID = 2**31 - 1
_NAMES = f"1 to {LONGEST_NAME} characters, at most {LARGEST_NAME} bytes in UTF-8"
_LARGEST_ITEM = 399 * 1024
"""Most bytes of a catalogue: an item may have 400 KB, its key included."""

REPLACED_KEPT = timedelta(days=30)
"""How long a replaced catalogue can be published again."""

_LAST = "\U0010ffff"


class FaceValue(Value):
    """A face value of a card. The price may differ from the amount in the name."""

    name: str
    price: Decimal


class Ecard(Value):
    """A card that can be ordered."""

    id: int
    name: str
    description: str
    unit: Unit
    face_values: tuple[FaceValue, ...]


class EcardVersion(Value):
    """A version of a company's catalogue: the current one, or one that was replaced."""

    name: str
    """Empty if an earlier release published it, and it is current."""
    cards: tuple[Ecard, ...]
    published: datetime | None
    """None if an earlier release published it."""
    until: datetime | None = None
    """How long it can be published again; None for the current version."""


class RequestedCard(Value):
    """One line of a request: a card, the name of its face value, and how many of them."""

    card_id: int
    face_value: str
    quantity: int


class PricedLine(RequestedCard):
    """One line of an order; `price` is the unit price."""

    name: str
    price: Decimal


class NotOnOffer(OrderingError):
    """A request has cards or face values that are not in the company's catalogue."""

    def __init__(self, missing: Sequence[tuple[int, Missing]]) -> None:
        """Take the index of each such line, from 0, with the part that is missing."""
        super().__init__(f"not in the catalogue, by line: {list(missing)}")
        self.missing = tuple(missing)


EcardCache = Cache[str, tuple[Ecard, ...]]
"""Caches the cards of each company in a warm process."""


class EcardCatalogue:
    """The catalogue of one company, as one request sees it."""

    def __init__(self, table: Table, company: str, cache: EcardCache | None = None) -> None:
        self._table = table
        self._company = company
        self._cache = EcardCache(0) if cache is None else cache

    def ecards(self) -> tuple[Ecard, ...]:
        """Return the cards, in the order in which they were published; none before the first publication."""
        return self._cache.read(self._company, self._load)

    def _load(self) -> tuple[Ecard, ...]:
        item = self._table.get(self._key) or {"cards": []}
        return tuple(map(_read, item["cards"]))

    def price(self, requested: Sequence[RequestedCard]) -> tuple[PricedLine, ...]:
        """Return an order's lines for the lines of a request, in the same order.

        Raises:
            NotOnOffer: A card or a face value is not in the company's catalogue.
        """
        cards = {card.id: card for card in self.ecards()}
        prices = {(card.id, value.name): value.price for card in cards.values() for value in card.face_values}
        unknown: list[tuple[int, Missing]] = [
            (index, "face value" if line.card_id in cards else "card")
            for index, line in enumerate(requested)
            if (line.card_id, line.face_value) not in prices
        ]
        if unknown:
            raise NotOnOffer(unknown)
        return tuple(
            PricedLine(
                card_id=line.card_id,
                face_value=line.face_value,
                quantity=line.quantity,
                name=cards[line.card_id].name,
                price=prices[line.card_id, line.face_value],
            )
            for line in requested
        )

    def versions(self) -> list[EcardVersion]:
        """Return the current version, then the replaced ones that can be published again, the latest first."""
        now = int(clock.system_clock().timestamp())
        records = self._table.query(self._replaced, " ", _LAST)
        replaced = [_read_version(item) for item in records if item["expires"] > now]
        current = self._table.get(self._key)
        return [*([_read_version(current)] if current else []), *reversed(replaced)]

    def publish(self, cards: Sequence[Ecard], replacing: str | None = None) -> str:
        """Replace the company's catalogue; returns the new version's name. The replaced one is kept for a time.

        Args:
            cards: All cards of the new version.
            replacing: The name of the version that must be current, empty if there is none; by default any.

        Raises:
            ValueError: An id or a name is repeated or out of bounds, a price is negative, too high or has more than
                two decimals, or the catalogue would not fit one item. The message lists every error.
            Conflict: Another publication came in between, or another version is current.
        """
        if faults := [*_faults(cards)]:
            raise ValueError("; ".join(faults))
        if fault := size_fault(cards):
            raise ValueError(fault)
        before = self._table.get(self._key)
        if replacing is not None and (before or {}).get("version", "") != replacing:
            raise Conflict(f"The catalogue of {self._company} was published by another operator meanwhile.")
        self.offer(cards)
        version = secrets.token_hex(8)
        self._replace(before, {"version": version, "cards": [_write(card) for card in cards]})
        self._cache.drop(self._company)
        return version

    def _replace(self, before: Item | None, values: Item) -> None:
        now = clock.system_clock()
        partition, sort = self._key
        known = {":before": before["version"]} if before and "version" in before else {}
        condition = "version = :before" if known else "attribute_not_exists(version)"
        writes = [Put({"pk": partition, "sk": sort, "at": clock.to_text(now), **values}, condition, values=known)]
        if before:
            expires = int((now + REPLACED_KEPT).timestamp())
            key = {"pk": self._replaced, "sk": clock.to_text(now), "expires": expires}
            writes.append(Put({"version": secrets.token_hex(8), **before, **key}))
        try:
            self._table.transact(writes)
        except TransactionRefused as refusal:
            reason = refusal.reasons[0]
            if not (reason and reason.item) or reason.item.get("version") != values["version"]:
                raise Conflict(
                    f"The catalogue of {self._company} was published by another operator meanwhile."
                ) from refusal

    def offer(self, cards: Sequence[Ecard]) -> None:
        """Record at each face value that the company's catalogue may have it, for `is_offered`.

        One write for each face value, in calls of 25.
        """
        self._table.put_all(
            {"pk": f"OFFERED#{card.id}#{value.name}", "sk": self._company}
            for card in cards
            for value in card.face_values
        )

    @property
    def _key(self) -> Key:
        return f"ECARDS#{self._company}", "-"

    @property
    def _replaced(self) -> str:
        return f"REPLACED_ECARDS#{self._company}"


def is_offered(table: Table, card_id: int, face_value: str) -> bool:
    """Return whether any company's catalogue has a face value of a card.

    One query, and one read of a catalogue for each company that has or had the face value, until one has it.

    Args:
        table: The catalogue table.
    """
    offered = table.query(f"OFFERED#{card_id}#{face_value}", " ", "\U0010ffff")
    return any(
        card.id == card_id and any(value.name == face_value for value in card.face_values)
        for found in offered
        for card in EcardCatalogue(table, found["sk"]).ecards()
    )


def all_catalogues(table: Table) -> Iterator[EcardCatalogue]:
    """Yield the catalogues of all companies, for commands of operators: it reads the whole table."""
    for item in table.scan("ECARDS#"):
        yield EcardCatalogue(table, item["pk"].removeprefix("ECARDS#"))


def size_fault(cards: Iterable[Ecard]) -> str | None:
    """Return why a catalogue does not fit one item; None if it does."""
    # JSON is never smaller than the size that DynamoDB counts. Each card has a comma and a space with it, or brackets.
    size = sum(2 + len(json.dumps(_write(card), ensure_ascii=False).encode()) for card in cards)
    return f"the catalogue has {size:,} bytes; at most {_LARGEST_ITEM:,} fit one item" if size > _LARGEST_ITEM else None


def _faults(cards: Sequence[Ecard]) -> Iterator[str]:
    yield from _repeated("card", [card.id for card in cards])
    for card in cards:
        yield from card_faults(card)


def card_faults(card: Ecard) -> Iterator[str]:
    """Yield what is wrong with a card."""
    if not 0 < card.id <= _LARGEST_ID or not _is_name(card.name):
        yield f"card {card.id} {card.name!r}: the id must be 1 to {_LARGEST_ID}, the name {_NAMES}"
    yield from _repeated(f"card {card.id}: face value", [value.name for value in card.face_values])
    for value in card.face_values:
        if not _is_name(value.name):
            yield f"card {card.id}: face value {value.name!r}: the name must have {_NAMES}"
        if not _is_price(value.price):
            yield (
                f"card {card.id}, {value.name!r}: the price must be 0 to {LARGEST_PRICE:,} with at most two "
                f"decimals, not {value.price}"
            )


def _repeated(what: str, names: Sequence[object]) -> Iterator[str]:
    yield from (f"{what} {name} is repeated" for name, count in Counter(names).items() if count > 1)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and len(name.encode()) <= LARGEST_NAME


def _is_price(price: Decimal) -> bool:
    # `is_signed` also excludes -0, which would be stored as such.
    fits = price.is_finite() and not price.is_signed() and price <= LARGEST_PRICE
    return fits and price == price.quantize(Decimal("0.01"))


def _write(card: Ecard) -> Item:
    values = [{"name": value.name, "price": money.format_amount(value.price)} for value in card.face_values]
    return {
        "id": card.id,
        "name": card.name,
        "description": card.description,
        "unit": card.unit,
        "faceValues": values,
    }


def _read(item: dict[str, Any]) -> Ecard:
    values = (FaceValue(value["name"], money.parse_amount(value["price"])) for value in item["faceValues"])
    return Ecard(item["id"], item["name"], item["description"], item["unit"], tuple(values))


def _read_version(item: Item) -> EcardVersion:
    at, expires = item.get("at"), item.get("expires")
    return EcardVersion(
        item.get("version", ""),
        tuple(map(_read, item["cards"])),
        clock.from_text(at) if at else None,
        datetime.fromtimestamp(expires, UTC) if expires else None,
    )
