"""Where clients get their tokens: which key signs, what a token says, and what a warm process remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import NoAnswer, Table
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client, ClientRefused, Clients
from ordering.identity.token_endpoint import (
    KEYS_KEPT,
    LOOKED_UP_EVERY,
    VALID,
    KeyCache,
    NoSigner,
    TokenEndpoint,
)
from ordering.identity.tokens import KeyRing, Verifier
from ordering_tools.operations.signing import jwk_of
from support.aws.fake_connections import Recorder, failing
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.deals import Watch

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
GRANITE = Client("granite", "granite-rewards", "user-1", frozenset({"ecards", "deals"}))


class Seconds:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    """The monotonic clock."""
    return Seconds()


@pytest.fixture
def recorder() -> Recorder:
    """The connection to the table."""
    return Recorder(Memory())


@pytest.fixture
def desk(recorder: Recorder, seconds: Seconds) -> TokenEndpoint:
    """A desk in a warm process; no key signs yet."""
    table = Table(recorder, "AccountsTable", patience=0.05)
    return TokenEndpoint(Accounts(table), Clients(table), MemoryKms(), ISSUER, AUDIENCE, KeyCache(seconds))


def sign_with(desk: TokenEndpoint, name: str) -> None:
    desk.accounts.save_signing_key(name, {"kty": "EC"}, kms_id=f"alias/{name}")
    desk.accounts.set_signer(name, f"alias/{name}")


def signer_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def test_issued(desk: TokenEndpoint) -> None:
    """A token is for the client's partner and user, covers what was asked for, and is signed by the key that signs."""
    sign_with(desk, "A")
    token = desk.issue(GRANITE, frozenset({"ecards"}))
    claims = jwt.decode(token, options={"verify_signature": False})

    assert signer_of(token) == "A"
    assert [claims[name] for name in ("iss", "aud", "client_id", "sub", "scope")] == [
        ISSUER,
        AUDIENCE,
        "granite-rewards",
        "user-1",
        "ecards",
    ]
    assert "business_units" not in claims


def test_good_for_an_hour(desk: TokenEndpoint) -> None:
    """A token is good for an hour from the moment of its issue."""
    sign_with(desk, "A")
    watch = Watch(datetime(2026, 1, 1, tzinfo=UTC))
    claims = jwt.decode(replace(desk, now=watch).issue(GRANITE, GRANITE.scope), options={"verify_signature": False})

    began = int(watch.time.timestamp())
    assert timedelta(hours=1) == VALID
    assert [claims[name] - began for name in ("iat", "nbf", "exp")] == [0, 0, 3600]


def test_verified(desk: TokenEndpoint) -> None:
    """What is issued is accepted by a verifier that knows the desk's keys."""
    public = load_der_public_key(desk.kms("GetPublicKey", {"KeyId": "alias/A"})["PublicKey"])
    assert isinstance(public, ec.EllipticCurvePublicKey)
    key_id, jwk = jwk_of(public)
    desk.accounts.save_signing_key(key_id, jwk, kms_id="alias/A")
    desk.accounts.set_signer(key_id, "alias/A")
    claims = Verifier(KeyRing(desk.keys), ISSUER, AUDIENCE).verify(desk.issue(GRANITE, GRANITE.scope))

    assert (claims.partner, claims.user, claims.scope, claims.business_units) == (
        "granite-rewards",
        "user-1",
        GRANITE.scope,
        None,
    )


def test_no_signer(desk: TokenEndpoint) -> None:
    """Where no key signs there are no tokens."""
    with pytest.raises(NoSigner):
        desk.issue(GRANITE, GRANITE.scope)


def test_no_kms(desk: TokenEndpoint) -> None:
    """Nor are there where KMS does not answer."""
    sign_with(desk, "A")

    with pytest.raises(Unavailable):
        replace(desk, kms=unavailable).issue(GRANITE, GRANITE.scope)


def test_authenticate(desk: TokenEndpoint) -> None:
    """A client is who its secret says, and nobody without."""
    secret = desk.clients.add(GRANITE)
    with pytest.raises(ClientRefused):
        desk.authenticate("granite", "wrong", "192.0.2.1")

    assert desk.authenticate("granite", secret, "192.0.2.1") == GRANITE


def test_the_signer_is_looked_up_every_so_often(desk: TokenEndpoint, recorder: Recorder, seconds: Seconds) -> None:
    """A warm process signs with another key within thirty seconds of its being made the signer, and asks no sooner."""
    sign_with(desk, "A")
    first = desk.issue(GRANITE, GRANITE.scope)
    sign_with(desk, "B")
    recorder.calls.clear()
    seconds.now += LOOKED_UP_EVERY - 0.001
    warm, asked = desk.issue(GRANITE, GRANITE.scope), list(recorder.operations)
    seconds.now += 0.001

    assert [signer_of(first), signer_of(warm), asked] == ["A", "A", []]
    assert signer_of(desk.issue(GRANITE, GRANITE.scope)) == "B"


def test_keys_are_looked_up_every_so_often(desk: TokenEndpoint, recorder: Recorder, seconds: Seconds) -> None:
    """The published keys are read anew after thirty seconds, and no sooner."""
    desk.accounts.save_signing_key("A", {"kty": "EC"})
    first = desk.keys()
    desk.accounts.save_signing_key("B", {"kty": "EC"})
    recorder.calls.clear()
    seconds.now += LOOKED_UP_EVERY - 0.001
    warm, asked = desk.keys(), list(recorder.operations)
    seconds.now += 0.001

    assert [list(first), list(warm), asked, list(desk.keys())] == [["A"], ["A"], [], ["A", "B"]]


def test_that_there_is_no_signer_is_not_forgotten_at_once(desk: TokenEndpoint, recorder: Recorder) -> None:
    """That no key signs is remembered like any other answer."""
    for _ in range(2):
        with pytest.raises(NoSigner):
            desk.issue(GRANITE, GRANITE.scope)

    assert recorder.operations == ["GetItem"]


def test_a_failure_is_not_remembered(desk: TokenEndpoint, recorder: Recorder) -> None:
    """Where the keys could not be read, the next request reads them."""
    desk.accounts.save_signing_key("A", {"kty": "EC"})
    cut = Table(failing(NoAnswer("cut"), recorder), "AccountsTable", patience=0.0)
    with pytest.raises(Unavailable):
        replace(desk, accounts=Accounts(cut)).keys()

    assert list(desk.keys()) == ["A"]


def test_how_long_keys_may_be_kept() -> None:
    """Keys may be kept for five minutes, which is more than a warm process keeps them."""
    assert KEYS_KEPT.total_seconds() == 300 > LOOKED_UP_EVERY
