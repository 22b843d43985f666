"""The authorizer: from a request's header to a policy for the whole stage."""

from __future__ import annotations

import base64
import json
import logging
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from ordering import clock, values
from ordering.aws.dynamodb import NoAnswer, Put, Table
from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.errors import Conflict, Unavailable
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.authorizer import Authorizer, Handler, first_part, make_handler
from ordering.identity.clients import Client, Clients
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims, PrivateKey, RefusalReason, Signer
from ordering.identity.verifier import KeyRing, Verifier
from ordering.principal import BusinessUnit, DealTerms, Principal, User
from ordering_tools.operations.signing import SigningKey, development_key
from support.authorizer import ADDRESS, SHARED_KEY, STAGE_ARN, authorizer_event, bearer_event
from support.aws.fake_connections import failing
from support.aws.memory import Memory
from support.deals import Watch, services_over
from support.gateway import REQUEST_ID, LambdaContext
from support.partners import CALLER, IRELAND, JOHN, PARTNER, UK, set_deal_terms
from support.services import Services

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
TRAINING = "/api/v2/orders/{orderId}"
DEALS = "/v2/orders/{id}"
CONTEXT = LambdaContext()
LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key that signs tokens."""
    state: Path = tmp_path_factory.mktemp("state")
    return development_key(state)


@dataclass(frozen=True)
class Gate:
    """An authorizer over moto's tables, and a signer whose tokens it accepts."""

    handler: Handler
    accounts: Accounts
    signer: Signer

    def token(self, **changes: Any) -> str:
        claims = Claims("token-1", "northwind", JOHN.id, datetime.now(UTC) + timedelta(hours=1), None)
        return self.signer.issue(values.replace(claims, **changes))

    def ask(self, header: str | None, name: str = "Authorization", resource: str = TRAINING) -> dict[str, Any]:
        headers = {} if header is None else {name: [header]}
        return self.handler(authorizer_event(headers=headers, resource=resource), CONTEXT)

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
        make_handler(Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), SHARED_KEY)),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
    )


def principal(decision: dict[str, Any]) -> Principal:
    return Principal.from_text(decision["context"]["principal"])


def effect(decision: dict[str, Any]) -> str:
    (statement,) = decision["policyDocument"]["Statement"]
    text: str = statement["Effect"]
    return text


