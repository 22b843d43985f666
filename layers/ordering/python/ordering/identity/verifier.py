"""The verifier of tokens: what is accepted, and nothing else (RFC 7519, 8725, 9068).

A token is refused unless it has our `typ`, a known `kid`, one of two asymmetric algorithms, no `crit`, and `iss`,
`aud`, `exp`, `nbf`, `iat`, `jti`, `sub` and `client_id` that are as they must be.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

import jwt

from ordering.cache import Cache
from ordering.identifiers import is_plain_id
from ordering.identity.tokens import ALGORITHMS, TYPE, Claims, RefusalReason, TokenRefused
from ordering.values import Value

LEEWAY = timedelta(seconds=10)
"""How far the clocks of issuer and verifier may be apart."""

LONGEST = 8_192
"""Characters of a token at most; API Gateway takes 10,240 bytes of headers in all."""

REQUIRED = ("iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id")

KEYS_READ_EVERY = 30.0
"""Seconds for which a verifier goes on with the keys that it read: how long a retired key is still accepted at most."""

_LOOK_AGAIN_AFTER = 5.0

Keys = Mapping[str, Mapping[str, Any]]

_REASONS: Sequence[tuple[type[Exception], RefusalReason]] = (
    (jwt.ExpiredSignatureError, RefusalReason.EXPIRED),
    (jwt.ImmatureSignatureError, RefusalReason.NOT_YET_VALID),
    (jwt.InvalidIssuerError, RefusalReason.OTHER_ISSUER),
    (jwt.InvalidAudienceError, RefusalReason.OTHER_AUDIENCE),
    (jwt.MissingRequiredClaimError, RefusalReason.CLAIM_MISSING),
    (jwt.InvalidSignatureError, RefusalReason.WRONG_SIGNATURE),
)
"""Reasons for PyJWT's errors; its messages repeat parts of the token."""


class _Jws(jwt.PyJWS):
    """PyJWT's JWS with a quicker check of base64url: PyJWT's own looks at each character in Python.

    PyJWT does not document the method that this overrides. If a release stops calling it, PyJWT's own check is used.
    """

    @classmethod
    def _decode_base64url_segment(cls, segment: bytes, name: str) -> bytes:
        decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
        # Decoding skips characters outside the alphabet, so a segment that has some is not what encoding gives again.
        if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment:
            return decoded
        return super()._decode_base64url_segment(segment, name)


class _Jwt(jwt.PyJWT):
    """PyJWT over that JWS."""

    def __init__(self) -> None:
        super().__init__()
        self._jws = _Jws()


_jwt = _Jwt()


class PublicKey:
    """A public key. It is made from its JWK once, by the first token that names it."""

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        self.jwk = jwk

    @property
    def algorithm(self) -> str:
        """The only algorithm of its signatures; empty if there is none for its type."""
        return ALGORITHMS.get(self.jwk["kty"], "")

    @cached_property
    def made(self) -> jwt.PyJWK:
        """The key as PyJWT takes it.

        Raises:
            PyJWTError: The JWK has no key of its type.
        """
        return jwt.PyJWK.from_dict(dict(self.jwk), algorithm=self.algorithm)


class KeyRing:
    """The public keys as last read: good for `KEYS_READ_EVERY`.

    An unknown key id has them read anew, but not more often than every five seconds.
    """

    def __init__(self, read: Callable[[], Keys], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._cache: Cache[None, Mapping[str, PublicKey]] = Cache(KEYS_READ_EVERY, 1, seconds=seconds)

    def find(self, key_id: str) -> PublicKey:
        """Return the key of that id.

        Raises:
            TokenRefused: There is none.
        """
        keys = self._cache.read(None, self._read_keys)
        if key_id not in keys:
            keys = self._cache.read(None, self._read_keys, ttl=_LOOK_AGAIN_AFTER)
        if key_id not in keys:
            raise TokenRefused(RefusalReason.UNKNOWN_KEY)
        return keys[key_id]

    def _read_keys(self) -> Mapping[str, PublicKey]:
        return {key_id: PublicKey(jwk) for key_id, jwk in self._read().items()}


class Verifier(Value):
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
            raise TokenRefused(RefusalReason.TOO_LONG)
        with _refusing():
            header = _header(token.partition(".")[0])
        key = self.keys.find(_key_id(header))
        if header.get("alg") != key.algorithm:
            raise TokenRefused(RefusalReason.OTHER_ALGORITHM)
        with _refusing():
            payload = _jwt.decode(
                token,
                key.made,
                algorithms=[key.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        return _claims(payload)


@lru_cache(maxsize=16)
def _header(encoded: str) -> Mapping[str, Any]:
    """Return a token's header by its text, which is the same for all tokens that a key has signed.

    Raises:
        PyJWTError, ValueError, RecursionError: It is malformed.
    """
    # Without payload and signature, which are read when the signature is verified.
    return jwt.get_unverified_header(f"{encoded}..")


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse a token for whatever reading it raises, whether PyJWT has an error for it or lets Python's through."""
    try:
        yield
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reasons = (reason for kind, reason in _REASONS if isinstance(error, kind))
        raise TokenRefused(next(reasons, RefusalReason.MALFORMED)) from error


def _key_id(header: Mapping[str, Any]) -> str:
    if "crit" in header:
        raise TokenRefused(RefusalReason.CRITICAL_EXTENSION)
    if str(header.get("typ", "")).lower().removeprefix("application/") != TYPE:
        raise TokenRefused(RefusalReason.OTHER_TYPE)
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise TokenRefused(RefusalReason.NO_KEY_ID)
    return key_id


def _claims(payload: Mapping[str, Any]) -> Claims:
    units = payload.get("business_units", [])
    scope = payload.get("scope", "")
    client = payload["client_id"] if "partner" in payload else None
    ids = [payload["jti"], payload["sub"], payload["client_id"], payload.get("partner", payload["client_id"])]
    # Ids become keys of the table, which refuses what is too long or no Unicode.
    if not isinstance(units, list) or not isinstance(scope, str) or not all(map(is_plain_id, [*ids, *units])):
        raise TokenRefused(RefusalReason.CLAIM_MALFORMED)
    token_id, user, _, partner = ids
    return Claims(
        token_id=token_id,
        partner=partner,
        user=user,
        expires=_moment(payload["exp"]),
        business_units=frozenset(units) if "business_units" in payload else None,
        scope=frozenset(scope.split()) if "scope" in payload else None,
        client=client,
        issued=_moment(payload["iat"]),
    )


def _moment(seconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise TokenRefused(RefusalReason.CLAIM_MALFORMED) from None
