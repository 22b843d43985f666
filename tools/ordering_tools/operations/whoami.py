"""`ordering whoami`: which installation commands act on, and as whom."""

from __future__ import annotations

import os

import click

from ordering_tools.operations.commands import Command, Run, pass_run


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  ordering whoami --stack production
""",
)
@pass_run
def command(run: Run) -> None:
    """Show which stack or local run commands act on, and as whom."""
    site, running = run.site, run.site.running
    run.output.fields(
        {
            "installation": "local run" if site.local else "stack",
            "stack": site.stack.name,
            "region": site.region,
            "account": site.account,
            "caller": site.caller,
            "url": running.base_url if running else site.stack.outputs.get("BaseUrl"),
            "state": os.path.relpath(run.state) if site.local else None,
        }
    )
