"""The token endpoint and the published keys: errors of RFC 6749, both kinds of form, guessing, and tokens' grants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordering.aws.calls import unavailable
from ordering.aws.dynamodb import NoAnswer, Send
from ordering.clock import Clock, Deadline, system_clock
from ordering.contexts import own_errors
from ordering.identity.accounts import Accounts
from ordering.identity.authorizer import Authorizer, make_handler
from ordering.identity.clients import Client, ClientRefused, Clients
from ordering.identity.contract import LARGEST_FORM
from ordering.identity.tokens import KeyRing, Verifier
from ordering.principal import DealTerms, Principal
from ordering_tools.installation import Installation
from ordering_tools.operations import signing_keys
from ordering_tools.operations.signing import SigningKey
from support.aws.fake_connections import Recorder, failing
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.deals import Watch
from support.ecards import AUDIENCE, ISSUER, URLENCODED, ask, credentials, services_over
from support.gateway import Client as Caller
from support.gateway import LambdaContext, Reply
from support.partners import JOHN, PARTNER, UK
from support.services import Services

GRANTS = frozenset({"training", "deals", "ecards"})
GRANITE = replace(PARTNER, id="granite", grants=GRANTS, deals=DealTerms("enterprise"), company="Granite")
ID, OTHER_ID, NARROW_ID = "granite-client", "other-client", "narrow-client"
JWKS = "/.well-known/jwks.json"
STAGE_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/live"
BOUNDARY = "0123456789abcdef"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
Scrypt = Callable[..., bytes]


@dataclass
class Endpoint:
    """The token endpoint over tables in memory, with its clients' secrets and the secrets that were hashed."""

    send: Any
    kms: MemoryKms = field(default_factory=MemoryKms)
    now: Clock = system_clock
    hashed: list[bytes] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = services_over(self.send, self.now, self.kms)
        self.installation = Installation(self.send, self.kms, cast("SigningKey", None), ISSUER, AUDIENCE)
        self.accounts.save_partner(GRANITE)
        self.key_id = signing_keys.add(self.installation, "alias/A")
        signing_keys.use(self.installation, self.key_id, wait=False)
        for client_id, scope in ((ID, GRANTS), (OTHER_ID, GRANTS), (NARROW_ID, frozenset({"ecards"}))):
            self.secrets[client_id] = self.clients.add(Client(client_id, GRANITE.id, JOHN.id, scope))
        self.hashed.clear()

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
            Authorizer(verifier, self.services.accounts, self.services.reference_tokens, own_errors())
        )
        event = {"methodArn": f"{STAGE_ARN}/GET/{path}", "headers": {"Authorization": f"Bearer {token}"}}
        return handler(event, LambdaContext())

    def principal(self, token: str) -> Principal:
        return Principal.from_text(self.decision(token)["context"]["principal"])


def counting(hashed: list[bytes], real: Scrypt | None = None) -> Scrypt:
    """A stand-in for scrypt that records the passwords; it uses a fast hash unless `real` is given."""

    def scrypt(password: bytes, **settings: Any) -> bytes:
        hashed.append(password)
        return real(password, **settings) if real else hashlib.sha512(settings["salt"] + password).digest()

    return scrypt


@pytest.fixture
def watch() -> Watch:
    """A clock at the start of 2026, whose tokens have expired for every verifier."""
    return Watch(START)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Endpoint]:
    """Makes an endpoint with a fast hash."""

    def endpoint(send: Send | None = None, **more: Any) -> Endpoint:
        hashed: list[bytes] = []
        monkeypatch.setattr(hashlib, "scrypt", counting(hashed))
        return Endpoint(send or Memory(), hashed=hashed, **more)

    return endpoint


@pytest.fixture
def endpoint(make: Callable[..., Endpoint]) -> Endpoint:
    """An endpoint with three clients."""
    return make()


def error(reply: Reply, status: int = 400) -> str:
    """Check what all errors have in common; returns the code."""
    assert (status, "application/json") == (reply.status, reply.headers["Content-Type"]), reply.text
    assert never_kept(reply)
    assert list(reply.json) == ["error", "error_description"]
    assert reply.json["error_description"].strip()
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


