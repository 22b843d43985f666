"""The contract's headers and errors: the same on every answer, for every caller and call."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ordering.aws.dynamodb import NoAnswer, Send
from ordering.deals import errors as deal_errors
from ordering.principal import DealTerms, Principal
from ordering.values import replace
from ordering.web.http import LARGEST_BODY
from support.aws.fake_connections import Recorder, failing
from support.aws.memory import Memory
from support.deals import ACCOUNT, ALWAYS, JSON, REASONS, Crm, Watch, fault, faults, price, services_over
from support.gateway import LambdaContext, Reply, _reply, load
from support.services import Services

LINE = "/v2/orders/1/line_items/1000001"
READS = ["/v2/orders", "/v2/orders/1", "/v2/orders/1/line_items", LINE, "/v2/products", "/v2/products/1"]
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/v2/orders", {"data": {"deal_id": 99}}),
    ("PUT", "/v2/orders/1", {"data": {"discount": 1}}),
    ("POST", "/v2/orders/1/line_items", {"data": {"product_id": 1, "currency": "EUR"}}),
    ("DELETE", LINE, None),
    ("POST", "/v2/products", {"data": {"name": "x"}}),
    ("PUT", "/v2/products/1", {"data": {"name": "y"}}),
    ("DELETE", "/v2/products/1", None),
    ("DELETE", "/v2/orders/1", None),
]
CALLS = [*(("GET", path, None) for path in READS), *CHANGES]
WITH_BODY = [(method, path) for method, path, body in CHANGES if body]
GOOD = '{"data": {"deal_id": 77}, "meta": "GOOD"}'
EACH_CALL = pytest.mark.parametrize(
    ("method", "path", "body"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS]
)


@pytest.fixture
def stocked(crm: Crm) -> Crm:
    """An account with one of everything."""
    crm.order(12)
    crm.product(prices=[price("10")])
    crm.line(1, 1)
    return crm


def as_(crm: Crm, caller: Principal) -> Crm:
    return Crm(crm.services, caller)


@EACH_CALL
def test_every_call_is_answered(stocked: Crm, method: str, path: str, body: Any) -> None:
    """Each call succeeds with 200 and an `ETag`, a delete with 204, and has the headers of every answer."""
    reply = stocked.request(method, path, body=body)

    of_content = {} if method == "DELETE" else {"Content-Type": JSON, "ETag": reply.headers["ETag"]}
    assert reply.status == (204 if method == "DELETE" else 200)
    assert {**ALWAYS, **of_content} == reply.headers


@pytest.mark.parametrize(
    ("terms", "grants", "code"),
    [
        (None, (), "insufficient_scope"),
        (None, ("deals",), "insufficient_scope"),
        (DealTerms("enterprise"), (), "insufficient_scope"),
        (DealTerms("enterprise"), ("training",), "insufficient_scope"),
        (DealTerms("basic"), ("training",), "insufficient_scope"),
        (DealTerms("basic"), ("deals",), "plan_required"),
        (DealTerms("basic", changes_disabled=True), ("deals",), "plan_required"),
    ],
    ids=repr,
)
def test_callers_without_access(
    stocked: Crm, recorder: Recorder, terms: DealTerms | None, grants: tuple[str, ...], code: str
) -> None:
    """A caller without the grant for deal orders, or on another plan, gets 403 for every call, without a read."""
    refused = as_(stocked, replace(ACCOUNT, grants=grants, deals=terms))
    recorder.calls.clear()

    for method, path, body in CALLS:
        assert fault(refused.request(method, path, body=body), 403) == (code,)
    assert recorder.calls == []


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[f"{method} {path}" for method, path, _ in CHANGES])
def test_changes_disabled(stocked: Crm, recorder: Recorder, method: str, path: str, body: Any) -> None:
    """An account with changes disabled gets 403 for every change, whatever the body."""
    frozen = as_(stocked, replace(ACCOUNT, deals=DealTerms("enterprise", changes_disabled=True)))
    recorder.calls.clear()

    for sent in (body, None, "{"):
        assert fault(frozen.request(method, path, body=sent), 403) == ("changes_disabled",)
    assert recorder.calls == []


def test_reads_go_on_where_changes_are_disabled(stocked: Crm) -> None:
    """An account with changes disabled can still read everything with GET and HEAD."""
    frozen = as_(stocked, replace(ACCOUNT, deals=DealTerms("enterprise", changes_disabled=True)))

    for path in READS:
        assert frozen.get(path).text == stocked.get(path).text
        assert (frozen.request("HEAD", path).status, frozen.request("HEAD", path).text) == (200, "")


@pytest.mark.parametrize("path", READS[1:4] + READS[5:])
def test_another_accounts_ids(stocked: Crm, stranger: Crm, path: str) -> None:
    """The answer for another account's id is identical to the one for an unknown id."""
    changes = [call for call in CHANGES if call[1] == path and call[0] != "POST"]
    for method, _, body in [("GET", path, None), *changes]:
        foreign = stranger.request(method, path, body=body)
        assert fault(foreign, 404) == ("not_found",)
        emptied = Crm(services_over(Memory(), Watch()), ACCOUNT).request(method, path, body=body)
        assert emptied.text == foreign.text
    assert stocked.get(path).status == 200


