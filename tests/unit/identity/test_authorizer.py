"""The authorizer: from a request's header to a policy for the whole stage."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering.aws.dynamodb import ConditionFailed, NoAnswer
from ordering.aws.invocation import MARGIN
from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.authorizer import Authorizer, GatewayUnauthorized, Handler, first_part, make_handler
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims, KeyRing, PrivateKey, Signer, Verifier
from ordering.principal import DealTerms, Principal, User
from ordering_tools.operations.signing import SigningKey, development_key
from support.aws.fake_connections import failing
from support.aws.memory import Memory
from support.deals import Watch, services_over
from support.gateway import LambdaContext
from support.partners import IRELAND, JOHN, PARTNER, UK
from support.services import Services

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
STAGE_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live"
ARN = f"{STAGE_ARN}/GET/api/v2/orders/7"
OWN_WORDS_ARN = f"{STAGE_ARN}/GET/v2/orders/7"
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

    def ask(self, header: str | None, name: str = "Authorization", arn: str = ARN) -> dict[str, Any]:
        headers = {"Host": "api.example", **({} if header is None else {name: header})}
        return self.handler({"type": "REQUEST", "methodArn": arn, "headers": headers}, CONTEXT)

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
        make_handler(Authorizer(verifier, services.accounts, services.reference_tokens, own_errors())),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
    )


def principal(decision: dict[str, Any]) -> Principal:
    return Principal.from_text(decision["context"]["principal"])


def effect(decision: dict[str, Any]) -> str:
    (statement,) = decision["policyDocument"]["Statement"]
    text: str = statement["Effect"]
    return text


def assert_unauthorized(gate: Gate, header: str | None) -> None:
    with pytest.raises(GatewayUnauthorized) as raised:
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
    with pytest.raises(GatewayUnauthorized):
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
    caller = principal(gate.decide(business_units=units))

    assert expected == caller.business_units
    assert caller.narrowed == (expected != (UK, IRELAND))


@pytest.mark.parametrize(
    ("scope", "narrowed"),
    [(None, False), ({"training", "deals"}, False), ({"training"}, True), ({"training", "deals", "x"}, False)],
)
def test_token_narrowed_to_grants(gate: Gate, scope: set[str] | None, narrowed: bool) -> None:  # noqa: FBT001 - a case
    """A token whose scope has less than the partner is granted is known as one that covers less."""
    terms = replace(PARTNER, grants=frozenset({"training", "deals"}))
    caller = principal(gate.decide(terms, scope=None if scope is None else frozenset(scope)))

    assert caller.narrowed == narrowed


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
            Authorizer(
                Verifier(KeyRing(accounts.signing_keys), ISSUER, AUDIENCE),
                cut.accounts,
                cut.reference_tokens,
                own_errors(),
            )
        ),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
    )

    with pytest.raises(Unavailable):
        gate.handler(
            {"methodArn": ARN, "headers": {"Authorization": f"Bearer {gate.token()}"}},
            LambdaContext(int(MARGIN * 1_000) + 50),
        )


# Contracts with error shapes of their own, over a table in memory.


class Second:
    """Unix time, put forward by hand."""

    now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class OwnWords(Gate):
    """An authorizer that is asked about the paths of such a contract."""

    second: Second
    reference_tokens: ReferenceTokens
    memory: Memory

    def call(self, token: str, arn: str = OWN_WORDS_ARN) -> dict[str, Any]:
        return self.ask(f"Bearer {token}", arn=arn)

    def reference(self, **changes: Any) -> str:
        return self.reference_tokens.issue(self.token(**changes), datetime.now(UTC) + timedelta(hours=1))

    def counted(self) -> dict[str, int]:
        """Return how many requests were counted, by token and second."""
        return {
            "/".join(key): int(item["requests"]["N"])
            for key, item in self.memory.scan("AccountsTable")
            if key[0].startswith("RATE#")
        }


@pytest.fixture
def own(key: SigningKey) -> OwnWords:
    """An authorizer that knows one partner, which is a CRM account."""
    memory = Memory()
    services = services_over(memory, Watch())
    accounts = services.accounts(Deadline.after(60))
    accounts.save_partner(replace(PARTNER, grants=frozenset({"deals", "training"}), deals=DealTerms("enterprise")))
    accounts.save_signing_key(key.key_id, key.public_jwk)
    verifier = Verifier(KeyRing(accounts.signing_keys), ISSUER, AUDIENCE)
    second = Second()
    return OwnWords(
        make_handler(Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), second)),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
        second,
        services.reference_tokens(Deadline.after(60)),
        memory,
    )


def assert_let_through(
    decision: dict[str, Any], refusal: str, caller: str = "nobody", arn: str = OWN_WORDS_ARN
) -> None:
    """Check that exactly this call is let through, without a principal, to be refused for that reason."""
    assert {
        "principalId": caller,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": arn}],
        },
        "context": {"refusal": refusal},
    } == decision


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("v2", "/v2"),
        ("v2/", "/v2"),
        ("v2/orders", "/v2"),
        ("v2/orders/7/line_items/7000001", "/v2"),
        ("v2/*", "/v2"),
        ("api/v2/orders", None),
        ("api/v2/orders/v2", None),
        ("v2x/orders", None),
        ("v20", None),
        ("V2/orders", None),
        ("v0/v2/orders", None),
        ("", None),
    ],
)
def test_own_errors_by_path(path: str, prefix: str | None) -> None:
    """The first part of a path decides whether its function refuses callers itself."""
    first = first_part(f"{STAGE_ARN}/GET/{path}")

    assert (first if first in own_errors() else None) == prefix


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer a.b.c",
        "Bearer x",
        f"Bearer {'0' * 64}",
        f"Bearer {'z' * 64}",
        f"Bearer {'x' * 9_000}",
        "Bearer \u00e9\u674e",
        "Bearer a b",
    ],
    ids=lambda header: repr(header)[:24],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_nobody_is_let_through_to_be_refused(own: OwnWords, header: str | None, method: str) -> None:
    """Where a function refuses in its own words, nobody known is let through to it, for that one call only."""
    arn = f"{STAGE_ARN}/{method}/v2/orders/7"

    assert_let_through(own.ask(header, arn=arn), "unauthorized", arn=arn)
    assert_unauthorized(own, header)


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_nobody_without_headers(own: OwnWords, headers: Any) -> None:
    """So is a request without headers."""
    assert_let_through(own.handler({"methodArn": OWN_WORDS_ARN, "headers": headers}, CONTEXT), "unauthorized")


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        {"partner": "nobody"},
        {"user": "nobody"},
        {"token_id": "stolen"},
    ],
    ids=["expired", "unknown partner", "unknown user", "revoked"],
)
def test_a_bad_token_is_nobodys(own: OwnWords, changes: dict[str, Any]) -> None:
    """A token that is refused elsewhere is refused here as well, whether it is a JWT or stands for one."""
    own.accounts.revoke("northwind", "stolen")

    for token in (own.token(**changes), own.reference(**changes)):
        assert_let_through(own.call(token), "unauthorized")
        assert_unauthorized(own, f"Bearer {token}")
    assert own.counted() == {}


def test_a_good_token_is_somebodys(own: OwnWords) -> None:
    """A caller who is known is let through with a principal, as everywhere."""
    decision = own.call(own.token())

    assert (effect(decision), f"{STAGE_ARN}/*") == (
        "Allow",
        decision["policyDocument"]["Statement"][0]["Resource"],
    )
    assert list(decision["context"]) == ["principal"]
    assert principal(decision) == principal(own.decide())


def test_switched_off_in_its_own_words(own: OwnWords) -> None:
    """A partner that is switched off is let through to be told so; on other paths it is denied as before."""
    own.accounts.save_partner(replace(PARTNER, active=False, usage_key="plan-key"))

    assert_let_through(own.call(own.token()), "switched-off", "northwind")
    assert effect(own.decide()) == "Deny"


def test_ten_requests_a_second(own: OwnWords) -> None:
    """Of a token's requests within a second the 11th is refused, and from the next second on none is."""
    token = own.token()
    for _ in range(10):
        assert "principal" in own.call(token)["context"]

    for _ in range(2):
        assert_let_through(own.call(token), "too-many-requests", "northwind")
    own.second.now += 0.74
    assert_let_through(own.call(token), "too-many-requests", "northwind")
    own.second.now += 0.01
    assert "principal" in own.call(token)["context"]


