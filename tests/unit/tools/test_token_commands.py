"""`ordering token`: tokens that operators issue, and why one is or is not accepted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordering import values
from ordering.clock import system_clock
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client, Clients
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims
from ordering.identity.verifier import KeyRing, Verifier
from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.installation import Installation
from ordering_tools.operations import commands, signing_keys, tokens
from ordering_tools.operations.signing import development_key
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done
from support.partners import IRELAND, JOHN, PARTNER, TAILSPIN, UK

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
WHY = ("--reason", "ticket 17", "--yes")
Run = Callable[..., Done]


@pytest.fixture(params=["the local run", "a stack in AWS"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """An installation with two partners, whose tokens are signed with the development key or in KMS."""
    local = Installation(
        Memory(), MemoryKms(), partial(development_key, tmp_path), ISSUER, AUDIENCE, caller="local/ann"
    )
    accounts = Accounts(local.accounts)
    for partner in (PARTNER, TAILSPIN):
        accounts.save_partner(partner)
    if request.param == "the local run":
        accounts.save_signing_key(local.key.key_id, local.key.public_jwk)
        return local
    deployed = replace(local, development_key=None, account="123456789012", caller="arn:aws:iam::123456789012:user/ann")
    signing_keys.use(deployed, signing_keys.add(deployed, "alias/ordering-SigningKeyA"), wait=False)
    return deployed


@pytest.fixture
def run(site: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering token` with arguments, agreeing to changes."""
    monkeypatch.setattr(commands, "reopen", lambda _: site)

    def command(*words: str) -> Done:
        code = cli.main(["token", *words, "--yes"])
        return Done(code, *capsys.readouterr())

    return command


def claims_of(site: Installation, token: str) -> Claims:
    jwt = ReferenceTokens(site.accounts).resolve(token) if len(token) == 64 else token
    return Verifier(KeyRing(Accounts(site.accounts).signing_keys), ISSUER, AUDIENCE).verify(jwt)


def inspected(run: Run, token: str) -> dict[str, Any]:
    """What `token inspect` says; never the token."""
    done = run("inspect", token, "--json")
    assert (done.code, token in done.output + done.errors) == (0, False)
    found: dict[str, Any] = json.loads(done.output)
    return found


@pytest.mark.parametrize("reference", [(), ("--reference",)])
def test_issued(run: Run, site: Installation, reference: tuple[str, ...]) -> None:
    """A token is printed alone, is accepted for as long and for what was asked, and is inspected as such."""
    token = run("issue", PARTNER.id, "--days", "90", "--unit", UK.name, *reference).output.strip()
    claims = claims_of(site, token)
    found = inspected(run, token)

    assert (claims.partner, claims.user, claims.business_units) == (PARTNER.id, JOHN.id, frozenset({UK.id}))
    assert timedelta(days=89, hours=23) < claims.expires - system_clock() < timedelta(days=90)
    assert (found["accepted"], found["verified"], found["units"]) == (True, True, [UK.id])
    assert found["kind"] == ("reference" if reference else "JWT")
    assert (found["id"], found["partner"], found["grants"]) == (claims.token_id, PARTNER.id, ["training"])


@pytest.mark.parametrize("days", ["0", "-1", "367", "99999999", "x", ""])
def test_days(run: Run, site: Installation, days: str) -> None:
    """A token is valid for 1 to 366 days: anything else is wrong usage, and no token is issued."""
    done = run("issue", PARTNER.id, "--days", days)

    assert (done.code, done.output, "Traceback" in done.errors) == (2, "", False)
    assert Accounts(site.accounts).tokens(PARTNER.id) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nobody",), "there is no partner 'nobody'"),
        ((PARTNER.id, "--user", "x"), f"name one of northwind's users with --user: {JOHN.id}"),
        ((PARTNER.id, "--unit", "x"), f"name one of northwind's business units with --unit: {UK.id} (UK), "),
    ],
)
def test_not_issued(run: Run, site: Installation, words: tuple[str, ...], error: str) -> None:
    """A token of an unknown partner, user or unit is refused, and nothing is recorded."""
    assert error in run("issue", *words).error
    assert Accounts(site.accounts).tokens(PARTNER.id) == []


