"""The access log of the local gateway: a line for each request, in the format of the template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.local.gateway.events import GatewayRequest
from ordering_tools.local.gateway.gateway import BODY_LIMIT, Api, Authorizer, Gateway, Route
from ordering_tools.local.gateway.responses import DEFAULTS, GatewayResponses
from ordering_tools.local.gateway.usage import PlannedKey, Throttle, UsagePlan
from ordering_tools.local.runtime.functions import FunctionError, FunctionTimeoutError, Runner
from ordering_tools.template import Template
from support.gateway import ROOT

FORMAT: str = next(
    one["AccessLogSetting"]["Format"]
    for _, one in Template.load(ROOT / "template.yaml").resources("AWS::Serverless::Api")
)
KEYS = {
    "a": PlannedKey("id-a", "a", UsagePlan(None, None)),
    "slow": PlannedKey("id-slow", "slow", UsagePlan(Throttle(0, 0), None)),
    "spent": PlannedKey("id-spent", "spent", UsagePlan(None, 0)),
}
NUMBERS = ("time", "status", "ms")
"""What metric filters read, or `ordering logs`."""


@dataclass
class Functions(Runner):
    """An authorizer A and a function F, which can be made to do anything."""

    results: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, _: bytes) -> bytes:
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
        allowed = {"principalId": "northwind", "policyDocument": {"Statement": [statement]}, "usageIdentifierKey": "a"}
        result = self.results.get(name, allowed if name == "A" else {"statusCode": 201, "body": "{}"})
        if isinstance(result, Exception):
            raise result
        return json.dumps({**allowed, **result} if name == "A" and isinstance(result, dict) else result).encode()


def lines_of(tmp_path: Path, request: GatewayRequest, **results: Any) -> list[dict[str, Any]]:
    """The lines of a request, or of malformed HTTP, to a gateway whose functions have these results."""
    log = tmp_path / "functions.log"
    authorizer = Authorizer("A", "A", ("Authorization",), reauthorize=0)
    route = Route("/orders/{id}", "/orders/<id>", ("POST",), "F", authorizer, key_required=True)
    api = Api([route], "live", None, GatewayResponses({}), access_log=FORMAT)
    gateway = Gateway(api, Functions(results), lambda: KEYS, log)
    answer = gateway.malformed(request) if request.method == "-" else gateway.answer(request)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["status"] for line in lines] == [answer.status]
    return lines


def request(path: str = "/orders/7", body: bytes = b"", method: str = "POST", **headers: str) -> GatewayRequest:
    sent = {"Authorization": "Bearer t", "User-Agent": 'a "browser"', "Host": "api.example", **headers}
    pairs = [(name.replace("_", "-"), value) for name, value in sent.items() if value]
    return GatewayRequest(method, path, "email=ann@example.com", pairs, body, "203.0.113.7", "HTTP/1.1", "live", 443)


def test_the_line_of_an_answered_request(tmp_path: Path) -> None:
    """The line has who called what from where, and what authorizer and function took; not the query, nor the token."""
    sent = request()
    (line,) = lines_of(tmp_path, sent)
    text = json.dumps(line)

    expected = {
        "request": sent.request_id,
        "trace": sent.trace,
        "partner": "northwind",
        "key": "id-a",
        "method": "POST",
        "route": "/orders/{id}",
        "path": "/orders/7",
        "address": "203.0.113.7",
    }

    assert expected.items() <= line.items()
    assert (line["functionStatus"], line["authorizerStatus"], line["refusal"], line["agent"]) == (
        *("201", "200", "-", 'a "browser"'),
    )
    assert line["functionMs"].isdigit()
    assert line["authorizerMs"].isdigit()
    assert all(type(line[name]) is int for name in NUMBERS)
    assert "ann@example.com" not in text
    assert "Bearer" not in text


REFUSALS: dict[str, tuple[GatewayRequest, dict[str, Any]]] = {
    "UNAUTHORIZED": (request(Authorization=""), {}),
    "ACCESS_DENIED": (request(), {"A": {"policyDocument": {"Statement": []}}}),
    "INVALID_API_KEY": (request(), {"A": {"usageIdentifierKey": "unknown"}}),
    "MISSING_AUTHENTICATION_TOKEN": (request("/nothing"), {}),
    "REQUEST_TOO_LARGE": (request(body=b"x" * (BODY_LIMIT + 1)), {}),
    "UNSUPPORTED_MEDIA_TYPE": (request(body=b"x", Content_Encoding="br"), {}),
    "THROTTLED": (request(), {"A": {"usageIdentifierKey": "slow"}}),
    "QUOTA_EXCEEDED": (request(), {"A": {"usageIdentifierKey": "spent"}}),
    "BAD_REQUEST_BODY": (request("/", method="-"), {}),
    "AUTHORIZER_FAILURE": (request(), {"A": FunctionError("ValueError", "secret")}),
    "AUTHORIZER_CONFIGURATION_ERROR": (request(), {"A": "malformed"}),
    "API_CONFIGURATION_ERROR": (request(), {"F": ValueError("secret")}),
    "INTEGRATION_FAILURE": (request(), {"F": FunctionError("ValueError", "secret")}),
    "INTEGRATION_TIMEOUT": (request(), {"F": FunctionTimeoutError("Sandbox.Timedout", "secret")}),
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_each_refusal_leaves_a_line(tmp_path: Path, kind: str) -> None:
    """Whatever the gateway refuses by itself leaves one line with the response's type, and no text of a function."""
    sent, results = REFUSALS[kind]
    (line,) = lines_of(tmp_path, sent, **results)

    assert (line["refusal"], line["request"]) == (kind, sent.request_id)
    assert "secret" not in json.dumps(line)
    if kind.startswith("AUTHORIZER"):
        assert line["authorizerError"] in ("ValueError", "malformed result")
    if kind.startswith("INTEGRATION"):
        assert line["functionError"] in ("ValueError", "Sandbox.Timedout")
