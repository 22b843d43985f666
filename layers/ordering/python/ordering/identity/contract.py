"""The token endpoint, `/connect/token`, and the public keys that verify its tokens, `/.well-known/jwks.json`.

Client credentials are exchanged for a JWT (RFC 6749, 4.4). An invalid request gets 400 with a code of section 5.2.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Mapping
from email.parser import BytesParser
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.identity.errors import ERRORS, OauthError, Refused
from ordering.identity.token_endpoint import KEYS_KEPT, VALID
from ordering.web.documents import ContractDocument
from ordering.web.http import Answer, Call, M, NoQuery, Request, raw_body, read_body

NAME = "oauth"

LARGEST_FORM = 16_384
_NEVER_KEPT = MappingProxyType({"Cache-Control": "no-store", "Pragma": "no-cache"})
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


class Credentials(TypedDict):
    """A client's request for a token; `scope` holds the requested grants, None for all of the client's."""

    client_id: str
    client_secret: str
    scope: frozenset[str] | None


class Token(TypedDict):
    """A token, its lifetime in seconds, and its grants."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"]
    scope: str


class KeySet(TypedDict):
    """The public keys that verify all valid tokens (RFC 7517)."""

    keys: list[dict[str, Any]]


def credentials(request: Request) -> Credentials:
    """Read a form, urlencoded or multipart.

    Raises:
        Refused: The form is malformed, a parameter is missing or repeated, or the grant type is not supported.
    """
    fields = _fields(request)
    missing = [name for name in ("grant_type", "client_id", "client_secret") if not fields.get(name)]
    if missing:
        raise Refused("invalid_request", f"'{missing[0]}' is required.")
    if fields["grant_type"] != "client_credentials":
        raise Refused("unsupported_grant_type", "The only grant type is 'client_credentials'.")
    wanted = fields.get("scope")
    return {
        "client_id": fields["client_id"],
        "client_secret": fields["client_secret"],
        "scope": frozenset(wanted.split(" ")) - {""} if wanted else None,
    }


def _fields(request: Request) -> dict[str, str]:
    raw = raw_body(request)
    if len(raw) > LARGEST_FORM:
        raise Refused("invalid_request", f"The form is larger than {LARGEST_FORM:,} bytes.")
    declared = request.headers.get("content-type", "")
    kind = declared.partition(";")[0].strip().lower()
    if kind == _URLENCODED:
        pairs = _urlencoded(raw)
    elif kind == _MULTIPART:
        pairs = _multipart(declared, raw)
    else:
        raise Refused("invalid_request", f"Send the form as '{_URLENCODED}' or '{_MULTIPART}'.")
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refused("invalid_request", "A form parameter is repeated. Send each one once.")
    return dict(pairs)


def _urlencoded(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(_decoded(raw), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise Refused("invalid_request", "The form could not be parsed.") from None


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused("invalid_request", "The form could not be parsed.") from None


def _multipart(declared: str, raw: bytes) -> list[tuple[str, str]]:
    if re.search(r"[\r\n]", declared):
        raise Refused("invalid_request", "The form could not be parsed.")
    head = f"Content-Type: {declared}\r\n\r\n".encode("utf-8", "replace")
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
    pairs = []
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise Refused("invalid_request", "The form could not be parsed.")
        pairs.append((name, _decoded(content)))
    if not pairs or message.defects:
        raise Refused("invalid_request", "The form could not be parsed.")
    return pairs


def covered(wanted: frozenset[str] | None, allowed: frozenset[str]) -> frozenset[str]:
    """Return the grants of a token.

    Raises:
        Refused: A requested grant is not one of the client's.
    """
    if wanted is None:
        return allowed
    if not wanted:
        raise Refused("invalid_scope", "The scope contains no grants.")
    if beyond := sorted(wanted - allowed):
        raise Refused("invalid_scope", f"The client does not have the grant '{beyond[0]}'.")
    return wanted


def token(access_token: str, scope: frozenset[str]) -> Answer[Token]:
    """Show a token; no cache may store the response."""
    shown: Token = {
        "access_token": access_token,
        "expires_in": int(VALID.total_seconds()),
        "token_type": "Bearer",
        "scope": " ".join(sorted(scope)),
    }
    return Answer(200, shown, _NEVER_KEPT)


def key_set(keys: Mapping[str, Mapping[str, Any]]) -> Answer[KeySet]:
    """Show the keys; caches may store them for as long as a new key is published before it signs."""
    shown = [{**jwk, "kid": key_id, "use": "sig"} for key_id, jwk in sorted(keys.items())]
    return Answer(200, {"keys": shown}, {"Cache-Control": f"public, max-age={KEYS_KEPT.total_seconds():.0f}"})


_FORM: Mapping[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["grant_type", "client_id", "client_secret"],
        "properties": {
            "grant_type": {"type": "string", "const": "client_credentials"},
            "client_id": {"type": "string"},
            "client_secret": {"type": "string"},
            "scope": {
                "type": "string",
                "description": "The grants that the token is for, separated by spaces; by default all of the client's.",
            },
        },
    }
}
_TOKEN_REQUEST: Mapping[str, Any] = {"required": True, "content": {_URLENCODED: _FORM, _MULTIPART: _FORM}}


class _Oauth:
    """The contract of the token endpoint, for the adapter."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({})
    content_type = "application/json"
    errors = ERRORS
    document = ContractDocument(
        "**Tokens**, `/connect/token`: exchange a client's id and secret for an access token. It is valid in every API "
        "that the client has a grant for.",
        {"Tokens": "Access tokens, and the keys that verify them."},
        security={},
        bodies={"issue_token": _TOKEN_REQUEST},
    )

    def admit(self, call: Call) -> None:
        """Admit every caller: the form authenticates it."""

    def body(self, model: type[M], request: Request) -> M:
        """Validate a body against a model."""
        return read_body(model, request)

    def owner(self, call: Call, query: Any) -> None:
        """Return nothing: a token is about no unit."""

    def refuse(self, error: Exception, request: Request) -> Answer[OauthError]:  # noqa: ARG002 - the same signature in every contract
        """Convert an error to an error response of RFC 6749, 5.2."""
        found = ERRORS.answer(error)
        body: OauthError = {"error": found.code, "error_description": found.detail}
        return Answer(found.status, body, {**_NEVER_KEPT, **found.headers})


CONTRACT = _Oauth()
