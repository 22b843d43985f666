"""The Lambda authorizer: from `Authorization: Bearer <token>` to a policy for the whole stage.

API Gateway keeps a decision for every method and path of the stage, so the policy names them all; what a caller may do
with a resource is the function's to check. The decision is made from the token and the partner's record together, so
revoking a token or changing a partner needs no new token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ordering.accounts import Accounts, Partner
from ordering.clock import Deadline
from ordering.invocation import Context, deadline_of
from ordering.principal import Principal
from ordering.tokens import Claims, TokenRefused, Verifier

_log = logging.getLogger("ordering")
_log.setLevel(logging.INFO)


class Unauthorized(Exception):
    """Nobody that is known calls; API Gateway knows a 401 by this message alone."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]


def make_handler(verifier: Verifier, accounts: Callable[[Deadline], Accounts]) -> Handler:
    """Make the Lambda handler: it returns a policy for the whole stage, or raises `Unauthorized`."""

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            claims = verifier.verify(bearer_token(event))
            partner = partner_of(claims, accounts(deadline_of(context)))
        except TokenRefused as refusal:
            _log.info("refused", extra={"reason": str(refusal), "ms": _since(began)})
            raise Unauthorized from None
        _log.info("authorized", extra={"partner": partner.id, "active": partner.active, "ms": _since(began)})
        return decision(event["methodArn"], claims, partner)

    return handle


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
    return Principal(
        partner=partner.id,
        user=partner.users[claims.user],
        business_units=tuple(unit for unit in partner.business_units if covered is None or unit.id in covered),
        order_source=partner.order_source,
        payment_terms=partner.payment_terms,
        grants=tuple(sorted(partner.grants)),
    )


def decision(method_arn: str, claims: Claims, partner: Partner) -> dict[str, Any]:
    """Write the policy: all of the stage, allowed unless the partner is switched off."""
    api, stage, *_ = method_arn.split("/")
    answer: dict[str, Any] = {
        "principalId": partner.id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if partner.active else "Deny",
                    "Resource": f"{api}/{stage}/*",
                }
            ],
        },
        "context": {"principal": principal_of(claims, partner).to_text()},
    }
    if partner.usage_key:
        answer["usageIdentifierKey"] = partner.usage_key
    return answer


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
