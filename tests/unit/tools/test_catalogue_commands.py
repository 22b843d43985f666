"""`ordering catalogue` and `ordering ecards`: files are checked whole, and versions appear whole or not at all."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ordering.ecards.catalogue import EcardCatalogue
from ordering.identity.accounts import Accounts
from ordering.principal import BusinessUnit
from ordering.training.catalogue import Catalogue
from ordering.values import replace
from ordering_tools import cli
from ordering_tools.audit import AuditEntry, entries
from ordering_tools.catalogue_files import ECARDS, TRAINING, CatalogueFile
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.signing import SigningKey
from support.aws.faults import Crash, Faulty, interrupted, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done
from support.ecards import CARDS
from support.partners import AZ_300, LINUX, ON_LINUX, PARTNER, STANDARD, UK

HEADER = (
    "productId,productCode,productName,courseIds,featureSetId,featureSetName,"
    "courseAccessPeriodDays,moduleSavePeriodDays,prices"
)
AZ = f"{AZ_300.id},AZ-300,{AZ_300.name},,{STANDARD.id},{STANDARD.name},180,1,GBP 48"
SQL = f"{LINUX.id},M10999A,{LINUX.name},c-1; c-2,{ON_LINUX.id},{ON_LINUX.name},180,1,GBP 48.0000"
CARDS_HEADER = "cardId,cardName,description,unit,faceValue,price"
GIFTS = '5,"Gifts, and more",,ruble,100 ₽,110.50'

UNIT = ("--unit", "northwind/UK")
COMPANY = ("--company", "granite")

Run = Callable[..., Done]
Write = Callable[..., str]


@pytest.fixture
def faulty() -> Faulty:
    """The connection of the commands, whose calls a test can refuse."""
    return Faulty(Memory())


@pytest.fixture
def installation(faulty: Faulty) -> Installation:
    """An installation with a partner of training and a company, without catalogues."""
    site = Installation(faulty, MemoryKms(), lambda: SigningKey("", "", {}), "", "")
    accounts = Accounts(site.accounts)
    twins = (BusinessUnit(f"3333333{n}-0000-4000-8000-000000000003", "Twin") for n in range(2))
    accounts.save_partner(replace(PARTNER, business_units=(*PARTNER.business_units, *twins)))
    accounts.save_partner(replace(PARTNER, id="granite", company="Granite"))
    return site


@pytest.fixture
def run(installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: installation)

    def command(*words: str) -> Done:
        code = cli.main([*words])
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of lines."""

    def file(*lines: str, header: str = HEADER, encoding: str = "utf-8") -> str:
        path = tmp_path / "offer"
        text = "".join(f"{line}\n" for line in (*([header] if header else []), *lines))
        path.write_text(text, encoding=encoding, errors="surrogateescape")
        return str(path)

    return file


def read(site: Installation) -> list[Any]:
    """The products of the unit's catalogue, each with its feature sets."""
    catalogue = Catalogue(site.catalogue, UK.id)
    return [(one, [*catalogue.feature_sets(one.id, 0, 9).items]) for one in catalogue.products(0, 9).items]


def noted(site: Installation) -> list[AuditEntry]:
    return [*entries(site.catalogue, f"{datetime.now(UTC):%Y-%m}")]


# Files


def test_csv(run: Run, write: Write, installation: Installation) -> None:
    """Products are imported in the order of their codes, with prices of four decimals."""
    done = run("catalogue", "import", write(SQL, AZ), *UNIT)

    assert (done.code, done.errors) == (0, "")
    assert "is current: 2 products" in done.output
    assert read(installation) == [(AZ_300, [STANDARD]), (LINUX, [ON_LINUX])]
    assert str(STANDARD.prices[0].value) == "48.0000"