def assert_refused(
    decision: dict[str, Any],
    refusal: str = "unauthorized",
    caller: str = "unauthenticated",
    key: str = SHARED_KEY,
    left: str = "",
) -> None:
    """Check that the policy has no principal but the reason to refuse the call, and a key to count it by."""
    assert decision == {
        "principalId": caller,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{STAGE_ARN}/*"}],
        },
        "context": {"refusal": refusal, **({"requestsASecond": "10", "requestsLeft": left} if left else {})},
        "usageIdentifierKey": key,
    }


def assert_unauthorized(gate: Gate, header: str | None) -> None:
    assert_refused(gate.ask(header))


def test_policy_covers_the_whole_stage(gate: Gate) -> None:
    """A policy covers every method and path of the stage, because the gateway caches it for all of them."""
    decision = gate.decide()

    assert decision["principalId"] == "northwind"
    assert decision["policyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Action": "execute-api:Invoke",
                "Effect": "Allow",
                "Resource": f"{STAGE_ARN}/*",
            }
        ],
    }


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_scheme_and_header_without_case(gate: Gate, scheme: str, name: str) -> None:
    """The header's name and the scheme are case-insensitive."""
    assert effect(gate.ask(f"{scheme} {gate.token()}", name)) == "Allow"


def test_space_around_the_token(gate: Gate) -> None:
    """Whitespace around the scheme and the token is ignored."""
    assert effect(gate.ask(f"  Bearer   {gate.token()} ")) == "Allow"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "bearer\t", "Basic dTpw", "token", "Bearer a.b.c", "Digest x, Bearer y"]
)
def test_no_token(gate: Gate, header: str | None) -> None:
    """A request without a well-formed bearer token is unauthorized."""
    assert_unauthorized(gate, header)


def test_other_schemes_do_not_carry_a_token(gate: Gate) -> None:
    """A good token under another scheme, or without one, is unauthorized."""
    assert_unauthorized(gate, f"Basic {gate.token()}")
    assert_unauthorized(gate, gate.token())
    assert_unauthorized(gate, f"BearerX {gate.token()}")


def test_two_tokens_are_none(gate: Gate) -> None:
    """Two tokens in one header are unauthorized."""
    assert_unauthorized(gate, f"Bearer {gate.token()} {gate.token()}")


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_no_headers_at_all(gate: Gate, headers: Any) -> None:
    """A request without headers is unauthorized."""
    event = {**authorizer_event(), "headers": headers, "multiValueHeaders": headers}

    assert_refused(gate.handler(event, CONTEXT))


def test_expired(gate: Gate) -> None:
    """An expired token is unauthorized."""
    assert_unauthorized(gate, f"Bearer {gate.token(expires=datetime.now(UTC) - timedelta(minutes=1))}")


def test_revoked(gate: Gate) -> None:
    """A token is unauthorized as soon as it is revoked; the partner's other tokens are not."""
    assert effect(gate.decide(token_id="stolen")) == "Allow"

    gate.accounts.revoke("northwind", "stolen", LATER)

    assert_unauthorized(gate, f"Bearer {gate.token(token_id='stolen')}")
    assert effect(gate.decide()) == "Allow"


def test_disabled_partner(gate: Gate) -> None:
    """A partner that is switched off is passed on without a principal, to be refused with 403 instead of 401."""
    off = values.replace(PARTNER, active=False, usage_key="plan-key")

    assert_refused(gate.decide(off), "switched-off", "northwind", "plan-key")


def test_deleted_user(gate: Gate) -> None:
    """A token of a user that its partner no longer has is unauthorized."""
    other = User("other", "Other", "User", "other@example.com")
    gate.accounts.save_partner(values.replace(PARTNER, users={other.id: other}))

    assert_unauthorized(gate, f"Bearer {gate.token()}")


def test_unknown_partner(gate: Gate) -> None:
    """A token of an unknown partner is unauthorized."""
    assert_unauthorized(gate, f"Bearer {gate.token(partner='nobody')}")


def test_user_of_another_partner(gate: Gate) -> None:
    """A token with a user of another partner is unauthorized."""
    other = User("other", "Other", "User", "other@example.com")
    gate.accounts.save_partner(values.replace(PARTNER, id="tailspin", users={other.id: other}))

    assert_unauthorized(gate, f"Bearer {gate.token(user='other')}")


def test_principal_is_the_partner_s_record(gate: Gate) -> None:
    """The principal has the caller's data from the partner's record, and is read back equal from its text."""
    terms = values.replace(PARTNER, payment_terms="card", grants=frozenset({"training", "deals"}))

    caller = principal(gate.decide(terms))

    assert caller == values.replace(CALLER, payment_terms="card", grants=("deals", "training"), token_id="token-1")
    assert caller == Principal.from_text(caller.to_text())


def test_context_is_text_only(gate: Gate) -> None:
    """All values of the policy's context are text, which API Gateway passes on."""
    assert all(isinstance(value, str) for value in gate.decide()["context"].values())
    assert json.dumps(gate.decide())


def test_principal_of_names_in_any_script(gate: Gate) -> None:
    """Names of any script reach the functions unchanged."""
    user = User(JOHN.id, "Зоя", 'O"Neill\\ 李', "zoya@example.com")

    assert user == principal(gate.decide(values.replace(PARTNER, users={JOHN.id: user}))).user


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
    """A token covers the business units it names, as far as its partner has them."""
    caller = principal(gate.decide(business_units=units))

    assert tuple(unit.id for unit in expected) == caller.business_units
    assert caller.narrowed == (expected != (UK, IRELAND))


@pytest.mark.parametrize(
    ("scope", "narrowed"),
    [(None, False), ({"training", "deals"}, False), ({"training"}, True), ({"training", "deals", "x"}, False)],
)
def test_token_narrowed_to_grants(gate: Gate, scope: set[str] | None, narrowed: bool) -> None:  # noqa: FBT001 - a case
    """The principal is marked as narrowed if the token's scope lacks one of the partner's grants."""
    terms = values.replace(PARTNER, grants=frozenset({"training", "deals"}))
    caller = principal(gate.decide(terms, scope=None if scope is None else frozenset(scope)))

    assert caller.narrowed == narrowed


def test_units_taken_from_the_partner_end(gate: Gate) -> None:
    """A business unit that the partner no longer has is not covered, even if the token names it."""
    changed = values.replace(PARTNER, business_units=(IRELAND,))

    assert principal(gate.decide(changed, business_units=frozenset({UK.id, IRELAND.id}))).business_units == (
        IRELAND.id,
    )


def units(count: int) -> tuple[BusinessUnit, ...]:
    return tuple(BusinessUnit(str(uuid.UUID(int=number)), "A business unit" * 5) for number in range(count))


def test_only_ids_of_units_travel(gate: Gate) -> None:
    """A unit adds its id to the decision, and neither its name nor what the token does not cover."""
    some = units(150)
    decision = gate.decide(values.replace(PARTNER, business_units=some))
    narrow = gate.decide(values.replace(PARTNER, business_units=some), business_units=frozenset({some[7].id}))

    assert principal(decision).business_units == tuple(unit.id for unit in some)
    assert len(json.dumps(decision)) < 8_192
    assert principal(narrow).business_units == (some[7].id,)
    assert "A business unit" not in json.dumps(decision)
    assert some[8].id not in json.dumps(narrow)


def test_more_units_than_api_gateway_takes(gate: Gate) -> None:
    """A token for more units than the gateway takes is passed on to be refused; one for some of them is accepted."""
    many = values.replace(PARTNER, business_units=units(250))

    assert_refused(gate.decide(many), "too-many-units", "northwind")
    assert principal(gate.decide(many, business_units=frozenset({many.business_units[0].id}))).business_units


def test_usage_plan(gate: Gate) -> None:
    """The key of a partner, or of all without one, is passed to the gateway, and not to the functions."""
    assert gate.decide()["usageIdentifierKey"] == SHARED_KEY
    assert gate.decide(values.replace(PARTNER, usage_key="plan-key"))["usageIdentifierKey"] == "plan-key"
    assert "plan-key" not in gate.decide()["context"]["principal"]


def test_nothing_of_the_token_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """The log records each decision, and nothing of the token or the user."""
    caplog.set_level(logging.DEBUG)
    token, revoked = gate.token(), gate.token(token_id="secret-id")
    gate.accounts.revoke("northwind", "secret-id", LATER)

    gate.ask(f"Bearer {token}")
    tampered = token[:-8] + "AAAAAAAA"
    for header in (f"Bearer {revoked}", f"Bearer {tampered}", "Bearer garbage-token", "Basic cGFzc3dvcmQ="):
        assert_unauthorized(gate, header)

    records = [record for record in caplog.records if record.name == "ordering"]
    logged = " ".join(repr(vars(record)) for record in records)
    assert ["authorized", *["token refused"] * 4] == [record.getMessage() for record in records]
    parts = [*token.split("."), *revoked.split("."), "garbage-token", "cGFzc3dvcmQ=", "secret-id"]
    assert not [part for part in parts if part in logged]
    assert JOHN.user_name not in logged
    assert JOHN.id not in logged


@pytest.fixture
def client(services: Services) -> Table:
    """The accounts table, with a client of the token endpoint."""
    table = services.connections.accounts(Deadline.after(60))
    Clients(table).add(Client("a-client", "northwind", JOHN.id, frozenset({"training"})), "a secret")
    return table


@pytest.mark.usefixtures("client")
def test_a_client_s_token(gate: Gate) -> None:
    """A token of the token endpoint has its client's id, and is its partner's."""
    token = gate.token(client="a-client")
    claims = jwt.decode(token, options={"verify_signature": False})

    assert (claims["client_id"], claims["partner"]) == ("a-client", "northwind")
    assert principal(gate.ask(f"Bearer {token}")).partner == "northwind"


def test_a_token_without_a_client(gate: Gate) -> None:
    """A token that an operator or an older release issued has the partner as its client_id, and no client."""
    claims = jwt.decode(gate.token(), options={"verify_signature": False})

    assert claims["client_id"] == "northwind"
    assert "partner" not in claims
    assert principal(gate.decide()).partner == "northwind"


def test_a_removed_client_s_token(gate: Gate, client: Table) -> None:
    """Tokens of a client end with it; others of the partner do not."""
    client.delete_all([("CLIENT#a-client", "CLIENT")])

    assert_refused(gate.decide(client="a-client"))
    assert effect(gate.decide()) == "Allow"


@pytest.mark.parametrize(("seconds", "accepted"), [(-3_600, True), (-1, True), (0, False), (1, False)])
def test_ended_tokens_of_a_client(gate: Gate, client: Table, seconds: int, *, accepted: bool) -> None:
    """Tokens that were issued before a client's tokens were ended are refused, those issued since are not."""
    issued = datetime.now(UTC).replace(microsecond=0)
    ended = issued + timedelta(seconds=seconds, microseconds=1)
    item = client.get(("CLIENT#a-client", "CLIENT"))
    assert item
    client.put(Put({**item, "tokensNotBefore": clock.to_text(ended)}))
    signer = values.replace(gate.signer, now=lambda: issued)
    token = signer.issue(Claims("token-1", "northwind", JOHN.id, LATER, None, client="a-client"))
    context = gate.ask(f"Bearer {token}")["context"]

    assert ("principal" in context) is accepted
    assert effect(gate.decide()) == "Allow"


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() == "token refused"]


def test_a_refusal_can_be_found_in_the_log(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal's line has the request's id, which the caller knows too, its address, its route and the reason."""
    caplog.set_level(logging.INFO)
    gate.ask("Bearer nonsense")

    (line,) = refusals(caplog)
    assert (line["request"], line["address"], line["route"], line["reason"]) == (
        REQUEST_ID,
        ADDRESS,
        "GET /api/v2/orders/{orderId}",
        "malformed",
    )


def test_nothing_of_a_refused_token_is_its_reason(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """The logged reason of a refusal is one of `RefusalReason`, whatever the token contains."""
    caplog.set_level(logging.INFO)
    for header in ({"crit": ["ANY TEXT"]}, {"kid": "ANY TEXT"}, {"typ": "ANY TEXT"}, {"alg": "ANY TEXT"}, {}):
        text = base64.urlsafe_b64encode(json.dumps({"typ": "at+jwt", "kid": "x", "alg": "ES256", **header}).encode())
        gate.ask(f"Bearer {text.decode().rstrip('=')}.e30.AAAA")
    for changes in ({"token_id": "ANY TEXT"}, {"user": "ANY TEXT"}, {"partner": "ANY TEXT"}):
        gate.ask(f"Bearer {gate.token(**changes)}")

    lines = refusals(caplog)
    assert len(lines) == 8
    assert {line["reason"] for line in lines} <= {str(reason) for reason in RefusalReason}
    assert "ANY TEXT" not in repr(lines)


@pytest.mark.parametrize("name", ["token_id", "partner", "user", "client", "unit"])
@pytest.mark.parametrize("bad", ["x" * 3_000, "\ud800", "a b", "a#b", "a/b", "é", "a\n", " "], ids=ascii)
def test_ids_of_a_signed_token_are_plain(own: OwnErrors, name: str, bad: str) -> None:
    """A signed token with an id that cannot be part of a key is refused with 401, and no item is read for it."""
    changes = {"business_units": frozenset({bad})} if name == "unit" else {name: bad}

    for resource in (TRAINING, DEALS):
        assert_refused(own.call(own.token(**changes), resource))
    assert own.counted() == {}


@pytest.mark.usefixtures("retries_without_waiting")
def test_tables_that_do_not_answer_are_no_refusal(
    services: Services, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    """If the tables do not answer, the authorizer logs the cause and raises Unavailable rather than a 401."""
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
                SHARED_KEY,
            )
        ),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
    )

    with pytest.raises(Unavailable):
        gate.handler(bearer_event(gate.token()), CONTEXT)

    (record,) = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
    assert (record["msg"], record["cause"]) == ("unavailable", "BatchGetItem: cut")


# Contracts with error shapes of their own, over a table in memory.


class Second:
    """Unix time, set by hand."""

    now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class OwnErrors(Gate):
    """An authorizer for a contract with an error shape of its own."""

    second: Second
    reference_tokens: ReferenceTokens
    memory: Memory

    def call(self, token: str, resource: str = DEALS) -> dict[str, Any]:
        return self.handler(bearer_event(token, resource), CONTEXT)

    def reference(self, **changes: Any) -> str:
        return self.reference_tokens.issue(self.token(**changes), datetime.now(UTC) + timedelta(hours=1))

    def counted(self) -> dict[str, int]:
        """How many requests were counted, by token and second."""
        return {
            "/".join(key): int(item["requests"]["N"])
            for key, item in self.memory.scan("AccountsTable")
            if key[0].startswith("RATE#")
        }


@pytest.fixture
def own(key: SigningKey) -> OwnErrors:
    """An authorizer that knows one partner, which is a CRM account."""
    memory = Memory()
    services = services_over(memory, Watch())
    accounts = services.accounts(Deadline.after(60))
    accounts.save_partner(
        values.replace(PARTNER, grants=frozenset({"deals", "training"}), deals=DealTerms("enterprise"))
    )
    accounts.save_signing_key(key.key_id, key.public_jwk)
    verifier = Verifier(KeyRing(accounts.signing_keys), ISSUER, AUDIENCE)
    second = Second()
    return OwnErrors(
        make_handler(
            Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), SHARED_KEY, second)
        ),
        accounts,
        Signer(PrivateKey(key.key_id, key.private_key, "ES256"), ISSUER, AUDIENCE),
        second,
        services.reference_tokens(Deadline.after(60)),
        memory,
    )


@pytest.mark.parametrize(
    ("resource", "prefix"),
    [
        ("/v2", "/v2"),
        ("/v2/orders", "/v2"),
        ("/v2/orders/{order_id}/line_items/{id}", "/v2"),
        ("/v2/{proxy+}", "/v2"),
        ("/v1/ecards", "/v1"),
        ("/api/v2/orders", None),
        ("/webhooks/{id}", None),
        ("/v2x/orders", None),
        ("/", None),
    ],
)
def test_contract_by_resource(resource: str, prefix: str | None) -> None:
    """The first part of the resource decides under which contract a call is made."""
    first = first_part(resource)

    assert (first if first in own_errors() else None) == prefix


@pytest.mark.parametrize("path", ["//v2/orders", "/%76%32/orders", "/v2%2forders", "/V2/orders", "/api/v2/orders"])
def test_the_path_s_text_does_not_matter(own: OwnErrors, path: str) -> None:
    """A path that API Gateway leads to a resource of `/v2` is counted by its resource, however it is written."""
    own.handler(authorizer_event(f"Bearer {own.token()}", resource=DEALS, path=path), CONTEXT)

    assert own.counted() == {"RATE#token-1/1700000000": 1}


def test_a_long_path_makes_no_long_answer(own: OwnErrors) -> None:
    """Neither a decision nor a refusal grows with the caller's path."""
    path = "/v2/" + "x" * 9_000
    for header in (f"Bearer {own.token()}", "Bearer nonsense"):
        decision = own.handler(authorizer_event(header, resource="/v2/{proxy+}", path=path), CONTEXT)
        assert len(json.dumps(decision)) < 1_000


def several(*headers: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return authorizer_event(headers=found)


@pytest.mark.parametrize("second", ["Bearer nonsense", "Basic dTpw", "", "same"])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("good_first", [True, False])
def test_two_headers_are_none(own: OwnErrors, name: str, second: str, *, good_first: bool) -> None:
    """A request with two Authorization values is unauthorized, whatever the case of the names and their order."""
    good = f"Bearer {own.token()}"
    headers = [("Authorization", good), (name, good if second == "same" else second)]

    assert_refused(own.handler(several(*headers if good_first else headers[::-1]), CONTEXT))


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
@pytest.mark.parametrize("resource", [TRAINING, DEALS, "/v1/orders", "/webhooks"])
def test_unauthorized_callers_are_passed_on_to_be_refused(own: OwnErrors, header: str | None, resource: str) -> None:
    """An unauthorized caller is passed on to the function, which refuses it, under every contract."""
    assert_refused(own.ask(header, resource=resource))


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_requests_without_headers_are_passed_on(own: OwnErrors, headers: Any) -> None:
    """A request without headers is passed on to be refused."""
    event = {**authorizer_event(resource=DEALS), "headers": headers, "multiValueHeaders": headers}

    assert_refused(own.handler(event, CONTEXT))


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
def test_bad_tokens_are_passed_on_as_unauthorized(own: OwnErrors, changes: dict[str, Any]) -> None:
    """A bad token, JWT or reference token, is unauthorized on every contract and is not counted."""
    own.accounts.revoke("northwind", "stolen", LATER)

    for token in (own.token(**changes), own.reference(**changes)):
        assert_refused(own.call(token), "unauthorized")
        assert_unauthorized(own, f"Bearer {token}")
    assert own.counted() == {}


def test_good_tokens_have_a_principal(own: OwnErrors) -> None:
    """A caller with a good token gets the same principal as on every other contract."""
    decision = own.call(own.token())

    assert (effect(decision), f"{STAGE_ARN}/*") == (
        "Allow",
        decision["policyDocument"]["Statement"][0]["Resource"],
    )
    assert list(decision["context"]) == ["principal", "requestsASecond", "requestsLeft"]
    assert principal(decision) == principal(own.decide())


def test_switched_off_partners_are_passed_on(own: OwnErrors) -> None:
    """A partner that is switched off is passed on to be refused, under every contract."""
    own.accounts.save_partner(values.replace(PARTNER, active=False, usage_key="plan-key"))

    assert_refused(own.call(own.token()), "switched-off", "northwind", "plan-key", left="9")
    assert_refused(own.decide(), "switched-off", "northwind", "plan-key")


def test_ten_requests_a_second(own: OwnErrors) -> None:
    """A token's 11th request within a second is refused, and the next second allows requests again."""
    token = own.token()
    for left in range(9, -1, -1):
        context = own.call(token)["context"]
        assert "principal" in context
        assert (context["requestsASecond"], context["requestsLeft"]) == ("10", str(left))

    for _ in range(2):
        assert_refused(own.call(token), "too-many-requests", "northwind", left="0")
    own.second.now += 0.74
    assert_refused(own.call(token), "too-many-requests", "northwind", left="0")
    own.second.now += 0.01
    assert "principal" in own.call(token)["context"]


def test_other_tokens_are_counted_for_themselves(own: OwnErrors) -> None:
    """Each token has its own count of requests, even for the same user."""
    for _ in range(11):
        own.call(own.token())

    assert "principal" in own.call(own.token(token_id="token-2"))["context"]
    assert own.counted() == {"RATE#token-1/1700000000": 11, "RATE#token-2/1700000000": 1}


def test_other_contracts_are_not_counted(own: OwnErrors) -> None:
    """Requests to other contracts are neither counted nor refused."""
    token = own.token()
    for _ in range(20):
        assert effect(own.call(token, TRAINING)) == "Allow"

    assert own.counted() == {}
    assert "principal" in own.call(token)["context"]


def test_a_reference_token_counts_as_its_jwt(own: OwnErrors) -> None:
    """A JWT and its reference tokens share one count."""
    jwt = own.token()
    tokens = [jwt, *(own.reference_tokens.issue(jwt, datetime.now(UTC)) for _ in range(2))]
    for number in range(10):
        own.call(tokens[number % 3])

    for token in tokens:
        assert_refused(own.call(token), "too-many-requests", "northwind", left="0")


def test_counts_expire(own: OwnErrors) -> None:
    """A count expires a minute after its second."""
    own.call(own.token())

    (item,) = [item for key, item in own.memory.scan("AccountsTable") if key[0].startswith("RATE#")]
    assert int(item["expires"]["N"]) == 1_700_000_060


def test_terms_reach_the_functions(own: OwnErrors) -> None:
    """Changed terms of an account reach the functions with the next request of the same token."""
    token = own.token()
    seen = [principal(own.call(token)).deals]
    for terms in (DealTerms("enterprise", changes_disabled=True), DealTerms("basic"), DealTerms("enterprise")):
        set_deal_terms(own.accounts, "northwind", terms)
        seen.append(principal(own.call(token)).deals)

    assert seen == [
        DealTerms("enterprise"),
        DealTerms("enterprise", changes_disabled=True),
        DealTerms("basic"),
        DealTerms("enterprise"),
    ]


def test_no_crm_account(own: OwnErrors) -> None:
    """A partner that is no CRM account has no terms for deals."""
    own.accounts.save_partner(PARTNER)

    assert principal(own.call(own.token())).deals is None


def test_terms_of_an_unknown_partner(own: OwnErrors) -> None:
    """Setting the terms of an unknown partner fails and creates none."""
    nobody = values.replace(PARTNER, id="nobody")
    with pytest.raises(Conflict):
        own.accounts.change_partner(nobody, values.replace(nobody, deals=DealTerms("enterprise")))
    assert own.accounts.partner("nobody") is None


def test_terms_change_nothing_else(own: OwnErrors) -> None:
    """Setting a partner's terms changes nothing else of its record."""
    before = own.accounts.partner("northwind")
    assert before

    set_deal_terms(own.accounts, "northwind", DealTerms("basic"))

    assert values.replace(before, deals=DealTerms("basic")) == own.accounts.partner("northwind")


@pytest.mark.parametrize("resource", [TRAINING, DEALS], ids=["training", "deals"])
def test_reference_tokens_everywhere(own: OwnErrors, resource: str) -> None:
    """A reference token, in either case, covers the same as its JWT on every contract."""
    narrow = {"business_units": frozenset({UK.id})}
    token = own.reference(**narrow)

    found = [principal(own.call(one, resource)) for one in (own.token(**narrow), token, token.upper())]
    assert found == [found[0]] * 3
    assert principal(own.call(token, resource)).business_units == (UK.id,)


def test_a_revoked_reference_token(own: OwnErrors) -> None:
    """A revoked reference token is unauthorized, while its JWT stays good."""
    jwt = own.token()
    token = own.reference_tokens.issue(jwt, datetime.now(UTC) + timedelta(hours=1))
    own.reference_tokens.revoke(token)

    assert_refused(own.call(token), "unauthorized")
    assert_unauthorized(own, f"Bearer {token}")
    assert "principal" in own.call(jwt)["context"]


def test_a_reference_token_for_a_reference_token(own: OwnErrors) -> None:
    """A reference token for another reference token is unauthorized."""
    token = own.reference_tokens.issue(own.reference(), datetime.now(UTC) + timedelta(hours=1))

    assert_refused(own.call(token), "unauthorized")


def test_nothing_of_a_reference_token_is_logged(own: OwnErrors, caplog: pytest.LogCaptureFixture) -> None:
    """The log has nothing of a reference token, accepted or refused."""
    caplog.set_level(logging.DEBUG)
    token, other = own.reference(), "ab" * 32
    for _ in range(11):
        own.call(token)
    own.call(other)

    records = [record for record in caplog.records if record.name == "ordering"]
    logged = " ".join(repr(vars(record)) for record in records)
    assert [*["authorized"] * 11, "token refused"] == [record.getMessage() for record in records]
    assert [vars(record)["tooFast"] for record in records[:11]] == [False] * 10 + [True]
    assert not [part for part in (token, token[:32], other, other[:32]) if part in logged]
