"""Runs the functions of one release in a process of their own: `python function_host.py FUNCTIONS FUNCTION …`.

FUNCTIONS is the folder of the functions. Each function, `training/orders` for instance, is initialised as Lambda
initialises it; then the process prints a line, and carries out the commands that it reads, each a line of JSON:
`{"function": …, "event": …}` prints the function's answer, and `"fork"` lets a copy of the process answer the rest.
This file imports nothing of the project but what the functions do, so that it runs any release.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

connected: list[socket.socket] = []
"""The sockets that the process has connected."""


class Context:
    """What is left of a function's time."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 10_000


def load(folder: Path) -> Callable[[Any, Any], Any]:
    """Import a function; every function's module is called `app`, so it gets a name of its own."""
    name = "_".join(folder.parts[-2:])
    spec = importlib.util.spec_from_file_location(name, folder / "app.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Callable[[Any, Any], Any] = module.handler
    return handler


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(folder: str, names: list[str]) -> None:
    sys.addaudithook(lambda event, found: connected.append(found[0]) if event == "socket.connect" else None)
    handlers = {name: load(Path(folder) / name) for name in names}
    say({"connected": sum(one.fileno() >= 0 for one in connected)})
    # Unbuffered, so that a copy of the process reads what this one has not.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as commands:
        while line := commands.readline():
            command = json.loads(line)
            if command == "fork":
                if child := os.fork():
                    os.waitpid(child, 0)
                    say("joined")
                continue
            if command == "end":
                os._exit(0)
            say(handlers[command["function"]](command["event"], Context()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
