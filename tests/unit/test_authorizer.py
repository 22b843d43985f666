"""The authorizer: from a request's header to a policy for the whole stage."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering.accounts import Accounts, Partner
from ordering.authorizer import Doorkeeper, Handler, Unauthorized, make_handler
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.invocation import MARGIN
from ordering.principal import Principal, User
from ordering.table import NoAnswer
from ordering.tokens import Claims, KeyRing, Signer, Verifier
from ordering.wiring import Services
from ordering_tools.signing import SigningKey, development_key
from support.gateway import LambdaContext
from support.partners import IRELAND, JOHN, PARTNER, UK
from support.sends import failing

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live/GET/api/v2/orders/7"
CONTEXT = LambdaContext()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key that tokens are signed with."""
    state: Path = tmp_path_factory.mktemp("state")
    return development_key(state)


@dataclass(frozen=True)
class Gate:
    """An authorizer over moto's tables, and tokens that it knows."""

    handler: Handler
    accounts: Accounts
    signer: Signer

    def token(self, **changes: Any) -> str:
        claims = Claims("token-1", "northwind", JOHN.id, datetime.now(UTC) + timedelta(hours=1), None)
        return self.signer.issue(replace(claims, **changes))

    def ask(self, header: str | None, name: str = "Authorization") -> dict[str, Any]:
        headers = {"Host": "api.example", **({} if header is None else {name: header})}
        return self.handler({"type": "REQUEST", "methodArn": ARN, "headers": headers}, CONTEXT)

    def decide(self, partner: Partner | None = None, **changes: Any) -> dict[str, Any]:
        if partner:
            self.accounts.save_partner(partner)
        return self.ask(f"Bearer {self.token(**changes)}")


@pytest.fixture
def gate(services: Services, key: SigningKey) -> Gate:
    """An authorizer that knows one partner."""
    accounts = services.accounts(Deadline.after(60))
    accounts.save_partner(PARTNER)
    accounts.save_signing_key(key.key_id, key.public_jwk)
    verifier = Verifier(KeyRing(accounts.signing_keys), ISSUER, AUDIENCE)
    return Gate(
        make_handler(Doorkeeper(verifier, services.accounts, services.reference_tokens)),
        accounts,
        Signer(key.key_id, key.private_key, "ES256", ISSUER, AUDIENCE),
    )


def principal(decision: dict[str, Any]) -> Principal:
    return Principal.from_text(decision["context"]["principal"])


def effect(decision: dict[str, Any]) -> str:
    (statement,) = decision["policyDocument"]["Statement"]
    text: str = statement["Effect"]
    return text


def assert_unauthorized(gate: Gate, header: str | None) -> None:
    with pytest.raises(Unauthorized) as raised:
        gate.ask(header)
    assert str(raised.value) == "Unauthorized"
    assert raised.value.__suppress_context__


def test_policy_covers_the_whole_stage(gate: Gate) -> None:
    """A decision names every method and path of the stage, for the gateway keeps it for all of them."""
    decision = gate.decide()

    assert decision["principalId"] == "northwind"
    assert decision["policyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Action": "execute-api:Invoke",
                "Effect": "Allow",
                "Resource": "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live/*",
            }
        ],
    }


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_scheme_and_header_without_case(gate: Gate, scheme: str, name: str) -> None:
    """The header's name and the scheme are compared without case."""
    assert effect(gate.ask(f"{scheme} {gate.token()}", name)) == "Allow"


def test_space_around_the_token(gate: Gate) -> None:
    """Space around scheme and token does not matter."""
    assert effect(gate.ask(f"  Bearer   {gate.token()} ")) == "Allow"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "bearer\t", "Basic dTpw", "token", "Bearer a.b.c", "Digest x, Bearer y"]
)
def test_no_token(gate: Gate, header: str | None) -> None:
    """Without a bearer token that can be believed, nobody is let in."""
    assert_unauthorized(gate, header)


def test_other_schemes_do_not_carry_a_token(gate: Gate) -> None:
    """A good token under another scheme, or bare, is none."""
    assert_unauthorized(gate, f"Basic {gate.token()}")
    assert_unauthorized(gate, gate.token())
    assert_unauthorized(gate, f"BearerX {gate.token()}")


def test_two_tokens_are_none(gate: Gate) -> None:
    """Two tokens in one header are no token."""
    assert_unauthorized(gate, f"Bearer {gate.token()} {gate.token()}")


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_no_headers_at_all(gate: Gate, headers: Any) -> None:
    """A request without headers is nobody's."""
    with pytest.raises(Unauthorized):
        gate.handler({"methodArn": ARN, "headers": headers}, CONTEXT)


def test_expired(gate: Gate) -> None:
    """An expired token lets nobody in."""
    assert_unauthorized(gate, f"Bearer {gate.token(expires=datetime.now(UTC) - timedelta(minutes=1))}")


def test_revoked(gate: Gate) -> None:
    """A token is refused from the moment it was revoked; the partner's others are not."""
    assert effect(gate.decide(token_id="stolen")) == "Allow"

    gate.accounts.revoke("northwind", "stolen")

    assert_unauthorized(gate, f"Bearer {gate.token(token_id='stolen')}")
    assert effect(gate.decide()) == "Allow"


def test_disabled_partner_is_denied(gate: Gate) -> None:
    """A partner that is switched off is known and denied: a Deny for the whole stage, 403 and not 401."""
    decision = gate.decide(replace(PARTNER, active=False))

    assert effect(decision) == "Deny"
    assert decision["policyDocument"]["Statement"][0]["Resource"].endswith("/live/*")


