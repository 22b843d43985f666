"""The catalogue of a business unit: published at once, read by pages, and separate from other units."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Put, Table, Update
from ordering.book.listing import Listing
from ordering.errors import Conflict, NotFound
from ordering.money import Money, parse_amount
from ordering.training import catalogue as catalogues
from ordering.training.catalogue import (
    FRESH_FOR,
    REPLACED_KEPT,
    Catalogue,
    CatalogueCache,
    TrainingFeatureSet,
    TrainingProduct,
)
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Crash, Faulty, answer_lost, interrupted, refused
from support.aws.memory import Memory
from support.partners import AZ_300, FOREIGN, LINUX, ON_LINUX, STANDARD, UK, feature_set
from support.services import Services

OLD = [(AZ_300, [STANDARD])]
NEW = [(LINUX, [ON_LINUX])]


@dataclass
class Now:
    """Seconds, moved by a test."""

    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def table(services: Services) -> Table:
    """The catalogue table."""
    return Table(services.send, "CatalogueTable")


@pytest.fixture
def catalogue(table: Table) -> Catalogue:
    """The UK's catalogue, without a cache."""
    return Catalogue(table, UK.id)


def products(count: int) -> list[TrainingProduct]:
    return [
        TrainingProduct(f"{number:08x}-0000-4000-8000-000000000000", f"P-{number:03}", "x") for number in range(count)
    ]


def test_nothing_published(catalogue: Catalogue) -> None:
    """A unit without a catalogue offers nothing."""
    assert Listing((), 0) == replace(catalogue.products(0, 10), items=tuple(catalogue.products(0, 10).items))
    assert catalogue.find_feature_sets([STANDARD.id]) == {}
    with pytest.raises(NotFound):
        catalogue.product(AZ_300.id)
    with pytest.raises(NotFound):
        catalogue.feature_sets(AZ_300.id, 0, 10)
    with pytest.raises(NotFound):
        catalogue.feature_set(AZ_300.id, STANDARD.id)


def test_published_products_are_read(catalogue: Catalogue) -> None:
    """Products and feature sets are read as published, with the decimals of their prices."""
    offered = replace(STANDARD, prices=(Money("GBP", parse_amount("48.0000")), Money("EUR", parse_amount("0.10"))))
    catalogue.publish([(LINUX, [ON_LINUX]), (AZ_300, [offered])])

    assert [*catalogue.products(0, 10).items] == [AZ_300, LINUX]
    assert (catalogue.product(AZ_300.id), catalogue.product(LINUX.id)) == (AZ_300, LINUX)
    assert Listing([offered], 1) == catalogue.feature_sets(AZ_300.id, 0, 10)
    assert offered == catalogue.feature_set(AZ_300.id, offered.id)
    assert [str(price.value) for price in catalogue.feature_set(AZ_300.id, offered.id).prices] == ["48.0000", "0.10"]
    assert {offered.id: offered, ON_LINUX.id: ON_LINUX} == catalogue.find_feature_sets([offered.id, ON_LINUX.id, "x"])


def test_publishing_replaces_everything(catalogue: Catalogue) -> None:
    """A publication replaces the whole catalogue."""
    first = catalogue.publish(OLD)
    second = catalogue.publish(NEW)

    assert first != second
    assert Listing([LINUX], 1) == catalogue.products(0, 10)
    assert {ON_LINUX.id: ON_LINUX} == catalogue.find_feature_sets([STANDARD.id, ON_LINUX.id])
    with pytest.raises(NotFound):
        catalogue.product(AZ_300.id)


