"""Clients of the token endpoint: registered, proven, given new secrets, and how often they may be guessed at."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ordering.aws.dynamodb import ConditionFailed, NoAnswer, Table
from ordering.errors import Unavailable
from ordering.identity import clients as module
from ordering.identity.clients import Client, ClientRefused, Clients, hash_of, is_client_id
from support.aws.fake_connections import Recorder, failing
from support.aws.memory import Memory
from support.deals import Watch

GRANITE = Client("granite", "granite-rewards", "user-1", frozenset({"ecards", "deals"}))
HOME = "192.0.2.1"


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The secrets that were hashed; a fast hash replaces scrypt."""
    passwords: list[bytes] = []

    def scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int) -> bytes:
        passwords.append(password)
        return hashlib.sha512(b"%d/%d/%d" % (n, r, p) + salt + password).digest()

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    return passwords


@pytest.fixture
def table() -> Table:
    """The accounts table."""
    return Table(Recorder(Memory()), "AccountsTable", first_pause=0.0)


@pytest.fixture
def watch() -> Watch:
    """The clock, at the start of a window."""
    return Watch(datetime(2026, 1, 1, 12, 0, tzinfo=UTC))


@pytest.fixture
def clients(table: Table, watch: Watch) -> Clients:
    """Clients over that table."""
    return Clients(table, watch)


def fails(clients: Clients, client_id: str = "granite", secret: str = "wrong", address: str = HOME) -> bool:
    try:
        clients.authenticate(client_id, secret, address)
    except ClientRefused:
        return True
    return False


def test_proven(clients: Clients) -> None:
    """A registered client authenticates with its secret and is returned as registered."""
    secret = clients.add(GRANITE)

    assert clients.authenticate("granite", secret, HOME) == GRANITE


def test_secrets_are_random(clients: Clients) -> None:
    """Secrets are unique, have 256 bits, and need no encoding in a form."""
    made = {clients.add(replace(GRANITE, id=f"c{number}")) for number in range(20)}

    assert len(made) == 20
    assert {len(secret) for secret in made} == {43}
    assert all(secret.replace("-", "").replace("_", "").isalnum() for secret in made)


def test_a_chosen_secret(clients: Clients) -> None:
    """A client can be registered with a chosen secret."""
    assert clients.add(GRANITE, "chosen") == "chosen"
    assert not fails(clients, secret="chosen")


def test_registered_once(clients: Clients) -> None:
    """Registering an existing client id fails and changes nothing."""
    secret = clients.add(GRANITE)
    with pytest.raises(ConditionFailed):
        clients.add(replace(GRANITE, partner="gravel-rewards"))

    assert clients.authenticate("granite", secret, HOME).partner == "granite-rewards"


def test_replaced(clients: Clients) -> None:
    """After a replacement the new and the previous secret are good, and older ones are not."""
    secrets = [clients.add(GRANITE), *(clients.replace_secret("granite") for _ in range(3))]

    assert [fails(clients, secret=secret) for secret in secrets] == [True, True, False, False]


def test_replacing_keeps_the_rest(clients: Clients) -> None:
    """Replacing a secret changes nothing else of a client."""
    clients.add(GRANITE)

    assert clients.authenticate("granite", clients.replace_secret("granite"), HOME) == GRANITE


def test_no_secret_for_an_unknown_client(clients: Clients) -> None:
    """Replacing the secret of an unknown client fails and does not create the client."""
    with pytest.raises(LookupError, match="nobody"):
        clients.replace_secret("nobody")

    assert fails(clients, "nobody", "x")


@pytest.mark.parametrize("secret", ["", "wrong", "\ud800", "é", "x" * 10_000])
def test_refused(clients: Clients, secret: str) -> None:
    """A wrong secret is refused whatever its text, for known and unknown clients."""
    clients.add(GRANITE)

    assert [fails(clients, client_id, secret) for client_id in ("granite", "nobody")] == [True, True]


def test_secrets_of_unknown_clients_are_hashed(clients: Clients, hashed: list[bytes]) -> None:
    """A secret for an unknown client is hashed too, so that the time does not reveal the client."""
    refused = fails(clients, "nobody", "guess")

    assert refused
    assert set(hashed) == {b"guess"}


