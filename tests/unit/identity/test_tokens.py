"""Which tokens the verifier accepts, and every kind it refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from ordering.identifiers import is_plain_id
from ordering.identity import verifier as verifying
from ordering.identity.tokens import Claims, PrivateKey, Signer, TokenRefused
from ordering.identity.verifier import LONGEST, REQUIRED, KeyRing, Verifier
from ordering.values import replace

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
LEFT_OUT = object()
EXPIRES = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
CLAIMS = Claims("token-1", "northwind", "user-1", EXPIRES, None)


@dataclass(frozen=True)
class Pair:
    """A private key and its public part, as JWK and as PEM text."""

    private: str
    jwk: dict[str, Any]
    public: bytes


@cache
def ec_pair(name: str) -> Pair:  # noqa: ARG001 - a pair for each name
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_pem(key), ECAlgorithm.to_jwk(key.public_key(), as_dict=True), _public(key))


@cache
def rsa_pair() -> Pair:
    key = rsa.generate_private_key(65_537, 2_048)
    return Pair(_pem(key), RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), _public(key))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def verifier() -> Verifier:
    keys = {"ec": ec_pair("a").jwk, "rsa": rsa_pair().jwk}
    return Verifier(KeyRing(lambda: keys), ISSUER, AUDIENCE)


def unissued(claims: Claims) -> Claims:
    """The claims as they were before the token was issued."""
    return replace(claims, issued=None)


def signer(now: datetime | None = None) -> Signer:
    moment = now or datetime.now(UTC)
    return Signer(PrivateKey("ec", ec_pair("a").private, "ES256"), ISSUER, AUDIENCE, now=lambda: moment)


def payload(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    everything = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": EXPIRES,
        "nbf": now,
        "iat": now,
        "jti": "token-1",
        "sub": "user-1",
        "client_id": "northwind",
        **changes,
    }
    return {name: value for name, value in everything.items() if value is not LEFT_OUT}


def token(claims: dict[str, Any] | None = None, /, **header: Any) -> str:
    """Sign claims with a known key; header fields as given, or left out."""
    fields = {"typ": "at+jwt", "kid": "ec", "alg": "ES256", **header}
    return raw_token({n: v for n, v in fields.items() if v is not LEFT_OUT}, claims or payload())


def raw_token(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign any header with the EC key."""
    claims = {n: int(v.timestamp()) if isinstance(v, datetime) else v for n, v in claims.items()}
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_base64(_sign(signed))}"


def _sign(text: str) -> bytes:
    algorithm = ECAlgorithm(ECAlgorithm.SHA256)
    key = algorithm.prepare_key(ec_pair("a").private)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return algorithm.sign(text.encode(), key)


def _part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_part(index: int, change: Callable[[str], str]) -> str:
    parts = token().split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def hmac_token(key: bytes) -> str:
    signed = f"{_part({'typ': 'at+jwt', 'kid': 'ec', 'alg': 'HS256'})}.{_part(json_payload())}"
    return f"{signed}.{_base64(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def json_payload(**changes: Any) -> dict[str, Any]:
    return {n: int(v.timestamp()) if isinstance(v, datetime) else v for n, v in payload(**changes).items()}


def unsigned_token(algorithm: str) -> str:
    return f"{_part({'typ': 'at+jwt', 'kid': 'ec', 'alg': algorithm})}.{_part(json_payload())}."


def other_payload(part: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(part + "=="))
    return _part({**claims, "client_id": "tailspin"})


def token_with(claim: str, value: Any) -> str:
    return token(payload(**{claim: value}))


