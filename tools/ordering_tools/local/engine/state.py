"""The folder in which a local run keeps its data, and which one run uses at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_WAIT_SECONDS = 5.0


class StateError(Exception):
    """The folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Running:
    """A local run that is being served."""

    base_url: str
    endpoint: str
    """DynamoDB's."""
    services: str
    """That of all other services."""
    functions: str
    """That of Lambda's Invoke."""
    template: str
    process: int


class State:
    """The folder, held for as long as this process or a child that was given `lock` lives."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        """Take the folder, and with `fresh` empty it.

        Raises:
            StateError: Another run has it, or `fresh` would delete something that no run has made.
        """
        self.folder = folder
        lock = folder / "lock"
        if fresh and folder.exists() and any(folder.iterdir()) and not lock.exists():
            raise StateError(f"{folder} was not made by a local run and is not emptied")
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        self._take()
        if fresh:
            self._empty()
        self._file.unlink(missing_ok=True)

    @property
    def engine(self) -> Path:
        """The engine's own folder."""
        return self.folder / "engine"

    @property
    def log(self) -> Path:
        """What the functions' processes print."""
        return self.folder / "functions.log"

    @property
    def streams(self) -> Path:
        """How far the tables' streams have been delivered."""
        return self.folder / "streams"

    def announce(self, running: Running) -> None:
        """Tell other commands what is being served."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(running)), encoding="utf-8")
        fresh.replace(self._file)

    def release(self) -> None:
        """Give the folder back."""
        self._file.unlink(missing_ok=True)
        os.close(self.lock)

    @property
    def _file(self) -> Path:
        return self.folder / "running.json"

    def _take(self) -> None:
        # The engine of a run that was killed still holds the folder while it writes its data.
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if find(self.folder) or time.monotonic() > deadline:
                    os.close(self.lock)
                    raise StateError(
                        f"another run keeps its data in {self.folder}; stop it, or name another folder with --state"
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
    """The run that keeps its data in a folder, if one is being served."""
    try:
        running = Running(**json.loads((folder / "running.json").read_text(encoding="utf-8")))
        os.kill(running.process, 0)
    except (OSError, ValueError, TypeError):
        return None
    return running
