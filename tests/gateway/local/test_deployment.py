"""The translated template, the API that the gateway reads of it, and its deployment into the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.local.engine.aws_account import STACK
from ordering_tools.local.engine.deployment import CALLS, INIT_SECONDS, deploy, environments, translate
from ordering_tools.local.engine.engine import Engine, connect
from ordering_tools.local.gateway.api import declared_api
from ordering_tools.local.gateway.gateway import Authorizer, Route
from ordering_tools.local.runtime.functions import FunctionSettings, SettingsError, declared_functions
from ordering_tools.local.serve import ROOT
from ordering_tools.stacks import DeploymentError, read_stack
from ordering_tools.template import Template, TemplateError

FIXTURE = Path(__file__).parent / "fixture" / "template.yaml"
SAM = ROOT / ".venvs" / "sam" / "bin" / "python"
CALLER = Authorizer("CallerAuthorizer", "AuthorizerFunction", ("Authorization",), 60)


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(translate(FIXTURE, SAM, tmp_path_factory.mktemp("cache")).read_text())
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(ROOT / ".venvs" / "engine" / "bin" / "python", tmp_path, functions="http://127.0.0.1:9")
    try:
        engine.wait()
        yield engine
    finally:
        engine.stop()


def api_of(**changes: Any) -> dict[str, Any]:
    """A template with an API whose properties are changed."""
    integration = {"x-amazon-apigateway-integration": {"uri": {"Fn::Sub": "arn:…/${F.Arn}/invocations"}}}
    body: dict[str, Any] = {"openapi": "3.0.1", "paths": {"/": {"get": integration}}}
    stage = {"Type": "AWS::ApiGateway::Stage", "Properties": {"StageName": "live"}}
    return {
        "Resources": {
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": {**body, **changes}}},
            "Stage": stage,
        }
    }


def test_routes(translated: dict[str, Any]) -> None:
    """Each path has its function, methods and authorizer; ANY is expanded, and the path's own method comes last."""
    api = declared_api(Template(translated))
    routes: dict[str, list[Route]] = {}
    for route in api.routes:
        routes.setdefault(route.resource, []).append(route)

    assert (api.stage, api.minimum_compression) == ("test", 1024)
    assert {path: {route.function for route in found} for path, found in routes.items()} == {
        "/echo": {"EchoFunction"},
        "/echo/{item}": {"EchoFunction"},
        "/files/{proxy+}": {"EchoFunction"},
        "/behave": {"BehaveFunction"},
        "/broken": {"BrokenFunction"},
    }
    whole, preflight = routes["/echo"]
    assert sorted(whole.methods) == ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    assert (preflight.methods, preflight.authorizer) == (("OPTIONS",), None)
    assert (whole.authorizer, routes["/behave"][0].authorizer) == (CALLER, None)
    assert [routes[path][0].rule for path in ("/echo/{item}", "/files/{proxy+}")] == [
        "/echo/<item>",
        "/files/<path:proxy>",
    ]
    assert api.responses.customised["UNAUTHORIZED"]["statusCode"] == "401"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ({"Resources": {}}, "exactly one API"),
        (
            api_of(components={"securitySchemes": {"A": {"x-amazon-apigateway-authorizer": {"type": "token"}}}}),
            "A: the local run supports only authorizers of type REQUEST",
        ),
        (
            api_of(paths={"/": {"get": {"x-amazon-apigateway-integration": {"uri": {"Fn::Sub": "http://x"}}}}}),
            "only integrations with functions",
        ),
        (
            api_of(
                components={
                    "securitySchemes": {
                        "A": {
                            "x-amazon-apigateway-authorizer": {
                                "type": "request",
                                "identitySource": "context.path",
                                "authorizerUri": {"Fn::Sub": "${F.Arn}"},
                            }
                        }
                    }
                }
            ),
            "A: the local run does not support the identity source context.path",
        ),
    ],
)
def test_unknown_settings_are_refused(template: dict[str, Any], text: str) -> None:
    """A setting of the API that the local run does not support is refused, and the error names it."""
    with pytest.raises(SettingsError, match=text):
        declared_api(Template(template))


def test_functions(translated: dict[str, Any]) -> None:
    """A function has its folder, layers and limits from the template, and its variables from the stack."""
    names = [name for name, _ in Template(translated).resources("AWS::Lambda::Function")]
    variables = {name: {"NAME": name} for name in names}

    assert declared_functions(Template(translated), Template.load(FIXTURE), variables)["BehaveFunction"] == (
        FunctionSettings(
            "BehaveFunction", "app.handler", "functions/behave", ("shared",), 1.0, 256, {"NAME": "BehaveFunction"}
        )
    )


def test_translations_are_kept(tmp_path: Path) -> None:
    """An unchanged template is not translated again; a changed one is, and its old translation is deleted."""
    template, cache = tmp_path / "template.yaml", tmp_path / "cache"
    shutil.copyfile(FIXTURE, template)
    first = translate(template, SAM, cache)

    assert translate(template, tmp_path / "no interpreter", cache) == first
    template.write_text(template.read_text().replace("StageName: test", "StageName: other"))
    second = translate(template, SAM, cache)
    assert [*cache.iterdir()] == [second]
    template.write_text("Resources: {F: {Type: AWS::Serverless::Function, Properties: {CodeUri: f}}}")
    with pytest.raises(TemplateError, match="F"):
        translate(template, SAM, cache)


@pytest.mark.gateway
def test_a_stack_is_created_and_updated(engine: Engine, translated: dict[str, Any]) -> None:
    """A change is applied to the stack that is there; a template that is refused leaves it as it was."""
    table = deploy(engine.services, translated).resources["NotesTable"]
    connect("dynamodb", engine.endpoint).put_item(TableName=table, Item={"pk": {"S": "kept"}})
    resources = translated["Resources"]
    mapping = {**resources["SlowFunctionSlow"]["Properties"], "ScalingConfig": {"MaximumConcurrency": CALLS + 1}}
    changed = {**resources, "SlowFunctionSlow": {**resources["SlowFunctionSlow"], "Properties": mapping}}
    stack = deploy(engine.services, {**translated, "Resources": changed})
    broken = {**resources, "Broken": {"Type": "AWS::Lambda::Function", "Properties": {"Layers": [{"Ref": "Nobody"}]}}}
    with pytest.raises(DeploymentError):
        deploy(engine.services, {**translated, "Resources": broken})

    functions = connect("lambda", engine.services)
    mappings = functions.list_event_source_mappings(FunctionName=stack.resources["SlowFunction"])
    behave = functions.get_function_configuration(FunctionName=stack.resources["BehaveFunction"])
    assert stack.resources["NotesTable"] == table
    assert read_stack(engine.services).resources == stack.resources
    assert [each["ScalingConfig"] for each in mappings["EventSourceMappings"]] == [{"MaximumConcurrency": CALLS}]
    assert behave["Timeout"] == 1 + INIT_SECONDS
    names = [name for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Function"]
    assert sorted(environments(engine.services, stack)) == sorted(names)
    assert environments(engine.services, stack)["BehaveFunction"] == {
        "GREETING": "hello",
        "NOTES_TABLE": table,
        "LIMIT": "3",
    }
    assert connect("dynamodb", engine.endpoint).scan(TableName=table)["Count"] == 1


@pytest.mark.gateway
def test_a_missing_stack_is_named(engine: Engine) -> None:
    """Reading a stack that is not there fails with its name."""
    with pytest.raises(DeploymentError, match=f"the stack {STACK} cannot be read"):
        read_stack(engine.services)
