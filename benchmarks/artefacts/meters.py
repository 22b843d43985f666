"""Instructions of a process in user space: by the processor's counter, else by valgrind.

Instructions are the steadiest measure: they differ by less than 1 % between runs, times by 25 %.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import signal
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
"""The system call's number, by architecture (Linux, asm/unistd.h)."""
_INSTRUCTIONS = 1
"""PERF_COUNT_HW_INSTRUCTIONS, of PERF_TYPE_HARDWARE, which is 0 (linux/perf_event.h)."""
_ATTRIBUTES = 64
"""Bytes of `perf_event_attr` in its first version, PERF_ATTR_SIZE_VER0."""
_FLAGS = 0b1 | 0b10 | 0b100000 | 0b1000000 | 0b1000000000000
"""disabled, inherit, exclude_kernel, exclude_hv, enable_on_exec."""


class NoCounter(Exception):
    """Instructions cannot be counted in this way on this machine; the text says why."""


class InstructionCounter(Protocol):
    """Counts the instructions of one process.

    Args:
        initialising: Whether those of its initialisation are counted as well.
    """

    def __init__(self, *, initialising: bool) -> None: ...

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs a command so that it can be counted."""

    def attach(self, process: int) -> None:
        """Begin to count a process that the command has started."""

    def begin(self) -> None:
        """Count from here on, at the latest."""

    def read(self) -> int:
        """Return the instructions so far."""


class NoInstructions:
    """Counts nothing, so that a process runs at its own speed."""

    def __init__(self, *, initialising: bool = True) -> None:
        pass

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command as it is."""
        return [*arguments]

    def attach(self, process: int) -> None:
        """Do nothing."""

    def begin(self) -> None:
        """Do nothing."""

    def read(self) -> int:
        """Return 0."""
        return 0


class HardwareCounter:
    """The processor's own counter, as `perf stat -e instructions:u` reads it."""

    def __init__(self, *, initialising: bool = True) -> None:  # noqa: ARG002 - it counts always
        self._descriptor = -1

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command, stopped until it is counted."""
        return ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *arguments]

    def attach(self, process: int) -> None:
        """Count from the command's start.

        Raises:
            NoCounter: The machine has no such counter, or does not let this user read it.
        """
        os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOWAIT)
        try:
            self._descriptor = open_counter(process)
        finally:
            os.kill(process, signal.SIGCONT)

    def begin(self) -> None:
        """Do nothing: it counts."""

    def read(self) -> int:
        """Return the instructions of the process and of all that it started."""
        return int(struct.unpack("q", os.read(self._descriptor, 8))[0])


def open_counter(process: int) -> int:
    """Return the descriptor of a counter of a process's instructions, from its next `exec` on.

    Raises:
        NoCounter: The machine has no such counter, or does not let this user read it.
    """
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None or platform.system() != "Linux":
        raise NoCounter(f"no counter of the processor's is known for {platform.system()} on {platform.machine()}")
    attributes = struct.pack("IIQQQQQ", 0, _ATTRIBUTES, _INSTRUCTIONS, 0, 0, 0, _FLAGS).ljust(_ATTRIBUTES, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(ctypes.c_long(number), attributes, process, -1, -1, 0)
    if descriptor < 0:
        error = ctypes.get_errno()
        why = "the machine has none" if error == errno.ENOENT else os.strerror(error).lower()
        raise NoCounter(f"no counter of the processor's can be read: {why}")
    return int(descriptor)


class Callgrind:
    """Valgrind, under which a process runs some 50 times slower, or 10 times where it does not count."""

    def __init__(self, *, initialising: bool = True) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="callgrind-")
        self._initialising = initialising
        self._process = 0
        self._counted = 0
        self._dumps = 0

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command under valgrind."""
        counts = "yes" if self._initialising else "no"
        out = f"--callgrind-out-file={self._folder.name}/out"
        return ["valgrind", "--tool=callgrind", "-q", f"--instr-atstart={counts}", out, *arguments]

    def attach(self, process: int) -> None:
        """Remember the process."""
        self._process = process

    def begin(self) -> None:
        """Count from here on."""
        self._ask("instrumentation", "on")

    def read(self) -> int:
        """Return the instructions so far.

        Raises:
            NoCounter: Valgrind does not answer.
        """
        said = self._ask("dump")
        self._dumps += 1
        dump = Path(self._folder.name) / f"out.{self._dumps}"
        found = re.search(r"(?m)^totals: (\d+)", dump.read_text()) if dump.exists() else None
        if found is None:
            raise NoCounter(f"valgrind does not answer: {said}")
        dump.unlink()
        self._counted += int(found[1])
        return self._counted

    def _ask(self, *command: str) -> str:
        done = subprocess.run(  # noqa: S603 - valgrind's own tool
            ["vgdb", "--wait=10", f"--pid={self._process}", *command],  # noqa: S607 - as above
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stderr.strip()


def choose() -> tuple[type[InstructionCounter] | None, str]:
    """Return how instructions are counted on this machine and its name; None and the reasons if they cannot be."""
    reasons = []
    for name, kind in _COUNTERS.items():
        try:
            _try(kind)
        except NoCounter as error:
            reasons.append(str(error))
        else:
            return kind, f"{name} ({'; '.join(reasons)})" if reasons else name
    return None, f"not counted ({'; '.join(reasons)}), and CPU time stands in"


_COUNTERS: Mapping[str, type[InstructionCounter]] = {
    "by the processor's counter, as `perf stat -e instructions:u` does": HardwareCounter,
    "by valgrind": Callgrind,
}


def _try(kind: type[InstructionCounter]) -> None:
    counter = kind(initialising=True)
    try:
        trial = subprocess.Popen(counter.command(["sleep", "60"]))  # noqa: S603 - it only waits
    except FileNotFoundError as error:
        raise NoCounter(f"{error.filename} is not installed") from None
    try:
        counter.attach(trial.pid)
        counter.read()
    finally:
        trial.kill()
        trial.wait()
