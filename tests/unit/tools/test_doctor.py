"""`ordering doctor` finds what is missing or wrong, and says what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ordering import values
from ordering.aws.dynamodb import Put
from ordering.identity.accounts import _SIGNER, Accounts
from ordering_tools import cli
from ordering_tools.installation import ROOT, Installation, NotDone
from ordering_tools.operations import commands, doctor
from ordering_tools.operations.usage_tiers import UsageKeys
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.aws.usage import GATEWAY, PLANS, MemoryUsage
from support.partners import PARTNER

QUEUES = {name: f"https://sqs/1/{name}" for name in ("MailQueue", "MailDeadLetters")}


class Aws:
    """All services of an account: what each call answers can be changed."""

    exceptions = type("Exceptions", (), {"NotFoundException": KeyError})

    def __init__(self) -> None:
        policy = {"deadLetterTargetArn": "arn:aws:sqs:x:1:MailDeadLetters", "maxReceiveCount": 4}
        self.status = "UPDATE_COMPLETE"
        self.account: dict[str, Any] = {"SendingEnabled": True, "ProductionAccessEnabled": True}
        self.verified = {"orders@example.com": True}
        self.age, self.dead, self.on = 0.0, "0", list[str]()
        self.denied = ""
        self.deployed = {"GRACE_SECONDS": "2"}
        self.usage = MemoryUsage()
        self.policies = {QUEUES["MailQueue"]: json.dumps(policy)}

    def __call__(self, service: str, **_: Any) -> Aws:
        if service == self.denied:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "ann may not"}}, "Call")
        return self

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803 - the API's name
        return {"Stacks": [{"StackName": StackName, "StackStatus": self.status}]}

    def get_account(self) -> Any:
        return self.account

    def get_email_identity(self, EmailIdentity: str) -> Any:  # noqa: N803 - the API's name
        return {"VerifiedForSendingStatus": self.verified[EmailIdentity]}

    def get_metric_statistics(self, **_: Any) -> Any:
        return {"Datapoints": [{"Maximum": self.age}]}

    def get_rest_api(self, restApiId: str) -> Any:  # noqa: N803 - the API's name
        return self.usage.get_rest_api(restApiId)

    def get_paginator(self, operation: str) -> Any:
        if operation == "list_functions":
            return SimpleNamespace(paginate=lambda **_: [{"Functions": self.list_functions()}])
        return self if operation == "describe_alarms" else self.usage.get_paginator(operation)

    def paginate(self, **_: Any) -> Any:
        return [{"MetricAlarms": [{"AlarmName": name} for name in ("another", *self.on)]}]

    def list_functions(self) -> Any:
        of_mine = [("$LATEST", self.deployed), ("9", {"GRACE_SECONDS": "1"}), ("10", {"GRACE_SECONDS": "2"})]
        return [
            {
                "FunctionName": name,
                "Version": version,
                "CodeSha256": "a",
                "Environment": {"Variables": variables},
                "Description": version,
            }
            for name, versions in (("production-Mails-1", of_mine), ("another", of_mine[:1]))
            for version, variables in versions
        ]

    def list_event_source_mappings(self) -> Any:
        return {"EventSourceMappings": []}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> Any:  # noqa: N803 - the API's names
        if AttributeNames == ["RedrivePolicy"]:
            return {"Attributes": {"RedrivePolicy": self.policies.get(QueueUrl, "")}}
        return {"Attributes": {"ApproximateNumberOfMessages": self.dead}}


@pytest.fixture
def aws(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account with a stack that has nothing wrong."""
    aws = Aws()
    outputs = dict.fromkeys(Template.load(ROOT / "template.yaml").document["Outputs"], "there")
    tables = {name: name for name in ("OrdersTable", "CatalogueTable", "AccountsTable")}
    parameters = {"MailSender": "orders@example.com", "AlarmTopicArn": "arn:topic"}
    resources = {**QUEUES, **GATEWAY, "MailAlarm": "production-MailAlarm"}
    resources["MailsFunction"] = "production-Mails-1"
    stack = Stack({**outputs, **tables}, resources, parameters, "production")
    deployed = replace(installation, development_key=None, stack=stack, connect=aws, account="1", caller="ann")
    accounts = Accounts(deployed.accounts)
    accounts.save_signing_key("key-1", {"kty": "EC"})
    accounts.set_signer("key-1", "kms-1")
    monkeypatch.setattr(commands, "open_stack", lambda *_: deployed)
    return aws


