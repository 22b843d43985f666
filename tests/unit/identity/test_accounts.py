"""Accounts: what stands for and against a token, and writes that undo nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordering.aws.dynamodb import Put, Table
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Standing
from ordering.identity.clients import Client, Clients
from ordering.principal import DealTerms, User
from ordering.values import replace
from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.partners import JOHN, PARTNER

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
JWK = {"kty": "EC"}


@pytest.fixture
def recorder() -> Recorder:
    """The connection to an empty table."""
    return Recorder(Memory())


@pytest.fixture
def table(recorder: Recorder) -> Table:
    """The accounts table."""
    return Table(recorder, "AccountsTable", patience=0.05)


@pytest.fixture
def accounts(table: Table) -> Accounts:
    """The accounts, with one partner."""
    accounts = Accounts(table)
    accounts.save_partner(PARTNER)
    return accounts


def add_client(table: Table, partner: str = PARTNER.id) -> None:
    Clients(table).add(Client("a-client", partner, JOHN.id, frozenset({"training"})), "a secret")


def test_standing_is_one_call(accounts: Accounts, table: Table, recorder: Recorder) -> None:
    """Partner, revocation and client of a token are read in one call."""
    add_client(table)
    recorder.calls.clear()

    standing = accounts.standing(PARTNER.id, "t-1", "a-client")

    assert replace(standing, ended=None) == Standing(PARTNER, revoked=False)
    assert [operation for operation, _ in recorder.calls] == ["BatchGetItem"]


def test_no_edit_of_a_partner_undoes_a_revocation(accounts: Accounts) -> None:
    """A partner's record that was read before a revocation and is written after it leaves the token revoked."""
    read = accounts.partner(PARTNER.id)
    assert read
    accounts.revoke(PARTNER.id, "t-1", NOW)

    accounts.save_partner(replace(read, payment_terms="card"))

    assert accounts.standing(PARTNER.id, "t-1", None).revoked
    assert not accounts.standing(PARTNER.id, "t-2", None).revoked


def test_no_edit_undoes_a_revocation_of_an_older_release(accounts: Accounts, table: Table) -> None:
    """The set of revoked tokens that older releases kept in the partner's record survives an edit."""
    item = table.get(("PARTNER#northwind", "PARTNER"))
    assert item
    table.put(Put({**item, "revokedTokens": {"t-1"}}))

    accounts.save_partner(replace(PARTNER, payment_terms="card"))

    assert accounts.standing(PARTNER.id, "t-1", None).revoked


def test_a_revocation_is_of_one_partner_s_token(accounts: Accounts) -> None:
    """A revocation does not count against another partner's token of the same id."""
    accounts.save_partner(replace(PARTNER, id="tailspin"))
    accounts.revoke("tailspin", "t-1", NOW)

    assert not accounts.standing(PARTNER.id, "t-1", None).revoked


def test_a_revocation_ends_with_its_token(accounts: Accounts, table: Table) -> None:
    """The table may forget a revocation a minute after its token expired, and leaves no other trace of it."""
    before = table.get(("PARTNER#northwind", "PARTNER"))
    accounts.revoke(PARTNER.id, "t-1", NOW)

    item = table.get(("REVOKED#northwind", "t-1"))
    assert item
    assert item["expires"] == int((NOW + timedelta(minutes=1)).timestamp())
    assert table.get(("PARTNER#northwind", "PARTNER")) == before


def test_revoking_makes_no_partner(accounts: Accounts) -> None:
    """A revocation for a partner that does not exist leaves no record of a partner."""
    accounts.revoke("nobody", "t-1", NOW)

    assert accounts.partner("nobody") is None
    assert accounts.standing("nobody", "t-1", None).partner is None


def test_an_edit_removes_what_a_partner_no_longer_has(accounts: Accounts) -> None:
    """Optional parts of a partner's record are written, and removed again."""
    full = replace(PARTNER, usage_key="u", usage_tier="basic", deals=DealTerms("basic"), company="Granite")
    accounts.save_partner(full)
    assert accounts.partner(PARTNER.id) == full

    accounts.save_partner(PARTNER)

    assert accounts.partner(PARTNER.id) == PARTNER


def test_the_largest_partner(accounts: Accounts) -> None:
    """A partner has as many users as its record can hold; one more is refused, and the record stays as it was."""
    name = "x" * 1_000
    users = {str(number): User(str(number), name, name, name) for number in range(134)}
    accounts.save_partner(replace(PARTNER, users=users))
    with pytest.raises(ValueError, match="at most 408,576 fit one item"):
        accounts.save_partner(replace(PARTNER, users={**users, "one": User("one", name, name, name)}))

    assert accounts.partner(PARTNER.id) == replace(PARTNER, users=users)


def test_a_client_that_is_gone(accounts: Accounts) -> None:
    """A token of a client that was removed has no client."""
    assert accounts.standing(PARTNER.id, "t-1", "a-client").client_gone


def test_a_client_of_another_partner(accounts: Accounts, table: Table) -> None:
    """A client that was registered anew for another partner does not vouch for the first one's tokens."""
    add_client(table, partner="tailspin")

    assert accounts.standing(PARTNER.id, "t-1", "a-client").client_gone


def test_tokens_of_a_client_that_were_ended(accounts: Accounts, table: Table) -> None:
    """The moment before which a client's tokens are refused is read with the client."""
    add_client(table)
    item = table.get(("CLIENT#a-client", "CLIENT"))
    assert item
    table.put(Put({**item, "tokensNotBefore": "2026-01-01T12:00:00.000000Z"}))

    assert accounts.standing(PARTNER.id, "t-1", "a-client").ended == NOW


def test_a_note_about_a_retired_key(accounts: Accounts) -> None:
    """Noting the last signature of a key that was retired meanwhile does not bring it back in part."""
    accounts.note_last_signature("retired", NOW)

    assert accounts.signing_keys() == {}
    assert accounts.signing_key_records() == {}


def test_a_part_of_a_key_stops_no_caller(accounts: Accounts, table: Table) -> None:
    """An item without a public key, which an older release could leave behind, is no key."""
    accounts.save_signing_key("k1", JWK)
    table.put(Put({"pk": "SIGNING_KEYS", "sk": "k2", "signedUntil": "2026-01-01T12:00:00.000000Z"}))

    assert accounts.signing_keys() == {"k1": JWK}
    assert list(accounts.signing_key_records()) == ["k1"]


def test_only_an_accepted_key_signs(accounts: Accounts) -> None:
    """A key that is not accepted, or was retired meanwhile, cannot be made the signing key."""
    accounts.save_signing_key("k1", JWK)
    accounts.set_signer("k1", "alias/A")

    with pytest.raises(LookupError):
        accounts.set_signer("k2", "alias/B")
    assert accounts.signer() == ("k1", "alias/A")


def test_the_key_that_signs_is_not_retired(accounts: Accounts) -> None:
    """A key that became the signing key meanwhile is not retired; one that does not sign is."""
    for name in ("k1", "k2"):
        accounts.save_signing_key(name, JWK)
    accounts.set_signer("k2", "alias/B")

    with pytest.raises(Conflict):
        accounts.retire_signing_key("k2")
    accounts.retire_signing_key("k1")

    assert list(accounts.signing_keys()) == ["k2"]
