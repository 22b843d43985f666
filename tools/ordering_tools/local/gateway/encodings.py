"""Content codings as API Gateway has them: bodies of requests are decoded, those of responses are compressed.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ordering_tools.local.gateway.responses import Answer

_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_NOTHING = (204, 304)


class EncodingError(Exception):
    """A body is not encoded as its `Content-Encoding` says, or that names a coding that is not supported."""


class DecodedTooLargeError(Exception):
    """A body is over the limit when it is decoded."""


def decode(body: bytes, coding: str | None, limit: int) -> bytes:
    """Decode a request's body by its `Content-Encoding`.

    Raises:
        EncodingError: It cannot be decoded.
        DecodedTooLargeError: It has more than `limit` bytes.
    """
    name = (coding or "identity").strip().lower()
    if name == "identity" or not body:
        return body
    if name not in _WINDOWS:
        raise EncodingError(name)
    decoder = zlib.decompressobj(_WINDOWS[name])
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise EncodingError(str(error)) from error
    if len(content) > limit:
        raise DecodedTooLargeError
    if not decoder.eof or decoder.unused_data:
        raise EncodingError("the body does not end where its content does")
    return content


def compress(answer: Answer, accepted: str | None, minimum: int | None) -> Answer:
    """Compress a response of at least `minimum` bytes for a client that names a coding; None compresses nothing."""
    names = {name.lower() for name, _ in answer.headers}
    coding = _coding(accepted or "")
    if minimum is None or coding is None or answer.status in _NOTHING or "content-encoding" in names:
        return answer
    if not answer.body or len(answer.body) < minimum:
        return answer
    body = gzip.compress(answer.body, 6, mtime=0) if coding == "gzip" else zlib.compress(answer.body)
    return replace(answer, headers=[*answer.headers, ("Content-Encoding", coding)], body=body)


def _coding(accepted: str) -> str | None:
    """The supported coding that the client likes best. `*` names none, as in API Gateway."""
    weights = {}
    for part in accepted.split(","):
        name, _, parameter = part.partition(";")
        found = re.fullmatch(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*", parameter, re.IGNORECASE)
        weights[name.strip().lower()] = float(found[1]) if found else 1.0
    best = max(_WINDOWS, key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best) else None