def in_(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


REFUSED: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned_token("none"),
    "alg None": lambda: unsigned_token("None"),
    "alg none, signed": lambda: token(alg="none"),
    "no alg": lambda: token(alg=LEFT_OUT),
    "alg is no text": lambda: token(alg=["ES256"]),
    "HS256 with the public key's text": lambda: hmac_token(ec_pair("a").public),
    "HS256 with the public key's JWK": lambda: hmac_token(json.dumps(ec_pair("a").jwk).encode()),
    "HS256 with nothing": lambda: hmac_token(b""),
    "RS256 by a key that is EC": lambda: jwt.encode(
        payload(), rsa_pair().private, "RS256", headers={"typ": "at+jwt", "kid": "ec"}
    ),
    "ES256 by a key that is RSA": lambda: token(kid="rsa"),
    "RS256 named, ES256 signed": lambda: token(alg="RS256"),
    "PS256": lambda: jwt.encode(payload(), rsa_pair().private, "PS256", headers={"typ": "at+jwt", "kid": "rsa"}),
    "RS512": lambda: jwt.encode(payload(), rsa_pair().private, "RS512", headers={"typ": "at+jwt", "kid": "rsa"}),
    "signed by another key": lambda: jwt.encode(
        payload(), ec_pair("b").private, "ES256", headers={"typ": "at+jwt", "kid": "ec"}
    ),
    "own key in the header": lambda: jwt.encode(
        payload(), ec_pair("b").private, "ES256", headers={"typ": "at+jwt", "kid": "ec", "jwk": ec_pair("b").jwk}
    ),
    "unknown kid": lambda: token(kid="other"),
    "no kid": lambda: token(kid=LEFT_OUT),
    "kid is no text": lambda: token(kid=1),
    "kid is null": lambda: token(kid=None),
    "kid is a list": lambda: token(kid=["ec"]),
    "typ JWT": lambda: token(typ="JWT"),
    "no typ": lambda: token(typ=LEFT_OUT),
    "typ null": lambda: token(typ=None),
    "typ of an ID token": lambda: token(typ="application/id+jwt"),
    "crit with an unknown name": lambda: token(crit=["x"], x=1),
    "crit with what is known": lambda: token(crit=["exp"], exp=1),
    "crit with b64": lambda: token(crit=["b64"], b64=True),
    "crit empty": lambda: token(crit=[]),
    "b64 false": lambda: token(b64=False),
    **{f"no {name}": partial(token_with, name, LEFT_OUT) for name in REQUIRED},
    **{f"{name} null": partial(token_with, name, None) for name in REQUIRED},
    "other issuer": lambda: token(payload(iss="https://evil.example")),
    "issuer with a slash more": lambda: token(payload(iss=ISSUER + "/")),
    "issuer a list": lambda: token(payload(iss=[ISSUER])),
    "other audience": lambda: token(payload(aud="https://other.example")),
    "audience a list": lambda: token(payload(aud=[AUDIENCE])),
    "audience a list of two": lambda: token(payload(aud=[AUDIENCE, "other"])),
    "audience begins alike": lambda: token(payload(aud=AUDIENCE + "/more")),
    "expired": lambda: token(payload(exp=in_(seconds=-60))),
    "expired a little longer than the leeway": lambda: token(payload(exp=in_(seconds=-12))),
    "expired in 1970": lambda: token(payload(exp=0)),
    "exp is text": lambda: token(payload(exp="soon")),
    "exp is a number as text": lambda: token(payload(exp=str(int(EXPIRES.timestamp())))),
    "exp in a year that there is not": lambda: token(payload(exp=10**18)),
    "exp infinite": lambda: token(payload(exp=float("inf"))),
    "exp true": lambda: token(payload(exp=True)),
    "not valid yet": lambda: token(payload(nbf=in_(seconds=60))),
    "nbf is text": lambda: token(payload(nbf="now")),
    "issued in the future": lambda: token(payload(iat=in_(seconds=60))),
    "iat is text": lambda: token(payload(iat="now")),
    "sub is a number": lambda: token(payload(sub=1)),
    "sub is empty": lambda: token(payload(sub="")),
    "jti is a number": lambda: token(payload(jti=1)),
    "jti is empty": lambda: token(payload(jti="")),
    "client_id is a number": lambda: token(payload(client_id=1)),
    "client_id is empty": lambda: token(payload(client_id="")),
    "business_units is text": lambda: token(payload(business_units="unit")),
    "business_units is empty text": lambda: token(payload(business_units="")),
    "business_units is a number": lambda: token(payload(business_units=5)),
    "business_units is 0": lambda: token(payload(business_units=0)),
    "business_units is true": lambda: token(payload(business_units=True)),
    "business_units is false": lambda: token(payload(business_units=False)),
    "business_units is an object": lambda: token(payload(business_units={"unit": 1})),
    "business_units has a number": lambda: token(payload(business_units=["unit", 1])),
    "business_units has a list": lambda: token(payload(business_units=[["unit"]])),
    "business_units has null": lambda: token(payload(business_units=[None])),
    "payload tampered with": lambda: with_part(1, other_payload),
    "header tampered with": lambda: with_part(
        0, lambda _: _part({"typ": "at+jwt", "kid": "ec", "alg": "ES256", "x": 1})
    ),
    "signature tampered with": lambda: with_part(2, lambda part: ("B" if part[0] == "A" else "A") + part[1:]),
    "signature cut off": lambda: with_part(2, lambda part: part[:-4]),
    "no signature": lambda: with_part(2, lambda _: ""),
    "signature of zeros": lambda: with_part(2, lambda _: _base64(bytes(64))),
    "signature in DER": lambda: with_part(2, lambda _: _base64(bytes.fromhex("3006020101020101"))),
    "too long": lambda: token(payload(more="x" * LONGEST)),
    "garbage": lambda: "garbage",
    "empty": lambda: "",
    "two parts": lambda: token().rpartition(".")[0],
    "four parts": lambda: token() + ".x",
    "five parts": lambda: "a.b.c.d.e",
    "no base64": lambda: with_part(0, lambda _: "***"),
    "header no JSON": lambda: with_part(0, lambda _: _base64(b"{")),
    "header a list": lambda: with_part(0, lambda _: _part([])),
    "header null": lambda: with_part(0, lambda _: _part(None)),
    "header no UTF-8": lambda: with_part(0, lambda _: _base64(b"\xff")),
    "header nested deeply": lambda: with_part(0, lambda _: _base64(b"[" * 5_000)),
    "header with a long number": lambda: with_part(0, lambda _: _base64(b'{"a":' + b"1" * 5_000 + b"}")),
    "iat infinite": lambda: token(payload(iat=float("inf"))),
    "iat not a number": lambda: token(payload(iat=float("nan"))),
    "nbf infinite": lambda: token(payload(nbf=float("inf"))),
    "nbf negative": lambda: token(payload(nbf=float("-inf"))),
    "payload nested deeply": lambda: raw_token_of(b'{"a":' * 1_300 + b"1" + b"}" * 1_300),
    "jti too long": lambda: token(payload(jti="x" * 129)),
    "jti with a space": lambda: token(payload(jti="a b")),
    "client_id too long": lambda: token(payload(client_id="x" * 3_000)),
    "client_id of half a character": lambda: token(payload(client_id="\ud800")),
    "client_id with a number sign": lambda: token(payload(client_id="a#b")),
    "sub with a line break": lambda: token(payload(sub="user-1\n")),
    "partner is a number": lambda: token(payload(partner=1)),
    "partner is null": lambda: token(payload(partner=None)),
    "partner is empty": lambda: token(payload(partner="")),
    "partner too long": lambda: token(payload(partner="x" * 3_000)),
    "business_units has a unit too long": lambda: token(payload(business_units=["x" * 3_000])),
    "payload a list": lambda: raw_token_of(b"[]"),
    "payload no JSON": lambda: raw_token_of(b"{"),
    "not ASCII": lambda: "ü" + token(),
    "line break": lambda: token() + "\n",
}


