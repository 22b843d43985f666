"""The token endpoint's domain: clients exchange their secret for a token.

Tokens are signed with the key that is the signer now; every key of the accounts table that has not been retired
verifies. A key is rotated without an outage: the new one is added and published, then made the signer, and the old one
is retired when the last token that it signed has ended (docs/decisions/0003).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from ordering.aws.kms import Kms
from ordering.clock import Clock, system_clock
from ordering.identity.accounts import Accounts
from ordering.identity.clients import Client, Clients
from ordering.identity.kms_key import KmsKey
from ordering.identity.tokens import Claims, Signer

T = TypeVar("T")

VALID = timedelta(hours=1)
"""Lifetime of a token."""

KEYS_KEPT = timedelta(minutes=5)
"""How long verifiers may cache the published keys; a key is published for that long before it signs."""

LOOKED_UP_EVERY = 30.0
"""Seconds that a warm process goes on with what it read of the keys."""


class NoSigner(Exception):
    """There is no signing key, so that no token can be issued."""


@dataclass(slots=True)
class Kept(Generic[T]):
    """A value that a warm process reads again only every so often."""

    seconds: Callable[[], float] = time.monotonic
    _read: float = float("-inf")
    _value: list[T] = field(default_factory=list)

    def get(self, read: Callable[[], T]) -> T:
        """Return the value, read by `read` if it is too old."""
        now = self.seconds()
        if now - self._read >= LOOKED_UP_EVERY:
            self._value = [read()]
            self._read = now
        return self._value[0]


@dataclass(slots=True)
class RecentKeys:
    """What a warm process remembers of the keys."""

    signer: Kept[tuple[str, str] | None] = field(default_factory=Kept)
    published: Kept[dict[str, dict[str, Any]]] = field(default_factory=Kept)


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The token endpoint's domain, for one request."""

    accounts: Accounts
    clients: Clients
    kms: Kms
    issuer: str
    audience: str
    recent: RecentKeys = field(default_factory=RecentKeys)
    now: Clock = system_clock

    def authenticate(self, client_id: str, secret: str, address: str) -> Client:
        """Return the client of that id and secret.

        Raises:
            ClientRefused: There is none, or it was guessed at too often.
            Unavailable: The deadline passed.
        """
        return self.clients.authenticate(client_id, secret, address)

    def issue(self, client: Client, scope: frozenset[str]) -> str:
        """Return a token for a client, valid for `VALID`.

        Raises:
            NoSigner: No key signs.
            Unavailable: KMS does not answer.
        """
        signer = self.recent.signer.get(self.accounts.signer)
        if signer is None:
            raise NoSigner
        key_id, kms_id = signer
        claims = Claims(secrets.token_urlsafe(16), client.partner, client.user, self.now() + VALID, None, scope)
        return Signer(KmsKey(self.kms, key_id, kms_id), self.issuer, self.audience, self.now).issue(claims)

    def keys(self) -> dict[str, dict[str, Any]]:
        """Return the public keys that verify, by key id."""
        return self.recent.published.get(self.accounts.signing_keys)
