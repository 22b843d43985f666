"""Where a function's credentials come from, and when they are fetched anew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering.aws.credentials import ContainerCredentials, NoCredentials, credentials_of
from ordering.aws.http_connections import NotReached
from ordering.aws.signature import AwsCredentials
from support.receiver import Answer, Receiver, raw, status

ADDRESS = "AWS_CONTAINER_CREDENTIALS_FULL_URI"


def given(key_id: str, minutes: float, **other: Any) -> Answer:
    ends = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"AccessKeyId": key_id, "SecretAccessKey": "s", "Token": "t", "Expiration": ends, **other}
    return status(200, json.dumps(body).encode())


@contextmanager
def source(*answers: Answer, **settings: str) -> Iterator[tuple[Receiver, ContainerCredentials]]:
    """An endpoint for credentials with these answers, and what asks it."""
    with Receiver([*answers]) as receiver:
        found = credentials_of({ADDRESS: f"http://127.0.0.1:{receiver.port}/path?a=b", **settings})
        assert isinstance(found, ContainerCredentials)
        yield receiver, found


def later(monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    now = time.time() + 60 * minutes
    monkeypatch.setattr(time, "time", lambda: now)


def parts(key: AwsCredentials) -> tuple[str, str, str]:
    return key.key_id, key.secret, key.token


@pytest.mark.parametrize("token", [{}, {"AWS_SESSION_TOKEN": "t"}])
def test_of_the_environment(token: dict[str, str]) -> None:
    """The variables that Lambda sets are used before any endpoint."""
    settings = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", ADDRESS: "http://127.0.0.1:1/", **token}

    assert parts(credentials_of(settings)()) == ("a", "s", token.get("AWS_SESSION_TOKEN", ""))


def test_none() -> None:
    """Without any source, the error names the variables."""
    with pytest.raises(NoCredentials, match="AWS_ACCESS_KEY_ID"):
        credentials_of({"AWS_ACCESS_KEY_ID": "a"})


@pytest.mark.parametrize(
    "address",
    ["http://example.com/", "https://127.0.0.1/", "http://127.0.0.1.example/", "http://169.254.169.254/", "x"],
)
def test_foreign_endpoint(address: str) -> None:
    """The authorization goes to this machine or AWS's own addresses only."""
    with pytest.raises(NoCredentials, match=ADDRESS):
        credentials_of({ADDRESS: address})


def test_fetched_once() -> None:
    """Credentials are fetched once, with the authorization, and used again."""
    with source(given("a", 60), AWS_CONTAINER_AUTHORIZATION_TOKEN="secret") as (receiver, credentials):
        assert [parts(credentials()) for _ in range(3)] == [("a", "s", "t")] * 3

    (request,) = receiver.received
    assert request.line == "GET /path?a=b HTTP/1.1"
    assert request.headers["authorization"] == "secret"


def test_authorization_in_a_file(tmp_path: Path) -> None:
    """An authorization in a file is read for each fetch, because it is replaced."""
    file = tmp_path / "token"
    file.write_text("first\n")
    with source(given("a", 5), AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file)) as (receiver, credentials):
        credentials()
        file.write_text("second\n")
        credentials()

    assert [one.headers["authorization"] for one in receiver.received] == ["first", "second"]


def test_fetched_before_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes before credentials end, the next ones are fetched."""
    with source(given("a", 60), given("b", 120)) as (_, credentials):
        names = [credentials().key_id]
        later(monkeypatch, 49)
        names.append(credentials().key_id)
        later(monkeypatch, 2)
        names.append(credentials().key_id)

    assert names == ["a", "a", "b"]


FAILURES = {
    "an error": status(500),
    "no JSON": status(200, b"<html>"),
    "no secret": status(200, b'{"AccessKeyId": "a"}'),
    "no time": given("a", 1, Expiration="soon"),
    "half": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"),
    "hangs up": raw(b""),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_failures(failure: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others cannot be had, credentials are used until they end; then no call is made."""
    with source(given("a", 5), failure) as (_, credentials):
        assert [credentials().key_id, credentials().key_id] == ["a", "a"]
        later(monkeypatch, 6)
        with pytest.raises(NotReached) as raised:
            credentials()

    assert ADDRESS in str(raised.value)


def test_not_reached() -> None:
    """Without the endpoint, no call is made."""
    with pytest.raises(NotReached, match="ConnectionRefusedError"):
        credentials_of({ADDRESS: "http://127.0.0.1:9/"})()
