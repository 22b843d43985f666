"""The catalogue of a business unit: products, their feature sets, and prices.

Each import writes a complete new version of the catalogue, then moves one pointer to it. A reader sees the old version
or the new one, never a mixture. Positions in a version have no gaps, so any page is one query. The totals are stored in
the pointer and in the products.

The pointer also lists the other versions that have items: the one that is being written, and those that were replaced.
An import makes the latter expire and takes them off the list. So no version stays forever, wherever an import crashes:
the next one does what is left. An import that another one overtakes makes its own version expire.

The write that moves the pointer also writes a record of the version that it replaces. While the record is there, the
version can be read, and published again: as a copy, because items that expire stay so.

Keys of the table: `UNIT#<business unit>` the pointer and the records of replaced versions; under a version,
`<version>#PRODUCTS` the products by position, `<version>#PRODUCT#<id>` a product and its feature sets by position,
`<version>#FEATURE_SET#<id>` one feature set.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from ordering import clock, money
from ordering.aws.dynamodb import ConditionFailed, Item, Key, Put, Table, TransactionRefused, Update
from ordering.book.listing import Listing
from ordering.cache import Cache
from ordering.errors import Conflict, NotFound
from ordering.money import Money
from ordering.sizes import bytes_within_json
from ordering.values import Value

T = TypeVar("T")

FRESH_FOR = 2.0
"""Seconds for which a warm process uses a version before it reads the pointer again."""

_POINTER = "CATALOGUE"
_WHOLE = "PRODUCT"
_DIGITS = 6
"""Stored format: positions in keys are padded to so many digits."""

_REMEMBERED = 10_000

REPLACED_KEPT = timedelta(days=30)
"""How long a replaced version can be published again.

All replaced versions are kept for so long, not the last one only: to make the older ones expire earlier would write all
their items once more, which costs more than to store them.
"""

_ITEMS_KEPT = REPLACED_KEPT + timedelta(days=1)
"""How long the items of a replaced version stay: a day in which what began to read them can finish."""

MOST_PRODUCTS = 999_999
"""Most products of a catalogue, and most feature sets of a product: their positions have six digits."""

_READ_AT_ONCE = 100
"""Products whose feature sets are read together."""

_LISTED_AT_ONCE = 1_000
"""Products in a page of the list of a version's products, about 300 KB."""

_RECORD = "REPLACED#"

_LAST = "\U0010ffff"

LARGEST_ENTRY = 10_000
"""Bytes of a product or a feature set as JSON within JSON: 500 on a page, with their links, fit Lambda's response."""


class TrainingFeatureSet(Value):
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


class TrainingProduct(Value):
    """A product of a catalogue; its id is a canonical UUID."""

    id: str
    code: str
    name: str
    course_ids: tuple[str, ...] = ()


ProductEntry = tuple[TrainingProduct, Sequence[TrainingFeatureSet]]
"""A product with its feature sets."""


class Version(Value):
    """A version of a catalogue: the current one, or one that was replaced."""

    name: str
    products: int
    published: datetime | None
    """None if an earlier release published it."""
    until: datetime | None = None
    """How long it can be published again; None for the current version."""
    digest: str = ""
    """What its publisher gave as a digest of its contents."""


