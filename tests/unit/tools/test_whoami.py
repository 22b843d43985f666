"""`ordering whoami` names the installation and the caller."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.stacks import Stack
from support.commands import Run


def test_local_run(run: Run) -> None:
    """On the local run it is the user of this machine."""
    assert json.loads(run("whoami", "--json").output) == {
        "installation": "local run",
        "stack": "ordering",
        "region": "us-east-1",
        "account": None,
        "caller": "local",
        "url": None,
        "state": ".ordering",
    }


def test_stack(installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a stack it is the account and the ARN of the caller."""
    stack = Stack({"BaseUrl": "https://api.example.com"}, name="production")
    deployed = replace(installation, stack=stack, account="123456789012", caller="arn:aws:iam::123456789012:user/ann")
    monkeypatch.setattr(commands, "open_stack", lambda *_: deployed)

    assert cli.main(["whoami", "--stack", "production"]) == 0
    printed = capsys.readouterr().out
    for text in ("production", "123456789012", "user/ann", "https://api.example.com"):
        assert text in printed
    assert "state" not in printed
