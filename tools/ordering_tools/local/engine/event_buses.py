"""Creates the event buses and rules of the template in the engine, which delivers events to queues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.engine.references import BUS_TYPE
from ordering_tools.local.runtime.functions import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RULE_TYPE = "AWS::Events::Rule"
_QUEUE_ARN = "arn:aws:sqs:"
_DEFAULT_BUS = "default"


@dataclass(frozen=True)
class Rule:
    """A rule of the template."""

    name: str
    """The logical id, which is the rule's name in the local run."""
    bus: str
    put: Mapping[str, str]
    """The other arguments of PutRule."""
    targets: Sequence[Mapping[str, Any]]


def declared_buses(resources: Mapping[str, Any]) -> list[str]:
    """The event buses among a template's resources, by logical id."""
    return [name for name, resource in resources.items() if resource["Type"] == BUS_TYPE]


def declared_rules(resources: Mapping[str, Any]) -> list[Rule]:
    """The rules among a template's resources, whose references are resolved.

    Raises:
        SettingsError: A rule uses something that the local run does not support.
    """
    return [
        _rule(name, resource.get("Properties", {}))
        for name, resource in resources.items()
        if resource["Type"] == _RULE_TYPE
    ]


def _rule(name: str, properties: Mapping[str, Any]) -> Rule:
    targets = properties.get("Targets", [])
    for target in targets:
        if not str(target.get("Arn")).startswith(_QUEUE_ARN):
            raise SettingsError(
                f"{name}: the local run supports only queues as targets, not {json.dumps(target.get('Arn'))}"
            )
    put = {key: properties[key] for key in ("Description", "ScheduleExpression", "State") if key in properties}
    if "EventPattern" in properties:
        put["EventPattern"] = json.dumps(properties["EventPattern"])
    bus = str(properties.get("EventBusName", _DEFAULT_BUS)).rpartition("/")[2]
    return Rule(name, bus, put, targets)


def create_buses(client: JsonClient, buses: Sequence[str], rules: Sequence[Rule]) -> None:
    """Create the missing buses, and set the rules of all buses to those of the template.

    Raises:
        SettingsError: The engine refuses a rule.
    """
    present = {bus["Name"] for bus in client.call("ListEventBuses")["EventBuses"]}
    for bus in buses:
        if bus not in present:
            client.call("CreateEventBus", Name=bus)
    for rule in rules:
        try:
            client.call("PutRule", Name=rule.name, EventBusName=rule.bus, **rule.put)
            client.call("PutTargets", Rule=rule.name, EventBusName=rule.bus, Targets=rule.targets)
        except ServiceError as error:
            raise SettingsError(f"{rule.name}: {error}") from error
        _remove_targets(client, rule.bus, rule.name, keep={target["Id"] for target in rule.targets})
    for bus in {*present, *buses}:
        for name in {rule["Name"] for rule in client.call("ListRules", EventBusName=bus)["Rules"]}:
            if not any((rule.bus, rule.name) == (bus, name) for rule in rules):
                _remove_targets(client, bus, name, keep=set())
                client.call("DeleteRule", Name=name, EventBusName=bus)


def _remove_targets(client: JsonClient, bus: str, rule: str, *, keep: set[str]) -> None:
    targets = client.call("ListTargetsByRule", Rule=rule, EventBusName=bus)["Targets"]
    if old := [target["Id"] for target in targets if target["Id"] not in keep]:
        client.call("RemoveTargets", Rule=rule, EventBusName=bus, Ids=old)
