"""`make check`: runs all static checks, and continues after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
SAM = ROOT / ".venvs" / "sam" / "bin"

MYPY = BIN / "mypy"
JUDGES = Path(__file__).with_name("judges.py")

# SAM needs a region although no check calls AWS, and sends telemetry unless that is disabled.
ENVIRONMENT = {**os.environ, "AWS_DEFAULT_REGION": "eu-west-1", "SAM_CLI_TELEMETRY": "0"}

Command = tuple[str | Path, ...]


def commands(wanted: set[str]) -> dict[str, Command]:
    """The checks by name: those in `wanted`, or all if it is empty."""
    functions = sorted((ROOT / "functions").glob("*/*/app.py"))
    checks: dict[str, Command] = {
        "format": (BIN / "ruff", "format", "--check", "--quiet", "."),
        "lint": (BIN / "ruff", "check", "--quiet", "--output-format", "concise", "."),
        "types": (MYPY,),
        # All functions' modules are called app, so each is checked separately.
        **{f"types of {path.parent.relative_to(ROOT / 'functions')}": (MYPY, path) for path in functions},
        "imports": (BIN / "lint-imports", "--no-cache"),
        "openapi": (BIN / "ordering", "openapi", "--check"),
        "lifecycle": (BIN / "ordering", "lifecycle", "--check"),
        "events": (BIN / "ordering", "events", "--check"),
        "schemas": (BIN / "ordering", "schemas", "--check"),
        "template": (SAM / "sam", "validate", "--lint"),
        "translation": (BIN / "python", JUDGES, "cfn-lint"),
        "checkov": (BIN / "python", JUDGES, "checkov"),
        "cdk-nag": (BIN / "python", JUDGES, "cdk-nag"),
    }
    return {name: command for name, command in checks.items() if not wanted or name in wanted}


def run(command: Command) -> tuple[bool, str, float]:
    """Run a command in the project's root; returns whether it passed, its output and how long it took, in seconds."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603 - the commands of this module
        [str(part) for part in command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    text = done.stdout + (done.stderr if done.returncode else "")
    return done.returncode == 0, text, time.monotonic() - began


def main(arguments: list[str]) -> int:
    """Run the checks with these names, or all if there are none; returns the exit code."""
    failed = []
    wanted = {"template", "translation"} if arguments == ["template"] else set(arguments)
    checks = commands(wanted)
    # Two at a time; but those of mypy share a cache, so they follow each other.
    with ThreadPoolExecutor(1) as typing, ThreadPoolExecutor(1) as others:
        started = {
            name: (typing if command[0] == MYPY else others).submit(run, command) for name, command in checks.items()
        }
        for name, check in started.items():
            passed, text, seconds = check.result()
            print(f"{'ok' if passed else 'FAILED':6} {name} ({seconds:.1f} s)", flush=True)
            if not passed:
                print(text.rstrip(), flush=True)
                failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
