"""The bound of the feature set cache."""

from __future__ import annotations

from ordering.aws.dynamodb import Table
from ordering.training.catalogue import Catalogue, CatalogueCache
from support.aws.memory import Memory
from support.partners import AZ_300, ON_LINUX, STANDARD, UK


def test_feature_sets_are_remembered_up_to_ten_thousand() -> None:
    """A cache of 10,000 feature sets evicts the oldest for a new one."""
    table, cache = Table(Memory(), "CatalogueTable"), CatalogueCache()
    catalogue = Catalogue(table, UK.id, cache)
    catalogue.publish([(AZ_300, [STANDARD])])
    for number in range(9_999):
        cache.feature_sets.put(("old", str(number)), ON_LINUX)
    catalogue.find_feature_sets([STANDARD.id])
    full = len(cache.feature_sets)
    catalogue.publish([(AZ_300, [STANDARD])])
    found = catalogue.find_feature_sets([STANDARD.id])

    assert (full, len(cache.feature_sets)) == (10_000, 10_000)
    assert found == {STANDARD.id: STANDARD}