def raw_token_of(claims: bytes) -> str:
    signed = f"{_part({'typ': 'at+jwt', 'kid': 'ec', 'alg': 'ES256'})}.{_base64(claims)}"
    return f"{signed}.{_base64(_sign(signed))}"


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_refused(make: Callable[[], str]) -> None:
    """A malformed or unsuitable token is refused."""
    with pytest.raises(TokenRefused):
        verifier().verify(make())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from([*REQUIRED, "partner", "business_units", "scope"]), value=ANYTHING)
def test_any_claim_is_accepted_or_refused(name: str, value: Any) -> None:
    """Whatever a signed token claims, it is accepted with plain ids, or refused: nothing else is raised."""
    with suppress(TokenRefused):
        claims = verifier().verify(token(payload(**{name: value})))
        ids = [claims.token_id, claims.partner, claims.user, *(claims.business_units or ())]
        assert all(map(is_plain_id, ids))


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(["typ", "kid", "alg", "crit", "b64", "zip", "enc"]), value=ANYTHING)
def test_any_header_is_accepted_or_refused(name: str, value: Any) -> None:
    """Whatever a token's header contains, the token is accepted or refused: nothing else is raised."""
    with suppress(TokenRefused):
        verifier().verify(token(**{name: value}))


@settings(max_examples=150, deadline=None)
@given(header=st.binary(max_size=60), rest=st.text(alphabet="ab.=-_", max_size=12))
def test_any_text_is_refused(header: bytes, rest: str) -> None:
    """Whatever text is sent as a token, it is refused: nothing else is raised."""
    with pytest.raises(TokenRefused):
        verifier().verify(f"{_base64(header)}.{rest}")


