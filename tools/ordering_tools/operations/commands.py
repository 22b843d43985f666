"""The common part of the commands that act on the local installation: how they find it, and how they report errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ordering.errors import OrderingError, Unavailable
from ordering_tools.installation import DEFAULT_STATE, Installation, NotDone, reopen

Action = Callable[[Installation, argparse.Namespace], None]


def set_action(parser: argparse.ArgumentParser, action: Action) -> None:
    """Set the action that a command runs on the local installation; the command's exit code is 1 if it fails."""
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help=argparse.SUPPRESS)
    parser.set_defaults(run=_run, action=action)


def _run(arguments: argparse.Namespace) -> int:
    try:
        arguments.action(reopen(arguments.state), arguments)
    except Unavailable:
        print("the local run does not respond; start it with `make serve`", file=sys.stderr)
        return 1
    except (NotDone, OrderingError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
