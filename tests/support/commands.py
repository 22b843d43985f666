"""Runs of `ordering` in tests: what a command did, and the queue that it puts messages on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Done:
    """The exit code of a command, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def error(self) -> str:
        """The only output of a command that failed: its error, without a traceback."""
        assert (self.code, self.output) == (1, "")
        assert "Traceback" not in self.errors
        return self.errors.strip()


Run = Callable[..., Done]
"""Runs `ordering` with arguments."""


@dataclass
class Queue:
    """A queue that keeps the bodies of its messages."""

    bodies: list[str] = field(default_factory=list)

    def __call__(self, body: str, delay_seconds: int) -> None:
        assert delay_seconds == 0
        self.bodies.append(body)
