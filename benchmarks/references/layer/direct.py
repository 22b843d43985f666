"""DynamoDB by requests that are signed by hand, over one connection."""

import base64
import hashlib
import hmac
import http.client
import os
import ssl
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

_REGION = os.environ["AWS_REGION"]
_KEY = os.environ["AWS_ACCESS_KEY_ID"]
_SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
_TYPE = "application/x-amz-json-1.0"
_SIGNED = "content-type;host;x-amz-date;x-amz-target"
_address = urlsplit(os.environ["AWS_ENDPOINT_URL_DYNAMODB"])
_host = _address.netloc
_authorities = os.environ.get("AWS_CA_BUNDLE")
_connection = (
    http.client.HTTPSConnection(_host, timeout=2, context=ssl.create_default_context(cafile=_authorities))
    if _address.scheme == "https"
    else http.client.HTTPConnection(_host, timeout=2)
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_keys: dict[str, bytes] = {}


class Refused(Exception):
    """DynamoDB refused a call."""


def send(operation: str, request: dict[str, Any]) -> Any:
    """Carry out an operation."""
    body, now = _encode(request), f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    target = f"DynamoDB_20120810.{operation}"
    _connection.request(
        "POST",
        "/",
        body,
        {
            "Content-Type": _TYPE,
            "X-Amz-Date": now,
            "X-Amz-Target": target,
            "Authorization": _authorization(target, now, body),
        },
    )
    response = _connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise Refused(answer)
    return _decode(answer)


def _authorization(target: str, now: str, body: bytes) -> str:
    headers = f"content-type:{_TYPE}\nhost:{_host}\nx-amz-date:{now}\nx-amz-target:{target}\n"
    asked = f"POST\n/\n\n{headers}\n{_SIGNED}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{now[:8]}/{_REGION}/dynamodb/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    signature = hmac.digest(_key_of(now[:8]), text.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={_KEY}/{scope}, SignedHeaders={_SIGNED}, Signature={signature}"


def _key_of(day: str) -> bytes:
    if day not in _keys:
        key = f"AWS4{_SECRET}".encode()
        for part in (day, _REGION, "dynamodb", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        _keys.clear()
        _keys[day] = key
    return _keys[day]


def key(partition: str, sort: str) -> dict[str, Any]:
    """Return a key in DynamoDB's notation."""
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def plain(value: dict[str, Any]) -> Any:
    """Return a value from DynamoDB's notation."""
    ((kind, inner),) = value.items()
    if kind in {"S", "BOOL"}:
        return inner
    if kind == "M":
        return {name: plain(one) for name, one in inner.items()}
    if kind == "N":
        return int(inner)
    return [plain(one) for one in inner] if kind == "L" else None if kind == "NULL" else inner


def noted(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - one return for each kind of value
    """Return a value in DynamoDB's notation."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, bytes):
        return {"B": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {"M": {name: noted(one) for name, one in value.items()}}
    return {"L": [noted(one) for one in value]}