def test_deleted_user(gate: Gate) -> None:
    """A token of a user that the partner no longer has is refused."""
    other = User("other", "Other", "User", "other@example.com")
    gate.accounts.save_partner(replace(PARTNER, users={other.id: other}))

    assert_unauthorized(gate, f"Bearer {gate.token()}")


def test_unknown_partner(gate: Gate) -> None:
    """A token of a partner that there is not is refused."""
    assert_unauthorized(gate, f"Bearer {gate.token(partner='nobody')}")


def test_user_of_another_partner(gate: Gate) -> None:
    """A user is looked up at the token's own partner only."""
    other = User("other", "Other", "User", "other@example.com")
    gate.accounts.save_partner(replace(PARTNER, id="tailspin", users={other.id: other}))

    assert_unauthorized(gate, f"Bearer {gate.token(user='other')}")


def test_principal_is_the_partner_s_record(gate: Gate) -> None:
    """What the functions are handed says who calls and what for, and survives being written as text."""
    terms = replace(PARTNER, payment_terms="card", grants=frozenset({"training", "deals"}))

    caller = principal(gate.decide(terms))

    assert Principal("northwind", JOHN, (UK, IRELAND), PARTNER.order_source, "card", ("deals", "training")) == caller
    assert caller == Principal.from_text(caller.to_text())


def test_context_is_text_only(gate: Gate) -> None:
    """API Gateway passes on text, numbers and booleans; ours is text."""
    assert all(isinstance(value, str) for value in gate.decide()["context"].values())
    assert json.dumps(gate.decide())


def test_principal_of_names_in_any_script(gate: Gate) -> None:
    """Names of any script reach the functions as they are."""
    user = User(JOHN.id, "Зоя", 'O"Neill\\ 李', "zoya@example.com")

    assert user == principal(gate.decide(replace(PARTNER, users={JOHN.id: user}))).user


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        pytest.param(None, (UK, IRELAND), id="all"),
        pytest.param(frozenset({UK.id}), (UK,), id="one"),
        pytest.param(frozenset({IRELAND.id, UK.id}), (UK, IRELAND), id="both"),
        pytest.param(frozenset[str](), (), id="none"),
        pytest.param(frozenset({UK.id, "elsewhere"}), (UK,), id="narrowing cannot widen"),
        pytest.param(frozenset({"elsewhere"}), (), id="another partner's only"),
    ],
)
def test_token_narrowed_to_units(gate: Gate, units: frozenset[str] | None, expected: tuple[Any, ...]) -> None:
    """A token covers those of the partner's units that it names, and never one that the partner does not have."""
    assert expected == principal(gate.decide(business_units=units)).business_units


def test_units_taken_from_the_partner_end(gate: Gate) -> None:
    """A unit that the partner no longer has is no longer covered, whatever the token says."""
    changed = replace(PARTNER, business_units=(IRELAND,))

    assert principal(gate.decide(changed, business_units=frozenset({UK.id, IRELAND.id}))).business_units == (IRELAND,)


def test_usage_plan(gate: Gate) -> None:
    """The key of the partner's usage plan is handed to the gateway, where there is one."""
    assert "usageIdentifierKey" not in gate.decide()
    assert gate.decide(replace(PARTNER, usage_key="plan-key"))["usageIdentifierKey"] == "plan-key"
    assert "plan-key" not in gate.decide()["context"]["principal"]


def test_nothing_of_the_token_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """The log says who was let in and why not, and nothing that could be used."""
    caplog.set_level(logging.DEBUG)
    token, revoked = gate.token(), gate.token(token_id="secret-id")
    gate.accounts.revoke("northwind", "secret-id")

    gate.ask(f"Bearer {token}")
    tampered = token[:-8] + "AAAAAAAA"
    for header in (f"Bearer {revoked}", f"Bearer {tampered}", "Bearer garbage-token", "Basic cGFzc3dvcmQ="):
        assert_unauthorized(gate, header)

    records = [record for record in caplog.records if record.name == "ordering"]
    logged = " ".join(repr(vars(record)) for record in records)
    assert ["authorized", *["refused"] * 4] == [record.getMessage() for record in records]
    parts = [*token.split("."), *revoked.split("."), "garbage-token", "cGFzc3dvcmQ=", "secret-id"]
    assert not [part for part in parts if part in logged]
    assert JOHN.user_name not in logged
    assert JOHN.id not in logged


def test_tables_that_do_not_answer_are_no_refusal(services: Services, key: SigningKey) -> None:
    """Where the partner cannot be read the authorizer fails: a 401 would tell a good caller to drop its token."""
    accounts = services.accounts(Deadline.after(60))
    accounts.save_signing_key(key.key_id, key.public_jwk)
    cut = replace(services, send=failing(NoAnswer("cut"), services.send))
    gate = Gate(
        make_handler(
            Doorkeeper(Verifier(KeyRing(accounts.signing_keys), ISSUER, AUDIENCE), cut.accounts, cut.reference_tokens)
        ),
        accounts,
        Signer(key.key_id, key.private_key, "ES256", ISSUER, AUDIENCE),
    )

    with pytest.raises(Unavailable):
        gate.handler(
            {"methodArn": ARN, "headers": {"Authorization": f"Bearer {gate.token()}"}},
            LambdaContext(int(MARGIN * 1_000) + 50),
        )
