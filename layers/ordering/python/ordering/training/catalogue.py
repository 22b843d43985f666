"""The catalogue of a business unit: products, their feature sets, and prices.

Each import writes a complete new version of the catalogue, then moves one pointer to it. A reader sees the old version
or the new one, never a mixture. Positions in a version have no gaps, so any page is one query. The totals are stored in
the pointer and in the products.

The pointer also lists the other versions that have items: the one that is being written, and those that were replaced.
An import makes the latter expire, a day later, and takes them off the list. So no version stays forever, wherever an
import crashes: the next one does what is left. An import that another one overtakes makes its own version expire.

Keys of the table: `UNIT#<business unit>` the pointer; under a version, `<version>#PRODUCTS` the products by position,
`<version>#PRODUCT#<id>` a product and its feature sets by position, `<version>#FEATURE_SET#<id>` one feature set.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from ordering import clock, money
from ordering.aws.dynamodb import ConditionFailed, Item, Key, Put, Table, Update
from ordering.book.listing import Listing
from ordering.cache import Cache
from ordering.errors import Conflict, NotFound
from ordering.money import Money
from ordering.sizes import bytes_within_json

T = TypeVar("T")

FRESH_FOR = 2.0
"""Seconds for which a warm process uses a version before it reads the pointer again."""

_POINTER = "CATALOGUE"
_WHOLE = "PRODUCT"
_DIGITS = 6
"""Stored format: positions in keys are padded to so many digits."""

_REMEMBERED = 10_000

REPLACED_KEPT = timedelta(days=1)
"""How long the items of a replaced version stay: much longer than any reader uses a pointer that it has read."""

_LAST = "\U0010ffff"

LARGEST_ENTRY = 10_000
"""Bytes of a product or a feature set as JSON within JSON: 500 on a page, with their links, fit Lambda's response."""


@dataclass(frozen=True, slots=True)
class TrainingFeatureSet:
    """A way to order a product; ids are canonical UUIDs."""

    id: str
    product_id: str
    product_name: str
    name: str
    course_access_period_days: int
    module_save_period_days: int
    prices: tuple[Money, ...]

    @property
    def description(self) -> str:
        """The text that describes it in orders."""
        return f"{self.product_name} ({self.name})"


@dataclass(frozen=True, slots=True)
class TrainingProduct:
    """A product of a catalogue; its id is a canonical UUID."""

    id: str
    code: str
    name: str
    course_ids: tuple[str, ...] = ()


