"""The Lambda authorizer: from `Authorization: Bearer <token>` to a policy for the whole stage.

API Gateway caches a decision for every method and path of the stage, so the policy covers them all. The function checks
what a caller may do with a resource. The decision rests on the token and the partner's record together, so revoking a
token or changing a partner needs no new token.

The authorizer refuses no caller itself: API Gateway would answer in one shape for all contracts, and an authorizer that
raises counts as a failed function. It lets the call through without a principal, and with the reason for the refusal,
which the function answers in its contract's shape (docs/decisions/0006).

Each decision names the API key by which API Gateway counts the call, also a call that is to be refused: the gateway
lets none through without a key of a usage plan (docs/decisions/0023).
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ordering.aws.invocation import Context, deadline_of
from ordering.clock import Deadline
from ordering.errors import Unavailable, cause_of
from ordering.identity.accounts import Accounts, Partner
from ordering.identity.reference_tokens import ReferenceTokens, is_reference
from ordering.identity.tokens import Claims, RefusalReason, TokenRefused
from ordering.identity.verifier import Verifier
from ordering.principal import Principal
from ordering.values import Value

_log = logging.getLogger("ordering")


Refusal = Literal["unauthorized", "switched-off", "too-many-units", "too-many-requests", "unavailable"]
"""Why the function is to refuse a call that is let through without a principal."""

LARGEST_ANSWER = 8 * 1024
"""Bytes of an authorizer's answer that API Gateway takes at most."""

_FOR_THE_RATE = 100
"""Bytes of an answer that are kept for a `Rate`."""

_BEARER = re.compile(r" *bearer +([A-Za-z0-9._~+/=-]+) *", re.IGNORECASE)


class OwnErrors(Value):
    """What the authorizer knows of a contract whose decisions API Gateway does not cache.

    Refusals that pass within a second, `too-many-requests` and `unavailable`, are for such contracts only.
    """

    requests_a_second: int | None = None
    """How many requests a token may make; None where the contract sets no limit."""


class Rate(Value):
    """The requests of a token in the present second: how many are allowed, and how many were made."""

    allowed: int
    made: int

    @property
    def exceeded(self) -> bool:
        """Whether more were made than are allowed."""
        return self.made > self.allowed

    def context(self) -> dict[str, str]:
        """Write it for the authorizer's context, from which the function's response has it."""
        return {"requestsASecond": str(self.allowed), "requestsLeft": str(max(0, self.allowed - self.made))}


Handler = Callable[[Mapping[str, Any], Context], dict[str, Any]]


class Authorizer(Value):
    """What a decision is made with.

    Args:
        accounts: Opens the accounts for one request.
        reference_tokens: Opens the reference tokens for one request.
        own_errors: The contracts that refuse callers themselves, by the first part of their paths, as `/v2`.
        shared_key: The value of the API key of calls that have no partner's (docs/decisions/0023).
        seconds: Returns Unix time.
    """

    verifier: Verifier
    accounts: Callable[[Deadline], Accounts]
    reference_tokens: Callable[[Deadline], ReferenceTokens]
    own_errors: Mapping[str, OwnErrors]
    shared_key: str
    seconds: Callable[[], float] = time.time

    def identify(self, event: Mapping[str, Any], deadline: Deadline) -> tuple[Claims, Partner]:
        """Return the claims of a request's token, and the partner that it was issued to.

        Raises:
            TokenRefused: The caller could not be authenticated.
        """
        token = bearer_token(event)
        if is_reference(token):
            token = self.reference_tokens(deadline).resolve(token)
        claims = self.verifier.verify(token)
        return claims, partner_of_token(claims, self.accounts(deadline))

    def count(self, claims: Claims, prefix: str | None, deadline: Deadline) -> Rate | None:
        """Count a request, and return where its token stands; None where the contract sets no limit."""
        allowed = self.own_errors[prefix].requests_a_second if prefix else None
        if allowed is None:
            return None
        return Rate(allowed, self.accounts(deadline).count_request(claims.token_id, int(self.seconds())))


