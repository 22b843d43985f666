"""The functions of a template, and the errors of their calls.

FunctionError: the function did not return: an exception, a crash, a failed init.
├── FunctionTimeoutError: the call exceeded the function's timeout.
├── RunEndedError: the local run ended before the call.
└── EventTooLargeError: the event exceeds Lambda's quota, so that the function is not called.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ordering_tools.local.engine.aws_account import service_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ordering_tools.template import Template

REQUEST_LIMIT = 6_291_456
"""The most bytes of an event: Lambda's quota for synchronous calls."""
RESPONSE_LIMIT = 6_291_556
"""The most bytes of a result: Lambda's quota, which is a little larger."""


class SettingsError(Exception):
    """The template uses something that the local run does not support; the message names it."""


class FunctionError(Exception):
    """A function did not return a result; `kind` and the message are those that Lambda reports."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FunctionTimeoutError(FunctionError):
    """A call exceeded the timeout in the template."""


class RunEndedError(FunctionError):
    """The local run ended during a call, which is not the function's fault. The next run delivers a batch again."""


class EventTooLargeError(FunctionError):
    """An event has more than `REQUEST_LIMIT` bytes."""

    def __init__(self) -> None:
        message = f"Request must be smaller than {REQUEST_LIMIT} bytes for the InvokeFunction operation"
        super().__init__("RequestTooLargeException", message)


class Runner:
    """Invokes functions by their logical id."""

    def invoke(self, name: str, event: bytes) -> bytes:
        """Call a function with an event in JSON, within Lambda's quotas; returns its result in JSON.

        Raises:
            EventTooLargeError: The event is too large.
            FunctionError: The function did not return a result, or its result is too large.
        """
        if len(event) > REQUEST_LIMIT:
            raise EventTooLargeError
        result = self.call(name, event)
        if len(result) > RESPONSE_LIMIT:
            raise FunctionError(
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes).",
            )
        return result

    def call(self, name: str, event: bytes) -> bytes:
        """Call a function with an event of any size.

        Raises:
            FunctionError: The function did not return a result.
        """
        raise NotImplementedError

    def switch(self, deployment: Deployment) -> None:
        """Run the functions of another build from now on, unless they run in this process."""

    def stop(self) -> None:
        """End all other processes."""


@dataclass(frozen=True)
class FunctionSettings:
    """A function as the template declares it."""

    name: str
    handler: str
    code: str
    """Its folder, which has the same path in the build and in the project."""
    layers: tuple[str, ...]
    """The folders of its layers in the build, in the order in which they are mounted."""
    timeout: float
    """Seconds."""
    memory: int
    """MiB. Reported to the function, not enforced."""
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Deployment:
    """A build, and the endpoints of the AWS services that its functions call."""

    release: Path
    """The folder of the build (see `build`)."""
    endpoint: str
    """The endpoint of DynamoDB."""
    services: str
    """The endpoint of all other services."""

    def code(self, settings: FunctionSettings) -> Path:
        """The folder of a function."""
        return self.release / settings.code


def declared_functions(
    translated: Template, source: Template, variables: Mapping[str, Mapping[str, str]]
) -> dict[str, FunctionSettings]:
    """The functions of a template.

    Args:
        translated: The template as SAM translates it.
        source: The template itself, which has the folders.
        variables: The environment variables of the deployed functions, by logical id.
    """
    layers = {layer.name: layer.content.name for layer in source.layers}
    # SAM adds a hash of the content to a layer's logical id.
    names = {
        name: str(resource["Properties"]["LayerName"])
        for name, resource in translated.document["Resources"].items()
        if resource["Type"] == "AWS::Lambda::LayerVersion"
    }
    folders = source.functions
    found = {}
    for name, properties in translated.resources("AWS::Lambda::Function"):
        found[name] = FunctionSettings(
            name=name,
            handler=properties["Handler"],
            code=str(folders[name]),
            layers=tuple(layers[names[layer]] for layer in properties.get("Layers", [])),
            timeout=float(properties.get("Timeout", 3)),
            memory=int(properties.get("MemorySize", 128)),
            variables=variables[name],
        )
    return found


def process_environment(settings: FunctionSettings, deployment: Deployment) -> dict[str, str]:
    """All environment variables of a function: those of the template, and those of Lambda and `sam local`."""
    # The last layer first, because it covers earlier ones.
    layers = [str(deployment.release / layer / "python") for layer in reversed(settings.layers)]
    return {
        **settings.variables,
        **service_variables(deployment.endpoint, deployment.services),
        "AWS_SAM_LOCAL": "true",
        "AWS_LAMBDA_FUNCTION_NAME": settings.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{settings.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LAMBDA_TASK_ROOT": str(deployment.code(settings)),
        "_HANDLER": settings.handler,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": ":".join(layers),
    }