def outcome(sent: str) -> Claims | str:
    """The claims of a token, or why it is refused."""
    try:
        return verifier().verify(sent)
    except TokenRefused as refusal:
        return refusal.reason


ALIKE = {
    "as it is": str,
    "padding": lambda part: part + "=" * (-len(part) % 4),
    "padding too long": lambda part: part + "=" * (-len(part) % 4 + 1),
    "padding of three": lambda part: part + "===",
    "other last bits": lambda part: part[:-1] + chr(ord(part[-1]) + 1),
    "one character less": lambda part: part[:-1],
    "alphabet of base64": lambda part: part[:-4] + "+/+/",
    "a space": lambda part: f"{part[:4]} {part[4:]}",
    "a line break": lambda part: f"{part}\n",
    "characters that decoding skips": lambda part: f"{part[:4]}!!!!{part[4:]}",
    "another script": lambda part: f"{part[:4]}é{part[4:]}",
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("number", range(3), ids=["header", "claims", "signature"])
@pytest.mark.parametrize("change", ALIKE.values(), ids=ALIKE)
def test_base64_is_what_pyjwt_takes(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], number: int) -> None:
    """Each way to write a part of a token is accepted, or refused for the same reason, as by PyJWT's own check."""
    sent = with_part(number, change)
    ours = outcome(sent)
    monkeypatch.setattr(verifying, "_jwt", jwt.PyJWT())

    assert ours == outcome(sent)


@settings(max_examples=300, deadline=None)
@given(segment=st.binary(max_size=12) | st.text(alphabet="abAB01-_=+/", max_size=12).map(str.encode))
def test_base64_of_any_bytes(segment: bytes) -> None:
    """A part of a token is read as by PyJWT's own check, whatever its bytes."""

    def read(signed: type[jwt.PyJWS]) -> bytes | None:
        try:
            return signed._decode_base64url_segment(segment, "part")
        except (jwt.DecodeError, ValueError):
            return None

    assert read(verifying._Jws) == read(jwt.PyJWS)


def test_base64_is_not_checked_character_by_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyJWT still calls the method that is overridden, once a header of the key has been read."""
    checks, sent = verifier(), token()
    checks.verify(sent)
    monkeypatch.delattr(jwt.PyJWS, "_decode_base64url_segment")

    assert unissued(checks.verify(sent)) == CLAIMS


def test_too_long_is_refused_unread() -> None:
    """A token that is too long is refused before any key is read."""

    def read() -> dict[str, Any]:
        raise AssertionError

    with pytest.raises(TokenRefused, match="too long"):
        Verifier(KeyRing(read), ISSUER, AUDIENCE).verify("x" * (LONGEST + 1))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_accepted(algorithm: str) -> None:
    """A token signed by a known key with that key's algorithm yields its claims."""
    pair, key_id = (ec_pair("a"), "ec") if algorithm == "ES256" else (rsa_pair(), "rsa")
    issued = Signer(PrivateKey(key_id, pair.private, algorithm), ISSUER, AUDIENCE).issue(CLAIMS)

    assert unissued(verifier().verify(issued)) == CLAIMS


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT", "Application/At+Jwt"])
def test_types_accepted(typ: str) -> None:
    """The token type may have its `application/` prefix and any case (RFC 9068, RFC 7515)."""
    assert unissued(verifier().verify(token(typ=typ))) == CLAIMS


@pytest.mark.parametrize("units", [None, frozenset(), frozenset({"a"}), frozenset({"a", "b"})])
def test_business_units(units: frozenset[str] | None) -> None:
    """A token can cover all business units, some, or none."""
    claims = replace(CLAIMS, business_units=units)

    assert claims == unissued(verifier().verify(signer().issue(claims)))


@pytest.mark.parametrize(
    "changes",
    [{"exp": in_(seconds=-5)}, {"nbf": in_(seconds=5)}, {"iat": in_(seconds=5)}],
    ids=["just expired", "nearly valid", "issued just now elsewhere"],
)
def test_clocks_may_be_a_little_apart(changes: dict[str, datetime]) -> None:
    """The clocks of issuer and verifier may differ by a few seconds."""
    moved = {name: datetime.now(UTC) + (moment - STARTED) for name, moment in changes.items()}

    assert verifier().verify(token(payload(**moved))).partner == "northwind"


