"""`ordering demo`: prints the addresses, tokens and calls of the local run again."""

from __future__ import annotations

import argparse
import json

from ordering_tools.demo import greeting
from ordering_tools.installation import Installation, NotDone
from ordering_tools.local.engine.mails import mails_url
from ordering_tools.local.engine.state import find
from ordering_tools.operations.commands import set_action


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    set_action(parser, run)


def run(_: Installation, arguments: argparse.Namespace) -> None:
    """Print the addresses of the local run's services, and the text that `make serve` has printed."""
    running = find(arguments.state)
    file = arguments.state / greeting.FILE
    if running is None or not file.exists():
        raise NotDone(f"this local run has no demo data ({file} is missing); start one with `make serve`")
    print(f"serving {running.base_url}\n  DynamoDB {running.endpoint}, Lambda's Invoke {running.functions}")
    print(f"  mails {mails_url(running.services)}\n")
    print(greeting.text(json.loads(file.read_text(encoding="utf-8")), arguments.state.resolve()))
