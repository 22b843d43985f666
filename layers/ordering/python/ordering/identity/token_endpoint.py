"""The token endpoint's domain: clients exchange their secret for a token.

Tokens are signed with the key that is the signer now; every key of the accounts table that has not been retired
verifies. A key is rotated without an outage: the new one is added and published, then made the signer, and the old one
is retired when the last token that it signed has ended (docs/decisions/0003).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ordering.aws.kms import Kms
from ordering.cache import Cache
from ordering.clock import Clock, system_clock
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client, Clients
from ordering.identity.kms_key import KmsKey
from ordering.identity.tokens import Claims, Signer
from ordering.values import Value, field

VALID = timedelta(hours=1)
"""Lifetime of a token."""

KEYS_KEPT = timedelta(minutes=5)
"""How long verifiers may cache the published keys; a key is published for that long before it signs."""

LOOKED_UP_EVERY = 30.0
"""Seconds that a warm process goes on with what it read of the keys."""


class NoSigner(Exception):
    """There is no signing key, so that no token can be issued."""


class KeyCache:
    """What a warm process remembers of the signing keys.

    Args:
        seconds: Returns the monotonic time.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self.signer: Cache[None, tuple[str, str] | None] = Cache(LOOKED_UP_EVERY, 1, seconds=seconds)
        self.published: Cache[None, dict[str, dict[str, Any]]] = Cache(LOOKED_UP_EVERY, 1, seconds=seconds)


class TokenEndpoint(Value):
    """The token endpoint's domain, for one request."""

    accounts: Accounts
    clients: Clients
    kms: Kms
    issuer: str
    audience: str
    cache: KeyCache = field(default_factory=KeyCache)
    now: Clock = system_clock

    def authenticate(self, client_id: str, secret: str, address: str) -> Client:
        """Return the client of that id and secret.

        Raises:
            ClientRefused: The client is unknown or the secret is wrong.
            Unavailable: The deadline passed.
        """
        return self.clients.authenticate(client_id, secret, address)

    def issue(self, client: Client, scope: frozenset[str]) -> str:
        """Return a token for a client, valid for `VALID`.

        It is not issued before the client's `tokens_not_before`, which can be the next second.

        Raises:
            NoSigner: No key signs.
            Unavailable: KMS does not answer.
        """
        signer = self.cache.signer.read(None, self.accounts.signer)
        if signer is None:
            raise NoSigner
        key_id, kms_id = signer
        now = max(self.now(), client.tokens_not_before or self.now())
        claims = Claims(
            secrets.token_urlsafe(16), client.partner, client.user, now + VALID, None, scope, client=client.id
        )
        return Signer(KmsKey(self.kms, key_id, kms_id), self.issuer, self.audience, lambda: now).issue(claims)

    def keys(self) -> dict[str, dict[str, Any]]:
        """Return the public keys that verify, by key id."""
        return self.cache.published.read(None, self.accounts.signing_keys)
