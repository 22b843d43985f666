"""Hosts, content codings and quotas of the local run, without a running stack."""

import gzip
import zlib
from pathlib import Path

import httpx
import pytest

from ordering_tools.cli import main
from ordering_tools.local import serve
from ordering_tools.local.engine.state import State
from ordering_tools.local.gateway.encodings import compress, decode
from ordering_tools.local.gateway.responses import RefusedError
from ordering_tools.local.hosts import is_local, is_local_program, refusal
from ordering_tools.local.http import Answer
from ordering_tools.local.runtime.functions import (
    REQUEST_LIMIT,
    RESPONSE_LIMIT,
    EventTooLargeError,
    FunctionError,
    Runner,
)
from ordering_tools.local.runtime.runtime_api import Call, RuntimeApi
from ordering_tools.local.serve import Options

PACKED = gzip.compress(b"text", mtime=0)
"""Without the time, because the names of tests contain it."""
LONG = Answer(200, [("Content-Type", "application/json")], b"[%s]" % (b"1," * 2_000))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "127.0.0.1:3000", "localhost:3000", "LocalHost", "[::1]:3000", None)),
        *(
            (host, False)
            for host in ("", "evil.example", "127.0.0.1.evil.example:3000", "localhost.", "10.0.0.1", "[", "a@b")
        ),
        ("tunnel.example:443", True),
    ],
)
def test_hosts(host: str | None, *, local: bool) -> None:
    """Only the names of this machine, and those that the engineer adds, are accepted as `Host`."""
    assert is_local(host, {"tunnel.example"}) is local
    assert not is_local("tunnel.example")
    assert str(host) in refusal(host)


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (None, True),
        ("http://127.0.0.1:3000", True),
        ("http://127.0.0.1:3001", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_origins(origin: str | None, *, own: bool) -> None:
    """A web page is accepted only if the server itself has sent it."""
    assert is_local_program("127.0.0.1:3000", origin) is own
    assert not is_local_program("evil.example", origin)
    assert is_local_program("host.docker.internal:3000", origin and "null", {"host.docker.internal"}) is (not origin)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (None, b"text"),
        ("identity", b"text"),
        ("gzip", PACKED),
        (" GZip ", PACKED),
        ("deflate", zlib.compress(b"text")),
    ],
)
def test_bodies_are_decoded(coding: str | None, body: bytes) -> None:
    """A function gets a compressed body decoded, as in API Gateway."""
    assert decode(body, coding, 4) == b"text"
    assert decode(b"", coding, 4) == b""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", b"text"),
        ("gzip, gzip", gzip.compress(PACKED, mtime=0)),
        ("gzip", b"text"),
        ("gzip", PACKED[:-1]),
        ("gzip", PACKED + b"more"),
    ],
)
def test_bodies_that_cannot_be_decoded(coding: str, body: bytes) -> None:
    """An unknown coding, and a body that does not have the coding it is declared with, are refused."""
    with pytest.raises(RefusedError, match=r"^UNSUPPORTED_MEDIA_TYPE$"):
        decode(body, coding, 100)


def test_decoded_bodies_have_a_limit() -> None:
    """The limit of a body applies to its decoded content, and no more than that is decoded."""
    with pytest.raises(RefusedError, match=r"^REQUEST_TOO_LARGE$"):
        decode(gzip.compress(b"x" * 10_000_000), "gzip", 1_000)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("br, GZIP", "gzip"),
        ("gzip;q=0", None),
        ("*", None),
        ("identity", None),
        ("", None),
        (None, None),
    ],
)
def test_responses_are_compressed(accepted: str | None, coding: str | None) -> None:
    """A long response is compressed for a client that names gzip or deflate."""
    answer = compress(LONG, accepted, 1_024)
    decoded = decode(answer.body, coding, 10_000)

    assert decoded == LONG.body
    assert (("Content-Encoding", coding) in answer.headers) == (coding is not None)
    assert (len(answer.body) < len(LONG.body)) == (coding is not None)


@pytest.mark.parametrize(
    ("answer", "minimum"),
    [
        (LONG, None),
        (LONG, len(LONG.body) + 1),
        (Answer(204), 0),
        (Answer(304, [], b"x"), 0),
        (Answer(200), 0),
        (Answer(200, [("content-encoding", "br")], b"x"), 0),
    ],
)
def test_responses_that_are_not_compressed(answer: Answer, minimum: int | None) -> None:
    """A short response, one without a body and one that is encoded already are sent as they are."""
    assert compress(answer, "gzip", minimum) is answer


class Returning(Runner):
    """A function that returns its event, made as long as a given size."""

    def __init__(self, size: int) -> None:
        self._size = size

    def call(self, name: str, event: bytes) -> bytes:
        assert name == "F"
        return event.ljust(self._size, b"x")


def test_quotas_of_calls() -> None:
    """An event and a result may have as many bytes as in Lambda, and not one more."""
    assert Returning(0).invoke("F", b"x" * REQUEST_LIMIT) == b"x" * REQUEST_LIMIT
    assert len(Returning(RESPONSE_LIMIT).invoke("F", b"")) == RESPONSE_LIMIT

    with pytest.raises(EventTooLargeError):
        Returning(0).invoke("F", b"x" * (REQUEST_LIMIT + 1))
    with pytest.raises(FunctionError) as failed:
        Returning(RESPONSE_LIMIT + 1).invoke("F", b"")
    assert (failed.value.kind, "6291556 bytes" in str(failed.value)) == ("Function.ResponseSizeTooLarge", True)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Host": "evil.example:80", "Origin": "null"}],
)
def test_functions_get_their_calls_alone(headers: dict[str, str]) -> None:
    """A web page gets no call of a function from the Runtime API, and takes none away."""
    api = RuntimeApi()
    call = Call("one", "arn", b"{}", 1.0)
    api.put(call)
    url = f"http://{api.address}/2018-06-01/runtime/invocation/next"

    refused, given = httpx.get(url, headers=headers), httpx.get(url)
    api.close()

    assert (refused.status_code, given.status_code) == (421, 200)
    assert given.headers["Lambda-Runtime-Aws-Request-Id"] == "one"


def test_further_hosts_are_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ordering serve --host` can be repeated; its names are compared in lower case, as those of requests."""
    given: list[Options] = []

    def serve_nothing(options: Options) -> int:
        given.append(options)
        return 0

    monkeypatch.setattr(serve, "serve", serve_nothing)

    assert main(["serve", "--bare", "--host", "A.example", "--host", "b.example"]) == 0
    assert [(options.hosts, options.bare) for options in given] == [(("a.example", "b.example"), True)]


def test_only_the_owner_can_read_the_state(tmp_path: Path) -> None:
    """The state folder is closed to other users of the machine, also one that an earlier release has created."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    State(folder).release()

    assert folder.stat().st_mode & 0o777 == 0o700
