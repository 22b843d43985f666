"""The real stack with the demo data: what tests that call it over HTTP need beside its address."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ordering.identity.accounts import Accounts
from ordering_tools import cli
from ordering_tools.demo import greeting
from ordering_tools.installation import Installation, reopen
from ordering_tools.local.dead_letters import peek_at
from ordering_tools.local.engine.engine import connect
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.local.engine.state import find
from ordering_tools.operations import commands
from support.local_stack import LocalStack

COMMAND = Path(sys.executable).with_name("ordering")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class RealStack:
    """A local run of the real template, and the installation behind it."""

    stack: LocalStack

    @cached_property
    def demo_file(self) -> dict[str, Any]:
        """The demo file of the run, which only a run with demo data writes."""
        found: dict[str, Any] = json.loads((self.stack.state / greeting.FILE).read_text())
        return found

    @cached_property
    def installation(self) -> Installation:
        return reopen(self.stack.state)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    @cached_property
    def services(self) -> str:
        """Where the services are that are not DynamoDB."""
        found = find(self.stack.state)
        assert found
        return found.services

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the `ordering` command on the installation, in a process of its own."""
        return subprocess.run(
            [COMMAND, *arguments, "--state", self.stack.state],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ordering(self, *arguments: str) -> Done:
        """Run the `ordering` command in this process and over its connection: both take longer to make than to use."""
        with (
            patch.object(commands, "reopen", return_value=self.installation),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            code = cli.main([*arguments, "--state", str(self.stack.state)])
        return Done(code, out.getvalue().strip(), err.getvalue().strip())

    def mails_to(self, address: str) -> list[Mail]:
        """Return what an address was sent, oldest first."""
        return [mail for mail in sent_mails(self.services) if address in mail.recipients]

    def queued(self, queue: str, text: str) -> list[Mapping[str, Any]]:
        """Return the messages of a queue that have a text in their bodies, also those that cannot be received now."""
        return [message for message in peek_at(self.services, self.stack.queue(queue)) if text in message["Body"]]

    @contextmanager
    def sandbox(self) -> Iterator[None]:
        """Have SES refuse mails to any domain but `example.com`, as it does in its sandbox."""
        ses = connect("sesv2", self.services)
        with suppress(ses.exceptions.AlreadyExistsException):
            ses.create_email_identity(EmailIdentity="example.com")
        details = {"MailType": "TRANSACTIONAL", "WebsiteURL": "https://example.com"}
        ses.put_account_details(ProductionAccessEnabled=False, **details)
        try:
            yield
        finally:
            ses.put_account_details(ProductionAccessEnabled=True, **details)

    @property
    def logs(self) -> str:
        """The logs of the functions and the output of the run, without its instructions to users."""
        log = (self.stack.state / "functions.log").read_text(encoding="utf-8", errors="replace")
        return log + self.stack.printed().split("serving", 1)[0]
