"""What all commands have in common: the installation, questions before changes, output, exit codes."""

from __future__ import annotations

import io
import json
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordering.aws.dynamodb import Put, ServiceFault
from ordering.errors import Unavailable
from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.console import Output, shown
from ordering_tools.installation import Installation, NotDone
from ordering_tools.operations import commands
from ordering_tools.operations.commands import Run, pass_run, with_required_reason
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory

WHEN = datetime(2026, 11, 29, 8, 15, tzinfo=UTC)


class Terminal(io.StringIO):
    """A terminal with an answer to each question."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def deployed() -> Installation:
    """A stack in AWS."""
    return Installation(
        Memory(),
        MemoryKms(),
        lambda: SigningKey("", "", {}),
        "",
        "",
        caller="arn:aws:sts::123456789012:assumed-role/support/ann",
        account="123456789012",
        region="eu-west-1",
    )


@pytest.fixture
def command(deployed: Installation, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds `ordering change`, which changes a stack in AWS."""
    monkeypatch.setattr(commands, "open_stack", lambda *_: deployed)
    monkeypatch.setattr(cli.root, "commands", dict(cli.root.commands))

    @cli.root.command()
    @click.option("--final", is_flag=True)
    @with_required_reason
    @pass_run
    def change(run: Run, reason: str, *, final: bool) -> None:
        asks = "it cannot be undone" if final else ""
        with run.change("thing 1", reason, before={"n": 1}, after={"n": 2}, asks=asks) as site:
            site.accounts.put(Put({"pk": "thing", "sk": "-", "n": 2}))
        run.output.line("changed")

    return change


CHANGE = ("change", "--reason", "ticket 17", "--stack", "production")


@pytest.mark.usefixtures("command")
def test_a_change_is_noted(deployed: Installation) -> None:
    """The entry has who, what, why, and what was before."""
    assert cli.main([*CHANGE, "--yes"]) == 0
    (entry,) = entries(deployed.accounts, f"{datetime.now(UTC):%Y-%m}")
    assert (entry.action, entry.subject, entry.by) == ("change", "thing 1", deployed.caller)
    assert (entry.reason, entry.before, entry.after) == ("ticket 17", {"n": 1}, {"n": 2})


