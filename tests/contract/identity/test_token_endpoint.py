"""The token endpoint and the published keys: errors of RFC 6749, both kinds of form, guessing, and tokens' grants."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering import values
from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import NoAnswer
from ordering.clock import Clock, Deadline, system_clock
from ordering.contexts import own_errors
from ordering.identity import contract as oauth
from ordering.identity.accounts import Accounts
from ordering.identity.authorizer import Authorizer, make_handler
from ordering.identity.clients import Client, Clients
from ordering.identity.errors import Refused
from ordering.identity.token_endpoint import VALID
from ordering.identity.verifier import KeyRing, Verifier
from ordering.principal import GRANTS, DealTerms, Principal
from ordering.web.forms import LARGEST_FORM
from ordering.web.http import Request
from ordering_tools.installation import Installation
from ordering_tools.operations import signing_keys
from support.authorizer import SHARED_KEY, bearer_event
from support.aws.fake_connections import Recorder, failing
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.deals import Watch
from support.ecards import AUDIENCE, ISSUER, URLENCODED, ask, credentials, services_over
from support.gateway import Client as Caller
from support.gateway import LambdaContext, Reply
from support.partners import JOHN, PARTNER, UK
from support.services import Services

ALLOWED = frozenset({"training", "deals", "ecards"})
GRANITE = values.replace(PARTNER, id="granite", grants=ALLOWED, deals=DealTerms("enterprise"), company="Granite")
ID, OTHER_ID, NARROW_ID = "granite-client", "other-client", "narrow-client"
JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
BOUNDARY = "0123456789abcdef"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@dataclass
class Endpoint:
    """The token endpoint over tables in memory, and its clients' secrets."""

    send: Any
    kms: MemoryKms = field(default_factory=MemoryKms)
    now: Clock = system_clock
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = services_over(self.send, self.now, self.kms)
        self.installation = Installation(self.send, self.kms, None, ISSUER, AUDIENCE)
        self.accounts.save_partner(GRANITE)
        self.key_id = signing_keys.add(self.installation, "alias/A")
        signing_keys.use(self.installation, self.key_id, wait=False)
        for client_id, scope in ((ID, ALLOWED), (OTHER_ID, ALLOWED), (NARROW_ID, frozenset({"ecards"}))):
            self.secrets[client_id] = self.clients.add(Client(client_id, GRANITE.id, JOHN.id, scope))

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.installation.accounts)

    @property
    def clients(self) -> Clients:
        return Clients(self.installation.accounts, self.now)

    def good(self, client_id: str = ID, **more: str) -> dict[str, str]:
        return credentials(client_id, self.secrets[client_id], **more)

    def ask(self, form: Mapping[str, str] | str | bytes | None = None, **more: Any) -> Reply:
        return ask(self.services, self.good() if form is None else form, **more)

    def token(self, client_id: str = ID, **more: str) -> str:
        reply = self.ask(self.good(client_id, **more))
        assert reply.status == 200, reply.text
        token: str = reply.json["access_token"]
        return token

    def guess(self, client_id: str = ID, **more: Any) -> Reply:
        return self.ask(credentials(client_id, "wrong"), **more)

    def restarted(self, **changes: Any) -> Services:
        """The services as a new process has them."""
        return replace(self.services, **changes)

    def decision(self, token: str, path: str = "v1/orders") -> dict[str, Any]:
        """The authorizer's decision about a call with a token."""
        verifier = Verifier(KeyRing(self.accounts.signing_keys), ISSUER, AUDIENCE)
        handler = make_handler(
            Authorizer(verifier, self.services.accounts, self.services.reference_tokens, own_errors(), SHARED_KEY)
        )
        return handler(bearer_event(token, f"/{path}"), LambdaContext())

    def principal(self, token: str) -> Principal:
        return Principal.from_text(self.decision(token)["context"]["principal"])


