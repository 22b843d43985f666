"""The shapes of incoming events and their published schemas: what is accepted, and how a misfit is named."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ordering.ecards.incoming import PAYMENT, STOCK
from ordering.events.incoming import CANCELLATION, MalformedEvent, misfits, validate
from ordering.fulfilment.incoming import envelopes
from ordering_tools.documents.event_schemas import schema
from ordering_tools.operations.balance import LARGEST_PAYMENT

ID = "0b8a4b52-3c5d-4b0e-9d4e-1d2f8c6a7b90"
EXAMPLES: dict[str, list[Mapping[str, Any]]] = {
    PAYMENT: [{"company": "acme", "operation": "wire-1", "amount": "250.5"}],
    STOCK: [{"cardId": 1, "faceValue": "100 ₽", "batch": "b1", "codes": "c2VhbGVk"}],
    CANCELLATION: [
        {"order": {"kind": "training", "id": 7}},
        {"order": {"kind": "ecards", "company": "acme", "id": ID.upper()}},
    ],
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0.5, 1.5])
    | st.text("aZ019-_.# ₽\x00", max_size=5)
    | st.sampled_from(
        ["", "0", "0.00", "0.01", "1.5", "1e3", "+1", "-1", "1000000000000.01", ID, "training", "a" * 201]
    ),
    lambda parts: (
        st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from(["id", "kind", "x"]), parts, max_size=2)
    ),
    max_leaves=3,
)


def event(kind: str, data: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": ID, "type": kind, "version": 1, "time": "2026-01-01T12:00:00Z", "data": data, **changes}


def paths(value: Any) -> list[tuple[Any, ...]]:
    """The paths to all parts of a value."""
    inner = value.items() if isinstance(value, dict) else ()
    return [(), *[(name, *path) for name, part in inner for path in paths(part)]]


@st.composite
def nearly_events(draw: st.DrawFn) -> tuple[str, Any]:
    """Valid events, each with one part changed, added or missing."""
    kind = draw(st.sampled_from(sorted(EXAMPLES)))
    made: Any = copy.deepcopy(event(kind, draw(st.sampled_from(EXAMPLES[kind]))))
    path = draw(st.sampled_from(paths(made)))
    if not path:
        return kind, draw(st.sampled_from([made, {**made, "more": 1}, [made], None]))
    at = made
    for name in path[:-1]:
        at = at[name]
    if draw(st.booleans()):
        at[path[-1]] = draw(VALUES)
    else:
        del at[path[-1]]
    return kind, made


def test_every_type_has_an_example() -> None:
    """This module has an example of every type of incoming event."""
    assert EXAMPLES.keys() == envelopes().keys()


@given(nearly_events())
def test_schemas_match_the_validation(made: tuple[str, Any]) -> None:
    """An event is accepted exactly if it fits the published schema of its type."""
    kind, value = made

    assert (misfits(envelopes()[kind], value) == []) == Draft202012Validator(schema(kind)).is_valid(value)


@pytest.mark.parametrize("version", [True, 1.0, "1", 0, 2, None])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_versions(kind: str, version: Any) -> None:
    """The version is the integer 1; no other value that Python takes to be equal to 1 is accepted."""
    assert misfits(envelopes()[kind], event(kind, EXAMPLES[kind][0], version=version)) == ["version"]


@pytest.mark.parametrize("number", [True, 1.0, "1"])
def test_numbers_are_not_converted(number: Any) -> None:
    """A number is a JSON integer; a boolean, a float or a text is not converted to one."""
    data = {**EXAMPLES[STOCK][0], "cardId": number}

    assert misfits(envelopes()[STOCK], event(STOCK, data)) == ["data.cardId"]


@given(st.decimals(min_value=-1, max_value=2 * LARGEST_PAYMENT, places=2) | st.sampled_from([LARGEST_PAYMENT]))
def test_amounts(amount: Decimal) -> None:
    """An amount is more than zero and at most what an operator can pay in."""
    data = {**EXAMPLES[PAYMENT][0], "amount": f"{amount:f}"}

    assert (misfits(envelopes()[PAYMENT], event(PAYMENT, data)) == []) == (0 < amount <= LARGEST_PAYMENT)


class _Inner(TypedDict):
    a: list[str]


class _Outer(TypedDict):
    b: _Inner


def test_places_are_named_and_values_are_not() -> None:
    """A misfit is named by its place, at any depth, and a missing member by its own."""
    inner, outer = TypeAdapter(_Inner), TypeAdapter(_Outer)

    assert misfits(inner, {"a": ["", 1, "", None]}) == ["a[1]", "a[3]"]
    assert misfits(inner, {}) == ["a"]
    assert misfits(inner, []) == ["it"]
    assert misfits(outer, {"b": {"a": "x"}}) == ["b.a"]


@pytest.mark.parametrize(
    ("order", "places"),
    [
        ({"kind": "ecards", "id": 7}, ["data.order.company", "data.order.id"]),
        ({"kind": "training", "id": "7", "company": 5}, ["data.order.id"]),
        ({"kind": "deals", "id": 7}, ["data.order"]),
        ({"id": 7}, ["data.order"]),
        (7, ["data.order"]),
    ],
)
def test_places_in_a_union(order: Any, places: list[str]) -> None:
    """An order is validated only against the shape of its kind, and places do not contain the shape's name."""
    assert misfits(envelopes()[CANCELLATION], event(CANCELLATION, {"order": order})) == places


def test_errors_do_not_carry_values() -> None:
    """Neither the message nor a chained error contains a value, and at most ten places are named."""
    with pytest.raises(MalformedEvent) as raised:
        validate(TypeAdapter(list[Annotated[str, Field(max_length=1)]]), ["SECRET"] * 11, "a list")
    error = raised.value

    assert str(error) == f"a list does not fit its schema at {', '.join(f'[{index}]' for index in range(10))}"
    assert (error.__cause__, error.__context__) == (None, None)
