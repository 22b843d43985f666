"""What `make build` makes: every function, over the layers as they are deployed, on the runtime's own Python."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from package import ARCHITECTURES, RUNTIME, PackageError, find_runtime, machine_of  # noqa: E402 - tools/ is not a package

FUNCTIONS = sorted("/".join(path.parts[-3:-1]) for path in ROOT.glob("functions/*/*/app.py"))
ARCHITECTURE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"

PYDANTIC = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
WEB = {*PYDANTIC, "aws_lambda_powertools", "msgspec"}
CRYPTOGRAPHY = {"_cffi_backend", "cryptography"}
MSGSPEC = {"msgspec", "typing_extensions"}

PACKAGES = {
    **dict.fromkeys(FUNCTIONS, WEB),
    **dict.fromkeys(
        ["ecards/certificates", "identity/token", "training/order_keys", "webhooks/registrations"], WEB | CRYPTOGRAPHY
    ),
    **dict.fromkeys(["fulfilment/mails", "fulfilment/stream", "webhooks/delivery"], MSGSPEC | CRYPTOGRAPHY),
    "fulfilment/incoming": MSGSPEC | PYDANTIC | CRYPTOGRAPHY,
    "identity/authorizer": {*MSGSPEC, *CRYPTOGRAPHY, "jwt"},
    "releases/smoke": MSGSPEC,
}
"""The packages of the dependencies' layer that each function loads while it initialises."""

MEGABYTES = {"DependenciesLayer": (13.0, 36.0), "OrderingLayer": (1.2, 2.6)}
"""The sizes of each layer, zipped and unzipped, in 10^6 bytes, that it must not exceed."""

# Imports a function as Lambda does: from its own folder, then from the layers, and with the runtime's API, so that it
# connects. The modules whose source is compiled meanwhile are listed.
INITIALISE = """
import gc, importlib.machinery, json, sys
folder, *layers = sys.argv[1:]
sys.path[:0] = [folder, *layers]
compiled = []
to_code = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(self, data, path, **options):
    compiled.append(path)
    return to_code(self, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
import app
assert app.__file__ == f"{folder}/app.py", app.__file__
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
packages = sorted({name.partition(".")[0] for name, file in files.items() if file.startswith(layers[0])})
found = {"compiled": compiled, "packages": packages, "collects": gc.isenabled(), "kept": gc.get_freeze_count()}
print(json.dumps(found))
"""

REGIONS = ("eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1")

# Prints the endpoints of services, by region and service.
CONNECT = """
import json, sys
sys.path[:0] = filter(None, sys.argv[1].split(":"))
from botocore.session import get_session
regions, services = (text.split(",") for text in sys.argv[2:])
urls = [get_session().create_client(one, region).meta.endpoint_url for region in regions for one in services]
print(json.dumps(urls))
"""


@pytest.fixture(scope="module")
def runtime() -> str:
    """The interpreter of the functions' runtime."""
    try:
        return str(find_runtime())
    except PackageError as error:
        pytest.skip(f"the artefacts are for another Python: {error}")


