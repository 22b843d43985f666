"""Clients of the token endpoint: registration, secrets and their ends, tokens' ends, and the count of wrong secrets."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering import clock
from ordering.aws.dynamodb import ConditionFailed, NoAnswer, Put, Table
from ordering.errors import Unavailable
from ordering.identity.clients import (
    FROM_ALL_ADDRESSES,
    FROM_ONE_ADDRESS,
    REPLACED_SECRET_VALID,
    Client,
    ClientChanged,
    ClientRefused,
    Clients,
    UnknownClient,
    is_client_id,
)
from ordering.values import replace
from support.aws.fake_connections import Recorder, failing
from support.aws.memory import Memory
from support.deals import Watch

GRANITE = Client("granite", "granite-rewards", "user-1", frozenset({"ecards", "deals"}))
HOME = "192.0.2.1"
KEY = ("CLIENT#granite", "CLIENT")


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The secrets that scrypt was computed for; a fast hash replaces it."""
    passwords: list[bytes] = []

    def scrypt(password: bytes, **settings: Any) -> bytes:
        passwords.append(password)
        return _scrypt(password, **settings)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    return passwords


def _scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.sha512(b"%d/%d/%d" % (n, r, p) + salt + password).digest()


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
    return reason(clients, client_id, secret, address) is not None


def reason(
    clients: Clients, client_id: str = "granite", secret: str = "wrong", address: str = HOME
) -> tuple[str, str | None] | None:
    try:
        clients.authenticate(client_id, secret, address)
    except ClientRefused as refused:
        return str(refused), refused.client_id
    return None


def operations(table: Table) -> list[str]:
    assert isinstance(table.send, Recorder)
    made = list(table.send.operations)
    table.send.calls.clear()
    return made


def stored_by_an_earlier_release(table: Table, *texts: str) -> None:
    """Give the client scrypt hashes, as an earlier release stored them."""
    kept = [
        {"salt": b"%16d" % n, "cost": 2**14, "hash": _scrypt(text.encode(), salt=b"%16d" % n, n=2**14, r=8, p=1)}
        for n, text in enumerate(texts)
    ]
    item = {"pk": KEY[0], "sk": KEY[1], "partner": GRANITE.partner, "user": GRANITE.user, "secrets": kept}
    table.put(Put({**item, "scope": sorted(GRANITE.scope)}))
    operations(table)


def test_proven(clients: Clients) -> None:
    """A registered client authenticates with its secret and is returned as registered."""
    secret = clients.add(GRANITE)

    assert replace(clients.authenticate("granite", secret, HOME), tokens_not_before=None) == GRANITE


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


@pytest.mark.parametrize("after", [REPLACED_SECRET_VALID - timedelta(microseconds=1), REPLACED_SECRET_VALID])
def test_a_replaced_secret_ends(clients: Clients, watch: Watch, after: timedelta) -> None:
    """A replaced secret is accepted for 24 hours, and the new one without end."""
    first = clients.add(GRANITE)
    watch.pass_(3_600)
    second = clients.replace_secret("granite")
    watch.time += after

    assert timedelta(hours=24) == REPLACED_SECRET_VALID
    assert fails(clients, secret=first) is (after == REPLACED_SECRET_VALID)
    watch.time += timedelta(days=10_000)
    assert (fails(clients, secret=first), fails(clients, secret=second)) == (True, False)


def test_a_secret_that_ends_at_once(clients: Clients) -> None:
    """A leaked secret can be ended at once, with those before it."""
    secrets = [clients.add(GRANITE), clients.replace_secret("granite"), clients.replace_secret("granite", at_once=True)]

    assert [fails(clients, secret=secret) for secret in secrets] == [True, True, False]


def test_secrets_replaced_at_the_same_time(clients: Clients, table: Table, watch: Watch) -> None:
    """If two replace a secret at once, both new secrets are accepted; neither is lost."""
    clients.add(GRANITE)
    others: list[str] = []

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "UpdateItem" and not others:
            others.append(clients.replace_secret("granite"))
        return table.send(operation, request)

    mine = Clients(replace(table, send=send), watch).replace_secret("granite")
    assert [fails(clients, secret=secret) for secret in (*others, mine)] == [False, False]


