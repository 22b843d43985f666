"""What every command of `ordering` does as users of a shell expect it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import click
import httpx
import pytest

from ordering_tools import cli
from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.operations import commands
from support.every_command import ADMINISTRATORS, COMMANDS, LOCAL, World, all_commands
from support.real_stack import COMMAND

ALL = dict(all_commands())
LINE_OF_HELP = 80
NARROW = 60
ONE_WORD = 40
"""Characters of the longest word that a narrow terminal shows on one line, beside the title of its value."""


class Screen(io.StringIO):
    """A terminal, for its columns see the variable COLUMNS."""

    def isatty(self) -> bool:
        return True


def help_of(name: str) -> str:
    with redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "columns", lambda: LINE_OF_HELP)
        assert cli.main([*name.split(), "--help"]) == 0
    return printed.getvalue()


@pytest.mark.parametrize("name", ALL)
def test_help(name: str) -> None:
    """A command's help fits a terminal, describes each argument, and it or its group's has an example."""
    text = help_of(name)
    examples = (help_of(name.rpartition(" ")[0]) if " " in name else text).partition("Examples")[2]
    arguments = [one for one in ALL[name].params if isinstance(one, click.Argument)]

    assert f"ordering {name.rpartition(' ')[0] or name}" in examples
    assert [line for line in text.splitlines() if len(line) > LINE_OF_HELP or line.endswith("...")] == []
    assert [one.name for one in arguments if not one.help] == []


@pytest.mark.parametrize("name", ALL)
def test_unknown_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that a command does not have is wrong usage, and the one that was meant is proposed."""
    assert cli.main([*name.split(), "--hlep"]) == 2
    assert re.search("No such option '--hlep'. .*Did you mean .*'--help'", capsys.readouterr().err)


@pytest.mark.parametrize("name", COMMANDS)
def test_json(name: str, world: World) -> None:
    """With `--json` a command prints one JSON document, and nothing else."""
    for arguments in COMMANDS[name][1]:
        json.loads(world.show(name, f"{arguments} --json"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_narrow_terminal(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of 60 columns a command prints the words that it prints elsewhere, and breaks none of them."""
    monkeypatch.setenv("COLUMNS", str(NARROW))
    monkeypatch.setenv("LINES", "10000")
    for arguments in COMMANDS[name][1]:
        before = {*world.show(name, arguments).split()}
        text = re.sub(r"\x1b\[[0-9;]*m", "", world.show(name, arguments, Screen()))

        # What differs from run to run, as new ids and the time do, is not in both.
        words = before & {*world.show(name, arguments).split()}

        assert [word for word in words if len(word) <= ONE_WORD and word not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c(name: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with 130, and it prints no traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "open_stack", interrupted)
    monkeypatch.setattr(commands.Run, "output", property(interrupted))
    words = world.words(name, COMMANDS[name][1][0])
    assert cli.main([*words, "--stack", "ordering"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "\n")


def test_ctrl_c_in_a_process(tmp_path: Path) -> None:
    """Ctrl-C is how a command ends that runs until then: it has done its work, and prints nothing more."""
    # A shell has its background jobs ignore the signal, and they pass that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [COMMAND, "webhook", "listen", "--port", "0", "--state", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout
    url = process.stdout.readline().split()[-1]
    # Once it responds it is certainly waiting.
    assert httpx.get(url).status_code == 405
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[0]

    assert (process.returncode, rest) == (0, "")


def test_the_c_locale() -> None:
    """A command prints its help in a locale that has nothing but ASCII."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    done = subprocess.run(
        [COMMAND, "stock", "--help"],
        env={**variables, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Examples" in done.stdout


def test_a_pipe_that_is_closed() -> None:
    """A command whose reader wants one line only ends as if it were read."""
    shell = f"set -o pipefail; {COMMAND} --help | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Usage: ordering [OPTIONS] COMMAND [ARGS]...\n"


def test_all_are_covered() -> None:
    """Each command that calls AWS is run by these tests."""
    assert {name for name in ALL if not name.startswith("dev ")} - LOCAL - ADMINISTRATORS == {*COMMANDS}
