"""The official client, which runs in a virtual environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PYTHON = TESTS.parent / ".venvs" / "client" / "bin" / "python"


def command(script: str) -> list[str | Path]:
    """The command that runs a script of `environment/` there; its working directory must be `TESTS`."""
    return [PYTHON, "-m", f"client.environment.{script}"]


@dataclass(frozen=True)
class Refusal:
    """The exception that the client raised, and the headers of the response."""

    raised: str
    headers: Mapping[str, str]
    http_status: int | None = None
    logref: str | None = None
    errors: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class OfficialClient:
    """`basecrm.Client` with a token, in another process."""

    process: subprocess.Popen[str]
    token: str

    def call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """The result of a method, for instance `orders.create`."""
        outcome = self.outcome(method, *arguments, **keywords)
        assert "raised" not in outcome, outcome
        return outcome["result"]

    def refusal(self, method: str, *arguments: Any, **keywords: Any) -> Refusal:
        """The exception that a method raises."""
        outcome = self.outcome(method, *arguments, **keywords)
        headers = outcome.pop("answer")["headers"]
        return Refusal(headers=headers, **{**outcome, "errors": tuple(outcome.get("errors", ()))})

    def outcome(self, method: str, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        call = {"token": self.token, "method": method, "arguments": arguments, "keywords": keywords}
        print(json.dumps(call), file=self.process.stdin, flush=True)
        outcome: dict[str, Any] = json.loads(self.process.stdout.readline())
        return outcome
