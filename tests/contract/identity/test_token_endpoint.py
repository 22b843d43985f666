"""The token endpoint and the published keys: RFC 6749's errors, forms in both kinds, guessing, and what tokens open."""

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
from ordering_tools.operations import signing_keys as keys
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
class Desk:
    """The token endpoint over tables in memory, its clients' secrets, and how often a secret was hashed."""

    send: Any
    kms: MemoryKms = field(default_factory=MemoryKms)
    now: Clock = system_clock
    hashed: list[bytes] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = services_over(self.send, self.now, self.kms)
        self.installation = Installation(self.send, self.kms, cast("SigningKey", None), ISSUER, AUDIENCE)
        self.accounts.save_partner(GRANITE)
        self.key_id = keys.add(self.installation, "alias/A")
        keys.use(self.installation, self.key_id, wait=False)
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
        """Return the services as a new process has them."""
        return replace(self.services, **changes)

    def decision(self, token: str, path: str = "v1/orders") -> dict[str, Any]:
        """Ask the authorizer about a call with a token."""
        verifier = Verifier(KeyRing(self.accounts.signing_keys), ISSUER, AUDIENCE)
        handler = make_handler(
            Authorizer(verifier, self.services.accounts, self.services.reference_tokens, own_errors())
        )
        event = {"methodArn": f"{STAGE_ARN}/GET/{path}", "headers": {"Authorization": f"Bearer {token}"}}
        return handler(event, LambdaContext())

    def principal(self, token: str) -> Principal:
        return Principal.from_text(self.decision(token)["context"]["principal"])


def counting(hashed: list[bytes], real: Scrypt | None = None) -> Scrypt:
    """Keep the passwords that are hashed; unless a real function is given, hash them fast."""

    def scrypt(password: bytes, **settings: Any) -> bytes:
        hashed.append(password)
        return real(password, **settings) if real else hashlib.sha512(settings["salt"] + password).digest()

    return scrypt


@pytest.fixture
def watch() -> Watch:
    """The time as the functions are told it; tokens of 2026 are good for no verifier."""
    return Watch(START)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Desk]:
    """Makes an endpoint whose secrets are hashed fast."""

    def desk(send: Send | None = None, **more: Any) -> Desk:
        hashed: list[bytes] = []
        monkeypatch.setattr(hashlib, "scrypt", counting(hashed))
        return Desk(send or Memory(), hashed=hashed, **more)

    return desk


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    """An endpoint with three clients."""
    return make()


def error(reply: Reply, status: int = 400) -> str:
    """Check all that errors have in common; return the code."""
    assert (status, "application/json") == (reply.status, reply.headers["Content-Type"]), reply.text
    assert never_kept(reply)
    assert list(reply.json) == ["error", "error_description"]
    assert reply.json["error_description"].strip()
    code: str = reply.json["error"]
    return code


def never_kept(reply: Reply) -> bool:
    return (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")


# A token ------------------------------------------------------------------------------------------------------------


def test_a_token(desk: Desk) -> None:
    """The right id and secret get a bearer token for an hour, which nobody on the way may keep."""
    reply = desk.ask()

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert never_kept(reply)
    assert list(reply.json) == ["access_token", "expires_in", "token_type", "scope"]
    assert [reply.json[name] for name in ("expires_in", "token_type", "scope")] == [
        3600,
        "Bearer",
        "deals ecards training",
    ]


def test_with_the_real_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are hashed with scrypt at 2^14, 8, 1 and a salt of each one's own, and proven against that."""
    settings_used: list[dict[str, Any]] = []
    real = hashlib.scrypt

    def scrypt(password: bytes, **settings: Any) -> bytes:
        settings_used.append(settings)
        return real(password, **settings)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    desk = Desk(Memory())

    assert (desk.ask().status, error(desk.guess())) == (200, "invalid_client")
    assert {(one["n"], one["r"], one["p"]) for one in settings_used} == {(2**14, 8, 1)}
    assert len({one["salt"] for one in settings_used[:3]}) == 3


def test_what_a_token_says(desk: Desk) -> None:
    """The token names its signer, the partner and the user, and ends an hour after it was made."""
    token = desk.token()
    claims = jwt.decode(token, options={"verify_signature": False})

    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256", "kid": desk.key_id}
    assert (claims["exp"] - claims["iat"], claims["nbf"] - claims["iat"]) == (3600, 0)
    assert {name: claims[name] for name in ("iss", "aud", "sub", "client_id", "scope")} == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": JOHN.id,
        "client_id": "granite",
        "scope": "deals ecards training",
    }


