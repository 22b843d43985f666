"""`ordering completion`: the script that completes commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ordering_tools.operations.commands import Command


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  eval "$(ordering completion bash)"      # in ~/.bashrc
  eval "$(ordering completion zsh)"       # in ~/.zshrc
  ordering completion fish | source       # in ~/.config/fish/config.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), default="bash", help="The shell.")
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    click.echo(kind(ctx.find_root().command, {}, "ordering", "_ORDERING_COMPLETE").source())
