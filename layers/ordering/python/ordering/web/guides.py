"""The addresses of the guides for partners, which the function `reference/pages` serves, and errors link to."""

from __future__ import annotations

import os

from ordering.web.http import Request


def error_guide(request: Request, section: str) -> str:
    """Return the address of a section of the guide to errors: this API's, or the environment's."""
    settings = os.environ
    address = settings.get("DOCUMENTATION_URL") or request.address_of_api
    return f"{address}/docs/errors#{section}"