@pytest.fixture
def watch() -> Watch:
    """A clock at the start of 2026, whose tokens have expired for every verifier."""
    return Watch(START)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The ids and secrets that clients were authenticated by."""
    pairs: list[tuple[str, str]] = []
    real = Clients.authenticate

    def authenticate(clients: Clients, client_id: str, secret: str, address: str) -> Client:
        pairs.append((client_id, secret))
        return real(clients, client_id, secret, address)

    monkeypatch.setattr(Clients, "authenticate", authenticate)
    return pairs


@pytest.fixture
def endpoint() -> Endpoint:
    """An endpoint with three clients."""
    return Endpoint(Memory())


def error(reply: Reply, status: int = 400) -> str:
    """Check what all errors have in common; returns the code."""
    assert (status, "application/json") == (reply.status, reply.headers["Content-Type"]), reply.text
    assert never_kept(reply)
    assert list(reply.json) == ["error", "error_description"]
    assert re.fullmatch(r"[ -!#-\[\]-~]+", reply.json["error_description"])  # the characters of RFC 6749, 5.2
    code: str = reply.json["error"]
    return code


def never_kept(reply: Reply) -> bool:
    return (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")


# A token ------------------------------------------------------------------------------------------------------------


def test_a_token(endpoint: Endpoint) -> None:
    """The right id and secret get a bearer token for an hour, which must not be cached."""
    reply = endpoint.ask()

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert never_kept(reply)
    assert list(reply.json) == ["access_token", "expires_in", "token_type", "scope"]
    assert [reply.json[name] for name in ("expires_in", "token_type", "scope")] == [
        3600,
        "Bearer",
        "deals ecards training",
    ]


def test_claims_of_a_token(endpoint: Endpoint) -> None:
    """A token names its signer, partner and user, and expires after an hour."""
    token = endpoint.token()
    claims = jwt.decode(token, options={"verify_signature": False})

    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256", "kid": endpoint.key_id}
    assert (claims["exp"] - claims["iat"], claims["nbf"] - claims["iat"]) == (3600, 0)
    assert {name: claims[name] for name in ("iss", "aud", "sub", "client_id", "partner", "scope")} == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": JOHN.id,
        "client_id": ID,
        "partner": "granite",
        "scope": "deals ecards training",
    }


def test_tokens_are_unique(endpoint: Endpoint) -> None:
    """Each token has its own id, so that one can be revoked without the other."""
    first, second = endpoint.token(), endpoint.token()
    claims = [jwt.decode(token, options={"verify_signature": False})["jti"] for token in (first, second)]
    endpoint.accounts.revoke("granite", claims[0], system_clock() + VALID)

    assert len(set(claims)) == 2
    assert endpoint.decision(first)["context"] == {"refusal": "unauthorized"}
    assert "principal" in endpoint.decision(second)["context"]


PATHS = {"training": f"/api/v2/orders?businessUnitId={UK.id}", "deals": "/v2/orders", "ecards": "/v1/orders"}


def test_a_token_opens_every_contract(endpoint: Endpoint) -> None:
    """A token is accepted by the authorizer and by each contract granted to its client."""
    principal = endpoint.principal(endpoint.token())

    assert (principal.partner, principal.user, principal.grants) == ("granite", JOHN, ("deals", "ecards", "training"))
    assert {
        name: Caller(endpoint.services, principal).get(path).status for name, path in PATHS.items()
    } == dict.fromkeys(PATHS, 200)


@pytest.mark.parametrize("scope", ["ecards", "training", "deals", "deals training", "ecards deals training"])
def test_a_token_covers_the_requested_scope(endpoint: Endpoint, scope: str) -> None:
    """A token for some of the grants names them and is good for those only."""
    reply = endpoint.ask(endpoint.good(scope=scope))
    principal = endpoint.principal(reply.json["access_token"])

    wanted = set(scope.split())
    assert set(reply.json["scope"].split()) == set(principal.grants) == wanted
    for name, path in PATHS.items():
        assert Caller(endpoint.services, principal).get(path).status == (200 if name in wanted else 403)


def test_a_narrow_client(endpoint: Endpoint) -> None:
    """A client granted less than its partner gets that by default, and is refused more."""
    reply = endpoint.ask(endpoint.good(NARROW_ID))

    assert reply.json["scope"] == "ecards"
    assert endpoint.principal(reply.json["access_token"]).grants == ("ecards",)
    assert error(endpoint.ask(endpoint.good(NARROW_ID, scope="ecards training"))) == "invalid_scope"


def test_a_grant_that_was_taken_away(endpoint: Endpoint) -> None:
    """A token does not cover a grant that its partner has lost since."""
    token = endpoint.token()
    endpoint.accounts.save_partner(values.replace(GRANITE, grants=frozenset({"ecards"})))

    assert endpoint.principal(token).grants == ("ecards",)


@pytest.mark.parametrize("scope", ["admin", "ecards admin", "Ecards", "ecards,training", "*", "ecards\x00", "é"])
def test_invalid_scope(endpoint: Endpoint, scope: str) -> None:
    """A request for more than the client is granted is `invalid_scope`; unknown names are not repeated."""
    assert error(endpoint.ask(endpoint.good(scope=scope))) == "invalid_scope"


def test_a_scope_without_a_value(endpoint: Endpoint) -> None:
    """An empty scope counts as left out (RFC 6749, 3.2)."""
    assert endpoint.ask(endpoint.good(scope="")).json["scope"] == "deals ecards training"


@pytest.mark.parametrize("scope", [" ", "   "])
def test_a_blank_scope(endpoint: Endpoint, scope: str) -> None:
    """A blank scope is `invalid_scope` (RFC 6749, 3.3)."""
    assert error(endpoint.ask(endpoint.good(scope=scope))) == "invalid_scope"


# The form -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret"])
def test_missing_parameters(endpoint: Endpoint, name: str) -> None:
    """A missing or empty parameter is `invalid_request`, and is named."""
    form = endpoint.good()
    left = {key: value for key, value in form.items() if key != name}
    for reply in (endpoint.ask(left), endpoint.ask({**form, name: ""})):
        assert error(reply) == "invalid_request"
        assert f"'{name}'" in reply.json["error_description"]


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "more"])
def test_repeated_parameters(endpoint: Endpoint, name: str) -> None:
    """A repeated parameter, even with one value, is `invalid_request` (RFC 6749, 3.2)."""
    form = {**endpoint.good(), "scope": "ecards", "more": "1"}
    encoded = "&".join(f"{key}={value}" for key, value in form.items())
    repeated = multipart([*form.items(), (name, form[name])])

    assert (endpoint.ask(encoded).status, endpoint.ask(multipart(form.items()), content_type=MULTIPART).status) == (
        200,
        200,
    )
    assert error(endpoint.ask(f"{encoded}&{name}={form[name]}")) == "invalid_request"
    assert error(endpoint.ask(repeated, content_type=MULTIPART)) == "invalid_request"


@pytest.mark.parametrize(
    "grant_type", ["password", "authorization_code", "refresh_token", "Client_Credentials", "client_credentials ", "x"]
)
def test_unsupported_grant_type(endpoint: Endpoint, tried: list[tuple[str, str]], grant_type: str) -> None:
    """A grant type other than client credentials is `unsupported_grant_type`, for any client."""
    assert error(endpoint.ask(endpoint.good() | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert error(endpoint.ask(credentials("nobody", "x") | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert tried == []


def test_other_parameters(endpoint: Endpoint) -> None:
    """Unknown parameters are ignored (RFC 6749, 3.2)."""
    assert endpoint.ask(endpoint.good(audience="x", resource="")).status == 200


@pytest.mark.parametrize(
    "content_type",
    [URLENCODED, URLENCODED.upper(), f"{URLENCODED}; charset=UTF-8", f" {URLENCODED} ;charset=utf-8"],
)
def test_urlencoded(endpoint: Endpoint, content_type: str) -> None:
    """The content type of a urlencoded form may have any case and name its character set."""
    assert endpoint.ask(content_type=content_type).status == 200


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "text/plain", "multipart/mixed; boundary=x", "x"]
)
def test_other_content_types(endpoint: Endpoint, content_type: str | None) -> None:
    """Any other content type is `invalid_request`, with the expected type in the description."""
    reply = endpoint.ask(content_type=content_type)

    assert error(reply) == "invalid_request"
    assert URLENCODED in reply.json["error_description"]


@pytest.mark.parametrize(
    "form",
    ["", "&", "=", "x", "{}", "%", b"\xff", b"client_id=\xe9", "client_id=%ff", "client_id=%ED%A0%80",
     "client_id=\ud800", "&".join(f"x{n}=1" for n in range(21))],
    ids=lambda form: repr(form)[:20],
)  # fmt: skip
def test_malformed_forms(endpoint: Endpoint, form: str | bytes) -> None:
    """A malformed form, or one that is not UTF-8, is `invalid_request`."""
    assert error(endpoint.ask(form)) == "invalid_request"
    assert error(endpoint.ask(form, content_type=MULTIPART)) == "invalid_request"


def test_base64(endpoint: Endpoint) -> None:
    """A form that the gateway passes on in base64 is decoded, and other bytes are refused."""
    assert endpoint.ask(endpoint.good(), in_base64=True).status == 200
    assert error(endpoint.ask(b"\xff\xfe")) == "invalid_request"


def test_too_large(endpoint: Endpoint) -> None:
    """A form of more than 4 KiB is refused; one of exactly 4 KiB is accepted."""
    encoded = "&".join(f"{key}={value}" for key, value in endpoint.good(more="").items())
    largest = encoded + "x" * (LARGEST_FORM - len(encoded))

    assert endpoint.ask(largest).status == 200
    assert error(endpoint.ask(largest + "x")) == "invalid_request"
    assert error(endpoint.ask(multipart([("x", "x" * LARGEST_FORM)]), content_type=MULTIPART)) == "invalid_request"
    assert "4,096 bytes" in endpoint.ask(b"\xff" * 2**20).json["error_description"]


def multipart(pairs: Any, boundary: str = BOUNDARY, line: str = "\r\n") -> bytes:
    parts = [f'--{boundary}{line}Content-Disposition: form-data; name="{k}"{line}{line}{v}{line}' for k, v in pairs]
    return ("".join(parts) + f"--{boundary}--{line}").encode()


@pytest.mark.parametrize(
    ("boundary", "declared"),
    [
        (BOUNDARY, MULTIPART),
        (BOUNDARY, f'Multipart/Form-Data; charset=utf-8; Boundary="{BOUNDARY}"'),
        ("----WebKitFormBoundaryAbC123xyz", "multipart/form-data; boundary=----WebKitFormBoundaryAbC123xyz"),
        ("a'()+_,-./:=?b c", 'multipart/form-data; boundary="a\'()+_,-./:=?b c"'),
        ("x" * 70, f"multipart/form-data; boundary={'x' * 70}"),
    ],
    ids=lambda text: text[:30],
)
def test_multipart(endpoint: Endpoint, boundary: str, declared: str) -> None:
    """A multipart form is read with any valid boundary, quoted or not."""
    form = multipart(endpoint.good(scope="ecards").items(), boundary)

    assert [endpoint.ask(body, content_type=declared).json["scope"] for body in (form, form.decode())] == ["ecards"] * 2


def test_multipart_with_more_around(endpoint: Endpoint) -> None:
    """A preamble, an epilogue, a missing last line break and other headers of parts are ignored."""
    form = multipart(endpoint.good().items())
    typed = form.replace(b'"\r\n\r\n', b'"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n')

    for body in (b"preamble\r\n" + form, form + b"epilogue", form.rstrip(), typed):
        assert endpoint.ask(body, content_type=MULTIPART).status == 200


@pytest.mark.parametrize("mark", [b"--", b""])
def test_a_secret_like_a_boundary(endpoint: Endpoint, tried: list[tuple[str, str]], mark: bytes) -> None:
    """A value that begins like a boundary is read as a value."""
    body = multipart(credentials(ID, f"{mark.decode()}{BOUNDARY}x").items())

    assert error(endpoint.ask(body, content_type=MULTIPART)) == "invalid_client"
    assert tried == [(ID, f"{mark.decode()}{BOUNDARY}x")]


def test_values_of_multipart_are_exact(endpoint: Endpoint, tried: list[tuple[str, str]]) -> None:
    """Values keep their blanks, line breaks and letters of any script."""
    expected = [" x ", "x\r\n", "\r\nx", "x\ty", "пароль", "a%20b+c"]
    for secret in expected:
        endpoint.ask(multipart(credentials(ID, secret).items()), content_type=MULTIPART)

    assert [secret for _, secret in tried] == expected


def without(form: bytes, part: bytes) -> bytes:
    assert part in form
    return form.replace(part, b"")


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no boundary": (bytes, "multipart/form-data"),
    "empty boundary": (bytes, 'multipart/form-data; boundary=""'),
    "another boundary": (bytes, "multipart/form-data; boundary=other"),
    "no end": (lambda form: without(form, f"--{BOUNDARY}--\r\n".encode()), MULTIPART),
    "no beginning": (lambda form: without(form, f"--{BOUNDARY}\r\n".encode()), MULTIPART),
    "no names": (lambda form: form.replace(b"; name=", b"; title="), MULTIPART),
    "no disposition": (lambda form: form.replace(b"Content-Disposition", b"X-Other"), MULTIPART),
    "a line in the declaration": (bytes, f"{MULTIPART}\r\nX-More: 1"),
    "nested": (
        lambda form: form.replace(b'"\r\n\r\n', b'"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n'),
        MULTIPART,
    ),
    "a message": (lambda form: form.replace(b'"\r\n\r\n', b'"\r\nContent-Type: message/rfc822\r\n\r\n'), MULTIPART),
    "only an end": (lambda _: f"--{BOUNDARY}--\r\n".encode(), MULTIPART),
}


@pytest.mark.parametrize(("change", "declared"), BROKEN.values(), ids=BROKEN.keys())
def test_malformed_multipart(
    endpoint: Endpoint, tried: list[tuple[str, str]], change: Callable[[bytes], bytes], declared: str
) -> None:
    """A malformed multipart form is `invalid_request`."""
    assert error(endpoint.ask(change(multipart(endpoint.good().items())), content_type=declared)) == "invalid_request"
    assert tried == []


@pytest.mark.parametrize("name", ["client_id", "client_secret", "scope"])
def test_values_that_are_no_utf8(endpoint: Endpoint, name: str) -> None:
    """A value that is not UTF-8 makes either kind of form `invalid_request`."""
    form = multipart((endpoint.good() | {name: "BAD"}).items()).replace(b"BAD", b"\xff\xfe")

    assert error(endpoint.ask(form, content_type=MULTIPART)) == "invalid_request"


FEW = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PIECES = st.lists(
    st.sampled_from(
        [f"--{BOUNDARY}", f"--{BOUNDARY}--", "\r\n", "\n", "\r", "\r\n\r\n", "--", '"', ";", "=", ":", "*", "\x00",
         "\xff", "Content-Disposition: form-data", "Content-Disposition: ", '; name="client_id"', "; name*=utf-8''x",
         "; name*0=a", "; name", "Content-Type: ", "multipart/mixed", "; boundary=", "message/rfc822", "charset=x",
         "=?utf-8?q?=ff?=",
         "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: x-uuencode", "grant_type", "begin 666 x"]
    )
    | st.text(max_size=4),
    max_size=14,
).map("".join)  # fmt: skip


@FEW
@given(
    body=PIECES,
    head=PIECES,
    kind=st.sampled_from(["multipart/form-data; boundary=", "multipart/form-data", URLENCODED]),
)
def test_any_form(endpoint: Endpoint, body: str, head: str, kind: str) -> None:
    """Any random form is `invalid_request`, and never a 500."""
    for declared in (MULTIPART, kind + head):
        assert error(endpoint.ask(body.encode("utf-8", "surrogatepass"), content_type=declared)) == "invalid_request"


# Refused clients ----------------------------------------------------------------------------------------------------


def test_unknown_clients_look_like_wrong_secrets(endpoint: Endpoint) -> None:
    """An unknown client and a wrong secret get the same response, to the letter."""
    wrong, unknown = endpoint.guess(), endpoint.guess("nobody")

    assert error(wrong) == error(unknown) == "invalid_client"
    assert (wrong.text, wrong.headers) == (unknown.text, unknown.headers)


def test_as_many_calls_for_both() -> None:
    """An unknown client costs as many calls to the tables as a wrong secret, for a client with one secret or two."""
    recorder = Recorder(Memory())
    endpoint = Endpoint(recorder)
    endpoint.clients.replace_secret(OTHER_ID)

    def calls(client_id: str) -> list[str]:
        recorder.calls.clear()
        endpoint.guess(client_id)
        return recorder.operations

    assert calls(ID) == calls(OTHER_ID) == calls("nobody")


@pytest.mark.parametrize("client_id", ["x" * 65, "a b", "granite-client\n", "GRANITE-CLIENT", "é", "a#b", "../x", "*"])
def test_ids_that_no_client_has(endpoint: Endpoint, client_id: str) -> None:
    """A malformed client id gets the same answer as an unknown client."""
    reply = endpoint.ask(credentials(client_id, endpoint.secrets[ID]))

    assert error(reply) == "invalid_client"
    assert reply.text == endpoint.guess().text


@pytest.mark.parametrize(
    "change", [str.upper, lambda s: s + " ", lambda s: s[:-1], lambda s: s + "x", lambda s: s[::-1]]
)
def test_secrets_are_exact(endpoint: Endpoint, change: Callable[[str], str]) -> None:
    """A secret that differs in anything is refused."""
    assert error(endpoint.ask(credentials(ID, change(endpoint.secrets[ID])))) == "invalid_client"


def test_another_client_s_secret(endpoint: Endpoint) -> None:
    """Another client's secret is refused."""
    assert error(endpoint.ask(credentials(ID, endpoint.secrets[OTHER_ID]))) == "invalid_client"


