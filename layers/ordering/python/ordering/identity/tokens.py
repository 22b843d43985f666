"""JSON Web Tokens: what is accepted, and nothing else (RFC 7519, 8725, 9068).

A token is refused unless it has our `typ`, a known `kid`, one of two asymmetric algorithms, no `crit`, and `iss`,
`aud`, `exp`, `nbf`, `iat`, `jti`, `sub` and `client_id` that are as they must be.

A token of the token endpoint has the client's id in `client_id` (RFC 9068, 2.2) and the partner's in `partner`. A token
without `partner` was issued to the partner itself, by an operator or an older release: its `client_id` is the partner.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import jwt

from ordering.cache import Cache
from ordering.clock import Clock, system_clock
from ordering.identifiers import is_plain_id

TYPE = "at+jwt"
ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
"""The algorithm that goes with a key's `kty`. The token's own `alg` is compared, never used."""

LEEWAY = timedelta(seconds=10)
"""How far the clocks of issuer and verifier may be apart."""

LONGEST = 8_192
"""Characters of a token at most; API Gateway takes 10,240 bytes of headers in all."""

REQUIRED = ("iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id")

KEYS_READ_EVERY = 30.0
"""Seconds for which a verifier goes on with the keys that it read: how long a retired key is still accepted at most."""

_LOOK_AGAIN_AFTER = 5.0

Keys = Mapping[str, Mapping[str, Any]]


class RefusalReason(StrEnum):
    """Why a token is not accepted. These words are all of a token that reaches the log."""

    NO_TOKEN = "no bearer token"  # noqa: S105 - a reason
    SEVERAL_HEADERS = "more than one Authorization header"
    UNKNOWN_REFERENCE = "unknown reference token"
    BROKEN_REFERENCE = "the JWT behind the reference token cannot be decrypted"
    TOO_LONG = "too long"
    MALFORMED = "malformed"
    CRITICAL_EXTENSION = "critical extension"
    OTHER_TYPE = "not an access token"
    NO_KEY_ID = "no key id"
    UNKNOWN_KEY = "unknown key"
    OTHER_ALGORITHM = "the algorithm is not the key's"
    WRONG_SIGNATURE = "wrong signature"
    CLAIM_MISSING = "a claim is missing"
    CLAIM_MALFORMED = "a claim is malformed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not valid yet"
    OTHER_ISSUER = "another issuer"
    OTHER_AUDIENCE = "another audience"
    UNKNOWN_PARTNER = "unknown partner"
    UNKNOWN_USER = "unknown user"
    REVOKED = "revoked"
    UNKNOWN_CLIENT = "unknown client"
    ENDED_BY_CLIENT = "issued before the client's tokens were ended"


class TokenRefused(Exception):
    """A token is not accepted. The reason is for the log, not for the caller."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


_REASONS: Sequence[tuple[type[Exception], RefusalReason]] = (
    (jwt.ExpiredSignatureError, RefusalReason.EXPIRED),
    (jwt.ImmatureSignatureError, RefusalReason.NOT_YET_VALID),
    (jwt.InvalidIssuerError, RefusalReason.OTHER_ISSUER),
    (jwt.InvalidAudienceError, RefusalReason.OTHER_AUDIENCE),
    (jwt.MissingRequiredClaimError, RefusalReason.CLAIM_MISSING),
    (jwt.InvalidSignatureError, RefusalReason.WRONG_SIGNATURE),
)
"""Reasons for PyJWT's errors; its messages repeat parts of the token."""


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
    client: str | None = None
    """The client of the token endpoint that the token was issued to; None if it was issued to the partner itself."""
    issued: datetime | None = field(default=None, compare=False)
    """When the token was issued, to the second; None before it is."""


class KeyRing:
    """The public keys as last read: good for `KEYS_READ_EVERY`.

    An unknown key id has them read anew, but not more often than every five seconds.
    """

    def __init__(self, read: Callable[[], Keys], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._cache: Cache[None, Keys] = Cache(KEYS_READ_EVERY, 1, seconds=seconds)

    def find(self, key_id: str) -> Mapping[str, Any]:
        """Return the key of that id.

        Raises:
            TokenRefused: There is none.
        """
        keys = self._cache.read(None, self._read)
        if key_id not in keys:
            keys = self._cache.read(None, self._read, ttl=_LOOK_AGAIN_AFTER)
        if key_id not in keys:
            raise TokenRefused(RefusalReason.UNKNOWN_KEY)
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
            raise TokenRefused(RefusalReason.TOO_LONG)
        with _refusing():
            header = jwt.get_unverified_header(token)
        jwk = self.keys.find(_key_id(header))
        algorithm = ALGORITHMS.get(jwk["kty"], "")
        if header.get("alg") != algorithm:
            raise TokenRefused(RefusalReason.OTHER_ALGORITHM)
        with _refusing():
            payload = jwt.decode(
                token,
                jwt.PyJWK.from_dict(dict(jwk), algorithm=algorithm),
                algorithms=[algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        return _claims(payload)


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
            "client_id": claims.client or claims.partner,
        }
        if claims.client:
            payload["partner"] = claims.partner
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
