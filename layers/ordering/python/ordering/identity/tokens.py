"""JSON Web Tokens (RFC 7519, 9068): their claims, and how they are issued. `identity.verifier` verifies them.

A token of the token endpoint has the client's id in `client_id` (RFC 9068, 2.2) and the partner's in `partner`. A token
without `partner` was issued to the partner itself, by an operator or an older release: its `client_id` is the partner.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from ordering.clock import Clock, system_clock
from ordering.values import Value

TYPE = "at+jwt"
ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
"""The algorithm that goes with a key's `kty`. The token's own `alg` is compared, never used."""


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


class Claims(Value):
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
    issued: datetime | None = None
    """When the token was issued, to the second; None before it is."""


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


class PrivateKey(Value):
    """A P-256 or RSA key in memory, as PEM text."""

    key_id: str
    pem: str
    algorithm: str

    def sign(self, message: bytes) -> bytes:
        """Sign a message."""
        # Imported here so that the token endpoint, whose key is in KMS, does not load PyJWT.
        import jwt  # noqa: PLC0415 - as above

        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return algorithm.sign(message, algorithm.prepare_key(self.pem))


class Signer(Value):
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
