"""The function that serves the pages: their addresses, caching and headers, and what it answers when it is off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ordering.entry.api import Api
from ordering.reference.contract import Pages
from ordering_tools.documents.site import write_site
from support.gateway import DOMAIN, REQUEST_ID, LambdaContext, load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    write_site(made)
    return made


@pytest.fixture
def app(folder: Path) -> Iterator[Api[Any]]:
    """The function's app, with the pages of a build."""
    app = load("reference/pages")
    before, app.services = app.services, Pages(folder)
    yield app
    app.services = before


def get(app: Api[Any], path: str, *, stage: str = "", full: str = "", **headers: str) -> dict[str, Any]:
    """The response to a GET, as the gateway passes it on."""
    event = {
        "httpMethod": "GET",
        "path": path,
        "resource": path,
        "headers": headers,
        "body": None,
        "requestContext": {"requestId": REQUEST_ID, "path": full or f"{stage}{path}", "domainName": DOMAIN},
    }
    return app.handle(event, LambdaContext())  # type: ignore[arg-type] # all that is used of it


def shown(answer: dict[str, Any]) -> dict[str, str]:
    return {name: values[0] for name, values in answer["multiValueHeaders"].items()}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/errors"])
def test_pages(app: Api[Any], path: str) -> None:
    """A page is HTML, runs its own scripts only, is not framed, and is compared before a copy is used."""
    answer = get(app, path)
    headers = shown(answer)

    assert (answer["statusCode"], headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert ("'unsafe-inline'" in headers["Content-Security-Policy"]) == (path == "/")
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-cache", "nosniff")
    assert "{{" not in answer["body"]


def test_a_copy_that_is_current(app: Api[Any]) -> None:
    """A page that the browser has already is 304 without a body."""
    tag = shown(get(app, "/docs"))["ETag"]
    answer = get(app, "/docs", **{"If-None-Match": tag})

    assert (answer["statusCode"], answer["body"]) == (304, "")


@pytest.mark.parametrize(("stage", "full"), [("", ""), ("/live", ""), ("/live", "/live"), ("/live", "/live/")])
def test_links_have_the_stage_in_front(app: Api[Any], stage: str, full: str) -> None:
    """Links of a page begin with the stage where there is one, also at its address without the last slash."""
    assert f'href="{stage}/docs"' in get(app, "/", stage=stage, full=full)["body"]


def test_the_document_has_the_callers_address(app: Api[Any]) -> None:
    """The served document names the address by which the caller reached the API."""
    document = json.loads(get(app, "/openapi.json", stage="/live")["body"])

    assert document["servers"] == [{"url": f"https://{DOMAIN}/live"}]


def test_assets_are_kept(app: Api[Any], folder: Path) -> None:
    """An asset is never asked for again: its name changes with its contents."""
    for asset in (folder / "assets").iterdir():
        answer = get(app, f"/assets/{asset.name}")

        assert answer["body"] == asset.read_text(encoding="utf-8")
        assert shown(answer)["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/docs/nothing", "/docs/..", "/assets/app.py", "/assets/..", "/assets/%2e%2e"])
def test_what_does_not_exist(app: Api[Any], path: str) -> None:
    """An unknown page is a problem; no path leads out of the folder."""
    answer = get(app, path)

    assert answer["statusCode"] == 404
    assert json.loads(answer["body"])["type"] == f"https://{DOMAIN}/docs/errors#not-found"


def test_pages_that_are_switched_off(folder: Path, app: Api[Any]) -> None:
    """A stack that does not serve its reference answers as if it did not exist."""
    app.services = Pages(folder, served=False)

    assert [get(app, path)["statusCode"] for path in ("/", "/docs", "/openapi.json")] == [404, 404, 404]


def test_errors_lead_to_another_address(app: Api[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the parameter DocumentationUrl all errors lead there."""
    monkeypatch.setenv("DOCUMENTATION_URL", "https://docs.example.com/orders")
    problem = json.loads(get(app, "/docs/nothing")["body"])

    assert problem["type"] == "https://docs.example.com/orders/docs/errors#not-found"
