"""The adapter between API Gateway, Powertools' router and a contract.

A function registers handlers with Powertools' own decorators. A handler is a plain function. The names and types of its
parameters select its arguments: parts of the path by name, as text; `query`, `headers` and `body`, validated, as the
models that annotate them; `unit`, `company` or `owner`, the owner of the orders or webhooks; and `call`, a `PublicCall`
where callers are not authenticated. It returns the body, or an `Answer` to set more than the body. Every exception
becomes the contract's error.

Powertools' own validation is not used: it reports the errors of one part of a request at a time, parses JSON leniently,
and takes more time than everything else in a request (docs/decisions/0002).
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from typing import Any, Generic, TypeVar, get_type_hints

from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Usage
from ordering.aws.invocation import deadline_of
from ordering.clock import Deadline
from ordering.entry import wiring
from ordering.entry.routing import APIGatewayRestResolver, LambdaContext, NotFoundError, Response
from ordering.errors import (
    Fault,
    Forbidden,
    Invalid,
    InvalidToken,
    OrderingError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    cause_of,
)
from ordering.logs import about, note, noted
from ordering.metrics import measured
from ordering.principal import Principal
from ordering.web.browsers import cors_headers, vary
from ordering.web.header_fields import entity_tag, names_tag
from ordering.web.http import (
    Answer,
    Call,
    Contract,
    MethodNotAllowed,
    NoSuchPath,
    PublicCall,
    Request,
    encode,
    normal_path,
    read_headers,
    read_query,
)

_log = logging.getLogger("ordering")

REFUSALS: Mapping[str, Callable[[], OrderingError]] = {
    "switched-off": partial(
        Forbidden, "switched-off", "This partner's access is switched off. Ask support to switch it on again."
    ),
    "too-many-units": partial(
        Forbidden,
        "too-many-units",
        "This token covers more business units than a request can have, about 180. Use tokens for some of them each.",
    ),
    "too-many-requests": TooManyRequests,
    "unavailable": partial(Unavailable, "the authorizer could not reach its tables"),
}
"""The errors of the authorizer's reasons; any other reason, and none, is `Unauthorized`."""


OWNERS = frozenset({"unit", "company", "owner"})
"""Names of the parameter for the owner of the orders or webhooks that a call is about; each contract has its own."""

_PART = re.compile("<[^>]+>")
"""A part of a route's path that differs between requests."""

S = TypeVar("S")


