"""The internals of SAM CLI that the local run uses: each test fails if a new version changes one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.local.serve import ROOT

TEMPLATE = Path(__file__).parent / "fixture" / "template.yaml"
PYTHON = ROOT / ".venvs" / "sam" / "bin" / "python"
ASK = """
import dataclasses, json, sys
from pathlib import Path
from ordering_tools.local.gateway.sam import describe

json.dump(dataclasses.asdict(describe(Path(sys.argv[1]))), sys.stdout)
"""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    asked = subprocess.run(
        [PYTHON, "-c", ASK, TEMPLATE],
        env={"PYTHONPATH": str(ROOT / "tools"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def test_routes_with_their_methods(described: dict[str, Any]) -> None:
    """`ApiProvider` has the path, methods and function of each event; ANY is expanded."""
    routes = {route["resource"]: route for route in described["routes"] if route["methods"] != ["OPTIONS"]}

    assert {path: route["function"] for path, route in routes.items()} == {
        "/echo": "EchoFunction",
        "/echo/{item}": "EchoFunction",
        "/files/{proxy+}": "EchoFunction",
        "/behave": "BehaveFunction",
        "/broken": "BrokenFunction",
    }
    assert routes["/echo/{item}"]["methods"] == ["GET"]
    assert sorted(routes["/echo"]["methods"]) == ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


def test_preflights(described: dict[str, Any]) -> None:
    """An event with OPTIONS is a route of its own, without the authorizer of its path, and the last of the path's."""
    routes = [route for route in described["routes"] if route["resource"] == "/echo"]

    assert [(route["methods"] == ["OPTIONS"], route["authorizer"] is None) for route in routes] == [
        (False, False),
        (True, True),
    ]


def test_paths_as_rules(described: dict[str, Any]) -> None:
    """`PathConverter` converts a template's path to a rule of werkzeug."""
    rules = {route["resource"]: route["rule"] for route in described["routes"]}

    assert (rules["/echo/{item}"], rules["/files/{proxy+}"]) == ("/echo/<item>", "/files/<path:proxy>")


def test_authorizers(described: dict[str, Any]) -> None:
    """A route's authorizer has its function, type, identity sources and cache time; a route can have none."""
    authorizers = {
        route["resource"]: route["authorizer"] for route in described["routes"] if route["methods"] != ["OPTIONS"]
    }

    assert authorizers["/echo"] == {
        "name": "CallerAuthorizer",
        "kind": "request",
        "function": "AuthorizerFunction",
        "sources": [{"location": "header", "name": "Authorization"}],
        "reauthorize": 60,
    }
    assert authorizers["/behave"] is None


def test_resolved_resources(described: dict[str, Any]) -> None:
    """`SamLocalStackProvider` applies the globals and resolves parameters and tables to defaults and names."""
    assert described["functions"]["BehaveFunction"] == {
        "name": "BehaveFunction",
        "handler": "app.handler",
        "code": "functions/behave",
        "layers": ["shared"],
        "timeout": 1,
        "memory": 256,
        "variables": {"GREETING": "hello", "NOTES_TABLE": "NotesTable", "LIMIT": "3"},
    }


def test_event_sources(described: dict[str, Any]) -> None:
    """A stream's reference to its table is not resolved, and one to a queue ends with its logical id."""
    sources = {source["name"]: source for source in described["event_sources"]}

    assert {source["table"] for source in sources.values()} == {"LedgerTable"}
    assert sources["StreamFunction.Bisected"]["on_failure"] == "GivenUpQueue"


def test_stage_and_gateway_responses(described: dict[str, Any]) -> None:
    """The API has its stage, and the gateway responses of the template, unchanged."""
    assert described["stage"] == "test"
    assert described["responses"]["customised"]["UNAUTHORIZED"]["StatusCode"] == 401
