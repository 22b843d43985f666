"""The gateway's own responses: errors of every contract that can meet them, in the words of its functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from ordering.deals import contract as deals
from ordering.deals import errors as deal_errors
from ordering.ecards import contract as ecards
from ordering.errors import Forbidden, OrderingError, TooManyRequests, Unauthorized
from ordering.identity import contract as identity
from ordering.training import contract as training
from ordering.web import problems
from ordering.web.error_table import CHALLENGE
from ordering.web.http import LARGEST_BODY, Contract, NoSuchPath, Request, json_body
from ordering.webhooks import contract as webhooks
from ordering_tools.template import Template
from support.documented import check_response
from support.gateway import ROOT

ADDRESS = "https://docs.example.com"
TEMPLATE = Template.load(ROOT / "template.yaml").with_parameters(DocumentationUrl=ADDRESS)
DECLARED: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]["Api"]["Properties"]["GatewayResponses"]
RESPONSES: dict[str, dict[str, Any]] = {name: TEMPLATE.resolve(one) for name, one in DECLARED.items()}
TYPES = f"{ADDRESS}/docs/errors#"
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
NO_SUCH_PATH = ("MISSING_AUTHENTICATION_TOKEN", "RESOURCE_NOT_FOUND", "INVALID_SIGNATURE", "EXPIRED_TOKEN")
PROBLEMS = {"UNAUTHORIZED", "ACCESS_DENIED", *NO_SUCH_PATH}
"""Those that only /api/v2, /webhooks and paths of no contract can meet: on the other paths functions refuse callers."""

OF_BODIES = {"REQUEST_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"}
"""Those that only a request with a body can meet."""

TYPES_4XX = {
    *("ACCESS_DENIED", "BAD_REQUEST_BODY", "BAD_REQUEST_PARAMETERS", "EXPIRED_TOKEN", "INVALID_API_KEY"),
    *("INVALID_SIGNATURE", "MISSING_AUTHENTICATION_TOKEN", "QUOTA_EXCEEDED", "REQUEST_TOO_LARGE", "RESOURCE_NOT_FOUND"),
    *("THROTTLED", "UNAUTHORIZED", "UNSUPPORTED_MEDIA_TYPE", "WAF_FILTERED"),
}
"""Every type of a refusal that API Gateway has; those that the template does not name have DEFAULT_4XX."""

CONTRACTS: dict[str, Contract] = {
    "/api/v2": training.CONTRACT,
    "/webhooks": webhooks.CONTRACT,
    "/v1": ecards.CONTRACT,
    "/v2": deals.CONTRACT,
    "/connect": identity.CONTRACT,
    "/.well-known": identity.CONTRACT,
}
REQUEST = Request("GET", "/a/path", "", "an-id", {}, {}, None, is_base64=False)
WORDS = {"requestId": REQUEST.id}


def body_of(name: str) -> dict[str, Any]:
    """A gateway response's body with all its variables filled in."""
    text = RESPONSES[name]["ResponseTemplates"]["application/json"]
    body: dict[str, Any] = json.loads(re.sub(r"\$context\.([A-Za-z.]+)", lambda found: WORDS[found[1]], text))
    return body


def headers_of(name: str) -> dict[str, str]:
    """The headers with a fixed value."""
    headers = RESPONSES[name]["ResponseParameters"]["Headers"]
    return {
        header: value[1:-1] for header, value in headers.items() if isinstance(value, str) and value.startswith("'")
    }


def met_by(name: str) -> dict[str, Contract]:
    """The contracts that can meet a gateway response, by the prefix of their paths."""
    return {
        prefix: one for prefix, one in CONTRACTS.items() if name not in PROBLEMS or prefix in {"/api/v2", "/webhooks"}
    }


def operations(name: str) -> Iterator[tuple[str, str]]:
    """The methods and paths of the operations that can meet a gateway response."""
    for prefix in met_by(name):
        for path, methods in DOCUMENT["paths"].items():
            for method, operation in methods.items():
                below = path == prefix or path.startswith(f"{prefix}/")
                if below and (name not in OF_BODIES or "requestBody" in operation):
                    yield method.upper(), path


@pytest.mark.parametrize("name", sorted(RESPONSES.keys() - {"DEFAULT_4XX"}))
def test_gateway_responses_fit_every_documented_schema(name: str) -> None:
    """A gateway response has the status, header fields, media type and shape that the document lists for operations."""
    for method, path in operations(name):
        headers = {**headers_of(name), "X-Request-Id": str(UUID(int=1))}
        check_response(method, path, RESPONSES[name]["StatusCode"], headers, json.dumps(body_of(name)))


def test_no_operation_meets_the_default_refusal() -> None:
    """Each type of refusal has its response, but for those of request validation, which no operation uses."""
    assert TYPES_4XX - RESPONSES.keys() == {"BAD_REQUEST_BODY", "BAD_REQUEST_PARAMETERS"}
    assert not re.search(
        r"RequestModel|RequestParameters|RequestValidator|AWS_IAM", (ROOT / "template.yaml").read_text()
    )


