"""The template protects the stack: rights at tables, rules of the web ACL, TLS, and reserved executions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ordering_tools.template import Template
from support.documented import check_response
from support.gateway import ROOT
from support.policies import Statement, leading_keys, resource_name, statements

TEMPLATE = Template.load(ROOT / "template.yaml").with_own_tables()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]
FUNCTIONS = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::Serverless::Function"}
POLICIES: dict[str, list[Statement]] = {
    **{name: [*statements(properties["Policies"])] for name, properties in FUNCTIONS.items()},
    **{
        name: [*statements([one["Properties"]["PolicyDocument"]])]
        for name, one in RESOURCES.items()
        if one["Type"] == "AWS::IAM::ManagedPolicy"
    },
}
LARGEST_INLINE = 10_240
"""Characters of all inline policies of a role, without white space."""

LONGEST_ARN = "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/" + "x" * 80
WHOLE_TABLES = {
    # DynamoDB has no partition keys for a scan: lists of partners, clients, stocks and books, by operators only.
    ("OnboardingPolicy", ("dynamodb:Scan",), "AccountsTable"),
    ("SupportReadPolicy", ("dynamodb:Scan",), "AccountsTable"),
    ("SupportMoneyPolicy", ("dynamodb:Scan",), "AccountsTable"),
    ("SupportMoneyPolicy", ("dynamodb:Scan",), "CatalogueTable"),
    ("SupportMoneyPolicy", ("dynamodb:Scan",), "OrdersTable"),
    ("OnCallPolicy", ("dynamodb:Scan",), "AccountsTable"),
    ("OnCallPolicy", ("dynamodb:Scan",), "CatalogueTable"),
    ("OnCallPolicy", ("dynamodb:Scan",), "OrdersTable"),
    # A stream has no partition keys.
    ("OnCallPolicy", ("dynamodb:GetShardIterator", "dynamodb:GetRecords"), "OrdersTable.StreamArn"),
}
"""The policies, actions and tables of statements that are not limited to partition keys."""

RATES = ("TokenRequests", "Requests")
"""The rules of the web ACL that limit addresses."""

COUNTED = {
    "NoUserAgent_HEADER",
    "SizeRestrictions_QUERYSTRING",
    "SizeRestrictions_BODY",
    "GenericRFI_BODY",
    "CrossSiteScripting_BODY",
}
"""Rules of AWS's core group that requests of the contracts match."""


def with_parameters(**values: Any) -> Template:
    """The template with other defaults."""
    changed = {name: {**TEMPLATE.document["Parameters"][name], "Default": value} for name, value in values.items()}
    return Template({**TEMPLATE.document, "Parameters": {**TEMPLATE.document["Parameters"], **changed}})


def rules(template: Template = TEMPLATE) -> dict[str, dict[str, Any]]:
    """The rules of the web ACL, by name."""
    ((_, properties),) = template.resources("AWS::WAFv2::WebACL")
    return {rule["Name"]: rule for rule in properties["Rules"]}


@pytest.mark.parametrize("policy", POLICIES)
def test_tables_are_limited_to_partition_keys(policy: str) -> None:
    """Each statement about a table names the partition keys, but for the exceptions, each with its reason."""
    unlimited = {
        (policy, tuple(one["Action"]), resource_name(resource))
        for one in POLICIES[policy]
        if one["Action"][0].startswith("dynamodb:") and leading_keys(one) is None
        for resource in one["Resource"]
    }

    assert unlimited == {one for one in WHOLE_TABLES if one[0] == policy}


