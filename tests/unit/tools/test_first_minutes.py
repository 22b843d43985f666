"""The calls that `make serve` prints, `ordering demo`, and the lines about batches before and after the demo's work."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ordering_tools import cli
from ordering_tools.demo import greeting
from ordering_tools.local.engine.state import Running, State
from ordering_tools.local.gateway.invocations import Invocations
from ordering_tools.local.runtime.functions import FunctionError, Runner

DEMO: dict[str, Any] = {
    "baseUrl": "http://127.0.0.1:3000",
    "businessUnitId": "unit-1",
    "tokens": {"training": "a.b-c_d", "trainingSingleUnit": "e.f-g_h", "deals": "0f" * 32},
    "clients": {"ecards": {"clientId": "granite-client", "clientSecret": "s3cr-et_"}},
    "productId": "product-1",
    "order": {"purchaseOrderReference": "Joe's order", "orderItems": [{"featureSetId": "f", "quantity": 3}]},
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with the demo's files, in a path that a shell would split."""
    folder = tmp_path / "my ärger's $HOME"
    folder.mkdir()
    (folder / greeting.FILE).write_text(json.dumps(DEMO))
    (folder / greeting.SHELL_FILE).write_text(greeting.shell(DEMO))
    return folder


def shell(script: str, folder: Path) -> str:
    """The output of a shell with a `curl` that prints each of its arguments on a line of its own."""
    program = folder / "curl"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o700)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", "-eu"], input=script, capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def test_calls_can_be_pasted(state: Path, tmp_path: Path) -> None:
    """A shell that gets the printed variables and calls sends the requests that they show."""
    lines = [
        line
        for call in greeting.calls(DEMO)
        for line in (*(f"{name}={value}" for name, value in call.variables.items()), *call.lines.values())
    ]
    assert all(line in greeting.text(DEMO, state) for line in lines)
    sent = shell("\n".join(lines), tmp_path).splitlines()

    assert f"{DEMO['baseUrl']}/api/v2/orders?businessUnitId=unit-1" in sent
    assert f"Authorization: Bearer {DEMO['tokens']['training']}" in sent
    assert json.dumps(DEMO["order"]) in sent
    assert "client_secret=s3cr-et_" in sent
    assert "--json" not in sent


def test_variables_in_another_shell(state: Path, tmp_path: Path) -> None:
    """The printed line that reads `demo.env` works in a path with blanks, quotes and variables."""
    (line,) = (line for line in greeting.text(DEMO, state).splitlines() if line.startswith(". "))

    assert shell(f"{line}\ncurl $UNIT $CLIENT_ID", tmp_path) == "unit-1\ngranite-client\n"


@pytest.fixture
def running(state: Path) -> Iterator[Path]:
    """The folder of a local run that is running."""
    opened = State(state)
    opened.announce(
        Running(DEMO["baseUrl"], "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "", os.getpid())
    )
    yield state
    opened.release()


def test_demo_is_printed_again(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ordering demo` prints the addresses of the run, and the calls as `make serve` has printed them."""
    assert cli.main(["demo", "--state", str(running)]) == 0
    printed = capsys.readouterr().out

    assert printed.startswith("serving http://127.0.0.1:3000\n")
    assert all(f"http://127.0.0.1:{port}" in printed for port in (1, 2, 3))
    assert greeting.text(DEMO, running) in printed

    assert cli.main(["demo", "--json", "--state", str(running)]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == DEMO["tokens"]


def test_demo_of_a_bare_run(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without demo data `ordering demo` gives the reason, and how to get them."""
    (running / greeting.FILE).unlink()

    assert cli.main(["demo", "--state", str(running)]) == 1
    assert "has no demo data" in capsys.readouterr().err


class Functions(Runner):
    """Functions that fail if an event asks for it."""

    def call(self, name: str, event: bytes) -> bytes:
        if b"fail" in event:
            raise FunctionError("Failed", name)
        return b"null"


@contextmanager
def invocations(*, folded: bool) -> Iterator[Invocations]:
    listener = socket.create_server(("127.0.0.1", 0))
    with Invocations(listener, {}, Functions(), folded=folded) as server:
        yield server


def batch(text: str = "") -> bytes:
    return json.dumps({"Records": [{"eventSource": "aws:sqs", "body": text}]}).encode()


def test_batches_of_the_demo_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Until the demo's work has settled, batches are counted; a failure is printed at once, and later batches too."""
    with invocations(folded=True) as server:
        for function in ("Mails", "Stream", "Mails"):
            server.deliver(function, batch())
        with pytest.raises(FunctionError):
            server.deliver("Mails", batch("fail"))
        assert capsys.readouterr().out.endswith("ms, failed: Failed: Mails\n")
        server.settle(0.01, 10)
        assert capsys.readouterr().out == "done so far: Mails 2 batches, Stream 1 batches\n"
        server.deliver("Stream", batch())
        assert capsys.readouterr().out.startswith("Stream 1 message ")


def test_a_schedule_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """An event of a schedule, which comes every minute, has a line only if its function fails."""
    with invocations(folded=False) as server:
        server.deliver("Stream", b'{"detail-type": "Scheduled Event"}')
        assert capsys.readouterr().out == ""
        with pytest.raises(FunctionError):
            server.deliver("Stream", b'{"detail-type": "fail"}')

    assert re.fullmatch(r"Stream schedule \d+ ms, failed: Failed: Stream\n", capsys.readouterr().out)


def test_settling_waits_for_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's work has settled once no batch has been in flight for a while, or when the time is over."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(Functions):
        def call(self, name: str, event: bytes) -> bytes:
            entered.set()
            leave.wait(10)
            return super().call(name, event)

    with invocations(folded=True) as server:
        server.runner = Slow()
        call = threading.Thread(target=server.deliver, args=("Mails", batch()))
        call.start()
        entered.wait(10)
        settled = threading.Thread(target=server.settle, args=(0.01, 10))
        settled.start()
        settled.join(0.2)
        assert settled.is_alive()
        leave.set()
        settled.join(10)
        call.join(10)
        assert capsys.readouterr().out == "done so far: Mails 1 batches\n"
    leave.clear()
    entered.clear()
    with invocations(folded=True) as server:
        server.runner = Slow()
        call = threading.Thread(target=server.deliver, args=("Mails", batch()))
        call.start()
        entered.wait(10)
        server.settle(0.01, 0.05)
        leave.set()
        call.join(10)
        assert capsys.readouterr().out.startswith("Mails 1 message ")
