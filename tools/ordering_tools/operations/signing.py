"""The development key, which signs the tokens of the local run and is not valid anywhere else."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "signing-key.pem"


@dataclass(frozen=True)
class SigningKey:
    """A private key with the id and the public part that tokens are verified by."""

    key_id: str
    private_key: str
    public_jwk: dict[str, Any]


def development_key(state: Path) -> SigningKey:
    """The key in the folder `state`; the first call creates its file, which only the owner can read."""
    path = state / _FILE
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True)
        private = ec.generate_private_key(ec.SECP256R1())
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
    return signing_key(path.read_text())


def signing_key(pem: str) -> SigningKey:
    """Read a private P-256 key in PEM; its id is its thumbprint (RFC 7638).

    Raises:
        TypeError: It is another kind of key.
    """
    loaded = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the signing key is not a P-256 key")
    key_id, jwk = jwk_of(loaded.public_key())
    return SigningKey(key_id, pem, jwk)


def jwk_of(public: ec.EllipticCurvePublicKey) -> tuple[str, dict[str, Any]]:
    """The id of a public key, which is its thumbprint (RFC 7638), and the key as a JWK (RFC 7517).

    The thumbprint is in hexadecimal: in base64url it could start with a hyphen, and look like a command's option.
    """
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(public, as_dict=True)
    essential = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(essential, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest(), essential
