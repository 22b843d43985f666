"""`ordering key`: a signing key is replaced without an outage, and never too early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client, Clients
from ordering.identity.token_endpoint import KEYS_KEPT, LOOKED_UP_EVERY, VALID, KeyCache, TokenEndpoint
from ordering.identity.tokens import LEEWAY, Claims, KeyRing, TokenRefused, Verifier
from ordering_tools import cli
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


@dataclass
class Site:
    """An installation, its token endpoint and its verifier."""

    installation: Installation

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    @property
    def published(self) -> set[str]:
        return set(self.desk().keys())

    def desk(self, at: datetime | None = None, cache: KeyCache | None = None) -> TokenEndpoint:
        """Make the endpoint of a process, a new one unless told what it remembers."""
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
        return self.desk(at).issue(GRANITE, GRANITE.scope)

    def accepts(self, token: str) -> bool:
        try:
            Verifier(KeyRing(self.accounts.signing_keys), ISSUER, AUDIENCE).verify(token)
        except TokenRefused:
            return False
        return True


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An installation whose development key is accepted, as `make serve` leaves it."""
    installation = Installation(Memory(), MemoryKms(), development_key(tmp_path), ISSUER, AUDIENCE)
    Accounts(installation.accounts).save_signing_key(installation.key.key_id, installation.key.public_jwk)
    return Site(installation)


