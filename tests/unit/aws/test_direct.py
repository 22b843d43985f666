"""Calls without botocore: the same requests as botocore sends, over connections that are kept, checked and secure."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import botocore
import pytest

from ordering.aws import calls
from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.direct import AwsAccount, DirectSend, Unsupported
from ordering.aws.dynamodb import NoAnswer, Put, ServiceFault, Table, Update
from ordering.aws.http_connections import KEPT_FOR, Trust
from ordering.errors import Unavailable
from support.aws.memory import Memory
from support.aws.served import served
from support.certificates import self_signed
from support.receiver import Answer, Receiver, raw, silence, status

SETTINGS = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "eu-west-1"}
KEY = {"TableName": "T", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}}


def account(url: str, **settings: str) -> AwsAccount:
    return AwsAccount({**SETTINGS, "AWS_ENDPOINT_URL": url, **settings})


def answered(content: object, code: int = 200, **headers: str) -> Answer:
    return status(code, json.dumps(content).encode(), Connection="close", **headers)


# What is sent ---------------------------------------------------------------------------------------------------------

TIME = datetime(2026, 11, 29, 12, 0, 0, 999_000, tzinfo=UTC)
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("dynamodb", "GetItem", KEY),
    (
        "dynamodb",
        "PutItem",
        {"TableName": "T", "Item": {"pk": {"B": b"\x00\xff"}, "n": {"N": "7"}, "t": {"S": "ä€😀"}}},
    ),
    ("sqs", "SendMessage", {"QueueUrl": "http://q/1", "MessageBody": "{}", "DelaySeconds": 3}),
    ("sqs", "SendMessageBatch", {"QueueUrl": "http://q/1", "Entries": [{"Id": "0", "MessageBody": "ä"}]}),
    ("kms", "Decrypt", {"CiphertextBlob": b"\x00\xff", "EncryptionContext": {"purpose": "x"}}),
    ("kms", "GenerateDataKey", {"KeyId": "k", "KeySpec": "AES_256"}),
    ("events", "PutEvents", {"Entries": [{"Time": TIME, "Source": "s", "DetailType": "t", "Detail": "{}"}]}),
    (
        "sesv2",
        "SendEmail",
        {
            "FromEmailAddress": "a@example.com",
            "Destination": {"ToAddresses": ["b@example.com"]},
            "Content": {"Simple": {"Subject": {"Data": "ä"}, "Body": {"Text": {"Data": "t"}}}},
            "EmailTags": [{"Name": "order", "Value": "1"}],
        },
    ),
]


def sent(connect: Callable[[int], Any], operation: str, request: dict[str, Any]) -> tuple[Any, ...]:
    """What arrives of a call: its first line, content, and the header fields that say what it is."""
    with Receiver([answered({})]) as receiver:
        connect(receiver.port)(operation, request)
    (found,) = receiver.received
    fields = ("host", "x-amz-target", "content-type", "accept-encoding", "x-amz-security-token", "x-amzn-trace-id")
    scope = found.headers["authorization"].partition("Credential=")[2].partition(",")[0].split("/")
    named = [found.headers.get(name, "").replace(str(receiver.port), "PORT") for name in fields]
    return found.line, json.loads(found.body), named, [scope[0], *scope[2:]]


@pytest.mark.parametrize(("service", "operation", "request_"), CALLS, ids=[f"{one[0]}-{one[1]}" for one in CALLS])
def test_requests_are_those_of_botocore(
    service: str, operation: str, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has the target, content and signature's scope that it has from botocore, in Lambda too."""
    lambdas = {"AWS_LAMBDA_FUNCTION_NAME": "f", "_X_AMZN_TRACE_ID": "Root=1-2;Parent=ü;Sampled=0"}
    for name, value in lambdas.items():
        monkeypatch.setenv(name, value)
    key: dict[str, Any] = {
        "aws_access_key_id": "an-id",
        "aws_secret_access_key": "a-secret",
        "aws_session_token": "a-token",
    }

    def direct(port: int) -> Any:
        return account(f"http://127.0.0.1:{port}", AWS_SESSION_TOKEN="a-token", **lambdas).connect(service)

    def botocore(port: int) -> Any:
        return calls.connect(service, region_name="eu-west-1", endpoint_url=f"http://127.0.0.1:{port}", **key)

    mine, theirs = sent(direct, operation, request_), sent(botocore, operation, request_)
    mine[2][3] = theirs[2][3] = "identity"  # botocore names it for DynamoDB only
    assert mine == theirs


