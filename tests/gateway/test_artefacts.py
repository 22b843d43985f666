"""What `make build` makes: every function, over the layers as they are deployed, on the runtime's own Python."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from package import ARCHITECTURES, RUNTIME, PackageError, find_runtime, machine_of  # noqa: E402 - tools/ is not a package

FUNCTIONS = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("functions/*/*/app.py"))
ARCHITECTURE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"

# Imports the function of each folder, and lists by folder the sources that are compiled meanwhile. In one process,
# because the modules of the layers that several functions import are the same files.
IMPORT = """
import importlib.machinery, json, sys
folders, layers = sys.argv[1].split(":"), sys.argv[2:]
path, compiled = sys.path, {}
to_code = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(self, data, path, **options):
    found.append(path)
    return to_code(self, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
for folder in folders:
    found = compiled[folder] = []
    sys.path = [folder, *layers, *path]
    import app
    assert app.__file__ == f"{folder}/app.py", app.__file__
    del sys.modules["app"]
print(json.dumps(compiled))
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
    for name in ("functions", "layers", "tools"):
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


def contents(built: Path) -> dict[str, Path]:
    """The folder of each layer and function in the built template, by its logical id."""
    resources = yaml.safe_load((built / "template.yaml").read_text())["Resources"]
    found = {}
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if path := properties.get("CodeUri") or properties.get("ContentUri"):
            found[name] = (built / path).resolve()
    return found


def test_the_layer_is_for_the_architecture_of_the_functions(built: Path) -> None:
    """All compiled packages are for the architecture of the build, the only one that its template allows."""
    parameter = yaml.safe_load((built / "template.yaml").read_text())["Parameters"]["Architecture"]
    extensions = [*contents(built)["DependenciesLayer"].rglob("*.so")]

    assert (parameter["Default"], parameter["AllowedValues"]) == (ARCHITECTURE, [ARCHITECTURE])
    assert {machine_of(path) for path in extensions} == {ARCHITECTURES[ARCHITECTURE]}


def test_nothing_is_compiled_at_init(built: Path, runtime: str) -> None:
    """No function compiles a module when it is imported: its code is deployed as bytecode of its runtime."""
    folders = contents(built)
    layers = [str(folders[name] / "python") for name in ("DependenciesLayer", "OrderingLayer")]
    functions = {name: path for name, path in folders.items() if "functions" in path.parts}

    assert len(functions) == len(FUNCTIONS)
    environment = {
        name: "x"
        for resource in yaml.safe_load((built / "template.yaml").read_text())["Resources"].values()
        for name in resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
    }
    done = subprocess.run(
        [runtime, "-I", "-B", "-c", IMPORT, ":".join(map(str, functions.values())), *layers],
        env={**environment, "GRACE_SECONDS": "2", "AWS_DEFAULT_REGION": "eu-west-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {str(folder): [] for folder in functions.values()}