def test_no_key_signs(run: Run, site: Installation) -> None:
    """Without an accepted key no token is issued, and none is recorded."""
    accounts = Accounts(site.accounts)
    for key in accounts.signing_keys():
        site.accounts.delete_all([("SIGNING_KEYS", key)])

    assert "is not accepted; see `ordering key list`" in run("issue", PARTNER.id).error
    site.accounts.delete_all([("SIGNER", "-")])
    assert run("issue", PARTNER.id).code == 1
    assert accounts.tokens(PARTNER.id) == []


def test_listed(run: Run, site: Installation) -> None:
    """The tokens of a partner are listed, oldest first, without the tokens; expired ones are not."""
    issued = [run("issue", PARTNER.id, *more).output.strip() for more in ((), ("--reference",))]
    run("issue", "tailspin")
    first, second = (claims_of(site, token) for token in issued)
    run("revoke", issued[0], *WHY)
    accounts = Accounts(site.accounts)
    (old, _) = accounts.tokens(PARTNER.id)
    accounts.save_token(values.replace(old, id="expired", expires=system_clock() - timedelta(seconds=1)))
    done = run("list", PARTNER.id)

    assert [line.split() for line in done.output.splitlines()] == [
        ["id", "expires", "state"],
        *(
            [one.token_id, *f"{one.expires:%Y-%m-%d %H:%M:%SZ}".split(), state]
            for one, state in ((first, "revoked"), (second, "valid"))
        ),
    ]
    assert all(len(line) <= 60 for line in done.output.splitlines())
    whole = json.loads(run("list", PARTNER.id, "--json").output)
    assert [(one["kind"], one["by"], one["user"]) for one in whole] == [
        ("JWT", site.caller, JOHN.id),
        ("reference", site.caller, JOHN.id),
    ]
    stored = repr([*site.send.scan("AccountsTable")])  # type: ignore[attr-defined] # the tables in memory
    assert not any(token in stored for token in issued)
    assert "there is no partner 'nobody'" in run("list", "nobody").error


def test_a_record_ends_with_its_token(run: Run, site: Installation) -> None:
    """The table forgets the record of a token when the token expires."""
    claims = claims_of(site, run("issue", PARTNER.id).output.strip())
    item = site.accounts.get((f"TOKENS#{PARTNER.id}", claims.token_id))

    assert item
    assert item["expires"] == int(claims.expires.timestamp())


def test_revoked(run: Run, site: Installation) -> None:
    """A token is revoked by itself or by its id, with a reason that is kept."""
    kept, one, other = (run("issue", PARTNER.id).output.strip() for _ in range(3))
    token_id = claims_of(site, other).token_id
    assert run("revoke", one).code == 2
    run("revoke", one, *WHY)
    done = run("revoke", token_id, "--partner", PARTNER.id, *WHY)

    assert done.output == f"token {token_id} of northwind is revoked\n"
    assert [inspected(run, token)["accepted"] for token in (kept, one, other)] == [True, False, False]
    assert inspected(run, one)["why"] == "revoked"
    noted = [*entries(site.accounts, f"{system_clock():%Y-%m}")][-1]
    assert (noted.action, noted.subject, noted.by) == ("token revoke", f"token {token_id} of northwind", site.caller)
    assert "there is no token x of northwind" in run("revoke", "x", "--partner", PARTNER.id, *WHY).error


def test_revoking_is_asked_for(run: Run, site: Installation) -> None:
    """Without --yes, and without a terminal to ask at, a token stays valid."""
    token = run("issue", PARTNER.id).output.strip()

    assert cli.main(["token", "revoke", token, "--reason", "x"]) == 1
    assert claims_of(site, token).partner == PARTNER.id
    assert inspected(run, token)["accepted"]


def changed_partner(site: Installation, **fields: Any) -> None:
    Accounts(site.accounts).save_partner(values.replace(PARTNER, **fields))


