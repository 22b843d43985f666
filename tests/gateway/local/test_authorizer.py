"""Authorizers of a running stack: decisions, their context and cache, and responses to refused callers."""

import httpx
import pytest

pytestmark = pytest.mark.gateway


def get(client: httpx.Client, token: str, path: str = "/echo", method: str = "GET") -> httpx.Response:
    return client.request(method, path, headers={"Authorization": f"Bearer {token}"})


def test_context_is_text(client: httpx.Client) -> None:
    """A function receives all values of the context as text, without nulls, and the principal's id."""
    context = get(client, "allow:context").json()["event"]["requestContext"]["authorizer"]

    assert tuple(context[key] for key in ("flag", "ratio", "text", "principalId", "kind")) == (
        "true",
        "1.5",
        "text",
        "caller",
        "REQUEST",
    )
    assert "absent" not in context


def test_missing_identity(client: httpx.Client) -> None:
    """Without the header the response is UNAUTHORIZED, and the authorizer is not called."""
    before = int(get(client, "allow:before").json()["event"]["requestContext"]["authorizer"]["calls"])
    missing = client.get("/echo")
    empty = client.get("/echo", headers={"Authorization": ""})
    after = int(get(client, "allow:after").json()["event"]["requestContext"]["authorizer"]["calls"])

    assert [missing.status_code, empty.status_code] == [401, 401]
    assert before + 1 == after


def test_unauthorized(client: httpx.Client) -> None:
    """If the authorizer raises Unauthorized, the response is UNAUTHORIZED."""
    response = get(client, "unauthorized")

    assert (response.status_code, response.json()["title"]) == (401, "Who are you?")


@pytest.mark.parametrize("token", ["deny", "other-stage"])
def test_access_denied(client: httpx.Client, token: str) -> None:
    """If the policy denies the method or does not cover it, the response is ACCESS_DENIED."""
    response = get(client, token)

    assert response.status_code == 403
    assert response.json()["message"] == "User is not authorized to access this resource"


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("fail", "AUTHORIZER_FAILURE"),
        ("malformed", "AUTHORIZER_CONFIGURATION_ERROR"),
        ("nested", "AUTHORIZER_CONFIGURATION_ERROR"),
    ],
)
def test_failures_are_not_refusals(client: httpx.Client, token: str, kind: str) -> None:
    """If the authorizer fails or its result is malformed, the response is a server error."""
    response = get(client, token)

    assert (500, {"title": "Failed", "kind": kind}) == (response.status_code, response.json())


def test_decision_is_cached(client: httpx.Client) -> None:
    """Within ReauthorizeEvery there is one decision for a header, for all paths."""
    first = get(client, "allow:kept").json()["event"]["requestContext"]["authorizer"]
    second = get(client, "allow:kept", "/echo/7").json()["event"]["requestContext"]["authorizer"]

    assert first == second


def test_cached_policy_for_one_method_refuses_another(client: httpx.Client) -> None:
    """A policy for a single method is cached as in production, where it would refuse the next method."""
    first = get(client, "one-method")
    second = get(client, "one-method", "/echo/7")

    assert [first.status_code, second.status_code] == [200, 403]
