"""What a create writes: the order, its place in the list, its items, and the record of its idempotency key."""

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from layout import PAGES

_KEPT = timedelta(days=2)


def new_order(
    caller: dict[str, Any], unit_name: str, number: int, position: int, body: dict[str, Any]
) -> dict[str, Any]:
    """Return an order as it is stored."""
    user = caller["user"]
    return {
        "id": number,
        "position": position,
        "partner": caller["partner"],
        "unit": {"id": caller["business_units"][0], "name": unit_name},
        "user": user,
        "source": caller["order_source"],
        "reference": body["purchaseOrderReference"],
        "contact": {"forename": user["forename"], "surname": user["surname"], "email": user["user_name"]},
        "emailKeys": body["emailKeys"],
        "status": "New",
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
    }


def writes(
    order: dict[str, Any], body: dict[str, Any], offers: dict[str, Any], key: str, answer: bytes
) -> list[dict[str, Any]]:
    """Return the items of an order that its creation puts, all or none."""
    at, partition = order["created"], f"ORDER#training#{order['id']}"
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    once = hashlib.sha256(f"{order['unit']['id']}\0{key}".encode()).hexdigest()
    now = datetime.now(UTC)
    return [
        {
            "pk": next(iter(PAGES.values()))[0][0],
            "sk": f"{order['position']:010}",
            "order": order,
            "search": f"EMAIL#{order['contact']['email']}",
            "at": at,
            "writer": secrets.token_hex(8),
        },
        {
            "pk": partition,
            "sk": "ORDER",
            "order": {**order, "version": 1, "history": [{"status": "New", "at": at}]},
            "search": f"REFERENCE#{order['reference'].lower()}",
            "at": at,
            "once": once,
            "packs": 1,
            "published": 0,
            "unfinished": f"WORK#{secrets.randbelow(16):02}",
            "due": f"{now + timedelta(minutes=10):%Y-%m-%dT%H:%M:%S.%fZ}",
            "since": at,
        },
        {"pk": partition, "sk": "LINE#0001", "lines": _lines(body, offers)},
        {
            "pk": f"ONCE#{order['partner']}#{once}",
            "sk": "-",
            "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
            "orderId": order["id"],
            "answer": answer,
            "expires": int((now + _KEPT).timestamp()),
        },
    ]


def _lines(body: dict[str, Any], offers: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "feature_set_id": str(item["featureSetId"]),
            "quantity": item["quantity"],
            "source_reference": item.get("sourceReference"),
            "feedback_link_uri": item.get("feedbackLinkUri"),
            "feedback_link_text": item.get("feedbackLinkText"),
            "enable_feedback_link": bool(item.get("enableFeedbackLink")),
            "achievement_code": item.get("achievementCode"),
            "number": number,
            "description": "{productName} ({name})".format(**offers[str(item["featureSetId"])]),
        }
        for number, item in enumerate(body["orderItems"], start=1)
    ]
