"""The local gateway's usage plans: token buckets, quotas, and keys that the engine learns later."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering_tools.local.gateway.api import declared_api
from ordering_tools.local.gateway.events import GatewayRequest
from ordering_tools.local.gateway.gateway import Gateway
from ordering_tools.local.gateway.responses import RefusedError
from ordering_tools.local.gateway.usage import Buckets, KeyUsage, PlannedKey, Throttle, UsagePlan
from ordering_tools.local.runtime.functions import Runner, SettingsError
from ordering_tools.template import Template

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""A Thursday."""


class World:
    """A usage whose time stands still, and the keys that the engine has."""

    def __init__(self, *keys: PlannedKey) -> None:
        self.seconds, self.now, self.reads = 0.0, START, 0
        self.keys = {key.value: key for key in keys}
        self.buckets = Buckets(lambda: self.seconds)
        self.usage = KeyUsage(self._read, self.buckets, lambda: self.now)

    def _read(self) -> dict[str, PlannedKey]:
        self.reads += 1
        return dict(self.keys)

    def refusal(self, value: str | None = "a") -> str:
        """The gateway response to a request; empty if it is let through."""
        try:
            self.usage.count(value)
        except RefusedError as refused:
            return refused.kind
        return ""

    def refusals(self, times: int, value: str = "a") -> list[str]:
        return [self.refusal(value) for _ in range(times)]


def planned(value: str = "a", **plan: Any) -> PlannedKey:
    return PlannedKey(f"id-{value}", value, UsagePlan(**{"throttle": None, "quota": None, **plan}))


def test_a_burst_then_the_rate() -> None:
    """A full bucket gives its burst at once, then its rate; while nothing is asked for it fills up to the burst."""
    world = World(planned(throttle=Throttle(2, 3)))

    assert world.refusals(4) == ["", "", "", "THROTTLED"]
    world.seconds += 0.49
    assert world.refusal() == "THROTTLED"
    world.seconds += 0.01
    assert world.refusals(2) == ["", "THROTTLED"]
    world.seconds += 60
    assert world.refusals(4) == ["", "", "", "THROTTLED"]


def test_keys_do_not_share() -> None:
    """Each key of a plan has its own bucket and its own quota."""
    world = World(planned(throttle=Throttle(1, 1), quota=1), planned("b", throttle=Throttle(1, 1), quota=1))

    assert [world.refusal("a"), world.refusal("b"), world.refusal("a")] == ["", "", "THROTTLED"]
    world.seconds += 1
    assert [world.refusal("a"), world.refusal("b")] == ["QUOTA_EXCEEDED", "QUOTA_EXCEEDED"]


