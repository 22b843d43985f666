"""What the authorizer's decision costs, for each kind of token and path.

On paths whose contract has error shapes of its own, API Gateway keeps no decision (docs/decisions/0006), so that every
request pays for one, and one more invocation. This measures the decision itself, on the modelled service without
latencies: what it asks of DynamoDB, and the time that this machine's processor needs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks.report import Must, Results, Section
from benchmarks.service import Service
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Usage
from ordering.clock import Deadline, system_clock
from ordering.contexts import own_errors
from ordering.identity.accounts import Partner
from ordering.identity.authorizer import Authorizer, Handler, make_handler
from ordering.identity.services import IdentityServices
from ordering.identity.tokens import Claims, PrivateKey, Signer
from ordering.identity.verifier import KeyRing, Verifier
from ordering.principal import DealTerms, OrderSource, User

NAME = "decisions"
REPETITIONS = 400
PROMISED = {"JWT on /v2": (2, 2, 1), "64 characters on /v2": (3, 3, 1), "JWT on /api/v2, when not cached": (1, 2, 0)}
"""Calls, read units and write units of each."""

_STAGE_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one decision took."""

    usage: Usage
    milliseconds: float


class _Invocation:
    """A function with all its time left."""

    def get_remaining_time_in_millis(self) -> int:
        return 6_000


def run() -> Section:
    """Measure them."""
    spent = measure()
    kept = Spent(Usage(), 0.0)
    rows = [
        [name, f"{one.usage.calls}", f"{one.usage.reads:.0f}", f"{one.usage.writes:.0f}", f"{one.milliseconds:.2f}"]
        for name, one in {"cached by the gateway, /api/v2": kept, **spent}.items()
    ]
    musts = [
        Must(
            f"{name}: {calls} calls, {reads} read units, {writes} write units",
            f"{spent[name].usage.calls}, {spent[name].usage.reads:.0f}, {spent[name].usage.writes:.0f}",
            (spent[name].usage.calls, spent[name].usage.reads, spent[name].usage.writes) == (calls, reads, writes),
        )
        for name, (calls, reads, writes) in PROMISED.items()
    ]
    return Section(NAME, "Authorizer's decisions", _EXPLANATION, [Results(_TITLE, _COLUMNS, rows)], musts)


_TITLE = f"One decision, warm; times are medians of {REPETITIONS}, without the network"
_COLUMNS = ("<token and path", "calls", "read units", "write units", "ms")
_EXPLANATION = """
The cost of a request before its function runs. The write counts a token's requests in its second, if the contract
limits them. A decision that the gateway has not cached also costs one invocation of the authorizer.
"""


def measure() -> dict[str, Spent]:
    """Let an authorizer decide, and return what each kind of decision took."""
    connections = Connections({"ACCOUNTS_TABLE": "AccountsTable"}, Service())
    jwt, reference, authorizer = _open(IdentityServices(connections))
    return {
        "JWT on /api/v2, when not cached": _spend(connections.usage, authorizer, "/api/v2/orders", jwt),
        "JWT on /v2": _spend(connections.usage, authorizer, "/v2/orders", jwt),
        "64 characters on /v2": _spend(connections.usage, authorizer, "/v2/orders", reference),
    }


def _open(services: IdentityServices) -> tuple[str, str, Handler]:
    """Make a partner with a JWT and a reference token, and the authorizer that knows them."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    user = User("3d0f2c1e-93a5-4f0b-8f39-7c1d5b8a9e10", "May", "Keller", "may.keller@example.com")
    deadline = Deadline.after(60)
    accounts = services.accounts(deadline)
    accounts.save_signing_key("key", ECAlgorithm.to_jwk(private.public_key(), as_dict=True))
    accounts.save_partner(
        Partner(
            id="adventure-works",
            active=True,
            payment_terms="invoice",
            grants=frozenset({"deals", "training"}),
            order_source=OrderSource("7be1e2d4-0d53-4d8b-9a38-2c7a4b1f6e55", "CRM", invoiceable=True),
            business_units=(),
            users={user.id: user},
            deals=DealTerms("enterprise"),
        )
    )
    claims = Claims("token", "adventure-works", user.id, system_clock() + timedelta(days=1), None)
    jwt = Signer(PrivateKey("key", pem, "ES256"), "issuer", "audience").issue(claims)
    reference = services.reference_tokens(deadline).issue(jwt, claims.expires)
    verifier = Verifier(KeyRing(accounts.signing_keys), "issuer", "audience")
    # A second for each request, so that none comes too fast.
    seconds = iter(range(10**9))
    doorkeeper = Authorizer(
        verifier, services.accounts, services.reference_tokens, own_errors(), "key", lambda: float(next(seconds))
    )
    return jwt, reference, make_handler(doorkeeper)


def _spend(usage: Usage, authorizer: Handler, path: str, token: str) -> Spent:
    event: Mapping[str, Any] = {
        "methodArn": f"{_STAGE_ARN}/GET{path}",
        "resource": path,
        "httpMethod": "GET",
        "multiValueHeaders": {"Authorization": [f"Bearer {token}"]},
        "requestContext": {"requestId": "a-request", "identity": {"sourceIp": "203.0.113.7"}},
    }
    authorizer(event, _Invocation())
    usage.take()
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        answer = authorizer(event, _Invocation())
        times.append(time.perf_counter() - began)
        if "principal" not in answer["context"]:
            raise AssertionError(answer)
    used = usage.take()
    each = Usage(used.calls // REPETITIONS, used.reads / REPETITIONS, used.writes / REPETITIONS)
    return Spent(each, statistics.median(times) * 1000)