def test_unknown_clients_are_always_refused(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown client is refused even if the hash of its secret matches the stand-in."""
    monkeypatch.setattr(hashlib, "scrypt", lambda *_, **__: bytes(64))

    assert fails(clients, "nobody", "guess")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a", True), ("A-b_c.9", True), ("x" * 64, True), ("", False), ("x" * 65, False), ("a b", False), ("a#b", False),
     ("é", False), ("a\n", False), ("٣", False)],
)  # fmt: skip
def test_ids(text: str, *, is_one: bool) -> None:
    """A client id has 1 to 64 ASCII letters, digits, dots, hyphens and underscores."""
    assert is_client_id(text) is is_one


def test_malformed_ids_cost_no_call(clients: Clients, table: Table) -> None:
    """A malformed client id is refused without a call to the table."""
    assert fails(clients, "a#b")
    assert isinstance(table.send, Recorder)
    assert table.send.calls == []


def test_hashes(clients: Clients, table: Table) -> None:
    """A secret is stored as a salted hash with its cost, and the same secret is hashed differently each time."""
    clients.add(GRANITE, "chosen")
    first, second = hash_of("chosen"), hash_of("chosen")
    kept = (table.get(("CLIENT#granite", "CLIENT")) or {})["secrets"]

    assert [len(first["salt"]), len(first["hash"]), first["cost"]] == [16, 64, 2**14]
    assert first["hash"] != second["hash"]
    assert "chosen" not in repr(kept)


def test_the_cost_can_rise(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets hashed at an older cost stay good beside those at a newer one."""
    old = clients.add(GRANITE)
    monkeypatch.setattr(module, "_COST", 2**15)
    new = clients.replace_secret("granite")

    assert [fails(clients, secret=secret) for secret in (old, new)] == [False, False]


def test_compared_in_constant_time(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes are compared only by `hmac.compare_digest`."""
    secret = clients.add(GRANITE)
    monkeypatch.setattr("hmac.compare_digest", lambda *_: False)

    assert fails(clients, secret=secret)


@pytest.mark.parametrize(("failures", "kept_out"), [(9, False), (10, True)])
def test_ten_from_one_address(clients: Clients, failures: int, *, kept_out: bool) -> None:
    """Ten failures from one address lock the client out there, and only there."""
    secret = clients.add(GRANITE)
    for _ in range(failures):
        fails(clients)

    assert (fails(clients, secret=secret), fails(clients, secret=secret, address="198.51.100.7")) == (kept_out, False)


@pytest.mark.parametrize(("failures", "kept_out"), [(99, False), (100, True)])
def test_a_hundred_from_all(clients: Clients, failures: int, *, kept_out: bool) -> None:
    """A hundred failures across all addresses lock the client out everywhere, and no other client."""
    secret, other = clients.add(GRANITE), clients.add(replace(GRANITE, id="other"))
    for number in range(failures):
        fails(clients, address=f"198.51.100.{number}")

    assert (fails(clients, secret=secret), fails(clients, "other", other)) == (kept_out, False)


@pytest.mark.parametrize("at", [0, 1, 14 * 60 + 59])
def test_windows(clients: Clients, watch: Watch, at: int) -> None:
    """Failures count until the end of their quarter of an hour."""
    secret = clients.add(GRANITE)
    watch.pass_(at)
    for _ in range(10):
        fails(clients)
    kept_out = fails(clients, secret=secret)
    watch.pass_(15 * 60 - at)

    assert (kept_out, fails(clients, secret=secret)) == (True, False)


def test_a_success_after_its_window(clients: Clients, table: Table, watch: Watch) -> None:
    """A success that ends in the next window does not reduce that window's count."""
    secret = clients.add(GRANITE)

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "GetItem":
            watch.pass_(15 * 60)
        return table.send(operation, request)

    Clients(replace(table, send=send), watch).authenticate("granite", secret, HOME)
    for _ in range(10):
        fails(clients)

    assert fails(clients, secret=secret)


def test_addresses_are_not_kept(clients: Clients, table: Table) -> None:
    """Counts do not contain the addresses of attempts."""
    clients.add(GRANITE)
    fails(clients)
    assert isinstance(table.send, Recorder)

    assert "GUESSES#granite" in repr(table.send.calls)
    assert HOME not in repr(table.send.calls)


def test_no_table(table: Table) -> None:
    """If the table does not answer, authentication raises Unavailable instead of a refusal."""
    cut = replace(table, send=failing(NoAnswer("cut"), table.send), patience=0.0)

    with pytest.raises(Unavailable):
        Clients(cut).authenticate("granite", "x", HOME)
