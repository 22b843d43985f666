"""The forms of email addresses and of links that contracts and commands accept, and that mails can carry."""

from __future__ import annotations

import re
from urllib.parse import quote

_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+"
"""The form of an email address, for all engines of regular expressions: with any length of the part before the @."""

_EMAIL = re.compile(f"(?=[^@]{{1,64}}@){EMAIL}")
LONGEST_EMAIL = 254
"""The most characters of an email address."""

_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}"
_ASCII_LABEL = "[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
_V6 = r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]"
LINK = (
    rf"[Hh][Tt][Tt][Pp][Ss]?://(?:{_ASCII_LABEL}(?:\.{_ASCII_LABEL})*\.?|{_V6})(?::(?:{_PORT}))?"
    # For JavaScript's `\s`, not for Python's, U+FEFF is a blank.
    r"(?:[/?#](?:[^\s\ufeff\\<>\x22\x00-\x1f\x7f-\x9f]|\ufeff)*)?"
)
"""The form of links whose host is ASCII, for all engines of regular expressions: with any length of the host."""

_HOST_LABEL = r"[\w](?:[\w-]{0,61}[\w])?"
_LINK = re.compile(
    rf"(?P<scheme>https?)://(?P<host>(?=[^/?#:]{{1,253}}(?:[/?#:]|$)){_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?|"
    r"\[[0-9a-f:.]*:[0-9a-f:.]*\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>(?:[/?#].*)?)",
    re.IGNORECASE,
)
# Backslashes, quotes and angle brackets: readers of URLs disagree about the first, readers of text about the others.
_NEVER_IN_LINKS = re.compile(r"[\s\\<>\"\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KEPT = "!#$%&'()*+,-./:;=?@_~"
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_LARGEST_PORT = 65_535


def is_email_address(text: str) -> bool:
    """Return whether a text is an email address that mail servers accept.

    The part before the @ is RFC 5321's `Dot-string`: 1 to 64 ASCII characters, atoms with single dots between them.
    The domain has at least two labels. Quoted local parts and addresses in brackets are refused: partners' systems and
    SES treat them differently.
    """
    return len(text) <= LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def link_uri(text: str) -> str | None:
    """Return the URI (RFC 3986) of an http or https link, for a mail; None if the text is not such a link.

    A link has `//` and a host behind its scheme, no user, and no blank, control character, backslash, quote or angle
    bracket. Other characters that a URI cannot hold are percent-encoded. A host outside ASCII stays as it is: mail
    programs and browsers know its encoding.
    """
    found = _LINK.fullmatch(text)
    if found is None or _NEVER_IN_LINKS.search(text) or int(found["port"] or 1) not in range(1, _LARGEST_PORT + 1):
        return None
    rest = quote(_LONE_PERCENT.sub("%25", found["rest"]), safe=_KEPT)
    port = f":{found['port']}" if found["port"] else ""
    return f"{found['scheme'].lower()}://{found['host'].lower()}{port}{rest}"
