"""`ordering doctor`: what is missing or wrong on this machine, with the local run or with a stack, and what to do."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ordering.aws.calls import CallRefused
from ordering.aws.dynamodb import ServiceFault
from ordering.errors import OrderingError
from ordering.identity.accounts import Accounts
from ordering_tools.installation import ROOT, Installation, NotDone
from ordering_tools.local.engine.state import find
from ordering_tools.operations.commands import Command, Run, pass_run
from ordering_tools.operations.dead_letters import open_dead_letters
from ordering_tools.operations.usage_tiers import key_name, planned_keys
from ordering_tools.template import Template

_OK, _NOTE, _WRONG = "ok", "note", "wrong"
_OLDEST_PYTHON = (3, 11)
_FREE_BYTES = 10**9
_PORT = 3000
_OF_A_VERSION = ("CodeSha256", "Environment", "Layers", "MemorySize", "Timeout", "SnapStart")
"""What makes a version different from another one."""
_LATE = timedelta(minutes=15)
_FAILURES = (BotoCoreError, ClientError, OrderingError, CallRefused, ServiceFault, NotDone, OSError)


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    state: str
    found: str
    what_to_do: str = ""


Check = Callable[[Installation], Iterator[Finding]]


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  ordering doctor
  ordering doctor --stack production
""",
)
@pass_run
def command(run: Run) -> None:
    """Check this machine and the local run, or a stack.

    What is missing or wrong is printed with what to do, and the exit code is then 1.
    """
    findings = list[Finding]()
    if not run.stack:
        findings += machine(ROOT)
        if find(run.state) is None:
            findings += [_port(_PORT), Finding("local run", _NOTE, "it is not running", "start it with `make serve`")]
    if run.stack or find(run.state):
        findings += _installation(run)
    _show(run, findings)
    if wrong := sum(one.state == _WRONG for one in findings):
        raise NotDone(f"{wrong} of {len(findings)} checks found something wrong")


def _installation(run: Run) -> Iterator[Finding]:
    try:
        site = run.site
    except NotDone as error:
        if run.stack:
            yield Finding("stack", _WRONG, str(error), "check --stack, --profile and --region")
        else:
            yield Finding("local run", _WRONG, str(error), f"see {run.state / 'engine' / 'engine.log'}")
        return
    for check in (stack, signing_key, usage_tiers, dead_letters) if site.local else _OF_AWS:
        yield from _guarded(check, site)


def _show(run: Run, findings: Sequence[Finding]) -> None:
    if run.json:
        keys = ("check", "state", "found", "whatToDo")
        run.output.document([dict(zip(keys, astuple(one), strict=True)) for one in findings])
        return
    for one in findings:
        click.echo(f"{one.state:5}  {one.check}: {one.found}")
        if one.what_to_do:
            click.echo(f"       → {one.what_to_do}")


def machine(root: Path) -> list[Finding]:
    """Check this machine: Python, the environments and the disk."""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < _OLDEST_PYTHON
    free = shutil.disk_usage(root).free
    engine, runtime = (root / ".venvs" / name / "bin" / "python" for name in ("engine", "runtime"))
    return [
        Finding("Python", _WRONG if old else _OK, version, "install Python 3.11 or later" if old else ""),
        Finding("engine's environment", _OK, "it is there")
        if engine.exists()
        else Finding("engine's environment", _WRONG, f"{engine} is missing", "`make serve` sets it up"),
        Finding("functions' environment", _OK, "it is there")
        if runtime.exists()
        else Finding(
            "functions' environment",
            _NOTE,
            "AWS's runtime client is missing: functions run in one process, one call at a time",
            "`make serve` sets it up if the package index has it for this machine",
        ),
        Finding("disk", _OK, f"{free / 10**9:.1f} GB free")
        if free >= _FREE_BYTES
        else Finding("disk", _WRONG, f"{free / 10**6:.0f} MB free", "free 1 GB, for instance with `make clean`"),
    ]


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)):
            return Finding("port", _OK, f"{port} is free")
    return Finding("port", _NOTE, f"another program has {port}", f"choose another: `make serve PORT={port + 1}`")


