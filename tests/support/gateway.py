"""API Gateway as the functions see it: events in, proxy answers out, without a network."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ordering.entry.api import Api
from ordering.principal import Principal
from ordering_tools.template import Template
from support.documented import check_response
from support.services import Services

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "api.example.com"
"""The host of the API."""

REQUEST_ID = "d3f1a2b4-0000-4000-8000-00000000beef"


def load(function: str) -> Api[Any]:
    """Import a function's `app`, once; every function's module is called that, so it gets a name of its own."""
    name = f"functions_{function.replace('/', '_')}_app"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "functions" / function / "app.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    app = sys.modules[name].app
    assert isinstance(app, Api)
    return app


@dataclass(frozen=True)
class Reply:
    """An answer as API Gateway would send it."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Where the faults lie, and their codes."""
        return [(fault.get("pointer", fault.get("parameter")), fault["code"]) for fault in self.json["errors"]]


class LambdaContext:
    """What is left of a function's time."""

    def __init__(self, milliseconds: int = 10_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@dataclass
class Client:
    """A caller; `services` is what the functions are connected to."""

    services: Services
    caller: Principal
    stage: str = ""
    """The stage's name where it stands in front of the path."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    request_id: str = REQUEST_ID

    def get(self, target: str, **more: Any) -> Reply:
        return self.request("GET", target, **more)

    def post(self, target: str, body: Any, **more: Any) -> Reply:
        return self.request("POST", target, body=body, **more)

    def put(self, target: str, body: Any, **more: Any) -> Reply:
        return self.request("PUT", target, body=body, **more)

    def delete(self, target: str, **more: Any) -> Reply:
        return self.request("DELETE", target, **more)

    def request(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        headers: Mapping[str, str | list[str]] | None = None,
        base64: bool = False,
        context: LambdaContext | None = None,
    ) -> Reply:
        """Send a request; a body other than text is written as JSON and declared so, unless headers say otherwise.

        A header with a list has a line for each value.
        """
        path, _, query = target.partition("?")
        sent: dict[str, str | list[str]] = dict(headers or {})
        if body is not None and "content-type" not in {name.lower() for name in sent}:
            sent["Content-Type"] = "application/json"
        event = self.event(method, path, query, sent, body, base64=base64)
        self.sent.append(event)
        function, resource = _route(path)
        event["resource"] = resource
        app = load(function)
        app.connections, app.services = self.services.connections, self.services.of(app.build)
        with self.services.settings.seen_by(_declared(function)), self.services.limited.used_by(function):
            answer = app.handle(event, context or LambdaContext())  # type: ignore[arg-type] # all that is used of it
        reply = _reply(answer, method)
        check_response(method.upper(), resource, reply.status, reply.headers, reply.text)
        return reply

    def event(
        self, method: str, path: str, query: str, headers: Mapping[str, str | list[str]], body: Any, *, base64: bool
    ) -> dict[str, Any]:
        pairs = parse_qsl(query, keep_blank_values=True)
        several: dict[str, list[str]] = {}
        for name, value in pairs:
            several.setdefault(name, []).append(value)
        lines = {name: [value] if isinstance(value, str) else value for name, value in headers.items()}
        return {
            "httpMethod": method,
            "path": path,
            "headers": {name: values[-1] for name, values in lines.items()} or None,
            "multiValueHeaders": lines or None,
            "queryStringParameters": dict(pairs) or None,
            "multiValueQueryStringParameters": several or None,
            "pathParameters": None,
            "stageVariables": None,
            "body": body if body is None or isinstance(body, str) else json.dumps(body),
            "isBase64Encoded": base64,
            "requestContext": {
                "requestId": self.request_id,
                "domainName": DOMAIN,
                "path": f"/{self.stage}{path}" if self.stage else path,
                "stage": self.stage or "live",
                "authorizer": {"principalId": self.caller.partner, "principal": self.caller.to_text()},
            },
        }


def _route(path: str) -> tuple[str, str]:
    """The function that serves a path, and its resource, as the template's routes do.

    A path that none serves goes to the function of the nearest path above it, to see how that refuses it.
    """
    for pattern, function, resource in _routes():
        if pattern.fullmatch(path.rstrip("/")):
            return function, resource
    above, _, _ = path.rstrip("/").rpartition("/")
    if not above:
        raise LookupError(path)
    return _route(above)


@cache
def _declared(function: str) -> frozenset[str]:
    """Return the names of the environment variables that the template declares for a function."""
    (properties,) = (one for one in _functions() if one["CodeUri"] == f"functions/{function}")
    return frozenset(properties["Environment"]["Variables"])


@cache
def _routes() -> list[tuple[re.Pattern[str], str, str]]:
    """Read the template's routes, those with more fixed parts first and greedy ones last."""
    found = [
        (event["Properties"]["Path"], str(Path(properties["CodeUri"]).relative_to("functions")))
        for properties in _functions()
        for event in properties.get("Events", {}).values()
        if event["Type"] == "Api"
    ]
    found.sort(key=lambda route: ("+}" in route[0], route[0].count("{")))
    return [
        (re.compile(re.sub(r"{\w+\+}", ".+", path).replace("{", "(?P<").replace("}", ">[^/]+)")), function, path)
        for path, function in found
    ]


@cache
def _functions() -> list[dict[str, Any]]:
    """Read the properties of the template's functions."""
    resources = Template.load(ROOT / "template.yaml").document["Resources"].values()
    return [one["Properties"] for one in resources if one["Type"] == "AWS::Serverless::Function"]


def _reply(answer: Mapping[str, Any], method: str = "GET") -> Reply:
    headers = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
    return Reply(answer["statusCode"], headers, "" if method == "HEAD" else answer["body"])