def test_two_secrets(endpoint: Endpoint) -> None:
    """While a secret is replaced both are accepted; the next replacement ends the first."""
    first = endpoint.secrets[ID]
    second = endpoint.clients.replace_secret(ID)
    both = [endpoint.ask(credentials(ID, secret)).status for secret in (first, second)]
    third = endpoint.clients.replace_secret(ID)

    assert both == [200, 200]
    assert [endpoint.ask(credentials(ID, secret)).status for secret in (first, second, third)] == [400, 200, 200]


def test_a_secret_that_ended(watch: Watch) -> None:
    """A day after it was replaced, or at once if it leaked, a secret is wrong like any other."""
    endpoint = Endpoint(Memory(), now=watch)
    second = endpoint.clients.replace_secret(ID)
    watch.pass_(24 * 3_600)
    ended = error(endpoint.ask())
    third = endpoint.clients.replace_secret(ID, at_once=True)

    assert ended == error(endpoint.ask(credentials(ID, second))) == "invalid_client"
    assert endpoint.ask(credentials(ID, third)).status == 200


def test_a_removed_client(endpoint: Endpoint) -> None:
    """A removed client gets the response of an unknown one."""
    endpoint.clients.remove(ID)

    assert error(endpoint.ask()) == "invalid_client"
    assert endpoint.ask(endpoint.good(OTHER_ID)).status == 200


