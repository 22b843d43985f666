"""The project's template as CloudFormation sees it: the engine creates, changes and deletes its stack."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from ordering_tools.local.engine.aws_account import STACK
from ordering_tools.local.engine.deployment import deploy, translate
from ordering_tools.local.engine.engine import Engine, connect
from ordering_tools.local.serve import ROOT
from ordering_tools.stacks import Stack

pytestmark = pytest.mark.gateway
OPTIONS = {
    "DomainName": "api.example.com",
    "CertificateArn": "arn:aws:acm:eu-west-1:000000000000:certificate/a",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:000000000000:alarms",
}
"""The parameters that most deployments set."""

KEPT = {"AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::SQS::Queue"}
"""The types of resources with data that cannot be made again: they outlive the stack."""

OF_THE_API = ("AWS::ApiGateway::", "AWS::Lambda::Permission")
"""The types of resources that the engine makes anew if the API's text changes, as it does with a domain.

CloudFormation changes them.
"""

UNKNOWN = {
    *("AWS::WAFv2::WebACLAssociation", "AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"),
    *("AWS::CloudWatch::CompositeAlarm", "AWS::Logs::QueryDefinition", "AWS::Events::Archive"),
}
"""The types that the engine does not have."""

OPTIONAL = ("HasDomain", "HasLogsRole", "HasBackups", "HasTrail")
"""The conditions that do not hold by default."""


@dataclass
class Deployed:
    """The template, deployed into an engine of its own."""

    engine: Engine
    translated: dict[str, Any]
    stack: Stack
    statuses: dict[str, str] = field(default_factory=dict)
    """The status of each resource, by logical id."""

    def change(self, translated: dict[str, Any]) -> None:
        """Deploy another template into the same stack."""
        self.translated = translated
        self.stack = deploy(self.engine.services, translated)
        self.statuses = {name: status for name, (_, status) in resources_of(self.engine).items()}


def resources_of(engine: Engine) -> dict[str, tuple[str, str]]:
    """The type and the status of each resource of the stack, by logical id."""
    pages = connect("cloudformation", engine.services).get_paginator("list_stack_resources").paginate(StackName=STACK)
    return {
        one["LogicalResourceId"]: (one["ResourceType"], one["ResourceStatus"])
        for page in pages
        for one in page["StackResourceSummaries"]
    }


def with_options(translated: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """A template whose parameters have other defaults."""
    parameters = {name: {**translated["Parameters"][name], "Default": value} for name, value in options.items()}
    return {**translated, "Parameters": {**translated["Parameters"], **parameters}}


def conditional(translated: Mapping[str, Any], *conditions: str) -> set[str]:
    return {name for name, one in translated["Resources"].items() if one.get("Condition") in conditions}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    python = ROOT / ".venvs" / "sam" / "bin" / "python"
    path = translate(ROOT / "template.yaml", python, ROOT / ".build" / "local" / "translated")
    translated = json.loads(path.read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(ROOT / ".venvs" / "engine" / "bin" / "python", folder, functions="http://127.0.0.1:9")
    try:
        engine.wait()
        deployed = Deployed(engine, translated, Stack({}, {}))
        deployed.change(translated)
        yield deployed
    finally:
        engine.stop()


@pytest.mark.parametrize("tracing", ["Disabled", "Active"])
def test_rights_at_x_ray(tracing: str, tmp_path: Path) -> None:
    """SAM gives functions rights at X-Ray, and lets them trace, only with the parameter."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    changed = tmp_path / "template.yaml"
    changed.write_text(text.replace("Default: Disabled", f"Default: {tracing}"), encoding="utf-8")
    translated = translate(changed, ROOT / ".venvs" / "sam" / "bin" / "python", tmp_path / "cache")
    resources = json.loads(translated.read_text(encoding="utf-8"))["Resources"]
    found = {
        words in json.dumps(one["Properties"])
        for kind, words in (("AWS::IAM::Role", "AWSXray"), ("AWS::Lambda::Function", "TracingConfig"))
        for name, one in resources.items()
        if one["Type"] == kind and name.endswith(("Function", "FunctionRole"))
    }

    assert found == {tracing == "Active"}


