"""Clients of the token endpoint: their secrets, and how wrong ones are counted.

A secret is drawn here and has 256 random bits. It cannot be guessed, so SHA-256 is enough to store it: a slow hash
would only be a way to keep the endpoint busy. The right secret is accepted whatever was counted, or other callers could
shut a client out. Wrong ones are counted per address and per client: the log names them, and past the limit they cost
less.

A replaced secret is accepted for another day, so that a client can change over without an outage.

Keys of the accounts table: `CLIENT#<id>` the client's record; `GUESSES#<id>` and `GUESSES#@<hash of an address>` how
many attempts failed, by quarter of an hour.

Calls to DynamoDB: one read for the right secret; for a wrong one a read and up to two writes. The address is counted
first, and past its limit nothing else is, so that one address cannot fill a client's counter. A scrypt hash, which an
earlier release stored, is computed within both limits only. Its first success costs five writes: they replace the hash
and take back the count.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from ordering import clock
from ordering.aws.dynamodb import ABSENT, ConditionFailed, Delete, Item, Put, Table, TransactionRefused, Update
from ordering.clock import Clock, system_clock
from ordering.values import Value

REPLACED_SECRET_VALID = timedelta(hours=24)
"""How long a replaced secret is still accepted."""

FROM_ONE_ADDRESS = 10
FROM_ALL_ADDRESSES = 100
"""Wrong secrets in a window until an address, or a client, is past its limit."""

_RECORD = "CLIENT"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WINDOW = 15 * 60
_SECRETS = 2
_SCRYPT_BLOCK = 8
_ATTEMPTS = 5


class ClientRefused(Exception):
    """A client was not authenticated. The reason is for the log: every caller gets the same response."""

    def __init__(self, reason: str, client_id: str | None = None) -> None:
        """Keep the reason, and the client's id if it is well formed."""
        super().__init__(reason)
        self.client_id = client_id


class UnknownClient(LookupError):
    """No client has the id."""


class ClientChanged(Exception):
    """A client was changed at the same time, again and again, so that it did not get a new secret."""


class Client(Value):
    """A client: the partner and user of its tokens, and the grants that they may cover."""

    id: str
    partner: str
    user: str
    scope: frozenset[str]
    tokens_not_before: datetime | None = None
    """Tokens issued before this whole second are refused; None if none are."""


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

        Args:
            address: The caller's IP address.

        Raises:
            ClientRefused: The client is unknown or the secret is wrong.
            Unavailable: The deadline passed.
        """
        now = self._now()
        failures = _Failures(self._table, int(now.timestamp()), address)
        if not is_client_id(client_id):
            failures.count()
            raise ClientRefused("malformed client id")
        item = self._table.get(_key(client_id))
        kept = [one for one in (item or {}).get("secrets", ()) if _valid(one, now)]
        digest = _sha256(secret)
        # The same number of comparisons for an unknown client, one with a single secret, and one with two.
        compared = [*(one["sha256"] for one in kept if "sha256" in one), *[bytes(32)] * _SECRETS][:_SECRETS]
        matches = [hmac.compare_digest(digest, one) for one in compared]
        if item and any(matches):
            return _client(client_id, item)
        failures.count(client_id)
        if item and (old := [one for one in kept if "sha256" not in one]):
            matching = [one for one in old if hmac.compare_digest(_scrypt(secret, one), one["hash"])]
            if matching:
                failures.take_back(client_id)
                self._store_anew(client_id, item, matching[0], digest)
                return _client(client_id, item)
        raise ClientRefused("wrong secret" if item else "unknown client", client_id)

    def add(self, client: Client, secret: str | None = None) -> str:
        """Register a client and return its secret, of which only a hash is stored.

        Tokens that were issued before this second, to a removed client of the same id, stay refused.

        Args:
            secret: For tests. The hash protects a secret of 256 random bits only.

        Raises:
            ConditionFailed: There is a client of that id.
        """
        secret = secret or _new_secret()
        partition, sort = _key(client.id)
        record = {
            "pk": partition,
            "sk": sort,
            "partner": client.partner,
            "user": client.user,
            "scope": sorted(client.scope),
            "secrets": [_stored(secret)],
            # Not the next second as in `end_tokens`: verifiers elsewhere may allow no difference of clocks.
            "tokensNotBefore": clock.to_text(clock.whole_second(self._now())),
        }
        try:
            self._table.put(Put(record, ABSENT))
        except ConditionFailed as failed:
            if failed.item != record:  # else it was written by an attempt whose answer got lost
                raise
        return secret

    def all(self) -> Iterator[Client]:
        """Yield all clients, in no order. For operators only: it reads the whole table."""
        for item in self._table.scan("CLIENT#"):
            yield _client(item["pk"].removeprefix("CLIENT#"), item)

    def show(self, client_id: str) -> tuple[Client, list[datetime | None]]:
        """Read a client, and when each of its valid secrets ends, newest first; None for a secret without an end.

        Raises:
            UnknownClient: No client has the id.
        """
        item = self._table.get(_key(client_id))
        if item is None:
            raise UnknownClient(client_id)
        ends = [one.get("until") for one in item["secrets"] if _valid(one, self._now())]
        return _client(client_id, item), [clock.from_text(until) if until else None for until in ends]

    def replace_secret(self, client_id: str, *, at_once: bool = False) -> str:
        """Give a client a new secret and return it. Older secrets than the previous one end at once.

        Args:
            at_once: Whether the previous secret ends now, as after a leak. Otherwise it ends after
                `REPLACED_SECRET_VALID`.

        Raises:
            UnknownClient: No client has the id.
            ClientChanged: Its secrets were changed at the same time, again and again.
        """
        secret = _new_secret()
        newest = _stored(secret)
        for _ in range(_ATTEMPTS):
            item = self._table.get(_key(client_id))
            if item is None:
                raise UnknownClient(client_id)
            if item["secrets"][0] == newest:  # written by an attempt whose answer got lost
                return secret
            previous = {**item["secrets"][0], "until": clock.to_text(self._now() + REPLACED_SECRET_VALID)}
            with suppress(ConditionFailed):
                self._set_secrets(client_id, item, [newest] if at_once else [newest, previous])
                return secret
        raise ClientChanged(client_id)

    def end_tokens(self, client_id: str) -> datetime:
        """End all tokens that were issued to a client until now; returns the time from which new ones are valid.

        That is the next whole second, as tokens state their time in seconds. Secrets stay valid.

        Raises:
            UnknownClient: No client has the id.
        """
        moment = clock.to_text(clock.whole_second(self._now()) + timedelta(seconds=1))
        change = Update(
            _key(client_id), "SET tokensNotBefore = :moment", "attribute_exists(pk)", values={":moment": moment}
        )
        try:
            self._table.update(change)
        except ConditionFailed:
            raise UnknownClient(client_id) from None
        return clock.from_text(moment)

    def remove(self, client_id: str) -> None:
        """Remove a client: its secrets end, and tokens that were issued to it are refused.

        Raises:
            UnknownClient: No client has the id.
        """
        try:
            self._table.transact([Delete(_key(client_id), "attribute_exists(pk)")])
        except TransactionRefused:
            raise UnknownClient(client_id) from None

    def _store_anew(self, client_id: str, item: Item, proven: Item, digest: bytes) -> None:
        """Replace a proven secret's scrypt hash. If the secrets were changed meanwhile, the next success does it."""
        anew = [{"sha256": digest, "until": one.get("until")} if one is proven else one for one in item["secrets"]]
        with suppress(ConditionFailed):
            self._set_secrets(client_id, item, anew)

    def _set_secrets(self, client_id: str, item: Item, kept: Iterable[Item]) -> None:
        values = {":kept": [*kept], ":before": item["secrets"]}
        self._table.update(Update(_key(client_id), "SET secrets = :kept", "secrets = :before", values=values))