@pytest.mark.parametrize("survived", range(5), ids=lambda count: f"after {count} writes")
def test_crash_while_publishing_leaves_the_old(table: Table, catalogue: Catalogue, survived: int) -> None:
    """A publication that crashes before it writes its pointer changes nothing for readers."""
    catalogue.publish([(product, [feature_set(product, 900 + rank)]) for rank, product in enumerate(products(3))])
    before = readings(catalogue)
    left = survived

    def crash_later(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        if operation == "TransactWriteItems" or left == 0:
            raise Crash
        left -= 1
        return table.send(operation, request)

    many = [(product, [feature_set(product, rank)]) for rank, product in enumerate(products(40))]
    with pytest.raises(Crash):
        Catalogue(replace(table, send=crash_later), UK.id).publish(many)

    assert before == readings(catalogue)


def readings(catalogue: Catalogue) -> tuple[object, ...]:
    listing = catalogue.products(0, 100)
    offered = [catalogue.feature_sets(product.id, 0, 100) for product in listing.items]
    return listing, offered, catalogue.find_feature_sets(f"{n:08x}-43b3-4969-a8a0-48e4915e6df0" for n in range(910))


def test_pointer_is_written_last(services: Services) -> None:
    """The pointer to a publication is written after all its items."""
    recorder = Recorder(services.send)
    Catalogue(Table(recorder, "CatalogueTable"), UK.id).publish(OLD)

    assert recorder.operations == ["GetItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems", "UpdateItem"]
    (pointer,) = recorder.calls[-2][1]["TransactItems"]
    assert f"UNIT#{UK.id}" == pointer["Put"]["Item"]["pk"]["S"]


# Replaced versions


def versions(table: Table) -> dict[str, bool]:
    """The versions that have items, and whether all of them expire."""
    found: dict[str, bool] = {}
    for item in table.scan("CATALOGUE#"):
        name = "#".join(item["pk"].split("#")[:2])
        found[name] = found.get(name, True) and "expires" in item
    return found


def pointer(table: Table) -> dict[str, Any]:
    return table.get((f"UNIT#{UK.id}", "CATALOGUE")) or {}


def test_a_replaced_version_expires(table: Table, catalogue: Catalogue) -> None:
    """All items of a version expire a day after it can be published again no more, and until then it can be read."""
    first = catalogue.publish([*OLD, (LINUX, [ON_LINUX])])
    slow = Catalogue(table, UK.id, CatalogueCache())
    before = readings(slow)
    second = catalogue.publish(NEW)

    assert versions(table) == {first: True, second: False}
    assert readings(slow) == before
    item = table.get((f"{first}#FEATURE_SET#{STANDARD.id}", "FEATURE_SET")) or {}
    left = item["expires"] - time.time() - 24 * 60 * 60
    assert REPLACED_KEPT.total_seconds() - 60 < left <= REPLACED_KEPT.total_seconds()
    assert pointer(table).keys() == {"pk", "sk", "version", "products", "at"}


@pytest.mark.parametrize("after", range(19))
def test_no_version_stays_after_a_crash(after: int) -> None:
    """Wherever an import crashes, the next one leaves only its own version without an end."""
    memory = Memory()
    table = Table(memory, "CatalogueTable")
    catalogue = Catalogue(table, UK.id)
    many = [(product, [feature_set(product, rank)]) for rank, product in enumerate(products(60))]
    catalogue.publish(many)
    faulty = Faulty(memory)
    faulty.meet(None, refused(Crash()), after=after)
    with pytest.raises(Crash):
        Catalogue(Table(faulty, "CatalogueTable"), UK.id).publish(many[:13])
    newest = catalogue.publish(NEW)

    assert {name for name, ends in versions(table).items() if not ends} == {newest}
    assert [*catalogue.products(0, 9).items] == [LINUX]


def test_two_imports_at_once(services: Services, table: Table, catalogue: Catalogue) -> None:
    """Of two imports at once the one that began last is published; the other is refused, and its version expires."""
    names: list[str] = []
    faulty = Faulty(services.send)
    faulty.meet("BatchWriteItem", interrupted(lambda: names.append(catalogue.publish(NEW))))
    with pytest.raises(Conflict, match="Another import"):
        Catalogue(Table(faulty, "CatalogueTable"), UK.id).publish(OLD)

    assert pointer(table)["version"] == names[0]
    assert {name for name, ends in versions(table).items() if not ends} == {*names}


@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_an_import_whose_answer_is_lost(services: Services, table: Table, catalogue: Catalogue, operation: str) -> None:
    """An import whose write of the pointer took effect without a response is published once."""
    catalogue.publish(OLD)
    faulty = Faulty(services.send)
    faulty.meet(operation, answer_lost)
    name = Catalogue(Table(faulty, "CatalogueTable", first_pause=0.0), UK.id).publish(NEW)

    assert pointer(table).keys() == {"pk", "sk", "version", "products", "at"}
    assert {one for one, ends in versions(table).items() if not ends} == {name}


def test_versions(catalogue: Catalogue) -> None:
    """The current version comes first, then those that can be published again, the latest first."""
    assert catalogue.versions() == []
    names = [catalogue.publish(OLD), catalogue.publish([*OLD, *NEW]), catalogue.publish(NEW)]
    current, *replaced = catalogue.versions()

    assert [one.name for one in (current, *replaced)] == names[::-1]
    assert [one.products for one in (current, *replaced)] == [1, 2, 1]
    assert current.until is None
    assert all(one.published and one.until and one.until - one.published > timedelta(days=29) for one in replaced)
    assert [*catalogue.contents(replaced[0])] == [(AZ_300, [STANDARD]), (LINUX, [ON_LINUX])]


def test_a_version_is_read_in_parts(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version is read in pages, and its feature sets in parts of those, so that it may be larger than the memory."""
    monkeypatch.setattr(catalogues, "_LISTED_AT_ONCE", 200)
    recorder = Recorder(services.send)
    catalogue = Catalogue(Table(recorder, "CatalogueTable"), UK.id)
    everything = [(product, [feature_set(product, rank)]) for rank, product in enumerate(products(230))]
    catalogue.publish(everything)
    (current,) = catalogue.versions()
    recorder.calls.clear()
    contents = catalogue.contents(current)

    assert next(contents) == everything[0]
    assert recorder.operations == ["Query", "BatchGetItem"]
    assert [*contents] == everything[1:]
    assert recorder.operations == ["Query", "BatchGetItem", "BatchGetItem", "Query", "BatchGetItem"]


def test_a_version_that_cannot_be_published_again(table: Table, catalogue: Catalogue) -> None:
    """Thirty days after it was replaced a version is not listed, and once items of it are gone it is not read."""
    catalogue.publish([*OLD, *NEW])
    catalogue.publish(NEW)
    _, old = catalogue.versions()
    table.delete_all([(f"{old.name}#PRODUCT#{AZ_300.id}", "000001")])
    with pytest.raises(Conflict, match="not complete"):
        [*catalogue.contents(old)]
    (record,) = table.query(f"UNIT#{UK.id}", "REPLACED#", "REPLACED#~")
    table.put(Put({**record, "expires": int(time.time())}))

    assert [one.products for one in catalogue.versions()] == [1]


def test_a_version_of_an_earlier_release(table: Table, catalogue: Catalogue) -> None:
    """A version whose pointer has no time of publication is replaced, listed and read like the others."""
    catalogue.publish(OLD)
    table.update(Update((f"UNIT#{UK.id}", "CATALOGUE"), "REMOVE #at", names={"#at": "at"}))
    catalogue.publish(NEW)
    _, old = catalogue.versions()

    assert old.published is None
    assert [*catalogue.contents(old)] == [(AZ_300, [STANDARD])]


# Reading


def test_order(catalogue: Catalogue) -> None:
    """Products are ordered by code, then name; feature sets by name."""
    shuffled = [
        replace(product, code=code, name=name)
        for product, (code, name) in zip(
            products(5), [("B", "y"), ("A", "y"), ("B", "x"), ("a", "x"), ("A", "x")], strict=True
        )
    ]
    offered = [feature_set(AZ_300, number, name) for number, name in enumerate("cab")]
    catalogue.publish([*[(product, []) for product in shuffled], (replace(AZ_300, code="Z"), offered)])

    assert [("A", "x"), ("A", "y"), ("B", "x"), ("B", "y"), ("Z", AZ_300.name), ("a", "x")] == [
        (product.code, product.name) for product in catalogue.products(0, 10).items
    ]
    assert [one.name for one in catalogue.feature_sets(AZ_300.id, 0, 10).items] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [
        (0, 10, range(10)),
        (10, 10, range(10, 20)),
        (20, 10, range(20, 23)),
        (22, 1, [22]),
        (23, 10, []),
        (10**9, 5, []),
        (0, 500, range(23)),
        (0, 0, []),
    ],
)
def test_pages(catalogue: Catalogue, first: int, count: int, expected: Any) -> None:
    """Any part of a list can be read, with the total."""
    everything = products(23)
    offered = [feature_set(everything[0], number, f"{number:02}") for number in range(23)]
    catalogue.publish([(everything[0], offered), *[(product, []) for product in everything[1:]]])

    page, sets = catalogue.products(first, count), catalogue.feature_sets(everything[0].id, first, count)

    assert ([everything[rank] for rank in expected], 23) == ([*page.items], page.total)
    assert ([offered[rank] for rank in expected], 23) == ([*sets.items], sets.total)


def test_any_page_costs_the_same(services: Services) -> None:
    """The last page takes as many calls as the first."""
    recorder = Recorder(services.send)
    catalogue = Catalogue(Table(recorder, "CatalogueTable"), UK.id)
    catalogue.publish([(product, []) for product in products(23)])

    for first in (0, 20):
        recorder.calls.clear()
        catalogue.products(first, 3)
        assert recorder.operations == ["GetItem", "Query"]


def test_units_are_separate(table: Table, catalogue: Catalogue) -> None:
    """Products and feature sets of another unit are not found, by any read."""
    catalogue.publish(OLD)
    other = Catalogue(table, FOREIGN.id)
    other.publish(NEW)

    assert Listing([AZ_300], 1) == catalogue.products(0, 10)
    assert catalogue.find_feature_sets([ON_LINUX.id]) == {}
    for ask in (
        lambda: catalogue.product(LINUX.id),
        lambda: catalogue.feature_sets(LINUX.id, 0, 10),
        lambda: catalogue.feature_set(LINUX.id, ON_LINUX.id),
        lambda: catalogue.feature_set(AZ_300.id, ON_LINUX.id),
        lambda: other.feature_set(LINUX.id, STANDARD.id),
    ):
        with pytest.raises(NotFound):
            ask()


def test_not_found_names_the_kind(catalogue: Catalogue) -> None:
    """NotFound names the product if the product is unknown, and otherwise the feature set."""
    catalogue.publish([*OLD, *NEW])

    for product, expected in (("nope", "product"), (AZ_300.id, "feature set")):
        with pytest.raises(NotFound) as raised:
            catalogue.feature_set(product, ON_LINUX.id)
        assert expected == raised.value.kind


def test_versions_are_remembered_for_a_moment(services: Services) -> None:
    """A warm process reuses a version for two seconds, then reads it again."""
    now, recorder = Now(), Recorder(services.send)
    writer = Catalogue(Table(services.send, "CatalogueTable"), UK.id)
    writer.publish(OLD)
    reader = Catalogue(Table(recorder, "CatalogueTable"), UK.id, CatalogueCache(seconds=now))

    def codes() -> list[str]:
        recorder.calls.clear()
        return [product.code for product in reader.products(0, 10).items]

    assert (codes(), recorder.operations) == (["AZ-300"], ["GetItem", "Query"])
    writer.publish(NEW)
    now.seconds += FRESH_FOR - 0.01
    assert (codes(), recorder.operations) == (["AZ-300"], ["Query"])
    now.seconds += 0.02
    assert (codes(), recorder.operations) == (["M10999A"], ["GetItem", "Query"])


def test_publishing_is_seen_at_once_by_its_own_process(table: Table) -> None:
    """The process that publishes reads the new version at once."""
    catalogue = Catalogue(table, UK.id, CatalogueCache(seconds=Now()))
    catalogue.publish(OLD)
    catalogue.products(0, 10)
    catalogue.publish(NEW)

    assert Listing([LINUX], 1) == catalogue.products(0, 10)


def test_a_unit_s_version_is_not_another_s(table: Table) -> None:
    """The cache of one unit is not used for another."""
    cache = CatalogueCache(seconds=Now())
    uk, foreign = Catalogue(table, UK.id, cache), Catalogue(table, FOREIGN.id, cache)
    uk.publish(OLD)
    foreign.publish(NEW)

    assert {STANDARD.id: STANDARD} == uk.find_feature_sets([STANDARD.id, ON_LINUX.id])
    assert {ON_LINUX.id: ON_LINUX} == foreign.find_feature_sets([STANDARD.id, ON_LINUX.id])


def test_feature_sets_of_a_version_are_remembered(services: Services) -> None:
    """A feature set is read once per version and not reused for another version."""
    now, recorder = Now(), Recorder(services.send)
    writer = Catalogue(Table(services.send, "CatalogueTable"), UK.id)
    writer.publish(OLD)
    reader = Catalogue(Table(recorder, "CatalogueTable"), UK.id, CatalogueCache(seconds=now))
    dearer = replace(STANDARD, prices=(Money("GBP", parse_amount("50.0000")),))

    assert reader.find_feature_sets([STANDARD.id])[STANDARD.id] == STANDARD
    recorder.calls.clear()
    assert reader.find_feature_sets([STANDARD.id])[STANDARD.id] == STANDARD
    assert recorder.calls == []

    writer.publish([(AZ_300, [dearer])])
    now.seconds += FRESH_FOR
    assert dearer == reader.find_feature_sets([STANDARD.id])[STANDARD.id]
    writer.publish(NEW)
    now.seconds += FRESH_FOR
    assert reader.find_feature_sets([STANDARD.id]) == {}


def test_memory_is_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of feature sets is bounded, and evicted ones are read again."""
    monkeypatch.setattr("ordering.training.catalogue._REMEMBERED", 4)
    cache = CatalogueCache(seconds=Now())
    catalogue = Catalogue(table, UK.id, cache)
    offered: list[TrainingFeatureSet] = [feature_set(AZ_300, number) for number in range(6)]
    catalogue.publish([(AZ_300, offered)])

    for some in (offered[:3], offered[2:5], offered[3:]):
        assert {one.id: one for one in some} == catalogue.find_feature_sets([one.id for one in some])
        assert len(cache.feature_sets) <= 4
