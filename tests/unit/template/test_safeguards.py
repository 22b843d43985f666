"""What keeps data: restored tables, pauses, queues that stay, backups, the archive, the trail, and holders of keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ordering_tools.template import Template
from support.gateway import ROOT

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]
TABLES = {name: one for name, one in RESOURCES.items() if one["Type"] == "AWS::DynamoDB::Table"}
KEYS = [name for name, one in RESOURCES.items() if one["Type"] == "AWS::KMS::Key"]
QUEUES = [name for name, one in RESOURCES.items() if one["Type"] == "AWS::SQS::Queue"]
USES = {"Decrypt", "Encrypt", "GenerateDataKey", "Sign", "Verify", "CreateGrant", "ReEncrypt", "GetPublicKey"}
"""What a key is used for."""


def outside(part: Any) -> Iterator[str]:
    """The tables that a part of the template refers to, other than in the choice of the table to use."""
    if isinstance(part, list):
        for one in part:
            yield from outside(one)
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        if key == "Fn::If" and str(value[0]).startswith("HasOwn"):
            continue
        if key == "Ref" and value in TABLES:
            yield value
        elif key == "Fn::GetAtt" and value[0] in TABLES:
            yield value[0]
        elif key == "Fn::Sub":
            text, variables = value if isinstance(value, list) else (value, {})
            yield from (name for name in TABLES if f"${{{name}}}" in text or f"${{{name}." in text)
            yield from outside(variables)
        else:
            yield from outside(value)


@pytest.mark.parametrize("section", ["Resources", "Outputs"])
def test_a_table_can_be_replaced_by_a_restored_one(section: str) -> None:
    """Nothing but the choice refers to a table of the stack, so that each can be outside of it."""
    found = {name: [*outside(one)] for name, one in TEMPLATE.document[section].items()}

    assert {name: tables for name, tables in found.items() if tables} == {}
    assert [one["Condition"] for one in TABLES.values()] == ["HasOwnOrders", "HasOwnCatalogue", "HasOwnAccounts"]


def test_planted_references_are_found() -> None:
    """A reference past the choice is found in each form."""
    planted = [{"Ref": "OrdersTable"}, {"Fn::GetAtt": ["AccountsTable", "Arn"]}, {"Fn::Sub": "${CatalogueTable.Arn}/x"}]

    assert [*outside({"a": planted})] == ["OrdersTable", "AccountsTable", "CatalogueTable"]


def test_a_pause_stops_all_work() -> None:
    """A paused stack answers every request itself, and disables every event source and every schedule."""
    settings = RESOURCES["Api"]["Properties"]["MethodSettings"]
    limits = [one[f"Throttling{kind}Limit"]["Fn::If"][:2] for one in settings for kind in ("Rate", "Burst")]
    sources = [
        event["Properties"]["Enabled"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::Serverless::Function"
        for event in one["Properties"].get("Events", {}).values()
        if event["Type"] != "Api"
    ]

    assert limits == [["IsPaused", 0]] * 4
    assert sources == [{"Fn::If": ["IsPaused", False, True]}] * 7


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_stay(queue: str) -> None:
    """A queue outlives the stack and its own replacement, but not a stack that could not be created."""
    assert RESOURCES[queue]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[queue]["UpdateReplacePolicy"] == "Retain"


def test_the_archive() -> None:
    """The bus has an archive of all events of 30 days."""
    assert RESOURCES["OrderEventsArchive"]["Properties"] == {
        "Description": "The events of the last 30 days",
        "SourceArn": {"Fn::GetAtt": ["OrderEvents", "Arn"]},
        "RetentionDays": 30,
    }


def test_rules_keep_what_they_cannot_deliver() -> None:
    """Each target of a rule has a dead-letter queue."""
    targets = [
        target
        for one in RESOURCES.values()
        if one["Type"] == "AWS::Events::Rule"
        for target in one["Properties"]["Targets"]
    ]

    assert targets
    assert all("Arn" in target["DeadLetterConfig"] for target in targets)


def key_statements(key: str, *, administrators: bool) -> dict[str, set[str]]:
    """The actions of a key's policy by principal, with or without administrators."""
    (users, administration) = RESOURCES[key]["Properties"]["KeyPolicy"]["Statement"]
    condition, separate, together = users["Action"]["Fn::If"]
    assert condition == administration["Fn::If"][0] == "HasKeyAdministrators"
    assert administration["Fn::If"][2] == {"Ref": "AWS::NoValue"}
    if not administrators:
        return {"account": {together}}
    given = administration["Fn::If"][1]
    assert given["Principal"] == {"AWS": {"Ref": "KeyAdministrators"}}
    return {"account": set(separate), "administrators": set(given["Action"])}


