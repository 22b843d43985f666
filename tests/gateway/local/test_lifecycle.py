"""The local run as a process: its reloads, its errors, and what a second run may not touch."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway.fixture_calls import behave, delivered, descendants, item, processes, put, stream_calls
from gateway.waiting import eventually
from support.local_stack import LocalStack, StackError, running

pytestmark = pytest.mark.gateway

FIXTURE = Path(__file__).parent / "fixture"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the fixture that a test may change."""
    shutil.copytree(FIXTURE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def renewed(stack: LocalStack) -> bool:
    """Whether the stream's new filter and the new code of its function are used."""
    return bool(delivered(stack, "NEW#")) and "version" in stream_calls(stack, "PLAIN#")[-1]


def write_during_a_reload(stack: LocalStack, project: Path) -> list[str]:
    """Change the stream's code and filter and a path, write until that is used, and return the keys of the records."""
    app = project / "functions" / "stream" / "app.py"
    app.write_text(app.read_text().replace('"process":', '"version": 2, "process":'))
    template = (FIXTURE / "template.yaml").read_text().replace('"prefix": "SPARE#"', '"prefix": "NEW#"')
    (project / "template.yaml").write_text(template.replace("Path: /behave", "Path: /renamed"))
    written: list[str] = []
    while len(written) < 100 and not renewed(stack):
        written.append(f"PLAIN#{len(written):03}")
        put(stack, item(written[-1]), item(f"NEW#{len(written):03}"))
        time.sleep(0.1)
    return written


def test_changes_are_served(project: Path, tmp_path: Path) -> None:
    """A changed function or layer is used without a restart, a template with a new gateway, and no record is lost."""
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

        written = write_during_a_reload(stack, project)
        assert eventually(lambda: delivered(stack, "PLAIN#")[-1:] == written[-1:])
        assert list(dict.fromkeys(delivered(stack, "PLAIN#"))) == written
        assert renewed(stack)

        assert httpx.post(f"{stack.base_url}/renamed", json={}, timeout=20).status_code == 299
        assert behave(stack).status_code == 404
        assert "reload: " in stack.printed()

        family = descendants(stack.process.pid)
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(20) == 0
    assert len(family) >= 4
    assert not family & processes().keys()


def test_a_gateway_that_is_killed(tmp_path: Path) -> None:
    """A run whose gateway is killed ends with exit code 1, and says what happened, not that it cannot start."""
    with running(tmp_path / "state", template=FIXTURE / "template.yaml", build=tmp_path / "build") as stack:
        children = descendants(stack.process.pid)
        (gateway,) = (pid for pid in children if "ordering_tools.local.gateway.server" in command_line(pid))
        os.kill(gateway, signal.SIGKILL)
        assert stack.process.wait(20) == 1

        assert "stopping: the gateway was killed by SIGKILL; its output is above" in stack.printed()
        assert "cannot start" not in stack.printed()


def command_line(pid: int) -> str:
    return subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(pid)], text=True)


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
