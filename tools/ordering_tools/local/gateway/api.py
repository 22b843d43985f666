"""Reads the API of a translated template: the OpenAPI document that API Gateway imports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ordering_tools.local.gateway.gateway import Api, Authorizer, Route
from ordering_tools.local.gateway.responses import GatewayResponses
from ordering_tools.local.gateway.usage import Throttle
from ordering_tools.local.runtime.functions import SettingsError
from ordering_tools.template import Template

_ANY = "x-amazon-apigateway-any-method"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_DEFAULT_REAUTHORIZE_SECONDS = 300
"""API Gateway's default."""
_FUNCTION = re.compile(r'\$\{(\w+)\.Arn\}|"Fn::GetAtt": \["(\w+)", "Arn"\]')
_HEADER = "method.request.header."
_KEY = "api_key"
"""SAM's name for the requirement of an API key."""
_VARIABLE = re.compile(r"\{([^}+]+)(\+?)\}")


def declared_api(translated: Template) -> Api:
    """The API of a translated template.

    Raises:
        SettingsError: The template uses something that the local run does not support.
    """
    apis = translated.resources("AWS::ApiGateway::RestApi")
    aliases = {name: alias["FunctionName"] for name, alias in translated.resources("AWS::Lambda::Alias")}
    stages = translated.resources("AWS::ApiGateway::Stage")
    if len(apis) != 1 or len(stages) != 1:
        raise SettingsError(f"the template must have exactly one API with one stage; it has {len(apis)}")
    properties = apis[0][1]
    if properties.get("BinaryMediaTypes"):
        raise SettingsError("the local run does not support binary media types")
    body = properties["Body"]
    if "openapi" not in body:
        raise SettingsError("the local run supports only APIs with `OpenApiVersion: 3.0.1`")
    schemes = body.get("components", {}).get("securitySchemes", {})
    if _KEY in schemes and properties.get("ApiKeySourceType") != "AUTHORIZER":
        raise SettingsError("the local run supports API keys only with `ApiKeySourceType: AUTHORIZER`")
    authorizers = {name: _authorizer(name, scheme, aliases) for name, scheme in schemes.items() if name != _KEY}
    minimum = properties.get("MinimumCompressionSize")
    return Api(
        routes=[
            _route(path, method, operation, authorizers, aliases)
            for path, operations in body["paths"].items()
            # The gateway takes the last route of a method: its own before the one for any.
            for method, operation in sorted(operations.items(), key=lambda one: one[0] != _ANY)
        ],
        stage=stages[0][1]["StageName"],
        minimum_compression=None if minimum is None else int(minimum),
        responses=GatewayResponses(body.get("x-amazon-apigateway-gateway-responses", {})),
        throttles=_throttles(stages[0][1].get("MethodSettings", [])),
        access_log=stages[0][1].get("AccessLogSetting", {}).get("Format"),
    )


def _throttles(settings: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Throttle]:
    """The limits of methods by resource and method, both `*` for all methods that have none of their own.

    Raises:
        SettingsError: Settings are for a part of the methods that is not a single one.
    """
    found = {}
    for one in settings:
        # `/*`, or the resource with `/~1` for each `/`.
        resource, method = one["ResourcePath"].removeprefix("/").replace("~1", "/"), one["HttpMethod"]
        if (resource == "*") != (method == "*"):
            raise SettingsError(
                "the local run supports `MethodSettings` only for `/*` with `*`, and for single methods"
            )
        if "ThrottlingRateLimit" in one:
            found[resource, method] = Throttle(float(one["ThrottlingRateLimit"]), float(one["ThrottlingBurstLimit"]))
    return found


def _route(
    path: str,
    method: str,
    operation: Mapping[str, Any],
    authorizers: Mapping[str, Authorizer],
    aliases: Mapping[str, str],
) -> Route:
    names = {name for one in operation.get("security", []) for name in one}
    security = sorted(names - {"NONE", _KEY})
    return Route(
        resource=path,
        rule=_VARIABLE.sub(lambda found: f"<path:{found[1]}>" if found[2] else f"<{found[1]}>", path),
        methods=_METHODS if method == _ANY else (method.upper(),),
        function=_function(operation["x-amazon-apigateway-integration"]["uri"], aliases),
        authorizer=authorizers[security[0]] if security else None,
        key_required=_KEY in names,
    )


def _authorizer(name: str, scheme: Mapping[str, Any], aliases: Mapping[str, str]) -> Authorizer:
    declared = scheme["x-amazon-apigateway-authorizer"]
    if declared["type"] != "request" or declared.get("identityValidationExpression"):
        raise SettingsError(f"{name}: the local run supports only authorizers of type REQUEST, without expressions")
    return Authorizer(
        name=name,
        function=_function(declared["authorizerUri"], aliases),
        headers=tuple(
            _header(name, source.strip()) for source in declared.get("identitySource", "").split(",") if source
        ),
        reauthorize=float(declared.get("authorizerResultTtlInSeconds", _DEFAULT_REAUTHORIZE_SECONDS)),
    )


def _header(authorizer: str, source: str) -> str:
    if not source.startswith(_HEADER):
        raise SettingsError(f"{authorizer}: the local run does not support the identity source {source}")
    return source.removeprefix(_HEADER)


def _function(uri: Any, aliases: Mapping[str, str]) -> str:
    """The logical id of the function that the address of an integration names, directly or by its alias."""
    text = json.dumps(uri)
    if named := [aliases[word] for word in re.findall(r"\w+", text) if word in aliases]:
        return named[0]
    found = _FUNCTION.search(text)
    if not found:
        raise SettingsError(f"the local run supports only integrations with functions, not {uri}")
    return found[1] or found[2]