def test_other_tokens_are_counted_for_themselves(own: OwnWords) -> None:
    """One token's requests do not count against another's, not even of the same user."""
    for _ in range(11):
        own.call(own.token())

    assert "principal" in own.call(own.token(token_id="token-2"))["context"]
    assert own.counted() == {"RATE#token-1/1700000000": 11, "RATE#token-2/1700000000": 1}


def test_other_contracts_are_not_counted(own: OwnWords) -> None:
    """Requests to other contracts are neither counted nor refused, however many come."""
    token = own.token()
    for _ in range(20):
        assert effect(own.call(token, ARN)) == "Allow"

    assert own.counted() == {}
    assert "principal" in own.call(token)["context"]


def test_a_reference_token_counts_as_its_jwt(own: OwnWords) -> None:
    """A JWT has one count, however many tokens stand for it."""
    jwt = own.token()
    tokens = [jwt, *(own.reference_tokens.issue(jwt, datetime.now(UTC)) for _ in range(2))]
    for number in range(10):
        own.call(tokens[number % 3])

    for token in tokens:
        assert_let_through(own.call(token), "too-many-requests", "northwind")


def test_counts_are_forgotten(own: OwnWords) -> None:
    """A count says when the table may delete it: a while after its second."""
    own.call(own.token())

    (item,) = [item for key, item in own.memory.scan("AccountsTable") if key[0].startswith("RATE#")]
    assert int(item["expires"]["N"]) == 1_700_000_060


