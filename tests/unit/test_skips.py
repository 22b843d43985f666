"""`pytest --no-skips`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SKIPPED = """
import pytest

def test_one():
    pytest.skip("there is no browser")
"""


@pytest.mark.parametrize(("options", "outcome"), [((), "1 skipped"), (("--no-skips",), "1 failed")])
def test_skips(tmp_path: Path, options: tuple[str, ...], outcome: str) -> None:
    """A test that is skipped fails with the option, and says why it was skipped."""
    file = tmp_path / "test_skipped.py"
    file.write_text(SKIPPED)

    command = [sys.executable, "-m", "pytest", "-rs", "-p", "support.skips", "-c", os.devnull, *options, str(file)]
    own = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == len(options)
    assert outcome in done.stdout
    assert "there is no browser" in done.stdout