@pytest.mark.parametrize(
    ("fields", "why", "remedy"),
    [
        ({"active": False}, "partner northwind is disabled", "ordering partner enable northwind"),
        ({"users": {"x": values.replace(JOHN, id="x")}}, "unknown user", "its user was removed"),
    ],
)
def test_partners_of_tokens(run: Run, site: Installation, fields: dict[str, Any], why: str, remedy: str) -> None:
    """A token is not accepted while its partner is disabled, or when its user is gone."""
    token = run("issue", PARTNER.id).output.strip()
    changed_partner(site, **fields)
    found = inspected(run, token)

    assert (found["accepted"], found["verified"], found["why"]) == (False, True, why)
    assert remedy in found["remedy"]


def test_units_that_are_gone(run: Run, site: Installation) -> None:
    """A token is accepted although one of its business units was removed, which is named."""
    token = run("issue", PARTNER.id, "--unit", UK.id, "--unit", IRELAND.id).output.strip()
    changed_partner(site, business_units=(UK,))

    assert inspected(run, token)["unitsThatAreGone"] == [IRELAND.id]


def test_clients_of_tokens(run: Run, site: Installation) -> None:
    """A token of a client is not accepted when the client was removed, or its tokens were ended."""
    clients = Clients(site.accounts)
    client = Client("c1", PARTNER.id, JOHN.id, frozenset({"training"}))
    clients.add(client)
    claims = Claims("t1", PARTNER.id, JOHN.id, system_clock() + timedelta(hours=1), None, client.scope, "c1")
    token = site.signer.issue(claims)
    assert inspected(run, token)["accepted"]
    clients.end_tokens("c1")
    ended = inspected(run, token)
    clients.remove("c1")

    assert (ended["why"], ended["client"]) == ("issued before the client's tokens were ended", "c1")
    assert inspected(run, token)["why"] == "unknown client"


def test_keys_of_tokens(run: Run, site: Installation) -> None:
    """A token is not accepted when its key was retired; what it says of itself is shown as not verified."""
    token = run("issue", PARTNER.id).output.strip()
    (key,) = Accounts(site.accounts).signing_keys()
    site.accounts.delete_all([("SIGNING_KEYS", key)])
    found = inspected(run, token)

    assert (found["accepted"], found["verified"], found["why"]) == (False, False, "unknown key")
    assert (found["key"], found["partner"]) == (key, PARTNER.id)


def test_tokens_that_are_none(run: Run, site: Installation) -> None:
    """An expired token, one that was changed, another installation's, and a text that is none, are told apart."""
    expired, _ = tokens.issue(site, PARTNER.id, None, None, -timedelta(days=1))
    good, _ = tokens.issue(site, PARTNER.id, None, None, timedelta(days=1))
    other, _ = tokens.issue(replace(site, audience="x"), PARTNER.id, None, None, timedelta(days=1))
    head, body, signature = good.split(".")
    changed = ".".join([head, body, "A" * len(signature)])

    assert [inspected(run, token)["why"] for token in (expired, changed, other, "nonsense", "0" * 64)] == [
        "expired",
        "wrong signature",
        "another audience",
        "malformed",
        "unknown reference token",
    ]


def test_where_a_token_is_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is read from the argument, a file or the standard input, also with the word `Bearer` before it."""
    token = run("issue", PARTNER.id).output
    (tmp_path / "token").write_text(f"Bearer {token}")
    monkeypatch.setattr("sys.stdin", io.StringIO(token))

    assert [
        json.loads(run("inspect", where, "--json").output)["accepted"] for where in (str(tmp_path / "token"), "-")
    ] == [True] * 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in run("inspect", str(tmp_path / "binary")).error
    for text in ("", "a b"):
        assert "a token is one word" in run("inspect", text).error


def test_what_a_token_says_is_shown_with_care(run: Run, site: Installation) -> None:
    """Claims that a terminal would act on are not shown: whoever made the token chose them."""
    claims = Claims("t\x1b[2J", PARTNER.id, JOHN.id, system_clock() + timedelta(days=1), None)
    done = run("inspect", site.signer.issue(claims))

    assert "\x1b" not in done.output
    assert "a claim is malformed" in done.output