def accepted(endpoint: Endpoint, *tokens: str) -> list[bool]:
    return ["principal" in endpoint.decision(token)["context"] for token in tokens]


def test_tokens_that_end(watch: Watch) -> None:
    """The tokens of a client are refused once they are ended or the client is removed; those of others stay valid."""
    watch.time = datetime.now(UTC) - timedelta(minutes=1)
    endpoint = Endpoint(Memory(), now=watch)
    other, first = endpoint.token(OTHER_ID), endpoint.token()
    before = accepted(endpoint, other, first)
    watch.pass_(2)
    endpoint.clients.end_tokens(ID)
    second = endpoint.token()

    assert (before, accepted(endpoint, other, first, second)) == ([True, True], [True, False, True])
    endpoint.clients.remove(ID)
    assert accepted(endpoint, other, first, second) == [True, False, False]


def test_tokens_of_a_removed_client_of_the_same_id(watch: Watch) -> None:
    """A client that is registered under the id of a removed one does not make that one's tokens valid again."""
    watch.time = datetime.now(UTC) - timedelta(minutes=1)
    endpoint = Endpoint(Memory(), now=watch)
    first = endpoint.token()
    endpoint.clients.remove(ID)
    watch.pass_(2)
    endpoint.secrets[ID] = endpoint.clients.add(Client(ID, GRANITE.id, JOHN.id, ALLOWED))

    assert accepted(endpoint, first, endpoint.token()) == [False, True]


