"""`ordering client`: registration, new secrets, and the end of tokens and of a client."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ordering import clock
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts
from ordering.identity.clients import ClientChanged, ClientRefused, Clients
from ordering.principal import User
from ordering.values import replace
from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.installation import Installation, NoInstallation
from ordering_tools.operations import commands
from ordering_tools.operations.signing import SigningKey
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done
from support.ecards import AUDIENCE, ISSUER
from support.partners import JOHN, PARTNER

ROBOT = User("robot", "R", "Obot", "robot@example.com")


WHY = ("--reason", "ticket 17", "--yes")

Run = Callable[..., Done]


@pytest.fixture
def installation() -> Installation:
    """An installation with a partner of one user, and one of two."""
    made = Installation(Memory(), MemoryKms(), lambda: SigningKey("", "", {}), ISSUER, AUDIENCE)
    grants = frozenset({"ecards", "deals"})
    for partner in (
        replace(PARTNER, id="granite", grants=grants),
        replace(PARTNER, id="two", grants=grants, users={**PARTNER.users, ROBOT.id: ROBOT}),
    ):
        Accounts(made.accounts).save_partner(partner)
    return made


@pytest.fixture
def run(installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: installation)

    def command(*words: str) -> Done:
        code = cli.main([*words])
        return Done(code, *capsys.readouterr())

    return command


def added(run: Run) -> str:
    return run("client", "add", "c1", "--partner", "granite").output.strip()


def proven(installation: Installation, client_id: str, secret: str) -> Any:
    try:
        return Clients(installation.accounts).authenticate(client_id, secret, "192.0.2.1")
    except ClientRefused:
        return None


def test_a_client(run: Run, installation: Installation) -> None:
    """A client is registered for its partner's only user and all its grants; adding it again is refused."""
    secret = run("client", "add", "c1", "--partner", "granite").output.strip()
    client = proven(installation, "c1", secret)

    assert (client.partner, client.user, client.scope) == ("granite", JOHN.id, frozenset({"ecards", "deals"}))
    assert run("client", "add", "c1", "--partner", "granite").error == (
        "client 'c1' exists already; for a new secret use `ordering client rotate`"
    )
    assert proven(installation, "c1", secret) == client


def test_a_client_with_less(run: Run, installation: Installation) -> None:
    """A client can be for one of several users, and have fewer grants than its partner."""
    words = ("client", "add", "c1", "--partner", "two", "--user", ROBOT.id, "--scope", "ecards")
    client = proven(installation, "c1", run(*words).output.strip())

    assert (client.partner, client.user, client.scope) == ("two", ROBOT.id, frozenset({"ecards"}))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("c1", "--partner", "nobody"), "there is no partner 'nobody'; see `ordering partner list`"),
        (
            ("c1", "--partner", "granite", "--scope", "training", "--scope", "ecards"),
            "granite has no grant for training; see `ordering partner set granite --grant`",
        ),
        (("c1", "--partner", "granite", "--user", "x"), f"name one of granite's users with --user: {JOHN.id}"),
        (("c1", "--partner", "two"), f"name one of two's users with --user: {JOHN.id}, {ROBOT.id}"),
        (("a b", "--partner", "granite"), "a client's id has 1 to 64 letters, digits, '.', '-' and '_'"),
        (("x" * 65, "--partner", "granite"), "a client's id has 1 to 64 letters, digits, '.', '-' and '_'"),
    ],
)
def test_no_client(run: Run, words: tuple[str, ...], error: str) -> None:
    """An invalid client id, and an unknown partner, user or grant, are errors; no client is registered."""
    assert run("client", "add", *words).error == error
    assert run("client", "rotate", "c1", *WHY).error == "there is no client 'c1'; see `ordering client list`"


def test_a_new_secret(run: Run, installation: Installation) -> None:
    """The two newest secrets of a client are valid, an older one is not."""
    secrets = [run("client", "add", "c1", "--partner", "granite").output.strip()]
    secrets += [run("client", "rotate", "c1", *WHY).output.strip() for _ in range(2)]

    assert [proven(installation, "c1", secret) is not None for secret in secrets] == [False, True, True]


def test_a_new_secret_after_a_leak(run: Run, installation: Installation) -> None:
    """With --now all previous secrets end at once, and the command tells how the tokens are ended too."""
    first = added(run)
    done = run("client", "rotate", "c1", "--now", *WHY)

    assert [proven(installation, "c1", secret) is not None for secret in (first, done.output.strip())] == [False, True]
    assert (done.code, "`ordering client end-tokens c1`" in done.errors) == (0, True)


def test_a_replaced_secret_ends(run: Run, installation: Installation) -> None:
    """Without --now the previous secret ends after 24 hours."""
    first = added(run)
    run("client", "rotate", "c1", *WHY)
    later = Clients(installation.accounts, lambda: clock.system_clock() + timedelta(hours=24))

    assert proven(installation, "c1", first)
    with pytest.raises(ClientRefused):
        later.authenticate("c1", first, "192.0.2.1")