def test_what_sam_writes_has_no_aliases() -> None:
    """`sam build` and `sam package` write the template's YAML aliases out, since CloudFormation does not read them."""
    helpers = "from samcli.yamlhelper import yaml_dump, yaml_parse"
    script = f"import sys; {helpers}; print(yaml_dump(yaml_parse(sys.stdin.read())))"
    source = (ROOT / "template.yaml").read_text(encoding="utf-8")
    written = subprocess.run(
        [ROOT / ".venvs" / "sam" / "bin" / "python", "-c", script],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    aliases = [token for token in yaml.scan(source) if isinstance(token, yaml.AliasToken)]

    assert aliases
    assert not any(isinstance(token, yaml.AliasToken | yaml.AnchorToken) for token in yaml.scan(written))


# In the order of a stack's life: each test begins where the one before ended.


def unknown(translated: dict[str, Any]) -> set[str]:
    """The resources that the engine does not have; it has no alarms of several metrics either."""
    return {
        name
        for name, one in translated["Resources"].items()
        if one["Type"] in UNKNOWN or "Metrics" in one.get("Properties", {})
    }


def test_the_stack_is_created(deployed: Deployed) -> None:
    """Every resource is created, but those that are optional or unknown here, and every output has a value."""
    optional = set().union(*(conditional(deployed.translated, one) for one in OPTIONAL))
    expected = deployed.translated["Resources"].keys() - optional - unknown(deployed.translated)

    assert deployed.statuses == dict.fromkeys(expected, "CREATE_COMPLETE")
    assert deployed.stack.outputs.keys() == deployed.translated["Outputs"].keys()
    assert all(deployed.stack.outputs.values())
    assert {name for name, value in deployed.stack.outputs.items() if "${" in value or value == name} == set()


def test_names_of_the_stack_are_resolved(deployed: Deployed) -> None:
    """Each variable of a function has the physical id of the resource that it names."""
    functions = connect("lambda", deployed.engine.services)
    for name, resource in deployed.translated["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Function":
            declared = resource["Properties"]["Environment"]["Variables"]
            found = functions.get_function_configuration(FunctionName=deployed.stack.resources[name])
            named = {
                variable: deployed.stack.resources[value["Ref"]]
                for variable, value in declared.items()
                if isinstance(value, dict) and value.get("Ref") in deployed.stack.resources
            }
            assert found["Environment"]["Variables"].keys() == declared.keys()
            assert named.items() <= found["Environment"]["Variables"].items()


def test_callers_use_aliases(deployed: Deployed) -> None:
    """Each function has the alias `live` of its first version, which event sources name."""
    functions = connect("lambda", deployed.engine.services)
    names = [name for name, one in deployed.translated["Resources"].items() if one["Type"] == "AWS::Lambda::Function"]
    aliases = [
        functions.get_alias(FunctionName=deployed.stack.resources[name], Name="live")["FunctionVersion"]
        for name in names
    ]
    mappings = functions.list_event_source_mappings()["EventSourceMappings"]

    assert aliases == ["1"] * 21
    assert [one["FunctionArn"].rpartition(":")[2] for one in mappings] == ["live"] * 6


def test_the_stack_is_updated(deployed: Deployed) -> None:
    """A domain, a topic of alarms, a changed property and a new alarm are applied, and no resource is replaced."""
    before, tables = deployed.stack, connect("dynamodb", deployed.engine.endpoint)
    tables.put_item(TableName=before.outputs["OrdersTable"], Item={"pk": {"S": "kept"}, "sk": {"S": "kept"}})
    resources = deployed.translated["Resources"]
    alarm = resources["FulfilmentAlarm"]
    changed = {**alarm, "Properties": {**alarm["Properties"], "Threshold": 120_000}}
    more = {**resources, "FulfilmentAlarm": changed, "AnotherAlarm": alarm}
    deployed.change(with_options({**deployed.translated, "Resources": more}, OPTIONS))
    alarms = connect("cloudwatch", deployed.engine.services).describe_alarms()["MetricAlarms"]
    thresholds = {one["AlarmName"]: one["Threshold"] for one in alarms}

    domain = conditional(deployed.translated, "HasDomain")
    assert deployed.stack.resources.keys() - before.resources.keys() == {"AnotherAlarm", *domain}
    kept = {name for name, one in resources.items() if not one["Type"].startswith(OF_THE_API)} & before.resources.keys()
    assert {name: before.resources[name] for name in kept}.items() <= deployed.stack.resources.items()
    assert deployed.stack.outputs["BaseUrl"] == "https://api.example.com"
    assert thresholds[deployed.stack.resources["FulfilmentAlarm"]] == 120_000
    assert thresholds[deployed.stack.resources["AnotherAlarm"]] == 60_000
    assert {*map(tuple, (one["AlarmActions"] for one in alarms))} == {(OPTIONS["AlarmTopicArn"],), ()}
    assert tables.scan(TableName=before.outputs["OrdersTable"])["Count"] == 1


def test_the_stack_is_paused(deployed: Deployed) -> None:
    """A paused stack reads no queue and no stream, and goes on as before."""
    before, functions = deployed.translated, connect("lambda", deployed.engine.services)

    def states() -> set[str]:
        return {one["State"] for one in functions.list_event_source_mappings()["EventSourceMappings"]}

    running = states()
    deployed.change(with_options(before, {"Paused": "true"}))
    paused = states()
    deployed.change(before)

    assert (running, paused, states()) == ({"Enabled"}, {"Disabled"}, {"Enabled"})


def test_a_deleted_stack_leaves_its_data(deployed: Deployed) -> None:
    """A deleted stack leaves its tables with their items, its keys and its queues, and nothing else."""
    services, kinds = (
        deployed.engine.services,
        {name: kind for name, (kind, _) in resources_of(deployed.engine).items()},
    )
    kept = {name for name, kind in kinds.items() if kind in KEPT}
    _delete(services)
    tables = connect("dynamodb", deployed.engine.endpoint)
    keys = connect("kms", services)

    queues = connect("sqs", services).list_queues()["QueueUrls"]

    declared = {
        name
        for name, one in deployed.translated["Resources"].items()
        # A version stays if a release replaces it, but ends with its function.
        if "Retain" in str(one.get("DeletionPolicy"))
        and one["Type"] != "AWS::Lambda::Version"
        and one.get("Condition") not in OPTIONAL
    }
    assert kept == declared
    left = [*tables.list_tables()["TableNames"], *(key["KeyId"] for key in keys.list_keys()["Keys"]), *queues]
    assert sorted(map(_name, left)) == sorted(_name(deployed.stack.resources[name]) for name in kept)
    assert {key["KeyState"] for key in map(keys_of(keys), keys.list_keys()["Keys"])} == {"Enabled"}
    assert tables.scan(TableName=deployed.stack.resources["OrdersTable"])["Count"] == 1
    assert connect("lambda", services).list_functions()["Functions"] == []
    assert connect("cloudwatch", services).describe_alarms()["MetricAlarms"] == []
    assert connect("apigateway", services).get_rest_apis()["items"] == []
    assert connect("logs", services).describe_log_groups()["logGroups"] == []
    assert [one["Name"] for one in connect("events", services).list_event_buses()["EventBuses"]] == ["default"]
    assert connect("iam", services).list_roles()["Roles"] == []


def _name(physical: str) -> str:
    """The name of a resource by its physical id, which is a URL for queues."""
    return physical.rpartition("/")[2]


def keys_of(keys: Any) -> Any:
    """A function that describes a listed key."""
    return lambda key: keys.describe_key(KeyId=key["KeyId"])["KeyMetadata"]


def _delete(services: str) -> None:
    cloudformation = connect("cloudformation", services)
    cloudformation.delete_stack(StackName=STACK)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            cloudformation.describe_stacks(StackName=STACK)
        except ClientError:
            return
        time.sleep(0.05)
    raise AssertionError("the stack is still there")