@pytest.mark.parametrize(
    ("period", "last"),
    [
        ("DAY", datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)),
        ("WEEK", datetime(2026, 1, 3, 23, 59, 59, tzinfo=UTC)),
        ("MONTH", datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_quota_is_that_of_a_period(period: str, last: datetime) -> None:
    """A quota is used up until midnight UTC of the day, of Saturday, or of the month's last day."""
    world = World(planned(quota=2, period=period))

    assert world.refusals(3) == ["", "", "QUOTA_EXCEEDED"]
    world.now = last
    assert world.refusal() == "QUOTA_EXCEEDED"
    world.now += timedelta(seconds=1)
    assert world.refusals(3) == ["", "", "QUOTA_EXCEEDED"]


def test_throttled_requests_use_up_no_quota() -> None:
    """A request that is throttled is not counted to the quota."""
    world = World(planned(throttle=Throttle(1, 1), quota=2))

    assert world.refusals(9) == ["", *["THROTTLED"] * 8]
    world.seconds += 1
    assert world.refusal() == ""


def test_a_key_that_is_new() -> None:
    """A key that is in no plan, or no key, is refused; one that was added since is known with its first request."""
    world = World(planned())

    assert [world.refusal(None), world.refusal(""), world.refusal("b")] == ["INVALID_API_KEY"] * 3
    world.keys["b"] = planned("b")
    assert world.refusal("b") == ""
    before = world.reads
    assert world.refusals(5, "b") == [""] * 5
    assert world.reads == before


def test_a_method_has_a_bucket_for_all_callers() -> None:
    """A method's bucket is not that of another method, and without a limit there is none."""
    world = World()
    world.buckets.take("GET /", Throttle(1, 1))
    world.buckets.take("PUT /", Throttle(1, 1))
    for _ in range(9):
        world.buckets.take("POST /", None)

    with pytest.raises(RefusedError, match="THROTTLED"):
        world.buckets.take("GET /", Throttle(1, 1))


def template(source: str = "AUTHORIZER", *settings: dict[str, Any]) -> Template:
    """A template with a method that requires a key, and one that does not."""
    uri, authorizer = ({"Fn::Sub": f"arn:…/${{{name}.Arn}}/invocations"} for name in "FA")
    operation = {"x-amazon-apigateway-integration": {"uri": uri}}
    caller = {"type": "request", "authorizerUri": authorizer, "identitySource": "method.request.header.Authorization"}
    body = {
        "openapi": "3.0.1",
        "paths": {"/": {"get": {**operation, "security": [{"A": []}, {"api_key": []}]}, "options": operation}},
        "components": {"securitySchemes": {"api_key": {}, "A": {"x-amazon-apigateway-authorizer": caller}}},
    }
    api = {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body, "ApiKeySourceType": source}}
    stage = {"Type": "AWS::ApiGateway::Stage", "Properties": {"StageName": "live", "MethodSettings": [*settings]}}
    return Template({"Resources": {"Api": api, "Stage": stage}})


def test_the_template_is_read() -> None:
    """Which methods require a key, and the methods' limits, are the template's."""
    limited = {"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 7}
    lower = {"ResourcePath": "/~1a~1b", "HttpMethod": "POST", "ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 2}
    api = declared_api(template("AUTHORIZER", limited, lower))

    assert {route.methods: (bool(route.authorizer), route.key_required) for route in api.routes} == {
        ("GET",): (True, True),
        ("OPTIONS",): (False, False),
    }
    assert api.throttles == {("*", "*"): Throttle(5, 7), ("/a/b", "POST"): Throttle(1, 2)}
    assert declared_api(template()).throttles == {}


def test_what_is_not_supported() -> None:
    """Keys in a header, and limits of all methods of a resource, are refused."""
    with pytest.raises(SettingsError, match="only with `ApiKeySourceType: AUTHORIZER`"):
        declared_api(template("HEADER"))
    with pytest.raises(SettingsError, match="only for"):
        declared_api(template("AUTHORIZER", {"ResourcePath": "/~1", "HttpMethod": "*"}))


@dataclass
class Functions(Runner):
    """An authorizer that allows all and names a key, and a function that answers 200."""

    key: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, name: str, event: bytes) -> bytes:
        """Answer, and keep the events of the function."""
        if name == "A":
            statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
            decided = {"principalId": "a", "policyDocument": {"Statement": [statement]}}
            return json.dumps({**decided, "usageIdentifierKey": self.key}).encode()
        self.events.append(json.loads(event))
        return b'{"statusCode": 200}'


def statuses(gateway: Gateway, method: str, times: int) -> list[int]:
    headers = [("Authorization", "Bearer a")]
    request = GatewayRequest(method, "/", "", headers, b"", "127.0.0.1", "HTTP/1.1", stage="live", port=80)
    return [gateway.answer(request).status for _ in range(times)]


def test_what_the_gateway_counts() -> None:
    """Requests count to the key's plan first, then to the method's limit; a function sees the key of its caller."""
    limited = {"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingRateLimit": 0.001, "ThrottlingBurstLimit": 2}
    api = declared_api(template("AUTHORIZER", limited))
    functions, keys = Functions("a"), {"a": planned(quota=3)}
    gateway = Gateway(api, functions, lambda: keys)

    assert statuses(gateway, "GET", 4) == [200, 200, 429, 429]
    assert statuses(gateway, "OPTIONS", 3) == [200, 200, 429]
    identity = functions.events[0]["requestContext"]["identity"]
    assert (identity["apiKey"], identity["apiKeyId"]) == ("a", "id-a")
    assert functions.events[2]["requestContext"]["identity"]["apiKey"] is None
    assert statuses(Gateway(api, Functions("b"), lambda: keys), "GET", 1) == [403]


def test_a_method_with_a_limit_of_its_own() -> None:
    """A method's own limit replaces that of all methods."""
    limited = {"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingRateLimit": 0.001, "ThrottlingBurstLimit": 2}
    own = {**limited, "ResourcePath": "/~1", "HttpMethod": "OPTIONS", "ThrottlingBurstLimit": 1}
    gateway = Gateway(declared_api(template("AUTHORIZER", limited, own)), Functions("a"), lambda: {"a": planned()})

    assert statuses(gateway, "OPTIONS", 2) == [200, 429]
    assert statuses(gateway, "GET", 3) == [200, 200, 429]
