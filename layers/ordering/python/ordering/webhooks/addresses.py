"""Restricts the URLs that partners register: their syntax, and the IP addresses of their hosts.

A URL is parsed once, strictly, and only the parsed parts are used afterwards, so that no two parsers can disagree.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from ordering.values import Value

LONGEST = 2048

_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:/[!$-;=@-_a-z~%]*)?(?:\?[!$-;=?@-_a-z~%]*)?)",
    re.ASCII,
)
_LABEL = "[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
PATTERN = (
    rf"^https://(?:(?:{_LABEL}\.)+[A-Za-z](?:[0-9A-Za-z-]{{0,61}}[0-9A-Za-z])?|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}|"
    r"\[[0-9A-Fa-f:.]+\])(?::443)?(?:/[!$-;=@-_a-z~%]*)?(?:\?[!$-;=?@-_a-z~%]*)?$"
)
"""The form of a webhook's URL, for all engines of regular expressions: with any length of the host, and any address."""

_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A name's last label begins with a letter: with a digit, it could be an IP address in an unusual notation."""

_CLOSED = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
"""The networks of IANA's registry of special-purpose addresses that are not globally reachable, and multicast.

Listed here because the set that `ipaddress` regards as private differs between versions of Python.
"""

_OPEN6 = IPv6Network("2000::/3")
_CLOSED6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
"""Networks within the global unicast addresses: protocols, tunnels (which can carry an IPv4 address), documentation."""


class WebAddress(Value):
    """The parts of a URL; `target` is the path and the query."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        """The value of HTTP's `Host` header: with the port if it is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def read_address(url: str, *, anywhere: bool = False) -> WebAddress:
    """Parse a URL, and check that messages may be sent to it.

    Args:
        anywhere: Whether it may lead to any address and port, and without TLS: for a local run.

    Raises:
        ValueError: The URL is not allowed. The message gives the reason and does not contain the URL.
    """
    found = _URL.fullmatch(url)
    if len(url) > LONGEST or not found:
        raise ValueError(f"must be an absolute URL of up to {LONGEST:,} ASCII characters, without user or fragment")
    secure = found["scheme"] == "https"
    if not secure and not anywhere:
        raise ValueError("must begin with https://")
    port = int(found["port"] or (443 if secure else 80))
    if not 0 < port < 65536 or (port != 443 and not anywhere):
        raise ValueError("must not name a port other than 443")
    host = found["v6"] or found["host"].lower()
    literal = _literal(host)
    if literal is None and (found["v6"] or not _NAME.fullmatch(host) or ("." not in host and not anywhere)):
        raise ValueError("must name a host by its full name or by its address")
    if literal is not None and not anywhere and not is_public(host):
        raise ValueError("must not lead to a private or reserved address")
    target = found["target"]
    return WebAddress(secure, str(literal or host), port, target if target.startswith("/") else f"/{target}")


def is_public(address: str) -> bool:
    """Return whether a text is an IP address that is globally reachable and unicast."""
    literal = _literal(address)
    if isinstance(literal, IPv6Address):
        return literal in _OPEN6 and not any(literal in network for network in _CLOSED6)
    return literal is not None and not any(literal in network for network in _CLOSED)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
