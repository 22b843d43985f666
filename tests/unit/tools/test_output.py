"""The output of commands never makes them fail."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import TextIO

import pytest

from ordering_tools.output import lenient

PROGRAM = """
import sys
from ordering_tools import cli

@cli.root.command()
def show():
    print("sent", file=sys.stderr)
    print("1 \\u20bd")
    print("x" * 100_000)

sys.exit(cli.main())
"""
"""Runs the `ordering` command with a command that prints more than a pipe holds."""


def run(stdout: int, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **variables}
    arguments = [sys.executable, "-c", PROGRAM, "show"]
    return subprocess.Popen(arguments, stdout=stdout, stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_output_cannot_show(encoding: str) -> None:
    """A command succeeds where its output has no rouble sign: a question mark takes its place."""
    process = run(subprocess.PIPE, {"PYTHONIOENCODING": encoding})
    printed, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, b"sent\n")
    assert printed.splitlines()[0].decode(encoding) == f"1 {'?' if encoding != 'utf-8' else chr(0x20BD)}"


def test_a_reader_that_stops_reading() -> None:
    """A command whose reader has closed the pipe, as `head` does, succeeds, and prints no error."""
    reads, writes = os.pipe()
    os.close(reads)
    process = run(writes, {})
    os.close(writes)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, b"sent\n")


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_streams_without_a_file(stream: TextIO) -> None:
    """An output that was closed before the command began, or is no file, stays as it is."""
    assert lenient(stream) is stream
