"""The Lambda authorizer: from `Authorization: Bearer <token>` to a policy for the whole stage.

API Gateway keeps a decision for every method and path of the stage, so the policy names them all; what a caller may do
with a resource is the function's to check. The decision is made from the token and the partner's record together, so
revoking a token or changing a partner needs no new token.

A contract with error shapes of its own cannot be refused here, because the gateway has one answer for all paths. On its
paths the authorizer therefore lets the call through without a principal and says what it would have been refused for;
the function tells the caller (docs/decisions/0006). Such decisions are never kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ordering.aws.invocation import Context, deadline_of
from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.reference_tokens import ReferenceTokens, is_reference
from ordering.identity.tokens import Claims, TokenRefused, Verifier
from ordering.principal import Principal

_log = logging.getLogger("ordering")
_log.setLevel(logging.INFO)


Effect = Literal["Allow", "Deny"]

Refusal = Literal["unauthorized", "switched-off", "too-many-requests", "unavailable"]
"""What a call that is let through without a principal is to be refused for."""

OWN_ERROR_SHAPES = ("/v1", "/v2")
"""The first parts of the paths whose functions refuse in their own words."""

REQUESTS_A_SECOND = {"/v2": 10}
"""How many requests a token may make, where a contract says so."""


class GatewayUnauthorized(Exception):
    """Nobody that is known calls; API Gateway knows a 401 by this message alone."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Authorizer:
    """What a decision is made with; the accounts and tokens are those of one request."""

    verifier: Verifier
    accounts: Callable[[Deadline], Accounts]
    reference_tokens: Callable[[Deadline], ReferenceTokens]
    seconds: Callable[[], float] = time.time
    """Tells Unix time."""

    def identify(self, event: Mapping[str, Any], deadline: Deadline) -> tuple[Claims, Partner]:
        """Say who calls.

        Raises:
            TokenRefused: Nobody that is known.
        """
        token = bearer_token(event)
        if is_reference(token):
            token = self.reference_tokens(deadline).resolve(token)
        claims = self.verifier.verify(token)
        return claims, partner_of(claims, self.accounts(deadline))

    def too_fast(self, claims: Claims, prefix: str, deadline: Deadline) -> bool:
        """Count a request, and tell whether it is one too many for its second."""
        allowed = REQUESTS_A_SECOND.get(prefix)
        if allowed is None:
            return False
        return self.accounts(deadline).count_request(claims.token_id, int(self.seconds())) > allowed


def make_handler(doorkeeper: Authorizer) -> Handler:
    """Make the Lambda handler: it returns a policy, or raises `GatewayUnauthorized`."""

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        began = time.perf_counter()
        deadline = deadline_of(context)
        prefix = own_error_shape(event["methodArn"])
        try:
            claims, partner = doorkeeper.identify(event, deadline)
            too_fast = prefix is not None and doorkeeper.too_fast(claims, prefix, deadline)
        except TokenRefused as refusal:
            _log.info("refused", extra={"reason": str(refusal), "ms": _since(began)})
            if prefix:
                return refused(event["methodArn"], "unauthorized")
            raise GatewayUnauthorized from None
        except Unavailable:
            if prefix:
                return refused(event["methodArn"], "unavailable")
            raise
        _log.info(
            "authorized",
            extra={"partner": partner.id, "active": partner.active, "tooFast": too_fast, "ms": _since(began)},
        )
        if too_fast:
            return refused(event["methodArn"], "too-many-requests", partner)
        if prefix and not partner.active:
            return refused(event["methodArn"], "switched-off", partner)
        return decision(event["methodArn"], claims, partner)

    return handle


def own_error_shape(method_arn: str) -> str | None:
    """Return the first part of a method's path if its function refuses in its own words."""
    _, _, _, path = method_arn.split("/", 3)
    first = f"/{path.partition('/')[0]}"
    return first if first in OWN_ERROR_SHAPES else None


def bearer_token(event: Mapping[str, Any]) -> str:
    """Return the token of a request; its scheme may be written in any case.

    Raises:
        TokenRefused: There is none.
    """
    for name, value in (event.get("headers") or {}).items():
        if name.lower() == "authorization":
            scheme, _, token = str(value).strip().partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
    raise TokenRefused("no bearer token")


def partner_of(claims: Claims, accounts: Accounts) -> Partner:
    """Return the partner that a token was issued to.

    Raises:
        TokenRefused: There is no such partner or user any more, or the token was revoked.
    """
    partner = accounts.partner(claims.partner)
    if partner is None:
        raise TokenRefused("unknown partner")
    if claims.user not in partner.users:
        raise TokenRefused("unknown user")
    if claims.token_id in partner.revoked_tokens:
        raise TokenRefused("revoked")
    return partner


def principal_of(claims: Claims, partner: Partner) -> Principal:
    """Say who calls: the partner's record, narrowed to what the token covers."""
    covered = claims.business_units
    units = tuple(unit for unit in partner.business_units if covered is None or unit.id in covered)
    grants = partner.grants if claims.scope is None else partner.grants & claims.scope
    return Principal(
        partner=partner.id,
        user=partner.users[claims.user],
        business_units=units,
        order_source=partner.order_source,
        payment_terms=partner.payment_terms,
        grants=tuple(sorted(grants)),
        deals=partner.deals,
        company=partner.company,
        narrowed=units != partner.business_units or grants != partner.grants,
    )


def decision(method_arn: str, claims: Claims, partner: Partner) -> dict[str, Any]:
    """Write the policy: all of the stage, allowed unless the partner is switched off."""
    api, stage, *_ = method_arn.split("/")
    effect: Effect = "Allow" if partner.active else "Deny"
    answer = {
        **_policy(partner.id, effect, f"{api}/{stage}/*"),
        "context": {"principal": principal_of(claims, partner).to_text()},
    }
    if partner.usage_key:
        answer["usageIdentifierKey"] = partner.usage_key
    return answer


def refused(method_arn: str, refusal: Refusal, partner: Partner | None = None) -> dict[str, Any]:
    """Let one call through to a function that refuses it: there is no principal, only the reason."""
    caller = partner.id if partner else "nobody"
    return {**_policy(caller, "Allow", method_arn), "context": {"refusal": refusal}}


def _policy(caller: str, effect: Effect, resource: str) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {"principalId": caller, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
