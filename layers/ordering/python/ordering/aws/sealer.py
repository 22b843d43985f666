"""Envelope encryption: data keys encrypt secrets, and a symmetric key in KMS encrypts the data keys."""

from __future__ import annotations

import secrets
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ordering.aws.kms import Kms
from ordering.sealing import BrokenSeal
from ordering.values import Struct, field

_NONCE = 12
_DATA_KEYS = 64


class EnvelopeSealer(Struct):
    """Seals secrets with AES-256-GCM under data keys that a symmetric key in KMS encrypts.

    A sealed secret contains its encrypted data key, so opening it takes only the right to decrypt with the key in KMS.
    A sealer uses one data key for all secrets that it seals.

    Args:
        kms_id: The key's id, ARN or alias; not needed to open.
        purpose: Part of KMS's encryption context, by which a policy can limit the right to open. Empty for none. Stored
            format: opening takes the purpose of sealing.
    """

    kms: Kms
    kms_id: str = ""
    purpose: str = ""
    _data_key: tuple[bytes, bytes] | None = None
    _opened: dict[bytes, bytes] = field(default_factory=dict)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt a secret. Opening it takes the same context.

        Raises:
            Unavailable: KMS did not respond.
        """
        if self._data_key is None:
            made = self.kms("GenerateDataKey", {"KeyId": self.kms_id, "KeySpec": "AES_256", **self._context})
            self._data_key = made["Plaintext"], made["CiphertextBlob"]
        key, sealed_key = self._data_key
        nonce = secrets.token_bytes(_NONCE)
        return struct.pack(">H", len(sealed_key)) + sealed_key + nonce + AESGCM(key).encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt a sealed secret.

        Raises:
            BrokenSeal: It was not sealed for this context, or was changed.
            Unavailable: KMS did not respond.
        """
        try:
            (length,) = struct.unpack_from(">H", sealed)
            sealed_key, rest = sealed[2 : 2 + length], sealed[2 + length :]
            return AESGCM(self._key(sealed_key)).decrypt(rest[:_NONCE], rest[_NONCE:], context)
        except (InvalidTag, struct.error, ValueError) as error:
            raise BrokenSeal from error

    @property
    def _context(self) -> dict[str, dict[str, str]]:
        return {"EncryptionContext": {"purpose": self.purpose}} if self.purpose else {}

    def _key(self, sealed_key: bytes) -> bytes:
        if sealed_key not in self._opened:
            if len(self._opened) >= _DATA_KEYS:
                self._opened.clear()
            self._opened[sealed_key] = self.kms("Decrypt", {"CiphertextBlob": sealed_key, **self._context})["Plaintext"]
        return self._opened[sealed_key]
