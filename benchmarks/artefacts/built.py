"""The artefacts as `make build` makes them, and the references beside them, compiled for the functions' own Python."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.artefacts.processes import Candidate
from benchmarks.engine import ROOT
from ordering_tools.template import Template
from package import PackageError, find_runtime

ARCHITECTURE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
REFERENCES = ROOT / "benchmarks" / "references"
STAGE = ROOT / ".build" / "benchmarks"
"""The folder of what the benchmarks make for themselves. What `make build` made, perhaps to be deployed, stays."""
LAYERS = (
    STAGE / "build" / "DependenciesLayer" / "python",
    STAGE / "package" / "layers" / "ordering" / "python",
)
"""The layers, built: that of the dependencies, and the project's own."""

_AMAZON = LAYERS[1] / "ordering" / "aws" / "amazon-trust-services.pem"
_ENVIRONMENT = ROOT / ".venvs" / "references"
_RUNTIME_CLIENT = ("awslambdaric", "runtime_client*.so", "simplejson", "snapshot_restore_py.py")
"""What Lambda itself has beside its interpreter."""

SETTINGS = {
    "ORDERS_TABLE": "OrdersTable",
    "CATALOGUE_TABLE": "CatalogueTable",
    "ACCOUNTS_TABLE": "AccountsTable",
    "GRACE_SECONDS": "2",
    "ALLOWED_ORIGINS": "",
    "TOKEN_ISSUER": "https://tokens.example.com",
    "TOKEN_AUDIENCE": "ordering",
    "SHARED_USAGE": "calls-without-own-key",
    "POWERTOOLS_METRICS_NAMESPACE": "ordering",
}
"""What functions and references are told, in place of the template's defaults."""


class NotBuilt(Exception):
    """The artefacts cannot be built here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Built:
    """What is measured, and the interpreter that runs it."""

    python: Path
    runtime: Path
    """The folder with AWS's runtime client, which comes last on the path."""
    ours: Mapping[str, Candidate]
    """The functions, by their folder."""
    references: Mapping[str, Candidate]
    """The references, by their folder."""


@cache
def build_all() -> Built:
    """Build the artefacts and set up the references, once in a run.

    Raises:
        NotBuilt: There is no interpreter of the functions' runtime, or a command failed.
    """
    try:
        python = find_runtime()
    except PackageError as error:
        raise NotBuilt(str(error)) from None
    own = STAGE.relative_to(ROOT)
    folders = f"STAGE={own / 'package'}", f"BUILD={own / 'build'}"
    _run(["make", "--no-print-directory", "artefacts", f"ARCHITECTURE={ARCHITECTURE}", *folders])
    # With uv from the development environment's set-up, so that it is not installed for a second Python.
    path = f"{ROOT / '.venvs' / 'uv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    _run([str(python), str(ROOT / "tools" / "environments.py"), "references"], PATH=path)
    (packages,) = _ENVIRONMENT.glob("lib/python*/site-packages")
    _compile(python, packages)
    _run([str(python), "-m", "compileall", "-qq", "-f", "--invalidation-mode", "unchecked-hash", str(REFERENCES)])
    runtime = _runtime_client(packages)
    return Built(python, runtime, _ours(), _references(packages))


def _run(command: list[str], **variables: str) -> str:
    done = subprocess.run(  # noqa: S603 - commands of this project
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotBuilt(f"`{' '.join(command)}` failed:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}".rstrip())
    return done.stdout


def _compile(python: Path, packages: Path) -> None:
    """Compile the references' packages as ours are, once for each set-up of their environment."""
    mark, stamp = packages / ".compiled", (_ENVIRONMENT / ".stamp").read_text()
    if mark.exists() and mark.read_text() == stamp:
        return
    command = [str(python), "-m", "compileall", "-qq", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _run([*command, str(packages)])
    mark.write_text(stamp)


def _runtime_client(packages: Path) -> Path:
    folder = STAGE / "runtime"
    folder.mkdir(parents=True, exist_ok=True)
    for found in (path for pattern in _RUNTIME_CLIENT for path in packages.glob(pattern)):
        link = folder / found.name
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return folder


def _ours() -> dict[str, Candidate]:
    template = Template.load(ROOT / "template.yaml").with_own_tables()
    shared = template.resolve(template.document["Globals"]["Function"]["Environment"]["Variables"])
    found = {}
    for _, properties in template.resources("AWS::Serverless::Function"):
        code = properties["CodeUri"]
        name, own = code.removeprefix("functions/"), properties.get("Environment", {}).get("Variables", {})
        # What is made from the stack's other resources is read only by calls.
        variables = {each: value if isinstance(value, str) else "x" for each, value in {**shared, **own}.items()}
        known = {each: value for each, value in SETTINGS.items() if each in variables}
        folder = STAGE / "package" / code
        found[name] = Candidate(name, folder, LAYERS, {**variables, **known}, _AMAZON)
    return found


def _references(packages: Path) -> dict[str, Candidate]:
    variables = {**SETTINGS, "POWERTOOLS_SERVICE_NAME": "ordering", "POWERTOOLS_TRACE_DISABLED": "true"}
    path = [REFERENCES / "layer", packages]
    found = {}
    for app in REFERENCES.glob("*/app.py"):
        folder = app.parent
        trusted = _AMAZON if "floor" in folder.name else packages / "botocore" / "cacert.pem"
        found[folder.name] = Candidate(folder.name, folder, path, variables, trusted)
    return found