def test_each_token_is_another(desk: Desk) -> None:
    """Two requests get two tokens, each with an id of its own, so that one can be revoked."""
    first, second = desk.token(), desk.token()
    claims = [jwt.decode(token, options={"verify_signature": False})["jti"] for token in (first, second)]
    desk.accounts.revoke("granite", claims[0])

    assert len(set(claims)) == 2
    assert desk.decision(first)["context"] == {"refusal": "unauthorized"}
    assert "principal" in desk.decision(second)["context"]


PATHS = {"training": f"/api/v2/orders?businessUnitId={UK.id}", "deals": "/v2/orders", "ecards": "/v1/orders"}


def test_a_token_opens_every_contract(desk: Desk) -> None:
    """The authorizer accepts the token, and each contract that the client is granted answers."""
    principal = desk.principal(desk.token())

    assert (principal.partner, principal.user, principal.grants) == ("granite", JOHN, ("deals", "ecards", "training"))
    assert {name: Caller(desk.services, principal).get(path).status for name, path in PATHS.items()} == dict.fromkeys(
        PATHS, 200
    )


@pytest.mark.parametrize("scope", ["ecards", "training", "deals", "deals training", "ecards deals training"])
def test_a_token_covers_what_was_asked_for(desk: Desk, scope: str) -> None:
    """A token for some of the grants says which, and opens those and no others."""
    reply = desk.ask(desk.good(scope=scope))
    principal = desk.principal(reply.json["access_token"])

    wanted = set(scope.split())
    assert set(reply.json["scope"].split()) == set(principal.grants) == wanted
    for name, path in PATHS.items():
        assert Caller(desk.services, principal).get(path).status == (200 if name in wanted else 403)


def test_a_narrow_client(desk: Desk) -> None:
    """A client that is granted less than its partner gets that by default, and no more when it asks."""
    reply = desk.ask(desk.good(NARROW_ID))

    assert reply.json["scope"] == "ecards"
    assert desk.principal(reply.json["access_token"]).grants == ("ecards",)
    assert error(desk.ask(desk.good(NARROW_ID, scope="ecards training"))) == "invalid_scope"


def test_a_grant_that_was_taken_away(desk: Desk) -> None:
    """A token opens nothing that its partner is no longer granted, whatever it says."""
    token = desk.token()
    desk.accounts.save_partner(replace(GRANITE, grants=frozenset({"ecards"})))

    assert desk.principal(token).grants == ("ecards",)


@pytest.mark.parametrize("scope", ["admin", "ecards admin", "Ecards", "ecards,training", "*", "ecards\x00", "é"])
def test_invalid_scope(desk: Desk, scope: str) -> None:
    """Who asks for more than it is granted gets nothing."""
    assert error(desk.ask(desk.good(scope=scope))) == "invalid_scope"


def test_a_scope_without_a_value(desk: Desk) -> None:
    """A scope that is sent empty counts as left out (RFC 6749, 3.2)."""
    assert desk.ask(desk.good(scope="")).json["scope"] == "deals ecards training"


@pytest.mark.parametrize("scope", [" ", "   "])
def test_a_blank_scope(desk: Desk, scope: str) -> None:
    """A scope that names nothing is none (RFC 6749, 3.3), rather than a token that opens nothing."""
    assert error(desk.ask(desk.good(scope=scope))) == "invalid_scope"


# The form -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret"])
def test_missing_parameters(desk: Desk, name: str) -> None:
    """A parameter that is missing, or is sent empty, is `invalid_request`, and is named."""
    form = desk.good()
    left = {key: value for key, value in form.items() if key != name}
    for reply in (desk.ask(left), desk.ask({**form, name: ""})):
        assert error(reply) == "invalid_request"
        assert f"'{name}'" in reply.json["error_description"]


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "more"])
def test_repeated_parameters(desk: Desk, name: str) -> None:
    """A parameter that stands there twice, even with one value, is `invalid_request` (RFC 6749, 3.2)."""
    form = {**desk.good(), "scope": "ecards", "more": "1"}
    encoded = "&".join(f"{key}={value}" for key, value in form.items())
    repeated = multipart([*form.items(), (name, form[name])])

    assert (desk.ask(encoded).status, desk.ask(multipart(form.items()), content_type=MULTIPART).status) == (200, 200)
    assert error(desk.ask(f"{encoded}&{name}={form[name]}")) == "invalid_request"
    assert error(desk.ask(repeated, content_type=MULTIPART)) == "invalid_request"


