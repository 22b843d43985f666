"""Keys in KMS: signing of tokens, encryption bound to a context, and the errors of KMS."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import jwt
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ordering.aws import sealer as sealer_module
from ordering.aws.calls import CallRefused, unavailable
from ordering.aws.kms import Kms, connect_kms
from ordering.aws.sealer import EnvelopeSealer
from ordering.errors import Unavailable
from ordering.identity.kms_key import KmsKey
from ordering.identity.tokens import Claims, Signer
from ordering.identity.verifier import KeyRing, Verifier
from ordering.sealing import BrokenSeal
from ordering_tools.operations.signing import jwk_of
from support.aws.kms import MemoryKms

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"


def public(kms: MemoryKms, kms_id: str) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(kms("GetPublicKey", {"KeyId": kms_id})["PublicKey"])
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def token(kms: MemoryKms, kms_id: str = "alias/A", key_id: str = "a") -> str:
    claims = Claims("token-1", "granite", "user-1", datetime.now(UTC) + timedelta(hours=1), None, frozenset({"ecards"}))
    return Signer(KmsKey(kms, key_id, kms_id), ISSUER, AUDIENCE).issue(claims)


# Signing ------------------------------------------------------------------------------------------------------------


def test_tokens_are_verified_by_pyjwt() -> None:
    """PyJWT verifies tokens that KMS signed, by the public key, fifty times over."""
    kms = MemoryKms()

    for _ in range(50):
        claims = jwt.decode(token(kms), public(kms, "alias/A"), algorithms=["ES256"], audience=AUDIENCE)
        assert claims["client_id"] == "granite"


def test_tokens_are_verified_by_our_verifier() -> None:
    """The authorizer's verifier accepts them by the published key."""
    kms = MemoryKms()
    key_id, jwk = jwk_of(public(kms, "alias/A"))

    claims = Verifier(KeyRing(lambda: {key_id: jwk}), ISSUER, AUDIENCE).verify(token(kms, key_id=key_id))
    assert (claims.partner, claims.scope) == ("granite", frozenset({"ecards"}))


def test_another_key_does_not_verify() -> None:
    """A token is not verified by another key."""
    kms = MemoryKms()

    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token(kms, "alias/B"), public(kms, "alias/A"), algorithms=["ES256"], audience=AUDIENCE)


def test_signatures_are_raw() -> None:
    """A signature is raw, two numbers of 32 bytes, instead of DER."""
    kms = MemoryKms()

    assert {len(KmsKey(kms, "a", "alias/A").sign(b"message")) for _ in range(50)} == {64}


def test_request_to_sign() -> None:
    """A token takes one `Sign` call, with the raw message."""
    kms = MemoryKms()
    message = token(kms).rpartition(".")[0]

    assert kms.calls == [
        (
            "Sign",
            {
                "KeyId": "alias/A",
                "Message": message.encode(),
                "MessageType": "RAW",
                "SigningAlgorithm": "ECDSA_SHA_256",
            },
        )
    ]


# Sealing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kms() -> MemoryKms:
    """The keys of one account."""
    return MemoryKms()


@pytest.fixture
def sealer(kms: MemoryKms) -> EnvelopeSealer:
    """A sealer with one of these keys."""
    return EnvelopeSealer(kms, "alias/C")


@pytest.mark.parametrize("plain", [b"", b"x", "код".encode(), bytes(10_000)])
def test_sealed_and_opened(sealer: EnvelopeSealer, plain: bytes) -> None:
    """A sealed text opens in the same context, and the ciphertext does not contain it."""
    sealed = sealer.seal(plain, b"context")

    assert sealer.open(sealed, b"context") == plain
    assert len(plain) < 3 or plain not in sealed


def test_opened_by_another_process(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """Another process that may decrypt with the key can open a sealed text without the key's id."""
    assert EnvelopeSealer(kms).open(sealer.seal(b"code", b"context"), b"context") == b"code"


@pytest.mark.parametrize("context", [b"", b"Context", b"context ", b"contex"])
def test_another_context(sealer: EnvelopeSealer, context: bytes) -> None:
    """A text sealed for one context does not open in another."""
    with pytest.raises(BrokenSeal):
        sealer.open(sealer.seal(b"code", b"context"), context)


def test_another_key(sealer: EnvelopeSealer) -> None:
    """A text sealed with one key does not open with another."""
    with pytest.raises(BrokenSeal):
        EnvelopeSealer(MemoryKms()).open(sealer.seal(b"code", b"context"), b"context")


def test_tampering(sealer: EnvelopeSealer) -> None:
    """A ciphertext with any byte changed, removed or added does not open."""
    sealed = sealer.seal(b"code", b"context")
    flipped = [sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :] for n in range(len(sealed))]
    cut = [sealed[:n] for n in range(len(sealed))]

    for changed in (*flipped, *cut, sealed + b"x"):
        with pytest.raises(BrokenSeal):
            sealer.open(changed, b"context")


def test_a_data_key_that_kms_refuses(answers: Callable[..., list[Any]], connection: Kms) -> None:
    """An encrypted data key that KMS refuses raises BrokenSeal."""
    sealed = EnvelopeSealer(MemoryKms(), "alias/CertificatesKey").seal(b"code", b"context")
    answers(fault("InvalidCiphertextException"))

    with pytest.raises(BrokenSeal):
        EnvelopeSealer(connection).open(sealed, b"context")


def test_the_same_twice(sealer: EnvelopeSealer) -> None:
    """Sealing the same text twice yields different ciphertexts."""
    assert sealer.seal(b"code", b"context") != sealer.seal(b"code", b"context")