ENDPOINTS = {
    ("dynamodb", "eu-west-1"): "https://dynamodb.eu-west-1.amazonaws.com",
    ("sesv2", "us-east-1"): "https://email.us-east-1.amazonaws.com",
    ("sqs", "us-east-1"): "https://sqs.us-east-1.amazonaws.com",
    ("events", "ap-southeast-2"): "https://events.ap-southeast-2.amazonaws.com",
    ("kms", "us-gov-west-1"): "https://kms.us-gov-west-1.amazonaws.com",
    ("dynamodb", "us-gov-east-1"): "https://dynamodb.us-gov-east-1.amazonaws.com",
    ("dynamodb", "cn-north-1"): "https://dynamodb.cn-north-1.amazonaws.com.cn",
    ("events", "cn-northwest-1"): "https://events.cn-northwest-1.amazonaws.com.cn",
}


@pytest.mark.parametrize(("service", "region"), ENDPOINTS)
def test_endpoints_are_those_of_botocore(service: str, region: str) -> None:
    """The endpoint of a service in a region is the one that botocore finds."""
    from botocore.session import get_session  # noqa: PLC0415 - the oracle

    found = AwsAccount({"AWS_REGION": region}).endpoint(service)

    assert found == ENDPOINTS[service, region]
    assert found == get_session().create_client(service, region).meta.endpoint_url


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_EVENTBRIDGE": "http://b:2"}, "http://b:2"),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://b:2"}, "https://events.eu-west-1.amazonaws.com"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-central-1"}, "https://events.eu-central-1.amazonaws.com"),
    ],
)
def test_endpoints_by_variables(settings: dict[str, str], found: str) -> None:
    """A variable for one service comes before the one for all, and both before AWS's own endpoint."""
    assert AwsAccount({"AWS_REGION": "eu-west-1", **settings}).endpoint("events") == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "True"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "required"),
        ("HTTPS_PROXY", "http://proxy:1"),
        ("AWS_REGION", "us-iso-east-1"),
        ("AWS_REGION", "eusc-de-east-1"),
        ("AWS_REGION", "example.com/"),
        ("AWS_REGION", ""),
    ],
)
def test_what_only_botocore_does_is_refused(name: str, value: str) -> None:
    """A setting that only botocore follows is refused by its name, never ignored."""
    with pytest.raises(Unsupported, match=f"^{name}.*SERVICE_CLIENT=botocore"):
        AwsAccount({**SETTINGS, name: value}).tables()


@pytest.mark.parametrize(
    "url", ["http://user:secret@127.0.0.1:9", "http://:secret@a", "http://127.0.0.1:9/path", "ftp://a", "127.0.0.1:9"]
)
def test_endpoints_that_are_more_than_a_host(url: str) -> None:
    """An endpoint with a user, a path or another scheme is refused, without quoting it."""
    with pytest.raises(Unsupported, match="an endpoint that is more than") as raised:
        account(url).tables()

    assert "secret" not in str(raised.value)


# Connections ----------------------------------------------------------------------------------------------------------


class Kept(socketserver.ThreadingTCPServer):
    """Answers each request on a connection that stays open, and counts connections and requests."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, together: int = 1) -> None:
        super().__init__(("127.0.0.1", 0), _Kept)
        self.requests: list[int] = []
        self.sockets: list[socket.socket] = []
        self.all_here = threading.Barrier(together)

    @property
    def tables(self) -> DirectSend:
        return account(f"http://127.0.0.1:{self.server_address[1]}").tables()


class _Kept(socketserver.StreamRequestHandler):
    server: Kept

    def handle(self) -> None:
        self.server.sockets.append(self.request)
        while line := self.rfile.readline():
            length = 0
            while line.strip():
                name, _, value = line.partition(b":")
                length = int(value) if name == b"content-length" else length
                line = self.rfile.readline()
            request = json.loads(self.rfile.read(length))
            self.server.requests.append(self.client_address[1])
            self.server.all_here.wait(5)
            body = json.dumps({"Item": {"n": {"N": request.get("Number", "0")}}}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@contextmanager
def keeping(together: int = 1) -> Iterator[Kept]:
    with Kept(together) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_connection_is_kept() -> None:
    """Calls one after the other use one connection."""
    with keeping() as server:
        send = server.tables
        for _ in range(5):
            send("GetItem", KEY)

    assert len(server.requests) == 5
    assert len({*server.requests}) == 1


def test_a_closed_connection_is_noticed() -> None:
    """A connection that the other side has closed meanwhile is replaced before the next request is written."""
    with keeping() as server:
        send = server.tables
        send("GetItem", KEY)
        server.sockets[0].shutdown(socket.SHUT_RDWR)
        send("GetItem", KEY)

    assert len({*server.requests}) == 2


@pytest.mark.parametrize("seconds", [KEPT_FOR + 1, -1.0])
def test_an_old_connection_is_not_used(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was not used for a minute, or was used before the clock was set back, is replaced."""
    with keeping() as server:
        send, now = server.tables, time.time()
        send("GetItem", KEY)
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        send("GetItem", KEY)

    assert len({*server.requests}) == 2