def test_with_the_real_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are hashed with scrypt at 2^14, 8, 1, each with its own salt, and verified against the hash."""
    settings_used: list[dict[str, Any]] = []
    real = hashlib.scrypt

    def scrypt(password: bytes, **settings: Any) -> bytes:
        settings_used.append(settings)
        return real(password, **settings)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    endpoint = Endpoint(Memory())

    assert (endpoint.ask().status, error(endpoint.guess())) == (200, "invalid_client")
    assert {(one["n"], one["r"], one["p"]) for one in settings_used} == {(2**14, 8, 1)}
    assert len({one["salt"] for one in settings_used[:3]}) == 3


def test_claims_of_a_token(endpoint: Endpoint) -> None:
    """A token names its signer, partner and user, and expires after an hour."""
    token = endpoint.token()
    claims = jwt.decode(token, options={"verify_signature": False})

    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256", "kid": endpoint.key_id}
    assert (claims["exp"] - claims["iat"], claims["nbf"] - claims["iat"]) == (3600, 0)
    assert {name: claims[name] for name in ("iss", "aud", "sub", "client_id", "scope")} == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": JOHN.id,
        "client_id": "granite",
        "scope": "deals ecards training",
    }


def test_tokens_are_unique(endpoint: Endpoint) -> None:
    """Each token has its own id, so that one can be revoked without the other."""
    first, second = endpoint.token(), endpoint.token()
    claims = [jwt.decode(token, options={"verify_signature": False})["jti"] for token in (first, second)]
    endpoint.accounts.revoke("granite", claims[0])

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
    endpoint.accounts.save_partner(replace(GRANITE, grants=frozenset({"ecards"})))

    assert endpoint.principal(token).grants == ("ecards",)


@pytest.mark.parametrize("scope", ["admin", "ecards admin", "Ecards", "ecards,training", "*", "ecards\x00", "é"])
def test_invalid_scope(endpoint: Endpoint, scope: str) -> None:
    """A request for more than the client is granted is `invalid_scope`."""
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
def test_unsupported_grant_type(endpoint: Endpoint, grant_type: str) -> None:
    """A grant type other than client credentials is `unsupported_grant_type`, for any client."""
    assert error(endpoint.ask(endpoint.good() | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert error(endpoint.ask(credentials("nobody", "x") | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert endpoint.hashed == []


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
    """A form of more than 16 KiB is refused; one of exactly 16 KiB is accepted."""
    encoded = "&".join(f"{key}={value}" for key, value in endpoint.good(more="").items())
    largest = encoded + "x" * (LARGEST_FORM - len(encoded))

    assert endpoint.ask(largest).status == 200
    assert error(endpoint.ask(largest + "x")) == "invalid_request"
    assert error(endpoint.ask(multipart([("x", "x" * LARGEST_FORM)]), content_type=MULTIPART)) == "invalid_request"


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
def test_a_secret_like_a_boundary(endpoint: Endpoint, mark: bytes) -> None:
    """A value that begins like a boundary is read as a value."""
    body = multipart(credentials(ID, f"{mark.decode()}{BOUNDARY}x").items())

    assert error(endpoint.ask(body, content_type=MULTIPART)) == "invalid_client"
    assert set(endpoint.hashed) == {mark + BOUNDARY.encode() + b"x"}


def test_values_of_multipart_are_exact(endpoint: Endpoint) -> None:
    """Values keep their blanks, line breaks and letters of any script."""
    expected = [" x ", "x\r\n", "\r\nx", "x\ty", "пароль", "a%20b+c"]
    for secret in expected:
        endpoint.ask(multipart(credentials(ID, secret).items()), content_type=MULTIPART)

    assert [one.decode() for one in dict.fromkeys(endpoint.hashed)] == expected


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
def test_malformed_multipart(endpoint: Endpoint, change: Callable[[bytes], bytes], declared: str) -> None:
    """A malformed multipart form is `invalid_request`."""
    assert error(endpoint.ask(change(multipart(endpoint.good().items())), content_type=declared)) == "invalid_request"
    assert endpoint.hashed == []


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
    """An unknown client and a wrong secret get identical answers, for the same number of hashes."""
    wrong = endpoint.guess()
    cost_of_wrong = len(endpoint.hashed)
    unknown = endpoint.guess("nobody")
    cost_of_unknown = len(endpoint.hashed) - cost_of_wrong

    assert error(wrong) == error(unknown) == "invalid_client"
    assert (wrong.text, wrong.headers) == (unknown.text, unknown.headers)
    assert cost_of_wrong == cost_of_unknown > 0


def test_as_many_calls_for_both(make: Callable[..., Endpoint]) -> None:
    """An unknown client and a wrong secret take the same calls to the tables."""
    recorder = Recorder(Memory())
    endpoint = make(recorder)

    def calls(client_id: str) -> list[str]:
        recorder.calls.clear()
        endpoint.guess(client_id)
        return recorder.operations

    assert calls(ID) == calls("nobody")


def test_a_wrong_secret_costs_as_much_with_two(endpoint: Endpoint) -> None:
    """A client with two secrets takes as many hashes as an unknown client."""
    endpoint.clients.replace_secret(ID)
    endpoint.hashed.clear()
    endpoint.guess(ID)
    with_two = len(endpoint.hashed)
    endpoint.guess("nobody")

    assert with_two == len(endpoint.hashed) - with_two


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
    """A replaced secret stays good until the next replacement."""
    first = endpoint.secrets[ID]
    second = endpoint.clients.replace_secret(ID)
    both = [endpoint.ask(credentials(ID, secret)).status for secret in (first, second)]
    third = endpoint.clients.replace_secret(ID)

    assert both == [200, 200]
    assert [endpoint.ask(credentials(ID, secret)).status for secret in (first, second, third)] == [400, 200, 200]


def test_secrets_are_nowhere_at_rest(make: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """No table stores a secret, an unsalted hash of it, or a token."""
    recorder = Recorder(Memory())
    real = hashlib.scrypt
    endpoint = make(recorder)
    monkeypatch.setattr(hashlib, "scrypt", real)
    secret = endpoint.clients.replace_secret(OTHER_ID)
    endpoint.secrets[OTHER_ID] = secret
    token = endpoint.token(OTHER_ID)
    endpoint.ask(credentials(ID, "a wrong secret"))
    written = repr(recorder.calls)

    assert "GUESSES#granite-client" in written
    for hidden in (secret, secret[:20], hashlib.sha256(secret.encode()).hexdigest(), "a wrong secret", token):
        assert hidden not in written
        assert repr(hidden.encode())[2:-1] not in written


def test_secrets_are_in_no_log(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a request has neither its secret nor its token."""
    token = endpoint.token()
    endpoint.ask(credentials(ID, "a wrong secret"))
    logged = "".join(repr(record.__dict__) for record in caplog.records)

    assert "connect/token" in logged
    for hidden in (endpoint.secrets[ID], "a wrong secret", token):
        assert hidden not in logged


