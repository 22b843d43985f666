"""The `ordering` command.

Exit codes: 0 done; 1 not done, with the reason on the standard error; 2 wrong usage; 130 interrupted by Ctrl-C, or not
agreed to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click
from click.exceptions import NoSuchCommand

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import ServiceFault
from ordering.errors import OrderingError, Unavailable
from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.installation import NotDone
from ordering_tools.operations.commands import Group, Run, columns
from ordering_tools.output import make_lenient

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "The local run": {
        "serve": ("local.serve:command", "Run the API on this machine, with demo data, until Ctrl-C."),
        "demo": ("operations.demo:command", "Print the local run's addresses, tokens and calls again."),
        "sam-local": ("local.sam_local:command", "Prepare `sam local` for the local run, and print what to type."),
    },
    "Partners and access": {
        "partner": ("operations.partners:group", "Partners: their business units, users, grants and terms."),
        "contact": ("operations.contacts:group", "Contacts of business units, and what is held of a person."),
        "client": ("operations.clients:group", "Partners' programs, which fetch tokens themselves."),
        "token": ("operations.tokens:group", "Tokens that operators issue to partners."),
        "key": ("operations.signing_keys:group", "The keys that sign tokens, replaced without an outage."),
        "webhook": ("operations.webhooks:group", "Partners' endpoints, to which events of orders are sent."),
    },
    "Catalogues and stock": {
        "catalogue": ("operations.catalogues:catalogue", "Training catalogues of business units."),
        "ecards": ("operations.catalogues:ecards", "E-cards that companies can order."),
        "stock": ("operations.stock:group", "Load, count, move and unload certificates."),
    },
    "Orders and money": {
        "order": ("operations.orders:group", "Find, show and trace orders, and cancel or move them."),
        "mail": ("operations.mail:group", "List and show the mails of orders, and send them again."),
        "balance": ("operations.balance:group", "Show, top up and correct companies' balances."),
        "event": ("operations.events:group", "Put events of orders on the event bus again."),
    },
    "Health": {
        "doctor": ("operations.doctor:command", "Check this machine and the local run, or a stack."),
        "logs": ("operations.logs:command", "Show what the functions logged about an order or a request."),
        "dead": ("operations.dead_letters:group", "List, show and replay the messages in the dead-letter queues."),
        "book": ("operations.books:group", "The order books: the numbered lists of all orders."),
        "audit": ("operations.audits:group", "Show who changed what by a command, when and why."),
        "whoami": ("operations.whoami:command", "Show which stack or local run commands act on, and as whom."),
    },
    "For developers": {
        "completion": ("operations.completion:command", "Print the script that completes commands in a shell."),
        "dev": ("operations.dev:group", "Write generated files, and send events to the local run."),
    },
}
"""The commands by the sections of the help: where each is, and what it does, as its own help begins."""

_SUMMARIES = {name: summary for section in SECTIONS.values() for name, (_, summary) in section.items()}
_PLACES = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}


class _Root(Group):
    """The group of all commands. It imports a command when it is used: importing all takes longer than most of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order of the help."""
        return [*dict.fromkeys([*_PLACES, *super().list_commands(ctx)])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in _PLACES and cmd_name not in self.commands:
            module, _, attribute = _PLACES[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"ordering_tools.{module}"), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; of an unknown one say which name is close."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as unknown:
            raise NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx) from unknown

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the commands by sections, without importing them."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Propose commands without importing them."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

        found = [CompletionItem(name, help=one) for name, one in _SUMMARIES.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ordering", message="ordering %(version)s")
def root() -> None:
    """Run and operate the order API.

    Commands act on the local run, or with --stack (or ORDERING_STACK) on a stack in AWS.
    """


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
