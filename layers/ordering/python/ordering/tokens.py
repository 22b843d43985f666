"""JSON Web Tokens: what is accepted, and nothing else (RFC 7519, 8725, 9068).

A token is refused unless it has our `typ`, a known `kid`, one of two asymmetric algorithms, no `crit`, and `iss`,
`aud`, `exp`, `nbf`, `iat`, `jti`, `sub` and `client_id` that are as they must be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from ordering.clock import Clock, system_clock

TYPE = "at+jwt"
ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
"""The algorithm that goes with a key's `kty`. The token's own word for it is compared, never obeyed."""

LEEWAY = timedelta(seconds=10)
"""How far the clocks of issuer and verifier may be apart."""

LONGEST = 8_192
"""Characters of a token at most; API Gateway takes 10,240 bytes of headers in all."""

REQUIRED = ("iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id")

_FORGET_AFTER = 300.0
_LOOK_AGAIN_AFTER = 5.0

Keys = Mapping[str, Mapping[str, Any]]


class TokenRefused(Exception):
    """A token that vouches for nobody. The reason is for our log, not for the caller."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    token_id: str
    partner: str
    user: str
    expires: datetime
    business_units: frozenset[str] | None
    """The only units that the token covers; None for all of the partner's."""


class KeyRing:
    """The public keys as last read: good for five minutes.

    An unknown key id has them read anew, but not more often than every five seconds.
    """

    def __init__(self, read: Callable[[], Keys], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._keys: Keys = {}
        self._as_of = float("-inf")

    def find(self, key_id: str) -> Mapping[str, Any]:
        """Return the key of that id.

        Raises:
            TokenRefused: There is none.
        """
        age = self._seconds() - self._as_of
        if age > _FORGET_AFTER or (key_id not in self._keys and age > _LOOK_AGAIN_AFTER):
            self._keys = self._read()
            self._as_of = self._seconds()
        if key_id not in self._keys:
            raise TokenRefused("unknown key")
        return self._keys[key_id]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks tokens of one issuer for one audience."""

    keys: KeyRing
    issuer: str
    audience: str

    def verify(self, token: str) -> Claims:
        """Return what a token says if it can be believed.

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
    )


@dataclass(frozen=True, slots=True)
class Signer:
    """Issues tokens with a private key, which is a PEM text of a P-256 or RSA key."""

    key_id: str
    private_key: str
    algorithm: str
    issuer: str
    audience: str
    now: Clock = system_clock

    def issue(self, claims: Claims) -> str:
        """Write a token that says the claims, valid from this moment."""
        now = self.now()
        payload: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "exp": claims.expires,
            "nbf": min(now, claims.expires),
            "iat": min(now, claims.expires),
            "jti": claims.token_id,
            "sub": claims.user,
            "client_id": claims.partner,
        }
        if claims.business_units is not None:
            payload["business_units"] = sorted(claims.business_units)
        headers = {"typ": TYPE, "kid": self.key_id}
        return jwt.encode(payload, self.private_key, algorithm=self.algorithm, headers=headers)