def test_threads_share_no_connection() -> None:
    """Calls of several threads at once each have a connection of their own, and keep it for later calls."""
    with keeping(together=4) as server:
        send = server.tables

        def call_twice() -> None:
            send("GetItem", KEY)
            send("GetItem", KEY)

        threads = [threading.Thread(target=call_twice) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(server.requests) == 8
    assert len({*server.requests}) == 4


def test_requests_together() -> None:
    """Several requests are written before any response is read, and each gets its own response."""
    with keeping(together=4) as server:
        answers = server.tables.send_all([("GetItem", {"Number": str(number)}) for number in range(4)])
        found = [answer()["Item"]["n"]["N"] for answer in answers]

    assert found == ["0", "1", "2", "3"]
    assert len({*server.requests}) == 4


def test_more_requests_than_connections() -> None:
    """More than ten requests use ten connections."""
    with keeping() as server:
        answers = server.tables.send_all([("GetItem", {"Number": str(number)}) for number in range(25)])
        found = [answer()["Item"]["n"]["N"] for answer in answers]

    assert found == [str(number) for number in range(25)]
    assert len({*server.requests}) == 10


def test_one_of_several_fails() -> None:
    """One failed request of several raises where its response is taken, and leaves the others their responses."""
    fault = answered({"__type": "x#ValidationException", "message": "no"}, 400)
    with Receiver([fault], shared=True) as receiver:
        send = account(f"http://127.0.0.1:{receiver.port}").tables()
        answers = send.send_all([("GetItem", KEY)] * 3)
        for answer in answers:
            with pytest.raises(ServiceFault, match="ValidationException"):
                answer()


def test_none_of_several_is_reached() -> None:
    """Without a connection each of several requests raises."""
    for answer in account("http://127.0.0.1:9").tables().send_all([("GetItem", KEY)] * 2):
        with pytest.raises(NoAnswer, match=r"^127\.0\.0\.1:9: ConnectionRefusedError: .*refused$"):
            answer()


def test_connections_are_forgotten() -> None:
    """After `forget` the next call makes a connection."""
    with keeping() as server:
        one = account(f"http://127.0.0.1:{server.server_address[1]}")
        send = one.tables()
        send("GetItem", KEY)
        one.forget()
        send("GetItem", KEY)

    assert len({*server.requests}) == 2


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "aws.pem", "localhost", "127.0.0.9")


@contextmanager
def secure(certificate: Path, highest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> Iterator[Receiver]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.maximum_version = highest
    tls.load_cert_chain(certificate)
    with Receiver([answered({})], shared=True, tls=tls) as receiver:
        yield receiver


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_tls(certificate: Path, highest: ssl.TLSVersion) -> None:
    """With the authority in AWS_CA_BUNDLE, a call goes over TLS to the host's name."""
    with secure(certificate, highest) as receiver:
        url = f"https://localhost:{receiver.port}"
        assert account(url, AWS_CA_BUNDLE=str(certificate)).tables()("GetItem", KEY) == {}

    assert receiver.names == ["localhost"]
    assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"


@pytest.mark.parametrize(("host", "bundle"), [("localhost", False), ("127.0.0.1", True)], ids=["authority", "host"])
def test_tls_that_is_not_trusted(certificate: Path, host: str, bundle: bool) -> None:  # noqa: FBT001 - a parameter
    """A server whose authority is unknown, or whose certificate is another host's, gets no request."""
    more = {"AWS_CA_BUNDLE": str(certificate)} if bundle else {}
    with secure(certificate) as receiver, pytest.raises(NoAnswer, match="SSLCertVerificationError"):
        account(f"https://{host}:{receiver.port}", **more).tables()("GetItem", KEY)

    assert receiver.received == []


def test_old_tls() -> None:
    """TLS 1.1 and older are not offered."""
    assert Trust().settings.minimum_version is ssl.TLSVersion.TLSv1_2


def test_amazons_authorities() -> None:
    """The authorities that are trusted at first are Amazon's five, as botocore trusts them, for at least five years."""
    found: list[Any] = [*Trust().settings.get_ca_certs()]
    names = sorted(dict(part[0] for part in one["subject"])["commonName"] for one in found)
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in found]
    botocores = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    botocores.load_verify_locations(Path(botocore.__file__).with_name("cacert.pem"))

    assert names == [*(f"Amazon Root CA {n}" for n in "1234"), "Starfield Services Root Certificate Authority - G2"]
    assert min(ends) > time.time() + 5 * 365 * 86_400
    assert {*Trust().settings.get_ca_certs(binary_form=True)} < {*botocores.get_ca_certs(binary_form=True)}


