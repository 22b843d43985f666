"""`ordering dev chromium`: the Chromium that tests of pages, and pictures of them, need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence

from ordering_tools.installation import ROOT, NotDone

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""The names that Chromium's command has on different systems."""

PYTHON = ROOT / ".venvs" / "browser" / "bin" / "python"
"""The interpreter of the environment that drives a browser."""

_INSTALL = (("apt-get", "update", "-qq"), ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"))

Run = Callable[[Sequence[str]], str]
"""Runs a command; returns what it printed if it failed."""


def chromium() -> str:
    """Return the browser: the one that ORDERING_CHROMIUM names, or else the first that is on the path.

    Raises:
        NotDone: There is none, or no environment to drive it.
    """
    found = _found()
    if not found:
        raise NotDone(f"there is no Chromium: install one of {', '.join(BROWSERS)}, or name it in ORDERING_CHROMIUM")
    if not PYTHON.exists():
        raise NotDone("there is no environment to drive a browser: `python3 tools/environments.py browser` makes it")
    return found


def installed(run: Run | None = None) -> str:
    """Return the browser; where there is none, install the system's package, which root can do with apt-get.

    Raises:
        NotDone: There is none, and it cannot be installed here.
    """
    if not _found() and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in _INSTALL:
            if failed := (run or _run)(command):
                raise NotDone(f"`{' '.join(command)}` failed: {failed}")
    return chromium()


def _found() -> str | None:
    return os.environ.get("ORDERING_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _run(command: Sequence[str]) -> str:
    asked = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=asked, capture_output=True, text=True, check=False)  # noqa: S603 - `_INSTALL`
    return (done.stderr or done.stdout or f"exit code {done.returncode}").strip() if done.returncode else ""
