"""Deal orders as the tests meet them: two CRM accounts, a client that names a host, and what can be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ordering.aws.dynamodb import Send
from ordering.principal import DealTerms, User
from ordering.values import replace
from support.gateway import REQUEST_ID, Client, LambdaContext, Reply
from support.partners import CALLER
from support.services import Services

HOST = "api.example.com"
ORIGIN = f"https://{HOST}"

ACCOUNT = replace(CALLER, grants=("deals",), deals=DealTerms("enterprise"))
OTHER_ACCOUNT = replace(ACCOUNT, partner="tailspin", user=User("stranger", "Max", "Foreign", "max@example.com"))

REASONS = {
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    406: "406 Not Acceptable",
    412: "412 Precondition Failed",
    413: "413 Payload Too Large",
    422: "422 Unprocessable Entity",
    429: "429 Too Many Requests",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}
ALWAYS = {"Content-Language": "en", "Vary": "Content-Language, Accept-Encoding", "X-Request-Id": REQUEST_ID}
JSON = "application/json; charset=utf-8"


@dataclass
class Watch:
    """A clock that is put forward by hand."""

    time: datetime = datetime(2015, 7, 6, 16, 32, 56, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def set(self, text: str) -> None:
        self.time = datetime.fromisoformat(text)

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def services_over(send: Send, now: Watch) -> Services:
    return Services(send, "OrdersTable", "CatalogueTable", "AccountsTable", now=now)


@dataclass
class Crm(Client):
    """A caller of `/v2` who names the host, as every HTTP client does."""

    def request(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        headers: Mapping[str, str | list[str]] | None = None,
        base64: bool = False,
        context: LambdaContext | None = None,
    ) -> Reply:
        named: dict[str, str | list[str]] = {"Host": HOST, **(headers or {})}
        return super().request(method, target, body=body, headers=named, base64=base64, context=context)

    def send_json(self, method: str, target: str, text: str) -> Reply:
        """Send a body exactly as it is written."""
        return self.request(method, target, body=text, headers={"Content-Type": "application/json"})

    def order(self, deal_id: int, **attributes: Any) -> dict[str, Any]:
        """Create an order and return its attributes."""
        return self.made("/v2/orders", deal_id=deal_id, **attributes)

    def product(self, **attributes: Any) -> dict[str, Any]:
        """Create a product and return its attributes."""
        return self.made("/v2/products", **{"name": "Licence", **attributes})

    def line(self, order_id: int, product_id: int, currency: str = "EUR", **attributes: Any) -> dict[str, Any]:
        """Create a line item and return its attributes."""
        return self.made(f"/v2/orders/{order_id}/line_items", product_id=product_id, currency=currency, **attributes)

    def made(self, target: str, **attributes: Any) -> dict[str, Any]:
        reply = self.post(target, {"data": attributes})
        assert reply.status == 200, reply.text
        data: dict[str, Any] = reply.json["data"]
        return data

    def ids(self, target: str) -> list[int]:
        """Read a list and return the ids on its page."""
        reply = self.get(target)
        assert reply.status == 200, reply.text
        return [one["data"]["id"] for one in reply.json["items"]]

    def pages(self, target: str) -> list[dict[str, Any]]:
        """Read a list to its end by its links, and return the attributes of all that it shows."""
        shown = []
        while target:
            reply = self.get(target).json
            shown += [one["data"] for one in reply["items"]]
            target = reply["meta"]["links"].get("next_page", "").removeprefix(ORIGIN)
        return shown


def price(amount: str, currency: str = "EUR") -> dict[str, str]:
    return {"amount": amount, "currency": currency}


def faults(reply: Reply, status: int) -> list[tuple[str, ...]]:
    """Check all that errors have in common; return each one's code, with resource and field if it has both."""
    errors, meta = reply.json["errors"], reply.json["meta"]

    assert (status, JSON) == (reply.status, reply.headers["Content-Type"])
    assert ALWAYS.items() <= dict(reply.headers).items()
    assert list(reply.json) == ["errors", "meta"]
    assert list(meta) == ["type", "http_status", "logref", "links"]
    assert ("errors", REASONS[status], REQUEST_ID) == (meta["type"], meta["http_status"], meta["logref"])
    assert _leads_to(meta["links"], errors[0]["error"]["code"])
    found: list[tuple[str, ...]] = []
    for one in errors:
        error = one["error"]
        attribute = ["resource", "field"] if "field" in error else []
        kind = ["resource"] if error["code"] in {"not_found", "precondition_failed"} else []
        assert list(one) == ["error", "meta"]
        assert [*(attribute or kind), "code", "message", "details"] == list(error)
        assert all(text.strip() for text in error.values())
        assert list(one["meta"]) == ["type", "links"]
        assert one["meta"]["type"] == "error"
        assert _leads_to(one["meta"]["links"], error["code"])
        found.append((error["code"], *(error[name] for name in attribute)))
    return found


def fault(reply: Reply, status: int) -> tuple[str, ...]:
    """As `faults`, for an answer that has one."""
    (one,) = faults(reply, status)
    return one


def _leads_to(links: Mapping[str, str], code: str) -> bool:
    """Whether links of an error lead to its code's section of the guide, and nowhere else."""
    return list(links) == ["more_info"] and links["more_info"].endswith(f"/docs/errors#deal-{code.replace('_', '-')}")
