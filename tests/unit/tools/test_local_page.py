"""The page for people at `GET /local` of the local run, and the reference with the demo's tokens."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.demo import greeting
from ordering_tools.local.engine.mails import Mail
from ordering_tools.local.engine.state import Running, State, keep_received, last_received
from ordering_tools.local.gateway.gateway import Route
from ordering_tools.local.gateway.page import LocalPage
from ordering_tools.local.http import Answer, HttpRequest
from support.letters import HOSTILE
from unit.tools.test_first_minutes import DEMO

BROWSER = {"host": "127.0.0.1:3000", "accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MAIL = Mail("m-1", datetime(2026, 1, 1, 12, tzinfo=UTC), "orders@example.com", ("j@example.com",), "Keys", "KEY-1", "")


def requested(path: str, method: str, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest(method, path, "", [*headers.items()], b"", "127.0.0.1", "HTTP/1.1")


@dataclass(frozen=True)
class Site:
    """The page of a local run whose mails the test chooses."""

    page: LocalPage
    state: Path
    mails: list[Mail]

    def get(self, path: str = "/local", method: str = "GET", **headers: str) -> Answer | None:
        return self.page.answer(requested(path, method, {**BROWSER, **headers}))

    def read(self, path: str = "/local") -> str:
        """The body of a response."""
        answer = self.get(path)
        assert answer
        return answer.body.decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A local run with demo data."""
    mails: list[Mail] = []
    (tmp_path / greeting.FILE).write_text(json.dumps(DEMO))
    state = State(tmp_path)
    state.announce(Running("http://127.0.0.1:3000", "http://127.0.0.1:1", "http://127.0.0.1:2", "", "", os.getpid()))
    routes = [Route("/v2/orders/{id}", "/v2/orders/<id>", ("GET", "PUT"), "DealOrdersFunction", None)]
    yield Site(LocalPage(tmp_path, routes, lambda _: mails), tmp_path, mails)
    state.release()


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page(site: Site) -> None:
    """The page has the calls and tokens of the demo, the routes, the mails and the documents."""
    site.mails.append(MAIL)
    text = Elements(site.read()).text

    assert all(line in text for call in greeting.calls(DEMO) for line in call.lines.values())
    assert greeting.source_line(site.state) in text
    assert all(token in text for token in DEMO["tokens"].values())
    assert "s3cr-et_" in text
    assert "GET, PUT/v2/orders/{id}DealOrdersFunction" in text
    assert "12:00:00 UTC, to j@example.com: KeysKEY-1" in text
    assert "tutorial" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "POST"},
        {"method": "HEAD"},
        {"path": "/v2/orders"},
        {"path": "//"},
        {"path": "/"},
        {"path": "/_local"},
        {"path": "/_local/x"},
        {"accept": "application/json"},
        {"accept": "*/*"},
        {"host": "tunnel.example"},
        {"host": ""},
        {"x-forwarded-for": "192.0.2.1"},
        {"path": "/_local/activity", "x-forwarded-host": "tunnel.example"},
        {"path": "/_local/docs/nothing.md"},
        {"path": "/_local/docs/../README.md"},
        {"path": "/_local/docs/%2e%2e/README.md"},
        {"path": "/_local/docs//etc/passwd"},
        {"path": "/_local/docs/decisions"},
    ],
)
def test_requests_of_the_api(site: Site, changes: dict[str, Any]) -> None:
    """Only browsers on this machine get the page; the API responds to all other requests, also through a tunnel."""
    assert site.get(**changes) is None


def test_requests_without_a_host(site: Site) -> None:
    """A client without a `Host` is no browser, and gets the API's response."""
    assert site.page.answer(requested("/local", "GET", {"accept": "text/html"})) is None


def test_before_the_run_is_ready(site: Site) -> None:
    """Until the run is ready, `GET /local` has the API's response."""
    (site.state / "running.json").unlink()

    assert site.get() is None


def test_headers(site: Site) -> None:
    """The page runs its own script and style only, loads nothing from elsewhere, and is neither framed nor kept."""
    answer = site.get()
    assert answer
    headers = dict(answer.headers)
    elements = Elements(answer.body.decode()).found
    nonces = {attributes.get("nonce") for tag, attributes in elements if tag in {"script", "style"}}

    (nonce,) = nonces
    assert f"script-src 'nonce-{nonce}'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    links = [value for _, attributes in elements for name, value in attributes.items() if name in {"src", "href"}]
    assert all(link and (link == "/" or link.startswith(("#", "/_local/"))) for link in links)
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    assert nonce != re.findall("nonce-([^']+)", str(site.get()))[0]


