"""What usage plans refuse over HTTP, in each contract's shape, and the tiers that commands give."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ordering.clock import system_clock
from ordering.identity.accounts import Partner
from ordering.identity.tokens import Claims
from ordering.values import replace
from ordering_tools.demo.data import demo_partners
from ordering_tools.demo.training import VALID
from ordering_tools.local.engine.engine import connect
from support.documented import check_response
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

GRANTS = {"/api/v2/orders": "training", "/webhooks": "training", "/v1/orders": "ecards", "/v2/orders": "deals"}
"""A path of each contract, and a grant of the demo's partners that may call it."""

PLANS: dict[str, dict[str, Any]] = {
    "throttled": {"throttle": {"rateLimit": 0.01, "burstLimit": 1}},
    "quota": {"quota": {"limit": 1, "period": "DAY"}},
}


@pytest.fixture(scope="module")
def http(real: RealStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real.stack.base_url, timeout=30) as client:
        yield client


def partner_with(real: RealStack, path: str, usage_key: str | None) -> tuple[Partner, dict[str, str]]:
    """A new partner that may call a path, with a key of a plan, and the headers of its requests."""
    like = demo_partners(GRANTS[path])[0]
    partner = replace(like, id=f"limited-{secrets.token_hex(4)}", business_units=(), usage_key=usage_key)
    real.accounts.save_partner(partner)
    claims = Claims(secrets.token_urlsafe(16), partner.id, next(iter(partner.users)), system_clock() + VALID, None)
    return partner, {"Authorization": f"Bearer {real.installation.signer.issue(claims)}"}


def planned_key(real: RealStack, limits: dict[str, Any]) -> str:
    """The value of a new key in a new plan of the stage."""
    gateway = connect("apigateway", real.services)
    (stage,) = gateway.get_stages(restApiId=real.installation.stack.resources["Api"])["item"]
    name = secrets.token_hex(10)
    stages = [{"apiId": real.installation.stack.resources["Api"], "stage": stage["stageName"]}]
    plan = gateway.create_usage_plan(name=name, apiStages=stages, **limits)
    key = gateway.create_api_key(name=name, value=name, enabled=True)
    gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    return name


@pytest.mark.parametrize("path", GRANTS)
@pytest.mark.parametrize(("plan", "retry_after"), [("throttled", "1"), ("quota", "3600")])
def test_beyond_the_limits(real: RealStack, http: httpx.Client, path: str, plan: str, retry_after: str) -> None:
    """Beyond its plan's rate or quota a partner gets 429 as the document lists it, and when to come again."""
    _, headers = partner_with(real, path, planned_key(real, PLANS[plan]))
    first, second = (http.get(path, headers=headers) for _ in range(2))

    assert (first.status_code == 429, second.status_code) == (False, 429)
    assert second.headers["Retry-After"] == retry_after
    assert ("quota" in second.text) == (plan == "quota")
    check_response("GET", path, 429, second.headers, second.text)


@pytest.mark.parametrize("path", GRANTS)
def test_a_key_that_is_in_no_plan(real: RealStack, http: httpx.Client, path: str) -> None:
    """A partner whose key is in no plan of the stage gets 403 as the document lists it."""
    _, headers = partner_with(real, path, "in-no-plan-of-the-stage")
    answer = http.get(path, headers=headers)

    assert answer.status_code == 403
    assert "This partner has no usage plan." in answer.text
    check_response("GET", path, 403, answer.headers, answer.text)


@pytest.mark.parametrize("path", GRANTS)
def test_refused_calls_and_partners_without_a_key(real: RealStack, http: httpx.Client, path: str) -> None:
    """Calls that a function is to refuse, and those of a partner without a key, share a key: none needs its own."""
    _, headers = partner_with(real, path, None)

    assert http.get(path, headers=headers).status_code not in {401, 403, 429}
    assert http.get(path, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_tier_by_commands(real: RealStack, http: httpx.Client) -> None:
    """A partner of an earlier release gets a tier and then another one, and the gateway counts it by the tier's key."""
    path = "/v1/orders"
    partner, headers = partner_with(real, path, None)
    keys = []
    for tier in ("standard", "basic"):
        assert real.ordering("partner", "set", partner.id, "--tier", tier).code == 0
        found = real.accounts.partner(partner.id)
        assert found
        keys.append(str(found.usage_key))
        assert http.get(path, headers=headers).status_code == 200
    shown = real.ordering("partner", "show", partner.id)

    assert len({*keys}) == 2
    assert "tier           basic" in [line.rstrip() for line in shown.out.splitlines()]
    assert not [key for key in keys if key in shown.out + real.logs]


def test_public_paths_need_no_key(http: httpx.Client) -> None:
    """The token endpoint and the documents about keys are called without a plan; so are preflights."""
    assert http.get("/.well-known/jwks.json").status_code == 200
    assert http.post("/connect/token").status_code == 400
    assert http.options("/v1/orders").status_code not in {401, 403, 429}
