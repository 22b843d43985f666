"""The official client, which runs in an environment of its own."""

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
    """Return what runs a script of `environment/` there; its working directory is to be `TESTS`."""
    return [PYTHON, "-m", f"client.environment.{script}"]


@dataclass(frozen=True)
class Refusal:
    """What the client raised, and the headers of the answer that it raised it for."""

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
        """Return what a method returns, for instance that of `orders.create`."""
        told = self.outcome(method, *arguments, **keywords)
        assert "raised" not in told, told
        return told["result"]

    def refusal(self, method: str, *arguments: Any, **keywords: Any) -> Refusal:
        """Return what a method raises."""
        told = self.outcome(method, *arguments, **keywords)
        headers = told.pop("answer")["headers"]
        return Refusal(headers=headers, **{**told, "errors": tuple(told.get("errors", ()))})

    def outcome(self, method: str, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        call = {"token": self.token, "method": method, "arguments": arguments, "keywords": keywords}
        print(json.dumps(call), file=self.process.stdin, flush=True)
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told