# Guessing -----------------------------------------------------------------------------------------------------------


def test_guesses_are_limited(endpoint: Endpoint) -> None:
    """After ten failures from an address even the right secret is refused there, without hashing it."""
    guesses = [endpoint.guess(address=HOME) for _ in range(10)]
    endpoint.hashed.clear()
    refused = endpoint.ask(address=HOME)

    assert {error(reply) for reply in (*guesses, refused)} == {"invalid_client"}
    assert refused.text == guesses[0].text
    assert endpoint.hashed == []


def test_nine_failures_do_not_lock_out(endpoint: Endpoint) -> None:
    """After nine failures the right secret is accepted repeatedly, and the tenth failure locks the address out."""
    for _ in range(9):
        endpoint.guess(address=HOME)

    assert [endpoint.ask(address=HOME).status for _ in range(30)] == [200] * 30
    assert error(endpoint.guess(address=HOME)) == "invalid_client"
    assert error(endpoint.ask(address=HOME)) == "invalid_client"


def test_success_does_not_reset_the_count(endpoint: Endpoint) -> None:
    """A success does not reset the count of failures."""
    for _ in range(5):
        endpoint.guess(address=HOME)
        endpoint.ask(address=HOME)
        endpoint.guess(address=HOME)

    assert error(endpoint.ask(address=HOME)) == "invalid_client"


def test_others_are_served(endpoint: Endpoint) -> None:
    """Failures lock out neither the client at another address nor another client at the same one."""
    for _ in range(12):
        endpoint.guess(address=HOME)

    assert endpoint.ask(address=ELSEWHERE).status == 200
    assert endpoint.ask(endpoint.good(OTHER_ID), address=HOME).status == 200


def test_one_address_does_not_lock_out_others(endpoint: Endpoint) -> None:
    """Any number of failures from one address does not lock the client out at others."""
    for _ in range(120):
        endpoint.guess(address=ELSEWHERE)

    assert endpoint.ask(address=HOME).status == 200


