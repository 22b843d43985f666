"""The local run as a process: its data, its child processes, its errors, and reloads."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from gateway.waiting import eventually
from ordering_tools.local.engine.engine import dynamodb
from support.local_stack import LocalStack, StackError, running

pytestmark = pytest.mark.gateway

FIXTURE = Path(__file__).parent / "fixture"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the fixture that a test may change."""
    shutil.copytree(FIXTURE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def behave(stack: LocalStack, **command: object) -> httpx.Response:
    return httpx.post(f"{stack.base_url}/behave", json=command, timeout=20)


def processes() -> dict[int, int]:
    """All running processes, each with its parent."""
    table = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines()]
    return {int(process): int(parent) for process, parent, status in rows if not status.startswith("Z")}


def descendants(process: int) -> set[int]:
    parents = processes()
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def notes(stack: LocalStack) -> set[str]:
    found = dynamodb(stack.endpoint).scan(TableName=stack.resources["NotesTable"], ConsistentRead=True)["Items"]
    return {item["pk"]["S"] for item in found}


def write_note(stack: LocalStack, name: str) -> None:
    dynamodb(stack.endpoint).put_item(
        TableName=stack.resources["NotesTable"], Item={"pk": {"S": name}, "owner": {"S": "me"}}
    )


def end(stack: LocalStack, number: signal.Signals) -> set[int]:
    """Send `serve` a signal while a function is busy; returns the processes that it had."""

    log, word = stack.state / "functions.log", f"busy until {number.name}"

    def call() -> None:
        with suppress(httpx.HTTPError):
            behave(stack, print=word, sleep=0.9)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call)
        assert eventually(lambda: log.exists() and word in log.read_text())
        family = descendants(stack.process.pid)
        stack.process.send_signal(number)
        stack.process.wait(60)
    return family


def test_data_are_kept_and_processes_end(project: Path, tmp_path: Path) -> None:
    """After Ctrl-C and after a SIGKILL of `serve` no process is left, and all data are kept."""
    template, build, state = project / "template.yaml", tmp_path / "build", tmp_path / "state"

    with running(state, template=template, build=build) as stack:
        write_note(stack, "one")
        family = end(stack, signal.SIGINT)
        assert stack.process.returncode == 0
    assert len(family) >= 4
    assert eventually(lambda: not family & processes().keys(), seconds=5)

    with running(state, template=template, build=build) as stack:
        assert notes(stack) == {"one"}
        write_note(stack, "two")
        family = end(stack, signal.SIGKILL)
    assert len(family) >= 4
    assert eventually(lambda: not family & processes().keys())

    with running(state, template=template, build=build) as stack:
        assert notes(stack) == {"one", "two"}


def test_changes_are_served(project: Path, tmp_path: Path) -> None:
    """A changed function or layer is used without a restart, a changed template with a new gateway."""
    template = project / "template.yaml"
    with running(tmp_path / "state", template=template, build=tmp_path / "build") as stack:
        before = behave(stack).json()["process"]

        app = project / "functions" / "behave" / "app.py"
        app.write_text(app.read_text().replace('"process":', '"version": 2, "process":'))
        assert eventually(lambda: behave(stack).json().get("version") == 2)
        assert eventually(lambda: before not in processes())
        gateways = descendants(stack.process.pid)

        shared = project / "layers" / "shared" / "python" / "shared.py"
        shared.write_text(shared.read_text().replace("200", "299"))
        assert eventually(lambda: behave(stack).status_code == 299)
        assert gateways & descendants(stack.process.pid)

        template.write_text("Resources: [")
        assert eventually(lambda: "not reloaded: " in stack.printed())
        assert behave(stack).status_code == 299

        fresh = (FIXTURE / "template.yaml").read_text().replace("Path: /behave", "Path: /renamed")
        template.write_text(fresh)
        assert eventually(lambda: httpx.post(f"{stack.base_url}/renamed", json={}, timeout=20).status_code == 299)
        assert behave(stack).status_code == 404
        assert "reload: " in stack.printed()


def test_debug_mode(project: Path, tmp_path: Path) -> None:
    """With --debug functions run in the gateway's process, one at a time, and breakpoint() works in the terminal."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading),
        os.fdopen(writing, "w") as keyboard,
        ThreadPoolExecutor(3) as pool,
        running(
            tmp_path / "state",
            template=project / "template.yaml",
            build=tmp_path / "build",
            debug=True,
            stdin=reading,
        ) as stack,
    ):
        first, second = pool.map(lambda _: behave(stack, sleep=0.2).json(), range(2))
        held = pool.submit(behave, stack, **{"break": True})
        assert eventually(lambda: "(Pdb)" in stack.printed())
        keyboard.write("p 'the event is', event['path']\nc\n")
        keyboard.flush()

        assert held.result().status_code == 200
        assert "('the event is', '/behave')" in stack.printed()
        assert first["process"] == second["process"]
        assert first["ended"] <= second["began"] or second["ended"] <= first["began"]
        assert first["environment"]["GREETING"] == "hello"
        assert "HOSTNAME" not in first["environment"]
        echo = httpx.get(f"{stack.base_url}/echo", headers={"Authorization": "Bearer allow"}, timeout=20)
        assert echo.status_code == 200
        assert behave(stack, **{"raise": "on purpose"}).status_code == 502


def run_serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ordering_tools.local.serve", "--bare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_port_taken(tmp_path: Path, address: str) -> None:
    """If the port is in use, the error names it and a solution, and the exit code is 2."""
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        done = run_serve("--port", str(port), "--state", tmp_path / "state")

    assert done.returncode == 2
    assert f"port {port} is taken by another program" in done.stderr
    assert f"make serve PORT={port + 1}" in done.stderr


def test_state_taken(stack: LocalStack) -> None:
    """A second run on the same folder ends with exit code 2, and does not affect the first."""
    done = run_serve("--port", "0", "--state", stack.state)

    assert done.returncode == 2
    assert f"another local run uses {stack.state}" in done.stderr
    assert behave(stack).status_code == 200


def test_fresh_keeps_foreign_folders(tmp_path: Path) -> None:
    """--fresh refuses to empty a folder that no run has created."""
    (tmp_path / "thesis.txt").write_text("years of work")

    done = run_serve("--port", "0", "--fresh", "--state", tmp_path)

    assert done.returncode == 2
    assert "--fresh does not empty it" in done.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_broken_template_is_named(tmp_path: Path) -> None:
    """If the template cannot be read, the start ends with an error, and no process is left."""
    template = tmp_path / "template.yaml"
    template.write_text("Resources: [")

    with (
        pytest.raises(StackError, match=r"cannot start: .*template\.yaml cannot be read"),
        running(tmp_path / "state", template=template, build=tmp_path / "build"),
    ):
        pass
