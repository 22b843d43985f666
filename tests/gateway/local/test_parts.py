"""Parts of the local run without a process: template, build, engine, state folder, gateway responses."""

import json
from pathlib import Path

import pytest

from gateway.fixture_calls import behave
from ordering_tools.local.engine.engine import (
    ENDPOINT_VARIABLE,
    Engine,
    EngineError,
    dynamodb,
)
from ordering_tools.local.engine.state import Running, State, find
from ordering_tools.local.gateway.responses import GatewayResponses
from ordering_tools.local.runtime.build import BuildError, build
from ordering_tools.template import Template, TemplateError
from support.local_stack import running

ROOT = Path(__file__).resolve().parents[3]

TEMPLATE = Path(__file__).parent / "fixture" / "template.yaml"


def write_project(folder: Path, source: str, layer: str = "{ContentUri: layers/shared}") -> Path:
    function = folder / "functions" / "one"
    function.mkdir(parents=True)
    (function / "app.py").write_text(source)
    (folder / "layers" / "shared" / "python").mkdir(parents=True)
    template = folder / "template.yaml"
    template.write_text(
        f"""
Resources:
  One: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: functions/one}}}}
  Shared:
    Type: AWS::Serverless::LayerVersion
    Properties: {layer}
  Made:
    Type: AWS::Serverless::LayerVersion
    Metadata: {{BuildMethod: makefile}}
    Properties: {{ContentUri: layers/packages}}
"""
    )
    (folder / "build" / "packages").mkdir(parents=True)
    return template