def stack(site: Installation) -> Iterator[Finding]:
    """Check the state of the stack and its outputs."""
    name = site.stack.name
    (found,) = site.connect("cloudformation").describe_stacks(StackName=name)["Stacks"]
    status = found["StackStatus"]
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
        yield Finding("stack", _OK, f"{name}: {status}")
    else:
        yield Finding(
            "stack", _WRONG, f"{name}: {status}", f"aws cloudformation describe-stack-events --stack-name {name}"
        )
    wanted = Template.load(ROOT / "template.yaml").document["Outputs"]
    if missing := sorted(wanted.keys() - site.stack.outputs.keys()):
        yield Finding("outputs", _WRONG, f"missing: {', '.join(missing)}", "deploy the template of this release")
    else:
        yield Finding("outputs", _OK, f"all {len(wanted)} are there")


def signing_key(site: Installation) -> Iterator[Finding]:
    """Check that a key signs tokens, and that the authorizer accepts its signatures."""
    accounts = Accounts(site.accounts)
    signer = accounts.signer()
    signs = signer[0] if signer else site.key.key_id if site.local else None
    if signs is None:
        yield Finding("signing key", _WRONG, "no key signs tokens", "`ordering key add`, then `ordering key use`")
    elif signs not in accounts.signing_keys():
        yield Finding("signing key", _WRONG, f"{signs[:8]} signs, but is not accepted", "`ordering key add`")
    else:
        yield Finding("signing key", _OK, f"{signs[:8]} signs and is accepted")


def usage_tiers(site: Installation) -> Iterator[Finding]:
    """Check that each partner has a tier, and that its key is in the tier's plan: else its calls are refused."""
    planned = planned_keys(site)
    without, refused = list[str](), list[str]()
    for partner in Accounts(site.accounts).partners():
        if (tier := partner.usage_tier) is None:
            without.append(partner.id)
        elif key_name(site, partner.id, tier) not in planned[tier]:
            refused.append(f"{partner.id} ({tier})")
    todo = "`ordering partner set PARTNER --tier TIER` for each"
    if refused:
        yield Finding("usage tiers", _WRONG, f"without their key in its plan: {', '.join(sorted(refused))}", todo)
    if without:
        found = f"without a tier, which share one plan: {', '.join(sorted(without))}"
        yield Finding("usage tiers", _NOTE, found, todo)
    if not refused + without:
        yield Finding("usage tiers", _OK, "each partner has one")


def key_source(site: Installation) -> Iterator[Finding]:
    """Check that the API takes keys from its authorizer: from a header, which no caller sends, it would refuse all."""
    api = site.stack.resources["Api"]
    source = site.connect("apigateway").get_rest_api(restApiId=api)["apiKeySource"]
    if source == "AUTHORIZER":
        yield Finding("key source", _OK, "the authorizer")
    else:
        change = "op=replace,path=/apiKeySource,value=AUTHORIZER"
        todo = (
            f"`aws apigateway update-rest-api --rest-api-id {api} --patch-operations {change}`, then deploy the stage"
        )
        yield Finding("key source", _WRONG, f"{source}: every call with a token is refused with 403", todo)


def dead_letters(site: Installation) -> Iterator[Finding]:
    """Check that the dead-letter queues are empty."""
    sqs = site.connect("sqs")
    with open_dead_letters(site) as letters:
        for name in letters.names:
            number = _attribute(sqs, letters.url(name), "ApproximateNumberOfMessages")
            todo = f"`ordering dead list --queue {name}`" if number else ""
            yield Finding(name, _WRONG if number else _OK, f"{number} message{'' if number == 1 else 's'}", todo)