@pytest.mark.parametrize(
    "grant_type", ["password", "authorization_code", "refresh_token", "Client_Credentials", "client_credentials ", "x"]
)
def test_unsupported_grant_type(desk: Desk, grant_type: str) -> None:
    """Any grant but client credentials is `unsupported_grant_type`, whoever asks."""
    assert error(desk.ask(desk.good() | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert error(desk.ask(credentials("nobody", "x") | {"grant_type": grant_type})) == "unsupported_grant_type"
    assert desk.hashed == []


def test_other_parameters(desk: Desk) -> None:
    """Parameters that are not known are ignored (RFC 6749, 3.2)."""
    assert desk.ask(desk.good(audience="x", resource="")).status == 200


@pytest.mark.parametrize(
    "content_type",
    [URLENCODED, URLENCODED.upper(), f"{URLENCODED}; charset=UTF-8", f" {URLENCODED} ;charset=utf-8"],
)
def test_urlencoded(desk: Desk, content_type: str) -> None:
    """A urlencoded form may be declared in any case and with its character set."""
    assert desk.ask(content_type=content_type).status == 200


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "text/plain", "multipart/mixed; boundary=x", "x"]
)
def test_other_content_types(desk: Desk, content_type: str | None) -> None:
    """What is declared as no form is `invalid_request`, and the answer says what to send."""
    reply = desk.ask(content_type=content_type)

    assert error(reply) == "invalid_request"
    assert URLENCODED in reply.json["error_description"]


@pytest.mark.parametrize(
    "form",
    ["", "&", "=", "x", "{}", "%", b"\xff", b"client_id=\xe9", "client_id=%ff", "client_id=%ED%A0%80",
     "client_id=\ud800", "&".join(f"x{n}=1" for n in range(21))],
    ids=lambda form: repr(form)[:20],
)  # fmt: skip
def test_forms_that_are_none(desk: Desk, form: str | bytes) -> None:
    """What is no form in UTF-8 is `invalid_request`."""
    assert error(desk.ask(form)) == "invalid_request"
    assert error(desk.ask(form, content_type=MULTIPART)) == "invalid_request"


def test_base64(desk: Desk) -> None:
    """A form that the gateway hands on in base64 is read as what it stands for, and must be base64."""
    assert desk.ask(desk.good(), in_base64=True).status == 200
    assert error(desk.ask(b"\xff\xfe")) == "invalid_request"


def test_too_large(desk: Desk) -> None:
    """A form of more than 16 KiB is refused before it is read, one of just that is taken."""
    encoded = "&".join(f"{key}={value}" for key, value in desk.good(more="").items())
    largest = encoded + "x" * (LARGEST_FORM - len(encoded))

    assert desk.ask(largest).status == 200
    assert error(desk.ask(largest + "x")) == "invalid_request"
    assert error(desk.ask(multipart([("x", "x" * LARGEST_FORM)]), content_type=MULTIPART)) == "invalid_request"


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
def test_multipart(desk: Desk, boundary: str, declared: str) -> None:
    """A multipart form is read whatever its boundary looks like, and quoted or not."""
    form = multipart(desk.good(scope="ecards").items(), boundary)

    assert [desk.ask(body, content_type=declared).json["scope"] for body in (form, form.decode())] == ["ecards"] * 2


def test_multipart_with_more_around(desk: Desk) -> None:
    """A preamble, an epilogue, no line after the end, and fields of parts beside their names mean nothing."""
    form = multipart(desk.good().items())
    typed = form.replace(b'"\r\n\r\n', b'"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n')

    for body in (b"preamble\r\n" + form, form + b"epilogue", form.rstrip(), typed):
        assert desk.ask(body, content_type=MULTIPART).status == 200