def test_secrets_replaced_all_the_time(clients: Clients, table: Table, watch: Watch) -> None:
    """A replacement that others overtake again and again ends with an error, and changes nothing."""
    clients.add(GRANITE)
    others: list[str] = []

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "UpdateItem":
            others.append(clients.replace_secret("granite"))
        return table.send(operation, request)

    with pytest.raises(ClientChanged):
        Clients(replace(table, send=send), watch).replace_secret("granite")
    assert [fails(clients, secret=secret) for secret in others[-2:]] == [False, False]


def lost(table: Table, operation: str) -> Table:
    """Return the table with a connection that loses the first answer to an operation that has taken effect."""
    lose = [True]

    def send(made: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = table.send(made, request)
        if made == operation and lose:
            lose.clear()
            raise NoAnswer("lost")
        return answer

    return replace(table, send=send)


def test_an_answer_lost_while_a_secret_is_replaced(clients: Clients, table: Table, watch: Watch) -> None:
    """If the answer to the write gets lost, the previous secret is still accepted for its 24 hours."""
    first = clients.add(GRANITE)
    second = Clients(lost(table, "UpdateItem"), watch).replace_secret("granite")

    assert [fails(clients, secret=secret) for secret in (first, second)] == [False, False]


def test_an_answer_lost_while_a_client_is_added(clients: Clients, table: Table, watch: Watch) -> None:
    """If the answer to the write gets lost, the client is registered and its secret is returned."""
    secret = Clients(lost(table, "PutItem"), watch).add(GRANITE)

    assert not fails(clients, secret=secret)


def test_shown(clients: Clients, table: Table, watch: Watch) -> None:
    """A client is shown with the ends of its valid secrets, newest first, whichever way they are stored."""
    stored_by_an_earlier_release(table, "old")
    clients.replace_secret("granite")
    end = watch.time + REPLACED_SECRET_VALID
    shown = clients.show("granite")
    watch.time = end

    assert shown == (GRANITE, [None, end])
    assert clients.show("granite") == (GRANITE, [None])
    with pytest.raises(UnknownClient):
        clients.show("nobody")


def test_removed(clients: Clients) -> None:
    """The secrets of a removed client end at once; removing it again is an error."""
    secrets = [clients.add(GRANITE), clients.replace_secret("granite")]
    clients.remove("granite")

    assert [reason(clients, secret=secret) for secret in secrets] == [("unknown client", "granite")] * 2
    with pytest.raises(UnknownClient, match="granite"):
        clients.remove("granite")


def not_before(table: Table) -> datetime:
    return clock.from_text((table.get(KEY) or {})["tokensNotBefore"])


def test_tokens_of_a_removed_client_of_the_same_id(clients: Clients, table: Table, watch: Watch) -> None:
    """A new client starts without tokens: those issued before it, to a client of the same id, stay refused."""
    clients.add(GRANITE)
    clients.remove("granite")
    watch.pass_(1.25)
    secret = clients.add(GRANITE)

    assert not_before(table) == watch.time - timedelta(seconds=0.25)
    assert clients.authenticate("granite", secret, HOME).tokens_not_before == not_before(table)


def test_ended_tokens(clients: Clients, table: Table, watch: Watch) -> None:
    """Ending a client's tokens stores the next whole second, as aware UTC text, and leaves its secrets valid."""
    secret = clients.add(GRANITE)
    watch.pass_(10.000001)
    moment = clients.end_tokens("granite")

    assert moment == not_before(table) == datetime(2026, 1, 1, 12, 0, 11, tzinfo=UTC)
    assert (table.get(KEY) or {})["tokensNotBefore"] == "2026-01-01T12:00:11.000000Z"
    assert clients.authenticate("granite", secret, HOME).tokens_not_before == moment


def test_a_new_secret_keeps_the_end_of_tokens(clients: Clients, table: Table, watch: Watch) -> None:
    """Replacing a secret does not make ended tokens valid again."""
    clients.add(GRANITE)
    watch.pass_(60)
    moment = clients.end_tokens("granite")
    clients.replace_secret("granite")

    assert not_before(table) == moment


def test_no_tokens_of_an_unknown_client(clients: Clients) -> None:
    """Ending the tokens of an unknown client fails and does not create the client."""
    with pytest.raises(UnknownClient, match="nobody"):
        clients.end_tokens("nobody")
    with pytest.raises(UnknownClient, match="nobody"):
        clients.remove("nobody")

    assert fails(clients, "nobody", "x")


def test_replacing_keeps_the_rest(clients: Clients) -> None:
    """Replacing a secret changes nothing else of a client."""
    clients.add(GRANITE)

    found = clients.authenticate("granite", clients.replace_secret("granite"), HOME)
    assert replace(found, tokens_not_before=None) == GRANITE


def test_no_secret_for_an_unknown_client(clients: Clients) -> None:
    """Replacing the secret of an unknown client fails and does not create the client."""
    with pytest.raises(UnknownClient, match="nobody"):
        clients.replace_secret("nobody")

    assert fails(clients, "nobody", "x")


@pytest.mark.parametrize("secret", ["", "wrong", "\ud800", "é", "x" * 10_000])
def test_refused(clients: Clients, secret: str) -> None:
    """A wrong secret is refused whatever its text, for known and unknown clients."""
    clients.add(GRANITE)

    assert [fails(clients, client_id, secret) for client_id in ("granite", "nobody")] == [True, True]


def test_unknown_clients_are_always_refused(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown client is refused even if the hash of its secret matches the stand-in."""
    monkeypatch.setattr("hmac.compare_digest", lambda *_: True)

    assert reason(clients, "nobody", "guess") == ("unknown client", "nobody")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a", True), ("A-b_c.9", True), ("x" * 64, True), ("", False), ("x" * 65, False), ("a b", False), ("a#b", False),
     ("é", False), ("a\n", False), ("٣", False)],
)  # fmt: skip
def test_ids(text: str, *, is_one: bool) -> None:
    """A client id has 1 to 64 ASCII letters, digits, dots, hyphens and underscores."""
    assert is_client_id(text) is is_one


def test_malformed_ids(clients: Clients, table: Table) -> None:
    """A malformed client id reaches no key, is counted for its address, and is not in the reason."""
    assert reason(clients, "a#b") == ("malformed client id", None)
    assert isinstance(table.send, Recorder)
    assert "a#b" not in repr(table.send.calls)
    assert operations(table) == ["UpdateItem"]


def test_hashes(clients: Clients, table: Table) -> None:
    """A secret is stored as its SHA-256, without an end, and is never stored itself."""
    clients.add(GRANITE, "chosen")
    kept = (table.get(KEY) or {})["secrets"]

    assert kept == [{"sha256": hashlib.sha256(b"chosen").digest(), "until": None}]


def test_calls(clients: Clients, table: Table) -> None:
    """The right secret costs one read; a wrong one a read and two writes, or one once the address is past its limit."""
    secret = clients.add(GRANITE)
    operations(table)
    costs = []
    for tried in (secret, *["wrong"] * (FROM_ONE_ADDRESS + 1), secret):
        fails(clients, secret=tried)
        costs.append(operations(table))

    assert costs[0] == costs[-1] == ["GetItem"]
    assert costs[1:-2] == [["GetItem", "UpdateItem", "UpdateItem"]] * FROM_ONE_ADDRESS
    assert costs[-2] == ["GetItem", "UpdateItem"]


def test_scrypt_hashes_of_an_earlier_release(clients: Clients, table: Table, hashed: list[bytes]) -> None:
    """A secret stored as a scrypt hash is accepted, and its first success replaces the hash and leaves no count."""
    stored_by_an_earlier_release(table, "new", "old")
    found = clients.authenticate("granite", "old", HOME)
    cost = operations(table)
    hashes, kept = len(hashed), (table.get(KEY) or {})["secrets"]
    operations(table)

    assert (found, cost) == (GRANITE, ["GetItem", *["UpdateItem"] * 5])
    assert [set(one) for one in kept] == [{"salt", "cost", "hash"}, {"sha256", "until"}]
    assert not fails(clients, secret="old")
    assert (operations(table), len(hashed)) == (["GetItem"], hashes)
    assert not fails(clients, secret="new")
    assert [set(one) for one in (table.get(KEY) or {})["secrets"]] == [{"sha256", "until"}] * 2
    assert isinstance(table.send, Recorder)
    assert counts(table) == [0, 0]


def counts(table: Table) -> list[int]:
    assert isinstance(table.send, Recorder)
    memory = table.send.send
    assert isinstance(memory, Memory)
    return [int(item["failed"]["N"]) for (pk, _), item in memory.scan(table.name) if pk.startswith("GUESSES#")]


def test_a_scrypt_hash_whose_client_changes(clients: Clients, table: Table, watch: Watch) -> None:
    """If the secrets are changed while a scrypt hash is replaced, the change stays and the client is accepted."""
    stored_by_an_earlier_release(table, "old")
    others: list[str] = []

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "UpdateItem" and "secrets" in request["UpdateExpression"] and not others:
            others.append(clients.replace_secret("granite"))
        return table.send(operation, request)

    Clients(replace(table, send=send), watch).authenticate("granite", "old", HOME)
    assert [fails(clients, secret=secret) for secret in (*others, "old")] == [False, False]
    watch.time += REPLACED_SECRET_VALID
    assert [fails(clients, secret=secret) for secret in (*others, "old")] == [False, True]


def test_scrypt_within_the_limits_only(clients: Clients, table: Table, hashed: list[bytes]) -> None:
    """Past the limit of an address no scrypt hash is computed, so that it cannot be used to keep the endpoint busy."""
    stored_by_an_earlier_release(table, "old")
    for _ in range(3 * FROM_ONE_ADDRESS):
        fails(clients)

    assert len(hashed) == FROM_ONE_ADDRESS
    assert fails(clients, secret="old")
    assert not fails(clients, secret="old", address="198.51.100.7")


def test_parallel_attempts_within_the_limits(table: Table, watch: Watch, hashed: list[bytes]) -> None:
    """However many attempts arrive at once, scrypt is computed for no more than the limit."""
    stored_by_an_earlier_release(table, "old")
    pending = [None] * 40

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = table.send(operation, request)
        while operation == "GetItem" and pending:
            pending.pop()
            fails(slow)
        return answer

    slow = Clients(replace(table, send=send), watch)
    fails(slow)
    assert len(hashed) == FROM_ONE_ADDRESS


def test_compared_in_constant_time(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes are compared only by `hmac.compare_digest`."""
    secret = clients.add(GRANITE)
    monkeypatch.setattr("hmac.compare_digest", lambda *_: False)

    assert fails(clients, secret=secret)


FAR = "198.51.100.7"


@pytest.mark.parametrize("client_id", ["granite", "nobody"])
def test_the_limit_of_an_address(clients: Clients, client_id: str) -> None:
    """Ten wrong secrets from one address are within its limit, whatever the client; then the reason is another."""
    clients.add(GRANITE)
    within = "wrong secret" if client_id == "granite" else "unknown client"
    reasons = [reason(clients, client_id) for _ in range(FROM_ONE_ADDRESS + 2)]
    past = ("too many wrong secrets from this address", client_id)

    assert reasons == [(within, client_id)] * FROM_ONE_ADDRESS + [past] * 2
    assert reason(clients, "other") == (past[0], "other")
    assert reason(clients, client_id, address=FAR) == (within, client_id)


def test_invented_ids_count_for_the_address(clients: Clients) -> None:
    """An address reaches its limit also if it invents an id for each attempt, well formed or not."""
    reasons = [reason(clients, f"c{number}" if number % 2 else f"c#{number}") for number in range(FROM_ONE_ADDRESS + 1)]

    assert [found and found[0] for found in reasons[-2:]] == [
        "unknown client",
        "too many wrong secrets from this address",
    ]


def test_the_limit_of_a_client(clients: Clients) -> None:
    """A hundred wrong secrets from any addresses are within a client's limit; then the reason is another."""
    clients.add(GRANITE)
    reasons = [reason(clients, address=f"198.51.100.{number}") for number in range(FROM_ALL_ADDRESSES + 1)]

    assert reasons[-2:] == [("wrong secret", "granite"), ("too many wrong secrets for this client", "granite")]
    assert reason(clients, "other") == ("unknown client", "other")


def test_the_right_secret_is_accepted_whatever_was_counted(clients: Clients) -> None:
    """Strangers cannot shut a client out: its secret is accepted past both limits, and old secrets in their time."""
    secrets = [clients.add(GRANITE), clients.replace_secret("granite")]
    for number in range(FROM_ALL_ADDRESSES + 5):
        fails(clients, address=f"198.51.100.{number}")
    for _ in range(FROM_ONE_ADDRESS + 5):
        fails(clients)

    assert reason(clients) == ("too many wrong secrets from this address", "granite")
    assert [fails(clients, secret=secret) for secret in secrets] == [False, False]


def test_one_address_does_not_fill_a_client_s_counter(clients: Clients) -> None:
    """Past its limit an address is not counted for the client, so that others' reasons stay what they are."""
    clients.add(GRANITE)
    for _ in range(2 * FROM_ALL_ADDRESSES):
        fails(clients)

    assert reason(clients, address=FAR) == ("wrong secret", "granite")


@pytest.mark.parametrize(
    ("addresses", "same"),
    [
        (("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), True),
        (("2001:db8:1:2::1", "2001:DB8:1:2::0001"), True),
        (("2001:db8:1:2::1", "2001:db8:1:3::1"), False),
        (("192.0.2.1", "192.0.2.2"), False),
        (("", ""), True),
        (("", "192.0.2.1"), False),
    ],
)
def test_networks(clients: Clients, addresses: tuple[str, str], *, same: bool) -> None:
    """An IPv6 caller is counted by its network of 64 bits, an IPv4 caller by its address."""
    for _ in range(FROM_ONE_ADDRESS):
        fails(clients, address=addresses[0])
    found = reason(clients, "nobody", address=addresses[1])

    assert found == ("too many wrong secrets from this address" if same else "unknown client", "nobody")


@pytest.mark.parametrize("at", [0, 1, 14 * 60 + 59])
def test_windows(clients: Clients, watch: Watch, at: int) -> None:
    """Failures count until the end of their quarter of an hour."""
    watch.pass_(at)
    for _ in range(FROM_ONE_ADDRESS):
        fails(clients)
    past = reason(clients)
    watch.pass_(15 * 60 - at)

    assert past == ("too many wrong secrets from this address", "granite")
    assert reason(clients) == ("unknown client", "granite")


def test_a_success_after_its_window(table: Table, watch: Watch) -> None:
    """A success that ends in the next window does not reduce that window's count."""
    stored_by_an_earlier_release(table, "old")

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "GetItem":
            watch.pass_(15 * 60)
        return table.send(operation, request)

    Clients(replace(table, send=send), watch).authenticate("granite", "old", HOME)
    assert counts(table) == [0, 0]


def test_addresses_are_not_kept(clients: Clients, table: Table) -> None:
    """Counts do not contain the addresses of attempts."""
    clients.add(GRANITE)
    fails(clients)
    assert isinstance(table.send, Recorder)

    assert "GUESSES#granite" in repr(table.send.calls)
    assert "GUESSES#@" in repr(table.send.calls)
    assert HOME not in repr(table.send.calls)


def test_no_table(table: Table) -> None:
    """If the table does not answer, authentication raises Unavailable instead of a refusal."""
    cut = replace(table, send=failing(NoAnswer("cut"), table.send), patience=0.0)

    with pytest.raises(Unavailable):
        Clients(cut).authenticate("granite", "x", HOME)
