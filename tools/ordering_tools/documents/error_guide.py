"""`ordering dev errors`: the guide to errors, with a section for each kind of error that a program can meet.

Statuses and examples are the contracts' own responses to each exception of their tables. `error_guide.yaml` has the
words. A kind of error without words, and words without a kind, are errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ordering.deals.contract import CONTRACT as DEALS
from ordering.deals.errors import MESSAGES
from ordering.deals.orders import DealTaken, OrderFull
from ordering.ecards.contract import CERTIFICATES
from ordering.ecards.contract import CONTRACT as ECARDS
from ordering.ecards.orders import NeverHandedOver, NotHandedOver
from ordering.entry.api import REFUSALS
from ordering.errors import (
    Fault,
    Invalid,
    KeyReused,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    VersionMismatch,
)
from ordering.identity.clients import ClientRefused
from ordering.identity.contract import CONTRACT as TOKENS
from ordering.identity.errors import Refused
from ordering.principal import DealTerms
from ordering.training.contract import ACCESS_KEYS
from ordering.training.contract import CONTRACT as TRAINING
from ordering.training.orders import KeysNeverIssued, KeysNotIssued
from ordering.web.http import ContentTooLarge, Contract, MethodNotAllowed, NoSuchPath, NotAcceptable
from ordering.web.http import UnsupportedMediaType as OtherMediaType
from ordering.web.problems import TITLES
from ordering.webhooks.contract import CONTRACT as WEBHOOKS
from ordering.webhooks.delivery import Withheld
from ordering.webhooks.registrations import ChangedMeanwhile, Disabled, TooMany
from ordering_tools.documents.sample_errors import SAMPLES, gateway_bodies, not_admitted, sample_request

FILES = "docs/guides/errors.md"

_WORDS: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of error of one family, with the responses that have it."""

    code: str
    status: int
    example: Mapping[str, Any]


def documents() -> dict[str, str]:
    """The guide's path from the project's root, and its text."""
    return {FILES: guide()}


def guide() -> str:
    """Write the guide.

    Raises:
        ValueError: A kind has no words, or words have no kind.
    """
    parts = [_WORDS["introduction"]]
    for family in (_problems(), _faults(), _deals(), _ecards(), _tokens()):
        parts += family
    return "\n".join(parts)


@cache
def sections() -> frozenset[str]:
    """Return the ids of all sections for kinds of errors, as a contract's errors link to them."""
    return frozenset(
        [*_WORDS["problems"], *(f"deal-{code.replace('_', '-')}" for code in _WORDS["deals"])]
        + [f"fault-{code.replace('_', '-')}" for code in _WORDS["faults"]]
        + [f"token-{code.replace('_', '-')}" for code in _WORDS["tokens"]]
    )


@cache
def fault_codes() -> frozenset[str]:
    """Return the codes of the errors that one problem lists."""
    return frozenset(_WORDS["faults"])


def _refused(contract: Contract, path: str, error: Exception) -> tuple[int, Mapping[str, Any]]:
    answer = contract.refuse(error, sample_request(path))
    return answer.status, dict(answer.body)  # type: ignore[arg-type] # errors are objects


def _of_admission(contract: Contract, path: str, **changes: Any) -> Exception:
    """Return the error with which a contract refuses a caller who lacks something."""
    (error,) = not_admitted(contract, path, **changes)
    return error


def _samples(contract: Contract, *kinds: type[Exception]) -> list[Exception]:
    return [SAMPLES[kind](contract.name) for kind in kinds]


def _everywhere() -> list[Exception]:
    """Return errors that every contract can have."""
    return [
        *_samples(TRAINING, Unauthorized, KeyReused, TooManyRequests, Unavailable, Exception),
        *(make() for name, make in REFUSALS.items() if name in {"switched-off", "too-many-units"}),
        NoSuchPath("This path does not exist. Check it against the API reference."),
        MethodNotAllowed(["GET", "HEAD", "OPTIONS"]),
        ContentTooLarge("The body is larger than 1,048,576 bytes. Send less in one request."),
        OtherMediaType("Send the body as 'Content-Type: application/json'."),
    ]


def _known(examples: Sequence[tuple[Contract, str, Exception]], code_of: Callable[[Any], str]) -> list[Kind]:
    """Return the kinds of some errors, each once, by status."""
    kinds: dict[str, Kind] = {}
    for contract, path, error in examples:
        status, body = _refused(contract, path, error)
        kinds.setdefault(code_of(body), Kind(code_of(body), status, body))
    return sorted(kinds.values(), key=lambda one: one.status)


def problem_kinds() -> list[Kind]:
    """Return the types of problems of `/api/v2`, `/webhooks` and `/.well-known`, and those of the gateway."""
    training = [
        *_everywhere(),
        Invalid([Fault("body", ("orderItems", 0, "quantity"), "out_of_range", "Must be greater than or equal to 1.")]),
        *_samples(TRAINING, NotFound),
        _of_admission(TRAINING, "/api/v2/orders", grants=()),
        _of_admission(TRAINING, "/api/v2/orders", payment_terms="card"),
        _of_admission(ACCESS_KEYS, "/api/v2/orders/4711/keys", grants=("training",)),
    ]
    keys = _samples(ACCESS_KEYS, KeysNotIssued, KeysNeverIssued)
    webhooks = [
        _of_admission(WEBHOOKS, "/webhooks", narrowed=True),
        *_samples(WEBHOOKS, VersionMismatch, TooMany, ChangedMeanwhile, Disabled, Withheld),
    ]
    examples: list[tuple[Contract, str, Exception]] = [
        *((TRAINING, "/api/v2/orders", one) for one in training),
        *((ACCESS_KEYS, "/api/v2/orders/4711/keys", one) for one in keys),
        *((WEBHOOKS, "/webhooks", one) for one in webhooks),
    ]
    kinds = _known(examples, lambda body: _section(body["type"]))
    bodies = [(_section(body["type"]), body) for body in gateway_bodies().values()]
    of_gateway = {code: Kind(code, body["status"], body) for code, body in bodies}
    return sorted([*kinds, *(of_gateway[one] for one in of_gateway.keys() - {kind.code for kind in kinds})], key=_order)


