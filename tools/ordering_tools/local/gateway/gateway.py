"""A local API Gateway: routes requests to functions, after their authorizer has allowed them.

For failures of a function the documentation has only the names of the gateway responses
(https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html). Here a
function that raised, crashed or returned a malformed result is an INTEGRATION_FAILURE, one that timed out an
INTEGRATION_TIMEOUT. An authorizer that raised is an AUTHORIZER_FAILURE, one with a malformed result an
AUTHORIZER_CONFIGURATION_ERROR.

Not supported, because the template does not use them: CORS by the gateway (the functions answer preflights), binary
media types, stage variables, models.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from ordering.cache import Cache
from ordering_tools.local.gateway.access_log import AccessLog
from ordering_tools.local.gateway.encodings import compress, decode
from ordering_tools.local.gateway.events import GatewayRequest, authorizer_event, function_event
from ordering_tools.local.gateway.responses import DEFAULTS, RefusedError
from ordering_tools.local.gateway.results import Decision, MalformedResultError, read_answer, read_decision
from ordering_tools.local.gateway.usage import Buckets, KeyUsage
from ordering_tools.local.runtime.functions import (
    EventTooLargeError,
    FunctionError,
    FunctionTimeoutError,
    RunEndedError,
    Runner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ordering_tools.local.gateway.responses import GatewayResponses
    from ordering_tools.local.gateway.usage import PlannedKey, Throttle
    from ordering_tools.local.http import Answer

BODY_LIMIT = 10 * 1024 * 1024
"""Bytes; API Gateway's quota, which cannot be raised."""


@dataclass(frozen=True)
class Authorizer:
    """A Lambda authorizer of the template, of type REQUEST."""

    name: str
    function: str
    headers: tuple[str, ...]
    """The headers that identify a caller."""
    reauthorize: float
    """Seconds for which a decision is cached."""


@dataclass(frozen=True)
class Route:
    """A path of the template and the function for it."""

    resource: str
    """The path in the template, for instance `/orders/{orderId}`."""
    rule: str
    """The path in werkzeug's syntax, for instance `/orders/<orderId>`."""
    methods: tuple[str, ...]
    function: str
    authorizer: Authorizer | None
    key_required: bool = False
    """Whether the authorizer must name an API key of a usage plan."""


@dataclass(frozen=True)
class Api:
    """The API of a template."""

    routes: list[Route]
    stage: str
    minimum_compression: int | None
    """The size in bytes from which responses are compressed; None if none is."""
    responses: GatewayResponses
    throttles: Mapping[tuple[str, str], Throttle] = field(default_factory=dict)
    """The limits for all callers together, by resource and method; both `*` for each method without its own."""
    access_log: str | None = None
    """The format of a line of the access log; None if there is none."""


