"""Email addresses and links: the accepted forms."""

from __future__ import annotations

import pytest

from ordering.addresses import is_email_address, link_uri


@pytest.mark.parametrize(
    "text",
    ["a@b.example", "a.b.c@b.example", "a+b/c={d}@b.example", "x" * 64 + "@b.example", "1@1.example", "a@b-c.example"],
)
def test_email_addresses(text: str) -> None:
    """Atoms with single dots between them, before a domain of two labels or more, are an email address."""
    assert is_email_address(text)


@pytest.mark.parametrize(
    "text",
    ["a..b@b.example", ".a@b.example", "a.@b.example", "@b.example", "a@b", "a@b..example", "a@b.example.",
     "a@.example", "a b@b.example", "a@b.example\n", '"a"@b.example', "a@[192.0.2.1]", "ü@b.example", "a@ü.example",
     "a@a@b.example", "x" * 65 + "@b.example", "a@" + ".".join(["x" * 60] * 5)],
)  # fmt: skip
def test_no_email_addresses(text: str) -> None:
    """A text that mail servers would refuse is no email address."""
    assert not is_email_address(text)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://EXAMPLE.COM/A?B#C", "https://example.com/A?B#C"),
        ("http://localhost:8080/a;b=c?d=e&f=%2F#g", "http://localhost:8080/a;b=c?d=e&f=%2F#g"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]/"),
        ("https://example.com/ü?q[]=100%", "https://example.com/%C3%BC?q%5B%5D=100%25"),
        ("https://bücher.example/", "https://bücher.example/"),
        ("https://a_b.example.?a", "https://a_b.example.?a"),
    ],
)
def test_links(text: str, uri: str) -> None:
    """A link becomes the URI that a mail can carry."""
    assert link_uri(text) == uri


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "//example.com", "http:example.com", "http:/example.com", "https:///example.com", "https://",
     "https://?a", "https://:80", "https://a@example.com", "https://a:b@example.com", "https://example.com:0",
     "https://example.com:65536", "https://example.com:", "https://example.com\\a", "https://a b", "https://a/ b",
     "https://a/\u00a0b", "https://a/\x85", "https://a/\n", "https://a/\ud800", 'https://a/"b', "https://a/<b",
     "https://a..b", "https://.a", "https://-a", "https://a-", "https://[]", "https://[a]", "https://[::1",
     "https://" + ".".join(["x" * 63] * 4) + "x", "ftp://example.com", "javascript://example.com/%0aalert(1)"],
)  # fmt: skip
def test_no_links(text: str) -> None:
    """A text that readers of URLs understand differently, or that leads to no host, is no link."""
    assert link_uri(text) is None
