"""Creates the queues of the template in the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ordering_tools.local.engine.aws_account import queue_arn, queue_url
from ordering_tools.local.engine.json_client import JsonClient, ServiceError
from ordering_tools.local.engine.references import QUEUE_TYPE
from ordering_tools.local.runtime.functions import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_VISIBILITY = 30
_DEFAULTS = {
    "DelaySeconds": 0,
    "MaximumMessageSize": 1048576,
    "MessageRetentionPeriod": 345600,
    "ReceiveMessageWaitTimeSeconds": 0,
    "VisibilityTimeout": DEFAULT_VISIBILITY,
}
"""SQS's defaults, in seconds and bytes."""
_IGNORED = {
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "QueueName",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
    "Tags",
}
"""Properties about access and encryption, which have no effect here; the name is the logical id."""


@dataclass(frozen=True)
class Queue:
    """A queue of the template."""

    name: str
    """The logical id, which is the queue's name in the local run."""
    settings: Mapping[str, int]
    dead_letters: str | None = None
    """The dead-letter queue."""
    receives: int | None = None
    """How often a message is received before it is moved to the dead-letter queue."""

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes for SetQueueAttributes; an empty one is removed."""
        policy = ""
        if self.dead_letters:
            policy = json.dumps({"deadLetterTargetArn": queue_arn(self.dead_letters), "maxReceiveCount": self.receives})
        return {**{key: str(value) for key, value in self.settings.items()}, "RedrivePolicy": policy}


def declared_queues(resources: Mapping[str, Any]) -> dict[str, Queue]:
    """The queues among a template's resources, whose references are resolved.

    Raises:
        SettingsError: A queue uses something that the local run does not support.
    """
    found = {
        name: _queue(name, resource.get("Properties", {}))
        for name, resource in resources.items()
        if resource["Type"] == QUEUE_TYPE
    }
    for queue in found.values():
        if queue.dead_letters and queue.dead_letters not in found:
            raise SettingsError(f"{queue.name}: its dead-letter queue {queue.dead_letters} is not in the template")
    return found


def _queue(name: str, properties: Mapping[str, Any]) -> Queue:
    if unknown := properties.keys() - _DEFAULTS.keys() - _IGNORED - {"RedrivePolicy"}:
        raise SettingsError(f"{name}: the local run does not support {', '.join(sorted(unknown))} of a queue")
    redrive = properties.get("RedrivePolicy")
    try:
        return Queue(
            name=name,
            settings={key: int(properties.get(key, default)) for key, default in _DEFAULTS.items()},
            dead_letters=str(redrive["deadLetterTargetArn"]).rsplit(":", 1)[-1] if redrive else None,
            receives=int(redrive["maxReceiveCount"]) if redrive else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{name}: {type(error).__name__}: {error}") from error


def create_queues(client: JsonClient, services: str, queues: Sequence[Queue]) -> None:
    """Create the missing queues, and set the attributes of all queues to those of the template.

    Raises:
        SettingsError: The engine refuses a queue.
    """
    for queue in queues:
        _call(client, queue, "CreateQueue", QueueName=queue.name)
    # Now all dead-letter queues exist.
    for queue in queues:
        url = queue_url(services, queue.name)
        _call(client, queue, "SetQueueAttributes", QueueUrl=url, Attributes=queue.attributes)


def _call(client: JsonClient, queue: Queue, operation: str, **arguments: Any) -> None:
    try:
        client.call(operation, **arguments)
    except ServiceError as error:
        raise SettingsError(f"{queue.name}: {error}") from error
