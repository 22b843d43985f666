"""Small forms, urlencoded or multipart, read strictly and in time that grows with their length only.

The reader of multipart forms does not parse mails. It accepts what HTTP clients send for fields of text: a boundary,
a few parts, in each a name and a value. Nested parts, encoded names and other transfer encodings are refused.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

LARGEST_FORM = 4_096
"""The largest form in bytes."""

MOST_FIELDS = 20
"""The most fields, or parts, of a form."""

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_LONGEST_LINE = 200
_MOST_LINES = 4

# RFC 2046, 5.1.1: up to 70 characters; quoted if the header field's grammar needs it.
_BOUNDARY = re.compile(
    r"""boundary=(?:"([0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?])"|([0-9A-Za-z'+_.\-]{1,70}))""",
    re.IGNORECASE,
)
_CHARSET = re.compile(r'charset="?utf-8"?', re.IGNORECASE)

# The header lines of a part. .NET does not quote the name, OkHttp adds the length, Apache HttpClient the encoding.
_NAME = re.compile(
    rb'content-disposition: *form-data; *name=(?:"([a-z_]+)"|([a-z_]+))(?:; *filename="[^"]*")?', re.IGNORECASE
)
_IGNORED = re.compile(
    rb"content-type: *text/plain(?:; *charset=[\w.\-\"]+)?|content-length: *[0-9]+"
    rb"|content-transfer-encoding: *(?:7bit|8bit|binary)",
    re.IGNORECASE,
)


class MalformedForm(ValueError):
    """A form cannot be read. The text tells the caller what to send, in ASCII without double quotes."""


def read_form(declared: str, raw: bytes) -> dict[str, str]:
    """Read the fields of a form, each at most once, values as they are.

    Args:
        declared: The request's `Content-Type`.
        raw: At most `LARGEST_FORM` bytes, in UTF-8.

    Raises:
        MalformedForm: The form is too large, declared as something else, malformed, or a field is repeated.
    """
    if len(raw) > LARGEST_FORM:
        raise MalformedForm(f"The form is larger than {LARGEST_FORM:,} bytes.")
    kind, *parameters = (part.strip() for part in declared.split(";"))
    if kind.lower() == URLENCODED:
        pairs = _urlencoded(raw)
    elif kind.lower() == MULTIPART:
        pairs = _multipart(_boundary(declared, parameters), raw)
    else:
        raise MalformedForm(f"Send the form as '{URLENCODED}' or '{MULTIPART}'.")
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise MalformedForm("A form parameter is repeated. Send each one once.")
    return fields


def _urlencoded(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise _malformed() from None


def _boundary(declared: str, parameters: list[str]) -> bytes:
    # No character of a boundary is a semicolon, so the parameters can be split there even if it is quoted.
    found = [match for text in parameters if (match := _BOUNDARY.fullmatch(text))]
    others = [text for text in parameters if text and not _BOUNDARY.fullmatch(text) and not _CHARSET.fullmatch(text)]
    if len(found) != 1 or others or not declared.isprintable():
        raise MalformedForm(f"Declare one boundary of up to 70 characters, as in '{MULTIPART}; boundary=x'.")
    return (found[0][1] or found[0][2]).encode()


def _multipart(boundary: bytes, raw: bytes) -> list[tuple[str, str]]:
    # The boundary is fixed text, so that a delimiter is found in one pass. The text before the first part and after the
    # last is ignored (RFC 2046, 5.1.1), and a line that only begins like a delimiter is part of a value.
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary) + rb"(?P<end>--)?[ \t]*(?=\r\n|\Z)")
    text = b"\r\n" + raw
    pairs: list[tuple[str, str]] = []
    begin: int | None = None
    for found in delimiter.finditer(text):
        if begin is not None:
            pairs.append(_part(text[begin : found.start()]))
        if found["end"]:
            break
        if len(pairs) == MOST_FIELDS:
            raise MalformedForm(f"The form has more than {MOST_FIELDS} parts.")
        begin = found.end()
    else:
        raise _malformed()
    if not pairs:
        raise _malformed()
    return pairs


def _part(part: bytes) -> tuple[str, str]:
    """Read one part: a line end, its header lines, an empty line, and the value."""
    head, empty, value = part.partition(b"\r\n\r\n")
    _, *lines = head.split(b"\r\n", _MOST_LINES + 1)
    names = [match for line in lines if (match := _NAME.fullmatch(line))]
    readable = all(len(line) <= _LONGEST_LINE and (_NAME.fullmatch(line) or _IGNORED.fullmatch(line)) for line in lines)
    if not empty or not readable or len(lines) > _MOST_LINES or len(names) != 1:
        raise MalformedForm(
            "A part of the form could not be read. Send each parameter as a part with its name, as in "
            "'Content-Disposition: form-data; name=scope', and its value as text."
        )
    try:
        return (names[0][1] or names[0][2]).decode(), value.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _malformed() -> MalformedForm:
    return MalformedForm("The form could not be parsed. Send it in UTF-8.")
