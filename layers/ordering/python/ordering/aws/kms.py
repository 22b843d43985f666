"""AWS KMS: keys that sign, and keys that seal what is stored.

A `Kms` is one callable through which every call passes, by its name in the API. When KMS does not answer,
`errors.Unavailable` is raised.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwt.utils import der_to_raw_signature

from ordering.aws import calls as aws
from ordering.aws.calls import Call, CallRefused
from ordering.errors import Unavailable

Kms = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out one operation of KMS and returns its answer."""

_NONCE = 12
_DATA_KEYS = 64


class BrokenSeal(Exception):
    """What was sealed was changed, or is not what it is said to be."""


def connect(**settings: Any) -> Kms:
    """Make a connection with botocore's own credentials, region and endpoint resolution.

    What it returns raises `aws.Refused` where no second try can help.

    Args:
        settings: Further arguments of botocore's `create_client`, for instance `endpoint_url`.
    """
    return _twice(aws.connect("kms", **settings))


def connect_when_called() -> Kms:
    """Make a connection that is made with the first call: most functions make none."""
    return _twice(aws.connect_when_called("kms"))


def _twice(call: Call) -> Kms:
    """Try again once what passes: all that is asked of KMS can be asked again."""

    def once(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(operation, request)
        except CallRefused as refusal:
            if refusal.code == "InvalidCiphertextException":
                raise BrokenSeal from refusal
            raise

    def twice(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return once(operation, request)
        except Unavailable:
            return once(operation, request)

    return twice


def nowhere(operation: str, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - as every `Kms`
    """Be no KMS.

    Raises:
        Unavailable: Always.
    """
    raise Unavailable


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A P-256 key in KMS that signs tokens."""

    kms: Kms
    key_id: str
    kms_id: str
    """The key's id, ARN or alias in KMS."""

    @property
    def algorithm(self) -> str:
        """The algorithm of its signatures."""
        return "ES256"

    def sign(self, message: bytes) -> bytes:
        """Sign a message of up to 4,096 bytes.

        Raises:
            Unavailable: KMS does not answer.
        """
        request = {
            "KeyId": self.kms_id,
            "Message": message,
            "MessageType": "RAW",
            "SigningAlgorithm": "ECDSA_SHA_256",
        }
        # KMS writes DER, a JWS has the two numbers one after the other.
        return der_to_raw_signature(self.kms("Sign", request)["Signature"], SECP256R1())


@dataclass(slots=True)
class EnvelopeSealer:
    """Seals secrets with data keys (AES-256-GCM) that a symmetric key in KMS seals in turn.

    What is sealed carries its data key, so that opening needs the right to decrypt with the key in KMS and nothing
    else. One data key seals up to as many secrets as one `EnvelopeSealer` is used for.

    Args:
        kms_id: The key's id, ARN or alias; not needed to open.
    """

    kms: Kms
    kms_id: str = ""
    _data_key: tuple[bytes, bytes] | None = None
    _opened: dict[bytes, bytes] = field(default_factory=dict)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Seal a secret for a context, without which it cannot be opened.

        Raises:
            Unavailable: KMS does not answer.
        """
        if self._data_key is None:
            made = self.kms("GenerateDataKey", {"KeyId": self.kms_id, "KeySpec": "AES_256"})
            self._data_key = made["Plaintext"], made["CiphertextBlob"]
        key, sealed_key = self._data_key
        nonce = secrets.token_bytes(_NONCE)
        return struct.pack(">H", len(sealed_key)) + sealed_key + nonce + AESGCM(key).encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            BrokenSeal: It was not sealed for this context, or was changed.
            Unavailable: KMS does not answer.
        """
        try:
            (length,) = struct.unpack_from(">H", sealed)
            sealed_key, rest = sealed[2 : 2 + length], sealed[2 + length :]
            return AESGCM(self._key(sealed_key)).decrypt(rest[:_NONCE], rest[_NONCE:], context)
        except (InvalidTag, struct.error, ValueError) as error:
            raise BrokenSeal from error

    def _key(self, sealed_key: bytes) -> bytes:
        if sealed_key not in self._opened:
            if len(self._opened) >= _DATA_KEYS:
                self._opened.clear()
            self._opened[sealed_key] = self.kms("Decrypt", {"CiphertextBlob": sealed_key})["Plaintext"]
        return self._opened[sealed_key]
