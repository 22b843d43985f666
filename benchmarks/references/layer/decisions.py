"""What an authorizer decides, in plain values."""

import hashlib
import hmac
import json
import os
import re
from typing import Any

ISSUER = os.environ["TOKEN_ISSUER"]
AUDIENCE = os.environ["TOKEN_AUDIENCE"]
SHARED_USAGE = os.environ["SHARED_USAGE"]
ALGORITHM = "ES256"
REQUIRED = ["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id"]
KEYS_KEPT = 30
"""Seconds for which the keys are remembered."""

_REFERENCE = re.compile("[0-9a-fA-F]{64}")


def token_of(event: dict[str, Any]) -> str:
    """Return the bearer token of a request."""
    _, _, token = event["headers"]["Authorization"].partition(" ")
    return token


def is_reference(token: str) -> bool:
    """Return whether a token stands for a stored JWT."""
    return _REFERENCE.fullmatch(token) is not None


def reference_key(token: str) -> tuple[str, str]:
    """Return the key of the item of a reference token, and the hash that it must have."""
    digest = hashlib.sha256(bytes.fromhex(token)).hexdigest()
    return f"TOKEN#{digest[:32]}", digest


def seal_key(token: str) -> bytes:
    """Return the key with which the JWT behind a reference token is encrypted."""
    return hmac.digest(bytes.fromhex(token), b"seal of the JWT behind a reference token", "sha256")


def decision(event: dict[str, Any], claims: dict[str, Any], partner: dict[str, Any]) -> dict[str, Any]:
    """Return the policy for a caller, and what the functions are told of it."""
    api, stage, *_ = event["methodArn"].split("/")
    name = claims.get("partner", claims["client_id"])
    users = {user["id"]: user for user in partner["users"]}
    principal = {
        "partner": name,
        "user": users[claims["sub"]],
        "business_units": [unit["id"] for unit in partner["businessUnits"]],
        "order_source": partner["orderSource"],
        "payment_terms": partner["paymentTerms"],
        "grants": sorted(partner["grants"]),
        "deals": None,
        "company": None,
        "narrowed": False,
        "token_id": claims["jti"],
    }
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{api}/{stage}/*"}
    return {
        "principalId": name,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "usageIdentifierKey": partner.get("usageKey") or SHARED_USAGE,
        "context": {"principal": json.dumps(principal, separators=(",", ":"))},
    }