def make_handler(authorizer: Authorizer) -> Handler:
    """Make the Lambda handler, which returns a policy.

    Raises:
        Unavailable: The tables do not answer, and API Gateway would cache a refusal.
    """

    def handle(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        began = time.perf_counter()
        deadline = deadline_of(context)
        arn, key = event["methodArn"], authorizer.shared_key
        first = first_part(event["resource"])
        prefix = first if first in authorizer.own_errors else None
        try:
            claims, partner = authorizer.identify(event, deadline)
            rate = authorizer.count(claims, prefix, deadline)
        except TokenRefused as refusal:
            _log.info("token refused", extra={"reason": str(refusal.reason), **_request_of(event), "ms": _since(began)})
            return refused(arn, "unauthorized", key)
        except Unavailable as error:
            _log.warning("unavailable", extra={**_request_of(event), "cause": cause_of(error)})
            if prefix:
                return refused(arn, "unavailable", key)
            raise
        _log.info(
            "authorized",
            extra={
                "request": event["requestContext"]["requestId"],
                "partner": partner.id,
                "active": partner.active,
                "tooFast": rate is not None and rate.exceeded,
                "ms": _since(began),
            },
        )
        answer = _decide(arn, claims, partner, rate, key)
        if rate:
            answer["context"] |= rate.context()
        return answer

    return handle


def _decide(arn: str, claims: Claims, partner: Partner, rate: Rate | None, key: str) -> dict[str, Any]:
    if rate and rate.exceeded:
        return refused(arn, "too-many-requests", key, partner)
    if not partner.active:
        return refused(arn, "switched-off", key, partner)
    answer = decision(arn, claims, partner, key)
    if len(json.dumps(answer)) > LARGEST_ANSWER - (_FOR_THE_RATE if rate else 0):
        return refused(arn, "too-many-units", key, partner)
    return answer


def first_part(resource: str) -> str:
    """Return the first part of a resource's path, as `/v2` of `/v2/orders/{id}`."""
    return f"/{resource.split('/', 2)[1]}"


def bearer_token(event: Mapping[str, Any]) -> str:
    """Return the token of a request; the case of the header's name and of the scheme does not matter.

    API Gateway does not say which of several headers its cached decision stands for, so there must be exactly one.

    Raises:
        TokenRefused: The request has no bearer token, or more than one `Authorization` header.
    """
    headers: Mapping[str, list[str]] = event.get("multiValueHeaders") or {}
    values = [value for name, several in headers.items() if name.lower() == "authorization" for value in several]
    if len(values) > 1:
        raise TokenRefused(RefusalReason.SEVERAL_HEADERS)
    found = _BEARER.fullmatch(values[0]) if values else None
    if found is None:
        raise TokenRefused(RefusalReason.NO_TOKEN)
    return found[1]


def partner_of_token(claims: Claims, accounts: Accounts) -> Partner:
    """Return the partner that a token was issued to. One call to DynamoDB.

    Raises:
        TokenRefused: The partner, user or client does not exist any more, or the token, or all of the client's, were
            revoked.
    """
    standing = accounts.standing(claims.partner, claims.token_id, claims.client)
    partner = standing.partner
    if partner is None:
        raise TokenRefused(RefusalReason.UNKNOWN_PARTNER)
    if claims.user not in partner.users:
        raise TokenRefused(RefusalReason.UNKNOWN_USER)
    if standing.revoked:
        raise TokenRefused(RefusalReason.REVOKED)
    if standing.client_gone:
        raise TokenRefused(RefusalReason.UNKNOWN_CLIENT)
    if standing.ended and (claims.issued is None or claims.issued < standing.ended):
        raise TokenRefused(RefusalReason.ENDED_BY_CLIENT)
    return partner


def principal_of(claims: Claims, partner: Partner) -> Principal:
    """Return the principal: the partner's record, narrowed to what the token covers."""
    covered = claims.business_units
    every = tuple(unit.id for unit in partner.business_units)
    units = tuple(unit for unit in every if covered is None or unit in covered)
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
        narrowed=units != every or grants != partner.grants,
        token_id=claims.token_id,
    )


def decision(method_arn: str, claims: Claims, partner: Partner, shared_key: str) -> dict[str, Any]:
    """Write the policy that allows all of the stage. It has 39 bytes for each business unit that the token covers."""
    return {
        **_policy(method_arn, partner, shared_key),
        "context": {"principal": principal_of(claims, partner).to_text()},
    }


def refused(method_arn: str, refusal: Refusal, shared_key: str, partner: Partner | None = None) -> dict[str, Any]:
    """Return a decision that lets a call through without a principal. The function refuses it, for this reason."""
    return {**_policy(method_arn, partner, shared_key), "context": {"refusal": refusal}}


def _policy(method_arn: str, partner: Partner | None, shared_key: str) -> dict[str, Any]:
    # The whole stage even for a refusal: a policy with the caller's path would be as long as the caller likes.
    api, stage, *_ = method_arn.split("/")
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{api}/{stage}/*"}
    return {
        "principalId": partner.id if partner else "unauthenticated",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "usageIdentifierKey": (partner and partner.usage_key) or shared_key,
    }


def _request_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the log tells of a request; `request` is the id in the caller's `X-Request-Id`."""
    context = event["requestContext"]
    return {
        "request": context["requestId"],
        "address": context["identity"]["sourceIp"],
        "route": f"{event['httpMethod']} {event['resource']}",
    }


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
