"""Compares docs/openapi.json with that of the previous release: what would break partners' programs fails the check.

The previous release is the commit in tests/previous-release.txt. What is broken on purpose is in
`tools/accepted_findings.yaml`, with the reason, until the next release has become the previous one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from judges import ACCEPTED, ROOT, Finding, JudgeError, acceptances, judged, output

DOCUMENT = "docs/openapi.json"
PREVIOUS = ROOT / "tests" / "previous-release.txt"
_FAILING = {"breaking", "warning"}
"""The severities that fail. A warning is for instance that a request loses a field, or that a field may be null."""


class Skipped(Exception):
    """A check that cannot be made here; the message says why."""


def previous_document() -> bytes:
    """Return the document of the previous release.

    Raises:
        Skipped: The history does not have that commit.
    """
    commit = PREVIOUS.read_text(encoding="utf-8").split()[0]
    done = subprocess.run(  # noqa: S603 - git, on this repository
        ["git", "-C", str(ROOT), "show", f"{commit}:{DOCUMENT}"],  # noqa: S607 - as above
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Skipped(f"the history does not have {commit}, the previous release: a shallow clone, or an archive")
    return done.stdout


def changes(old: Path, new: Path) -> list[Finding]:
    """Return what breaks programs that were written for the old document."""
    text = output(
        Path(sys.executable).with_name("specshift"), "diff", old, new, "--format", "json", "--fail-on", "none"
    )
    return [
        Finding(one["change_type"], one["location"], one["message"])
        for one in json.loads(text)["changes"]
        if one["severity"] in _FAILING
    ]


def judge_compatibility() -> str:
    """Return a line for each change that breaks programs and is not accepted, and for each acceptance not needed.

    Raises:
        Skipped: The history does not have the previous release.
    """
    before = previous_document()
    try:
        accepted = [*acceptances(yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")), "specshift")]
        with TemporaryDirectory() as folder:
            old = Path(folder) / "old.json"
            old.write_bytes(before)
            return "\n".join(judged(changes(old, ROOT / DOCUMENT), accepted))
    except JudgeError as error:
        return str(error)
