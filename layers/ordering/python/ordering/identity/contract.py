"""The token endpoint, `/connect/token`, and the two public documents of its issuer under `/.well-known`.

Client credentials are exchanged for a JWT (RFC 6749, 4.4). They are sent in the form or by HTTP Basic, not both. An
invalid request gets 400 with a code of section 5.2; if Basic was wrong, 401.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.identity.clients import ClientRefused
from ordering.identity.errors import ERRORS, PROBLEMS, BasicRefused, OauthError, Refused
from ordering.identity.token_endpoint import KEYS_KEPT, VALID
from ordering.identity.tokens import ALGORITHMS
from ordering.principal import GRANTS
from ordering.values import replace
from ordering.web.documents import ContractDocument
from ordering.web.forms import URLENCODED, MalformedForm, read_form
from ordering.web.http import Answer, Call, M, NoQuery, Request, raw_body, read_body
from ordering.web.problems import Problem, problem

NAME = "oauth"

TOKEN_PATH = "/connect/token"  # noqa: S105 - a path
KEYS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"

_NEVER_KEPT = MappingProxyType({"Cache-Control": "no-store", "Pragma": "no-cache"})
_PUBLIC = MappingProxyType({"Cache-Control": f"public, max-age={KEYS_KEPT.total_seconds():.0f}"})
_LENGTH_OF_A_SECRET = 43

_log = logging.getLogger("ordering")


class Credentials(TypedDict):
    """A client's request for a token; `scope` holds the requested grants, None for all of the client's."""

    client_id: str
    client_secret: str
    scope: frozenset[str] | None


class OauthToken(TypedDict):
    """A token, its lifetime in seconds, and its grants."""

    access_token: str
    """The token. Send it as `Authorization: Bearer <token>`."""
    expires_in: int
    """For how many seconds the token is valid."""
    token_type: Literal["Bearer"]
    """How the token is sent (RFC 6750)."""
    scope: str
    """The grants of the token, separated by spaces."""


class OauthKeySet(TypedDict):
    """The public keys that verify all valid tokens (RFC 7517)."""

    keys: list[dict[str, Any]]
    """Public keys as JSON Web Keys (RFC 7517), each with `kid`, `kty`, `alg` and `use`."""


class OauthMetadata(TypedDict):
    """What a client's library asks of an authorization server before its first request (RFC 8414)."""

    issuer: str
    """The issuer of the tokens, their `iss`."""
    token_endpoint: str
    """The address that issues tokens."""
    jwks_uri: str
    """The address of the keys that verify tokens."""
    scopes_supported: list[str]
    """The grants that a client can have."""
    response_types_supported: list[str]
    """Empty: there is no authorization endpoint."""
    grant_types_supported: list[str]
    """The grant types of the token endpoint."""
    token_endpoint_auth_methods_supported: list[str]
    """How a client can authenticate."""


def credentials(request: Request) -> Credentials:
    """Read a request for a token: its form, and the client's id and secret from there or from HTTP Basic.

    Raises:
        Refused: The form is malformed, a parameter is missing or repeated, the grant type is not supported, or the form
            and HTTP Basic both authenticate the client.
        ClientRefused: HTTP Basic is malformed.
    """
    fields = _fields(request)
    basic = _basic(request)
    if basic:
        # The id may be repeated in the form (RFC 6749, 3.2.1).
        if "client_secret" in fields or fields.get("client_id", basic[0]) != basic[0]:
            raise Refused("invalid_request", "Send the client's id and secret in the form or by HTTP Basic, not both.")
        fields |= dict(zip(("client_id", "client_secret"), basic, strict=True))
    required = ["grant_type"] if basic else ["grant_type", "client_id", "client_secret"]
    missing = [name for name in required if not fields.get(name)]
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
    try:
        return read_form(request.headers.get("content-type", ""), raw_body(request))
    except MalformedForm as malformed:
        raise Refused("invalid_request", str(malformed)) from None


def _basic(request: Request) -> tuple[str, str] | None:
    """Read a client's id and secret from HTTP Basic, each urlencoded (RFC 6749, 2.3.1); None if it is not used."""
    if "authorization" in request.repeated:
        raise Refused("invalid_request", "'Authorization' must be sent only once.")
    if not _uses_basic(request):
        return None
    encoded = request.headers["authorization"].strip()[len("basic") :].strip()
    try:
        client_id, secret = base64.b64decode(encoded, validate=True).decode().split(":", 1)
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise ClientRefused("malformed HTTP Basic") from None


def _uses_basic(request: Request) -> bool:
    return request.headers.get("authorization", "").strip().partition(" ")[0].lower() == "basic"


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
        # Only names that are known: RFC 6749, 5.2 limits the characters of a description.
        named = f"the grant '{beyond[0]}'" if beyond[0] in GRANTS else "a requested grant"
        raise Refused("invalid_scope", f"The client does not have {named}.")
    return wanted