def test_table_definitions() -> None:
    """A table has the arguments of CreateTable, its logical id as name, and its time-to-live attribute."""
    table = next(table for table in Template.load(TEMPLATE).tables if table.name == "NotesTable")

    assert table.ttl_attribute == "expires"
    assert table.create.keys() == {
        "TableName",
        "AttributeDefinitions",
        "KeySchema",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "StreamSpecification",
    }
    assert table.create["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}


def test_template_defaults_and_functions() -> None:
    """A template has its parameters' defaults, and the folders of its functions and layers."""
    template = Template.load(TEMPLATE)

    assert template.parameters == {"Greeting": "hello", "CacheSeconds": 60}
    assert template.functions["EchoFunction"].name == "echo"
    assert [(layer.content.name, layer.built) for layer in template.layers] == [("shared", False)]


def test_short_tags_are_read_as_their_long_forms(tmp_path: Path) -> None:
    """`!GetAtt A.Arn`, `!Sub` and `!If` are read as their long forms, as in CloudFormation."""
    path = tmp_path / "template.yaml"
    path.write_text("Resources: {}\nOutputs: {A: !GetAtt T.Arn, B: !Sub 'x-${Y}', C: !If [D, !Ref E, 1]}")

    assert Template.load(path).document["Outputs"] == {
        "A": {"Fn::GetAtt": ["T", "Arn"]},
        "B": {"Fn::Sub": "x-${Y}"},
        "C": {"Fn::If": ["D", {"Ref": "E"}, 1]},
    }


@pytest.mark.parametrize("text", ["Resources: [", "just text", "Parameters: {}"])
def test_invalid_templates(tmp_path: Path, text: str) -> None:
    """A file that is not YAML with resources is refused, and the error has its path."""
    path = tmp_path / "template.yaml"
    path.write_text(text)

    with pytest.raises(TemplateError, match=r"template\.yaml"):
        Template.load(path)


def test_build_is_compiled_and_complete(tmp_path: Path) -> None:
    """A release has the functions, compiled, and all layers, copied or linked."""
    release = build(write_project(tmp_path, "x = 1\n"), tmp_path / "build")

    assert (release / "functions" / "one" / "app.py").read_text() == "x = 1\n"
    assert list((release / "functions" / "one" / "__pycache__").glob("app.*.pyc"))
    assert (release / "shared" / "python").is_dir()
    assert (release / "packages").resolve() == tmp_path / "build" / "packages"


def test_build_never_changes_a_release(tmp_path: Path) -> None:
    """The same sources give the same release; changed sources give a new one, and do not change the old one."""
    template = write_project(tmp_path, "x = 1\n")
    first, again = (build(template, tmp_path / "build") for _ in range(2))
    (tmp_path / "functions" / "one" / "app.py").write_text("x = 2\n")
    second = build(template, tmp_path / "build")

    assert first == again != second
    assert (first / "functions" / "one" / "app.py").read_text() == "x = 1\n"
    assert (second / "functions" / "one" / "app.py").read_text() == "x = 2\n"


def test_build_leaves_syntax_errors_to_the_function(tmp_path: Path) -> None:
    """A source with a syntax error is built, so that its function reports the error."""
    release = build(write_project(tmp_path, "def broken(:\n"), tmp_path / "build")

    assert (release / "functions" / "one" / "app.py").exists()


def test_build_names_what_is_missing(tmp_path: Path) -> None:
    """The error about a layer that was not built, or about a missing folder, names it."""
    template = write_project(tmp_path, "")
    (tmp_path / "build" / "packages").rmdir()
    with pytest.raises(BuildError, match=r"the layer packages is missing in .*`make` installs it"):
        build(template, tmp_path / "build")

    (tmp_path / "layers" / "shared" / "python").rmdir()
    (tmp_path / "layers" / "shared").rmdir()
    with pytest.raises(BuildError, match="there is no folder"):
        build(template, tmp_path / "build")


@pytest.mark.gateway
def test_tables_are_created_at_another_endpoint(tmp_path: Path) -> None:
    """Another endpoint stands in for DynamoDB alone: a run creates its tables there, as its functions name them."""
    other = Engine(ROOT / ".venvs" / "engine" / "bin" / "python", tmp_path / "other")
    try:
        other.wait()
        with running(
            tmp_path / "state",
            template=TEMPLATE,
            build=tmp_path / "build",
            environment={ENDPOINT_VARIABLE: other.endpoint},
        ) as stack:
            environment = behave(stack).json()["environment"]
            printed = stack.printed()

        assert environment["AWS_ENDPOINT_URL_DYNAMODB"] == other.endpoint
        assert environment["AWS_ENDPOINT_URL"] not in ("", other.endpoint)
        assert f"{other.endpoint}, whose streams are not read: orders stay as they are placed" in printed
        assert environment["NOTES_TABLE"] in dynamodb(other.endpoint).list_tables()["TableNames"]
    finally:
        other.stop()


def test_missing_engine_is_named(tmp_path: Path) -> None:
    """If the engine's environment is missing, the error explains how to create it."""
    with pytest.raises(EngineError, match="`make` sets it up"):
        Engine(tmp_path / "python", tmp_path)


def test_fresh_starts_over(tmp_path: Path) -> None:
    """--fresh deletes the data of earlier runs; only the lock file stays."""
    State(tmp_path).release()
    (tmp_path / "engine").mkdir()
    for name in ("functions.log", "engine/dynamodb.json"):
        (tmp_path / name).write_text("old")

    State(tmp_path, fresh=True).release()

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_run_that_was_killed_is_not_found(tmp_path: Path) -> None:
    """The endpoints of a run are valid only while its process exists."""
    state = State(tmp_path)
    state.announce(Running("", "", "", "", "", 2**22 + 1))

    assert find(tmp_path) is None
    state.release()


def test_gateway_responses_fall_back() -> None:
    """A response type that is not customised has the body of DEFAULT_4XX, or else AWS's default body."""
    customised = {"DEFAULT_4XX": {"responseTemplates": {"application/json": '{"own":"$context.requestId"}'}}}

    ours = GatewayResponses(customised).render("ACCESS_DENIED", {"requestId": "7"})
    theirs = GatewayResponses({}).render("ACCESS_DENIED", {"requestId": "7"})

    assert (ours.status, ours.body) == (403, b'{"own":"7"}')
    assert (theirs.status, theirs.body) == (
        403,
        b'{"message":"User is not authorized to access this resource"}',
    )


def test_gateway_responses_stay_json() -> None:
    """A value from the request is escaped in the template's JSON."""
    customised = {"ACCESS_DENIED": {"responseTemplates": {"application/json": '{"path":"$context.path"}'}}}

    answer = GatewayResponses(customised).render("ACCESS_DENIED", {"path": '/"},{"'})

    assert json.loads(answer.body) == {"path": '/"},{"'}
