"""Calls from web pages of other origins (the Fetch Standard's CORS protocol), for the origins that an operator allows.

A response to an allowed origin names it, and any other response has no CORS header, so the browser hides it from the
page. Responses never allow credentials: a page sends its token in `Authorization`, and no cookie.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match"
"""The header fields that a page may send."""

RESPONSE_HEADERS = (
    "Allow, ETag, Idempotent-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
    "x-amzn-Remapped-WWW-Authenticate, X-Request-Id"
)
"""The header fields that a page may read, besides those that every page may. API Gateway renames a challenge."""

PREFLIGHT_SECONDS = 7_200
"""How long a browser may cache the response to a preflight; none caches it longer than this."""


def cors_headers(origin: str | None, allowed: Collection[str], methods: Iterable[str] | None) -> Mapping[str, str]:
    """Return the CORS header fields of a response.

    Args:
        origin: The request's `Origin`; None if it does not come from a web page.
        allowed: The origins that may call the API.
        methods: The methods that the path supports, in the response to a preflight; None in any other.
    """
    if origin is None or origin not in allowed:
        return {}
    headers = {"Access-Control-Allow-Origin": origin}
    if methods is None:
        return {**headers, "Access-Control-Expose-Headers": RESPONSE_HEADERS}
    return {
        **headers,
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }


def vary(own: Iterable[str], allowed: Collection[str]) -> str:
    """Return the `Vary` of a response: its own, the coding of the gateway, and the origin if any may call.

    Args:
        own: The values of the response's own `Vary`.
        allowed: The origins that may call the API.
    """
    return ", ".join([*own, "Accept-Encoding", *(["Origin"] if allowed else [])])
