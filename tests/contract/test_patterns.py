"""The documents' regular expressions mean the same to JavaScript, whose they are by JSON Schema, and to Python."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / ".venvs" / "node" / "bin" / "node"
DOCUMENTS = [ROOT / "docs" / "openapi.json", *(ROOT / "docs" / "events").glob("*.json")]

CHARACTERS = [*map(chr, range(0x3100)), "\ufeff", "\ufffd", "\U0001f600"]
"""Every blank and every control character of Unicode is among them, and digits and letters of many scripts."""
TEXTS = [text + one for text in ("", "https://example.com/", "a@example.com", "1.5") for one in CHARACTERS]

# Reads patterns and texts, and prints for each pattern one character a text: 1 if it is found in the text, else 0.
SEARCH = """
const [patterns, texts] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const found = (pattern) => texts.map((text) => (pattern.test(text) ? "1" : "0")).join("");
console.log(JSON.stringify(patterns.map((pattern) => found(new RegExp(pattern)))));
"""


def patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(pattern := node.get("pattern"), str):
            yield pattern
        for value in node.values():
            yield from patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from patterns(value)


def for_python(pattern: str) -> re.Pattern[str]:
    """A pattern with JavaScript's end of a text: Python's `$` is also before a line break at the end."""
    return re.compile(re.sub(r"\$$", r"\\Z", pattern))


def test_patterns_mean_the_same_everywhere() -> None:
    """Each pattern is found in the same texts by Node.js and by Python."""
    assert NODE.exists(), "run `make test` once: it makes the environment of Node packages"
    known = sorted({one for path in DOCUMENTS for one in patterns(json.loads(path.read_text(encoding="utf-8")))})
    given = json.dumps([known, TEXTS])
    done = subprocess.run([NODE, "-e", SEARCH], input=given, capture_output=True, text=True, check=True, timeout=60)
    different = {
        (pattern, text)
        for pattern, found in zip(known, json.loads(done.stdout), strict=True)
        for text, one in zip(TEXTS, found, strict=True)
        if (one == "1") is not bool(for_python(pattern).search(text))
    }

    assert len(known) > 25
    assert different == set()