def kid(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def signing(site: Site, name: str = "alias/A", at: datetime = NOW) -> str:
    """Have a key sign, and return its id."""
    key_id = add(site.installation, name, now=at)
    use(site.installation, key_id, wait=False, now=at)
    return key_id


def test_without_an_outage(site: Site) -> None:
    """While one key replaces another each token is accepted until it ends, and each step that is too early refused."""
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


def test_retired_when_the_last_token_has_ended(site: Site) -> None:
    """The old key is retired no earlier than the last token can end that a warm process signed with it."""
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


def test_used_when_nobody_can_keep_the_old_keys(site: Site) -> None:
    """A key signs no earlier than everybody knows it who was told the old keys, also by a process that kept them."""
    signing(site, at=NOW)
    new = add(site.installation, "alias/B", now=NOW)

    with pytest.raises(TooEarly):
        use(site.installation, new, now=NOW + KEYS_KEPT + LAG - SECOND)


def test_used_after_a_while(site: Site) -> None:
    """A key that has been published long enough signs from then on."""
    signing(site, at=NOW)
    new = add(site.installation, "alias/B", now=NOW)
    use(site.installation, new, now=NOW + KEYS_KEPT + LAG)

    assert kid(site.token()) == new


def test_too_early_says_until_when(site: Site) -> None:
    """Who comes too early is told until when, and what to say to come all the same."""
    new = add(site.installation, "alias/B", now=NOW)
    with pytest.raises(TooEarly, match=r"until \d\d:\d\d:\d\dZ; wait, or use --now"):
        use(site.installation, new, now=NOW)

    assert site.accounts.signer() is None


def test_at_once(site: Site) -> None:
    """Who says so need not wait: a key that got out is replaced and refused at once."""
    old = signing(site)
    token = site.token()
    new = add(site.installation, "alias/B")
    use(site.installation, new, wait=False)
    retire(site.installation, old, wait=False)

    assert not site.accepts(token)
    assert site.accepts(site.token())


@pytest.mark.parametrize("wait", [True, False])
def test_the_signer_is_never_retired(site: Site, *, wait: bool) -> None:
    """The key that signs cannot be retired, not even at once: nothing would be accepted."""
    key = signing(site)
    with pytest.raises(TooEarly, match="is the signing key; first make another key the signing key"):
        retire(site.installation, key, wait=wait, now=NOW + timedelta(days=9))

    assert site.accepts(site.token())


def test_back_again(site: Site) -> None:
    """A key that signs again cannot be retired, nor, after that, before what it signed since has ended."""
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
    """Making the signer the signer changes nothing."""
    key = signing(site)
    use(site.installation, key, now=NOW + timedelta(hours=1))

    assert site.accounts.signing_key_records()[key].signed_until is None
    assert kid(site.token()) == key


def test_a_key_that_never_signed(site: Site) -> None:
    """A key that never signed may be retired at any time."""
    key = add(site.installation, "alias/B", now=NOW)
    retire(site.installation, key, now=NOW)

    assert site.published == {site.installation.key.key_id}


def test_added_twice(site: Site) -> None:
    """Adding a key again changes nothing, neither since when it is published nor whether it signs."""
    key = signing(site, at=NOW - timedelta(days=1))
    before = site.accounts.signing_key_records()

    assert add(site.installation, "alias/A", now=NOW) == key
    assert site.accounts.signing_key_records() == before


def test_public_parts_only(site: Site) -> None:
    """What is published of a key is its public part, by its thumbprint."""
    key = add(site.installation, "alias/A")
    jwk = site.accounts.signing_keys()[key]

    assert set(jwk) == {"kty", "crv", "x", "y"}
    assert (len(key), jwk["crv"]) == (64, "P-256")


def test_no_p_256(site: Site) -> None:
    """A key of another kind is not added."""
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    odd = Installation(Memory(), lambda *_: {"PublicKey": der}, site.installation.key, ISSUER, AUDIENCE)

    with pytest.raises(NoSuchKey, match="is not a P-256 key"):
        add(odd, "alias/R")
    assert Accounts(odd.accounts).signing_keys() == {}


@pytest.mark.parametrize("step", [use, retire])
@pytest.mark.parametrize("wait", [True, False])
def test_unknown_keys(site: Site, step: Callable[..., None], *, wait: bool) -> None:
    """A key that was not added can neither sign nor be retired."""
    with pytest.raises(NoSuchKey, match="there is no key nothing"):
        step(site.installation, "nothing", wait=wait)


@pytest.mark.parametrize("wait", [True, False])
def test_the_development_key_is_kept(site: Site, *, wait: bool) -> None:
    """The development key never signs clients' tokens, and a rotation leaves it and what it signed as they were."""
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
    """Runs `ordering key`; returns the exit code and what it wrote."""
    monkeypatch.setattr(commands, "reopen", lambda _: site.installation)

    def key(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["key", *arguments])
        return code, *capsys.readouterr()

    return key


def test_the_commands(site: Site, run: Any) -> None:
    """A key is added, made the signer, shown as that, and retired by its id."""
    code, told, _ = run("add", "--kms", "alias/A")
    key = told.strip()

    assert (code, key in site.published) == (0, True)
    assert run("use", key, "--now") == (0, "", "")
    lines = run("list")[1].splitlines()
    assert [line.split()[1:] for line in lines if line.startswith(key)] == [["alias/A", "signs"]]
    assert [" ".join(line.split()[1:3]) for line in lines if not line.startswith(key)] == ["development key"]
    other = run("add", "--kms", "alias/B")[1].strip()
    assert run("use", other, "--now")[0] == run("retire", key, "--now")[0] == 0
    assert site.published == {site.installation.key.key_id, other}


def test_the_commands_refuse(run: Any) -> None:
    """What is refused is said on the error stream, with exit code 1."""
    key = run("add", "--kms", "alias/A")[1].strip()

    assert [run(*arguments)[:2] for arguments in (("use", key), ("use", "x"), ("retire", "x"))] == [(1, "")] * 3
    assert "wait, or use --now" in run("use", key)[2]


@pytest.mark.parametrize("error", [NoInstallation("start it with `make serve`"), Unavailable()])
def test_not_running(run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Where nothing runs, the commands say how to start it."""

    def reopen(_: Path) -> Installation:
        raise error

    monkeypatch.setattr(commands, "reopen", reopen)

    for arguments in (("list",), ("add", "--kms", "x"), ("use", "x"), ("retire", "x")):
        code, told, wrong = run(*arguments)
        assert (code, told, "make serve" in wrong) == (1, "", True)
