"""Header fields by RFC 9110's grammar."""

from __future__ import annotations

import pytest

from ordering.web.header_fields import (
    accepts_json,
    combined,
    is_json_type,
    media_type,
    split_unquoted,
    strong_tag,
    strong_tags,
    unquoted,
)
from ordering.web.http import Request, normal_path


def test_lines_of_a_field() -> None:
    """Different lines of a field are one list, equal ones are one value, and names have no case."""
    lines = {"Accept": ["a", "b"], "accept": ["c"], "Content-Type": ["x", "x"], "X-Empty": []}

    assert combined(lines) == (
        {"accept": "a, b, c", "content-type": "x", "x-empty": ""},
        frozenset({"accept"}),
    )


def test_headers_without_lines() -> None:
    """An event with `headers` only has the same fields."""
    event = {"httpMethod": "GET", "path": "/a", "headers": {"Accept": "a"}, "requestContext": {"requestId": "1"}}

    request = Request.of(event)

    assert (request.headers, request.single("ACCEPT"), request.single("x")) == ({"accept": "a"}, "a", None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("a", ["a"]),
        (" a ,\tb,,c", ["a", "b", "", "c"]),
        ('a="x,y", b="\\",", c', ['a="x,y"', 'b="\\","', "c"]),
        ('"a, b', ['"a, b']),
    ],
)
def test_lists(text: str, parts: list[str]) -> None:
    """A separator in a quoted string does not separate."""
    assert list(split_unquoted(text, ",")) == parts


@pytest.mark.parametrize(
    ("text", "content"),
    [('"k"', "k"), ('""', ""), ('"a\\"b\\\\c"', 'a"b\\c'), ("k", None), ('"k', None), ('"a"b"', None), ('"k\\"', None)],
)
def test_quoted_strings(text: str, content: str | None) -> None:
    """A quoted string's content is unescaped, and any other text is not a quoted string."""
    assert unquoted(text) == content


def test_media_types() -> None:
    """A media type has parameters with tokens or quoted strings as values."""
    assert media_type('Text/HTML ; Level=1;; a="x;y"') == ("text/html", [("level", "1"), ("a", "x;y")])
    assert [media_type(text) for text in ("", "json", "a/b/c", "a/", "a/b, c/d", "a/b;c", "a/b;c =d", 'a/b;c="')] == (
        [None] * 8
    )


@pytest.mark.parametrize(
    "text",
    ["application/json", "APPLICATION/JSON ; Charset=UTF-8", 'application/json;charset="utf\\-8"', "application/json;",
     "application/json; profile=x", "application/json;charset=us-ascii;odata=verbose", "application/a!b+json",
     'application/json; a="; charset=utf-16"'],
)  # fmt: skip
def test_json_types(text: str) -> None:
    """JSON in UTF-8 may be declared in any notation of the grammar."""
    assert is_json_type(text)


@pytest.mark.parametrize(
    "text",
    ["", "json", "text/json", "application/jsonp", "application/json,", "application/json; charset=utf-16",
     "application/json;charset=utf-8;charset=utf-16", "application/json; charset",
     "application/json, application/json"],
)  # fmt: skip
def test_no_json_types(text: str) -> None:
    """Another type, another character set, or a text outside the grammar does not declare JSON."""
    assert not is_json_type(text)


@pytest.mark.parametrize(
    "accept",
    [None, "", " , ", "application/json", "text/html, application/json", "*; q=.2",
     "application/json;q=0, */*;q=1, application/json;charset=utf-8", 'text/html;a="x, y;q=0", */*',
     "application/json;profile=x", "*/*;q=0.001", "text/html;q=0, application/*"],
)  # fmt: skip
def test_admitted(accept: str | None) -> None:
    """JSON is admitted by the most specific range with a weight above 0."""
    assert accepts_json(accept)


@pytest.mark.parametrize(
    "accept",
    ["text/html", 'text/html;a="application/json, */*"', "application/json;q=0, */*", "*/*;q=0.000", "*/*;q=.0",
     "application/*;q=0, */*", 'application/json;a="b,";q=0'],
)  # fmt: skip
def test_not_admitted(accept: str) -> None:
    """A field without a range for JSON, or with weight 0 for it, does not admit it."""
    assert not accepts_json(accept)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/v2/orders/%31", "/v2/orders/1"),
        ("/%76%32/o%72ders", "/v2/orders"),
        ("/%7e%5F%2D%2e", "/~_-."),
        ("/a%2Fb%20%C3%BC", "/a%2Fb%20%C3%BC"),
        ("/%2531", "/%2531"),
        ("/%3", "/%3"),
        ("/%zz", "/%zz"),
    ],
)
def test_normal_paths(path: str, normal: str) -> None:
    """Unreserved characters are decoded once, and all others stay encoded."""
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    ("field", "versions"),
    [
        ('"1"', {"1"}),
        (' "1" ,\t"a,b" , , "1"', {"1", "a,b"}),
        (',"",', {""}),
        ('"a\\", "b"', {"a\\", "b"}),
        ('"é*"', {"é*"}),
        ('W/"1"', set()),
        ('W/"1","2"', {"2"}),
        ('""', {""}),
    ],
)
def test_strong_tags(field: str, versions: set[str]) -> None:
    """A list of entity tags names the versions of its strong ones; a backslash in a tag escapes nothing."""
    assert strong_tags(field) == frozenset(versions)


@pytest.mark.parametrize(
    "field", ["", " ", ",", "1", '"1', '"1"2', '"1" "2"', 'w/"1"', 'W/ "1"', '"a b"', '"1",*', "'1'", '"1"x, "2"']
)
def test_no_entity_tags(field: str) -> None:
    """A field that breaks the grammar of a list of entity tags is none."""
    assert strong_tags(field) is None


def test_a_long_list_of_tags() -> None:
    """A field of 10 KB, the most that the gateway passes on, is read in time that grows with its length only."""
    assert strong_tags('"1"' + " ," * 5_000 + "x") is None
    assert strong_tags(", " * 5_000) is None
    assert len(strong_tags(",".join(strong_tag(f"{number}") for number in range(1_500))) or ()) == 1_500
