"""T0's authorizer: Powertools' Logger, Tracer and Metrics as in T0's functions, PyJWT, and boto3's resources."""

import base64
import time
from typing import Any

import boto3
import jwt
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.conditions import Key
from cryptography.fernet import Fernet
from decisions import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    KEYS_KEPT,
    REQUIRED,
    decision,
    is_reference,
    reference_key,
    seal_key,
    token_of,
)
from layout import ACCOUNTS_TABLE
from memory import Remembered

logger = Logger()
tracer = Tracer()
metrics = Metrics()
dynamodb = boto3.resource("dynamodb")
accounts = dynamodb.Table(ACCOUNTS_TABLE)
_keys = Remembered(KEYS_KEPT)


def _read_keys() -> dict[str, Any]:
    within = Key("pk").eq("SIGNING_KEYS") & Key("sk").between(" ", "\U0010ffff")
    found = accounts.query(KeyConditionExpression=within, ConsistentRead=True)["Items"]
    return {item["sk"]: jwt.PyJWK(item["jwk"], ALGORITHM) for item in found}


def _resolve(reference: str) -> str:
    partition, digest = reference_key(reference)
    item = accounts.get_item(Key={"pk": partition, "sk": "-"}, ConsistentRead=True)["Item"]
    if item["sha256"] != digest:
        raise jwt.InvalidTokenError("unknown reference")
    return Fernet(base64.urlsafe_b64encode(seal_key(reference))).decrypt(item["jwt"].value).decode()


def _standing(partner: str, token_id: str) -> dict[str, Any]:
    keys = [{"pk": f"PARTNER#{partner}", "sk": "PARTNER"}, {"pk": f"REVOKED#{partner}", "sk": token_id}]
    found = dynamodb.batch_get_item(RequestItems={ACCOUNTS_TABLE: {"Keys": keys, "ConsistentRead": True}})
    items = {item["pk"]: item for item in found["Responses"][ACCOUNTS_TABLE]}
    if f"REVOKED#{partner}" in items:
        raise jwt.InvalidTokenError("revoked")
    return items[f"PARTNER#{partner}"]


def _count(token_id: str) -> None:
    now = int(time.time())
    accounts.update_item(
        Key={"pk": f"RATE#{token_id}", "sk": str(now)},
        UpdateExpression="ADD requests :one SET expires = :later",
        ExpressionAttributeValues={":one": 1, ":later": now + 60},
        ReturnValues="ALL_NEW",
    )


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    token = token_of(event)
    if is_reference(token):
        token = _resolve(token)
    key = _keys.read(_read_keys)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token, key, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, leeway=10, options={"require": REQUIRED}
    )
    partner = _standing(claims.get("partner", claims["client_id"]), claims["jti"])
    if event["resource"].startswith("/v2"):
        _count(claims["jti"])
    metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
    logger.info("authorized", partner=claims["client_id"])
    return decision(event, claims, partner)