def test_many_addresses(endpoint: Endpoint) -> None:
    """A hundred failures across addresses lock the client out everywhere, and no other client."""
    for number in range(100):
        endpoint.guess(address=f"198.51.100.{number}")
    endpoint.hashed.clear()

    assert error(endpoint.ask(address=HOME)) == "invalid_client"
    assert endpoint.hashed == []
    assert endpoint.ask(endpoint.good(OTHER_ID), address=HOME).status == 200


def test_the_window_ends(make: Callable[..., Endpoint], watch: Watch) -> None:
    """Failures count until the end of their quarter of an hour."""
    endpoint = make(now=watch)
    for _ in range(10):
        endpoint.guess()
    watch.pass_(14 * 60 + 59)
    before = endpoint.ask()
    watch.pass_(1)

    assert (error(before), endpoint.ask().status) == ("invalid_client", 200)


def test_unknown_clients_are_counted_too(endpoint: Endpoint) -> None:
    """Guesses for unknown clients are limited too, so that limits do not reveal which clients exist."""
    for _ in range(10):
        endpoint.guess("nobody", address=HOME)
    endpoint.hashed.clear()

    assert error(endpoint.guess("nobody", address=HOME)) == "invalid_client"
    assert endpoint.hashed == []


def test_counts_expire(make: Callable[..., Endpoint], watch: Watch) -> None:
    """A count expires after two windows."""
    memory = Memory()
    make(memory, now=watch).guess()
    counts = [item for (partition, _), item in memory.scan("AccountsTable") if partition.startswith("GUESSES#")]

    ends = str(int((START + timedelta(minutes=30)).timestamp()))
    assert [item["expires"]["N"] for item in counts] == [ends, ends]


def at_once(endpoint: Endpoint, attempts: int, attempt: Callable[[Clients], None]) -> None:
    """Run attempts concurrently: each begins before the one before it has read the client's record."""
    pending = attempts

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal pending
        if operation == "GetItem" and pending:
            while pending:
                pending -= 1
                attempt(clients)
        return cast("dict[str, Any]", endpoint.send(operation, request))

    clients = Clients(replace(endpoint.installation.accounts, send=send), endpoint.now)
    pending -= 1
    attempt(clients)


def test_parallel_guesses(endpoint: Endpoint) -> None:
    """Of 40 concurrent guesses at most ten are checked."""

    def guess(clients: Clients) -> None:
        with pytest.raises(ClientRefused):
            clients.authenticate(ID, "wrong", HOME)

    endpoint.guess("nobody", address=ELSEWHERE)
    cost_of_one = len(endpoint.hashed)
    endpoint.hashed.clear()
    at_once(endpoint, 40, guess)

    assert len(endpoint.hashed) == 10 * cost_of_one


def test_a_burst_of_good_attempts(endpoint: Endpoint) -> None:
    """A client with the right secret is served again after a burst of concurrent attempts."""

    def prove(clients: Clients) -> None:
        try:
            clients.authenticate(ID, endpoint.secrets[ID], HOME)
        except ClientRefused:
            refusals.append(1)

    refusals: list[int] = []
    at_once(endpoint, 40, prove)

    assert len(refusals) <= 30
    assert endpoint.ask(address=HOME).status == 200


def test_malformed_requests_do_not_count(endpoint: Endpoint) -> None:
    """A malformed request does not count as a failure."""
    for _ in range(12):
        endpoint.ask(endpoint.good() | {"grant_type": "password"})
        endpoint.ask({"client_id": ID})

    assert endpoint.ask().status == 200


def test_refused_scopes_do_not_count(endpoint: Endpoint) -> None:
    """A refused scope with the right secret does not count as a failure."""
    for _ in range(12):
        endpoint.ask(endpoint.good(scope="admin"))

    assert endpoint.ask().status == 200


# Failures -----------------------------------------------------------------------------------------------------------


def test_no_kms(endpoint: Endpoint) -> None:
    """If KMS does not answer, the client gets 503 with `Retry-After`."""
    reply = ask(endpoint.restarted(kms=unavailable), endpoint.good())

    assert error(reply, 503) == "temporarily_unavailable"
    assert reply.headers["Retry-After"] == "1"


def test_failures_of_kms_do_not_count(endpoint: Endpoint) -> None:
    """Requests that fail because of KMS do not count as failures."""
    for _ in range(12):
        ask(endpoint.restarted(kms=unavailable), endpoint.good())

    assert endpoint.ask().status == 200


