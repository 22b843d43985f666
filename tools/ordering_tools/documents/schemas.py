"""`ordering schemas`: the JSON Schemas of all events, in `docs/events`."""

from __future__ import annotations

import argparse
import sys

from ordering.events import shapes as event_shapes
from ordering_tools.installation import ROOT

FOLDER = ROOT / "docs" / "events"


def run(arguments: argparse.Namespace) -> int:
    """Write the schemas, or compare them; returns the exit code."""
    if not arguments.check:
        event_shapes.write(FOLDER)
        return 0
    stale = event_shapes.stale(FOLDER)
    if stale:
        names = ", ".join(path.name for path in stale)
        print(f"stale in docs/events: {names}; write them with `ordering schemas`", file=sys.stderr)
    return 1 if stale else 0
