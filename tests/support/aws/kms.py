"""KMS in memory: the operations that the code uses, with real cryptography."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ordering.sealing import BrokenSeal

_NONCE = 12


def _context(request: dict[str, Any]) -> bytes | None:
    context = request.get("EncryptionContext")
    return json.dumps(context, sort_keys=True).encode() if context else None


@dataclass
class MemoryKms:
    """Keys that come into being when they are first named: P-256 to sign, AES to seal."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _signing: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    _sealing: bytes = field(default_factory=lambda: AESGCM.generate_key(256))

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, request))
        match operation:
            case "Sign":
                assert (request["MessageType"], request["SigningAlgorithm"]) == ("RAW", "ECDSA_SHA_256")
                key = self._key(request["KeyId"])
                return {"Signature": key.sign(request["Message"], ec.ECDSA(hashes.SHA256()))}
            case "GetPublicKey":
                public = self._key(request["KeyId"]).public_key()
                form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
                return {"PublicKey": public.public_bytes(*form)}
            case "GenerateDataKey":
                plain = AESGCM.generate_key(256)
                nonce = secrets.token_bytes(_NONCE)
                sealed = nonce + AESGCM(self._sealing).encrypt(nonce, plain, _context(request))
                return {"Plaintext": plain, "CiphertextBlob": sealed}
            case "Decrypt":
                blob = request["CiphertextBlob"]
                try:
                    return {"Plaintext": AESGCM(self._sealing).decrypt(blob[:_NONCE], blob[_NONCE:], _context(request))}
                except InvalidTag as error:
                    raise BrokenSeal from error
        raise NotImplementedError(operation)

    def _key(self, key_id: str) -> ec.EllipticCurvePrivateKey:
        return self._signing.setdefault(key_id, ec.generate_private_key(ec.SECP256R1()))