@pytest.mark.usefixtures("command")
def test_a_program_agrees_with_yes(deployed: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nobody can be asked: nothing is changed, and the message says what to add."""
    assert cli.main(CHANGE) == 1
    error = capsys.readouterr().err
    assert "account 123456789012" in error
    assert "--yes" in error
    assert deployed.accounts.get(("thing", "-")) is None


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("", 130)])
@pytest.mark.usefixtures("command")
def test_people_are_asked(
    deployed: Installation,
    answer: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A change of a stack in AWS shows stack, account and caller, and waits for a yes."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert cli.main(CHANGE) == code
    asked = capsys.readouterr().err
    assert "stack ordering in eu-west-1, account 123456789012, as arn:aws:sts::" in asked
    assert (deployed.accounts.get(("thing", "-")) is None) == bool(code)


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--final",), 130)])
def test_the_local_run_asks_only_before_what_is_final(
    command: Any,  # noqa: ARG001 - the command that is run
    more: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the local run a change that can be undone is made at once."""
    local = Installation(Memory(), MemoryKms(), lambda: SigningKey("", "", {}), "", "")
    monkeypatch.setattr(commands, "reopen", lambda _: local)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert cli.main(["change", "--reason", "x", *more]) == code
    assert ("it cannot be undone" in capsys.readouterr().err) == bool(code)


@pytest.mark.usefixtures("command")
def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits with 2 and proposes what was meant."""
    assert cli.main(["chnge"]) == 2
    assert "Did you mean 'change'?" in capsys.readouterr().err
    assert cli.main(["change"]) == 2
    assert "--reason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotDone("there is no partner 'x'; see `ordering partner list`"), "there is no partner 'x'"),
        (Unavailable("localhost: refused"), "no response: localhost: refused"),
        (ServiceFault("AccessDeniedException", "User: ann is not authorized"), "ann is not authorized"),
        (ValueError("a wrong value"), "a wrong value"),
    ],
)
def test_errors(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails is one line on the standard error, without a traceback, and exits with 1."""
    monkeypatch.setattr(cli.root, "commands", dict(cli.root.commands))

    @cli.root.command()
    def fail() -> None:
        raise error

    assert cli.main(["fail"]) == 1
    output, errors = capsys.readouterr()
    assert not output
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script for each shell calls the command."""
    assert cli.main(["completion", shell]) == 0
    assert "_ORDERING_COMPLETE" in capsys.readouterr().out


def test_common_options_have_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    """Help lists the options of all commands after the command's own."""
    assert cli.main(["completion", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Options of every command:") < text.index("--stack") < text.index("--json")


ROWS: list[dict[str, Any]] = [
    {"partner": "northwind", "businessUnits": ["UK", "Ireland"], "balance": Decimal("10.50"), "since": WHEN},
    {"partner": "two", "businessUnits": [], "balance": None, "since": WHEN},
]


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """People get a table whose columns are named in words; a program's pipe gets whole lines."""
    Output().rows(ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "partner    business units  balance  since               ",
        "northwind  UK, Ireland       10.50  2026-11-29 08:15:00Z",
        "two                                 2026-11-29 08:15:00Z",
    ]
    Output().rows([], empty="no partners")
    assert capsys.readouterr().out == "no partners\n"


WORDS = st.text("abcdefghij-", min_size=1, max_size=40)
CELLS = (
    WORDS
    | st.lists(WORDS, max_size=8).map(" ".join)
    | st.datetimes().map(lambda at: at.replace(tzinfo=UTC))
    | st.none()
)
NARROW = 60


@given(
    st.integers(1, 6).flatmap(lambda columns: st.lists(st.lists(CELLS, min_size=columns, max_size=columns), min_size=1))
)
def test_a_narrow_terminal(rows: list[list[Any]]) -> None:
    """No line is wider than the terminal, and none breaks a word or a time that has room on a line of its own."""
    with pytest.MonkeyPatch.context() as patch:
        screen = Terminal()
        patch.setattr("sys.stdout", screen)
        patch.setenv("COLUMNS", str(NARROW))
        patch.setenv("LINES", "100000")
        Output().rows([{f"c{number}": value for number, value in enumerate(row)} for row in rows])
    lines = re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue()).splitlines()
    words = {word for row in rows for value in row for word in _unbreakable(value)}

    assert max(map(len, lines)) <= NARROW
    assert [word for word in words if not any(word in line for line in lines)] == []


def _unbreakable(value: Any) -> list[str]:
    return [shown(value)] if isinstance(value, datetime) else shown(value).split()


@pytest.mark.parametrize(
    ("screen", "rows", "paged"), [(Terminal(), 8, False), (Terminal(), 9, True), (io.StringIO(), 9, False)]
)
def test_the_pager(screen: io.StringIO, rows: int, *, paged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list goes through the pager if it and its titles are longer than the terminal; elsewhere never."""
    seen: list[str] = []
    monkeypatch.setattr("rich.pager.SystemPager.show", lambda _, content: seen.append(content))
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(NARROW))
    monkeypatch.setenv("LINES", "10")
    Output().rows([{"number": number} for number in range(rows)])

    assert bool(seen) == paged
    assert bool(screen.getvalue()) != paged


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get one document with exact amounts and times; lines for people go to the standard error."""
    output = Output(as_json=True)
    output.rows(ROWS)
    output.line("two partners")
    text, errors = capsys.readouterr()
    assert json.loads(text)[0] == {
        "partner": "northwind",
        "businessUnits": ["UK", "Ireland"],
        "balance": "10.50",
        "since": "2026-11-29T08:15:00.000000Z",
    }
    assert errors == "two partners\n"


def test_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """One thing is a line for each value that it has; markup in a value is shown as it is."""
    Output().fields({"name": "[bold]A[/bold]", "company": None, "active": False})
    assert capsys.readouterr().out.splitlines() == ["name    [bold]A[/bold]", "active  no            "]


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait at a terminal see how much is done and how fast; a program's log gets nothing of it."""
    for terminal in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", terminal)
        with Output().progress("writing", 2_000) as advance:
            advance(1_000)
            time.sleep(0.01)
            advance(500)
        seen = [word in terminal.getvalue() for word in ("writing", "1,500", "/s")]
        assert seen == [terminal.isatty()] * 3
