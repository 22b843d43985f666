"""The schemas of the OpenAPI document: their names, and the descriptions of their properties.

A model's name is its component's; but `ShownX`, where the domain has an X, is the component X, and so is
`Envelope[XData]`.
The text below a field of a model describes the property, as it describes the field to readers of the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

PREFIX = "#/components/schemas/"

Shapes = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]
"""The schemas of bodies: requests by their operation and "validation", responses by theirs and "serialization"."""


_LIKE = {
    "ShownTrainingOrder": "TrainingOrderListEntry",
    "TrainingOrderCreated": "TrainingOrderListEntry",
    "ShownEcardParticipant": "EcardParticipantRequest",
}
"""Models whose fields are described by those of another: they show the same thing."""


def component_schemas(kinds: Mapping[tuple[Any, JsonSchemaMode], Any]) -> tuple[Shapes, dict[str, Any]]:
    """Return the schemas of all bodies, and those that they refer to, by name."""
    inputs = [(key, mode, TypeAdapter(kind)) for (key, mode), kind in kinds.items()]
    template = f"{PREFIX}{{model}}"
    found, schemas = TypeAdapter.json_schemas(inputs, ref_template=template, schema_generator=Described)
    shapes = {key: _renamed(schema) for key, schema in found.items()}
    return shapes, {component(name): _renamed(schema) for name, schema in schemas["$defs"].items()}


def hoisted(part: Any, enums: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return schemas with references in place of enumerations that are components."""
    if isinstance(part, list):
        return [hoisted(value, enums) for value in part]
    if not isinstance(part, dict):
        return part
    for name, enum in enums.items():
        if part.get("enum") == enum["enum"]:
            described = {"description": part["description"]} if "description" in part else {}
            return {"$ref": f"{PREFIX}{name}", **described}
    return {name: hoisted(value, enums) for name, value in part.items()}


def component(name: str) -> str:
    """Return the name of a model's component."""
    return re.sub(r"^(?:Event)?Envelope_(?:.*_)?(\w+)Data_$", r"\1", name).removeprefix("Shown")


def _renamed(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: PREFIX + component(value.removeprefix(PREFIX)) if name == "$ref" else _renamed(value)
            for name, value in part.items()
        }
    return [_renamed(value) for value in part] if isinstance(part, list) else part


class Described(GenerateJsonSchema):
    """Adds the texts below the fields of models."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """Return the schema of a typed dictionary."""
        return _described(super().typed_dict_schema(schema), schema["cls"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a model."""
        return _described(super().model_schema(schema), schema["cls"])


def _described(schema: JsonSchemaValue, model: type) -> JsonSchemaValue:
    if text := inspect.getdoc(model):
        schema.setdefault("description", text.replace("\n", " "))
    for name, text in _texts(model):
        if name in schema["properties"]:
            schema["properties"][name].setdefault("description", text)
    return schema


def _texts(model: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of a model that have texts, those of its bases included."""
    for base in getattr(model, "__orig_bases__", ()) or model.__bases__:
        if inspect.isclass(base) and base.__module__.startswith("ordering."):
            yield from _texts(base)
    found = _texts_in(model.__module__)
    name = model.__name__.partition("[")[0]
    yield from {**found.get(_LIKE.get(name, ""), {}), **found.get(name, {})}.items()


@cache
def _texts_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the texts below the fields of each class of a module."""
    classes = [one for one in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(one, ast.ClassDef)]
    return {one.name: dict(_texts_of(one)) for one in classes}


def _texts_of(found: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(found.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(below))):
                yield name, inspect.cleandoc(below).replace("\n", " ")
