"""What commands on the local installation have in common: where it is, and how they say that nothing was done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ordering.errors import OrderingError, Unavailable
from ordering_tools.installation import DEFAULT_STATE, Installation, NotDone, reopen

Action = Callable[[Installation, argparse.Namespace], None]


def does(parser: argparse.ArgumentParser, action: Action) -> None:
    """Let a command do something to the installation that runs; its exit code is 1 if it was not done."""
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help=argparse.SUPPRESS)
    parser.set_defaults(run=_run, action=action)


def _run(arguments: argparse.Namespace) -> int:
    try:
        arguments.action(reopen(arguments.state), arguments)
    except Unavailable:
        print("the local run does not answer; start it with `make serve`", file=sys.stderr)
        return 1
    except (NotDone, OrderingError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