class Api(APIGatewayRestResolver, Generic[S]):
    """One function's routes under one contract.

    Args:
        build: Builds the services that the handlers use, from the connections of the process.
        public: Whether callers need no token, so that the function has no authorizer.
        revalidated: Whether all responses to GET carry an `ETag`, so that a caller can ask whether its copy is current.
    """

    def __init__(
        self,
        contract: Contract,
        build: Callable[[Connections], S],
        *,
        public: bool = False,
        revalidated: bool = False,
    ) -> None:
        super().__init__()
        self.contract = contract
        self.revalidated = revalidated
        self._public = public
        self.build = build
        self.use(middlewares=[_bind])
        self.exception_handler(Exception)(self._refuse)
        self.not_found(self._not_found)

    @cached_property
    def connections(self) -> Connections:
        """The connections of the process, opened once."""
        return wiring.open_connections()

    @cached_property
    def services(self) -> S:
        """The services that the handlers use, built once in a process."""
        return self.build(self.connections)

    def ready(
        self, *uses: Callable[[S, Deadline], object], reads: tuple[str, str]
    ) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
        """Return the Lambda handler, connected while the function initialises.

        Outside Lambda, as in a build or a test, it connects at its first use.

        Args:
            uses: Calls of services that import modules. Each is made once here, so that the function imports them
                while it initialises, and not in its first request.
            reads: The setting of a table, and the begin of partition keys that the function may read: see
                `wiring.prime`.
        """
        if "AWS_LAMBDA_RUNTIME_API" in os.environ:
            services = self.services
            for use in uses:
                use(services, Deadline.after(0.0))
            if not self._public:
                self._rehearse()
            wiring.prime(self.connections, *reads)
        return wiring.initialised(self.handle)

    def _rehearse(self) -> None:
        """Refuse a made-up request without a token on each route. No call of a service is made, and nothing logged.

        It takes a millisecond while the function initialises, and saves the first request half of it: the router reads
        the types of a route's handler then, and patterns are compiled.
        """
        for route in [*self._static_routes, *self._dynamic_routes]:
            asked = {"httpMethod": route.method, "path": _PART.sub("-", route.path)}
            self.resolve({**asked, "requestContext": {"requestId": ""}}, LambdaContext())

    def handle(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Handle one event of API Gateway's Lambda proxy integration, and return its response."""
        gateway = event["requestContext"]
        partner = (gateway.get("authorizer") or {}).get("principalId")
        with about(request=gateway["requestId"], partner=partner):
            return self._handle(event, context)

    def _handle(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        began = time.perf_counter()
        method = event["httpMethod"].upper()
        # HEAD returns GET's body, because API Gateway derives Content-Length from it before it drops the body.
        answer = self.resolve(_normal(event, "GET" if method == "HEAD" else event["httpMethod"]), context)
        headers = answer["multiValueHeaders"]
        headers |= {name: [value] for name, value in self.contract.headers.items()}
        headers["X-Request-Id"] = [event["requestContext"]["requestId"]]
        if self.revalidated and method in {"GET", "HEAD"} and answer["statusCode"] == 200:
            _revalidate(Request.of(event), answer)
        headers |= _rate_limit(event)
        self._describe_to_browsers(event, headers)
        self._report(event, answer["statusCode"], time.perf_counter() - began)
        return answer

    def _describe_to_browsers(self, event: Mapping[str, Any], headers: dict[str, list[str]]) -> None:
        """Add the CORS header fields, on errors too: a page must be able to read why its call failed."""
        allowed = wiring.allowed_origins()
        if allowed:
            request = Request.of(event)
            preflight = request.method == "OPTIONS" and "access-control-request-method" in request.headers
            methods = headers.get("Allow", []) if preflight else None
            cors = cors_headers(request.headers.get("origin"), allowed, methods)
            headers |= {name: [value] for name, value in cors.items()}
        headers["Vary"] = [vary(headers.get("Vary", []), allowed)]

    def call(self) -> Call:
        """Return the current call, after the contract has admitted its caller.

        Raises:
            Unauthorized: The caller could not be authenticated.
            TooManyRequests: The caller exceeds its rate of requests.
            Forbidden: The caller may not do this.
        """
        event = self.current_event.raw_event
        request = Request.of(event)
        call = Call(request, self._caller(request), deadline_of(self.lambda_context))
        note(user=call.caller.user.id)
        self.contract.admit(call)
        return call

    def public_call(self) -> PublicCall:
        """Return the current call, whose caller was not authenticated."""
        return PublicCall(Request.of(self.current_event.raw_event), deadline_of(self.lambda_context))

    def _caller(self, request: Request) -> Principal:
        decision = self.current_event.raw_event["requestContext"].get("authorizer") or {}
        if "authorization" in request.repeated:
            # The authorizer refuses such requests, but a cached decision of one of the tokens lets them in unasked.
            raise InvalidToken
        if "principal" not in decision:
            sent = request.headers.get("authorization", "").lstrip().lower().startswith("bearer ")
            refuse = REFUSALS.get(decision.get("refusal", ""), InvalidToken if sent else Unauthorized)
            raise refuse()
        return Principal.from_text(decision["principal"])

    def respond(self, answer: Answer[Any]) -> Response[str]:
        """Convert an answer to Powertools' own response."""
        body = answer.body
        text = "" if body is None else (body if isinstance(body, bytes) else encode(body)).decode()
        content_type = answer.headers.get("Content-Type", self.contract.content_type if text else None)
        return Response(answer.status, content_type, text, {**answer.headers})

    def _refuse(self, error: Exception) -> Response[str]:
        request = Request.of(self.current_event.raw_event)
        answer = self.contract.refuse(error, request)
        note(refusal=getattr(error, "code", type(error).__name__))
        if isinstance(error, Invalid):
            note(faults=sorted({fault.code for fault in error.faults}))
        if answer.status == 500:
            _log.error("unexpected", exc_info=error)
        elif isinstance(error, Unavailable):
            _log.warning("unavailable", extra={"cause": cause_of(error)})
        return self.respond(answer)

    def _not_found(self, _: NotFoundError) -> Response[str]:
        """Handle requests without a route: OPTIONS, a method that the path does not support, or an unknown path.

        OPTIONS needs no token, because a browser sends none with a preflight. It tells what the API reference does.
        """
        request = Request.of(self.current_event.raw_event)
        # The router has no public way to list the methods of a path.
        known = {
            route.method for route in [*self._static_routes, *self._dynamic_routes] if route.rule.match(request.path)
        }
        allowed = sorted({*known, "HEAD", "OPTIONS"} if "GET" in known else {*known, "OPTIONS"})
        if known and request.method == "OPTIONS":
            return self.respond(Answer(204, headers={"Allow": ", ".join(allowed)}))
        if not self._public:
            self._caller(request)
        if not known:
            raise NoSuchPath("This path does not exist. Check it against the API reference.")
        raise MethodNotAllowed(allowed)

    def _report(self, event: Mapping[str, Any], status: int, seconds: float) -> None:
        """Log the request: its caller, route, status, duration and consumed capacity; never its contents."""
        usage = self.connections.usage.take() if "connections" in self.__dict__ else Usage()
        happened = _happened(status, usage)
        _log.info(
            "request",
            extra={
                "contract": self.contract.name,
                "route": f"{event['httpMethod']} {event['resource']}",
                "status": status,
                "ms": round(seconds * 1000, 1),
                "calls": usage.calls,
                "reads": usage.reads,
                "writes": usage.writes,
                "trace": _trace(event),
                **(measured(self.contract.name, **happened) if happened else {}),
            },
        )


def _rate_limit(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the header fields that say where the caller's token stands, if the authorizer counted the request.

    As in the IETF's draft of RateLimit header fields for HTTP (draft-ietf-httpapi-ratelimit-headers-10).
    """
    decision = event["requestContext"].get("authorizer") or {}
    if "requestsLeft" not in decision:
        return {}
    return {
        "RateLimit-Policy": [f'"token";q={decision["requestsASecond"]};w=1'],
        "RateLimit": [f'"token";r={decision["requestsLeft"]};t=1'],
    }


def _happened(status: int, usage: Usage) -> dict[str, float]:
    """Return the metrics of a request. Most requests have none, and cost no more than before."""
    happened: dict[str, float] = {}
    if status < 300 and (replayed := noted().get("replayed")) is not None:
        happened["OrdersReplayed" if replayed else "OrdersCreated"] = 1
    if status == 409:
        happened["Conflicts"] = 1
    if usage.retries:
        happened["StoreRetries"] = usage.retries
    return happened


def _trace(event: Mapping[str, Any]) -> str | None:
    """Return the id by which X-Ray knows the request, as the access log has it."""
    header: str = (event.get("headers") or {}).get("X-Amzn-Trace-Id") or ""
    return next((part.removeprefix("Root=") for part in header.split(";") if part.startswith("Root=")), None)


def _revalidate(request: Request, answer: dict[str, Any]) -> None:
    """Send only the `ETag` to a caller whose copy is current (RFC 9110, 13.1.2).

    A response that does not name the version of its resource gets the tag of its body.
    """
    headers = answer["multiValueHeaders"]
    (tag,) = headers.setdefault("ETag", [entity_tag(answer["body"])])
    if names_tag(request.headers.get("if-none-match"), tag):
        answer |= {"statusCode": 304, "body": ""}
        headers.pop("Content-Type", None)


def _normal(event: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return an event with another method, and with normal paths: the router compares paths character by character."""
    context = event["requestContext"]
    full = {"path": normal_path(context["path"])} if context.get("path") else {}
    path = normal_path(event["path"])
    return {**event, "httpMethod": method, "path": path, "requestContext": {**context, **full}}


def _bind(app: Api[Any], _: Callable[[Api[Any]], Response[Any]]) -> Response[Any]:
    """Call the handler with the arguments that its parameters select.

    The router would call it too, and first convert all its arguments to text for a message that is not logged.

    Raises:
        Invalid: The request breaks rules. The faults of all its parts are reported together.
    """
    route = app.context["_route"]
    wanted = wanted_by(route.func)
    arguments = app.context["_route_args"]
    if wanted.get("call") is PublicCall:
        arguments |= {"call": app.public_call()}
    elif "call" in wanted:
        arguments |= _arguments(app, wanted)
    result = route.func(**arguments)
    if isinstance(result, Response):  # of a request without a route
        return result
    return app.respond(result if isinstance(result, Answer) else Answer(route.status_code, result))


def _arguments(app: Api[Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    call = app.call()
    arguments: dict[str, Any] = {"call": call}
    faults: list[Fault] = []

    def bind(name: str, value: Callable[[], Any]) -> None:
        try:
            arguments[name] = value()
        except Invalid as invalid:
            faults.extend(invalid.faults)

    models = {"query": app.contract.query, **wanted}
    readers = {"query": read_query, "headers": read_headers, "body": app.contract.body}
    for name, read in readers.items():
        if name in models:
            bind(name, partial(read, models[name], call.request))
    for name in OWNERS & wanted.keys():
        if "query" in arguments:
            bind(name, partial(app.contract.owner, call, arguments["query"]))
    if "unit" in arguments:
        note(unit=arguments["unit"])
    if faults:
        raise Invalid(faults)
    return {name: value for name, value in arguments.items() if name in wanted}


@lru_cache(maxsize=64)  # bounded: for each request without a route, the router makes a new handler
def wanted_by(handler: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a handler's parameters, by name."""
    hints = get_type_hints(handler)
    return {name: hints.get(name) for name in inspect.signature(handler).parameters}