def test_500(endpoint: Endpoint) -> None:
    """A 500 reveals nothing of the failure."""
    broken = failing(KeyError("a secret of ours"), endpoint.send, "GetItem", "Query")
    for reply in (
        ask(endpoint.restarted(send=broken), endpoint.good()),
        ask(endpoint.restarted(send=broken), "", **GET_KEYS),
    ):
        assert error(reply, 500) == "server_error"
        assert "secret of ours" not in reply.text


def test_no_signer(make: Callable[..., Endpoint]) -> None:
    """Without a signing key a client gets 500, but a wrong secret is still refused as such."""
    endpoint = make()
    endpoint.send.load(
        "AccountsTable", {"pk": {"S": "SIGNER"}, "sk": {"S": "-"}, "keyId": {"S": ""}, "kmsId": {"S": ""}}
    )
    empty = Memory()
    for _, item in [pair for pair in endpoint.send.scan("AccountsTable") if pair[0][0] != "SIGNER"]:
        empty.load("AccountsTable", item)

    assert error(ask(endpoint.restarted(send=empty), endpoint.good()), 500) == "server_error"
    assert error(ask(endpoint.restarted(send=empty), credentials(ID, "wrong"))) == "invalid_client"


@pytest.mark.parametrize(("method", "path"), [("POST", "/connect/token"), ("GET", JWKS)])
def test_no_tables(endpoint: Endpoint, method: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tables do not answer in time, both endpoints are 503."""
    monkeypatch.setattr("ordering.entry.api.deadline_of", lambda _: Deadline.after(0.02))
    cut = endpoint.restarted(send=failing(NoAnswer("cut"), endpoint.send))

    assert error(ask(cut, endpoint.good(), method=method, path=path), 503) == "temporarily_unavailable"


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
    assert {frozenset(one) for one in published} == {frozenset({"kty", "crv", "x", "y", "kid", "use"})}
    assert {(one["kty"], one["crv"], one["use"]) for one in published} == {("EC", "P-256", "sig")}


def test_the_keys_verify(endpoint: Endpoint) -> None:
    """A token can be verified with nothing but the published keys."""
    published = jwt.PyJWKSet.from_dict(ask(endpoint.services, "", **GET_KEYS).json)
    token = endpoint.token()
    key = published[jwt.get_unverified_header(token)["kid"]]

    claims = jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["client_id"] == "granite"


def test_no_key_that_was_retired(endpoint: Endpoint) -> None:
    """A retired key is not published."""
    second = signing_keys.add(endpoint.installation, "alias/B")
    signing_keys.retire(endpoint.installation, second)

    assert [one["kid"] for one in ask(endpoint.restarted(), "", **GET_KEYS).json["keys"]] == [endpoint.key_id]


def test_head(endpoint: Endpoint) -> None:
    """HEAD of the published keys has the status and headers of GET, and no body."""
    head, get = ask(endpoint.services, "", **{**GET_KEYS, "method": "HEAD"}), ask(endpoint.services, "", **GET_KEYS)

    assert (get.status, get.headers, "") == (head.status, head.headers, head.text)


@pytest.mark.parametrize(
    ("path", "allowed", "others"),
    [
        ("/connect/token", "OPTIONS, POST", ["GET", "PUT", "DELETE", "PATCH"]),
        (JWKS, "GET, HEAD, OPTIONS", ["POST", "PUT", "DELETE", "PATCH"]),
    ],
)
def test_wrong_methods(endpoint: Endpoint, path: str, allowed: str, others: list[str]) -> None:
    """An unsupported method is 405 with the supported ones, without checking the secret; OPTIONS lists the same."""
    for method in others:
        reply = endpoint.ask(method=method, path=path)
        assert error(reply, 405) == "invalid_request"
        assert reply.headers["Allow"] == allowed
    options = endpoint.ask("", method="OPTIONS", path=path)
    assert (204, "", allowed) == (options.status, options.text, options.headers["Allow"])
    assert endpoint.hashed == []


@pytest.mark.parametrize("path", ["/connect/token/", "/.well-known/jwks.json/"])
def test_trailing_slashes(endpoint: Endpoint, path: str) -> None:
    """A trailing slash in either path is ignored."""
    method = "POST" if "token" in path else "GET"

    assert endpoint.ask(method=method, path=path).status == 200


def test_secrets_in_the_query(endpoint: Endpoint) -> None:
    """Parameters in the query are ignored (RFC 6749, 2.3.1)."""
    query = "&".join(f"{key}={value}" for key, value in endpoint.good().items())

    assert error(endpoint.ask("", query=query)) == "invalid_request"
    assert endpoint.hashed == []
