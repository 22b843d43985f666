"""Powertools' router of REST APIs, without what its packages import besides.

To import anything of Powertools runs the `__init__` of each package around it. These import the routers of AppSync and
Bedrock with asyncio, the logger, metrics, tracing and 40 kinds of events: more than a fifth of a function's
initialisation (docs/decisions/0031). So three packages run theirs only when they are asked for a name that they lack.
"""

from __future__ import annotations

import sys
from importlib import import_module, reload
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_EVENTS = {
    "alb_event": ("ALBEvent",),
    "api_gateway_proxy_event": ("APIGatewayProxyEvent", "APIGatewayProxyEventV2"),
    "bedrock_agent_event": ("BedrockAgentEvent",),
    "lambda_function_url_event": ("LambdaFunctionUrlEvent",),
    "vpc_lattice": ("VPCLatticeEvent", "VPCLatticeEventV2"),
}
"""The classes of events that the router's module imports from their package, by the module that has them."""


class _LazyPackage(ModuleType):
    """A package whose `__init__` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = f"{self.__name__}.{name}"
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        self.__class__ = ModuleType  # type: ignore[assignment] # from here on it is a package like any other
        return getattr(reload(self), name)


def _put_off(name: str) -> None:
    """Have a package run its `__init__` later, unless it has run already."""
    spec = None if name in sys.modules else find_spec(name)
    if spec:
        sys.modules[name] = package = module_from_spec(spec)
        package.__class__ = _LazyPackage


_put_off("aws_lambda_powertools")
_put_off("aws_lambda_powertools.event_handler")
_put_off(_of_events := "aws_lambda_powertools.utilities.data_classes")
for _module, _names in _EVENTS.items():
    _loaded = import_module(f"{_of_events}.{_module}")
    for _name in _names:
        setattr(sys.modules[_of_events], _name, getattr(_loaded, _name))

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayRestResolver, Response  # noqa: E402
from aws_lambda_powertools.event_handler.exceptions import NotFoundError  # noqa: E402
from aws_lambda_powertools.utilities.typing import LambdaContext  # noqa: E402

__all__ = ["APIGatewayRestResolver", "LambdaContext", "NotFoundError", "Response"]
