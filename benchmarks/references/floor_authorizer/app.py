"""The floor of an authorizer: no SDK and no library for tokens, only cryptography's signature check."""

import base64
import json
import time
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from decisions import ALGORITHM, AUDIENCE, ISSUER, KEYS_KEPT, decision, is_reference, reference_key, seal_key, token_of
from direct import key, plain, send
from layout import ACCOUNTS_TABLE
from memory import Remembered

_LEEWAY = 10
_keys = Remembered(KEYS_KEPT)
_ecdsa = ec.ECDSA(SHA256())


class Unauthorized(Exception):
    """The caller is not let in."""


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _read_keys() -> dict[str, Any]:
    asked = {
        "TableName": ACCOUNTS_TABLE,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {":pk": {"S": "SIGNING_KEYS"}, ":first": {"S": " "}, ":last": {"S": "\U0010ffff"}},
        "ConsistentRead": True,
    }
    keys = {}
    for item in send("Query", asked)["Items"]:
        x, y = (int.from_bytes(_bytes(item["jwk"]["M"][name]["S"])) for name in ("x", "y"))
        keys[item["sk"]["S"]] = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return keys


def _claims(token: str) -> dict[str, Any]:
    message, _, signature = token.rpartition(".")
    head, _, payload = message.partition(".")
    header, claims, now = json.loads(_bytes(head)), json.loads(_bytes(payload)), time.time()
    raw = _bytes(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    _keys.read(_read_keys)[header["kid"]].verify(encode_dss_signature(r, s), message.encode(), _ecdsa)
    if header["alg"] != ALGORITHM or claims["iss"] != ISSUER or claims["aud"] != AUDIENCE:
        raise Unauthorized
    if claims["exp"] < now - _LEEWAY or claims["nbf"] > now + _LEEWAY:
        raise Unauthorized
    return claims


def _resolve(reference: str) -> str:
    partition, digest = reference_key(reference)
    item = send("GetItem", {"TableName": ACCOUNTS_TABLE, "Key": key(partition, "-"), "ConsistentRead": True})["Item"]
    if item["sha256"]["S"] != digest:
        raise Unauthorized
    sealed = base64.b64decode(item["jwt"]["B"])
    return Fernet(base64.urlsafe_b64encode(seal_key(reference))).decrypt(sealed).decode()


def _standing(partner: str, token_id: str) -> dict[str, Any]:
    keys = [key(f"PARTNER#{partner}", "PARTNER"), key(f"REVOKED#{partner}", token_id)]
    found = send("BatchGetItem", {"RequestItems": {ACCOUNTS_TABLE: {"Keys": keys, "ConsistentRead": True}}})
    items = {item["pk"]["S"]: item for item in found["Responses"][ACCOUNTS_TABLE]}
    if f"REVOKED#{partner}" in items:
        raise Unauthorized
    return plain({"M": items[f"PARTNER#{partner}"]})


def _count(token_id: str) -> None:
    now = int(time.time())
    send(
        "UpdateItem",
        {
            "TableName": ACCOUNTS_TABLE,
            "Key": key(f"RATE#{token_id}", str(now)),
            "UpdateExpression": "ADD requests :one SET expires = :later",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":later": {"N": str(now + 60)}},
            "ReturnValues": "ALL_NEW",
        },
    )


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    token = token_of(event)
    if is_reference(token):
        token = _resolve(token)
    claims = _claims(token)
    partner = _standing(claims.get("partner", claims["client_id"]), claims["jti"])
    if event["resource"].startswith("/v2"):
        _count(claims["jti"])
    print(json.dumps({"message": "authorized", "partner": claims["client_id"]}))
    return decision(event, claims, partner)
