"""`ordering schemas`: the JSON Schemas of all events, in `docs/events`."""

from __future__ import annotations

import argparse
import sys

from ordering_tools.documents import event_schemas
from ordering_tools.installation import ROOT

FOLDER = ROOT / "docs" / "events"


def run(arguments: argparse.Namespace) -> int:
    """Write the schemas, or compare them; returns the exit code."""
    if not arguments.check:
        event_schemas.write(FOLDER)
        return 0
    stale = event_schemas.stale(FOLDER)
    if stale:
        names = ", ".join(path.name for path in stale)
        print(f"out of date in docs/events: {names}; update them with `ordering schemas`", file=sys.stderr)
    return 1 if stale else 0
