"""The credentials of a function: those in its environment, or with SnapStart those of an endpoint beside it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ordering.aws.http_connections import NotReached
from ordering.aws.signature import AwsCredentials

if TYPE_CHECKING:
    from http.client import HTTPResponse

GetCredentials = Callable[[], AwsCredentials]
"""Returns credentials that are valid now.

Raises:
    NotReached: They could not be fetched.
"""

RENEWED_BEFORE = 600.0
"""Seconds before their end at which credentials are fetched anew."""

FETCHED_WITHIN = 2.0
"""Seconds that fetching may take, each for the connection and for the response."""

_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_HOSTS = re.compile(r"localhost|127\.[0-9.]+|::1|169\.254\.170\.(?:2|23)|fd00:ec2::23")
"""The hosts that may be asked without TLS: this machine, and AWS's own beside a container."""


class NoCredentials(Exception):
    """The environment names no source of credentials that may be used."""


def credentials_of(settings: Mapping[str, str]) -> GetCredentials:
    """Return the source of a function's credentials, as its environment variables name it.

    Raises:
        NoCredentials: They name none, or one that may not be asked.
    """
    key_id, secret = settings.get("AWS_ACCESS_KEY_ID"), settings.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        given = AwsCredentials(key_id, secret, settings.get("AWS_SESSION_TOKEN", ""))
        return lambda: given
    if address := settings.get(_URI):
        return ContainerCredentials(address, settings)
    raise NoCredentials(
        f"there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or {_URI}, as Lambda does"
    )


class ContainerCredentials:
    """Fetches credentials from an endpoint beside the function, and anew before they end."""

    def __init__(self, address: str, settings: Mapping[str, str]) -> None:
        """Take the endpoint's URL, and the variables that have the authorization for it.

        Raises:
            NoCredentials: The endpoint is neither on this machine nor AWS's.
        """
        self._url = urlsplit(address)
        if self._url.scheme != "http" or not _HOSTS.fullmatch(self._url.hostname or ""):
            raise NoCredentials(f"{_URI} must be http:// and an address of this machine, or AWS's beside a container")
        self._settings = settings
        self._lock = threading.Lock()
        self._found: AwsCredentials | None = None
        self._ends = 0.0

    def __call__(self) -> AwsCredentials:
        """Return credentials; those that are near their end are used while no others can be had.

        Raises:
            NotReached: They could not be fetched.
        """
        with self._lock:
            if self._found is None or time.time() > self._ends - RENEWED_BEFORE:
                try:
                    self._found, self._ends = self._fetch()
                except NotReached:
                    if self._found is None or time.time() > self._ends:
                        raise
            return self._found

    def _fetch(self) -> tuple[AwsCredentials, float]:
        # Imported here, because it takes some milliseconds, and only a function with SnapStart fetches credentials.
        from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - as above

        host, port = self._url.hostname or "", self._url.port or 80
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        connection = HTTPConnection(host, port, timeout=FETCHED_WITHIN)
        try:
            connection.request("GET", path, headers=self._authorization())
            return _parsed(connection.getresponse())
        except (OSError, HTTPException, ValueError, KeyError) as error:
            # Only the class: a text can quote the response.
            raise NotReached(f"{_URI} gave no credentials: {type(error).__name__}") from error
        finally:
            connection.close()

    def _authorization(self) -> dict[str, str]:
        token = self._settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if file := self._settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = Path(file).read_text(encoding="utf-8").strip()
        return {"Authorization": token} if token else {}


def _parsed(response: HTTPResponse) -> tuple[AwsCredentials, float]:
    """Return credentials, and when they end in seconds since 1970.

    Raises:
        ValueError, KeyError: The response has none.
    """
    body = response.read()
    if response.status != 200:
        raise ValueError(response.status)
    found = json.loads(body)
    ends = datetime.fromisoformat(found["Expiration"]).timestamp()
    return AwsCredentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"]), ends
