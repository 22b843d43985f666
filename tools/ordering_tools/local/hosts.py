"""Which requests the servers of the local run accept: those of programs on this machine, and of no web page.

They listen on 127.0.0.1, but a browser on this machine reaches that too. A page of another site can send requests there
(it then has an `Origin`), and by DNS rebinding even read the responses (the `Host` is then the site's name).
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def is_local(host: str | None, more: Collection[str] = ()) -> bool:
    """Whether a `Host` header names this machine, or one of `more`. Without one no browser has sent the request."""
    if host is None:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in _LOOPBACK or name in more


def is_local_program(host: str | None, origin: str | None, more: Collection[str] = ()) -> bool:
    """Whether a request is for this machine, and from no web page, unless the server itself has sent that page.

    Args:
        more: Further names for this machine.
    """
    return is_local(host, more) and (origin is None or origin == f"http://{host}")


def refusal(host: str | None) -> str:
    """The explanation for a caller whose request is not accepted."""
    return (
        f"The local run accepts requests for 127.0.0.1 and localhost, and from no web page of another origin. This one "
        f"is for '{host}'. `ordering serve --host NAME` lets the gateway accept another name."
    )
