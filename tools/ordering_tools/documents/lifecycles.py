"""`ordering lifecycle`: docs/lifecycle.md from the lifecycles in the code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from ordering.book.lifecycle import Lifecycle
from ordering.ecards.statuses import ECARDS
from ordering.training.statuses import TRAINING
from ordering_tools.installation import ROOT

DOCUMENT = ROOT / "docs" / "lifecycle.md"
_HEAD = """\
# Lifecycles

The statuses of each kind of order, and who moves an order from one to the next. Made by `ordering lifecycle` from the
tables in [training/statuses.py](../layers/ordering/python/ordering/training/statuses.py) and
[ecards/statuses.py](../layers/ordering/python/ordering/ecards/statuses.py); nothing else in the code writes a status.
Every move is one transaction with all its effects. It is conditional on the order's version and adds to the order's
history.
"""
_ORDERS: dict[str, Lifecycle[Any]] = {"Training orders": TRAINING, "E-card orders": ECARDS}


def run(arguments: argparse.Namespace) -> int:
    """Write the document, or compare it; returns the exit code."""
    text = "\n".join(_lines())
    if not arguments.check:
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.read_text() != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is out of date; update it with `ordering lifecycle`", file=sys.stderr)
        return 1
    return 0


def _lines() -> Iterator[str]:
    yield _HEAD
    for name, lifecycle in _ORDERS.items():
        yield f"## {name}\n"
        yield f"```mermaid\n{lifecycle.diagram()}```\n"
        yield "| from | to | by | when |\n|---|---|---|---|"
        for move in lifecycle.moves:
            yield f"| {move.source or '(new)'} | {move.target} | {move.by} | {move.when} |"
        yield ""
