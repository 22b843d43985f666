"""The functions of a template, and the errors of their calls.

FunctionError: the function did not return: an exception, a crash, a failed init.
├── FunctionTimeoutError: the call exceeded the function's timeout.
└── EventTooLargeError: the event exceeds Lambda's quota, so that the function is not called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ordering_tools.local.engine.aws_account import CREDENTIALS, REGION, key_alias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUEST_LIMIT = 6_291_456
"""The most bytes of an event: Lambda's quota for synchronous calls."""
RESPONSE_LIMIT = 6_291_556
"""The most bytes of a result: Lambda's quota, which is a little larger."""

FUNCTION_TYPE = "AWS::Serverless::Function"
_KEY_TYPE = "AWS::KMS::Key"


class SettingsError(Exception):
    """The template uses something that the local run does not support; the message names it."""


class FunctionError(Exception):
    """A function did not return a result; `kind` and the message are those that Lambda reports."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FunctionTimeoutError(FunctionError):
    """A call exceeded the timeout in the template."""


class EventTooLargeError(FunctionError):
    """An event has more than `REQUEST_LIMIT` bytes."""

    def __init__(self) -> None:
        message = f"Request must be smaller than {REQUEST_LIMIT} bytes for the InvokeFunction operation"
        super().__init__("RequestTooLargeException", message)


def call_within_quotas(call: Callable[[bytes], bytes], event: bytes) -> bytes:
    """Call a function as Lambda does, which limits events and results.

    Raises:
        EventTooLargeError: The event is too large.
        FunctionError: The result is too large.
    """
    if len(event) > REQUEST_LIMIT:
        raise EventTooLargeError
    result = call(event)
    if len(result) > RESPONSE_LIMIT:
        raise FunctionError(
            "Function.ResponseSizeTooLarge",
            f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes).",
        )
    return result


class Runner(Protocol):
    """Invokes functions by their logical id."""

    def invoke(self, name: str, event: bytes) -> bytes:
        """Call a function with an event in JSON; returns its result in JSON.

        Raises:
            FunctionError: The function did not return a result.
        """

    def stop(self) -> None:
        """End all calls and processes."""


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

    def python_path(self, settings: FunctionSettings) -> list[str]:
        """The packages of a function's layers, the last layer first, because it covers earlier ones."""
        return [str(self.release / layer / "python") for layer in reversed(settings.layers)]


def declared_functions(resources: Mapping[str, Any]) -> dict[str, FunctionSettings]:
    """The functions among a template's resources, whose references SAM CLI has resolved.

    Raises:
        SettingsError: A variable's value or a layer cannot be resolved.
    """
    return {
        name: _settings(name, resource["Properties"], resources)
        for name, resource in resources.items()
        if resource["Type"] == FUNCTION_TYPE
    }


def _settings(name: str, properties: Mapping[str, Any], resources: Mapping[str, Any]) -> FunctionSettings:
    variables = properties.get("Environment", {}).get("Variables", {})
    return FunctionSettings(
        name=name,
        handler=properties["Handler"],
        code=str(properties["CodeUri"]),
        layers=tuple(_layer(name, layer, resources) for layer in properties.get("Layers", [])),
        timeout=float(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
        variables={key: _with_key_alias(_text(name, key, value), resources) for key, value in variables.items()},
    )


def _layer(name: str, layer: Any, resources: Mapping[str, Any]) -> str:
    # SAM CLI does not resolve references to layers.
    logical_id = str(layer.get("Ref") if isinstance(layer, dict) else layer)
    if logical_id not in resources:
        raise SettingsError(f"{name}: the layer {layer} is not in the template")
    return Path(resources[logical_id]["Properties"]["ContentUri"]).name


def _text(name: str, key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise SettingsError(f"{name}: the variable {key} is {json.dumps(value)}, which the local run cannot resolve")


def _with_key_alias(value: str, resources: Mapping[str, Any]) -> str:
    """The key's alias if the value is the logical id of a KMS key, into which SAM CLI has resolved a `Ref`."""
    return key_alias(value) if resources.get(value, {}).get("Type") == _KEY_TYPE else value


def process_environment(settings: FunctionSettings, deployment: Deployment) -> dict[str, str]:
    """All environment variables of a function: those of the template, and those of Lambda and `sam local`."""
    return {
        **settings.variables,
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": deployment.services,
        "AWS_ENDPOINT_URL_DYNAMODB": deployment.endpoint,
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
        "PYTHONPATH": ":".join(deployment.python_path(settings)),
    }
