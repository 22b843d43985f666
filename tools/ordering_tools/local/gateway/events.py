"""The events of a REST API for functions and authorizers, and the responses from functions' results.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
The path is passed on as it was sent, percent-encoded; path parameters and the query are decoded.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from ordering_tools.local.engine.aws_account import ACCOUNT, API, method_arn
from ordering_tools.local.gateway.responses import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RESULT_KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
# The headers of the connection, which a function cannot set.
_HOP_HEADERS = {"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer", "te"}
# Headers of a function that API Gateway sends under another name.
_REMAPPED = {"www-authenticate", "date", "server"}


class MalformedResultError(Exception):
    """API Gateway would not accept a function's result; the message gives the reason."""


@dataclass(frozen=True)
class GatewayRequest:
    """A request, matched to a route."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str
    stage: str
    port: int
    resource: str = ""
    """The route's path in the template, for instance `/orders/{orderId}`."""
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: float = field(default_factory=time.time)

    @property
    def arn(self) -> str:
        """The method's ARN, which an authorizer's policy is matched against."""
        return method_arn(self.stage, self.method, self.path)

    @property
    def context(self) -> dict[str, str]:
        """The variables for the template of a gateway response."""
        return {
            "requestId": self.request_id,
            "extendedRequestId": self.request_id,
            "path": self.path,
            "httpMethod": self.method,
            "resourcePath": self.resource,
            "stage": self.stage,
            "protocol": self.protocol,
            "identity.sourceIp": self.source_ip,
        }


def function_event(request: GatewayRequest, authorizer: Mapping[str, str] | None) -> dict[str, Any]:
    """The proxy event of a function; `authorizer` is the context of the decision that allowed the request."""
    event = _common_event(request)
    if authorizer is not None:
        event["requestContext"]["authorizer"] = dict(authorizer)
    # A REST API without binary media types treats every body as text.
    event["body"] = request.body.decode("utf-8", "replace") if request.body else None
    event["isBase64Encoded"] = False
    return event


def request_authorizer_event(request: GatewayRequest) -> dict[str, Any]:
    """The event of an authorizer of type REQUEST."""
    return {"type": "REQUEST", "methodArn": request.arn, **_common_event(request)}


def token_authorizer_event(request: GatewayRequest, token: str) -> dict[str, Any]:
    """The event of an authorizer of type TOKEN."""
    return {"type": "TOKEN", "methodArn": request.arn, "authorizationToken": token}


def _common_event(request: GatewayRequest) -> dict[str, Any]:
    headers = _multiple([*request.headers, *_forwarded(request)])
    query = _multiple(parse_qsl(request.query, keep_blank_values=True, errors="replace"))
    return {
        "resource": request.resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": _single(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _single(query) or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {key: unquote(value) for key, value in request.path_parameters.items()} or None,
        "stageVariables": None,
        "requestContext": _request_context(request, _single(headers)),
    }


def _request_context(request: GatewayRequest, headers: Mapping[str, str]) -> dict[str, Any]:
    lowered = {name.lower(): value for name, value in headers.items()}
    host = lowered.get("host", "")
    return {
        "accountId": ACCOUNT,
        "apiId": API,
        "deploymentId": API,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "extendedRequestId": request.request_id,
        "httpMethod": request.method,
        "identity": {
            "accessKey": None,
            "accountId": None,
            "apiKey": None,
            "caller": None,
            "cognitoAuthenticationProvider": None,
            "cognitoAuthenticationType": None,
            "cognitoIdentityId": None,
            "cognitoIdentityPoolId": None,
            "principalOrgId": None,
            "sourceIp": request.source_ip,
            "user": None,
            "userAgent": lowered.get("user-agent"),
            "userArn": None,
        },
        # Without a stage in front, as under the custom domain.
        "path": request.path,
        "protocol": request.protocol,
        "requestId": request.request_id,
        "requestTime": datetime.fromtimestamp(request.time, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "requestTimeEpoch": int(request.time * 1000),
        "resourceId": "local",
        "resourcePath": request.resource,
        "stage": request.stage,
    }


def _forwarded(request: GatewayRequest) -> list[tuple[str, str]]:
    stamp, rest = f"{int(request.time):08x}", request.request_id.replace("-", "")[:24]
    return [
        ("X-Amzn-Trace-Id", f"Root=1-{stamp}-{rest}"),
        ("X-Forwarded-For", request.source_ip),
        ("X-Forwarded-Port", str(request.port)),
        ("X-Forwarded-Proto", "http"),
    ]


def _multiple(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _single(values: Mapping[str, list[str]]) -> dict[str, str]:
    """The last value of each name, as in API Gateway."""
    return {name: every[-1] for name, every in values.items()}


def read_answer(result: bytes) -> Answer:
    """The response from a function's result.

    Raises:
        MalformedResultError: API Gateway would not accept it, and respond with 502.
    """
    try:
        answer = json.loads(result)
    except ValueError as error:
        raise MalformedResultError(f"the result is not JSON: {error}") from error
    if not isinstance(answer, dict) or "statusCode" not in answer or answer.keys() - _RESULT_KEYS:
        raise MalformedResultError(f"the result must be an object of {', '.join(sorted(_RESULT_KEYS))}")
    try:
        status = int(answer["statusCode"])
    except (ValueError, TypeError) as error:
        raise MalformedResultError("statusCode must be a number") from error
    if not 200 <= status <= 599:
        raise MalformedResultError(f"statusCode is {status}")
    headers = _answer_headers(answer.get("headers") or {}, answer.get("multiValueHeaders") or {})
    body = _answer_body(answer)
    if status in (204, 304):
        return Answer(status, headers)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return Answer(status, headers, body)


def _answer_headers(single: Any, multiple: Any) -> list[tuple[str, str]]:
    """Both kinds of headers in one list; a header that is in both with the same value is sent once."""
    if not isinstance(single, dict) or not isinstance(multiple, dict):
        raise MalformedResultError("headers and multiValueHeaders must be objects")
    pairs = [(name, value) for name, values in multiple.items() for value in values]
    pairs += [(name, value) for name, value in single.items() if (name, value) not in pairs]
    for name, value in pairs:
        if not isinstance(value, (str, bool, int, float)) or any(mark in f"{name}{value}" for mark in "\r\n"):
            raise MalformedResultError(f"the header {name!r} cannot be sent")
    return [
        (_sent_as(name), value if isinstance(value, str) else json.dumps(value))
        for name, value in pairs
        if name.lower() not in _HOP_HEADERS
    ]


def _sent_as(name: str) -> str:
    return f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name


def _answer_body(answer: Mapping[str, Any]) -> bytes:
    body = answer.get("body") or ""
    if not isinstance(body, str):
        raise MalformedResultError("body must be a text")
    # Base64 is not decoded: a REST API does that only for its binary media types.
    return body.encode("utf-8", "replace")
