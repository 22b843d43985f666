"""API Gateway's usage plans in memory, as far as commands call them, and what IAM asks for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ordering_tools.operations.usage_tiers import TIERS
from support.policies import Access

PLANS = {plan: f"id-of-{plan}" for plan in TIERS.values()}
"""The physical id of each tier's plan, by logical id."""
GATEWAY = {"Api": "id-of-Api", **PLANS}
"""Those of the API and of the plans."""

_ARN = "arn:AWS::Partition:apigateway:AWS::Region::"


@dataclass
class MemoryUsage:
    """A client of API Gateway with the plans of a stack."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    planned: dict[str, list[str]] = field(default_factory=lambda: {plan: [] for plan in PLANS.values()})
    """The ids of the keys in each plan."""
    before: Callable[[str], None] = lambda _: None
    """Called with each operation before it is carried out; may raise."""
    accesses: set[Access] = field(default_factory=set)
    key_source: str = "AUTHORIZER"

    def __call__(self, service: str, **_: Any) -> MemoryUsage:
        """Connect to the service."""
        assert service == "apigateway"
        return self

    def get_paginator(self, operation: str) -> _Pages:
        """The pages of a list."""
        return _Pages(getattr(self, f"_{operation}"))

    # The names are the API's.
    def get_rest_api(self, restApiId: str) -> dict[str, Any]:  # noqa: N803 - as above
        """The API's settings."""
        self._note("GET", "/restapis/{}", restApiId)
        return {"apiKeySource": self.key_source}

    def create_api_key(self, name: str, value: str, *, enabled: bool) -> dict[str, Any]:
        """Create a key; several may have one name, but not one value."""
        self._note("POST", "/apikeys")
        if not 20 <= len(value) <= 128 or value in {one["value"] for one in self.keys}:
            raise _refusal("BadRequestException", "CreateApiKey")
        key = {"id": f"key-{len(self.keys)}", "name": name, "value": value, "enabled": enabled}
        self.keys.append(key)
        return key

    def create_usage_plan_key(self, usagePlanId: str, keyId: str, keyType: str) -> dict[str, Any]:  # noqa: N803 - as above
        """Put a key into a plan, unless it is in one of the same stage."""
        assert keyType == "API_KEY"
        self._note("POST", "/usageplans/{}/keys", usagePlanId)
        if any(keyId in keys for keys in self.planned.values()):
            raise _refusal("ConflictException", "CreateUsagePlanKey")
        self.planned[usagePlanId].append(keyId)
        return {"id": keyId}

    def plan_of(self, value: str) -> str | None:
        """The logical id of the plan that a key is in, by the key's value."""
        (key_id,) = [one["id"] for one in self.keys if one["value"] == value]
        return next((name for name, plan in PLANS.items() if key_id in self.planned[plan]), None)

    def _get_api_keys(self, nameQuery: str, *, includeValues: bool) -> Iterator[dict[str, Any]]:  # noqa: N803 - as above
        self._note("GET", "/apikeys")
        for one in self.keys:
            if one["name"].startswith(nameQuery):
                yield one if includeValues else {name: one[name] for name in ("id", "name")}

    def _get_usage_plan_keys(self, usagePlanId: str, nameQuery: str = "") -> Iterator[dict[str, Any]]:  # noqa: N803 - as above
        self._note("GET", "/usageplans/{}/keys", usagePlanId)
        for one in self.keys:
            if one["id"] in self.planned[usagePlanId] and one["name"].startswith(nameQuery):
                yield {"id": one["id"], "name": one["name"]}

    def _note(self, method: str, path: str, of: str = "") -> None:
        self.before(f"{method} {path}")
        name = next((name for name, one in GATEWAY.items() if one == of), "")
        self.accesses.add(Access(f"apigateway:{method}", _ARN + path.format(name)))


@dataclass(frozen=True)
class _Pages:
    items: Callable[..., Iterator[dict[str, Any]]]

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        """One page for each item, and an empty one."""
        for one in self.items(**arguments):
            yield {"items": [one]}
        yield {"items": []}


def _refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
