"""The pages for people: the reference of the API, its guides and its OpenAPI document.

They are files, which a build makes (`ordering_tools.documents.site`). Only the address at which the caller reaches the
API is filled in for each request.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from ordering.errors import Unavailable
from ordering.values import Value
from ordering.web.documents import ContractDocument
from ordering.web.error_table import ALLOW, RETRY_AFTER, ErrorCause, ErrorStatus, ErrorTable
from ordering.web.http import Answer, Call, M, MethodNotAllowed, NoQuery, NoSuchPath, Request, read_body
from ordering.web.problems import MEDIA_TYPE, Problem, problem

NAME = "reference"

ADDRESS = "{{address}}"
"""In a file: the address of the API, `https://api.example.com`, or with the stage `https://….amazonaws.com/live`."""

BASE = "{{base}}"
"""In a file: the part of the address that stands in front of all paths, empty or `/live`."""

INDEX = "index.html"
DOCUMENT = "openapi.json"
GUIDES = "docs"
ASSETS = "assets"
FIRST_GUIDE = "start"

_TYPES = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
    }
)

_ALWAYS = MappingProxyType({"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"})
_KEPT = MappingProxyType({"Cache-Control": "public, max-age=31536000, immutable"})
"""For assets, whose names have a hash of their contents."""
_COMPARED = MappingProxyType({"Cache-Control": "no-cache"})
"""For all else: a copy is used after its `ETag` was compared."""


def _policy(styles: str) -> Mapping[str, str]:
    return {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; font-src 'self'; "
        f"img-src 'self' data:; style-src {styles}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


_OF_GUIDES = MappingProxyType(_policy("'self'"))
_OF_THE_REFERENCE = MappingProxyType(_policy("'self' 'unsafe-inline'"))
"""The renderer writes its styles into the page; no script can be written into it."""

_MISSING = "This path does not exist. Check it against the API reference."


class Pages(Value):
    """The pages of a build.

    Args:
        folder: The folder of their files.
        served: Whether they are served; if not, none exists.
    """

    folder: Path
    served: bool = True

    def page(self, request: Request, name: str) -> Answer[None]:
        """Return a file, with the addresses of this request.

        Args:
            name: Its path in the folder.

        Raises:
            NoSuchPath: There is no such file.
        """
        file = self.folder / name
        # A name is one part of a path, so the file is never outside of the folder.
        if not self.served or not file.is_file():
            raise NoSuchPath(_MISSING)
        text = file.read_text(encoding="utf-8")
        own = _KEPT
        if file.parent.name != ASSETS:
            text = text.replace(ADDRESS, request.address_of_api).replace(BASE, request.base)
            own = _COMPARED
        policy = {} if file.suffix != ".html" else _OF_THE_REFERENCE if name == INDEX else _OF_GUIDES
        return Answer(200, text.encode(), {"Content-Type": _TYPES[file.suffix], **_ALWAYS, **own, **policy})


_ERRORS = ErrorTable(
    Problem,
    MEDIA_TYPE,
    [
        ErrorStatus(404, "", "The page does not exist.", {NoSuchPath: ErrorCause("not-found", "{error}")}),
        ErrorStatus(
            405,
            "",
            "Pages can only be read.",
            {MethodNotAllowed: ErrorCause("method-not-allowed", "{error}", ALLOW)},
        ),
        ErrorStatus(
            500,
            "",
            "Something went wrong on our side.",
            {Exception: ErrorCause("internal-server-error", "Something went wrong on our side. Try again.")},
        ),
        ErrorStatus(
            503,
            "",
            "The page could not be read in time.",
            {Unavailable: ErrorCause("service-unavailable", "The page could not be read in time.", RETRY_AFTER)},
        ),
    ],
)


class _Reference:
    """The contract of the pages, for the adapter. It has no part in the OpenAPI document."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({})
    content_type = "application/json"
    errors = _ERRORS
    document = ContractDocument("", "", {}, security={})

    def admit(self, call: Call) -> None:
        """Admit every caller: pages are public."""

    def body(self, model: type[M], request: Request) -> M:
        """Validate a body against a model."""
        return read_body(model, request)

    def owner(self, call: Call, query: Any) -> None:
        """Return nothing: a page is about no unit."""

    def refuse(self, error: Exception, request: Request) -> Answer[Problem]:
        """Convert an error to a problem document (RFC 9457)."""
        return problem(request, self.errors.answer(error))


CONTRACT = _Reference()
