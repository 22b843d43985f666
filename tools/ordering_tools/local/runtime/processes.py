"""Child processes that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

LIFELINE = Path(__file__).with_name("lifeline.py")


class Child:
    """A Python module in a child process, which ends with this one (see `lifeline`).

    `end` is the signal that the child gets if this process ends without having stopped it.
    """

    def __init__(  # noqa: PLR0913 - the properties of a process
        self,
        python: Path,
        module: str,
        *arguments: str,
        environment: dict[str, str],
        output: IO[bytes] | None,
        end: signal.Signals,
        folder: Path | None = None,
        descriptors: tuple[int, ...] = (),
        foreground: bool = False,
    ) -> None:
        reading, self._lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - an interpreter and a module of this project
                [str(python), str(LIFELINE), str(reading), str(int(end)), module, *arguments],
                cwd=folder,
                env=environment,
                stdin=None if foreground else subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                pass_fds=(reading, *descriptors),
                # So that Ctrl-C reaches only this process, which then stops its children in order.
                start_new_session=not foreground,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(reading)
        self._foreground = foreground

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def ending(self) -> str:
        """Return how it ended, to follow its name: `was killed by SIGKILL`, `ended with exit code 1`."""
        with suppress(subprocess.TimeoutExpired):  # it can close its pipes before it ends
            self.process.wait(1)
        code = self.process.poll()
        if code is None:
            return "closed its connection"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self, grace: float) -> bool:
        """Send SIGTERM, and SIGKILL after `grace` seconds; returns whether SIGTERM was enough."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._close_lifeline()
        return True

    def kill(self) -> None:
        """Kill the process and its children."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._close_lifeline()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        with suppress(ProcessLookupError, PermissionError):
            if self._foreground:
                self.process.send_signal(number)
            elif self.process.poll() is None:
                os.killpg(self.process.pid, number)

    def _close_lifeline(self) -> None:
        descriptor, self._lifeline = self._lifeline, -1
        if descriptor >= 0:
            os.close(descriptor)
