"""Webhooks: which URLs are allowed, how requests are signed, which answers count as delivered, and when retries run."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import force_setattr

from ordering.aws.dynamodb import Put, Table
from ordering.aws.sealer import EnvelopeSealer
from ordering.clock import Deadline, to_text
from ordering.errors import Invalid, NotFound
from ordering.events.history import event_id
from ordering.identity.accounts import Accounts
from ordering.values import replace
from ordering.webhooks.addresses import is_public, read_address
from ordering.webhooks.delivery import MISSED_KEPT, PARKED_KEPT, TRIES, Deliverer, Message, Parked
from ordering.webhooks.post import ANSWER_AT_MOST, Poster, resolve
from ordering.webhooks.registrations import (
    WEBHOOKS_AT_MOST,
    ChangedMeanwhile,
    Disabled,
    TooMany,
    Webhook,
    Webhooks,
    announcer,
    is_webhook_id,
    secret_text,
    signed,
)
from ordering.webhooks.transport import NotPosted, Response
from support.aws.fake_connections import Recorder
from support.aws.faults import Crash, Faulty, answer_lost, interrupted, refused
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.certificates import self_signed
from support.partners import JOHN, SOURCE, UK
from support.partners import PARTNER as PARTNERS_RECORD
from support.receiver import Answer, Receiver, endlessly, raw, silence, slowly, status, verifies

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
PARTNER, ORDER = "northwind", "training#7"
URL = "https://example.com/hook"
NEW, COMPLETED = "ordering.training_order.new", "ordering.training_order.completed"


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "header"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("https://Example.COM:443/a/b?c=d%20&e=[f]"[:-3] + "f", "example.com", 443, "/a/b?c=d%20&e=f", "example.com"),
        ("https://example.com?x=1", "example.com", 443, "/?x=1", "example.com"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
        ("https://[2606:4700::1]/x", "2606:4700::1", 443, "/x", "[2606:4700::1]"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
    ],
)
def test_good_urls(url: str, host: str, port: int, target: str, header: str) -> None:
    """A URL is parsed into host, port and target, with the host in lower case."""
    address = read_address(url)

    assert (address.secure, address.host, address.port, address.target) == (True, host, port, target)
    assert address.host_header == header


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com",
        "ftp://example.com",
        "https://",
        "https:///path",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://example.com#fragment",
        "https://example.com/ space",
        "https://example.com/\r\nX: y",
        "https://example.com/ü",
        "https://bücher.example",
        "https://example.com\\@127.0.0.1/",
        "https://example.com:8443",
        "https://example.com:0443x",
        "https://example.com:99999",
        "https://example.com:0",
        "https://localhost",
        "https://intranet/",
        "https://example.com./",
        "https://-a.example/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1]/",
        "https://[example.com]/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_bad_urls(url: str) -> None:
    """A URL must use HTTPS on port 443 and a plain full host name or public address; errors do not repeat it."""
    with pytest.raises(ValueError, match="must") as error:
        read_address(url)

    assert not url or url not in str(error.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/x", "https://127.0.0.1:1234", "http://[::1]/", "http://a.b:80/"]
)
def test_urls_of_a_local_run(url: str) -> None:
    """A local run allows any host and port, but still no malformed URL."""
    read_address(url, anywhere=True)
    with pytest.raises(ValueError, match="must"):
        read_address(url.replace("//", "//user@"), anywhere=True)


CLOSED = [
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1"),
    *("2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12::1"),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "nonsense", "", "127.1"),
]


@pytest.mark.parametrize("address", CLOSED)
def test_closed_addresses(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, mapped and tunnelled addresses are not public."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1", "2a00::1"])
def test_public_addresses(address: str) -> None:
    """Addresses outside the reserved ranges are public."""
    assert is_public(address)


# Posting --------------------------------------------------------------------------------------------------------------


TRUST = ssl.create_default_context()
HERE = Poster(anywhere=True, trust=TRUST, within=2.0)


def post(receiver: Receiver, poster: Poster = HERE) -> int:
    return poster.post(receiver.url, {"X-Test": "1"}, b"body").status


@pytest.mark.parametrize("code", [200, 204, 299, 301, 307, 404, 410, 429, 500, 503])
def test_statuses(code: int) -> None:
    """`post` returns any status and does not follow redirects."""
    with Receiver([status(code, b"", Location="/elsewhere")]) as receiver:
        assert post(receiver) == code

    (received,) = receiver.received
    assert received.line == "POST /hook?from=ordering HTTP/1.1"
    assert received.body == b"body"
    assert received.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "connection": "close",
        "x-test": "1",
        "content-length": "4",
    }


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raw(b""), r"not valid HTTP|failed"),
        (raw(b"nonsense\r\n\r\n"), "not valid HTTP"),
        (raw(b"HTTP/1.1 abc\r\n\r\n"), "not valid HTTP"),
        (endlessly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), "not valid HTTP"),
        (endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "not valid HTTP"),
        (endlessly(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "not valid HTTP"),
        (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), r"not valid HTTP|failed"),
        (endlessly(b"", b"x" * 1000), "not valid HTTP"),
    ],
)
def test_malformed_answers(answer: Answer, why: str) -> None:
    """An answer that is not HTTP, or whose head never ends, counts as not posted."""
    with Receiver([answer]) as receiver, pytest.raises(NotPosted, match=why):
        post(receiver)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 P\r\n\r\n", EARLY, EARLY * 2])
@pytest.mark.parametrize("code", [200, 204, 410, 503])
def test_interim_responses(interim: bytes, code: int) -> None:
    """Interim responses (1xx) are skipped: the status and the fields of the final response count."""
    final = f"HTTP/1.1 {code} Whatever\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok".encode()
    with Receiver([raw(interim + final)]) as receiver:
        assert HERE.post(receiver.url, {}, b"") == Response(code, 7.0)


def test_switching_protocols() -> None:
    """101 is the final status of a response: no HTTP follows it."""
    with Receiver([raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")]) as receiver:
        assert post(receiver) == 101


def test_an_interim_response_does_not_extend_the_time() -> None:
    """The time limit covers the interim responses and the final one together."""
    with Receiver([slowly(EARLY * 5, 0.02)]) as receiver, pytest.raises(NotPosted, match="too long"):
        post(receiver, replace(HERE, within=0.3))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999", 999_999_999.0),
        ("Thu, 01 Jan 2026 12:02:00 GMT", 120.0),
        ("Thursday, 01-Jan-26 12:02:00 GMT", 120.0),
        ("Thu Jan  1 12:02:00 2026", 120.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 5000, None),
        ("soon", None),
        ("Thu, 99 Jan 2026 12:02:00 GMT", None),
        ("Thu, 01 Jan 2026 12:02:00 +9999999", None),
        ("5\r\nRetry-After: 6", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """`Retry-After` is a number of seconds or a date, never negative; a malformed or repeated one is ignored."""
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n"
    with Receiver([raw(head.encode())]) as receiver:
        assert replace(HERE, now=lambda: START).post(receiver.url, {}, b"") == Response(503, seconds)


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789", 0.02),
    ],
    ids=["silent", "slow", "a slow body"],
)
def test_time(answer: Answer) -> None:
    """A post never takes longer than its time limit, however slowly the answer arrives."""
    began = time.monotonic()
    with Receiver([answer]) as receiver, pytest.raises(NotPosted, match="too long"):
        post(receiver, replace(HERE, within=0.3))

    assert 0.25 < time.monotonic() - began < 1.5


def test_endless_answers() -> None:
    """At most 64 KB of an answer are read, and its status counts even if the body never ends."""
    with Receiver([endlessly(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096)]) as receiver:
        assert post(receiver) == 200
    with Receiver([status(200, b"x" * ANSWER_AT_MOST)]) as receiver:
        assert post(receiver) == 200


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 10\r\n\r\nabc", b"Content-Length: x\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
)
def test_malformed_bodies(rest: bytes) -> None:
    """A complete head is enough: its status counts however malformed the body is."""
    with Receiver([raw(b"HTTP/1.1 200 OK\r\n" + rest)]) as receiver:
        assert post(receiver) == 200


def test_connection_refused() -> None:
    """A port without a listener fails at once."""
    with Receiver() as receiver:
        pass
    with pytest.raises(NotPosted, match="the connection failed"):
        post(receiver)


def test_the_next_address() -> None:
    """If one address of a host refuses the connection, the next one is tried."""
    with Receiver() as receiver:
        poster = replace(HERE, resolve=lambda *_: ["::1", "127.0.0.1"])
        assert poster.post(f"http://host.example:{receiver.port}/", {}, b"").status == 204
    assert receiver.received[0].headers["host"] == f"host.example:{receiver.port}"


# Host names -----------------------------------------------------------------------------------------------------------


class Sockets:
    """Replaces the network: records the addresses to connect to, and refuses every connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        monkeypatch.setattr(socket, "create_connection", self)

    def __call__(self, address: tuple[str, int], timeout: float) -> socket.socket:
        assert timeout <= 5
        assert address[1] == 443
        self.addresses.append(address[0])
        raise ConnectionRefusedError