def test_lists_of_another_account(stocked: Crm, stranger: Crm) -> None:
    """No list, filtered or not, has anything of another account."""
    for query in ("", "?ids=1", "?sort_by=created_at", "?sort_by=id:desc"):
        assert [stranger.ids("/v2/orders" + query), stranger.ids("/v2/products" + query)] == [[], []]
    assert stranger.ids("/v2/orders?deal_id=12") == []
    assert stocked.ids("/v2/orders") == [1]


def pass_on(crm: Crm, method: str, path: str, authorizer: dict[str, Any] | None) -> Reply:
    """Send a call that the authorizer passed on without a principal."""
    event = crm.event(method, path, "", {"Host": "api.example.com"}, None, base64=False)
    if authorizer is None:
        del event["requestContext"]["authorizer"]
    else:
        event["requestContext"]["authorizer"] = authorizer
    return answer(crm, event)


def answer(crm: Crm, event: dict[str, Any]) -> Reply:
    path = event["resource"] = event["path"]
    function = (
        "deals/products" if "products" in path else "deals/line_items" if "line_items" in path else "deals/orders"
    )
    app = load(function)
    app.services = crm.services
    return _reply(app.handle(event, LambdaContext()))  # type: ignore[arg-type] # all that is used of it


REFUSED: dict[str, tuple[dict[str, Any] | None, int, str]] = {
    "unauthorized": ({"principalId": "unauthenticated", "refusal": "unauthorized"}, 401, "unauthorized"),
    "unknown reason": ({"principalId": "unauthenticated", "refusal": "who knows"}, 401, "unauthorized"),
    "no reason": ({"principalId": "unauthenticated"}, 401, "unauthorized"),
    "nothing": ({}, 401, "unauthorized"),
    "no authorizer": (None, 401, "unauthorized"),
    "switched off": ({"principalId": "northwind", "refusal": "switched-off"}, 403, "insufficient_scope"),
    "too fast": ({"principalId": "northwind", "refusal": "too-many-requests"}, 429, "rate_limit_exceeded"),
}


@pytest.mark.parametrize(("authorizer", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_the_function_itself(
    stocked: Crm, recorder: Recorder, authorizer: Any, status: int, code: str
) -> None:
    """A caller whom the authorizer passed on to be refused is refused on every path before anything is read."""
    recorder.calls.clear()

    for path in (*READS, "/v2/nothing", "/v2"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            assert fault(pass_on(stocked, method, path, authorizer), status) == (code,)
    assert recorder.calls == []


def test_text_of_401(stocked: Crm) -> None:
    """A 401 has the published text and names the scheme."""
    reply = pass_on(stocked, "GET", "/v2/orders", {})

    assert reply.json["errors"][0]["error"]["details"] == (
        "Required access token is missing, malformed, expired, or invalid."
    )
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="orders"'


def test_429_has_retry_after(stocked: Crm) -> None:
    """A 429 has `Retry-After`."""
    reply = pass_on(stocked, "GET", "/v2/orders", {"refusal": "too-many-requests"})

    assert reply.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/nothing"),
        ("POST", "/v2/contacts"),
        ("GET", "/v2/orders/1/items"),
        ("GET", "/v2/orders/1/line_items/1/more"),
        ("GET", "/v2/products/1/prices"),
        ("GET", "/v2"),
        ("DELETE", "/v2/orders"),
        ("PUT", "/v2/orders"),
        ("PATCH", "/v2/orders/1"),
        ("POST", "/v2/orders/1"),
        ("PUT", "/v2/products"),
        ("DELETE", "/v2/orders/1/line_items"),
        ("PUT", LINE),
    ],
)
def test_incorrect_path(stocked: Crm, method: str, path: str) -> None:
    """An unknown path and an unsupported method are both 404 `incorrect_path`."""
    assert fault(stocked.request(method, path, body={"data": {}}), 404) == ("incorrect_path",)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml",
        "text/*, image/*",
        "application/json;q=0",
        "application/json;q=0.000, text/html",
        "*/*;q=0",
        "application/json;q=0, */*",
        "application/problem+json",
        "x",
    ],
)
def test_406(stocked: Crm, recorder: Recorder, accept: str) -> None:
    """A request that does not accept JSON is 406, in JSON, and has no effect."""
    recorder.calls.clear()
    for method, path, body in CALLS:
        assert fault(stocked.request(method, path, body=body, headers={"Accept": accept}), 406) == ("not_acceptable",)
    assert recorder.calls == []


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "Application/JSON",
        "application/*",
        "application/json; charset=utf-8",
        "text/html, application/json;q=0.1",
        "text/html;q=0, */*;q=0.5",
        "text/html,*/*",
    ],
)
def test_accepted(stocked: Crm, accept: str) -> None:
    """A request that accepts JSON in any notation, or sends no `Accept`, is answered."""
    assert stocked.get("/v2/orders", headers={"Accept": accept}).status == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["application/json", "text/html"], 200),
        (["text/html", "application/json"], 200),
        (["*/*", "text/plain;q=0.5"], 200),
        (["text/html", "text/plain"], 406),
        (["*/*", "application/json;q=0"], 406),
    ],
)
def test_accept_in_several_lines(stocked: Crm, lines: list[str], status: int) -> None:
    """The lines of a repeated `Accept` are one list."""
    assert stocked.get("/v2/orders", headers={"Accept": lines}).status == status


