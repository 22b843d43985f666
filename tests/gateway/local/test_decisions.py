"""Policies, and the cache of decisions, without a running stack."""

import json

import pytest

from ordering_tools.local.gateway.authorization import Decision, DecisionCache, MalformedDecisionError, read_decision

ARN = "arn:aws:execute-api:us-east-1:123456789012:local/live/GET/api/v2/orders"


def decision(*statements: tuple[str, str]) -> Decision:
    return Decision(
        {},
        [{"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource} for effect, resource in statements],
    )


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
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}

    assert not Decision({}, [statement]).allows(ARN)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"principalId": 7, "policyDocument": {"Statement": []}},
        {"principalId": "a", "policyDocument": {"Statement": {}}},
        {"principalId": "a", "policyDocument": {"Statement": [{"Effect": "Maybe"}]}},
        {"principalId": "a", "policyDocument": {"Statement": []}, "context": []},
        {"principalId": "a", "policyDocument": {"Statement": []}, "context": {"list": []}},
    ],
)
def test_malformed_decisions(answer: object) -> None:
    """A result that is not a principal with a policy and a flat context is refused."""
    with pytest.raises(MalformedDecisionError):
        read_decision(json.dumps(answer).encode())


def test_decision_is_cached_for_its_time() -> None:
    """A decision is cached until its time has passed."""
    now = 0.0
    cache = DecisionCache(60, clock=lambda: now)
    kept = decision(("Allow", "*"))
    cache.put("caller", kept)

    now = 59.9
    within = cache.get("caller")
    now = 60.0
    after = cache.get("caller")

    assert (kept, None) == (within, after)


def test_zero_seconds_disable_the_cache() -> None:
    """With a time of 0 seconds no decision is cached."""
    cache = DecisionCache(0)
    cache.put("caller", decision(("Allow", "*")))

    assert cache.get("caller") is None


def test_cache_is_bounded() -> None:
    """A full cache drops the oldest decision for a new one."""
    cache = DecisionCache(60, size=2)
    for caller in ("one", "two", "three"):
        cache.put(caller, decision(("Allow", caller)))

    assert [cache.get(caller) is not None for caller in ("one", "two", "three")] == [False, True, True]
