"""Reference tokens: what the table holds of them, and when they stand for nothing."""

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
    """The tokens of an empty table."""
    return ReferenceTokens(Table(memory, TABLE))


def stored(memory: Memory) -> dict[str, Any]:
    """Return the one item of the table."""
    ((_, item),) = memory.scan(TABLE)
    return dict(item)


def refused(tokens: ReferenceTokens, token: str) -> str:
    with pytest.raises(TokenRefused) as raised:
        tokens.resolve(token)
    return str(raised.value)


def test_shape(tokens: ReferenceTokens) -> None:
    """A token is 64 hexadecimal characters, as the official clients demand, and no two are alike."""
    issued = [tokens.issue(JWT, EXPIRES) for _ in range(20)]

    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in issued)
    assert len(set(issued)) == 20


def test_stands_for_its_jwt(tokens: ReferenceTokens) -> None:
    """A token leads to the JWT that it was issued for, each to its own."""
    first, second = tokens.issue(JWT, EXPIRES), tokens.issue(JWT + "2", EXPIRES)

    assert [tokens.resolve(first), tokens.resolve(second)] == [JWT, JWT + "2"]


def test_in_any_case(tokens: ReferenceTokens) -> None:
    """Hexadecimal characters mean the same in either case."""
    token = tokens.issue(JWT, EXPIRES)

    assert tokens.resolve(token.upper()) == JWT


def test_only_its_hash_is_stored(tokens: ReferenceTokens, memory: Memory) -> None:
    """Nothing that the table holds lets anybody in: neither the token nor the JWT is there, in any writing."""
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
    """What is stored does not tell that two tokens stand for the same JWT."""
    tokens.issue(JWT, EXPIRES)
    tokens.issue(JWT, EXPIRES)

    first, second = [item["jwt"]["B"] for _, item in memory.scan(TABLE)]
    assert first != second


def test_the_table_forgets_it(tokens: ReferenceTokens, memory: Memory) -> None:
    """The item says when its JWT ends, for the table to delete it."""
    tokens.issue(JWT, EXPIRES)

    assert int(stored(memory)["expires"]["N"]) == int(EXPIRES.timestamp())


def test_unknown(tokens: ReferenceTokens) -> None:
    """A token that was never issued stands for nothing."""
    tokens.issue(JWT, EXPIRES)

    assert refused(tokens, "0" * 64) == "unknown reference token"


def test_revoked(tokens: ReferenceTokens) -> None:
    """A revoked token stands for nothing any more; others for the same JWT still do."""
    first, second = tokens.issue(JWT, EXPIRES), tokens.issue(JWT, EXPIRES)

    tokens.revoke(first.upper())

    assert refused(tokens, first) == "unknown reference token"
    assert tokens.resolve(second) == JWT


def test_revoking_what_there_is_not(tokens: ReferenceTokens) -> None:
    """Revoking twice does no harm."""
    tokens.revoke("0" * 64)


def test_another_jwt(tokens: ReferenceTokens) -> None:
    """A token that is given can be told to stand for another JWT from now on."""
    token = "ab" * 32
    tokens.keep(token, JWT, EXPIRES)
    tokens.keep(token, JWT + "2", EXPIRES + timedelta(days=1))

    assert tokens.resolve(token) == JWT + "2"


def test_a_tampered_seal(tokens: ReferenceTokens, memory: Memory) -> None:
    """A JWT that was changed behind its token is refused."""
    token = tokens.issue(JWT, EXPIRES)
    item = stored(memory)
    seal = item["jwt"]["B"]
    for place in (0, 20, len(seal) // 2, len(seal) - 6):
        changed = seal[:place] + (b"A" if seal[place : place + 1] != b"A" else b"B") + seal[place + 1 :]
        memory.load(TABLE, {**item, "jwt": {"B": changed}})
        assert refused(tokens, token) == "the JWT behind the token is broken"
    for nonsense in (b"", JWT.encode()):
        memory.load(TABLE, {**item, "jwt": {"B": nonsense}})
        assert refused(tokens, token) == "the JWT behind the token is broken"


def test_another_hash(tokens: ReferenceTokens, memory: Memory) -> None:
    """An item whose hash is not the token's is not its."""
    token = tokens.issue(JWT, EXPIRES)
    item = stored(memory)
    half = item["sha256"]["S"][:32]

    memory.load(TABLE, {**item, "sha256": {"S": half + "0" * 32}})

    assert refused(tokens, token) == "unknown reference token"


def test_another_tokens_item(tokens: ReferenceTokens, memory: Memory) -> None:
    """What was stored for one token cannot be put behind another, whatever hash is written to it."""
    token = tokens.issue(JWT, EXPIRES)
    own = stored(memory)
    tokens.issue(JWT + "-of-an-administrator", EXPIRES)
    (other,) = [item for _, item in memory.scan(TABLE) if item["pk"] != own["pk"]]

    memory.load(TABLE, {**other, "pk": own["pk"], "sk": own["sk"]})
    assert refused(tokens, token) == "unknown reference token"
    memory.load(TABLE, {**own, "jwt": other["jwt"]})
    assert refused(tokens, token) == "the JWT behind the token is broken"


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
def test_told_from_a_jwt(text: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Exactly 64 hexadecimal characters are a reference token; anything else is not."""
    assert is_reference(text) is expected
