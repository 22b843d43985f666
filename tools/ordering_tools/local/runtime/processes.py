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
    """A Python module in a process of its own, on a lifeline (see `lifeline`).

    `end` is the signal that the process gets when this one ends without having stopped it.
    """

    def __init__(  # noqa: PLR0913 - as many things as a process is made of
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
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [str(python), str(LIFELINE), str(reading), str(int(end)), module, *arguments],
                cwd=folder,
                env=environment,
                stdin=None if foreground else subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                pass_fds=(reading, *descriptors),
                # Ctrl-C is for this process, which then stops its children in order.
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
        """Whether it still runs."""
        return self.process.poll() is None

    def stop(self, grace: float) -> bool:
        """Ask the process to end, and insist after `grace` seconds; whether asking was enough."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._close_lifeline()
        return True

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._close_lifeline()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to what it started."""
        with suppress(ProcessLookupError, PermissionError):
            if self._foreground:
                self.process.send_signal(number)
            elif self.process.poll() is None:
                os.killpg(self.process.pid, number)

    def _close_lifeline(self) -> None:
        descriptor, self._lifeline = self._lifeline, -1
        if descriptor >= 0:
            os.close(descriptor)