class Publication(Value):
    """A version that is being written, and that readers do not see."""

    name: str
    before: Version | None
    """The current version when it was begun."""
    replaced: tuple[str, ...]
    """The names of all other versions that have items which do not expire."""


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

    def publish(self, products: Iterable[ProductEntry]) -> str:
        """Write a new version of the unit's catalogue, then move the pointer to it; returns the version's name.

        After a crash before the end, readers still get the old version. Each product and each feature set takes two
        write units for each KB, and as many once more when its version is replaced.

        Raises:
            ValueError: A product or a feature set is larger than `LARGEST_ENTRY`. The message lists all of them.
            Conflict: Another import of the unit began in the meantime, and this one is not published.
        """
        ordered = sorted(products, key=_by_code_and_name)
        if too_large := sorted({one for product, offered in ordered for one in oversized(product, offered)}):
            raise ValueError(f"larger than {LARGEST_ENTRY:,} bytes: {', '.join(too_large)}")
        publication = self.begin()
        self.write(publication, ordered)
        self.make_current(publication, len(ordered))
        self.expire_replaced(publication)
        return publication.name

    def versions(self) -> list[Version]:
        """Return the current version, then the replaced ones that can be published again, the latest first."""
        now = int(clock.system_clock().timestamp())
        records = self._table.query(self._pointer_key[0], _RECORD, f"{_RECORD}{_LAST}")
        replaced = [_read_version(item) for item in records if item["expires"] > now]
        return [version for version in (self.current(), *reversed(replaced)) if version]

    def current(self) -> Version | None:
        """Read which version is current; None before the first publication."""
        return _read_version(self._table.get(self._pointer_key) or {})

    def unfinished(self) -> Publication | None:
        """Return the current version if a crash left versions that it replaced without an end; None otherwise."""
        found = self._table.get(self._pointer_key) or {}
        if "version" not in found or "writing" in found or "replaced" not in found:
            return None
        return Publication(found["version"], None, tuple(found["replaced"]))

    def contents(self, version: Version) -> Iterator[ProductEntry]:
        """Read all products of a version with their feature sets, by code, then name.

        Raises:
            Conflict: Its items have begun to expire.
        """
        products = 0
        for listed, offered in self._stored(version.name):
            if len(offered) != listed["featureSets"]:
                break
            products += 1
            yield _read_product(listed), [_read_feature_set(item) for item in offered]
        if products != version.products:
            raise Conflict(f"The version {version.name} of the catalogue of {self._unit} is not complete any more.")

    def begin(self) -> Publication:
        """Begin a new version. An import that began before and is not published yet is overtaken by it."""
        return self._begin(f"CATALOGUE#{secrets.token_hex(8)}")

    def write(self, publication: Publication, products: Iterable[ProductEntry]) -> None:
        """Write the products of a new version, read one after another; none of them may be `oversized`.

        Args:
            products: In the order of their lists: by code, name and id.
        """
        self._table.put_all(
            item
            for position, (product, offered) in enumerate(products, 1)
            for item in _items_of(publication.name, position, product, offered)
        )

    def make_current(self, publication: Publication, products: int, digest: str = "") -> None:
        """Let readers see a version, of which so many products were written.

        Raises:
            Conflict: Another import of the unit began in the meantime, and this version expires.
        """
        try:
            self._move_pointer(publication, products, digest)
        except Conflict:
            self._let_expire([publication.name])  # the other import may have done so before all of it was written
            raise
        self._cache.versions.drop(self._unit)

    def expire_replaced(self, publication: Publication, advance: Callable[[int], None] = lambda _: None) -> None:
        """Make the versions that a version replaced expire.

        Args:
            advance: Called with the number of items that were written, again and again.
        """
        self._let_expire(publication.replaced, advance)
        with suppress(ConditionFailed):  # another import began, and repeats this
            self._table.update(
                Update(
                    self._pointer_key,
                    "REMOVE replaced",
                    "version = :version AND attribute_not_exists(writing)",
                    values={":version": publication.name},
                )
            )

    @property
    def _pointer_key(self) -> Key:
        return f"UNIT#{self._unit}", _POINTER

    def _begin(self, version: str) -> Publication:
        """Record that a version is being written."""
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
                replaced = sorted({*others, found.get("version")} - {None})
                return Publication(version, _read_version(found), tuple(replaced))

    def _move_pointer(self, publication: Publication, products: int, digest: str) -> None:
        """Let readers see a version, and record the one that it replaces.

        Raises:
            Conflict: Another import began, which replaces it.
        """
        partition, sort = self._pointer_key
        now = clock.system_clock()
        new = _version_item(Version(publication.name, products, now, digest=digest))
        pointer = {"pk": partition, "sk": sort, **new, "replaced": [*publication.replaced]}
        writes = [Put(pointer, "writing = :version", values={":version": publication.name})]
        if publication.before:
            expires = int((now + REPLACED_KEPT).timestamp())
            record = {"pk": partition, "sk": f"{_RECORD}{clock.to_text(now)}", "expires": expires}
            writes.append(Put({**record, **_version_item(publication.before)}))
        try:
            self._table.transact(writes)
        except TransactionRefused as refusal:
            reason = refusal.reasons[0]
            if not (reason and reason.item) or reason.item.get("version") != publication.name:
                raise Conflict(f"Another import of the catalogue of {self._unit} has begun.") from refusal

    def _let_expire(self, versions: Iterable[str], advance: Callable[[int], None] = lambda _: None) -> None:
        """Make all items of versions expire."""
        expires = int((clock.system_clock() + _ITEMS_KEPT).timestamp())

        def items() -> Iterator[Item]:
            for version in versions:
                for listed, offered in self._stored(version):
                    ending = [{**item, "expires": expires} for item in _items_with(version, listed, offered)]
                    yield from ending
                    advance(len(ending))

        self._table.put_all(items())

    def _stored(self, version: str) -> Iterator[tuple[Item, list[Item]]]:
        """Read the listed products of a version, each with its feature sets by position, or with those that exist."""
        listed = self._table.query(f"{version}#PRODUCTS", " ", _LAST, page=_LISTED_AT_ONCE)
        while some := list(itertools.islice(listed, _READ_AT_ONCE)):
            keys = [_offered_keys(version, item) for item in some]
            every = list(itertools.chain.from_iterable(keys))
            found = self._table.batch_get(every) if every else {}
            for item, own in zip(some, keys, strict=True):
                yield item, [found[key] for key in own if key in found]

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


