"""The page for people at `GET /local` of the local run: what runs here, how to call it, and its mails and events.

The deployed API has no such page. So only a browser on this machine gets it: a request for `/local` that accepts HTML,
or one below `/_local/`, to 127.0.0.1 or localhost and through no proxy. All other requests are the API's. In the
reference at `/`, such a browser finds the demo's tokens filled in.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ordering_tools.demo import greeting
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.local.engine.state import FUNCTIONS_LOG, Running, find, last_received
from ordering_tools.local.hosts import is_local
from ordering_tools.local.http import Answer, HttpRequest

if TYPE_CHECKING:
    from ordering_tools.local.gateway.gateway import Route

PAGE = "/local"
"""The path of the page."""

_NO_PRESET = b'id="preset">{}<'
"""Where the reference has what is filled in, in `documents/site_files/reference.html`."""

_ROOT = Path(__file__).resolve().parents[4]
_DOCS = _ROOT / "docs"
_TYPES = {".md": "text/plain; charset=utf-8", ".json": "application/json", ".png": "image/png"}
_MOST = 20
"""Mails and events on the page, the newest ones."""
_NO_EVENTS = (
    "<p>None yet. Start <code>.venv/bin/ordering webhook listen</code>, and register it with the call above.</p>"
)
_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")
_USES = {
    "training": "training orders, both business units, with access keys",
    "trainingSingleUnit": "one business unit only, so that its id may be left out",
    "trainingWithoutKeys": "without the scope for access keys: 403 there",
    "cardTerms": "a partner that pays by card: its orders are refused",
    "expired": "expired: 401",
    "revoked": "revoked: 401",
    "deals": "deal orders and products of a CRM account",
    "dealsBasicPlan": "an account whose plan lacks these resources",
    "dealsChangesDisabled": "an account whose data cannot be changed",
    "ecards": "e-card orders: a client of the token endpoint, with a high balance",
    "ecardsPoor": "the same, with a balance too low for most orders",
}


@dataclass(frozen=True)
class LocalPage:
    """Responds to the requests for the page and for its parts."""

    state: Path
    """The folder of the local run."""
    routes: Sequence[Route]
    mails: Callable[[str], list[Mail]] = sent_mails
    """Returns the sent mails, oldest first, given the endpoint of the engine's services."""

    def answer(self, request: HttpRequest) -> Answer | None:
        """Respond to a request; None if it is the API's."""
        path = request.path
        if request.method != "GET" or not (path == PAGE or path.startswith("/_local/")) or not _from_here(request):
            return None
        running = find(self.state)
        if running is None or (path == PAGE and "text/html" not in (request.header("Accept") or "")):
            return None
        if path == PAGE:
            return self._page(running)
        if path == "/_local/activity":
            return _respond("text/html; charset=utf-8", self._activity(running).encode())
        return _document(path.removeprefix("/_local/docs/")) if path.startswith("/_local/docs/") else None

    def is_reference(self, request: HttpRequest) -> bool:
        """Whether a request is a browser's on this machine for the reference, so that `prepare` is for its response."""
        return request.method == "GET" and request.path == "/" and _from_here(request)

    def prepare(self, answer: Answer) -> Answer:
        """Fill the demo's tokens and client into the reference, and a link to the page of this run.

        Args:
            answer: The function's response, not compressed.
        """
        running = find(self.state)
        if running is None or answer.status != 200:
            return answer
        preset: dict[str, Any] = {"page": PAGE}
        if demo := self._demo(running):
            client = next(iter(demo["clients"].values()))
            preset |= {
                # For a single business unit, which calls need not name then.
                "tokens": {
                    "Training orders": demo["tokens"]["trainingSingleUnit"],
                    "Deal orders": demo["tokens"]["deals"],
                },
                "client": {"name": "E-card orders", "id": client["clientId"], "secret": client["clientSecret"]},
            }
        # No text of it can end the element that it is in.
        text = json.dumps(preset).replace("<", "\\u003c")
        body = answer.body.replace(_NO_PRESET, _NO_PRESET.replace(b"{}", text.encode()))
        headers = [(name, value) for name, value in answer.headers if name.lower() not in {"etag", "cache-control"}]
        return replace(answer, headers=[*headers, ("Cache-Control", "no-store")], body=body)

    def _page(self, running: Running) -> Answer:
        nonce = secrets.token_urlsafe(16)
        template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
        demo = self._demo(running)
        page = template.substitute(
            nonce=nonce,
            url=escape(running.base_url),
            facts=_facts(running, self.state, self.routes),
            calls=_calls(demo, self.state) if demo else "<p>This run has no demo data: it was started with --bare.</p>",
            tokens=_tokens(demo) if demo else "<p>None: `ordering token issue` makes one for a partner.</p>",
            routes=_routes(self.routes),
            documents="".join(
                f'<li><a href="/_local/docs/{escape(one.name)}">{escape(one.stem)}</a></li>'
                for one in sorted(_DOCS.iterdir())
                if one.suffix in {".md", ".json"}
            ),
            activity=self._activity(running),
        )
        return _respond("text/html; charset=utf-8", page.encode(), f"'nonce-{nonce}'")

    def _demo(self, running: Running) -> dict[str, Any] | None:
        try:
            demo: dict[str, Any] = json.loads((self.state / greeting.FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        # A folder that a run without demo data uses after one with them: its tokens belong to the same tables.
        return {**demo, "baseUrl": running.base_url}

    def _activity(self, running: Running) -> str:
        try:
            mails = self.mails(running.services)
        except (OSError, ValueError, KeyError):
            return '<p role="status">The engine does not respond.</p>'
        more = f", the newest {_MOST} of {len(mails)}" if len(mails) > _MOST else ""
        events = [_details(one["key"], one["line"], one["body"]) for one in last_received(self.state, _MOST)]
        return (
            f"<h2>Mails{more}</h2>{''.join(map(_mail, reversed(mails[-_MOST:]))) or '<p>None yet.</p>'}"
            "<h2>Events that <code>ordering webhook listen</code> received</h2>"
            f"{''.join(reversed(events)) or _NO_EVENTS}"
        )


def _from_here(request: HttpRequest) -> bool:
    host = request.header("Host")
    return host is not None and is_local(host) and not any(map(request.header, _PROXIES))


def _respond(content_type: str, body: bytes, source: str = "'none'") -> Answer:
    policy = (
        f"default-src 'none'; style-src {source}; script-src {source}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Type": content_type,
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return Answer(200, [*headers.items()], body)


def _document(name: str) -> Answer | None:
    file = (_DOCS / name).resolve()
    if not file.is_relative_to(_DOCS) or file.suffix not in _TYPES or not file.is_file():
        return None
    return _respond(_TYPES[file.suffix], file.read_bytes())


def _facts(running: Running, state: Path, routes: Sequence[Route]) -> str:
    functions = {route.function for route in routes}
    facts = {
        "API": f"{running.base_url}, {len(routes)} routes to {len(functions)} functions",
        "DynamoDB": running.endpoint,
        "Other services": f"{running.services} (SQS, EventBridge, KMS, SES, CloudFormation)",
        "Lambda's Invoke": running.functions,
        "Template": running.template,
        "Data, kept": str(state),
        "Functions' log": str(state / FUNCTIONS_LOG),
    }
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())


def _calls(demo: Mapping[str, Any], state: Path) -> str:
    blocks = ["<p>First, in your terminal:</p>", _code(greeting.source_line(state))]
    for call in greeting.calls(demo):
        blocks.append(f"<h3>{escape(call.contract)}</h3>")
        blocks += [f"<p>{escape(purpose)}</p>{_code(line)}" for purpose, line in call.lines.items()]
    return "".join(blocks)


def _code(text: str) -> str:
    button = '<button type="button" class="copy">Copy</button>'
    return f'<div class="code"><pre tabindex="0">{escape(text)}</pre>{button}</div>'


def _tokens(demo: Mapping[str, Any]) -> str:
    rows = [(name, _USES.get(name, ""), token) for name, token in demo["tokens"].items()]
    for name, client in demo["clients"].items():
        rows.append((name, f"{_USES.get(name, '')}; the secret of {client['clientId']}", client["clientSecret"]))
    return "".join(
        f"<h3>{escape(name)}</h3><p>{escape(use[:1].upper() + use[1:])}.</p>{_code(value)}" for name, use, value in rows
    )


def _routes(routes: Iterable[Route]) -> str:
    return "".join(
        f"<tr><td>{escape(', '.join(route.methods))}</td><td>{escape(route.resource)}</td>"
        f"<td>{escape(route.function)}</td></tr>"
        for route in sorted(routes, key=lambda one: one.resource)
    )


def _mail(mail: Mail) -> str:
    summary = f"{mail.at:%H:%M:%S} UTC, to {', '.join(mail.recipients)}: {mail.subject}"
    return _details(mail.id, summary, mail.text or mail.html)


def _details(key: str, summary: str, text: str) -> str:
    return (
        f'<details id="{escape(key)}"><summary>{escape(summary)}</summary>'
        f'<pre tabindex="0">{escape(text)}</pre></details>'
    )
