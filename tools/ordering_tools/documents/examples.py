"""The examples of the OpenAPI document: of parameters, bodies and messages, from the values in `examples.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ordering_tools.documents.components import PREFIX

_VALUES: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


class ExampleError(Exception):
    """An example cannot be made; the message says which value is missing in, or too much for, `examples.yaml`."""


def parameter_example(path: str, name: str) -> dict[str, Any]:
    """Return the example of a parameter; empty if it has none.

    Args:
        path: The operation's path: the same name may stand for different things in different contracts.
    """
    values = {**_VALUES["parameters"], **_VALUES["parameters"].get(f"/{path.split('/')[1]}", {})}
    return {"example": values[name]} if name in values else {}


class Examples:
    """The examples of the components of a document."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        if unknown := _VALUES["components"].keys() - schemas.keys():
            raise ExampleError(f"examples.yaml has values of components that do not exist: {sorted(unknown)}")

    def of(self, schema: Mapping[str, Any]) -> Any:
        """Return the example of a schema.

        Raises:
            ExampleError: A required property has no value.
        """
        if reference := schema.get("$ref"):
            return self._of_component(reference.removeprefix(PREFIX))
        if choices := schema.get("anyOf"):
            return self.of(choices[0])
        if schema.get("type") == "array":
            return [self.of(schema["items"])]
        if possible := [schema["const"]] if "const" in schema else schema.get("enum"):
            return possible[0]
        raise ExampleError(f"no value for {dict(schema)}")

    def known(self, schema: Mapping[str, Any], value: Any) -> Any:
        """Return a value with only the properties that a schema has: one error of the gateway serves every contract."""
        if reference := schema.get("$ref"):
            return self.known(self._schemas[reference.removeprefix(PREFIX)], value)
        if isinstance(value, list):
            return [self.known(schema.get("items", {}), one) for one in value]
        parts = schema.get("properties", {})
        return {name: self.known(parts[name], value[name]) for name in parts if name in value} if parts else value

    def _of_component(self, name: str) -> Any:
        schema, given = self._schemas[name], _VALUES["components"].get(name, {})
        if "properties" not in schema:
            return self.of(schema)
        if unknown := given.keys() - schema["properties"].keys():
            raise ExampleError(f"examples.yaml has values of {name} that it does not have: {sorted(unknown)}")
        return {
            property_: self._of_property(name, property_, part, given)
            for property_, part in schema["properties"].items()
            if property_ in given or property_ in schema.get("required", ())
        }

    def _of_property(self, name: str, property_: str, part: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        if property_ in given:
            return given[property_]
        try:
            return self.of(part)
        except ExampleError as error:
            raise ExampleError(f"examples.yaml has no {name}.{property_}: {error}") from None