STARTED = datetime.now(UTC)


def test_unknown_claims_are_left_alone() -> None:
    """Unknown claims are ignored."""
    assert unissued(verifier().verify(token(payload(roles="all", more=[1])))) == CLAIMS


def test_signer_sets_every_required_claim() -> None:
    """An issued token has exactly the required claims."""
    issued = signer().issue(CLAIMS)
    claims = jwt.decode(issued, options={"verify_signature": False})

    assert set(REQUIRED) == set(claims)
    assert jwt.get_unverified_header(issued) == {"alg": "ES256", "kid": "ec", "typ": "at+jwt"}


@dataclass
class Source:
    """The source of a key ring's keys, with a clock that a test moves."""

    keys: dict[str, dict[str, Any]]
    now: float = 1_000.0
    reads: list[float] = field(default_factory=list)

    def read(self) -> dict[str, dict[str, Any]]:
        self.reads.append(self.now)
        return dict(self.keys)

    def ring(self) -> KeyRing:
        return KeyRing(self.read, seconds=lambda: self.now)


def found(ring: KeyRing, key_id: str) -> bool:
    try:
        ring.find(key_id)
    except TokenRefused:
        return False
    return True


def test_keys_are_read_once_in_half_a_minute() -> None:
    """Known keys are read again only after 30 seconds."""
    source = Source({"a": {"kty": "EC"}})
    ring = source.ring()

    for now in (1_000, 1_001, 1_015, 1_029):
        source.now = now
        assert ring.find("a").jwk == {"kty": "EC"}
    assert source.reads == [1_000]

    source.now = 1_030
    ring.find("a")

    assert source.reads == [1_000, 1_030]


def test_a_key_is_made_once_for_each_read() -> None:
    """A key is made from its JWK once, and anew after the keys were read again."""
    source = Source({"a": ec_pair("a").jwk})
    ring = source.ring()
    first = ring.find("a").made

    assert ring.find("a").made is first

    source.keys["a"] = ec_pair("b").jwk
    source.now += 30

    assert ring.find("a").made.key.public_numbers() != first.key.public_numbers()


def test_tokens_with_the_same_header_are_each_verified() -> None:
    """A header that an accepted token had does not make another token with it acceptable."""
    checks = verifier()
    accepted = token()
    header, claims, signature = accepted.split(".")
    checks.verify(accepted)

    for other in (f"{header}.{claims}", f"{header}.{claims}.", f"{header}.{other_payload(claims)}.{signature}"):
        with pytest.raises(TokenRefused):
            checks.verify(other)


def test_withdrawn_keys_end_within_half_a_minute() -> None:
    """A key that was retired verifies nothing after 30 seconds."""
    source = Source({"a": {}})
    ring = source.ring()
    ring.find("a")
    source.keys.clear()

    source.now += 31

    assert not found(ring, "a")


def test_rotation() -> None:
    """During a rotation tokens of the old and the new key are accepted, the new one within seconds."""
    source = Source({"old": ec_pair("a").jwk})
    checks = Verifier(source.ring(), ISSUER, AUDIENCE)
    old = Signer(PrivateKey("old", ec_pair("a").private, "ES256"), ISSUER, AUDIENCE).issue(CLAIMS)
    new = Signer(PrivateKey("new", ec_pair("b").private, "ES256"), ISSUER, AUDIENCE).issue(CLAIMS)
    assert unissued(checks.verify(old)) == CLAIMS

    source.keys["new"] = ec_pair("b").jwk
    source.now += 6

    assert [unissued(checks.verify(one)) for one in (new, old)] == [CLAIMS, CLAIMS]
    assert len(source.reads) == 2


def test_unknown_key_ids_do_not_cost_a_read_each() -> None:
    """Unknown key ids cause at most one read every five seconds."""
    source = Source({"a": {}})
    ring = source.ring()

    for number in range(1_000):
        source.now = 1_000 + number / 100
        assert not found(ring, f"unknown {number}")

    assert len(source.reads) == 2
    assert source.reads[1] - source.reads[0] >= 5


def test_keys_that_cannot_be_read_are_no_refusal() -> None:
    """A failure to read the keys is raised as it is, not as a refusal of the token."""

    def read() -> dict[str, dict[str, Any]]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        KeyRing(read).find("a")
