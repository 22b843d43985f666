"""Requests beside the document: what fits it passes validation, and what does not fit is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.requests import Operation, Place, example, fits, kinds, operations, parts, replaced

UUID = "a6c1cb36-43b3-4969-a8a0-48e4915e6df0"
LENGTHS = [1, 32, 33, 100, 101, 128, 129, 250, 251, 255, 256, 2_000, 2_001, 2_048, 4_097]
ADDRESSES = [
    "a@b.example", "a.b+c@d-e.example", "a@b", "@b.example", "a b@c.example", '"a"@b.example', "ü@b.example",
    "a..b@c.example", "a@-b.example", "a@[192.0.2.1]", "a@b.example\n", f"{'x' * 64}@b.example",
    f"{'x' * 65}@b.example", f"a@{'b' * 63}.example", f"a@{'b' * 64}.example", f"a@{'b.' * 125}cd",
    f"a@{'b.' * 125}cde",
]  # fmt: skip
LINKS = [
    "https://example.com/", "https://example.com:443/a?b=c", "http://example.com", "HTTPS://EXAMPLE.COM/ü",
    "https://example.com/\ufeff", "https://example.com:444", "https://example.com:65535", "https://example.com:65536", "https://example.com:0",
    "https://a@example.com", "https://example.com/#f", "https://example.com/a b", "https://example.com\\a",
    "https://localhost", "https://1.1.1.1/", "https://[2606:4700::1111]/", "https://", "https://?", "//example.com",
    "ftp://example.com", "javascript:alert(1)", "https://-.example.com", "https://example.1", "https://exa mple.com",
    f"https://{'x' * 63}.example.com", f"https://{'x' * 64}.example.com", "https://example.com/<>",
    "https://example.com\n", f"https://example.com/{'x' * 2_028}", f"https://example.com/{'x' * 2_029}",
]  # fmt: skip
NUMERALS = [
    "0", "1", "-1", "2", "500", "501", "1.5", "1e1", "100", "100.5", "-100", "-100.000001", "-101", "1000000",
    "1000001", "1000000.000001", "9" * 16, "9" * 17, "0.123456", "0.1234567", "-0.000001", "1.", ".5", "+1", " 1",
    "1,5", "NaN", str(2**31 - 1), str(2**31), str(2**53 - 1), str(2**53), "1,2,3", "1,,2", "1,",
    ",".join(["1"] * 500), ",".join(["1"] * 501),
]  # fmt: skip
TAGS = [", ".join(f'"{number}"' for number in range(count)) for count in (50, 51)]
TEXTS = (
    "x", "", " ", "\u00a0", "a b", "ü₽😀", "a\x00b", "a\nb", "a\rb", "a\tb", "\t", "a\x7fb", "a\x85b", "a\n",
    "\x85", "\x1c", "\ufeff", "\u2028", "\u3000", "\ufeffa", "\u200b",
    *("x" * length for length in LENGTHS), *("😀" * length for length in LENGTHS),
    UUID, UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}", f"{UUID}0", "0123456789abcdef",
    "0123456789ABCDEF", "USD", "usd", "USDX", "US", "USD\n", "true", "false", "TRUE", "yes", "id", "id:asc", "id:desc",
    "id:up", "id,id:desc", "id,", "nope", "ID", "a  b", '"', '""', "\\", "*",
    "**", '"a"', 'W/"a"', '"a", W/"b"', '"a" "b"',
    *NUMERALS, *ADDRESSES, *LINKS, *TAGS,
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 100, 101, 1_000, 1_001, 10_000, 10_001, 10**6, 2**31 - 1, 2**31, 2**53 - 1, 2**53, 10**16, 10**30,
    1.0, 0.5, 1.5, -0.000001, 100.000001, 100 / 3, 2.2e-313, -2.2e-313, 1e300,
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], ["x"], [1], [None], {}, {"x": 1})
COUNTS = (1, 2, 30, 31, 100, 101, 500, 501)


@dataclass(frozen=True)
class Tried:
    """A value that was tried in one part of a request."""

    operation: Operation
    place: Place
    schema: dict[str, Any] = field(repr=False)
    value: Any
    accepted: bool

    @property
    def fits(self) -> bool:
        return fits(self.schema, self.value)


LENIENT: Mapping[str, Callable[[Tried], bool]] = {
    "numeric strings": lambda one: (
        bool(kinds(one.schema) & {"integer", "number"})
        and isinstance(one.value, str)
        and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", one.value) is not None
        and (one.operation.path.startswith("/v2") or one.place[-1] == "id")
    ),
    "numbers for decimal strings": lambda one: (
        isinstance(one.value, (int, float)) and "decimal" in str(one.schema) and "string" in kinds(one.schema)
    ),
    "idempotency keys as quoted strings": lambda one: one.place[-1] == "Idempotency-Key" and one.value[0] == '"',
    "ids of 16 digits in a filter": lambda one: one.place == ("query", "ids") and len(one.value) == 16,
    "booleans as other languages write them": lambda one: (
        one.place == ("query", "active") and one.value in {"TRUE", "1", "0"}
    ),
    "credentials, which are looked up": lambda one: one.operation.id == "issue_token",
}
"""What is taken beyond the document: notations that it has as prose, so that a field has one type."""


@cache
def base(operation: Operation) -> Any:
    """A body that passes validation."""
    return None if operation.body is None else example(operation.body, TEXTS)


def places(operation: Operation) -> Iterator[tuple[Place, dict[str, Any]]]:
    yield from operation.parameters.items()
    if operation.body is not None:
        yield from parts(("body",), operation.body)


@cache
def tried() -> list[tuple[dict[str, Any], list[Tried]]]:
    """The values that were tried in each part of each request, with the part's schema."""
    return [
        (schema, list(in_body(operation, place, schema) if place[0] == "body" else in_text(operation, place, schema)))
        for operation in operations()
        for place, schema in places(operation)
    ]


