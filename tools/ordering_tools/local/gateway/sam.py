"""Reads the template with SAM CLI; no other module uses SAM CLI's objects.

`SamLocalStackProvider` resolves the template, `ApiProvider` finds its routes and wires its authorizers. SAM CLI's own
server is not used. It reuses request ids, does not convert an authorizer's context to text, ignores an explicit Deny,
caches no decisions, has no gateway responses, and responds with 502 if an authorizer raises Unauthorized.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.references import References
from ordering_tools.local.gateway.gateway import Authorizer, Description, IdentitySource, Route
from ordering_tools.local.gateway.responses import GatewayResponses
from ordering_tools.local.runtime.functions import FUNCTION_TYPE, SettingsError, declared_functions
from ordering_tools.local.sources.event_sources import declared_event_sources
from ordering_tools.local.sources.queue_sources import declared_queue_sources
from ordering_tools.template import Template

os.environ["SAM_CLI_TELEMETRY"] = "0"
from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samcli.local.apigw.path_converter import PathConverter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_API_TYPE = "AWS::Serverless::Api"
_DEFAULT_REAUTHORIZE_SECONDS = 300
"""SAM's default."""


def describe(template: Path, services: str = "") -> Description:
    """Read a template; `services` is the endpoint of the engine.

    Raises:
        SettingsError: The template uses something that the local run does not support.
        TemplateError: It cannot be read.
    """
    parsed = Template.load(template)
    attributes = References(parsed, services).attributes
    # SAM CLI prints a warning about its own authorizers.
    with redirect_stderr(io.StringIO()):
        stacks, _ = SamLocalStackProvider.get_stacks(str(template), parameter_overrides=attributes)
        preflights = _take_preflights(stacks[0].resources)
        api = ApiProvider(stacks).api
    # SAM CLI replaces the names of these resources as well, by the value of their Ref.
    names = {found["Ref"]: name for name, found in attributes.items()}
    resources = {names.get(name, name): resource for name, resource in stacks[0].resources.items()}
    apis = [resource["Properties"] for resource in resources.values() if resource["Type"] == _API_TYPE]
    if len(apis) != 1:
        raise SettingsError(f"the template must have exactly one {_API_TYPE}; it has {len(apis)}")
    if api.binary_media_types:
        raise SettingsError("the local run does not support binary media types")
    authorizers = apis[0].get("Auth", {}).get("Authorizers", {})
    return Description(
        # The gateway takes the last route of a method.
        routes=[*(_route(route, authorizers) for route in api.routes), *preflights],
        stage=api.stage_name,
        minimum_compression=_whole(apis[0].get("MinimumCompressionSize")),
        functions=declared_functions(resources),
        # SAM CLI does not resolve their conditions.
        responses=GatewayResponses(parsed.resolve(apis[0].get("GatewayResponses", {}))),
        event_sources=declared_event_sources(resources),
        queue_sources=declared_queue_sources(resources),
    )


def _take_preflights(resources: Mapping[str, Any]) -> list[Route]:
    """Take the events with the method OPTIONS out of a template, and return their routes.

    SAM CLI would merge such an event with the one for all methods of its path, and keep only one of their authorizers.
    """
    routes = []
    for name, resource in resources.items():
        events = resource["Properties"].get("Events", {}) if resource["Type"] == FUNCTION_TYPE else {}
        for event in [key for key, one in events.items() if one["Properties"].get("Method") == "OPTIONS"]:
            properties = events.pop(event)["Properties"]
            if properties.get("Auth") != {"Authorizer": "NONE"}:
                raise SettingsError(f"{name}: the local run supports the method OPTIONS only without an authorizer")
            path = properties["Path"]
            routes.append(Route(path, PathConverter.convert_path_to_flask(path), ("OPTIONS",), name, None))
    return routes


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _route(route: Any, authorizers: Mapping[str, Any]) -> Route:
    found = route.authorizer_object
    return Route(
        resource=route.path,
        rule=PathConverter.convert_path_to_flask(route.path),
        methods=tuple(route.methods),
        function=route.function_name,
        authorizer=_authorizer(found, authorizers[found.authorizer_name]) if found else None,
    )


def _authorizer(found: Any, declared: Mapping[str, Any]) -> Authorizer:
    if found.validation_string:
        raise SettingsError(f"{found.authorizer_name}: the local run does not support validation expressions")
    return Authorizer(
        name=found.authorizer_name,
        kind=found.type,
        function=found.lambda_name,
        sources=tuple(_source(found.authorizer_name, source) for source in found.identity_sources),
        reauthorize=float(declared.get("Identity", {}).get("ReauthorizeEvery", _DEFAULT_REAUTHORIZE_SECONDS)),
    )


def _source(authorizer: str, source: Any) -> IdentitySource:
    match type(source).__name__:
        case "HeaderIdentitySource":
            return IdentitySource("header", source.identity_source)
        case "QueryIdentitySource":
            return IdentitySource("query", source.identity_source)
        case other:
            raise SettingsError(f"{authorizer}: the local run does not support identity sources of type {other}")