def test_the_systems_authorities_are_trusted_if_need_be(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose certificate is not Amazon's is called if the operating system trusts its authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as receiver:
        assert account(f"https://localhost:{receiver.port}").tables()("GetItem", KEY) == {}

    assert len(receiver.received) == 1


def test_a_bundle_that_is_not_there() -> None:
    """A file of authorities that does not exist is an error, and not replaced by others."""
    with pytest.raises(FileNotFoundError):
        account("https://localhost", AWS_CA_BUNDLE="/nowhere.pem").tables()


# Answers --------------------------------------------------------------------------------------------------------------


def by_table(answer: Answer) -> Any:
    with Receiver([answer]) as receiver:
        return account(f"http://127.0.0.1:{receiver.port}").tables()("GetItem", KEY)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
CHECKED = b'{"Item": {}}'


@pytest.mark.parametrize(
    "answer",
    [
        raw(CHUNKED),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED),
        raw(b"HTTP/1.0 200 OK\r\n\r\n{}"),
        status(200, b"{}", x_amz_crc32=str(zlib.crc32(b"{}"))),
    ],
    ids=["chunked", "continue", "to the end", "checksum"],
)
def test_answers(answer: Answer) -> None:
    """A response is read as HTTP frames it."""
    assert by_table(answer) == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(200, CHECKED, x_amz_crc32="1"), "checksum"),
        (status(200, CHECKED, Content_Encoding="gzip"), "encoded"),
        (status(200, b"<html>secret</html>"), "not JSON"),
        (status(200, b"[]"), "not JSON"),
        (status(200, b""), "not JSON"),
        (status(200, b'"\xff"'), "not JSON"),
        (raw(CHUNKED[:-8]), "truncated"),
        (raw(CHUNKED[:-2]), "not whole"),
        (raw(CHUNKED.replace(b"2\r", b"-2\r")), "truncated"),
        (raw(CHUNKED.replace(b"chunked", b"gzip")), "unknown form"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n{}"), "two lengths"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"), "no valid length"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), "not whole"),
        (raw(b"HTTP/1.1 200 OK\r\nA: b\r\n secret\r\n\r\n{}"), "not whole"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n{}"), "too many"),
        (raw(b"HTTP/2 200 OK\r\n\r\n{}"), "not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"), "truncated"),
        (raw(b"secret\r\n\r\n"), "not HTTP"),
        (raw(b""), "the connection was closed"),
        (status(500, b"<html>secret</html>"), "500 500"),
        (answered({"__type": "a#InternalServerError", "message": "secret"}, 500), "500 InternalServerError"),
    ],
)
def test_no_answer(answer: Answer, reason: str) -> None:
    """A response that is truncated, encoded, no JSON or a failure of the service is none; its text quotes nothing."""
    with pytest.raises(NoAnswer) as raised:
        by_table(answer)

    assert reason in str(raised.value)
    assert "secret" not in str(raised.value)


def test_silence() -> None:
    """A response that does not arrive in time is none."""
    with Receiver([silence]) as receiver:
        call = account(f"http://127.0.0.1:{receiver.port}").connect("kms", answered_within=0.1)
        with pytest.raises(Unavailable, match="TimeoutError") as raised:
            call("Decrypt", {})

    assert not isinstance(raised.value, NotExecuted)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects_are_not_followed(code: int) -> None:
    """A redirect is an error, and its location gets no call."""
    with Receiver(shared=True) as other:
        with pytest.raises(ServiceFault, match=f"^{code}: ") as raised:
            by_table(status(code, b"", Location=other.url))

        assert raised.value.code == str(code)
        assert other.received == []


# Clocks ---------------------------------------------------------------------------------------------------------------


def at_time(seconds: float, answer: Callable[..., Answer], *args: Any) -> Answer:
    """An answer with the time of a clock that is ahead by some seconds."""

    def now(file: BufferedIOBase, closing: threading.Event) -> None:
        date = format_datetime(datetime.fromtimestamp(time.time() + seconds, UTC), usegmt=True)
        answer(*args, Date=date)(file, closing)

    return now


SKEWED = {"__type": "com.amazon.coral.service#InvalidSignatureException", "message": "Signature expired"}