def oversized(product: TrainingProduct, offered: Sequence[TrainingFeatureSet]) -> Iterator[str]:
    """Yield the ids of what is larger than `LARGEST_ENTRY`: the product, and feature sets of it."""
    version = f"CATALOGUE#{'0' * 16}"
    found = (item["id"] for item in _items_of(version, 1, product, offered) if bytes_within_json(item) > LARGEST_ENTRY)
    yield from dict.fromkeys(found)


def _by_code_and_name(entry: ProductEntry) -> tuple[str, str, str]:
    product, _ = entry
    return product.code, product.name, product.id


def _items_of(
    version: str, position: int, product: TrainingProduct, offered: Sequence[TrainingFeatureSet]
) -> Iterable[Item]:
    """Yield the items of one product."""
    listed = {
        "pk": f"{version}#PRODUCTS",
        "sk": _padded(position),
        "id": product.id,
        "code": product.code,
        "name": product.name,
        "courseIds": product.course_ids,
        "featureSets": len(offered),
    }
    keys = _offered_keys(version, listed)
    ordered = sorted(offered, key=lambda one: (one.name, one.id))
    sets = [_feature_set_item(one, key) for one, key in zip(ordered, keys, strict=True)]
    return _items_with(version, listed, sets)


def _items_with(version: str, listed: Item, offered: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of one product: in the list of products, its feature sets twice, and the product itself.

    Each item comes after the one that it is found by, so that a crash leaves none that cannot be found.
    """
    yield listed
    for item in offered:
        yield item
        pk, sk = _feature_set_key(version, item["id"])
        yield {**item, "pk": pk, "sk": sk}
    yield {**listed, "pk": _product_partition(version, listed), "sk": _WHOLE}


def _feature_set_item(one: TrainingFeatureSet, key: Key) -> Item:
    partition, sort = key
    return {
        "pk": partition,
        "sk": sort,
        "id": one.id,
        "productId": one.product_id,
        "productName": one.product_name,
        "name": one.name,
        "courseAccessPeriodDays": one.course_access_period_days,
        "moduleSavePeriodDays": one.module_save_period_days,
        "prices": [{"currency": price.currency, "value": money.format_amount(price.value)} for price in one.prices],
    }


def _offered_keys(version: str, listed: Item) -> list[Key]:
    """The keys of a product's feature sets by position."""
    partition = _product_partition(version, listed)
    return [(partition, _padded(rank)) for rank in range(1, listed["featureSets"] + 1)]


def _product_partition(version: str, listed: Item) -> str:
    return f"{version}#PRODUCT#{listed['id']}"


def _version_item(version: Version) -> Item:
    item: Item = {"version": version.name, "products": version.products}
    if version.published:
        item["at"] = clock.to_text(version.published)
    if version.digest:
        item["digest"] = version.digest
    return item


def _read_version(item: Item) -> Version | None:
    """Read a version from the pointer or from a record; None from a pointer to none yet."""
    if "version" not in item:
        return None
    at, expires = item.get("at"), item.get("expires")
    return Version(
        item["version"],
        item["products"],
        clock.from_text(at) if at else None,
        datetime.fromtimestamp(expires, UTC) if expires else None,
        item.get("digest", ""),
    )


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