@dataclass
class Names:
    """A resolver whose answers change from one lookup to the next."""

    answers: list[Sequence[str]]
    asked: int = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("example.com", 443)
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.mark.parametrize("address", CLOSED)
@pytest.mark.parametrize("others", [[], ["8.8.8.8", "8.8.4.4"]], ids=len)
def test_names_with_a_private_address(address: str, others: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with one address that is not public is never connected to, whatever its other addresses."""
    sockets = Sockets(monkeypatch)
    with pytest.raises(NotPosted, match="not public"):
        Poster(trust=TRUST, resolve=Names([[*others, address]])).post(URL, {}, b"")

    assert sockets.addresses == []


def test_names_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host is looked up once per post, so an address it gets afterwards is not connected to."""
    sockets, names = Sockets(monkeypatch), Names([["8.8.8.8", "8.8.4.4"], ["127.0.0.1"]])
    poster = Poster(trust=TRUST, resolve=names)
    with pytest.raises(NotPosted, match="the connection failed"):
        poster.post(URL, {}, b"")
    assert (names.asked, sockets.addresses) == (1, ["8.8.8.8", "8.8.4.4"])
    with pytest.raises(NotPosted, match="not public"):
        poster.post(URL, {}, b"")

    assert sockets.addresses == ["8.8.8.8", "8.8.4.4"]


def test_names_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is unknown, has no address or resolves too slowly is not connected to."""
    sockets = Sockets(monkeypatch)

    def unknown(*_: Any) -> list[str]:
        raise socket.gaierror

    def slow(*_: Any) -> list[str]:
        time.sleep(0.3)
        return ["8.8.8.8"]

    for names, why in (
        (unknown, "could not be looked up"),
        (lambda *_: [], "no address"),
        (slow, "too long to look up"),
    ):
        with pytest.raises(NotPosted, match=why):
            Poster(trust=TRUST, resolve=names, within=0.1).post(URL, {}, b"")
    with pytest.raises(NotPosted, match="URL is not allowed"):
        Poster().post("http://example.com", {}, b"")

    assert sockets.addresses == []


def test_the_systems_resolver() -> None:
    """The system's resolver returns a literal address unchanged."""
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of hook.example, with its key."""
    return self_signed(tmp_path_factory.mktemp("tls") / "hook.pem", "hook.example", "10.9.9.9")


@pytest.fixture
def secure(certificate: Path) -> Iterator[Receiver]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Receiver(tls=tls) as receiver:
        yield receiver


def test_tls(secure: Receiver, certificate: Path) -> None:
    """The connection goes to the resolved address, while TLS and HTTP name the host."""
    trust = ssl.create_default_context(cafile=str(certificate))
    poster = replace(HERE, trust=trust, resolve=lambda *_: ["127.0.0.1"])

    assert poster.post(f"https://hook.example:{secure.port}/x", {}, b"{}").status == 204
    assert secure.names == ["hook.example"]
    assert secure.received[0].headers["host"] == f"hook.example:{secure.port}"


@pytest.mark.parametrize("host", ["hook.example", "other.example"])
def test_tls_that_is_not_trusted(secure: Receiver, certificate: Path, host: str) -> None:
    """A receiver whose certificate is untrusted or of another host gets no request."""
    trusted = ssl.create_default_context(cafile=str(certificate))
    poster = replace(HERE, resolve=lambda *_: ["127.0.0.1"])
    if host == "other.example":
        poster = replace(poster, trust=trusted)
    with pytest.raises(NotPosted, match="TLS failed"):
        poster.post(f"https://{host}:{secure.port}/", {}, b"secret")

    assert secure.received == []


def test_receivers_without_tls() -> None:
    """A receiver that answers the TLS handshake with something else fails."""
    with Receiver([raw(b"nonsense")]) as receiver, pytest.raises(NotPosted, match="TLS failed"):
        HERE.post(receiver.url.replace("http:", "https:"), {}, b"")


# Signatures -----------------------------------------------------------------------------------------------------------


def test_the_specifications_example() -> None:
    """The signature of the specification's example equals that of its reference implementations."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)

    assert signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_several_secrets() -> None:
    """Either of two secrets verifies a message; another secret, or an altered message, does not."""
    keys = [bytes([number]) * 32 for number in range(3)]
    headers = signed(keys[:2], "m", START, "₽".encode())

    assert [verifies(secret_text(key), headers, "₽".encode()) for key in keys] == [True, True, False]
    assert not verifies(secret_text(keys[0]), headers, b"$")
    assert not verifies(secret_text(keys[0]), {**headers, "webhook-id": "n"}, "₽".encode())


# Registering ----------------------------------------------------------------------------------------------------------


@dataclass
class Installation:
    """Webhooks, their deliveries and a queue, on tables in memory and with a clock set by hand."""

    anywhere: bool = True
    now: datetime = START
    queue: list[tuple[datetime, str]] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    spread: float = 0.5
    faulty: Faulty = field(default_factory=lambda: Faulty(Memory()))

    def __post_init__(self) -> None:
        self.table = Table(self.faulty, "AccountsTable", first_pause=0.0)
        self.orders = Table(self.faulty, "OrdersTable", first_pause=0.0)
        kms = EnvelopeSealer(MemoryKms(), "alias/Key")
        self.webhooks = Webhooks(self.table, kms, anywhere=self.anywhere, now=lambda: self.now)
        self.deliverer = Deliverer(
            self.orders,
            self.table,
            self.webhooks,
            replace(HERE, within=0.5).post,
            self._send,
            now=lambda: self.now,
            spread=lambda: self.spread,
        )
        self.partners = Accounts(self.table)
        self.partners.save_partner(PARTNERS_RECORD)

    def announce(self, partner: str, order: str, types: Mapping[str, datetime]) -> None:
        """Announce events as one batch."""
        announcer(self.webhooks, self.deliverer.signal)(partner, order, types)

    def _send(self, body: str, delay: int) -> None:
        assert isinstance(delay, int)
        assert 0 <= delay <= 900
        self.delays.append(delay)
        self.queue.append((self.now + timedelta(seconds=delay), body))

    def order(self, *statuses: str) -> None:
        """Store the order with these statuses and announce the latest."""
        history = [{"status": one, "at": to_text(self.now)} for one in statuses]
        order = {
            "id": 7,
            "position": 1,
            "partner": PARTNER,
            "unit": {"id": UK.id, "name": UK.name},
            "user": {"id": JOHN.id},
            "source": {"id": SOURCE.id},
            "reference": "PO",
            "contact": {"forename": "J", "surname": "S", "email": "j@example.com"},
            "emailKeys": False,
            "created": to_text(START),
            "status": statuses[-1],
            "version": len(statuses),
            "history": history,
        }
        self.orders.put(Put({"pk": "ORDER#training#7", "sk": "ORDER", "order": order}))
        self.announce(PARTNER, ORDER, {f"ordering.training_order.{statuses[-1].lower()}": self.now})

    def parked(self, webhook: Webhook) -> list[Parked]:
        return self.deliverer.parked(PARTNER, webhook.id, 100)

    def run(self, until: timedelta = timedelta(days=2)) -> None:
        """Let time pass and handle each message when it is due."""
        end = self.now + until
        while self.queue and min(self.queue)[0] <= end:
            arrives, body = min(self.queue)
            self.queue.remove((arrives, body))
            self.now = max(self.now, arrives)
            self.deliverer.handle(body)
        self.now = end


@pytest.fixture
def installation() -> Installation:
    return Installation()


def test_registering(installation: Installation) -> None:
    """A webhook is stored under its partner; its secret is returned once and stored encrypted."""
    webhook, secret = installation.webhooks.register(PARTNER, "http://localhost:1/?token=hush", [NEW])

    assert installation.webhooks.all(PARTNER) == [webhook]
    assert installation.webhooks.all("tailspin") == []
    assert installation.webhooks.get(PARTNER, webhook.id) == webhook
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert key not in str(installation.table.get((f"WEBHOOKS#{PARTNER}", webhook.id))).encode("latin-1", "replace")
    assert verifies(secret, installation.webhooks.sign(webhook, "m", START, b"x"), b"x")
    assert "hush" not in repr(webhook)
    assert repr(webhook.secrets[0]) == "SealedSecret(until=None)"


def test_invalid_registrations() -> None:
    """A bad URL and an unknown type are refused together, and the error does not repeat the URL."""
    webhooks = Installation(anywhere=False).webhooks
    with pytest.raises(Invalid) as refusal:
        webhooks.register(PARTNER, "https://user:hush@example.com", ["ordering.nothing"])

    assert [fault.place for fault in refusal.value.faults] == [("url",), ("types", 0)]
    assert "hush" not in str(refusal.value)
    webhook, _ = webhooks.register(PARTNER, URL)
    with pytest.raises(Invalid):
        webhooks.change(PARTNER, webhook.id, url="http://example.com")


def test_at_most_ten_webhooks(installation: Installation) -> None:
    """A partner can have at most ten webhooks; removing one makes room for another."""
    made = [installation.webhooks.register(PARTNER, URL)[0] for _ in range(WEBHOOKS_AT_MOST)]
    with pytest.raises(TooMany):
        installation.webhooks.register(PARTNER, URL)
    installation.webhooks.remove(PARTNER, made[0].id)
    installation.webhooks.register(PARTNER, URL)

    with pytest.raises(TooMany):
        installation.webhooks.register(PARTNER, URL)
    with pytest.raises(NotFound):
        installation.webhooks.get(PARTNER, made[0].id)


def test_the_tenth_registered_twice_at_once(installation: Installation) -> None:
    """Of two concurrent registrations of the tenth webhook one is refused."""
    webhooks = installation.webhooks
    for _ in range(WEBHOOKS_AT_MOST - 1):
        webhooks.register(PARTNER, URL)
    installation.faulty.meet("TransactWriteItems", interrupted(lambda: webhooks.register(PARTNER, URL)))
    with pytest.raises(TooMany):
        webhooks.register(PARTNER, URL)

    assert len(webhooks.all(PARTNER)) == WEBHOOKS_AT_MOST


def test_removed_twice(installation: Installation) -> None:
    """A webhook that is removed by two concurrent calls is counted once, and so is one whose answer is lost."""
    webhooks = installation.webhooks
    made = [webhooks.register(PARTNER, URL)[0] for _ in range(WEBHOOKS_AT_MOST)]
    installation.faulty.meet("TransactWriteItems", interrupted(lambda: webhooks.remove(PARTNER, made[0].id)))
    webhooks.remove(PARTNER, made[0].id)
    with pytest.raises(NotFound):
        webhooks.remove(PARTNER, made[0].id)
    installation.faulty.meet("TransactWriteItems", answer_lost)
    webhooks.register(PARTNER, URL)

    with pytest.raises(TooMany):
        webhooks.register(PARTNER, URL)


@pytest.mark.parametrize("text", ["0123456789abcdef", "f" * 16])
def test_ids(installation: Installation, text: str) -> None:
    """An id is 16 lower-case hexadecimal digits, and so are the ids of registered webhooks."""
    webhook, _ = installation.webhooks.register(PARTNER, URL)

    assert is_webhook_id(text)
    assert is_webhook_id(webhook.id)
    assert not any(is_webhook_id(wrong) for wrong in ("", "-", text.upper() + "A", text[1:], text + "\n", f"{text}0"))


def test_changing(installation: Installation) -> None:
    """The URL and the types can be changed independently."""
    webhook, _ = installation.webhooks.register(PARTNER, URL, [NEW])
    installation.webhooks.change(PARTNER, webhook.id, url=f"{URL}/2")
    installation.webhooks.change(PARTNER, webhook.id, types=[])
    changed = installation.webhooks.get(PARTNER, webhook.id)

    assert (changed.url, changed.types) == (f"{URL}/2", frozenset())
    assert installation.webhooks.change(PARTNER, webhook.id, url=changed.url) == changed


def test_replacing_a_secret(installation: Installation) -> None:
    """A replaced secret still signs, beside the new one, for a day; older secrets do not."""
    webhooks = installation.webhooks
    webhook, first = webhooks.register(PARTNER, URL)
    _, second = webhooks.replace_secret(PARTNER, webhook.id)

    def good(*secrets: str) -> list[bool]:
        headers = webhooks.sign(webhooks.get(PARTNER, webhook.id), "m", installation.now, b"x")
        return [verifies(secret, headers, b"x") for secret in secrets]

    assert good(first, second) == [True, True]
    _, third = webhooks.replace_secret(PARTNER, webhook.id)
    assert good(first, second, third) == [False, True, True]
    installation.now += timedelta(hours=24)
    assert good(first, second, third) == [False, False, True]


def test_changes_at_once(installation: Installation) -> None:
    """Of two concurrent changes one raises ChangedMeanwhile; a change whose answer is lost succeeds."""
    webhooks = installation.webhooks
    webhook, _ = webhooks.register(PARTNER, URL)
    installation.faulty.meet("PutItem", answer_lost)
    webhooks.disable(webhook, "why")
    installation.faulty.meet("PutItem", interrupted(lambda: webhooks.enable(PARTNER, webhook.id)))
    with pytest.raises(ChangedMeanwhile):
        webhooks.change(PARTNER, webhook.id, types=[NEW])
    assert webhooks.enable(PARTNER, webhook.id).epoch == 2


# Delivering -----------------------------------------------------------------------------------------------------------


def registered(installation: Installation, receiver: Receiver, *types: str) -> tuple[Webhook, str]:
    return installation.webhooks.register(PARTNER, receiver.url, types)


def ids(receiver: Receiver) -> list[str]:
    return [one.headers["webhook-id"] for one in receiver.received]


FIRST, SECOND = event_id(ORDER, 0), event_id(ORDER, 1)


def test_delivering(installation: Installation) -> None:
    """Each event is delivered once, in order, as JSON signed with the webhook's secret."""
    with Receiver() as receiver:
        _, secret = registered(installation, receiver)
        installation.order("New")
        installation.run()
        installation.order("New", "Completed")
        installation.run()

    assert ids(receiver) == [FIRST, SECOND]
    assert all(verifies(secret, one.headers, one.body) for one in receiver.received)
    assert [json.loads(one.body)["sequence"] for one in receiver.received] == [1, 2]
    assert {one.headers["content-type"] for one in receiver.received} == {"application/json"}
    assert int(receiver.received[0].headers["webhook-timestamp"]) == START.timestamp()


def test_only_new_events_of_the_chosen_types(installation: Installation) -> None:
    """A webhook gets only events of its types that happened after its registration."""
    with Receiver() as receiver:
        installation.order("New")
        installation.now += timedelta(seconds=1)
        registered(installation, receiver)
        registered(installation, receiver, NEW)
        item = installation.orders.get(("ORDER#training#7", "ORDER"))
        assert item
        item["order"]["history"].append({"status": "Completed", "at": to_text(installation.now)})
        installation.orders.put(Put(item))
        installation.announce(PARTNER, ORDER, {COMPLETED: installation.now})
        installation.run()

    assert ids(receiver) == [SECOND]


def test_a_partners_webhooks_are_read_once_in_a_batch() -> None:
    """The events of a batch's orders are announced with one read for each partner."""
    recorder, signalled = Recorder(Memory()), list[str]()
    webhooks = Webhooks(Table(recorder, "AccountsTable"), EnvelopeSealer(MemoryKms(), "alias/Key"), now=lambda: START)
    webhooks.register(PARTNER, "https://example.com/")
    recorder.calls.clear()
    announce = announcer(webhooks, lambda _, __, order: signalled.append(order))
    for order in ("training#1", "training#2"):
        announce(PARTNER, order, {NEW: START})
        announce("tailspin", order, {NEW: START})

    assert signalled == ["training#1", "training#2"]
    assert recorder.operations == ["Query", "Query"]


def test_another_partners_webhooks(installation: Installation) -> None:
    """Events of one partner's orders are not sent to another partner."""
    with Receiver() as receiver:
        installation.webhooks.register("tailspin", receiver.url)
        installation.order("New")
        installation.run()

    assert receiver.received == []


def test_an_outage(installation: Installation) -> None:
    """Later events wait while a receiver fails, and arrive in order once it is back."""
    with Receiver([status(500), status(302), silence, raw(b"nonsense"), status(200)]) as receiver:
        registered(installation, receiver)
        installation.order("New")
        installation.run(timedelta(seconds=20))
        installation.order("New", "Completed")
        installation.run()

    assert ids(receiver) == [FIRST] * 5 + [SECOND]


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_the_schedule(installation: Installation, spread: float) -> None:
    """Ten tries are made over about a day, with growing pauses; then the event is parked."""
    installation.spread = spread
    tries: list[datetime] = []

    def fail(_: str, headers: Mapping[str, str], __: bytes, /) -> Response:
        assert headers["webhook-id"] == FIRST
        tries.append(installation.now)
        return Response(500)

    installation.deliverer = replace(installation.deliverer, post=fail)
    webhook, _ = installation.webhooks.register(PARTNER, URL)
    installation.order("New")
    installation.run()
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(tries)]

    assert len(tries) == TRIES
    assert timedelta(hours=19) < tries[-1] - tries[0] < timedelta(hours=24, minutes=5)
    for number, pause in enumerate(pauses):
        assert 0.9 * 8 * 3**number - 1 <= pause <= 1.1 * 8 * 3**number + 2
    assert max(installation.delays) == 900
    (parked,) = installation.parked(webhook)
    assert (parked.event, parked.order, parked.index, parked.why) == (
        FIRST,
        ORDER,
        0,
        "The endpoint responded with status 500.",
    )


