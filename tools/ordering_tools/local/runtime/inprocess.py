"""Runs functions in this process, one call at a time, so that `breakpoint()` in a handler works in the terminal.

Timeouts are not enforced, because a developer may be at a debugger's prompt. Calls cannot be concurrent, because a
resolver of Powertools stores the current event in itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ordering_tools.local.engine.aws_account import function_arn
from ordering_tools.local.runtime.functions import (
    Deployment,
    FunctionError,
    FunctionSettings,
    Runner,
    process_environment,
)

Handler = Callable[[Any, Any], Any]


class InProcessRunner(Runner):
    """The functions of the template, each imported from the build at its first call."""

    def __init__(self, functions: Mapping[str, FunctionSettings], deployment: Deployment) -> None:
        self._functions = functions
        self._deployment = deployment
        self._handlers: dict[str, Handler] = {}
        self._turn = threading.Lock()

    def call(self, name: str, event: bytes) -> bytes:
        """Call a function with an event of any size.

        Raises:
            FunctionError: The function raised an exception.
        """
        settings = self._functions[name]
        with self._turn, _environment(process_environment(settings, self._deployment)):
            try:
                handler = self._handlers.get(name) or self._load(settings)
                return json.dumps(handler(json.loads(event), _context(settings))).encode()
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                raise FunctionError(type(error).__name__, str(error)) from error

    def _load(self, settings: FunctionSettings) -> Handler:
        """Import a function's module under a unique name, because all of them are called `app`."""
        module_name, _, attribute = settings.handler.rpartition(".")
        path = self._deployment.code(settings) / f"{module_name}.py"
        spec = importlib.util.spec_from_file_location(f"{settings.name}_{module_name}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        handler: Handler = getattr(module, attribute)
        self._handlers[settings.name] = handler
        return handler


def _context(settings: FunctionSettings) -> SimpleNamespace:
    """The context object of Lambda that a handler gets with the event."""
    deadline = time.monotonic() + settings.timeout
    return SimpleNamespace(
        function_name=settings.name,
        function_version="$LATEST",
        invoked_function_arn=function_arn(settings.name),
        memory_limit_in_mb=str(settings.memory),
        aws_request_id=str(uuid.uuid4()),
        log_group_name="local",
        log_stream_name="local",
        identity=None,
        client_context=None,
        get_remaining_time_in_millis=lambda: max(0, int((deadline - time.monotonic()) * 1000)),
    )


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    # A debugger needs these to use the terminal.
    os.environ.update({key: value for key, value in before.items() if key.startswith(("TERM", "PYTHON", "HOME"))})
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