def deal_kinds() -> list[Kind]:
    """Return the codes of deal orders."""
    path = "/v2/orders"
    wrong = [("deal_id", "required"), ("discount", "blank"), ("discount", "invalid_type"), ("discount", "out_of_range")]
    faults = [Invalid([Fault("body", ("data", name), code, "Must be a number.")]) for name, code in wrong]
    errors: list[Exception] = [
        *_everywhere(),
        *faults,
        Invalid([Fault("body", ("data", "disount"), "unknown_field", "Unknown field 'disount'.")]),
        Invalid([Fault("query", ("per_page",), "out_of_range", "Must be less than or equal to 100.")]),
        Invalid([Fault("body", (), "malformed_json", "The body is not valid JSON.")]),
        *_samples(DEALS, NotFound, VersionMismatch, DealTaken, OrderFull),
        NotAcceptable("Responses are JSON. Send 'Accept: application/json'."),
        _of_admission(DEALS, path, grants=()),
        _of_admission(DEALS, path, deals=DealTerms("basic")),
        _of_admission(DEALS, path, deals=DealTerms("enterprise", changes_disabled=True)),
    ]
    return _known([(DEALS, path, one) for one in errors], lambda body: body["errors"][0]["error"]["code"])


def token_kinds() -> list[Kind]:
    """Return the codes of the token endpoint."""
    errors: list[Exception] = [
        Refused("invalid_request", "'client_id' is required."),
        Refused("unsupported_grant_type", "The only grant type is 'client_credentials'."),
        Refused("invalid_scope", "The client does not have the grant 'deals'."),
        *_samples(TOKENS, ClientRefused, Unavailable, Exception),
    ]
    return _known([(TOKENS, "/connect/token", one) for one in errors], lambda body: body["error"])


def _order(kind: Kind) -> tuple[int, str]:
    return kind.status, kind.code


def _section(address: str) -> str:
    return address.partition("#")[2]


def _problems() -> Iterator[str]:
    yield _WORDS["of_problems"]
    yield from _entries(problem_kinds(), _WORDS["problems"], "")


def _deals() -> Iterator[str]:
    yield _WORDS["of_deals"]
    yield from _entries(deal_kinds(), _WORDS["deals"], "deal-")


def _tokens() -> Iterator[str]:
    yield _WORDS["of_tokens"]
    yield from _entries(token_kinds(), _WORDS["tokens"], "token-")


def _entries(kinds: Sequence[Kind], words: Mapping[str, str], prefix: str) -> Iterator[str]:
    """Write a section for each kind."""
    if different := {kind.code for kind in kinds} ^ words.keys():
        raise ValueError(f"error_guide.yaml and the code differ in {', '.join(sorted(different))}")
    for kind in kinds:
        key = prefix + kind.code.replace("_", "-")
        message = f", {MESSAGES[kind.code]}" if prefix == "deal-" else ""
        yield f'<h3 id="{key}">{kind.code}</h3>\n'
        yield f"**{kind.status} {TITLES.get(kind.status, 'Not Acceptable')}**{message}. {words[kind.code].strip()}\n"
        example = json.dumps(kind.example, indent=2, ensure_ascii=False)
        yield f"<details><summary>Example</summary>\n\n```json\n{example}\n```\n\n</details>\n"


def _faults() -> Iterator[str]:
    """Write the codes of single errors as a table: each has its place and its words."""
    yield _WORDS["of_faults"]
    yield "| code | what is wrong, and what to do |\n|---|---|"
    for code, text in sorted(_WORDS["faults"].items()):
        yield f'| <a id="fault-{code.replace("_", "-")}"></a>`{code}` | {text} |'
    yield ""


def _ecards() -> Iterator[str]:
    """Write the messages of e-card orders, which have no codes."""
    yield _WORDS["of_ecards"]
    yield "| status | message | what to do |\n|---|---|---|"
    examples: list[tuple[Contract, Exception]] = [
        *((ECARDS, one) for one in _everywhere()),
        *((ECARDS, one) for one in _samples(ECARDS, NotFound)),
        (ECARDS, _of_admission(ECARDS, "/v1/orders", grants=())),
        (CERTIFICATES, _of_admission(CERTIFICATES, "/v1/orders", grants=("ecards",))),
        *((CERTIFICATES, one) for one in _samples(CERTIFICATES, NotHandedOver, NeverHandedOver)),
    ]
    rows = {}
    for contract, error in examples:
        status, body = _refused(contract, "/v1/orders", error)
        rows[status, body["message"]] = _WORDS["ecards"][status]
    for (status, message), text in sorted(rows.items()):
        yield f"| {status} | {message} | {text} |"
    yield ""