def token(access_token: str, scope: frozenset[str]) -> Answer[OauthToken]:
    """Show a token; no cache may store the response."""
    shown: OauthToken = {
        "access_token": access_token,
        "expires_in": int(VALID.total_seconds()),
        "token_type": "Bearer",
        "scope": " ".join(sorted(scope)),
    }
    return Answer(200, shown, _NEVER_KEPT)


def key_set(keys: Mapping[str, Mapping[str, Any]]) -> Answer[OauthKeySet]:
    """Show the keys; caches may store them for as long as a new key is published before it signs."""
    shown = [
        {**jwk, "kid": key_id, "use": "sig", "alg": ALGORITHMS[jwk["kty"]]}
        for key_id, jwk in sorted(keys.items())
        if jwk["kty"] in ALGORITHMS  # the others verify no token
    ]
    return Answer(200, {"keys": shown}, _PUBLIC)


def metadata(request: Request, issuer: str) -> Answer[OauthMetadata]:
    """Show the issuer's metadata, with the addresses by which the caller reaches this API."""
    base = request.address_of_api
    shown: OauthMetadata = {
        "issuer": issuer,
        "token_endpoint": base + TOKEN_PATH,
        "jwks_uri": base + KEYS_PATH,
        "scopes_supported": sorted(GRANTS),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    return Answer(200, shown, _PUBLIC)


_FORM: Mapping[str, Any] = {
    "OauthTokenRequest": {
        "description": "A client's request for a token: its id and secret are here or in HTTP Basic.",
        "type": "object",
        "required": ["grant_type"],
        "dependentRequired": {"client_secret": ["client_id"]},
        "properties": {
            "grant_type": {
                "type": "string",
                "const": "client_credentials",
                "description": "The only grant type (RFC 6749, 4.4).",
            },
            "client_id": {
                "type": "string",
                "minLength": 1,
                "maxLength": 128,
                "description": "The client's id, unless it is sent by HTTP Basic.",
            },
            "client_secret": {
                "type": "string",
                "minLength": 1,
                "maxLength": 128,
                "description": "The client's secret, unless it is sent by HTTP Basic.",
            },
            "scope": {
                "type": "string",
                "maxLength": 255,
                "pattern": "^([!#-\\[\\]-~]+( [!#-\\[\\]-~]+)*)?$",
                "description": "The grants that the token is for, separated by spaces; by default all of the client's.",
            },
        },
    }
}
# With two media types for a body some generators make code that cannot be imported: multipart is in the prose only.
_TOKEN_REQUEST: Mapping[str, Any] = {
    "required": True,
    "content": {URLENCODED: {"schema": {"$ref": "#/components/schemas/OauthTokenRequest"}}},
}


class _Oauth:
    """The contract of the token endpoint, for the adapter."""

    name = NAME
    query: type[BaseModel] = NoQuery
    headers: Mapping[str, str] = MappingProxyType({})
    content_type = "application/json"
    errors = ERRORS
    document = ContractDocument(
        "Tokens",
        "`/connect/token`: exchange a client's id and secret for an access token. It is valid in every API "
        "that the client has a grant for.",
        {"Tokens": "Access tokens, and the keys that verify them."},
        security={},
        bodies={"issue_token": _TOKEN_REQUEST},
        schemas=_FORM,
        headers={"issue_token": _NEVER_KEPT, "get_keys": _PUBLIC, "get_metadata": _PUBLIC},
        error_headers=tuple(_NEVER_KEPT),
    )

    def admit(self, call: Call) -> None:
        """Admit every caller: the form authenticates it."""

    def body(self, model: type[M], request: Request) -> M:
        """Validate a body against a model."""
        return read_body(model, request)

    def owner(self, call: Call, query: Any) -> None:
        """Return nothing: a token is about no unit."""

    def refuse(self, error: Exception, request: Request) -> Answer[OauthError] | Answer[Problem]:
        """Convert an error to an error response of RFC 6749, 5.2, or for the documents to a problem (RFC 9457)."""
        if isinstance(error, ClientRefused):
            _report(error, request)
            if _uses_basic(request):
                error = BasicRefused(str(error))
        found = ERRORS.answer(error)
        if request.path.startswith("/.well-known/"):
            shown = problem(request, replace(found, code=PROBLEMS[found.status]))
            return replace(shown, headers={**_NEVER_KEPT, **shown.headers})
        body: OauthError = {"error": found.code, "error_description": found.detail}
        return Answer(found.status, body, {**_NEVER_KEPT, **found.headers})


def _report(refused: ClientRefused, request: Request) -> None:
    """Write one line for each refused client, so that attempts to break in can be found and counted."""
    client_id = refused.client_id
    if client_id is not None and len(client_id) == _LENGTH_OF_A_SECRET:
        client_id = "(as long as a secret)"  # which is sometimes sent in the wrong field
    _log.warning(
        "client refused",
        extra={"request": request.id, "address": request.address, "client": client_id, "reason": str(refused)},
    )


CONTRACT = _Oauth()
