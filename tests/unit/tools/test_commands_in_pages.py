"""The commands in pages and in help texts exist, with the options that are written there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import takewhile
from pathlib import Path

import click
import pytest

from ordering_tools import cli
from ordering_tools.installation import ROOT
from support.every_command import all_commands

# The log of changes has commands of earlier releases.
PAGES = [page for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if page.name != "CHANGELOG.md"]
HELP = sorted({name.split()[0] for name, _ in all_commands()})
LOGGED = {
    text
    for source in (ROOT / "layers" / "ordering" / "python").rglob("*.py")
    for texts in re.findall(r'log\.\w+\(\s*"([^"]+)"(?: if \w+ else "([^"]+)")?', source.read_text(encoding="utf-8"))
    for text in texts
}
"""What functions log, which may begin like a command: `mail sent`."""

_BLOCK = re.compile(r"^```sh.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"(?:^|\$\(|\| )(?:[.]venv/bin/)?ordering ([^|)\n]*)", re.MULTILINE)
_INLINE = re.compile(r"`ordering ([a-z][^`]*)`")
_SHORT = re.compile(r"`([a-z-]+ [a-z][^`]*)`")
"""A command without the name of the program, as in the tables of the page for operators."""


def commands_of(text: str) -> Iterator[str]:
    """The commands in a page, without `ordering`; a line that ends with a backslash goes on."""
    joined = text.replace("\\\n", " ")
    for block in _BLOCK.findall(joined):
        yield from _LINE.findall(block)
    yield from _INLINE.findall(joined)
    yield from (found for found in _SHORT.findall(joined) if is_short(found))


def is_short(text: str) -> bool:
    """Whether a text begins with a group and the name of a command, which may be wrong."""
    first, second = text.split()[:2]
    group = cli.root.get_command(click.Context(cli.root), first)
    return isinstance(group, click.Group) and second.replace("-", "").isalpha() and text not in LOGGED


def faults_of(text: str) -> list[str]:
    """What is wrong with a command: it does not exist, or lacks an option."""
    words = shlex.split(text, comments=True)
    command: click.Command = cli.root
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return [] if words[0].startswith("-") else [f"{text}: there is no '{words[0]}'"]
        command, words = found, words[1:]
    known = {name for one in command.get_params(click.Context(command)) for name in one.opts}
    options = [word.partition("=")[0] for word in before_comment(words) if word.startswith("--")]
    return [f"{text}: there is no {option}" for option in options if option not in known]


def before_comment(words: Sequence[str]) -> Iterator[str]:
    return takewhile(lambda word: word not in ("&&", ";", "#"), words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page: Path) -> None:
    """Each command that a page has exists, with its options."""
    text = page.read_text(encoding="utf-8")

    assert [fault for command in commands_of(text) for fault in faults_of(command)] == []


@pytest.mark.parametrize("name", HELP)
def test_examples_in_help(name: str) -> None:
    """Each example in the help of a group or a command exists, with its options."""
    with redirect_stdout(StringIO()) as printed:
        assert cli.main([name, "--help"]) == 0
    examples = re.findall(r"^ +ordering (.*)$", printed.getvalue().replace("\\\n", " "), re.MULTILINE)

    assert examples
    assert [fault for example in examples for fault in faults_of(example)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\nordering order shwo 4711  # it\n```", "there is no 'shwo'"),
        ("```sh\nexport ID=$(ordering token issue --scoop x)\n```", "there is no --scoop"),
        ("see `ordering dead relpay --all`", "there is no 'relpay'"),
        ("| `mail agian` |", "there is no 'agian'"),
    ],
)
def test_wrong_commands_are_found(text: str, fault: str) -> None:
    """A command or an option that does not exist is found wherever a page has it."""
    (found,) = (one for command in commands_of(text) for one in faults_of(command))

    assert fault in found
