"""Envelope encryption: secrets under data keys, which a symmetric key in KMS encrypts in turn."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ordering.aws.kms import Kms
from ordering.sealing import BrokenSeal

_NONCE = 12
_DATA_KEYS = 64


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
