"""The managed policies of operators: a duty's policy allows its commands, and nothing that none of them does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.every_command import (
    ADMINISTRATORS,
    COMMANDS,
    LOCAL,
    ONBOARDING,
    World,
    all_commands,
)
from support.gateway import ROOT
from support.policies import Access, allows, statements, unused

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.with_own_tables().document["Resources"]
POLICIES = {
    name.removesuffix("Policy"): [*statements([resource["Properties"]["PolicyDocument"]])]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::IAM::ManagedPolicy"
}
LARGEST_POLICY = 6_144
"""Characters of a managed policy, without white space."""

OPENING = ["cloudformation:DescribeStacks", "cloudformation:ListStackResources"]
"""By which commands find a stack's resources."""
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
NOT_ON_THAT_DAY = {
    # The key that signs after the next replacement.
    (ONBOARDING, "kms:Sign", "SigningKeyB"),
}
"""What a duty's policy allows besides what is recorded."""


@pytest.fixture(scope="module")
def recorded(world: World) -> dict[str, set[Access]]:
    """What each command calls."""
    return {
        command: {access for arguments in ways for access in world.record(command, arguments)}
        for command, (_, ways) in COMMANDS.items()
    }


def test_every_command_has_a_duty() -> None:
    """Each command of the command line is recorded here, or calls nothing in AWS."""
    missing = {name for name, _ in all_commands() if not name.startswith("dev ")} - {*COMMANDS, *LOCAL, *ADMINISTRATORS}

    assert not missing, f"name the duty of {sorted(missing)} in COMMANDS, and add what it calls to the duty's policy"


class _Cloudformation:
    """CloudFormation with an empty stack."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        self.called.add("DescribeStacks")
        return {"Stacks": [{}]}

    def get_paginator(self, operation: str) -> _Cloudformation:
        self.called.add(operation.title().replace("_", ""))
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        yield {"StackResourceSummaries": []}


def allowed(policy: str, access: Access) -> bool:
    return any(allows(statement, access) for statement in POLICIES[policy])


def is_change(access: Access) -> bool:
    """Whether an access changes something that people ask for: writes, but not the entry in the audit trail."""
    return access.action.removeprefix("dynamodb:") in WRITES and not access.partition.startswith("AUDIT#")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_allowed(command: str, recorded: Mapping[str, set[Access]]) -> None:
    """The policy of each of its duties allows all that a command calls."""
    for duty in COMMANDS[command][0]:
        assert [access for access in sorted(recorded[command]) if not allowed(duty, access)] == [], duty


@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_is_allowed_by_its_duty_alone(command: str, recorded: Mapping[str, set[Access]]) -> None:
    """A command that changes something cannot be run by another duty's operators."""
    if not any(map(is_change, recorded[command])):
        return
    duties = {duty for duty in POLICIES if all(allowed(duty, access) for access in recorded[command])}

    assert duties == {*COMMANDS[command][0]}


@pytest.mark.parametrize("duty", POLICIES)
def test_a_policy_allows_nothing_else(duty: str, recorded: Mapping[str, set[Access]]) -> None:
    """Each action, resource and partition key of a statement is needed by a command of the duty."""
    done = [access for command, (duties, _) in COMMANDS.items() if duty in duties for access in recorded[command]]

    policy = [statement for statement in POLICIES[duty] if statement["Action"] != OPENING]

    assert {*unused(policy, done)} == {(action, of) for policy, action, of in NOT_ON_THAT_DAY if policy == duty}


@pytest.mark.parametrize("duty", POLICIES)
def test_the_audit_trail_is_only_added_to(duty: str) -> None:
    """Nobody may change or remove entries of the audit trail."""
    for table in ("OrdersTable", "CatalogueTable", "AccountsTable"):
        for action in WRITES - {"PutItem"}:
            assert not allowed(duty, Access(f"dynamodb:{action}", table, "AUDIT#2026-11"))


def test_the_stack_is_read_by_all() -> None:
    """Each policy allows the calls by which a command finds the names of this stack's resources."""
    cloudformation = _Cloudformation()
    Stack.read(cloudformation)

    assert sorted(f"cloudformation:{one}" for one in cloudformation.called) == OPENING
    for duty, policy in POLICIES.items():
        (statement,) = (one for one in policy if one["Action"] == OPENING)
        (resource,) = statement["Resource"]
        assert resource["Fn::Sub"].endswith(":stack/${AWS::StackName}/*"), duty


@pytest.mark.parametrize("duty", POLICIES)
def test_policies_are_small_enough(duty: str) -> None:
    """A policy is within IAM's limit with the longest names that a stack gives its resources."""
    arn = "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/" + "x" * 80
    text = json.dumps(POLICIES[duty], separators=(",", ":"))
    for reference in re.findall(r'\{"Fn::GetAtt":\["\w+","\w+"\]\}', text):
        text = text.replace(reference, f'"{arn}"')

    assert len(text) <= LARGEST_POLICY


@pytest.mark.parametrize("duty", POLICIES)
def test_policies_can_be_found(duty: str) -> None:
    """Each policy's ARN is an output, and the page of operations has a row for it."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert TEMPLATE.document["Outputs"][f"{duty}Policy"]["Value"] == {"Ref": f"{duty}Policy"}
    assert f"\n| `{duty}Policy` | " in page
