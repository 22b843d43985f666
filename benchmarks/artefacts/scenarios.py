"""The requests that are measured, as API Gateway sends them, and the tables that answer them."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import engine
from benchmarks.artefacts.built import SETTINGS, STAGE, Built, build_all
from benchmarks.artefacts.certificates import own_certificate
from benchmarks.artefacts.meters import InstructionCounter
from benchmarks.artefacts.processes import CallFailed, Candidate, Endpoint, Process
from benchmarks.artefacts.tables import RecordedTables
from benchmarks.shop import CALLER, OFFER, ORDERS, PATIENCE, Shop
from ordering.aws.dynamodb import Send, Table
from ordering.clock import Deadline, system_clock
from ordering.identity.accounts import Accounts
from ordering.identity.reference_tokens import ReferenceTokens
from ordering.identity.tokens import Claims, PrivateKey, Signer
from ordering_tools.operations.signing import development_key

BOOK = 510
"""Orders in the book."""
ORDERS_FUNCTION = "training/orders"
AUTHORIZER = "identity/authorizer"
NOTHING = "nothing"
"""The reference that does nothing: what it takes is the runtime client's."""

_API = "abcdef1234"
_ARN = f"arn:aws:execute-api:us-east-1:123456789012:{_API}/live"
_AGENT = "python-httpx/0.28.1"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A request that is measured, again and again.

    Args:
        function: The function of ours that answers it.
        event: Makes the event of the next request.
        at_once: How many requests are measured in a turn.
    """

    name: str
    function: str
    event: Callable[[], Event]
    at_once: int = 10
    creates: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that a measurement needs."""

    built: Built
    tables: RecordedTables
    scenarios: Mapping[str, Scenario]
    secured: str
    """The endpoint of the tables over TLS."""
    certificate: Path
    """The file of its certificate."""
    layout: str
    """What the references are told of the keys of what is stored: in JSON."""

    def reference(self, name: str) -> Candidate:
        """Return a reference, which knows the keys."""
        found = self.built.references[name]
        return replace(found, variables={**found.variables, "LAYOUT": self.layout})

    def see_that_all_were_known(self) -> None:
        """See that every call of DynamoDB was one that had been recorded.

        Raises:
            CallFailed: One was not, so that something else was measured.
        """
        if self.tables.unknown:
            raise CallFailed(f"DynamoDB was asked what our functions did not ask before: {self.tables.unknown[:3]}")

    def process(
        self, candidate: Candidate, counter: InstructionCounter | None = None, *, secured: bool = False
    ) -> Process:
        """Start a process of a candidate, which reaches DynamoDB over TLS if that is `secured`."""
        endpoint = self._secured(candidate.trusted) if secured else Endpoint(self.tables.endpoint)
        return Process(candidate, self.built.python, self.built.runtime, endpoint, counter)

    def _secured(self, trusted: Path) -> Endpoint:
        authorities = STAGE / f"{trusted.stem}.pem"
        authorities.write_bytes(trusted.read_bytes() + self.certificate.read_bytes())
        return Endpoint(self.secured, authorities)


@dataclass(frozen=True, slots=True)
class Compared:
    """Candidates that answer the same requests: ours, then what it is compared with, then others."""

    scenario: Scenario
    """The first request of a process."""
    candidates: Mapping[str, Candidate]


def compared(recorded: Recorded) -> tuple[Compared, Compared]:
    """Return the function of orders and the authorizer, each with its references."""
    ours, reference = recorded.built.ours, recorded.reference
    orders = {
        f"`{ORDERS_FUNCTION}`": ours[ORDERS_FUNCTION],
        "T0": reference("t0"),
        "FastAPI": reference("fastapi_mangum"),
        "floor": reference("floor"),
    }
    authorizers = {
        f"`{AUTHORIZER}`": ours[AUTHORIZER],
        "T0": reference("t0_authorizer"),
        "floor": reference("floor_authorizer"),
    }
    return (
        Compared(recorded.scenarios["list of 10"], orders),
        Compared(recorded.scenarios["authorize a JWT"], authorizers),
    )


@cache
def record() -> Recorded:
    """Build the artefacts, and record what the engine answers to each of the requests that the functions make.

    Both are done once in a run. The recorded tables answer until the run ends.

    Raises:
        NotBuilt: The artefacts cannot be built here.
    """
    built = build_all()
    with engine.started() as endpoint, tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        tables = RecordedTables(endpoint)
        scenarios = {each.name: each for each in _scenarios(*_fill(engine.connected(endpoint), Path(folder)))}
        layout = json.dumps(_record_calls(built, tables, scenarios))
        tables.freeze()
    certificate, key = own_certificate(STAGE)
    return Recorded(built, tables, scenarios, tables.secured(certificate, key), certificate, layout)


def _fill(send: Send, folder: Path) -> tuple[str, str]:
    """Fill the tables; returns a JWT, and a reference token that stands for another."""
    shop = Shop(send)
    shop.open()
    for number in range(BOOK):
        shop.place(f"order-{number}")
    shop.orders.settle()
    accounts = Table(send, SETTINGS["ACCOUNTS_TABLE"], deadline=Deadline.after(PATIENCE))
    key = development_key(folder)
    Accounts(accounts).save_signing_key(key.key_id, key.public_jwk)
    signer = Signer(
        PrivateKey(key.key_id, key.private_key, "ES256"), SETTINGS["TOKEN_ISSUER"], SETTINGS["TOKEN_AUDIENCE"]
    )
    expires = system_clock() + timedelta(days=1)
    jwt, behind = (
        signer.issue(Claims(uuid.uuid4().hex, CALLER.partner, CALLER.user.id, expires, None, None)) for _ in range(2)
    )
    return jwt, ReferenceTokens(accounts).issue(behind, expires)


