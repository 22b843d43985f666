"""What a command of `ordering` did."""

from __future__ import annotations

from dataclasses import dataclass


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
