"""What makes clients from the document in tests, what checks them, and what their programs see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "openapi.json"
GENERATORS = ROOT / ".venvs" / "generators" / "bin"
NODE = ROOT / ".venvs" / "node"

TYPESCRIPT = (NODE / "bin" / "node", NODE / "node_modules" / "typescript" / "bin" / "tsc", "--strict", "--skipLibCheck")

SEEN = {
    "training": ["New", "PO-GENERATED", 3, 404],
    "ecards": [200, "100 ₽", 1, ["Ecards[0].Id"]],
    "webhooks": [True, 204],
}
"""What a client sees on the contracts whose orders do not depend on the client."""


def output(*command: str | Path, into: Path, given: str = "") -> str:
    """Run a command in a folder; returns its output."""
    own = {"NO_PROXY": "*", "PATH": f"{NODE / 'bin'}{os.pathsep}{GENERATORS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        list(command),
        cwd=into,
        env={**os.environ, **own, "PYTHONPATH": str(into), "NO_COLOR": "1"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def check_types(settings: str, *checked: str, python: Path, into: Path) -> None:
    """Check with `mypy --strict`, but for what `settings` leave out, against the packages of an environment."""
    (into / "mypy.ini").write_text(f"[mypy]\nstrict = true\n{settings}")
    output(sys.executable, "-m", "mypy", "--python-executable", python, *checked, into=into)


def seen_with(deal: int) -> dict[str, Any]:
    """What a client sees that orders for a deal."""
    return {**SEEN, "deals": [deal, "1631.99", 3, "already_exists", 204]}