def test_content_type_in_several_lines(stocked: Crm, recorder: Recorder) -> None:
    """Lines of `Content-Type` that differ are 400 `invalid_header`; equal ones are one value."""
    recorder.calls.clear()
    for method, path in WITH_BODY:
        headers = {"Content-Type": ["text/plain", "application/json"]}
        assert fault(stocked.request(method, path, body='{"data": {}}', headers=headers), 400) == ("invalid_header",)
    assert recorder.writes == []

    equal = {"Content-Type": ["application/json"] * 2}
    assert stocked.request("PUT", "/v2/orders/1", body='{"data": {}}', headers=equal).status == 200


@pytest.mark.parametrize(
    "path", ["/v2/orders/%31", "/v2/%6Frders/1", "/v2/orders/%31/", "/v2/orders%2F1", "/v2/orders/1%20"]
)
def test_percent_encoded_paths(stocked: Crm, path: str) -> None:
    """A percent-encoded unreserved character of a path is the character; any other stays encoded."""
    reply = stocked.get(path)

    assert reply.status == (404 if "%2" in path else 200)


def test_links_of_percent_encoded_paths(stocked: Crm) -> None:
    """Links have the characters of the path that they are equivalent to."""
    links = stocked.get("/v2/%6Frders").json["meta"]["links"]

    assert "/v2/orders?" in links["self"]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "json",
        "application/jsonp",
    ],
)
def test_content_type(stocked: Crm, recorder: Recorder, content_type: str) -> None:
    """A body whose content type is not JSON in UTF-8 is 400 `invalid_header`."""
    recorder.calls.clear()

    for method, path in WITH_BODY:
        reply = stocked.request(method, path, body='{"data": {}}', headers={"Content-Type": content_type})
        assert fault(reply, 400) == ("invalid_header",)
    assert recorder.writes == []


def test_content_type_absent(stocked: Crm) -> None:
    """A body without a content type is 400 `invalid_header`."""
    event = stocked.event("PUT", "/v2/orders/1", "", {}, '{"data": {}}', base64=False)

    assert fault(answer(stocked, event), 400) == ("invalid_header",)


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON", 'application/json;charset="UTF-8"'])
def test_content_types_accepted(stocked: Crm, content_type: str) -> None:
    """The content type may have any case and name its character set."""
    sent = stocked.request("PUT", "/v2/orders/1", body='{"data": {}}', headers={"Content-Type": content_type})

    assert sent.status == 200


NO_JSON = ["", " ", "order", "{", '{"data": {}', "{'data': {}}", '{"data": {},}', "\ufeff{}", "<order/>", "data=1"]


@pytest.mark.parametrize(
    "body", [*NO_JSON, '{"data": {"deal_id": 01}}', "[" * 100_000, '{"a":' * 100_000], ids=lambda text: text[:20]
)
def test_malformed_json(stocked: Crm, body: str) -> None:
    """A body that is not JSON is 400 `invalid_payload`."""
    for method, path in WITH_BODY:
        assert fault(stocked.send_json(method, path, body), 400) == ("invalid_payload",)


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", GOOD.encode("utf-16"), GOOD.encode("utf-32"), GOOD.encode().replace(b"GOOD", b"\xed\xa0\x80")],
    ids=["no UTF-8", "UTF-16", "UTF-32", "half a character"],
)
def test_other_encodings(stocked: Crm, body: bytes) -> None:
    """A body in another encoding than UTF-8 is 400 `invalid_payload`."""
    sent = base64.b64encode(body).decode()

    reply = stocked.request("POST", "/v2/orders", body=sent, base64=True, headers={"Content-Type": "application/json"})

    assert fault(reply, 400) == ("invalid_payload",)


