"""Reference tokens: 64 hexadecimal characters that stand for a stored JWT.

Some clients take no token of another length. What a reference token may do, and until when, is what its JWT says; it is
revoked by itself or with the JWT. Only its SHA-256 is stored, and the JWT is encrypted with the token, so that a copy
of the table is not enough to call the API.

Key of the table: `TOKEN#<the first half of the hash>`; the whole hash is compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken

from ordering.aws.dynamodb import Key, Put, Table
from ordering.identity.tokens import RefusalReason, TokenRefused

_TOKEN = re.compile(r"[0-9a-fA-F]{64}")
_BYTES = 32


class ReferenceTokens:
    """The reference tokens of the accounts table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def issue(self, jwt: str, expires: datetime) -> str:
        """Return a new token that stands for a JWT, which ends at `expires`."""
        token = secrets.token_hex(_BYTES)
        self.keep(token, jwt, expires)
        return token

    def keep(self, token: str, jwt: str, expires: datetime) -> None:
        """Store a JWT under a token, in place of the one before."""
        partition, sort = _key(token)
        self._table.put(
            Put(
                {
                    "pk": partition,
                    "sk": sort,
                    "sha256": _digest(token),
                    "jwt": _seal_of(token).encrypt(jwt.encode()),
                    "expires": int(expires.timestamp()),
                }
            )
        )

    def resolve(self, token: str) -> str:
        """Return the JWT that a token stands for, not yet verified.

        Raises:
            TokenRefused: It stands for none.
        """
        item = self._table.get(_key(token))
        if item is None or not hmac.compare_digest(item["sha256"], _digest(token)):
            raise TokenRefused(RefusalReason.UNKNOWN_REFERENCE)
        try:
            return _seal_of(token).decrypt(item["jwt"]).decode()
        except InvalidToken:
            raise TokenRefused(RefusalReason.BROKEN_REFERENCE) from None

    def revoke(self, token: str) -> None:
        """Delete a token; the JWT that it stood for stays valid."""
        self._table.delete_all([_key(token)])


def is_reference(token: str) -> bool:
    """Return whether a token is a reference token rather than a JWT."""
    return _TOKEN.fullmatch(token) is not None


def _digest(token: str) -> str:
    # No salt, no slow hash: the token is 256 random bits.
    return hashlib.sha256(bytes.fromhex(token)).hexdigest()


def _key(token: str) -> Key:
    return f"TOKEN#{_digest(token)[:_BYTES]}", "-"


def _seal_of(token: str) -> Fernet:
    key = hmac.digest(bytes.fromhex(token), b"seal of the JWT behind a reference token", "sha256")
    return Fernet(base64.urlsafe_b64encode(key))
