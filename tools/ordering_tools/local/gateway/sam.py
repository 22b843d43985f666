"""The template as SAM CLI reads it: SAM CLI's objects come in, ours go out, and nothing else here knows them.

`SamLocalStackProvider` resolves the template, `ApiProvider` finds its routes and wires its authorizers. SAM CLI's own
server is not used. It repeats a request's id, hands on an authorizer's context as it is, overlooks an explicit
Deny, keeps no decisions, knows no gateway responses, and answers 502 where an authorizer says Unauthorized.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.references import References
from ordering_tools.local.gateway.gateway import Authorizer, Description, IdentitySource, Route
from ordering_tools.local.gateway.responses import GatewayResponses
from ordering_tools.local.runtime.functions import SettingsError, declared_functions
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
"""SAM's own."""


def describe(template: Path, services: str = "") -> Description:
    """Read a template, for an engine whose services are there.

    Raises:
        SettingsError: It asks for something that the local run does not have.
        TemplateError: It cannot be read.
    """
    attributes = References(Template.load(template), services).attributes
    # SAM CLI prints that its authorizers are not API Gateway's.
    with redirect_stderr(io.StringIO()):
        stacks, _ = SamLocalStackProvider.get_stacks(str(template), parameter_overrides=attributes)
        api = ApiProvider(stacks).api
    # What a resource's Ref gives becomes its name too.
    names = {found["Ref"]: name for name, found in attributes.items()}
    resources = {names.get(name, name): resource for name, resource in stacks[0].resources.items()}
    apis = [resource["Properties"] for resource in resources.values() if resource["Type"] == _API_TYPE]
    if len(apis) != 1:
        raise SettingsError(f"the local run serves one {_API_TYPE}; the template has {len(apis)}")
    if api.binary_media_types:
        raise SettingsError("the local run has no binary media types; the template names some")
    authorizers = apis[0].get("Auth", {}).get("Authorizers", {})
    return Description(
        routes=[_route(route, authorizers) for route in api.routes],
        stage=api.stage_name,
        functions=declared_functions(resources),
        responses=GatewayResponses(apis[0].get("GatewayResponses", {})),
        event_sources=declared_event_sources(resources),
        queue_sources=declared_queue_sources(resources),
    )


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
        raise SettingsError(f"{found.authorizer_name}: the local run checks no validation expression")
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
            raise SettingsError(f"{authorizer}: the local run knows no identity source of type {other}")
