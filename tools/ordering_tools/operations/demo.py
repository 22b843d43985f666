"""`ordering demo`: prints the addresses, tokens and calls of the local run again."""

from __future__ import annotations

import json

import click

from ordering_tools.demo import greeting
from ordering_tools.installation import NotDone
from ordering_tools.local.engine.mails import mails_url
from ordering_tools.operations.commands import Command, Run, pass_run


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  ordering demo
  ordering demo --json
""",
)
@pass_run
def command(run: Run) -> None:
    """Print the local run's addresses, tokens and calls again."""
    running, file = run.local_run(), run.state / greeting.FILE
    if not file.exists():
        raise NotDone(f"this local run has no demo data ({file} is missing); start one with `make serve`")
    demo = json.loads(file.read_text(encoding="utf-8"))
    mails = mails_url(running.services)
    if run.json:
        run.output.document({**demo, "dynamodb": running.endpoint, "lambda": running.functions, "mails": mails})
        return
    click.echo(f"serving {running.base_url}\n  DynamoDB {running.endpoint}, Lambda's Invoke {running.functions}")
    click.echo(f"  mails {mails}\n\n{greeting.text(demo, run.state.resolve())}")
