"""The folder with the data of a local run, which only one run can use at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

FUNCTIONS_LOG = "functions.log"
"""The file of a state folder that all functions log to."""

_RECEIVED = "received.jsonl"
_WAIT_SECONDS = 300.0
"""As long as the engine of a killed run may take to save its data."""


class StateError(Exception):
    """The folder cannot be used; the message gives the reason, and what to do."""


@dataclass(frozen=True)
class Running:
    """A running local run."""

    base_url: str
    endpoint: str
    """The endpoint of DynamoDB."""
    services: str
    """The endpoint of all other services."""
    functions: str
    """The endpoint of Lambda's Invoke."""
    template: str
    process: int


class State:
    """The folder, locked until this process and each child that inherited `lock` have ended."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        """Lock the folder, and with `fresh` empty it.

        Raises:
            StateError: Another run uses it, or `fresh` would empty a folder that no run has created.
        """
        self.folder = folder
        lock = folder / "lock"
        if fresh and folder.exists() and any(folder.iterdir()) and not lock.exists():
            raise StateError(f"{folder} was not created by a local run, so --fresh does not empty it")
        folder.mkdir(parents=True, exist_ok=True)
        # It contains keys and the contents of mails. A folder of an earlier release may be open to others.
        folder.chmod(0o700)
        self.lock = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        self._take()
        if fresh:
            self._empty()
        self._file.unlink(missing_ok=True)

    @property
    def engine(self) -> Path:
        """The engine's folder."""
        return self.folder / "engine"

    @property
    def log(self) -> Path:
        """The log of the functions' processes."""
        return self.folder / FUNCTIONS_LOG

    def announce(self, running: Running) -> None:
        """Publish the endpoints of the run for other commands."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(running)), encoding="utf-8")
        fresh.replace(self._file)

    def release(self) -> None:
        """Unlock the folder."""
        self._file.unlink(missing_ok=True)
        os.close(self.lock)

    @property
    def _file(self) -> Path:
        return self.folder / "running.json"

    def _take(self) -> None:
        # After a run was killed, its engine holds the lock until it has saved its data.
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if find(self.folder) or time.monotonic() > deadline:
                    os.close(self.lock)
                    raise StateError(
                        f"another local run uses {self.folder}; stop it, or use another folder with --state"
                    ) from None
                time.sleep(0.1)
            else:
                return

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def find(folder: Path) -> Running | None:
    """The running local run that uses a folder; None if there is none."""
    try:
        running = Running(**json.loads((folder / "running.json").read_text(encoding="utf-8")))
        os.kill(running.process, 0)
    except (OSError, ValueError, TypeError):
        return None
    return running


def keep_received(state: Path, message: Mapping[str, str]) -> None:
    """Keep a message that `ordering webhook listen` has received, if there is the folder of a local run.

    It has a `key`, different from those of others, a `line` that describes it, and its `body`.
    """
    if state.is_dir():
        with open(state / _RECEIVED, "a", opener=partial(os.open, mode=0o600)) as file:
            file.write(json.dumps(message) + "\n")


def last_received(state: Path, most: int) -> list[dict[str, str]]:
    """The last kept messages, at most `most` and oldest first."""
    found: list[dict[str, str]] = []
    with suppress(FileNotFoundError), (state / _RECEIVED).open(encoding="utf-8") as file:
        for line in deque(file, most):
            # The last line is incomplete while it is being written.
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
