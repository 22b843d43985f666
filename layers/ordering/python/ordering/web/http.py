"""Requests and answers as every contract sees them: read, checked against models, refused, encoded.

OrderingError
└── Refusal              the request cannot be served as HTTP; has a status
    ├── NoSuchPath       404
    ├── MethodNotAllowed 405, with the methods that are
    ├── NotAcceptable    406
    ├── ContentTooLarge  413
    └── UnsupportedMediaType 415
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.clock import Deadline
from ordering.errors import Fault, Invalid, OrderingError, Part
from ordering.identifiers import canonical_uuid
from ordering.principal import Principal
from ordering.web.documents import ContractDocument
from ordering.web.error_table import ErrorTable

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

LARGEST_BODY = 2**20
"""Bytes of a body at most. API Gateway would take ten times as much, a transaction would not."""

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Write JSON; amounts keep their decimals: `Decimal("48.0000")` is written `48.0000`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as API Gateway hands it on."""

    method: str
    path: str
    base: str
    """What stands before the contract's own paths: the stage's name, or nothing under a custom domain."""
    id: str
    headers: Mapping[str, str]
    """By name in lower case; of a repeated header the last."""
    query: Mapping[str, list[str]]
    body: str | None
    is_base64: bool
    host: str = ""
    """The host that API Gateway was called by."""
    address: str = ""
    """Where the request comes from."""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Request:
        """Read an event of a REST API's Lambda proxy integration."""
        context = event["requestContext"]
        path = event["path"]
        full = context.get("path") or path
        return cls(
            method=event["httpMethod"].upper(),
            path=path,
            base=full.removesuffix(path) if full.endswith(path) else "",
            id=context["requestId"],
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            query=event.get("multiValueQueryStringParameters") or {},
            body=event.get("body"),
            is_base64=bool(event.get("isBase64Encoded")),
            host=context.get("domainName") or "",
            address=(context.get("identity") or {}).get("sourceIp") or "",
        )

    def link(self, path: str) -> str:
        """Write a path of the contract so that the caller can follow it."""
        return self.base + path

    @property
    def origin(self) -> str:
        """Scheme and host that the caller used, for links that are absolute."""
        return f"{self.headers.get('x-forwarded-proto', 'https')}://{self.headers.get('host', self.host)}"

    def link_with(self, **changes: object) -> str:
        """Write a link to this very request with some query parameters changed, or added at the end."""
        query = {**self.query, **{name: [str(value)] for name, value in changes.items()}}
        return self.link(f"{self.path}?{urlencode(query, doseq=True, errors='replace')}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request by someone who may make it, and the moment by which it must be answered."""

    request: Request
    caller: Principal
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class PublicCall:
    """A request to a function that anybody may call, and the moment by which it must be answered."""

    request: Request
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer: `body` is encoded as JSON unless it is bytes already; None sends none."""

    status: int
    body: T | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class NoQuery(BaseModel):
    """A call without query parameters."""


class SelfLink(TypedDict):
    """A relative link to the resource itself."""

    self: str


class Contract(Protocol):
    """What a contract tells the adapter that serves it."""

    name: str
    query: type[BaseModel]
    """The query parameters that every call may have."""
    headers: Mapping[str, str]
    """What every answer carries."""
    content_type: str
    """What an answer's body is declared as, unless the answer itself says otherwise."""
    errors: ErrorTable
    """How errors are answered."""
    document: ContractDocument
    """What the OpenAPI document says about the contract."""

    def admit(self, call: Call) -> None:
        """Raise `Forbidden` unless the caller may make such a call at all, whatever it is about."""

    def body(self, model: type[M], request: Request) -> M:
        """Check a request's body against a model."""

    def unit(self, call: Call, query: Any) -> Any:
        """Return whose orders a call is about, for handlers that ask for their `unit`."""

    def refuse(self, error: Exception, request: Request) -> Answer[Any]:
        """Put an error into the contract's words."""


class Refusal(OrderingError):
    """The request cannot be served as HTTP."""

    status: int


class NoSuchPath(Refusal):
    """The path does not exist."""

    status = 404


class MethodNotAllowed(Refusal):
    """The path does not know this method."""

    status = 405

    def __init__(self, allowed: Iterable[str]) -> None:
        """Name the methods that the path knows."""
        self.allow = ", ".join(allowed)
        super().__init__(f"This path supports {self.allow}.")


class NotAcceptable(Refusal):
    """The caller does not accept JSON."""

    status = 406


class ContentTooLarge(Refusal):
    """The body is larger than `LARGEST_BODY`."""

    status = 413


class UnsupportedMediaType(Refusal):
    """The body is not declared as JSON."""

    status = 415


def read_query(model: type[M], request: Request) -> M:
    """Check query parameters against a model; those that it does not name are left alone, unless it forbids them.

    Raises:
        Invalid: At least one breaks a rule or stands there more than once.
    """
    known = {info.alias or name for name, info in model.model_fields.items()}
    strict = model.model_config.get("extra") == "forbid"
    sent = {name: values for name, values in request.query.items() if strict or name in known}
    repeated = [
        Fault("query", (name,), "repeated", f"'{name}' must be sent only once.")
        for name, values in sent.items()
        if len(values) > 1
    ]
    return _check(model, {name: values[-1] for name, values in sent.items()}, "query", repeated)


def read_headers(model: type[M], request: Request) -> M:
    """Check header fields against a model; those that the model does not name are left alone.

    Raises:
        Invalid: At least one breaks a rule.
    """
    names = [info.alias or name for name, info in model.model_fields.items()]
    sent = {name: request.headers[name.lower()] for name in names if name.lower() in request.headers}
    return _check(model, sent, "header", [])


def _check(model: type[M], sent: Mapping[str, str], part: Part, faults: list[Fault]) -> M:
    try:
        checked = model.model_validate(sent)
    except ValidationError as error:
        raise Invalid([*faults, *faults_of(error, part)]) from None
    if faults:
        raise Invalid(faults)
    return checked


def read_body(model: type[M], request: Request) -> M:
    """Check the body against a model, as strict JSON.

    Raises:
        Invalid: There is none, it is no JSON, or it breaks the model's rules.
        UnsupportedMediaType: It is not declared as JSON.
        ContentTooLarge: It is larger than 1 MiB.
    """
    try:
        return model.model_validate_json(json_body(request), strict=True)
    except ValidationError as error:
        raise Invalid(faults_of(error, "body")) from None


def read_exact_body(model: type[M], request: Request) -> M:
    """Check the body against a model, as JSON whose numbers keep every digit: those with a point become `Decimal`.

    Raises:
        As `read_body`.
    """
    raw = json_body(request)
    try:
        # The standard library's parser is the one that leaves numbers alone, but it also reads what is no JSON.
        from_json(raw, allow_inf_nan=False)
        value = json.loads(raw.decode(), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        raise Invalid([Fault("body", (), "malformed_json", "The body is not valid JSON.")]) from None
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise Invalid(faults_of(error, "body")) from None


def json_body(request: Request) -> bytes:
    """Return the body, which is there, declared as JSON, and not too large.

    Raises:
        As `read_body`.
    """
    raw = raw_body(request)
    if not raw:
        raise Invalid([Fault("body", (), "required", "Send a JSON object as the body.")])
    if not _JSON_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
        raise UnsupportedMediaType("Send the body as 'Content-Type: application/json'.")
    if len(raw) > LARGEST_BODY:
        raise ContentTooLarge(f"The body is larger than {LARGEST_BODY:,} bytes.")
    return raw


def accepts_json(accept: str | None) -> bool:
    """Tell whether an `Accept` header admits JSON (RFC 9110, 12.5.1); none admits everything."""
    if not (accept or "").strip():
        return True
    quality = {}
    for media_range in (accept or "").split(","):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        weights = [parameter.removeprefix("q=") for parameter in parameters if parameter.startswith("q=")]
        quality[name] = weights[-1] if weights else "1"
    found = next((quality[name] for name in ("application/json", "application/*", "*/*") if name in quality), "0")
    return re.fullmatch(r"0(\.0*)?", found) is None


_JSON_TYPE = re.compile(r'application/(json|[\w.+-]+\+json)\s*(;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)


def raw_body(request: Request) -> bytes:
    """Return the body's bytes, empty if there is none."""
    body = request.body or ""
    if not request.is_base64:
        # A surrogate that stands alone is no text; encoded like this it is no JSON either.
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b"\xff"


def faults_of(error: ValidationError, part: Part) -> list[Fault]:
    """Tell pydantic's findings as faults, all of them, in their order."""
    return [_fault(finding, part) for finding in error.errors(include_url=False, include_input=False)]


def _fault(finding: Any, part: Part) -> Fault:
    kind: str = finding["type"]
    place = tuple(finding["loc"])
    if kind == "missing":
        return Fault(part, place, "required", f"'{place[-1]}' is required.")
    if kind == "extra_forbidden":
        return Fault(part, place, "unknown_field", f"Unknown field '{place[-1]}'.")
    if kind == "json_invalid":
        return Fault(part, (), "malformed_json", f"The body is not valid JSON: {finding['ctx']['error']}.")
    message = re.sub(r"^[A-Z]\w+ should ", "Must ", finding["msg"]).replace(" after validation", "").rstrip(".")
    return Fault(part, place, _CODES.get(kind, "invalid_type" if kind.endswith("_type") else kind), f"{message}.")


_CODES = {
    "greater_than_equal": "out_of_range",
    "int_from_float": "invalid_type",
    "int_parsing_size": "out_of_range",
    "less_than_equal": "out_of_range",
    "string_pattern_mismatch": "invalid_format",
    "string_too_long": "invalid_length",
    "string_too_short": "invalid_length",
    "string_unicode": "malformed_json",
    "too_long": "invalid_length",
    "too_short": "invalid_length",
    "url_parsing": "invalid_format",
    "url_scheme": "invalid_format",
    "url_type": "invalid_type",
}


def _whole_number(text: object) -> object:
    # int() would also take ' 1', '+1', '1_0' and digits of other scripts.
    if isinstance(text, str) and not re.fullmatch(r"-?(0|[1-9][0-9]*)", text, re.ASCII):
        raise PydanticCustomError("invalid_type", "Must be a whole number")
    return text


def _no_control_characters(text: str) -> str:
    if _CONTROL.search(text):
        raise PydanticCustomError("control_character", "Must not contain control characters")
    return text


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""An integer as a query parameter writes it."""

Text = Annotated[str, AfterValidator(_no_control_characters)]
"""Text of one line."""


def _uuid(text: str) -> str:
    if (found := canonical_uuid(text)) is None:
        raise PydanticCustomError("invalid_format", "Must be a UUID with hyphens")
    return found


Uuid = Annotated[str, AfterValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID with hyphens, taken in any case, kept in lower case."""


def _email_address(text: str) -> str:
    if len(text) > 254 or not _EMAIL.fullmatch(text):
        raise PydanticCustomError("invalid_format", "Must be an email address")
    return text


_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
# The "valid e-mail address" of HTML, with at least one dot in the domain.
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")

EmailAddress = Annotated[str, AfterValidator(_email_address), WithJsonSchema({"type": "string", "format": "email"})]
"""An address that mail can be sent to, ASCII only."""