@pytest.mark.parametrize("key", KEYS)
def test_who_administers_a_key_does_not_use_it(key: str) -> None:
    """With administrators, the account's policies give uses only, and administrators cannot use the key."""
    found = key_statements(key, administrators=True)
    names = {who: {action.removeprefix("kms:") for action in actions} for who, actions in found.items()}

    assert names["account"] - USES == {"DescribeKey"}
    assert names["administrators"] & USES == set()
    assert {"PutKeyPolicy", "ScheduleKeyDeletion", "DisableKey"} <= names["administrators"]
    assert not any("*" in action for action in names["account"] | names["administrators"])
    assert key_statements(key, administrators=False) == {"account": {"kms:*"}}


def test_all_uses_of_keys_are_possible_with_administrators() -> None:
    """What functions and operators may do with keys is left to them by the keys' policies."""
    granted = {
        action
        for one in RESOURCES.values()
        for policy in (*one.get("Properties", {}).get("Policies", ()), one.get("Properties", {}).get("PolicyDocument"))
        if policy
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.startswith("kms:")
    }

    assert granted
    assert all(granted <= key_statements(key, administrators=True)["account"] for key in KEYS)


def test_backups() -> None:
    """A plan backs up all three tables each day and copies each backup, if a vault is named."""
    (rule,) = RESOURCES["BackupPlan"]["Properties"]["BackupPlan"]["BackupPlanRule"]
    selected = RESOURCES["BackupSelection"]["Properties"]["BackupSelection"]["Resources"]
    condition, (copied,), otherwise = rule["CopyActions"]["Fn::If"]

    assert [one["Fn::If"][1] for one in selected] == [{"Fn::GetAtt": [name, "Arn"]} for name in TABLES]
    assert rule["Lifecycle"] == copied["Lifecycle"] == {"DeleteAfterDays": {"Ref": "BackupDays"}}
    assert (condition, otherwise) == ("HasBackupCopies", {"Ref": "AWS::NoValue"})
    assert copied["DestinationBackupVaultArn"] == {"Ref": "BackupCopyVaultArn"}
    assert {RESOURCES[f"Backup{part}"]["Condition"] for part in ("Vault", "Plan", "Selection", "Role")} == {
        "HasBackups"
    }
    assert RESOURCES["BackupVault"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_the_trail() -> None:
    """The trail records the data events of all three tables, and management events, among them the uses of keys."""
    management, items = RESOURCES["Trail"]["Properties"]["AdvancedEventSelectors"]
    fields = {one["Field"]: one["Equals"] for one in items["FieldSelectors"]}
    (rule,) = RESOURCES["TrailBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]

    assert management["FieldSelectors"] == [{"Field": "eventCategory", "Equals": ["Management"]}]
    assert [one["Fn::If"][1] for one in fields["resources.ARN"]] == [{"Fn::GetAtt": [name, "Arn"]} for name in TABLES]
    assert rule["ExpirationInDays"] == {"Ref": "TrailDays"}
    assert {RESOURCES[name]["Condition"] for name in ("Trail", "TrailBucket", "TrailBucketPolicy")} == {"HasTrail"}


def test_nothing_is_chosen_by_default() -> None:
    """By default a stack has its own tables, runs, and has neither backups, a trail nor separate administrators."""
    conditions = {
        name: TEMPLATE.resolve({"Fn::If": [name, True, False]})
        for name in (
            *("HasOwnOrders", "HasOwnCatalogue", "HasOwnAccounts"),
            *("IsPaused", "HasBackups", "HasBackupCopies", "HasTrail", "HasKeyAdministrators"),
        )
    }

    assert conditions == {name: name.startswith("HasOwn") for name in conditions}
