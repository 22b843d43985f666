"""Resolves those references of a template that SAM CLI does not resolve.

A queue's `Ref` is its URL, as in a deployed stack, and its name is its logical id, like that of a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.aws_account import ENGINE_ACCOUNT, REGION, bus_arn, queue_arn, queue_url

if TYPE_CHECKING:
    from ordering_tools.template import Template

QUEUE_TYPE = "AWS::SQS::Queue"
BUS_TYPE = "AWS::Events::EventBus"
IDENTITY_TYPE = "AWS::SES::EmailIdentity"

_PSEUDO = {
    "AWS::AccountId": ENGINE_ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "local",
    "AWS::URLSuffix": "amazonaws.com",
}
_PLACE = re.compile(r"\$\{([^!][^}]*)\}")


class References:
    """A template's resources with their references resolved to the local run's resources."""

    def __init__(self, template: Template, services: str) -> None:
        """Resolve a template; `services` is the endpoint of the engine, which is a part of queues' URLs."""
        self._resources: Mapping[str, Any] = template.document["Resources"]
        self._parameters = template.parameters
        self.attributes: dict[str, dict[str, str]] = {}
        """The values of `Ref` and of each attribute, by logical id, for queues, event buses and SES."""
        for name, resource in self._resources.items():
            if found := self._attributes(name, resource, services):
                self.attributes[name] = found

    @cached_property
    def resources(self) -> dict[str, Any]:
        """The resources; a reference that cannot be resolved stays as it is."""
        return {name: self.resolve(resource) for name, resource in self._resources.items()}

    def resolve(self, value: Any) -> Any:
        """A value of the template with its references replaced."""
        match value:
            case {"Ref": str(name), **rest} if not rest:
                return self._find(name, "Ref") or name
            case {"Fn::GetAtt": [str(name), str(attribute)], **rest} if not rest:
                return self._find(name, attribute) or value
            case {"Fn::Sub": str(text), **rest} if not rest:
                return self._substitute(text, value)
            case dict():
                return {key: self.resolve(part) for key, part in value.items()}
            case list():
                return [self.resolve(part) for part in value]
            case _:
                return value

    def _attributes(self, name: str, resource: Mapping[str, Any], services: str) -> dict[str, str] | None:
        match resource["Type"]:
            case "AWS::SQS::Queue":
                url = queue_url(services, name)
                return {"Ref": url, "QueueUrl": url, "Arn": queue_arn(name), "QueueName": name}
            case "AWS::Events::EventBus":
                return {"Ref": name, "Name": name, "Arn": bus_arn(name)}
            case "AWS::SES::EmailIdentity":
                identity = self.resolve(resource.get("Properties", {}).get("EmailIdentity"))
                return {"Ref": identity} if identity and isinstance(identity, str) else None
            case "AWS::SES::ConfigurationSet":
                return {"Ref": name}
            case _:
                return None

    def _find(self, name: str, attribute: str) -> Any:
        if attribute == "Ref" and name in _PSEUDO:
            return _PSEUDO[name]
        if attribute == "Ref" and name in self._parameters:
            return self._parameters[name]
        return self.attributes.get(name, {}).get(attribute)

    def _substitute(self, text: str, value: Any) -> Any:
        missing = False

        def replace(variable: re.Match[str]) -> str:
            nonlocal missing
            name, _, attribute = variable[1].partition(".")
            found = self._find(name, attribute or "Ref")
            missing = missing or found is None
            return str(found)

        resolved = _PLACE.sub(replace, text)
        return value if missing else resolved
