"""Starts, controls and stops the gateway's process, for `serve`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

from ordering_tools.local.runtime.processes import Child

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ordering_tools.local.runtime.functions import Deployment, FunctionSettings
    from ordering_tools.template import Template

_START_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 5.0
_TOOLS = Path(__file__).resolve().parents[3]


class GatewayError(Exception):
    """The gateway cannot run; the message gives the reason."""


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway's process serves."""

    translated: Template
    """The template as SAM translates it."""
    functions: dict[str, FunctionSettings]
    """By logical id."""
    names: dict[str, str]
    """The logical id of each deployed function, by its name in the engine."""
    deployment: Deployment
    log: Path
    state: Path
    """The folder of the local run."""
    runtime: Path | None
    """The interpreter with the runtime client, or None to run functions in this process."""
    folded: bool = False
    """Whether batches are counted, not printed, until `settle`."""
    hosts: tuple[str, ...] = ()
    """The names besides this machine's that requests may have in their `Host`."""


class GatewayProcess:
    """A gateway process on listening sockets that its parent has bound, and keeps open when the process ends."""

    def __init__(
        self,
        listener: socket.socket,
        invocations: socket.socket,
        settings: GatewaySettings,
        layers: Sequence[Path] = (),
    ) -> None:
        """Start it; without a `runtime` the process runs the functions itself, with `layers` first on its path."""
        self._deployment = settings.deployment
        self._control, theirs = Pipe()
        descriptors = (listener.fileno(), invocations.fileno(), theirs.fileno())
        with theirs:
            self._child = Child(
                Path(sys.executable),
                "ordering_tools.local.gateway.server",
                *map(str, descriptors),
                # That of this process, which a debugger needs.
                environment={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, [*layers, _TOOLS])),
                    "PYTHONUNBUFFERED": "1",
                },
                output=None,
                end=signal.SIGTERM,
                descriptors=descriptors,
                foreground=settings.runtime is None,
            )
        with suppress(OSError):  # It has ended, which `wait` reports.
            self._control.send(settings)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._child.alive

    def ended(self) -> GatewayError:
        """Return the error that says how the process ended."""
        return GatewayError(f"the gateway {self._child.ending()}; its output is above")

    def wait(self) -> None:
        """Wait until it accepts requests.

        Raises:
            GatewayError: It ended, or did not report within 60 s.
        """
        self._expect(_START_SECONDS)

    def switch(self, release: Path) -> None:
        """Run the functions of another build from now on.

        Raises:
            GatewayError: The process has ended, or did not respond.
        """
        self._expect(_ANSWER_SECONDS, replace(self._deployment, release=release))

    def settle(self, seconds: int) -> None:
        """Let the gateway print a line about each batch, once there has been none for a second, or after some seconds.

        Raises:
            GatewayError: The process has ended, or did not respond.
        """
        self._expect(_ANSWER_SECONDS, seconds)

    def stop(self) -> None:
        """End the process and its functions' processes."""
        self._child.stop(_STOP_SECONDS)
        self._control.close()

    def _expect(self, seconds: float, *commands: Deployment | int) -> None:
        """Wait until the process has done what it is sent, or without a command until it has started."""
        try:
            for command in commands:
                self._control.send(command)
            if not self._control.poll(seconds):
                raise GatewayError(f"the gateway did not report within {seconds:.0f} s")
            fault = self._control.recv()
        except (EOFError, OSError) as error:
            raise self.ended() from error
        if fault:
            raise GatewayError(fault)
