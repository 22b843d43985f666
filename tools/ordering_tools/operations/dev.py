"""`ordering dev`: what developers of this project use."""

from __future__ import annotations

import importlib
import json

import click

from ordering_tools.demo import greeting
from ordering_tools.documents.files import update
from ordering_tools.installation import ROOT, NotDone
from ordering_tools.operations import incoming
from ordering_tools.operations.commands import Command, Group, Run, pass_run

_WRITERS = {
    "openapi": ("ordering_tools.documents.openapi", "docs/openapi.json from the functions' routes and models"),
    "collection": ("ordering_tools.documents.collection", "docs/collection.json from the OpenAPI document"),
    "lifecycle": ("ordering_tools.documents.lifecycles", "docs/lifecycle.md from the state transitions of orders"),
    "events": ("ordering_tools.documents.sample_events", "events/, the sample events for `sam local invoke`"),
    "errors": ("ordering_tools.documents.error_guide", "docs/guides/errors.md from the errors of all contracts"),
    "schemas": ("ordering_tools.documents.event_schemas", "docs/events, the JSON Schemas of events"),
}
"""The commands that generate files from the code: the module of each, and the files that it writes."""


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  ordering dev openapi
  ordering dev events --check
""",
)
def group() -> None:
    """Write generated files, and send events to the local run."""


group.add_command(incoming.group, "event")


@group.command("pictures", cls=Command)
@pass_run
def pictures(run: Run) -> None:
    """Write docs/pictures, of the local run and by a Chromium of this machine (ORDERING_CHROMIUM names another)."""
    from ordering_tools.documents.pictures import take  # noqa: PLC0415 - as the writers below

    running, file = run.local_run(), run.state / greeting.FILE
    if not file.exists():
        raise NotDone(f"this local run has no demo data ({file} is missing); start one with `make serve`")
    taken = take(running.base_url, json.loads(file.read_text(encoding="utf-8")))
    run.output.rows([{"written": one} for one in taken])


@group.command("chromium", cls=Command)
@pass_run
def chromium(run: Run) -> None:
    """Print the Chromium of this machine, for tests and pictures; without one, install it, as root with apt-get."""
    from ordering_tools.documents.chromium import installed  # noqa: PLC0415 - as the writers below

    run.output.rows([{"chromium": installed()}])


def _writer(name: str, module: str, files: str) -> None:
    @group.command(name, cls=Command, help=f"Write {files}.")
    @click.option("--check", is_flag=True, help="Write nothing; fail if the committed files are out of date.")
    @pass_run
    def write(run: Run, *, check: bool) -> None:
        # Imported here: these modules import all functions, which would make every other command start slowly.
        writer = importlib.import_module(module)
        stale = update(ROOT, writer.FILES, writer.documents(), check=check)
        if stale and check:
            raise NotDone(f"out of date: {', '.join(stale)}; update with `ordering dev {name}`")
        run.output.rows([{"updated": file} for file in stale], empty="up to date")


for _name, (_module, _files) in _WRITERS.items():
    _writer(_name, _module, _files)
