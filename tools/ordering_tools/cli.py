"""The `ordering` command."""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from typing import Any

from ordering_tools.documents.files import update
from ordering_tools.installation import ROOT
from ordering_tools.local import sam_local, serve
from ordering_tools.operations import (
    clients,
    dead_letters,
    demo,
    ecards,
    incoming,
    mail,
    partners,
    signing_keys,
    stock,
    tokens,
    webhooks,
)
from ordering_tools.output import make_lenient

_WRITERS = {
    "openapi": ("ordering_tools.documents.openapi", "docs/openapi.json from the functions' routes and models"),
    "lifecycle": ("ordering_tools.documents.lifecycles", "docs/lifecycle.md from the state transitions of orders"),
    "events": ("ordering_tools.documents.sample_events", "events/, the sample events for `sam local invoke`"),
    "schemas": ("ordering_tools.documents.event_schemas", "docs/events, the JSON Schemas of events"),
}
"""The commands that generate files from the code: the module of each, and the files that it writes."""


class _Parser(argparse.ArgumentParser):
    """A parser whose commands are described in their own `--help` as in the list of commands."""

    def add_subparsers(self, **options: Any) -> Any:
        commands: Any = super().add_subparsers(**options)
        add_parser = commands.add_parser

        def add_described(name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's name
            parser: argparse.ArgumentParser = add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
            return parser

        commands.add_parser = add_described
        return commands


def _group(commands: Any, name: str, summary: str) -> Any:
    """Add a command that has commands of its own, and return what those are added to."""
    return commands.add_parser(name, help=summary).add_subparsers(required=True, metavar="COMMAND")


def main(arguments: list[str] | None = None) -> int:
    """Run the command in `arguments`, by default those of the process, and return its exit code."""
    if arguments is None:
        make_lenient()
    chosen = _parser().parse_args(arguments)
    code: int = chosen.run(chosen)
    return code


def _parser() -> argparse.ArgumentParser:
    """Declare all commands."""
    parser = _Parser(prog="ordering", description="Run and operate the order API.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serving = commands.add_parser("serve", help="run the API on this machine, with demo data")
    serve.add_arguments(serving)
    serving.set_defaults(run=serve.run)

    sam_local.add_arguments(commands.add_parser("sam-local", help="prepare `sam local` for the running local run"))
    demo.add_arguments(commands.add_parser("demo", help="print the local run's addresses, tokens and calls again"))

    token = _group(commands, "token", "issue and revoke tokens")
    issue = token.add_parser("issue", help="print a new token for a partner")
    tokens.add_arguments(issue)

    revoke = token.add_parser("revoke", help="revoke a token")
    tokens.add_revoking_arguments(revoke)

    partner = _group(commands, "partner", "show and change the terms of partners")
    deals = partner.add_parser("deals", help="the plan of a CRM account, and whether its data can be changed")
    partners.add_deals_arguments(deals)
    off = partner.add_parser("off", help="refuse a partner's tokens, and hold back the events of its webhooks")
    partners.add_switch_arguments(off, active=False)
    on = partner.add_parser("on", help="accept a partner's tokens again, and send the events that its webhooks missed")
    partners.add_switch_arguments(on, active=True)

    ecards.add_arguments(commands)
    clients.add_arguments(_group(commands, "client", "manage clients of the token endpoint"))
    stock.add_arguments(_group(commands, "stock", "load, count, move, compact and unload certificates"))
    signing_keys.add_arguments(_group(commands, "key", "list, add and retire the keys that sign tokens"))

    dead_letters.add_arguments(_group(commands, "dead", "dead-letter queues: list, show and replay messages"))
    incoming.add_arguments(_group(commands, "event", "send events to the local run, as other systems do"))
    mail.add_arguments(_group(commands, "mail", "list and show sent mails, and send mails again"))

    webhooks.add_arguments(
        _group(commands, "webhook", "manage partners' webhooks, and receive their events on this machine")
    )

    for name, (module, text) in _WRITERS.items():
        writer = commands.add_parser(name, help=f"write {text}")
        writer.add_argument(
            "--check", action="store_true", help="write nothing; fail if the committed files are out of date"
        )
        writer.set_defaults(run=partial(_write, name, module))
    return parser


def _write(name: str, module: str, arguments: argparse.Namespace) -> int:
    # Imported here: these modules import all functions, which would make every other command start slowly.
    writer = importlib.import_module(module)
    stale = update(ROOT, writer.FILES, writer.documents(), check=arguments.check)
    if not (stale and arguments.check):
        return 0
    print(f"out of date: {', '.join(stale)}; update with `ordering {name}`", file=sys.stderr)
    return 1
