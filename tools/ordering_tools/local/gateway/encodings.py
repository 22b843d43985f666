"""Content codings as API Gateway has them: bodies of requests are decoded, those of responses are compressed.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

from werkzeug.http import parse_accept_header

from ordering_tools.local.gateway.responses import RefusedError
from ordering_tools.local.http import Answer

_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def decode(body: bytes, coding: str | None, limit: int) -> bytes:
    """Decode a request's body by its `Content-Encoding`.

    Raises:
        RefusedError: It cannot be decoded, or has more than `limit` bytes.
    """
    name = (coding or "identity").strip().lower()
    if name == "identity" or not body:
        content, whole = body, True
    else:
        try:
            decoder = zlib.decompressobj(_WINDOWS[name])
            content = decoder.decompress(body, limit + 1)
        except (KeyError, zlib.error) as error:
            raise RefusedError("UNSUPPORTED_MEDIA_TYPE") from error
        whole = decoder.eof and not decoder.unused_data
    if len(content) > limit:
        raise RefusedError("REQUEST_TOO_LARGE")
    if not whole:
        raise RefusedError("UNSUPPORTED_MEDIA_TYPE")
    return content


def compress(answer: Answer, accepted: str | None, minimum: int | None) -> Answer:
    """Compress a response of at least `minimum` bytes for a client that names a coding; None compresses nothing."""
    encoded = answer.status in (204, 304) or any(name.lower() == "content-encoding" for name, _ in answer.headers)
    if minimum is None or encoded or len(answer.body) < max(minimum, 1):
        return answer
    # `*` names none, as in API Gateway.
    coding = next(
        (name.lower() for name, weight in parse_accept_header(accepted) if weight and name.lower() in _WINDOWS), None
    )
    if coding is None:
        return answer
    body = gzip.compress(answer.body, 6, mtime=0) if coding == "gzip" else zlib.compress(answer.body)
    return replace(answer, headers=[*answer.headers, ("Content-Encoding", coding)], body=body)
