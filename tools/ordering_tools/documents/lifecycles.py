"""`ordering dev lifecycle`: docs/lifecycle.md from the lifecycles in the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ordering.book.lifecycle import Lifecycle
from ordering.ecards.statuses import ECARDS
from ordering.training.statuses import TRAINING

FILES = "docs/lifecycle.md"
_HEAD = """\
# Lifecycles

The statuses of each kind of order, and who moves an order from one to the next. Every move is one transaction with
all its effects. It is conditional on the order's version and adds to the order's history.

<!-- Written by `ordering dev lifecycle` from the tables in the code; nothing else writes a status. -->
"""
_ORDERS: dict[str, Lifecycle[Any]] = {"Training orders": TRAINING, "E-card orders": ECARDS}


def documents() -> dict[str, str]:
    """The document's path from the project's root, and its text."""
    return {FILES: "\n".join(_lines())}


def _lines() -> Iterator[str]:
    yield _HEAD
    for name, lifecycle in _ORDERS.items():
        yield f"## {name}\n"
        yield f"```mermaid\n{lifecycle.diagram()}```\n"
        yield "| from | to | by | when |\n|---|---|---|---|"
        for move in lifecycle.moves:
            yield f"| {move.source or '(new)'} | {move.target} | {move.by} | {move.when} |"
        yield ""
