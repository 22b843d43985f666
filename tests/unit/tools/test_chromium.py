"""`ordering dev chromium`: the browser that is found, or installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ordering_tools.documents import chromium
from ordering_tools.installation import NotDone


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs: empty, on a machine where this process is root and can drive a browser."""
    monkeypatch.delenv("ORDERING_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(chromium, "PYTHON", tmp_path)
    return tmp_path


def program(folder: Path, name: str) -> str:
    """Make a program; returns its path."""
    file = folder / name
    file.write_text("")
    file.chmod(0o700)
    return str(file)


def never(command: Sequence[str]) -> str:
    """Run no command."""
    raise AssertionError(command)


def test_a_browser_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser on the path is taken, or the one that the environment names; nothing is installed."""
    found = program(path, "google-chrome")
    program(path, "apt-get")

    assert chromium.installed(never) == found
    monkeypatch.setenv("ORDERING_CHROMIUM", "/opt/chrome")
    assert chromium.installed(never) == "/opt/chrome"


def test_root_installs_the_systems_package(path: Path) -> None:
    """The package `chromium` is installed without what it only recommends."""
    program(path, "apt-get")
    ran: list[str] = []

    def run(command: Sequence[str]) -> str:
        ran.append(" ".join(command))
        if "install" in command:
            program(path, "chromium")
        return ""

    assert chromium.installed(run) == str(path / "chromium")
    assert ran == ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends chromium"]


def test_an_installation_that_fails_is_shown(path: Path) -> None:
    """What apt-get printed is in the error."""
    program(path, "apt-get")

    with pytest.raises(NotDone, match=r"`apt-get update -qq` failed: no space left"):
        chromium.installed(lambda _: "no space left")


@pytest.mark.parametrize("lacking", ["root", "apt-get"])
def test_elsewhere_what_is_missing_is_named(path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """Who may not install is asked to install one of some browsers, or to name one."""
    if lacking == "root":
        program(path, "apt-get")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(NotDone, match=r"no Chromium: install one of chromium, .*or name it in ORDERING_CHROMIUM"):
        chromium.installed(never)


def test_the_environment_to_drive_it_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser without Playwright is of no use: the command that installs it is named."""
    program(path, "chromium")
    monkeypatch.setattr(chromium, "PYTHON", path / "missing")

    with pytest.raises(NotDone, match=r"python3 tools/environments\.py browser"):
        chromium.installed(never)