def versions(site: Installation) -> Iterator[Finding]:
    """Check that what is deployed of each function has a version: callers never use what is not published."""
    ours = {physical: name for name, physical in site.stack.resources.items() if name.endswith("Function")}
    found: dict[str, dict[str, Any]] = {}
    for page in site.connect("lambda").get_paginator("list_functions").paginate(FunctionVersion="ALL"):
        for one in page["Functions"]:
            if name := ours.get(one["FunctionName"]):
                found.setdefault(name, {})[one["Version"]] = [one.get(part) for part in _OF_A_VERSION]
    behind = sorted(
        name
        for name, versions in found.items()
        if versions["$LATEST"] != versions[max(versions.keys() - {"$LATEST"}, key=int, default="$LATEST")]
    )
    if behind:
        todo = "deploy with `make deploy`, which publishes versions; `sam deploy` alone may not"
        yield Finding("versions", _WRONG, f"callers use older code or settings: {', '.join(behind)}", todo)
    else:
        yield Finding("versions", _OK, "what is deployed is published")


def mails(site: Installation) -> Iterator[Finding]:
    """Check that SES sends for the sender, and to everybody."""
    ses, sender = site.connect("sesv2"), site.stack.parameters.get("MailSender", "")
    account = ses.get_account()
    if not account.get("SendingEnabled"):
        yield Finding("SES", _WRONG, "sending is paused", "see the account dashboard of SES for the reason")
    elif not account.get("ProductionAccessEnabled"):
        yield Finding("SES", _WRONG, "the account is in SES's sandbox", "request production access in SES")
    else:
        yield Finding("SES", _OK, "it sends to all addresses")
    try:
        verified = ses.get_email_identity(EmailIdentity=sender)["VerifiedForSendingStatus"]
    except ses.exceptions.NotFoundException:
        verified = False
    todo = "" if verified else "click the link in SES's mail to it, or verify its domain"
    yield Finding("sender", _OK if verified else _WRONG, f"{sender} is {'' if verified else 'not '}verified", todo)


def queues(site: Installation) -> Iterator[Finding]:
    """Check that no message waits for more than a quarter of an hour."""
    metrics = site.connect("cloudwatch")
    now = datetime.now(UTC)
    for name, url in site.stack.resources.items():
        if not name.endswith("Queue") or not url.startswith("http"):
            continue
        points = metrics.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now,
            Period=300,
            Statistics=["Maximum"],
        )["Datapoints"]
        oldest = int(max((point["Maximum"] for point in points), default=0))
        late = oldest > _LATE.total_seconds()
        todo = "see the log of the function that reads it" if late else ""
        yield Finding(name, _WRONG if late else _OK, f"the oldest message waits for {oldest:,} s", todo)


def alarms(site: Installation) -> Iterator[Finding]:
    """Check that no alarm of the stack is on, and that alarms are sent to a topic."""
    pages = site.connect("cloudwatch").get_paginator("describe_alarms").paginate(StateValue="ALARM")
    names = {physical: name for name, physical in site.stack.resources.items()}
    on = sorted(names[one["AlarmName"]] for page in pages for one in page["MetricAlarms"] if one["AlarmName"] in names)
    if on:
        yield Finding("alarms", _WRONG, f"on: {', '.join(on)}", "docs/operations.md says what to do about each")
    else:
        yield Finding("alarms", _OK, "none is on")
    if not site.stack.parameters.get("AlarmTopicArn"):
        yield Finding("alarm topic", _NOTE, "alarms are only shown, and sent to no topic", "deploy with AlarmTopicArn")


_OF_AWS: tuple[Check, ...] = (
    stack,
    versions,
    signing_key,
    key_source,
    usage_tiers,
    mails,
    queues,
    dead_letters,
    alarms,
)


def _guarded(check: Check, site: Installation) -> Iterator[Finding]:
    try:
        yield from check(site)
    except _FAILURES as error:
        name = check.__name__.replace("_", " ")
        yield Finding(name, _WRONG, f"cannot be checked: {error}", "see the message; a right may be missing")


def _attribute(sqs: Any, url: str, name: str) -> int:
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])
