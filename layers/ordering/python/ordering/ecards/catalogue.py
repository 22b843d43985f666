"""Which e-cards a company can order, their face values, and what each costs.

A catalogue is published whole, as one item, and read whole: a reader sees the old one or the new one.

Key of the table: `ECARDS#<company>`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ordering import money
from ordering.aws.dynamodb import Item, Key, Put, Table
from ordering.cache import Cache
from ordering.errors import OrderingError

Unit = Literal["ruble", "month"]
Missing = Literal["card", "face value"]

FRESH_FOR = 2.0
"""Seconds that a warm process goes on with a catalogue without looking whether another was published."""

COMPANIES_REMEMBERED = 100
"""How many catalogues a warm process keeps at most; each may have 400 KB."""

LONGEST_NAME = 250
"""Characters of a name at most: an order of 100 lines repeats them, and a face value's is part of a key."""

LARGEST_PRICE = Decimal(10_000_000)
_LARGEST_ID = 2**31 - 1
_LARGEST_ITEM = 399 * 1024
"""Bytes that a catalogue may have: an item has 400 KB at most, its key included."""


@dataclass(frozen=True, slots=True)
class FaceValue:
    """A value that a card is sold with, by its name, and what it costs: not always what it says."""

    name: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class Ecard:
    """A card that can be ordered."""

    id: int
    name: str
    description: str
    unit: Unit
    face_values: tuple[FaceValue, ...]


@dataclass(frozen=True, slots=True)
class RequestedCard:
    """One thing as it was asked for: so many of a card with a face value of that name."""

    card_id: int
    face_value: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PricedLine(RequestedCard):
    """One thing as it was ordered; `price` is that of one."""

    name: str
    price: Decimal


class NotOnOffer(OrderingError):
    """Cards or face values were asked for that the company's catalogue does not have."""

    def __init__(self, wishes: Sequence[tuple[int, Missing]]) -> None:
        """Name the wishes by their index, from 0, each with what is missing."""
        super().__init__(f"not in the catalogue: wishes {list(wishes)}")
        self.wishes = tuple(wishes)


EcardCache = Cache[str, tuple[Ecard, ...]]
"""What a warm process remembers of catalogues: the cards of each company, for a moment."""


class EcardCatalogue:
    """The catalogue of one company, as one request sees it."""

    def __init__(self, table: Table, company: str, cache: EcardCache | None = None) -> None:
        self._table = table
        self._company = company
        self._cache = EcardCache(0) if cache is None else cache

    def ecards(self) -> tuple[Ecard, ...]:
        """Return what can be ordered, as it was published; nothing before a first publication."""
        return self._cache.read(self._company, self._load)

    def _load(self) -> tuple[Ecard, ...]:
        item = self._table.get(self._key) or {"cards": []}
        return tuple(map(_read, item["cards"]))

    def price(self, wishes: Sequence[RequestedCard]) -> tuple[PricedLine, ...]:
        """Turn what is asked for into an order's lines, in the same order.

        Raises:
            NotOnOffer: A card or a face value is not in the company's catalogue.
        """
        cards = {card.id: card for card in self.ecards()}
        prices = {(card.id, value.name): value.price for card in cards.values() for value in card.face_values}
        unknown: list[tuple[int, Missing]] = [
            (index, "face value" if wish.card_id in cards else "card")
            for index, wish in enumerate(wishes)
            if (wish.card_id, wish.face_value) not in prices
        ]
        if unknown:
            raise NotOnOffer(unknown)
        return tuple(
            PricedLine(
                card_id=wish.card_id,
                face_value=wish.face_value,
                quantity=wish.quantity,
                name=cards[wish.card_id].name,
                price=prices[wish.card_id, wish.face_value],
            )
            for wish in wishes
        )

    def publish(self, cards: Sequence[Ecard]) -> None:
        """Replace the company's catalogue.

        Raises:
            ValueError: An id or a name is there twice or out of bounds, a price is negative, too high or has more
                than two decimals, or all of it would not fit one item.
        """
        if faults := [*_faults(cards)]:
            raise ValueError("; ".join(faults))
        written = [_write(card) for card in cards]
        # As JSON it is never smaller than as DynamoDB counts it.
        size = len(json.dumps(written, ensure_ascii=False).encode())
        if size > _LARGEST_ITEM:
            raise ValueError(f"a catalogue of {size:,} bytes, at most {_LARGEST_ITEM:,} fit")
        partition, sort = self._key
        self._table.put(Put({"pk": partition, "sk": sort, "cards": written}))
        self._cache.drop(self._company)

    @property
    def _key(self) -> Key:
        return f"ECARDS#{self._company}", "-"


def _faults(cards: Sequence[Ecard]) -> Iterator[str]:
    yield from _twice("card", [card.id for card in cards])
    for card in cards:
        if not 0 < card.id <= _LARGEST_ID or not 0 < len(card.name) <= LONGEST_NAME:
            yield f"card {card.id} {card.name!r}: an id from 1 to {_LARGEST_ID}, a name of 1 to {LONGEST_NAME}"
        yield from _twice(f"card {card.id}: face value", [value.name for value in card.face_values])
        for value in card.face_values:
            if not 0 < len(value.name) <= LONGEST_NAME:
                yield f"card {card.id}: {value.name!r} is no name of 1 to {LONGEST_NAME} characters"
            if not _is_price(value.price):
                yield f"card {card.id}, {value.name!r}: {value.price} is no price with two decimals at most"


def _twice(what: str, names: Sequence[object]) -> Iterator[str]:
    yield from (f"{what} {name} is there twice" for name, count in Counter(names).items() if count > 1)


def _is_price(price: Decimal) -> bool:
    # A zero is written as one: -0 is none of these.
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