def test_the_end_of_tokens(run: Run, installation: Installation) -> None:
    """The command prints the time from which tokens are valid again; the secret stays valid."""
    secret = added(run)
    done = run("client", "end-tokens", "c1", *WHY)
    moment = proven(installation, "c1", secret).tokens_not_before

    assert done.output == f"tokens of c1 that were issued before {moment:%Y-%m-%d %H:%M:%SZ} are refused\n"


def test_a_client_is_shown(run: Run, installation: Installation) -> None:
    """A client is shown with its grants, and when its secrets and tokens end, but without any secret."""
    secrets = [added(run), run("client", "rotate", "c1", *WHY).output.strip()]
    client, (newest, older) = Clients(installation.accounts).show("c1")
    assert older is not None
    assert client.tokens_not_before is not None
    shown = "\n".join(map(str.rstrip, run("client", "show", "c1").output.splitlines()))

    assert newest is None
    assert [line.split(maxsplit=1) for line in shown.splitlines()] == [
        ["client", "c1"],
        ["partner", "granite"],
        ["user", JOHN.id],
        ["scope", "deals, ecards"],
        ["secrets", f"valid, ends at {older:%Y-%m-%d %H:%M:%SZ}"],
        ["tokens", f"not before  {client.tokens_not_before:%Y-%m-%d %H:%M:%SZ}"],
    ]
    assert not any(secret in shown for secret in secrets)


def test_a_removed_client(run: Run, installation: Installation) -> None:
    """A removed client's secret is refused, and its id can be registered again."""
    secret = added(run)
    done = run("client", "revoke", "c1", *WHY)

    assert done.output == "client c1 is removed, and its tokens are refused\n"
    assert proven(installation, "c1", secret) is None
    assert proven(installation, "c1", added(run))


@pytest.mark.parametrize(
    "words", [("show",), ("rotate", *WHY), ("rotate", "--now", *WHY), ("end-tokens", *WHY), ("revoke", *WHY)]
)
def test_unknown_clients(run: Run, words: tuple[str, ...]) -> None:
    """Every command names a client that does not exist."""
    assert run("client", *words, "c1").error == "there is no client 'c1'; see `ordering client list`"


def test_a_client_that_others_change(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If others change the client again and again, the command says so and prints no secret."""
    added(run)

    def overtaken(*_: Any, **__: Any) -> str:
        raise ClientChanged("c1")

    monkeypatch.setattr(Clients, "replace_secret", overtaken)
    assert run("client", "rotate", "c1", *WHY).error == "client 'c1' is being changed by others; try again"


@pytest.mark.parametrize("error", [NoInstallation("start it with `make serve`"), Unavailable()])
def test_not_running(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """If the local run is not running, every command explains how to start it."""

    def reopen(_: object) -> Installation:
        raise error

    monkeypatch.setattr(commands, "reopen", reopen)
    for words in (
        ("add", "--partner", "granite"),
        ("show",),
        ("rotate", *WHY),
        ("end-tokens", *WHY),
        ("revoke", *WHY),
    ):
        assert "make serve" in run("client", *words, "c1").error


def test_clients_are_listed(run: Run) -> None:
    """Clients are listed with their partners and grants, all or those of a partner, and without secrets."""
    secret = added(run)
    run("client", "add", "c2", "--partner", "two", "--user", ROBOT.id, "--scope", "ecards")

    assert [line.split() for line in run("client", "list").output.splitlines()] == [
        ["client", "partner", "scope"],
        ["c1", "granite", "deals,", "ecards"],
        ["c2", "two", "ecards"],
    ]
    assert json.loads(run("client", "list", "two", "--json").output) == [
        {"client": "c2", "partner": "two", "scope": ["ecards"]}
    ]
    assert run("client", "list", "nobody").error == "there is no partner 'nobody'; see `ordering partner list`"
    assert secret not in run("client", "list", "--json").output


def test_changes_of_clients_are_noted(run: Run, installation: Installation) -> None:
    """Each change of a client is in the audit trail with its reason, and without a secret."""
    secrets = [added(run), run("client", "rotate", "c1", *WHY).output.strip()]
    run("client", "end-tokens", "c1", *WHY)
    run("client", "revoke", "c1", *WHY)
    found = [*entries(installation.accounts, f"{clock.system_clock():%Y-%m}")]

    assert [(one.action, one.subject, one.reason) for one in found] == [
        ("client add", "client c1", ""),
        ("client rotate", "client c1", "ticket 17"),
        ("client end-tokens", "client c1", "ticket 17"),
        ("client revoke", "client c1", "ticket 17"),
    ]
    assert not any(secret in repr(found) for secret in secrets)


@pytest.mark.parametrize("words", [("rotate", "c1", "--now"), ("end-tokens", "c1"), ("revoke", "c1")])
def test_what_ends_for_ever_is_asked_for(run: Run, installation: Installation, words: tuple[str, ...]) -> None:
    """Without --yes, and without a terminal to ask at, nothing ends."""
    secret = added(run)

    assert "agree to it with --yes" in run("client", *words, "--reason", "x").error
    assert proven(installation, "c1", secret)
