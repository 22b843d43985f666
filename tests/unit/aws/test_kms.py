"""Keys in KMS: what they sign is a token, what they seal opens where it should, and what becomes of KMS's errors."""

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
from ordering.identity.tokens import Claims, KeyRing, Signer, Verifier
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


def test_what_is_signed_is_a_jws() -> None:
    """PyJWT verifies what KMS signed by the key's public part, many times over, whatever the two numbers are."""
    kms = MemoryKms()

    for _ in range(50):
        claims = jwt.decode(token(kms), public(kms, "alias/A"), algorithms=["ES256"], audience=AUDIENCE)
        assert claims["client_id"] == "granite"


def test_our_verifier_takes_it() -> None:
    """So does the verifier of the authorizer, by the key as it is published."""
    kms = MemoryKms()
    key_id, jwk = jwk_of(public(kms, "alias/A"))

    claims = Verifier(KeyRing(lambda: {key_id: jwk}), ISSUER, AUDIENCE).verify(token(kms, key_id=key_id))
    assert (claims.partner, claims.scope) == ("granite", frozenset({"ecards"}))


def test_another_key_does_not_verify() -> None:
    """A token is good for the key that signed it only."""
    kms = MemoryKms()

    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token(kms, "alias/B"), public(kms, "alias/A"), algorithms=["ES256"], audience=AUDIENCE)


def test_signatures_are_raw() -> None:
    """A signature is the two numbers of 32 bytes each, not DER."""
    kms = MemoryKms()

    assert {len(KmsKey(kms, "a", "alias/A").sign(b"message")) for _ in range(50)} == {64}


def test_what_is_asked_of_kms() -> None:
    """The message itself is sent, to be hashed and signed by the key of that id, once for each token."""
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
    """Keys of one account."""
    return MemoryKms()


@pytest.fixture
def sealer(kms: MemoryKms) -> EnvelopeSealer:
    """Seals with a key of it."""
    return EnvelopeSealer(kms, "alias/C")


@pytest.mark.parametrize("plain", [b"", b"x", "код".encode(), bytes(10_000)])
def test_sealed_and_opened(sealer: EnvelopeSealer, plain: bytes) -> None:
    """What was sealed is opened under the same context, and is not to be seen in what is stored."""
    sealed = sealer.seal(plain, b"context")

    assert sealer.open(sealed, b"context") == plain
    assert len(plain) < 3 or plain not in sealed


def test_opened_by_another_process(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """Whoever may decrypt with the key can open, without knowing its id."""
    assert EnvelopeSealer(kms).open(sealer.seal(b"code", b"context"), b"context") == b"code"


@pytest.mark.parametrize("context", [b"", b"Context", b"context ", b"contex"])
def test_another_context(sealer: EnvelopeSealer, context: bytes) -> None:
    """What was sealed for one context opens under no other."""
    with pytest.raises(BrokenSeal):
        sealer.open(sealer.seal(b"code", b"context"), context)


def test_another_key(sealer: EnvelopeSealer) -> None:
    """What one key sealed no other opens."""
    with pytest.raises(BrokenSeal):
        EnvelopeSealer(MemoryKms()).open(sealer.seal(b"code", b"context"), b"context")


def test_tampering(sealer: EnvelopeSealer) -> None:
    """Whichever byte is changed, left out or added, nothing is opened."""
    sealed = sealer.seal(b"code", b"context")
    flipped = [sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :] for n in range(len(sealed))]
    cut = [sealed[:n] for n in range(len(sealed))]

    for changed in (*flipped, *cut, sealed + b"x"):
        with pytest.raises(BrokenSeal):
            sealer.open(changed, b"context")


def test_a_data_key_that_kms_refuses(answers: Callable[..., list[Any]], connection: Kms) -> None:
    """A data key that was changed, which KMS itself refuses, is a broken seal too."""
    sealed = EnvelopeSealer(MemoryKms(), "alias/CertificatesKey").seal(b"code", b"context")
    answers(fault("InvalidCiphertextException"))

    with pytest.raises(BrokenSeal):
        EnvelopeSealer(connection).open(sealed, b"context")