def _scenarios(jwt: str, reference: str) -> Iterator[Scenario]:
    path = "/api/v2/orders"
    for size, at_once in ((10, 10), (25, 10), (500, 2)):
        query = {"_page": "1", "_pageSize": f"{size}"}
        yield Scenario(f"list of {size}", ORDERS_FUNCTION, partial(api_event, "GET", path, query), at_once)
    yield Scenario("get one", ORDERS_FUNCTION, partial(api_event, "GET", f"{path}/{{orderId}}", {}, orderId="7"))
    create = "create, 1 item"
    yield Scenario(create, ORDERS_FUNCTION, partial(api_event, "POST", path, {}, body=_new()), creates=True)
    yield Scenario("authorize a JWT", AUTHORIZER, partial(_authorizer_event, jwt, path))
    yield Scenario("authorize a reference token", AUTHORIZER, partial(_authorizer_event, reference, "/v2/orders"))


def _record_calls(built: Built, tables: RecordedTables, scenarios: Mapping[str, Scenario]) -> dict[str, Any]:
    """Start our functions, and have them answer each request, so that the tables know all that they ask.

    Returns the keys that they asked for.
    """
    layout: dict[str, Any] = {"pages": {}}
    for function, candidate in built.ours.items():
        with Process(candidate, built.python, built.runtime, Endpoint(tables.endpoint)) as process:
            for scenario in scenarios.values():
                if scenario.function == function:
                    tables.requests.clear()
                    answer_of(process, scenario, process.call(scenario.event()))
                    if scenario.name.startswith("list"):
                        _note_keys(layout, scenario.name.rpartition(" ")[2], tables.requests)
    return layout


def _note_keys(layout: dict[str, Any], size: str, requests: list[tuple[str, dict[str, Any]]]) -> None:
    """Note the keys of a book's head and tickets, and the ranges of keys of a page."""
    layout["head"] = [
        [key["pk"]["S"], key["sk"]["S"]]
        for operation, body in requests
        if operation == "BatchGetItem"
        for key in body["RequestItems"][ORDERS]["Keys"]
    ]
    values = [body["ExpressionAttributeValues"] for operation, body in requests if operation == "Query"]
    # They came at the same time. A book's lanes take turns, so the first page has them in their order.
    layout["pages"][size] = sorted([each[name]["S"] for name in (":pk", ":first", ":last")] for each in values)


def answer_of(process: Process, scenario: Scenario, answer: Mapping[str, Any]) -> Any:
    """Return what all candidates must answer alike.

    Raises:
        CallFailed: The request was refused.
    """
    if scenario.function == AUTHORIZER:
        found = answer.get("context", {}).get("principal")
    else:
        found = answer["body"] if answer["statusCode"] in {200, 201} else None
    if found is None:
        raise CallFailed(f"{process.name}: {scenario.name}: {answer}\n{process.log()[-4_000:]}")
    body = json.loads(found)
    if scenario.creates:
        del body["created"]
    return body


def _new() -> dict[str, Any]:
    return {
        "purchaseOrderReference": "PO-4711",
        "emailKeys": False,
        "orderItems": [{"featureSetId": OFFER.id, "quantity": 3, "sourceReference": "S-0001"}],
    }


def api_event(
    method: str, resource: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None, **parts: str
) -> Event:
    """Return the event of a request, from a caller whose token covers one business unit."""
    path = resource
    for name, value in parts.items():
        path = path.replace(f"{{{name}}}", value)
    event = _common_event(method, resource, path, {"Authorization": "Bearer ey", "Accept": "application/json"})
    event["requestContext"]["authorizer"] = {
        "principalId": CALLER.partner,
        "principal": CALLER.to_text(),
        "integrationLatency": 7,
    }
    event |= {
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": parts or None,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }
    if body is not None:
        event["body"] = json.dumps(body)
        for name, value in {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}.items():
            event["headers"][name] = value
            event["multiValueHeaders"][name] = [value]
    return event


def _authorizer_event(token: str, path: str) -> Event:
    event = _common_event("GET", path, path, {"Authorization": f"Bearer {token}"})
    return {"type": "REQUEST", "methodArn": f"{_ARN}/GET{path}", **event}


def _common_event(method: str, resource: str, path: str, headers: Mapping[str, str]) -> Event:
    sent = {"Host": "api.example.com", "User-Agent": _AGENT, "X-Forwarded-For": "203.0.113.7", **headers}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": _API,
            "domainName": "api.example.com",
            "extendedRequestId": "Q1w2E3r4T5y6U7i=",
            "httpMethod": method,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": _AGENT, "caller": None, "user": None},
            "path": path,
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "requestTime": "29/Nov/2026:12:00:00 +0000",
            "requestTimeEpoch": 1_796_040_000_000,
            "resourceId": "a1b2c3",
            "resourcePath": resource,
            "stage": "live",
        },
    }
