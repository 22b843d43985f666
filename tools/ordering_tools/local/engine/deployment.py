"""Deploys the template into the engine as CloudFormation deploys it into an AWS account, and finds what a stack has.

SAM CLI translates the template, and the engine's CloudFormation creates the stack or updates it. Code is not uploaded:
the engine calls the functions' host for each invocation (see `ministack`), which runs the build.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ordering_tools.local.engine.aws_account import STACK
from ordering_tools.local.engine.engine import connect
from ordering_tools.stacks import DeploymentError, Stack
from ordering_tools.template import TemplateError

INIT_SECONDS = 30
"""How much longer than a function's timeout the engine waits for it: the start of its process is in it."""

CALLS = 10
"""Most calls of one function that run at a time."""

_TRANSLATE = Path(__file__).resolve().parents[3] / "translate.py"
_SAM = _TRANSLATE.parents[1] / "requirements" / "sam.txt"
_ARTEFACTS = "bucket"
"""The bucket, and below the key, of code in the translated template."""
_CODE = "value"
_TEMPLATE = "template.json"
_NO_FILES = b"PK\5\6".ljust(22, b"\0")
"""A zip file without files: the functions' host runs the build."""
_DROPPED = (
    *("AWS::WAFv2::WebACLAssociation", "AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"),
    *("AWS::CloudWatch::CompositeAlarm", "AWS::Logs::QueryDefinition", "AWS::Events::Archive"),
)
"""The types that the engine does not know; nor does it know alarms that compute from several metrics. No resource that
stays needs one of these."""
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05
_NO_CHANGE = "No updates are to be performed."


def translate(template: Path, python: Path, cache: Path) -> Path:
    """Translate a SAM template for CloudFormation into a JSON file, by the interpreter of SAM CLI's environment.

    The translation takes a second, so the last one is kept in the folder `cache`.

    Raises:
        TemplateError: SAM CLI refuses the template.
    """
    sources = (template, _TRANSLATE, _SAM)
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    kept = cache / f"{template.stem}-{digest}.json"
    if kept.exists():
        return kept
    done = subprocess.run(  # noqa: S603 - an interpreter and a script of this project
        [str(python), str(_TRANSLATE), str(template)],
        env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TemplateError(f"{template}: {done.stderr.strip() or 'SAM CLI cannot translate it'}")
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(f"{template.stem}-*.json"):
        old.unlink()
    fresh = kept.with_suffix(".new")
    fresh.write_text(done.stdout, encoding="utf-8")
    fresh.replace(kept)
    return kept


def deploy(services: str, translated: Mapping[str, Any]) -> Stack:
    """Create the stack, or update it, and wait until it is complete.

    Raises:
        DeploymentError: CloudFormation refuses the template; an existing stack stays as it was.
    """
    _upload(connect("s3", services), _adapted(translated))
    cloudformation = connect("cloudformation", services)
    arguments = {
        "StackName": STACK,
        "TemplateURL": f"{services}/{_ARTEFACTS}/{_TEMPLATE}",
        "Capabilities": ["CAPABILITY_IAM"],
    }
    try:
        try:
            cloudformation.create_stack(**arguments)
        except cloudformation.exceptions.AlreadyExistsException:
            cloudformation.update_stack(**arguments)
    except ClientError as error:
        if error.response["Error"]["Message"] != _NO_CHANGE:
            raise DeploymentError(str(error)) from error
    _wait(cloudformation)
    return Stack.read(cloudformation)


def environments(services: str, stack: Stack) -> dict[str, dict[str, str]]:
    """The environment variables of each function of a stack, by logical id."""
    pages = connect("lambda", services).get_paginator("list_functions").paginate()
    functions = {function["FunctionName"]: function for page in pages for function in page["Functions"]}
    found = {}
    for name, physical in stack.resources.items():
        if function := functions.get(physical):
            variables = function.get("Environment", {}).get("Variables", {})
            # The engine keeps numbers, which CloudFormation makes texts.
            found[name] = {key: one if isinstance(one, str) else json.dumps(one) for key, one in variables.items()}
    return found


def _wait(cloudformation: Any) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while (status := _status(cloudformation)).endswith("_IN_PROGRESS") and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason")
        ]
        raise DeploymentError(f"{status}: {'; '.join(failed[-3:]) or 'no reason given'}")


def _status(cloudformation: Any) -> str:
    status: str = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
    return status


def _upload(s3: Any, translated: Mapping[str, Any]) -> None:
    """Put the template, and an empty archive for all code, where the translated template expects them."""
    s3.create_bucket(Bucket=_ARTEFACTS)
    s3.put_object(Bucket=_ARTEFACTS, Key=_CODE, Body=_NO_FILES)
    s3.put_object(Bucket=_ARTEFACTS, Key=_TEMPLATE, Body=json.dumps(translated).encode())


def _adapted(translated: Mapping[str, Any]) -> dict[str, Any]:
    """A translated template without what the engine does not know, and with the limits of the functions' host."""
    resources = {}
    for name, resource in translated["Resources"].items():
        properties = dict(resource.get("Properties", {}))
        match resource["Type"]:
            case kind if kind in _DROPPED or "Metrics" in properties:
                continue
            case "AWS::Lambda::Function":
                properties["Timeout"] = int(properties.get("Timeout", 3)) + INIT_SECONDS
            case "AWS::Lambda::EventSourceMapping" if "ScalingConfig" in properties:
                most = min(properties["ScalingConfig"]["MaximumConcurrency"], CALLS)
                properties["ScalingConfig"] = {"MaximumConcurrency": most}
        # Without CodeDeploy an alias names a new version at once.
        kept = {key: value for key, value in resource.items() if key != "UpdatePolicy"}
        resources[name] = {**kept, "Properties": properties}
    return {**translated, "Resources": resources}