class CatalogueCache:
    """Caches the pointer of each unit, and feature sets, in a warm process.

    A feature set of a version never changes, so it does not expire.

    Args:
        fresh_for: Seconds after which a pointer expires.
        seconds: Returns the monotonic time in seconds.
    """

    def __init__(self, fresh_for: float = FRESH_FOR, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self.versions: Cache[str, Item] = Cache(fresh_for, seconds=seconds)
        self.feature_sets: Cache[tuple[str, str], TrainingFeatureSet] = Cache(size=_REMEMBERED, seconds=seconds)


class Catalogue:
    """The catalogue of one business unit, as one request sees it."""

    def __init__(self, table: Table, unit: str, cache: CatalogueCache | None = None) -> None:
        self._table = table
        self._unit = unit
        self._cache = cache or CatalogueCache(fresh_for=0)

    def products(self, first: int, count: int) -> Listing[TrainingProduct]:
        """List up to `count` products from rank `first` (from 0), by code, then name."""
        pointer = self._pointer()
        items = self._positions(f"{pointer.get('version')}#PRODUCTS", first, count, pointer.get("products", 0))
        return Listing([_read_product(item) for item in items], pointer.get("products", 0))

    def product(self, product_id: str) -> TrainingProduct:
        """Read one product.

        Raises:
            NotFound: The unit's catalogue has no product with this id.
        """
        return _read_product(self._product_item(product_id))

    def feature_sets(self, product_id: str, first: int, count: int) -> Listing[TrainingFeatureSet]:
        """List up to `count` feature sets of a product from rank `first` (from 0), by name.

        Raises:
            NotFound: The unit's catalogue has no product with this id.
        """
        product = self._product_item(product_id)
        items = self._positions(product["pk"], first, count, product["featureSets"])
        return Listing([_read_feature_set(item) for item in items], product["featureSets"])

    def feature_set(self, product_id: str, feature_set_id: str) -> TrainingFeatureSet:
        """Read one feature set of a product.

        Raises:
            NotFound: The unit's catalogue has no such product, or the product has no such feature set.
        """
        found = self.find_feature_sets([feature_set_id]).get(feature_set_id)
        if found is None or found.product_id != product_id:
            self._product_item(product_id)
            raise NotFound("feature set", feature_set_id)
        return found

    def find_feature_sets(self, ids: Iterable[str]) -> dict[str, TrainingFeatureSet]:
        """Read feature sets, by id; ids that the unit's catalogue does not contain are left out."""
        version = self._pointer().get("version", "")
        known = self._cache.feature_sets
        wanted = list(dict.fromkeys(ids))
        found = {id_: feature_set for id_ in wanted if (feature_set := known.get((version, id_)))}
        keys = [_feature_set_key(version, id_) for id_ in wanted if id_ not in found]
        for item in (self._table.batch_get(keys) if keys else {}).values():
            found[item["id"]] = _read_feature_set(item)
            known.put((version, item["id"]), found[item["id"]])
        return {id_: found[id_] for id_ in wanted if id_ in found}

    def publish(self, products: Iterable[tuple[TrainingProduct, Sequence[TrainingFeatureSet]]]) -> str:
        """Write a new version of the unit's catalogue, then move the pointer to it; returns the version's name.

        After a crash before the end, readers still get the old version. Each product and each feature set takes two
        write units for each KB, and as many once more when its version is replaced.

        Raises:
            ValueError: A product or a feature set is larger than `LARGEST_ENTRY`. The message lists all of them.
            Conflict: Another import of the unit began in the meantime, and this one is not published.
        """
        version = f"CATALOGUE#{secrets.token_hex(8)}"
        ordered = sorted(products, key=_by_code_and_name)

        def items() -> Iterator[Item]:
            for position, (product, offered) in enumerate(ordered, 1):
                yield from _items_of(version, position, product, offered)

        if too_large := sorted({item["id"] for item in items() if bytes_within_json(item) > LARGEST_ENTRY}):
            raise ValueError(f"larger than {LARGEST_ENTRY:,} bytes: {', '.join(too_large)}")
        replaced = self._begin(version)
        self._table.put_all(items())
        try:
            self._move_pointer(version, len(ordered), replaced)
        except Conflict:
            self._let_expire([version])  # the other import may have done so before all of it was written
            raise
        self._cache.versions.drop(self._unit)
        self._let_expire(replaced)
        with suppress(ConditionFailed):  # another import began, and repeats this
            self._table.update(
                Update(
                    self._pointer_key,
                    "REMOVE replaced",
                    "version = :version AND attribute_not_exists(writing)",
                    values={":version": version},
                )
            )
        return version

    @property
    def _pointer_key(self) -> Key:
        return f"UNIT#{self._unit}", _POINTER

    def _begin(self, version: str) -> list[str]:
        """Record that a version is being written; return those that it replaces, an unfinished one among them."""
        pauses = self._table.pauses()
        while True:
            found = self._table.get(self._pointer_key) or {}
            # It is `version` itself if an attempt took effect and only its response was lost.
            unfinished = {found.get("writing")} - {None, version}
            others = sorted({*found.get("replaced", ()), *unfinished})
            conditions = [
                f"{name} = :{name}" if name in found else f"attribute_not_exists({name})"
                for name in ("version", "writing")
            ]
            read = {f":{name}": found[name] for name in ("version", "writing") if name in found}
            change = "SET writing = :new, replaced = :others"
            try:
                self._table.update(
                    Update(
                        self._pointer_key,
                        change,
                        " AND ".join(conditions),
                        values={":new": version, ":others": others, **read},
                    )
                )
            except ConditionFailed:
                next(pauses)
            else:
                return sorted({*others, found.get("version")} - {None})

    def _move_pointer(self, version: str, products: int, replaced: Sequence[str]) -> None:
        """Let readers see a version.

        Raises:
            Conflict: Another import began, which replaces it.
        """
        partition, sort = self._pointer_key
        pointer = {"pk": partition, "sk": sort, "version": version, "products": products, "replaced": [*replaced]}
        try:
            self._table.put(Put(pointer, "writing = :version", values={":version": version}))
        except ConditionFailed as failure:
            if not failure.item or failure.item.get("version") != version:
                raise Conflict(f"Another import of the catalogue of {self._unit} has begun.") from failure

    def _let_expire(self, versions: Iterable[str]) -> None:
        """Make all items of versions expire."""
        expires = int((clock.system_clock() + REPLACED_KEPT).timestamp())
        for version in versions:
            self._table.put_all({**item, "expires": expires} for item in self._items_in(version))

    def _items_in(self, version: str) -> Iterator[Item]:
        """Read all items of a version: a query for its products, and one for each of them."""
        for listed in self._table.query(f"{version}#PRODUCTS", " ", _LAST):
            yield listed
            for item in self._table.query(f"{version}#PRODUCT#{listed['id']}", " ", _LAST):
                yield item
                if item["sk"] != _WHOLE:
                    pk, sk = _feature_set_key(version, item["id"])
                    yield {**item, "pk": pk, "sk": sk}

    def _pointer(self) -> Item:
        return self._cache.versions.read(self._unit, lambda: self._table.get(self._pointer_key) or {})

    def _product_item(self, product_id: str) -> Item:
        item = self._table.get((f"{self._pointer().get('version')}#PRODUCT#{product_id}", _WHOLE))
        if item is None:
            raise NotFound("product", product_id)
        return item

    def _positions(self, partition: str, first: int, count: int, total: int) -> Iterable[Item]:
        last = min(first + count, total)
        return self._table.query(partition, _padded(first + 1), _padded(last)) if first < last else ()


def _by_code_and_name(entry: tuple[TrainingProduct, Sequence[TrainingFeatureSet]]) -> tuple[str, str, str]:
    product, _ = entry
    return product.code, product.name, product.id


def _items_of(
    version: str, position: int, product: TrainingProduct, offered: Sequence[TrainingFeatureSet]
) -> Iterable[Item]:
    """Yield the items of one product: in the list of products, the product itself, and its feature sets."""
    whole = {
        "id": product.id,
        "code": product.code,
        "name": product.name,
        "courseIds": product.course_ids,
        "featureSets": len(offered),
    }
    partition = f"{version}#PRODUCT#{product.id}"
    yield {**whole, "pk": f"{version}#PRODUCTS", "sk": _padded(position)}  # first: the others are found by it
    for rank, feature_set in enumerate(sorted(offered, key=lambda one: (one.name, one.id)), 1):
        item = {
            "id": feature_set.id,
            "productId": product.id,
            "productName": product.name,
            "name": feature_set.name,
            "courseAccessPeriodDays": feature_set.course_access_period_days,
            "moduleSavePeriodDays": feature_set.module_save_period_days,
            "prices": [
                {"currency": price.currency, "value": money.format_amount(price.value)} for price in feature_set.prices
            ],
        }
        pk, sk = _feature_set_key(version, feature_set.id)
        yield {**item, "pk": pk, "sk": sk}
        yield {**item, "pk": partition, "sk": _padded(rank)}
    yield {**whole, "pk": partition, "sk": _WHOLE}


def _feature_set_key(version: str, feature_set_id: str) -> tuple[str, str]:
    return f"{version}#FEATURE_SET#{feature_set_id}", "FEATURE_SET"


def _padded(position: int) -> str:
    return f"{position:0{_DIGITS}}"


def _read_product(item: Item) -> TrainingProduct:
    return TrainingProduct(item["id"], item["code"], item["name"], tuple(item.get("courseIds", ())))


def _read_feature_set(item: Item) -> TrainingFeatureSet:
    return TrainingFeatureSet(
        id=item["id"],
        product_id=item["productId"],
        product_name=item["productName"],
        name=item["name"],
        course_access_period_days=item["courseAccessPeriodDays"],
        module_save_period_days=item["moduleSavePeriodDays"],
        prices=tuple(Money(price["currency"], money.parse_amount(price["value"])) for price in item["prices"]),
    )
