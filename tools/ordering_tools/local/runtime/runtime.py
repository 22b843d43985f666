"""Runs functions in processes of their own, under AWS's runtime client, one for each concurrent call.

As in Lambda, a process is started on demand and kept warm, has one call at a time, has only the environment variables
of the template and of Lambda, is killed when a call exceeds its timeout, and is replaced after a crash. Unlike in
Lambda, at most `PROCESSES` calls of a function run at a time, and further calls wait.
"""

from __future__ import annotations

import signal
import threading
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ordering_tools.local.engine.aws_account import function_arn
from ordering_tools.local.runtime.functions import (
    Deployment,
    FunctionError,
    FunctionSettings,
    FunctionTimeoutError,
    RunEndedError,
    Runner,
    process_environment,
)
from ordering_tools.local.runtime.processes import Child
from ordering_tools.local.runtime.runtime_api import Call, RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROCESSES = 10
"""The largest number of processes of one function."""
INIT_SECONDS = 30.0
"""The time in which a process must be ready. In Lambda it is 10 s; here the first start may have to compile."""


class Sandbox:
    """A process of a function, and its Runtime API."""

    def __init__(self, settings: FunctionSettings, python: Path, log: Path, deployment: Deployment) -> None:
        self.deployment = deployment
        self._settings = settings
        self._ended = False
        self._api = RuntimeApi()
        with log.open("ab") as output:
            self._child = Child(
                python,
                "awslambdaric",
                settings.handler,
                environment=process_environment(settings, deployment) | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
                output=output,
                end=signal.SIGKILL,
                folder=deployment.code(settings),
            )
        threading.Thread(target=self._watch, name=f"watch {settings.name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process can take a call."""
        return self._child.alive and not (self._api.ready.done() and self._api.ready.exception())

    def invoke(self, event: bytes) -> bytes:
        """Run one call; returns its result.

        Raises:
            FunctionError: The function raised, crashed, could not be started, or timed out.
        """
        try:
            self._api.ready.result(INIT_SECONDS)
        except TimeoutError:
            self.stop()
            raise FunctionError("Sandbox.Timedout", f"Init timed out after {INIT_SECONDS:.2f} seconds") from None
        name, timeout = self._settings.name, self._settings.timeout
        call = Call(str(uuid.uuid4()), function_arn(name), event, timeout)
        self._api.put(call)
        if not self._child.alive:
            self._api.fail(self._exit_error())
        try:
            return call.result.result(timeout)
        except TimeoutError:
            self.stop()
            message = f"{call.request_id} Task timed out after {timeout:.2f} seconds"
            raise FunctionTimeoutError("Sandbox.Timedout", message) from None

    def stop(self) -> None:
        """Kill the process, as Lambda does."""
        self._child.kill()

    def end(self) -> None:
        """Kill the process because the local run ends; a call in flight fails with `RunEndedError`."""
        self._ended = True
        self.stop()

    def _watch(self) -> None:
        self._child.process.wait()
        self._api.fail(self._exit_error())
        self._api.close()

    def _exit_error(self) -> FunctionError:
        if self._ended:
            return RunEndedError("Sandbox.Ended", "the local run ended")
        code = self._child.process.returncode
        how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return FunctionError("Runtime.ExitError", f"Runtime exited with error: {how}")


class Pool:
    """The processes of one function."""

    def __init__(self, start: Callable[[Deployment], Sandbox], deployment: Deployment) -> None:
        self._start = start
        self._deployment = deployment
        self._free = threading.Semaphore(PROCESSES)
        self._lock = threading.Lock()
        self._idle: list[Sandbox] = []
        self._busy: set[Sandbox] = set()

    def invoke(self, event: bytes) -> bytes:
        """Run a call in an idle process, or in a new one, or in the next that becomes idle.

        Raises:
            FunctionError: See `Sandbox.invoke`.
        """
        with self._free:
            sandbox = self._take()
            try:
                return sandbox.invoke(event)
            finally:
                self._give_back(sandbox)

    def switch(self, deployment: Deployment) -> None:
        """Use another build: idle processes are ended now, busy ones after their call."""
        with self._lock:
            self._deployment = deployment
            idle, self._idle = self._idle, []
        for sandbox in idle:
            sandbox.stop()

    def stop(self) -> None:
        """End every process."""
        with self._lock:
            sandboxes = [*self._idle, *self._busy]
            self._idle = []
        for sandbox in sandboxes:
            sandbox.end()

    def _take(self) -> Sandbox:
        with self._lock:
            self._idle = [sandbox for sandbox in self._idle if sandbox.alive]
            sandbox = self._idle.pop() if self._idle else self._start(self._deployment)
            self._busy.add(sandbox)
        return sandbox

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._busy.discard(sandbox)
            keep = sandbox.alive and sandbox.deployment is self._deployment
            if keep:
                self._idle.append(sandbox)
        if not keep:
            sandbox.stop()


class ProcessRunner(Runner):
    """The functions of the template, each with its processes."""

    def __init__(
        self, functions: Mapping[str, FunctionSettings], deployment: Deployment, python: Path, log: Path
    ) -> None:
        self._pools = {
            name: Pool(partial(Sandbox, settings, python, log), deployment) for name, settings in functions.items()
        }

    def call(self, name: str, event: bytes) -> bytes:
        """Call a function with an event of any size.

        Raises:
            FunctionError: The function did not return a result.
        """
        return self._pools[name].invoke(event)

    def switch(self, deployment: Deployment) -> None:
        """Run the functions of another build from now on."""
        for pool in self._pools.values():
            pool.switch(deployment)

    def stop(self) -> None:
        """End every process of every function."""
        for pool in self._pools.values():
            pool.stop()
