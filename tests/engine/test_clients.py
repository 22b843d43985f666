"""Clients of the token endpoint on every engine: conditions compare whole lists of secrets, and counters are exact."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress

import pytest

from engine.engines import Engine, in_threads
from ordering.aws.dynamodb import Put, Table
from ordering.identity.clients import Client, ClientRefused, Clients, UnknownClient
from ordering.values import replace

HOME = "192.0.2.1"


def client() -> Client:
    return Client(uuid.uuid4().hex, "granite-rewards", "user-1", frozenset({"ecards", "deals"}))


def accepted(clients: Clients, client_id: str, secret: str) -> bool:
    with suppress(ClientRefused):
        return clients.authenticate(client_id, secret, HOME).id == client_id
    return False


def test_the_life_of_a_client(engine: Engine) -> None:
    """Secrets are replaced, tokens are ended and a client is removed as on the table in memory."""
    clients, new = Clients(Table(engine.send, "AccountsTable")), client()
    secrets = [clients.add(new), clients.replace_secret(new.id), clients.replace_secret(new.id)]
    by_age = [accepted(clients, new.id, secret) for secret in secrets]
    last = clients.replace_secret(new.id, at_once=True)
    moment = clients.end_tokens(new.id)

    assert by_age == [False, True, True]
    assert [accepted(clients, new.id, secret) for secret in (*secrets, last)] == [False, False, False, True]
    assert clients.authenticate(new.id, last, HOME) == replace(new, tokens_not_before=moment)
    clients.remove(new.id)
    assert not accepted(clients, new.id, last)
    with pytest.raises(UnknownClient):
        clients.remove(new.id)


def test_a_scrypt_hash_is_replaced(engine: Engine) -> None:
    """The first success with a scrypt hash of an earlier release replaces it, beside a hash that stays."""
    table, new = Table(engine.send, "AccountsTable"), client()
    clients, key = Clients(table), (f"CLIENT#{new.id}", "CLIENT")
    hashes = [
        {"salt": bytes(16), "cost": 2**14, "hash": hashlib.scrypt(secret, salt=bytes(16), n=2**14, r=8, p=1)}
        for secret in (b"newer", b"older")
    ]
    item = {"pk": key[0], "sk": key[1], "partner": new.partner, "user": new.user, "scope": sorted(new.scope)}
    table.put(Put({**item, "secrets": hashes}))

    assert clients.authenticate(new.id, "older", HOME) == new
    assert (table.get(key) or {})["secrets"] == [
        hashes[0],
        {"sha256": hashlib.sha256(b"older").digest(), "until": None},
    ]
    assert [accepted(clients, new.id, secret) for secret in ("older", "newer", "other")] == [True, True, False]


def test_wrong_secrets_at_once(concurrent_engine: Engine) -> None:
    """Wrong secrets that arrive at once are each counted: ten of them are within the limit of their address."""
    table, new = Table(concurrent_engine.send, "AccountsTable", patience=30), client()
    address, clients = uuid.uuid4().hex, Clients(table)
    clients.add(new)

    def guess() -> str:
        with pytest.raises(ClientRefused) as refused:
            clients.authenticate(new.id, "wrong", address)
        return str(refused.value)

    reasons = in_threads([guess] * 15)
    assert sorted(reasons) == ["too many wrong secrets from this address"] * 5 + ["wrong secret"] * 10
