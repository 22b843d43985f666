"""What a warm process remembers of catalogues has an end."""

from __future__ import annotations

from ordering.aws.dynamodb import Table
from ordering.training.catalogue import Catalogue, Recent
from support.aws.memory import Memory
from support.partners import AZ_300, ON_LINUX, STANDARD, UK


def test_feature_sets_are_remembered_up_to_ten_thousand() -> None:
    """A process that remembers 10,000 feature sets forgets them before it remembers another."""
    table, recent = Table(Memory(), "CatalogueTable"), Recent()
    catalogue = Catalogue(table, UK.id, recent)
    catalogue.publish([(AZ_300, [STANDARD])])
    recent.feature_sets.update({("old", str(number)): ON_LINUX for number in range(9_999)})
    catalogue.find_feature_sets([STANDARD.id])
    full = len(recent.feature_sets)
    catalogue.publish([(AZ_300, [STANDARD])])
    found = catalogue.find_feature_sets([STANDARD.id])

    assert (full, len(recent.feature_sets)) == (10_000, 1)
    assert found == {STANDARD.id: STANDARD}