@pytest.mark.parametrize("mark", [b"--", b""])
def test_a_secret_like_a_boundary(desk: Desk, mark: bytes) -> None:
    """A value that looks like the beginning of a boundary is a value."""
    body = multipart(credentials(ID, f"{mark.decode()}{BOUNDARY}x").items())

    assert error(desk.ask(body, content_type=MULTIPART)) == "invalid_client"
    assert set(desk.hashed) == {mark + BOUNDARY.encode() + b"x"}


def test_values_of_multipart_are_exact(desk: Desk) -> None:
    """A value keeps its blanks, its line ends, and letters of any script."""
    expected = [" x ", "x\r\n", "\r\nx", "x\ty", "пароль", "a%20b+c"]
    for secret in expected:
        desk.ask(multipart(credentials(ID, secret).items()), content_type=MULTIPART)

    assert [one.decode() for one in dict.fromkeys(desk.hashed)] == expected


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
def test_multipart_that_is_none(desk: Desk, change: Callable[[bytes], bytes], declared: str) -> None:
    """A multipart form that cannot be taken apart is `invalid_request`."""
    assert error(desk.ask(change(multipart(desk.good().items())), content_type=declared)) == "invalid_request"
    assert desk.hashed == []


@pytest.mark.parametrize("name", ["client_id", "client_secret", "scope"])
def test_multipart_that_is_no_utf8(desk: Desk, name: str) -> None:
    """A value that is no UTF-8 makes no form, in either kind."""
    form = multipart((desk.good() | {name: "BAD"}).items()).replace(b"BAD", b"\xff\xfe")

    assert error(desk.ask(form, content_type=MULTIPART)) == "invalid_request"


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
def test_no_form_is_a_failure(desk: Desk, body: str, head: str, kind: str) -> None:
    """Whatever is sent as a form, it is refused as RFC 6749 has it, and never a failure of ours."""
    for declared in (MULTIPART, kind + head):
        assert error(desk.ask(body.encode("utf-8", "surrogatepass"), content_type=declared)) == "invalid_request"


# Who is refused -----------------------------------------------------------------------------------------------------


def test_unknown_and_wrong_are_one(desk: Desk) -> None:
    """An unknown client and a wrong secret are answered to the letter alike, and cost as many hashes."""
    wrong = desk.guess()
    cost_of_wrong = len(desk.hashed)
    unknown = desk.guess("nobody")
    cost_of_unknown = len(desk.hashed) - cost_of_wrong

    assert error(wrong) == error(unknown) == "invalid_client"
    assert (wrong.text, wrong.headers) == (unknown.text, unknown.headers)
    assert cost_of_wrong == cost_of_unknown > 0


def test_as_many_calls_for_both(make: Callable[..., Desk]) -> None:
    """Nor does the number of calls to the tables tell them apart."""
    recorder = Recorder(Memory())
    desk = make(recorder)

    def calls(client_id: str) -> list[str]:
        recorder.calls.clear()
        desk.guess(client_id)
        return recorder.operations

    assert calls(ID) == calls("nobody")


def test_a_wrong_secret_costs_as_much_with_two(desk: Desk) -> None:
    """Nor does it when a client has two secrets, as while one is replaced."""
    desk.clients.replace_secret(ID)
    desk.hashed.clear()
    desk.guess(ID)
    with_two = len(desk.hashed)
    desk.guess("nobody")

    assert with_two == len(desk.hashed) - with_two


@pytest.mark.parametrize("client_id", ["x" * 65, "a b", "granite-client\n", "GRANITE-CLIENT", "é", "a#b", "../x", "*"])
def test_ids_that_no_client_has(desk: Desk, client_id: str) -> None:
    """What is nobody's id is answered like any unknown client."""
    reply = desk.ask(credentials(client_id, desk.secrets[ID]))

    assert error(reply) == "invalid_client"
    assert reply.text == desk.guess().text


@pytest.mark.parametrize(
    "change", [str.upper, lambda s: s + " ", lambda s: s[:-1], lambda s: s + "x", lambda s: s[::-1]]
)
def test_secrets_are_exact(desk: Desk, change: Callable[[str], str]) -> None:
    """Only the very secret will do."""
    assert error(desk.ask(credentials(ID, change(desk.secrets[ID])))) == "invalid_client"


