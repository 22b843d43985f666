"""Runs a Python module in a process that ends with its parent.

Used as a script: `python lifeline.py DESCRIPTOR SIGNAL MODULE ARGUMENT…`. The descriptor is the reading end of a
pipe of which only the parent has the writing end. When the parent ends, even by SIGKILL, the pipe is closed, and this
process sends itself the signal. So no process is left over, on any Unix and in any state of the module.

The file imports nothing of the project, because it also runs in environments without it.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def _wait(descriptor: int, signal_number: int) -> None:
    """Send this process `signal_number` once the other end of the pipe is closed."""
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal_number)


def main() -> None:
    """Run the module in the command line."""
    _, descriptor, signal_number, module, *arguments = sys.argv
    # As with `python -m`: the current folder is on the path, not the folder of this file.
    sys.path[0] = os.getcwd()  # noqa: PTH109 - pathlib would take time to import
    sys.argv = [module, *arguments]
    threading.Thread(target=_wait, args=(int(descriptor), int(signal_number)), name="lifeline", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
