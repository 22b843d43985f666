"""The catalogue of what a company can order, on a table in memory."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

import pytest

from ordering.aws.dynamodb import Put, Table, Update
from ordering.ecards.catalogue import (
    FRESH_FOR,
    Ecard,
    EcardCache,
    EcardCatalogue,
    FaceValue,
    NotOnOffer,
    PricedLine,
    RequestedCard,
)
from ordering.errors import Conflict
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.faults import Faulty, answer_lost, interrupted
from support.aws.memory import Memory

BOOKS = Ecard(
    1, "Books", "All of them", "ruble", (FaceValue("100 ₽", Decimal("110.50")), FaceValue("500 ₽", Decimal(500)))
)
FILMS = Ecard(2, "Films", "", "month", (FaceValue("3", Decimal("0.10")),))


class Seconds:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table() -> Table:
    return Table(Memory(), "CatalogueTable", first_pause=0.0)


@pytest.fixture
def catalogue(table: Table) -> EcardCatalogue:
    return EcardCatalogue(table, "acme")


def priced(price: str) -> Ecard:
    return replace(FILMS, face_values=(FaceValue("3", Decimal(price)),))


def test_no_catalogue(catalogue: EcardCatalogue) -> None:
    """A company without a catalogue can order nothing."""
    assert catalogue.ecards() == ()


def test_published_cards_are_read(catalogue: EcardCatalogue) -> None:
    """Published cards are read in their order, with the decimals of their prices."""
    catalogue.publish([FILMS, BOOKS])

    assert catalogue.ecards() == (FILMS, BOOKS)
    assert str(catalogue.ecards()[1].face_values[0].price) == "110.50"


def test_publishing_replaces_everything(catalogue: EcardCatalogue) -> None:
    """A publication replaces the whole catalogue."""
    catalogue.publish([BOOKS])
    catalogue.publish([FILMS])

    assert catalogue.ecards() == (FILMS,)


def test_companies_have_their_own(table: Table, catalogue: EcardCatalogue) -> None:
    """One company's catalogue is not offered to another."""
    catalogue.publish([BOOKS])

    assert EcardCatalogue(table, "other").ecards() == ()


def test_prices(catalogue: EcardCatalogue) -> None:
    """Priced lines are in the order of the request, with each card's name and price; a card may appear twice."""
    catalogue.publish([BOOKS, FILMS])
    requested = [RequestedCard(2, "3", 7), RequestedCard(1, "100 ₽", 1), RequestedCard(2, "3", 1)]

    assert catalogue.price(requested) == (
        PricedLine(2, "3", 7, "Films", Decimal("0.10")),
        PricedLine(1, "100 ₽", 1, "Books", Decimal("110.50")),
        PricedLine(2, "3", 1, "Films", Decimal("0.10")),
    )


def test_cards_that_are_not_offered(catalogue: EcardCatalogue) -> None:
    """Every requested card that is not offered is reported by index, with whether its card or face value is unknown."""
    catalogue.publish([BOOKS, FILMS])

    with pytest.raises(NotOnOffer) as raised:
        catalogue.price(
            [
                RequestedCard(3, "3", 1),
                RequestedCard(1, "500 ₽", 1),
                RequestedCard(1, "3", 1),
                RequestedCard(2, "100 ₽", 1),
            ]
        )
    assert raised.value.missing == ((0, "card"), (2, "face value"), (3, "face value"))


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ([BOOKS, replace(FILMS, id=1)], "card 1 is repeated"),
        ([replace(FILMS, face_values=FILMS.face_values * 2)], "face value 3 is repeated"),
        ([replace(FILMS, id=0)], "the id must be 1 to"),
        ([replace(FILMS, id=2**31)], "the id must be 1 to"),
        ([replace(FILMS, name="")], "the name 1 to 250 characters"),
        ([replace(FILMS, name="x" * 251)], "the name 1 to 250 characters"),
        ([replace(FILMS, face_values=(FaceValue("x" * 251, Decimal(1)),))], "the name must have 1 to 250 characters"),
        ([replace(FILMS, face_values=(FaceValue("", Decimal(1)),))], "the name must have 1 to 250 characters"),
        ([priced("0.001")], "the price must be 0 to 10,000,000 with at most two decimals"),
        ([priced("-0.01")], "the price must be 0 to 10,000,000 with at most two decimals"),
        ([priced("10000000.01")], "the price must be 0 to 10,000,000 with at most two decimals"),
        ([priced("NaN")], "the price must be 0 to 10,000,000 with at most two decimals"),
        ([replace(FILMS, description="₽" * 140_000)], "bytes"),
    ],
)
def test_invalid_catalogues(catalogue: EcardCatalogue, cards: list[Ecard], reason: str) -> None:
    """An invalid catalogue is refused with a reason, and the old one stays."""
    catalogue.publish([BOOKS])

    with pytest.raises(ValueError, match=reason):
        catalogue.publish(cards)
    assert catalogue.ecards() == (BOOKS,)