@pytest.mark.parametrize("policy", POLICIES)
def test_keys_are_prefixes_of_one_kind(policy: str) -> None:
    """A pattern of partition keys is a kind of items, or one item: none is open at its beginning."""
    patterns = [pattern for one in POLICIES[policy] for pattern in leading_keys(one) or ()]

    assert [one for one in patterns if not re.fullmatch(r"[A-Z_]+(#[a-z-]+)?(#\*)?", one)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_roles_are_small_enough(function: str) -> None:
    """The policies of a function's role are within IAM's limit with the longest names that resources get."""
    text = json.dumps(POLICIES[function], separators=(",", ":"))
    for reference in re.findall(r'\{"(?:Fn::GetAtt":\["\w+","\w+"\]|Fn::Sub":"[^"]*"|Ref":"\w+")\}', text):
        text = text.replace(reference, f'"{LONGEST_ARN}"')

    assert "Fn::" not in text
    assert len(text) <= LARGEST_INLINE


@pytest.mark.parametrize("queue", [name for name, one in RESOURCES.items() if one["Type"] == "AWS::SQS::Queue"])
def test_queues_refuse_calls_without_tls(queue: str) -> None:
    """Each queue has one policy, which denies all calls without TLS."""
    policies = [
        one["Properties"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::SQS::QueuePolicy" and {"Ref": queue} in one["Properties"]["Queues"]
    ]
    (policy,) = policies
    (deny,) = (one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny")

    assert deny["Resource"] in ("*", {"Fn::GetAtt": [queue, "Arn"]})
    assert (deny["Principal"], deny["Action"]) == ("*", "sqs:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_addresses_have_limits() -> None:
    """One address has a limit for all requests to the stage, and a lower one for the token endpoint."""
    limits = {name: rule["Statement"]["RateBasedStatement"] for name, rule in rules().items() if rule["Name"] in RATES}
    token = limits["TokenRequests"]["ScopeDownStatement"]["ByteMatchStatement"]
    arn = str(RESOURCES["AddressLimitsOfStage"]["Properties"]["ResourceArn"])

    # The gateway's response to whatever is blocked without one of its own is 429.
    assert all(rules()[name]["Action"] == {"Block": {}} for name in RATES)
    assert 10 <= limits["TokenRequests"]["Limit"] < limits["Requests"]["Limit"]
    # Also with the stage in front, with a slash at the end, and with characters that are encoded.
    assert (token["PositionalConstraint"], token["SearchString"]) == ("CONTAINS", "/connect/token")
    assert [one["Type"] for one in token["TextTransformations"]] == ["URL_DECODE"]
    assert "${Stage}" in arn
    limited = {"Fn::If": ["HasAddressLimits", True, False]}
    assert [one.resolve(limited) for one in (TEMPLATE, with_parameters(RequestsPerAddress=0))] == [True, False]


def test_rules_of_the_web_acl_have_an_order() -> None:
    """Limits come first and the rule that acts on labels last, each rule with its own priority."""
    names = [name for name, _ in sorted(rules().items(), key=lambda one: one[1]["Priority"])]

    assert names == [*RATES, "Common", "BadInputs", "BadAddresses", "Attacks"]
    assert len({rule["Priority"] for rule in rules().values()}) == len(names)
    assert {"Common", "BadInputs", "BadAddresses", "Attacks"}.isdisjoint(rules(with_parameters(ManagedRules="none")))


def test_managed_groups_only_label() -> None:
    """No group of AWS's blocks, for that would be answered 429; and rules that legitimate requests match end none."""
    groups = {name: rule for name, rule in rules().items() if "ManagedRuleGroupStatement" in rule["Statement"]}
    overrides = groups["Common"]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]

    assert all(rule["OverrideAction"] == {"Count": {}} for rule in groups.values())
    assert all(one["ActionToUse"] == {"Count": {}} for one in overrides)
    assert {one["Name"] for one in overrides} == COUNTED


@pytest.mark.parametrize(("parameter", "action"), [("count", "Count"), ("block", "Block")])
def test_labels_of_attacks(parameter: str, action: str) -> None:
    """One rule acts on the labels, as the parameter says, and never on one of a rule that legitimate requests match."""
    rule = rules(with_parameters(ManagedRules=parameter))["Attacks"]
    labels = [one["LabelMatchStatement"] for one in rule["Statement"]["OrStatement"]["Statements"]]
    names = {one["Key"].rpartition(":")[2].lower() for one in labels if one["Scope"] == "LABEL"}

    assert [*rule["Action"]] == [action]
    assert names.isdisjoint({one.lower().replace("useragent_badbots", "badbots") for one in COUNTED})
    assert {"badbots_header", "genericlfi_uripath", "awsmanagedipreputationlist"} <= names
    assert [one["Key"] for one in labels if one["Scope"] == "NAMESPACE"] == ["awswaf:managed:aws:known-bad-inputs:"]


@pytest.mark.parametrize("path", ["/api/v2/orders", "/v1/orders", "/v2/orders", "/webhooks", "/connect/token"])
def test_a_blocked_attack_fits_every_contract(path: str) -> None:
    """The web ACL answers 403 with an error of each contract, with the nil UUID for the id that it does not know."""
    blocking = with_parameters(ManagedRules="block", DocumentationUrl="https://docs.example.com")
    ((_, properties),) = blocking.resources("AWS::WAFv2::WebACL")
    response = rules(blocking)["Attacks"]["Action"]["Block"]["CustomResponse"]
    body = properties["CustomResponseBodies"][response["CustomResponseBodyKey"]]
    headers = {one["Name"]: one["Value"] for one in response["ResponseHeaders"]}

    assert response["ResponseCode"] == json.loads(body["Content"])["status"] == 403
    assert body["ContentType"] == "APPLICATION_JSON"
    # The one difference: WAF has no media type for problems.
    problem = {**headers, "Content-Type": "application/problem+json"}
    check_response("POST", path, 403, problem, body["Content"])


@pytest.mark.parametrize(("domain", "disabled"), [("", False), ("api.example.com", True)])
def test_a_domain_is_the_only_address(domain: str, disabled: bool) -> None:  # noqa: FBT001 - a table's column
    """With a domain the default endpoint is off, so that callers cannot go around the domain."""
    ((_, api),) = with_parameters(DomainName=domain).resources("AWS::Serverless::Api")

    assert api["DisableExecuteApiEndpoint"] is disabled
    # Without it, a changed parameter would change the API, but not the stage that callers reach.
    assert api["AlwaysDeploy"] is True


def test_old_versions_of_tls_are_refused() -> None:
    """The API and its domain take TLS 1.2 and 1.3 only."""
    found = {
        (properties["SecurityPolicy"], properties["EndpointAccessMode"])
        for kind in ("AWS::Serverless::Api", "AWS::ApiGateway::DomainName")
        for _, properties in TEMPLATE.resources(kind)
    }

    assert found == {("SecurityPolicy_TLS13_1_2_2021_06", "BASIC")}


RESERVING = {
    "AuthorizerFunction": "AuthorizerConcurrency",
    "TokenFunction": "TokenConcurrency",
    **dict.fromkeys(
        ("StreamFunction", "IncomingFunction", "MailsFunction", "WebhookDeliveryFunction"), "WorkerConcurrency"
    ),
}
"""The functions for which executions can be reserved, and the parameter that does it."""


def test_nothing_is_reserved_unless_asked() -> None:
    """By default no execution is reserved, as a new account may have too few; parameters reserve for few functions."""
    everything = with_parameters(**dict.fromkeys(RESERVING.values(), 20))
    reserved = [
        {name: one["ReservedConcurrentExecutions"] for name, one in found if "ReservedConcurrentExecutions" in one}
        for found in (template.resources("AWS::Serverless::Function") for template in (TEMPLATE, everything))
    ]

    assert reserved[0] == {}
    assert reserved[1].keys() == RESERVING.keys()


def test_consumers_have_as_many_executions_as_their_queues_use() -> None:
    """A queue that has a limit is not throttled by the reservation, and reserves no more than its limit.

    The stream's function has other sources beside its queue with a limit.
    """
    reserving = dict(with_parameters(WorkerConcurrency=7).resources("AWS::Serverless::Function"))
    limited = {
        name: (event["Properties"]["ScalingConfig"]["MaximumConcurrency"], one["ReservedConcurrentExecutions"])
        for name, one in reserving.items()
        for event in one.get("Events", {}).values()
        if "ScalingConfig" in event["Properties"] and name != "StreamFunction"
    }

    assert limited
    assert all(most == reserved for most, reserved in limited.values())
    assert {reserving[name]["ReservedConcurrentExecutions"] for name in ("StreamFunction", "IncomingFunction")} == {7}


def test_tracing_is_one_choice() -> None:
    """The gateway and all functions trace, or none of them does."""
    for value, traces in (("Disabled", False), ("Active", True)):
        template = with_parameters(Tracing=value)
        ((_, api),) = template.resources("AWS::Serverless::Api")
        assert template.resolve(TEMPLATE.document["Globals"])["Function"]["Tracing"] == value
        assert api["TracingEnabled"] is traces
    assert [name for name, one in FUNCTIONS.items() if "Tracing" in one] == []