def test_tokens_issued_after_others_were_ended(watch: Watch) -> None:
    """A token that is issued in the second in which others were ended is not issued before the end, and is valid."""
    watch.time = datetime.now(UTC).replace(microsecond=400_000)
    endpoint = Endpoint(Memory(), now=watch)
    before = jwt.decode(endpoint.token(), options={"verify_signature": False})
    watch.pass_(3)
    moment = endpoint.clients.end_tokens(ID).timestamp()
    token = endpoint.token()
    after = jwt.decode(token, options={"verify_signature": False})

    assert before["iat"] < moment == after["iat"] == after["nbf"]
    assert after["exp"] - after["iat"] == 3600
    assert "principal" in endpoint.decision(token)["context"]


def test_secrets_are_nowhere_at_rest() -> None:
    """No table ever holds a secret or a token in plain text, nor any trace of a wrong secret."""
    recorder = Recorder(Memory())
    endpoint = Endpoint(recorder)
    secret = endpoint.clients.replace_secret(OTHER_ID)
    endpoint.secrets[OTHER_ID] = secret
    token = endpoint.token(OTHER_ID)
    endpoint.ask(credentials(ID, "a wrong secret"))
    written = repr(recorder.calls)

    assert "GUESSES#granite-client" in written
    for hidden in (secret, secret[:20], "a wrong secret", hashlib.sha256(b"a wrong secret").hexdigest(), token):
        assert hidden not in written
    assert repr(hashlib.sha256(b"a wrong secret").digest())[2:-1] not in written


