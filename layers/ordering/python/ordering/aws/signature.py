"""AWS Signature Version 4: how a service knows who calls it, and that the call arrived as it was sent.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsCredentials:
    """A key that signs, with the token of its session if it is temporary. `repr` leaves all of it out."""

    __slots__ = ("key_id", "secret", "token")

    def __init__(self, key_id: str, secret: str, token: str = "") -> None:
        """Keep the parts of the key."""
        self.key_id = key_id
        self.secret = secret
        self.token = token


class CallSigner:
    """Signs POST requests without a query to one service in one region."""

    def __init__(self, service: str, region: str) -> None:
        """Take the service's name for signing."""
        self._service = service
        self._region = region
        self._derived: tuple[str, str, bytes] = ("", "", b"")

    def sign(
        self, credentials: AwsCredentials, at: float, path: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Return the header fields of a request, with those that sign it.

        Args:
            credentials: Whose call it is.
            at: The time in seconds since 1970. The service refuses one that is more than five minutes off.
            path: The path, of unreserved characters and slashes only.
            headers: The fields that are signed, `host` among them, by their names in lower case. No value begins or
                ends with a blank, or has two in a row.
            body: The body, as it is sent.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        day = stamp[:8]
        signed = {**headers, "x-amz-date": stamp}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        listed = ";".join(names)
        fields = [f"{name}:{signed[name]}" for name in names]
        canonical = "\n".join(["POST", path, "", *fields, "", listed, hashlib.sha256(body).hexdigest()])
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.digest(self._key(credentials.secret, day), text.encode(), "sha256").hex()
        value = f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={listed}, Signature={signature}"
        return {**signed, "authorization": value}

    def _key(self, secret: str, day: str) -> bytes:
        """Return the key of a day, which is derived once."""
        known_secret, known_day, key = self._derived
        if (secret, day) != (known_secret, known_day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = secret, day, key
        return key
