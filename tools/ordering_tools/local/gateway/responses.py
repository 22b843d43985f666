"""The gateway responses, which API Gateway sends without a function, from the document that it imports.

The types, their statuses and their fall-backs are those of
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html: a type that the
template does not customise takes parameters and template of DEFAULT_4XX or DEFAULT_5XX, and without those AWS's own
body. The documentation gives failed integrations the default status 504; in fact API Gateway responds with 502 if a
Lambda integration fails, and so does this module.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Any

from ordering_tools.local.http import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS: dict[str, tuple[int, str]] = {
    "UNAUTHORIZED": (401, "Unauthorized"),
    "ACCESS_DENIED": (403, "User is not authorized to access this resource"),
    "INVALID_API_KEY": (403, "Forbidden"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Missing Authentication Token"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type"),
    "THROTTLED": (429, "Too Many Requests"),
    "QUOTA_EXCEEDED": (429, "Limit Exceeded"),
    "BAD_REQUEST_BODY": (400, "Invalid request body"),
    "AUTHORIZER_FAILURE": (500, "Internal server error"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "Internal server error"),
    "API_CONFIGURATION_ERROR": (500, "Internal server error"),
    "INTEGRATION_FAILURE": (502, "Internal server error"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out"),
}
_JSON = "application/json"
_QUOTED = "error.messageString"


class RefusedError(Exception):
    """The gateway refuses a request with the gateway response of this kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class GatewayResponses:
    """The template's customisations, by response type."""

    customised: Mapping[str, Mapping[str, Any]]

    def render(self, kind: str, context: Mapping[str, str]) -> Answer:
        """The gateway response of a kind.

        `context` has the values of `$context.…` in the template, for instance `path` and `requestId`.
        """
        default_status, message = DEFAULTS[kind]
        fallback = f"DEFAULT_{default_status // 100}XX"
        response = self.customised.get(kind) or self.customised.get(fallback) or {}
        known = {
            "error.message": message,
            _QUOTED: json.dumps(message),
            "error.responseType": kind,
            **context,
        }
        content_type, template = _template(response.get("responseTemplates", {}))
        headers = {"Content-Type": content_type, **_headers(response.get("responseParameters", {}), known)}
        return Answer(
            status=int(response.get("statusCode", default_status)),
            headers=list(headers.items()),
            body=ContextTemplate(template).fill(known).encode(),
        )


def _template(templates: Mapping[str, str]) -> tuple[str, str]:
    if _JSON in templates:
        return _JSON, templates[_JSON]
    return next(iter(templates.items()), (_JSON, '{"message":$context.error.messageString}'))


def _headers(parameters: Mapping[str, Any], context: Mapping[str, str]) -> dict[str, str]:
    """The headers: a source is a text in single quotes, or a variable, which gives no header if it has no value."""
    headers = {}
    for parameter, source in parameters.items():
        name = parameter.removeprefix("gatewayresponse.header.")
        if source.startswith("'"):
            headers[name] = source[1:-1]
        elif (value := context.get(source.removeprefix("context."))) is not None:
            headers[name] = value
    return headers


class ContextTemplate(Template):
    """JSON with variables of API Gateway's: `$context.…`."""

    idpattern = r"context(?:\.\w+)+"

    def fill(self, context: Mapping[str, str], missing: str = "") -> str:
        """Return the text with the variables' values, and `missing` for those without one."""
        inside = {f"context.{name}": json.dumps(text)[1:-1] for name, text in context.items()}
        # This one is quoted already; all others are inside quotes in the template, or numbers.
        quoted = {f"context.{_QUOTED}": context[_QUOTED]} if _QUOTED in context else {}
        return self.safe_substitute(defaultdict(lambda: missing, {**inside, **quoted}))