def test_a_catalogue_that_just_fits(catalogue: EcardCatalogue) -> None:
    """The largest catalogue that fits one item is published."""
    catalogue.publish([replace(FILMS, description="x" * (398 * 1024))])

    assert len(catalogue.ecards()[0].description) == 398 * 1024


def test_versions(catalogue: EcardCatalogue) -> None:
    """The current version comes first, then those that can be published again, the latest first."""
    assert catalogue.versions() == []
    names = [catalogue.publish(cards) for cards in ([BOOKS], [BOOKS, FILMS], [FILMS])]
    current, *replaced = catalogue.versions()

    assert [one.name for one in (current, *replaced)] == names[::-1]
    assert [one.cards for one in (current, *replaced)] == [(FILMS,), (BOOKS, FILMS), (BOOKS,)]
    assert current.until is None
    assert all(one.published and one.until and one.until - one.published > timedelta(days=29) for one in replaced)


def test_a_version_that_cannot_be_published_again(table: Table, catalogue: EcardCatalogue) -> None:
    """Thirty days after it was replaced a version is not listed, also before its item is removed."""
    catalogue.publish([BOOKS])
    catalogue.publish([FILMS])
    (record,) = table.query("REPLACED_ECARDS#acme", " ", "~")
    table.put(Put({**record, "expires": int(time.time())}))

    assert [one.cards for one in catalogue.versions()] == [(FILMS,)]


def test_a_version_of_an_earlier_release(table: Table, catalogue: EcardCatalogue) -> None:
    """A catalogue without version and time is replaced, and then has a name."""
    catalogue.publish([BOOKS])
    names = {"#at": "at"}
    table.update(Update(("ECARDS#acme", "-"), "REMOVE #at, version", names=names))
    assert catalogue.versions()[0].name == ""
    catalogue.publish([FILMS])
    _, old = catalogue.versions()

    assert (old.cards, old.published, len(old.name)) == ((BOOKS,), None, 16)


def test_two_publications_at_once(table: Table, catalogue: EcardCatalogue) -> None:
    """A publication is refused if another one came since it read what it replaces."""
    catalogue.publish([BOOKS])
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", interrupted(lambda: catalogue.publish([FILMS])))
    with pytest.raises(Conflict, match="meanwhile"):
        EcardCatalogue(Table(faulty, "CatalogueTable"), "acme").publish([BOOKS, FILMS])

    assert catalogue.ecards() == (FILMS,)
    assert [one.cards for one in catalogue.versions()] == [(FILMS,), (BOOKS,)]


def test_a_publication_whose_answer_is_lost(table: Table, catalogue: EcardCatalogue) -> None:
    """A publication that took effect without a response is done once."""
    faulty = Faulty(table.send)
    faulty.meet("TransactWriteItems", answer_lost)
    name = EcardCatalogue(Table(faulty, "CatalogueTable", first_pause=0.0), "acme").publish([FILMS])

    assert [one.name for one in catalogue.versions()] == [name]


def test_catalogues_are_remembered_for_a_moment(table: Table) -> None:
    """A warm process reuses a catalogue for two seconds, then reads it again."""
    seconds, recorder = Seconds(), Recorder(table.send)
    writer = EcardCatalogue(table, "acme")
    writer.publish([BOOKS])
    reader = EcardCatalogue(Table(recorder, "CatalogueTable"), "acme", EcardCache(FRESH_FOR, seconds=seconds))

    assert (reader.ecards(), len(recorder.calls)) == ((BOOKS,), 1)
    writer.publish([FILMS])
    seconds.now += FRESH_FOR - 0.01
    assert (reader.ecards(), len(recorder.calls)) == ((BOOKS,), 1)
    seconds.now += 0.02
    assert (reader.ecards(), len(recorder.calls)) == ((FILMS,), 2)


def test_publishing_is_seen_at_once_by_its_own_process(table: Table) -> None:
    """The process that publishes reads its new catalogue at once."""
    cache = EcardCache(FRESH_FOR, seconds=Seconds())
    catalogue, other = (EcardCatalogue(table, company, cache) for company in ("acme", "other"))
    catalogue.publish([BOOKS])
    assert (catalogue.ecards(), other.ecards()) == ((BOOKS,), ())
    catalogue.publish([FILMS])

    assert (catalogue.ecards(), other.ecards()) == ((FILMS,), ())