def wrong(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """What is wrong with the stack, and what to do, by check."""
    code = cli.main(["doctor", "--stack", "production", "--json"])
    found = json.loads(capsys.readouterr().out)
    bad = {one["check"]: (one["found"], one["whatToDo"]) for one in found if one["state"] == "wrong"}
    assert code == bool(bad)
    return bad


@pytest.mark.usefixtures("aws")
def test_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """A healthy stack passes all checks."""
    assert wrong(capsys) == {}
    assert cli.main(["doctor", "--stack", "production"]) == 0
    assert "ok     sender: orders@example.com is verified" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attribute", "value", "check", "found", "what_to_do"),
    [
        ("status", "UPDATE_FAILED", "stack", "UPDATE_FAILED", "describe-stack-events"),
        ("account", {"SendingEnabled": True}, "SES", "sandbox", "request production access"),
        ("account", {}, "SES", "sending is paused", "dashboard"),
        ("verified", {"orders@example.com": False}, "sender", "not verified", "click the link"),
        ("verified", {}, "sender", "not verified", "click the link"),
        ("age", 901.0, "MailQueue", "waits for 901 s", "log"),
        ("dead", "2", "MailDeadLetters", "2 messages", "ordering dead list --queue MailDeadLetters"),
        ("on", ["production-MailAlarm"], "alarms", "on: MailAlarm", "docs/operations.md"),
        ("deployed", {"GRACE_SECONDS": "3"}, "versions", "older code or settings: MailsFunction", "make deploy"),
        ("denied", "sesv2", "mails", "ann may not", "a right may be missing"),
        ("usage", MemoryUsage(key_source="HEADER"), "key source", "HEADER: every call", "update-rest-api"),
    ],
)
def test_what_is_wrong(
    aws: Aws, capsys: pytest.CaptureFixture[str], attribute: str, value: Any, check: str, found: str, what_to_do: str
) -> None:
    """Each fault is found alone, with what to do."""
    setattr(aws, attribute, value)

    ((name, (text, todo)),) = wrong(capsys).items()
    assert name == check
    assert found in text
    assert what_to_do in todo


def test_usage_tiers(installation: Installation) -> None:
    """A partner without a tier is named as one to care for, and one whose key is not in its plan as refused."""
    usage = MemoryUsage()
    site = replace(installation, stack=Stack(resources=PLANS), connect=usage)
    accounts = Accounts(site.accounts)
    (empty,) = doctor.usage_tiers(site)
    accounts.save_partner(PARTNER)
    accounts.save_partner(values.replace(PARTNER, id="tin", usage_tier="basic", usage_key="lost"))
    UsageKeys(site, "granite").complete("basic")
    accounts.save_partner(values.replace(PARTNER, id="granite", usage_tier="basic", usage_key=usage.keys[0]["value"]))
    refused, without = doctor.usage_tiers(site)

    assert (empty.state, refused.state, without.state) == ("ok", "wrong", "note")
    assert refused.found == "without their key in its plan: tin (basic)"
    assert without.found == "without a tier, which share one plan: northwind"
    assert "ordering partner set" in refused.what_to_do


def test_no_signing_key(installation: Installation) -> None:
    """A stack whose tokens nothing signs, or a key that is not accepted, is told what to do."""
    deployed = replace(installation, development_key=None, account="1")
    (unsigned,) = doctor.signing_key(deployed)
    partition, sort = _SIGNER
    deployed.accounts.put(Put({"pk": partition, "sk": sort, "keyId": "key-1", "kmsId": "kms-1"}))
    (refused,) = doctor.signing_key(deployed)

    assert (unsigned.state, unsigned.found) == ("wrong", "no key signs tokens")
    assert (refused.state, refused.found) == ("wrong", "key-1 signs, but is not accepted")
    assert "ordering key add" in unsigned.what_to_do


def test_a_stack_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A stack that cannot be opened is a finding too."""

    def refuse(*_: object) -> Installation:
        raise NotDone("the stack production cannot be read")

    monkeypatch.setattr(commands, "open_stack", refuse)
    assert wrong(capsys) == {"stack": ("the stack production cannot be read", "check --stack, --profile and --region")}


def test_this_machine(tmp_path: Path) -> None:
    """A folder without environments has the engine's missing."""
    states = {one.check: one.state for one in doctor.machine(tmp_path)}

    assert states["engine's environment"] == "wrong"
    assert states["Python"] == states["disk"] == "ok"


def test_without_a_local_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a local run it says how to start one, which is no fault."""
    cli.main(["doctor", "--state", str(tmp_path)])
    assert "note   local run: it is not running\n       → start it with `make serve`" in capsys.readouterr().out
