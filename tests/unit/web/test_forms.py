"""Forms: which are read, that all others are refused, and how long the reader may take."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordering.web.forms import LARGEST_FORM, MOST_FIELDS, MULTIPART, URLENCODED, MalformedForm, read_form

BOUNDARY = "0123456789abcdef"
DECLARED = f"{MULTIPART}; boundary={BOUNDARY}"
NAME = 'Content-Disposition: form-data; name="a"'


def form(*parts: str, boundary: str = BOUNDARY) -> bytes:
    """Write a multipart form of parts that are header lines, an empty line and a value."""
    return ("".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n").encode()


def refused(declared: str, raw: bytes) -> str:
    with pytest.raises(MalformedForm) as raised:
        read_form(declared, raw)
    return str(raised.value)


@pytest.mark.parametrize(
    "head",
    [
        NAME,
        NAME.lower(),
        'Content-Disposition:form-data;name="a"',
        "Content-Disposition: form-data; name=a",
        f'{NAME}; filename="a.txt"',
        f"{NAME}\r\nContent-Type: text/plain",
        f'Content-Type: text/plain; charset="utf-8"\r\n{NAME}',
        f"{NAME}\r\nContent-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit",
        f"{NAME}\r\nContent-Length: 1",
        f"{NAME}\r\n" + "Content-Length: 1\r\n" * 2 + "Content-Length: 1",
    ],
)
def test_parts_of_usual_clients(head: str) -> None:
    """A part is read as curl, browsers, .NET, OkHttp and Apache HttpClient write it."""
    assert read_form(DECLARED, form(f"{head}\r\n\r\n1")) == {"a": "1"}


@pytest.mark.parametrize(
    "head",
    [
        "",
        "X-Other: 1",
        f"{NAME}\r\nX-Other: 1",
        f"{NAME}\r\n{NAME}",
        f"{NAME}\r\n" + "Content-Length: 1\r\n" * 3 + "Content-Length: 1",
        f'{NAME}; filename="{"x" * 200}"',
        f"{NAME}; name=b",
        'Content-Disposition: form-data; name="A b"',
        'Content-Disposition: form-data; name=""',
        "Content-Disposition: form-data; name*=utf-8''a",
        "Content-Disposition: form-data; name*0=a",
        "Content-Disposition: form-data; name*",
        'Content-Disposition: attachment; name="a"',
        'Content-Disposition: (comment) form-data; name="a"',
        'Content-Disposition: form-data;\r\n name="a"',
        f"{NAME}\r\nContent-Type: multipart/mixed; boundary=x",
        f"{NAME}\r\nContent-Type: message/rfc822",
        f"{NAME}\r\nContent-Transfer-Encoding: base64",
        f"{NAME}\nContent-Length: 1",
    ],
)
def test_other_parts(head: str) -> None:
    """A part with any other header line, or with more or longer ones, is refused."""
    assert "Content-Disposition" in refused(DECLARED, form(f"{head}\r\n\r\n1"))


@pytest.mark.parametrize("length", [200, 201])
def test_length_of_a_line(length: int) -> None:
    """A header line has up to 200 bytes."""
    line = f'{NAME}; filename=""'
    raw = form(f'{line[:-1]}{"x" * (length - len(line))}"\r\n\r\n1')

    if length == 200:
        assert read_form(DECLARED, raw) == {"a": "1"}
    else:
        refused(DECLARED, raw)


@pytest.mark.parametrize(
    "declared",
    [
        MULTIPART,
        f"{MULTIPART}; boundary=",
        f'{MULTIPART}; boundary=""',
        f"{MULTIPART}; boundary={'x' * 71}",
        f'{MULTIPART}; boundary="{"x" * 70} "',
        f"{MULTIPART}; boundary={BOUNDARY}; boundary={BOUNDARY}",
        f"{MULTIPART}; boundary*={BOUNDARY}",
        f"{MULTIPART}; boundary={BOUNDARY}; x=1",
        f"{MULTIPART}; boundary={BOUNDARY}; charset=latin-1",
        f"{MULTIPART}; boundary={BOUNDARY}\r\nX: 1",
        f"{MULTIPART}; boundary={BOUNDARY}\r\n",
        f"{MULTIPART}; boundary=é",
        f"{MULTIPART}; boundary=\ud800",
    ],
)
def test_boundaries_that_are_none(declared: str) -> None:
    """A declaration needs one boundary of up to 70 characters, and nothing but a character set beside it."""
    assert "boundary" in refused(declared, form(f"{NAME}\r\n\r\n1"))


@pytest.mark.parametrize("kind", [MULTIPART, URLENCODED])
def test_number_of_fields(kind: str) -> None:
    """A form has up to 20 fields, or parts."""
    names = [chr(ord("a") + number) for number in range(MOST_FIELDS + 1)]
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n1' for name in names]

    def write(count: int) -> bytes:
        return form(*parts[:count]) if kind == MULTIPART else "&".join(f"{name}=1" for name in names[:count]).encode()

    declared = DECLARED if kind == MULTIPART else kind
    assert len(read_form(declared, write(MOST_FIELDS))) == MOST_FIELDS == 20
    assert refused(declared, write(MOST_FIELDS + 1))


def test_size() -> None:
    """A form has up to 4 KiB."""
    raw = b"a=" + b"x" * (LARGEST_FORM - 2)

    assert (LARGEST_FORM, len(read_form(URLENCODED, raw)["a"])) == (4_096, 4_094)
    assert "4,096 bytes" in refused(URLENCODED, raw + b"x")


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        (DECLARED, form(f"{NAME}\r\nContent-Type: {'(' * 3_900}\r\n\r\n1")),
        (DECLARED, form(NAME + "\r\nContent-Type: " + "(\\a)" * 950 + "\r\n\r\n1")),
        (DECLARED, form(NAME + "\r\n\r\n" + f"--{BOUNDARY} " * 200)),
        (DECLARED, f"--{BOUNDARY}\r\n".encode() * 220),
        (DECLARED, f"\r\n--{BOUNDARY}{' ' * 4_000}".encode()),
        (DECLARED, b"\r\n" * 2_048),
        (f'{MULTIPART}; boundary="{" " * 69}x"', (b"\r\n--" + b" " * 68) * 56),
        (f"{MULTIPART}; boundary={'-' * 70}", b"\r\n" + b"-" * 4_094),
        (f"{MULTIPART}; " + "boundary=x;" * 900, form(f"{NAME}\r\n\r\n1")),
        (f"{MULTIPART}; boundary=" + '"' * 10_000, form(f"{NAME}\r\n\r\n1")),
        (URLENCODED, b"%" * 4_096),
        (URLENCODED, b"&" * 4_096),
        (URLENCODED, b"%ff" * 1_365),
    ],
    ids=range(13),
)
def test_time(declared: str, raw: bytes) -> None:
    """The worst forms, read or refused, take at most 20 milliseconds of the processor."""
    began = time.process_time()
    for _ in range(5):
        with suppress(MalformedForm):
            read_form(declared, raw)

    assert time.process_time() - began < 5 * 0.02


TEXTS = st.sampled_from(
    [f"--{BOUNDARY}", f"\r\n--{BOUNDARY}\r\n", f"\r\n--{BOUNDARY}--", "\r\n", "\r\n\r\n", "\n", "\x00", NAME, ": ", ";",
     "=", '"', "*", "name=", "filename=", "Content-Type: ", "text/plain", "charset=x", "multipart/mixed", "boundary=",
     "Content-Transfer-Encoding: base64", "((((", "=?utf-8?q?=ff?=", "%", "%ff", "&", "a=1", "\ud800", "\x85"]
)  # fmt: skip
PIECES = st.lists(TEXTS | st.text(max_size=4), max_size=16).map("".join)
KINDS = st.sampled_from([DECLARED, f"{MULTIPART}; boundary=", MULTIPART, URLENCODED, ""])


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(kind=KINDS, more=PIECES, text=PIECES)
def test_nothing_but_a_refusal(kind: str, more: str, text: str) -> None:
    """Any declaration and any bytes are read as fields of text or refused; no other exception is raised."""
    for declared in (kind, kind + more):
        with suppress(MalformedForm):
            fields = read_form(declared, text.encode("utf-8", "surrogatepass"))
            assert {name.encode().decode(): value.encode().decode() for name, value in fields.items()} == fields


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(
    fields=st.dictionaries(
        st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda value: BOUNDARY not in value),
        min_size=1,
        max_size=9,
    )
)
def test_what_is_written_is_read(fields: dict[str, str]) -> None:
    """Every field of a well-formed multipart form is read as it was written, line ends and all."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]

    assert read_form(DECLARED, form(*parts)) == fields