def test_terms_reach_the_functions(own: OwnWords) -> None:
    """What an account may do arrives with its principal, and changes while a token lives."""
    token = own.token()
    seen = [principal(own.call(token)).deals]
    for terms in (DealTerms("enterprise", changes_disabled=True), DealTerms("basic"), DealTerms("enterprise")):
        own.accounts.set_deal_terms("northwind", terms)
        seen.append(principal(own.call(token)).deals)

    assert seen == [
        DealTerms("enterprise"),
        DealTerms("enterprise", changes_disabled=True),
        DealTerms("basic"),
        DealTerms("enterprise"),
    ]


def test_no_crm_account(own: OwnWords) -> None:
    """A partner that is no CRM account has no terms."""
    own.accounts.save_partner(PARTNER)

    assert principal(own.call(own.token())).deals is None


def test_terms_of_nobody(own: OwnWords) -> None:
    """Terms are those of a partner that there is."""
    with pytest.raises(ConditionFailed):
        own.accounts.set_deal_terms("nobody", DealTerms("enterprise"))
    assert own.accounts.partner("nobody") is None


def test_terms_change_nothing_else(own: OwnWords) -> None:
    """A partner keeps everything else when its terms change."""
    before = own.accounts.partner("northwind")
    assert before

    own.accounts.set_deal_terms("northwind", DealTerms("basic"))

    assert replace(before, deals=DealTerms("basic")) == own.accounts.partner("northwind")


@pytest.mark.parametrize("arn", [ARN, OWN_WORDS_ARN], ids=["training", "deals"])
def test_reference_tokens_everywhere(own: OwnWords, arn: str) -> None:
    """A reference token is as good as its JWT for every contract, in either case, and covers no more."""
    narrow = {"business_units": frozenset({UK.id})}
    token = own.reference(**narrow)

    assert own.call(own.token(**narrow), arn) == own.call(token, arn) == own.call(token.upper(), arn)
    assert principal(own.call(token, arn)).business_units == (UK,)


def test_a_revoked_reference_token(own: OwnWords) -> None:
    """A reference token that was revoked is nobody's; the JWT behind it still is somebody's."""
    jwt = own.token()
    token = own.reference_tokens.issue(jwt, datetime.now(UTC) + timedelta(hours=1))
    own.reference_tokens.revoke(token)

    assert_let_through(own.call(token), "unauthorized")
    assert_unauthorized(own, f"Bearer {token}")
    assert "principal" in own.call(jwt)["context"]


def test_a_reference_token_for_a_reference_token(own: OwnWords) -> None:
    """A reference token stands for a JWT, never for another reference token."""
    token = own.reference_tokens.issue(own.reference(), datetime.now(UTC) + timedelta(hours=1))

    assert_let_through(own.call(token), "unauthorized")


def test_nothing_of_a_reference_token_is_logged(own: OwnWords, caplog: pytest.LogCaptureFixture) -> None:
    """The log has nothing of a reference token, whether it was accepted or refused."""
    caplog.set_level(logging.DEBUG)
    token, other = own.reference(), "ab" * 32
    for _ in range(11):
        own.call(token)
    own.call(other)

    records = [record for record in caplog.records if record.name == "ordering"]
    logged = " ".join(repr(vars(record)) for record in records)
    assert [*["authorized"] * 11, "refused"] == [record.getMessage() for record in records]
    assert [vars(record)["tooFast"] for record in records[:11]] == [False] * 10 + [True]
    assert not [part for part in (token, token[:32], other, other[:32]) if part in logged]