def test_another_client_s_secret(desk: Desk) -> None:
    """One client's secret is no other's."""
    assert error(desk.ask(credentials(ID, desk.secrets[OTHER_ID]))) == "invalid_client"


def test_two_secrets(desk: Desk) -> None:
    """While a secret is replaced both are good; the next replacement ends the first."""
    first = desk.secrets[ID]
    second = desk.clients.replace_secret(ID)
    both = [desk.ask(credentials(ID, secret)).status for secret in (first, second)]
    third = desk.clients.replace_secret(ID)

    assert both == [200, 200]
    assert [desk.ask(credentials(ID, secret)).status for secret in (first, second, third)] == [400, 200, 200]


def test_secrets_are_nowhere_at_rest(make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    """No table ever holds a secret, nor a hash of it that is as good as one, nor the token."""
    recorder = Recorder(Memory())
    real = hashlib.scrypt
    desk = make(recorder)
    monkeypatch.setattr(hashlib, "scrypt", real)
    secret = desk.clients.replace_secret(OTHER_ID)
    desk.secrets[OTHER_ID] = secret
    token = desk.token(OTHER_ID)
    desk.ask(credentials(ID, "a wrong secret"))
    written = repr(recorder.calls)

    assert "GUESSES#granite-client" in written
    for hidden in (secret, secret[:20], hashlib.sha256(secret.encode()).hexdigest(), "a wrong secret", token):
        assert hidden not in written
        assert repr(hidden.encode())[2:-1] not in written


def test_secrets_are_in_no_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that is logged of a request has its secret or its token."""
    token = desk.token()
    desk.ask(credentials(ID, "a wrong secret"))
    logged = "".join(repr(record.__dict__) for record in caplog.records)

    assert "connect/token" in logged
    for hidden in (desk.secrets[ID], "a wrong secret", token):
        assert hidden not in logged


# Guessing -----------------------------------------------------------------------------------------------------------


def test_guesses_are_limited(desk: Desk) -> None:
    """After ten failures from an address even the right secret is refused there, in the same words, unhashed."""
    guesses = [desk.guess(address=HOME) for _ in range(10)]
    desk.hashed.clear()
    refused = desk.ask(address=HOME)

    assert {error(reply) for reply in (*guesses, refused)} == {"invalid_client"}
    assert refused.text == guesses[0].text
    assert desk.hashed == []


def test_nine_failures_are_forgiven(desk: Desk) -> None:
    """After nine failures the right secret is good, again and again: success does not count."""
    for _ in range(9):
        desk.guess(address=HOME)

    assert [desk.ask(address=HOME).status for _ in range(30)] == [200] * 30
    assert error(desk.guess(address=HOME)) == "invalid_client"
    assert error(desk.ask(address=HOME)) == "invalid_client"


def test_success_does_not_begin_the_count_again(desk: Desk) -> None:
    """A success between failures takes none of them back, so that they cannot be hidden among successes."""
    for _ in range(5):
        desk.guess(address=HOME)
        desk.ask(address=HOME)
        desk.guess(address=HOME)

    assert error(desk.ask(address=HOME)) == "invalid_client"


def test_others_are_served(desk: Desk) -> None:
    """Failures keep out neither the client at another address, nor another client at this one."""
    for _ in range(12):
        desk.guess(address=HOME)

    assert desk.ask(address=ELSEWHERE).status == 200
    assert desk.ask(desk.good(OTHER_ID), address=HOME).status == 200


def test_one_address_alone_keeps_nobody_out(desk: Desk) -> None:
    """However often one address fails, the client is served at others."""
    for _ in range(120):
        desk.guess(address=ELSEWHERE)

    assert desk.ask(address=HOME).status == 200


def test_many_addresses(desk: Desk) -> None:
    """Failures are limited over all addresses too: after a hundred the client is refused everywhere."""
    for number in range(100):
        desk.guess(address=f"198.51.100.{number}")
    desk.hashed.clear()

    assert error(desk.ask(address=HOME)) == "invalid_client"
    assert desk.hashed == []
    assert desk.ask(desk.good(OTHER_ID), address=HOME).status == 200


def test_the_window_ends(make: Callable[..., Desk], watch: Watch) -> None:
    """What failed in one quarter of an hour is forgotten in the next."""
    desk = make(now=watch)
    for _ in range(10):
        desk.guess()
    watch.pass_(14 * 60 + 59)
    before = desk.ask()
    watch.pass_(1)

    assert (error(before), desk.ask().status) == ("invalid_client", 200)


def test_unknown_clients_are_counted_too(desk: Desk) -> None:
    """Whether a client is known cannot be learnt from when guesses end: unknown ones are limited alike."""
    for _ in range(10):
        desk.guess("nobody", address=HOME)
    desk.hashed.clear()

    assert error(desk.guess("nobody", address=HOME)) == "invalid_client"
    assert desk.hashed == []


def test_counts_do_not_stay(make: Callable[..., Desk], watch: Watch) -> None:
    """What is counted carries when it can be removed: two windows later."""
    memory = Memory()
    make(memory, now=watch).guess()
    counts = [item for (partition, _), item in memory.scan("AccountsTable") if partition.startswith("GUESSES#")]

    ends = str(int((START + timedelta(minutes=30)).timestamp()))
    assert [item["expires"]["N"] for item in counts] == [ends, ends]


def at_once(desk: Desk, attempts: int, attempt: Callable[[Clients], None]) -> None:
    """Have each attempt begin before the one before it has read the client's record, those that are refused as well."""
    pending = attempts

    def send(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal pending
        if operation == "GetItem" and pending:
            while pending:
                pending -= 1
                attempt(clients)
        return cast("dict[str, Any]", desk.send(operation, request))

    clients = Clients(replace(desk.installation.accounts, send=send), desk.now)
    pending -= 1
    attempt(clients)


def test_parallel_guesses(desk: Desk) -> None:
    """However many guesses come at once, no more than ten are judged."""

    def guess(clients: Clients) -> None:
        with pytest.raises(ClientRefused):
            clients.authenticate(ID, "wrong", HOME)

    desk.guess("nobody", address=ELSEWHERE)
    cost_of_one = len(desk.hashed)
    desk.hashed.clear()
    at_once(desk, 40, guess)

    assert len(desk.hashed) == 10 * cost_of_one


def test_a_burst_of_good_attempts(desk: Desk) -> None:
    """A client that asks too often at once, always with the right secret, is served once the burst is over."""

    def prove(clients: Clients) -> None:
        try:
            clients.authenticate(ID, desk.secrets[ID], HOME)
        except ClientRefused:
            refusals.append(1)

    refusals: list[int] = []
    at_once(desk, 40, prove)

    assert len(refusals) <= 30
    assert desk.ask(address=HOME).status == 200


def test_form_faults_are_no_guesses(desk: Desk) -> None:
    """What is refused before a secret is looked at is counted as nobody's failure."""
    for _ in range(12):
        desk.ask(desk.good() | {"grant_type": "password"})
        desk.ask({"client_id": ID})

    assert desk.ask().status == 200


def test_a_scope_that_is_refused_is_no_guess(desk: Desk) -> None:
    """Nor is asking for too much with the right secret."""
    for _ in range(12):
        desk.ask(desk.good(scope="admin"))

    assert desk.ask().status == 200


# When something is down ---------------------------------------------------------------------------------------------


def test_no_kms(desk: Desk) -> None:
    """Where KMS does not answer the client is told to try again, and when."""
    reply = ask(desk.restarted(kms=unavailable), desk.good())

    assert error(reply, 503) == "temporarily_unavailable"
    assert reply.headers["Retry-After"] == "1"


def test_no_kms_is_no_guess(desk: Desk) -> None:
    """Trying again while KMS is down locks nobody out."""
    for _ in range(12):
        ask(desk.restarted(kms=unavailable), desk.good())

    assert desk.ask().status == 200


def test_500(desk: Desk) -> None:
    """A failure of ours, such as that no key signs, says nothing of what failed."""
    broken = failing(KeyError("a secret of ours"), desk.send, "GetItem", "Query")
    for reply in (ask(desk.restarted(send=broken), desk.good()), ask(desk.restarted(send=broken), "", **GET_KEYS)):
        assert error(reply, 500) == "server_error"
        assert "secret of ours" not in reply.text


def test_no_signer(make: Callable[..., Desk]) -> None:
    """An installation without a key that signs fails as ours, and after the client proved itself."""
    desk = make()
    desk.send.load("AccountsTable", {"pk": {"S": "SIGNER"}, "sk": {"S": "-"}, "keyId": {"S": ""}, "kmsId": {"S": ""}})
    empty = Memory()
    for _, item in [pair for pair in desk.send.scan("AccountsTable") if pair[0][0] != "SIGNER"]:
        empty.load("AccountsTable", item)

    assert error(ask(desk.restarted(send=empty), desk.good()), 500) == "server_error"
    assert error(ask(desk.restarted(send=empty), credentials(ID, "wrong"))) == "invalid_client"


@pytest.mark.parametrize(("method", "path"), [("POST", "/connect/token"), ("GET", JWKS)])
def test_no_tables(desk: Desk, method: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tables do not answer in time both calls are 503."""
    monkeypatch.setattr("ordering.entry.api.deadline_of", lambda _: Deadline.after(0.02))
    cut = desk.restarted(send=failing(NoAnswer("cut"), desk.send))

    assert error(ask(cut, desk.good(), method=method, path=path), 503) == "temporarily_unavailable"


# The keys -----------------------------------------------------------------------------------------------------------

GET_KEYS: dict[str, Any] = {"method": "GET", "path": JWKS, "content_type": None}


def test_the_keys(desk: Desk) -> None:
    """All live keys are published, public parts only, to be kept for five minutes."""
    second = keys.add(desk.installation, "alias/B")
    reply = ask(desk.restarted(), "", **GET_KEYS)
    published = reply.json["keys"]

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert (reply.headers["Cache-Control"], list(reply.json)) == ("public, max-age=300", ["keys"])
    assert {one["kid"] for one in published} == {desk.key_id, second}
    assert {frozenset(one) for one in published} == {frozenset({"kty", "crv", "x", "y", "kid", "use"})}
    assert {(one["kty"], one["crv"], one["use"]) for one in published} == {("EC", "P-256", "sig")}


def test_the_keys_verify(desk: Desk) -> None:
    """A verifier that knows nothing but the published keys accepts a token."""
    published = jwt.PyJWKSet.from_dict(ask(desk.services, "", **GET_KEYS).json)
    token = desk.token()
    key = published[jwt.get_unverified_header(token)["kid"]]

    claims = jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["client_id"] == "granite"


def test_no_key_that_was_retired(desk: Desk) -> None:
    """A key that was retired is published no more."""
    second = keys.add(desk.installation, "alias/B")
    keys.retire(desk.installation, second)

    assert [one["kid"] for one in ask(desk.restarted(), "", **GET_KEYS).json["keys"]] == [desk.key_id]


def test_head(desk: Desk) -> None:
    """HEAD has the status and headers of the published keys, and no body."""
    head, get = ask(desk.services, "", **{**GET_KEYS, "method": "HEAD"}), ask(desk.services, "", **GET_KEYS)

    assert (get.status, get.headers, "") == (head.status, head.headers, head.text)


@pytest.mark.parametrize(
    ("path", "allowed", "others"),
    [
        ("/connect/token", "OPTIONS, POST", ["GET", "PUT", "DELETE", "PATCH"]),
        (JWKS, "GET, HEAD, OPTIONS", ["POST", "PUT", "DELETE", "PATCH"]),
    ],
)
def test_wrong_methods(desk: Desk, path: str, allowed: str, others: list[str]) -> None:
    """Another method is 405 with those that are known, even with the right secret; OPTIONS names the same ones."""
    for method in others:
        reply = desk.ask(method=method, path=path)
        assert error(reply, 405) == "invalid_request"
        assert reply.headers["Allow"] == allowed
    options = desk.ask("", method="OPTIONS", path=path)
    assert (204, "", allowed) == (options.status, options.text, options.headers["Allow"])
    assert desk.hashed == []


@pytest.mark.parametrize("path", ["/connect/token/", "/.well-known/jwks.json/"])
def test_trailing_slashes(desk: Desk, path: str) -> None:
    """A slash at the end of either path means nothing."""
    method = "POST" if "token" in path else "GET"

    assert desk.ask(method=method, path=path).status == 200


def test_secrets_in_the_query(desk: Desk) -> None:
    """Parameters are read from the form alone, never from the address (RFC 6749, 2.3.1)."""
    query = "&".join(f"{key}={value}" for key, value in desk.good().items())

    assert error(desk.ask("", query=query)) == "invalid_request"
    assert desk.hashed == []
