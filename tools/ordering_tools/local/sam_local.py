"""`ordering sam-local`: lets `sam local` run the functions of a build against the engine of a local run.

SAM passes a function only the variables that its template declares. Ours declares none for endpoints, because AWS
needs none. So this declares them in the built template, which is for this machine only, and writes their values, with
those of the deployed function, into a file for `--env-vars`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import yaml

from ordering_tools.installation import ROOT, NotDone
from ordering_tools.local.engine.aws_account import service_variables
from ordering_tools.local.engine.deployment import environments
from ordering_tools.local.engine.state import Running
from ordering_tools.operations.commands import Command, Run, pass_run
from ordering_tools.stacks import DeploymentError, read_stack

BUILD = ROOT / ".build" / "sam-local" / "build"
FILE = "sam-local.json"
"""The name of the file with the variables, in the state folder."""
CONTAINERS_HOST = "host.docker.internal"
"""The name of this machine in a container."""

_SAM = ROOT / ".venvs" / "sam" / "bin"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "0.0.0.0"})  # noqa: S104 - compared with, not listened on


def endpoints(running: Running) -> dict[str, str]:
    """Return the variables with which a function in a container finds the engine of a local run, and may call it."""
    variables = service_variables(from_container(running.endpoint), from_container(running.services))
    # The developer's session token must not be sent to another endpoint than AWS's.
    return {**variables, "AWS_SESSION_TOKEN": "local"}


def from_container(url: str) -> str:
    """Return the URL under which a container reaches an endpoint of this machine; other endpoints stay as they are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{CONTAINERS_HOST}:{parts.port}" if parts.hostname in _LOOPBACK else url


def declared(template: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template that declares further variables for all functions, each with an empty value."""
    shared = template.get("Globals", {})
    function = shared.get("Function", {})
    variables = {**dict.fromkeys(names, ""), **function.get("Environment", {}).get("Variables", {})}
    return {**template, "Globals": {**shared, "Function": {**function, "Environment": {"Variables": variables}}}}


def prepare(running: Running, build: Path, file: Path) -> None:
    """Declare the variables in the template of a build, and write their values to `file`, readable by its owner only.

    Args:
        build: The folder into which `sam build` has built the project's template.

    Raises:
        NotDone: There is no build.
        DeploymentError: The stack of the local run cannot be read.
    """
    built = build / "template.yaml"
    if not built.exists():
        raise NotDone(f"there is no {built}; `make sam-local` builds it")
    more = endpoints(running)
    document = declared(yaml.safe_load(built.read_text(encoding="utf-8")), more)
    built.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    deployed = environments(running.services, read_stack(running.services))
    text = json.dumps({name: {**variables, **more} for name, variables in deployed.items()}, indent=2)
    file.touch(mode=0o600)
    file.write_text(f"{text}\n", encoding="utf-8")


def commands(build: Path, file: Path) -> list[str]:
    """Return the commands to type, as lines of a shell."""
    sam, template, variables = map(os.path.relpath, (_SAM / "sam", build / "template.yaml", file))
    options = ["-t", template, "-n", variables, "--add-host", f"{CONTAINERS_HOST}:host-gateway"]
    invoke = [sam, "local", "invoke", "TrainingProductsFunction", "-e", "events/training/products.json", *options]
    start = [sam, "local", "start-api", "--port", "3001", "--warm-containers", "LAZY", *options]
    return [shlex.join(invoke), shlex.join(start)]


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  ordering sam-local
""",
)
@click.option("--build", type=click.Path(path_type=Path), default=BUILD, hidden=True)
@pass_run
def command(run: Run, build: Path) -> None:
    """Prepare `sam local` for the local run, and print what to type."""
    running, file = run.local_run("start it with `make serve ENGINE_PORT=4566`"), run.state / FILE
    try:
        prepare(running, build, file)
    except DeploymentError as error:
        raise NotDone(str(error)) from error
    lines = commands(build, file)
    run.output.rows([{"command": line} for line in lines]) if run.json else click.echo("\n".join(lines))
    host = urlsplit(running.services).hostname
    if sys.platform == "linux" and host in _LOOPBACK:
        click.echo(
            f"The engine listens on {host}, which containers on Linux cannot reach, except with Docker Desktop. Let it "
            "listen on Docker's bridge instead: `make serve ENGINE_PORT=4566 ENGINE_HOST=172.17.0.1`",
            err=True,
        )