class _Failures(Value):
    """The counters of an attempt: of the window that it began in, also if it ends in the next."""

    table: Table
    second: int
    """When the attempt began, in Unix time."""
    address: str

    def count(self, client_id: str | None = None) -> None:
        """Count a wrong secret, before a scrypt hash is computed for it, so that parallel attempts keep to the limits.

        Raises:
            ClientRefused: The address or the client is past its limit.
        """
        if self._add(_guesses_from(self.address), 1) > FROM_ONE_ADDRESS:
            raise ClientRefused("too many wrong secrets from this address", client_id)
        if client_id and self._add(_guesses_at(client_id), 1) > FROM_ALL_ADDRESSES:
            raise ClientRefused("too many wrong secrets for this client", client_id)

    def take_back(self, client_id: str) -> None:
        """Take back what was counted for a secret that turned out to be right."""
        for partition in (_guesses_from(self.address), _guesses_at(client_id)):
            self._add(partition, -1)

    def _add(self, partition: str, number: int) -> int:
        counted = self.table.update(
            Update(
                (partition, f"{self.second // _WINDOW}#all"),
                "ADD failed :number SET expires = :later",
                values={":number": number, ":later": self.second + 2 * _WINDOW},
            )
        )
        failed: int = counted["failed"]
        return failed


def _client(client_id: str, item: Item) -> Client:
    not_before = clock.from_text(item["tokensNotBefore"]) if "tokensNotBefore" in item else None
    return Client(client_id, item["partner"], item["user"], frozenset(item["scope"]), not_before)


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _stored(secret: str) -> Item:
    return {"sha256": _sha256(secret), "until": None}


def _valid(kept: Item, now: datetime) -> bool:
    until = kept.get("until")
    return until is None or now < clock.from_text(until)


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _scrypt(secret: str, kept: Item) -> bytes:
    text = secret.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=kept["salt"], n=kept["cost"], r=_SCRYPT_BLOCK, p=1)


def _key(client_id: str) -> tuple[str, str]:
    return f"CLIENT#{client_id}", _RECORD


def _guesses_at(client_id: str) -> str:
    return f"GUESSES#{client_id}"


def _guesses_from(address: str) -> str:
    # No client's id contains '@'.
    return f"GUESSES#@{hashlib.sha256(_network(address).encode()).hexdigest()[:32]}"


def _network(address: str) -> str:
    """Return the address, or for IPv6 its network of 64 bits, which a single caller has all addresses of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