def test_json_lines(run: Run, write: Write, installation: Installation) -> None:
    """JSON Lines say the same as CSV, and can have products without feature sets."""
    free = {"id": LINUX.id, "code": "M10999A", "name": LINUX.name, "courseIds": ["c-1", "c-2"]}
    offered = {"id": STANDARD.id, "name": STANDARD.name, "courseAccessPeriodDays": 180, "moduleSavePeriodDays": 1}
    whole: dict[str, Any] = {"id": AZ_300.id.upper(), "code": "AZ-300", "name": AZ_300.name}
    whole["featureSets"] = [{**offered, "prices": [{"currency": "GBP", "value": 48}]}]
    done = run("catalogue", "import", write("", json.dumps(free), json.dumps(whole), header=""), *UNIT)

    assert (done.code, done.errors) == (0, "")
    assert read(installation) == [(AZ_300, [STANDARD]), (LINUX, [])]


def test_several_feature_sets(run: Run, write: Write, installation: Installation) -> None:
    """The lines of a product need not follow each other; those of a spreadsheet end as in Windows."""
    second = AZ.replace(STANDARD.id, ON_LINUX.id).replace("Standard", "Another")
    done = run(
        "catalogue",
        "import",
        write("\ufeff" + HEADER + "\r", AZ + "\r", SQL.replace(ON_LINUX.id, UK.id) + "\r", second + "\r", header=""),
        *UNIT,
    )

    assert (done.code, done.errors) == (0, "")
    assert [[one.name for one in offered] for _, offered in read(installation)] == [
        ["Another - 180 days", "Standard - 180 days"],
        ["Standard - 180 days"],
    ]


def test_ecards(run: Run, write: Write, installation: Installation) -> None:
    """Cards keep the order of the file, and prices their decimals."""
    lines = [
        f"{card.id},{card.name},{card.description},{card.unit},{value.name},{value.price}"
        for card in CARDS
        for value in card.face_values
    ]
    done = run("ecards", "import", write(GIFTS, *lines, header=CARDS_HEADER), *COMPANY)

    assert (done.code, done.errors) == (0, "")
    gifts, *others = EcardCatalogue(installation.catalogue, "granite").ecards()
    assert (gifts.name, str(gifts.face_values[0].price)) == ("Gifts, and more", "110.50")
    assert tuple(others) == CARDS


FAULTS: list[tuple[list[str], list[str]]] = [
    ([AZ, "x"], ["line 3: has 1 columns and not 9"]),
    ([AZ.replace("AZ-300", "", 1)], ["line 2: productCode: 'code' is required."]),
    ([AZ.replace(AZ_300.id, "17")], ["line 2: productId: Must be a UUID"]),
    (
        [AZ.replace("180,1", "-1,x")],
        ["line 2: courseAccessPeriodDays: Must be", "line 2: moduleSavePeriodDays: Must be"],
    ),
    ([AZ.replace("GBP 48", "48 GBP")], ["line 2: prices: Must match", "line 2: prices: Must be a valid decimal"]),
    ([AZ.replace("GBP 48", "GBP 48.00001")], ["line 2: prices: Decimal input"]),
    ([AZ.replace("GBP 48", "GBP -1")], ["line 2: prices: Must be greater"]),
    ([AZ.replace("GBP 48", "GBP NaN")], ["line 2: prices: Must be a finite"]),
    ([AZ.replace("GBP 48", "GBP 1; GBP 2")], ["line 2: prices: Must have only one price per currency"]),
    ([AZ.replace("AZ-300,", "AZ\x07,", 1)], ["line 2: productCode: Must not contain control characters."]),
    ([AZ, SQL, AZ], [f"line 4: feature set {STANDARD.id} is on line 2 too"]),
    (
        [AZ, AZ.replace("AZ-300,", "AZ-301,", 1)],
        [f"line 3: product {AZ_300.id} differs from line 2", "is on line 2 too"],
    ),
    ([f"{LINUX.id},A,A,,,,,,"] * 2, [f"line 3: product {LINUX.id} is on line 2 too"]),
    ([AZ.replace(AZ_300.name, "x" * 10_000)], [f"line 2: {AZ_300.id} has more than 10,000 bytes"]),
    ([AZ, '"a"b'], ["line 3: is not CSV: ", "the rest was not read"]),
    ([AZ, SQL.replace("c-1", "\udcff")], ["line 3: is not in UTF-8; the rest was not read"]),
]