def test_a_wrong_clock_is_corrected() -> None:
    """A call that was refused for its time is signed again with the service's time, and so are the calls after it."""
    hour = 3600
    answers = [at_time(hour, answered, SKEWED, 403), answered({}), answered({})]
    with Receiver(answers) as receiver:
        send = account(f"http://127.0.0.1:{receiver.port}").tables()
        send("GetItem", KEY)
        send("GetItem", KEY)
    times = [datetime.fromisoformat(one.headers["x-amz-date"]).timestamp() for one in receiver.received]

    assert [round((at - time.time()) / hour) for at in times] == [0, 1, 1]


def no_date(*_: Any, **__: Any) -> Answer:
    return answered(SKEWED, 403)


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        ([at_time(0, answered, SKEWED, 403)], 1),
        ([at_time(0, no_date)], 1),
        ([answered(SKEWED, 403, Date="soon")], 1),
        ([at_time(3600, answered, SKEWED, 403), at_time(3600, answered, SKEWED, 403)], 2),
        ([at_time(3600, answered, {"__type": "a#AccessDeniedException"}, 400)], 1),
    ],
    ids=["a wrong key", "no date", "no time", "again", "another error"],
)
def test_other_refusals_are_not_signed_again(answers: list[Answer], requests: int) -> None:
    """A call that was refused for another reason than its time, or twice, is an error."""
    with Receiver(answers) as receiver, pytest.raises(ServiceFault):
        account(f"http://127.0.0.1:{receiver.port}").tables()("GetItem", KEY)

    assert len(receiver.received) == requests


# Other services -------------------------------------------------------------------------------------------------------


def by_service(service: str, operation: str, answer: Answer) -> dict[str, Any]:
    with Receiver([answer]) as receiver:
        return account(f"http://127.0.0.1:{receiver.port}").connect(service)(operation, {})


def test_kms() -> None:
    """What KMS encrypts is decrypted again, with binary values as bytes."""
    with served(Memory()) as endpoint:
        kms = account(endpoint.url).connect("kms")
        made = kms("GenerateDataKey", {"KeyId": "alias/C", "KeySpec": "AES_256"})
        opened = kms("Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})

    assert isinstance(made["Plaintext"], bytes)
    assert opened["Plaintext"] == made["Plaintext"]


@pytest.mark.parametrize(
    ("answer", "raised", "text"),
    [
        (answered({"__type": "com.amazonaws.sqs#QueueDoesNotExist"}, 400), CallRefused, "QueueDoesNotExist"),
        (
            answered({"__type": "a#QueueDoesNotExist"}, 400, x_amzn_query_error="AWS.Queue.NonExistent;Sender"),
            CallRefused,
            "AWS.Queue.NonExistent",
        ),
        (answered({}, 400, x_amzn_ErrorType="MessageRejected:http://x/"), CallRefused, "MessageRejected"),
        (answered({"__type": "a#ThrottlingException"}, 400), NotExecuted, "ThrottlingException"),
        (answered({"__type": "a#InternalFailure"}, 500), Unavailable, "500 InternalFailure"),
        (answered({}, 403), Unavailable, "403 403"),
    ],
)
def test_errors(answer: Answer, raised: type[Exception], text: str) -> None:
    """An error response raises what `calls` describes, by the code in its body or header fields."""
    with pytest.raises(raised) as found:
        by_service("sqs", "SendMessage", answer)

    assert type(found.value) is raised
    assert str(found.value) == f"SendMessage: {text}"


def test_a_queue_that_is_not_reached() -> None:
    """Without a connection a call raises that nothing was executed."""
    with pytest.raises(NotExecuted, match=r"^127\.0\.0\.1:9: ConnectionRefusedError"):
        account("http://127.0.0.1:9").connect("sqs")("SendMessage", {})


# Tables ---------------------------------------------------------------------------------------------------------------


def test_binary_values() -> None:
    """Binary values come back as bytes, wherever they are in an item, also in one that a condition refused."""
    item = {"pk": "p", "sk": "s", "b": b"\x00\xff", "in": {"list": [b"x", b""]}}
    with served(Memory()) as endpoint:
        table = Table(account(endpoint.url).tables(), "OrdersTable")
        table.put(Put(item))
        with pytest.raises(Exception, match="condition") as refused:
            table.put(Put(item, "attribute_not_exists(pk)"))
        changed = table.update(Update(("p", "s"), "SET n = :n", values={":n": b"n"}))

    assert table.name == "OrdersTable"
    assert getattr(refused.value, "item", None) == item
    assert changed == {**item, "n": b"n"}
