"""Reference tokens: what the table stores of them, and when they are refused."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordering.aws.dynamodb import Table
from ordering.identity.reference_tokens import ReferenceTokens, is_reference
from ordering.identity.tokens import TokenRefused
from support.aws.memory import Memory

TABLE = "AccountsTable"
EXPIRES = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiJ0b2tlbi0xIn0.c2lnbmF0dXJlLW9mLWl0LWFsbA"


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def tokens(memory: Memory) -> ReferenceTokens:
    """Reference tokens over an empty table."""
    return ReferenceTokens(Table(memory, TABLE))


def stored(memory: Memory) -> dict[str, Any]:
    """The only item of the table."""
    ((_, item),) = memory.scan(TABLE)
    return dict(item)


def refused(tokens: ReferenceTokens, token: str) -> str:
    with pytest.raises(TokenRefused) as raised:
        tokens.resolve(token)
    return str(raised.value)


def test_shape(tokens: ReferenceTokens) -> None:
    """A token is 64 hexadecimal characters, as the official clients require, and unique."""
    issued = [tokens.issue(JWT, EXPIRES) for _ in range(20)]

    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in issued)
    assert len(set(issued)) == 20


def test_resolves_to_its_jwt(tokens: ReferenceTokens) -> None:
    """A token resolves to the JWT it was issued for."""
    first, second = tokens.issue(JWT, EXPIRES), tokens.issue(JWT + "2", EXPIRES)

    assert [tokens.resolve(first), tokens.resolve(second)] == [JWT, JWT + "2"]


def test_in_any_case(tokens: ReferenceTokens) -> None:
    """A token resolves in upper case too."""
    token = tokens.issue(JWT, EXPIRES)

    assert tokens.resolve(token.upper()) == JWT


def test_only_its_hash_is_stored(tokens: ReferenceTokens, memory: Memory) -> None:
    """The table contains neither the token nor the JWT in clear, only the token's hash."""
    token = tokens.issue(JWT, EXPIRES)
    item = stored(memory)
    held = b" ".join(
        value if isinstance(value, bytes) else str(value).encode() for part in item.values() for value in part.values()
    ).lower()

    assert hashlib.sha256(bytes.fromhex(token)).hexdigest() == item["sha256"]["S"]
    for secret in (token, token[:32], token[32:], JWT, *JWT.split(".")):
        assert secret.lower().encode() not in held
    assert bytes.fromhex(token) not in held
    assert json.dumps(item, default=repr).find("eyJ") == -1


def test_two_seals_of_one_jwt_differ(tokens: ReferenceTokens, memory: Memory) -> None:
    """Two tokens for the same JWT store different ciphertexts."""
    tokens.issue(JWT, EXPIRES)
    tokens.issue(JWT, EXPIRES)

    first, second = [item["jwt"]["B"] for _, item in memory.scan(TABLE)]
    assert first != second


def test_items_expire_with_their_jwt(tokens: ReferenceTokens, memory: Memory) -> None:
    """A token's item expires when its JWT does."""
    tokens.issue(JWT, EXPIRES)

    assert int(stored(memory)["expires"]["N"]) == int(EXPIRES.timestamp())


def test_unknown(tokens: ReferenceTokens) -> None:
    """A token that was never issued is refused."""
    tokens.issue(JWT, EXPIRES)

    assert refused(tokens, "0" * 64) == "unknown reference token"


def test_revoked(tokens: ReferenceTokens) -> None:
    """A revoked token is refused; other tokens for the same JWT are not."""
    first, second = tokens.issue(JWT, EXPIRES), tokens.issue(JWT, EXPIRES)

    tokens.revoke(first.upper())

    assert refused(tokens, first) == "unknown reference token"
    assert tokens.resolve(second) == JWT


def test_revoking_an_unknown_token(tokens: ReferenceTokens) -> None:
    """Revoking an unknown token succeeds."""
    tokens.revoke("0" * 64)


def test_another_jwt(tokens: ReferenceTokens) -> None:
    """A chosen token can be stored again for another JWT."""
    token = "ab" * 32
    tokens.keep(token, JWT, EXPIRES)
    tokens.keep(token, JWT + "2", EXPIRES + timedelta(days=1))

    assert tokens.resolve(token) == JWT + "2"


def test_a_tampered_seal(tokens: ReferenceTokens, memory: Memory) -> None:
    """A token whose encrypted JWT was altered is refused."""
    token = tokens.issue(JWT, EXPIRES)
    item = stored(memory)
    seal = item["jwt"]["B"]
    for place in (0, 20, len(seal) // 2, len(seal) - 6):
        changed = seal[:place] + (b"A" if seal[place : place + 1] != b"A" else b"B") + seal[place + 1 :]
        memory.load(TABLE, {**item, "jwt": {"B": changed}})
        assert refused(tokens, token) == "the JWT behind the reference token cannot be decrypted"
    for nonsense in (b"", JWT.encode()):
        memory.load(TABLE, {**item, "jwt": {"B": nonsense}})
        assert refused(tokens, token) == "the JWT behind the reference token cannot be decrypted"


def test_another_hash(tokens: ReferenceTokens, memory: Memory) -> None:
    """An item whose hash does not match the token is refused."""
    token = tokens.issue(JWT, EXPIRES)
    item = stored(memory)
    half = item["sha256"]["S"][:32]

    memory.load(TABLE, {**item, "sha256": {"S": half + "0" * 32}})

    assert refused(tokens, token) == "unknown reference token"


def test_another_tokens_item(tokens: ReferenceTokens, memory: Memory) -> None:
    """One token's item, or its encrypted JWT, is refused under another token."""
    token = tokens.issue(JWT, EXPIRES)
    own = stored(memory)
    tokens.issue(JWT + "-of-an-administrator", EXPIRES)
    (other,) = [item for _, item in memory.scan(TABLE) if item["pk"] != own["pk"]]

    memory.load(TABLE, {**other, "pk": own["pk"], "sk": own["sk"]})
    assert refused(tokens, token) == "unknown reference token"
    memory.load(TABLE, {**own, "jwt": other["jwt"]})
    assert refused(tokens, token) == "the JWT behind the reference token cannot be decrypted"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0" * 64, True),
        ("aF" * 32, True),
        ("0" * 63, False),
        ("0" * 65, False),
        ("0" * 63 + "g", False),
        ("0" * 64 + "\n", False),
        ("\u0660" * 64, False),
        (JWT, False),
        ("", False),
    ],
)
def test_shape_of_a_reference_token(text: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Exactly texts of 64 ASCII hexadecimal characters are reference tokens."""
    assert is_reference(text) is expected
