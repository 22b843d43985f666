"""Requests and answers of every contract: parsing, validation, errors and encoding.

OrderingError
└── Refusal              the request breaks a rule of HTTP; has a status
    ├── NoSuchPath       404
    ├── MethodNotAllowed 405, with the allowed methods
    ├── NotAcceptable    406
    ├── ContentTooLarge  413
    └── UnsupportedMediaType 415
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json
from typing_extensions import TypedDict  # pydantic reads the standard library's only from Python 3.12 on

from ordering.addresses import EMAIL, LONGEST_EMAIL, is_email_address
from ordering.clock import Deadline
from ordering.errors import Fault, Invalid, OrderingError, Part
from ordering.identifiers import canonical_uuid
from ordering.principal import Principal
from ordering.values import Value, field
from ordering.web.documents import A_UUID, ContractDocument, Documented
from ordering.web.error_table import ErrorTable
from ordering.web.header_fields import combined, is_json_type

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

LARGEST_BODY = 2**20
"""The largest body in bytes. API Gateway accepts ten times as much, but a transaction does not."""

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Encode JSON. A `Decimal` keeps its decimals: `Decimal("48.0000")` becomes `48.0000`."""


class Request(Value):
    """One request, as received from API Gateway."""

    method: str
    path: str
    base: str
    """The prefix of the contract's paths: the stage's name, or empty under a custom domain."""
    id: str
    headers: Mapping[str, str]
    """By name in lower case; different lines of a field are one list, separated by commas."""
    query: Mapping[str, list[str]]
    body: str | None
    is_base64: bool
    host: str = ""
    """The host name of the API Gateway endpoint."""
    address: str = ""
    """The caller's IP address."""
    repeated: frozenset[str] = frozenset()
    """The names of header fields with several, different lines, in lower case."""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Request:
        """Read an event of a REST API's Lambda proxy integration."""
        context = event["requestContext"]
        path = event["path"]
        full = context.get("path") or path
        if path == "/":
            full = f"{full.rstrip('/')}/"  # the stage's own address is also called without its last slash
        lines = event.get("multiValueHeaders") or {name: [one] for name, one in (event.get("headers") or {}).items()}
        headers, repeated = combined(lines)
        return cls(
            method=event["httpMethod"].upper(),
            path=path,
            base=full.removesuffix(path) if full.endswith(path) else "",
            id=context["requestId"],
            headers=headers,
            query=event.get("multiValueQueryStringParameters") or {},
            body=event.get("body"),
            is_base64=bool(event.get("isBase64Encoded")),
            host=context.get("domainName") or "",
            address=(context.get("identity") or {}).get("sourceIp") or "",
            repeated=repeated,
        )

    def single(self, name: str) -> str | None:
        """Return a header field that has one value; None without the field.

        Raises:
            Invalid: The field has several lines that differ.
        """
        if name.lower() in self.repeated:
            raise Invalid([Fault("header", (name,), "repeated", f"'{name}' must be sent only once.")])
        return self.headers.get(name.lower())

    def link(self, path: str) -> str:
        """Return a link to a path of the contract."""
        return self.base + path

    @property
    def origin(self) -> str:
        """The scheme and host of the caller's request, for absolute links."""
        # The last line is the endpoint's own.
        scheme = self.headers.get("x-forwarded-proto", "https").rpartition(",")[2].strip()
        return f"{scheme}://{self.headers.get('host', self.host)}"

    @property
    def address_of_api(self) -> str:
        """The address by which the caller reaches the API: what stands in front of the contracts' paths."""
        return self.origin + self.base

    def link_with(self, **changes: object) -> str:
        """Return a link to this request with some query parameters changed or appended."""
        query = {**self.query, **{name: [str(value)] for name, value in changes.items()}}
        return self.link(f"{self.path}?{urlencode(query, doseq=True, errors='replace')}")


class Call(Value):
    """An authenticated request, and the deadline of its response."""

    request: Request
    caller: Principal
    deadline: Deadline


class PublicCall(Value):
    """A request to a public function, and the deadline of its response."""

    request: Request
    deadline: Deadline


class Answer(Value, Generic[T]):
    """A response: `body` is encoded as JSON unless it is bytes; None sends no body."""

    status: int
    body: T | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Tagged(Answer[T]):
    """A response whose `ETag` names the version of the resource in it; see `web.preconditions`."""