@pytest.mark.parametrize(("lines", "faults"), FAULTS)
def test_faults(run: Run, write: Write, installation: Installation, lines: list[str], faults: list[str]) -> None:
    """Each fault is named by its line, and nothing is written."""
    path = write(*lines)
    for command in (("check", path), ("import", path, *UNIT)):
        done = run("catalogue", *command)
        assert done.code == 1
        assert f"{path} has {len(done.output.splitlines())} fault" in done.errors
        assert all(fault in done.output for fault in faults)
    assert Catalogue(installation.catalogue, UK.id).versions() == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 1: is not JSON: "),
        ('{"id": 1}\n[]', "line 2: must be a JSON object"),
        (
            json.dumps({"id": AZ_300.id, "code": "A", "name": "A", "colour": 1}),
            "line 1: colour: Unknown field 'colour'.",
        ),
        (
            json.dumps({"id": AZ_300.id, "code": "A", "name": " ", "featureSets": [{"id": "x"}]}),
            "line 1: featureSets[0].id: Must be a UUID",
        ),
        (f"{{{' ' * 16 * 2**20}}}", "line 1: has more than 16,777,216 bytes; the rest was not read"),
    ],
)
def test_faults_of_json_lines(run: Run, write: Write, line: str, fault: str) -> None:
    """A fault of JSON Lines is named by its line and its place."""
    done = run("catalogue", "check", write(line, header=""))
    assert done.code == 1
    assert fault in done.output


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([GIFTS, GIFTS], "line 3: face value 5 100 ₽ is on line 2 too"),
        ([GIFTS.replace("110.50", "-1")], "line 2: card 5, '100 ₽': the price must be 0 to"),
        ([GIFTS.replace("ruble", "rouble")], "line 2: unit: Must be 'ruble' or 'month'"),
        ([GIFTS.replace(",,", f",{'x' * 400_000},")], "field larger than field limit"),
        ([f"{n},{n},{'x' * 100_000},month,1,1" for n in range(1, 6)], "the catalogue has 500,"),
    ],
)
def test_faults_of_cards(run: Run, write: Write, lines: list[str], fault: str) -> None:
    """Cards have their own rules, and their catalogue fits one item."""
    done = run("ecards", "import", write(*lines, header=CARDS_HEADER), *COMPANY)
    assert done.code == 1
    assert fault in done.output


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"{HEADER},prices", ["has a name twice"]),
        ("a;b", ["unknown: a, b", "without productId"]),
        (CARDS_HEADER, ["unknown: cardId"]),
        (HEADER, ["has no product"]),
        ("", ["without productId"]),
    ],
)
def test_not_a_catalogue(run: Run, write: Write, header: str, words: list[str]) -> None:
    """A file without the columns is refused, and so is an empty one."""
    done = run("catalogue", "check", write(header=header))
    assert done.code == 1
    assert all(word in done.output + done.errors for word in words)


def test_utf_16(run: Run, write: Write) -> None:
    """A file of another encoding is refused in its first line."""
    assert "line 1: is not in UTF-8" in run("catalogue", "check", write(AZ, encoding="utf-16")).output


def test_no_file(run: Run, tmp_path: Path) -> None:
    """A file that does not exist, or is a folder, is wrong usage."""
    for path in (tmp_path, tmp_path / "none"):
        assert run("catalogue", "check", str(path)).code == 2


def test_faults_for_programs(run: Run, write: Write) -> None:
    """With --json the faults are a list of objects, and the sentence goes to the standard error."""
    done = run("catalogue", "check", write(AZ, "x"), "--json")
    assert json.loads(done.output) == [{"line": 3, "fault": "has 1 columns and not 9"}]
    assert done.errors.endswith("has 1 fault; nothing was written\n")