def test_one_data_key_for_a_sealer(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """Each sealer generates one 256-bit data key and uses it for everything it seals."""
    for number in range(5):
        sealer.seal(b"code", b"%d" % number)
    EnvelopeSealer(kms, "alias/C").seal(b"code", b"0")

    assert kms.calls == [("GenerateDataKey", {"KeyId": "alias/C", "KeySpec": "AES_256"})] * 2


def test_data_keys_are_opened_once(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """Texts sealed with one data key take one `Decrypt` call to open."""
    sealed = [sealer.seal(b"code", b"%d" % number) for number in range(5)]
    opener = EnvelopeSealer(kms)
    kms.calls.clear()

    assert [opener.open(one, b"%d" % number) for number, one in enumerate(sealed)] == [b"code"] * 5
    assert [operation for operation, _ in kms.calls] == ["Decrypt"]


def test_few_data_keys_are_kept(kms: MemoryKms, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of decrypted data keys is bounded, and evicted ones are decrypted again."""
    monkeypatch.setattr(sealer_module, "_DATA_KEYS", 3)
    sealed = [EnvelopeSealer(kms, "alias/C").seal(b"code", b"context") for _ in range(7)]
    opener = EnvelopeSealer(kms)
    for one in sealed * 2:
        assert opener.open(one, b"context") == b"code"
        assert len(opener._opened) <= 3


def test_nothing_opens_without_kms(kms: MemoryKms) -> None:
    """A process without KMS opens nothing, as data keys are stored encrypted."""
    sealed = EnvelopeSealer(kms, "alias/C").seal(b"code", b"context")
    with pytest.raises(Unavailable):
        EnvelopeSealer(unavailable).open(sealed, b"context")


def test_no_kms() -> None:
    """Without KMS nothing is signed or sealed."""
    with pytest.raises(Unavailable):
        KmsKey(unavailable, "a", "alias/A").sign(b"x")
    with pytest.raises(Unavailable):
        EnvelopeSealer(unavailable, "alias/C").seal(b"x", b"")


# The connection -----------------------------------------------------------------------------------------------------

Step = tuple[int, dict[str, Any]] | Exception
ENDPOINT = "http://127.0.0.1:1"


class Raw(BytesIO):
    """A response body as urllib3 provides it."""

    def stream(self) -> Any:
        yield self.getvalue()


@pytest.fixture(scope="module")
def connection() -> Kms:
    """A connection to KMS."""
    return connect_kms(endpoint_url=ENDPOINT)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Scripts the answers of KMS, the last one repeated; returns the requests."""

    def script(*steps: Step) -> list[Any]:
        sent: list[Any] = []

        def send(_: URLLib3Session, request: Any) -> AWSResponse:
            step = steps[min(len(sent), len(steps) - 1)]
            sent.append(request)
            if isinstance(step, Exception):
                raise step
            status, body = step
            headers: Any = {"Content-Type": "application/x-amz-json-1.1"}
            return AWSResponse(request.url, status, headers, Raw(json.dumps(body).encode()))

        monkeypatch.setattr(URLLib3Session, "send", send)
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        return sent

    return script


def fault(code: str, status: int = 400) -> Step:
    return status, {"__type": code, "message": "no"}


def test_a_call(answers: Callable[..., list[Any]], connection: Kms) -> None:
    """A call is sent under its name in the API, and its answer is returned with bytes decoded."""
    sent = answers((200, {"KeyId": "k", "Plaintext": "eA=="}))
    answer = connection("Decrypt", {"CiphertextBlob": b"x"})

    assert (answer["KeyId"], answer["Plaintext"]) == ("k", b"x")
    assert [request.headers["X-Amz-Target"] for request in sent] == [b"TrentService.Decrypt"]


UNAVAILABLE: dict[str, Step] = {
    "refused": EndpointConnectionError(endpoint_url=ENDPOINT),
    "not connected": ConnectTimeoutError(endpoint_url=ENDPOINT),
    "not answered": ReadTimeoutError(endpoint_url=ENDPOINT),
    "throttled": fault("ThrottlingException"),
    "key": fault("KeyUnavailableException", 500),
    "dependency": fault("DependencyTimeoutException", 503),
    "internal": fault("KMSInternalException", 500),
    "anything that is 500": fault("NewException", 502),
}


@pytest.mark.parametrize("step", UNAVAILABLE.values(), ids=UNAVAILABLE.keys())
def test_unavailable(answers: Callable[..., list[Any]], connection: Kms, step: Step) -> None:
    """A transient error is retried once, then raises Unavailable."""
    sent = answers(step)
    with pytest.raises(Unavailable):
        connection("Decrypt", {"CiphertextBlob": b"x"})

    assert len(sent) == 2


@pytest.mark.parametrize("step", [UNAVAILABLE["throttled"], UNAVAILABLE["internal"], UNAVAILABLE["not answered"]])
def test_retried(answers: Callable[..., list[Any]], connection: Kms, step: Step) -> None:
    """A call that succeeds on its retry returns the answer."""
    sent = answers(step, (200, {"KeyId": "k"}))

    assert connection("Decrypt", {"CiphertextBlob": b"x"})["KeyId"] == "k"
    assert len(sent) == 2


@pytest.mark.parametrize("code", ["AccessDeniedException", "NotFoundException", "DisabledException"])
def test_other_errors_are_not_retried(answers: Callable[..., list[Any]], connection: Kms, code: str) -> None:
    """Any other error raises CallRefused without a retry."""
    sent = answers(fault(code))
    with pytest.raises(CallRefused, match=code):
        connection("Decrypt", {"CiphertextBlob": b"x"})

    assert len(sent) == 1
