"""The `ordering` command.

Exit codes: 0 done; 1 not done, with the reason on the standard error; 2 wrong usage; 130 interrupted by Ctrl-C, or not
agreed to.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import click
from click.shell_completion import get_completion_class

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import ServiceFault
from ordering.errors import OrderingError, Unavailable
from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.documents.files import update
from ordering_tools.installation import ROOT, NotDone
from ordering_tools.local import sam_local, serve
from ordering_tools.operations import (
    audits,
    balance,
    catalogues,
    clients,
    contacts,
    dead_letters,
    demo,
    incoming,
    mail,
    orders,
    partners,
    signing_keys,
    stock,
    tokens,
    webhooks,
)
from ordering_tools.operations.commands import Group, Run, columns
from ordering_tools.output import make_lenient

_WRITERS = {
    "openapi": ("ordering_tools.documents.openapi", "docs/openapi.json from the functions' routes and models"),
    "lifecycle": ("ordering_tools.documents.lifecycles", "docs/lifecycle.md from the state transitions of orders"),
    "events": ("ordering_tools.documents.sample_events", "events/, the sample events for `sam local invoke`"),
    "schemas": ("ordering_tools.documents.event_schemas", "docs/events, the JSON Schemas of events"),
}
"""The commands that generate files from the code: the module of each, and the files that it writes."""


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("ordering"), message="ordering %(version)s")
def root() -> None:
    """Run and operate the order API.

    Commands act on the local run, or with --stack (or ORDERING_STACK) on a stack in AWS.
    """


@root.command(
    help="""Print the script that completes commands in a shell.

\b
bash:  eval "$(ordering completion bash)"      # in ~/.bashrc
zsh:   eval "$(ordering completion zsh)"       # in ~/.zshrc
fish:  ordering completion fish | source       # in ~/.config/fish/config.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), default="bash")
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    click.echo(kind(root, {}, "ordering", "_ORDERING_COMPLETE").source())


root.add_command(mail.group, "mail")
root.add_command(orders.group, "order")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in `arguments`, by default those of the process, and return its exit code."""
    if arguments is None:
        make_lenient()
    try:
        code = root.main(arguments, "ordering", standalone_mode=False, obj=Run(), max_content_width=columns())
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except Unavailable as error:
        return _failed(f"no response: {error}. Is the local run started (`make serve`), or the stack reachable?")
    except ServiceFault as fault:
        return _failed(f"AWS refuses: {fault}")
    except (NotDone, OrderingError, CallRefused, OSError, ValueError) as error:
        return _failed(str(error))
    return code if isinstance(code, int) else 0


def _failed(reason: str) -> int:
    click.echo(reason, err=True)
    return 1


root.add_command(catalogues.catalogue)
root.add_command(catalogues.ecards)


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


def _parser() -> argparse.ArgumentParser:
    """Declare all commands."""
    parser = _Parser(prog="ordering", description="Run and operate the order API.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serving = commands.add_parser("serve", help="run the API on this machine, with demo data")
    serve.add_arguments(serving)
    serving.set_defaults(run=serve.run)

    sam_local.add_arguments(commands.add_parser("sam-local", help="prepare `sam local` for the running local run"))
    demo.add_arguments(commands.add_parser("demo", help="print the local run's addresses, tokens and calls again"))

    dead_letters.add_arguments(_group(commands, "dead", "dead-letter queues: list, show and replay messages"))
    incoming.add_arguments(_group(commands, "event", "send events to the local run, as other systems do"))

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


root.add_command(audits.group, "audit")
root.add_command(balance.group, "balance")
root.add_command(stock.group, "stock")
root.add_command(partners.group, "partner")
root.add_command(contacts.group, "contact")
root.add_command(clients.group, "client")
root.add_command(tokens.group, "token")
root.add_command(signing_keys.group, "key")
root.add_command(webhooks.group, "webhook")


def _unconverted() -> None:
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    for name in (
        "serve",
        "sam-local",
        "demo",
        "dead",
        "event",
        *_WRITERS,
    ):

        def run(words: tuple[str, ...], name: str = name) -> int:
            chosen = _parser().parse_args([name, *words])
            code: int = chosen.run(chosen)
            return code

        words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
        root.add_command(click.Command(name, context_settings=settings, callback=run, params=[words]))


_unconverted()