@pytest.mark.parametrize("name", RESPONSES)
def test_gateway_responses_are_problems(name: str) -> None:
    """Each gateway response is a problem document, and nothing else if only contracts with problems can meet it."""
    body = body_of(name)
    fields = ["type", "title", "status", "detail", "instance", "requestId"]

    assert list(body)[:6] == fields
    assert (list(body) == fields) == (name in PROBLEMS)
    assert RESPONSES[name]["StatusCode"] == body["status"]
    assert body["type"].startswith(TYPES)
    assert problems.TITLES[body["status"]] == body["title"]
    assert headers_of(name)["Content-Type"] == problems.MEDIA_TYPE
    assert RESPONSES[name]["ResponseParameters"]["Headers"]["X-Request-Id"] == "context.requestId"
    assert list(RESPONSES[name]["ResponseTemplates"]) == ["application/json"]
    assert (body["instance"], body["requestId"]) == (f"urn:uuid:{REQUEST.id}", REQUEST.id)


@pytest.mark.parametrize("name", sorted(RESPONSES.keys() - PROBLEMS))
def test_gateway_responses_of_all_contracts(name: str) -> None:
    """What every contract can meet has the members of each, and the same words in all of them."""
    body = body_of(name)
    (error,) = body["errors"]
    code = error["error"]["code"]
    links = {"links": {"more_info": f"{TYPES}deal-{code.replace('_', '-')}"}}

    assert error == {
        "code": body["type"].removeprefix(TYPES),
        "detail": body["detail"],
        "error": {"code": code, "message": deal_errors.MESSAGES[code], "details": body["detail"]},
        "meta": {"type": "error", **links},
    }
    assert body["meta"] == {
        "type": "errors",
        "http_status": {**deal_errors.STATUSES, 415: "415 Unsupported Media Type"}[body["status"]],
        "logref": REQUEST.id,
        **links,
    }
    assert {body["message"], body["error_description"]} == {body["detail"]}


@pytest.mark.parametrize("name", RESPONSES)
def test_headers_of_gateway_responses(name: str) -> None:
    """Gateway responses have the headers of each contract, errors that pass `Retry-After`, and a 401 its challenge."""
    headers = headers_of(name)
    status = RESPONSES[name]["StatusCode"]

    for contract in met_by(name).values():
        assert contract.headers.items() <= headers.items()
    assert ("Retry-After" in headers) == (status in {429, 503})
    assert headers.get("WWW-Authenticate") == (CHALLENGE if status == 401 else None)


@pytest.mark.parametrize("name", RESPONSES)
def test_pages_can_read_gateway_responses(name: str) -> None:
    """A web page can read the gateway's own errors where the API allows pages at all, and not otherwise.

    A gateway response cannot compare the request's origin with a list. It contains nothing but the error.
    """
    allowing = Template(
        {**TEMPLATE.document, "Parameters": {"AllowedOrigins": {"Type": "String", "Default": "https://a"}}}
    ).with_parameters()
    headers = [template.resolve(DECLARED[name])["ResponseParameters"]["Headers"] for template in (TEMPLATE, allowing)]

    assert not any(header.startswith("Access-Control-") for header in headers[0])
    assert headers[1]["Access-Control-Allow-Origin"] == headers[1]["Access-Control-Expose-Headers"] == "'*'"


def too_large() -> OrderingError:
    request = Request(
        "POST", "/", "", "id", {"content-type": "application/json"}, {}, " " * (LARGEST_BODY + 1), is_base64=False
    )
    with pytest.raises(OrderingError) as raised:
        json_body(request)
    return raised.value


FUNCTIONS_ERRORS: dict[str, OrderingError] = {
    "UNAUTHORIZED": Unauthorized(),
    "ACCESS_DENIED": Forbidden(
        "switched-off", "This partner's access is switched off. Ask support to switch it on again."
    ),
    **dict.fromkeys(NO_SUCH_PATH, NoSuchPath("This path does not exist. Check it against the API reference.")),
    "REQUEST_TOO_LARGE": too_large(),
    "THROTTLED": TooManyRequests(),
}


@pytest.mark.parametrize("name", FUNCTIONS_ERRORS)
@pytest.mark.parametrize("contract", [training.CONTRACT, webhooks.CONTRACT], ids=["training", "webhooks"])
def test_gateway_responses_have_the_functions_words(
    name: str, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway and a function refuse the same request with the same problem."""
    monkeypatch.setenv("DOCUMENTATION_URL", ADDRESS)
    answer = contract.refuse(FUNCTIONS_ERRORS[name], REQUEST)
    body = body_of(name)

    assert answer.status == RESPONSES[name]["StatusCode"]
    assert isinstance(answer.body, dict)
    assert answer.body == {field: body[field] for field in answer.body}


@pytest.mark.parametrize("name", RESPONSES)
def test_types_are_those_of_functions(name: str) -> None:
    """A status that the functions answer too has one `type` in both."""
    body = body_of(name)
    known = {
        status: {cause.code for cause in one.causes.values() if "{" not in cause.code}
        for one in training.CONTRACT.errors.statuses
        if (status := one.status) not in {400, 403}
    }

    assert body["type"].removeprefix(TYPES) in known.get(body["status"], {body["type"].removeprefix(TYPES)})


def test_every_status_of_the_gateway_has_a_response() -> None:
    """The gateway's own 401, 403, 404, 413, 415, 429 and 5xx have responses in the template."""
    assert {response["StatusCode"] for response in RESPONSES.values()} >= {401, 403, 404, 413, 415, 429, 500, 503}
    assert {"DEFAULT_4XX", "DEFAULT_5XX", *PROBLEMS} <= RESPONSES.keys()