def test_base64(stocked: Crm) -> None:
    """A body that the gateway passes on in base64 is decoded, and malformed base64 is 400."""
    headers = {"Content-Type": "application/json"}
    sent = base64.b64encode(GOOD.encode()).decode()

    assert stocked.request("POST", "/v2/orders", body=sent, base64=True, headers=headers).status == 200
    assert fault(stocked.request("POST", "/v2/orders", body="***", base64=True, headers=headers), 400) == (
        "invalid_payload",
    )


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", "null", "1", '"x"', '{"deal_id": 1}', '{"data": null}', '{"data": []}', '{"data": "x"}', '{"data": 1}',
     '{"meta": {"type": "order"}}', '{"data": {}, "more": 1}', '{"Data": {}}', '[{"data": {}}]'],
)  # fmt: skip
def test_no_envelope(stocked: Crm, body: str) -> None:
    """JSON without attributes in `data` is 422 `incorrect_payload`."""
    for method, path in WITH_BODY:
        assert fault(stocked.send_json(method, path, body), 422) == ("incorrect_payload",)


def test_too_large(stocked: Crm) -> None:
    """A body of more than 1 MiB is 413 in the contract's shape."""
    body = json.dumps({"data": {"deal_id": 5}, "meta": "x" * LARGEST_BODY})

    assert fault(stocked.send_json("POST", "/v2/orders", body), 413) == ("content_too_large",)


def test_many_faults_fit_an_answer(stocked: Crm) -> None:
    """The answer to thousands of unknown attributes fits Lambda's limit of 6 MB."""
    reply = stocked.post("/v2/orders", {"data": {f"{number:08}" + "~" * 50: 0 for number in range(15_000)}})

    assert len(faults(reply, 422)) <= 1_000
    assert len(json.dumps({"body": reply.text}).encode()) < 6 * 1024 * 1024


def broken(send: Send) -> Crm:
    return Crm(services_over(send, Watch()), ACCOUNT)


@EACH_CALL
@pytest.mark.usefixtures("retries_without_waiting")
def test_503(method: str, path: str, body: Any) -> None:
    """If the tables do not answer in time, every call is 503 with `Retry-After`."""
    crm = broken(failing(NoAnswer("cut"), Memory()))

    reply = crm.request(method, path, body=body)

    assert fault(reply, 503) == ("temporarily_unavailable",)
    assert reply.headers["Retry-After"] == "1"


@EACH_CALL
def test_500(method: str, path: str, body: Any) -> None:
    """A 500 reveals nothing of the failure."""
    reply = broken(failing(KeyError("a secret of ours"), Memory())).request(method, path, body=body)

    assert fault(reply, 500) == ("server_error",)
    assert "secret" not in reply.text


def test_every_status_and_code_has_a_text() -> None:
    """Statuses have the contract's texts, and every code has a message."""
    assert REASONS == deal_errors.STATUSES
    assert all(message.strip() for message in deal_errors.MESSAGES.values())


@pytest.mark.parametrize("path", READS)
def test_head(stocked: Crm, path: str) -> None:
    """HEAD has the status and headers of GET, and no body, for errors too."""
    for target in (path, path + "?x=1"):
        head, get = stocked.request("HEAD", target), stocked.get(target)
        assert (get.status, get.headers, "") == (head.status, head.headers, head.text)


def test_options(stocked: Crm) -> None:
    """OPTIONS lists the methods of a path and has the headers of every answer."""
    expected = {
        "/v2/orders": "GET, HEAD, OPTIONS, POST",
        "/v2/orders/1": "DELETE, GET, HEAD, OPTIONS, PUT",
        "/v2/orders/1/line_items": "GET, HEAD, OPTIONS, POST",
        LINE: "DELETE, GET, HEAD, OPTIONS",
        "/v2/products": "GET, HEAD, OPTIONS, POST",
        "/v2/products/1": "DELETE, GET, HEAD, OPTIONS, PUT",
    }
    for path, allowed in expected.items():
        reply = stocked.request("OPTIONS", path)
        assert (204, {**ALWAYS, "Allow": allowed}) == (reply.status, reply.headers)


def test_users_of_an_account_share_its_orders(services: Services) -> None:
    """Users of one account see the same orders."""
    first = Crm(services, ACCOUNT)
    second = Crm(services, replace(ACCOUNT, user=replace(ACCOUNT.user, id="another")))

    first.order(12)

    assert second.ids("/v2/orders") == [1]
