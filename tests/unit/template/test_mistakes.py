"""Mistakes of the template that neither a linter nor the local engine finds are found, and the template has none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.installation import open_at
from ordering_tools.operations.incoming import BUS
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.gateway import ROOT
from support.mistakes import KINDS

DOCUMENT: dict[str, Any] = Template.load(ROOT / "template.yaml").document
STREAM = "StreamFunction.Properties.Events.Changed.Properties"
QUEUE = "MailsFunction.Properties.Events.Wanted.Properties"
FILTER = f"{STREAM}.FilterCriteria.Filters.0.Pattern"
PATTERN = "PaymentRule.Properties.EventPattern"
RESPONSES = "Api.Properties.GatewayResponses"
REFUSAL = f"{RESPONSES}.THROTTLED"
BODY = f"{REFUSAL}.ResponseTemplates.application/json"
HEADERS = f"{REFUSAL}.ResponseParameters.Headers"
POLICY = "Properties.Policies.0.Statement"

PLANTED: list[tuple[str, str, Any, str]] = [
    ("mappings", f"{QUEUE}.BisectBatchOnFunctionError", True, "BisectBatchOnFunctionError is not for SQS"),
    ("mappings", f"{QUEUE}.StartingPosition", "TRIM_HORIZON", "StartingPosition is not for SQS"),
    ("mappings", f"{QUEUE}.MaximumRetryAttempts", 3, "MaximumRetryAttempts is not for SQS"),
    ("mappings", f"{QUEUE}.BatchSize", 11, "needs a batching window"),
    ("mappings", f"{STREAM}.ScalingConfig", {"MaximumConcurrency": 5}, "ScalingConfig is not for DynamoDB"),
    ("mappings", f"{STREAM}.StartingPosition", None, "StartingPosition is required"),
    ("filters", FILTER, '{"eventName": ["INSERT"]', "no JSON"),
    ("filters", FILTER, "{}", "an object with fields is required"),
    ("filters", FILTER, '{"eventName": "INSERT"}', "eventName: an object with fields is required"),
    ("filters", FILTER, '{"eventName": []}', "matches nothing"),
    ("filters", FILTER, '{"eventName": ["CREATE"]}', "no change is called"),
    ("filters", FILTER, '{"dynamodbb": {"Keys": {"pk": {"S": ["x"]}}}}', "records have no dynamodbb"),
    ("filters", FILTER, '{"dynamodb": {"Keys": {"pk": {"S": [{"begins": "x"}]}}}}', "not one of the comparisons"),
    ("filters", FILTER, '{"dynamodb": {"Keys": {"pk": {"S": [{"wildcard": "x*"}]}}}}', "not one of the comparisons"),
    ("filters", FILTER, '{"dynamodb": {"Keys": {"pk": {"S": [{"prefix": 1}]}}}}', "prefix does not take 1"),
    ("filters", FILTER, '{"dynamodb": {"Keys": {"pk": {"S": [{"exists": "no"}]}}}}', "exists does not take"),
    ("filters", FILTER, '{"dynamodb": {"NewImage": {"n": {"N": [{"numeric": [">", 1]}]}}}}', "never matches"),
    ("filters", f"{STREAM}.FilterCriteria.Filters", [{"Pattern": '{"eventName": ["INSERT"]}'}] * 6, "more than 5"),
    ("rules", f"{PATTERN}.source", "payments", "source: an object with fields is required"),
    ("rules", f"{PATTERN}.detail-type", [], "matches nothing"),
    ("rules", f"{PATTERN}.detailtype", ["x"], "events have no detailtype"),
    ("rules", f"{PATTERN}.detail", {"amount": [{"numeric": [">", "1"]}]}, "numeric does not take"),
    ("rules", f"{PATTERN}.detail", {"amount": [{"numeric": [">"]}]}, "numeric does not take"),
    ("rules", f"{PATTERN}.detail", {"ip": [{"cidr": "10.0.0.0/33"}]}, "cidr does not take"),
    ("rules", f"{PATTERN}.detail", {"a": [{"anything-but": []}]}, "anything-but does not take"),
    ("rules", f"{PATTERN}.detail", {"a": [["x"]]}, "a list in a list"),
    ("rules", f"{PATTERN}.$or", [{"source": ["x"]}], "at least two alternatives"),
    ("rules", PATTERN, {}, "an object with fields is required"),
    ("rules", f"{PATTERN}.detail", {"a": ["x" * 2048]}, "longer than 2048"),
    ("code", "MailsFunction.Properties.CodeUri", "functions/fulfilment/letters", "there is no functions/fulfilment/l"),
    ("code", "MailsFunction.Properties.Handler", "main.handler", "there is no functions/fulfilment/mails/main.py"),
    ("code", "MailsFunction.Properties.Handler", "app.handle", "app.py defines no handle"),
    ("code", "OrderingLayer.Properties.ContentUri", "layers/order", "there is no layers/order"),
    ("gateway responses", f"{RESPONSES}.TOO_MANY", {"StatusCode": 429}, "there is no such type"),
    ("gateway responses", f"{REFUSAL}.StatusCode", 42, "42 is no status of an error"),
    ("gateway responses", BODY, '{"detail": $context.error.message}', "the body is no JSON"),
    ("gateway responses", BODY, '{"detail": "$context.error.messageString"}', "the body is no JSON"),
    ("gateway responses", BODY, '{"id": "$context.requestID"}', "there is no $context.requestID"),
    ("gateway responses", BODY, '{"id": "$input.path"}', "gateway responses know no $input.path"),
    ("gateway responses", f"{HEADERS}.Retry-After", "1", "the header field Retry-After cannot come from 1"),
    ("gateway responses", f"{HEADERS}.X-Request-Id", "$context.requestId", "cannot come from $context.requestId"),
    ("gateway responses", f"{HEADERS}.X-Request-Id", "context.requestID", "cannot come from context.requestID"),
    ("roles", f"MailsFunction.{POLICY}", [], "MailsFunction: ORDERS_TABLE names OrdersTable"),
    ("roles", f"WebhookDeliveryFunction.{POLICY}.5", None, "WEBHOOK_QUEUE names WebhookQueue"),
    ("roles", f"StreamFunction.{POLICY}.6", None, "EVENT_BUS names OrderEvents"),
    ("roles", f"StreamFunction.{POLICY}.5.Resource", {"Fn::GetAtt": ["CertificatesKey", "Arn"]}, "ACCESS_KEYS_KEY"),
    ("roles", f"MailsFunction.{POLICY}.4.Action", "ses:SendBulkEmail", "MAIL_CONFIGURATION_SET"),
    ("roles", f"EcardBalanceFunction.{POLICY}.0.Effect", "Deny", "ORDERS_TABLE"),
    ("roles", "EcardBalanceFunction.Properties.Environment.Variables.ORDERS_TABLE", None, "no variable names"),
    ("roles", "WebhooksFunction.Properties.Environment.Variables.WEBHOOK_SECRETS_KEY", None, "WebhookSecretsKey"),
    ("parameters", "Domain.Properties.RegionalCertificateArn", "x", "CertificateArn: no resource"),
    ("parameters", "Domain.Properties.RegionalCertificateArn", {"Ref": "Certificate"}, "Certificate: it is used but"),
    ("parameters", "MailEvents.Properties.ConfigurationSetName", {"Fn::Sub": "${MailConfig}"}, "MailConfig: it is"),
]
"""The kind of mistake, where it is planted, the value (None deletes), and words of the sentence that finds it."""


def planted(path: str, value: Any) -> Template:
    """The template with a value of one resource changed."""
    document = copy.deepcopy(DOCUMENT)
    target: Any = document["Resources"]
    *above, last = path.replace("application/json", "application|json").split(".")
    for name in above:
        target = target[int(name)] if isinstance(target, list) else target[name]
    key: Any = int(last) if isinstance(target, list) else last.replace("|", "/")
    if value is None:
        del target[key]
    else:
        target[key] = value
    return Template(document)


@pytest.mark.parametrize("kind", KINDS)
def test_the_template_has_no_mistakes(kind: str) -> None:
    """The template has no mistake of any kind that AWS refuses or that fails at the first use."""
    assert [*KINDS[kind](Template(DOCUMENT), ROOT)] == []


@pytest.mark.parametrize(("kind", "path", "value", "words"), PLANTED)
def test_planted_mistakes_are_found(kind: str, path: str, value: Any, words: str) -> None:
    """Each planted mistake is found by the checker of its kind, in a sentence that names the place."""
    found = [*KINDS[kind](planted(path, value), ROOT)]

    assert any(words in sentence for sentence in found), found


def test_every_named_resource_needs_its_right() -> None:
    """A function whose policies are removed is found for each resource that its environment names."""
    functions = [name for name, one in DOCUMENT["Resources"].items() if one["Type"] == "AWS::Serverless::Function"]
    for function in functions:
        found = {*KINDS["roles"](planted(f"{function}.Properties.Policies", []), ROOT)}
        variables = DOCUMENT["Resources"][function]["Properties"].get("Environment", {}).get("Variables", ())
        named = {name for name in variables if name.endswith(("_TABLE", "_QUEUE", "_KEY", "_BUS", "_SET"))}
        assert {sentence.split()[1] for sentence in found} == named


class Asked(dict[str, str]):
    """Outputs of a stack that note which of them are read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def test_outputs_that_commands_read(tmp_path: Path) -> None:
    """The template has every output that the commands read."""
    asked = Asked()
    installation = open_at("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path, Stack(asked, {}))
    assert (installation.orders.name, installation.catalogue.name) == ("OrdersTable", "CatalogueTable")
    assert installation.accounts.name == "AccountsTable"

    assert {"OrdersTable", "AccountsTable", "IncomingQueue"} <= asked.names
    assert asked.names | {BUS} <= DOCUMENT["Outputs"].keys()


def test_missing_descriptions_are_found(tmp_path: Path) -> None:
    """An output and a parameter without a description are found."""
    document = {**DOCUMENT, "Outputs": {"Api": {"Value": "x"}}, "Parameters": {"Stage": {"Type": "String"}}}

    assert [*KINDS["outputs"](Template(document), tmp_path)] == ["Api: the output has no description"]
    assert "Stage: it has no description" in [*KINDS["parameters"](Template(document), tmp_path)]
