"""Runs MiniStack, and makes it save more of its state.

By default it loses its streams' records and the sent mails when it ends, and saves queues under URLs with its port, so
that it does not find them when it has another port. This module runs in MiniStack's environment.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ministack import app  # type: ignore[import-not-found] # in MiniStack's environment
from ministack.services import dynamodb, eventbridge, lambda_svc, ses, ses_v2, sqs  # type: ignore[import-not-found] # as above

from ordering_tools.local.hosts import is_local_program, refusal

_EVENTS_LIMIT = 2**20
"""The most bytes of all events of one call, as EventBridge counts them."""
_EXPRESSIONS = 1024
"""How many expressions are kept parsed: more than all functions and commands have."""
_QUEUES_PORT = "4566"
_BOUNCING = "bounce@simulator.amazonses.com"
_REFUSED = "reject@simulator.amazonses.com"
_FROM_CONTAINERS = "host.docker.internal"
"""The name of this machine in containers. No site can have it: `internal` is reserved."""


def keep(service: Any, *names: str) -> None:
    """Save and load further attributes of a service with its state."""
    get_state, load_state = service.get_state, service.load_persisted_state

    def get() -> dict[str, Any]:
        return {**get_state(), **{name: copy.deepcopy(getattr(service, name)) for name in names}}

    def load(data: dict[str, Any] | None) -> None:
        load_state(data)
        for name in names:
            getattr(service, name).update((data or {}).get(name, {}))

    service.get_state, service.load_persisted_state = get, load


def parse_expressions_once() -> None:
    """Keep expressions parsed. By default MiniStack parses a query's condition for each item of the partition."""
    for name in ("_tokenize", "_condition_syntax_error"):
        setattr(dynamodb, name, lru_cache(_EXPRESSIONS)(getattr(dynamodb, name)))


def use_stable_queue_urls() -> None:
    """Save queues under URLs that do not contain the port; responses have the URL of the request."""
    sqs.DEFAULT_PORT = _QUEUES_PORT
    sqs._CANONICAL_NETLOC = f"{sqs.DEFAULT_HOST}:{_QUEUES_PORT}"  # noqa: SLF001 - it has no setting for this


def limit_events() -> None:
    """Refuse events that are too large for EventBridge. By default MiniStack takes any."""
    put = eventbridge._put_events  # noqa: SLF001 - it has no setting for this

    def put_events(data: dict[str, Any], **more: Any) -> Any:
        texts = [
            text
            for entry in data.get("Entries", [])
            for text in (*(entry.get(name) for name in ("Source", "DetailType", "Detail")), *entry.get("Resources", []))
        ]
        if sum(len(text.encode()) for text in texts if isinstance(text, str)) > _EVENTS_LIMIT:
            message = "Total size of the entries in the request is over the limit."
            return eventbridge.error_response_json("ValidationException", message, 400)
        return put(data, **more)

    eventbridge._put_events = put_events  # noqa: SLF001 - as above


def simulate_mailboxes() -> None:
    """Have mails to two addresses fail, as partners need it in tests: one bounces, one is refused.

    The first is an address of SES's own simulator, which reports to EventBridge; by default MiniStack does not.
    """
    send, rejection = ses_v2.handle_request, ses_v2._message_rejection  # noqa: SLF001 - as above

    def reject(sender: str | None, recipients: Sequence[str] = ()) -> str | None:
        refused = _REFUSED in map(str.lower, recipients)
        return "The mailbox simulator refuses it." if refused else rejection(sender, recipients)

    async def send_and_report(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        answer = await send(method, path, headers, body, query)
        if (method, path.rpartition("/")[2], answer[0]) == ("POST", "outbound-emails", 200):
            _report_bounce(json.loads(body), json.loads(answer[2])["MessageId"])
        return answer

    ses_v2._message_rejection, ses_v2.handle_request = reject, send_and_report  # noqa: SLF001 - as above


def _report_bounce(request: Mapping[str, Any], message: str) -> None:
    if _BOUNCING not in map(str.lower, request.get("Destination", {}).get("ToAddresses", ())):
        return
    tags = {one["Name"]: [one["Value"]] for one in request.get("EmailTags", ())}
    tags["ses:configuration-set"] = [request.get("ConfigurationSetName", "")]
    now = datetime.now(UTC).isoformat()
    bounce = {"bounceType": "Permanent", "bounceSubType": "General", "timestamp": now}
    detail = {"eventType": "Bounce", "mail": {"messageId": message, "tags": tags}, "bounce": bounce}
    entry = {"Source": "aws.ses", "DetailType": "Email Bounced", "Detail": json.dumps(detail)}
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)  # noqa: SLF001 - as above


def refuse_web_pages() -> None:
    """Refuse requests of web pages with 421. By default any page that the browser shows can read and write all data."""
    respond = app.app
    names = {_FROM_CONTAINERS, os.environ.get("BIND_HOST", "")}

    async def respond_to_programs(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        host = headers.get("host")
        if scope["type"] == "lifespan" or is_local_program(host, headers.get("origin"), names):
            await respond(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": refusal(host).encode()})

    app.app = respond_to_programs


def call_functions_host(url: str) -> None:
    """Forward each invocation to the functions' host. By default MiniStack runs functions itself, or in containers."""
    lambda_svc._proxy_url_for = lambda config: f"{url}/mappings/{config['FunctionName']}"  # noqa: SLF001 - as above


if __name__ == "__main__":
    if url := os.environ.get("ORDERING_FUNCTIONS"):
        call_functions_host(url)
    keep(dynamodb, "_stream_records", "_stream_trimmed")
    keep(ses, "_sent_emails")
    parse_expressions_once()
    use_stable_queue_urls()
    limit_events()
    simulate_mailboxes()
    refuse_web_pages()
    app.main()
