"""Header fields by the grammar of RFC 9110: repeated lines, lists, media types with parameters, quoted strings."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

# Classes list what a text may not have: to compile one that lists most of Unicode takes 2 ms of each cold start.
_TAG = r'(?:W/)?("[^\x00-\x20"\x7f]*")'
_ENTITY_TAG = re.compile(_TAG)
_ENTITY_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(r'"((?:[^\x00-\x08\x0a-\x1f"\\\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_ESCAPED = re.compile(r"\\(.)")
_SPACE = " \t"
_ZERO = re.compile(r"0(\.0*)?|\.0+")
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
"""Names of character sets whose texts are UTF-8."""


def combined(lines: Mapping[str, Iterable[str]]) -> tuple[dict[str, str], frozenset[str]]:
    """Combine the lines of each field, whose name may be in any case.

    Returns:
        The fields by name in lower case: different lines as one list (RFC 9110, 5.3), equal lines as one. And the names
        of the fields with different lines, which are errors where a field has a single value.
    """
    found: dict[str, dict[str, None]] = {}
    for name, values in lines.items():
        found.setdefault(name.lower(), {}).update(dict.fromkeys(values))
    fields = {name: ", ".join(values) for name, values in found.items()}
    return fields, frozenset(name for name, values in found.items() if len(values) > 1)


def split_unquoted(text: str, separator: str) -> Iterator[str]:
    """Split a field at each separator outside of quoted strings. The parts have no white space around them."""
    start, quoted, escaped = 0, False, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:index].strip(_SPACE)
            start = index + 1
    yield text[start:].strip(_SPACE)


def unquoted(text: str) -> str | None:
    """Return the text in a quoted string; None if it is not a quoted string."""
    found = _QUOTED.fullmatch(text)
    return _ESCAPED.sub(r"\1", found[1]) if found else None


def media_type(text: str) -> tuple[str, Sequence[tuple[str, str]]] | None:
    """Parse a media type (RFC 9110, 8.3.1).

    Returns:
        The type in lower case, and its parameters, with names in lower case; None if the text breaks the grammar.
    """
    kind, *rest = split_unquoted(text, ";")
    main, slash, sub = kind.partition("/")
    if not (slash and _TOKEN.fullmatch(main) and _TOKEN.fullmatch(sub)):
        return None
    parameters = []
    for parameter in filter(None, rest):
        name, _, raw = parameter.partition("=")
        value = raw if _TOKEN.fullmatch(raw) else unquoted(raw)
        if value is None or not _TOKEN.fullmatch(name):
            return None
        parameters.append((name.lower(), value))
    return kind.lower(), parameters


def is_json_type(text: str) -> bool:
    """Return whether a `Content-Type` declares JSON in UTF-8. Parameters other than `charset` have no effect."""
    found = media_type(text)
    if found is None:
        return False
    kind, parameters = found
    json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    return json and all(value.lower() in _UTF8 for name, value in parameters if name == "charset")


def accepts_json(accept: str | None) -> bool:
    """Return whether an `Accept` field admits JSON (RFC 9110, 12.5.1); without the field, everything is admitted.

    The most specific range that covers JSON decides. Parameters of a range, other than its weight, have no effect.
    """
    weights: dict[str, list[str]] = {}
    for member in filter(None, split_unquoted(accept or "", ",")):
        name, *parameters = split_unquoted(member.lower(), ";")
        given = [value for key, _, value in (one.partition("=") for one in parameters) if key == "q"]
        weights.setdefault(_RANGES.get(name, name), []).append(given[0] if given else "1")
    if not weights:
        return True
    decisive = next((weights[name] for name in ("application/json", "application/*", "*/*") if name in weights), [])
    return any(not _ZERO.fullmatch(weight) for weight in decisive)


_RANGES = {"*": "*/*"}
"""A range outside the grammar that Java's HTTP client sends."""


def entity_tag(body: str) -> str:
    """Return the `ETag` of a body: a digest of it.

    It is weak, because API Gateway compresses responses: a strong tag would be of one coding only (RFC 9110, 8.8.1).
    """
    return f'W/"{urlsafe_b64encode(sha256(body.encode()).digest()[:15]).decode()}"'


def strong_tag(version: str) -> str:
    """Return the strong `ETag` of a version, which has no quotes and no spaces. `strong_tags` reads it."""
    return f'"{version}"'


def strong_tags(field: str) -> frozenset[str] | None:
    """Return the versions that a list of entity tags names by strong ones (RFC 9110, 13.1.1).

    Weak tags are left out, as they are equal to none by the strong comparison.

    Returns:
        None if the field breaks the grammar.
    """
    if not _ENTITY_TAGS.fullmatch(field):
        return None
    found = _ENTITY_TAG.finditer(field)
    return frozenset(match[1].strip('"') for match in found if not match[0].startswith("W/"))


def names_tag(field: str | None, tag: str) -> bool:
    """Return whether `If-None-Match` names an entity tag, by the weak comparison (RFC 9110, 8.8.3.2), or is `*`.

    Members outside the grammar name no tag.
    """
    members = [_ENTITY_TAG.fullmatch(member) for member in split_unquoted(field or "", ",")]
    named = {member[1] for member in members if member}
    return (field or "").strip(_SPACE) == "*" or tag.removeprefix("W/") in named
