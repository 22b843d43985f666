"""JSON Web Tokens: what is accepted, and nothing else (RFC 7519, 8725, 9068).

A token is refused unless it has our `typ`, a known `kid`, one of two asymmetric algorithms, no `crit`, and `iss`,
`aud`, `exp`, `nbf`, `iat`, `jti`, `sub` and `client_id` that are as they must be.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import jwt

from ordering.cache import Cache
from ordering.clock import Clock, system_clock

TYPE = "at+jwt"
ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
"""The algorithm that goes with a key's `kty`. The token's own `alg` is compared, never used."""

LEEWAY = timedelta(seconds=10)
"""How far the clocks of issuer and verifier may be apart."""

LONGEST = 8_192
"""Characters of a token at most; API Gateway takes 10,240 bytes of headers in all."""

REQUIRED = ("iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id")

_FORGET_AFTER = 300.0
_LOOK_AGAIN_AFTER = 5.0

Keys = Mapping[str, Mapping[str, Any]]


class TokenRefused(Exception):
    """A token is not accepted. The reason is for the log, not for the caller."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token."""

    token_id: str
    partner: str
    user: str
    expires: datetime
    business_units: frozenset[str] | None
    """The business units that the token covers; None for all of the partner's."""
    scope: frozenset[str] | None = None
    """The grants that the token covers (RFC 9068, 2.2.3); None for all of the partner's."""


class KeyRing:
    """The public keys as last read: good for five minutes.

    An unknown key id has them read anew, but not more often than every five seconds.
    """

    def __init__(self, read: Callable[[], Keys], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._cache: Cache[None, Keys] = Cache(_FORGET_AFTER, 1, seconds=seconds)

    def find(self, key_id: str) -> Mapping[str, Any]:
        """Return the key of that id.

        Raises:
            TokenRefused: There is none.
        """
        keys = self._cache.read(None, self._read)
        if key_id not in keys:
            keys = self._cache.read(None, self._read, ttl=_LOOK_AGAIN_AFTER)
        if key_id not in keys:
            raise TokenRefused("unknown key")
        return keys[key_id]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks tokens of one issuer for one audience."""

    keys: KeyRing
    issuer: str
    audience: str

    def verify(self, token: str) -> Claims:
        """Verify a token and return its claims.

        Raises:
            TokenRefused: It cannot.
        """
        if len(token) > LONGEST:
            raise TokenRefused("too long")
        try:
            header = jwt.get_unverified_header(token)
            jwk = self.keys.find(_key_id(header))
            algorithm = ALGORITHMS.get(jwk["kty"], "")
            if header.get("alg") != algorithm:
                raise TokenRefused("the algorithm is not the key's")
            payload = jwt.decode(
                token,
                jwt.PyJWK.from_dict(dict(jwk), algorithm=algorithm),
                algorithms=[algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(str(error)) from error
        return _claims(payload)


def _key_id(header: Mapping[str, Any]) -> str:
    if "crit" in header:
        raise TokenRefused("critical extensions are not understood")
    if str(header.get("typ", "")).lower().removeprefix("application/") != TYPE:
        raise TokenRefused("not an access token")
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise TokenRefused("no key id")
    return key_id


def _claims(payload: Mapping[str, Any]) -> Claims:
    units = payload.get("business_units", [])
    if not isinstance(units, list):
        raise TokenRefused("the business units are no list")
    scope = payload.get("scope", "")
    if not isinstance(scope, str):
        raise TokenRefused("the scope is not text")
    if not all(
        isinstance(text, str) and text for text in [payload["jti"], payload["client_id"], payload["sub"], *units]
    ):
        raise TokenRefused("a claim is not text")
    try:
        expires = datetime.fromtimestamp(payload["exp"], tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise TokenRefused("the expiry is no time") from None
    return Claims(
        token_id=payload["jti"],
        partner=payload["client_id"],
        user=payload["sub"],
        expires=expires,
        business_units=frozenset(units) if "business_units" in payload else None,
        scope=frozenset(scope.split()) if "scope" in payload else None,
    )


class SigningKey(Protocol):
    """A private key, in memory or in KMS; only its signatures leave it."""

    @property
    def key_id(self) -> str:
        """The `kid` of its public part."""

    @property
    def algorithm(self) -> str:
        """The algorithm of its signatures (RFC 7518)."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message, in the form that a JWS has (RFC 7515)."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A P-256 or RSA key in memory, as PEM text."""

    key_id: str
    pem: str
    algorithm: str

    def sign(self, message: bytes) -> bytes:
        """Sign a message."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return algorithm.sign(message, algorithm.prepare_key(self.pem))


@dataclass(frozen=True, slots=True)
class Signer:
    """Issues tokens that are signed with a key."""

    key: SigningKey
    issuer: str
    audience: str
    now: Clock = system_clock

    def issue(self, claims: Claims) -> str:
        """Return a signed token with the claims, valid from now."""
        now = self.now()
        payload: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "exp": _seconds(claims.expires),
            "nbf": _seconds(min(now, claims.expires)),
            "iat": _seconds(min(now, claims.expires)),
            "jti": claims.token_id,
            "sub": claims.user,
            "client_id": claims.partner,
        }
        if claims.business_units is not None:
            payload["business_units"] = sorted(claims.business_units)
        if claims.scope is not None:
            payload["scope"] = " ".join(sorted(claims.scope))
        # Without PyJWT, which needs the private key itself: a key in KMS never leaves it.
        header = {"typ": TYPE, "alg": self.key.algorithm, "kid": self.key.key_id}
        message = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
        return b".".join([message, _base64url(self.key.sign(message))]).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
