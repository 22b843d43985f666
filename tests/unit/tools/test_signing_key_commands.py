"""`ordering key`: a signing key is replaced without an outage, and no step is possible too early."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ordering.aws.calls import CallRefused
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts, TokenRecord
from ordering.identity.clients import Client, Clients
from ordering.identity.token_endpoint import KEYS_KEPT, LOOKED_UP_EVERY, VALID, KeyCache, TokenEndpoint
from ordering.identity.tokens import Claims, TokenRefused
from ordering.identity.verifier import LEEWAY, KeyRing, Verifier
from ordering_tools import cli
from ordering_tools.audit import entries
from ordering_tools.installation import Installation, NoInstallation
from ordering_tools.operations import commands
from ordering_tools.operations.signing import development_key
from ordering_tools.operations.signing_keys import NoSuchKey, TooEarly, add, retire, use
from support.aws.kms import MemoryKms
from support.aws.memory import Memory

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
GRANITE = Client("granite", "granite-rewards", "user-1", frozenset({"ecards"}))
NOW = datetime.now(UTC).replace(microsecond=0)
LAG = timedelta(seconds=LOOKED_UP_EVERY)
SECOND = timedelta(seconds=1)
WHY = ("--reason", "ticket 17", "--yes")


@dataclass
class Site:
    """An installation, its token endpoint and its verifier."""

    installation: Installation

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    @property
    def published(self) -> set[str]:
        return set(self.endpoint().keys())

    def endpoint(self, at: datetime | None = None, cache: KeyCache | None = None) -> TokenEndpoint:
        """The token endpoint of a process: a new one, or one with the key that it has cached."""
        return TokenEndpoint(
            self.accounts,
            Clients(self.installation.accounts),
            self.installation.kms,
            ISSUER,
            AUDIENCE,
            cache or KeyCache(),
            lambda: at or datetime.now(UTC),
        )

    def token(self, at: datetime | None = None) -> str:
        return self.endpoint(at).issue(GRANITE, GRANITE.scope)

    def accepts(self, token: str) -> bool:
        try:
            Verifier(KeyRing(self.accounts.signing_keys), ISSUER, AUDIENCE).verify(token)
        except TokenRefused:
            return False
        return True


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An installation that accepts its development key, like that of `make serve`."""
    installation = Installation(Memory(), MemoryKms(), partial(development_key, tmp_path), ISSUER, AUDIENCE)
    Accounts(installation.accounts).save_signing_key(installation.key.key_id, installation.key.public_jwk)
    return Site(installation)


