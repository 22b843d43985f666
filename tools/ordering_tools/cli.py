"""The `ordering` command.

Exit codes: 0 done; 1 not done, with the reason on the standard error; 2 wrong usage; 130 interrupted by Ctrl-C, or not
agreed to.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

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
    books,
    catalogues,
    clients,
    contacts,
    dead_letters,
    demo,
    dev,
    doctor,
    mail,
    orders,
    partners,
    signing_keys,
    stock,
    tokens,
    webhooks,
    whoami,
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
    "doctor": doctor.command,
    "audit": audits.group,
    "balance": balance.group,
    "book": books.group,
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
    "whoami": whoami.command,
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
