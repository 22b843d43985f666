"""Prints the notes of a release: its section of CHANGELOG.md, without the heading.

release_notes.py TAG    TAG is `v` and the version in the section's heading, as v1.2.3
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


class NoNotesError(Exception):
    """The changelog has no notes of a release; the message says what to do."""


def notes_of(changelog: str, tag: str) -> str:
    """Return the notes of a release.

    Raises:
        NoNotesError: The tag names no version, or the changelog has no section for it, or an empty one.
    """
    version = re.fullmatch(r"v(\d+\.\d+\.\d+)", tag)
    if not version:
        raise NoNotesError(f"{tag} is no release; name one as v1.2.3")
    found = re.search(rf"(?ms)^## {re.escape(version[1])}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog)
    if not found or not found[1].strip():
        raise NoNotesError(f"CHANGELOG.md has no notes below '## {version[1]}'; name its section 'Unreleased' that")
    return found[1].strip() + "\n"


def main(arguments: list[str]) -> int:
    """Print the notes; returns the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        sys.stdout.write(notes_of(CHANGELOG.read_text(encoding="utf-8"), arguments[0]))
    except NoNotesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
