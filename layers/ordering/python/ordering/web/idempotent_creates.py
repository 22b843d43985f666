"""The header fields of idempotent creates, the same in every contract: `Idempotency-Key` and `Idempotent-Replayed`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from ordering.web.documents import Documented
from ordering.web.header_fields import unquoted

REPLAYED: Mapping[str, Any] = {
    "Idempotent-Replayed": {
        "description": "`true` if this is the stored response to an earlier request with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
}
"""The header field of responses to creates, for the OpenAPI document."""

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def _key(text: str) -> str:
    # The draft of the field has a quoted string, the APIs before it a plain text: "k" and k are one key.
    plain = unquoted(text)
    key = text if plain is None else plain
    if not _KEY.fullmatch(key):
        raise PydanticCustomError("invalid_format", "Must be 1 to 255 printable ASCII characters")
    return key


class CreateHeaders(BaseModel):
    """Header fields of a create."""

    idempotency_key: (
        Annotated[
            str, AfterValidator(_key), Documented({"pattern": "^[!#-~][ -~]*$", "minLength": 1, "maxLength": 255})
        ]
        | None
    ) = Field(
        None,
        alias="Idempotency-Key",
        description="A key of your choice, 1 to 255 printable ASCII characters, plain or as a quoted string. The same "
        "key with the same body gets the first response again, with `Idempotent-Replayed: true`. The same key with "
        "another body gets 422. Keys are kept for at least 24 hours.",
    )


def fingerprint(target: str, body: BaseModel) -> str:
    """Return a hash of a request's contents; the spacing and the order of fields in its JSON do not change it.

    Stored format: retries are compared with it as long as their idempotency key is remembered. A field added later
    must have a default, so that earlier requests keep their fingerprints.

    Args:
        target: What the request is about, beside its body.
    """
    meaning = f"{target} {body.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(meaning.encode()).hexdigest()


def replayed_header(*, replayed: bool) -> dict[str, str]:
    """Return the header field that marks a replayed response."""
    return {"Idempotent-Replayed": "true"} if replayed else {}