def in_text(operation: Operation, place: Place, schema: dict[str, Any]) -> Iterator[Tried]:
    """Try values of a parameter, all of which are texts that HTTP can carry."""
    possible = {"header": r"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?", "path": r"[^\x00-\x20/]+"}
    for text in TEXTS:
        if re.fullmatch(possible.get(str(place[0]), r"[\s\S]*"), text):
            yield Tried(
                operation, place, schema, converted(schema, text), operation.accepts({place: text}, base(operation))
            )


def converted(schema: dict[str, Any], text: str) -> Any:
    """The value that a parameter's text stands for."""
    if schema["type"] == "integer" and re.fullmatch("-?(0|[1-9][0-9]*)", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text) if schema["type"] == "boolean" else text


def in_body(operation: Operation, place: Place, schema: dict[str, Any]) -> Iterator[Tried]:
    """Try values in one part of a body: near its limits, and of other types."""
    current = base(operation)
    for step in place[1:]:
        current = current[step]
    for value in (*NUMBERS, *TEXTS, *OTHERS, *enumerated(schema), *others_like(current)):
        if operation.id == "issue_token" and type(value) is not type(current):
            continue  # a form has only texts
        accepted = operation.accepts(body=replaced(base(operation), place[1:], value))
        yield Tried(operation, place, schema, value, accepted)


def enumerated(schema: dict[str, Any]) -> Iterator[str]:
    for one in schema.get("anyOf", [schema]):
        yield from one.get("enum", ())


def others_like(value: Any) -> Iterator[Any]:
    """Lists of other lengths; objects without a property, with one more, with another flag and without a property."""
    if isinstance(value, list):
        yield from (several(value[0], count) for count in COUNTS)
    if isinstance(value, dict):
        yield {**value, "unknown": 1}
        switched = {**value, **{name: True for name, one in value.items() if one is False}}
        for whole in (value, switched):
            yield from ({name: one for name, one in whole.items() if name != left_out} for left_out in whole)
            yield from ({**whole, name: None} for name in whole)


def several(item: Any, count: int) -> list[Any]:
    """Copies of an item, each with a currency of its own where it has one."""
    if isinstance(item, dict) and "currency" in item:
        return [{**item, "currency": f"A{chr(65 + number // 26)}{chr(65 + number % 26)}"} for number in range(count)]
    return [item] * count


def test_bases() -> None:
    """The example of each body fits the document and passes validation."""
    for operation in operations():
        assert operation.body is None or fits(operation.body, base(operation))
        assert operation.accepts(body=base(operation)), operation


def test_what_fits_is_accepted() -> None:
    """A value that fits the document passes validation, in every part of every request."""
    refused = [one for _, several in tried() for one in several if not one.accepted and one.fits]

    assert refused == []


