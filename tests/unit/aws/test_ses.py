"""The requests to SES, and the outcome of each of its answers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session

from ordering.aws import calls as aws
from ordering.aws import ses
from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.direct import AwsAccount
from ordering.aws.ses import Letter, MailRefused, Misconfigured, NotSent, Ses, Unsure
from ordering.errors import Unavailable
from support.aws.fake_connections import Script
from support.aws.ses import SENDER
from support.receiver import Answer, Receiver, raw, silence, status

LETTER = Letter("ann@example.com", "Hello", "Good morning", "<p>Good morning</p>")
TAGS = {"order": "dHJhaW5pbmcjMQ", "mail": "1"}
ACCOUNT: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


def sender(*steps: Any) -> Ses:
    return Ses(Script([*steps]), SENDER, "mails")


def answered(body: object, code: int = 200, **headers: str) -> Answer:
    return status(code, json.dumps(body).encode(), **headers)


def refusal(code: str, http: int = 400) -> Answer:
    return answered({"message": "ann@example.com is not verified"}, http, x_amzn_ErrorType=code)


At = Callable[[list[Answer], Callable[[Ses], str]], str]


@pytest.fixture(params=["direct", "botocore"])
def at(request: pytest.FixtureRequest) -> At:
    """Send to a real server that gives these answers, by each client in turn."""

    def send_to(answers: list[Answer], send: Callable[[Ses], str]) -> str:
        with Receiver(answers) as receiver:
            url = f"http://127.0.0.1:{receiver.port}"
            if request.param == "direct":
                settings = {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1"}
                call = AwsAccount({**os.environ, **settings}).connect("sesv2", answered_within=0.3)
            else:
                call = aws.connect("sesv2", answered_within=0.3, endpoint_url=url, **ACCOUNT)
            return send(Ses(call, SENDER, "mails"))

    return send_to


def test_request() -> None:
    """A mail has its sender, one recipient, both forms, the configuration set and its tags."""
    script = Script([{"MessageId": "m1"}])

    assert Ses(script, SENDER, "mails").send(LETTER, TAGS) == "m1"
    assert script.calls == [
        (
            "SendEmail",
            {
                "FromEmailAddress": SENDER,
                "Destination": {"ToAddresses": ["ann@example.com"]},
                "Content": {
                    "Simple": {
                        "Subject": {"Data": "Hello", "Charset": "UTF-8"},
                        "Body": {
                            "Text": {"Data": "Good morning", "Charset": "UTF-8"},
                            "Html": {"Data": "<p>Good morning</p>", "Charset": "UTF-8"},
                        },
                    }
                },
                "EmailTags": [{"Name": "order", "Value": "dHJhaW5pbmcjMQ"}, {"Name": "mail", "Value": "1"}],
                "ConfigurationSetName": "mails",
            },
        )
    ]


def test_without_a_configuration_set() -> None:
    """Without a configuration set or HTML the request lacks these fields, as SES requires."""
    script = Script([{"MessageId": "m1"}])
    Ses(script, SENDER).send(Letter("a@example.com", "s", "t"), {})

    ((_, request),) = script.calls
    assert "ConfigurationSetName" not in request
    assert [*request["Content"]["Simple"]["Body"]] == ["Text"]


def test_over_the_wire(at: At) -> None:
    """A request is valid for the service's model, and the message id of the answer is returned."""
    assert at([answered({"MessageId": "m7"})], lambda one: one.send(LETTER, TAGS)) == "m7"


@pytest.mark.parametrize(
    ("code", "http", "raised"),
    [
        ("MessageRejected", 400, MailRefused),
        ("BadRequestException", 400, MailRefused),
        ("TooManyRequestsException", 429, NotSent),
        ("LimitExceededException", 400, NotSent),
        ("SendingPausedException", 400, NotSent),
        ("AccountSuspendedException", 400, NotSent),
        ("MailFromDomainNotVerifiedException", 400, NotSent),
        ("ThrottlingException", 400, NotSent),
        ("NotFoundException", 404, Misconfigured),
        ("AccessDeniedException", 403, Misconfigured),
        ("InternalFailure", 500, Unsure),
        ("TooManyRequestsException", 503, Unsure),
        ("InternalFailure", 400, Unsure),
    ],
)
def test_refusals(at: At, code: str, http: int, raised: type[Exception]) -> None:
    """Each error of SES raises its kind of exception, which contains no address."""
    with pytest.raises(raised) as refused:
        at([refusal(code, http)], lambda one: one.send(LETTER, TAGS))

    assert type(refused.value) is raised
    assert "@" not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        status(200, b"<html>Welcome</html>"),
        status(200, b""),
        answered({"MessageId": ""}),
        answered({"MessageId": None}),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        raw(b""),
        silence,
        status(502, b"<html>Bad gateway</html>"),
        status(403, b"<html>Not through this proxy</html>"),
        status(302, b"", Location="http://127.0.0.1:1/"),
        answered({"message": "?"}, 400),
    ],
    ids=[
        "a page",
        "nothing",
        "no id",
        "null",
        "half an answer",
        "half a head",
        "hangs up",
        "silence",
        "502",
        "a proxy",
        "elsewhere",
        "no code",
    ],
)
def test_unclear_answers(at: At, answer: Answer) -> None:
    """A missing or malformed answer raises Unsure, because the mail may have been sent."""
    with pytest.raises(Unsure):
        at([answer], lambda one: one.send(LETTER, TAGS))


