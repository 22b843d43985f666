"""Starts, controls and stops the gateway's process, for `serve`."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ordering_tools.local.gateway.arguments import GatewayArguments
from ordering_tools.local.runtime.processes import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

_START_SECONDS = 60.0
_SWITCH_SECONDS = 10.0
_STOP_SECONDS = 5.0
_TOOLS = Path(__file__).resolve().parents[3]


class GatewayError(Exception):
    """The gateway cannot run; the message gives the reason."""


class GatewayProcess:
    """A gateway process on listening sockets that its parent has bound, and keeps open when the process ends."""

    def __init__(  # noqa: PLR0913 - the parameters of the process
        self,
        listener: socket.socket,
        invocations: socket.socket,
        *,
        template: Path,
        translated: Path,
        variables: dict[str, dict[str, str]],
        names: dict[str, str],
        release: Path,
        endpoint: str,
        services: str,
        log: Path,
        state: Path,
        runtime: Path | None,
        folded: bool = False,
        hosts: Sequence[str] = (),
        layers: Sequence[Path] = (),
    ) -> None:
        """Start it; without a `runtime` the process runs the functions itself, with `layers` first on its path."""
        self._control, theirs = socket.socketpair()
        with theirs:
            arguments = GatewayArguments(
                listener=listener.fileno(),
                control=theirs.fileno(),
                template=str(template),
                translated=str(translated),
                variables=variables,
                names=names,
                release=str(release),
                endpoint=endpoint,
                services=services,
                log=str(log),
                state=str(state),
                invocations=invocations.fileno(),
                folded=folded,
                hosts=[*hosts],
                runtime=str(runtime) if runtime else None,
            )
            self._child = Child(
                Path(sys.executable),
                "ordering_tools.local.gateway.server",
                arguments.dump(),
                environment=_environment([*layers, _TOOLS]),
                output=None,
                end=signal.SIGTERM,
                descriptors=(listener.fileno(), invocations.fileno(), theirs.fileno()),
                foreground=runtime is None,
            )

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._child.alive

    def wait(self) -> None:
        """Wait until it accepts requests.

        Raises:
            GatewayError: It ended, or did not report within 60 s.
        """
        self._expect("ready", _START_SECONDS)

    def switch(self, release: Path) -> None:
        """Run the functions of another build from now on.

        Raises:
            GatewayError: The process has ended, or did not respond.
        """
        self._control.sendall(f"switch {release}\n".encode())
        self._expect("switched", _SWITCH_SECONDS)

    def settle(self, seconds: int) -> None:
        """Let the gateway print a line about each batch, once there has been none for a second, or after some seconds.

        Raises:
            GatewayError: The process has ended, or did not respond.
        """
        self._control.sendall(f"settle {seconds}\n".encode())
        self._expect("settling", _SWITCH_SECONDS)

    def stop(self) -> None:
        """End the process and its functions' processes."""
        self._child.stop(_STOP_SECONDS)
        self._control.close()

    def _expect(self, word: str, seconds: float) -> None:
        self._control.settimeout(seconds)
        received = b""
        try:
            while not received.endswith(b"\n") and (part := self._control.recv(4096)):
                received += part
        except TimeoutError as error:
            raise GatewayError(f"the gateway did not report {word!r} within {seconds:.0f} s") from error
        if received != f"{word}\n".encode():
            raise GatewayError(received.decode().strip() or "the gateway ended; its output is above")


def _environment(path: list[Path]) -> dict[str, str]:
    """The environment of this process, which a debugger needs, with the tools' packages on the path."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONUNBUFFERED": "1",
    }
