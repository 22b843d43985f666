"""`sam local` against the running stack: up to the container's edge everywhere, and in containers where Docker is."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ordering_tools.local import sam_local
from ordering_tools.local.engine.state import find
from ordering_tools.stacks import read_stack
from ordering_tools.template import Template
from support.gateway import ROOT
from support.local_stack import LocalStack, running
from support.real_stack import RealStack

BRIDGE = "172.17.0.1"
"""The address of Docker's bridge on Linux."""

FUNCTION = "AWS::Serverless::Function"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the template as `sam build` writes it: without short tags."""
    folder = tmp_path_factory.mktemp("sam") / "a build"
    folder.mkdir()
    (folder / "template.yaml").write_text(yaml.safe_dump(Template.load(ROOT / "template.yaml").document))
    return folder


@pytest.fixture(scope="module")
def variables(real: RealStack, build: Path) -> dict[str, dict[str, str]]:
    """The variables in the file that the command writes, by function."""
    found = find(real.stack.state)
    assert found
    file = real.stack.state / sam_local.FILE
    sam_local.prepare(found, build, file)
    # It has the ids of keys, and the local run's folder may be moved to where others read.
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read: dict[str, dict[str, str]] = json.loads(file.read_text())
    return read


def test_the_file_sets_what_the_template_declares(variables: dict[str, dict[str, str]], build: Path) -> None:
    """The file sets all variables that the build declares for a function, as texts, and none that SAM would drop."""
    document = yaml.safe_load((build / "template.yaml").read_text())
    shared = document["Globals"]["Function"]["Environment"]["Variables"]
    declared = {
        name: {*shared, *resource["Properties"].get("Environment", {}).get("Variables", {})}
        for name, resource in document["Resources"].items()
        if resource["Type"] == FUNCTION
    }

    assert declared == {name: {*values} for name, values in variables.items()}
    assert "AWS_ENDPOINT_URL" in shared
    assert all(isinstance(value, str) for values in variables.values() for value in values.values())


def test_the_file_has_the_deployed_names(variables: dict[str, dict[str, str]], real: RealStack) -> None:
    """Tables and keys are those of the deployed stack, so that functions in containers see the same data."""
    resources = read_stack(real.services).resources

    assert variables["TrainingOrdersFunction"]["ORDERS_TABLE"] == resources["OrdersTable"]
    assert variables["WebhooksFunction"]["WEBHOOK_SECRETS_KEY"] == resources["WebhookSecretsKey"]


def test_the_engine_accepts_the_name_in_containers(real: RealStack) -> None:
    """The engine accepts requests under the name that this machine has in a container, but from no web page."""
    host = {"Host": "host.docker.internal:4566"}
    tables = {
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request",
    }

    def status(**more: str) -> int:
        return httpx.post(real.services, headers={**tables, **host, **more}, content="{}", timeout=20).status_code

    assert (status(), status(Origin="https://evil.example")) == (200, 421)


# In containers ------------------------------------------------------------------------------------------------------

EVENTS = {
    "request": ("TrainingProductsFunction", "training/products"),
    "request with a key of KMS": ("WebhooksFunction", "webhooks/registrations"),
    "stream": ("StreamFunction", "fulfilment/stream"),
    "queue": ("MailsFunction", "fulfilment/mails"),
}


def docker_is_there() -> bool:
    """Whether a Docker engine answers."""
    docker = shutil.which("docker")
    return bool(docker) and subprocess.run([str(docker), "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def in_containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, Path]]:
    """A stack whose engine containers can reach, and a build for `sam local`."""
    if not docker_is_there():
        pytest.skip("no Docker engine answers: `sam local` runs functions in containers only")
    folder = tmp_path_factory.mktemp("containers")
    architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    build = folder / "build"
    subprocess.run(
        ["make", "artefacts", f"STAGE={folder / 'package'}", f"BUILD={build}", f"ARCHITECTURE={architecture}"],
        cwd=ROOT,
        check=True,
    )
    host = BRIDGE if platform.system() == "Linux" else "127.0.0.1"
    with running(folder / "state", demo=True, environment={"ORDERING_ENGINE_HOST": host}) as stack:
        yield stack, build


@pytest.mark.parametrize(("function", "event"), EVENTS.values(), ids=EVENTS)
def test_sam_local_invoke(in_containers: tuple[LocalStack, Path], function: str, event: str) -> None:
    """`sam local invoke` carries out a sample event of each kind against the engine."""
    stack, build = in_containers
    found = find(stack.state)
    assert found
    file = stack.state / sam_local.FILE
    sam_local.prepare(found, build, file)

    done = subprocess.run(
        [
            *(ROOT / ".venvs/sam/bin/sam", "local", "invoke", function, "-e", ROOT / "events" / f"{event}.json"),
            *("-t", build / "template.yaml", "-n", file, "--add-host", "host.docker.internal:host-gateway"),
        ],
        env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert result.get("statusCode", 200) < 300, result
    assert not result.get("batchItemFailures"), result
