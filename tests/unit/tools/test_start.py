"""Starting commands: what `make` needs and passes on, ports that are none, and Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.cli import SECTIONS, main, root
from ordering_tools.local import serve

ROOT = Path(__file__).resolve().parents[3]


def make(*arguments: str, path: str | Path) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    assert make
    command = [make, "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def test_targets_without_other_programs(tmp_path: Path) -> None:
    """`make` lists its targets on a machine that has no program but Python, make, git and a shell."""
    for name in ("python3", "sh"):
        program = shutil.which(name)
        assert program
        (tmp_path / name).symlink_to(program)

    done = make(path=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=2)[1:] for line in done.stdout.splitlines())
    assert {"serve", "test", "check", "build"} <= set(lines)
    assert "PORT=3000" in lines["serve"]
    assert "VERBOSE=1" in lines["serve"]


@pytest.mark.parametrize(("port", "passed"), [("", '""'), ("4 2", '"4 2"'), ("3999", '"3999"')])
def test_port_is_one_argument(port: str, passed: str) -> None:
    """`make serve` passes the port on as one argument, also an empty one."""
    assert f"--port={passed}" in make("-n", "serve", f"PORT={port}", path=os.environ["PATH"]).stdout


@pytest.mark.parametrize("command", [["serve"], ["webhook", "listen"]])
@pytest.mark.parametrize("port", ["70000", "", "abc", "-1", "4 2", "٣٠٠٠"])
def test_ports_that_are_none(command: list[str], port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is no number from 0 to 65535 is refused in a sentence, and nothing is started."""
    try:
        code: object = main([*command, f"--port={port}"])
    except SystemExit as end:
        code = end.code

    assert code == 2
    assert "a port is a number from 0 to 65535, not '" in capsys.readouterr().err


def test_ports_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that only the system's administrator may listen on is not reported as taken."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)

    with pytest.raises(serve.PortTakenError, match="may not listen on port 79; choose one from 1024 on"):
        serve.listen(79)


PROGRAM = """
import os, signal, sys

# A shell starts its background processes with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupting:
    def find_spec(self, name, *_):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from ordering_tools.__main__ import main
sys.argv[1:] = ["token", "--help"]
sys.exit(main())
"""
"""Runs the `ordering` command, and interrupts it when it imports MODULE."""


@pytest.mark.parametrize("module", ["ordering_tools.cli", "ordering_tools.operations.tokens"])
def test_interrupted_while_it_starts(module: str) -> None:
    """Ctrl-C while a command imports its modules ends it without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("MODULE", repr(module))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr.strip()) == (INTERRUPTED, "", "")
    assert INTERRUPTED == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("name", "summary"), [(name, one) for part in SECTIONS.values() for name, (_, one) in part.items()]
)
def test_the_list_of_commands_says_what_they_say(name: str, summary: str) -> None:
    """The list of all commands, which imports none, has the first sentence of each command's own help."""
    command = root.get_command(click.Context(root), name)

    assert command
    assert command.get_short_help_str(limit=200) == summary


LISTS_ITS_MODULES = """
import sys
from ordering_tools.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        (["order", "list", "--help"], {}),
        ([], {"_ORDERING_COMPLETE": "bash_complete", "COMP_WORDS": "ordering ", "COMP_CWORD": "1"}),
    ],
)
def test_help_and_completion_import_little(arguments: list[str], variables: dict[str, str]) -> None:
    """What a shell or a reader waits for begins without the modules that take longest to import."""
    done = subprocess.run(
        [sys.executable, "-c", LISTS_ITS_MODULES, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {"botocore", "jwt", "pydantic", "rich", "yaml"} & {*done.stderr.split()}

    assert "ordering_tools.cli" in done.stderr.split()
    assert imported == set()
    assert "order" in done.stdout