def test_secrets_are_in_no_log(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a request has neither its secret nor its token."""
    token = endpoint.token()
    endpoint.ask(credentials(ID, "a wrong secret"))
    endpoint.ask(credentials(endpoint.secrets[ID], ID))
    endpoint.ask(credentials(f"{endpoint.secrets[ID]} ", ID))
    endpoint.ask(GRANT, authorization=basic(ID, "a wrong secret"))
    logged = "".join(repr(record.__dict__) for record in caplog.records)

    assert "connect/token" in logged
    for hidden in (endpoint.secrets[ID], "a wrong secret", token, basic(ID, "a wrong secret").removeprefix("Basic ")):
        assert hidden not in logged


@pytest.mark.parametrize(
    ("client_id", "client", "reason"),
    [
        (ID, ID, "wrong secret"),
        ("nobody", "nobody", "unknown client"),
        ("a line\nand another", None, "malformed client id"),
        ("x" * 43, "(as long as a secret)", "unknown client"),
    ],
)
def test_refused_clients_in_the_log(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, client_id: str, client: str | None, reason: str
) -> None:
    """Each refused client is one line in the log: the id of the request, the address, the client and the reason."""
    reply = endpoint.guess(client_id, address=ELSEWHERE)
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage() == "client refused"]

    assert [line[name] for name in ("request", "address", "client", "reason", "levelname")] == [
        reply.headers["X-Request-Id"],
        ELSEWHERE,
        client,
        reason,
        "WARNING",
    ]


def test_the_limit_in_the_log(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Past its limit an address is still in the log, with that reason."""
    for _ in range(11):
        endpoint.guess()
    reasons = [record.__dict__["reason"] for record in caplog.records if record.getMessage() == "client refused"]

    assert reasons == ["wrong secret"] * 10 + ["too many wrong secrets from this address"]


# HTTP Basic ---------------------------------------------------------------------------------------------------------

GRANT = {"grant_type": "client_credentials"}
CHALLENGE = 'Basic realm="token", charset="UTF-8"'


def basic(client_id: str, secret: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
def test_basic(endpoint: Endpoint, scheme: str) -> None:
    """The client's id and secret can be sent by HTTP Basic, beside a form without them (RFC 6749, 2.3.1)."""
    reply = endpoint.ask({**GRANT, "scope": "deals"}, authorization=basic(ID, endpoint.secrets[ID], scheme))

    assert (reply.status, reply.json["scope"]) == (200, "deals")


def test_basic_beside_the_id(endpoint: Endpoint) -> None:
    """The form may name the client that HTTP Basic authenticates, and no other."""
    authorization = basic(ID, endpoint.secrets[ID])

    assert endpoint.ask({**GRANT, "client_id": ID}, authorization=authorization).status == 200
    assert error(endpoint.ask({**GRANT, "client_id": OTHER_ID}, authorization=authorization)) == "invalid_request"


@pytest.mark.parametrize("secret", ["", "wrong", None])
def test_two_secrets_in_one_request(endpoint: Endpoint, tried: list[tuple[str, str]], secret: str | None) -> None:
    """A request with a secret in the form and one by HTTP Basic is refused, whatever they are (RFC 6749, 2.3)."""
    form = endpoint.good() if secret is None else {**GRANT, "client_secret": secret}
    reply = endpoint.ask(form, authorization=basic(ID, endpoint.secrets[ID]))

    assert (error(reply), tried) == ("invalid_request", [])
    assert "not both" in reply.json["error_description"]


def test_basic_is_urlencoded(endpoint: Endpoint, tried: list[tuple[str, str]]) -> None:
    """The id and the secret are urlencoded before they are joined, so that either can contain a colon."""
    endpoint.ask(GRANT, authorization=basic("a%3Ab%20c", "d:e%2B%C3%A9+f%"))
    reply = endpoint.ask(GRANT, authorization=basic(ID.replace("-", "%2D"), endpoint.secrets[ID].replace("_", "%5f")))

    assert (tried[0], reply.status) == (("a:b c", "d:e+é f%"), 200)


@pytest.mark.parametrize(
    "authorization",
    [basic(ID, "wrong"), basic("nobody", "x"), basic("", ""), basic("a b", "x"), "Basic", "Basic !", "Basic YQ",
     "Basic YQ==", "Basic /w==", basic("%ff", "x"), basic(ID, "%ff"), "Basic é", "Basic \ud800", basic(ID, "")],
)  # fmt: skip
def test_wrong_basic(endpoint: Endpoint, authorization: str) -> None:
    """A client that HTTP Basic does not authenticate gets 401 and the scheme to use (RFC 6749, 5.2)."""
    reply = endpoint.ask(GRANT, authorization=authorization)

    assert error(reply, 401) == "invalid_client"
    assert reply.headers["WWW-Authenticate"] == CHALLENGE


def test_no_challenge_for_a_form(endpoint: Endpoint) -> None:
    """A wrong secret in the form is 400 without a challenge."""
    assert "WWW-Authenticate" not in endpoint.guess().headers


@pytest.mark.parametrize("authorization", ["Bearer x", "Basically x", "", " ", "Digest username=x"])
def test_other_schemes(endpoint: Endpoint, authorization: str) -> None:
    """Any other scheme is ignored: some programs send their last token with every request."""
    assert endpoint.ask(authorization=authorization).status == 200
    assert error(endpoint.ask(GRANT, authorization=authorization)) == "invalid_request"


def test_two_authorizations() -> None:
    """A request with two different `Authorization` lines is `invalid_request`: none of them is chosen."""
    headers = {"Content-Type": [URLENCODED], "Authorization": [basic(ID, "x")], "authorization": ["Bearer y"]}
    request = Request.of(
        {
            "httpMethod": "POST",
            "path": "/connect/token",
            "requestContext": {"requestId": "r"},
            "multiValueHeaders": headers,
            "body": "grant_type=client_credentials",
        }
    )

    with pytest.raises(Refused, match="'Authorization' must be sent only once") as refused:
        oauth.credentials(request)
    assert refused.value.fault == "invalid_request"


def test_faults_of_the_form_beside_basic(endpoint: Endpoint) -> None:
    """A malformed form, or an unsupported grant type, is 400 also beside HTTP Basic."""
    authorization = basic(ID, endpoint.secrets[ID])

    assert error(endpoint.ask("", authorization=authorization)) == "invalid_request"
    assert error(endpoint.ask({"grant_type": "password"}, authorization=authorization)) == "unsupported_grant_type"
    assert error(endpoint.ask({**GRANT, "scope": "admin"}, authorization=authorization)) == "invalid_scope"


SCHEMES = st.sampled_from(["Basic ", "basic ", "Basic", "Bearer ", "", " "])
ENCODED = (st.binary(max_size=12) | PIECES.map(str.encode)).map(base64.b64encode).map(bytes.decode)


@FEW
@given(scheme=SCHEMES, encoded=ENCODED | PIECES, body=PIECES | st.just("grant_type=client_credentials"))
def test_any_authorization_is_read_or_refused(endpoint: Endpoint, scheme: str, encoded: str, body: str) -> None:
    """Any `Authorization` beside any form is 400 or 401, and never a failure on our side."""
    reply = endpoint.ask(body.encode("utf-8", "surrogatepass"), authorization=scheme + encoded)

    assert error(reply, reply.status) in {"invalid_request", "invalid_client"}
    assert reply.status in {400, 401}


@pytest.mark.parametrize(
    "text", ["A" * 10_000, "=" * 10_000, "Og" * 5_000, "JQ==" * 2_500, " " * 10_000, "OiU=" * 2_500]
)
def test_time_for_an_authorization(endpoint: Endpoint, text: str) -> None:
    """The longest `Authorization` that API Gateway accepts takes at most 50 milliseconds of the processor."""
    began = time.process_time()
    reply = endpoint.ask(GRANT, authorization=f"Basic {text}")

    assert error(reply, 401) == "invalid_client"
    assert time.process_time() - began < 0.05


# The count of wrong secrets -----------------------------------------------------------------------------------------


def test_the_right_secret_past_the_limit(endpoint: Endpoint) -> None:
    """However many wrong secrets were counted, the right one gets a token, from every address and by Basic too."""
    guesses = [endpoint.guess(address=HOME) for _ in range(12)]
    for number in range(100):
        endpoint.guess(address=f"198.51.100.{number}")

    assert {(error(reply), reply.text) for reply in guesses} == {("invalid_client", guesses[0].text)}
    assert [endpoint.ask(address=address).status for address in (HOME, ELSEWHERE)] == [200, 200]
    assert endpoint.ask(GRANT, address=HOME, authorization=basic(ID, endpoint.secrets[ID])).status == 200


def test_counts_do_not_stay(watch: Watch) -> None:
    """Each counter has the time at which it can be removed: two windows later."""
    memory = Memory()
    Endpoint(memory, now=watch).guess()
    counts = [item for (partition, _), item in memory.scan("AccountsTable") if partition.startswith("GUESSES#")]

    ends = str(int((START + timedelta(minutes=30)).timestamp()))
    assert [item["expires"]["N"] for item in counts] == [ends, ends]


def counters(endpoint: Endpoint) -> int:
    return sum(partition.startswith("GUESSES#") for (partition, _), _ in endpoint.send.scan("AccountsTable"))


def test_malformed_requests_do_not_count(endpoint: Endpoint) -> None:
    """A malformed request does not count as a failure."""
    endpoint.ask(endpoint.good() | {"grant_type": "password"})
    endpoint.ask({"client_id": ID})
    endpoint.ask(GRANT, authorization="Basic !")

    assert counters(endpoint) == 0


def test_refused_scopes_do_not_count(endpoint: Endpoint) -> None:
    """A refused scope with the right secret does not count as a failure."""
    endpoint.ask(endpoint.good(scope="admin"))

    assert counters(endpoint) == 0


# Failures -----------------------------------------------------------------------------------------------------------


def test_no_kms(endpoint: Endpoint) -> None:
    """If KMS does not answer, the client gets 503 with `Retry-After`."""
    reply = ask(endpoint.restarted(kms=unavailable), endpoint.good())

    assert error(reply, 503) == "temporarily_unavailable"
    assert reply.headers["Retry-After"] == "1"


def test_no_kms_is_no_guess(endpoint: Endpoint) -> None:
    """A request that fails because of KMS does not count as a failure."""
    ask(endpoint.restarted(kms=unavailable), endpoint.good())

    assert counters(endpoint) == 0


def test_500(endpoint: Endpoint) -> None:
    """A 500 reveals nothing of the failure."""
    broken = failing(KeyError("a secret of ours"), endpoint.send, "GetItem", "Query")
    token = ask(endpoint.restarted(send=broken), endpoint.good())
    published = ask(endpoint.restarted(send=broken), "", **GET_KEYS)

    assert (error(token, 500), problem(published, 500)) == ("server_error", "internal-server-error")
    assert "secret of ours" not in token.text + published.text


def test_no_signer() -> None:
    """Without a signing key a client gets 500, but a wrong secret is still refused as such."""
    endpoint = Endpoint(Memory())
    endpoint.send.load(
        "AccountsTable", {"pk": {"S": "SIGNER"}, "sk": {"S": "-"}, "keyId": {"S": ""}, "kmsId": {"S": ""}}
    )
    empty = Memory()
    for _, item in [pair for pair in endpoint.send.scan("AccountsTable") if pair[0][0] != "SIGNER"]:
        empty.load("AccountsTable", item)

    assert error(ask(endpoint.restarted(send=empty), endpoint.good()), 500) == "server_error"
    assert error(ask(endpoint.restarted(send=empty), credentials(ID, "wrong"))) == "invalid_client"


def test_no_tables(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tables do not answer in time, the token endpoint and the keys are 503, and say when to retry."""
    monkeypatch.setattr("ordering.entry.api.deadline_of", lambda _: Deadline.after(0.02))
    cut = endpoint.restarted(send=failing(NoAnswer("cut"), endpoint.send))

    token, published = ask(cut, endpoint.good()), ask(cut, "", **GET_KEYS)

    assert (error(token, 503), problem(published, 503)) == ("temporarily_unavailable", "service-unavailable")
    assert token.headers["Retry-After"] == published.headers["Retry-After"] == "1"


# The keys -----------------------------------------------------------------------------------------------------------

GET_KEYS: dict[str, Any] = {"method": "GET", "path": JWKS, "content_type": None}


def test_the_keys(endpoint: Endpoint) -> None:
    """All live keys are published, with their public parts only, and may be cached for five minutes."""
    second = signing_keys.add(endpoint.installation, "alias/B")
    reply = ask(endpoint.restarted(), "", **GET_KEYS)
    published = reply.json["keys"]

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert (reply.headers["Cache-Control"], list(reply.json)) == ("public, max-age=300", ["keys"])
    assert {one["kid"] for one in published} == {endpoint.key_id, second}
    assert {frozenset(one) for one in published} == {frozenset({"kty", "crv", "x", "y", "kid", "use", "alg"})}
    assert {(one["kty"], one["crv"], one["use"], one["alg"]) for one in published} == {("EC", "P-256", "sig", "ES256")}


def test_the_keys_verify(endpoint: Endpoint) -> None:
    """A token can be verified with nothing but the published keys."""
    published = jwt.PyJWKSet.from_dict(ask(endpoint.services, "", **GET_KEYS).json)
    token = endpoint.token()
    key = published[jwt.get_unverified_header(token)["kid"]]

    claims = jwt.decode(token, key, algorithms=[key.algorithm_name], audience=AUDIENCE, issuer=ISSUER)
    assert (claims["client_id"], claims["partner"]) == (ID, "granite")


def test_keys_of_a_later_release(endpoint: Endpoint) -> None:
    """A stored key of a kind that verifies no token is not published, and the others are."""
    endpoint.accounts.save_signing_key("later", {"kty": "OKP", "crv": "Ed25519", "x": "AA"})
    published = ask(endpoint.restarted(), "", **GET_KEYS).json["keys"]

    assert [one["kid"] for one in published] == [endpoint.key_id]


def test_no_key_that_was_retired(endpoint: Endpoint) -> None:
    """A retired key is not published."""
    second = signing_keys.add(endpoint.installation, "alias/B")
    signing_keys.retire(endpoint.installation, second)

    assert [one["kid"] for one in ask(endpoint.restarted(), "", **GET_KEYS).json["keys"]] == [endpoint.key_id]


def test_head(endpoint: Endpoint) -> None:
    """HEAD of the published keys is GET; API Gateway drops the body, after it has taken its length."""
    head, get = ask(endpoint.services, "", **{**GET_KEYS, "method": "HEAD"}), ask(endpoint.services, "", **GET_KEYS)

    assert head == get


def test_a_current_copy_of_the_keys(endpoint: Endpoint) -> None:
    """A read of the keys that names their `ETag` is 304, and says as GET does for how long a copy is fresh."""
    first = ask(endpoint.services, "", **GET_KEYS)
    again = ask(endpoint.services, "", **GET_KEYS, if_none_match=first.headers["ETag"])

    assert (again.status, again.text) == (304, "")
    assert (again.headers["ETag"], again.headers["Cache-Control"]) == tuple(
        first.headers[name] for name in ("ETag", "Cache-Control")
    )


def problem(reply: Reply, status: int) -> str:
    """Check what all errors of the two documents have in common; returns the last part of the problem's type."""
    assert (status, "application/problem+json") == (reply.status, reply.headers["Content-Type"]), reply.text
    assert never_kept(reply)
    assert (reply.json["status"], reply.json["requestId"]) == (status, reply.headers["X-Request-Id"])
    kind: str = reply.json["type"].rpartition("#")[2]
    return kind


@pytest.mark.parametrize(
    ("path", "allowed", "others"),
    [
        ("/connect/token", "OPTIONS, POST", ["GET", "PUT", "DELETE", "PATCH"]),
        (JWKS, "GET, HEAD, OPTIONS", ["POST", "PUT", "DELETE", "PATCH"]),
        (METADATA, "GET, HEAD, OPTIONS", ["POST", "PUT", "DELETE", "PATCH"]),
    ],
)
def test_wrong_methods(
    endpoint: Endpoint, tried: list[tuple[str, str]], path: str, allowed: str, others: list[str]
) -> None:
    """An unsupported method is 405 with the supported ones, without checking the secret; OPTIONS lists the same."""
    for method in others:
        reply = endpoint.ask(method=method, path=path)
        if path == "/connect/token":
            assert error(reply, 405) == "invalid_request"
        else:
            assert problem(reply, 405) == "method-not-allowed"
        assert reply.headers["Allow"] == allowed
    options = endpoint.ask("", method="OPTIONS", path=path)
    assert (204, "", allowed) == (options.status, options.text, options.headers["Allow"])
    assert tried == []


@pytest.mark.parametrize("path", ["/connect/token/", "/.well-known/jwks.json/", f"{METADATA}/"])
def test_trailing_slashes(endpoint: Endpoint, path: str) -> None:
    """A trailing slash in either path is ignored."""
    method = "POST" if "token" in path else "GET"

    assert endpoint.ask(method=method, path=path).status == 200


def test_secrets_in_the_query(endpoint: Endpoint, tried: list[tuple[str, str]]) -> None:
    """Parameters in the query are ignored (RFC 6749, 2.3.1)."""
    query = "&".join(f"{key}={value}" for key, value in endpoint.good().items())

    assert error(endpoint.ask("", query=query)) == "invalid_request"
    assert tried == []


# The metadata -------------------------------------------------------------------------------------------------------

GET_METADATA: dict[str, Any] = {"method": "GET", "path": METADATA, "content_type": None}


def test_the_metadata(endpoint: Endpoint) -> None:
    """A client's library finds what it needs in the metadata (RFC 8414), which caches may store for five minutes."""
    reply = ask(endpoint.services, "", **GET_METADATA)
    base = reply.json["token_endpoint"].removesuffix("/connect/token")

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.headers["Cache-Control"] == "public, max-age=300"
    assert base.startswith("https://")
    assert reply.json == {
        "issuer": ISSUER,
        "token_endpoint": f"{base}/connect/token",
        "jwks_uri": f"{base}{JWKS}",
        "scopes_supported": sorted(GRANTS),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def test_the_metadata_below_a_stage() -> None:
    """The addresses in the metadata are those by which the caller reaches the API, with the stage's name if any."""
    request = Request.of(
        {
            "httpMethod": "GET",
            "path": METADATA,
            "requestContext": {"requestId": "r", "path": f"/live{METADATA}"},
            "multiValueHeaders": {"Host": ["api.example"], "X-Forwarded-Proto": ["https"]},
        }
    )
    shown = oauth.metadata(request, ISSUER).body

    assert isinstance(shown, dict)
    assert shown["token_endpoint"] == "https://api.example/live/connect/token"
    assert shown["jwks_uri"] == f"https://api.example/live{JWKS}"


def test_the_metadata_reads_nothing() -> None:
    """The metadata costs no call to the tables or to KMS."""
    recorder = Recorder(Memory())
    endpoint = Endpoint(recorder)
    recorder.calls.clear()
    endpoint.kms.calls.clear()
    ask(endpoint.services, "", **GET_METADATA)

    assert (recorder.calls, endpoint.kms.calls) == ([], [])


def test_the_issuer_of_tokens(endpoint: Endpoint) -> None:
    """The issuer of the metadata is that of the tokens (RFC 9068, 4)."""
    claims = jwt.decode(endpoint.token(), options={"verify_signature": False})

    assert claims["iss"] == ask(endpoint.services, "", **GET_METADATA).json["issuer"]
