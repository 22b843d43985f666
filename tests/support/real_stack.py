"""The real stack with the demo data: what tests that call it over HTTP need beside its address."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ordering.accounts import Accounts
from ordering_tools import demo
from ordering_tools.installation import Installation, reopen
from ordering_tools.local.stack import LocalStack

COMMAND = Path(sys.executable).with_name("ordering")


@dataclass(frozen=True)
class RealStack:
    """A local run of the real template, and the installation behind it."""

    stack: LocalStack

    @cached_property
    def told(self) -> dict[str, Any]:
        """What the run wrote for those who try it; a run without demo data wrote nothing."""
        found: dict[str, Any] = json.loads((self.stack.state / demo.FILE).read_text())
        return found

    @cached_property
    def installation(self) -> Installation:
        return reopen(self.stack.state)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the `ordering` command on the installation, in a process of its own."""
        return subprocess.run(
            [COMMAND, *arguments, "--state", self.stack.state],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def logs(self) -> str:
        """What the functions logged and the run said, without what it tells those who try it."""
        log = (self.stack.state / "functions.log").read_text(encoding="utf-8", errors="replace")
        return log + self.stack.said().split("serving", 1)[0]