def test_the_same_twice(sealer: EnvelopeSealer) -> None:
    """The same secret under the same context is sealed differently each time."""
    assert sealer.seal(b"code", b"context") != sealer.seal(b"code", b"context")


def test_one_data_key_for_a_sealer(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """All that one sealer seals has one data key, of the key in KMS and 256 bits; another sealer has its own."""
    for number in range(5):
        sealer.seal(b"code", b"%d" % number)
    EnvelopeSealer(kms, "alias/C").seal(b"code", b"0")

    assert kms.calls == [("GenerateDataKey", {"KeyId": "alias/C", "KeySpec": "AES_256"})] * 2


def test_data_keys_are_opened_once(kms: MemoryKms, sealer: EnvelopeSealer) -> None:
    """What has the same data key needs one call to open, however much it is."""
    sealed = [sealer.seal(b"code", b"%d" % number) for number in range(5)]
    opener = EnvelopeSealer(kms)
    kms.calls.clear()

    assert [opener.open(one, b"%d" % number) for number, one in enumerate(sealed)] == [b"code"] * 5
    assert [operation for operation, _ in kms.calls] == ["Decrypt"]


def test_few_data_keys_are_kept(kms: MemoryKms, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process keeps a bounded number of opened data keys, and opens any of them again."""
    monkeypatch.setattr(sealer_module, "_DATA_KEYS", 3)
    sealed = [EnvelopeSealer(kms, "alias/C").seal(b"code", b"context") for _ in range(7)]
    opener = EnvelopeSealer(kms)
    for one in sealed * 2:
        assert opener.open(one, b"context") == b"code"
        assert len(opener._opened) <= 3


def test_nothing_opens_without_kms(kms: MemoryKms) -> None:
    """What is stored does not hold its data key in the open: a process without KMS opens nothing."""
    sealed = EnvelopeSealer(kms, "alias/C").seal(b"code", b"context")
    with pytest.raises(Unavailable):
        EnvelopeSealer(unavailable).open(sealed, b"context")


def test_no_kms() -> None:
    """Without KMS nothing is signed and nothing sealed."""
    with pytest.raises(Unavailable):
        KmsKey(unavailable, "a", "alias/A").sign(b"x")
    with pytest.raises(Unavailable):
        EnvelopeSealer(unavailable, "alias/C").seal(b"x", b"")


# The connection -----------------------------------------------------------------------------------------------------

Step = tuple[int, dict[str, Any]] | Exception
ENDPOINT = "http://127.0.0.1:1"


class Raw(BytesIO):
    """A body as urllib3 hands it on."""

    def stream(self) -> Any:
        yield self.getvalue()


@pytest.fixture(scope="module")
def connection() -> Kms:
    """A connection to KMS."""
    return connect_kms(endpoint_url=ENDPOINT)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Has KMS's endpoint answer with these, one after another and then the last again; returns what was sent."""

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
    """A call is sent under its name in the API, and its answer comes back, bytes as bytes."""
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
    """What passes is tried once more, and then is `Unavailable`."""
    sent = answers(step)
    with pytest.raises(Unavailable):
        connection("Decrypt", {"CiphertextBlob": b"x"})

    assert len(sent) == 2


@pytest.mark.parametrize("step", [UNAVAILABLE["throttled"], UNAVAILABLE["internal"], UNAVAILABLE["not answered"]])
def test_tried_again(answers: Callable[..., list[Any]], connection: Kms, step: Step) -> None:
    """What passed is answered."""
    sent = answers(step, (200, {"KeyId": "k"}))

    assert connection("Decrypt", {"CiphertextBlob": b"x"})["KeyId"] == "k"
    assert len(sent) == 2


@pytest.mark.parametrize("code", ["AccessDeniedException", "NotFoundException", "DisabledException"])
def test_what_no_second_try_can_mend(answers: Callable[..., list[Any]], connection: Kms, code: str) -> None:
    """A mistake of ours is raised as it is, at once."""
    sent = answers(fault(code))
    with pytest.raises(CallRefused, match=code):
        connection("Decrypt", {"CiphertextBlob": b"x"})

    assert len(sent) == 1