def test_what_does_not_fit_is_refused() -> None:
    """A value that does not fit the document is refused, but for a few notations that the document has as prose."""
    taken = [one for _, several in tried() for one in several if one.accepted and not one.fits]

    assert [one for one in taken if not any(lenient(one) for lenient in LENIENT.values())] == []
    assert [name for name, lenient in LENIENT.items() if not any(lenient(one) for one in taken)] == []


def mutants(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema without one of its limits, for each of them."""
    for name in schema.keys() - {"description", "default", "properties", "items", "anyOf", "required", "then"}:
        yield name, {other: one for other, one in schema.items() if other != name}
    for index, one in enumerate(schema.get("anyOf", ())):
        for name, mutant in mutants(one):
            branches = [*schema["anyOf"][:index], mutant, *schema["anyOf"][index + 1 :]]
            yield f"anyOf/{name}", {**schema, "anyOf": branches}
    for name in schema.get("required", ()):
        yield f"required/{name}", {**schema, "required": [one for one in schema["required"] if one != name]}


def implied(place: Place, schema: dict[str, Any], name: str, operation: Operation) -> bool:
    """Whether a keyword is for readers only, because others imply it or it limits nothing."""
    name = name.removeprefix("anyOf/")
    return (
        (name == "type" and (place[0] != "body" or operation.id == "issue_token" or "enum" in schema))
        or (name == "format" and "uuid" not in str(schema))
        or (name == "minLength" and "pattern" in schema)
    )


def test_a_missing_limit_is_found() -> None:
    """If the document lacked any one of its limits, a value that is refused would fit it."""
    limits = [
        (several[0].operation, several[0].place, schema, name, mutant, [one for one in several if not one.accepted])
        for schema, several in tried()
        for name, mutant in mutants(schema)
    ]
    unnoticed = [
        (operation.id, place, name)
        for operation, place, schema, name, mutant, refused in limits
        if not implied(place, schema, name, operation) and not any(fits(mutant, one.value) for one in refused)
    ]

    assert unnoticed == []
    assert len(limits) > 400


def fitting(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema."""
    if "anyOf" in schema:
        return st.one_of([fitting(one) for one in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    return BY_TYPE[schema["type"]](schema) if "type" in schema else ANYTHING


def objects(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    properties = {name: fitting(one) for name, one in schema["properties"].items()}
    required = {name: one for name, one in properties.items() if name in schema.get("required", ())}
    optional = {name: one for name, one in properties.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional).filter(lambda one: fits(schema, one))


def lists(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    # One price per currency: the document has that as prose.
    by = (lambda one: one["currency"]) if "currency" in str(schema) else repr
    return st.lists(fitting(schema["items"]), min_size=schema.get("minItems", 0), max_size=3, unique_by=by)


def numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    largest = schema.get("maximum", schema.get("exclusiveMaximum"))
    return st.floats(schema["minimum"], largest, exclude_max="exclusiveMaximum" in schema)


def texts(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().flatmap(lambda one: st.sampled_from([str(one), str(one).upper()]))
    if "http" in schema.get("pattern", "").lower():
        # By name: which addresses are public is not in the document.
        return st.from_regex(schema["pattern"]).filter(
            lambda one: re.match(r"(?i)(https?://[^/?#:\[]*\.[a-z]|\Z)", one)
        )
    return st.from_regex(schema["pattern"]) if "pattern" in schema else st.text(max_size=20)


ANYTHING = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.none(), max_size=2))
BY_TYPE: Mapping[str, Callable[[Mapping[str, Any]], st.SearchStrategy[Any]]] = {
    "object": objects,
    "array": lists,
    "string": lambda schema: texts(schema).filter(lambda one: fits(schema, one)),
    "integer": lambda schema: st.integers(schema["minimum"], schema["maximum"]),
    "number": numbers,
    "boolean": lambda _: st.booleans(),
    "null": lambda _: st.none(),
}


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.id)
def test_any_request_that_fits_is_accepted(operation: Operation) -> None:
    """Any request that is composed of values that fit the document passes validation."""
    parameters = st.fixed_dictionaries(
        {}, optional={place: fitting(one) for place, one in operation.parameters.items()}
    )
    body = st.none() if operation.body is None else fitting(operation.body)

    @settings(max_examples=20, derandomize=True, database=None, deadline=None)
    @given(parameters, body)
    def each(values: dict[Place, Any], sent: Any) -> None:
        written = {
            place: str(value).lower() if isinstance(value, bool) else str(value) for place, value in values.items()
        }

        assert operation.accepts(written, sent), (written, sent)

    each()
