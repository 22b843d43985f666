"""The services that functions call, without botocore: over kept connections, and signed here (docs/decisions/0033).

An `AwsAccount` has a `Send` for DynamoDB, whose errors `dynamodb` describes, and a `ServiceCall` for each other
service, whose errors `calls` describes. Neither retries: the callers do.
"""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from ordering.aws.calls import ANSWERED_WITHIN, CONNECTED_WITHIN, NotExecuted, ServiceCall, error_of
from ordering.aws.credentials import GetCredentials, credentials_of
from ordering.aws.dynamodb import NoAnswer, ServiceFault
from ordering.aws.http_connections import CallFailed, ConnectionPool, KeptConnection, NotReached, Trust, WholeResponse
from ordering.aws.signature import CallSigner
from ordering.errors import Unavailable

T = TypeVar("T")

_AT_ONCE = 10
"""Most requests that are written before their responses are read, each on a connection of its own."""

_SKEW = 60.0
"""Seconds between the service's clock and the one that signed, from which on it can be why a signature is refused."""

_SKEWED = frozenset({"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})

_REGIONS = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us|us-gov)-[a-z]+-[0-9]+")
_CHINESE_REGIONS = re.compile(r"cn-[a-z]+-[0-9]+")

_ONLY_BOTOCORE = {
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "required",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
}
"""Variables that choose endpoints as only botocore does, by the value that asks for it."""


class Unsupported(Exception):
    """The environment asks for what only botocore does."""

    def __init__(self, setting: str) -> None:
        """Name the setting, and what to do."""
        super().__init__(f"{setting} is not supported without botocore: set SERVICE_CLIENT=botocore, or change it")


class _Service:
    """How one service is called.

    Args:
        target: What comes before an operation's name in `X-Amz-Target`; empty if operations have paths.
        media: The media type of its JSON.
        host: Its name in its endpoint, if it is not botocore's.
        signed_as: Its name in signatures, if it is not botocore's.
        url: What its own variable for an endpoint ends with, if it is not botocore's name.
        paths: The path of each operation, if it is not `/`.
        encode: Converts what JSON has no form for in requests.
        decode: Converts it back in responses.
    """

    def __init__(  # noqa: PLR0913 - one for each property
        self,
        target: str = "",
        media: str = "application/x-amz-json-1.0",
        *,
        host: str = "",
        signed_as: str = "",
        url: str = "",
        paths: Mapping[str, str] | None = None,
        encode: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: request,
        decode: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer,
    ) -> None:
        """See the class."""
        self.target = target
        self.media = media
        self.host = host
        self.signed_as = signed_as
        self.url = url
        self.paths = paths or {}
        self.encode = encode
        self.decode = decode


def _with_seconds(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request for EventBridge, whose times are seconds since 1970."""
    entries = [
        {name: one.timestamp() if isinstance(one, datetime) else one for name, one in entry.items()}
        for entry in request["Entries"]
    ]
    return {**request, "Entries": entries}


_BINARY = ("CiphertextBlob", "Plaintext", "PublicKey", "Signature")
"""The fields of KMS's responses that are base64 in JSON."""


def _with_bytes(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, **{name: b64decode(answer[name]) for name in _BINARY if name in answer}}


_JSON_1_1 = "application/x-amz-json-1.1"
_MAIL_PATHS = {"SendEmail": "/v2/email/outbound-emails"}
_SERVICES = {
    "dynamodb": _Service("DynamoDB_20120810."),
    "events": _Service("AWSEvents.", _JSON_1_1, url="EVENTBRIDGE", encode=_with_seconds),
    "kms": _Service("TrentService.", _JSON_1_1, decode=_with_bytes),
    "sesv2": _Service("", "application/json", host="email", signed_as="ses", paths=_MAIL_PATHS),
    "sqs": _Service("AmazonSQS."),
}


class _Reply:
    """A response: its status, and either its content or its error."""

    def __init__(self, response: WholeResponse, content: dict[str, Any]) -> None:
        self.status = response.status
        self.content = content
        self.is_error = response.status >= 300  # no service redirects
        headers = response.headers
        code = headers.get("x-amzn-errortype") or content.get("__type") or content.get("code") or str(self.status)
        if "x-amzn-query-error" in headers:  # the code that SQS had before it had JSON, as botocore gives it
            code = headers["x-amzn-query-error"].partition(";")[0]
        self.code = str(code).partition(":")[0].rpartition("#")[2]
        self.message: str = content.get("message") or content.get("Message") or ""


class _Channel:
    """The calls of one service that wait equally long for answers."""

    def __init__(self, account: AwsAccount, service: str, answered_within: float) -> None:
        self._account = account
        self._service = _SERVICES[service]
        url = urlsplit(account.endpoint(service))
        more = "@" in url.netloc or url.path.strip("/") or url.query
        if url.scheme not in {"http", "https"} or not url.hostname or more:
            raise Unsupported("an endpoint that is more than a scheme, a host and a port")
        trust = account.trust if url.scheme == "https" else None
        port = url.port or (443 if trust else 80)
        self._host = url.netloc
        self.pool = ConnectionPool(url.hostname, port, trust, CONNECTED_WITHIN, answered_within)
        self._signer = CallSigner(self._service.signed_as or service, account.region)
        self._ahead = 0.0
        """Seconds that the service's clock is ahead of this machine's."""

    def call(self, operation: str, request: dict[str, Any]) -> _Reply:
        """Carry out an operation.

        Raises:
            CallFailed: No complete response arrived.
        """
        return self.begin(operation, request)()

    def begin(self, operation: str, request: dict[str, Any]) -> Callable[[], _Reply]:
        """Write a request; returns a function that reads its response.

        Raises:
            CallFailed: It could not be written; the function raises it if no complete response arrives.
        """
        body = msgspec.json.encode(self._service.encode(request))
        connection = self._write(operation, body)

        def end() -> _Reply:
            reply, answered_at = self._read(connection)
            if reply.is_error and reply.code in _SKEWED and self._correct_clock(answered_at):
                reply, _ = self._read(self._write(operation, body))
            return reply

        return end

    def _write(self, operation: str, body: bytes) -> KeptConnection:
        message = self._message(operation, body)
        connection = self.pool.take()
        try:
            connection.write(message)
        except CallFailed:
            connection.close()
            raise
        return connection

    def _read(self, connection: KeptConnection) -> tuple[_Reply, str]:
        try:
            response, stays = connection.read()
        except CallFailed:
            connection.close()
            raise
        if stays:
            self.pool.give_back(connection)
        else:
            connection.close()
        return _Reply(response, self._content(response)), response.headers.get("date", "")

    def _content(self, response: WholeResponse) -> dict[str, Any]:
        try:
            content = msgspec.json.decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            content = None
        if isinstance(content, dict):
            return content
        if response.status >= 300:  # an error of what is in between, such as a page of HTML
            return {}
        raise CallFailed(f"{self._host}: the response is not JSON")

    def _correct_clock(self, answered_at: str) -> bool:
        """Take over the service's clock if that is why it refused a signature; returns whether to sign again."""
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - hardly any process needs it

        try:
            ahead = parsedate_to_datetime(answered_at).timestamp() - time.time()
        except ValueError:
            return False
        wrong = abs(ahead - self._ahead) > _SKEW
        if wrong:
            self._ahead = ahead
        return wrong

    def _message(self, operation: str, body: bytes) -> bytes:
        """Return a whole request, signed."""
        path = self._service.paths[operation] if self._service.paths else "/"
        headers = {"content-type": self._service.media, "host": self._host}
        if self._service.target:
            headers["x-amz-target"] = self._service.target + operation
        now = time.time() + self._ahead
        signed = self._signer.sign(self._account.credentials(), now, path, headers, body)
        fields = {**signed, **self._account.trace(), "accept-encoding": "identity", "content-length": str(len(body))}
        lines = [f"POST {path} HTTP/1.1", "user-agent: ordering", *(f"{name}: {fields[name]}" for name in fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class DirectSend:
    """A `Send` for DynamoDB, which threads may share, with a `SendTogether`."""

    def __init__(self, channel: _Channel) -> None:
        """Take the channel to DynamoDB."""
        self._channel = channel

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation; see `dynamodb.Send`."""
        return _answer(partial(self._channel.call, operation, request))

    def send_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> Sequence[Callable[[], dict[str, Any]]]:
        """Write several requests, each on a connection of its own, then read the responses: a `SendTogether`."""
        answers: list[Callable[[], dict[str, Any]]] = []
        for first in range(0, len(requests), _AT_ONCE):
            begun = [_settled(partial(self._channel.begin, *one)) for one in requests[first : first + _AT_ONCE]]
            answers += [_settled(partial(_answer, partial(_finish, one))) for one in begun]
        return answers


def _settled(work: Callable[[], T]) -> Callable[[], T]:
    """Do some work now; returns a function that returns its result or raises its error."""
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - raised again by the function
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result


def _finish(begun: Callable[[], Callable[[], _Reply]]) -> _Reply:
    return begun()()


def _answer(call: Callable[[], _Reply]) -> dict[str, Any]:
    """Return DynamoDB's answer.

    Raises:
        NoAnswer: No complete response arrived, or the service failed.
        ServiceFault: It responded with an error.
    """
    try:
        reply = call()
    except CallFailed as failure:
        raise NoAnswer(str(failure)) from failure
    if not reply.is_error:
        return reply.content
    if reply.status >= 500:
        raise NoAnswer(f"{reply.status} {reply.code}")
    item, reasons = reply.content.get("Item"), reply.content.get("CancellationReasons", ())
    raise ServiceFault(reply.code, reply.message, item=item, reasons=reasons)


class AwsAccount:
    """A function's account and region.

    Args:
        settings: Its environment variables: `AWS_REGION` or `AWS_DEFAULT_REGION`; the credentials (`credentials_of`);
            endpoints, if they are not AWS's own (`AWS_ENDPOINT_URL_DYNAMODB`, or `AWS_ENDPOINT_URL` for all services);
            `AWS_CA_BUNDLE`; and Lambda's `_X_AMZN_TRACE_ID`, which is read at each call.

    Raises:
        Unsupported: They ask for what only botocore does.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        """See the class."""
        for name, value in _ONLY_BOTOCORE.items():
            if settings.get(name, "").lower() == value:
                raise Unsupported(f"{name}={value}")
        self._settings = settings
        self.region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION") or ""
        self._channels: dict[tuple[str, float], _Channel] = {}

    @cached_property
    def credentials(self) -> GetCredentials:
        """The source of credentials.

        Raises:
            NoCredentials: There is none.
        """
        return credentials_of(self._settings)

    @cached_property
    def trust(self) -> Trust:
        """The authorities that calls trust, read once."""
        return Trust(self._settings.get("AWS_CA_BUNDLE"))

    def tables(self) -> DirectSend:
        """Return a `Send` for DynamoDB. It connects at the first call."""
        return DirectSend(self._channel("dynamodb", ANSWERED_WITHIN))

    def connect(self, service: str, *, answered_within: float = ANSWERED_WITHIN) -> ServiceCall:
        """Return the calls of a service, by botocore's name for it, as `calls.connect` does."""

        def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            try:
                reply = self._channel(service, answered_within).call(operation, request)
            except NotReached as failure:
                raise NotExecuted(str(failure)) from failure
            except CallFailed as failure:
                raise Unavailable(str(failure)) from failure
            if reply.is_error:
                raise error_of(operation, reply.code, reply.status)
            return _SERVICES[service].decode(reply.content)

        return call

    def forget(self) -> None:
        """Close all connections and drop the credentials, in a process that is kept as a snapshot."""
        for channel in self._channels.values():
            channel.pool.close()
        self.__dict__.pop("credentials", None)

    def trace(self) -> dict[str, str]:
        """Return the header field by which Lambda notices functions that call themselves through a queue again."""
        found = self._settings.get("_X_AMZN_TRACE_ID")
        named = found and "AWS_LAMBDA_FUNCTION_NAME" in self._settings
        return {"x-amzn-trace-id": quote(found, safe="-=;:+&[]{}\"',")} if found and named else {}

    def endpoint(self, service: str) -> str:
        """Return the URL of a service, by botocore's name for it.

        Raises:
            Unsupported: Only botocore knows it.
        """
        known = _SERVICES[service]
        own = f"AWS_ENDPOINT_URL_{known.url or service.upper()}"
        if url := self._settings.get(own) or self._settings.get("AWS_ENDPOINT_URL"):
            return url
        if proxy := next((name for name in ("HTTPS_PROXY", "https_proxy") if self._settings.get(name)), None):
            raise Unsupported(proxy)
        if _REGIONS.fullmatch(self.region):
            return f"https://{known.host or service}.{self.region}.amazonaws.com"
        if _CHINESE_REGIONS.fullmatch(self.region):
            return f"https://{known.host or service}.{self.region}.amazonaws.com.cn"
        raise Unsupported(f"AWS_REGION={self.region!r}")

    def _channel(self, service: str, answered_within: float) -> _Channel:
        key = service, answered_within
        if key not in self._channels:
            self._channels[key] = _Channel(self, service, answered_within)
        return self._channels[key]
