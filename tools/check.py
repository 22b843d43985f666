"""`make check`: runs all static checks, and continues after a failure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from compatibility import DOCUMENT, Skipped, judge_compatibility
from judges import BIN as JUDGES_BIN
from judges import JUDGES, ROOT, SAM, judge, node, run

BIN = ROOT / ".venv" / "bin"


def checks() -> dict[str, Callable[[], str]]:
    """The checks by name; each returns what is wrong."""
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    functions = sorted((ROOT / "functions").glob("*/*/app.py"))
    commands: dict[str, tuple[str | Path, ...]] = {
        "format": (BIN / "ruff", "format", "--check", "--quiet", "."),
        "lint": (BIN / "ruff", "check", "--quiet", "--output-format", "concise", "."),
        "types": (BIN / "mypy",),
        # All functions' modules are called app, so each is checked separately.
        **{f"types of {path.parent.relative_to(ROOT / 'functions')}": (BIN / "mypy", path) for path in functions},
        "imports": (BIN / "lint-imports", "--no-cache"),
        **{
            name: (BIN / "ordering", "dev", name, "--check")
            for name in ("openapi", "collection", "lifecycle", "events", "schemas", "errors")
        },
        "document by spectral": node(
            "@stoplight/spectral-cli/dist/index.js", "lint", DOCUMENT, "--ruleset", "tools/spectral.yaml", "-F", "hint"
        ),
        "document by redocly": node("@redocly/cli/bin/cli.js", "lint", DOCUMENT, "--config", "tools/redocly.yaml"),
        "template": (SAM / "sam", "validate", "--lint"),
        "deploy role": (SAM / "cfn-lint", "--regions", "eu-west-1", "--", ".github/deploy-role.yaml"),
        "workflows": (JUDGES_BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows),
        "workflows' security": (JUDGES_BIN / "zizmor", "--offline", "--quiet", "--pedantic", ".github/workflows"),
    }
    return {
        **{name: partial(run, *command) for name, command in commands.items()},
        "translation": partial(judge, "cfn-lint"),
        **{name: partial(judge, name) for name in JUDGES if name != "cfn-lint"},
        "compatibility": judge_compatibility,
    }


def timed(check: Callable[[], str]) -> tuple[str, str, float]:
    """Run a check; returns what is wrong, why it was skipped, and how long it took, in seconds."""
    began = time.monotonic()
    wrong = skipped = ""
    try:
        wrong = check().rstrip()
    except Skipped as reason:
        skipped = str(reason)
    return wrong, skipped, time.monotonic() - began


def main(arguments: list[str]) -> int:
    """Run the checks with these names, or all if there are none; returns the exit code."""
    wanted = ["template", "translation"] if arguments == ["template"] else arguments
    failed = False
    # Two at a time; but those of mypy share a cache, so they follow each other.
    with ThreadPoolExecutor(1) as typing, ThreadPoolExecutor(1) as others:
        started = {
            name: (typing if name.startswith("types") else others).submit(timed, check)
            for name, check in checks().items()
            if not wanted or name in wanted
        }
        for name, running in started.items():
            wrong, skipped, seconds = running.result()
            failed |= bool(wrong)
            state = "FAILED" if wrong else "skip" if skipped else "ok"
            print(f"{state:6} {name} ({skipped or f'{seconds:.1f} s'})", flush=True)
            if wrong:
                print(wrong, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
