"""The authorizer as API Gateway asks it: events of requests, and what a decision contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from support.gateway import REQUEST_ID

STAGE_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live"
ADDRESS = "203.0.113.7"
SHARED_KEY = "calls-without-own-key"
"""The API key of calls that have no partner's."""


def authorizer_event(
    *values: str,
    resource: str = "/api/v2/orders/{orderId}",
    path: str = "",
    method: str = "GET",
    headers: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the event of a request with these `Authorization` values, or with these headers."""
    several = {"Authorization": [*values]} if values else {}
    sent = {"Host": ["api.example"], **({name: [*those] for name, those in (headers or several).items()})}
    called = path or resource.replace("{orderId}", "7")
    return {
        "type": "REQUEST",
        "methodArn": f"{STAGE_ARN}/{method}{called}",
        "resource": resource,
        "path": called,
        "httpMethod": method,
        "headers": {name: those[-1] for name, those in sent.items()},
        "multiValueHeaders": sent,
        "requestContext": {"requestId": REQUEST_ID, "identity": {"sourceIp": ADDRESS}},
    }


def bearer_event(token: str, resource: str = "/api/v2/orders/{orderId}") -> dict[str, Any]:
    """Return the event of a request with a bearer token."""
    return authorizer_event(f"Bearer {token}", resource=resource)
