"""What functions get in `sam local`: variables that the template declares, and endpoints in a container's terms."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from ordering_tools import cli
from ordering_tools.local import sam_local, serve
from ordering_tools.local.engine.engine import Engine, EngineError
from ordering_tools.local.engine.state import Running
from ordering_tools.template import Template
from support.gateway import ROOT


def running(endpoint: str, services: str) -> Running:
    return Running("http://127.0.0.1:3000", endpoint, services, "http://127.0.0.1:1", str(ROOT / "template.yaml"), 1)


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("http://127.0.0.1:4566", "http://host.docker.internal:4566"),
        ("http://localhost:8000", "http://host.docker.internal:8000"),
        ("http://172.17.0.1:4566", "http://172.17.0.1:4566"),
        ("https://dynamodb.eu-west-1.amazonaws.com", "https://dynamodb.eu-west-1.amazonaws.com"),
    ],
)
def test_endpoints_from_a_container(url: str, reached: str) -> None:
    """A container reaches this machine by Docker's name for it, and every other endpoint by its own address."""
    assert sam_local.from_container(url) == reached


def test_functions_call_the_engine() -> None:
    """DynamoDB and the other services have the run's endpoints; no credentials of the developer's are sent there."""
    found = sam_local.endpoints(running("http://127.0.0.1:8000", "http://127.0.0.1:4566"))

    assert found["AWS_ENDPOINT_URL"] == "http://host.docker.internal:4566"
    assert found["AWS_ENDPOINT_URL_DYNAMODB"] == "http://host.docker.internal:8000"
    credentials = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    assert {found[name] for name in credentials} == {"local"}


def test_every_function_declares_the_variables() -> None:
    """The copy of the template declares the variables for all functions, and keeps what it declared before."""
    before = Template.load(ROOT / "template.yaml").document
    before["Globals"]["Function"]["Environment"] = {"Variables": {"KEPT": "value"}}

    after = sam_local.declared(before, {"AWS_ENDPOINT_URL": "http://x"})

    shared = after["Globals"]["Function"]
    assert shared["Environment"]["Variables"] == {"AWS_ENDPOINT_URL": "", "KEPT": "value"}
    del shared["Environment"], before["Globals"]["Function"]["Environment"]
    assert before == after


def test_the_projects_template_declares_no_endpoint() -> None:
    """The template that is deployed sets no endpoint: botocore would call it instead of AWS."""
    assert "AWS_ENDPOINT_URL" not in (ROOT / "template.yaml").read_text()


def test_commands_can_be_pasted() -> None:
    """The printed commands survive a shell, with blanks in the paths."""
    lines = sam_local.commands(Path("a build"), Path("a state") / sam_local.FILE)

    for line in lines:
        words = shlex.split(line)
        assert words[1] == "local"
        assert str(Path("a build") / "template.yaml") == words[words.index("-t") + 1]
        assert str(Path("a state") / "sam-local.json") == words[words.index("-n") + 1]
        assert words[words.index("--add-host") + 1] == "host.docker.internal:host-gateway"


def test_the_engines_address_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, or else the environment, set the engine's address; by default only this machine reaches it."""
    chosen: list[serve.Options] = []
    monkeypatch.setattr(serve, "serve", chosen.append)
    cli.main(["serve"])
    monkeypatch.setenv("ORDERING_ENGINE_PORT", "4566")
    monkeypatch.setenv("ORDERING_ENGINE_HOST", "172.17.0.1")
    cli.main(["serve"])
    cli.main(["serve", "--engine-port", "1", "--engine-host", "0.0.0.0"])

    expected = [("127.0.0.1", 0), ("172.17.0.1", 4566), ("0.0.0.0", 1)]
    assert expected == [(options.engine_host, options.engine_port) for options in chosen]


def test_without_a_local_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a local run the command fails, and says how to start one."""
    code = cli.main(["sam-local", "--state", str(tmp_path)])

    assert code == 1
    assert "make serve" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sam-local", "demo"])
def test_on_a_stack(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands of the local run alone refuse a stack."""
    assert cli.main([command, "--stack", "production"]) == 1
    assert f"`ordering {command}` is for the local run only" in capsys.readouterr().err


def test_an_address_that_the_engine_cannot_use(tmp_path: Path) -> None:
    """An address of another machine, or a port that is taken, is refused by name before the engine starts."""
    python = tmp_path / "python"
    python.touch()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for address in (("192.0.2.1", 4566), ("127.0.0.1", port)):
            with pytest.raises(EngineError, match=f"cannot listen on {address[0]}, port {address[1]}: "):
                Engine(python, tmp_path, address=address)
