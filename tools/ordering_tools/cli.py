"""The `ordering` command."""

from __future__ import annotations

import argparse
import sys

from ordering_tools import ecards, issuing, keys, lifecycles, openapi, partners, sample_events
from ordering_tools.local import serve


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

    reference = commands.add_parser("openapi", help="write docs/openapi.json from the functions' routes and models")
    openapi.add_arguments(reference)
    reference.set_defaults(run=openapi.run)

    lifecycle = commands.add_parser("lifecycle", help="write docs/lifecycle.md from the tables of moves")
    lifecycles.add_arguments(lifecycle)
    lifecycle.set_defaults(run=lifecycles.run)

    events = commands.add_parser("events", help="write events/ for `sam local invoke`")
    sample_events.add_arguments(events)
    events.set_defaults(run=sample_events.run)

    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code


if __name__ == "__main__":
    sys.exit(main())
