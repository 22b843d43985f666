"""What functions return to the gateway: responses to clients, and authorizers' decisions.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-output-format
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal, TypeVar

import h11
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel, to_pascal

from ordering_tools.local.http import Answer

# The headers of the connection, which a function cannot set.
_HOP_HEADERS = {"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer", "te"}
# Headers of a function that API Gateway sends under another name.
_REMAPPED = {"www-authenticate", "date", "server"}
_INVOKE = "execute-api:invoke"

Scalar = str | bool | int | float
Patterns = Annotated[
    list[str], Field(min_length=1), BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]
Model = TypeVar("Model", bound=BaseModel)


class MalformedResultError(Exception):
    """API Gateway would not accept a function's result; the message gives the reason."""


class _Response(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    status_code: int = Field(ge=200, le=599)
    headers: dict[str, Scalar] | None = None
    multi_value_headers: dict[str, list[Scalar]] | None = None
    # Base64 is not decoded: a REST API does that only for its binary media types.
    body: str | None = None
    is_base64_encoded: bool = False


class Statement(BaseModel):
    """A statement of a policy."""

    model_config = ConfigDict(alias_generator=to_pascal)

    effect: Literal["Allow", "Deny"]
    action: Patterns
    resource: Patterns

    def applies(self, arn: str) -> bool:
        """Whether it is about calls of a method."""
        return any(_matches(action.lower(), _INVOKE) for action in self.action) and any(
            _matches(resource, arn) for resource in self.resource
        )


class Decision(BaseModel):
    """The result of an authorizer."""

    principal: str = Field(alias="principalId")
    statements: list[Statement] = Field(validation_alias=AliasPath("policyDocument", "Statement"))
    values: dict[str, Scalar | None] = Field({}, alias="context")
    usage_key: str | None = Field(None, alias="usageIdentifierKey")
    """The value of the API key by which the caller's requests are counted."""

    @property
    def context(self) -> dict[str, str]:
        """The content of `requestContext.authorizer` for the function: all values as text, and the principal's id."""
        texts = {name: _text(value) for name, value in self.values.items() if value is not None}
        return {**texts, "principalId": self.principal}

    def allows(self, arn: str) -> bool:
        """Whether a method may be called: at least one statement allows it and none denies it."""
        return {statement.effect for statement in self.statements if statement.applies(arn)} == {"Allow"}


def read_answer(result: bytes) -> Answer:
    """The response from a function's result.

    Raises:
        MalformedResultError: API Gateway would not accept it, and respond with 502.
    """
    response = _read(_Response, result)
    pairs = [(name, value) for name, values in (response.multi_value_headers or {}).items() for value in values]
    # A header that is in both with the same value is sent once.
    pairs += [pair for pair in (response.headers or {}).items() if pair not in pairs]
    headers = [
        (f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name, _text(value))
        for name, value in pairs
        if name.lower() not in _HOP_HEADERS
    ]
    if response.status_code in (204, 304):
        answer = Answer(response.status_code, headers)
    else:
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/json"))
        answer = Answer(response.status_code, headers, (response.body or "").encode("utf-8", "replace"))
    try:
        answer.encoded()
    except h11.LocalProtocolError as error:
        raise MalformedResultError(str(error)) from error
    return answer


def read_decision(result: bytes) -> Decision:
    """Read and check an authorizer's result.

    Raises:
        MalformedResultError: It is not a principal with a policy and a flat context.
    """
    return _read(Decision, result)


def _read(model: type[Model], result: bytes) -> Model:
    try:
        return model.model_validate_json(result)
    except ValidationError as error:
        faults = [": ".join((*map(str, fault["loc"]), fault["msg"])) for fault in error.errors()]
        raise MalformedResultError("; ".join(faults)) from error


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern of IAM matches: `*` is any number of characters, including slashes, and `?` is one."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None