def kid(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def signing(site: Site, name: str = "alias/A", at: datetime = NOW) -> str:
    """Add a key and make it the signing key; returns its id."""
    key_id = add(site.installation, name, now=at)
    use(site.installation, key_id, wait=False, now=at)
    return key_id


def test_without_an_outage(site: Site) -> None:
    """During a replacement each token is accepted until it expires, and a step that is too early is refused."""
    began = NOW - timedelta(minutes=40)
    old = signing(site, at=began)
    first = site.token(began)

    new = add(site.installation, "alias/B", now=began)
    published = site.published
    with pytest.raises(TooEarly):
        use(site.installation, new, now=began + KEYS_KEPT - SECOND)
    before = site.token()
    changed = NOW - timedelta(minutes=30)
    use(site.installation, new, now=changed)
    after = site.token()
    with pytest.raises(TooEarly):
        retire(site.installation, old, now=NOW)

    assert published == {site.installation.key.key_id, old, new}
    assert [kid(token) for token in (first, before, after)] == [old, old, new]
    assert [site.accepts(token) for token in (first, before, after)] == [True, True, True]
    retire(site.installation, old, now=changed + LAG + VALID + LEEWAY)
    assert [site.accepts(token) for token in (first, before, after)] == [False, False, True]
    assert site.published == {site.installation.key.key_id, new}


def test_retired_after_the_last_token_has_expired(site: Site) -> None:
    """The old key can be retired only after the last token has expired that a warm process signed with it."""
    old = signing(site, at=NOW - timedelta(hours=3))
    new = add(site.installation, "alias/B", now=NOW - timedelta(hours=3))
    changed = NOW - timedelta(hours=2)
    use(site.installation, new, now=changed)
    last = jwt.decode(site.token(changed + LAG), options={"verify_signature": False})["exp"]

    ends = datetime.fromtimestamp(last, UTC) + LEEWAY
    with pytest.raises(TooEarly, match=f"{ends:%H:%M:%S}Z"):
        retire(site.installation, old, now=ends - SECOND)
    retire(site.installation, old, now=ends)
    assert old not in site.published


def test_not_used_while_old_keys_may_be_cached(site: Site) -> None:
    """A key cannot become the signing key while a caller or a warm process may have cached the old keys."""
    signing(site, at=NOW)
    new = add(site.installation, "alias/B", now=NOW)

    with pytest.raises(TooEarly):
        use(site.installation, new, now=NOW + KEYS_KEPT + LAG - SECOND)


def test_used_after_a_while(site: Site) -> None:
    """A key can become the signing key once it has been published for long enough."""
    signing(site, at=NOW)
    new = add(site.installation, "alias/B", now=NOW)
    use(site.installation, new, now=NOW + KEYS_KEPT + LAG)

    assert kid(site.token()) == new


def test_too_early_has_the_time(site: Site) -> None:
    """The error about a step that is too early has the time to wait until, and the option to skip the wait."""
    new = add(site.installation, "alias/B", now=NOW)
    with pytest.raises(TooEarly, match=r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ; wait, or use --now"):
        use(site.installation, new, now=NOW)

    assert site.accounts.signer() is None


def test_at_once(site: Site) -> None:
    """Without waiting a leaked key is replaced, and its tokens are refused, at once."""
    old = signing(site)
    token = site.token()
    new = add(site.installation, "alias/B")
    use(site.installation, new, wait=False)
    retire(site.installation, old, wait=False)

    assert not site.accepts(token)
    assert site.accepts(site.token())


@pytest.mark.parametrize("wait", [True, False])
def test_the_signing_key_cannot_be_retired(site: Site, *, wait: bool) -> None:
    """The signing key cannot be retired, not even with --now, because then no token would be accepted."""
    key = signing(site)
    with pytest.raises(TooEarly, match="is the signing key; first make another key the signing key"):
        retire(site.installation, key, wait=wait, now=NOW + timedelta(days=9))

    assert site.accepts(site.token())


def test_back_again(site: Site) -> None:
    """A key that became the signing key again can be retired only after its last tokens have expired."""
    first = signing(site, at=NOW - timedelta(days=1))
    second = add(site.installation, "alias/B", now=NOW - timedelta(days=1))
    use(site.installation, second, now=NOW - timedelta(hours=20))
    use(site.installation, first, now=NOW - timedelta(hours=10))
    with pytest.raises(TooEarly):
        retire(site.installation, first, now=NOW)
    use(site.installation, second, now=NOW)

    with pytest.raises(TooEarly):
        retire(site.installation, first, now=NOW + VALID)
    retire(site.installation, first, now=NOW + VALID + LAG + LEEWAY)
    assert first not in site.published


def test_used_twice(site: Site) -> None:
    """Making the signing key the signing key again changes nothing."""
    key = signing(site)
    use(site.installation, key, now=NOW + timedelta(hours=1))

    assert site.accounts.signing_key_records()[key].signed_until is None
    assert kid(site.token()) == key


def test_a_key_that_never_signed(site: Site) -> None:
    """A key that never signed can be retired at any time."""
    key = add(site.installation, "alias/B", now=NOW)
    retire(site.installation, key, now=NOW)

    assert site.published == {site.installation.key.key_id}


def test_added_twice(site: Site) -> None:
    """Adding a key again does not change its date, nor whether it is the signing key."""
    key = signing(site, at=NOW - timedelta(days=1))
    before = site.accounts.signing_key_records()

    assert add(site.installation, "alias/A", now=NOW) == key
    assert site.accounts.signing_key_records() == before


def test_public_parts_only(site: Site) -> None:
    """Only the public part of a key is published, under its thumbprint."""
    key = add(site.installation, "alias/A")
    jwk = site.accounts.signing_keys()[key]

    assert set(jwk) == {"kty", "crv", "x", "y"}
    assert (len(key), jwk["crv"]) == (64, "P-256")


def test_other_kinds_of_keys(site: Site) -> None:
    """A key that is not a P-256 key is refused."""
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    odd = Installation(Memory(), lambda *_: {"PublicKey": der}, site.installation.development_key, ISSUER, AUDIENCE)

    with pytest.raises(NoSuchKey, match="is not a P-256 key"):
        add(odd, "alias/R")
    assert Accounts(odd.accounts).signing_keys() == {}


def test_no_key_in_kms(site: Site) -> None:
    """A key that KMS does not have is refused, and the message names those of the stack."""

    def refuse(*_: Any) -> Any:
        raise CallRefused("GetPublicKey", "NotFoundException")

    with pytest.raises(
        NoSuchKey, match=r"NotFoundException.*the stack's keys are alias/ordering-SigningKeyA and alias/"
    ):
        add(replace(site.installation, kms=refuse), "alias/Nope")


@pytest.mark.parametrize("step", [use, retire])
@pytest.mark.parametrize("wait", [True, False])
def test_unknown_keys(site: Site, step: Callable[..., None], *, wait: bool) -> None:
    """A key that was not added cannot become the signing key, nor be retired."""
    with pytest.raises(NoSuchKey, match="there is no key nothing"):
        step(site.installation, "nothing", wait=wait)


@pytest.mark.parametrize("wait", [True, False])
def test_the_development_key_is_kept(site: Site, *, wait: bool) -> None:
    """The development key cannot become the signing key, and a replacement does not affect it or its tokens."""
    development = site.installation.key.key_id
    claims = Claims("token-1", "northwind", "user-1", NOW + timedelta(days=30), None)
    token = site.installation.signer.issue(claims)
    old = signing(site)
    new = add(site.installation, "alias/B")
    use(site.installation, new, wait=False)
    retire(site.installation, old, wait=False)

    with pytest.raises(NoSuchKey, match="not in KMS"):
        use(site.installation, development, wait=wait, now=NOW + timedelta(days=1))
    assert site.published == {development, new}
    assert site.accepts(token)


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `ordering key`; returns the exit code, the output and the errors."""
    monkeypatch.setattr(commands, "reopen", lambda _: site.installation)

    def key(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["key", *arguments])
        return code, *capsys.readouterr()

    return key


def test_the_commands(site: Site, run: Any) -> None:
    """A key is added, made the signing key, listed as such, and retired by its id."""
    code, output, _ = run("add", "--kms", "alias/A", *WHY)
    key = output.strip()

    assert (code, key in site.published) == (0, True)
    assert run("use", key, "--now", *WHY) == (0, f"{key} signs within 30 seconds\n", "")
    listed = run("list")[1].splitlines()
    assert listed[listed.index(key) + 1].split()[0] == "signs"
    assert listed[listed.index(key) + 1].endswith("Z  alias/A")
    assert listed[listed.index(site.installation.key.key_id) + 1].endswith("Z  development key")
    other = run("add", "--kms", "alias/B", *WHY)[1].strip()
    assert run("use", other, "--now", *WHY)[0] == run("retire", key, "--now", *WHY)[0] == 0
    assert site.published == {site.installation.key.key_id, other}
    assert {one["key"]: one["state"] for one in json.loads(run("list", "--json")[1])} == {
        site.installation.key.key_id: "accepted",
        other: "signs",
    }
    noted = [*entries(site.installation.accounts, f"{datetime.now(UTC):%Y-%m}")]
    assert [one.action for one in noted] == ["key add", "key use", "key add", "key use", "key retire"]
    assert (noted[3].before, noted[3].after, noted[3].reason) == ({"signs": key}, {"signs": other}, "ticket 17")


def test_the_commands_refuse(run: Any) -> None:
    """Errors are printed to stderr, and the exit code is 1."""
    key = run("add", "--kms", "alias/A", *WHY)[1].strip()

    assert [run(*arguments, *WHY)[:2] for arguments in (("use", key), ("use", "x"), ("retire", "x"))] == [(1, "")] * 3
    assert "wait, or use --now" in run("use", key, *WHY)[2]


def test_the_development_key_signs_the_demo(site: Site, run: Any) -> None:
    """The local run's development key is retired only with --now: the tokens that the run printed are signed by it."""
    key = site.installation.key.key_id

    assert "is the local run's development key" in run("retire", key, *WHY)[2]
    assert key in site.published
    assert run("retire", key, "--now", *WHY)[0] == 0
    assert key not in site.published


def test_a_key_of_long_tokens(site: Site) -> None:
    """A key stays until the last of the tokens has expired that operators signed with it."""
    key = signing(site, at=NOW - timedelta(days=9))
    new = add(site.installation, "alias/B", now=NOW - timedelta(days=9))
    use(site.installation, new, now=NOW - timedelta(days=8))
    for name, days in (("long", 90), ("short", 1)):
        site.accounts.save_token(TokenRecord(name, "northwind", "user-1", key, NOW, NOW + timedelta(days=days)))

    with pytest.raises(TooEarly, match=f"valid until {NOW + timedelta(days=90) + LEEWAY:%Y-%m-%d %H:%M:%S}Z"):
        retire(site.installation, key, now=NOW + timedelta(days=90))
    retire(site.installation, key, now=NOW + timedelta(days=90) + LEEWAY)
    assert key not in site.published


def test_a_token_of_a_key_that_is_gone(site: Site) -> None:
    """A token is not recorded, and so not issued, if its key is not accepted."""
    with pytest.raises(LookupError):
        site.accounts.save_token(TokenRecord("t", "northwind", "user-1", "gone", NOW, NOW + timedelta(days=1)))
    assert site.accounts.tokens("northwind") == []


def test_retiring_is_asked_for(site: Site, run: Any) -> None:
    """Without --yes, and without a terminal to ask at, a key stays."""
    key = run("add", "--kms", "alias/A", *WHY)[1].strip()

    assert "agree to it with --yes" in run("retire", key, "--reason", "x")[2]
    assert key in site.published


@pytest.mark.parametrize("error", [NoInstallation("start it with `make serve`"), Unavailable()])
def test_not_running(run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """If the local run is not running, every command explains how to start it."""

    def reopen(_: Path) -> Installation:
        raise error

    monkeypatch.setattr(commands, "reopen", reopen)

    for arguments in (("list",), ("add", "--kms", "x", *WHY), ("use", "x", *WHY), ("retire", "x", *WHY)):
        code, output, errors = run(*arguments)
        assert (code, output, "make serve" in errors) == (1, "", True)
