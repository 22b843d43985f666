"""The local run for tests: `ordering serve` in a process of its own, as a context manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ordering_tools.local.engine.aws_account import queue_url
from ordering_tools.local.engine.state import find
from ordering_tools.local.runtime.processes import LIFELINE
from ordering_tools.local.serve import Options
from ordering_tools.stacks import read_stack

_READY_SECONDS = 180.0
_STOP_SECONDS = 20.0

_translations: dict[str, bytes] = {}
"""The translated templates of the builds so far, by file name: each takes over a second to make."""


class StackError(Exception):
    """The stack did not start; the message is its output."""


@dataclass(frozen=True)
class LocalStack:
    """A local run that is ready for requests."""

    base_url: str
    endpoint: str
    """The endpoint of DynamoDB."""
    process: subprocess.Popen[bytes]
    output: Path
    """The file with its output: progress, and one line per request."""
    state: Path

    @cached_property
    def resources(self) -> Mapping[str, str]:
        """The physical ids of the stack's resources, by logical id."""
        return read_stack(self.endpoint).resources

    def queue(self, name: str) -> str:
        """The URL of a queue, by its logical id."""
        return queue_url(self.endpoint, self.resources[name].rpartition("/")[2])

    def printed(self) -> str:
        """Its output so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running(
    state: Path,
    *,
    port: int = 0,
    template: Path | None = None,
    build: Path | None = None,
    demo: bool = False,
    debug: bool = False,
    fresh: bool = False,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[LocalStack]:
    """Run a stack until the context ends; port 0 takes any free port.

    `environment` is added to the environment of this process, for instance ORDERING_DYNAMODB_ENDPOINT. A debugger
    reads from `stdin`.

    Raises:
        StackError: It was not ready within a minute.
    """
    flags = {"--debug": debug, "--fresh": fresh, "--bare": not demo}
    command = [
        *("ordering_tools.local.serve", "--port", str(port), "--state", str(state)),
        *("--template", str(template or Options.template), "--build", str(build or Options.target)),
        *(flag for flag, given in flags.items() if given),
    ]
    state.mkdir(parents=True, exist_ok=True)
    if build:
        _keep_translations(build)
    output = state.with_name(f"{state.name}.out")
    # A worker of pytest-xdist that is interrupted ends at once, without this function's end.
    reading, lifeline = os.pipe()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, LIFELINE, str(reading), str(int(signal.SIGTERM)), *command],
            pass_fds=[reading],
            stdin=stdin,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    os.close(reading)
    try:
        stack = _wait(process, state, output)
        if build:
            _keep_translations(build)
        yield stack
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(lifeline)


def _keep_translations(build: Path) -> None:
    """Give a folder of builds the translations of the others, and remember its own."""
    folder = build / "translated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _translations.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    _translations.update({path.name: path.read_bytes() for path in folder.glob("*.json")})


def _wait(process: subprocess.Popen[bytes], state: Path, output: Path) -> LocalStack:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (found := find(state)) and found.process == process.pid:
            return LocalStack(found.base_url, found.endpoint, process, output, state)
        time.sleep(0.02)
    raise StackError(output.read_text(encoding="utf-8", errors="replace"))