class Gateway:
    """Responds to requests as the deployed API does."""

    def __init__(
        self,
        api: Api,
        runner: Runner,
        read_keys: Callable[[], Mapping[str, PlannedKey]],
        log: Path = Path(os.devnull),
    ) -> None:
        """Make it.

        Args:
            api: The API of the template.
            runner: Calls its functions.
            read_keys: Reads the API keys in the stage's usage plans, by value.
            log: The file of the access log.
        """
        self.stage = api.stage
        self._access_log = AccessLog(api.access_log, log)
        self._throttles = api.throttles
        self._buckets = Buckets()
        self._usage = KeyUsage(read_keys, self._buckets)
        self._minimum_compression = api.minimum_compression
        self._runner = runner
        self._responses = api.responses
        self._routes = {(method, route.resource): route for route in api.routes for method in route.methods}
        self._caches: dict[str, Cache[tuple[str, ...], Decision]] = {
            route.authorizer.name: Cache(route.authorizer.reauthorize) for route in api.routes if route.authorizer
        }
        rules = [Rule(route.rule, endpoint=route.resource) for route in api.routes]
        self._urls = Map(rules, strict_slashes=False, merge_slashes=False).bind("localhost")

    def answer(self, request: GatewayRequest) -> Answer:
        """Respond to a request; an unexpected exception is an API_CONFIGURATION_ERROR."""
        try:
            body = decode(request.body, request.header("Content-Encoding"), BODY_LIMIT)
            answer = self._answer(replace(request, body=body))
        except RefusedError as refused:
            answer = self._refuse(refused.kind, request)
        except Exception:  # noqa: BLE001 - the client must get a response
            traceback.print_exc()
            answer = self._refuse("API_CONFIGURATION_ERROR", request)
        answer = compress(answer, request.header("Accept-Encoding"), self._minimum_compression)
        self._access_log.write(request, answer)
        return answer

    def malformed(self, request: GatewayRequest) -> Answer:
        """Respond to malformed HTTP with a gateway response, in the API's own shape."""
        answer = self._refuse("BAD_REQUEST_BODY", request)
        self._access_log.write(request, answer)
        return answer

    def _refuse(self, kind: str, request: GatewayRequest) -> Answer:
        request.noted.update({"error.responseType": kind, "error.message": DEFAULTS[kind][1]})
        return self._responses.render(kind, request.context)

    def _answer(self, request: GatewayRequest) -> Answer:
        route, request = self._match(request)
        decision = self._authorize(route.authorizer, request) if route.authorizer else None
        key = self._usage.count(decision.usage_key if decision else None) if route.key_required else None
        self._throttle(route, request.method)
        if key:
            request.noted["identity.apiKeyId"] = key.id
        event = function_event(request, decision.context if decision else None, key)
        try:
            with _timed(request, "integration"):
                answer = read_answer(self._invoke(route.function, event))
        except EventTooLargeError as error:
            raise RefusedError("REQUEST_TOO_LARGE") from error
        except FunctionTimeoutError as error:
            _report(route.function, error)
            raise RefusedError("INTEGRATION_TIMEOUT") from error
        except (FunctionError, MalformedResultError) as error:
            _report(route.function, error)
            raise RefusedError("INTEGRATION_FAILURE") from error
        request.noted["integration.status"] = str(answer.status)
        return answer

    def _throttle(self, route: Route, method: str) -> None:
        """Take a token of the method's own limit, or of the one that all methods have."""
        if own := self._throttles.get((route.resource, method)):
            self._buckets.take((route.resource, method), own)
        else:
            self._buckets.take((route.resource, route.methods), self._throttles.get(("*", "*")))

    def _match(self, request: GatewayRequest) -> tuple[Route, GatewayRequest]:
        # werkzeug drops further slashes in front.
        if request.path.startswith("//"):
            raise RefusedError("MISSING_AUTHENTICATION_TOKEN")
        try:
            resource, parameters = self._urls.match(request.path, method=request.method)
        except HTTPException as error:
            raise RefusedError("MISSING_AUTHENTICATION_TOKEN") from error
        route = self._routes.get((request.method, resource))
        if route is None:
            raise RefusedError("MISSING_AUTHENTICATION_TOKEN")
        request.noted["resourcePath"] = resource
        return route, replace(request, resource=resource, path_parameters=parameters)

    def _authorize(self, authorizer: Authorizer, request: GatewayRequest) -> Decision:
        """The decision that allows a request.

        Raises:
            RefusedError: The caller is not identified or not allowed, or the authorizer failed.
        """
        identity = tuple(request.header(name) or "" for name in authorizer.headers)
        if not all(identity):
            raise RefusedError("UNAUTHORIZED")
        decision = self._caches[authorizer.name].read(identity, lambda: self._decide(authorizer.function, request))
        request.noted["authorizer.principalId"] = decision.principal
        # A cached policy applies to every method that the caller uses: one for a single method refuses the next method.
        if not decision.allows(request.arn):
            raise RefusedError("ACCESS_DENIED")
        return decision

    def _decide(self, function: str, request: GatewayRequest) -> Decision:
        try:
            with _timed(request, "authorizer"):
                decision = read_decision(self._invoke(function, authorizer_event(request)))
        except FunctionError as error:
            # API Gateway takes this one message as a decision.
            if str(error) == "Unauthorized":
                raise RefusedError("UNAUTHORIZED") from error
            _report(function, error)
            raise RefusedError("AUTHORIZER_FAILURE") from error
        except MalformedResultError as error:
            _report(function, error)
            raise RefusedError("AUTHORIZER_CONFIGURATION_ERROR") from error
        request.noted["authorizer.status"] = "200"
        return decision

    def _invoke(self, function: str, event: dict[str, Any]) -> bytes:
        return self._runner.invoke(function, json.dumps(event).encode())


@contextmanager
def _timed(request: GatewayRequest, part: str) -> Iterator[None]:
    """Note how long a call took in milliseconds, and the kind of its error: what the function said may be secret."""
    began = time.monotonic()
    try:
        yield
    except (FunctionError, MalformedResultError) as error:
        request.noted[f"{part}.error"] = error.kind if isinstance(error, FunctionError) else "malformed result"
        raise
    finally:
        request.noted[f"{part}.latency"] = str(round((time.monotonic() - began) * 1000))


def _report(function: str, error: Exception) -> None:
    if isinstance(error, RunEndedError):
        return
    kind = error.kind if isinstance(error, FunctionError) else "malformed result"
    sys.stderr.write(f"  {function}: {kind}: {error}\n")
    sys.stderr.flush()
