"""The `ordering` command.

Exit codes: 0 done; 1 not done, with the reason on the standard error; 2 wrong usage; 130 interrupted by Ctrl-C, or not
agreed to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click
from click.shell_completion import get_completion_class

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import ServiceFault
from ordering.errors import OrderingError, Unavailable
from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.installation import NotDone
from ordering_tools.local import sam_local, serve
from ordering_tools.operations import (
    audits,
    balance,
    catalogues,
    clients,
    contacts,
    dead_letters,
    demo,
    dev,
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


for _name, _command in {
    "serve": serve.command,
    "sam-local": sam_local.command,
    "demo": demo.command,
    "dev": dev.group,
    "audit": audits.group,
    "balance": balance.group,
    "catalogue": catalogues.catalogue,
    "client": clients.group,
    "contact": contacts.group,
    "dead": dead_letters.group,
    "ecards": catalogues.ecards,
    "mail": mail.group,
    "key": signing_keys.group,
    "order": orders.group,
    "partner": partners.group,
    "stock": stock.group,
    "token": tokens.group,
    "webhook": webhooks.group,
}.items():
    root.add_command(_command, _name)


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

    incoming.add_arguments(_group(commands, "event", "send events to the local run, as other systems do"))

    return parser


def _unconverted() -> None:
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    for name in ("event",):

        def run(words: tuple[str, ...], name: str = name) -> int:
            chosen = _parser().parse_args([name, *words])
            code: int = chosen.run(chosen)
            return code

        words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
        root.add_command(click.Command(name, context_settings=settings, callback=run, params=[words]))


_unconverted()
