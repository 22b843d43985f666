"""The token endpoint: which key signs, what a token contains, and what a warm process caches."""

from __future__ import annotations

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
from ordering.identity.verifier import KeyRing, Verifier
from ordering.values import replace
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
def endpoint(recorder: Recorder, seconds: Seconds) -> TokenEndpoint:
    """A token endpoint in a warm process, without a signing key."""
    table = Table(recorder, "AccountsTable", patience=0.05)
    return TokenEndpoint(Accounts(table), Clients(table), MemoryKms(), ISSUER, AUDIENCE, KeyCache(seconds))


def sign_with(endpoint: TokenEndpoint, name: str) -> None:
    endpoint.accounts.save_signing_key(name, {"kty": "EC"}, kms_id=f"alias/{name}")
    endpoint.accounts.set_signer(name, f"alias/{name}")


def signer_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def test_issued(endpoint: TokenEndpoint) -> None:
    """A token has the client's partner, user and requested scope, and is signed by the current signer."""
    sign_with(endpoint, "A")
    token = endpoint.issue(GRANITE, frozenset({"ecards"}))
    claims = jwt.decode(token, options={"verify_signature": False})

    assert signer_of(token) == "A"
    assert [claims[name] for name in ("iss", "aud", "client_id", "partner", "sub", "scope")] == [
        ISSUER,
        AUDIENCE,
        "granite",
        "granite-rewards",
        "user-1",
        "ecards",
    ]
    assert "business_units" not in claims


def test_good_for_an_hour(endpoint: TokenEndpoint) -> None:
    """A token is valid for an hour from its issue."""
    sign_with(endpoint, "A")
    watch = Watch(datetime(2026, 1, 1, tzinfo=UTC))
    claims = jwt.decode(replace(endpoint, now=watch).issue(GRANITE, GRANITE.scope), options={"verify_signature": False})

    began = int(watch.time.timestamp())
    assert timedelta(hours=1) == VALID
    assert [claims[name] - began for name in ("iat", "nbf", "exp")] == [0, 0, 3600]


def test_verified(endpoint: TokenEndpoint) -> None:
    """An issued token is accepted by a verifier that knows the endpoint's keys."""
    public = load_der_public_key(endpoint.kms("GetPublicKey", {"KeyId": "alias/A"})["PublicKey"])
    assert isinstance(public, ec.EllipticCurvePublicKey)
    key_id, jwk = jwk_of(public)
    endpoint.accounts.save_signing_key(key_id, jwk, kms_id="alias/A")
    endpoint.accounts.set_signer(key_id, "alias/A")
    claims = Verifier(KeyRing(endpoint.keys), ISSUER, AUDIENCE).verify(endpoint.issue(GRANITE, GRANITE.scope))

    assert (claims.client, claims.partner, claims.user, claims.scope, claims.business_units) == (
        "granite",
        "granite-rewards",
        "user-1",
        GRANITE.scope,
        None,
    )


def test_no_signer(endpoint: TokenEndpoint) -> None:
    """Without a signing key no token is issued."""
    with pytest.raises(NoSigner):
        endpoint.issue(GRANITE, GRANITE.scope)


def test_no_kms(endpoint: TokenEndpoint) -> None:
    """If KMS does not answer, no token is issued."""
    sign_with(endpoint, "A")

    with pytest.raises(Unavailable):
        replace(endpoint, kms=unavailable).issue(GRANITE, GRANITE.scope)


def test_authenticate(endpoint: TokenEndpoint) -> None:
    """A client authenticates with its secret and with no other."""
    secret = endpoint.clients.add(GRANITE)
    with pytest.raises(ClientRefused):
        endpoint.authenticate("granite", "wrong", "192.0.2.1")

    assert replace(endpoint.authenticate("granite", secret, "192.0.2.1"), tokens_not_before=None) == GRANITE


def test_the_signer_is_looked_up_every_so_often(endpoint: TokenEndpoint, recorder: Recorder, seconds: Seconds) -> None:
    """A warm process reads the signer again after thirty seconds, and not before."""
    sign_with(endpoint, "A")
    first = endpoint.issue(GRANITE, GRANITE.scope)
    sign_with(endpoint, "B")
    recorder.calls.clear()
    seconds.now += LOOKED_UP_EVERY - 0.001
    warm, asked = endpoint.issue(GRANITE, GRANITE.scope), list(recorder.operations)
    seconds.now += 0.001

    assert [signer_of(first), signer_of(warm), asked] == ["A", "A", []]
    assert signer_of(endpoint.issue(GRANITE, GRANITE.scope)) == "B"


def test_keys_are_looked_up_every_so_often(endpoint: TokenEndpoint, recorder: Recorder, seconds: Seconds) -> None:
    """A warm process reads the published keys again after thirty seconds, and not before."""
    endpoint.accounts.save_signing_key("A", {"kty": "EC"})
    first = endpoint.keys()
    endpoint.accounts.save_signing_key("B", {"kty": "EC"})
    recorder.calls.clear()
    seconds.now += LOOKED_UP_EVERY - 0.001
    warm, asked = endpoint.keys(), list(recorder.operations)
    seconds.now += 0.001

    assert [list(first), list(warm), asked, list(endpoint.keys())] == [["A"], ["A"], [], ["A", "B"]]


def test_a_missing_signer_is_cached(endpoint: TokenEndpoint, recorder: Recorder) -> None:
    """The absence of a signer is cached like any other answer."""
    for _ in range(2):
        with pytest.raises(NoSigner):
            endpoint.issue(GRANITE, GRANITE.scope)

    assert recorder.operations == ["GetItem"]


def test_a_failure_is_not_remembered(endpoint: TokenEndpoint, recorder: Recorder) -> None:
    """A failure to read the keys is not cached."""
    endpoint.accounts.save_signing_key("A", {"kty": "EC"})
    cut = Table(failing(NoAnswer("cut"), recorder), "AccountsTable", patience=0.0)
    with pytest.raises(Unavailable):
        replace(endpoint, accounts=Accounts(cut)).keys()

    assert list(endpoint.keys()) == ["A"]


def test_how_long_keys_may_be_kept() -> None:
    """Callers may cache keys for five minutes, longer than a warm process does."""
    assert KEYS_KEPT.total_seconds() == 300 > LOOKED_UP_EVERY
