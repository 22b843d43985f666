"""`make check`: runs all static checks, and continues after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
SAM = ROOT / ".venvs" / "sam" / "bin"

# SAM needs a region although no check calls AWS, and sends telemetry unless that is disabled.
ENVIRONMENT = {**os.environ, "AWS_DEFAULT_REGION": "eu-west-1", "SAM_CLI_TELEMETRY": "0"}

# W2001 is about unused parameters: SAM replaces references to parameters by their values.
LINT = (SAM / "cfn-lint", "--regions", "eu-west-1", "--ignore-checks", "W2001", "--")

Command = tuple[str | Path, ...]


def commands(wanted: set[str]) -> dict[str, Command]:
    """The checks by name: those in `wanted`, or all if it is empty."""
    functions = sorted((ROOT / "functions").glob("*/*/app.py"))
    checks: dict[str, Command] = {
        "format": (BIN / "ruff", "format", "--check", "--quiet", "."),
        "lint": (BIN / "ruff", "check", "--quiet", "--output-format", "concise", "."),
        "types": (BIN / "mypy",),
        # All functions' modules are called app, so each is checked separately.
        **{f"types of {path.parent.relative_to(ROOT / 'functions')}": (BIN / "mypy", path) for path in functions},
        "imports": (BIN / "lint-imports", "--no-cache"),
        "openapi": (BIN / "ordering", "openapi", "--check"),
        "lifecycle": (BIN / "ordering", "lifecycle", "--check"),
        "events": (BIN / "ordering", "events", "--check"),
        "schemas": (BIN / "ordering", "schemas", "--check"),
        "template": (SAM / "sam", "validate", "--lint"),
        "translation": (BIN / "python", Path(__file__), "--translation"),
    }
    return {name: command for name, command in checks.items() if not wanted or name in wanted}


def run(command: Command) -> tuple[bool, str]:
    """Run a command in the project's root; returns whether it passed, and its output."""
    done = subprocess.run(  # noqa: S603 - the commands of this module
        [str(part) for part in command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stdout + (done.stderr if done.returncode else "")


def lint_translation() -> int:
    """Lint the CloudFormation template into which SAM translates ours; returns the exit code."""
    passed, text = run((SAM / "python", "tools/translate.py", "template.yaml"))
    if passed:
        translated = ROOT / ".build" / "translated.yaml"
        translated.parent.mkdir(exist_ok=True)
        translated.write_text(text)
        passed, text = run((*LINT, translated))
    print(text, end="")
    return 0 if passed else 1


def main(arguments: list[str]) -> int:
    """Run the checks with these names, or all if there are none; returns the exit code."""
    if arguments == ["--translation"]:
        return lint_translation()
    failed = []
    wanted = {"template", "translation"} if arguments == ["template"] else set(arguments)
    for name, command in commands(wanted).items():
        began = time.monotonic()
        passed, text = run(command)
        print(f"{'ok' if passed else 'FAILED':6} {name} ({time.monotonic() - began:.1f} s)", flush=True)
        if not passed:
            print(text.rstrip(), flush=True)
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