@pytest.fixture(scope="module")
def built(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, built in a folder whose name has a blank, for this machine's architecture."""
    project = tmp_path_factory.mktemp("built") / "a project"
    project.mkdir()
    for name in ("docs", "functions", "layers", "tools"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "template.yaml"):
        shutil.copy(ROOT / name, project)
    for name in (".venv", ".venvs"):
        (project / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["make", "artefacts", f"ARCHITECTURE={ARCHITECTURE}"],
        cwd=project,
        env={**os.environ, "RUNTIME_PYTHON": runtime},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return project / ".aws-sam" / "build"


def test_the_bytecode_is_of_the_functions_runtime() -> None:
    """The artefacts are compiled by the Python that the template names as the functions' runtime."""
    document = Template.load(ROOT / "template.yaml").document

    assert document["Globals"]["Function"]["Runtime"] == f"python{RUNTIME}"


@cache
def read_template(built: Path) -> dict[str, Any]:
    """The built template, read once: it takes a second."""
    document: dict[str, Any] = yaml.safe_load((built / "template.yaml").read_text())
    return document


def contents(built: Path) -> dict[str, Path]:
    """The folder of each layer and function in the built template, by its logical id."""
    found = {}
    for name, resource in read_template(built)["Resources"].items():
        properties = resource.get("Properties", {})
        if path := properties.get("CodeUri") or properties.get("ContentUri"):
            found[name] = (built / path).resolve()
    return found


def test_the_layer_is_for_the_architecture_of_the_functions(built: Path) -> None:
    """All compiled packages are for the architecture of the build, the only one that its template allows."""
    parameter = read_template(built)["Parameters"]["Architecture"]
    extensions = [*contents(built)["DependenciesLayer"].rglob("*.so")]

    assert (parameter["Default"], parameter["AllowedValues"]) == (ARCHITECTURE, [ARCHITECTURE])
    assert {machine_of(path) for path in extensions} == {ARCHITECTURES[ARCHITECTURE]}


def layers_of(built: Path) -> list[str]:
    """The folders of the layers' modules, in the order of Lambda's path."""
    folders = contents(built)
    return [str(folders[name] / "python") for name in ("DependenciesLayer", "OrderingLayer")]


def run(built: Path, runtime: str, code: str, *arguments: str, **more: str) -> str:
    """What code prints on the runtime, with every variable that a function has and others."""
    environment = {
        name: "x"
        for resource in read_template(built)["Resources"].values()
        for name in resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
    }
    done = subprocess.run(
        [runtime, "-I", "-B", "-c", code, *arguments],
        env={
            **environment,
            "SERVICE_CLIENT": "direct",
            "GRACE_SECONDS": "2",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("function", FUNCTIONS)
def test_initialisation(built: Path, runtime: str, function: str) -> None:
    """A function compiles nothing, loads only the packages listed, and leaves them out when it collects garbage."""
    (folder,) = [path for path in contents(built).values() if path.match(f"functions/{function}")]
    # The read of the initialisation fails, and stops nothing.
    more = {"AWS_ENDPOINT_URL": "https://127.0.0.1:9"}

    found = json.loads(run(built, runtime, INITIALISE, str(folder), *layers_of(built), **more))

    assert found["compiled"] == []
    assert {*found["packages"]} == PACKAGES[function]
    assert found["collects"]
    assert found["kept"]


def test_every_function_is_built(built: Path) -> None:
    """The built template has each function of the project."""
    folders = ["/".join(path.parts[-2:]) for path in contents(built).values() if "functions" in path.parts]

    assert sorted(folders) == FUNCTIONS


def test_the_layer_has_the_services_that_are_called(built: Path, runtime: str) -> None:
    """The layer has botocore's definitions of the services that the functions connect to, with all their endpoints."""
    sources = "".join(path.read_text() for path in (ROOT / "layers" / "ordering").rglob("*.py"))
    services = sorted({*re.findall(r'\b(?:connect|create_client)\(\s*"([a-z0-9-]+)"', sources)})
    data = contents(built)["DependenciesLayer"] / "python" / "botocore" / "data"
    asked = ",".join(REGIONS), ",".join(services)

    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == services
    # Beside the whole of botocore in this environment.
    assert run(built, runtime, CONNECT, ":".join(layers_of(built)), *asked) == run(
        built, sys.executable, CONNECT, "", *asked
    )


@pytest.mark.parametrize("layer", MEGABYTES)
def test_sizes_of_layers(built: Path, layer: str) -> None:
    """No layer is larger than its budget, neither as a zip file nor unzipped."""
    folder, zipped = contents(built)[layer], io.BytesIO()
    files = [path for path in folder.rglob("*") if path.is_file()]
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))

    sizes = zipped.tell() / 1e6, sum(path.stat().st_size for path in files) / 1e6
    assert all(size <= most for size, most in zip(sizes, MEGABYTES[layer], strict=True)), sizes


def test_no_path_of_the_machine_is_built_in(built: Path) -> None:
    """No file of the artefacts contains the folder that they were built in, so every machine builds the same."""
    folder = str(built.parent.parent).encode()
    files = [path for root in contents(built).values() for path in root.rglob("*") if path.is_file()]

    assert [path for path in files if folder in path.read_bytes()] == []
    assert any(b"/opt/python/ordering/" in path.read_bytes() for path in files if path.suffix == ".pyc")
