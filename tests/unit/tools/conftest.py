"""Companies that order e-cards and a partner of other contracts, and commands that act on them in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ordering.identity.accounts import Accounts
from ordering.principal import User
from ordering.values import replace
from ordering_tools import cli
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done, Queue, Run
from support.ecards import AUDIENCE, CARDS, COMPANY, ISSUER, Rewards, services_over
from support.every_command import World, make_world
from support.partners import PARTNER

ROBOT = User("robot", "R", "Obot", "robot@example.com")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The stack on which every command has work to do; `World.record` and `World.show` run them on copies of it."""
    return make_world(tmp_path_factory.mktemp("files"))


@pytest.fixture
def installation() -> Installation:
    """An empty installation."""
    return Installation(Memory(), MemoryKms(), lambda: SigningKey("", "", {}), ISSUER, AUDIENCE, mail_queue=Queue())


@pytest.fixture
def company(installation: Installation) -> Rewards:
    """A company with cards and no money, and a partner of other contracts."""
    accounts = Accounts(installation.accounts)
    grants = frozenset({"ecards", "deals"})
    for partner in (
        replace(PARTNER, id="granite", grants=grants, company="company"),
        replace(PARTNER, id="two", grants=grants, users={**PARTNER.users, ROBOT.id: ROBOT}),
    ):
        accounts.save_partner(partner)
    company = Rewards(services_over(installation.send, kms=installation.kms), COMPANY)
    company.publish(CARDS)
    return company


@pytest.fixture
def run(
    company: Rewards,  # noqa: ARG001 - the commands act on it
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `ordering` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: installation)

    def command(*words: str) -> Done:
        code = cli.main([*words])
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture
def codes(tmp_path: Path) -> Callable[..., str]:
    """Writes a file with a code on each line."""

    def write(*lines: str) -> str:
        path = tmp_path / "codes.txt"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write