class Body(BaseModel):
    """A request's body, or a part of it. Its validator is built for the first body, since most calls have none."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class NoQuery(BaseModel):
    """A call without query parameters."""


class SelfLink(TypedDict):
    """A relative link to the resource itself."""

    self: str
    """The resource itself."""


class Contract(Protocol):
    """The parts of a contract that the adapter uses."""

    name: str
    query: type[BaseModel]
    """The query parameters of every call."""
    headers: Mapping[str, str]
    """The header fields of every response."""
    content_type: str
    """The default `Content-Type` of responses with a body."""
    errors: ErrorTable
    """The responses to errors."""
    document: ContractDocument
    """The contract's part of the OpenAPI document."""

    def admit(self, call: Call) -> None:
        """Raise `Forbidden` unless the caller may use the contract at all."""

    def body(self, model: type[M], request: Request) -> M:
        """Validate a request's body against a model."""

    def owner(self, call: Call, query: Any) -> Any:
        """Return whose orders or webhooks a call is about, for handlers with a parameter for it (see `entry.api`)."""

    def refuse(self, error: Exception, request: Request) -> Answer[Any]:
        """Convert an error to the contract's response."""


class Refusal(OrderingError):
    """The request breaks a rule of HTTP."""

    status: int


class NoSuchPath(Refusal):
    """The path does not exist."""

    status = 404


class MethodNotAllowed(Refusal):
    """The path does not support this method."""

    status = 405

    def __init__(self, allowed: Iterable[str]) -> None:
        """Keep the methods that the path supports."""
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


def normal_path(path: str) -> str:
    """Return a path whose unreserved characters are not percent-encoded, which is equivalent (RFC 3986, 6.2.2.2).

    Other encoded characters stay encoded: `%2F` is not a separator of the path.
    """
    return _ENCODED.sub(_unreserved, path)


_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")


def _unreserved(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0]


def read_query(model: type[M], request: Request) -> M:
    """Validate query parameters against a model.

    An unknown parameter is refused: a misspelt page or filter would otherwise return the wrong part of a list.

    Raises:
        Invalid: At least one is invalid, repeated or unknown.
    """
    known = [info.alias or name for name, info in model.model_fields.items()]
    repeated = [
        Fault("query", (name,), "repeated", f"'{name}' must be sent only once.")
        for name in known
        if len(request.query.get(name, ())) > 1
    ]
    sent = {name: request.query[name][-1] for name in known if name in request.query}
    unknown = [
        Fault("query", (name,), "unknown_parameter", _instead(name, known))
        for name in request.query
        if name not in sent
    ]
    return _check(model, sent, "query", repeated, unknown)


def _instead(name: str, known: Sequence[str]) -> str:
    """Explain that a parameter is unknown, and name the nearest one that the call takes, or else all of them."""
    from difflib import get_close_matches  # noqa: PLC0415 - few requests need it

    shown = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"
    detail = f"Unknown parameter '{shown}'."
    plain = {one.lower().replace("_", ""): one for one in known}
    nearest = get_close_matches(shown.lower().replace("_", ""), plain, 1) if shown == name else []
    if nearest:
        return f"{detail} Did you mean '{plain[nearest[0]]}'?"
    if not known:
        return f"{detail} This call takes no query parameters."
    every = "', '".join(known)
    return f"{detail} This call takes '{every}'."


_LONGEST_SHOWN = 64
"""The most characters of an unknown parameter's name in a response."""


def read_headers(model: type[M], request: Request) -> M:
    """Validate header fields against a model. Each has a single value, except those in its `lists`, if it has any.

    Unknown ones are ignored.

    Raises:
        Invalid: At least one is invalid, or has several lines that differ.
    """
    sent: dict[str, str] = {}
    repeated: list[Fault] = []
    lists: frozenset[str] = getattr(model, "lists", frozenset())
    for name in (info.alias or name for name, info in model.model_fields.items()):
        try:
            value = request.headers.get(name.lower()) if name in lists else request.single(name)
        except Invalid as invalid:
            repeated += invalid.faults
        else:
            sent |= {} if value is None else {name: value}
    return _check(model, sent, "header", repeated)


def _check(
    model: type[M], sent: Mapping[str, str], part: Part, before: Sequence[Fault], after: Sequence[Fault] = ()
) -> M:
    """Validate values, and report the faults found before among those of the values."""
    try:
        checked = model.model_validate(sent)
    except ValidationError as error:
        raise Invalid([*before, *faults_of(error, part), *after]) from None
    if before or after:
        raise Invalid([*before, *after])
    return checked


def read_body(model: type[M], request: Request) -> M:
    """Validate the body against a model, as strict JSON.

    Raises:
        Invalid: The body is missing, is not valid JSON, or breaks a rule of the model; or `Content-Type` has several
            lines that differ.
        UnsupportedMediaType: The body is not declared as JSON.
        ContentTooLarge: The body is larger than 1 MiB.
    """
    try:
        return model.model_validate_json(json_body(request), strict=True)
    except ValidationError as error:
        raise Invalid(faults_of(error, "body")) from None


