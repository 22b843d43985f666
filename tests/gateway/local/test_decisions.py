"""Authorizers' policies, without a running stack."""

import json

import pytest

from ordering_tools.local.gateway.results import Decision, MalformedResultError, read_decision

ARN = "arn:aws:execute-api:us-east-1:123456789012:local/live/GET/api/v2/orders"


def decision(*statements: tuple[str, str], action: str | list[str] = "execute-api:Invoke") -> Decision:
    policy = [{"Effect": effect, "Action": action, "Resource": resource} for effect, resource in statements]
    return read_decision(json.dumps({"principalId": "a", "policyDocument": {"Statement": policy}}).encode())


@pytest.mark.parametrize(
    ("resource", "allowed"),
    [
        ("*", True),
        (ARN, True),
        ("arn:aws:execute-api:*:*:*/live/GET/*", True),
        ("arn:aws:execute-api:us-east-1:123456789012:local/*", True),
        (ARN.replace("orders", "order?"), True),
        (ARN.replace("GET", "POST"), False),
        (ARN[:-1], False),
        (f"{ARN}/*", False),
    ],
)
def test_resources_are_matched_with_wildcards(resource: str, *, allowed: bool) -> None:
    """`*` is any number of characters, including slashes, and `?` is one; all others are literal."""
    assert allowed is decision(("Allow", resource)).allows(ARN)


def test_deny_wins() -> None:
    """A statement that denies takes precedence over all that allow."""
    assert not decision(("Allow", "*"), ("Deny", ARN)).allows(ARN)


def test_no_statement_allows_nothing() -> None:
    """A policy without a matching statement allows nothing."""
    assert not decision().allows(ARN)


def test_other_actions_are_ignored() -> None:
    """A statement about another action does not allow calls of the API."""
    assert not decision(("Allow", "*"), action=["s3:*"]).allows(ARN)
    assert decision(("Allow", "*"), action=["s3:*", "EXECUTE-API:*"]).allows(ARN)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"principalId": 7, "policyDocument": {"Statement": []}},
        {"principalId": "a", "policyDocument": {"Statement": {}}},
        {"principalId": "a", "policyDocument": {"Statement": [{"Effect": "Maybe", "Action": "*", "Resource": "*"}]}},
        {"principalId": "a", "policyDocument": {"Statement": [{"Effect": "Allow", "Action": [], "Resource": "*"}]}},
        {"principalId": "a", "policyDocument": {"Statement": []}, "context": []},
        {"principalId": "a", "policyDocument": {"Statement": []}, "context": {"list": []}},
    ],
)
def test_malformed_decisions(answer: object) -> None:
    """A result that is not a principal with a policy and a flat context is refused."""
    with pytest.raises(MalformedResultError):
        read_decision(json.dumps(answer).encode())
