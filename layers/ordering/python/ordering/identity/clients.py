"""Clients of the token endpoint: their secrets, and the limits on guessing them.

A client may have two secrets at once, so that one can be replaced without an outage. Secrets are made here, 256 random
bits each, and kept as scrypt hashes.

Keys of the accounts table: `CLIENT#<id>` the client's record; `GUESSES#<id>` how many attempts failed, by address and
which quarter of an hour.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ordering.aws.dynamodb import ABSENT, Item, Put, Table, Update
from ordering.clock import Clock, system_clock

_RECORD = "CLIENT"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WINDOW = 15 * 60
_FROM_ONE_ADDRESS = 10
_FROM_ALL_ADDRESSES = 100
"""Attempts that may fail in a window, high enough that an attacker cannot soon lock the client itself out."""

_COST = 2**14
_BLOCK = 8
_SALT = 16
_SECRETS = 2


class ClientRefused(Exception):
    """The client is unknown, the secret is wrong, or too many were. The reason is for the log, not for the caller."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client: the partner and user of its tokens, and the grants that they may cover."""

    id: str
    partner: str
    user: str
    scope: frozenset[str]


def is_client_id(text: str) -> bool:
    """Return whether an id is well formed."""
    return _ID.fullmatch(text) is not None


class Clients:
    """The clients of the accounts table."""

    def __init__(self, table: Table, now: Clock = system_clock) -> None:
        self._table = table
        self._now = now

    def authenticate(self, client_id: str, secret: str, address: str) -> Client:
        """Authenticate a client by one of its secrets.

        An attempt is counted before it is judged, and only stays counted if it failed: however many arrive at once, no
        more than allowed are judged.

        Args:
            address: Where the attempt comes from.

        Raises:
            ClientRefused: It does not, or too many attempts failed of late.
            Unavailable: The deadline passed.
        """
        if not is_client_id(client_id):
            raise ClientRefused("no client's id")
        guesses = self._guesses(client_id, address)
        counted = [self._count(client_id, sort, allowed) for sort, allowed in guesses]
        if any(counted):
            # Refused without comparing, so not counted: a burst of valid attempts must not lock the client out.
            self._take_back(client_id, guesses)
            raise ClientRefused("too many attempts")
        item = self._table.get(_key(client_id)) or {}
        # Constant time for an unknown client, one with a single secret, and one with two.
        hashes = [*item.get("secrets", ()), *[_NOBODYS] * _SECRETS][:_SECRETS]
        matches = [_matches(secret, kept) for kept in hashes]
        if not any(matches) or not item:
            raise ClientRefused("unknown client or wrong secret")
        self._take_back(client_id, guesses)
        return Client(client_id, item["partner"], item["user"], frozenset(item["scope"]))

    def add(self, client: Client, secret: str | None = None) -> str:
        """Register a client and return its secret, of which only a hash is stored.

        Raises:
            ConditionFailed: There is a client of that id.
        """
        secret = secret or secrets.token_urlsafe(32)
        partition, sort = _key(client.id)
        record = {
            "pk": partition,
            "sk": sort,
            "partner": client.partner,
            "user": client.user,
            "scope": sorted(client.scope),
            "secrets": [hash_of(secret)],
        }
        self._table.put(Put(record, ABSENT))
        return secret

    def replace_secret(self, client_id: str) -> str:
        """Give a client a new secret and return it. The previous secret stays valid, older ones do not.

        Raises:
            LookupError: There is no such client.
        """
        item = self._table.get(_key(client_id))
        if item is None:
            raise LookupError(client_id)
        secret = secrets.token_urlsafe(32)
        self._table.put(Put({**item, "secrets": [hash_of(secret), *item["secrets"]][:_SECRETS]}))
        return secret

    def _guesses(self, client_id: str, address: str) -> list[tuple[str, int]]:
        """Return the counters of an attempt, each with the number of attempts that may fail."""
        window = int(self._now().timestamp()) // _WINDOW
        whom = hashlib.sha256(f"{client_id} {address}".encode()).hexdigest()[:32]
        return [(f"{window}#{whom}", _FROM_ONE_ADDRESS), (f"{window}#all", _FROM_ALL_ADDRESSES)]

    def _take_back(self, client_id: str, guesses: Sequence[tuple[str, int]]) -> None:
        for sort, _ in guesses:
            self._table.update(Update((_guesses_of(client_id), sort), "ADD failed :one", values={":one": -1}))

    def _count(self, client_id: str, sort: str, allowed: int) -> bool:
        """Count an attempt; returns whether it exceeds the limit."""
        counted = self._table.update(
            Update(
                (_guesses_of(client_id), sort),
                "ADD failed :one SET expires = :later",
                values={":one": 1, ":later": int(self._now().timestamp()) + 2 * _WINDOW},
            )
        )
        failed: int = counted["failed"]
        return failed > allowed


def hash_of(secret: str) -> Item:
    """Hash a secret for storage."""
    salt = secrets.token_bytes(_SALT)
    return {"salt": salt, "cost": _COST, "hash": _scrypt(secret, salt, _COST)}


def _matches(secret: str, kept: Item) -> bool:
    return hmac.compare_digest(_scrypt(secret, kept["salt"], kept["cost"]), kept["hash"])


def _scrypt(secret: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(secret.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=_BLOCK, p=1)


def _key(client_id: str) -> tuple[str, str]:
    return f"CLIENT#{client_id}", _RECORD


def _guesses_of(client_id: str) -> str:
    return f"GUESSES#{client_id}"


_NOBODYS: Item = {"salt": bytes(_SALT), "cost": _COST, "hash": bytes(64)}