def read_exact_body(model: type[M], request: Request) -> M:
    """Validate the body against a model, as JSON with exact numbers: those with a decimal point become `Decimal`.

    Raises:
        As `read_body`.
    """
    raw = json_body(request)
    try:
        # Only the standard library's parser keeps exact numbers, but it also accepts invalid JSON.
        from_json(raw, allow_inf_nan=False)
        value = json.loads(raw.decode(), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        raise Invalid([Fault("body", (), "malformed_json", "The body is not valid JSON.")]) from None
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise Invalid(faults_of(error, "body")) from None


def json_body(request: Request) -> bytes:
    """Return the body after checking that it is not empty, declared as JSON, and not too large.

    Raises:
        As `read_body`.
    """
    raw = raw_body(request)
    if not raw:
        raise Invalid([Fault("body", (), "required", "Send a JSON object as the body.")])
    if not is_json_type(request.single("Content-Type") or ""):
        raise UnsupportedMediaType("Send the body as 'Content-Type: application/json'.")
    if len(raw) > LARGEST_BODY:
        raise ContentTooLarge(f"The body is larger than {LARGEST_BODY:,} bytes. Send less in one request.")
    return raw


def raw_body(request: Request) -> bytes:
    """Return the body's bytes, empty if there is none."""
    body = request.body or ""
    if not request.is_base64:
        # A lone surrogate is not valid text; encoded like this, it is not valid JSON either.
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b"\xff"


def faults_of(error: ValidationError, part: Part) -> list[Fault]:
    """Convert all of pydantic's errors to faults, in sequence."""
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
    "less_than": "out_of_range",
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


def whole_number(text: object) -> object:
    """Refuse a text of a query parameter that is not a whole number, before pydantic reads it.

    Bounds come before this validator, or else pydantic documents them wrongly.
    """
    # int() would also take ' 1', '+1', '1_0' and digits of other scripts.
    if isinstance(text, str) and not re.fullmatch(r"-?(0|[1-9][0-9]*)", text, re.ASCII):
        raise PydanticCustomError("invalid_type", "Must be a whole number")
    return text


def _no_control_characters(text: str) -> str:
    if _CONTROL.search(text):
        raise PydanticCustomError("control_character", "Must not contain control characters")
    return text


_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_CONTROL = re.compile(f"[{_CONTROLS}]")

WholeNumber = Annotated[int, BeforeValidator(whole_number)]
"""An integer in a query parameter."""

# A character that is not a blank for Python. JavaScript's `\s` lacks U+001C to U+001F and U+0085, and has U+FEFF.
_FILLED = re.compile(r"[^\s\x1c-\x1f\x85]|\ufeff")

A_LINE: Mapping[str, Any] = {"pattern": f"^[^{_CONTROLS}]*$"}
A_FILLED_LINE: Mapping[str, Any] = {
    "pattern": rf"^[^{_CONTROLS}]*([^{_CONTROLS}\s]|\ufeff)[^{_CONTROLS}]*$",
    "minLength": 1,
}
A_FILLED_TEXT: Mapping[str, Any] = {"pattern": _FILLED.pattern, "minLength": 1}
"""What the document has of texts of one line, and of those that must not be blank.

The patterns mean the same in all engines of regular expressions.
"""


def is_blank(text: str) -> bool:
    """Return whether a text is empty or has nothing but blanks."""
    return _FILLED.search(text) is None


Text = Annotated[str, AfterValidator(_no_control_characters), Documented(A_LINE)]
"""Text of one line."""


def _integral(value: object) -> object:
    return int(value) if type(value) is float and value.is_integer() else value


INTEGRAL = BeforeValidator(_integral)
"""Lets an integer in a JSON body be written with a decimal point, `1.0`: it is the same number, and JSON Schema agrees.

PHP and pandas write integers like this. Bounds come before the validator, or else pydantic documents them wrongly.
"""


def _uuid(text: str) -> str:
    if (found := canonical_uuid(text)) is None:
        raise PydanticCustomError("invalid_format", "Must be a UUID with hyphens")
    return found


Uuid = Annotated[str, AfterValidator(_uuid), WithJsonSchema({**A_UUID})]
"""A UUID with hyphens, accepted in upper or lower case, stored in lower case."""


def _email_address(text: str) -> str:
    if not is_email_address(text):
        raise PydanticCustomError("invalid_format", "Must be an email address")
    return text


EmailAddress = Annotated[
    str,
    AfterValidator(_email_address),
    Documented({"format": "email", "pattern": f"^{EMAIL}$", "maxLength": LONGEST_EMAIL}),
]
"""An email address, ASCII only; see `is_email_address`."""
