"""Pages whose lines are run: their blocks of code, as one script of a shell."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

_BLOCK = re.compile(r"^```([a-z]+(?: [a-z]+)?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMPLETES_SECONDS = 300


def blocks(page: Path, kind: str) -> list[str]:
    """The blocks of a page that are marked as of a kind, `sh` for instance."""
    return [text for marked, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if marked == kind]


def run_lines(page: Path, folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run all lines of a page that are marked `sh`, one after the other, until one fails.

    Args:
        folder: Where they run.
        variables: The environment besides this process's own, without what is AWS's or a stack's.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ORDERING_"))}
    return subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "".join(blocks(page, "sh"))],
        cwd=folder,
        env={**others, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMPLETES_SECONDS,
    )