def test_texts_are_escaped(site: Site) -> None:
    """Texts of partners in mails and events cannot become markup."""
    site.mails.append(replace(MAIL, id=HOSTILE, recipients=(HOSTILE,), subject=HOSTILE, text=HOSTILE))
    before = Elements(site.read()).found
    keep_received(site.state, {"key": HOSTILE, "line": HOSTILE, "body": HOSTILE})
    after = Elements(site.read()).found

    assert [tag for tag, _ in after].count("script") == 1
    assert [tag for tag, _ in after].count("details") == [tag for tag, _ in before].count("details") + 1
    assert '<script>alert("x")' in Elements(site.read("/_local/activity")).text


def test_activity(site: Site) -> None:
    """The newest mails and events come first, 20 of each."""
    site.mails.extend(replace(MAIL, id=f"m-{number}", subject=f"mail {number}.") for number in range(25))
    for number in range(25):
        keep_received(site.state, {"key": f"e-{number}", "line": f"event {number}.", "body": "{}"})
    text = Elements(site.read("/_local/activity")).text

    assert "the newest 20 of 25" in text
    for kind in ("mail", "event"):
        assert re.findall(rf"{kind} (\d+)\.", text) == [str(number) for number in range(24, 4, -1)]


def test_nothing_has_happened(site: Site) -> None:
    """Without mails and events the page explains how to receive some."""
    text = Elements(site.read()).text

    assert text.count("None yet.") == 2
    assert ".venv/bin/ordering webhook listen" in text


def test_bare_run(site: Site) -> None:
    """A run without demo data has a page without calls."""
    (site.state / greeting.FILE).unlink()

    assert "This run has no demo data" in site.read()


def test_engine_that_does_not_respond(site: Site) -> None:
    """If the engine does not respond, the page reports it in place of the mails."""

    def mails(_: str) -> list[Mail]:
        raise OSError

    page = replace(site.page, mails=mails)
    answer = page.answer(requested("/local", "GET", BROWSER))
    assert answer
    assert b"The engine does not respond." in answer.body


@pytest.mark.parametrize(
    ("name", "kind"), [("tutorial.md", "text/plain; charset=utf-8"), ("openapi.json", "application/json")]
)
def test_documents(site: Site, name: str, kind: str) -> None:
    """Documents are served as text."""
    answer = site.get(f"/_local/docs/{name}")
    assert answer
    assert dict(answer.headers)["Content-Type"] == kind
    assert len(answer.body) > 1_000


def test_received_file(tmp_path: Path) -> None:
    """An incomplete line is left out, only the owner can read the file, and without the folder nothing is kept."""
    message = {"key": "1", "line": "x", "body": "y" * 700_000}
    assert last_received(tmp_path, 5) == []
    for _ in range(2):
        keep_received(tmp_path, message)
    (file,) = tmp_path.iterdir()

    assert file.stat().st_mode & 0o777 == 0o600
    assert last_received(tmp_path, 5) == [message, message]
    assert last_received(tmp_path, 1) == [message]
    with file.open("a") as stream:
        stream.write('{"key": "2", "li')
    assert last_received(tmp_path, 5) == [message, message]
    keep_received(tmp_path / "nothing", message)
    assert not (tmp_path / "nothing").exists()


REFERENCE = Answer(200, [("ETag", '"1"'), ("Cache-Control", "no-cache")], b'<script id="preset">{}</script>')


def test_the_reference_has_the_demos_tokens(site: Site) -> None:
    """A browser on this machine finds a token and a client of the demo filled in, and no cache keeps them."""
    answer = site.page.prepare(REFERENCE)
    preset = json.loads(answer.body.removeprefix(b'<script id="preset">').removesuffix(b"</script>"))

    assert site.page.is_reference(requested("/", "GET", BROWSER))
    assert DEMO["tokens"]["trainingSingleUnit"] in preset["tokens"].values()
    assert preset["page"] == "/local"
    assert answer.headers == [("Cache-Control", "no-store")]


@pytest.mark.parametrize(
    ("path", "method", "changes"),
    [
        ("/", "POST", {}),
        ("/docs", "GET", {}),
        ("/", "GET", {"host": "tunnel.example"}),
        ("/", "GET", {"x-forwarded-for": "192.0.2.1"}),
    ],
)
def test_others_get_the_reference_as_it_is(site: Site, path: str, method: str, changes: dict[str, str]) -> None:
    """Through a tunnel, and for any other request, nothing is filled in."""
    assert not site.page.is_reference(requested(path, method, {**BROWSER, **changes}))


def test_the_reference_before_the_run_is_ready(site: Site) -> None:
    """Until the run is ready, and if the function failed, its response stays as it is."""
    failed = replace(REFERENCE, status=503)

    assert site.page.prepare(failed) == failed
    (site.state / "running.json").unlink()
    assert site.page.prepare(REFERENCE) == REFERENCE