def test_one_try() -> None:
    """A failed mail is not retried by botocore."""
    with Receiver([status(500)]) as receiver:
        call = aws.connect("sesv2", endpoint_url=f"http://127.0.0.1:{receiver.port}", **ACCOUNT)
        with pytest.raises(Unsure):
            Ses(call, SENDER).send(LETTER, TAGS)

        assert len(receiver.received) == 1


def test_connection_refused() -> None:
    """A refused connection raises NotSent."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        call = aws.connect("sesv2", endpoint_url=f"http://127.0.0.1:{closed.getsockname()[1]}", **ACCOUNT)
        with pytest.raises(NotSent):
            Ses(call, SENDER).send(LETTER, TAGS)
        with pytest.raises(NotExecuted):
            call("GetAccount", {})


def test_connection_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is not accepted in time raises NotSent."""
    monkeypatch.setattr(aws, "CONNECTED_WITHIN", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(address)
        call = aws.connect("sesv2", endpoint_url=f"http://127.0.0.1:{address[1]}", **ACCOUNT)
        with pytest.raises(NotSent):
            Ses(call, SENDER).send(LETTER, TAGS)
        for one in waiting:
            one.close()


def test_outcomes_of_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused call raises CallRefused with its code; a throttled one raises NotExecuted."""

    class Client:
        def __init__(self, code: str) -> None:
            self.code = code

        def put_events(self) -> None:
            answer: Any = {"Error": {"Code": self.code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "PutEvents")

    def outcome(code: str) -> Exception:
        session: Any = type(get_session())
        monkeypatch.setattr(session, "create_client", lambda *_, **__: Client(code))
        with pytest.raises((Unavailable, CallRefused)) as raised:
            aws.connect("events")("PutEvents", {})
        return raised.value

    found = [outcome(code) for code in ("ResourceNotFoundException", "Throttling", "InternalException", "403")]
    assert [type(error) for error in found] == [CallRefused, NotExecuted, Unavailable, Unavailable]
    assert str(found[0]) == "PutEvents: ResourceNotFoundException"


def test_time_limit_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection waits for answers as long as it was configured to, and never retries."""
    made: list[Any] = []
    session: Any = type(get_session())
    monkeypatch.setattr(session, "create_client", lambda *_, **settings: made.append(settings["config"]))
    for call in (aws.connect("sesv2", answered_within=7.0), aws.connect("sqs")):
        with pytest.raises(AttributeError):
            call("SendMessage", {})

    assert [one.read_timeout for one in made] == [7.0, aws.ANSWERED_WITHIN]
    assert {one.retries["total_max_attempts"] for one in made} == {1}


def test_not_connected() -> None:
    """A process without SES raises NotSent."""
    with pytest.raises(NotSent):
        Ses(aws.unavailable, SENDER).send(LETTER, TAGS)


def test_connected_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is made once, with the first mail, and waits long enough for a large one."""
    made: list[tuple[str, Any]] = []

    class Client:
        def send_email(self, **_: Any) -> dict[str, str]:
            return {"MessageId": "m1"}

    def create_client(_: Any, service: str, **settings: Any) -> Client:
        made.append((service, settings["config"].read_timeout))
        return Client()

    session: Any = type(get_session())
    monkeypatch.setattr(session, "create_client", create_client)
    sending = ses.connect_ses(SENDER, "mails", region_name="eu-west-1")
    assert made == []
    sending.send(LETTER, TAGS)
    sending.send(LETTER, TAGS)

    assert made == [("sesv2", 10.0)]