def test_parked_and_replayed(installation: Installation) -> None:
    """A parked event does not hold up later ones, and a replay delivers it."""
    with Receiver([status(500)] * (TRIES + 1) + [status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run()
        installation.deliverer.replay(PARTNER, webhook.id, FIRST)
        installation.run()
        assert installation.parked(webhook) == []
        installation.order("New", "Completed")
        installation.run()

    assert ids(receiver) == [FIRST] * (TRIES + 2) + [SECOND]
    with pytest.raises(NotFound):
        installation.deliverer.replay(PARTNER, webhook.id, FIRST)


def test_replayed_in_vain(installation: Installation) -> None:
    """A replayed event that fails again stays parked."""
    with Receiver([status(500)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run()
        installation.deliverer.replay(PARTNER, webhook.id, FIRST)
        installation.run()

    assert len(receiver.received) == 2 * TRIES
    assert [one.event for one in installation.parked(webhook)] == [FIRST]


def test_gone(installation: Installation) -> None:
    """A receiver that answers 410 gets nothing until its webhook is enabled; then it gets all it missed, in order."""
    with Receiver([status(410), status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run()
        assert installation.webhooks.get(PARTNER, webhook.id).disabled == "The endpoint responded with status 410."
        installation.order("New", "Completed")
        installation.run()
        assert ids(receiver) == [FIRST]
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.run()

    assert ids(receiver) == [FIRST, FIRST, SECOND]


def test_missed(installation: Installation) -> None:
    """Enabling a webhook delivers, once, the events that happened while it was disabled."""
    with Receiver() as receiver:
        webhook, _ = registered(installation, receiver)
        installation.webhooks.disable(webhook, "by hand")
        installation.order("New")
        installation.order("New", "Completed")
        installation.run()
        assert receiver.received == []
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.run()
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.run()

    assert ids(receiver) == [FIRST, SECOND]


def test_enabled_while_a_missed_order_is_stored(installation: Installation) -> None:
    """No event is lost if a webhook is enabled just before an order that it missed is stored."""
    with Receiver() as receiver:
        webhook, _ = registered(installation, receiver)
        installation.webhooks.disable(webhook, "by hand")
        installation.order("New")
        (_, body), *_ = installation.queue
        installation.queue.clear()

        def enabled() -> None:
            installation.deliverer.enable(PARTNER, webhook.id)
            installation.run()

        installation.faulty.meet("UpdateItem", interrupted(enabled))
        installation.deliverer.handle(body)
        installation.run()

    assert ids(receiver) == [FIRST]


@pytest.mark.parametrize(
    ("operation", "after"),
    [("PutItem", 0), ("UpdateItem", 0), ("GetItem", 0), ("BatchGetItem", 0), ("BatchGetItem", 1)],
)
def test_crashes_after_410(installation: Installation, operation: str, after: int) -> None:
    """After a crash during the handling of a 410, the retried message and enabling the webhook lose no event."""
    with Receiver([status(410), status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        (_, body), *_ = installation.queue
        installation.queue.clear()
        installation.faulty.meet(operation, refused(Crash()), after=after)
        with pytest.raises(Crash):
            installation.deliverer.handle(body)
        installation.deliverer.handle(body)
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.run()

    assert {FIRST} == {*ids(receiver)}
    assert len(receiver.received) >= 2
    assert installation.webhooks.get(PARTNER, webhook.id).disabled is None


def test_enabled_again_after_a_crash(installation: Installation) -> None:
    """If enabling crashed before its message was sent, enabling again delivers what was missed."""
    with Receiver() as receiver:
        webhook, _ = registered(installation, receiver)
        installation.webhooks.disable(webhook, "by hand")
        installation.order("New")
        installation.run()
        installation.webhooks.enable(PARTNER, webhook.id)
        installation.run()
        assert receiver.received == []
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.run()

    assert ids(receiver) == [FIRST]


def test_many_orders_missed(installation: Installation) -> None:
    """When time runs out, delivery of missed orders continues after the last order handled."""
    webhook, _ = installation.webhooks.register(PARTNER, URL)
    installation.webhooks.disable(webhook, "by hand")
    orders = [f"training#{number}" for number in (1, 10, 100, 11, 2)]
    for order in orders:
        installation.deliverer.handle(Message(PARTNER, webhook.id, order).to_text())
    installation.deliverer.enable(PARTNER, webhook.id)
    signalled: list[str] = []
    for _ in range(len(orders)):
        (_, body), *_ = installation.queue
        installation.queue.clear()
        # The first two checks of the deadline find enough time, the third none.
        replace(installation.deliverer, deadline=DeadlineOfChecks(2)).handle(body)
        messages = [Message.from_text(one) for _, one in installation.queue]
        signalled += [one.order for one in messages if not one.missed]
        installation.queue = [(at, one) for at, one in installation.queue if Message.from_text(one).missed]
        if not installation.queue:
            break

    assert signalled == orders


class DeadlineOfChecks(Deadline):
    """A deadline that has time left for `at` calls of `remaining`, and none afterwards."""

    def remaining(self) -> float:
        left = self.at
        force_setattr(self, "at", left - 1)
        return 60.0 if left > 0 else 0.0


def test_missed_orders_expire(installation: Installation) -> None:
    """A missed order is stored for 30 days."""
    webhook, _ = installation.webhooks.register(PARTNER, URL)
    installation.webhooks.disable(webhook, "by hand")
    installation.deliverer.handle(Message(PARTNER, webhook.id, ORDER).to_text())
    item = installation.table.get((f"DELIVERIES#{PARTNER}#{webhook.id}", f"MISSED#{ORDER}"))

    assert item
    assert item["expires"] == int((START + MISSED_KEPT).timestamp())


def test_disabled_again(installation: Installation) -> None:
    """Disabling a webhook cancels a pending replay but keeps its event parked, for a replay after enabling."""
    with Receiver([status(500)] * TRIES + [status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run()
        installation.deliverer.replay(PARTNER, webhook.id, FIRST)
        installation.deliverer.enable(PARTNER, webhook.id)
        disabled = installation.webhooks.disable(installation.webhooks.get(PARTNER, webhook.id), "by hand")
        installation.run()
        assert len(receiver.received) == TRIES
        assert [one.event for one in installation.parked(disabled)] == [FIRST]
        assert [*installation.table.query(f"DELIVERIES#{PARTNER}#{webhook.id}", "MISSED#", "MISSED$")] == []
        with pytest.raises(Disabled):
            installation.deliverer.replay(PARTNER, webhook.id, FIRST)
        installation.deliverer.enable(PARTNER, webhook.id)
        installation.deliverer.replay(PARTNER, webhook.id, FIRST)
        installation.run()

    assert ids(receiver) == [FIRST] * (TRIES + 1)
    assert installation.parked(webhook) == []


def test_parked_too_long_ago(installation: Installation) -> None:
    """A parked event is gone after 30 days, even if the table has not deleted it yet."""
    with Receiver([status(500)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run()
        (parked,) = installation.parked(webhook)
        installation.now = parked.at + PARKED_KEPT - timedelta(seconds=1)
        assert len(installation.parked(webhook)) == 1
        installation.now += timedelta(seconds=1)

        assert installation.parked(webhook) == []
        with pytest.raises(NotFound):
            installation.deliverer.replay(PARTNER, webhook.id, FIRST)


def test_gone_while_it_is_changed(installation: Installation) -> None:
    """If a webhook is changed while a 410 would disable it, it stays enabled and is tried once more."""
    with Receiver([status(410), status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        (_, body), *_ = installation.queue
        change = interrupted(lambda: installation.webhooks.change(PARTNER, webhook.id, types=[NEW]))
        installation.faulty.meet("PutItem", change)
        with pytest.raises(ChangedMeanwhile):
            installation.deliverer.handle(body)
        installation.deliverer.handle(body)

    assert ids(receiver) == [FIRST, FIRST]
    assert installation.webhooks.get(PARTNER, webhook.id).disabled is None


def test_enabled_in_the_middle(installation: Installation) -> None:
    """An event whose retry was pending when its webhook was disabled is delivered after enabling."""
    with Receiver([status(500), status(200)]) as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.run(timedelta(seconds=1))
        installation.webhooks.disable(webhook, "by hand")
        installation.run()
        installation.webhooks.enable(PARTNER, webhook.id)
        installation.deliverer.signal(PARTNER, webhook.id, ORDER)
        installation.run()

    assert ids(receiver) == [FIRST, FIRST]


def test_removed(installation: Installation) -> None:
    """Nothing is sent for a removed webhook or for an order that does not exist."""
    with Receiver() as receiver:
        webhook, _ = registered(installation, receiver)
        installation.order("New")
        installation.webhooks.remove(PARTNER, webhook.id)
        installation.run()
        other, _ = registered(installation, receiver)
        installation.deliverer.signal(PARTNER, other.id, "training#8")
        installation.run()

    assert receiver.received == []


def test_too_little_time(installation: Installation) -> None:
    """A message for which too little time is left is queued again."""
    with Receiver() as receiver:
        registered(installation, receiver)
        installation.order("New")
        (_, body), *_ = installation.queue
        installation.queue.clear()
        replace(installation.deliverer, deadline=Deadline.after(1)).handle(body)
        replay = replace(Message.from_text(body), again=True).to_text()
        replace(installation.deliverer, deadline=Deadline.after(1)).handle(replay)
        assert receiver.received == []
        installation.run()

    assert ids(receiver) == [FIRST, FIRST]


def test_messages(installation: Installation) -> None:
    """A message is read back as it was written; malformed text raises, so that it ends in the dead-letter queue."""
    message = Message("p", "w", "o", 1, 2, 3.5)

    assert Message.from_text(message.to_text()) == message
    with pytest.raises(ValueError, match="Expecting value"):
        installation.deliverer.handle("nonsense")


def test_no_secrets_in_logs(installation: Installation, caplog: pytest.LogCaptureFixture) -> None:
    """No secret, URL, answer or personal data is logged or queued."""
    with caplog.at_level(logging.DEBUG), Receiver([status(500, b"an-answer"), status(410)]) as receiver:
        webhook, secret = installation.webhooks.register(PARTNER, f"{receiver.url}&token=hush")
        installation.order("New")
        (_, body), *_ = installation.queue
        installation.run()
    logged = "".join(str(vars(one)) for one in caplog.records) + caplog.text + body + repr(installation.deliverer)

    assert webhook.id in logged
    assert not any(word in logged for word in ("hush", secret, secret[6:30], "an-answer", "j@example.com"))
