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
    """What was hashed; the hash is a fast one."""
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
    """The time, at the beginning of a window."""
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
    """A client that was registered proves itself with the secret that it was told, and is as it was registered."""
    secret = clients.add(GRANITE)

    assert clients.authenticate("granite", secret, HOME) == GRANITE


def test_secrets_are_random(clients: Clients) -> None:
    """Each secret is another, of 256 bits, in letters that a form needs not encode."""
    made = {clients.add(replace(GRANITE, id=f"c{number}")) for number in range(20)}

    assert len(made) == 20
    assert {len(secret) for secret in made} == {43}
    assert all(secret.replace("-", "").replace("_", "").isalnum() for secret in made)


def test_a_secret_of_ones_own(clients: Clients) -> None:
    """A secret may be given instead."""
    assert clients.add(GRANITE, "chosen") == "chosen"
    assert not fails(clients, secret="chosen")


def test_registered_once(clients: Clients) -> None:
    """A client's id is given once: another registration changes nothing."""
    secret = clients.add(GRANITE)
    with pytest.raises(ConditionFailed):
        clients.add(replace(GRANITE, partner="gravel-rewards"))

    assert clients.authenticate("granite", secret, HOME).partner == "granite-rewards"


def test_replaced(clients: Clients) -> None:
    """A new secret is good at once, the one before it still is, older ones are not."""
    secrets = [clients.add(GRANITE), *(clients.replace_secret("granite") for _ in range(3))]

    assert [fails(clients, secret=secret) for secret in secrets] == [True, True, False, False]


def test_replacing_keeps_the_rest(clients: Clients) -> None:
    """A new secret changes nothing else of a client."""
    clients.add(GRANITE)

    assert clients.authenticate("granite", clients.replace_secret("granite"), HOME) == GRANITE


def test_nobody_s_secret(clients: Clients) -> None:
    """A client that there is not gets no secret, and comes into being by none."""
    with pytest.raises(LookupError, match="nobody"):
        clients.replace_secret("nobody")

    assert fails(clients, "nobody", "x")


@pytest.mark.parametrize("secret", ["", "wrong", "\ud800", "é", "x" * 10_000])
def test_refused(clients: Clients, secret: str) -> None:
    """Any other secret is refused, whatever text it is, of a client that there is and of one that there is not."""
    clients.add(GRANITE)

    assert [fails(clients, client_id, secret) for client_id in ("granite", "nobody")] == [True, True]


def test_nobody_s_hash(clients: Clients, hashed: list[bytes]) -> None:
    """An unknown client is hashed for, and the secret that would hash to what it is compared with is refused too."""
    refused = fails(clients, "nobody", "guess")

    assert refused
    assert set(hashed) == {b"guess"}


def test_a_nobody_that_matches(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a secret that matched what stands for nobody's would let nobody in."""
    monkeypatch.setattr(hashlib, "scrypt", lambda *_, **__: bytes(64))

    assert fails(clients, "nobody", "guess")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a", True), ("A-b_c.9", True), ("x" * 64, True), ("", False), ("x" * 65, False), ("a b", False), ("a#b", False),
     ("é", False), ("a\n", False), ("٣", False)],
)  # fmt: skip
def test_ids(text: str, *, is_one: bool) -> None:
    """A client's id has 1 to 64 letters, digits, points, hyphens and low lines of ASCII."""
    assert is_client_id(text) is is_one


def test_an_id_that_is_none_costs_nothing(clients: Clients, table: Table) -> None:
    """What no client can be called reaches no key of the table."""
    assert fails(clients, "a#b")
    assert isinstance(table.send, Recorder)
    assert table.send.calls == []


def test_hashes(clients: Clients, table: Table) -> None:
    """What is kept is a salted hash and what it cost; the same secret twice is kept as two different hashes."""
    clients.add(GRANITE, "chosen")
    first, second = hash_of("chosen"), hash_of("chosen")
    kept = (table.get(("CLIENT#granite", "CLIENT")) or {})["secrets"]

    assert [len(first["salt"]), len(first["hash"]), first["cost"]] == [16, 64, 2**14]
    assert first["hash"] != second["hash"]
    assert "chosen" not in repr(kept)


def test_the_cost_can_rise(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that was hashed at an older cost stays good, beside one at the new."""
    old = clients.add(GRANITE)
    monkeypatch.setattr(module, "_COST", 2**15)
    new = clients.replace_secret("granite")

    assert [fails(clients, secret=secret) for secret in (old, new)] == [False, False]


def test_compared_in_constant_time(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes are compared by nothing but `hmac.compare_digest`."""
    secret = clients.add(GRANITE)
    monkeypatch.setattr("hmac.compare_digest", lambda *_: False)

    assert fails(clients, secret=secret)


@pytest.mark.parametrize(("failures", "kept_out"), [(9, False), (10, True)])
def test_ten_from_one_address(clients: Clients, failures: int, *, kept_out: bool) -> None:
    """Ten failures from one address, and no fewer, keep a client out there and nowhere else."""
    secret = clients.add(GRANITE)
    for _ in range(failures):
        fails(clients)

    assert (fails(clients, secret=secret), fails(clients, secret=secret, address="198.51.100.7")) == (kept_out, False)


@pytest.mark.parametrize(("failures", "kept_out"), [(99, False), (100, True)])
def test_a_hundred_from_all(clients: Clients, failures: int, *, kept_out: bool) -> None:
    """A hundred failures over all addresses, and no fewer, keep a client out everywhere, and no other client."""
    secret, other = clients.add(GRANITE), clients.add(replace(GRANITE, id="other"))
    for number in range(failures):
        fails(clients, address=f"198.51.100.{number}")

    assert (fails(clients, secret=secret), fails(clients, "other", other)) == (kept_out, False)


@pytest.mark.parametrize("at", [0, 1, 14 * 60 + 59])
def test_windows(clients: Clients, watch: Watch, at: int) -> None:
    """A quarter of an hour by the clock is a window: what failed in it counts until it ends."""
    secret = clients.add(GRANITE)
    watch.pass_(at)
    for _ in range(10):
        fails(clients)
    kept_out = fails(clients, secret=secret)
    watch.pass_(15 * 60 - at)

    assert (kept_out, fails(clients, secret=secret)) == (True, False)


def test_a_success_after_its_window(clients: Clients, table: Table, watch: Watch) -> None:
    """A success that ends in the next window takes nothing from what is counted there."""
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
    """Where attempts come from cannot be read from what is counted."""
    clients.add(GRANITE)
    fails(clients)
    assert isinstance(table.send, Recorder)

    assert "GUESSES#granite" in repr(table.send.calls)
    assert HOME not in repr(table.send.calls)


def test_no_table(table: Table) -> None:
    """Where the table does not answer, nobody is let in or refused."""
    cut = replace(table, send=failing(NoAnswer("cut"), table.send), patience=0.0)

    with pytest.raises(Unavailable):
        Clients(cut).authenticate("granite", "x", HOME)
