"""A stack of CloudFormation, as commands read it: in an AWS account, or in the engine of a local run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ordering_tools.local.engine.aws_account import STACK
from ordering_tools.local.engine.engine import connect

ALIAS = "live"
"""The alias of each function that callers and event sources use."""


class DeploymentError(Exception):
    """A stack could not be read or deployed; the message has CloudFormation's reason."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    """The physical id of each resource, by logical id."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str = STACK

    def key_alias(self, name: str) -> str:
        """The alias of one of the stack's KMS keys."""
        return f"alias/{self.name}-{name}"

    @classmethod
    def read(cls, cloudformation: Any, name: str = STACK) -> Stack:
        """Read a stack.

        Args:
            cloudformation: A client of CloudFormation.
            name: The stack's name.

        Raises:
            DeploymentError: There is no such stack, or CloudFormation cannot be reached.
        """
        # Imported here, because commands on the local run's files need none of botocore.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        try:
            (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
            pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
            resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        except (BotoCoreError, ClientError) as error:
            raise DeploymentError(f"the stack {name} cannot be read: {error}") from error
        return cls(
            {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
            {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources if "PhysicalResourceId" in one},
            {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])},
            name,
        )


def read_stack(services: str) -> Stack:
    """Read the stack of a local run, given the endpoint of its services.

    Raises:
        DeploymentError: There is no such stack, or no engine.
    """
    return Stack.read(connect("cloudformation", services))
