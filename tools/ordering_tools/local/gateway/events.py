"""The events of a REST API for functions and authorizers.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
The path is passed on as it was sent, percent-encoded; path parameters and the query are decoded.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from werkzeug.datastructures import MultiDict

from ordering_tools.local.engine.aws_account import ACCOUNT, API, method_arn
from ordering_tools.local.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ordering_tools.local.gateway.usage import PlannedKey

_IAM = (
    *("accessKey", "accountId", "apiKey", "caller", "cognitoAuthenticationProvider", "cognitoAuthenticationType"),
    *("cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn"),
)
"""What the context tells of callers whom IAM has authenticated, which no API of ours does."""


@dataclass(frozen=True)
class GatewayRequest(HttpRequest):
    """A request, matched to a route."""

    stage: str
    port: int
    resource: str = ""
    """The route's path in the template, for instance `/orders/{orderId}`."""
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: float = field(default_factory=time.time)
    noted: dict[str, str] = field(default_factory=dict)
    """Further variables, which are known once the request was authorized and its function called."""

    @property
    def trace(self) -> str:
        """The id by which the request is traced."""
        return f"1-{int(self.time):08x}-{self.request_id.replace('-', '')[:24]}"

    @property
    def arn(self) -> str:
        """The method's ARN, which an authorizer's policy is matched against."""
        return method_arn(self.stage, self.method, self.path)

    @property
    def context(self) -> dict[str, str]:
        """The variables for the template of a gateway response, and for that of the access log."""
        context = _request_context(self)
        identity = {f"identity.{name}": value for name, value in context.pop("identity").items()}
        known = {**context, **identity, "xrayTraceId": self.trace, **self.noted}
        return {name: str(value) for name, value in known.items() if value not in (None, "")}


def function_event(
    request: GatewayRequest, authorizer: Mapping[str, str] | None, key: PlannedKey | None = None
) -> dict[str, Any]:
    """The proxy event of a function.

    Args:
        authorizer: The context of the decision that allowed the request.
        key: The API key by which it was counted.
    """
    event = _common_event(request)
    if key is not None:
        event["requestContext"]["identity"].update(apiKey=key.value, apiKeyId=key.id)
    if authorizer is not None:
        event["requestContext"]["authorizer"] = dict(authorizer)
    # A REST API without binary media types treats every body as text.
    event["body"] = request.body.decode("utf-8", "replace") if request.body else None
    event["isBase64Encoded"] = False
    return event


def authorizer_event(request: GatewayRequest) -> dict[str, Any]:
    """The event of an authorizer of type REQUEST."""
    return {"type": "REQUEST", "methodArn": request.arn, **_common_event(request)}


def _common_event(request: GatewayRequest) -> dict[str, Any]:
    headers = [*request.headers, *_forwarded(request)]
    query = parse_qsl(request.query, keep_blank_values=True, errors="replace")
    return {
        "resource": request.resource,
        "path": request.path,
        "httpMethod": request.method,
        # The last value of each name, and all values.
        "headers": dict(headers),
        "multiValueHeaders": MultiDict(headers).to_dict(flat=False),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": MultiDict(query).to_dict(flat=False) or None,
        "pathParameters": {key: unquote(value) for key, value in request.path_parameters.items()} or None,
        "stageVariables": None,
        "requestContext": _request_context(request),
    }


def _request_context(request: GatewayRequest) -> dict[str, Any]:
    host = request.header("Host") or ""
    return {
        "accountId": ACCOUNT,
        "apiId": API,
        "deploymentId": API,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "extendedRequestId": request.request_id,
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(_IAM),
            "sourceIp": request.source_ip,
            "userAgent": request.header("User-Agent"),
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
    return [
        ("X-Amzn-Trace-Id", f"Root={request.trace}"),
        ("X-Forwarded-For", request.source_ip),
        ("X-Forwarded-Port", str(request.port)),
        ("X-Forwarded-Proto", "http"),
    ]
