"""Run a Python module for as long as the process that started it lives.

Used as a script: `python lifeline.py DESCRIPTOR SIGNAL MODULE ARGUMENT…`. The descriptor is the reading end of a
pipe whose writing end only the parent holds. When the parent ends, however it ends, the pipe does, and this
process sends itself the signal. No process is left behind, on any Unix, whatever the module is doing.

The file imports nothing of the project: it runs in environments that do not have it.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def hold(descriptor: int, signal_number: int) -> None:
    """End this process with `signal_number` once the other end of the pipe is gone."""

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        os.kill(os.getpid(), signal_number)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> None:
    """Run the module that the command line names."""
    _, descriptor, signal_number, module, *arguments = sys.argv
    # As `python -m` would have it: the module's own folder is not on the path, the current one is.
    sys.path[0] = os.getcwd()  # noqa: PTH109 - pathlib is not yet imported, and need not be
    sys.argv = [module, *arguments]
    hold(int(descriptor), int(signal_number))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
