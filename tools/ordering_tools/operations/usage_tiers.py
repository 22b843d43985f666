"""The tiers of usage: how many requests a partner may make, by the usage plans of API Gateway (docs/decisions/0023).

A partner has an API key in the plan of every tier, and its record names the one that counts. So a change of the tier is
one write, and the gateway knows the key already: a new key is refused until it is known everywhere, up to a minute.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ordering.identity.accounts import Partner
from ordering.values import replace
from ordering_tools.installation import Installation, NotDone

TIERS: Mapping[str, str] = {"basic": "BasicPlan", "standard": "StandardPlan", "premium": "PremiumPlan"}
"""The logical id of each tier's usage plan, lowest limits first."""

DEFAULT_TIER = "standard"

_VALUE_BYTES = 20
"""Bytes of an API key's value, in hexadecimal digits: API Gateway takes 20 to 128 characters."""


class UsageKeys:
    """The API keys of one partner in API Gateway."""

    def __init__(self, site: Installation, partner_id: str) -> None:
        """Read them: a call, and one for each tier.

        Raises:
            NotDone: The stack has no usage plans, or API Gateway does not answer.
        """
        self._names = {tier: key_name(site, partner_id, tier) for tier in TIERS}
        self._plans = _plans_of(site)
        prefix = self._names[DEFAULT_TIER].removesuffix(DEFAULT_TIER)
        with _answering():
            self._gateway = gateway = site.connect("apigateway")
            found = {key["name"]: key for key in _pages(gateway, "get_api_keys", nameQuery=prefix, includeValues=True)}
            self._keys = {tier: found[name] for tier, name in self._names.items() if name in found}
            self._planned = {
                tier
                for tier, key in self._keys.items()
                for one in _pages(gateway, "get_usage_plan_keys", usagePlanId=self._plans[tier], nameQuery=key["name"])
                if one["id"] == key["id"]
            }

    def value(self, tier: str) -> str | None:
        """The value of a tier's key; None if it is missing, or not in the tier's plan."""
        return self._keys[tier]["value"] if tier in self._planned else None

    def complete(self, tier: str) -> str:
        """Create what is missing of all keys, and return the value of a tier's. After a crash, the next call goes on.

        Raises:
            NotDone: API Gateway does not answer.
        """
        gateway = self._gateway
        with _answering():
            for one in TIERS:
                if one not in self._keys:
                    made = secrets.token_hex(_VALUE_BYTES)
                    self._keys[one] = gateway.create_api_key(name=self._names[one], value=made, enabled=True)
                if one not in self._planned:
                    key_id = self._keys[one]["id"]
                    gateway.create_usage_plan_key(usagePlanId=self._plans[one], keyId=key_id, keyType="API_KEY")
                    self._planned.add(one)
        value: str = self._keys[tier]["value"]
        return value


def with_tier(site: Installation, partner: Partner, tier: str) -> Partner:
    """The partner with a tier and its key, which is created if it is missing.

    Raises:
        NotDone: The stack has no usage plans, or API Gateway does not answer.
    """
    return replace(partner, usage_tier=tier, usage_key=UsageKeys(site, partner.id).complete(tier))


def planned_keys(site: Installation) -> dict[str, set[str]]:
    """The names of the keys in each tier's plan.

    Raises:
        NotDone: The stack has no usage plans, or API Gateway does not answer.
    """
    plans = _plans_of(site)
    with _answering():
        gateway = site.connect("apigateway")
        return {
            tier: {key["name"] for key in _pages(gateway, "get_usage_plan_keys", usagePlanId=plan)}
            for tier, plan in plans.items()
        }


def key_name(site: Installation, partner_id: str, tier: str) -> str:
    """The name of a partner's key. It is that of one partner of one stack: only a partner's id can have a '.'."""
    return f"{site.stack.name}.{partner_id}.{tier}"


def _plans_of(site: Installation) -> dict[str, str]:
    """The id of each tier's usage plan.

    Raises:
        NotDone: The stack has none.
    """
    try:
        return {tier: site.stack.resources[plan] for tier, plan in TIERS.items()}
    except KeyError as missing:
        raise NotDone(f"{site.title} has no {missing.args[0]}; deploy the template of this release first") from None


def _pages(client: Any, operation: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
    """The items of all pages of a list of API Gateway's."""
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page["items"]


@contextmanager
def _answering() -> Iterator[None]:
    """Report failures of API Gateway."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise NotDone(f"the request to API Gateway failed: {error}; run the command again, it goes on") from error
