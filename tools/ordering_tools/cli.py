"""The `ordering` command."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

from ordering_tools.local import serve
from ordering_tools.operations import dead_letters as dead
from ordering_tools.operations import ecards, mail, partners, webhooks
from ordering_tools.operations import incoming as events_in
from ordering_tools.operations import signing_keys as keys
from ordering_tools.operations import tokens as issuing

_WRITERS = {
    "openapi": ("ordering_tools.documents.openapi", "docs/openapi.json from the functions' routes and models"),
    "lifecycle": ("ordering_tools.documents.lifecycles", "docs/lifecycle.md from the tables of moves"),
    "events": ("ordering_tools.documents.sample_events", "events/ for `sam local invoke`"),
    "schemas": ("ordering_tools.documents.schemas", "docs/events from the shapes of events"),
}
"""What is written from the code: the module of each command, and what it writes."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ordering", description="Run and operate the order API.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serving = commands.add_parser("serve", help="serve the API on this machine, with demo data")
    serve.add_arguments(serving)
    serving.set_defaults(run=serve.run)

    token = commands.add_parser("token", help="issue and revoke tokens").add_subparsers(
        required=True, metavar="COMMAND"
    )
    issue = token.add_parser("issue", help="print a token for a partner of the local run")
    issuing.add_arguments(issue)

    revoke = token.add_parser("revoke", help="refuse a token from now on")
    issuing.add_revoking_arguments(revoke)

    partner = commands.add_parser("partner", help="what a partner may do").add_subparsers(
        required=True, metavar="COMMAND"
    )
    deals = partner.add_parser("deals", help="the plan of a CRM account, and whether its data can be changed")
    partners.add_deals_arguments(deals)

    ecards.add_arguments(commands)
    keys.add_arguments(
        commands.add_parser("key", help="the keys that sign tokens").add_subparsers(required=True, metavar="COMMAND")
    )

    dead.add_arguments(
        commands.add_parser("dead", help="what failed too often").add_subparsers(required=True, metavar="COMMAND")
    )
    events_in.add_arguments(
        commands.add_parser("event", help="events as others tell them").add_subparsers(required=True, metavar="COMMAND")
    )
    mail.add_arguments(
        commands.add_parser("mail", help="mails that were sent").add_subparsers(required=True, metavar="COMMAND")
    )

    webhooks.add_arguments(
        commands.add_parser("webhook", help="where events of partners' orders are sent").add_subparsers(
            required=True, metavar="COMMAND"
        )
    )

    for name, (module, text) in _WRITERS.items():
        writer = commands.add_parser(name, help=f"write {text}")
        writer.add_argument("--check", action="store_true", help="write nothing, fail if what is committed is stale")
        writer.set_defaults(run=_run_of(module))

    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code


def _run_of(module: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        # Imported here: these import all functions and what describes them, which every other command would wait for.
        code: int = importlib.import_module(module).run(arguments)
        return code

    return run


if __name__ == "__main__":
    sys.exit(main())
