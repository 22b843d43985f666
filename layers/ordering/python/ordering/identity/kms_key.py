"""The key in KMS that signs tokens."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ordering.aws.kms import Kms
from ordering.values import Value

_BYTES = 32
"""Bytes of a number of P-256."""


class KmsKey(Value):
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
        # KMS writes DER, a JWS has the two numbers one after the other (RFC 7518, 3.4).
        return b"".join(
            number.to_bytes(_BYTES) for number in decode_dss_signature(self.kms("Sign", request)["Signature"])
        )
