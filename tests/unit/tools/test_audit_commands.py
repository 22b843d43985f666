"""`ordering audit`: the changes of all tables by time, chosen by caller, subject and age."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Put
from ordering_tools import cli
from ordering_tools.audit import AuditEntry
from ordering_tools.installation import Installation
from ordering_tools.operations import audits, commands
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done

NOW = datetime.now(UTC)
ANN = "arn:aws:sts::123456789012:assumed-role/support/ann"

Run = Callable[..., Done]


@pytest.fixture
def installation() -> Installation:
    """An installation with changes in each table."""
    installation = Installation(Memory(), MemoryKms(), lambda: SigningKey("", "", {}), "", "")
    for action, subject, by, days, table in (
        ("partner disable", "partner northwind", ANN, 3, "accounts"),
        ("balance correct", "balance granite", "local/bob", 1, "orders"),
        ("catalogue import", "unit UK", ANN, 2, "catalogue"),
        ("partner enable", "partner northwind", ANN, 100, "accounts"),
    ):
        entry = AuditEntry(
            action, subject, by, NOW - timedelta(days=days), "ticket 17", {"n": 1}, {"n": 2}, id=f"{days:08}"
        )
        getattr(installation.with_entry(entry), table).put(Put({"pk": action, "sk": "-"}))
    return installation


@pytest.fixture
def run(installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering audit` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: installation)

    def command(*words: str) -> Done:
        return Done(cli.main(["audit", *words]), *capsys.readouterr())

    return command


def listed(run: Run, *words: str) -> list[str]:
    """The actions in the list."""
    found: list[dict[str, Any]] = json.loads(run("list", *words, "--json").output)
    return [one["action"] for one in found]


def test_all_tables_by_time(run: Run) -> None:
    """The changes of the last 30 days are listed by time, whichever table they are in, with short names of callers."""
    header, *lines = run("list").output.splitlines()

    assert header.split() == ["id", "at", "by", "change"]
    assert [line.split()[3:] for line in lines] == [
        ["support/ann", "partner", "disable", "northwind"],
        ["support/ann", "catalogue", "import", "UK"],
        ["local/bob", "balance", "correct", "granite"],
    ]


@pytest.mark.parametrize(
    ("words", "actions"),
    [
        (("--since", "36h"), ["balance correct"]),
        (("--since", "52w"), ["partner enable", "partner disable", "catalogue import", "balance correct"]),
        (("--by", "ANN"), ["partner disable", "catalogue import"]),
        (("--subject", "Northwind"), ["partner disable"]),
        (("--subject", "northwind", "--by", "bob"), []),
        (("--limit", "1"), ["balance correct"]),
    ],
)
def test_chosen(run: Run, words: tuple[str, ...], actions: list[str]) -> None:
    """Changes are chosen by age, by caller and by what was changed; a limit keeps the latest."""
    assert listed(run, *words) == actions


def test_more_than_the_limit(run: Run) -> None:
    """The list says that there are more; an empty one says that there are none."""
    assert run("list", "--limit", "1").output.splitlines()[0] == "the latest 1 of 3 changes; see --limit"
    assert run("list", "--by", "nobody").output == "no changes\n"


def test_a_change_of_several_tables(run: Run, installation: Installation) -> None:
    """A change that wrote to several tables is listed once."""
    entry = AuditEntry("partner add", "partner two", ANN, NOW - timedelta(minutes=1))
    for table in (installation.with_entry(entry).accounts, installation.with_entry(entry).orders):
        table.put(Put({"pk": "two", "sk": "-"}))

    assert listed(run, "--since", "1h") == ["partner add"]


def test_one_change(run: Run) -> None:
    """A change is shown whole, also an old one."""
    shown = json.loads(run("show", "00000100", "--json").output)

    assert (shown["by"], shown["reason"], shown["before"], shown["after"]) == (ANN, "ticket 17", {"n": 1}, {"n": 2})
    assert "after    n: 2" in run("show", "00000003").output
    assert "there is no change 'x'" in run("show", "x").error
    assert "there is no change '00000100'" in run("show", "00000100", "--since", "7d").error


@pytest.mark.parametrize("since", ["yesterday", "-1d", "99999999999d", "2999-01-01"])
def test_no_times(run: Run, since: str) -> None:
    """What is no time, or is in the future, is refused."""
    done = run("list", f"--since={since}")

    assert (done.code, since in done.errors, "Traceback" in done.errors) == (2, True, False)


def test_months() -> None:
    """The months between two moments are all listed, also over the turn of a year."""
    first, last = datetime(2025, 11, 30, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)

    assert [*audits._months(first, last)] == ["2025-11", "2025-12", "2026-01", "2026-02"]