@pytest.mark.parametrize("form", [TRAINING, ECARDS], ids=["training", "e-cards"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: Any) -> None:
    """Ten times as many lines take less than twice the memory."""

    def peak(lines: int) -> int:
        path = tmp_path / "offer"
        with path.open("w") as file:
            for n in range(lines):
                value = {"id": f"{n:08}-0000-4000-8000-000000000000", "code": "x" * 500, "name": "x"}
                card = {"id": n + 1, "name": "x", "unit": "month", "description": ""}
                file.write(json.dumps(value if form is TRAINING else card) + "\n")
        tracemalloc.start()
        with closing(CatalogueFile(form)) as found:
            found.read(path, lambda _: None)
            assert sum(1 for _ in found.documents()) == lines
            _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports and caches
    few, many = peak(500), peak(5_000)
    assert many < 2 * few, (few, many)


# Versions


def test_the_same_again(run: Run, write: Write, installation: Installation) -> None:
    """A file that has what is current changes nothing, in whatever order its lines are."""
    run("catalogue", "import", write(SQL, AZ), *UNIT)
    done = run("catalogue", "import", write(AZ, SQL), *UNIT)

    assert done.code == 0
    assert "nothing was changed" in done.output
    assert len(Catalogue(installation.catalogue, UK.id).versions()) == len(noted(installation)) == 1


def test_differences(run: Run, write: Write) -> None:
    """What would be removed, changed and added is shown, with what changes."""
    run("catalogue", "import", write(SQL, AZ), *UNIT)
    new = AZ.replace(AZ_300.id, UK.id).replace("AZ-300", "AZ-900", 1).replace(STANDARD.id, UK.id)
    dearer = SQL.replace("48.0000", "50").replace("c-2", "c-3")
    done = run("catalogue", "diff", write(new, dearer), *UNIT)

    assert done.code == 0
    assert done.output.splitlines() == [
        f"- AZ-300 {AZ_300.name}",
        f"~ M10999A {LINUX.name}",
        "    courseIds c-1; c-2 → c-1; c-3",
        "    Standard - 180 days: prices GBP 48.0000 → GBP 50.0000",
        f"+ AZ-900 {AZ_300.name}",
        "1 added, 1 removed, 1 changed",
    ]
    assert run("catalogue", "diff", write(SQL, AZ), *UNIT).output == "0 added, 0 removed, 0 changed\n"


def test_differences_for_programs(run: Run, write: Write) -> None:
    """With --json the differences are a list; a face value comes and one goes."""
    run("ecards", "import", write(GIFTS, header=CARDS_HEADER), *COMPANY)
    done = run("ecards", "diff", write(GIFTS.replace("100 ₽", "200 ₽"), header=CARDS_HEADER), *COMPANY, "--json")

    (change,) = json.loads(done.output)
    assert change == {"change": "changed", "id": 5, "name": "Gifts, and more", "details": ["- 100 ₽", "+ 200 ₽"]}
    assert done.errors == "0 added, 0 removed, 1 changed\n"


@pytest.mark.parametrize("group", ["catalogue", "ecards"])
def test_rollback(run: Run, write: Write, installation: Installation, group: str) -> None:
    """The version before is brought back as a new one, any other one by name, and both are listed and noted."""
    owner, header = (UNIT, HEADER) if group == "catalogue" else (COMPANY, CARDS_HEADER)
    lines = [AZ, SQL] if group == "catalogue" else [GIFTS, GIFTS.replace("5", "6", 1)]
    what = "products" if group == "catalogue" else "cards"

    def current() -> Any:
        return (
            read(installation) if group == "catalogue" else EcardCatalogue(installation.catalogue, "granite").ecards()
        )

    seen = []
    for some in (lines[:1], lines, lines[1:]):
        assert run(group, "import", write(*some, header=header), *owner, "--reason", "t1").code == 0
        seen.append(current())
    assert run(group, "rollback", *owner, "--reason", "t2").code == 0
    assert current() == seen[1]
    listed = json.loads(run(group, "versions", *owner, "--json").output)
    assert [one[what] for one in listed] == [2, 1, 2, 1]
    assert [one["until"] == "current" for one in listed] == [True, False, False, False]
    assert run(group, "rollback", *owner, "--to", listed[3]["version"]).code == 0
    assert current() == seen[0]
    first, *_, fourth, _ = noted(installation)
    assert (first.action, first.subject, first.reason) == (f"{group} import", f"{group} {owner[1]}", "t1")
    assert (fourth.action, fourth.reason, fourth.before) == (
        f"{group} rollback",
        "t2",
        {"version": listed[1]["version"], what: 1},
    )
    assert fourth.after[what] == 2


def test_nothing_to_roll_back_to(run: Run, write: Write) -> None:
    """Without a replaced version, or with another name than those, nothing is changed."""
    assert "no version was replaced" in run("catalogue", "rollback", *UNIT).error
    assert run("catalogue", "versions", *UNIT).output == "no version yet\n"
    for line in (AZ, SQL):
        run("catalogue", "import", write(line), *UNIT)
    assert "no replaced version is 'x'; there are: " in run("catalogue", "rollback", *UNIT, "--to", "x").error


@pytest.mark.parametrize("operation", ["BatchWriteItem", "TransactWriteItems"])
def test_killed_before_it_is_current(
    run: Run, write: Write, installation: Installation, faulty: Faulty, operation: str
) -> None:
    """Until the last write readers have the version before, nothing is noted, and the import can be run again."""
    run("catalogue", "import", write(AZ), *UNIT)
    faulty.meet(operation, refused(Crash()))
    with pytest.raises(Crash):
        run("catalogue", "import", write(SQL), *UNIT)
    assert read(installation) == [(AZ_300, [STANDARD])]
    assert len(noted(installation)) == 1
    assert run("catalogue", "import", write(SQL), *UNIT).code == 0
    assert read(installation) == [(LINUX, [ON_LINUX])]
    assert endless(installation) == 1


def test_killed_after_it_is_current(run: Run, write: Write, installation: Installation, faulty: Faulty) -> None:
    """An import that is run again sets the end of the version that it replaced."""
    run("catalogue", "import", write(AZ), *UNIT)
    faulty.meet("BatchWriteItem", refused(Crash()), after=1)
    with pytest.raises(Crash):
        run("catalogue", "import", write(SQL), *UNIT)
    assert endless(installation) == 2
    assert "nothing was changed" in run("catalogue", "import", write(SQL), *UNIT).output
    assert endless(installation) == 1


def endless(site: Installation) -> int:
    """How many versions have items without an end."""
    return len({item["pk"].split("#")[1] for item in site.catalogue.scan("CATALOGUE#") if "expires" not in item})


def test_two_imports(run: Run, write: Write, installation: Installation, faulty: Faulty) -> None:
    """An import is refused if another one was published since it looked at what is current."""
    other = write(SQL)
    Path(other).rename(f"{other}-2")
    faulty.meet("UpdateItem", interrupted(lambda: Catalogue(installation.catalogue, UK.id).publish([(LINUX, [])])))
    assert "published by another operator meanwhile" in run("catalogue", "import", write(AZ), *UNIT).error
    assert read(installation) == [(LINUX, [])]


# Owners


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("catalogue", "versions", "--unit", "nobody/UK"), "there is no partner 'nobody'; see `ordering partner list`"),
        (("catalogue", "versions", "--unit", "northwind/Nowhere"), "has no business unit 'Nowhere'; name one of: UK, "),
        (
            ("catalogue", "versions", "--unit", "northwind/Twin"),
            "more than one business unit 'Twin'; name one of: 3333",
        ),
        (("catalogue", "versions", "--unit", "UK"), "write PARTNER/UNIT"),
        (("catalogue", "versions", "--unit", AZ_300.id), "write PARTNER/UNIT"),
        (("ecards", "versions", "--company", "nobody"), "there is no partner 'nobody'"),
        (("ecards", "rollback", "--company", "northwind"), "northwind orders no e-cards"),
    ],
)
def test_unknown_owners(run: Run, command: tuple[str, ...], words: str) -> None:
    """A partner, unit or company that does not exist is refused, with what to write instead."""
    assert words in run(*command).error


@pytest.mark.parametrize("unit", [f"northwind/{UK.id.upper()}", UK.id, "northwind/UK"])
def test_names_of_units(run: Run, write: Write, unit: str) -> None:
    """A unit is named by its partner and its name or id; by its id alone once it has a catalogue."""
    run("catalogue", "import", write(AZ), *UNIT)
    assert "current" in run("catalogue", "versions", "--unit", unit).output
